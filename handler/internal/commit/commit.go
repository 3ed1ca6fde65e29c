// Package commit carries one change out exactly once, whatever storage, the network and rivals do meanwhile (model.md section
// 1). It owns the loop that every state change goes through, and its time; what is changed is not its business.
//
// The loop rests on two facts, which the storage keeps. An attempt can only land on the version of the state that it was made
// from: once the state has moved on, an earlier attempt has landed or never will. And every attempt carries the same record,
// whose row can be inserted once: the record is there exactly if an attempt landed.
package commit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// patience bounds an operation with all its repeats. It is well below the 60 s that an intent is good for, so that a
	// record never names a stale one (model.md section 1).
	patience = 10 * time.Second
	// mostConflicts is how many lost races an operation bears (threats.md F-04).
	mostConflicts = 30
	// Between two looks at a storage that does not answer.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

var (
	// ErrConflict is how storage says that an attempt was surely not carried out: the state was not at the version that it
	// replaces, its record or an added row was there already (an earlier attempt landed), or a row that it ends was not.
	// Any other error means that nobody knows, and is answered by looking.
	ErrConflict = errors.New("the state was changed meanwhile")
	// ErrUnavailable: storage did not answer in time. Whether the change was made is not known; asking again is safe.
	ErrUnavailable = errors.New("storage is unavailable")
	// ErrBusy: too many changes of one thing at once.
	ErrBusy = errors.New("too many changes at once")
)

// Unavailable hides what storage said behind the one thing that a caller can act on; the log keeps the cause.
func Unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// Bounded gives an operation its time. Once it has begun it is carried to its end, whoever hangs up meanwhile.
func Bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}

// Gate answers whether who asked for a change is admitted: nil if so. It waits for the answer, which was asked for beside the
// operation's first reads (model.md section 5). A nil Gate is open.
type Gate func(context.Context) error

// Loop is how one operation settles: S is the state with its version, C a change that was decided from it.
type Loop[S, C any] struct {
	// Gate is asked before the first attempt: nothing but intents is written for whom it does not admit.
	Gate Gate
	// Commit carries a change out whole or not at all: nil if so, ErrConflict if surely not.
	Commit func(context.Context, C) error
	// Reopen reads the state again, and whether the operation's record was committed. These are two reads at one time, no
	// snapshot: an attempt that lands between them shows as a moved state without its record.
	Reopen func(context.Context) (state S, committed bool, err error)
	// Wait returns after d, or earlier with the context's error.
	Wait func(ctx context.Context, d time.Duration) error
}

// Settle commits what decide makes of the state, and decides again from the new state when it moved or no answer came. decide
// must give the same answer for the same state: what it refuses, no earlier attempt was made from. An error of decide ends
// it: nothing is committed then.
func (l Loop[S, C]) Settle(ctx context.Context, state S, decide func(S) (C, error)) error {
	if l.Gate != nil {
		if err := l.Gate(ctx); err != nil {
			return err
		}
	}
	silent := false // nobody answered an attempt
	pause := firstPause
	for conflicts := 0; conflicts < mostConflicts; {
		change, refused := decide(state)
		switch {
		case refused == nil:
			err := l.Commit(ctx, change)
			if err == nil {
				return nil
			}
			if errors.Is(err, ErrConflict) {
				conflicts++
				break
			}
			silent = true
			if l.Wait(ctx, pause) != nil {
				return Unavailable(err)
			}
			pause = min(2*pause, lastPause)
		case !silent:
			return refused
		}
		// Never "no" from a conflict or a silence alone: our own earlier attempt may be what moved the state.
		var committed bool
		var err error
		if state, committed, err = l.look(ctx); err != nil {
			return err
		}
		switch {
		case committed:
			return nil
		case refused != nil: // the state had moved on before this look: the attempt will never land
			return refused
		}
	}
	return ErrBusy
}

// look looks until storage answers or time is up.
func (l Loop[S, C]) look(ctx context.Context) (state S, committed bool, err error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if state, committed, err = l.Reopen(ctx); err == nil {
			return state, committed, nil
		}
		if l.Wait(ctx, pause) != nil {
			return state, false, Unavailable(err)
		}
	}
}
