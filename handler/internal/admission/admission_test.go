package admission_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/handler/internal/admission"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/subject"
)

const scope = "write:gdm_activation"

var who = identity.Key{Issuer: "tenant", Subject: "object"}

// book is a registry in memory that can be slow, broken or full.
type book struct {
	mu       sync.Mutex
	known    map[identity.Key]*identity.Identity
	asked    []identity.Kind
	seen     int
	lookups  int
	beside   int
	takes    time.Duration
	err      error
	askErr   error
	panicked bool
}

func (b *book) Lookup(ctx context.Context, key identity.Key) (*identity.Identity, error) {
	time.Sleep(b.takes)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lookups++
	if ctx.Value(besideKey{}) != nil {
		b.beside++
	}
	if b.panicked {
		panic("the registry broke")
	}
	return b.known[key], errors.Join(b.err, ctx.Err())
}

func (b *book) Ask(_ context.Context, _ audit.Origin, key identity.Key, kind identity.Kind) (identity.State, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.askErr != nil {
		return "", b.askErr
	}
	b.asked = append(b.asked, kind)
	b.known[key] = &identity.Identity{Key: key, State: identity.Pending}
	return identity.Pending, nil
}

func (b *book) Seen(context.Context, identity.Key) error { b.seen++; return nil }

type besideKey struct{}

// door is one with its book, a clock that a test turns, and the settings.
type door struct {
	*admission.Door
	book   *book
	now    time.Time
	policy caller.Policy
}

func newDoor(t *testing.T, known ...identity.Identity) *door {
	t.Helper()
	d := &door{book: &book{known: map[identity.Key]*identity.Identity{}}, now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	for _, i := range known {
		i.Key = who
		if i.Seen.IsZero() {
			i.Seen = d.now
		}
		d.book.known[who] = &i
	}
	var err error
	d.Door, err = admission.New(admission.Config{
		Registry: d.book, Policy: func() caller.Policy { return d.policy }, Now: func() time.Time { return d.now },
		Beside: func(ctx context.Context) context.Context { return context.WithValue(ctx, besideKey{}, true) },
		Later:  func(do func(context.Context)) { do(context.Background()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// enter is a whole request: admitted, and then the gate asked twice, as the domain and the adapter do. It says whether there was a gate.
func (d *door) enter(t *testing.T, c caller.Caller, need caller.Need) (beside bool, err error) {
	t.Helper()
	gate, err := d.Admit(t.Context(), audit.Origin{}, c, need)
	if gate == nil || err != nil {
		if gate != nil {
			t.Error("a gate beside a refusal")
		}
		return false, err
	}
	first, second := gate(t.Context()), gate(t.Context())
	if !errors.Is(first, second) && first != second {
		t.Errorf("the gate changed its mind: %v, %v", first, second)
	}
	return true, first
}

func app(roles ...string) caller.Caller {
	return caller.Caller{Kind: caller.App, Actor: audit.Actor{Issuer: who.Issuer, ID: who.Subject}, Scopes: roles}
}

func person(scp ...string) caller.Caller {
	return caller.Caller{Kind: caller.User, Actor: audit.Actor{Issuer: who.Issuer, ID: who.Subject}, Delegated: scp}
}

func TestAUT2_WhoMay(t *testing.T) {
	approved := identity.Identity{State: identity.Approved}
	holding := identity.Identity{State: identity.Approved, Scopes: []string{scope}}
	of := func(s identity.State) identity.Identity {
		return identity.Identity{State: s, Scopes: []string{scope}}
	}
	admin := caller.Policy{Administrators: []identity.Key{who}}
	require := caller.Policy{Require: true}
	plain, delegated := caller.Need{Scope: scope}, caller.Need{Scope: scope, Delegated: true}
	patient := caller.Caller{Kind: caller.Subject, Subject: subject.ID{Kind: subject.Patient, Name: "p"}, Scopes: []string{scope}}
	for _, test := range []struct {
		name   string
		known  []identity.Identity
		policy caller.Policy
		c      caller.Caller
		need   caller.Need
		beside bool // the registry is asked beside the operation
		want   caller.Cause
	}{
		{"an app with the role", nil, caller.Policy{}, app(scope), plain, true, ""},
		{"and one that is registered without scopes", []identity.Identity{approved}, caller.Policy{}, app(scope), plain, true, ""},
		{"and one that waits", []identity.Identity{of(identity.Pending)}, caller.Policy{}, app(scope), plain, true, ""},
		{"a registered app", []identity.Identity{holding}, caller.Policy{}, app(), plain, false, ""},
		{"an app by default scopes", []identity.Identity{approved}, caller.Policy{DefaultScopes: []string{scope}}, app(), plain, false, ""},
		{"an administrator", nil, admin, app(), plain, true, ""},
		{"an administrator where registration is required", nil, caller.Policy{Administrators: []identity.Key{who}, Require: true}, app(), plain, true, ""},
		{"a registered app with the role where registration is required", []identity.Identity{approved}, require, app(scope), plain, false, ""},
		{"a registered person through a client with the scope", []identity.Identity{holding}, caller.Policy{}, person(scope), plain, false, ""},
		{"a registered person through a client that may do all", []identity.Identity{holding}, caller.Policy{}, person("user_impersonation"), plain, false, ""},
		{"a person's scp on a delegated route", nil, caller.Policy{}, person(scope), delegated, true, ""},
		{"an administrator in person", nil, admin, person("user_impersonation"), plain, true, ""},
		{"a person with a provider's role", nil, caller.Policy{}, caller.Caller{Kind: caller.User, Actor: audit.Actor{Issuer: who.Issuer, ID: who.Subject}, Scopes: []string{scope}, Whole: true}, plain, true, ""},

		{"a role that only begins so", nil, caller.Policy{}, app(scope + "s"), plain, false, caller.IdentityPending},
		{"a role in another case", nil, caller.Policy{}, app("Write:gdm_activation"), plain, false, caller.IdentityPending},
		{"an app of scp", nil, caller.Policy{}, caller.Caller{Kind: caller.App, Actor: audit.Actor{Issuer: who.Issuer, ID: who.Subject}, Delegated: []string{scope}}, plain, false, caller.IdentityPending},
		{"somebody unknown", nil, caller.Policy{}, app(), plain, false, caller.IdentityPending},
		{"somebody who waits", []identity.Identity{of(identity.Pending)}, caller.Policy{}, app(), plain, false, caller.IdentityPending},
		{"default scopes of somebody who waits", []identity.Identity{of(identity.Pending)}, caller.Policy{DefaultScopes: []string{scope}}, app(), plain, false, caller.IdentityPending},
		{"a registered app with another role", []identity.Identity{approved}, caller.Policy{}, app("read:x"), plain, false, caller.NoAppRole},
		{"a registered app with another scope", []identity.Identity{{State: identity.Approved, Scopes: []string{"read:x"}}}, caller.Policy{}, app(), plain, false, caller.RegistrationLacksScope},
		{"the role of a disabled app", []identity.Identity{of(identity.Disabled)}, caller.Policy{}, app(scope), plain, true, caller.IdentityDisabled},
		{"a disabled administrator", []identity.Identity{of(identity.Disabled)}, admin, app(), plain, true, caller.IdentityDisabled},
		{"the scopes of a retired app", []identity.Identity{of(identity.Retired)}, caller.Policy{}, app(), plain, false, caller.IdentityRetired},
		{"the role where registration is required", nil, require, app(scope), plain, false, caller.RegistrationRequired},
		{"the same, waiting", []identity.Identity{of(identity.Pending)}, require, app(scope), plain, false, caller.RegistrationRequired},
		{"a person's scp elsewhere", []identity.Identity{approved}, caller.Policy{}, person(scope), plain, false, caller.ScopeNotDelegated},
		{"a person's scp alone", nil, caller.Policy{}, person(scope), plain, false, caller.IdentityPending},
		{"a registered person through another client", []identity.Identity{holding}, caller.Policy{}, person("openid"), plain, false, caller.NotDelegated},
		{"an administrator through another client", nil, admin, person("openid"), plain, false, caller.NotDelegated},
		{"a patient with a scope of that name", nil, caller.Policy{}, patient, plain, false, caller.SubjectToken},
		{"a route that names no scope", []identity.Identity{approved}, caller.Policy{}, app(""), caller.Need{}, false, caller.NoAppRole},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDoor(t, test.known...)
			d.policy = test.policy
			beside, err := d.enter(t, test.c, test.need)
			var forbidden *caller.Forbidden
			errors.As(err, &forbidden)
			switch {
			case test.want == "" && err != nil, test.want != "" && (forbidden == nil || forbidden.Cause != test.want || forbidden.Scope != test.need.Scope):
				t.Errorf("got %v, want %q", err, test.want)
			case beside != test.beside:
				t.Errorf("beside the operation: %v", beside)
			case (d.book.beside > 0) != beside:
				t.Errorf("counted as beside: %d", d.book.beside)
			case d.book.lookups > 1, test.c.Kind == caller.Subject && d.book.lookups > 0:
				t.Errorf("%d look-ups", d.book.lookups)
			}
			wantAsked := test.known == nil && (test.want == caller.IdentityPending || test.want == caller.RegistrationRequired)
			if (len(d.book.asked) == 1) != wantAsked {
				t.Errorf("recorded as pending: %v", d.book.asked)
			}
		})
	}
}

func TestAUT3_SomebodyUnknownIsRecordedOnceAsWhatTheyAre(t *testing.T) {
	d := newDoor(t)
	for range 3 {
		if _, err := d.enter(t, person(), caller.Need{Scope: scope}); err == nil {
			t.Fatal("admitted")
		}
	}
	if !slices.Equal(d.book.asked, []identity.Kind{identity.User}) {
		t.Errorf("recorded: %v", d.book.asked)
	}
}

func TestAUT3_AFullQueueIsSaid(t *testing.T) {
	d := newDoor(t)
	d.book.askErr = identity.ErrFull
	_, err := d.enter(t, app(), caller.Need{Scope: scope})
	var forbidden *caller.Forbidden
	if !errors.As(err, &forbidden) || forbidden.Cause != caller.IdentityPendingFull {
		t.Error(err)
	}
}

// Nobody who was refused may cause intents again and again: for a minute the registry comes first for them.
func TestAUT2_TheRefusedAreLookedAtFirst(t *testing.T) {
	d := newDoor(t, identity.Identity{State: identity.Disabled})
	need := caller.Need{Scope: scope}
	for _, step := range []struct {
		after  time.Duration
		beside bool
	}{{0, true}, {0, false}, {59 * time.Second, false}, {59 * time.Second, false}, {time.Minute, true}} {
		d.now = d.now.Add(step.after)
		beside, err := d.enter(t, app(scope), need)
		if err == nil || beside != step.beside {
			t.Errorf("after %v: beside %v, %v", step.after, beside, err)
		}
	}
	// Once they are admitted again, that is forgotten.
	d.book.known[who].State = identity.Approved
	for _, want := range []bool{false, true} {
		if beside, err := d.enter(t, app(scope), need); err != nil || beside != want {
			t.Errorf("beside %v, %v", beside, err)
		}
	}
}

func TestAUT2_WithoutTheRegistryNobodyIsAdmitted(t *testing.T) {
	for _, c := range []caller.Caller{app(scope), app()} {
		d := newDoor(t)
		d.book.err = errors.New("connection refused")
		if _, err := d.enter(t, c, caller.Need{Scope: scope}); !errors.Is(err, commit.ErrUnavailable) {
			t.Error(err)
		}
	}
	d := newDoor(t)
	d.book.panicked = true
	if _, err := d.enter(t, app(scope), caller.Need{Scope: scope}); err == nil {
		t.Error("a panic admitted somebody")
	}
}

func TestAUT2_TheGateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, identity.Identity{State: identity.Disabled})
		d.book.takes = time.Second
		began := time.Now()
		gate, err := d.Admit(t.Context(), audit.Origin{}, app(scope), caller.Need{Scope: scope})
		if err != nil || time.Since(began) != 0 {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := gate(short); !errors.Is(err, commit.ErrUnavailable) {
			t.Errorf("an answer before there was one: %v", err)
		}
		if err := gate(t.Context()); err == nil || errors.Is(err, commit.ErrUnavailable) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestAUT3_LastSeenIsNotedOnceAnHour(t *testing.T) {
	d := newDoor(t, identity.Identity{State: identity.Approved, Scopes: []string{scope}})
	for _, step := range []struct {
		age  time.Duration
		want int
	}{{0, 0}, {59 * time.Minute, 0}, {time.Hour, 1}} {
		d.book.known[who].Seen = d.now.Add(-step.age)
		if _, err := d.enter(t, app(), caller.Need{Scope: scope}); err != nil || d.book.seen != step.want {
			t.Errorf("after %v: %d notes, %v", step.age, d.book.seen, err)
		}
	}
}
