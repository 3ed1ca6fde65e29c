package caller

import (
	"context"
	"errors"
	"fmt"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
	"latchkey/handler/internal/token"
)

// Own says how tokens of ours are checked.
type Own struct {
	// Issuer is our issuer URL.
	Issuer string
	// Tokens is the issuer in use, or nil while there is none. What it verified is remembered for as long as it is the one.
	Tokens func() *token.Issuer
	// Session says whether the session sid of the subject and the token jti still live. An error means that it is not known.
	Session func(ctx context.Context, of subject.ID, sid, jti string) (bool, error)
}

func (o Own) issuer() *issuer {
	return &issuer{name: o.Issuer, checks: []check{plain("own_token", o.verify)}, always: []check{{"own_session", o.lives}}}
}

// verify leaves it to package token, which made the token, and reads who calls.
func (o Own) verify(t *candidate) error {
	tokens := o.Tokens()
	if tokens == nil {
		return fmt.Errorf("%w: there is no signing key yet", ErrUnavailable)
	}
	claims, err := tokens.Verify(t.raw)
	if err != nil {
		return ownRefusal(err)
	}
	t.proof = func() bool { return o.Tokens() == tokens }
	t.caller = Caller{
		Kind:    Subject,
		Actor:   audit.Actor{Issuer: o.Issuer, ID: string(claims.Subject.Kind) + "/" + claims.Subject.Name},
		Scopes:  claims.Scopes,
		Subject: claims.Subject,
		Holder:  claims.Holder(),
		Session: claims.Session,
		Token:   claims.ID,
	}
	return nil
}

// lives asks the storage, on every call.
func (o Own) lives(ctx context.Context, t *candidate) error {
	lives, err := o.Session(ctx, t.caller.Holder, t.caller.Session, t.caller.Token)
	switch {
	case err != nil:
		return fmt.Errorf("%w: reading the session: %w", ErrUnavailable, err)
	case !lives:
		return refuse(SessionEnded, "a session that lives", "")
	}
	return nil
}

// ownRefusal gives the refusal for an error of token.Issuer.Verify.
func ownRefusal(err error) error {
	for _, t := range []struct {
		err   error
		cause Cause
	}{
		{token.ErrHeader, OwnHeader},
		{token.ErrUnknownKey, OwnKeyUnknown},
		{token.ErrAlgorithm, OwnAlgorithm},
		{token.ErrSignature, OwnSignature},
		{token.ErrAudience, OwnAudience},
		{token.ErrExpired, OwnExpired},
		{token.ErrNotYetValid, OwnNotYetValid},
	} {
		if errors.Is(err, t.err) {
			return refuse(t.cause, "", err.Error())
		}
	}
	return refuse(OwnClaims, "", err.Error())
}
