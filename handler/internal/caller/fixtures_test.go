package caller

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/subject"
	"latchkey/handler/internal/token"
)

const (
	tenant      = "a1b2c3d4-2222-4333-8444-5555555555ff"
	otherTenant = "99999999-2222-4333-8444-555555555555"
	oid         = "aaaaaaaa-0000-4000-8000-000000000001"
	audience    = "cccccccc-0000-4000-8000-00000000aaaa"
	audienceURI = "api://latchkey"
	appID       = "dddddddd-0000-4000-8000-000000000004"
	role        = "write:activation"
	ownIssuer   = "https://latchkey.example/"

	providerIssuer = "https://idp.example/realms/nhs"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// rsaKeys are drawn once for all tests: drawing takes long.
var rsaKeys = sync.OnceValue(func() map[string]*rsa.PrivateKey {
	keys := map[string]*rsa.PrivateKey{}
	for _, name := range []string{"k1", "k2", "k3", "attacker"} {
		keys[name] = must(rsa.GenerateKey(rand.Reader, 2048))
	}
	return keys
})

type members = map[string]any

// jwkOf is the public JWK of a key as Entra publishes it, with changes: nil deletes.
func jwkOf(kid string, key *rsa.PublicKey, changes members) members {
	j := members{
		"kty": "RSA", "use": "sig", "kid": kid, "x5t": kid,
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		"issuer": "https://login.microsoftonline.com/" + tenant + "/v2.0", "cloud_instance_name": "microsoftonline.com",
	}
	return changed(j, changes)
}

func changed(m, changes members) members {
	m = maps.Clone(m)
	for name, value := range changes {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	return m
}

func documentOf(jwks ...members) string { return string(must(json.Marshal(members{"keys": jwks}))) }

// goodDocument holds k1 and k2.
func goodDocument() string {
	return documentOf(jwkOf("k1", &rsaKeys()["k1"].PublicKey, nil), jwkOf("k2", &rsaKeys()["k2"].PublicKey, nil))
}

// v1 and v2 are the claims of good app-only tokens, as Entra makes them for a managed identity.
func v2() members {
	return members{
		"aud": audience, "iss": "https://login.microsoftonline.com/" + tenant + "/v2.0", "iat": noon.Unix() - 5, "nbf": noon.Unix() - 5,
		"exp": noon.Unix() + 3600, "aio": "E2", "azp": appID, "azpacr": "2", "idtyp": "app", "oid": oid, "roles": []string{role},
		"sub": oid, "tid": tenant, "uti": "u1", "ver": "2.0",
	}
}

func v1() members {
	return changed(v2(), members{
		"aud": audienceURI, "iss": "https://sts.windows.net/" + tenant + "/", "ver": "1.0",
		"azp": nil, "azpacr": nil, "appid": appID, "appidacr": "2", "idp": "https://sts.windows.net/" + tenant + "/",
	})
}

func header() members { return members{"typ": "JWT", "alg": "RS256", "kid": "k1"} }

// sign makes a token of what may be no JSON at all; the signature is RS256 by the key, whatever the header says.
func sign(header, claims []byte, key string) string {
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(must(jwt.SigningMethodRS256.Sign(text, rsaKeys()[key])))
}

func signed(header, claims members) string {
	return sign(must(json.Marshal(header)), must(json.Marshal(claims)), "k1")
}

// clock is a clock that tests move.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(noon.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// webIssuer is a server with a keys document, over TLS.
type webIssuer struct {
	*httptest.Server
	hits   atomic.Int64
	answer atomic.Value // http.HandlerFunc
}

func newWebIssuer(t testing.TB) *webIssuer {
	s := &webIssuer{}
	s.serve(goodDocument())
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		s.answer.Load().(http.HandlerFunc)(w, r)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *webIssuer) do(h http.HandlerFunc) { s.answer.Store(h) }

func (s *webIssuer) serve(document string) {
	s.do(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, document) })
}

func (s *webIssuer) fail(status int) {
	s.do(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

// bench is a verifier with all that it needs.
type bench struct {
	*Verifier
	clock  *clock
	issuer *webIssuer
	keys   *Keys
	tokens *token.Issuer
	ours   *ecdsa.PrivateKey // which signs them
	log    *bytes.Buffer

	provider     *webIssuer
	providerKeys *Keys
	config       Config

	// session is what the storage answers.
	session func(of subject.ID, sid, jti string) (bool, error)
}

func newBench(t testing.TB) *bench {
	b := &bench{clock: newClock(), issuer: newWebIssuer(t), log: &bytes.Buffer{}}
	b.session = func(_ subject.ID, sid, _ string) (bool, error) { return sid != "ended", nil }
	b.ours = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	b.keys = must(NewKeys(KeysConfig{
		URL: b.issuer.URL, Tenant: tenant, Client: b.issuer.Client(), Now: b.clock.now, Random: rand.Reader,
		Log: slog.New(slog.NewTextHandler(b.log, nil)),
	}))
	b.tokens = must(token.NewIssuer(token.Config{
		Issuer: ownIssuer, Audience: ownIssuer, Keys: []*token.Key{tokenKey(b.ours)}, Now: b.clock.now, Random: rand.Reader,
	}))
	b.config = Config{
		Entra: Entra{Tenant: tenant, Audiences: []string{audience, audienceURI}, Keys: b.keys},
		Own: Own{
			Issuer: ownIssuer, Tokens: func() *token.Issuer { return b.tokens },
			Session: func(_ context.Context, of subject.ID, sid, jti string) (bool, error) { return b.session(of, sid, jti) },
		},
		Now: b.clock.now,
	}
	b.provider = newWebIssuer(t)
	b.provider.serve(providerDocument())
	b.providerKeys = must(NewKeys(KeysConfig{
		Issuer: providerIssuer, Algorithms: Algorithms(), URL: b.provider.URL, Client: b.provider.Client(), Now: b.clock.now,
		Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
	}))
	b.config.Providers = []Provider{{
		Issuer: providerIssuer, Audiences: []string{audience, "latchkey"}, Algorithms: Algorithms(),
		Roles: must(ParsePath("resource_access.latchkey.roles")), Scopes: must(ParsePath("scope")), Keys: b.providerKeys,
	}}
	b.Verifier = must(NewVerifier(b.config))
	return b
}

// tokenKey makes a signing key of ours.
func tokenKey(key *ecdsa.PrivateKey) *token.Key {
	der := must(x509.MarshalPKCS8PrivateKey(key))
	return must(token.ParseKey(secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))))
}

func (b *bench) verify(raw string) (Caller, error) {
	return b.Verify(context.Background(), "Bearer "+raw)
}

// causeOf tells the cause of a refusal.
func causeOf(err error) Cause {
	var r *Rejected
	if errors.As(err, &r) {
		return r.Cause
	}
	return ""
}

func hmacSigned(header, claims members, secret []byte) string {
	text := base64.RawURLEncoding.EncodeToString(must(json.Marshal(header))) + "." + base64.RawURLEncoding.EncodeToString(must(json.Marshal(claims)))
	method := map[any]*jwt.SigningMethodHMAC{"HS256": jwt.SigningMethodHS256, "HS512": jwt.SigningMethodHS512}[header["alg"]]
	return text + "." + base64.RawURLEncoding.EncodeToString(must(method.Sign(text, secret)))
}

func pssSigned(header, claims members) string {
	text := base64.RawURLEncoding.EncodeToString(must(json.Marshal(header))) + "." + base64.RawURLEncoding.EncodeToString(must(json.Marshal(claims)))
	h := crypto.SHA256.New()
	h.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(must(rsa.SignPSS(rand.Reader, rsaKeys()["k1"], crypto.SHA256, h.Sum(nil), nil)))
}

// signers are the provider's keys, by kid, drawn once. k1 is the kid of a key of Entra's as well.
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{
		"rs": must(rsa.GenerateKey(rand.Reader, 2048)), "ps": must(rsa.GenerateKey(rand.Reader, 2048)),
		"es": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), "ed": must[crypto.Signer](ed, err),
		"k1": must(rsa.GenerateKey(rand.Reader, 2048)),
	}
})

// publicJWK is the JWK of a key as a provider publishes it, with changes: nil deletes.
func publicJWK(kid string, key crypto.PublicKey, changes members) members {
	j := members{"kid": kid, "use": "sig"}
	switch k := key.(type) {
	case *rsa.PublicKey:
		j = jwkOf(kid, k, members{"issuer": nil, "cloud_instance_name": nil, "x5t": nil})
	case *ecdsa.PublicKey:
		point := must(k.Bytes())
		j["kty"], j["crv"], j["x"], j["y"] = "EC", "P-256", b64(point[1:33]), b64(point[33:])
	case ed25519.PublicKey:
		j["kty"], j["crv"], j["x"] = "OKP", "Ed25519", b64(k)
	}
	return changed(j, changes)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func providerDocument() string {
	return documentOf(
		publicJWK("rs", signers()["rs"].Public(), members{"alg": RS256}), publicJWK("ps", signers()["ps"].Public(), members{"alg": PS256}),
		publicJWK("es", signers()["es"].Public(), nil), publicJWK("ed", signers()["ed"].Public(), nil),
		publicJWK("k1", signers()["k1"].Public(), members{"alg": RS256}),
	)
}

// keycloak are the claims of a good access token of a person, as Keycloak makes them.
func keycloak() members {
	return members{
		"iss": providerIssuer, "aud": []string{"account", "latchkey"}, "sub": "f:1b2c:alice", "typ": "Bearer", "azp": "clinic-app",
		"iat": noon.Unix() - 5, "exp": noon.Unix() + 300, "jti": "j", "scope": "openid email " + role,
		"resource_access": members{"latchkey": members{"roles": []string{role, "more"}}, "account": members{"roles": []string{"x"}}},
		"email":           "alice@example.org", "preferred_username": "alice",
	}
}

// providerSigned makes a token signed by the provider's key of this kid, by the algorithm that the header names if the key can.
func providerSigned(kid string, header, claims members) string {
	header = changed(members{"typ": "JWT", "alg": algorithmOf(kid), "kid": kid}, header)
	text := b64(must(json.Marshal(header))) + "." + b64(must(json.Marshal(claims)))
	m := jwt.GetSigningMethod(algorithmOf(kid))
	return text + "." + b64(must(m.Sign(text, signers()[kid])))
}

func algorithmOf(kid string) string {
	return map[string]string{"rs": RS256, "ps": PS256, "es": ES256, "ed": EdDSA, "k1": RS256}[kid]
}
