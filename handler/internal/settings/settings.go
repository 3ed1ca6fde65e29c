// Package settings owns what the handler can be told: the keys, their forms, their defaults and their bounds
// (model.md section 8). It is the only place that knows a key. It turns layers of text into one typed snapshot, or into the
// list of everything that is wrong with them; a snapshot is never half good. It refuses to guess: a value that is out
// of bounds, misspelled or still a placeholder is a problem, not a default. It reads no environment, file or vault
// itself; those come in as functions.
//
// A key is written Section:Key. The environment calls it Section__Key, Key Vault Section--Key (CFG-1), and where the
// predecessor had a name for it, that works as well.
package settings

import (
	"crypto/x509"
	"log/slog"
	"sync/atomic"
	"time"

	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/site"
)

// Settings is one snapshot. It is complete and valid, and nobody changes it: a later one replaces it whole.
type Settings struct {
	Entra    Entra
	Storage  Storage
	KeyVault KeyVault
	Network  Network
	Tokens   Tokens
	Codes    Codes
	Site     Site
	Sites    site.Directory // all sites, by their prefixes, the own one among them (ACT-12)
	Identity Identities
	Personas Personas
	Abuse    Abuse
	Import   Import
	Docs     Docs
	Log      Log
	HTTP     HTTP
}

// Entra says whose access tokens are trusted.
type Entra struct {
	TenantID  string   // lower-case GUID
	Audiences []string // one or more, exactly as they stand in "aud"
	KeysURL   string   // https; where the issuer publishes its keys (JWKS)
}

// Storage says where the tables are.
type Storage struct {
	TablesEndpoint string // https, without a trailing slash
}

// KeyVault says where the vault is.
type KeyVault struct {
	Endpoint string // https, host only, without a trailing slash; empty = no vault
}

// Network is how the handler reaches others.
type Network struct {
	CABundle       string              // path of a PEM file; empty = the system's authorities alone
	CACertificates []*x509.Certificate `json:"-"` // what the file held when the snapshot was made; added to the system's
}

// Tokens shapes the JWTs that Latchkey issues.
type Tokens struct {
	Issuer          string // https (http on loopback only), without query, fragment and trailing slash
	Audience        string
	SigningKey      secret.Text   // in a form that Checks.SigningKey accepted
	PatientLifetime time.Duration // whole seconds
	DeviceLifetime  time.Duration // whole seconds
	// ClinicianLifetime is in whole seconds.
	ClinicianLifetime time.Duration
}

// Codes shapes activations and what they hand out (ACT-9, ACT-11, ACT-13, ACT-16).
type Codes struct {
	Pepper                   secret.Text // standard base64 of keyed.MinPepper bytes or more
	OTPLength                int         // characters
	DeviceCodeLength         int         // characters, without prefix and check
	AuthorisationCodeLength  int         // characters
	SaltLength               int         // bytes
	MaxAttempts              int         // wrong tries that end an activation
	ExpiryDays               int         // local days after the day of issue, at whose end an activation expires
	MaxCredentialsPerPatient int         // live authorisation codes
}

// Site is the one site that a deployment serves.
type Site struct {
	Code     string         // 3 characters of A-Z and 0-9; the prefix of every code that people type
	Name     string         // printable; empty = nobody said
	AppLink  string         // what stands in front of a code in a QR code: at most picture.MaxLink bytes, no query, no fragment
	TimeZone *time.Location // days end by its clock
}

// Identities lists who may do everything, and who vouches for callers beside Entra ID.
type Identities struct {
	Administrators []identity.Key // "tid" and "oid" as lower-case GUIDs
	Require        bool           // a registration is necessary
	DefaultScopes  []string       // of everybody approved
	Providers      []Provider     // no two with one issuer
}

// Personas holds the scopes of the tokens of each kind of subject (TOK-5).
type Personas struct {
	Patient []string
	Device  []string
	// Clinician is for those who logged in through a device.
	Clinician []string
}

// Abuse bounds what strangers may try (ABU-1).
type Abuse struct {
	UnknownCapacity int64         // unknown codes of a kind, at one go
	UnknownPerYear  int64         // that come back in a year
	SourceRefusals  int64         // refused redeems of one address in SourceWindow
	SourceWindow    time.Duration // whole seconds
	UnknownLogins   int64         // unknown identifiers of one device in SourceWindow
}

// Import says what was taken over from the predecessor.
type Import struct {
	Credentials bool // authorisation codes (ACT-15)
}

// Docs says what the handler tells about itself.
type Docs struct {
	Page bool // the browsable page at /ui/ (OPS-2)
}

// Log says what is logged and how (OPS-4).
type Log struct {
	Level  slog.Level
	Format LogFormat
}

// LogFormat is how a log line is written.
type LogFormat string

// The formats of Log:Format.
const (
	LogJSON   LogFormat = "json"
	LogPlain  LogFormat = "plain"
	LogColour LogFormat = "colour"
)

// HTTP says where the handler listens.
type HTTP struct {
	Addr      string // host:port, for net.Listen
	UnderHost bool   // the Functions host sends the requests, and Addr is the loopback port it chose
}

// Source holds the snapshot in force. Its zero value holds none. It is safe for concurrent use.
type Source struct{ current atomic.Pointer[Settings] }

// Current gives the snapshot in force, or nil as long as none was good. An operation asks once and keeps the answer.
func (s *Source) Current() *Settings { return s.current.Load() }

// Swap puts next in force and gives what was before, or nil.
func (s *Source) Swap(next *Settings) *Settings { return s.current.Swap(next) }
