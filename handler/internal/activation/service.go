package activation

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
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
	// mostOnOneCode is how many may work or wait on one live code: no more than leave room for others.
	mostOnOneCode = 128
	// hashers is how many memory-hard hashes one instance runs at once: 19 MiB each.
	hashers = 2
)

// Service decides. Its methods are safe for concurrent use. Each takes the settings once. What changes something is committed
// before it is answered, with its audit record in the same transaction; what only reads (List, Authorise) leaves no record, and
// the edge logs it.
type Service struct {
	store  Store
	policy func() Policy
	clock  Clock
	random io.Reader
	later  func(func(context.Context))

	turns   turns[UUID]
	imports turns[subject.ID]
	hashing chan struct{}
}

// Clock is the time as the service sees it.
type Clock struct {
	Now func() time.Time
	// Wait returns after d, or earlier with the context's error.
	Wait func(ctx context.Context, d time.Duration) error
}

// New makes a service. later runs what need not be done before the answer (when a credential was last used), with a
// context of its own.
func New(store Store, policy func() Policy, clock Clock, random io.Reader, later func(func(context.Context))) *Service {
	return &Service{
		store: store, policy: policy, clock: clock, random: random, later: later,
		turns: turns[UUID]{most: mostOnOneCode}, imports: turns[subject.ID]{most: mostOnOneID}, hashing: make(chan struct{}, hashers),
	}
}

// record starts the record of an operation: with the id and the time that every repeat keeps.
func (s *Service) record(from audit.Origin, what audit.Action, on subject.ID) (audit.Record, error) {
	id, err := s.name()
	if err != nil {
		return audit.Record{}, err
	}
	now := s.clock.Now().UTC().Truncate(time.Millisecond) // as it is stored
	return audit.Record{ID: id, Time: now, Announced: now, Action: what, Outcome: audit.Allowed, Origin: from, Subject: on}, nil
}

// name draws a random id of 128 bits, 26 characters.
func (s *Service) name() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(s.random, b[:]); err != nil {
		return "", fmt.Errorf("drawing an id: %w", err)
	}
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])), nil
}

// bounded gives an operation its time. Once it has begun it is carried to its end, whoever hangs up meanwhile.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}

// settle commits what decide makes of the subject's head, and decides again from the new state when the head moved or no
// answer came. decide must give the same answer for the same head: what it refuses, no earlier attempt was made from. An error of
// decide ends it: nothing is committed then.
//
// It rests on two facts. An attempt can only land on the version it was made from: once the head has moved on, an earlier
// attempt has landed or never will. And every attempt carries the same record, whose row can be inserted once.
func (s *Service) settle(ctx context.Context, record audit.Record, head Head, decide func(Head) (Change, error)) error {
	silent := false // nobody answered an attempt
	pause := firstPause
	for conflicts := 0; conflicts < mostConflicts; {
		change, refused := decide(head)
		switch {
		case refused == nil:
			err := s.store.Commit(ctx, change)
			if err == nil {
				return nil
			}
			if errors.Is(err, ErrConflict) {
				conflicts++
				break
			}
			silent = true
			if s.clock.Wait(ctx, pause) != nil {
				return unavailable(err)
			}
			pause = min(2*pause, lastPause)
		case !silent:
			return refused
		}
		// Never "no" from a conflict or a silence alone: our own earlier attempt may be what moved the head.
		var committed bool
		var err error
		if head, committed, err = s.reopen(ctx, record); err != nil {
			return err
		}
		switch {
		case committed:
			return nil
		case refused != nil: // the head had moved on before this look: the attempt will never land
			return refused
		}
	}
	return ErrBusy
}

// reopen looks until storage answers or time is up.
func (s *Service) reopen(ctx context.Context, record audit.Record) (Head, bool, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		head, committed, err := s.store.Reopen(ctx, record)
		if err == nil {
			return head, committed, nil
		}
		if s.clock.Wait(ctx, pause) != nil {
			return Head{}, false, unavailable(err)
		}
	}
}

// unavailable hides what storage said behind the one thing that a caller can act on; the log keeps the cause.
func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// hash hashes an OTP in one of the slots.
func (s *Service) hash(ctx context.Context, p Policy, activation UUID, otp string) (string, error) {
	release, err := s.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return p.Keys.OTP(s.random, p.SaltLength, activation.String(), otp)
}

// slot waits for one of the few places in which a memory-hard hash may run.
func (s *Service) slot(ctx context.Context) (release func(), err error) {
	select {
	case s.hashing <- struct{}{}:
		return func() { <-s.hashing }, nil
	case <-ctx.Done():
		return nil, ErrBusy
	}
}
