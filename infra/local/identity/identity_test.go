package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	testTenant = "11111111-2222-4333-8444-555555555555"
	testClient = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	testAPI    = "99999999-8888-4777-8666-555555555555"
)

func newTestService(t *testing.T) *service {
	t.Helper()
	ring, err := openKeyring(filepath.Join(t.TempDir(), "keys.pem"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &service{
		tenant: testTenant, api: testAPI, base: "https://127.0.0.1:1", ring: ring, now: time.Now,
		managed: managedIdentity{header: "the header", oid: "the oid", client: testClient, roles: []string{"a"}},
	}
}

func call(t *testing.T, h http.Handler, r *http.Request) (int, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil && !errors.Is(err, io.EOF) && w.Body.Len() > 0 {
		t.Fatalf("%s: %v in %s", r.URL, err, w.Body)
	}
	return w.Code, body
}

func tokenRequest(form string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/"+testTenant+"/oauth2/v2.0/token",
		strings.NewReader("grant_type=client_credentials&client_id="+testClient+"&scope="+url.QueryEscape("api://"+testAPI+"/.default")+"&"+form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func claimsOf(t *testing.T, token string) (jwt.MapClaims, map[string]any) {
	t.Helper()
	claims := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser().ParseUnverified(token, claims)
	if err != nil {
		t.Fatal(err)
	}
	return claims, parsed.Header
}

func TestTokensHaveTheShapeThatWasAskedFor(t *testing.T) {
	routes := newTestService(t).issuerRoutes()
	oid := derivedID("oid", testClient)
	for _, c := range []struct {
		name, form string
		want       map[string]any // nil = no such claim
	}{
		{"version 2 by default", "", map[string]any{
			"iss": "https://login.microsoftonline.com/" + testTenant + "/v2.0", "aud": testAPI, "ver": "2.0",
			"azp": testClient, "appid": nil, "oid": oid, "sub": oid, "tid": testTenant, "idtyp": "app", "scp": nil, "roles": nil,
		}},
		{"version 1", "version=1", map[string]any{
			"iss": "https://sts.windows.net/" + testTenant + "/", "aud": "api://" + testAPI, "ver": "1.0",
			"appid": testClient, "azp": nil, "oid": oid, "sub": oid, "idtyp": "app",
		}},
		{"roles", "roles=read+write", map[string]any{"roles": []any{"read", "write"}}},
		{"delegated", "scp=read", map[string]any{"scp": "read", "idtyp": nil}},
		{"no idtyp", "idtyp=", map[string]any{"idtyp": nil, "oid": oid, "sub": oid}},
		{"own ids", "oid=o&sub=s", map[string]any{"oid": "o", "sub": "s"}},
		{"audience", "aud=other", map[string]any{"aud": "other"}},
		{"omit and set", "omit=tid+exp&set=" + url.QueryEscape(`{"iss":"https://evil.example/","x":{"y":1}}`), map[string]any{
			"tid": nil, "exp": nil, "iss": "https://evil.example/", "x": map[string]any{"y": float64(1)},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := call(t, routes, tokenRequest(c.form))
			if status != http.StatusOK {
				t.Fatalf("%d %v", status, body)
			}
			claims, _ := claimsOf(t, body["access_token"].(string))
			for name, want := range c.want {
				got, has := claims[name]
				if want == nil && has || want != nil && !equal(got, want) {
					t.Errorf("%s = %v, want %v", name, got, want)
				}
			}
		})
	}

	_, body := call(t, routes, tokenRequest("scp=read"))
	claims, _ := claimsOf(t, body["access_token"].(string))
	if claims["sub"] == claims["oid"] {
		t.Error("a delegated token's sub is its oid: a verifier would take it for an app's")
	}
	_, body = call(t, routes, tokenRequest("expires_in=-60"))
	claims, _ = claimsOf(t, body["access_token"].(string))
	exp, nbf := claims["exp"].(float64), claims["nbf"].(float64)
	if exp > float64(time.Now().Unix()) || nbf >= exp {
		t.Errorf("expired token: nbf %v, exp %v", nbf, exp)
	}
	_, body = call(t, routes, tokenRequest("header="+url.QueryEscape(`{"kid":null,"typ":"at+jwt"}`)))
	if _, header := claimsOf(t, body["access_token"].(string)); header["kid"] != nil || header["typ"] != "at+jwt" {
		t.Errorf("header %v", header)
	}
}

func equal(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

func TestTheTokenEndpointRefusesAsEntraDoes(t *testing.T) {
	routes := newTestService(t).issuerRoutes()
	post := func(path, form string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	for want, r := range map[string]*http.Request{
		"unsupported_grant_type": post("/"+testTenant+"/oauth2/v2.0/token", "grant_type=password"),
		"invalid_request":        post("/"+testTenant+"/oauth2/v2.0/token", "grant_type=client_credentials"),
		"invalid_scope":          post("/"+testTenant+"/oauth2/v2.0/token", "grant_type=client_credentials&client_id=c&scope=api://x"),
		"invalid_tenant":         post("/other/oauth2/v2.0/token", ""),
	} {
		if status, body := call(t, routes, r); status != http.StatusBadRequest || body["error"] != want {
			t.Errorf("got %d %v, want 400 %s", status, body, want)
		}
	}
}

func TestOnlyTheVersion2KeysNameTheirIssuer(t *testing.T) {
	routes := newTestService(t).issuerRoutes()
	for path, want := range map[string]any{
		"/discovery/v2.0/keys": "https://login.microsoftonline.com/" + testTenant + "/v2.0",
		"/discovery/keys":      nil,
	} {
		_, body := call(t, routes, httptest.NewRequest(http.MethodGet, "/"+testTenant+path, nil))
		key := body["keys"].([]any)[0].(map[string]any)
		if key["issuer"] != want || key["alg"] != nil || key["kid"] != key["x5t"] {
			t.Errorf("%s: %v", path, key)
		}
	}
	_, discovery := call(t, routes, httptest.NewRequest(http.MethodGet, "/"+testTenant+"/v2.0/.well-known/openid-configuration", nil))
	if discovery["issuer"] != "https://login.microsoftonline.com/"+testTenant+"/v2.0" ||
		discovery["jwks_uri"] != "https://127.0.0.1:1/"+testTenant+"/discovery/v2.0/keys" {
		t.Errorf("discovery %v", discovery)
	}
}

func TestTheManagedIdentityIsGuardedByItsHeader(t *testing.T) {
	s := newTestService(t)
	ask := func(header, query string) (int, map[string]any) {
		r := httptest.NewRequest(http.MethodGet, "/msi/token?"+query, nil)
		r.Header.Set("X-IDENTITY-HEADER", header)
		return call(t, s.managedRoutes(), r)
	}
	const storage = "api-version=2019-08-01&resource=https://storage.azure.com"
	for _, c := range []struct {
		header, query string
		want          int
	}{
		{"wrong", storage, http.StatusUnauthorized},
		{"", storage, http.StatusUnauthorized},
		{"the header", "resource=https://storage.azure.com", http.StatusBadRequest},
		{"the header", "api-version=2019-08-01", http.StatusBadRequest},
		{"the header", storage + "&client_id=unknown", http.StatusBadRequest},
		{"the header", storage + "&mi_res_id=/subscriptions/x", http.StatusBadRequest},
		{"the header", storage + "&client_id=" + testClient, http.StatusOK},
		{"the header", storage, http.StatusOK},
	} {
		if got, body := ask(c.header, c.query); got != c.want {
			t.Errorf("header %q, %s: %d %v, want %d", c.header, c.query, got, body, c.want)
		}
	}
	_, body := ask("the header", storage)
	claims, _ := claimsOf(t, body["access_token"].(string))
	if claims["iss"] != "https://sts.windows.net/"+testTenant+"/" || claims["aud"] != "https://storage.azure.com" || claims["roles"] != nil {
		t.Errorf("storage token %v", claims)
	}
	_, body = ask("the header", "api-version=2019-08-01&resource=api://"+testAPI)
	claims, _ = claimsOf(t, body["access_token"].(string))
	if claims["aud"] != testAPI || claims["ver"] != "2.0" || !equal(claims["roles"], []string{"a"}) {
		t.Errorf("API token %v", claims)
	}
}

func TestKeysSurviveARestartAndRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.pem")
	kids := func(r *keyring) []string {
		var out []string
		for _, k := range r.published("") {
			out = append(out, k.Kid)
		}
		return out
	}
	open := func() *keyring {
		r, err := openKeyring(path, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	ring := open()
	first := kids(ring)
	if again := kids(open()); !slices.Equal(again, first) {
		t.Errorf("after a restart %v, before %v", again, first)
	}
	if err := ring.rotate(time.Now(), false); err != nil {
		t.Fatal(err)
	}
	both := kids(ring)
	if len(both) != 2 || both[1] != first[0] || ring.signer().kid != both[0] {
		t.Errorf("after a rotation %v, before %v, signer %s", both, first, ring.signer().kid)
	}
	if again := kids(open()); !slices.Equal(again, both) {
		t.Errorf("after a restart %v, before %v", again, both)
	}
	if err := ring.rotate(time.Now(), true); err != nil {
		t.Fatal(err)
	}
	if last := kids(ring); len(last) != 1 || slices.Contains(both, last[0]) {
		t.Errorf("after dropping %v, before %v", last, both)
	}
}

func TestFaultsAndCounts(t *testing.T) {
	s := newTestService(t)
	routes := s.issuerRoutes()
	keys := func() int {
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+testTenant+"/discovery/v2.0/keys", nil))
		return w.Code
	}
	fault := func(kind string) int {
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/admin/fault?keys="+kind, nil))
		return w.Code
	}
	if got := fault("503"); got != http.StatusNoContent || keys() != http.StatusServiceUnavailable {
		t.Errorf("fault answered %d, and keys are there", got)
	}
	if got := fault(""); got != http.StatusNoContent || keys() != http.StatusOK {
		t.Errorf("mending answered %d, and keys are not there", got)
	}
	if got := fault("nonsense"); got != http.StatusBadRequest {
		t.Errorf("nonsense answered %d", got)
	}
	if _, counts := call(t, routes, httptest.NewRequest(http.MethodGet, "/admin/counts", nil)); counts["keys"] != float64(2) {
		t.Errorf("counts %v, want 2 of keys", counts)
	}
}
