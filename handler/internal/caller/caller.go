package caller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
	"latchkey/handler/internal/token"
)

// Kind is what a caller is.
type Kind string

// The kinds. The zero value is nobody.
const (
	// App is a workload: a managed identity or another app-only principal of Entra ID.
	App Kind = "app"
	// User is a person, through some client, by a delegated token of Entra ID.
	User Kind = "user"
	// Subject is a patient, a device or a clinician with a token of ours.
	Subject Kind = "subject"
)

// Caller is who calls, with all that their token says about what they may do.
type Caller struct {
	Kind Kind
	// Actor is the caller in records: tenant and object id, or our issuer URL and kind/id of the subject.
	Actor audit.Actor
	// Scopes are the app roles of an app-only token, or the scopes of a token of ours.
	Scopes []string
	// Delegated are the scp of a delegated token. They count on routes marked delegated only (model.md section 5 (b)).
	Delegated []string
	// Subject, Session (sid) and Token (jti) are of a token of ours, else zero.
	Subject        subject.ID
	Session, Token string
}

// Entra says which tokens of Entra ID are taken.
type Entra struct {
	// Tenant is the GUID of the one tenant.
	Tenant string
	// Audiences are client ids (GUIDs), which v1 and v2 tokens may carry, and App ID URIs, which only v1 tokens may.
	Audiences []string
	// Keys are the tenant's.
	Keys *Keys
}

// Own says how tokens of ours are checked.
type Own struct {
	// Issuer is our issuer URL.
	Issuer string
	// Verify is token.Issuer.Verify of the issuer in use. While there is none it answers ErrUnavailable.
	Verify func(raw string) (token.Claims, error)
	// Session says whether the session sid of the subject and the token jti still live. An error means that it is not known.
	Session func(ctx context.Context, of subject.ID, sid, jti string) (bool, error)
}

// Verifier finds out who calls. It is safe for concurrent use.
type Verifier struct {
	issuerV1, issuerV2 string
	own                Own
	now                func() time.Time
	form, entra        []check
}

// NewVerifier checks the configuration: a tenant, at least one audience (an empty list must not mean "any"), an issuer of our
// own that is not Entra's.
func NewVerifier(entra Entra, own Own, now func() time.Time) (*Verifier, error) {
	entra.Tenant = strings.ToLower(entra.Tenant)
	if !isGUID(entra.Tenant) {
		return nil, errors.New("the tenant must be a GUID")
	}
	var audiences []string
	for _, a := range entra.Audiences {
		// Entra writes GUIDs in lower case, the portal's users do not always. App ID URIs stay as they are.
		if lower := strings.ToLower(a); isGUID(lower) {
			a = lower
		}
		if a == "" {
			return nil, errors.New("an audience must not be empty")
		}
		audiences = append(audiences, a)
	}
	if len(audiences) == 0 {
		return nil, errors.New("at least one audience is needed")
	}
	entra.Audiences = audiences
	v := &Verifier{own: own, now: now, form: formChecks(), entra: entraChecks(entra)}
	v.issuerV1, v.issuerV2 = issuers(entra.Tenant)
	if own.Issuer == "" || own.Issuer == v.issuerV1 || own.Issuer == v.issuerV2 {
		return nil, errors.New("our own issuer must be set, and not be Entra's")
	}
	return v, nil
}

// Issuers are all whose tokens are taken: the tenant's two, and ours.
func (v *Verifier) Issuers() []string { return []string{v.issuerV1, v.issuerV2, v.own.Issuer} }

// issuers are the iss of a tenant's v1 and v2 tokens (Microsoft, "Access token claims reference").
func issuers(tenant string) (v1, v2 string) {
	return "https://sts.windows.net/" + tenant + "/", "https://login.microsoftonline.com/" + tenant + "/v2.0"
}

// Verify finds out who calls from the value of the one Authorization header ("" if there is none). It answers *Rejected for a
// token that is not accepted and ErrUnavailable when that cannot be told now. For tokens of Entra ID it does no input or output,
// unless their key is not known yet: then it waits up to 2 s. For tokens of ours it looks the session up.
func (v *Verifier) Verify(ctx context.Context, authorization string) (Caller, error) {
	raw, err := bearer(authorization)
	if err != nil {
		return Caller{}, err
	}
	t := &candidate{raw: raw, now: v.now()}
	if err := run(ctx, v.form, t); err != nil {
		return Caller{}, err
	}
	switch t.claims.text("iss") {
	case v.issuerV1:
		t.version = "1.0"
	case v.issuerV2:
		t.version = "2.0"
	case v.own.Issuer:
		return v.verifyOwn(ctx, raw)
	default:
		return Caller{}, &Rejected{Reason: TokenUntrustedIssuer, Rule: "issuer"}
	}
	if err := run(ctx, v.entra, t); err != nil {
		return Caller{}, err
	}
	return entraCaller(t.claims), nil
}

// bearer takes the token out of the header's value: RFC 6750 section 2.1, and RFC 9110 section 11.1 for the case of the scheme.
func bearer(authorization string) (string, error) {
	scheme, rest, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", &Rejected{Reason: TokenMissing, Rule: "scheme"}
	}
	raw := strings.TrimLeft(rest, " ")
	if raw == "" {
		return "", &Rejected{Reason: TokenMalformed, Rule: "scheme"}
	}
	return raw, nil // a second token behind it is no base64url
}

func (v *Verifier) verifyOwn(ctx context.Context, raw string) (Caller, error) {
	claims, err := v.own.Verify(raw)
	switch {
	case errors.Is(err, ErrUnavailable):
		return Caller{}, err
	case err != nil:
		return Caller{}, &Rejected{Reason: ownReason(err), Rule: "own_token"}
	}
	lives, err := v.own.Session(ctx, claims.Subject, claims.Session, claims.ID)
	switch {
	case err != nil:
		return Caller{}, fmt.Errorf("%w: reading the session: %w", ErrUnavailable, err)
	case !lives:
		return Caller{}, &Rejected{Reason: TokenRevoked, Rule: "own_session"}
	}
	return Caller{
		Kind:    Subject,
		Actor:   audit.Actor{Issuer: v.own.Issuer, ID: string(claims.Subject.Kind) + "/" + claims.Subject.Name},
		Scopes:  claims.Scopes,
		Subject: claims.Subject,
		Session: claims.Session,
		Token:   claims.ID,
	}, nil
}

// ownReason gives the reason for an error of token.Issuer.Verify.
func ownReason(err error) Reason {
	for _, t := range []struct {
		err    error
		reason Reason
	}{
		{token.ErrExpired, TokenExpired},
		{token.ErrNotYetValid, TokenNotYetValid},
		{token.ErrIssuer, TokenUntrustedIssuer},
		{token.ErrAudience, TokenWrongAudience},
		{token.ErrHeader, TokenWrongType},
		{token.ErrUnknownKey, TokenBadSignature},
		{token.ErrSignature, TokenBadSignature},
	} {
		if errors.Is(err, t.err) {
			return t.reason
		}
	}
	return TokenMalformed
}
