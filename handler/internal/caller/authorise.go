package caller

import (
	"slices"
	"strings"

	"github.com/google/uuid"

	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/subject"
)

// Policy says who may do what, beside what tokens say. An operation takes it once.
type Policy struct {
	// Administrators hold every scope, and need no registration: the first of them approves all others (AUT-3).
	Administrators []identity.Key
	// Require makes an approved registration necessary, with or without scopes (model.md section 5).
	Require bool
	// DefaultScopes are what everybody approved holds.
	DefaultScopes []string
}

// Need is what a route asks of its caller.
type Need struct {
	Scope string
	// Delegated marks a route that takes a person's scp by itself. Elsewhere the person must hold the scope as well.
	Delegated bool
}

// impersonation is the scope by which a person lets a client act with all that they may do. Every API that is exposed through
// Entra's portal begins with it.
const impersonation = "user_impersonation"

// Identity is how the registry names the caller.
func (c Caller) Identity() identity.Key {
	return identity.Key{Issuer: c.Actor.Issuer, Subject: c.Actor.ID}
}

// Authorise answers nil when the caller may do what the route needs, else *Forbidden. registered is what the registry holds of
// the caller, nil if nothing.
//
// A registration that is disabled or retired overrides everything. Else a workload holds the app roles of its token, and a
// registered one its scopes. A person holds what they are registered for, as far as they let the client act for them: through
// a client that may do anything in their name, or was given this very scope, so that no other app they signed in to can act for them.
// A subject's token opens no route of these: a patient may not invite patients, whatever its scopes say. Scopes are compared
// exactly.
func (p Policy) Authorise(c Caller, need Need, registered *identity.Identity) error {
	no := func(cause Cause, expected, got string) error {
		return &Forbidden{Cause: cause, Scope: need.Scope, Expected: shown(expected), Got: shown(got)}
	}
	if c.Kind == Subject {
		return no(SubjectToken, "a token of an identity", "one of a "+string(c.Subject.Kind))
	}
	approved := p.administers(c)
	var scopes []string
	if registered != nil {
		switch registered.State {
		case identity.Disabled:
			return no(IdentityDisabled, "an identity that is not disabled", "disabled")
		case identity.Retired:
			return no(IdentityRetired, "its successor", "retired")
		case identity.Approved:
			approved = true
			scopes = slices.Concat(registered.Scopes, p.DefaultScopes)
		}
	}
	holds := need.Scope != "" && (p.administers(c) || slices.Contains(c.Scopes, need.Scope) || slices.Contains(scopes, need.Scope))
	given := slices.Contains(c.Delegated, need.Scope)
	through := c.Kind == App || c.Whole || given || slices.Contains(c.Delegated, impersonation)
	may := holds && through || given && need.Delegated
	switch {
	case may && p.Require && !approved:
		return no(RegistrationRequired, "an approved registration", standing(registered))
	case may:
		return nil
	case holds:
		return no(NotDelegated, need.Scope+" or "+impersonation+" in scp", strings.Join(c.Delegated, " "))
	case !approved:
		return no(IdentityPending, need.Scope, standing(registered))
	case given:
		return no(ScopeNotDelegated, need.Scope+" of the person's registration", strings.Join(scopes, " "))
	}
	if c.Kind == App && len(scopes) == 0 {
		return no(NoAppRole, need.Scope+" in roles", strings.Join(c.Scopes, " "))
	}
	return no(RegistrationLacksScope, need.Scope, strings.Join(scopes, " "))
}

// AuthoriseDevice is Authorise for the routes that a device calls with its own token of ours, and nobody else: no role, registration
// or administrator stands in for it.
func AuthoriseDevice(c Caller, scope string) error {
	forbidden := &Forbidden{Cause: DeviceLacksScope, Scope: scope, Expected: shown(scope), Got: shown(strings.Join(c.Scopes, " "))}
	switch {
	case c.Kind != Subject || c.Subject.Kind != subject.Device:
		got := string(c.Kind)
		if c.Kind == Subject {
			got = string(c.Subject.Kind)
		}
		forbidden.Cause, forbidden.Expected, forbidden.Got = NotADevice, shown("a device"), shown("one of kind "+got)
		return forbidden
	case !slices.Contains(c.Scopes, scope):
		return forbidden
	}
	return nil
}

func (p Policy) administers(c Caller) bool { return slices.Contains(p.Administrators, c.Identity()) }

func standing(registered *identity.Identity) string {
	if registered == nil {
		return "none"
	}
	return string(registered.State)
}

// isGUID tests for the one form in which Entra writes a GUID: 36 characters in lower case.
func isGUID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.String() == s
}
