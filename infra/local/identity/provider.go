package main

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// providers are other OpenID providers, as many as have been asked for by name: /auth/realms/{realm}, with the paths and the tokens
// of Keycloak. Each has its keys, kept like the tenant's, so that none can verify another's tokens.
type providers struct {
	base string // of the addresses in documents
	dir  string // where keys are kept
	now  func() time.Time

	mu     sync.Mutex
	realms map[string]*realm
}

type realm struct {
	issuer string
	ring   *keyring
	asked  int // for its keys; guarded by providers.mu
}

func (p *providers) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /auth/realms/{realm}/.well-known/openid-configuration", p.of(p.discovery))
	mux.HandleFunc("GET /auth/realms/{realm}/protocol/openid-connect/certs", p.of(p.keys))
	mux.HandleFunc("POST /auth/realms/{realm}/protocol/openid-connect/token", p.of(p.token))
	mux.HandleFunc("POST /admin/realms/{realm}/rotate", p.of(p.rotate))
	mux.HandleFunc("GET /admin/realms/{realm}", p.of(p.counts))
}

func (p *providers) of(next func(http.ResponseWriter, *http.Request, *realm)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		found, err := p.realm(r.PathValue("realm"))
		if err != nil {
			answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
			return
		}
		next(w, r, found)
	}
}

func (p *providers) realm(name string) (*realm, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.realms[name]; found != nil {
		return found, nil
	}
	ring, err := openKeyring(filepath.Join(p.dir, "realm-"+url.PathEscape(name)+".pem"), p.now())
	if err != nil {
		return nil, err
	}
	if p.realms == nil {
		p.realms = map[string]*realm{}
	}
	p.realms[name] = &realm{issuer: p.base + "/auth/realms/" + name, ring: ring}
	return p.realms[name], nil
}

// discovery is OpenID Connect Discovery 1.0, section 3.
func (p *providers) discovery(w http.ResponseWriter, _ *http.Request, r *realm) {
	connect := r.issuer + "/protocol/openid-connect"
	answer(w, http.StatusOK, map[string]any{
		"issuer":                                r.issuer,
		"jwks_uri":                              connect + "/certs",
		"token_endpoint":                        connect + "/token",
		"authorization_endpoint":                connect + "/auth",
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
	})
}

// keys name their algorithm and no issuer, as Keycloak's do: RS256, or what the query says.
func (p *providers) keys(w http.ResponseWriter, req *http.Request, r *realm) {
	alg := cmp.Or(req.URL.Query().Get("alg"), "RS256")
	p.mu.Lock()
	r.asked++
	p.mu.Unlock()
	type withAlg struct {
		jwk
		Alg string `json:"alg"`
	}
	all := []withAlg{}
	for _, key := range r.ring.published("") {
		all = append(all, withAlg{key, alg})
	}
	answer(w, http.StatusOK, map[string]any{"keys": all})
}

// token is RFC 6749, section 4.4, with the claims of Keycloak's access tokens. Beside the fields of the RFC it takes audience, roles
// (of the client "latchkey", under resource_access), sub, alg, expires_in, omit, set and header, as the tenant's endpoint does.
func (p *providers) token(w http.ResponseWriter, req *http.Request, r *realm) {
	req.Body = http.MaxBytesReader(w, req.Body, 64<<10)
	if err := req.ParseForm(); err != nil {
		oauthError(w, badRequest{"invalid_request", err.Error()})
		return
	}
	form := req.PostForm
	client := form.Get("client_id")
	if form.Get("grant_type") != "client_credentials" || client == "" {
		oauthError(w, badRequest{"invalid_request", "grant_type client_credentials and a client_id are needed"})
		return
	}
	lifetime := 300
	if text := form.Get("expires_in"); text != "" {
		var err error
		if lifetime, err = strconv.Atoi(text); err != nil {
			oauthError(w, badRequest{"invalid_request", "expires_in is a number of seconds"})
			return
		}
	}
	sub := derivedID("sub", client)
	if form.Has("sub") {
		sub = form.Get("sub")
	}
	now := p.now().Unix()
	claims := jwt.MapClaims{
		"exp": now + int64(lifetime), "iat": now, "jti": randomID(), "iss": r.issuer, "aud": form.Get("audience"), "sub": sub, "typ": "Bearer",
		"azp": client, "acr": "1", "scope": "profile email", "email_verified": false, "preferred_username": "service-account-" + client,
		"realm_access":    map[string]any{"roles": []string{"offline_access"}},
		"resource_access": map[string]any{"latchkey": map[string]any{"roles": strings.Fields(form.Get("roles"))}},
	}
	for _, name := range strings.Fields(form.Get("omit")) {
		delete(claims, name)
	}
	method := jwt.GetSigningMethod("RS256")
	if alg := form.Get("alg"); alg != "" {
		if method = jwt.GetSigningMethod(alg); method == nil || !strings.HasPrefix(alg, "RS") && !strings.HasPrefix(alg, "PS") {
			oauthError(w, badRequest{"invalid_request", "alg is one that RSA keys sign with"})
			return
		}
	}
	key := r.ring.signer()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = key.kid
	for name, into := range map[string]map[string]any{"set": claims, "header": token.Header} {
		if text := form.Get(name); text != "" {
			if err := json.Unmarshal([]byte(text), &into); err != nil {
				oauthError(w, badRequest{"invalid_request", name + " is a JSON object"})
				return
			}
		}
	}
	signed, err := token.SignedString(key.private)
	if err != nil {
		oauthError(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	answer(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": lifetime, "access_token": signed})
}

func (p *providers) rotate(w http.ResponseWriter, req *http.Request, r *realm) {
	if err := r.ring.rotate(p.now(), req.FormValue("drop_old") == "true"); err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]string{"kid": r.ring.signer().kid})
}

func (p *providers) counts(w http.ResponseWriter, _ *http.Request, r *realm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer(w, http.StatusOK, map[string]int{"keys": r.asked})
}
