// Package admission decides whether a caller may do what a route does: by what the token says, by the registry of identities, or
// not at all (AUT-2, AUT-3, model.md section 5). Nothing of a decision is remembered but whom the registry refused lately, and
// that only decides which of two orders the same questions are asked in.
package admission

import (
	"context"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/identity"
)

const (
	// wary is how long an instance asks the registry first for whom it refused (model.md section 5).
	wary = time.Minute
	// mostWary is how many an instance remembers so. Whoever is forgotten may cause one intent more.
	mostWary = 4096
	// seenEvery is how often an identity's last use is noted.
	seenEvery = time.Hour
)

// Registry is what is asked of the registry of identities.
type Registry interface {
	// Lookup reads one identity, nil if nobody knows it.
	Lookup(context.Context, identity.Key) (*identity.Identity, error)
	// Ask records somebody unknown as pending, or answers identity.ErrFull.
	Ask(context.Context, audit.Origin, identity.Key, identity.Kind) (identity.State, error)
	// Seen notes that an identity called.
	Seen(context.Context, identity.Key) error
}

// Config is what a Door is made of. Every field is needed.
type Config struct {
	Registry Registry
	Policy   func() caller.Policy
	Now      func() time.Time
	// Beside returns a context for what is asked in the same trip as something else.
	Beside func(context.Context) context.Context
	// Later runs what need not be done before the answer.
	Later func(func(context.Context))
}

// Door admits callers. It is safe for concurrent use.
type Door struct {
	Config
	refused *lru.Cache[identity.Key, time.Time]
}

// New makes a Door.
func New(c Config) (*Door, error) {
	refused, err := lru.New[identity.Key, time.Time](mostWary)
	return &Door{c, refused}, err
}

// Admit answers *caller.Forbidden for a caller who may not do what the route needs. For one whom the token admits it asks the
// registry beside the operation's first reads: the gate waits for that answer, and must be asked before anything is committed
// and before anything is answered. The gate is nil when the registry was asked before. Somebody whom nothing admits and nobody
// knows is recorded as pending.
func (d *Door) Admit(ctx context.Context, from audit.Origin, c caller.Caller, need caller.Need) (commit.Gate, error) {
	policy := d.Policy()
	if c.Kind == caller.Subject {
		return nil, policy.Authorise(c, need, nil)
	}
	// Where the token alone is enough, unless the registry forbids it, the registry is asked beside the operation.
	if policy.Authorise(c, need, nil) == nil && !d.isWary(c.Identity()) {
		answer := make(chan error, 1)
		go func() {
			defer func() {
				if failed := recover(); failed != nil {
					answer <- fmt.Errorf("asking the registry: %v", failed) // a panic here would end the process
				}
			}()
			answer <- d.look(d.Beside(ctx), from, c, policy, need)
		}()
		return once(answer), nil
	}
	return nil, d.look(ctx, from, c, policy, need)
}

// once gives the one answer to whoever asks, in their time.
func once(answer <-chan error) commit.Gate {
	var known bool
	var err error
	return func(ctx context.Context) error {
		if !known {
			select {
			case err = <-answer:
				known = true
			case <-ctx.Done():
				return commit.Unavailable(ctx.Err())
			}
		}
		return err
	}
}

// look asks the registry and decides.
func (d *Door) look(ctx context.Context, from audit.Origin, c caller.Caller, policy caller.Policy, need caller.Need) error {
	key := c.Identity()
	registered, err := d.Registry.Lookup(ctx, key)
	if err != nil {
		return commit.Unavailable(fmt.Errorf("asking the registry: %w", err))
	}
	if registered != nil && d.Now().Sub(registered.Seen) >= seenEvery {
		d.Later(func(ctx context.Context) { _ = d.Registry.Seen(ctx, key) }) // a note for people: the next call makes it again
	}
	err = policy.Authorise(c, need, registered)
	var forbidden *caller.Forbidden
	if !errors.As(err, &forbidden) {
		d.refused.Remove(key)
		return err
	}
	d.refused.Add(key, d.Now())
	if why, _ := caller.Explain(forbidden.Cause); registered == nil && why.Class == caller.ClassIdentityPending {
		kind := identity.App
		if c.Kind == caller.User {
			kind = identity.User
		}
		switch _, err := d.Registry.Ask(ctx, from, key, kind); {
		case errors.Is(err, identity.ErrFull):
			forbidden.Cause = caller.IdentityPendingFull
		case err != nil:
			return err
		}
	}
	return forbidden
}

func (d *Door) isWary(key identity.Key) bool {
	at, _ := d.refused.Get(key) // long ago, for whom it does not hold
	return d.Now().Sub(at) < wary
}
