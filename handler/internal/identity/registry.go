package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/commit"
)

// mostAsking is how many of one instance may be recorded as pending, or wait for it, at once.
const mostAsking = 64

// Clock is the time as the registry sees it.
type Clock struct {
	Now func() time.Time
	// Wait returns after d, or earlier with the context's error.
	Wait func(ctx context.Context, d time.Duration) error
}

// Registry decides. Its methods are safe for concurrent use. What changes something is committed before it is answered, with its
// audit record in the same transaction. What finds nothing to change writes no record, and succeeds.
type Registry struct {
	store  Store
	clock  Clock
	random io.Reader
	// places bounds who asks; one of them at a time has the turn: all of one issuer write its one queue, and would only overtake
	// each other.
	places, turn chan struct{}
}

// New makes a registry.
func New(store Store, clock Clock, random io.Reader) *Registry {
	return &Registry{store, clock, random, make(chan struct{}, mostAsking), make(chan struct{}, 1)}
}

// errSame: the identity is as it was asked to be. Nothing is committed.
var errSame = errors.New("nothing changes")

// done is the result of an operation: that there was nothing to do is none.
func done(doing string, err error) error {
	if err == nil || errors.Is(err, errSame) {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Lookup reads one identity, nil if nobody knows it. It is one point read: it is done for every authorised request.
func (r *Registry) Lookup(ctx context.Context, key Key) (*Identity, error) {
	if !key.valid() {
		return nil, nil
	}
	found, err := r.store.Lookup(ctx, key)
	if err != nil {
		return nil, commit.Unavailable(err)
	}
	return found, nil
}

// Ask records a caller whom nobody knows as pending, and says where they stand: Pending, or what somebody quicker made of them.
// For one who is known, and when it answers ErrFull, nothing is written at all. commit.ErrBusy: too many ask at once.
func (r *Registry) Ask(ctx context.Context, from audit.Origin, key Key, kind Kind) (State, error) {
	const doing = "recording a caller as pending"
	if !key.valid() {
		return "", done(doing, ErrKey)
	}
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	release, err := r.queue(ctx)
	if err != nil {
		return "", done(doing, err)
	}
	defer release()
	record, err := r.record(from, audit.AskIdentity, key)
	if err != nil {
		return "", err
	}
	var state State
	decide := func(now Opened) (Change, error) {
		switch {
		case now.Identity != nil:
			state = now.Identity.State
			return Change{}, errSame
		case now.Queue.Pending >= MostPending:
			return Change{}, ErrFull
		}
		state = Pending
		return now.change(Identity{
			Key: key, State: Pending, Kind: kind, Created: record.Time, CreatedBy: from.Actor.String(), Seen: record.Time.Truncate(time.Hour),
		}, record), nil
	}
	// Not even an intent is written for whom there is nothing to do: a flood of strangers must leave nothing behind.
	before, _, err := r.store.Reopen(ctx, record)
	if err != nil {
		return "", commit.Unavailable(err)
	}
	if _, err = decide(before); err == nil {
		err = r.settle(ctx, nil, record, decide)
	}
	if err = done(doing, err); err != nil {
		return "", err
	}
	return state, nil
}

// queue waits for the turn.
func (r *Registry) queue(ctx context.Context) (release func(), err error) {
	select {
	case r.places <- struct{}{}:
	default:
		return nil, commit.ErrBusy
	}
	select {
	case r.turn <- struct{}{}:
		return func() { <-r.turn; <-r.places }, nil
	case <-ctx.Done():
		<-r.places
		return nil, commit.ErrBusy
	}
}

// Seen notes that an identity called. It is for people, and not for every call: once an hour will do.
func (r *Registry) Seen(ctx context.Context, key Key) error {
	return r.store.Seen(ctx, key, r.clock.Now().UTC().Truncate(time.Hour))
}

// List gives up to limit identities of some issuers in the order of their IDs, beginning behind after (zero: at the first), those
// in one state or ("") all. more is the last one's key if there are others behind it, else zero.
func (r *Registry) List(ctx context.Context, issuers []string, state State, after Key, limit int) (page []Identity, more Key, err error) {
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	issuers = slices.Clone(issuers)
	slices.SortFunc(issuers, byID)
	for _, issuer := range slices.Compact(issuers) {
		behind := ""
		if order := byID(issuer, after.Issuer); order < 0 {
			continue
		} else if order == 0 {
			behind = after.Subject
		}
		rows, err := r.store.List(ctx, issuer, state, behind, limit+1-len(page))
		if err != nil {
			return nil, Key{}, commit.Unavailable(err)
		}
		if page = append(page, rows...); len(page) > limit {
			return page[:limit], page[limit-1].Key, nil
		}
	}
	return page, Key{}, nil
}

// byID is the order of names in IDs, and in storage.
func byID(a, b string) int { return cmp.Compare(encode(a), encode(b)) }

// record starts the record of an operation: with the id and the time that every repeat keeps.
func (r *Registry) record(from audit.Origin, what audit.Action, on Key) (audit.Record, error) {
	id, err := codes.ID(r.random)
	if err != nil {
		return audit.Record{}, err
	}
	now := r.clock.Now().UTC().Truncate(time.Millisecond) // as it is stored
	return audit.Record{ID: id, Time: now, Announced: now, Action: what, Outcome: audit.Allowed, Origin: from, Identity: on.actor()}, nil
}

// settle announces the record, and carries out once what decide makes of the state.
func (r *Registry) settle(ctx context.Context, gate commit.Gate, record audit.Record, decide func(Opened) (Change, error)) error {
	opened, err := r.store.Open(ctx, record)
	if err != nil {
		return commit.Unavailable(err)
	}
	return commit.Loop[Opened, Change]{
		Gate: gate, Commit: r.store.Commit, Wait: r.clock.Wait,
		Reopen: func(ctx context.Context) (Opened, bool, error) { return r.store.Reopen(ctx, record) },
	}.Settle(ctx, opened, decide)
}
