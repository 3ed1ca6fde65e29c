// Package token mints and verifies Latchkey's own tokens, and publishes the keys that verify them (mission.md TOK-4, TOK-6).
// It owns the claims, the header and the form of signing keys. It refuses shared-secret algorithms, keys that are too weak,
// and every token that it would not have minted itself. Who may have a token, and whether its session still lives, is decided
// elsewhere.
//
// A token is an access token in the profile of RFC 9068. Deviations: "sub" is the subject's plain id, because the clients of
// the predecessor read it so, and is therefore unique only together with "client_id", which names the subject's kind.
package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/subject"
)

const (
	// leeway is how far two clocks may differ (AUT-1).
	leeway = 60 * time.Second
	// maxSize is the most bytes that Verify looks at. A minted token has about 700 with ES256.
	maxSize = 16 << 10
	// mediaType is the header's typ (RFC 9068 section 2.1): no token of another kind can pass for an access token.
	mediaType = "at+jwt"
	// clientPrefix and the subject's kind make the client_id.
	clientPrefix = "latchkey-"
)

// Errors of Verify. A token that fails in several ways gives the first of them in the order of the checks: form, header, key,
// signature, claims.
var (
	// ErrMalformed: not a compact JWS in canonical base64url with JSON inside (RFC 7515 sections 2, 3.1 and 7.1).
	ErrMalformed = errors.New("the token is malformed")
	// ErrHeader: the header has other members than alg, kid and typ, or its typ is not at+jwt (RFC 9068 section 4).
	ErrHeader = errors.New("the token's header is not one of ours")
	// ErrUnknownKey: kid is missing or names no key of ours.
	ErrUnknownKey = errors.New("the token names no key of ours")
	// ErrAlgorithm: alg is not the one that the key is for (RFC 8725 section 3.1).
	ErrAlgorithm = errors.New("the token's algorithm is not its key's")
	// ErrSignature: the signature does not verify.
	ErrSignature = errors.New("the token's signature is wrong")
	// ErrIssuer: iss is not exactly our issuer.
	ErrIssuer = errors.New("the token's issuer is not ours")
	// ErrAudience: aud is not exactly our audience, as one string.
	ErrAudience = errors.New("the token's audience is not ours")
	// ErrExpired: exp is over by 60 s or more.
	ErrExpired = errors.New("the token is expired")
	// ErrNotYetValid: nbf or iat lies more than 60 s ahead.
	ErrNotYetValid = errors.New("the token is not valid yet")
	// ErrClaims: a claim that every token of ours has is missing or has another form.
	ErrClaims = errors.New("the token's claims are not of our form")
)

// ErrGrant says that Mint was asked for a token that must not exist. It is a mistake of the program, never of a client.
var ErrGrant = errors.New("no token can be minted for this grant")

// Config is what an Issuer is made of.
type Config struct {
	// Issuer and Audience are the claims iss and aud.
	Issuer, Audience string
	// Keys are the keys that verify; the first of them signs.
	Keys []*Key
	// Now is the clock of Verify; Random is where jti comes from.
	Now    func() time.Time
	Random io.Reader
}

// Issuer mints tokens with one key and verifies tokens of all its keys. It is immutable and safe for concurrent use.
type Issuer struct {
	config   Config
	keys     map[string]*Key
	document []byte
	parser   *jwt.Parser
}

// NewIssuer checks the configuration: an issuer, an audience and at least one key, no key twice.
func NewIssuer(config Config) (*Issuer, error) {
	if config.Issuer == "" || config.Audience == "" || len(config.Keys) == 0 {
		return nil, errors.New("a token issuer needs an issuer, an audience and a signing key")
	}
	i := &Issuer{config: config, keys: make(map[string]*Key, len(config.Keys))}
	var set jwkset.JWKSMarshal
	for _, key := range config.Keys {
		if i.keys[key.id] != nil {
			return nil, fmt.Errorf("the key %s is given twice", key.id)
		}
		i.keys[key.id] = key
		set.Keys = append(set.Keys, key.public)
	}
	var err error
	if i.document, err = json.Marshal(set); err != nil {
		return nil, fmt.Errorf("writing the keys document: %w", err)
	}
	// There is no list of methods here: verificationKey asks for more, the one algorithm of the key.
	i.parser = jwt.NewParser(
		jwt.WithStrictDecoding(),
		jwt.WithIssuer(config.Issuer),
		jwt.WithAudience(config.Audience),
		jwt.WithExpirationRequired(),
		jwt.WithNotBeforeRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway),
		jwt.WithTimeFunc(config.Now),
	)
	return i, nil
}

// KeysDocument is the JWK set (RFC 7517 section 5) of all keys: public members only, with kid, use and alg. It is the same
// bytes for the same keys. The caller must not change it.
func (i *Issuer) KeysDocument() []byte { return i.document }

// SigningAlgorithm is the alg of the tokens that Mint gives.
func (i *Issuer) SigningAlgorithm() string { return i.config.Keys[0].Algorithm() }

// Grant is what one token is minted for.
type Grant struct {
	Subject subject.ID
	// Device is the device that a clinician logged in through, zero for others.
	Device subject.ID
	// Session is the sid: random, of the credential that the token was bought with (model.md section 4), for a clinician the device's.
	Session string
	// Scopes are scope tokens (RFC 6749 section 3.3).
	Scopes []string
	// IssuedAt is the time before the credential was read, so that a revocation that came after is later than iat
	// (model.md section 4). Lifetime counts from it; both have whole seconds in the token.
	IssuedAt time.Time
	Lifetime time.Duration
}

// Mint signs a token, or answers ErrGrant.
func (i *Issuer) Mint(g Grant) (string, error) {
	if _, err := subject.New(g.Subject.Kind, g.Subject.Name); err != nil || metadataName(g.Subject.Kind) == "" {
		return "", fmt.Errorf("%w: no subject", ErrGrant)
	}
	if g.Session == "" || g.Lifetime < time.Second || g.IssuedAt.IsZero() {
		return "", fmt.Errorf("%w: it needs a session, a time and a lifetime of at least a second", ErrGrant)
	}
	if g.Lifetime > activation.MaxLifetime {
		return "", fmt.Errorf("%w: it would outlive the list of revocations", ErrGrant)
	}
	metadata := map[string]string{metadataName(g.Subject.Kind): g.Subject.Name}
	if g.Subject.Kind == subject.Clinician {
		if _, err := subject.New(subject.Device, g.Device.Name); err != nil || g.Device.Kind != subject.Device {
			return "", fmt.Errorf("%w: a clinician logs in through a device", ErrGrant)
		}
		metadata[referringDevice] = g.Device.Name
	} else if g.Device != (subject.ID{}) {
		return "", fmt.Errorf("%w: only a clinician logs in through a device", ErrGrant)
	}
	for _, scope := range g.Scopes {
		if !isScope(scope) {
			return "", fmt.Errorf("%w: %q is no scope", ErrGrant, scope)
		}
	}
	var id [16]byte
	if _, err := io.ReadFull(i.config.Random, id[:]); err != nil {
		return "", fmt.Errorf("drawing a token id: %w", err)
	}
	issued := g.IssuedAt.Unix()
	t := jwt.NewWithClaims(i.config.Keys[0].method, jwt.MapClaims{
		"iss": i.config.Issuer,
		"aud": i.config.Audience,
		"sub": g.Subject.Name,
		// RFC 9068 section 2.2 requires client_id. The apps of subjects are not registered one by one: each kind of
		// subject is one client.
		"client_id": clientPrefix + string(g.Subject.Kind),
		"iat":       issued,
		"nbf":       issued,
		"exp":       issued + int64(g.Lifetime/time.Second),
		"jti":       base64.RawURLEncoding.EncodeToString(id[:]),
		"sid":       g.Session,
		"scope":     strings.Join(g.Scopes, " "),
		// The predecessor's clients and services read the subject from here.
		"metadata": metadata,
	})
	t.Header["typ"] = mediaType
	t.Header["kid"] = i.config.Keys[0].id
	signed, err := t.SignedString(i.config.Keys[0].private)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return signed, nil
}

// Claims are what a verified token of ours says.
type Claims struct {
	Subject subject.ID
	// Device is the device that a clinician logged in through, zero for others.
	Device subject.ID
	// Session is the sid, ID the jti. Whether both still live is for storage to say.
	Session, ID       string
	Scopes            []string
	IssuedAt, Expires time.Time
}

// Holder is whose session the token carries: the device's for a clinician, who has none, else the subject's own.
func (c Claims) Holder() subject.ID {
	if c.Subject.Kind == subject.Clinician {
		return c.Device
	}
	return c.Subject
}

// Client is the client_id: the apps of each kind of subject are one client.
func (c Claims) Client() string { return clientPrefix + string(c.Subject.Kind) }

// Verify checks a token of ours: algorithm pinned by its key (RFC 8725 section 3.1), typ (section 3.11 there), exact issuer and
// audience, times with a leeway of 60 s, and the form of every claim that Mint writes. It answers one of the errors of this
// package; none of them quotes the token.
func (i *Issuer) Verify(raw string) (Claims, error) {
	// Go's base64 skips line breaks even when it is strict, which would make two strings of one token.
	if len(raw) > maxSize || strings.ContainsAny(raw, "\r\n") {
		return Claims{}, ErrMalformed
	}
	claims := jwt.MapClaims{}
	if _, err := i.parser.ParseWithClaims(raw, claims, i.verificationKey); err != nil {
		return Claims{}, translate(err)
	}
	// The library is content with an array that includes our audience.
	if claims["aud"] != i.config.Audience {
		return Claims{}, ErrAudience
	}
	return read(claims)
}

// verificationKey is called by the parser before it verifies the signature.
func (i *Issuer) verificationKey(t *jwt.Token) (any, error) {
	id, _ := t.Header["kid"].(string)
	key := i.keys[id]
	switch {
	case key == nil:
		return nil, ErrUnknownKey
	case t.Header["alg"] != key.Algorithm():
		return nil, ErrAlgorithm
	case len(t.Header) != 3 || t.Header["typ"] != mediaType:
		return nil, ErrHeader
	}
	return key.private.Public(), nil
}

// translate gives our own error for one of the library's. What the library says beside is dropped: it may quote the token.
func translate(err error) error {
	for _, t := range []struct{ theirs, ours error }{
		{ErrUnknownKey, ErrUnknownKey},
		{ErrAlgorithm, ErrAlgorithm},
		{ErrHeader, ErrHeader},
		{jwt.ErrTokenMalformed, ErrMalformed},
		{jwt.ErrTokenUnverifiable, ErrAlgorithm}, // an alg that the library does not know, or none
		{jwt.ErrTokenSignatureInvalid, ErrSignature},
		{jwt.ErrTokenInvalidIssuer, ErrIssuer},
		{jwt.ErrTokenInvalidAudience, ErrAudience},
		{jwt.ErrTokenExpired, ErrExpired},
		{jwt.ErrTokenNotValidYet, ErrNotYetValid},
		{jwt.ErrTokenUsedBeforeIssued, ErrNotYetValid},
	} {
		if errors.Is(err, t.theirs) {
			return t.ours
		}
	}
	return ErrClaims
}

// read takes the claims of a token whose signature is good. All that Mint writes must be there.
func read(claims jwt.MapClaims) (Claims, error) {
	text := func(name string) string {
		s, _ := claims[name].(string)
		return s
	}
	kind, ours := strings.CutPrefix(text("client_id"), clientPrefix)
	who, err := subject.New(subject.Kind(kind), text("sub"))
	issued, issuedErr := claims.GetIssuedAt()
	expires, expiresErr := claims.GetExpirationTime()
	metadata, _ := claims["metadata"].(map[string]any)
	name := metadataName(who.Kind)
	var device subject.ID
	var deviceErr error
	if who.Kind == subject.Clinician {
		referring, _ := metadata[referringDevice].(string)
		device, deviceErr = subject.New(subject.Device, referring)
	}
	_, scopes := claims["scope"]
	scope, isText := claims["scope"].(string)
	switch {
	case !ours || err != nil || name == "" || metadata[name] != who.Name || deviceErr != nil,
		issuedErr != nil || issued == nil || expiresErr != nil || expires == nil,
		text("jti") == "" || text("sid") == "",
		scopes && !isText: // a token without scope is a good one that may do nothing
		return Claims{}, ErrClaims
	}
	return Claims{
		Subject:  who,
		Device:   device,
		Session:  text("sid"),
		ID:       text("jti"),
		Scopes:   strings.Fields(scope),
		IssuedAt: issued.UTC(),
		Expires:  expires.UTC(),
	}, nil
}

// referringDevice is the member of a clinician's metadata that holds the id of the device, as the predecessor's services read it.
const referringDevice = "referring_device_id"

// metadataName is the member of metadata that holds a subject's id, "" for a kind that gets no tokens.
func metadataName(kind subject.Kind) string {
	switch kind {
	case subject.Patient, subject.Device, subject.Clinician:
		return string(kind) + "_id"
	}
	return ""
}

// isScope tests for a scope-token of RFC 6749 section 3.3.
func isScope(s string) bool {
	for _, c := range []byte(s) {
		if c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
