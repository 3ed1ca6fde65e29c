package activation_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/storetest"
	"latchkey/handler/internal/subject"
)

// bench is a service on a store in memory, with a clock that stands.
type bench struct {
	*activation.Service
	store  *memstore.Store
	now    time.Time
	policy activation.Policy
}

var patient = subject.ID{Kind: subject.Patient, Name: "patient-1"}

func newBench(t *testing.T) *bench {
	t.Helper()
	ring, err := keyed.NewRingWithCost(keyed.Cost{Memory: 8, Passes: 1, Lanes: 1}, secret.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{store: memstore.New(), now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), policy: activation.Policy{
		Keys: ring, Site: "OXF", OTPLength: 6, CodeLength: 32, SaltLength: 32, MaxAttempts: 10, ExpiryDays: 5,
		Zone: time.UTC, MaxPerPatient: 1,
	}}
	b.Service = b.instance()
	return b
}

// instance is another process over the same store.
func (b *bench) instance() *activation.Service {
	return activation.New(b.store, func() activation.Policy { return b.policy }, activation.Clock{
		Now:  func() time.Time { return b.now },
		Wait: func(context.Context, time.Duration) error { return nil },
	}, rand.Reader, func(do func(context.Context)) { do(context.Background()) }, storetest.Unlimited)
}

var (
	clinic = audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "clinic"}}
	phone  = audit.Origin{}
)

const key, otherKey = "a-key-of-22-characters", "another-key-of-22-char"

func (b *bench) create(t *testing.T, key string) activation.Created {
	t.Helper()
	made, err := b.Create(t.Context(), clinic, nil, patient, key)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func try(made activation.Created, key string) activation.Try {
	return activation.Try{Locator: made.Locator, OTP: made.OTP, Key: key}
}

func wantRefusal(t *testing.T, err error, why audit.Reason) {
	t.Helper()
	var refusal *activation.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != why {
		t.Errorf("got %v, want a refusal because %s", err, why)
	}
}

func TestACT6_TheSameKeyIsToldTheSameAgainByAnyInstance(t *testing.T) {
	b := newBench(t)
	made := b.create(t, "")
	won, err := b.Redeem(t.Context(), phone, try(made, key))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // more often than there are misses: right repeats are not counted
		b.now = b.now.Add(2 * time.Second)
		again, err := b.instance().Redeem(t.Context(), phone, try(made, key))
		if err != nil || again != won {
			t.Fatalf("a repeat got %v, %v; want what the winner got", again, err)
		}
	}
	if _, err := b.Authorise(t.Context(), phone, patient, won.AuthorisationCode); err != nil {
		t.Errorf("the winner's code does not work: %v", err)
	}
	records := b.store.Records(patient)
	if len(records) != 22 || records[21].Reason != audit.ReasonRepeated || records[21].N != 22 {
		t.Errorf("%d records, the last %+v; want one of each repeat", len(records), records[len(records)-1])
	}
	b.now = b.now.Add(20 * time.Second) // 60 s after the redemption, to the second
	_, err = b.Redeem(t.Context(), phone, try(made, key))
	wantRefusal(t, err, audit.ReasonUsed)
}

func TestACT6_OnlyTheKeyOfTheWinnerIsToldAgain(t *testing.T) {
	b := newBench(t)
	made := b.create(t, "")
	if _, err := b.Redeem(t.Context(), phone, try(made, key)); err != nil {
		t.Fatal(err)
	}
	before := len(b.store.Records(patient))
	for _, k := range []string{"", otherKey} {
		_, err := b.Redeem(t.Context(), phone, try(made, k))
		wantRefusal(t, err, audit.ReasonUsed)
	}
	if after := len(b.store.Records(patient)); after != before {
		t.Errorf("another key was counted: %d records more", after-before)
	}
	intents := len(b.store.Intents())
	_, err := b.Redeem(t.Context(), phone, try(made, otherKey))
	wantRefusal(t, err, audit.ReasonUsed)
	if after := len(b.store.Intents()); after != intents {
		t.Errorf("a dead code caused %d writes", after-intents)
	}
}

func TestACT6_TheKeyAloneIsNotEnough(t *testing.T) {
	b := newBench(t)
	made := b.create(t, "")
	won, err := b.Redeem(t.Context(), phone, try(made, key))
	if err != nil {
		t.Fatal(err)
	}
	guess := try(made, key)
	guess.OTP = "222222"
	for range 10 {
		_, err := b.Redeem(t.Context(), phone, guess)
		wantRefusal(t, err, audit.ReasonWrongOTP)
	}
	_, err = b.Redeem(t.Context(), phone, try(made, key))
	wantRefusal(t, err, audit.ReasonLocked)
	if _, err := b.Authorise(t.Context(), phone, patient, won.AuthorisationCode); err != nil {
		t.Errorf("guessing at a repeat ended the winner's credential: %v", err)
	}
}

func TestACT6_ARepeatIsToldPastTheExpiry(t *testing.T) {
	b := newBench(t)
	made := b.create(t, "")
	b.now = made.Expires.Add(-10 * time.Second)
	won, err := b.Redeem(t.Context(), phone, try(made, key))
	if err != nil {
		t.Fatal(err)
	}
	b.now = made.Expires.Add(10 * time.Second)
	if again, err := b.Redeem(t.Context(), phone, try(made, key)); err != nil || again != won {
		t.Errorf("got %v, %v", again, err)
	}
}

func TestACT6_ARevokedCredentialIsNotToldAgain(t *testing.T) {
	b := newBench(t)
	first := b.create(t, "")
	if _, err := b.Redeem(t.Context(), phone, try(first, key)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Redeem(t.Context(), phone, try(b.create(t, ""), otherKey)); err != nil {
		t.Fatal(err)
	}
	_, err := b.Redeem(t.Context(), phone, try(first, key))
	wantRefusal(t, err, audit.ReasonWrongOTP) // its code is no live credential: nothing tells that apart from a wrong OTP
}

func TestACT6_ARepeatSurvivesAnotherSetting(t *testing.T) {
	b := newBench(t)
	made := b.create(t, "")
	won, err := b.Redeem(t.Context(), phone, try(made, key))
	if err != nil {
		t.Fatal(err)
	}
	b.policy.CodeLength = 40
	if again, err := b.Redeem(t.Context(), phone, try(made, key)); err != nil || again != won {
		t.Errorf("got %v, %v", again, err)
	}
}

func TestACT1_ACreationIsToldAgainWhileItIsPending(t *testing.T) {
	b := newBench(t)
	made := b.create(t, key)
	b.now = b.now.Add(23 * time.Hour)
	b.policy.OTPLength = 8
	if again := b.create(t, key); again != made {
		t.Errorf("got %+v, want %+v", again, made)
	}
	if n := len(b.store.Records(patient)); n != 1 {
		t.Errorf("%d records, want that of the one activation", n)
	}
	if _, err := b.Redeem(t.Context(), phone, try(made, "")); err != nil {
		t.Errorf("the code that was told twice does not work: %v", err)
	}
	if _, err := b.Create(t.Context(), clinic, nil, patient, key); !errors.Is(err, activation.ErrSuperseded) {
		t.Errorf("after it was redeemed: %v", err)
	}
	b.now = b.now.Add(time.Hour)
	if later := b.create(t, key); later.ID == made.ID {
		t.Error("after a day the key still names the old activation")
	}
}

func TestACT1_AKeyIsItsCallersOwn(t *testing.T) {
	b := newBench(t)
	made := b.create(t, key)
	other, err := b.Create(t.Context(), audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "other"}}, nil, patient, key)
	if err != nil || other.ID == made.ID || other.OTP == made.OTP && other.Locator == made.Locator {
		t.Errorf("another caller was told %+v, %v", other, err)
	}
	if _, err := b.Create(t.Context(), clinic, nil, patient, key); !errors.Is(err, activation.ErrSuperseded) {
		t.Errorf("after it was replaced: %v", err)
	}
}

func TestACT6_TheHeadRemembersABoundedNumber(t *testing.T) {
	b := newBench(t)
	for i := range 12 {
		k := otherKey + string(rune('a'+i))
		if _, err := b.Redeem(t.Context(), phone, try(b.create(t, k), k)); err != nil {
			t.Fatal(err)
		}
	}
	head, _, err := b.store.Reopen(t.Context(), audit.Record{Subject: patient})
	if err != nil || len(head.Redemptions) != 8 || len(head.Creations) != 8 {
		t.Errorf("the head holds %d redemptions and %d creations, %v", len(head.Redemptions), len(head.Creations), err)
	}
	b.now = b.now.Add(time.Minute)
	if _, err := b.Redeem(t.Context(), phone, try(b.create(t, ""), key)); err != nil {
		t.Fatal(err)
	}
	if head, _, _ = b.store.Reopen(t.Context(), audit.Record{Subject: patient}); len(head.Redemptions) != 1 {
		t.Errorf("%d redemptions are kept past their time", len(head.Redemptions)-1)
	}
}
