package identity_test

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/memstore"
)

const tenant = "11111111-2222-4333-8444-555555555555"

var (
	noon    = time.Date(2026, 11, 24, 12, 34, 56, 789e6, time.UTC)
	machine = identity.Key{Issuer: tenant, Subject: "aaaaaaaa-0000-4000-8000-000000000001"}
	rebuilt = identity.Key{Issuer: "https://id.example/realms/ward", Subject: "machine 2"}
	admin   = identity.Key{Issuer: tenant, Subject: "aaaaaaaa-0000-4000-8000-0000000000ad"}
)

// by is where a request of an identity comes from.
func by(key identity.Key) audit.Origin {
	return audit.Origin{Actor: audit.Actor{Issuer: key.Issuer, ID: key.Subject}, Source: "192.0.2.1", Trace: "0af7651916cd43dd8448eb211c80319c"}
}

func label(s string) *string { return &s }

// lab is a registry on a store in memory. Its clock stands, and nobody really waits.
type lab struct {
	*testing.T
	*identity.Registry
	store *memstore.Store
}

func newLab(t *testing.T) *lab {
	l := &lab{T: t, store: memstore.New()}
	l.Registry = l.instance()
	return l
}

// instance is one more registry on the same store.
func (l *lab) instance() *identity.Registry {
	wait := func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return identity.New(l.store.Identities(), identity.Clock{Now: func() time.Time { return noon }, Wait: wait}, rand.Reader)
}

func (l *lab) ok(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) refused(what string, err, want error) {
	l.Helper()
	if !errors.Is(err, want) {
		l.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func (l *lab) equal(what string, got, want any) {
	l.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		l.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// read reads an identity that must be there.
func (l *lab) read(key identity.Key) identity.Identity {
	l.Helper()
	is, err := l.Lookup(l.Context(), key)
	l.ok(err)
	if is == nil {
		l.Fatalf("%v is unknown", key)
	}
	return *is
}

func (l *lab) pending(issuer string) int64 {
	l.Helper()
	now, _, err := l.store.Identities().Reopen(l.Context(), audit.Record{Identity: audit.Actor{Issuer: issuer}})
	l.ok(err)
	return now.Queue.Pending
}

// written is how much was ever written: records of changes, and intents.
func (l *lab) written() (n int) {
	for _, issuer := range []string{machine.Issuer, rebuilt.Issuer} {
		n += len(l.store.Identities().Records(issuer))
	}
	return n
}

// actions are what the records of an issuer say, in the order of the commits.
func (l *lab) actions(issuer string) (all []string) {
	for _, r := range l.store.Identities().Records(issuer) {
		all = append(all, strings.TrimPrefix(string(r.Action), "identity.")+" "+r.State)
	}
	return all
}

// ask brings an identity into the queue.
func (l *lab) ask(key identity.Key) {
	l.Helper()
	state, err := l.Ask(l.Context(), by(key), key, identity.App)
	l.ok(err)
	l.equal("state", state, identity.Pending)
}

// in brings an identity into a state.
func (l *lab) in(state identity.State, key identity.Key) {
	l.Helper()
	ctx, from := l.Context(), by(admin)
	if state == "" {
		return
	}
	l.ask(key)
	switch state {
	case identity.Approved:
		_, err := l.Approve(ctx, from, nil, key, identity.Approval{Terms: identity.Terms{Label: label("it"), Scopes: []string{"a", "b"}}})
		l.ok(err)
	case identity.Disabled:
		_, err := l.Change(ctx, from, nil, key, identity.Patch{State: identity.Disabled})
		l.ok(err)
	case identity.Retired:
		heir := identity.Key{Issuer: key.Issuer, Subject: "heir of " + key.Subject}
		l.ask(heir)
		_, err := l.Approve(ctx, from, nil, heir, identity.Approval{Replaces: &key})
		l.ok(err)
	}
}

var errLost = errors.New("no answer")

// seeded is a generator whose seed a failure tells.
func seeded(t *testing.T) *mathrand.Rand {
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	return mathrand.New(mathrand.NewPCG(seed, 1))
}

// lossy loses a part of the requests to storage on their way, and of the replies.
func (l *lab) lossy(random *mathrand.Rand, part float64, ops ...memstore.Op) {
	var mu sync.Mutex
	l.store.Fault = func(op memstore.Op, _ memstore.When) error {
		mu.Lock()
		defer mu.Unlock()
		for _, lost := range ops {
			if op == lost && random.Float64() < part {
				return errLost
			}
		}
		return nil
	}
}

// again reports whether a caller would try again.
func again(err error) bool {
	return errors.Is(err, commit.ErrBusy) || errors.Is(err, commit.ErrUnavailable)
}
