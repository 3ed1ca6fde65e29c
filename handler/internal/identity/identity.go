// Package identity is the registry of callers (AUT-2, AUT-3, model.md section 5): which identities of the trusted issuers may do
// what, beyond what their tokens say, and which may do nothing at all. It decides who waits, who is let in and who is put out; it
// refuses to know how a caller proved who they are, whether they may change the registry, and how it is stored: no HTTP, no Azure,
// no JWT.
package identity

import (
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"latchkey/handler/internal/audit"
)

// The bounds of what is kept of one identity.
const (
	// maxName is the most bytes of an issuer and of a subject (model.md section 1). OpenID Connect Core 1.0 section 2 allows a
	// sub no more.
	maxName = 255
	// MaxLabel is the most characters of a label.
	MaxLabel = 100
	// MaxScopes is the most scopes that one identity is given, and MaxScope the most characters of one.
	MaxScopes, MaxScope = 100, 128
)

// MostPending is how many identities of one issuer wait at most (model.md section 5): whoever can make identities there cannot
// make rows here without end.
const MostPending = 1000

// Key names an identity as its issuer does: never by a name, an e-mail address or a client id.
type Key struct {
	// Issuer is a tenant's GUID for Entra ID, else the issuer's URL. At most 255 bytes.
	Issuer string
	// Subject is the object id (oid) for Entra ID, else the sub. At most 255 bytes.
	Subject string
}

// base32hex is RFC 4648 section 7, without padding.
var base32hex = base32.HexEncoding.WithPadding(base32.NoPadding)

// ID is the identity's public name: issuer and subject with "~" between them, each as it is if it is a GUID (so that it is tid~oid
// for Entra ID), else in lower-case base32hex. It needs no escape in a URL, and it is opaque to clients.
func (k Key) ID() string { return encode(k.Issuer) + "~" + encode(k.Subject) }

// ParseID reads an ID, or answers ErrNotFound: what has another form names nobody.
func ParseID(id string) (Key, error) {
	issuer, subject, _ := strings.Cut(id, "~")
	k := Key{decode(issuer), decode(subject)}
	if !k.valid() || k.ID() != id { // there is one spelling of every key
		return Key{}, ErrNotFound
	}
	return k, nil
}

func encode(name string) string {
	if isGUID(name) {
		return name
	}
	return strings.ToLower(base32hex.EncodeToString([]byte(name)))
}

// decode is "" for what encode never gives.
func decode(text string) string {
	if isGUID(text) {
		return text
	}
	name, err := base32hex.DecodeString(strings.ToUpper(text))
	if err != nil {
		return ""
	}
	return string(name)
}

// isGUID tests for the one form in which Entra ID writes a GUID: 36 characters in lower case.
func isGUID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.String() == s
}

func (k Key) valid() bool {
	return k.Issuer != "" && len(k.Issuer) <= maxName && k.Subject != "" && len(k.Subject) <= maxName
}

func (k Key) actor() audit.Actor { return audit.Actor{Issuer: k.Issuer, ID: k.Subject} }

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

// Version is the storage's mark of one state of a row (an ETag). Absent means that there is no row yet.
type Version string

// Absent is the version of a row that does not exist.
const Absent Version = ""

// Identity is one registered identity.
type Identity struct {
	Key
	State State
	Kind  Kind
	// Label is what people call it: at most MaxLabel characters.
	Label string
	// Scopes are what it holds while it is approved, sorted.
	Scopes []string
	// Successor has taken the place of a retired identity, else zero.
	Successor Key

	Created    time.Time
	CreatedBy  string
	Modified   time.Time
	ModifiedBy string
	// Seen is when it last called, to the hour, or zero.
	Seen time.Time

	// N counts its changes, from 1. A note of its last call is none.
	N int64
	// Version is the row's.
	Version Version
}

// Invalid is the error for a value that is not kept.
type Invalid struct {
	// Field is label or scopes.
	Field   string
	Problem string
}

func (e *Invalid) Error() string { return e.Field + " " + e.Problem }

// Errors of the operations, beside *Invalid and those of package commit.
var (
	// ErrNotFound: nobody knows this identity.
	ErrNotFound = errors.New("there is no such identity")
	// ErrKey: an identity without an issuer or a subject, or with one of more than 255 bytes, is not registered.
	ErrKey = errors.New("an issuer and a subject have 1 to 255 bytes")
	// ErrExists: the identity is known already, in whatever state.
	ErrExists = errors.New("the identity exists")
	// ErrFull: as many identities of this issuer wait as may.
	ErrFull = errors.New("too many identities of this issuer are pending")
	// ErrApproved: the identity is approved already, on other terms.
	ErrApproved = errors.New("the identity is approved already")
	// ErrDisabled: the identity is disabled, and is not let in by approving it.
	ErrDisabled = errors.New("the identity is disabled")
	// ErrRetired: the identity is retired, and a retired one never comes back.
	ErrRetired = errors.New("the identity is retired")
	// ErrState: no change leads from the identity's state to that one.
	ErrState = errors.New("the identity cannot be put into this state")
	// ErrPredecessor: what was named as the predecessor is nobody known, or the identity itself.
	ErrPredecessor = errors.New("there is no such predecessor")
	// ErrReplaced: the predecessor has another successor.
	ErrReplaced = errors.New("the predecessor has another successor")
	// ErrSelf: nobody takes from themselves what they may do. It could be the last who can give it back; and who holds somebody
	// else's token for a moment cannot turn its owner out.
	ErrSelf = errors.New("nobody disables, retires or strips themselves")
	// ErrMoved: the identity is not as the caller saw it.
	ErrMoved = errors.New("the identity has changed")
)

// checkLabel refuses what would not show as one line of text, among it what turns the direction of writing.
func checkLabel(label string) error {
	switch {
	case !utf8.ValidString(label) || strings.ContainsFunc(label, func(r rune) bool { return !unicode.IsPrint(r) }):
		return &Invalid{"label", "has a character that does not print"}
	case utf8.RuneCountInString(label) > MaxLabel:
		return &Invalid{"label", fmt.Sprintf("has more than %d characters", MaxLabel)}
	}
	return nil
}

// sortedScopes gives scopes as they are kept: sorted, each once. A scope is a scope-token (RFC 6749 section 3.3).
func sortedScopes(scopes []string) ([]string, error) {
	sorted := slices.Clone(scopes)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	if len(sorted) > MaxScopes {
		return nil, &Invalid{"scopes", fmt.Sprintf("are more than %d", MaxScopes)}
	}
	for _, scope := range sorted {
		token := !strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
		if !token || scope == "" || len(scope) > MaxScope {
			return nil, &Invalid{"scopes", fmt.Sprintf("have one that is not a scope of at most %d characters (RFC 6749 section 3.3)", MaxScope)}
		}
	}
	return sorted, nil
}
