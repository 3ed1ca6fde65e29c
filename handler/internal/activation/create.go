package activation

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

// Created is a new activation with its secrets, which nobody but the holder of its key can ask for again.
type Created struct {
	Activation
	Locator, OTP string
	// Human is the combined code that people type (ACT-11). A device's is the whole of it: Locator is what lies between its prefix and
	// check, and OTP is "" (ACT-10).
	Human string
}

// drawings is how often a locator is drawn that is taken: 23^10 of them make one repeat unheard of.
const drawings = 3

// Create invites a subject (ACT-1, ACT-10). A pending activation is replaced: the new one has its own locator, OTP and attempts,
// and the old code answers as any dead one from this commit on (ACT-2).
//
// key is the caller's Idempotency-Key, or "". Under the same key the same caller is told the same activation again for a day,
// as long as it is pending; then it is ErrSuperseded, and nothing changes. A device that was not created is ErrNoDevice; an inactive one
// gets a code that works once it is active.
func (s *Service) Create(ctx context.Context, from audit.Origin, gate commit.Gate, of subject.ID, key string) (Created, error) {
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	p := s.policy()
	record, err := s.record(from, audit.CreateActivation, of)
	if err != nil {
		return Created{}, err
	}
	id, err := newUUID(s.random, record.Time)
	if err != nil {
		return Created{}, err
	}
	record.Activation = id.String()
	var made drawnActivation
	var opened Opened
	for range drawings {
		if made, err = s.draw(ctx, p, record, id, key); err != nil {
			return Created{}, err
		}
		code := Code{Key: p.Keys.Code(of.Kind, made.Locator)[0], Subject: of, Activation: id, Expires: made.Expires}
		if opened, err = s.store.Open(ctx, Opening{Record: record, Code: &code}); !errors.Is(err, ErrCodeTaken) {
			break
		}
	}
	if err != nil {
		return Created{}, commit.Unavailable(err)
	}

	answer := made.Created
	err = s.settle(ctx, gate, record, opened.Head, func(head Head) (Change, error) {
		if of.Kind == subject.Device && head.Device == nil {
			return Change{}, ErrNoDevice
		}
		for _, c := range head.Creations {
			if c.again(p, key, from.Actor.String(), record.Time, repeatCreation) {
				again, err := retell(p, head, c, key, from)
				if err != nil {
					return Change{}, err
				}
				answer = again
				return Change{}, errRetold
			}
		}
		return create(head, made, record), nil
	})
	if err != nil && !errors.Is(err, errRetold) {
		return Created{}, fmt.Errorf("creating an activation: %w", err)
	}
	return answer, nil
}

// errRetold: nothing is committed, for the answer was given before.
var errRetold = errors.New("the activation was made before")

// drawnActivation is an activation with all that its commit needs.
type drawnActivation struct {
	Created
	invitation Invitation
	repeatable Repeatable // zero without a key
}

// draw makes an activation and its secrets.
func (s *Service) draw(ctx context.Context, p Policy, record audit.Record, id UUID, key string) (made drawnActivation, err error) {
	secrets := s.random
	if key != "" {
		caller := record.Origin.Actor.String()
		if made.repeatable, err = s.newRepeatable(p, key, id, p.drawn(record.Subject.Kind), record.Time, caller); err != nil {
			return made, err
		}
		if secrets, err = made.repeatable.secrets(p, key, caller); err != nil {
			return made, err
		}
	}
	expires := p.Expiry(record.Time)
	if made.Created, err = told(p, secrets, record.Subject, id, record.Origin, expires, p.drawn(record.Subject.Kind)); err != nil {
		return made, err
	}
	made.invitation = Invitation{Activation: id, Expires: expires}
	if made.OTP != "" {
		made.invitation.OTP, err = s.hash(ctx, p, id, made.OTP)
	}
	return made, err
}

// drawn is the length of what is drawn for a kind of subject and may have another length tomorrow.
func (p Policy) drawn(kind subject.Kind) int {
	if kind == subject.Device {
		return p.DeviceCodeLength
	}
	return p.OTPLength
}

// told is what the caller learns of a new activation, with the codes that secrets yields; length is as Policy.drawn.
func told(p Policy, secrets io.Reader, of subject.ID, id UUID, from audit.Origin, expires time.Time, length int) (Created, error) {
	at, by := Drawn(id), from.Actor.String()
	made := Created{Activation: Activation{
		ID: id, Subject: of, Status: Pending, Created: at, CreatedBy: by, Modified: at, ModifiedBy: by, Expires: expires,
	}}
	locator, otp := codes.LocatorLength, length
	if of.Kind == subject.Device {
		locator, otp = length, 0
	}
	var err error
	if made.Locator, err = codes.Draw(secrets, locator); err != nil {
		return Created{}, err
	}
	if made.OTP, err = codes.Draw(secrets, otp); err != nil {
		return Created{}, err
	}
	if of.Kind == subject.Device {
		made.Human = codes.Device(p.Site, made.Locator)
	} else {
		made.Human = codes.Human(p.Site, made.Locator, made.OTP)
	}
	return made, nil
}

// retell gives the answer of a creation again, while its activation is pending.
func retell(p Policy, head Head, c Creation, key string, from audit.Origin) (Created, error) {
	if head.Invitation == nil || head.Invitation.Activation != c.Activation {
		return Created{}, ErrSuperseded
	}
	secrets, err := c.secrets(p, key, from.Actor.String())
	if err != nil {
		return Created{}, err
	}
	return told(p, secrets, head.Subject, c.Activation, from, head.Invitation.Expires, c.Length)
}

// create is the change that a new activation makes: it takes the place of the pending one, if any.
func create(head Head, made drawnActivation, record audit.Record) Change {
	next := head.next()
	change := Change{Created: &made.Activation}
	if next.Invitation != nil {
		change.Ended = []Step{end(next.Invitation.Activation, Revoked, audit.ReasonReplaced, record)}
	}
	next.Invitation = &made.invitation
	if made.repeatable.ID != "" {
		next.Creations = remember(next.Creations, Creation{made.repeatable}, record.Time)
	}
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
