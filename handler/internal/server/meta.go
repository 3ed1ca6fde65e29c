package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

type runningOutput struct {
	Body struct {
		Running bool `json:"running"`
	}
}

func running(context.Context, call, *struct{}) (*runningOutput, error) {
	out := &runningOutput{}
	out.Body.Running = true
	return out, nil
}

type versionOutput struct {
	Body struct {
		Version string `json:"version"`
		Circle  string `json:"circle" doc:"The number of the build."`
		Hash    string `json:"hash" doc:"The commit."`
	}
}

func version(_ context.Context, c call, _ *struct{}) (*versionOutput, error) {
	out := &versionOutput{}
	out.Body.Version, out.Body.Circle, out.Body.Hash = c.Build.Version, c.Build.Number, c.Build.Commit
	return out, nil
}

type liveOutput struct {
	Body struct {
		Status string `json:"status" enum:"live"`
	}
}

func live(context.Context, call, *struct{}) (*liveOutput, error) {
	out := &liveOutput{}
	out.Body.Status = "live"
	return out, nil
}

type readyOutput struct {
	Status int
	Body   struct {
		Status   string   `json:"status" enum:"ready,degraded,unavailable"`
		Degraded []string `json:"degraded" doc:"The names of the checks that are not well."`
		Checks   []Check  `json:"checks"`
	}
}

// ready is 503 only when requests cannot be served (OPS-1): what is not vital makes it degraded.
func ready(ctx context.Context, c call, _ *struct{}) (*readyOutput, error) {
	out := &readyOutput{Status: http.StatusOK}
	out.Body.Status, out.Body.Degraded = "ready", []string{}
	out.Body.Checks = c.Ready(ctx)
	for _, check := range out.Body.Checks {
		if check.OK {
			continue
		}
		out.Body.Degraded = append(out.Body.Degraded, check.Name)
		if check.Vital {
			out.Status, out.Body.Status = http.StatusServiceUnavailable, "unavailable"
		} else if out.Status == http.StatusOK {
			out.Body.Status = "degraded"
		}
	}
	return out, nil
}

// document is a public document that may be kept, with an ETag.
type document struct {
	Status       int
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	ETag         string `header:"ETag"`
	Body         []byte
}

type documentInput struct {
	IfNoneMatch string `header:"If-None-Match" doc:"The ETag of a copy."`
}

// maxAge is how long public documents may be kept, in seconds.
const maxAge = 300

func (in *documentInput) document(contentType string, body []byte) *document {
	sum := sha256.Sum256(body)
	return in.tagged(contentType, body, base64.RawURLEncoding.EncodeToString(sum[:12]))
}

// tagged is a document whose hash is known.
func (in *documentInput) tagged(contentType string, body []byte, tag string) *document {
	out := &document{
		Status: http.StatusOK, ContentType: contentType, CacheControl: fmt.Sprintf("public, max-age=%d", maxAge),
		ETag: `"` + tag + `"`, Body: body,
	}
	for known := range strings.SplitSeq(in.IfNoneMatch, ",") {
		if known = strings.TrimPrefix(strings.TrimSpace(known), "W/"); known == out.ETag || known == "*" {
			out.Status, out.Body = http.StatusNotModified, nil
		}
	}
	return out
}

func (in *documentInput) json(v any) (*document, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return in.document("application/json", body), nil
}

func keys(_ context.Context, c call, in *documentInput) (*document, error) {
	return in.document("application/jwk-set+json", c.Keys), nil
}

// metadata is what the documents about us share. Only what exists is listed.
func (c call) metadata() map[string]any {
	return map[string]any{
		"issuer":                   c.Issuer,
		"jwks_uri":                 c.url("/.well-known/jwks.json"),
		"response_types_supported": []string{}, // required by both standards; there is no authorization endpoint
		"service_documentation":    c.url("/openapi.json"),
		"revocation_endpoint":      c.url(revocationPath),
		"introspection_endpoint":   c.url(introspectionPath),
		// Both take an access token with the scope of the route, of any issuer that we trust. RFC 8414 section 2 lets the second
		// name that, and would assume client_secret_basic if nothing were said.
		"revocation_endpoint_auth_methods_supported":    []string{},
		"introspection_endpoint_auth_methods_supported": []string{"Bearer"},
	}
}

func (c call) url(path string) string { return strings.TrimSuffix(c.Issuer, "/") + path }

func openIDConfiguration(_ context.Context, c call, in *documentInput) (*document, error) {
	m := c.metadata()
	m["subject_types_supported"] = []string{"public"}
	m["id_token_signing_alg_values_supported"] = []string{c.Algorithm}
	return in.json(m)
}

func authorizationServer(_ context.Context, c call, in *documentInput) (*document, error) {
	m := c.metadata()
	m["grant_types_supported"] = []string{} // there is no token endpoint: tokens are bought at routes of their own
	return in.json(m)
}

func protectedResource(_ context.Context, c call, in *documentInput) (*document, error) {
	return in.json(map[string]any{
		"resource":                 c.Audience,
		"authorization_servers":    c.Issuers,
		"jwks_uri":                 c.url("/.well-known/jwks.json"),
		"bearer_methods_supported": []string{"header"},
		"scopes_supported":         Scopes(),
		"resource_documentation":   c.url("/openapi.json"),
	})
}

// Scopes are all scopes of the route table, sorted.
func Scopes() []string {
	var scopes []string
	for _, route := range Routes() {
		for _, operation := range route.Operations {
			if operation.Scope != "" && !slices.Contains(scopes, operation.Scope) {
				scopes = append(scopes, operation.Scope)
			}
		}
	}
	slices.Sort(scopes)
	return scopes
}

// documents renders the OpenAPI document once: it does not change while the process runs.
func (s *Server) documents() (asJSON, asYAML []byte, err error) {
	s.openapi.once.Do(func() {
		s.openapi.json, s.openapi.err = s.api.OpenAPI().MarshalJSON()
		if s.openapi.err == nil {
			s.openapi.yaml, s.openapi.err = s.api.OpenAPI().YAML()
		}
	})
	return s.openapi.json, s.openapi.yaml, s.openapi.err
}

func openAPIJSON(_ context.Context, c call, in *documentInput) (*document, error) {
	body, _, err := c.documents()
	if err != nil {
		return nil, err
	}
	return in.document("application/vnd.oai.openapi+json;version=3.1", body), nil
}

func openAPIYAML(_ context.Context, c call, in *documentInput) (*document, error) {
	_, body, err := c.documents()
	if err != nil {
		return nil, err
	}
	return in.document("application/vnd.oai.openapi;version=3.1", body), nil
}

//go:embed ui.html
var uiPage string

type page struct {
	ContentType string `header:"Content-Type"`
	Policy      string `header:"Content-Security-Policy"`
	Body        []byte
}

// browse shows the OpenAPI document as a page of our own: no script, nothing from another host (OPS-2).
func browse(_ context.Context, c call, _ *struct{}) (*page, error) {
	if !c.Browse {
		return nil, noRoute()
	}
	t, err := template.New("ui").Parse(uiPage)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, c.api.OpenAPI()); err != nil {
		return nil, err
	}
	return &page{
		ContentType: "text/html; charset=utf-8",
		Policy:      "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		Body:        b.Bytes(),
	}, nil
}
