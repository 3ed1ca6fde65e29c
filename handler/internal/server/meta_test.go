package server

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"
)

func TestOPS1_RunningVersionAndLive(t *testing.T) {
	for path, want := range map[string]string{
		"/running":     `{"running":true}`,
		"/version":     `{"version":"1.2.3","circle":"45","hash":"abcdef"}`,
		"/health/live": `{"status":"live"}`,
	} {
		b := newBench(t).starting()
		w := b.ask(t, "GET "+path, "")
		if w.Code != http.StatusOK || w.Body.String() != want+"\n" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
		wantHeaders(t, w.Header())
	}
}

// OPS-1: 503 only when requests cannot be served.
func TestOPS1_Ready(t *testing.T) {
	const well, vital, minor = `{"name":"a","ok":true}`, `{"name":"b","ok":false,"detail":"x"}`, `{"name":"c","ok":false}`
	a, v, m := Check{Name: "a", OK: true, Vital: true}, Check{Name: "b", Vital: true, Detail: "x"}, Check{Name: "c"}
	for _, c := range []struct {
		checks []Check
		status int
		body   string
	}{
		{[]Check{a}, 200, `{"status":"ready","degraded":[],"checks":[` + well + `]}`},
		{[]Check{a, m}, 200, `{"status":"degraded","degraded":["c"],"checks":[` + well + `,` + minor + `]}`},
		{[]Check{m, v}, 503, `{"status":"unavailable","degraded":["c","b"],"checks":[` + minor + `,` + vital + `]}`},
		{[]Check{v, m}, 503, `{"status":"unavailable","degraded":["b","c"],"checks":[` + vital + `,` + minor + `]}`},
	} {
		b := newBench(t).starting()
		b.Ready = func(context.Context) []Check { return c.checks }
		if w := b.ask(t, "GET /health/ready", ""); w.Code != c.status || w.Body.String() != c.body+"\n" {
			t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.status, c.body)
		}
	}
}

// TOK-6: the documents about us list what exists.
func TestTOK6_Metadata(t *testing.T) {
	scopes := []any{scopeIntrospectToken, scopeReadAudit, scopeReadActivation, scopeReadIdentity, scopeReadDevice, scopeReadIdentifier, scopeRevokeToken, scopeWriteActivation, scopeWriteIdentity, scopeWriteClinician, scopeWriteDevice}
	const issuer, jwks, docs = "https://latchkey.example/", "https://latchkey.example/.well-known/jwks.json", "https://latchkey.example/openapi.json"
	none := []any{}
	ends := map[string]any{
		"revocation_endpoint": "https://latchkey.example/oauth2/revoke", "revocation_endpoint_auth_methods_supported": none,
		"introspection_endpoint": "https://latchkey.example/oauth2/introspect", "introspection_endpoint_auth_methods_supported": []any{"Bearer"},
	}
	for path, want := range map[string]map[string]any{
		"openid-configuration": {"issuer": issuer, "jwks_uri": jwks, "response_types_supported": none, "service_documentation": docs,
			"subject_types_supported": []any{"public"}, "id_token_signing_alg_values_supported": []any{"ES256"}},
		"oauth-authorization-server": {"issuer": issuer, "jwks_uri": jwks, "response_types_supported": none, "service_documentation": docs,
			"grant_types_supported": none},
		"oauth-protected-resource": {"resource": issuer, "authorization_servers": []any{issuer}, "jwks_uri": jwks,
			"bearer_methods_supported": []any{"header"}, "scopes_supported": scopes, "resource_documentation": docs},
		"jwks.json": {"keys": none},
	} {
		if _, ofServer := want["response_types_supported"]; ofServer {
			maps.Copy(want, ends)
		}
		b := newBench(t)
		w := b.ask(t, "GET /.well-known/"+path, "")
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\nwant %v (%v)", path, got, want, err)
		}
		b.event(t)
		b.starting().wantProblem(t, b.ask(t, "GET /.well-known/"+path, ""), 503, ReasonStarting)
	}
}

// deadlines sees the limits that are put on reading the connection.
type deadlines struct {
	*httptest.ResponseRecorder
	last time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.last = at
	return nil
}

// When the body is read nothing may end the request's context but the client: a read deadline would, and a refusal that waits
// would leave before its time.
func TestNoReadDeadlineOutlivesTheBody(t *testing.T) {
	b := newBench(t)
	d := &deadlines{httptest.NewRecorder(), noon}
	b.handler.ServeHTTP(d, request(t, redeemLine, `{"activation_code":"2345678923","otp":"234567"}`))
	if d.Code != http.StatusNotFound || !d.last.IsZero() {
		t.Errorf("%d, and reading ends at %s", d.Code, d.last)
	}
}
