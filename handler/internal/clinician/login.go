package clinician

import (
	"context"
	"errors"
	"fmt"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// Grant is the right to one token of a clinician. Only LogIn makes one: its fields cannot be set elsewhere, and no token is minted for
// the zero value, which has no subject.
type Grant struct {
	clinician, device subject.ID
	session           string
	at                time.Time
}

// Subject is whom the token is for.
func (g Grant) Subject() subject.ID { return g.clinician }

// Device is the device that the clinician logged in through.
func (g Grant) Device() subject.ID { return g.device }

// Session is the sid of the token: the device's, so that it ends with what the device was let in by.
func (g Grant) Session() string { return g.session }

// At is the time before anything was read, UTC, as activation.Grant.At.
func (g Grant) At() time.Time { return g.at }

// LogIn lets a clinician in through a device (TOK-3). who is whom the identifier names, zero for nobody. The session of the device is
// read here, in the same trip as the identifier: whoever calls need not have. Its refusals are *activation.Refusal: ReasonNotFound for
// an identifier that nobody has, any other reason for a device or a clinician that may not.
//
// A clinician whose contract is over is turned off by the first login that finds it (DIR-4): once, with its own record, before the
// refusal.
func (s *Service) LogIn(ctx context.Context, from audit.Origin, through Through, identifier string) (grant Grant, who subject.ID, err error) {
	fail := func(err error) (Grant, subject.ID, error) { return Grant{}, who, fmt.Errorf("logging in: %w", err) }
	refuse := func(why audit.Reason) (Grant, subject.ID, error) {
		return fail(&activation.Refusal{Action: audit.LogIn, Reason: why})
	}
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	at := s.clock.Now().UTC()
	known, err := s.guess(ctx, through.Device.Name)
	if err != nil {
		return fail(err)
	}
	if !isIdentifier(identifier) {
		return refuse(audit.ReasonNotFound)
	}
	live, claim, err := s.store.Enter(ctx, through, identifier)
	switch {
	case err != nil:
		known() // nothing was learned
		return fail(commit.Unavailable(err))
	case !live:
		known()
		return refuse(audit.ReasonEnded)
	case claim == nil:
		return refuse(audit.ReasonNotFound)
	}
	record, err := s.record(from, audit.LogIn, through.Device)
	if err != nil {
		return fail(err)
	}
	record.Clinician, record.Identifier = claim.Clinician.Name, identifier
	is, active, err := s.store.Meet(ctx, record, claim.Clinician)
	if err != nil {
		known()
		return fail(commit.Unavailable(err))
	}
	if is == nil || is.Identifier != identifier { // both rows have to agree
		return refuse(audit.ReasonNotFound)
	}
	known()
	who = is.Subject
	if !active {
		return refuse(audit.ReasonDeviceInactive)
	}
	if is.LoginActive && is.LastDay.over(s.clock.Now(), s.zone()) {
		if err := s.endContract(ctx, from, is.Subject); err != nil {
			return fail(err)
		}
		return refuse(audit.ReasonContractEnded)
	}
	switch {
	case !is.LoginActive:
		return refuse(audit.ReasonInactive)
	case !is.mayEnter():
		return refuse(audit.ReasonWrongGroup)
	}
	err = commit.Loop[bool, string]{
		Wait:   s.clock.Wait,
		Commit: func(ctx context.Context, session string) error { return s.store.Pass(ctx, session, record) },
		Reopen: func(ctx context.Context) (bool, bool, error) { return s.store.Repass(ctx, through.Session, record) },
	}.Settle(ctx, true, func(live bool) (string, error) {
		if !live { // a session that has gone never comes back under its sid
			return "", &activation.Refusal{Action: audit.LogIn, Reason: audit.ReasonEnded}
		}
		return through.Session, nil
	})
	if err != nil {
		return fail(err)
	}
	return Grant{clinician: who, device: through.Device, session: through.Session, at: at}, who, nil
}

// endContract turns the clinician's login off, if the contract is still over and it is still on.
func (s *Service) endContract(ctx context.Context, from audit.Origin, of subject.ID) error {
	record, err := s.record(from, audit.EndContract, of)
	if err != nil {
		return err
	}
	opened, err := s.store.Open(ctx, record, "")
	if err != nil {
		return commit.Unavailable(err)
	}
	err = s.settle(ctx, record, opened.Clinician, func(is *Clinician) (Change, error) {
		if is == nil || !is.LoginActive || !is.LastDay.over(record.Time, s.zone()) {
			return Change{}, errSame
		}
		next := *is
		next.LoginActive = false
		return next.under(is, record), nil
	})
	if err != nil && !errors.Is(err, errSame) {
		return fmt.Errorf("ending a contract: %w", err)
	}
	return nil
}
