package activation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// Try is what someone offers to be let in. Locator and OTP are canonical; Key is the Idempotency-Key, or "". A device's code is its
// Locator, and it has no OTP.
type Try struct{ Locator, OTP, Key string }

// Redeemed is what the winner gets, once. With a refusal of a code that exists it says whose code that is, for the log alone.
type Redeemed struct {
	AuthorisationCode string // "" with a refusal
	Subject           subject.ID
	Activation        UUID
}

// Redeem lets a patient in (ACT-5 to ACT-8). However many try at once, one commit wins: it clears the invitation, removes
// what the new credential replaces and inserts it, all on the version of the head that was judged. A wrong OTP is counted by
// a commit of its own before anybody learns that it was wrong. Whatever speaks against a try is a *Refusal.
func (s *Service) Redeem(ctx context.Context, from audit.Origin, try Try) (Redeemed, error) {
	return s.redeem(ctx, from, subject.Patient, try)
}

// RedeemDevice lets a device in (ACT-5, ACT-10), by its code alone, and otherwise as Redeem does. A patient's code is unknown here, and
// a device's there: the kind is part of what a code is found by.
func (s *Service) RedeemDevice(ctx context.Context, from audit.Origin, code, key string) (Redeemed, error) {
	return s.redeem(ctx, from, subject.Device, Try{Locator: code, Key: key})
}

func (s *Service) redeem(ctx context.Context, from audit.Origin, kind subject.Kind, try Try) (Redeemed, error) {
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	p := s.policy()
	known, err := s.guess(ctx, kind)
	if err != nil {
		return Redeemed{}, fmt.Errorf("before a code is looked up: %w", err)
	}
	code, err := s.store.Code(ctx, p.Keys.Code(kind, try.Locator))
	if err != nil {
		return Redeemed{}, commit.Unavailable(err) // the unit stays taken: what was not answered counts as a guess
	}
	if code == nil {
		return Redeemed{}, refuse(audit.ReasonUnknownCode)
	}
	known() // what a known code is bounded by is its attempts
	whose := Redeemed{Subject: code.Subject, Activation: code.Activation}
	dead := code.dead(s.clock.Now())
	if dead != "" && try.Key == "" {
		return whose, refuse(dead)
	}
	if dead != "" {
		// For a code that leads nowhere nothing is written but a repeat's commit, and nobody waits: look before the turn.
		again, err := s.repeatable(ctx, p, from, *code, try)
		if err != nil {
			return whose, err
		}
		if !again {
			return whose, refuse(dead)
		}
	}
	release, err := s.turns.take(ctx, code.Activation)
	if err != nil {
		return whose, err
	}
	defer release()

	record, err := s.record(from, audit.RedeemActivation, code.Subject)
	if err != nil {
		return whose, err
	}
	record.Activation = code.Activation.String()
	won, err := s.credential(p, code, try, record.Time)
	if err != nil {
		return whose, err
	}
	opened, err := s.store.Open(ctx, Opening{Record: record})
	if err != nil {
		return whose, commit.Unavailable(err)
	}

	checked := map[string]bool{} // by stored hash: a lost race does not hash again
	// What the latest change says. A refusal leaves it alone: an earlier attempt may turn out to have landed.
	var last bool             // it may have ended the activation
	var told string           // the authorisation code that it gives away, "" for none
	var replaced []Credential // what the new one takes the place of
	err = s.settle(ctx, nil, record, opened.Head, func(head Head) (Change, error) {
		why := judge(head, *code, p, record.Time)
		if why == audit.ReasonNotPending {
			if i := head.redemption(p, code.Activation, try.Key, record.Time); i >= 0 {
				change, again, err := repeat(p, head, i, try, record)
				if err == nil {
					last, told, replaced = false, again, nil
				}
				return change, err
			}
		}
		if why != "" {
			return Change{}, refuse(why)
		}
		right, known := checked[head.Invitation.OTP]
		if kind == subject.Device { // its code was found by the whole of it
			right, known = true, true
		}
		if !known {
			var err error
			if right, err = s.match(ctx, p, *head.Invitation, try.OTP); err != nil {
				return Change{}, err
			}
			checked[head.Invitation.OTP] = right
		}
		if !right {
			last, told = head.Invitation.Attempts+1 >= p.MaxAttempts, ""
			return miss(head, p, record), nil
		}
		change := redeem(head, p, won, record)
		last, told, replaced = false, won.code, change.Removed
		return change, nil
	})
	var refusal *Refusal
	switch {
	case err == nil && told != "":
		s.replaced(ctx, record, replaced)
		whose.AuthorisationCode = told
		return whose, nil
	case err == nil:
		if last {
			s.bury(ctx, *code, audit.ReasonLocked, false)
		}
		return whose, refuse(audit.ReasonWrongOTP)
	case errors.As(err, &refusal):
		return whose, refuse(s.bury(ctx, *code, refusal.Reason, true))
	}
	return whose, fmt.Errorf("redeeming an activation: %w", err)
}

// repeatable reports whether the head remembers a redemption of code that try may ask for again.
func (s *Service) repeatable(ctx context.Context, p Policy, from audit.Origin, code Code, try Try) (bool, error) {
	record, err := s.record(from, audit.RedeemActivation, code.Subject)
	if err != nil {
		return false, err
	}
	head, _, err := s.store.Reopen(ctx, record)
	if err != nil {
		return false, commit.Unavailable(err)
	}
	return head.redemption(p, code.Activation, try.Key, record.Time) >= 0, nil
}

// dead says why an index row leads nowhere at now, "" if it may lead somewhere.
func (c Code) dead(now time.Time) audit.Reason {
	switch {
	case !c.Ended.IsZero():
		return c.EndedFor
	case !now.Before(c.Expires):
		return audit.ReasonExpired
	}
	return ""
}

func refuse(why audit.Reason) *Refusal { return &Refusal{audit.RedeemActivation, why} }

// judge says what speaks against redeeming code on head at now, before the OTP is looked at: "" for nothing. now is when the
// operation began: the same head gets the same answer, however long its commit takes (commit.Loop.Settle).
func judge(head Head, code Code, p Policy, now time.Time) audit.Reason {
	switch {
	case head.Invitation == nil || head.Invitation.Activation != code.Activation:
		return audit.ReasonNotPending
	case !now.Before(head.Invitation.Expires):
		return audit.ReasonExpired
	case head.Invitation.Attempts >= p.MaxAttempts:
		return audit.ReasonLocked
	case !head.Active:
		return audit.ReasonInactive
	}
	return ""
}

// miss is the change that a wrong OTP makes: it is counted, and the last one ends the activation (ACT-7).
func miss(head Head, p Policy, record audit.Record) Change {
	next := head.next()
	next.Invitation.Attempts++
	record.Outcome, record.Reason = audit.Denied, audit.ReasonWrongOTP
	var change Change
	if next.Invitation.Attempts >= p.MaxAttempts {
		change.Ended = []Step{end(next.Invitation.Activation, Revoked, audit.ReasonLocked, record)}
		next.Invitation = nil // for good: neither another setting nor a repeated creation brings it back
	}
	return change.under(next, record)
}

// redeem is the change that a right OTP makes. The oldest credentials go until the new one has room (ACT-13).
func redeem(head Head, p Policy, won drawnCredential, record audit.Record) Change {
	next := head.next()
	change := Change{Added: []Credential{won.Credential}}
	change.Ended = []Step{end(next.Invitation.Activation, Completed, "", record)}
	change.Dropped = next.Held
	next.Invitation, next.Imported, next.Held = nil, "", nil
	most := min(p.MaxPerPatient, MaxCredentials)
	if head.Subject.Kind == subject.Device {
		most = 1
	}
	if over := len(next.Credentials) + 1 - most; over > 0 {
		change.Removed = next.Credentials[:over:over]
		next.Credentials = next.Credentials[over:]
		record.Sessions = sessionsOf(change.Removed)
	}
	next.Credentials = append(next.Credentials, won.Credential)
	if won.repeatable.ID != "" {
		next.Redemptions = remember(next.Redemptions, Redemption{Repeatable: won.repeatable}, record.Time)
	}
	return change.under(next, record)
}

// match compares in one of the hashing slots. An unreadable hash is no "no".
func (s *Service) match(ctx context.Context, p Policy, invitation Invitation, otp string) (bool, error) {
	release, err := s.slot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	right, err := p.Keys.MatchOTP(invitation.OTP, invitation.Activation.String(), otp)
	if err != nil {
		return false, fmt.Errorf("comparing an OTP: %w", err)
	}
	return right, nil
}

// drawnCredential is a credential with all that its commit needs.
type drawnCredential struct {
	Credential
	code       string
	repeatable Repeatable // zero without a key
}

// credential draws an authorisation code. Under a key it is derived from the code and the OTP as well: a repeat proves that it
// knows them by deriving the same (model.md section 3).
func (s *Service) credential(p Policy, of *Code, try Try, at time.Time) (won drawnCredential, err error) {
	secrets := s.random
	if try.Key != "" {
		if won.repeatable, err = s.newRepeatable(p, try.Key, of.Activation, p.CodeLength, at, of.Activation.String()); err != nil {
			return won, err
		}
		if secrets, err = won.repeatable.secrets(p, try.Key, try.Locator, try.OTP); err != nil {
			return won, err
		}
	}
	if won.code, err = codes.Draw(secrets, p.CodeLength); err != nil {
		return won, err
	}
	won.Session, err = codes.ID(s.random)
	won.Key = p.Keys.Credential(of.Subject, won.code)[0]
	return won, err
}

// bury marks the index row of a code that leads nowhere any more, so that later tries cost one read and write nothing
// (model.md section 1), and finds out why it ended. Only the activation's own row counts: what a head that was read meanwhile says
// may be about somebody else's change. judged is whether a locked one was found so, and not just made so: then the limit is what
// counts, which may have been lowered. It is a help, not a rule: if it fails, the next try does it again.
func (s *Service) bury(ctx context.Context, code Code, why audit.Reason, judged bool) audit.Reason {
	if why != audit.ReasonNotPending && why != audit.ReasonLocked {
		return why // expired: the row says so itself; inactive: it may become active again
	}
	a, err := s.store.Activation(ctx, code.Subject, code.Activation)
	if err != nil || a == nil {
		return why
	}
	if a.Status == Pending {
		if judged && why == audit.ReasonLocked {
			_ = s.store.EndCode(ctx, code, s.clock.Now().UTC(), why)
		}
		return why
	}
	if code.Ended.IsZero() {
		_ = s.store.EndCode(ctx, code, s.clock.Now().UTC(), a.ended())
	}
	if why == audit.ReasonNotPending {
		why = a.ended()
	}
	return why
}

// ended is the true reason why a code of this activation is dead.
func (a Activation) ended() audit.Reason {
	switch {
	case a.Status == Completed:
		return audit.ReasonUsed
	case a.Ended != "":
		return a.Ended
	}
	return audit.ReasonNotPending
}
