package clinician

import (
	"context"
	"errors"
	"fmt"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// How an identifier gets its one clinician (model.md section 1). A table knows no constraint over two partitions, so two rows have to
// agree: the claim, one for each identifier, and the clinician's own.
//
// Claim first, then the commit of the clinician that names the identifier, then the claim once more, confirmed, If-Match the version
// that was claimed; only then is it answered. Somebody else takes a claim over by If-Match only, after reading, behind it, a clinician's
// row that does not name the identifier: at once if the claim is confirmed, since then the row named it once and has let it go, after
// 60 s if not, since whoever claimed it may still be on the way to the commit. So if the takeover is carried out before the confirming
// write, that write fails and the identifier is taken off the row again; if the confirming write is first, the takeover fails, and who
// tries again reads the row that names it. Both cannot be answered with yes. Times only say how long to wait: no clock can make two owners.

// orphaned is how long a claim may stand that nobody confirms. An operation is given less time than that (package commit).
const orphaned = 60 * time.Second

// mostTries is how many lost races for a claim an operation bears.
const mostTries = 30

// Between two looks at a storage that does not answer.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// claim takes the identifier for the clinician, or answers ErrTaken. is is the claim as it was read.
func (s *Service) claim(ctx context.Context, of subject.ID, identifier string, record audit.Record, is *Claim) (Claim, error) {
	mine := Claim{Identifier: identifier, Clinician: of, Try: record.ID, At: record.Time}
	return s.swap(ctx, identifier, is, func(is *Claim) (Claim, error) {
		switch {
		case is == nil:
			return mine, nil
		case is.Clinician == of:
			return *is, errHeld // this try's, or an earlier one's: confirming it decides
		}
		owner, err := s.store.Clinician(ctx, is.Clinician)
		switch {
		case err != nil:
			return Claim{}, err
		case owner != nil && owner.Identifier == identifier:
			return Claim{}, ErrTaken
		case !is.Confirmed && s.clock.Now().Sub(is.At) < orphaned:
			return Claim{}, ErrTaken
		}
		next := mine
		next.Version = is.Version
		return next, nil
	})
}

// confirm writes the claim once more, after the commit of the clinician's row. It answers ErrTaken if it is somebody else's by now.
func (s *Service) confirm(ctx context.Context, claim Claim, record audit.Record) error {
	_, err := s.swap(ctx, claim.Identifier, &claim, func(is *Claim) (Claim, error) {
		switch {
		case is == nil: // nobody has it, and inserting it can only succeed as long as that is so
			is = &Claim{Identifier: claim.Identifier, At: record.Time}
		case is.Clinician != claim.Clinician:
			return Claim{}, ErrTaken
		case is.Try == record.ID && is.Confirmed:
			return *is, errHeld
		}
		next := *is
		next.Clinician, next.Try, next.Confirmed = claim.Clinician, record.ID, true
		return next, nil
	})
	return err
}

// errHeld: the claim is as it should be. Nothing is written.
var errHeld = errors.New("the claim stands")

// swap writes what decide makes of a claim, deciding again from what it reads when the write failed or nobody knows whether it did.
func (s *Service) swap(ctx context.Context, identifier string, is *Claim, decide func(*Claim) (Claim, error)) (Claim, error) {
	pause := firstPause
	for range mostTries {
		next, err := decide(is)
		switch {
		case errors.Is(err, errHeld):
			return next, nil
		case errors.Is(err, ErrTaken):
			return Claim{}, err
		case err == nil:
			var version Version
			if version, err = s.store.Put(ctx, next); err == nil {
				next.Version = version
				return next, nil
			}
		}
		for {
			if !errors.Is(err, commit.ErrConflict) {
				if s.clock.Wait(ctx, pause) != nil {
					return Claim{}, commit.Unavailable(err)
				}
				pause = min(2*pause, lastPause)
			}
			if is, err = s.store.Claim(ctx, identifier); err == nil {
				break
			}
		}
	}
	return Claim{}, commit.ErrBusy
}

// yield takes the identifier off the clinician's row, since its claim is somebody else's. It looks at the claim for each state of the
// row: if it is the clinician's again, another change has won it meanwhile, and that one has moved the row or will.
func (s *Service) yield(ctx context.Context, from audit.Origin, of subject.ID, identifier string) error {
	record, err := s.record(from, audit.YieldIdentifier, of)
	if err != nil {
		return err
	}
	opened, err := s.store.Open(ctx, record, "")
	if err != nil {
		return commit.Unavailable(err)
	}
	err = s.settle(ctx, record, opened.Clinician, func(is *Clinician) (Change, error) {
		if is == nil || is.Identifier != identifier {
			return Change{}, errSame
		}
		claim, err := s.store.Claim(ctx, identifier)
		switch {
		case err != nil:
			return Change{}, commit.Unavailable(err)
		case claim != nil && claim.Clinician == of:
			return Change{}, errSame
		}
		next := *is
		next.Identifier = ""
		return next.under(is, record), nil
	})
	if err != nil && !errors.Is(err, errSame) {
		return fmt.Errorf("taking an identifier off again: %w", err)
	}
	return nil
}
