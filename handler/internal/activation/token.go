package activation

import (
	"context"
	"errors"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// Grant is the right to one token.
type Grant struct {
	Subject subject.ID
	Session string
	// At is the time before the credential was read: a token never seems younger than the look at its credential.
	At time.Time
}

// touchEvery is how often it is noted that a credential is in use.
const touchEvery = time.Hour

// Authorise lets a subject buy a token with its authorisation code (TOK-1). It is one point read: an unknown subject, a wrong
// code and a revoked one are the same missing row, and the same *Refusal. Where credentials of the predecessor's were imported, a
// code that has no row may be one of them.
func (s *Service) Authorise(ctx context.Context, from audit.Origin, of subject.ID, code string) (Grant, error) {
	at := s.clock.Now().UTC()
	p := s.policy()
	found, err := s.store.Credential(ctx, of, p.Keys.Credential(of, code))
	if err != nil {
		return Grant{}, commit.Unavailable(err)
	}
	if found == nil && p.Imported {
		grant, err := s.upgrade(ctx, from, of, code, at)
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			return grant, err
		}
		// Somebody else with the same code may have been quicker.
		if found, err = s.store.Credential(ctx, of, p.Keys.Credential(of, code)); err != nil {
			return Grant{}, commit.Unavailable(err)
		}
	}
	if found == nil {
		return Grant{}, noCredential()
	}
	if at.Sub(found.Used) >= touchEvery {
		key := found.Key
		s.later(func(ctx context.Context) { _ = s.store.Touch(ctx, of, key, at) })
	}
	return Grant{Subject: of, Session: found.Session, At: at}, nil
}

func noCredential() *Refusal { return &Refusal{audit.IssueToken, audit.ReasonNoCredential} }
