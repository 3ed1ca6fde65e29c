// Package server is the HTTP edge: the route table, the adapter that every route goes through, and the one translation of
// errors to problem documents. It decides nothing about activations and knows nothing of storage.
package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/denial"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/revoked"
	"latchkey/handler/internal/site"
	"latchkey/handler/internal/subject"
	"latchkey/handler/internal/token"
)

// Clock is the time as the server sees it.
type Clock = activation.Clock

// Parts is what routes work with once the settings are known. It is immutable.
type Parts struct {
	Activations *activation.Service
	// Verify says who calls, from an Authorization header.
	Verify func(ctx context.Context, authorization string) (caller.Caller, error)
	// Recognise is Verify without a look at the session of a token of ours: the operation reads it itself.
	Recognise func(ctx context.Context, authorization string) (caller.Caller, error)
	// Admit decides whether the caller may, or asks beside the operation's first reads: admission.Door.Admit.
	Admit func(context.Context, audit.Origin, caller.Caller, caller.Need) (commit.Gate, error)
	// Seal makes the ticket of a refusal, Unseal opens one.
	Seal   func(denial.Denial) (string, error)
	Unseal func(ticket string) (denial.Denial, error)
	// Identities is the registry; Registers are the issuers whose identities it keeps, a tenant by its GUID.
	Identities *identity.Registry
	Registers  []string
	// Mint makes the token that a grant is for, and says how long it lives.
	Mint func(activation.Grant) (token string, lifetime time.Duration, err error)
	// Clinicians decides about clinicians; MintClinician makes the token that a login is granted.
	Clinicians    *clinician.Service
	MintClinician func(clinician.Grant) (token string, lifetime time.Duration, err error)
	// Claims reads a token of ours, whoever sends it and whether or not it has been ended.
	Claims func(raw string) (token.Claims, error)
	// Revoked is the signed list of what has ended.
	Revoked func(ctx context.Context) (revoked.Document, error)
	// Refused charges a refused redeem to the client's address, "" for none that can be trusted: *budget.Empty if too many were
	// refused to it, else nil.
	Refused func(ctx context.Context, source string) error
	// Reference names a subject in logs.
	Reference func(subject.ID) string

	// Keys is the JSON Web Key Set, Algorithm the one algorithm of new tokens.
	Keys      []byte
	Algorithm string
	// Issuer is our own issuer URL, Audience that of our tokens; Issuers are all whose tokens are accepted.
	Issuer, Audience string
	Issuers          []string
	// Imported is whether refused refreshes must leave at a fixed time: some cost a memory-hard hash, others do not.
	Imported func() bool
	// Zone is in which expiries are sent.
	Zone func() *time.Location
	// Site is the prefix of human codes.
	Site string
	// Sites are all sites, this one among them.
	Sites func() site.Directory
	// AppLink is the link that stands in front of the code in a QR code.
	AppLink func() string
	// Browse serves the page at /ui.
	Browse bool
}

// Build says what was built.
type Build struct{ Version, Number, Commit string }

// Check is one thing that a request may need, as it was when last looked at.
type Check struct {
	Name   string `json:"name" doc:"What was looked at."`
	OK     bool   `json:"ok" doc:"Whether it was well."`
	Detail string `json:"detail,omitempty" doc:"What is missing, or how old what we have is."`
	// Vital means that nothing can be served without it.
	Vital bool `json:"-"`
	// Cause is why it is not well, in words for the log: they may name hosts.
	Cause error `json:"-"`
}

// Server holds what the routes need. Set every field before Handler is called, and none after.
type Server struct {
	Build Build
	// Parts returns nil until the settings are known; everything that needs them is 503 until then.
	Parts func() *Parts
	// Ready looks at what requests need. It must be cheap: it is asked often.
	Ready func(ctx context.Context) []Check
	// Count counts the storage trips of what is done under the context that it returns.
	Count  func(ctx context.Context) (context.Context, func() (sequence, calls int))
	Log    *slog.Logger
	Clock  Clock
	Random io.Reader
	// UnderHost is whether the Functions host is in front.
	UnderHost bool
	// ClientAddress gives the client's address as far as it can be trusted, else "".
	ClientAddress func(*http.Request) string

	redeems, refreshes room
	openapi            struct {
		once       sync.Once
		json, yaml []byte
		err        error
	}
	api huma.API
}

// Handler builds the mux from the route table.
func (s *Server) Handler() http.Handler {
	useProblems()
	mux := http.NewServeMux()
	s.api = humago.New(mux, apiConfig(s.Build.Version))
	for _, route := range Routes() {
		for _, operation := range route.Operations {
			operation.register(s, route)
		}
	}
	mux.HandleFunc("/", s.unmatched(mux))
	return s.observe(plainPath(mux))
}

func apiConfig(version string) huma.Config {
	config := huma.DefaultConfig("Latchkey", version)
	// The documents are routes of our own; nothing is added to bodies.
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.Formats = formats()
	config.RejectUnknownQueryParameters = true
	// huma documents its own 422, which is 400 here.
	config.OnAddOperation = []huma.AddOpFunc{func(_ *huma.OpenAPI, op *huma.Operation) { delete(op.Responses, "422") }}
	config.Info.Description = "Activation and authentication: a subject is let in once, by an activation that works exactly once, " +
		"and buys short-lived tokens from then on."
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		bearer: {Type: "http", Scheme: "bearer", BearerFormat: "JWT",
			Description: "An access token of a trusted issuer. The scope is an app role of Entra, or comes with the identity."},
	}
	return config
}

// bearer is the name of the security scheme.
const bearer = "bearer"

// escapes are those that the Functions host re-encodes differently in each of its modes (host-contract.md 3.2): nothing that
// means anything here needs one.
var escapes = regexp.MustCompile(`(?i)%(2f|3f|23|25|5c|00)|\\`)

// plainPath refuses what could be read as two paths, before any routing. A trailing slash means nothing, as on the host.
func plainPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := eventOf(r.Context())
		if escapes.MatchString(r.URL.EscapedPath()) {
			invalid("path", "has an escape that no id or code needs").stamp(e).write(w)
			return
		}
		p := r.URL.Path
		if len(p) > 1 {
			p = strings.TrimSuffix(p, "/")
		}
		if p != path.Clean(p) || !strings.HasPrefix(p, "/") {
			noRoute().stamp(e).write(w)
			return
		}
		if p != r.URL.Path {
			url := *r.URL
			url.Path, url.RawPath = p, ""
			r.URL = &url
		}
		next.ServeHTTP(w, r)
	})
}

func noRoute() *Problem { return problem(http.StatusNotFound, ReasonNoRoute, "There is nothing here.") }

// unmatched answers what no route matches: 405 with Allow if the path has others, else 404.
func (s *Server) unmatched(mux *http.ServeMux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, m := range []string{
			http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPost, http.MethodPut,
		} {
			probe := &http.Request{Method: m, Host: r.Host, URL: r.URL}
			if _, pattern := mux.Handler(probe); pattern != "/" {
				allowed = append(allowed, m)
			}
		}
		e := eventOf(r.Context())
		if len(allowed) == 0 {
			noRoute().stamp(e).write(w)
			return
		}
		problem(http.StatusMethodNotAllowed, ReasonMethod, "This path does not take this method.").
			with("Allow", strings.Join(allowed, ", ")).stamp(e).write(w)
	}
}
