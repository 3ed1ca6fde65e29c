package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestADocumentIsServedAsItWasWritten(t *testing.T) {
	routes := newTestService(t).issuerRoutes()
	send := func(r *http.Request) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, r)
		return w
	}
	put := func(query, body string) int {
		return send(httptest.NewRequest(http.MethodPut, "/admin/documents/x?"+query, strings.NewReader(body))).Code
	}
	get := func() *httptest.ResponseRecorder {
		return send(httptest.NewRequest(http.MethodGet, "/documents/x", nil))
	}
	if got := get(); got.Code != http.StatusNotFound {
		t.Errorf("before it is written: %d", got.Code)
	}
	if got := put("", "{\"\xff\":1}"); got != http.StatusNoContent {
		t.Fatalf("writing answers %d", got)
	}
	if got := get(); got.Code != http.StatusOK || got.Body.String() != "{\"\xff\":1}" || !strings.HasPrefix(got.Header().Get("Content-Type"), "application/json") {
		t.Errorf("%d %v %q", got.Code, got.Header(), got.Body)
	}
	put("status=302&location=https://127.0.0.1:1/&type=text/html&padding=70000", "x")
	if got := get(); got.Code != http.StatusFound || got.Header().Get("Location") != "https://127.0.0.1:1/" || got.Body.Len() != 70001 {
		t.Errorf("%d %v, %d bytes", got.Code, got.Header(), got.Body.Len())
	}
	put("hang=true", "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got := send(httptest.NewRequest(http.MethodGet, "/documents/x", nil).WithContext(ctx)); got.Body.Len() != 0 || ctx.Err() == nil {
		t.Errorf("it came: %q", got.Body)
	}
	for _, wrong := range []string{"status=99", "status=x", "padding=x", "padding=-1"} {
		if got := put(wrong, ""); got != http.StatusBadRequest {
			t.Errorf("%s answers %d", wrong, got)
		}
	}
	if _, counts := call(t, routes, httptest.NewRequest(http.MethodGet, "/admin/documents/x", nil)); counts["asked"] != float64(3) || counts["open"] != float64(0) || counts["most"] != float64(1) {
		t.Errorf("counts %v", counts)
	}
}

func TestARealmIsAProviderOfItsOwn(t *testing.T) {
	s := newTestService(t)
	s.providers.base, s.providers.dir, s.providers.now = s.base, t.TempDir(), time.Now
	routes := s.issuerRoutes()
	post := func(realm, form string) (int, map[string]any) {
		r := httptest.NewRequest(http.MethodPost, "/auth/realms/"+realm+"/protocol/openid-connect/token", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return call(t, routes, r)
	}
	const good = "grant_type=client_credentials&client_id=c&audience=latchkey&roles=a+b"
	_, discovery := call(t, routes, httptest.NewRequest(http.MethodGet, "/auth/realms/one/.well-known/openid-configuration", nil))
	if discovery["issuer"] != s.base+"/auth/realms/one" || discovery["jwks_uri"] != s.base+"/auth/realms/one/protocol/openid-connect/certs" {
		t.Errorf("discovery %v", discovery)
	}
	_, body := post("one", good)
	claims, header := claimsOf(t, body["access_token"].(string))
	if claims["iss"] != discovery["issuer"] || claims["aud"] != "latchkey" || !equal(claims["resource_access"], map[string]any{"latchkey": map[string]any{"roles": []string{"a", "b"}}}) {
		t.Errorf("claims %v", claims)
	}
	kids := func(realm string) (all []any) {
		_, set := call(t, routes, httptest.NewRequest(http.MethodGet, "/auth/realms/"+realm+"/protocol/openid-connect/certs", nil))
		for _, key := range set["keys"].([]any) {
			all = append(all, key.(map[string]any)["kid"])
		}
		return all
	}
	if one, two := kids("one"), kids("two"); len(one) != 1 || one[0] != header["kid"] || two[0] == one[0] {
		t.Errorf("keys %v and %v, signed by %v", one, two, header["kid"])
	}
	_, body = post("one", good+`&alg=PS256&omit=azp&sub=me&set={"aud":["x"]}&header={"typ":"at%2Bjwt"}`)
	claims, header = claimsOf(t, body["access_token"].(string))
	if claims["azp"] != nil || claims["sub"] != "me" || !equal(claims["aud"], []string{"x"}) || header["alg"] != jwt.SigningMethodPS256.Alg() || header["typ"] != "at+jwt" {
		t.Errorf("claims %v, header %v", claims, header)
	}
	for _, wrong := range []string{"", "grant_type=client_credentials", good + "&alg=HS256", good + "&set=1x", good + "&expires_in=x"} {
		if status, body := post("one", wrong); status != http.StatusBadRequest {
			t.Errorf("%q answers %d %v", wrong, status, body)
		}
	}
	if status, _ := call(t, routes, httptest.NewRequest(http.MethodPost, "/admin/realms/one/rotate?drop_old=true", nil)); status != http.StatusOK {
		t.Errorf("rotate answers %d", status)
	}
	if again := kids("one"); len(again) != 1 || again[0] == header["kid"] {
		t.Errorf("after dropping: %v", again)
	}
	if _, counts := call(t, routes, httptest.NewRequest(http.MethodGet, "/admin/realms/one", nil)); counts["keys"] != float64(2) {
		t.Errorf("counts %v", counts)
	}
}
