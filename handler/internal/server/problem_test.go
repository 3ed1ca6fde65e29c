package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/budget"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/strictjson"
	"latchkey/handler/internal/subject"
)

// OPS-3: every error that the routes can meet, and what is said of it.
func TestOPS3_EveryErrorHasItsProblem(t *testing.T) {
	const secret = "canary-0a1b2c"
	storage := errors.New("storage: " + secret)
	cases := map[string]struct {
		err     error
		status  int
		reason  Reason
		headers http.Header
		logged  bool // the cause is in the log
	}{
		"strict JSON":     {&strictjson.Error{Path: "body." + secret, Problem: "stands there twice"}, 400, ReasonInvalid, nil, false},
		"mistyped":        {fmt.Errorf("%s: %w", secret, codes.ErrMistyped), 400, ReasonMistyped, nil, false},
		"subject's name":  {subject.ErrName, 400, ReasonInvalid, nil, false},
		"invalid":         {invalid("query.x", secret), 400, ReasonInvalid, nil, false},
		"invalid, within": {fmt.Errorf("x: %w", invalid("query.x", secret)), 400, ReasonInvalid, nil, false},
		"no such scope": {&caller.Forbidden{Cause: caller.NoAppRole, Scope: "read:x"}, 403, ReasonInsufficientScope, http.Header{
			"Www-Authenticate": {`Bearer realm="latchkey", error="insufficient_scope", scope="read:x"`}}, false},
		"activation unknown":   {activation.ErrNotFound, 404, ReasonActivationNotFound, nil, false},
		"not pending":          {fmt.Errorf("%w: %w", activation.ErrNotPending, storage), 409, ReasonNotPending, nil, false},
		"identity unknown":     {fmt.Errorf("%s: %w", secret, identity.ErrNotFound), 404, ReasonIdentityNotFound, nil, false},
		"identity exists":      {identity.ErrExists, 409, ReasonIdentityExists, nil, false},
		"identity approved":    {identity.ErrApproved, 409, ReasonIdentityState, nil, false},
		"identity disabled":    {identity.ErrDisabled, 409, ReasonIdentityState, nil, false},
		"identity's state":     {identity.ErrState, 409, ReasonIdentityState, nil, false},
		"identity retired":     {identity.ErrRetired, 409, ReasonIdentityRetired, nil, false},
		"identity replaced":    {identity.ErrReplaced, 409, ReasonIdentityRetired, nil, false},
		"identity itself":      {identity.ErrSelf, 409, ReasonIdentitySelf, nil, false},
		"identity moved":       {identity.ErrMoved, 412, ReasonPrecondition, nil, false},
		"identity without key": {identity.ErrKey, 400, ReasonInvalid, nil, false},
		"identity's label":     {&identity.Invalid{Field: "label", Problem: "is long"}, 400, ReasonInvalid, nil, false},
		"identity's precursor": {identity.ErrPredecessor, 400, ReasonInvalid, nil, false},
		"superseded":           {activation.ErrSuperseded, 409, ReasonSuperseded, nil, false},
		"busy":                 {commit.ErrBusy, 503, ReasonBusy, http.Header{"Retry-After": {"2"}}, true},
		"storage is down":      {fmt.Errorf("%w: %w", commit.ErrUnavailable, storage), 503, ReasonUnavailable, http.Header{"Retry-After": {"2"}}, true},
		"issuer is down":       {fmt.Errorf("%w: %w", caller.ErrUnavailable, storage), 503, ReasonUnavailable, http.Header{"Retry-After": {"2"}}, true},
		"issuer sends rubbish": {fmt.Errorf("%w: %w", caller.ErrUnavailable, &strictjson.Error{Path: "keys"}), 503, ReasonUnavailable,
			http.Header{"Retry-After": {"2"}}, true},
		"refused too often": {
			fmt.Errorf("%w: %w", &budget.Empty{Kind: budget.Sources, Limit: budget.PerWindow(60, 10*time.Minute), After: 1500 * time.Millisecond},
				&activation.Refusal{Action: audit.RedeemActivation, Reason: audit.ReasonWrongOTP}),
			429, ReasonTooManyRefusals,
			http.Header{"Retry-After": {"2"}, "Ratelimit-Policy": {`"source";q=60;w=600`}, "Ratelimit": {`"source";r=0;t=2`}}, false,
		},
		"guessed too often": {&budget.Empty{Kind: budget.Patients, After: 12 * time.Second}, 503, ReasonTooManyGuesses, http.Header{"Retry-After": {"12"}}, true},
		"an unknown budget": {fmt.Errorf("%w: %w", budget.ErrUnknown, storage), 503, ReasonUnavailable, http.Header{"Retry-After": {"2"}}, true},
		"anything else":     {storage, 500, ReasonInternal, nil, true},
		"wrapped":           {fmt.Errorf("minting a token: %w", storage), 500, ReasonInternal, nil, true},
	}
	for _, why := range caller.Explanations() {
		c := cases[""]
		c.err, c.status, c.reason, c.logged = &caller.Rejected{Cause: why.Cause, Got: secret}, 401, ReasonInvalidToken, true
		c.headers = http.Header{"Www-Authenticate": {`Bearer realm="latchkey", error="invalid_token"`}}
		if why.Cause == caller.NoHeader || why.Cause == caller.OtherScheme {
			c.headers = http.Header{"Www-Authenticate": {`Bearer realm="latchkey"`}} // RFC 6750 section 3.1: no error code
		}
		if why.Class == caller.ClassInvalidToken {
			cases["token: "+string(why.Cause)] = c
		}
	}
	for _, why := range []audit.Reason{
		audit.ReasonUnknownCode, audit.ReasonWrongOTP, audit.ReasonUsed, audit.ReasonExpired, audit.ReasonRevoked, audit.ReasonReplaced,
		audit.ReasonLocked, audit.ReasonInactive,
	} {
		c := cases[""]
		c.err, c.status, c.reason = &activation.Refusal{Action: audit.RedeemActivation, Reason: why}, 404, ReasonActivationRefused
		cases["redeem: "+string(why)] = c
		c.err, c.reason = &activation.Refusal{Action: audit.IssueToken, Reason: why}, ReasonCredentialRefused
		cases["token: "+string(why)] = c
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			h := b.observe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				problemOf(c.err).stamp(eventOf(r.Context())).write(w)
			}))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request(t, "GET /x", ""))
			log := b.log.String()
			b.wantProblem(t, w, c.status, c.reason)
			for _, header := range []string{"Www-Authenticate", "Retry-After", "Allow", "Connection"} {
				if got := w.Header().Get(header); got != c.headers.Get(header) {
					t.Errorf("%s is %q, want %q", header, got, c.headers.Get(header))
				}
			}
			stated := strings.HasPrefix(name, "invalid") || name == "strict JSON"
			if strings.Contains(w.Body.String(), secret) && !stated {
				t.Errorf("the reply says %s", w.Body)
			}
			if strings.Contains(log, secret) && !c.logged || c.logged && !strings.Contains(log, c.err.Error()) {
				t.Errorf("the log says %s", log)
			}
		})
	}
}

// ACT-8: all refusals of a redeem are the same bytes but for the instance.
func TestACT8_RefusalsLookTheSame(t *testing.T) {
	var first string
	for _, why := range []audit.Reason{audit.ReasonUnknownCode, audit.ReasonWrongOTP, audit.ReasonUsed, audit.ReasonExpired, audit.ReasonLocked} {
		w := httptest.NewRecorder()
		problemOf(&activation.Refusal{Action: audit.RedeemActivation, Reason: why}).stamp(&Event{id: "x"}).write(w)
		if got := fmt.Sprint(w.Code, w.Header(), w.Body); first == "" {
			first = got
		} else if got != first {
			t.Errorf("%s: %s, not %s", why, got, first)
		}
	}
}

// What huma says of itself is opaque as well, and its cause is kept for the log.
func TestOPS3_HumasOwnFailuresAreOpaque(t *testing.T) {
	p := fromHuma(http.StatusInternalServerError, "unexpected error occurred", []error{errors.New("canary")})
	if p.Status != 500 || p.Reason != ReasonInternal || strings.Contains(p.Detail, "canary") || p.cause == nil || !strings.Contains(p.cause.Error(), "canary") {
		t.Errorf("%+v, %v", p, p.cause)
	}
	p = fromHuma(http.StatusUnprocessableEntity, "validation failed", []error{&huma.ErrorDetail{Location: "body.otp", Message: "expected string", Value: "canary"}})
	if p.Status != 400 || p.Reason != ReasonInvalid || p.Errors[0] != (FieldError{"body.otp", "expected string"}) || strings.Contains(fmt.Sprintf("%+v", p), "canary") {
		t.Errorf("%+v", p)
	}
}
