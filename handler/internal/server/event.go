package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/budget"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/denial"
	"latchkey/handler/internal/subject"
)

// Event is what is known of one request. Everybody on its way adds to it, and it is written once, as one line, before the
// first byte of the reply (AUD-1, OPS-4). It holds no secret, code, token or patient id.
type Event struct {
	id      string // quoted in problems
	arrived time.Time
	trace   string
	origin  audit.Origin
	// actor is how the log names who calls, "" for the anonymous caller.
	actor string
	// invocation is the host's id of the request, "" without a host.
	invocation string
	// seal makes the ticket of a refusal; nil until the settings are known.
	seal func(denial.Denial) (string, error)

	// Operation is the operation's id, "" if none matched.
	Operation string
	Reason    Reason
	// Action, Outcome and Detail are the decision; Detail has the true reason.
	Action  audit.Action
	Outcome audit.Outcome
	Detail  audit.Reason
	// Subject is a keyed reference, never the id.
	Subject    string
	Activation string
	// Identity is the ID of an identity of the registry.
	Identity string
	// about is what a record of the decision has beside, for the predecessor's events (AUD-2); patients stand under their alias.
	about audit.Record
	// alias stands for what was typed to log in, which is as good as a secret.
	alias string
	Trips func() (sequence, calls int)
	cause error
}

type eventKey struct{}

// eventOf finds the request's event. Every request has one.
func eventOf(ctx context.Context) *Event { return ctx.Value(eventKey{}).(*Event) }

// called notes who calls. In the log a subject stands under its reference, never under its id (OPS-4).
func (e *Event) called(by caller.Caller, p *Parts) {
	e.origin.Actor, e.actor = by.Actor, by.Actor.String()
	e.about.Origin.Actor = by.Actor
	if by.Kind == caller.Subject {
		alias := audit.Actor{Issuer: by.Actor.Issuer, ID: string(by.Subject.Kind) + "/" + p.Reference(by.Subject)}
		e.actor = alias.String()
		if by.Subject.Kind == subject.Patient {
			e.about.Origin.Actor = alias
		}
	}
}

// login notes who is to log in, "" if nobody is known by the identifier. It stands before decided.
func (e *Event) login(clinician, identifier string, p *Parts) {
	e.about.Clinician, e.about.Identifier = clinician, identifier
	e.alias = p.Reference(subject.ID{Kind: "send_entry_identifier", Name: identifier})
}

// changed notes which fields of a device are to change. It stands before decided.
func (e *Event) changed(fields *audit.DeviceFields) { e.about.Changed = fields }

// sendEntry is the decision as one of the predecessor's events. In a line the identifier has an alias, the record has it as it is:
// whoever holds it can log in at any active device, and what nobody is known by may be a password in the wrong field (OPS-4).
func (e *Event) sendEntry() (audit.SendEntryEvent, bool) {
	said := e.about
	said.Action, said.Outcome, said.Reason = e.Action, e.Outcome, e.Detail
	event, is := said.SendEntry()
	if event.Data.Identifier != "" {
		event.Data.Identifier = e.alias
	}
	return event, is
}

// decided notes a decision and its outcome.
func (e *Event) decided(what audit.Action, on subject.ID, p *Parts, activationID string, err error) {
	e.Action, e.Outcome, e.Activation, e.about.Subject = what, audit.Allowed, activationID, on
	if on != (subject.ID{}) {
		e.Subject = p.Reference(on)
	}
	if err == nil {
		return
	}
	e.Outcome = audit.Denied
	var refusal *activation.Refusal
	var rejected *caller.Rejected
	var forbidden *caller.Forbidden
	var empty *budget.Empty
	switch {
	case errors.As(err, &refusal):
		e.Detail = refusal.Reason
	case errors.As(err, &rejected):
		e.Detail = audit.Reason(rejected.Cause)
	case errors.As(err, &forbidden):
		e.Detail = audit.Reason(forbidden.Cause)
	case errors.Is(err, activation.ErrNotFound), errors.Is(err, activation.ErrNoCredential):
		e.Detail = audit.ReasonNotFound
	case errors.Is(err, activation.ErrNotPending):
		e.Detail = audit.ReasonNotPending
	case errors.Is(err, activation.ErrSuperseded):
		e.Detail = audit.ReasonSuperseded
	case errors.Is(err, commit.ErrBusy):
		e.Outcome, e.Detail = audit.Failed, audit.ReasonBusy
	case errors.As(err, &empty):
		e.Outcome, e.Detail = audit.Failed, audit.ReasonNoBudget
	case errors.Is(err, commit.ErrUnavailable), errors.Is(err, caller.ErrUnavailable), errors.Is(err, budget.ErrUnknown):
		e.Outcome, e.Detail = audit.Failed, audit.ReasonUnavailable
	default:
		if p := directoryProblem(err); p != nil {
			e.Detail = audit.Reason(p.Reason)
			return
		}
		e.Outcome = audit.Failed // the line has the cause
	}
}

var traceparent = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$`)

// traceOf is the trace id of a traceparent header (W3C Trace Context section 3.2), or "": an invalid header is as none.
func traceOf(h http.Header) string {
	values := h.Values("traceparent")
	if len(values) != 1 {
		return ""
	}
	m := traceparent.FindStringSubmatch(values[0])
	switch {
	case m == nil, m[1] == "ff", m[1] == "00" && m[4] != "", // later versions may say more, none is ff
		strings.Trim(m[2], "0") == "", strings.Trim(m[3], "0") == "":
		return ""
	}
	return m[2]
}

// draw gives a fresh id of fixed length: 32 hexadecimal digits.
func (s *Server) draw() string {
	var b [16]byte
	if _, err := io.ReadFull(s.Random, b[:]); err != nil {
		panic(err) // crypto/rand never fails
	}
	return hex.EncodeToString(b[:])
}

// begin starts the event of a request.
func (s *Server) begin(r *http.Request) *Event {
	e := &Event{id: s.draw(), arrived: s.Clock.Now(), origin: audit.Origin{Source: s.ClientAddress(r)}, invocation: s.invocation(r)}
	if e.trace = traceOf(r.Header); e.trace == "" {
		e.trace = s.draw()
	}
	e.origin.Trace = e.trace
	return e
}

// observed writes the event just before the reply begins.
type observed struct {
	http.ResponseWriter
	event   *Event
	request *http.Request
	server  *Server
	begun   bool
}

// Unwrap serves http.ResponseController.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

func (o *observed) WriteHeader(status int) {
	if !o.begun {
		o.begun = true
		o.server.log(o.event, o.request, status)
		o.drain()
	}
	o.ResponseWriter.WriteHeader(status)
}

// drain reads what is left of a body whose request was refused before its end: the host takes an earlier reply for a failure
// (host-contract.md section 2).
func (o *observed) drain() {
	most := int64(drainedWithout)
	if o.server.UnderHost {
		most = drainedUnderHost
	}
	if _, err := io.CopyN(io.Discard, o.request.Body, most); err != io.EOF {
		o.Header().Set("Connection", "close") // there is more, or the rest does not come
	}
}

func (o *observed) Write(b []byte) (int, error) {
	if !o.begun {
		o.WriteHeader(http.StatusOK)
	}
	return o.ResponseWriter.Write(b)
}

// log writes the one line of a request.
func (s *Server) log(e *Event, r *http.Request, status int) {
	level := slog.LevelInfo
	if status >= 500 {
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("operation", e.Operation),
		slog.String("method", method(r)),
		slog.Int("status", status),
		slog.Float64("duration_ms", float64(s.Clock.Now().Sub(e.arrived).Microseconds())/1000),
		slog.String("instance", e.id),
		slog.String("trace_id", e.trace),
	}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("invocation_id", e.invocation)
	add("reason", string(e.Reason))
	add("source", e.origin.Source)
	if e.Action != "" {
		add("action", string(e.Action))
		add("outcome", string(e.Outcome))
		add("why", string(e.Detail))
		add("subject", e.Subject)
		add("activation", e.Activation)
		add("identity", e.Identity)
	}
	if event, is := e.sendEntry(); is {
		attrs = append(attrs, slog.String("event_type", string(event.Type)), slog.Any("event_data", event.Data))
	}
	switch {
	case e.actor != "":
		add("actor", e.actor)
	case e.Action != "":
		add("actor", audit.Anonymous.String())
	}
	if e.Trips != nil {
		sequence, calls := e.Trips()
		attrs = append(attrs, slog.Int("storage_trips", sequence), slog.Int("storage_calls", calls))
	}
	if e.cause != nil {
		add("cause", e.cause.Error())
	}
	s.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// method keeps a made-up method of a client from being logged at length.
func method(r *http.Request) string {
	if len(r.Method) > 16 {
		return "other"
	}
	return r.Method
}

// invocation is the host's id of this request. A client can put one before it, so that only the last element counts
// (host-contract.md 3.3), and none where there is no host.
func (s *Server) invocation(r *http.Request) string {
	if !s.UnderHost {
		return ""
	}
	all := strings.Split(strings.Join(r.Header.Values("X-Azure-Functions-InvocationId"), ","), ",")
	last := strings.TrimSpace(all[len(all)-1])
	if !guid.MatchString(last) {
		return ""
	}
	return last
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// observe is the outermost layer: it begins and ends events, and answers every panic. Under the host an unanswered request
// is run again up to 40 times (host-contract.md section 2).
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/" {
			// The host asks this every 25 ms until something answers: no event, no work.
			w.WriteHeader(http.StatusNoContent)
			return
		}
		e := s.begin(r)
		r = r.WithContext(context.WithValue(r.Context(), eventKey{}, e))
		o := &observed{ResponseWriter: w, event: e, request: r, server: s}
		h := o.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store") // what may be kept says so itself
		defer func() {
			failed := recover()
			if failed == nil {
				return
			}
			if o.begun {
				s.Log.Error("a panic after the reply began", "instance", e.id, "cause", fmt.Sprint(failed), "stack", string(debug.Stack()))
				// Half a reply must not look whole: what there is goes out, so that the host does not run the request again,
				// and then the connection is cut.
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			problemOf(fmt.Errorf("panic: %v\n%s", failed, debug.Stack())).stamp(e).write(o)
		}()
		next.ServeHTTP(o, r)
	})
}
