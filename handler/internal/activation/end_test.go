package activation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/subject"
)

// endings is the feed, newest first.
func (l *lab) endings() []activation.Ending {
	l.Helper()
	all, err := l.store.Endings(l.Context(), time.Time{})
	if err != nil {
		l.Fatal(err)
	}
	return all
}

func (l *lab) ok(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// grant buys a token.
func (l *lab) grant(won activation.Redeemed) activation.Grant {
	l.Helper()
	grant, err := l.Authorise(l.Context(), phone, won.Subject, won.AuthorisationCode)
	l.ok(err)
	return grant
}

// lives is whether a token of the session would be believed on our own routes.
func (l *lab) lives(sid string) bool {
	l.Helper()
	live, err := l.store.Session(l.Context(), patient, sid, "some-token")
	l.ok(err)
	return live
}

func (l *lab) wantNoToken(of subject.ID, code string) {
	l.Helper()
	_, err := l.Authorise(l.Context(), phone, of, code)
	wantRefusal(l.T, err, audit.ReasonNoCredential)
}

func TestACT14_EndingAllEndsAllThatBuysTokens(t *testing.T) {
	inLab(t, func(l *lab) {
		l.set(func(p *activation.Policy) { p.MaxPerPatient = 3 })
		won := []activation.Redeemed{l.let(l.invite()), l.let(l.invite()), l.let(l.invite())}
		var sids []string
		for _, w := range won {
			sids = append(sids, l.grant(w).Session())
		}
		pending := l.invite()
		records := len(l.records())
		l.ok(l.EndAll(l.Context(), clinic, nil, patient))
		for i, w := range won {
			l.wantNoToken(patient, w.AuthorisationCode)
			if l.lives(sids[i]) {
				t.Errorf("the session of credential %d lives", i)
			}
		}
		l.refused(try(pending, ""), audit.ReasonRevoked)
		if a := l.row(pending.ID); a.Status != activation.Revoked || a.Ended != audit.ReasonRevoked {
			t.Errorf("the pending activation is %s, %s", a.Status, a.Ended)
		}
		all := l.records()
		if len(all) != records+1 {
			t.Fatalf("%d records, want one more than %d", len(all), records)
		}
		r := all[records]
		if r.Action != audit.RevokeAuthorisation || r.Outcome != audit.Allowed || r.Activation != pending.ID.String() ||
			r.Sessions != strings.Join(sids, " ") || r.Origin.Actor != clinic.Actor {
			t.Errorf("the record is %+v", r)
		}
		var published []string
		for _, e := range l.endings() {
			if want := r.Time.Add(activation.MaxLifetime + activation.PublishedAfter); !e.Until.Equal(want) || e.Token != "" {
				t.Errorf("%+v is published, want until %s", e, want)
			}
			published = append(published, e.Session)
		}
		slices.Sort(published)
		slices.Sort(sids)
		if !slices.Equal(published, sids) {
			t.Errorf("%v are published, want %v", published, sids)
		}
	})
}

func TestACT14_EndingWhatHasEndedWritesNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		stranger := subject.ID{Kind: subject.Patient, Name: "nobody"}
		l.let(l.invite())
		l.ok(l.EndAll(l.Context(), clinic, nil, patient))
		head, feed := l.head(), len(l.endings())
		time.Sleep(time.Hour)
		for range 2 {
			l.ok(l.EndAll(l.Context(), clinic, nil, patient))
			l.ok(l.EndOne(l.Context(), clinic, nil, patient, "a-sid"))
			l.ok(l.EndOne(l.Context(), clinic, nil, patient, activation.ImportedID))
			l.ok(l.EndAll(l.Context(), clinic, nil, stranger))
		}
		if now := l.head(); now.Version != head.Version || len(l.endings()) != feed || len(l.store.Records(stranger)) != 0 {
			t.Errorf("something was written: %+v", now)
		}
	})
}

func TestACT14_AnImportedCredentialEndsToo(t *testing.T) {
	b := newBench(t)
	b.imports(t, "of the predecessor", true)
	if err := b.EndAll(t.Context(), clinic, nil, patient); err != nil {
		t.Fatal(err)
	}
	_, err := b.Authorise(t.Context(), phone, patient, "of the predecessor")
	wantRefusal(t, err, audit.ReasonNoCredential)
	if records := b.store.Records(patient); len(records) != 2 || records[1].Sessions != "" {
		t.Errorf("%+v", records)
	}
}

// An upgrade that is on its way while its credential is ended buys nothing: it was the predecessor's code that lost its worth.
func TestACT14_AnUpgradeOnItsWayIsOvertakenByTheEnd(t *testing.T) {
	for _, op := range []memstore.Op{memstore.OpOpen, memstore.OpCommit} {
		for _, when := range []memstore.When{memstore.Before, memstore.After} {
			b := newBench(t)
			b.imports(t, "of the predecessor", true)
			once := sync.OnceFunc(func() {
				if err := b.EndAll(context.WithoutCancel(t.Context()), clinic, nil, patient); err != nil {
					t.Error(err)
				}
			})
			busy := false
			b.store.Fault = func(o memstore.Op, w memstore.When) error {
				if o == op && w == when && !busy {
					busy = true
					once()
				}
				return nil
			}
			_, err := b.Authorise(t.Context(), phone, patient, "of the predecessor")
			wantRefusal(t, err, audit.ReasonNoCredential)
			if _, err = b.Authorise(t.Context(), phone, patient, "of the predecessor"); err == nil {
				t.Errorf("%s, %v: it buys tokens again", op, when)
			}
		}
	}
}

// What the gate says comes before anything but the intent.
func TestACT14_NobodyEndsAnythingWithoutBeingAdmitted(t *testing.T) {
	inLab(t, func(l *lab) {
		won := l.let(l.invite())
		sid := l.grant(won).Session()
		denied := errors.New("denied")
		gate := func(context.Context) error { return denied }
		for _, err := range []error{
			l.EndAll(l.Context(), clinic, gate, patient), l.EndOne(l.Context(), clinic, gate, patient, sid),
			l.EndToken(l.Context(), clinic, gate, patient, sid, "jti", l.now()), l.Label(l.Context(), clinic, gate, patient, sid, "mine"),
		} {
			if !errors.Is(err, denied) {
				t.Errorf("got %v, want denied", err)
			}
		}
		l.works(won)
		if len(l.endings()) != 0 {
			t.Error("something is published")
		}
	})
}

func TestACT13_OneOfSeveralCredentialsIsEnded(t *testing.T) {
	inLab(t, func(l *lab) {
		l.set(func(p *activation.Policy) { p.MaxPerPatient = 3 })
		won := []activation.Redeemed{l.let(l.invite()), l.let(l.invite()), l.let(l.invite())}
		pending := l.invite()
		sid := l.grant(won[1]).Session()
		l.ok(l.EndOne(l.Context(), clinic, nil, patient, sid))
		l.works(won[0])
		l.wantNoToken(patient, won[1].AuthorisationCode)
		l.works(won[2])
		if l.lives(sid) {
			t.Error("its session lives")
		}
		if feed := l.endings(); len(feed) != 1 || feed[0].Session != sid {
			t.Errorf("published: %+v", feed)
		}
		records := l.records()
		if r := records[len(records)-1]; r.Action != audit.RevokeCredential || r.Sessions != sid || r.Activation != "" {
			t.Errorf("the record is %+v", r)
		}
		l.let(pending) // it was not ended, and there is room for it
		l.works(won[0])
		l.works(won[2])
	})
}

func TestACT13_AnImportedCredentialIsEndedAlone(t *testing.T) {
	b := newBench(t)
	b.imports(t, "of the predecessor", true)
	_, imported, err := b.Credentials(t.Context(), patient)
	if err != nil || !imported {
		t.Fatalf("imported %v, %v", imported, err)
	}
	if err := b.EndOne(t.Context(), clinic, nil, patient, activation.ImportedID); err != nil {
		t.Fatal(err)
	}
	if _, imported, err = b.Credentials(t.Context(), patient); err != nil || imported {
		t.Errorf("imported %v, %v", imported, err)
	}
	_, err = b.Authorise(t.Context(), phone, patient, "of the predecessor")
	wantRefusal(t, err, audit.ReasonNoCredential)
}

// A redemption that puts a credential in the place of another publishes the old one's end (model.md section 1).
func TestACT13_AReplacedCredentialIsPublishedAsEnded(t *testing.T) {
	inLab(t, func(l *lab) {
		first := l.let(l.invite())
		sid := l.grant(first).Session()
		if len(l.endings()) != 0 {
			t.Fatal("a first credential ends none")
		}
		second := l.invite()
		l.refused(guess(second), audit.ReasonWrongOTP)
		if len(l.endings()) != 0 {
			t.Fatal("a wrong OTP ends none")
		}
		l.let(second)
		feed := l.endings()
		if len(feed) != 1 || feed[0].Session != sid {
			t.Fatalf("published: %+v, want %s", feed, sid)
		}
		records := l.records()
		r := records[len(records)-1]
		if r.Sessions != sid || !feed[0].Until.Equal(r.Time.Add(activation.MaxLifetime+activation.PublishedAfter)) {
			t.Errorf("the record does not say what to publish: %+v", r)
		}
	})
}

// Who redeemed is told so whatever becomes of the publishing, and one that fails is made up for.
func TestACT13_AReplacedCredentialIsPublishedInTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		failures  int
		published bool
	}{"two failures": {2, true}, "nothing but failures": {1000, false}} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				l.let(l.invite())
				second := l.invite()
				failed := 0
				l.store.Fault = func(op memstore.Op, when memstore.When) error {
					if op == memstore.OpPublish && when == memstore.Before && failed < c.failures {
						failed++
						return errSilence
					}
					return nil
				}
				won := l.let(second)
				l.works(won)
				if got := len(l.endings()) == 1; got != c.published || failed < 2 {
					t.Errorf("published: %v after %d failures", got, failed)
				}
			})
		})
	}
}

func TestTOK8_OneTokenEndsWithoutItsCredential(t *testing.T) {
	inLab(t, func(l *lab) {
		won := l.let(l.invite())
		sid := l.grant(won).Session()
		expires := l.now().Add(15 * time.Minute)
		l.ok(l.EndToken(l.Context(), clinic, nil, patient, sid, "the-jti", expires))
		records := len(l.records())
		for jti, want := range map[string]bool{"the-jti": false, "another": true} {
			if live, err := l.store.Session(l.Context(), patient, sid, jti); err != nil || live != want {
				t.Errorf("%s lives %v, %v", jti, live, err)
			}
		}
		l.works(won)
		want := activation.Ending{Token: "the-jti", Until: expires.UTC().Add(activation.PublishedAfter).Truncate(time.Millisecond)}
		if feed := l.endings(); len(feed) != 1 || feed[0] != want {
			t.Errorf("published: %+v, want %+v", feed, want)
		}
		// Once more, and a token of a credential that has ended: nothing is left to end.
		l.ok(l.EndToken(l.Context(), clinic, nil, patient, sid, "the-jti", expires))
		l.ok(l.EndToken(l.Context(), clinic, nil, patient, "no-sid", "another", expires))
		all := l.records()
		if r := all[len(all)-1]; len(all) != records || r.Action != audit.RevokeToken || r.Token != "the-jti" {
			t.Errorf("%d records, want %d; the last is %+v", len(all), records, r)
		}
	})
}

// Two who end one token at once both hear that it has ended, and there is one record.
func TestTOK8_ATokenEndsOnce(t *testing.T) {
	for seed := range uint64(100) {
		inLab(t, func(l *lab) {
			won := l.let(l.invite())
			sid := l.grant(won).Session()
			dice := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			l.store.Fault = func(memstore.Op, memstore.When) error {
				mu.Lock()
				d := time.Duration(dice.IntN(1000))
				mu.Unlock()
				time.Sleep(d)
				return nil
			}
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					if err := l.EndToken(l.Context(), clinic, nil, patient, sid, "the-jti", l.now().Add(time.Hour)); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			ended := 0
			for _, r := range l.records() {
				if r.Action == audit.RevokeToken {
					ended++
				}
			}
			if ended != 1 {
				t.Errorf("seed %d: %d records", seed, ended)
			}
		})
	}
}

// TestACT14_NoTokenAfterTheReply races refreshes and redemptions against the end: what begins after the reply gets nothing, what was
// got in between carries a sid that is dead and published.
func TestACT14_NoTokenAfterTheReply(t *testing.T) {
	const rounds = 1000
	before, flight := 0, 0
	for seed := range uint64(rounds) {
		inLab(t, func(l *lab) {
			l.set(func(p *activation.Policy) { p.MaxPerPatient = 2 })
			won, pending := l.let(l.invite()), l.invite()
			dice := rand.New(rand.NewPCG(seed, 2))
			var mu sync.Mutex
			l.store.Fault = func(memstore.Op, memstore.When) error {
				mu.Lock()
				d := time.Duration(1 + dice.IntN(1000))
				mu.Unlock()
				time.Sleep(d)
				return nil
			}
			var all sync.WaitGroup
			var over time.Time // when the reply was there
			all.Go(func() {
				time.Sleep(time.Duration(seed*7%5000 + 1))
				if err := l.EndAll(l.Context(), clinic, nil, patient); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				over = time.Now()
			})
			var grants []activation.Grant
			buy := func(code string) {
				began := time.Now()
				grant, err := l.Authorise(l.Context(), phone, patient, code)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					return
				}
				if !over.IsZero() && began.After(over) {
					t.Errorf("seed %d: a token was bought after the reply", seed)
				}
				grants = append(grants, grant)
				if before++; !over.IsZero() {
					flight++
				}
			}
			for range 3 {
				all.Go(func() {
					for range 8 {
						buy(won.AuthorisationCode)
					}
				})
			}
			redeemed := time.Duration(seed * 11 % 4000)
			all.Go(func() {
				time.Sleep(redeemed)
				if won, err := l.Redeem(l.Context(), phone, try(pending, "")); err == nil {
					buy(won.AuthorisationCode)
				}
			})
			all.Wait()
			published := map[string]time.Time{}
			for _, e := range l.endings() {
				published[e.Session] = e.Until
			}
			for _, g := range grants {
				if l.lives(g.Session()) {
					t.Errorf("seed %d: the session of a token that was bought before the end lives", seed)
				}
				if until, there := published[g.Session()]; !there || until.Before(g.At().Add(activation.MaxLifetime)) {
					t.Errorf("seed %d: the end of a token's session is published until %s, %v", seed, until, there)
				}
			}
			if l.head().Invitation != nil {
				t.Errorf("seed %d: an activation is pending", seed)
			}
		})
	}
	t.Logf("%d rounds: %d tokens were bought, %d of them were on their way when the reply came", rounds, before, flight)
	if before == 0 || flight == 0 {
		t.Error("nothing raced")
	}
}

// TestACT14_EveryFaultAtEveryCall: whatever is lost, who is told of the end finds it carried out and published, and who is not finds
// it whole or not at all.
func TestACT14_EveryFaultAtEveryCall(t *testing.T) {
	lost := errors.New("lost")
	for _, op := range []memstore.Op{memstore.OpOpen, memstore.OpPublish, memstore.OpCommit, memstore.OpReopen, memstore.OpReopenHead} {
		for _, when := range []memstore.When{memstore.Before, memstore.After} {
			for _, times := range []int{1, 3, 1000} {
				t.Run(fmt.Sprint(op, when, times), func(t *testing.T) {
					inLab(t, func(l *lab) {
						won := l.let(l.invite())
						sid := l.grant(won).Session()
						left, commits := times, 0
						l.store.Fault = func(o memstore.Op, w memstore.When) error {
							if o == memstore.OpCommit && w == memstore.After && op != memstore.OpCommit {
								if commits++; op == memstore.OpReopen && commits == 1 || op == memstore.OpReopenHead && commits == 1 {
									return lost // so that there is something to look for
								}
							}
							if o == op && w == when && left > 0 {
								left--
								return lost
							}
							return nil
						}
						err := l.EndAll(l.Context(), clinic, nil, patient)
						l.store.Fault = nil
						published := len(l.endings()) > 0
						switch live := l.lives(sid); {
						case err == nil && (live || !published):
							t.Errorf("it is told ended; lives %v, published %v", live, published)
						case err != nil && !errors.Is(err, commit.ErrUnavailable):
							t.Errorf("got %v", err)
						case !live && !published:
							t.Error("it has ended and is not published")
						}
						l.ok(l.EndAll(l.Context(), clinic, nil, patient)) // whoever asks again gets it done
						l.wantNoToken(patient, won.AuthorisationCode)
						l.records()
					})
				})
			}
		}
	}
}

// What was published for an end that surely came to nothing is taken back: somebody would be locked out for a day.
func TestACT14_AnEndThatCameToNothingIsTakenBack(t *testing.T) {
	inLab(t, func(l *lab) {
		won := l.let(l.invite())
		busy := false
		l.store.Fault = func(op memstore.Op, when memstore.When) error {
			if op == memstore.OpCommit && when == memstore.Before && !busy {
				busy = true
				l.setActive(true) // somebody else's change, each time
				busy = false
			}
			return nil
		}
		err := l.EndAll(l.Context(), clinic, nil, patient)
		l.store.Fault = nil
		if !errors.Is(err, commit.ErrBusy) {
			t.Fatalf("got %v, want ErrBusy", err)
		}
		l.works(won)
		if feed := l.endings(); len(feed) != 0 {
			t.Errorf("%+v are published, and nothing has ended", feed)
		}
	})
}
