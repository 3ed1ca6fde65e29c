package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/budget"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/denial"
	"latchkey/handler/internal/strictjson"
	"latchkey/handler/internal/subject"
)

// Reason is the stable word by which a program knows a problem (OPS-3). The values are public: never rename one.
type Reason string

// The reasons.
const (
	ReasonInvalid            Reason = "invalid_request"
	ReasonMistyped           Reason = "mistyped"
	ReasonTooLarge           Reason = "body_too_large"
	ReasonMediaType          Reason = "unsupported_media_type"
	ReasonNotAcceptable      Reason = "not_acceptable"
	ReasonNoRoute            Reason = "no_such_route"
	ReasonMethod             Reason = "method_not_allowed"
	ReasonInvalidToken       Reason = "invalid_token"
	ReasonInsufficientScope  Reason = "insufficient_scope"
	ReasonIdentityPending    Reason = "identity_pending"
	ReasonIdentityDisabled   Reason = "identity_disabled"
	ReasonIdentityNotFound   Reason = "identity_not_found"
	ReasonIdentityExists     Reason = "identity_exists"
	ReasonIdentityState      Reason = "identity_state"
	ReasonIdentityRetired    Reason = "identity_retired"
	ReasonIdentitySelf       Reason = "identity_self"
	ReasonPrecondition       Reason = "precondition_failed"
	ReasonDeviceNotFound     Reason = "device_not_found"
	ReasonDeviceExists       Reason = "device_exists"
	ReasonClinicianNotFound  Reason = "clinician_not_found"
	ReasonClinicianExists    Reason = "clinician_exists"
	ReasonIdentifierTaken    Reason = "identifier_taken"
	ReasonLoginRefused       Reason = "login_refused"
	ReasonTooManyLogins      Reason = "too_many_logins"
	ReasonActivationRefused  Reason = "activation_refused"
	ReasonCredentialRefused  Reason = "authorisation_refused"
	ReasonActivationNotFound Reason = "activation_not_found"
	ReasonSiteNotFound       Reason = "site_not_found"
	ReasonNotPending         Reason = "activation_not_pending"
	ReasonNoAuthorisation    Reason = "authorisation_not_found"
	ReasonSuperseded         Reason = "superseded"
	ReasonStarting           Reason = "starting"
	ReasonUnavailable        Reason = "unavailable"
	ReasonBusy               Reason = "busy"
	ReasonTooManyRefusals    Reason = "too_many_refusals"
	ReasonTooManyGuesses     Reason = "too_many_guesses"
	ReasonInternal           Reason = "internal_error"
)

// FieldError names one thing that is wrong with a request. It quotes no value that was sent; a name that nobody knows is quoted.
type FieldError struct {
	Field  string `json:"field" doc:"Where: body, path, query or header, and the name." example:"body.otp"`
	Detail string `json:"detail" doc:"What is wrong with it."`
}

// Problem is an RFC 9457 problem document, with the predecessor's code and message beside it (OPS-3).
type Problem struct {
	Type     string       `json:"type" doc:"urn:latchkey:problem: and the reason."`
	Title    string       `json:"title" doc:"The status in words."`
	Status   int          `json:"status" doc:"The HTTP status."`
	Detail   string       `json:"detail" doc:"What a person should know."`
	Instance string       `json:"instance" doc:"An id to quote: it stands in the log too."`
	Reason   Reason       `json:"reason" doc:"The stable word for a program."`
	Code     int          `json:"code" doc:"The HTTP status, as in the predecessor."`
	Message  string       `json:"message" doc:"The detail, as in the predecessor."`
	Scope    string       `json:"scope,omitempty" doc:"The scope that is needed, if one is missing."`
	Ticket   string       `json:"ticket,omitempty" doc:"Why, sealed: an administrator opens it within seven days with POST /dhos/v1/denial."`
	Errors   []FieldError `json:"errors,omitempty" doc:"What is wrong with the request."`

	header http.Header
	cause  error
	denied *denial.Denial // what goes into the ticket
}

// Error implements error.
func (p *Problem) Error() string { return string(p.Reason) + ": " + p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func problem(status int, reason Reason, detail string) *Problem {
	return &Problem{
		Type: "urn:latchkey:problem:" + string(reason), Title: http.StatusText(status), Status: status, Detail: detail,
		Reason: reason, Code: status, Message: detail, header: http.Header{},
	}
}

// with adds a response header.
func (p *Problem) with(name, value string) *Problem {
	p.header.Set(name, value)
	return p
}

// invalid names one field of a request.
func invalid(field, detail string) *Problem {
	p := problem(http.StatusBadRequest, ReasonInvalid, "The request is not valid: "+field+": "+detail)
	p.Errors = []FieldError{{field, detail}}
	return p
}

// retryAfter is what callers are told to wait when nobody knows better.
const retryAfter = 2 * time.Second

func tryAgain(reason Reason, detail string) *Problem {
	return problem(http.StatusServiceUnavailable, reason, detail).with("Retry-After", fmt.Sprint(int(retryAfter.Seconds())))
}

// problemOf is the one table from errors to problem documents. What it does not know is opaque to the caller; the log has
// the cause, as it has the rule by which a token was refused. Other refusals say all there is to say, and in words of ours:
// their errors may hold what the client sent.
func problemOf(err error) *Problem {
	p := known(err)
	if p == nil {
		p = problem(http.StatusInternalServerError, ReasonInternal, "Something went wrong here. Quote the instance when you report it.")
	}
	if _, stated := err.(*Problem); !stated && (p.Status >= 500 || p.denied != nil) {
		p.cause = err
	}
	return p
}

func known(err error) *Problem {
	var (
		stated    *Problem
		refusal   *activation.Refusal
		strict    *strictjson.Error
		rejected  *caller.Rejected
		forbidden *caller.Forbidden
		empty     *budget.Empty
	)
	switch {
	case errors.As(err, &stated):
		return stated
	case errors.Is(err, caller.ErrUnavailable): // whatever it holds: what an issuer sent is no part of the request
		return tryAgain(ReasonUnavailable, "The caller's token cannot be checked at the moment. Try again.")
	case errors.As(err, &empty): // before the refusal that it stands around
		return exhausted(empty)
	case errors.Is(err, budget.ErrUnknown):
		return tryAgain(ReasonUnavailable, "Storage does not answer. Try again.")
	case errors.As(err, &strict):
		return invalid(strict.Path, strict.Problem)
	case errors.Is(err, codes.ErrMistyped):
		return problem(http.StatusBadRequest, ReasonMistyped, "The code is mistyped. Nothing was counted: check it and try again.")
	case errors.Is(err, subject.ErrName):
		return invalid("path.patient_id", subject.ErrName.Error())
	case errors.As(err, &rejected):
		return unauthorised(rejected)
	case errors.As(err, &forbidden):
		return denied(forbidden)
	case errors.As(err, &refusal) && refusal.Action == audit.RedeemActivation:
		// One text for wrong, unknown, used, expired, revoked and locked (ACT-8).
		return problem(http.StatusNotFound, ReasonActivationRefused,
			"This activation does not work. Check code and OTP; if they are right, ask for a new activation.")
	case errors.As(err, &refusal) && refusal.Action == audit.IssueToken:
		return problem(http.StatusNotFound, ReasonCredentialRefused,
			"This authorisation code does not work for this subject. Ask for a new activation.")
	case errors.Is(err, activation.ErrNotFound):
		return problem(http.StatusNotFound, ReasonActivationNotFound, "There is no such activation of this subject.")
	case errors.Is(err, activation.ErrNoCredential):
		return problem(http.StatusNotFound, ReasonNoAuthorisation, "There is no such authorisation of this subject, or it has ended.")
	case errors.Is(err, activation.ErrNotPending):
		return problem(http.StatusConflict, ReasonNotPending,
			"The activation was completed. What it let in is ended by ending the authorisation.")
	case errors.Is(err, activation.ErrSuperseded):
		return problem(http.StatusConflict, ReasonSuperseded,
			"The activation that was made under this Idempotency-Key has ended or was replaced. Ask for a new one under a new key.")
	case errors.Is(err, commit.ErrBusy):
		return tryAgain(ReasonBusy, "There is too much to do at once. Try again.")
	case errors.Is(err, commit.ErrUnavailable):
		return tryAgain(ReasonUnavailable, "Storage does not answer. Try again.")
	}
	return directoryProblem(err)
}

// unauthorised is the 401 of RFC 6750 section 3, one body for every cause: no error code when no token was sent (section 3.1).
func unauthorised(r *caller.Rejected) *Problem {
	p := problem(http.StatusUnauthorized, ReasonInvalidToken, "A valid access token is needed.")
	p.denied = &denial.Denial{Cause: string(r.Cause), Expected: r.Expected, Got: r.Got}
	if r.Cause == caller.NoHeader || r.Cause == caller.OtherScheme {
		return p.with("WWW-Authenticate", `Bearer realm="latchkey"`)
	}
	return p.with("WWW-Authenticate", `Bearer realm="latchkey", error="invalid_token"`)
}

// denied is the 403 of RFC 6750 section 3.1.
func denied(f *caller.Forbidden) *Problem {
	why, _ := caller.Explain(f.Cause)
	detail := "The caller does not hold the scope " + f.Scope + "."
	switch why.Class {
	case caller.ClassIdentityPending:
		detail = "This identity waits for an administrator's approval. Quote the instance."
	case caller.ClassIdentityDisabled:
		detail = "This identity was turned off. Quote the instance to an administrator."
	}
	p := problem(http.StatusForbidden, Reason(why.Class), detail)
	p.Scope = f.Scope
	p.denied = &denial.Denial{Cause: string(f.Cause), Expected: f.Expected, Got: f.Got}
	return p.with("WWW-Authenticate", fmt.Sprintf(`Bearer realm="latchkey", error="insufficient_scope", scope=%q`, f.Scope))
}

// stamp gives a problem its instance, which the event carries too, and a refusal its ticket.
func (p *Problem) stamp(e *Event) *Problem {
	p.Instance = "urn:latchkey:" + e.id
	if p.denied != nil && e.seal != nil {
		d := *p.denied
		d.ID, d.Operation, d.At = e.id, e.Operation, e.arrived
		p.Ticket, _ = e.seal(d) // crypto/rand never fails, and a refusal without its ticket is one all the same
	}
	e.Reason = p.Reason
	e.cause = p.cause
	return p
}

// write sends a problem from outside huma.
func (p *Problem) write(w http.ResponseWriter) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the status is out: a failure here is the client's hanging up
}

// useProblems makes huma speak in Problems. Its hooks are variables of its package; they are set once, to the same
// functions for every server.
var useProblems = sync.OnceFunc(func() {
	// Members are known by their exact names: encoding/json would take any case of them.
	huma.ValidateStrictCasing = true
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
		p := fromHuma(status, message, errs)
		if ctx == nil {
			return p
		}
		if c, admitted := ctx.Context().Value(callKey{}).(call); admitted {
			p = problemOf(c.refused(ctx.Context(), p))
			for name, values := range p.header { // which huma leaves out here
				ctx.SetHeader(name, values[0])
			}
		}
		return p.stamp(eventOf(ctx.Context()))
	}
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return fromHuma(status, message, errs)
	}
})

// mostErrors is how many wrong fields one problem names.
const mostErrors = 20

// fromHuma translates what huma says of a request. Its 422 is 400 here, and the values it quotes are left out: they may be
// secrets.
func fromHuma(status int, message string, errs []error) *Problem {
	var p *Problem
	switch {
	case status == http.StatusUnsupportedMediaType:
		p = problem(status, ReasonMediaType, "The body must be application/json.")
	case status >= 400 && status < 500:
		p = problem(http.StatusBadRequest, ReasonInvalid, "The request is not valid: "+message)
	default:
		return problemOf(fmt.Errorf("%s: %w", message, errors.Join(errs...)))
	}
	for _, err := range errs[:min(len(errs), mostErrors)] {
		var detailer huma.ErrorDetailer
		if errors.As(err, &detailer) {
			d := detailer.ErrorDetail()
			p.Errors = append(p.Errors, FieldError{d.Location, d.Message})
		}
	}
	if len(p.Errors) > 0 {
		p.Detail = "The request is not valid: " + p.Errors[0].Field + ": " + p.Errors[0].Detail
		p.Message = p.Detail
	}
	return p
}
