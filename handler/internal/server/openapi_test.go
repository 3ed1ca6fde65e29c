package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/openapi.json anew")

const golden = "testdata/openapi.json"

func openAPI(t *testing.T) []byte {
	t.Helper()
	w := newBench(t).starting().ask(t, "GET /openapi.json", "")
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, w.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

// OPS-2: a change of the public contract is seen in review. Run "go test ./handler/internal/server -run Golden -update" when it is
// meant.
func TestOPS2_OpenAPIGolden(t *testing.T) {
	got := openAPI(t)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Fatalf("line %d is %q, not %q; -update if that is meant", i+1, g[i], w[i])
			}
		}
		t.Fatalf("%d lines, not %d; -update if that is meant", len(g), len(w))
	}
	if len(got) > 200<<10 {
		t.Errorf("%d bytes: too long for anybody to review", len(got))
	}
}

// described is what the test reads of an operation.
type described struct {
	OperationID string                `json:"operationId"`
	Summary     string                `json:"summary"`
	Deprecated  bool                  `json:"deprecated"`
	Security    []map[string][]string `json:"security"`
	Parameters  []struct{ Name, In, Description string }
	Responses   map[string]struct {
		Content map[string]struct {
			Schema struct {
				Ref string `json:"$ref"`
			}
		}
	}
}

// OPS-2: every route is there, with its scope and every error that it can answer with.
func TestOPS2_OpenAPIHasEveryScopeAndError(t *testing.T) {
	var document struct {
		OpenAPI string
		Paths   map[string]map[string]described
	}
	if err := json.Unmarshal(openAPI(t), &document); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(document.OpenAPI, "3.1.") {
		t.Errorf("OpenAPI %s", document.OpenAPI)
	}
	if len(document.Paths) != len(Routes()) {
		t.Errorf("%d paths, %d routes", len(document.Paths), len(Routes()))
	}
	ids := map[string]bool{}
	for _, route := range Routes() {
		if len(document.Paths[route.Path]) != len(route.Operations) {
			t.Errorf("%s has %d operations, want %d", route.Path, len(document.Paths[route.Path]), len(route.Operations))
		}
		for _, o := range route.Operations {
			d := document.Paths[route.Path][strings.ToLower(o.Method)]
			if d.OperationID != o.ID || d.Summary == "" || ids[o.ID] || !regexp.MustCompile(`^[a-z-]+$`).MatchString(o.ID) {
				t.Errorf("%s %s is %q: %q", o.Method, route.Path, d.OperationID, d.Summary)
			}
			ids[o.ID] = true
			var scopes []string
			for _, s := range d.Security {
				scopes = append(scopes, s[bearer]...)
			}
			if o.Scope == "" && len(d.Security) > 0 || o.Scope != "" && !slices.Equal(scopes, []string{o.Scope}) {
				t.Errorf("%s: the scopes are %q, want %q", o.ID, scopes, o.Scope)
			}
			for _, p := range d.Parameters {
				if p.Description == "" {
					t.Errorf("%s: %s has no description", o.ID, p.Name)
				}
			}
			var errors []int
			for text, response := range d.Responses {
				status, err := strconv.Atoi(text)
				if err != nil {
					t.Errorf("%s: the response %s", o.ID, text)
				} else if status < 400 {
					continue
				}
				errors = append(errors, status)
				problem := response.Content["application/problem+json"]
				if problem.Schema.Ref != "#/components/schemas/Problem" && o.ID != "ready" || len(response.Content) != 1 {
					t.Errorf("%s: %d is %+v", o.ID, status, response)
				}
			}
			want := []int{400, 500}
			if o.Scope != "" {
				want = append(want, 401, 403)
			}
			if o.body {
				want = append(want, 413, 415)
			}
			for _, status := range want {
				if !slices.Contains(errors, status) {
					t.Errorf("%s: %d is not there: %v", o.ID, status, errors)
				}
			}
			if slices.Contains(errors, 422) {
				t.Errorf("%s: 422 is nothing that we answer", o.ID)
			}
			if slices.Contains([]string{"get-patient-jwt", "get-device-jwt", "get-clinician-jwt"}, o.ID) != d.Deprecated {
				t.Errorf("%s: deprecated is %t", o.ID, d.Deprecated)
			}
		}
	}
}

// OPS-2: the page is ours alone, and is not there in production.
func TestOPS2_ThePageAsksNobodyElse(t *testing.T) {
	b := newBench(t)
	w := b.ask(t, "GET /ui", "")
	page := w.Body.String()
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("%d %s", w.Code, w.Header())
	}
	for _, route := range Routes() {
		if !strings.Contains(page, "<code>"+route.Path+"</code>") {
			t.Errorf("%s is not on it", route.Path)
		}
	}
	if found := regexp.MustCompile(`(?i)<script|https?://[a-z]|src=|//cdn|javascript:`).FindString(page); found != "" {
		t.Errorf("it holds %q", found)
	}
	if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("the policy is %q", policy)
	}
	b = newBench(t)
	b.Parts().Browse = false
	b.wantProblem(t, b.ask(t, "GET /ui", ""), http.StatusNotFound, ReasonNoRoute)
}

func TestOPS2_TheDocumentsCanBeKept(t *testing.T) {
	for _, path := range []string{"/openapi.json", "/openapi.yaml", "/.well-known/jwks.json", "/.well-known/openid-configuration"} {
		b := newBench(t)
		w := b.ask(t, "GET "+path, "")
		tag := w.Header().Get("ETag")
		if w.Code != 200 || tag == "" || w.Header().Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		for _, known := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
			if w := b.ask(t, "GET "+path, "", "If-None-Match: "+known); w.Code != 304 || w.Body.Len() != 0 || w.Header().Get("ETag") != tag {
				t.Errorf("%s, %s: %d, %d bytes", path, known, w.Code, w.Body.Len())
			}
		}
		if w := b.ask(t, "GET "+path, "", `If-None-Match: "x"`); w.Code != 200 {
			t.Errorf("%s: %d for another tag", path, w.Code)
		}
	}
}
