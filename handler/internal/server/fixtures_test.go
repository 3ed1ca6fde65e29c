package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/budget"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/denial"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/site"
	"latchkey/handler/internal/subject"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// bench is a server on a store in memory. Its clock stands, and nobody really waits.
type bench struct {
	*Server
	handler http.Handler
	store   *memstore.Store
	log     *lines
	ring    *keyed.Ring
	waited  *[]time.Duration
	// gated is what the gate says to whom their roles admit, once it is asked; nil admits.
	gated func() error

	limits  budget.Limits
	mu      sync.Mutex
	reports []budget.Report
}

func (b *bench) report(r budget.Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reports = append(b.reports, r)
}

// lines keeps what was logged, a line of JSON each.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// take returns the lines since the last call.
func (l *lines) take(t testing.TB) (all []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("not a line of JSON: %q", line)
		}
		all = append(all, m)
	}
	l.text.Reset()
	return all
}

// tablet is the device that clinicians log in through.
var tablet = subject.ID{Kind: subject.Device, Name: "tablet-1"}

const (
	tenant = "11111111-2222-4333-8444-555555555555"
	object = "aaaaaaaa-0000-4000-8000-000000000001"
	// provider is an issuer that is trusted beside the tenant.
	provider = "https://id.example/realms/ward"
)

// verify takes these tokens: "writer" and "reader" hold one scope each, "nobody" none; "down" cannot be checked, "panic" breaks.
func verify(_ context.Context, authorization string) (caller.Caller, error) {
	c := caller.Caller{Kind: caller.App, Actor: audit.Actor{Issuer: tenant, ID: object}}
	switch authorization {
	case "":
		return caller.Caller{}, &caller.Rejected{Cause: caller.NoHeader}
	case "Bearer writer":
		c.Scopes = []string{scopeWriteActivation}
	case "Bearer reader":
		c.Scopes = []string{scopeReadActivation}
	case "Bearer ward":
		c.Scopes = []string{scopeReadDevice, scopeWriteDevice}
	case "Bearer staff":
		c.Scopes = []string{scopeWriteClinician}
	case "Bearer tablet", "Bearer tablet without scope":
		c = caller.Caller{Kind: caller.Subject, Subject: tablet, Holder: tablet, Session: "sid-of-the-tablet", Token: "jti-of-the-tablet",
			Actor: audit.Actor{Issuer: "https://latchkey.example/", ID: "device/" + tablet.Name}}
		if authorization == "Bearer tablet" {
			c.Scopes = []string{scopeReadIdentifier}
		}
	case "Bearer phone":
		c = caller.Caller{Kind: caller.Subject, Subject: patientID(), Holder: patientID(), Session: "sid", Token: "jti", Scopes: []string{scopeReadIdentifier, scopeWriteClinician},
			Actor: audit.Actor{Issuer: "https://latchkey.example/", ID: "patient/" + patientID().Name}}
	case "Bearer impostor":
		c.Scopes = []string{scopeReadIdentifier}
	case "Bearer registrar":
		c.Scopes = []string{scopeReadIdentity, scopeWriteIdentity}
	case "Bearer revoker":
		c.Scopes = []string{scopeRevokeToken}
	case "Bearer introspector":
		c.Scopes = []string{scopeIntrospectToken}
	case "Bearer auditor":
		c.Scopes = []string{scopeReadAudit}
	case "Bearer nobody":
	case "Bearer patient":
		c = caller.Caller{
			Kind: caller.Subject, Actor: audit.Actor{Issuer: "https://latchkey.example/", ID: "patient/" + patientID().Name}, Subject: patientID(),
			Scopes: []string{scopeWriteActivation},
		}
	case "Bearer down":
		return caller.Caller{}, fmt.Errorf("%w: no keys", caller.ErrUnavailable)
	case "Bearer broken":
		return caller.Caller{}, errors.New("dial tcp 10.1.2.3: out of order")
	case "Bearer panic":
		panic("the verifier broke")
	default:
		return caller.Caller{}, &caller.Rejected{Cause: caller.SignatureWrong}
	}
	return c, nil
}

func newBench(t testing.TB) *bench {
	t.Helper()
	var mu sync.Mutex
	waited := []time.Duration{}
	b := newBenchWith(t, Clock{
		Now: func() time.Time { return noon },
		Wait: func(ctx context.Context, d time.Duration) error {
			mu.Lock()
			defer mu.Unlock()
			waited = append(waited, d)
			return ctx.Err()
		},
	})
	b.waited = &waited
	return b
}

// usual are the budgets of the defaults.
func usual() budget.Limits {
	return budget.Limits{Unknown: budget.PerYear(5e9, 5e9), Source: budget.PerWindow(60, 10*time.Minute), Login: budget.PerWindow(60, 10*time.Minute)}
}

var benchPepper = secret.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))

func newBenchWith(t testing.TB, clock Clock) *bench {
	t.Helper()
	ring, err := keyed.NewRing(benchPepper)
	if err != nil {
		t.Fatal(err)
	}
	return newBenchOn(t, clock, ring, usual())
}

func newBenchOn(t testing.TB, clock Clock, ring *keyed.Ring, limits budget.Limits) *bench {
	t.Helper()
	b := &bench{store: memstore.New(), log: &lines{}, ring: ring, limits: limits}
	b.store.Now = clock.Now
	guard := budget.NewGuard(func() budget.Limits { return b.limits }, budget.Environment{
		Store: b.store, Now: clock.Now, Later: func(do func(context.Context)) { do(context.Background()) }, Report: b.report,
	})
	guard.Warm(t.Context())
	parts := &Parts{
		Activations: activation.New(b.store, func() activation.Policy {
			return activation.Policy{
				Keys: ring, Site: "OXF", OTPLength: 6, DeviceCodeLength: 14, CodeLength: 32, SaltLength: 32, MaxAttempts: 10, ExpiryDays: 5,
				Zone: time.UTC, MaxPerPatient: 1,
			}
		}, clock, rand.Reader, func(do func(context.Context)) { do(context.Background()) }, guard.Guess),
		Refused:    guard.Refused,
		Verify:     verify,
		Recognise:  verify,
		Clinicians: clinician.New(b.store.Clinicians(), func() *time.Location { return time.UTC }, clinician.Clock(clock), rand.Reader, guard.Login),
		MintClinician: func(g clinician.Grant) (string, time.Duration, error) {
			return fmt.Sprintf("jwt-of-%s-through-%s-%s", g.Subject().Name, g.Device().Name, g.Session()), 15 * time.Minute, nil
		},
		Admit:      b.admit,
		Identities: identity.New(b.store.Identities(), identity.Clock(clock), rand.Reader),
		Registers:  []string{tenant, provider},
		Seal:       func(d denial.Denial) (string, error) { return denial.Seal(ring, rand.Reader, d) },
		Unseal:     func(ticket string) (denial.Denial, error) { return denial.Open(ring, ticket, clock.Now()) },
		Mint: func(g activation.Grant) (string, time.Duration, error) {
			return "jwt-of-" + g.Session(), time.Hour, nil
		},
		Reference: ring.Reference,
		Keys:      []byte(`{"keys":[]}`), Algorithm: "ES256",
		Issuer: "https://latchkey.example/", Audience: "https://latchkey.example/", Issuers: []string{"https://latchkey.example/"},
		Imported: func() bool { return false },
		Zone:     func() *time.Location { return time.UTC },
		Site:     "OXF", Browse: true,
		Sites: func() site.Directory {
			return site.Directory{{Code: "CAM", BaseURL: "https://cam.example"}, {Code: "OXF", Name: "Oxford & <Sons>", BaseURL: "https://latchkey.example"}}
		},
		AppLink: func() string { return "https://app.example/activate" },
	}
	b.Server = &Server{
		Build: Build{Version: "1.2.3", Number: "45", Commit: "abcdef"},
		Parts: func() *Parts { return parts },
		Ready: func(context.Context) []Check { return []Check{{Name: "storage", OK: true, Vital: true}} },
		Count: func(ctx context.Context) (context.Context, func() (int, int)) {
			return ctx, func() (int, int) { return 0, 0 }
		},
		Log: slog.New(slog.NewJSONHandler(b.log, nil)), Clock: clock, Random: rand.Reader,
		ClientAddress: func(*http.Request) string { return "" },
	}
	b.handler = b.Handler()
	return b
}

// admit takes roles at their word, as long as nothing else is said at the gate.
func (b *bench) admit(_ context.Context, _ audit.Origin, c caller.Caller, need caller.Need) (commit.Gate, error) {
	err := caller.Policy{}.Authorise(c, need, &identity.Identity{State: identity.Approved})
	if err != nil || b.gated == nil {
		return nil, err
	}
	return func(context.Context) error { return b.gated() }, nil
}

// starting is the same before the settings are known.
func (b *bench) starting() *bench {
	b.Server.Parts = func() *Parts { return nil }
	return b
}

// ask is one request: "METHOD target", headers as "Name: value", and a body, which is JSON unless they say otherwise.
func (b *bench) ask(t testing.TB, line, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return b.send(request(t, line, body, headers...))
}

func (b *bench) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w
}

// request reads a request as net/http's server does.
func request(t testing.TB, line, body string, headers ...string) *http.Request {
	t.Helper()
	var raw strings.Builder
	fmt.Fprintf(&raw, "%s HTTP/1.1\r\nHost: latchkey.example\r\n", line)
	if body != "" {
		fmt.Fprintf(&raw, "Content-Length: %d\r\n", len(body))
		if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Content-Type:") }) {
			raw.WriteString("Content-Type: application/json\r\n")
		}
	}
	for _, h := range headers {
		raw.WriteString(h + "\r\n")
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw.String() + "\r\n" + body)))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return r
}

var instance = regexp.MustCompile(`^urn:latchkey:[0-9a-f]{32}$`)

// wantProblem checks a whole problem document, its headers and its event, and returns it.
func (b *bench) wantProblem(t testing.TB, w *httptest.ResponseRecorder, status int, reason Reason) Problem {
	t.Helper()
	var p Problem
	d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("%d, and no problem document: %v: %q", w.Code, err, w.Body)
	}
	if w.Code != status || p.Reason != reason {
		t.Fatalf("%d %s, want %d %s: %s", w.Code, p.Reason, status, reason, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q", got)
	}
	wantHeaders(t, w.Header())
	if p.Status != status || p.Code != status || p.Title != http.StatusText(status) || p.Type != "urn:latchkey:problem:"+string(reason) ||
		p.Detail == "" || p.Message != p.Detail || !instance.MatchString(p.Instance) {
		t.Errorf("the document is not whole: %s", w.Body)
	}
	event := b.event(t)
	if event["instance"] != strings.TrimPrefix(p.Instance, "urn:latchkey:") || event["status"] != float64(status) || event["reason"] != string(reason) {
		t.Errorf("the event is of something else: %v", event)
	}
	return p
}

// wantHeaders are on every reply (threats.md H-20).
func wantHeaders(t testing.TB, h http.Header) {
	t.Helper()
	if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") == "" {
		t.Errorf("headers are missing: %v", h)
	}
}

// event returns the one line of the one request since the last call.
func (b *bench) event(t testing.TB) map[string]any {
	t.Helper()
	all := b.log.take(t)
	if len(all) != 1 || all[0]["msg"] != "request" {
		t.Fatalf("%d lines, want one event: %v", len(all), all)
	}
	return all[0]
}

const (
	patientPath = "/dhos/v1/patient/patient-canary-7"
	uuid7       = "01936b5c-0000-7000-8000-000000000000"
)

type created struct {
	ActivationCode string `json:"activation_code"`
	OTP            string `json:"otp"`
	Code           string `json:"code"`
	UUID           string `json:"uuid"`
}

// create makes an activation of the patient.
func (b *bench) create(t testing.TB) created {
	t.Helper()
	w := b.ask(t, "POST "+patientPath+"/activation", "", "Authorization: Bearer writer")
	return read[created](t, w, http.StatusOK)
}

func read[T any](t testing.TB, w *httptest.ResponseRecorder, status int) (out T) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return out
}

// wrongOTP is an OTP of the right form that is not this one.
func wrongOTP(otp string) string {
	if otp[0] == '2' {
		return "3" + otp[1:]
	}
	return "2" + otp[1:]
}

// patientID is the subject of patientPath.
func patientID() subject.ID { return subject.ID{Kind: subject.Patient, Name: "patient-canary-7"} }

// endless gives n bytes without holding them.
func endless(n int64) io.Reader { return io.LimitReader(zeros{}, n) }

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// deviceID is a device.
func deviceID(name string) subject.ID { return subject.ID{Kind: subject.Device, Name: name} }
