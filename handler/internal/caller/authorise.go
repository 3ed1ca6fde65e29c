package caller

import (
	"slices"

	"github.com/google/uuid"
)

// Identity is somebody in Entra ID: the tenant and the object id, both GUIDs in lower case. It is what people and workloads are
// told apart by, never a name, an e-mail address or a client id (AUT-2).
type Identity struct{ Tenant, Object string }

// Authorise answers nil when the caller holds the scope, else *Forbidden. An app holds the app roles of its app-only token
// (model.md section 5 (a)); as an administrator it holds every scope. A person who is an administrator holds the scopes that they
// let the client app have (scp), so that no other app they signed in to can act for them; a scp alone counts for nothing here
// (section 5 (b)). A subject's token opens no route of these: a patient may not invite patients, whatever its scopes say.
// Scopes are compared exactly.
func Authorise(c Caller, scope string, administrators []Identity) error {
	administrator := slices.Contains(administrators, Identity{Tenant: c.Actor.Issuer, Object: c.Actor.ID})
	var may bool
	switch c.Kind {
	case App:
		may = administrator || scope != "" && slices.Contains(c.Scopes, scope)
	case User:
		may = administrator && scope != "" && slices.Contains(c.Delegated, scope)
	case Subject: // there are no routes for subjects yet
	}
	if !may {
		return &Forbidden{Scope: scope}
	}
	return nil
}

// isGUID tests for the one form in which Entra writes a GUID: 36 characters in lower case.
func isGUID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.String() == s
}
