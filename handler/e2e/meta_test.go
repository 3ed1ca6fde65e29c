package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/infra/local/stack"
)

func (h *host) get(t *testing.T, path string) reply {
	t.Helper()
	return h.send(t, request{method: http.MethodGet, path: path})
}

func TestOPS1_TheHostSaysWhatRunsAndWhetherItCanServe(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		for path, want := range map[string]string{"/running": `{"running":true}`, "/health/live": `{"status":"live"}`} {
			if got := h.get(t, path); got.status != http.StatusOK || strings.TrimSpace(string(got.body)) != want {
				t.Errorf("%s: %d %s, want %s", path, got.status, got.body, want)
			}
		}
		var version struct{ Version, Circle, Hash string }
		h.get(t, "/version").into(t, http.StatusOK, &version)
		if version.Version == "" || version.Circle == "" || len(version.Hash) != 40 || version.Version == "development" {
			t.Errorf("version %+v", version)
		}
		status, ready, err := h.ready(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, check := range ready.Checks {
			names = append(names, check.Name)
			if !check.OK {
				t.Errorf("check %+v", check)
			}
		}
		for _, name := range []string{"settings", "storage", "clock", "issuer-keys"} {
			if !slices.Contains(names, name) {
				t.Errorf("checks %v, want %s among them", names, name)
			}
		}
		if status != http.StatusOK || ready.Status != "ready" || ready.Degraded == nil || len(ready.Degraded) != 0 {
			t.Errorf("%d %+v", status, ready)
		}
	})
}

// document is the part of OpenAPI 3.1 that is looked at.
type document struct {
	OpenAPI string
	Info    struct{ Title, Version string }
	Paths   map[string]map[string]operation

	Components struct {
		Schemas         map[string]any
		SecuritySchemes map[string]struct{ Type, Scheme string }
	}
}

type operation struct {
	OperationID string
	Parameters  []struct {
		Name, In string
		Required bool
	}
	RequestBody *struct{ Required bool }
	Responses   map[string]struct {
		Description string
		Content     map[string]any
	}
	Security []map[string][]string
}

// scopes are those that an operation asks for.
func (o operation) scopes() (all []string) {
	for _, alternative := range o.Security {
		for _, scopes := range alternative {
			all = append(all, scopes...)
		}
	}
	return all
}

func (h *host) document(t *testing.T) (d document) {
	t.Helper()
	got := h.get(t, "/openapi.json")
	if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "application/vnd.oai.openapi+json") {
		t.Fatalf("%d %s", got.status, got.header.Get("Content-Type"))
	}
	if err := json.Unmarshal(got.body, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOPS2_TheDocumentIsWholeOpenAPI(t *testing.T) {
	w := given(t)
	h := w.any()
	d := h.document(t)
	if !strings.HasPrefix(d.OpenAPI, "3.1.") || d.Info.Title == "" || d.Info.Version == "" {
		t.Errorf("openapi %q, info %+v", d.OpenAPI, d.Info)
	}
	if s := d.Components.SecuritySchemes["bearer"]; s.Type != "http" || s.Scheme != "bearer" {
		t.Errorf("security schemes %+v", d.Components.SecuritySchemes)
	}

	// Every reference leads somewhere.
	var anything any
	if err := json.Unmarshal(h.get(t, "/openapi.json").body, &anything); err != nil {
		t.Fatal(err)
	}
	references := 0
	walk(anything, func(reference string) {
		references++
		name, ok := strings.CutPrefix(reference, "#/components/schemas/")
		if _, there := d.Components.Schemas[name]; !ok || !there {
			t.Errorf("the reference %s leads nowhere", reference)
		}
	})
	if references == 0 {
		t.Error("there is no reference at all")
	}

	ids := map[string]bool{}
	for path, operations := range d.Paths {
		for method, o := range operations {
			name := strings.ToUpper(method) + " " + path
			if o.OperationID == "" || ids[o.OperationID] {
				t.Errorf("%s: operation id %q is missing or taken", name, o.OperationID)
			}
			ids[o.OperationID] = true
			var inPath []string
			for _, p := range o.Parameters {
				if p.In == "path" {
					inPath = append(inPath, "{"+p.Name+"}")
					if !p.Required {
						t.Errorf("%s: the path parameter %s is not required", name, p.Name)
					}
				}
			}
			if strings.Count(path, "{") != len(inPath) || slices.ContainsFunc(inPath, func(p string) bool { return !strings.Contains(path, p) }) {
				t.Errorf("%s: path parameters %v", name, inPath)
			}
			want := []string{"400", "500"}
			if len(o.Security) > 0 {
				want = append(want, "401", "403", "503")
			}
			if o.RequestBody != nil {
				want = append(want, "413", "415")
			}
			for _, status := range want {
				if _, there := o.Responses[status].Content["application/problem+json"]; !there {
					t.Errorf("%s: the error %s is not described as a problem", name, status)
				}
			}
			succeeds := false
			for status, r := range o.Responses {
				succeeds = succeeds || status[0] == '2'
				if r.Description == "" {
					t.Errorf("%s: the response %s has no description", name, status)
				}
			}
			if !succeeds {
				t.Errorf("%s: no response is a success", name)
			}
		}
	}

	yaml := h.get(t, "/openapi.yaml")
	if yaml.status != http.StatusOK || !bytes.Contains(yaml.body, []byte("openapi: 3.1")) || !bytes.Contains(yaml.body, []byte(redeemPath)) {
		t.Errorf("openapi.yaml: %d, %.60s", yaml.status, yaml.body)
	}
}

// walk visits every reference within a JSON value.
func walk(value any, visit func(reference string)) {
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			walk(one, visit)
		}
	case map[string]any:
		if reference, ok := v["$ref"].(string); ok {
			visit(reference)
		}
		for _, one := range v {
			walk(one, visit)
		}
	}
}

// The document, the functions that are staged and what the host does agree: every operation, with its scope.
func TestOPS2_TheDocumentTellsEveryRouteAndItsScope(t *testing.T) {
	w := given(t)
	h := w.any()
	d := h.document(t)

	staged, err := filepath.Glob(filepath.Join(root, "functions", "*", "function.json"))
	if err != nil || len(staged) == 0 {
		t.Fatalf("%v, %d functions", err, len(staged))
	}
	described := 0
	for _, operations := range d.Paths {
		described += len(operations)
	}
	for _, path := range staged {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var function struct {
			Bindings []struct {
				Type, Route string
				Methods     []string
			}
		}
		if err := json.Unmarshal(body, &function); err != nil {
			t.Fatal(err)
		}
		for _, b := range function.Bindings {
			if b.Type != "httpTrigger" {
				continue
			}
			for _, method := range b.Methods {
				if d.Paths["/"+b.Route][method].OperationID == "" {
					t.Errorf("%s /%s is staged and not described", method, b.Route)
				}
				described--
			}
		}
	}
	if described != 0 {
		t.Errorf("%d operations are described and not staged", described)
	}

	known := randomGUID()
	w.known(t, known)
	// The scopes of the routes, as the rows have them.
	want := map[string]string{
		"POST /dhos/v1/patient/{patient_id}/activation":                         writeActivation,              // ACT-1
		"GET /dhos/v1/patient/{patient_id}/activation":                          readActivation,               // ACT-3
		"DELETE /dhos/v1/patient/{patient_id}/activation/{uuid}":                writeActivation,              // ACT-4
		"GET /dhos/v1/patient/{patient_id}/authorisation":                       readActivation,               // ACT-13
		"DELETE /dhos/v1/patient/{patient_id}/authorisation":                    writeActivation,              // ACT-14
		"PATCH /dhos/v1/patient/{patient_id}/authorisation/{authorisation_id}":  writeActivation,              // ACT-13
		"DELETE /dhos/v1/patient/{patient_id}/authorisation/{authorisation_id}": writeActivation,              // ACT-13
		"POST " + revocationPath:                                                "revoke:token",               // TOK-8
		"POST " + introspectionPath:                                             "introspect:token",           // TOK-8
		"GET /dhos/v1/identity":                                                 "read:identity",              // AUT-3
		"POST /dhos/v1/identity":                                                "write:identity",             // AUT-3
		"GET /dhos/v1/identity/{identity_id}":                                   "read:identity",              // AUT-3
		"PATCH /dhos/v1/identity/{identity_id}":                                 "write:identity",             // AUT-3
		"POST /dhos/v1/identity/{identity_id}/approve":                          "write:identity",             // AUT-3
		"POST " + clinicians:                                                    "write:send_clinician",       // DIR-2
		"PATCH " + clinicians + "/{clinician_id}":                               "write:send_clinician",       // DIR-3
		"GET " + clinicians + "/jwt":                                            "read:send_entry_identifier", // TOK-3
		"POST " + clinicians + "/jwt":                                           "read:send_entry_identifier", // TOK-3
		"POST " + devices:                                                       "write:send_device",          // DIR-1
		"GET " + devices:                                                        "read:send_device",           // DIR-1
		"GET " + devices + "/{device_id}":                                       "read:send_device",           // DIR-1
		"PATCH " + devices + "/{device_id}":                                     "write:send_device",          // DIR-1
		"POST " + devices + "/{device_id}/activation":                           "write:send_device",          // ACT-10
		"DELETE " + devices + "/{device_id}/authorisation":                      "write:send_device",          // ACT-14
		"POST /dhos/v1/denial":                                                  "read:audit",                 // AUT-6
	}
	for path, operations := range d.Paths {
		for method, o := range operations {
			name := strings.ToUpper(method) + " " + path
			scopes := strings.Join(o.scopes(), " ")
			if scopes != want[name] {
				t.Errorf("%s asks for %q, want %q", name, scopes, want[name])
			}
			delete(want, name)
			concrete := strings.NewReplacer("{patient_id}", w.patient(), "{uuid}", "019ab000-0000-7000-8000-000000000000",
				"{activation_code}", "2222222222", "{authorisation_id}", "nobodys", "{identity_id}", "nobodys", "{site_code}", "ZZ9",
				"{device_id}", "nobodys", "{clinician_id}", "nobodys").Replace(path)
			r := request{method: strings.ToUpper(method), path: concrete}
			if o.RequestBody != nil {
				r.body = `{}`
			}
			got := h.send(t, r)
			if (got.status == http.StatusUnauthorized) != (scopes != "") {
				t.Errorf("%s without a token answers %d", name, got.status)
			}
			if scopes == "" {
				continue
			}
			r.token = w.token(t, stack.TokenRequest{OID: &known, Roles: []string{"another:scope"}})
			if p := h.send(t, r).problem(t, http.StatusForbidden, "insufficient_scope"); p.Scope != scopes {
				t.Errorf("%s is refused for want of %q, described is %q", name, p.Scope, scopes)
			}
		}
	}
	for name := range want {
		t.Errorf("%s is not described", name)
	}
}

func TestOPS2_ThePageIsServedWhereItIsSwitchedOn(t *testing.T) {
	w := owned(t)
	for _, path := range []string{"/ui", "/ui/"} {
		w.through(t, func(t *testing.T, h *host) {
			got := h.get(t, path)
			page := string(got.body)
			if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
				t.Fatalf("%s: %d %s", path, got.status, got.header.Get("Content-Type"))
			}
			policy := got.header.Get("Content-Security-Policy")
			if !strings.Contains(policy, "default-src 'none'") || strings.Contains(page, "<script") || strings.Contains(page, "//") && third(page) {
				t.Errorf("policy %q, or the page asks another host", policy)
			}
			for _, text := range []string{activationPath("{patient_id}"), redeemPath, writeActivation, readActivation} {
				if !strings.Contains(page, text) {
					t.Errorf("the page does not tell of %s", text)
				}
			}
		})
	}
	off := w.extra(t, "without the page", stack.HostOptions{Direct: true, Env: []string{"Docs__Page=false"}})
	if err := off.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	off.get(t, "/ui").problem(t, http.StatusNotFound, "no_such_route")
	off.mainJob(t)
}

// third reports whether a page fetches something.
func third(page string) bool {
	for _, attribute := range []string{"src=", "<link", "url(", "@import"} {
		if strings.Contains(page, attribute) {
			return true
		}
	}
	return false
}

func TestAUT7_TheReleaseBinaryHasNoSwitchOfTheDevelopmentBuild(t *testing.T) {
	owned(t)
	binary, err := os.ReadFile(filepath.Join(root, "dist", "latchkey"))
	if err != nil {
		t.Fatal(err)
	}
	// The search finds what is there: a route, a setting, a package of the handler.
	for _, there := range []string{redeemPath, "LISTEN_ADDR", "latchkey/handler/internal/server"} {
		if !bytes.Contains(binary, []byte(there)) {
			t.Errorf("the binary does not hold %q, so that nothing is proved by what else is missing", there)
		}
	}
	for _, absent := range []string{
		"static_patient_uuid_", "static_device_uuid_", "IGNORE_JWT_VALIDATION", "ALLOW_DROP_DATA", "reset_test_data", "drop_data", "security-test", "security-info",
		"latchkey/infra/", // the local issuer, vault and host
	} {
		if bytes.Contains(binary, []byte(absent)) {
			t.Errorf("the binary holds %q", absent)
		}
	}
}
