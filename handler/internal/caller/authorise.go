package caller

import (
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Identity is somebody in Entra ID: the tenant and the object id, both GUIDs in lower case. It is what people and workloads are
// told apart by, never a name, an e-mail address or a client id (AUT-2).
type Identity struct{ Tenant, Object string }

// ErrIdentity says that a text is not tid/oid.
var ErrIdentity = errors.New("an identity is tid/oid, two GUIDs")

// ParseIdentity reads "tid/oid", the form of the administrators' list in the settings, or answers ErrIdentity.
func ParseIdentity(s string) (Identity, error) {
	tenant, object, _ := strings.Cut(strings.ToLower(s), "/")
	if !isGUID(tenant) || !isGUID(object) {
		return Identity{}, ErrIdentity
	}
	return Identity{Tenant: tenant, Object: object}, nil
}

// Authorise answers nil when the caller holds the scope, else *Forbidden. An app holds the app roles of its app-only token
// (model.md section 5 (a)), a subject the scopes of its token, an administrator every scope. A delegated scp counts for
// nothing here: it is for routes that are marked delegated (model.md section 5 (b)). Scopes are compared exactly.
func Authorise(c Caller, scope string, administrators []Identity) error {
	switch c.Kind {
	case App, User:
		if slices.Contains(administrators, Identity{Tenant: c.Actor.Issuer, Object: c.Actor.ID}) {
			return nil
		}
	case Subject:
	default:
		return &Forbidden{Scope: scope} // the zero Caller is nobody
	}
	if c.Kind != User && scope != "" && slices.Contains(c.Scopes, scope) {
		return nil
	}
	return &Forbidden{Scope: scope}
}

// isGUID tests for the one form in which Entra writes a GUID: 36 characters in lower case.
func isGUID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.String() == s
}
