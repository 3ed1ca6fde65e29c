package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"latchkey/handler/internal/recipes"
)

// world is what all contestants are told: whose tokens to take, for whom, and where the keys are.
type world struct {
	tenant    string
	audiences []string // the client id, and the App ID URI that v1 tokens may have instead
	keysURL   string
	client    *http.Client
}

const (
	tenant      = "a1b2c3d4-2222-4333-8444-5555555555ff"
	object      = "aaaaaaaa-0000-4000-8000-000000000001"
	audience    = "cccccccc-0000-4000-8000-00000000aaaa"
	audienceURI = "api://" + audience
	leeway      = 60 * time.Second
)

// issuers are the iss of the tenant's v1 and v2 tokens (Microsoft, "Access token claims reference").
func (w world) issuers() []string {
	return []string{"https://sts.windows.net/" + w.tenant + "/", "https://login.microsoftonline.com/" + w.tenant + "/v2.0"}
}

// issuer serves a keys document over TLS on this machine.
type issuer struct {
	server *httptest.Server
	serves atomic.Pointer[recipes.Document]
}

func newIssuer(first recipes.Document) *issuer {
	s := &issuer{}
	s.serves.Store(&first)
	s.server = httptest.NewUnstartedServer(s)
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.server.StartTLS()
	return s
}

// world gives what a contestant needs. Its client waits 2 s at most, so that those who wait longer by themselves end as well.
func (s *issuer) world() world {
	client := *s.server.Client()
	client.Timeout = 2 * time.Second
	return world{tenant: tenant, audiences: []string{audience, audienceURI}, keysURL: s.server.URL + "/keys", client: &client}
}

// close ends also the answers that never come.
func (s *issuer) close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

func (s *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := s.serves.Load()
	if d.Hang {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if d.Type != "" {
		w.Header().Set("Content-Type", d.Type)
	}
	if d.Location != "" {
		w.Header().Set("Location", d.Location)
	}
	if d.Status != 0 {
		w.WriteHeader(d.Status)
	}
	// A contestant that has read enough hangs up: that is no error of the comparison.
	_, _ = w.Write(d.Body)
	_, _ = io.CopyN(w, spaces{}, d.Padding)
}

// spaces never ends.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// sample are tokens as Entra ID makes them for a managed identity in some groups, with what verifies them.
type sample struct {
	tokens   []string // they take turns
	key      *rsa.PublicKey
	document recipes.Document
}

// newSample signs two tokens of about 1.8 KB with RSA of 2,048 bits.
func newSample(now time.Time) (sample, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return sample{}, err
	}
	const kid = "2ZpJJlvGJLXmzdS7WO3tqkf4CHE"
	document, err := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "use": "sig", "kid": kid, "x5t": kid,
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		"issuer": "https://login.microsoftonline.com/" + tenant + "/v2.0", "cloud_instance_name": "microsoftonline.com",
	}}})
	if err != nil {
		return sample{}, err
	}
	groups := make([]string, 9)
	for i := range groups {
		groups[i] = fmt.Sprintf("bbbbbbbb-0000-4000-8000-%012x", i)
	}
	s := sample{key: &key.PublicKey, document: recipes.Document{Body: document}}
	for _, uti := range []string{"Yr3sQ0xKzkKqXoX4bQAAAA", "b0n7kQmVr0yTz3mWcQEBAA"} {
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"aud": audience, "iss": "https://login.microsoftonline.com/" + tenant + "/v2.0",
			"iat": now.Unix() - 5, "nbf": now.Unix() - 5, "exp": now.Unix() + 86400,
			"aio": "k2RgYLDk" + strings.Repeat("A5b", 16), "azp": "dddddddd-0000-4000-8000-000000000004", "azpacr": "2", "idtyp": "app",
			"groups": groups, "oid": object, "rh": "1.AQ0A1MOyoSIiM0OERFVVVVVV_" + strings.Repeat("x", 22),
			"roles": []string{"read:gdm_activation", "write:gdm_activation"}, "sub": object, "tid": tenant, "uti": uti, "ver": "2.0",
			"xms_ftd": strings.Repeat("q7", 26),
		})
		token.Header["kid"] = kid
		raw, err := token.SignedString(key)
		if err != nil {
			return sample{}, err
		}
		s.tokens = append(s.tokens, raw)
	}
	return s, nil
}
