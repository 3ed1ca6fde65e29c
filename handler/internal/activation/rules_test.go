package activation_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/subject"
)

func TestACT1_CreateTellsAllThatLetsASubjectIn(t *testing.T) {
	inLab(t, func(l *lab) {
		at := l.now().Truncate(time.Millisecond)
		made := l.invite()
		want := activation.Activation{
			ID: made.ID, Subject: patient, Status: activation.Pending, Created: at, CreatedBy: "tenant/clinic", Modified: at,
			ModifiedBy: "tenant/clinic", Expires: l.policy.Expiry(at),
		}
		if diff := cmp.Diff(want, made.Activation); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, l.row(made.ID)); diff != "" {
			t.Errorf("stored (-want +got):\n%s", diff)
		}
		if locator, otp, err := codes.ParseHuman("OXF", made.Human); locator != made.Locator || otp != made.OTP || err != nil || len(otp) != 6 {
			t.Errorf("%s is read as %s, %s, %v", made.Human, locator, otp, err)
		}
		if id, err := activation.ParseUUID(made.ID.String()); id != made.ID || err != nil || !activation.Drawn(id).Equal(at) {
			t.Errorf("the id %s: %v, drawn at %s", made.ID, err, activation.Drawn(id))
		}
		records := l.records()
		if len(records) != 1 {
			t.Fatalf("%d records", len(records))
		}
		wantRecord := audit.Record{
			ID: records[0].ID, Time: at, Announced: at, Action: audit.CreateActivation, Outcome: audit.Allowed, Origin: clinic,
			Subject: patient, Activation: made.ID.String(), N: 1,
		}
		if diff := cmp.Diff(wantRecord, records[0]); diff != "" || len(records[0].ID) != 26 {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
	})
}

func TestACT1_NoTwoActivationsShareACode(t *testing.T) {
	inLab(t, func(l *lab) {
		seen := map[string]bool{}
		for range 50 {
			made := l.invite()
			for _, secret := range []string{made.Locator, made.OTP, made.ID.String()} {
				if seen[secret] {
					t.Errorf("%s comes twice", secret)
				}
				seen[secret] = true
			}
		}
	})
}

func TestACT1_AnIdHasOneForm(t *testing.T) {
	good := uuid.Must(uuid.NewV7())
	for _, s := range []string{
		"", "x", uuid.NewString(), uuid.Nil.String(), fmt.Sprintf("{%s}", good), "urn:uuid:" + good.String(), good.String()[:35],
		fmt.Sprintf("%X", good[:]), good.String() + " ",
	} {
		if id, err := activation.ParseUUID(s); !errors.Is(err, activation.ErrNotFound) || id != uuid.Nil {
			t.Errorf("%q: got %s, %v; want ErrNotFound", s, id, err)
		}
	}
	if id, err := activation.ParseUUID(good.String()); id != good || err != nil {
		t.Errorf("got %s, %v", id, err)
	}
}

func TestACT2_ANewActivationReplacesThePendingOne(t *testing.T) {
	inLab(t, func(l *lab) {
		old := l.invite()
		for range 4 {
			l.refused(guess(old), audit.ReasonWrongOTP)
		}
		made := l.invite()
		if row := l.row(old.ID); row.Status != activation.Revoked || row.Ended != audit.ReasonReplaced || row.ModifiedBy != "tenant/clinic" {
			t.Errorf("the old one: %+v", row)
		}
		l.refused(try(old, ""), audit.ReasonReplaced)
		l.refused(activation.Try{Locator: made.Locator, OTP: old.OTP}, audit.ReasonWrongOTP)
		for range 8 { // it has its own attempts
			l.refused(guess(made), audit.ReasonWrongOTP)
		}
		l.works(l.let(made))
		if n := l.counted(old.ID); n != 4 {
			t.Errorf("%d attempts of the old one", n)
		}
	})
}

func TestACT2_OneIsPendingHoweverManyAreCreatedAtOnce(t *testing.T) {
	inLab(t, func(l *lab) {
		instances := []*activation.Service{l.Service, l.on(l.store), l.on(l.store)}
		made := make([]activation.Created, 12)
		var all sync.WaitGroup
		for i := range made {
			all.Go(func() {
				var err error
				if made[i], err = instances[i%3].Create(l.Context(), clinic, nil, patient, ""); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		pending := l.head().Invitation
		if pending == nil {
			t.Fatal("none is pending")
		}
		for _, m := range made {
			if m.ID == pending.Activation {
				l.works(l.let(m))
			} else {
				l.refused(try(m, ""), audit.ReasonReplaced)
			}
		}
		if n := len(l.records()); n != len(made)+1 {
			t.Errorf("%d records of %d creations and one redemption", n, len(made))
		}
	})
}

func TestACT4_RevokeEndsWhatIsPending(t *testing.T) {
	other := subject.ID{Kind: subject.Patient, Name: "another"}
	for name, c := range map[string]struct {
		prepare func(*lab, activation.Created)
		of      subject.ID
		want    error
		writes  int // records of the revocation
		ended   audit.Reason
	}{
		"a pending one":     {func(*lab, activation.Created) {}, patient, nil, 1, audit.ReasonRevoked},
		"one with attempts": {func(l *lab, a activation.Created) { l.refused(guess(a), audit.ReasonWrongOTP) }, patient, nil, 1, audit.ReasonRevoked},
		"an expired one":    {func(l *lab, a activation.Created) { l.goTo(a.Expires.Add(time.Hour)) }, patient, nil, 1, audit.ReasonRevoked},
		"a replaced one":    {func(l *lab, _ activation.Created) { l.invite() }, patient, nil, 0, audit.ReasonReplaced},
		"a locked one": {func(l *lab, a activation.Created) {
			for range 10 {
				l.refused(guess(a), audit.ReasonWrongOTP)
			}
		}, patient, nil, 0, audit.ReasonLocked},
		"a revoked one": {func(l *lab, a activation.Created) {
			if err := l.Revoke(l.Context(), clinic, nil, patient, a.ID); err != nil {
				l.Fatal(err)
			}
		}, patient, nil, 0, audit.ReasonRevoked},
		"a completed one": {func(l *lab, a activation.Created) { l.let(a) }, patient, activation.ErrNotPending, 0, ""},
		"another's":       {func(*lab, activation.Created) {}, other, activation.ErrNotFound, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				made := l.invite()
				c.prepare(l, made)
				before := len(l.records())
				for range 3 {
					if err := l.Revoke(l.Context(), clinic, nil, c.of, made.ID); !errors.Is(err, c.want) {
						t.Errorf("got %v, want %v", err, c.want)
					}
				}
				if n := len(l.records()) - before; n != c.writes {
					t.Errorf("%d records, want %d", n, c.writes)
				}
				if row := l.row(made.ID); row.Ended != c.ended {
					t.Errorf("it ended because %q, want %q", row.Ended, c.ended)
				}
				if n := len(l.store.Records(other)); n != 0 {
					t.Errorf("%d records of another", n)
				}
			})
		})
	}
	inLab(t, func(l *lab) {
		if err := l.Revoke(l.Context(), clinic, nil, patient, uuid.Must(uuid.NewV7())); !errors.Is(err, activation.ErrNotFound) {
			t.Errorf("of an unknown patient: %v", err)
		}
	})
}

func TestACT4_RevokingOneLeavesTheOtherAndTheCredential(t *testing.T) {
	inLab(t, func(l *lab) {
		won := l.let(l.invite())
		old, made := l.invite(), l.invite()
		if err := l.Revoke(l.Context(), clinic, nil, patient, old.ID); err != nil {
			t.Fatal(err)
		}
		l.works(won)
		again := l.let(made)
		if err := l.Revoke(l.Context(), clinic, nil, patient, made.ID); !errors.Is(err, activation.ErrNotPending) {
			t.Errorf("got %v", err)
		}
		l.works(again)
	})
}

func TestACT6_OneOfManyWins(t *testing.T) {
	inLab(t, func(l *lab) {
		for range 5 {
			made := l.invite()
			instances := []*activation.Service{l.Service, l.on(l.store)}
			var all sync.WaitGroup
			results := make([]activation.Redeemed, 64)
			for i := range results {
				all.Go(func() {
					won, err := instances[i%2].Redeem(l.Context(), phone, try(made, ""))
					if results[i] = won; err != nil {
						wantRefusal(t, err, audit.ReasonUsed)
					}
				})
			}
			all.Wait()
			winners := 0
			for _, won := range results {
				if won.AuthorisationCode != "" {
					winners++
					l.works(won)
				}
			}
			if winners != 1 {
				t.Fatalf("%d winners", winners)
			}
		}
		if n := len(l.records()); n != 10 {
			t.Errorf("%d records of five creations and redemptions", n)
		}
	})
}

func TestACT7_TenWrongOTPsEndAnActivation(t *testing.T) {
	for wrong, why := range map[int]audit.Reason{0: "", 1: "", 9: "", 10: audit.ReasonLocked, 12: audit.ReasonLocked} {
		t.Run(fmt.Sprint(wrong), func(t *testing.T) {
			inLab(t, func(l *lab) {
				made := l.invite()
				for i := range wrong {
					if i < 10 {
						l.refused(guess(made), audit.ReasonWrongOTP)
					} else {
						l.refused(guess(made), audit.ReasonLocked)
					}
				}
				if n := l.counted(made.ID); n != min(wrong, 10) {
					t.Errorf("%d are counted", n)
				}
				if why == "" {
					l.works(l.let(made))
					return
				}
				l.refused(try(made, ""), why)
				if row := l.row(made.ID); row.Status != activation.Revoked || row.Ended != audit.ReasonLocked || row.ModifiedBy != "anonymous" {
					t.Errorf("it stands as %+v", row)
				}
				next := l.invite()
				if row := l.row(made.ID); row.Ended != audit.ReasonLocked {
					t.Errorf("a later one changed why it ended: %s", row.Ended)
				}
				l.refused(try(made, ""), audit.ReasonLocked)
				l.works(l.let(next))
			})
		})
	}
}

// Whatever the order, each of the wrong ones that was told so was counted first, and the right one wins if and only if fewer than
// ten were counted before it.
func TestACT7_NoneOfManyAtOnceIsUncounted(t *testing.T) {
	for seed := range uint64(4) {
		inLab(t, func(l *lab) {
			made := l.invite()
			instances := []*activation.Service{l.Service, l.on(l.store), l.on(l.store)}
			var all sync.WaitGroup
			var mu sync.Mutex
			told := map[audit.Reason]int{}
			won := 0
			for i := range 201 {
				all.Go(func() {
					what := guess(made)
					if i == int(seed)*50 {
						what = try(made, "")
					}
					_, err := instances[i%3].Redeem(l.Context(), phone, what)
					mu.Lock()
					defer mu.Unlock()
					var refusal *activation.Refusal
					switch {
					case err == nil:
						won++
					case errors.As(err, &refusal):
						told[refusal.Reason]++
					default:
						t.Errorf("got %v", err)
					}
				})
			}
			all.Wait()
			counted := l.counted(made.ID)
			if counted != told[audit.ReasonWrongOTP] || counted > 10 || (won == 1) != (counted < 10) || won > 1 {
				t.Errorf("%d were counted, %d won, and they were told %v", counted, won, told)
			}
			if want := activation.Completed; (l.row(made.ID).Status == want) != (won == 1) {
				t.Errorf("it stands as %s", l.row(made.ID).Status)
			}
		})
	}
}

func TestACT7_ALowerSettingHoldsAtOnceAndForGood(t *testing.T) {
	inLab(t, func(l *lab) {
		made := l.invite()
		for range 5 {
			l.refused(guess(made), audit.ReasonWrongOTP)
		}
		l.set(func(p *activation.Policy) { p.MaxAttempts = 5 })
		l.refused(try(made, ""), audit.ReasonLocked)
		l.set(func(p *activation.Policy) { p.MaxAttempts = 10 })
		l.refused(try(made, ""), audit.ReasonLocked)
		// What was ended by its last attempt stays so.
		made = l.invite()
		l.set(func(p *activation.Policy) { p.MaxAttempts = 1 })
		l.refused(guess(made), audit.ReasonWrongOTP)
		l.set(func(p *activation.Policy) { p.MaxAttempts = 10 })
		l.refused(try(made, ""), audit.ReasonLocked)
	})
}

func TestACT8_TheTrueReasonIsKnown(t *testing.T) {
	for why, prepare := range map[audit.Reason]func(*lab, *activation.Created){
		audit.ReasonUnknownCode: func(_ *lab, a *activation.Created) { a.Locator = "2222222222" },
		audit.ReasonUsed:        func(l *lab, a *activation.Created) { l.let(*a) },
		audit.ReasonExpired:     func(l *lab, a *activation.Created) { l.goTo(a.Expires) },
		audit.ReasonReplaced:    func(l *lab, _ *activation.Created) { l.invite() },
		audit.ReasonLocked: func(l *lab, a *activation.Created) {
			for range 10 {
				l.refused(guess(*a), audit.ReasonWrongOTP)
			}
		},
		audit.ReasonRevoked: func(l *lab, a *activation.Created) {
			if err := l.Revoke(l.Context(), clinic, nil, patient, a.ID); err != nil {
				l.Fatal(err)
			}
		},
		audit.ReasonInactive: func(l *lab, _ *activation.Created) { l.setActive(false) },
	} {
		t.Run(string(why), func(t *testing.T) {
			inLab(t, func(l *lab) {
				made := l.invite()
				prepare(l, &made)
				records := len(l.records())
				l.refused(try(made, ""), why)
				l.refused(guess(made), why)
				// From the second look on a code that leads nowhere causes no write, not even an intent (model.md section 1).
				intents := len(l.store.Intents())
				l.refused(try(made, ""), why)
				l.refused(guess(made), why)
				if more := len(l.store.Intents()) - intents; more != 0 && why != audit.ReasonInactive {
					t.Errorf("%d intents were written", more)
				}
				if n := len(l.records()); n != records {
					t.Errorf("%d records were written", n-records)
				}
			})
		})
	}
	inLab(t, func(l *lab) { // inactive is no end
		made := l.invite()
		l.setActive(false)
		l.refused(try(made, ""), audit.ReasonInactive)
		l.setActive(true)
		l.works(l.let(made))
	})
}

func TestACT8_TheReasonIsKnownEvenIfTheIndexCannotBeMarked(t *testing.T) {
	inLab(t, func(l *lab) {
		made := l.invite()
		l.let(made)
		l.store.Fault = func(op memstore.Op, _ memstore.When) error {
			if op == memstore.OpEndCode {
				return errSilence
			}
			return nil
		}
		for range 3 {
			l.refused(try(made, ""), audit.ReasonUsed)
		}
	})
}

func TestACT9_ADayEndsAtLocalMidnight(t *testing.T) {
	for _, c := range []struct {
		zone, at string
		days     int
		want     string // the second before, as it is sent
	}{
		{"Europe/London", "2026-11-24T12:00:00Z", 5, "2026-11-29T23:59:59Z"},
		{"Europe/London", "2026-07-01T00:00:00+01:00", 5, "2026-07-06T23:59:59+01:00"},
		{"Europe/London", "2026-07-01T22:59:59Z", 5, "2026-07-06T23:59:59+01:00"},     // 23:59:59 by the local clock
		{"Europe/London", "2026-07-01T23:00:00Z", 5, "2026-07-07T23:59:59+01:00"},     // the next day by the local clock
		{"Europe/London", "2026-03-28T23:59:59.999Z", 1, "2026-03-29T23:59:59+01:00"}, // a day of 23 hours
		{"Europe/London", "2026-03-27T12:00:00Z", 1, "2026-03-28T23:59:59Z"},          // the evening before it
		{"Europe/London", "2026-10-24T12:00:00+01:00", 1, "2026-10-25T23:59:59Z"},     // a day of 25 hours
		{"Europe/London", "2026-10-23T12:00:00+01:00", 1, "2026-10-24T23:59:59+01:00"},
		{"Europe/London", "2028-02-24T12:00:00Z", 5, "2028-02-29T23:59:59Z"},
		{"Europe/London", "2027-02-24T12:00:00Z", 5, "2027-03-01T23:59:59Z"},
		{"Europe/London", "2028-02-29T12:00:00Z", 365, "2029-02-28T23:59:59Z"},
		{"Europe/London", "2026-12-30T12:00:00Z", 5, "2027-01-04T23:59:59Z"},
		{"Europe/London", "2026-12-31T23:59:59Z", 1, "2027-01-01T23:59:59Z"},
		{"Asia/Tokyo", "2026-12-31T15:00:00Z", 1, "2027-01-02T23:59:59+09:00"},
		{"Asia/Kathmandu", "2026-05-01T18:15:00Z", 5, "2026-05-07T23:59:59+05:45"},
		{"America/New_York", "2026-03-08T03:00:00Z", 1, "2026-03-08T23:59:59-04:00"},
		{"Pacific/Kiritimati", "2026-01-01T10:00:00Z", 1, "2026-01-03T23:59:59+14:00"},
		// Where the clock is put forward at midnight, the day before ends when it does.
		{"America/Santiago", "2026-09-04T12:00:00-04:00", 1, "2026-09-05T23:59:59-04:00"},
		{"America/Havana", "2026-03-06T12:00:00-05:00", 1, "2026-03-07T23:59:59-05:00"},
		{"Africa/Cairo", "2026-04-22T12:00:00+02:00", 1, "2026-04-23T23:59:59+02:00"},
		// Where it is put back at midnight, 23:00 to 23:59 come twice: the day ends after the second.
		{"America/Santiago", "2026-04-03T12:00:00-03:00", 1, "2026-04-04T23:59:59-04:00"},
		{"Africa/Cairo", "2026-10-28T12:00:00+03:00", 1, "2026-10-29T23:59:59+02:00"},
		// Samoa had no 30 December 2011.
		{"Pacific/Apia", "2011-12-28T12:00:00-10:00", 1, "2011-12-29T23:59:59-10:00"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		expires := activation.Policy{Zone: zone, ExpiryDays: c.days}.Expiry(at)
		if got := expires.Add(-time.Second).In(zone).Format(time.RFC3339); got != c.want {
			t.Errorf("%s, %s, %d days: got %s, want %s", c.zone, c.at, c.days, got, c.want)
		}
	}
}

func TestACT9_TheLastInstantCounts(t *testing.T) {
	for name, c := range map[string]struct {
		before time.Duration
		why    audit.Reason
		status activation.Status
	}{
		"a millisecond before": {time.Millisecond, "", activation.Pending},
		"at midnight":          {0, audit.ReasonExpired, activation.Expired},
		"a day after":          {-24 * time.Hour, audit.ReasonExpired, activation.Expired},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				made := l.invite()
				l.goTo(made.Expires.Add(-c.before))
				if status := l.row(made.ID).At(l.now()).Status; status != c.status {
					t.Errorf("it stands as %s, want %s", status, c.status)
				}
				if c.why == "" {
					l.works(l.let(made))
				} else {
					l.refused(try(made, ""), c.why)
				}
				if row := l.row(made.ID); (row.Status == activation.Expired) || c.why == "" && row.At(l.now().Add(time.Hour)).Status != activation.Completed {
					t.Errorf("stored is %s", row.Status)
				}
			})
		})
	}
}

// Who looked the code up in time and then waited for another's guess is judged by when the turn came.
func TestACT9_MidnightMayComeWhileATryWaits(t *testing.T) {
	for _, before := range []time.Duration{0, time.Millisecond} {
		inLab(t, func(l *lab) {
			made := l.invite()
			working, midnight := make(chan struct{}), make(chan struct{})
			var once sync.Once
			l.store.Fault = func(op memstore.Op, when memstore.When) error {
				if op == memstore.OpCommit && when == memstore.Before {
					once.Do(func() { close(working); <-midnight })
				}
				return nil
			}
			var all sync.WaitGroup
			all.Go(func() { l.refused(guess(made), audit.ReasonWrongOTP) })
			<-working
			all.Go(func() {
				if before > 0 {
					l.works(l.let(made))
				} else {
					l.refused(try(made, ""), audit.ReasonExpired)
				}
			})
			synctest.Wait()
			l.goTo(made.Expires.Add(-before))
			close(midnight)
			all.Wait()
		})
	}
}

// A later setting moves no expiry that was told.
func TestACT9_AnExpiryStaysAsItWasTold(t *testing.T) {
	inLab(t, func(l *lab) {
		made := l.invite()
		l.set(func(p *activation.Policy) { p.ExpiryDays = 1 })
		l.goTo(made.Expires.Add(-time.Second))
		l.works(l.let(made))
	})
}

func TestACT13_TheNewestCredentialsStay(t *testing.T) {
	for most, redeemed := range map[int]int{1: 4, 3: 7, 20: 23, 25: 23} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			inLab(t, func(l *lab) {
				l.set(func(p *activation.Policy) { p.MaxPerPatient = most })
				var won []activation.Redeemed
				for range redeemed {
					won = append(won, l.let(l.invite()))
				}
				l.alive(won, min(most, activation.MaxCredentials))
			})
		})
	}
}

// alive expects the last n to be all that live.
func (l *lab) alive(won []activation.Redeemed, n int) {
	l.Helper()
	for i, w := range won {
		_, err := l.Authorise(l.Context(), phone, w.Subject, w.AuthorisationCode)
		if live := i >= len(won)-n; live && err != nil {
			l.Errorf("%d of %d: %v", i+1, len(won), err)
		} else if !live {
			wantRefusal(l.T, err, audit.ReasonNoCredential)
		}
	}
	if credentials := l.head().Credentials; len(credentials) != n {
		l.Errorf("the head names %d credentials, want %d", len(credentials), n)
	}
}

func TestACT13_ALowerSettingHoldsFromTheNextRedemption(t *testing.T) {
	inLab(t, func(l *lab) {
		l.set(func(p *activation.Policy) { p.MaxPerPatient = 3 })
		var won []activation.Redeemed
		for range 3 {
			won = append(won, l.let(l.invite()))
		}
		l.set(func(p *activation.Policy) { p.MaxPerPatient = 1 })
		l.alive(won, 3)
		won = append(won, l.let(l.invite()))
		l.alive(won, 1)
	})
}

func TestACT15_AnOldPeppersCodesStillWork(t *testing.T) {
	inLab(t, func(l *lab) {
		won, made := l.let(l.invite()), l.invite()
		l.set(func(p *activation.Policy) { p.Keys = cheapRing(t, 8, 7) })
		l.works(won)
		l.refused(guess(made), audit.ReasonWrongOTP)
		again := l.let(made)
		l.works(again)
		l.set(func(p *activation.Policy) { p.Keys = cheapRing(t, 8) })
		l.works(again) // its credential was made by the new one
		won = again
		l.set(func(p *activation.Policy) { p.Keys = cheapRing(t, 9) })
		_, err := l.Authorise(l.Context(), phone, patient, won.AuthorisationCode)
		wantRefusal(t, err, audit.ReasonNoCredential)
	})
}

// An OTP that cannot be checked is no wrong one: nobody is told "no", and nothing is counted.
func TestACT15_AnOTPThatCannotBeCheckedIsNoWrongOne(t *testing.T) {
	inLab(t, func(l *lab) {
		l.invite()
		head := l.head()
		record := audit.Record{ID: "spoil", Time: l.now(), Announced: l.now(), Subject: patient, N: head.N + 1}
		made := l.invite()
		head = l.head()
		head.N++
		record.N = head.N
		head.Invitation.OTP = "$argon2id$spoilt"
		if _, err := l.store.Open(l.Context(), activation.Opening{Record: record}); err != nil {
			t.Fatal(err)
		}
		if err := l.store.Commit(l.Context(), activation.Change{Head: head, Record: record}); err != nil {
			t.Fatal(err)
		}
		for _, what := range []activation.Try{try(made, ""), guess(made)} {
			_, err := l.Redeem(l.Context(), phone, what)
			var refusal *activation.Refusal
			if err == nil || errors.As(err, &refusal) {
				t.Errorf("got %v, want an error that is no refusal", err)
			}
		}
		if n := l.counted(made.ID); n != 0 {
			t.Errorf("%d attempts were counted", n)
		}
	})
}

func TestTOK1_AUseIsNotedOnceAnHour(t *testing.T) {
	inLab(t, func(l *lab) {
		won := l.let(l.invite())
		touches := 0
		l.store.Fault = func(op memstore.Op, when memstore.When) error {
			if op == memstore.OpTouch && when == memstore.Before {
				touches++
				if touches == 1 {
					return errSilence // a note that is lost spoils nothing, and is made the next time
				}
			}
			return nil
		}
		day := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
		want := 0
		for minute := 0; minute < 24*60; minute += 20 {
			l.goTo(day.Add(time.Duration(minute) * time.Minute))
			l.works(won)
			if minute%60 == 0 {
				want++
			}
		}
		if want++; touches != want { // the lost one was repeated
			t.Errorf("a use was noted %d times in %d hours", touches, 24)
		}
	})
}

func TestTOK1_AGrantIsAsOldAsTheLookAtItsCredential(t *testing.T) {
	inLab(t, func(l *lab) {
		won := l.let(l.invite())
		l.store.Fault = func(memstore.Op, memstore.When) error { time.Sleep(3 * time.Second); return nil }
		began := l.now()
		grant, err := l.Authorise(l.Context(), phone, patient, won.AuthorisationCode)
		if err != nil || !grant.At().Equal(began) || grant.At().Location() != time.UTC {
			t.Errorf("got %+v, %v; want the time %s", grant, err, began)
		}
	})
}

func TestTOK1_WhateverIsWrongIsTheSameRefusal(t *testing.T) {
	inLab(t, func(l *lab) {
		l.set(func(p *activation.Policy) { p.MaxPerPatient = 1 })
		replaced := l.let(l.invite())
		won := l.let(l.invite())
		for name, c := range map[string]struct {
			of   subject.ID
			code string
		}{
			"an unknown patient":  {subject.ID{Kind: subject.Patient, Name: "nobody"}, won.AuthorisationCode},
			"a device":            {subject.ID{Kind: subject.Device, Name: patient.Name}, won.AuthorisationCode},
			"a wrong code":        {patient, won.AuthorisationCode[1:] + "2"},
			"a code's beginning":  {patient, won.AuthorisationCode[:31]},
			"no code":             {patient, ""},
			"a replaced code":     {patient, replaced.AuthorisationCode},
			"another upper case":  {subject.ID{Kind: subject.Patient, Name: "Patient-1"}, won.AuthorisationCode},
			"the code with space": {patient, won.AuthorisationCode + " "},
		} {
			grant, err := l.Authorise(l.Context(), phone, c.of, c.code)
			if grant != (activation.Grant{}) {
				t.Errorf("%s: got %+v", name, grant)
			}
			wantRefusal(t, err, audit.ReasonNoCredential)
			if want := "token.issue refused: no_credential"; err == nil || err.Error() != want {
				t.Errorf("%s: %v", name, err)
			}
		}
		before := len(l.records())
		l.works(won)
		if n := len(l.records()); n != before {
			t.Error("a refresh wrote a record")
		}
	})
}

func TestACT3_TheListHasPagesAndAFilter(t *testing.T) {
	inLab(t, func(l *lab) {
		if page, more, err := l.List(l.Context(), patient, "", uuid.Nil, 10); len(page) != 0 || more != uuid.Nil || err != nil {
			t.Errorf("of an unknown patient: %v, %v, %v", page, more, err)
		}
		// In turn completed, revoked and replaced; the last one stays pending, and expires.
		want := map[activation.Status][]activation.UUID{}
		prepend := func(id activation.UUID, statuses ...activation.Status) {
			for _, s := range statuses {
				want[s] = append([]activation.UUID{id}, want[s]...)
			}
		}
		for i := range 230 {
			time.Sleep(time.Second)
			made := l.invite()
			switch {
			case i == 229:
				prepend(made.ID, "", activation.Pending)
			case i%3 == 0:
				l.let(made)
				prepend(made.ID, "", activation.Completed)
			case i%3 == 1:
				if err := l.Revoke(l.Context(), clinic, nil, patient, made.ID); err != nil {
					t.Fatal(err)
				}
				prepend(made.ID, "", activation.Revoked)
			default:
				prepend(made.ID, "", activation.Revoked) // by the next
			}
		}
		check := func() {
			t.Helper()
			for _, status := range []activation.Status{"", activation.Pending, activation.Completed, activation.Revoked, activation.Expired} {
				for _, limit := range []int{1, 7, 76, 77, 100, 230, 231} {
					var got []activation.UUID
					after := uuid.Nil
					for range 240 {
						page, more, err := l.List(l.Context(), patient, status, after, limit)
						if err != nil || len(page) > limit || len(page) == 0 && after != uuid.Nil {
							t.Fatalf("a page of %d of %d: %v", len(page), limit, err)
						}
						for _, a := range page {
							if status != "" && a.Status != status {
								t.Fatalf("%q: %s is %s", status, a.ID, a.Status)
							}
							got = append(got, a.ID)
						}
						if more == uuid.Nil {
							break
						}
						if len(page) != limit || more != page[limit-1].ID {
							t.Fatalf("more behind %s, with a page of %d of %d", more, len(page), limit)
						}
						after = more
					}
					if diff := cmp.Diff(want[status], got); diff != "" {
						t.Fatalf("%q by %d (-want +got):\n%s", status, limit, diff)
					}
				}
			}
		}
		check()
		l.goTo(l.head().Invitation.Expires)
		want[activation.Expired], want[activation.Pending] = want[activation.Pending], nil
		check()
	})
}

func TestACT6_WhoHangsUpLosesNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		var hangUp context.CancelFunc
		l.store.Fault = func(op memstore.Op, _ memstore.When) error {
			if op == memstore.OpOpen {
				hangUp()
			}
			return nil
		}
		ctx, cancel := context.WithCancel(l.Context())
		hangUp = cancel
		made, err := l.Create(ctx, clinic, nil, patient, "")
		if err != nil || ctx.Err() == nil {
			t.Fatalf("%v, %v", err, ctx.Err())
		}
		ctx, cancel = context.WithCancel(l.Context())
		hangUp = cancel
		won, err := l.Redeem(ctx, phone, try(made, ""))
		if err != nil || ctx.Err() == nil {
			t.Fatalf("%v, %v", err, ctx.Err())
		}
		l.works(won)
	})
}
