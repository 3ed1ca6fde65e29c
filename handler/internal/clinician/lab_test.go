package clinician_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/subject"
)

var (
	clinic = audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "clinic"}}
	tablet = subject.ID{Kind: subject.Device, Name: "tablet"}
	byIt   = clinician.Through{Device: tablet, Session: "sid", Token: "jti"}
)

// lab is a service on a store in memory, in a bubble whose time passes only while everybody waits (testing/synctest).
type lab struct {
	*testing.T
	*clinician.Service
	store *memstore.Store
	zone  *time.Location
	shift time.Duration // of the service's clock against the bubble's
	taken int           // units of the budget that were not given back
}

func inLab(t *testing.T, test func(*lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{T: t, store: memstore.New(), zone: time.UTC}
		l.Service = l.on(l.store.Clinicians(), 1)
		test(l)
	})
}

// on is an instance on a store that may be the lab's own behind something.
func (l *lab) on(store clinician.Store, seed uint64) *clinician.Service {
	var mu sync.Mutex
	random := &shared{r: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})}
	return clinician.New(store, func() *time.Location { return l.zone }, clinician.Clock{
		Now: func() time.Time { return time.Now().Add(l.shift) },
		// A microsecond longer than it is told, so that it never ends together with a deadline.
		Wait: func(ctx context.Context, d time.Duration) error {
			select {
			case <-time.After(d + time.Microsecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}, random, func(context.Context, string) (func(), error) {
		mu.Lock()
		defer mu.Unlock()
		l.taken++
		return func() { mu.Lock(); defer mu.Unlock(); l.taken-- }, nil
	})
}

// shared is randomness that many may draw from.
type shared struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (s *shared) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}

// goTo sets the service's clock.
func (l *lab) goTo(at time.Time) { l.shift = time.Until(at) }

func named(name string) subject.ID { return subject.ID{Kind: subject.Clinician, Name: name} }

func to[T any](v T) *T { return &v }

// nurse are the fields of somebody who may log in by the identifier.
func nurse(identifier string) clinician.Fields {
	return clinician.Fields{LoginActive: to(true), Products: to([]string{"SEND"}), Groups: to([]string{"SEND Clinician"}), Identifier: &identifier}
}

func (l *lab) create(name, identifier string) {
	l.Helper()
	if err := l.Create(l.Context(), clinic, nil, named(name), nurse(identifier)); err != nil {
		l.Fatal(err)
	}
}

func (l *lab) change(name string, fields clinician.Fields) {
	l.Helper()
	if err := l.Change(l.Context(), clinic, nil, named(name), fields); err != nil {
		l.Fatal(err)
	}
}

// is reads a clinician, zero if nobody knows them.
func (l *lab) is(name string) clinician.Clinician {
	l.Helper()
	is, err := l.store.Clinicians().Clinician(l.Context(), named(name))
	if err != nil {
		l.Fatal(err)
	}
	if is == nil {
		return clinician.Clinician{}
	}
	return *is
}

// let gives the tablet a session.
func (l *lab) let(active bool) {
	l.Helper()
	c := activation.Credential{Session: byIt.Session, Key: keyed.Hash{Version: "1", Sum: "sum"}}
	err := l.store.Commit(l.Context(), activation.Change{
		Head:  activation.Head{Subject: tablet, Active: active, N: 1, Credentials: []activation.Credential{c}},
		Added: []activation.Credential{c}, Record: audit.Record{ID: "let", Time: time.Now(), Subject: tablet, N: 1},
	})
	if err != nil {
		l.Fatal(err)
	}
}

// stolen takes the session away.
func (l *lab) stolen() {
	l.Helper()
	head, _, err := l.store.Reopen(l.Context(), audit.Record{ID: "none", Subject: tablet})
	if err != nil {
		l.Fatal(err)
	}
	removed := head.Credentials
	head.N, head.Credentials = head.N+1, nil
	err = l.store.Commit(l.Context(), activation.Change{Head: head, Removed: removed, Record: audit.Record{ID: "stolen", Time: time.Now(), Subject: tablet, N: head.N}})
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) refused(err error, why audit.Reason) {
	l.Helper()
	var refusal *activation.Refusal
	if !errors.As(err, &refusal) || refusal.Action != audit.LogIn || refusal.Reason != why {
		l.Errorf("got %v, want a refusal because %s", err, why)
	}
}

// owner is whom both rows agree on, "" for nobody.
func (l *lab) owner(identifier string) string {
	l.Helper()
	claim, err := l.store.Clinicians().Claim(l.Context(), identifier)
	if err != nil {
		l.Fatal(err)
	}
	if claim == nil || l.is(claim.Clinician.Name).Identifier != identifier {
		return ""
	}
	return claim.Clinician.Name
}

var errLost = errors.New("no answer")

// chaotic is a store that sometimes loses a request or its reply, and from one operation on answers nothing any more: its process
// was killed.
type chaotic struct {
	clinician.Store
	mu    sync.Mutex
	dice  *rand.Rand
	lossy float64
	left  int // operations until it is killed, negative for never
}

func (c *chaotic) hit() (before, after error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		return errLost, nil
	}
	c.left--
	if c.dice.Float64() < c.lossy {
		before = errLost
	}
	if c.dice.Float64() < c.lossy || c.left == 0 { // killed behind the last one
		after = errLost
	}
	return before, after
}

func through[T any](c *chaotic, do func() (T, error)) (zero T, _ error) {
	before, after := c.hit()
	if before != nil {
		return zero, before
	}
	v, err := do()
	if after != nil {
		return zero, after
	}
	return v, err
}

type noValue struct{}

func (c *chaotic) Open(ctx context.Context, r audit.Record, identifier string) (clinician.Opened, error) {
	return through(c, func() (clinician.Opened, error) { return c.Store.Open(ctx, r, identifier) })
}

func (c *chaotic) Commit(ctx context.Context, change clinician.Change) error {
	_, err := through(c, func() (noValue, error) { return noValue{}, c.Store.Commit(ctx, change) })
	return err
}

func (c *chaotic) Put(ctx context.Context, claim clinician.Claim) (clinician.Version, error) {
	return through(c, func() (clinician.Version, error) { return c.Store.Put(ctx, claim) })
}

func (c *chaotic) Claim(ctx context.Context, identifier string) (*clinician.Claim, error) {
	return through(c, func() (*clinician.Claim, error) { return c.Store.Claim(ctx, identifier) })
}

func (c *chaotic) Clinician(ctx context.Context, of subject.ID) (*clinician.Clinician, error) {
	return through(c, func() (*clinician.Clinician, error) { return c.Store.Clinician(ctx, of) })
}

func (c *chaotic) Reopen(ctx context.Context, r audit.Record) (*clinician.Clinician, bool, error) {
	var committed bool
	now, err := through(c, func() (now *clinician.Clinician, err error) {
		now, committed, err = c.Store.Reopen(ctx, r)
		return now, err
	})
	return now, committed && err == nil, err
}
