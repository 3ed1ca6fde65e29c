package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/memstore"
)

// OPS-4, AUD-1: one line a request, with who, what, on whom, with what outcome and why; and nothing in it that opens a door.
func TestOPS4_OneEventARequest(t *testing.T) {
	const writer, reader = "Authorization: Bearer writer", "Authorization: Bearer reader"
	b := newBench(t)
	b.ClientAddress = func(*http.Request) string { return "203.0.113.9" }
	b.Count = func(ctx context.Context) (context.Context, func() (int, int)) {
		return ctx, func() (int, int) { return 2, 5 }
	}
	b.handler = b.Handler()
	always := []string{"duration_ms", "instance", "level", "method", "msg", "operation", "source", "status", "time", "trace_id"}
	secrets := []string{"canary", "Bearer", "writer"}
	var activationID string
	want := func(name string, w *httptest.ResponseRecorder, level string, fields map[string]any) {
		t.Helper()
		text := b.log.String()
		event := b.event(t)
		for _, key := range always {
			if _, ok := event[key]; !ok {
				t.Errorf("%s: no %s", name, key)
			}
			if _, ok := fields[key]; !ok {
				delete(event, key)
			}
		}
		if event["level"] = level; fields["level"] == nil {
			delete(event, "level")
		}
		for key := range fields {
			if fields[key] != "?" { // whatever it is, or nothing
				continue
			}
			if fields[key] = event[key]; event[key] == nil {
				delete(fields, key)
			}
		}
		fields["storage_trips"], fields["storage_calls"] = 2.0, 5.0
		if !reflect.DeepEqual(event, fields) {
			t.Errorf("%s:\n got %v\nwant %v", name, event, fields)
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the log has %s: %s", name, secret, text)
			}
		}
	}
	actor, ref := tenant+"/"+object, b.ring.Reference(patientID())

	w := b.ask(t, "POST "+patientPath+"/activation", "", writer)
	made := read[created](t, w, http.StatusOK)
	activationID = made.UUID
	secrets = append(secrets, made.Code, made.ActivationCode, made.OTP)
	want("create", w, "INFO", map[string]any{"operation": "create-patient-activation", "method": "POST", "status": 200.0, "source": "203.0.113.9",
		"action": "activation.create", "outcome": "allowed", "actor": actor, "subject": ref, "activation": activationID})

	w = b.ask(t, "GET "+patientPath+"/activation?status=pending", "", reader)
	want("list", w, "INFO", map[string]any{"status": 200.0, "action": "activation.list", "outcome": "allowed", "actor": actor, "subject": ref})

	w = b.ask(t, redeemLine, fmt.Sprintf(`{"activation_code":%q,"otp":%q}`, made.ActivationCode, wrongOTP(made.OTP)))
	want("wrong OTP", w, "INFO", map[string]any{"status": 404.0, "action": "activation.redeem", "outcome": "denied", "why": "wrong_otp",
		"actor": "anonymous", "reason": "activation_refused", "subject": ref, "activation": activationID})

	w = b.ask(t, redeemLine, fmt.Sprintf(`{"code":%q}`, made.Code))
	let := read[struct {
		AuthorisationCode string `json:"authorisation_code"`
		PatientID         string `json:"patient_id"`
	}](t, w, http.StatusOK)
	secrets = append(secrets, let.AuthorisationCode)
	want("redeem", w, "INFO", map[string]any{"status": 200.0, "action": "activation.redeem", "outcome": "allowed", "actor": "anonymous",
		"subject": ref, "activation": activationID})

	w = b.ask(t, "POST /dhos/v1/activation/"+made.ActivationCode, fmt.Sprintf(`{"otp":%q}`, made.OTP))
	want("used", w, "INFO", map[string]any{"status": 404.0, "action": "activation.redeem", "outcome": "denied", "why": "used",
		"actor": "anonymous", "reason": "activation_refused", "subject": ref, "activation": activationID})

	w = b.ask(t, "DELETE "+patientPath+"/activation/"+activationID, "", writer)
	want("revoke", w, "INFO", map[string]any{"status": 409.0, "action": "activation.revoke", "outcome": "denied", "why": "not_pending",
		"actor": actor, "reason": "activation_not_pending", "subject": ref, "activation": activationID})

	w = b.ask(t, "GET "+patientPath+"/jwt", "", "x-authorisation-code: "+let.AuthorisationCode)
	token := read[tokenBody](t, w, http.StatusOK)
	secrets = append(secrets, token.JWT)
	want("token", w, "INFO", map[string]any{"operation": "get-patient-jwt", "status": 200.0, "action": "token.issue", "outcome": "allowed",
		"actor": "anonymous", "subject": ref})

	w = b.ask(t, "POST "+patientPath+"/jwt", "", "x-authorisation-code: canary-of-a-code")
	want("no token", w, "INFO", map[string]any{"status": 404.0, "action": "token.issue", "outcome": "denied", "why": "no_credential",
		"actor": "anonymous", "subject": ref, "reason": "authorisation_refused"})

	w = b.ask(t, "POST "+patientPath+"/activation", "", "Authorization: Bearer canary-of-a-token")
	want("refused token", w, "INFO", map[string]any{"operation": "create-patient-activation", "status": 401.0, "reason": "invalid_token",
		"actor": "anonymous", "action": "activation.create", "outcome": "denied", "why": "signature_wrong", "subject": ref,
		"cause": "token refused: signature_wrong"})
	w = b.ask(t, "POST "+patientPath+"/activation", "", "Authorization: Bearer down")
	want("no keys", w, "ERROR", map[string]any{"level": "ERROR", "status": 503.0, "actor": "anonymous", "action": "activation.create",
		"outcome": "failed", "why": "unavailable", "subject": ref, "reason": "unavailable", "cause": "?"})

	w = b.ask(t, "POST "+patientPath+"/activation", "", reader)
	want("no scope", w, "INFO", map[string]any{"status": 403.0, "reason": "insufficient_scope", "actor": actor,
		"action": "activation.create", "outcome": "denied", "why": "no_app_role", "subject": ref,
		"cause": "the scope write:gdm_activation is refused: no_app_role (expected write:gdm_activation in roles, got read:gdm_activation)"})

	w = b.ask(t, redeemLine, `{"canary-of-a-code":1,"canary-of-a-code":2}`)
	want("twice in the body", w, "INFO", map[string]any{"status": 400.0, "reason": "invalid_request"})
	w = b.ask(t, redeemLine+"?canary=1&canary=2", `{}`)
	want("twice in the query", w, "INFO", map[string]any{"status": 400.0, "reason": "invalid_request"})
	w = b.ask(t, redeemLine+"?canary=canary", `{"canary":1}`)
	want("unknown", w, "INFO", map[string]any{"status": 400.0, "reason": "invalid_request"})

	b.store.Fault = func(memstore.Op, memstore.When) error { return errors.New("the network is down") }
	w = b.ask(t, "POST "+patientPath+"/jwt", "", "x-authorisation-code: "+let.AuthorisationCode)
	want("no storage", w, "ERROR", map[string]any{"level": "ERROR", "status": 503.0, "action": "token.issue", "outcome": "failed", "why": "unavailable",
		"actor": "anonymous", "subject": ref, "reason": "unavailable", "cause": "?"})
	if got := w.Body.String(); strings.Contains(got, "network") {
		t.Errorf("the reply says why: %s", got)
	}
}

// A path that no route has may hold anything: it is in no log.
func TestOPS4_UnknownPathsAreNotLogged(t *testing.T) {
	b := newBench(t)
	b.ask(t, "GET /dhos/v2/patient/canary?code=canary", "", "x-functions-key: canary", "User-Agent: canary", "Cookie: canary")
	if log := b.log.String(); strings.Contains(log, "canary") {
		t.Error(log)
	}
}

func TestOPS4_TraceContext(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for value, want := range map[string]string{
		"00-" + trace + "-00f067aa0ba902b7-01":                    trace,
		"00-" + trace + "-00f067aa0ba902b7-01-more":               "",
		"00-" + trace + "-00f067aa0ba902b7-01 ":                   trace, // the space is not part of a header's value
		"cc-" + trace + "-00f067aa0ba902b7-01":                    trace,
		"cc-" + trace + "-00f067aa0ba902b7-01-more":               trace,
		"cc-" + trace + "-00f067aa0ba902b7-01x":                   "",
		"ff-" + trace + "-00f067aa0ba902b7-01":                    "",
		"00-" + trace + "-0000000000000000-01":                    "",
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01":  "",
		"00-" + strings.ToUpper(trace) + "-00f067aa0ba902b7-01":   "",
		"00-" + trace + "-00f067aa0ba902b7":                       "",
		"00-" + trace + "-00f067aa0ba902b7-01, 00-" + trace + "x": "",
		"": "",
	} {
		b := newBench(t)
		b.ask(t, "GET /running", "", "traceparent: "+value)
		got, _ := b.event(t)["trace_id"].(string)
		if want != "" && got != want || want == "" && (got == trace || len(got) != 32 || strings.Trim(got, "0123456789abcdef") != "") {
			t.Errorf("%q gives %q", value, got)
		}
	}
	b := newBench(t)
	one := "traceparent: 00-" + trace + "-00f067aa0ba902b7-01"
	b.ask(t, "GET /running", "", one, one)
	if b.event(t)["trace_id"] == trace {
		t.Error("a header that stands twice is taken")
	}
}

// host-contract.md 3.3: the host's own id is behind the last comma, and there is none without a host.
func TestInvocation(t *testing.T) {
	const name, id, spoof = "X-Azure-Functions-InvocationId: ", "0b4f5d2e-1111-4222-8333-444444444444", "99999999-1111-4222-8333-444444444444"
	for _, c := range []struct {
		host    bool
		headers []string
		want    any
	}{
		{true, []string{name + id}, id},
		{true, []string{name + spoof + ", " + id}, id},
		{true, []string{name + spoof, name + id}, id},
		{true, []string{name + id + ","}, nil},
		{true, []string{name + strings.ToUpper(id)}, nil},
		{true, []string{name + "x" + id}, nil},
		{true, nil, nil},
		{false, []string{name + id}, nil},
	} {
		b := newBench(t)
		b.UnderHost = c.host
		b.ask(t, "GET /running", "", c.headers...)
		if got := b.event(t)["invocation_id"]; got != c.want {
			t.Errorf("host %t, %q: %v, want %v", c.host, c.headers, got, c.want)
		}
	}
}

// ACT-6: what the host runs again is one creation; a client cannot choose the id for it.
func TestACT6_TheHostsRepeatIsOneCreation(t *testing.T) {
	const name, id = "X-Azure-Functions-InvocationId: ", "0b4f5d2e-1111-4222-8333-444444444444"
	ask := func(b *bench, header string) created {
		w := b.ask(t, "POST "+patientPath+"/activation", "", "Authorization: Bearer writer", header)
		return read[created](t, w, http.StatusOK)
	}
	b := newBench(t)
	b.UnderHost = true
	if first, again := ask(b, name+id), ask(b, name+"spoof, "+id); first != again {
		t.Errorf("%v, then %v", first, again)
	}
	b = newBench(t)
	if first, again := ask(b, name+id), ask(b, name+id); first == again {
		t.Error("a client's header counts without a host")
	}
}

// threats.md H-21, H-22: every panic is answered, and logged once with its cause; the next request is served.
func TestPanicsAreAnswered(t *testing.T) {
	for name, what := range map[string]any{
		"a text": "canary", "an error": errors.New("canary"), "nil": nil, "http.ErrAbortHandler": http.ErrAbortHandler,
		"a problem": invalid("x", "canary"),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			h := b.observe(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(what) }))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request(t, "GET /x", ""))
			log := b.log.String()
			b.wantProblem(t, w, http.StatusInternalServerError, ReasonInternal)
			if !strings.Contains(log, "event_test.go") || strings.Contains(w.Body.String(), "canary") {
				t.Errorf("log %s, reply %s", log, w.Body)
			}
		})
	}
	t.Run("in an operation", func(t *testing.T) {
		b := newBench(t)
		b.wantProblem(t, b.ask(t, "GET "+patientPath+"/activation", "", "Authorization: Bearer panic"), 500, ReasonInternal)
		if w := b.ask(t, "GET "+patientPath+"/activation", "", "Authorization: Bearer reader"); w.Code != http.StatusOK {
			t.Errorf("then %d", w.Code)
		}
	})
	t.Run("unknown error", func(t *testing.T) {
		b := newBench(t)
		w := b.ask(t, "GET "+patientPath+"/activation", "", "Authorization: Bearer broken")
		log := b.log.String()
		b.wantProblem(t, w, 500, ReasonInternal)
		if !strings.Contains(log, "10.1.2.3") || strings.Contains(w.Body.String(), "10.1.2.3") {
			t.Errorf("log %s, reply %s", log, w.Body)
		}
	})
}

// Over a connection: a panic before the reply is a whole 500, one within it is a reply that is seen to be cut, and never is there
// no byte at all, for then the host runs the request again.
func TestPanicsOverAConnection(t *testing.T) {
	b := newBench(t)
	b.handler = b.observe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/within" {
			_, _ = io.WriteString(w, `{"half":`)
		}
		panic("broken")
	}))
	server := httptest.NewServer(b.handler)
	defer server.Close()
	ask := func(path string) (status int, body string, err error) {
		response, err := http.Get(server.URL + path)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		return response.StatusCode, string(text), err
	}
	if status, body, err := ask("/before"); status != 500 || err != nil || !strings.Contains(body, "internal_error") {
		t.Errorf("%d %q %v", status, body, err)
	}
	if status, body, err := ask("/within"); status != 200 || body != `{"half":` || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d %q %v", status, body, err)
	}
	if n := strings.Count(b.log.String(), "\n"); n != 3 { // two events, and the panic that came after one
		t.Errorf("%d lines: %s", n, b.log)
	}
}

// The line is written before the first byte of the reply (AUD-1).
func TestAUD1_TheEventIsWrittenFirst(t *testing.T) {
	b := newBench(t)
	w := &watching{ResponseRecorder: httptest.NewRecorder(), log: b.log}
	b.handler.ServeHTTP(w, request(t, "GET /running", ""))
	if w.before == "" || !strings.Contains(w.before, `"operation":"running"`) {
		t.Errorf("the log was %q when the reply began", w.before)
	}
}

type watching struct {
	*httptest.ResponseRecorder
	log    *lines
	before string
}

func (w *watching) WriteHeader(status int) {
	w.before = w.log.String()
	w.ResponseRecorder.WriteHeader(status)
}

// What a client sends cannot begin a line of its own (threats.md H-12).
func TestOPS4_OneLineIsOneLine(t *testing.T) {
	b := newBench(t)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /x%0a%7B%7D HTTP/1.1\r\nHost: x\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	b.send(r)
	b.event(t)
}

// The words of decisions are those of package audit.
func TestDecidedNamesTheTrueReason(t *testing.T) {
	b := newBench(t)
	b.create(t)
	b.log.take(t)
	w := b.ask(t, "DELETE "+patientPath+"/activation/"+uuid7, "", "Authorization: Bearer writer")
	if e := b.event(t); w.Code != 404 || e["why"] != string(audit.ReasonNotFound) {
		t.Errorf("%d %v", w.Code, e)
	}
}
