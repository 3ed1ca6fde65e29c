package activation

import (
	"context"
	"errors"
	"fmt"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/subject"
)

// Created is a new activation with its secrets, which nobody can ask for again.
type Created struct {
	Activation
	Locator, OTP string
	// Human is the combined code that people type (ACT-11).
	Human string
}

// drawings is how often a locator is drawn that is taken: 23^10 of them make one repeat unheard of.
const drawings = 3

// Create invites a subject (ACT-1). A pending activation is replaced: the new one has its own locator, OTP and attempts,
// and the old code answers as any dead one from this commit on (ACT-2).
func (s *Service) Create(ctx context.Context, from audit.Origin, of subject.ID) (Created, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	p := s.policy()
	record, err := s.record(from, audit.CreateActivation, of)
	if err != nil {
		return Created{}, err
	}
	now := record.Time
	id, err := newUUID(s.random, now)
	if err != nil {
		return Created{}, err
	}
	record.Activation = id.String()
	otp, err := codes.Draw(s.random, p.OTPLength)
	if err != nil {
		return Created{}, err
	}
	hash, err := s.hash(ctx, p, id, otp)
	if err != nil {
		return Created{}, err
	}
	made := Created{
		Activation: Activation{
			ID: id, Subject: of, Status: Pending, Created: now, CreatedBy: from.Actor.String(),
			Modified: now, ModifiedBy: from.Actor.String(), Expires: p.Expiry(now),
		},
		OTP: otp,
	}
	var opened Opened
	for range drawings {
		if made.Locator, err = codes.Draw(s.random, codes.LocatorLength); err != nil {
			return Created{}, err
		}
		key := p.Keys.Code(of.Kind, made.Locator)[0]
		code := Code{Key: key, Subject: of, Activation: id, Expires: made.Expires}
		if opened, err = s.store.Open(ctx, Opening{Record: record, Code: &code}); !errors.Is(err, ErrCodeTaken) {
			break
		}
	}
	if err != nil {
		return Created{}, unavailable(err)
	}
	made.Human = codes.Human(p.Site, made.Locator, otp)

	invitation := Invitation{Activation: id, OTP: hash, Expires: made.Expires}
	err = s.settle(ctx, record, opened.Head, func(head Head) (Change, error) {
		return create(head, made.Activation, invitation, record), nil
	})
	if err != nil {
		return Created{}, fmt.Errorf("creating an activation: %w", err)
	}
	return made, nil
}

// create is the change that a new activation makes: it takes the place of the pending one, if any.
func create(head Head, made Activation, invitation Invitation, record audit.Record) Change {
	next := head.next()
	change := Change{Created: &made}
	if next.Invitation != nil {
		change.Ended = []Step{end(next.Invitation.Activation, Revoked, audit.ReasonReplaced, record)}
	}
	next.Invitation = &invitation
	return change.under(next, record)
}

// under completes a change with the head and the record that it is committed under.
func (c Change) under(next Head, record audit.Record) Change {
	record.N = next.N
	c.Head, c.Record = next, record
	return c
}

// end is the step of an activation that is pending no longer.
func end(activation UUID, status Status, why audit.Reason, record audit.Record) Step {
	return Step{Activation: activation, Status: status, Why: why, At: record.Time, By: record.Origin.Actor.String()}
}
