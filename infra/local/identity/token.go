package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// backdated is how far Entra puts iat and nbf into the past, for verifiers
// whose clock is slow.
const backdated = 5 * time.Minute

// shape is what one token shall look like. The zero value of a pointer means
// "as Entra would"; a pointer to "" leaves the claim out.
type shape struct {
	version     int // 1 or 2
	audience    string
	clientID    string
	roles       []string
	oid         *string
	sub         *string
	scp         string
	idtyp       *string
	lifetime    time.Duration  // from now to exp; negative = expired
	omit        []string       // claims to leave out
	set         map[string]any // claims to add or overwrite, last
	header      map[string]any // JOSE header fields to add or overwrite
	unpublished bool           // sign with a key of no keys document
}

// badRequest is a mistake of the caller, told as Entra tells it.
type badRequest struct {
	code, detail string
}

func (e badRequest) Error() string { return e.code + ": " + e.detail }

// parseShape reads the form of the token endpoint: the fields of RFC 6749,
// section 4.4.2, and the parameters that README.md lists.
func parseShape(form url.Values) (shape, error) {
	if form.Get("grant_type") != "client_credentials" {
		return shape{}, badRequest{"unsupported_grant_type", "AADSTS70003: only client_credentials is supported here."}
	}
	s := shape{
		version:     2,
		clientID:    form.Get("client_id"),
		roles:       strings.Fields(form.Get("roles")),
		oid:         optional(form, "oid"),
		sub:         optional(form, "sub"),
		scp:         form.Get("scp"),
		idtyp:       optional(form, "idtyp"),
		lifetime:    3599 * time.Second,
		omit:        strings.Fields(form.Get("omit")),
		unpublished: form.Get("key") == "unpublished",
	}
	if s.clientID == "" {
		return shape{}, badRequest{"invalid_request", "AADSTS900144: The request body must contain the following parameter: 'client_id'."}
	}
	switch form.Get("version") {
	case "", "2":
	case "1":
		s.version = 1
	default:
		return shape{}, badRequest{"invalid_request", "version is 1 or 2"}
	}
	if v := form.Get("expires_in"); v != "" {
		seconds, err := strconv.Atoi(v)
		if err != nil {
			return shape{}, badRequest{"invalid_request", "expires_in is a number of seconds"}
		}
		s.lifetime = time.Duration(seconds) * time.Second
	}
	for name, into := range map[string]*map[string]any{"set": &s.set, "header": &s.header} {
		if v := form.Get(name); v != "" {
			if err := json.Unmarshal([]byte(v), into); err != nil {
				return shape{}, badRequest{"invalid_request", name + " is a JSON object"}
			}
		}
	}
	resource, isDefault := strings.CutSuffix(form.Get("scope"), "/.default")
	switch {
	case form.Has("aud"):
		s.audience = form.Get("aud")
	case isDefault:
		s.audience = audienceOf(resource, s.version)
	default:
		return shape{}, badRequest{"invalid_scope", "AADSTS1002012: The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier."}
	}
	return s, nil
}

// audienceOf is Entra's rule for aud: version 1 repeats the resource as it was
// asked for, version 2 has the application's id.
func audienceOf(resource string, version int) string {
	if version == 2 {
		return strings.TrimPrefix(resource, "api://")
	}
	return resource
}

func optional(form url.Values, name string) *string {
	if !form.Has(name) {
		return nil
	}
	v := form.Get(name)
	return &v
}

// issuerOf returns Entra's issuer string for a tenant and token version
// (learn.microsoft.com/entra/identity-platform/access-tokens).
func issuerOf(tenant string, version int) string {
	if version == 1 {
		return "https://sts.windows.net/" + tenant + "/"
	}
	return "https://login.microsoftonline.com/" + tenant + "/v2.0"
}

// mint signs a token of the given shape
// (learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
func (s *service) mint(want shape) (string, time.Time, error) {
	now := s.now().Truncate(time.Second)
	expires := now.Add(want.lifetime)
	issued := now
	if expires.Before(issued) {
		issued = expires
	}
	issued = issued.Add(-backdated)

	// An app-only token is about the application itself: sub is its oid. A
	// delegated one has a user, with a sub of their own for each application.
	oid := derivedID("oid", want.clientID)
	if want.oid != nil {
		oid = *want.oid
	}
	sub, idtyp := oid, "app"
	if want.scp != "" {
		sub, idtyp = derivedID("sub", oid+want.audience), ""
	}
	if want.sub != nil {
		sub = *want.sub
	}
	if want.idtyp != nil {
		idtyp = *want.idtyp
	}
	claims := jwt.MapClaims{
		"aud": want.audience,
		"iss": issuerOf(s.tenant, want.version),
		"iat": issued.Unix(),
		"nbf": issued.Unix(),
		"exp": expires.Unix(),
		"tid": s.tenant,
		"uti": randomID(),
		"rh":  randomID(),
		"aio": randomID(),
	}
	for name, value := range map[string]string{"oid": oid, "sub": sub, "idtyp": idtyp, "scp": want.scp} {
		if value != "" {
			claims[name] = value
		}
	}
	if len(want.roles) > 0 {
		claims["roles"] = want.roles
	}
	if want.version == 1 {
		claims["ver"], claims["appid"], claims["appidacr"] = "1.0", want.clientID, "2"
		claims["idp"] = issuerOf(s.tenant, 1)
	} else {
		claims["ver"], claims["azp"], claims["azpacr"] = "2.0", want.clientID, "2"
	}
	for _, name := range want.omit {
		delete(claims, name)
	}
	for name, value := range want.set {
		claims[name] = value
	}

	key := s.ring.signer()
	if want.unpublished {
		var err error
		if key, err = s.ring.unpublished(now); err != nil {
			return "", time.Time{}, err
		}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = key.kid
	if want.version == 1 {
		token.Header["x5t"] = key.kid
	}
	for name, value := range want.header {
		if value == nil {
			delete(token.Header, name)
			continue
		}
		token.Header[name] = value
	}
	signed, err := token.SignedString(key.private)
	return signed, expires, err
}

// derivedID gives one object always the same id, so that a client id alone
// names a caller.
func derivedID(kind, of string) string {
	h := sha256.Sum256([]byte(kind + ":" + of))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // UUID version 8, RFC 9562
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func randomID() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
