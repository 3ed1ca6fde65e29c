package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/strictjson"
	"latchkey/handler/internal/subject"
)

// MaxBody is the largest body that is read as one, in bytes.
const MaxBody = 64 << 10

// How much of a larger body is read and thrown away before the refusal, in bytes. The host turns a reply before the end of a
// body into an empty 500 (host-contract.md section 2), and takes 100 MiB itself. Without a host the connection is closed
// instead: nobody pays for what a stranger sends (ABU-4).
const (
	drainedUnderHost = 100 << 20
	drainedWithout   = 256 << 10
)

// bodyLimits bound what one JSON body can cost. Nothing here asks a stranger for more than a few members; a list of scopes is longer.
var (
	bodyLimits  = strictjson.Limits{Depth: 8, Values: 64, Text: 4096}
	knownLimits = strictjson.Limits{Depth: 8, Values: 64 + identity.MaxScopes, Text: 4096}
)

// Route is one path with its operations. It is one function of the app.
type Route struct {
	// Path is the template, as OpenAPI and net/http write it.
	Path       string
	Operations []Operation
}

// Operation is one method of a route.
type Operation struct {
	ID, Method string
	Summary    string
	// Scope is what the caller must hold, "" where no token is asked for.
	Scope string

	body     bool
	register func(*Server, Route)
}

// call is what an operation gets beside its input.
type call struct {
	*Server
	*Parts
	event  *Event
	caller caller.Caller
	// action is what is asked for, whose the subject that the path names, or zero.
	action audit.Action
	whose  subject.ID
	// gate answers whether the caller is admitted, where that is looked up beside the operation's first reads. What changes
	// something waits for it before it commits; the adapter waits for it before it answers.
	gate commit.Gate
	// form is that of the answer.
	form form
}

// kind is what an operation needs before it can run.
type kind struct {
	scope string
	// delegated: a person's scp is enough (AUT-2).
	delegated bool
	// device: only a device with a token of ours may call, and the operation itself reads whether its session lives.
	device bool
	// action is what a caller without the scope is denied.
	action audit.Action
	starts bool // it works before the settings are known
	body   bool
	// optional: the body may be left out.
	optional bool
	// encoded: the body has the parameters of an OAuth request, and is no JSON.
	encoded bool
	status  int    // of success, 0 for 200 or, without a body, 204
	forms   []form // in which it can answer beside JSON
	errors  []int
	summary string
	// details is the longer description.
	details    string
	deprecated bool
}

// operation makes a table entry of a typed handler. The one adapter around it authenticates, authorises, refuses what is not
// strictly well-formed, counts, calls, maps errors and sets headers; the handler returns a response or an error.
func operation[I, O any](method, id string, k kind, handle func(context.Context, call, *I) (*O, error)) Operation {
	return Operation{
		ID: id, Method: method, Summary: k.summary, Scope: k.scope, body: k.body,
		register: func(s *Server, route Route) {
			op := huma.Operation{
				OperationID: id, Method: method, Path: route.Path, Summary: k.summary, Description: k.details,
				Errors: statuses(k), Responses: k.responses(), Deprecated: k.deprecated, DefaultStatus: k.status, Middlewares: huma.Middlewares{s.admit(k)},
				// The body was read when huma gets it. Its own time limit would stay on the connection, end the request's
				// context while the operation works, and let a refusal leave before its time.
				MaxBodyBytes: -1, BodyReadTimeout: -1,
			}
			if k.scope != "" {
				op.Security = []map[string][]string{{bearer: {k.scope}}}
			}
			huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
				c := callOf(ctx)
				out, err := handle(ctx, c, in)
				if err = c.refused(ctx, err); err != nil {
					return nil, problemOf(err).stamp(c.event)
				}
				return out, nil
			})
		},
	}
}

// statuses are the error statuses that an operation can answer with.
func statuses(k kind) []int {
	all := append([]int{http.StatusBadRequest, http.StatusInternalServerError}, k.errors...)
	if len(k.forms) > 0 {
		all = append(all, http.StatusNotAcceptable)
	}
	if k.scope != "" {
		all = append(all, http.StatusUnauthorized, http.StatusForbidden)
	}
	if k.body {
		all = append(all, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if !k.starts {
		all = append(all, http.StatusServiceUnavailable)
	}
	return all
}

type callKey struct{}

func callOf(ctx context.Context) call { return ctx.Value(callKey{}).(call) }

// admit is what stands before every operation, in this order: the settings are known, the caller may, the query is plain,
// the body is what it should be.
func (s *Server) admit(k kind) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(hc)
		// huma's reader of this header (v2.37.2) panics on some values, when the work is done: choose reads it, before.
		accept := r.Header.Values("Accept")
		r.Header.Del("Accept")
		c := call{Server: s, Parts: s.Parts(), event: eventOf(hc.Context()), action: k.action}
		c.event.Operation = hc.Operation().OperationID
		if c.Parts != nil {
			c.event.seal = c.Seal
		}
		ctx, trips := s.Count(hc.Context())
		c.event.Trips = trips
		if err := c.admit(ctx, k, r, accept); err != nil {
			problemOf(c.refused(ctx, err)).stamp(c.event).write(w)
			return
		}
		next(huma.WithContext(hc, context.WithValue(ctx, callKey{}, c)))
	}
}

func (c *call) admit(ctx context.Context, k kind, r *http.Request, accept []string) error {
	if c.Parts == nil && !k.starts {
		return tryAgain(ReasonStarting, "Latchkey is starting; /health/ready says what is missing.")
	}
	if k.scope != "" {
		c.whose = named(r)
		var err error
		if c.caller, err = c.authenticate(ctx, k, r.Header); err != nil {
			c.event.decided(k.action, c.whose, c.Parts, "", err)
			return err
		}
		c.event.called(c.caller, c.Parts)
		if k.device {
			err = caller.AuthoriseDevice(c.caller, k.scope)
		} else {
			c.gate, err = c.Admit(ctx, c.origin(), c.caller, caller.Need{Scope: k.scope, Delegated: k.delegated})
		}
		if err != nil {
			c.event.decided(k.action, c.whose, c.Parts, "", err)
			return err
		}
	}
	if err := plainQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := plainHeaders(r.Header); err != nil {
		return err
	}
	if len(k.forms) > 0 {
		var err error
		if c.form, err = choose(accept, k.forms); err != nil {
			return err
		}
	}
	if k.encoded {
		return plainEncoded(r)
	}
	if k.scope != "" {
		return plainBody(r, k, knownLimits)
	}
	return plainBody(r, k, bodyLimits)
}

// named is the subject that a path names. Of another form it is nobody.
func named(r *http.Request) subject.ID {
	for kind, value := range map[subject.Kind]string{
		subject.Patient: r.PathValue("patient_id"), subject.Device: r.PathValue("device_id"),
		subject.Clinician: r.PathValue("clinician_id"),
	} {
		if of, err := subject.New(kind, value); err == nil {
			return of
		}
	}
	return subject.ID{}
}

// authenticate finds out who calls. Whether a device's session lives is read with what its operation reads first.
func (c *call) authenticate(ctx context.Context, k kind, h http.Header) (caller.Caller, error) {
	if len(h.Values("Authorization")) > 1 {
		return caller.Caller{}, &caller.Rejected{Cause: caller.TwoHeaders}
	}
	if k.device {
		return c.Recognise(ctx, h.Get("Authorization"))
	}
	return c.Verify(ctx, h.Get("Authorization"))
}

// refused is what a request that came to err, or to nil, is answered: somebody who is not admitted learns that, and nothing else.
func (c *call) refused(ctx context.Context, err error) error {
	if c.gate == nil {
		return err
	}
	denied := c.gate(ctx)
	if denied == nil {
		return err
	}
	c.event.decided(c.action, c.whose, c.Parts, "", denied)
	return denied
}

// plainHeaders refuses what stands twice, of which a reader takes the first and the host makes one line (host-contract.md
// 3.3), and what is empty, which would count as not sent.
func plainHeaders(h http.Header) error {
	for _, name := range []string{"Content-Type", "Idempotency-Key", "If-Match", "X-Authorisation-Code"} {
		switch values := h.Values(name); {
		case len(values) > 1:
			return invalid("header."+strings.ToLower(name), "stands there more than once")
		case len(values) == 1 && values[0] == "" && name != "Content-Type":
			return invalid("header."+strings.ToLower(name), "is empty")
		}
	}
	return nil
}

// mostParameters is how many a query may have: what is unknown is refused one by one, and that costs.
const mostParameters = 64

// plainQuery refuses a query that forwarding would change (host-contract.md 3.2): it joins repeated keys with commas, and
// makes k= of k.
func plainQuery(raw string) error {
	if strings.Count(raw, "&") >= mostParameters {
		return invalid("query", fmt.Sprintf("has more than %d parameters", mostParameters))
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return invalid("query", "cannot be read")
	}
	for key, values := range query {
		switch {
		case len(values) > 1:
			return invalid("query."+key, "stands there more than once")
		case values[0] == "":
			return invalid("query."+key, "is empty")
		}
	}
	return nil
}

// plainBody reads the body whole and refuses one where none belongs, one that is too large, one of another type and one that
// is not strictly one JSON object.
func plainBody(r *http.Request, k kind, limits strictjson.Limits) error {
	body, err := readBody(r, k.body, k.optional)
	if err != nil || len(body) == 0 {
		return err
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return problem(http.StatusUnsupportedMediaType, ReasonMediaType, "The body must be application/json.")
	}
	r.Header.Set("Content-Type", "application/json") // huma knows this one spelling
	_, err = strictjson.Object(body, "body", limits)
	return err
}

// readBody reads the body whole, and leaves it to be read again.
func readBody(r *http.Request, wanted, optional bool) ([]byte, error) {
	limit, over := int64(0), invalid("body", "does not belong here")
	if wanted {
		limit, over = MaxBody, problem(http.StatusRequestEntityTooLarge, ReasonTooLarge, "A body has at most 64 KiB.")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil:
		return nil, invalid("body", "ended too early")
	case int64(len(body)) > limit:
		return nil, over
	case wanted && !optional && len(body) == 0:
		return nil, invalid("body", "is missing")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// isJSON takes application/json, with no charset or the only one that JSON has (RFC 8259 section 8.1).
func isJSON(contentType string) bool {
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/json" {
		return false
	}
	charset, given := parameters["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

// origin is whom the domain records.
func (c call) origin() audit.Origin { return c.event.origin }
