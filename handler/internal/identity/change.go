package identity

import (
	"context"
	"errors"
	"slices"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
)

// Terms are what an identity is given.
type Terms struct {
	// Label is nil where it is left as it is.
	Label *string
	// Scopes are nil where they are left as they are; empty is none.
	Scopes []string
}

// checked is the terms as they are kept.
func (t Terms) checked() (Terms, error) {
	if t.Label != nil {
		if err := checkLabel(*t.Label); err != nil {
			return Terms{}, err
		}
	}
	if t.Scopes == nil {
		return t, nil
	}
	var err error
	if t.Scopes, err = sortedScopes(t.Scopes); t.Scopes == nil {
		t.Scopes = []string{}
	}
	return t, err
}

// on is the identity under these terms.
func (t Terms) on(i Identity) Identity {
	if t.Label != nil {
		i.Label = *t.Label
	}
	if t.Scopes != nil {
		i.Scopes = t.Scopes
	}
	return i
}

// same reports whether two states of one identity are alike to an administrator.
func same(a, b Identity) bool {
	return a.State == b.State && a.Label == b.Label && slices.Equal(a.Scopes, b.Scopes)
}

// Register makes an identity known that need not have called yet, approved at once. One that is known in whatever state is
// ErrExists.
func (r *Registry) Register(ctx context.Context, from audit.Origin, gate commit.Gate, key Key, terms Terms) (Identity, error) {
	const doing = "registering an identity"
	if !key.valid() {
		return Identity{}, done(doing, ErrKey)
	}
	return r.carry(ctx, doing, audit.RegisterIdentity, from, gate, key, terms, func(terms Terms, record audit.Record, is *Identity) (Identity, error) {
		if is != nil {
			return Identity{}, ErrExists
		}
		return terms.on(Identity{Key: key, State: Approved, Created: record.Time, CreatedBy: from.Actor.String()}), nil
	})
}

// Patch is a change of one identity: what is nil or zero stays.
type Patch struct {
	Terms
	// State is Approved or Disabled.
	State State
	// At is the N that the identity must be at, 0 for any: else it is ErrMoved.
	At int64
}

// Change changes an identity: its label, its scopes, and whether it is disabled, from pending too. It lets a disabled one in again,
// but none that is pending (Approve does) or retired. Nobody takes from themselves: ErrSelf.
func (r *Registry) Change(ctx context.Context, from audit.Origin, gate commit.Gate, key Key, patch Patch) (Identity, error) {
	return r.carry(ctx, "changing an identity", audit.ChangeIdentity, from, gate, key, patch.Terms, func(terms Terms, _ audit.Record, is *Identity) (Identity, error) {
		switch {
		case is == nil:
			return Identity{}, ErrNotFound
		case patch.At != 0 && patch.At != is.N:
			return Identity{}, ErrMoved
		case is.State == Retired:
			return Identity{}, ErrRetired
		case patch.State == "", patch.State == is.State, patch.State == Disabled:
		case patch.State != Approved, is.State != Disabled:
			return Identity{}, ErrState
		}
		next := terms.on(*is)
		if patch.State != "" {
			next.State = patch.State
		}
		if key.actor() == from.Actor && less(next, *is) {
			return Identity{}, ErrSelf
		}
		return next, nil
	})
}

// less reports whether an identity would be able to do less than it can.
func less(next, is Identity) bool {
	lost := func(scope string) bool { return !slices.Contains(next.Scopes, scope) }
	return next.State == Disabled && is.State != Disabled || slices.ContainsFunc(is.Scopes, lost)
}

// Approval is on which terms a pending identity is let in.
type Approval struct {
	Terms
	// Replaces is the identity that this one is the successor of, nil for none. It is retired first, and what the terms leave open
	// is taken from it.
	Replaces *Key
}

// Approve lets a pending identity in, in one call. One that is approved on these terms stays as it is; on others it is ErrApproved:
// Change is for those. A disabled one is ErrDisabled, a retired one ErrRetired.
//
// A successor takes two commits, for the two may have different issuers: the predecessor is retired in the first, so that at no
// time both are let in (model.md section 5). If the second is not made, asking for the same again completes it; if the successor
// was disabled in between, it is for Change to let it in, on terms that are given anew.
func (r *Registry) Approve(ctx context.Context, from audit.Origin, gate commit.Gate, key Key, approval Approval) (Identity, error) {
	const doing = "approving an identity"
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	inherited := Terms{}
	if approval.Replaces != nil {
		predecessor, err := r.succeed(ctx, from, gate, key, approval)
		if err != nil {
			return Identity{}, done(doing, err)
		}
		inherited = Terms{Label: &predecessor.Label, Scopes: append([]string{}, predecessor.Scopes...)}
		gate = nil // it was asked
	}
	return r.carry(ctx, doing, audit.ApproveIdentity, from, gate, key, approval.Terms, func(terms Terms, record audit.Record, is *Identity) (Identity, error) {
		if err := approvable(is, terms); err != nil {
			return Identity{}, err
		}
		next := terms.on(*is)
		if is.State == Pending {
			next = terms.on(inherited.on(*is))
		}
		next.State = Approved
		return next, nil
	})
}

// approvable answers nil for an identity that can be let in on these terms, or is already.
func approvable(is *Identity, terms Terms) error {
	switch {
	case is == nil:
		return ErrNotFound
	case is.State == Retired:
		return ErrRetired
	case is.State == Disabled:
		return ErrDisabled
	case is.State == Approved && !same(terms.on(*is), *is):
		return ErrApproved
	}
	return nil
}

// succeed retires the predecessor, or finds it retired in favour of the identity. It answers what it was.
func (r *Registry) succeed(ctx context.Context, from audit.Origin, gate commit.Gate, key Key, approval Approval) (Identity, error) {
	old := *approval.Replaces
	terms, err := approval.Terms.checked()
	if err != nil {
		return Identity{}, err
	}
	// Nobody is retired in favour of somebody who cannot be let in.
	successor, err := r.Lookup(ctx, key)
	if err != nil {
		return Identity{}, err
	}
	if gate != nil { // what is found is told to whom it lets pass
		if err := gate(ctx); err != nil {
			return Identity{}, err
		}
	}
	if err := approvable(successor, terms); err != nil {
		return Identity{}, err
	}
	if old == key || !old.valid() {
		return Identity{}, ErrPredecessor
	}
	record, err := r.record(from, audit.RetireIdentity, old)
	if err != nil {
		return Identity{}, err
	}
	record.Other = key.actor()
	var retired Identity
	err = r.settle(ctx, nil, record, func(now Opened) (Change, error) {
		is := now.Identity
		switch {
		case is == nil:
			return Change{}, ErrPredecessor
		case is.State == Retired && is.Successor == key:
			retired = *is
			return Change{}, errSame
		case is.State == Retired:
			return Change{}, ErrReplaced
		case successor.State == Approved: // before, and not in favour of this one's
			return Change{}, ErrApproved
		case old.actor() == from.Actor:
			return Change{}, ErrSelf
		}
		retired = *is
		retired.State, retired.Successor = Retired, key
		return now.change(retired, record), nil
	})
	if err != nil && !errors.Is(err, errSame) {
		return Identity{}, err
	}
	return retired, nil
}

// carry makes of one identity what decide says, once.
func (r *Registry) carry(ctx context.Context, doing string, what audit.Action, from audit.Origin, gate commit.Gate, key Key, terms Terms,
	decide func(Terms, audit.Record, *Identity) (Identity, error)) (Identity, error) {
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	terms, err := terms.checked()
	if err != nil {
		return Identity{}, done(doing, err)
	}
	record, err := r.record(from, what, key)
	if err != nil {
		return Identity{}, err
	}
	var answer Identity
	err = r.settle(ctx, gate, record, func(now Opened) (Change, error) {
		next, err := decide(terms, record, now.Identity)
		if err != nil {
			return Change{}, err
		}
		if now.Identity != nil && same(next, *now.Identity) {
			answer = *now.Identity
			return Change{}, errSame
		}
		change := now.change(next, record)
		answer = change.Identity
		return change, nil
	})
	if err = done(doing, err); err != nil {
		return Identity{}, err
	}
	return answer, nil
}
