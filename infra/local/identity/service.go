package main

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

type managedIdentity struct {
	header string // expected in X-IDENTITY-HEADER
	oid    string
	client string
	roles  []string // at api://... resources
}

// service is one tenant and the managed identity of one app in it.
type service struct {
	tenant  string
	api     string
	base    string
	managed managedIdentity
	ring    *keyring
	now     func() time.Time

	documents documents
	providers providers

	keysFault                          atomic.Value // string, see setFault
	keysAsked, tokensAsked, msiAnswers atomic.Int64
}

// issuerRoutes is what login.microsoftonline.com answers, and /admin/ for
// tests. Paths have the tenant first, as Entra's.
func (s *service) issuerRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.about)
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.ofTenant(s.discovery(2)))
	mux.HandleFunc("GET /{tenant}/.well-known/openid-configuration", s.ofTenant(s.discovery(1)))
	mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.ofTenant(s.keys(2)))
	mux.HandleFunc("GET /{tenant}/discovery/keys", s.ofTenant(s.keys(1)))
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.ofTenant(s.token))
	mux.HandleFunc("POST /admin/rotate", s.rotate)
	mux.HandleFunc("POST /admin/fault", s.setFault)
	mux.HandleFunc("GET /admin/counts", s.counts)
	mux.HandleFunc("GET /documents/{name}", s.documents.serve)
	mux.HandleFunc("PUT /admin/documents/{name}", s.documents.put)
	mux.HandleFunc("GET /admin/documents/{name}", s.documents.counts)
	s.providers.routes(mux)
	return mux
}

func (s *service) managedRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /msi/token", s.managedToken)
	return mux
}

// about lets a test that has only this address find the rest.
func (s *service) about(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{
		"tenant":         s.tenant,
		"api":            s.api,
		"token_endpoint": s.base + "/" + s.tenant + "/oauth2/v2.0/token",
		"keys_url":       s.base + "/" + s.tenant + "/discovery/v2.0/keys",
	})
}

func (s *service) ofTenant(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.PathValue("tenant"), s.tenant) {
			oauthError(w, badRequest{"invalid_tenant", "AADSTS90002: Tenant '" + r.PathValue("tenant") + "' not found."})
			return
		}
		next(w, r)
	}
}

// discovery is OpenID Connect Discovery 1.0, section 3, with the members that
// azidentity asks for.
func (s *service) discovery(version int) http.HandlerFunc {
	path := "/discovery/keys"
	if version == 2 {
		path = "/discovery/v2.0/keys"
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		tenant := s.base + "/" + s.tenant
		answer(w, http.StatusOK, map[string]any{
			"issuer":                                issuerOf(s.tenant, version),
			"jwks_uri":                              tenant + path,
			"token_endpoint":                        tenant + "/oauth2/v2.0/token",
			"authorization_endpoint":                tenant + "/oauth2/v2.0/authorize",
			"device_authorization_endpoint":         tenant + "/oauth2/v2.0/devicecode",
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
			"response_types_supported":              []string{"code", "id_token"},
			"subject_types_supported":               []string{"pairwise"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
			"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
			"tenant_region_scope":                   "EU",
			"cloud_instance_name":                   "microsoftonline.com",
		})
	}
}

func (s *service) keys(version int) http.HandlerFunc {
	issuer := ""
	if version == 2 {
		issuer = issuerOf(s.tenant, 2)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		s.keysAsked.Add(1)
		fault, _ := s.keysFault.Load().(string)
		switch fault {
		case "503":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "empty":
			answer(w, http.StatusOK, map[string]any{"keys": []jwk{}})
		case "html":
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte("<!doctype html><title>Sign in to the hospital network</title>"))
		case "hang":
			<-r.Context().Done()
		default:
			w.Header().Set("Cache-Control", "max-age=86400, private")
			answer(w, http.StatusOK, map[string]any{"keys": s.ring.published(issuer)})
		}
	}
}

// token is RFC 6749, section 4.4. The client's secret is not checked: who may
// have which token is the test's own business.
func (s *service) token(w http.ResponseWriter, r *http.Request) {
	s.tokensAsked.Add(1)
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		oauthError(w, badRequest{"invalid_request", "AADSTS900144: " + err.Error()})
		return
	}
	want, err := parseShape(r.PostForm)
	if err != nil {
		oauthError(w, err)
		return
	}
	signed, _, err := s.mint(want)
	if err != nil {
		oauthError(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	answer(w, http.StatusOK, map[string]any{
		"token_type":     "Bearer",
		"expires_in":     int(want.lifetime.Seconds()),
		"ext_expires_in": int(want.lifetime.Seconds()),
		"access_token":   signed,
	})
}

// managedToken is the App Service endpoint that IDENTITY_ENDPOINT names
// (learn.microsoft.com/azure/app-service/overview-managed-identity, REST
// endpoint reference). Its tokens live for a day, as the real ones do. Tokens
// for Azure's own services are version 1; the API's are version 2, because
// its registration asks for that.
func (s *service) managedToken(w http.ResponseWriter, r *http.Request) {
	s.msiAnswers.Add(1)
	query := r.URL.Query()
	refuse := func(status int, message string) {
		answer(w, status, map[string]any{"statusCode": status, "message": message})
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-IDENTITY-HEADER")), []byte(s.managed.header)) != 1 {
		refuse(http.StatusUnauthorized, "X-IDENTITY-HEADER is missing or wrong.")
		return
	}
	if query.Get("api-version") != "2019-08-01" {
		refuse(http.StatusBadRequest, "api-version 2019-08-01 is required.")
		return
	}
	resource := query.Get("resource")
	if resource == "" {
		refuse(http.StatusBadRequest, "resource is required.")
		return
	}
	known := query.Get("mi_res_id") == "" && query.Get("msi_res_id") == ""
	for name, id := range map[string]string{
		"client_id": s.managed.client, "principal_id": s.managed.oid, "object_id": s.managed.oid,
	} {
		if got := query.Get(name); got != "" && !strings.EqualFold(got, id) {
			known = false
		}
	}
	if !known {
		refuse(http.StatusBadRequest, "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.")
		return
	}

	want := shape{version: 1, audience: resource, clientID: s.managed.client, oid: &s.managed.oid, lifetime: 24 * time.Hour}
	if strings.HasPrefix(resource, "api://") {
		want.version, want.audience, want.roles = 2, audienceOf(resource, 2), s.managed.roles
	}
	signed, expires, err := s.mint(want)
	if err != nil {
		refuse(http.StatusInternalServerError, err.Error())
		return
	}
	answer(w, http.StatusOK, map[string]string{
		"access_token": signed,
		"client_id":    s.managed.client,
		"expires_on":   strconv.FormatInt(expires.Unix(), 10),
		"resource":     resource,
		"token_type":   "Bearer",
	})
}

// rotate makes a new signing key; drop_old=true takes the others out of the
// keys documents at once.
func (s *service) rotate(w http.ResponseWriter, r *http.Request) {
	if err := s.ring.rotate(s.now(), r.FormValue("drop_old") == "true"); err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]string{"kid": s.ring.signer().kid})
}

// setFault makes the keys documents fail: keys=503, empty, html or hang, and
// nothing to mend them.
func (s *service) setFault(w http.ResponseWriter, r *http.Request) {
	switch fault := r.FormValue("keys"); fault {
	case "", "503", "empty", "html", "hang":
		s.keysFault.Store(fault)
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusBadRequest, map[string]string{"error": "keys is 503, empty, html, hang or nothing"})
	}
}

// counts says how often each document was asked for since the start: what a
// test needs to see that junk tokens cause no fetch.
func (s *service) counts(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]int64{
		"keys": s.keysAsked.Load(), "tokens": s.tokensAsked.Load(), "managed": s.msiAnswers.Load(),
	})
}

func oauthError(w http.ResponseWriter, err error) {
	var bad badRequest
	if errors.As(err, &bad) {
		answer(w, http.StatusBadRequest, map[string]string{"error": bad.code, "error_description": bad.detail})
		return
	}
	answer(w, http.StatusInternalServerError, map[string]string{"error": "server_error", "error_description": err.Error()})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// The caller may be gone; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(body)
}
