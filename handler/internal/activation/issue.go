package activation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// MaxLifetime is the longest that a token of a subject may live, whatever the settings say: a revocation is published as long as a
// token that was bought before it could still be accepted (model.md section 1).
const MaxLifetime = 24 * time.Hour

// Grant is the right to one token. Only mayIssue makes one: its fields cannot be set elsewhere, and no token is minted for the zero
// value, which has no subject.
type Grant struct {
	subject subject.ID
	session string
	at      time.Time
}

// Subject is whom the token is for.
func (g Grant) Subject() subject.ID { return g.subject }

// Session is the sid of the token: that of the credential it is bought with.
func (g Grant) Session() string { return g.session }

// At is the time before the credential was read, UTC: a token never seems younger than the look at its credential, and one that is
// on its way while the credential ends is older than its end (model.md section 4).
func (g Grant) At() time.Time { return g.at }

// mayIssue is the gate that every token goes through, on whatever path (TOK-8). It notes the time, and then reads the credential
// that stands under one of the keys: it is live by existing, so that after a revocation's reply there is nothing to find. found is
// for notes about its use. Without one the answer is a *Refusal.
func (s *Service) mayIssue(ctx context.Context, of subject.ID, keys []keyed.Hash) (grant Grant, found *Credential, err error) {
	at := s.clock.Now().UTC()
	found, err = s.store.Credential(ctx, of, keys)
	if err != nil {
		return Grant{}, nil, commit.Unavailable(err)
	}
	if found == nil {
		return Grant{}, nil, &Refusal{audit.IssueToken, audit.ReasonNoCredential}
	}
	return Grant{subject: of, session: found.Session, at: at}, found, nil
}

// touchEvery is how often it is noted that a credential is in use.
const touchEvery = time.Hour

// Authorise lets a subject buy a token with its authorisation code (TOK-1). It is one point read: an unknown subject, a wrong
// code and a revoked one are the same missing row, and the same *Refusal. Where credentials of the predecessor's were imported, a
// code that has no row may be one of them: it is upgraded, and then looked up as any other.
func (s *Service) Authorise(ctx context.Context, from audit.Origin, of subject.ID, code string) (Grant, error) {
	grant, found, _, err := s.credited(ctx, from, of, code)
	if err != nil {
		return Grant{}, err
	}
	if grant.at.Sub(found.Used) >= touchEvery {
		s.later(func(ctx context.Context) { _ = s.store.Touch(ctx, of, found.Key, grant.at) })
	}
	return grant, nil
}

// credited finds what an authorisation code is worth, and the keys under which it may stand.
func (s *Service) credited(ctx context.Context, from audit.Origin, of subject.ID, code string) (Grant, *Credential, []keyed.Hash, error) {
	p := s.policy()
	keys := p.Keys.Credential(of, code)
	grant, found, err := s.mayIssue(ctx, of, keys)
	var refusal *Refusal
	if p.Imported && errors.As(err, &refusal) {
		// A refusal of the upgrade is none of the code: somebody else with the same one may have been quicker.
		if err := s.upgrade(ctx, from, of, code); err != nil && !errors.As(err, &refusal) {
			return Grant{}, nil, nil, fmt.Errorf("upgrading a credential: %w", err)
		}
		grant, found, err = s.mayIssue(ctx, of, keys)
	}
	return grant, found, keys, err
}

// Lives reports whether a token of the subject, with this sid and jti, is still good: what the storage says now (model.md section 4).
func (s *Service) Lives(ctx context.Context, of subject.ID, sid, jti string) (bool, error) {
	live, err := s.store.Session(ctx, of, sid, jti)
	if err != nil {
		return false, commit.Unavailable(err)
	}
	return live, nil
}
