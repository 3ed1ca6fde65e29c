package caller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
)

// Kind is what a caller is.
type Kind string

// The kinds. The zero value is nobody.
const (
	// App is a workload: a managed identity or another app-only principal of Entra ID, or a client of a provider.
	App Kind = "app"
	// User is a person, through some client, by a delegated token of Entra ID or a token of a provider.
	User Kind = "user"
	// Subject is a patient, a device or a clinician with a token of ours.
	Subject Kind = "subject"
)

// Caller is who calls, with all that their token says about what they may do. Its lists are shared by all calls with one token:
// nobody changes them.
type Caller struct {
	Kind Kind
	// Actor is the caller in records: tenant and object id, a provider's issuer URL and sub, or our issuer URL and kind/id of the
	// subject.
	Actor audit.Actor
	// Scopes are the app roles of an app-only token, the roles of a provider's token, or the scopes of a token of ours.
	Scopes []string
	// Delegated are the scopes of a person's token: what they let their client do (model.md section 5 (b)).
	Delegated []string
	// Whole: the person's client may do all that they may, since their issuer does not divide that (no scopes path).
	Whole bool
	// Subject, Session (sid) and Token (jti) are of a token of ours, else zero. Holder is whose session that is: the subject's own, or
	// that of the device that a clinician logged in through.
	Subject        subject.ID
	Holder         subject.ID
	Session, Token string
}

// Config says whose tokens are taken. Entra and Own are needed.
type Config struct {
	Entra     Entra
	Providers []Provider
	Own       Own
	Now       func() time.Time
	// Remember is how many verified tokens are remembered at most; 0 means 4,096.
	Remember int
}

// Keys are those of all issuers but ourselves, Entra's first: each has to Run, and tells its own Age.
func (c Config) Keys() []*Keys {
	all := []*Keys{c.Entra.Keys}
	for _, p := range c.Providers {
		all = append(all, p.Keys)
	}
	return all
}

// defaultRemember is a few megabytes, and more callers than a hospital has.
const defaultRemember = 4096

// issuer is one of those whose tokens are taken.
type issuer struct {
	name string
	// checks are what makes a token of it good: a token that passed them is remembered. always are run on each call besides.
	checks, always []check
	// caller reads who calls from a token that passed the checks, unless one of them did.
	caller func(*candidate) Caller
}

// Verifier finds out who calls. It is safe for concurrent use.
type Verifier struct {
	now        func() time.Time
	form       []check
	issuers    map[string]*issuer // by iss
	remembered remembered
}

// NewVerifier checks the configuration: a tenant, an audience for each issuer (an empty list must not mean "any"), and no two
// issuers of one name.
func NewVerifier(c Config) (*Verifier, error) {
	all, err := c.Entra.issuers()
	if err != nil {
		return nil, fmt.Errorf("Entra ID: %w", err)
	}
	for _, p := range c.Providers {
		provider, err := p.issuer()
		if err != nil {
			return nil, fmt.Errorf("the provider %s: %w", p.Issuer, err)
		}
		all = append(all, provider)
	}
	if c.Own.Issuer == "" {
		return nil, errors.New("our own issuer must be set")
	}
	issuers := map[string]*issuer{}
	for _, i := range append(all, c.Own.issuer()) {
		if issuers[i.name] != nil {
			return nil, fmt.Errorf("there are two issuers %s", i.name)
		}
		issuers[i.name] = i
	}
	if c.Remember == 0 {
		c.Remember = defaultRemember
	}
	remembered, err := newRemembered(c.Remember)
	if err != nil {
		return nil, err
	}
	return &Verifier{now: c.Now, form: formChecks(issuers), issuers: issuers, remembered: remembered}, nil
}

// Issuers are all whose tokens are taken, sorted: the tenant's two, the providers, and ours.
func (v *Verifier) Issuers() []string { return slices.Sorted(maps.Keys(v.issuers)) }

// Verify finds out who calls from the value of the one Authorization header ("" if there is none). It answers *Rejected for a
// token that is not accepted and ErrUnavailable when that cannot be told now. For tokens of others it does no input or output,
// unless their key is not known yet: then it waits up to 2 s. For tokens of ours it looks the session up, each time.
func (v *Verifier) Verify(ctx context.Context, authorization string) (Caller, error) {
	c, from, err := v.recognise(ctx, authorization)
	if err != nil {
		return Caller{}, err
	}
	return from.admit(ctx, c)
}

// Recognise is Verify without the look at the session of a token of ours, for an operation that reads it beside its own first reads:
// whoever calls it must not grant anything before that.
func (v *Verifier) Recognise(ctx context.Context, authorization string) (Caller, error) {
	c, _, err := v.recognise(ctx, authorization)
	return c, err
}

// recognise does all that can be remembered.
func (v *Verifier) recognise(ctx context.Context, authorization string) (Caller, *issuer, error) {
	raw, err := bearer(authorization)
	if err != nil {
		return Caller{}, nil, err
	}
	now, sum := v.now(), hashOf(raw)
	if known := v.remembered.find(sum, now); known != nil {
		return known.caller, known.from, nil
	}
	t := &candidate{raw: raw, now: now}
	if err := run(ctx, v.form, t); err != nil {
		return Caller{}, nil, err
	}
	if err := run(ctx, t.from.checks, t); err != nil {
		return Caller{}, nil, err
	}
	if t.from.caller != nil {
		t.caller = t.from.caller(t)
	}
	v.remembered.keep(sum, t)
	return t.caller, t.from, nil
}

// admit runs the checks that nothing is remembered of.
func (i *issuer) admit(ctx context.Context, c Caller) (Caller, error) {
	if len(i.always) > 0 {
		if err := run(ctx, i.always, &candidate{caller: c}); err != nil {
			return Caller{}, err
		}
	}
	return c, nil
}

// bearer takes the token out of the header's value: RFC 6750 section 2.1, and RFC 9110 section 11.1 for the case of the scheme.
func bearer(authorization string) (string, error) {
	scheme, rest, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		if authorization == "" {
			return "", refuse(NoHeader, "Bearer and a token", "")
		}
		return "", refuse(OtherScheme, "Bearer and a token", "")
	}
	raw := strings.TrimLeft(rest, " ")
	if raw == "" {
		return "", refuse(EmptyToken, "a token behind Bearer", "")
	}
	return raw, nil // a second token behind it is no base64url
}
