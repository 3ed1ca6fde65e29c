package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const testTenant = "11111111-2222-4333-8444-555555555555"

// What azsecrets itself sees is tested in ../stack, against both programs.
// Here is what the SDK cannot ask: tokens that must not pass, and a dead
// issuer.
func TestOnlyATokenForThisVaultPasses(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	down := false
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{
			"kid": "k",
			"n":   base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
			"e":   base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}})
	}))
	defer issuer.Close()

	store, err := openStore(filepath.Join(t.TempDir(), "vault.json"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.set("S", version{Value: "the value"}); err != nil {
		t.Fatal(err)
	}
	routes := newService(8443, store, &gate{
		tenant: testTenant, resource: resourceFor(8443), keysURL: issuer.URL, client: issuer.Client(), now: time.Now,
	}).routes()

	sign := func(kid string, with *rsa.PrivateKey, change jwt.MapClaims) string {
		claims := jwt.MapClaims{
			"iss": "https://sts.windows.net/" + testTenant + "/", "aud": "https://0.0.1:8443",
			"nbf": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		}
		for name, value := range change {
			claims[name] = value
			if value == nil {
				delete(claims, name)
			}
		}
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
		token.Header["kid"] = kid
		signed, err := token.SignedString(with)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + signed
	}
	get := func(authorization string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/secrets/S/?api-version=7.4", nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, r)
		return w
	}

	down = true
	if w := get(sign("k", key, nil)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("issuer down: %d, want 503", w.Code)
	}
	down = false
	if w := get(sign("k", key, nil)); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "the value") {
		t.Errorf("good token: %d %s", w.Code, w.Body)
	}
	down = true
	if w := get(sign("k", key, nil)); w.Code != http.StatusOK {
		t.Errorf("issuer down, key known: %d, want 200", w.Code)
	}
	down = false

	hourAgo := time.Now().Add(-time.Hour).Unix()
	for name, authorization := range map[string]string{
		"no token":        "",
		"not bearer":      "Basic eA==",
		"garbage":         "Bearer x.y.z",
		"other audience":  sign("k", key, jwt.MapClaims{"aud": "https://vault.azure.net"}),
		"no audience":     sign("k", key, jwt.MapClaims{"aud": nil}),
		"expired":         sign("k", key, jwt.MapClaims{"exp": hourAgo}),
		"never expires":   sign("k", key, jwt.MapClaims{"exp": nil}),
		"not yet valid":   sign("k", key, jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}),
		"other tenant":    sign("k", key, jwt.MapClaims{"iss": "https://sts.windows.net/other/"}),
		"other signature": sign("k", strange, nil),
		"unknown key":     sign("other", strange, nil),
	} {
		w := get(authorization)
		want := `Bearer authorization="https://login.microsoftonline.com/` + testTenant + `", resource="https://0.0.1:8443"`
		if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != want {
			t.Errorf("%s: %d with challenge %q, want 401 with %q", name, w.Code, w.Header().Get("WWW-Authenticate"), want)
		}
		if strings.Contains(w.Body.String(), "the value") {
			t.Errorf("%s: the secret came out", name)
		}
	}
}

func TestWhatIsSetComesBackAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.json")
	store, err := openStore(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.set("Mixed-Case", version{Value: "one"}); err != nil {
		t.Fatal(err)
	}
	_, second, err := store.set("mixed-case", version{Value: "two"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := openStore(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	sec, v, err := again.get("MIXED-CASE", "")
	if err != nil {
		t.Fatal(err)
	}
	if sec.Name != "Mixed-Case" || v.Value != "two" || v.ID != second.ID {
		t.Errorf("got %s %s %s", sec.Name, v.Value, v.ID)
	}
}
