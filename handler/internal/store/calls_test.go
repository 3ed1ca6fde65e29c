package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/budget"
	"latchkey/handler/internal/faults"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/storetest"
	"latchkey/handler/internal/subject"
)

// callsDocument is the table that this file asserts.
const callsDocument = "../../doc/storage-calls.md"

// cost is what an operation asks of storage: trips one after the other, and calls in all.
type cost struct{ sequence, calls int64 }

var documented = regexp.MustCompile(`(?m)^\| ([^|]+?) \| (\+?\d+) \| (\+?\d+) \|`)

func documentedCosts(t *testing.T) map[string]cost {
	t.Helper()
	text, err := os.ReadFile(callsDocument)
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]cost{}
	for _, m := range documented.FindAllStringSubmatch(string(text), -1) {
		sequence, err1 := strconv.ParseInt(m[2], 10, 64)
		calls, err2 := strconv.ParseInt(m[3], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if _, twice := table[m[1]]; twice {
			t.Errorf("%q is documented twice", m[1])
		}
		table[m[1]] = cost{sequence, calls}
	}
	if len(table) < 10 {
		t.Errorf("only %d rows were found in %s", len(table), callsDocument)
	}
	return table
}

// measured runs an operation and counts what it asks of storage.
func measured(do func(ctx context.Context)) cost {
	ctx, trips := Count(context.Background())
	do(ctx)
	return cost{trips.Sequence(), trips.Calls()}
}

// overtaken is a store in which somebody else's change comes before the first commit.
type overtaken struct {
	activation.Store
	by func()
}

func (s *overtaken) Commit(ctx context.Context, change activation.Change) error {
	if by := s.by; by != nil {
		s.by = nil
		by()
	}
	return s.Store.Commit(ctx, change)
}

// TestStorageCallsAreThoseDocumented measures what every operation costs, on Azurite and through the real store, and compares it
// with the table of the documents. model.md section 1 says what it should be.
func TestStorageCallsAreThoseDocumented(t *testing.T) {
	p := newPromise(t)
	s, _ := p.instance(t, faults.None)
	of := p.patient(t)
	const key = "a-key-of-22-characters"
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	refused := func(err error, why audit.Reason) {
		t.Helper()
		var refusal *activation.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != why {
			t.Errorf("got %v, want a refusal because %s", err, why)
		}
	}
	var made activation.Created
	create := func(ctx context.Context, key string) {
		t.Helper()
		var err error
		made, err = s.Create(ctx, clinic, nil, of, key)
		ok(err)
		p.given(made.Locator, made.OTP)
	}
	redeem := func(ctx context.Context, s *activation.Service, otp, key string) (activation.Redeemed, error) {
		return s.Redeem(ctx, audit.Origin{}, activation.Try{Locator: made.Locator, OTP: otp, Key: key})
	}
	wrong := func() string {
		if made.OTP == "222222" {
			return "333333"
		}
		return "222222"
	}
	var won activation.Redeemed
	win := func(ctx context.Context, s *activation.Service, key string) {
		t.Helper()
		var err error
		won, err = redeem(ctx, s, made.OTP, key)
		ok(err)
		p.given(won.AuthorisationCode)
	}
	authorise := func(ctx context.Context, code string) (activation.Grant, error) {
		return s.Authorise(ctx, audit.Origin{}, of, code)
	}

	got := map[string]cost{}
	got["create"] = measured(func(ctx context.Context) { create(ctx, "") })
	got["create, replacing a pending one"] = measured(func(ctx context.Context) { create(ctx, key) })
	got["create again under its key"] = measured(func(ctx context.Context) { create(ctx, key) })
	got["redeem, a wrong OTP"] = measured(func(ctx context.Context) {
		_, err := redeem(ctx, s, wrong(), "")
		refused(err, audit.ReasonWrongOTP)
	})
	got["redeem"] = measured(func(ctx context.Context) { win(ctx, s, key) })
	got["redeem again under its key"] = measured(func(ctx context.Context) { win(ctx, s, key) })
	got["redeem a dead code, the first time"] = measured(func(ctx context.Context) {
		_, err := redeem(ctx, s, made.OTP, "")
		refused(err, audit.ReasonUsed)
	})
	got["redeem a dead code, later"] = measured(func(ctx context.Context) {
		_, err := redeem(ctx, s, made.OTP, "")
		refused(err, audit.ReasonUsed)
	})
	got["redeem a dead code, later, under a key"] = measured(func(ctx context.Context) {
		_, err := redeem(ctx, s, made.OTP, "another-key-of-22-char")
		refused(err, audit.ReasonUsed)
	})
	got["redeem again under its key, after a stranger's try"] = measured(func(ctx context.Context) { win(ctx, s, key) })
	got["redeem an unknown code"] = measured(func(ctx context.Context) {
		_, err := s.Redeem(ctx, audit.Origin{}, activation.Try{Locator: "2222222222", OTP: "222222"})
		refused(err, audit.ReasonUnknownCode)
	})
	var grant activation.Grant
	got["refresh"] = measured(func(ctx context.Context) {
		var err error
		grant, err = authorise(ctx, won.AuthorisationCode)
		ok(err)
	})
	got["refresh, refused"] = measured(func(ctx context.Context) {
		_, err := authorise(ctx, won.AuthorisationCode+"2")
		refused(err, audit.ReasonNoCredential)
	})
	store := p.store(t, account, p.client)
	got["check of our own token"] = measured(func(ctx context.Context) {
		if live, err := store.Session(ctx, of, grant.Session(), storetest.Random()); err != nil || !live {
			t.Errorf("live %v, %v", live, err)
		}
	})
	got["list, up to 100 activations"] = measured(func(ctx context.Context) {
		all, _, err := s.List(ctx, of, "", uuid.Nil, 50)
		ok(err)
		if len(all) != 2 {
			t.Errorf("%d activations", len(all))
		}
	})
	got["note that a credential was used"] = measured(func(ctx context.Context) {
		key, err := store.Credential(context.Background(), of, p.keys.Credential(of, won.AuthorisationCode))
		ok(err)
		ok(store.Touch(ctx, of, key.Key, grant.At()))
	})
	create(t.Context(), "")
	got["revoke"] = measured(func(ctx context.Context) { ok(s.Revoke(ctx, clinic, nil, of, made.ID)) })
	bucket := budget.NewMeter("calls", 1, func() budget.Limit {
		return budget.Limit{Capacity: 1, Refill: 1, Period: 24 * time.Hour, Block: 1}
	}, budget.Environment{Store: store, Now: time.Now, Later: func(func(context.Context)) {}, Report: func(budget.Report) {}})
	got["lease a block of a budget"] = measured(func(ctx context.Context) {
		_, err := bucket.Take(ctx, "")
		ok(err)
	})
	got["ask an empty budget"] = measured(func(ctx context.Context) {
		if _, err := bucket.Take(ctx, ""); err == nil {
			t.Error("the budget is not empty")
		}
	})
	got["revoke again"] = measured(func(ctx context.Context) { ok(s.Revoke(ctx, clinic, nil, of, made.ID)) })

	create(t.Context(), "")
	for range 9 {
		_, err := redeem(t.Context(), s, wrong(), "")
		refused(err, audit.ReasonWrongOTP)
	}
	got["redeem, the tenth wrong OTP"] = measured(func(ctx context.Context) {
		_, err := redeem(ctx, s, wrong(), "")
		refused(err, audit.ReasonWrongOTP)
	})

	create(t.Context(), "")
	win(t.Context(), s, "")
	create(t.Context(), "")
	got["redeem, replacing a credential"] = measured(func(ctx context.Context) { win(ctx, s, "") })
	var sid string
	got["list credentials"] = measured(func(ctx context.Context) {
		all, imported, err := s.Credentials(ctx, of)
		ok(err)
		if len(all) != 1 || imported {
			t.Fatalf("%+v, imported %v", all, imported)
		}
		sid = all[0].Session
	})
	got["label a credential"] = measured(func(ctx context.Context) { ok(s.Label(ctx, clinic, nil, of, sid, "the new phone")) })
	expires := time.Now().Add(time.Hour)
	got["end a token"] = measured(func(ctx context.Context) { ok(s.EndToken(ctx, clinic, nil, of, sid, "-a-jti_", expires)) })
	got["end a token again"] = measured(func(ctx context.Context) { ok(s.EndToken(ctx, clinic, nil, of, sid, "-a-jti_", expires)) })
	got["end a credential"] = measured(func(ctx context.Context) { ok(s.EndOne(ctx, clinic, nil, of, sid)) })
	create(t.Context(), "")
	win(t.Context(), s, "")
	create(t.Context(), "")
	got["end all that buys tokens"] = measured(func(ctx context.Context) { ok(s.EndAll(ctx, clinic, nil, of)) })
	got["end all that buys tokens again"] = measured(func(ctx context.Context) { ok(s.EndAll(ctx, clinic, nil, of)) })
	got["read the feed, up to 1,000 endings"] = measured(func(ctx context.Context) {
		all, err := store.Endings(ctx, time.Now().Add(-activation.MaxLifetime))
		ok(err)
		if len(all) < 4 {
			t.Errorf("%d endings, want those of this test", len(all))
		}
	})

	p.deviceCosts(t, got)
	p.clinicianCosts(t, got)
	p.identityCosts(t, got)

	// Somebody else's miss is committed between the look at the head and the own commit.
	create(t.Context(), "")
	racer := &overtaken{Store: store, by: func() {
		_, err := redeem(t.Context(), s, wrong(), "")
		refused(err, audit.ReasonWrongOTP)
	}}
	loser := p.service(racer)
	lost := measured(func(ctx context.Context) { win(ctx, loser, "") })
	got["each lost race"] = cost{lost.sequence - got["redeem"].sequence, lost.calls - got["redeem"].calls}

	want := documentedCosts(t)
	for what, c := range got {
		if w, found := want[what]; !found {
			t.Errorf("not documented: | %s | %d | %d |", what, c.sequence, c.calls)
		} else if w != c {
			t.Errorf("%s: %d trips and %d calls, the document says %d and %d", what, c.sequence, c.calls, w.sequence, w.calls)
		}
	}
	for what := range want {
		if _, found := got[what]; !found {
			t.Errorf("documented and not measured: %s", what)
		}
	}
	// What issue after issue relies on (model.md section 1).
	for what, sequence := range map[string]int64{"create": 2, "redeem": 3, "refresh": 1, "end all that buys tokens": 3, "a device's token": 3, "each lost race": 2} {
		if got[what].sequence != sequence {
			t.Errorf("%s takes %d trips in sequence, want %d", what, got[what].sequence, sequence)
		}
	}
}

// TestEveryPepperAddsACall: a locator and an authorisation code are looked up under each version at once.
func TestEveryPepperAddsACall(t *testing.T) {
	store := start(t).store(t, account, start(t).client)
	keys := []keyed.Hash{storetest.Hash(), storetest.Hash(), storetest.Hash()}
	for what, do := range map[string]func(context.Context) error{
		"a code": func(ctx context.Context) error { _, err := store.Code(ctx, keys); return err },
		"a credential": func(ctx context.Context) error {
			_, err := store.Credential(ctx, storetest.Patient(), keys)
			return err
		},
	} {
		c := measured(func(ctx context.Context) {
			if err := do(ctx); err != nil {
				t.Error(err)
			}
		})
		if want := (cost{1, int64(len(keys))}); c != want {
			t.Errorf("%s: %s, want %s", what, fmt.Sprint(c), fmt.Sprint(want))
		}
	}
}

// deviceCosts measures what is asked of devices.
func (p *promise) deviceCosts(t *testing.T, got map[string]cost) {
	s, _ := p.instance(t, faults.None)
	of := storetest.Device()
	p.watch(t, of)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	change := func(patch activation.DevicePatch) cost {
		return measured(func(ctx context.Context) {
			_, err := s.ChangeDevice(ctx, clinic, nil, of, patch)
			ok(err)
		})
	}
	got["create a device"] = measured(func(ctx context.Context) {
		_, err := s.CreateDevice(ctx, clinic, nil, of.Name, "x", "ward-1")
		ok(err)
	})
	got["read a device"] = measured(func(ctx context.Context) { _, err := s.Device(ctx, of); ok(err) })
	var made activation.Created
	got["make a device's code"] = measured(func(ctx context.Context) {
		var err error
		made, err = s.Create(ctx, clinic, nil, of, "")
		ok(err)
		p.given(made.Locator)
	})
	var won activation.Redeemed
	got["redeem a device's code"] = measured(func(ctx context.Context) {
		var err error
		won, err = s.RedeemDevice(ctx, audit.Origin{}, made.Locator, "")
		ok(err)
		p.given(won.AuthorisationCode)
	})
	got["a device's token"] = measured(func(ctx context.Context) {
		_, err := s.AuthoriseDevice(ctx, audit.Origin{}, of, won.AuthorisationCode)
		ok(err)
	})
	got["a device's token, refused"] = measured(func(ctx context.Context) {
		_, err := s.AuthoriseDevice(ctx, audit.Origin{}, of, won.AuthorisationCode+"2")
		if !refused(err) {
			t.Errorf("got %v", err)
		}
	})
	text, ward, on, off := "y", "ward-2", true, false
	got["change a device"] = change(activation.DevicePatch{Description: &text})
	got["change a device to what it is"] = change(activation.DevicePatch{Description: &text})
	got["move a device"] = change(activation.DevicePatch{Location: &ward})
	got["make a device inactive"] = change(activation.DevicePatch{Active: &off})
	got["make a device active again"] = change(activation.DevicePatch{Active: &on})

	list := "ward-" + storetest.Random() // of this test alone
	for i := range 7 {
		of := subject.ID{Kind: subject.Device, Name: fmt.Sprint(list, ".", i)}
		p.watch(t, of)
		_, err := s.CreateDevice(t.Context(), clinic, nil, of.Name, "x", list)
		ok(err)
	}
	page := func(limit, want int, locations ...string) cost {
		return measured(func(ctx context.Context) {
			all, _, err := s.Devices(ctx, locations, nil, "", limit)
			ok(err)
			if len(all) != want {
				t.Errorf("%d devices, want %d", len(all), want)
			}
		})
	}
	got["a page of 5 devices of a location"] = page(5, 5, list)
	got["a page of 5 devices of three locations"] = page(5, 5, list, "nowhere-1", "nowhere-2")
	got["a page without a device"] = page(5, 0, "nowhere-1")
}

// service is an instance of the domain on a store.
func (p *promise) service(store activation.Store) *activation.Service {
	settings := activation.Policy{
		Keys: p.keys, Site: "OXF", OTPLength: 6, DeviceCodeLength: 14, CodeLength: 32, SaltLength: 16, MaxAttempts: 10, ExpiryDays: 5,
		Zone: time.UTC, MaxPerPatient: 1,
	}
	wait := func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return activation.New(store, func() activation.Policy { return settings }, activation.Clock{Now: time.Now, Wait: wait},
		rand.Reader, func(func(context.Context)) {}, storetest.Unlimited)
}
