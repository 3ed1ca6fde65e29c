// Package identity is the registry of callers (AUT-2, AUT-3, model.md section 5): which identities of the trusted issuers may do
// what, beyond what their tokens say, and which may do nothing at all. It decides; it knows no HTTP, no Azure and no JWT.
package identity

import "time"

// Key names an identity as its issuer does: never by a name, an e-mail address or a client id.
type Key struct {
	// Issuer is a tenant's GUID for Entra ID, else the issuer's URL. At most 255 bytes.
	Issuer string
	// Subject is the object id (oid) for Entra ID, else the sub. At most 255 bytes.
	Subject string
}

// State is where an identity stands. The values are stored and sent: never rename one.
type State string

// The states. An identity that is not registered has none.
const (
	// Pending has called, and waits for an administrator.
	Pending State = "pending"
	// Approved holds its scopes, and those that everybody approved gets.
	Approved State = "approved"
	// Disabled may do nothing, whatever its tokens say.
	Disabled State = "disabled"
	// Retired is one whose place a successor has taken. It may do nothing, for good.
	Retired State = "retired"
)

// Kind is what an identity was when it first called, "" for one that was registered by hand.
type Kind string

// The kinds.
const (
	App  Kind = "app"
	User Kind = "user"
)

// Identity is one registered identity.
type Identity struct {
	Key
	State State
	Kind  Kind
	// Label is what people call it: at most 100 characters.
	Label string
	// Scopes are what it holds once it is approved, sorted.
	Scopes []string
	// Successor has taken the place of a retired identity, else zero.
	Successor Key

	Created    time.Time
	CreatedBy  string
	Modified   time.Time
	ModifiedBy string
	// Seen is when it last called, to the hour, or zero.
	Seen time.Time
}
