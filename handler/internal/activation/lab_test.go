package activation_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/storetest"
)

// lab is a service on a store in memory, in a bubble whose time passes only while everybody waits (testing/synctest). Its OTPs
// cost next to nothing, and its randomness is the same in every run.
type lab struct {
	*testing.T
	*activation.Service
	store  *memstore.Store
	random io.Reader

	mu     sync.Mutex
	policy activation.Policy
	later  func(func(context.Context)) // what runs in the background
	shift  time.Duration               // of the service's clock against the bubble's
}

// inLab runs a test in a lab of its own.
func inLab(t *testing.T, test func(*lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newLab(t, 1)) })
}

func newLab(t *testing.T, seed uint64) *lab {
	l := &lab{T: t, store: memstore.New(), random: seeded(seed), later: func(do func(context.Context)) { do(context.Background()) }, policy: activation.Policy{
		Keys: cheapRing(t, 7), Site: "OXF", OTPLength: 6, DeviceCodeLength: 14, CodeLength: 32, SaltLength: 32, MaxAttempts: 10, ExpiryDays: 5,
		Zone: time.UTC, MaxPerPatient: 1,
	}}
	l.Service = l.on(l.store)
	return l
}

// on is another instance, on a store that may be the lab's own behind something.
func (l *lab) on(store activation.Store) *activation.Service {
	return activation.New(store, l.settings, activation.Clock{Now: l.now, Wait: wait}, l.random, l.later,
		storetest.Unlimited)
}

func (l *lab) settings() activation.Policy {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.policy
}

// set changes settings while the service runs.
func (l *lab) set(change func(*activation.Policy)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.policy)
}

func (l *lab) now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Add(l.shift)
}

// goTo sets the service's clock.
func (l *lab) goTo(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shift = time.Until(at)
}

// wait takes a microsecond longer than it is told, so that it never ends together with a deadline.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d + time.Microsecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// seeded is randomness that many may draw from.
func seeded(seed uint64) io.Reader {
	return &shared{r: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})}
}

type shared struct {
	mu sync.Mutex
	r  io.Reader
}

func (s *shared) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}

// cheapRing holds peppers of one repeated byte each; its OTPs take microseconds.
func cheapRing(t testing.TB, peppers ...byte) *keyed.Ring {
	t.Helper()
	var all []secret.Text
	for _, b := range peppers {
		all = append(all, secret.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, keyed.MinPepper))))
	}
	ring, err := keyed.NewRingWithCost(keyed.Cost{Memory: 8, Passes: 1, Lanes: 1}, all...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// invite creates an activation of the patient.
func (l *lab) invite() activation.Created {
	l.Helper()
	made, err := l.Create(l.Context(), clinic, nil, patient, "")
	if err != nil {
		l.Fatal(err)
	}
	return made
}

// let redeems it.
func (l *lab) let(made activation.Created) activation.Redeemed {
	l.Helper()
	won, err := l.Redeem(l.Context(), phone, try(made, ""))
	if err != nil {
		l.Fatal(err)
	}
	return won
}

// guess is a try with a wrong OTP.
func guess(made activation.Created) activation.Try {
	other := string(codes.Alphabet[0])
	if made.OTP[0] == other[0] {
		other = string(codes.Alphabet[1])
	}
	return activation.Try{Locator: made.Locator, OTP: other + made.OTP[1:]}
}

func (l *lab) refused(what activation.Try, why audit.Reason) {
	l.Helper()
	won, err := l.Redeem(l.Context(), phone, what)
	if won.AuthorisationCode != "" {
		l.Errorf("a refusal comes with %+v", won)
	}
	wantRefusal(l.T, err, why)
}

// works buys a token.
func (l *lab) works(won activation.Redeemed) {
	l.Helper()
	if grant, err := l.Authorise(l.Context(), phone, won.Subject, won.AuthorisationCode); err != nil || grant.Subject() != won.Subject || grant.Session() == "" {
		l.Errorf("the authorisation code got %+v, %v", grant, err)
	}
}

func (l *lab) head() activation.Head {
	l.Helper()
	head, _, err := l.store.Reopen(l.Context(), audit.Record{Subject: patient})
	if err != nil {
		l.Fatal(err)
	}
	return head
}

func (l *lab) row(id activation.UUID) activation.Activation {
	l.Helper()
	a, err := l.store.Activation(l.Context(), patient, id)
	if err != nil || a == nil {
		l.Fatalf("the row of %s: %v, %v", id, a, err)
	}
	return *a
}

// rows are all activations of the patient, newest first.
func (l *lab) rows() []activation.Activation {
	l.Helper()
	all, err := l.store.Activations(l.Context(), patient, uuid.Nil, 1000)
	if err != nil {
		l.Fatal(err)
	}
	return all
}

// records are what was committed, after a look at whether every change has its record and every record its intent: N counts from
// 1 without a gap up to the head's, no id comes twice, and what was committed was announced.
func (l *lab) records() []audit.Record {
	l.Helper()
	all, intents := l.store.Records(patient), l.store.Intents()
	ids := map[string]bool{}
	for i, r := range all {
		if r.N != int64(i+1) {
			l.Errorf("record %d has N %d", i+1, r.N)
		}
		if ids[r.ID] {
			l.Errorf("two records have the id %s", r.ID)
		}
		ids[r.ID] = true
		announced := slices.ContainsFunc(intents, func(intent audit.Record) bool {
			return intent.ID == r.ID && intent.Announced.Equal(r.Announced) && intent.Time.Equal(r.Time) && intent.Subject == r.Subject
		})
		if !announced {
			l.Errorf("record %d (%s) was not announced", i+1, r.Action)
		}
	}
	if n := l.head().N; n != int64(len(all)) {
		l.Errorf("the head counts %d commits, there are %d records", n, len(all))
	}
	return all
}

// counted is how many wrong OTPs of an activation were recorded.
func (l *lab) counted(id activation.UUID) (n int) {
	l.Helper()
	for _, r := range l.records() {
		if r.Reason == audit.ReasonWrongOTP && r.Activation == id.String() {
			if r.Action != audit.RedeemActivation || r.Outcome != audit.Denied {
				l.Errorf("a wrong OTP is recorded as %s, %s", r.Action, r.Outcome)
			}
			n++
		}
	}
	return n
}

// setActive does what an administrator does to a subject.
func (l *lab) setActive(active bool) {
	l.Helper()
	record := audit.Record{ID: uuid.NewString(), Time: l.now(), Announced: l.now(), Subject: patient}
	opened, err := l.store.Open(l.Context(), activation.Opening{Record: record})
	if err != nil {
		l.Fatal(err)
	}
	head := opened.Head
	head.Active = active
	head.N++
	record.N = head.N
	if err := l.store.Commit(l.Context(), activation.Change{Head: head, Record: record}); err != nil {
		l.Fatal(err)
	}
}
