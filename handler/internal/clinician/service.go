package clinician

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// Clock is the time as the service sees it.
type Clock struct {
	Now func() time.Time
	// Wait returns after d, or earlier with the context's error.
	Wait func(ctx context.Context, d time.Duration) error
}

// Guess is asked before an identifier is looked up for a device: it bounds how many are looked up that nobody has (model.md section
// 7). known is called when it turned out that somebody has it; then it does not count. An error says that nothing may be looked up
// now, and is what the caller gets.
type Guess func(ctx context.Context, device string) (known func(), err error)

// Service decides. Its methods are safe for concurrent use. What changes something is committed before it is answered, with its audit
// record in the same transaction.
type Service struct {
	store  Store
	zone   func() *time.Location
	clock  Clock
	random io.Reader
	guess  Guess
}

// New makes a service. zone is in which days end (Site:TimeZone).
func New(store Store, zone func() *time.Location, clock Clock, random io.Reader, guess Guess) *Service {
	return &Service{store: store, zone: zone, clock: clock, random: random, guess: guess}
}

// Create makes a clinician known (DIR-2): ErrExists under an id that is in use, ErrTaken for an identifier that is. A field that is nil
// is empty; one without LoginActive may not log in.
func (s *Service) Create(ctx context.Context, from audit.Origin, gate commit.Gate, of subject.ID, fields Fields) error {
	return s.change(ctx, "creating a clinician", audit.CreateClinician, from, gate, of, fields, func(is *Clinician) (Clinician, error) {
		if is != nil {
			return Clinician{}, ErrExists
		}
		return Clinician{Subject: of}, nil
	})
}

// Change changes what is given of a clinician (DIR-3): ErrNotFound, or ErrTaken for an identifier that is somebody else's. What changes
// nothing writes nothing but its intent.
func (s *Service) Change(ctx context.Context, from audit.Origin, gate commit.Gate, of subject.ID, fields Fields) error {
	return s.change(ctx, "changing a clinician", audit.ChangeClinician, from, gate, of, fields, func(is *Clinician) (Clinician, error) {
		if is == nil {
			return Clinician{}, ErrNotFound
		}
		return *is, nil
	})
}

// errSame: the clinician is as they were asked to be. Nothing is committed.
var errSame = errors.New("nothing changes")

// change is the way of all that people do to a clinician. An identifier that is given is claimed first, then the clinician is
// committed with it, and then the claim is confirmed; see claim.
func (s *Service) change(
	ctx context.Context, doing string, what audit.Action, from audit.Origin, gate commit.Gate, of subject.ID, fields Fields,
	base func(*Clinician) (Clinician, error),
) error {
	fail := func(err error) error { return fmt.Errorf("%s: %w", doing, err) }
	fields, err := fields.checked()
	if err != nil {
		return fail(err)
	}
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	record, err := s.record(from, what, of)
	if err != nil {
		return err
	}
	identifier := ""
	if fields.Identifier != nil {
		identifier = *fields.Identifier
	}
	opened, err := s.store.Open(ctx, record, identifier)
	if err != nil {
		return fail(commit.Unavailable(err))
	}
	if gate != nil { // nobody claims anything before being admitted, nor hears what there is
		if err := gate(ctx); err != nil {
			return err
		}
	}
	if _, err := base(opened.Clinician); err != nil {
		return fail(err)
	}
	var claim Claim
	if identifier != "" {
		if claim, err = s.claim(ctx, of, identifier, record, opened.Claim); err != nil {
			return fail(err)
		}
	}
	err = s.settle(ctx, record, opened.Clinician, func(is *Clinician) (Change, error) {
		before, err := base(is)
		if err != nil {
			return Change{}, err
		}
		next := fields.on(before)
		// Who names an identifier always moves the row: yield relies on it.
		if is != nil && identifier == "" && same(next, before) {
			return Change{}, errSame
		}
		return next.under(is, record), nil
	})
	switch {
	case errors.Is(err, errSame):
		return nil
	case err != nil:
		return fail(err)
	case identifier == "":
		return nil
	}
	if err = s.confirm(ctx, claim, record); errors.Is(err, ErrTaken) {
		err = errors.Join(err, s.yield(ctx, from, of, identifier))
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// under makes the change from the clinician as they are (nil if nobody knows them) to this state.
func (c Clinician) under(is *Clinician, record audit.Record) Change {
	c.N, c.Version, c.Created, c.CreatedBy = 0, Absent, record.Time, record.Origin.Actor.String()
	if is != nil {
		c.N, c.Version, c.Created, c.CreatedBy = is.N, is.Version, is.Created, is.CreatedBy
	}
	c.N++
	c.Modified, c.ModifiedBy = record.Time, record.Origin.Actor.String()
	record.N = c.N
	return Change{Clinician: c, Record: record}
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

// settle carries out once what decide makes of the clinician.
func (s *Service) settle(ctx context.Context, record audit.Record, is *Clinician, decide func(*Clinician) (Change, error)) error {
	return commit.Loop[*Clinician, Change]{
		Commit: s.store.Commit, Wait: s.clock.Wait,
		Reopen: func(ctx context.Context) (*Clinician, bool, error) { return s.store.Reopen(ctx, record) },
	}.Settle(ctx, is, decide)
}
