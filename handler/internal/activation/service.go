package activation

import (
	"context"
	"io"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

const (
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
	guess  Guess

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

// Guess is asked before a locator of a kind of subject is looked up: it bounds how many are looked up that nobody issued (ABU-1,
// model.md section 7). known is called when the locator turned out to exist; then it does not count. An error says that nothing may
// be looked up now, whatever the code, and is what the caller gets.
type Guess func(ctx context.Context, kind subject.Kind) (known func(), err error)

// New makes a service. later runs what need not be done before the answer (when a credential was last used), with a
// context of its own.
func New(
	store Store, policy func() Policy, clock Clock, random io.Reader, later func(func(context.Context)), guess Guess,
) *Service {
	return &Service{
		store: store, policy: policy, clock: clock, random: random, later: later, guess: guess,
		turns: turns[UUID]{most: mostOnOneCode}, imports: turns[subject.ID]{most: mostOnOneID}, hashing: make(chan struct{}, hashers),
	}
}

// record starts the record of an operation: with the id and the time that every repeat keeps.
func (s *Service) record(from audit.Origin, what audit.Action, on subject.ID) (audit.Record, error) {
	id, err := codes.ID(s.random)
	if err != nil {
		return audit.Record{}, err
	}
	now := s.clock.Now().UTC().Truncate(time.Millisecond) // as it is stored
	return audit.Record{ID: id, Time: now, Announced: now, Action: what, Outcome: audit.Allowed, Origin: from, Subject: on}, nil
}

// settle is commit.Loop.Settle on the subject's head.
func (s *Service) settle(ctx context.Context, gate commit.Gate, record audit.Record, head Head, decide func(Head) (Change, error)) error {
	return commit.Loop[Head, Change]{
		Gate: gate, Commit: s.store.Commit, Wait: s.clock.Wait,
		Reopen: func(ctx context.Context) (Head, bool, error) { return s.store.Reopen(ctx, record) },
	}.Settle(ctx, head, decide)
}

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
		return nil, commit.ErrBusy
	}
}
