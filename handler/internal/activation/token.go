package activation

import (
	"context"
	"time"

	"latchkey/handler/internal/audit"
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
// code and a revoked one are the same missing row, and the same *Refusal.
func (s *Service) Authorise(ctx context.Context, of subject.ID, code string) (Grant, error) {
	at := s.clock.Now().UTC()
	found, err := s.store.Credential(ctx, of, s.policy().Keys.Credential(of, code))
	if err != nil {
		return Grant{}, unavailable(err)
	}
	if found == nil {
		return Grant{}, &Refusal{audit.IssueToken, audit.ReasonNoCredential}
	}
	if at.Sub(found.Used) >= touchEvery {
		key := found.Key
		s.later(func(ctx context.Context) { _ = s.store.Touch(ctx, of, key, at) })
	}
	return Grant{Subject: of, Session: found.Session, At: at}, nil
}
