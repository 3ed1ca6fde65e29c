package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"latchkey/infra/local/stack"
)

const (
	readActivation  = "read:gdm_activation"
	writeActivation = "write:gdm_activation"
)

// client follows no redirects and keeps a connection for each of the racers of ACT-6.
var client = &http.Client{
	Timeout:       60 * time.Second,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 128},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

type request struct {
	method, path string
	token        string // of the Authorization header
	code         string // x-authorisation-code
	body         string // JSON, unless header says otherwise
	header       http.Header
	chunked      bool
}

type reply struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
	trace  string // the trace id that the request carried
}

// try sends a request under a trace of its own. What is secret in it and in the reply is noted for the canary.
func (h *host) try(ctx context.Context, r request) (reply, error) {
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
	}
	if r.chunked {
		body = io.MultiReader(body) // hides the length
	}
	req, err := http.NewRequestWithContext(ctx, r.method, h.url+r.path, body)
	if err != nil {
		return reply{}, err
	}
	trace := randomHex(16)
	req.Header.Set("traceparent", "00-"+trace+"-"+randomHex(8)+"-01")
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.code != "" {
		req.Header.Set("x-authorisation-code", r.code)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	h.world.seen.request(r)
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	took := time.Since(began)
	if err != nil {
		return reply{}, err
	}
	h.world.seen.reply(all)
	if resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified {
		// A forwarding host closes the connection after these without saying so (host-contract.md section 3): the next request
		// must not go out on it.
		client.CloseIdleConnections()
	}
	return reply{resp.StatusCode, resp.Header, all, took, trace}, nil
}

func (h *host) send(t *testing.T, r request) reply {
	t.Helper()
	got, err := h.try(t.Context(), r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return got
}

// into wants a status and reads the JSON body, without unknown members in it.
func (r reply) into(t *testing.T, status int, v any) {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	decoder := json.NewDecoder(bytes.NewReader(r.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
}

// problem is what OPS-3 promises of every error.
type problem struct {
	Type, Title, Detail, Instance, Reason, Message string
	Status, Code                                   int
	Scope, Ticket                                  string
	Errors                                         []struct{ Field, Detail string }
}

var instance = regexp.MustCompile(`^urn:latchkey:[0-9a-f]{32}$`)

// problem wants a whole problem document with this status and reason.
func (r reply) problem(t *testing.T, status int, reason string) problem {
	t.Helper()
	p, err := r.asProblem(status, reason)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (r reply) asProblem(status int, reason string) (problem, error) {
	var p problem
	if r.status != status {
		return p, fmt.Errorf("status %d, want %d (%s): %s", r.status, status, reason, r.body)
	}
	if media, _, _ := mime.ParseMediaType(r.header.Get("Content-Type")); media != "application/problem+json" {
		return p, fmt.Errorf("Content-Type %q of %s", r.header.Get("Content-Type"), r.body)
	}
	decoder := json.NewDecoder(bytes.NewReader(r.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return p, fmt.Errorf("%w: %s", err, r.body)
	}
	var wrong []string
	for what, holds := range map[string]bool{
		"reason":        p.Reason == reason,
		"type":          p.Type == "urn:latchkey:problem:"+reason,
		"title":         p.Title == http.StatusText(status),
		"status":        p.Status == status,
		"code":          p.Code == status,
		"detail":        p.Detail != "",
		"message":       p.Message == p.Detail,
		"instance":      instance.MatchString(p.Instance),
		"Cache-Control": r.header.Get("Cache-Control") == "no-store",
		"nosniff":       r.header.Get("X-Content-Type-Options") == "nosniff",
	} {
		if !holds {
			wrong = append(wrong, what)
		}
	}
	if len(wrong) > 0 {
		return p, fmt.Errorf("the problem's %v: %s (want %s)", wrong, r.body, reason)
	}
	return p, nil
}

// created is the reply of ACT-1.
type created struct {
	ActivationCode string `json:"activation_code"`
	OTP            string `json:"otp"`
	Code           string `json:"code"`
	ExpiresAt      string `json:"expires_at"`
	identifier
}

type identifier struct {
	UUID       string `json:"uuid"`
	Created    string `json:"created"`
	CreatedBy  string `json:"created_by"`
	Modified   string `json:"modified"`
	ModifiedBy string `json:"modified_by"`
}

// parts is the body that redeems with locator and OTP apart.
func (c created) parts() string {
	return fmt.Sprintf(`{"activation_code":%q,"otp":%q}`, c.ActivationCode, c.OTP)
}

// wrong is the same with another OTP.
func (c created) wrong() string {
	other := "C"
	if strings.HasSuffix(c.OTP, other) {
		other = "D"
	}
	c.OTP = c.OTP[:len(c.OTP)-1] + other
	return c.parts()
}

type redeemed struct {
	AuthorisationCode string `json:"authorisation_code"`
	PatientID         string `json:"patient_id"`
}

type bought struct {
	JWT       string `json:"jwt"`
	TokenType string `json:"token_type"`
	ExpiresIn int    `json:"expires_in"`
}

func activationPath(patient string) string { return "/dhos/v1/patient/" + patient + "/activation" }
func jwtPath(patient string) string        { return "/dhos/v1/patient/" + patient + "/jwt" }

func authorisationPath(patient string) string {
	return "/dhos/v1/patient/" + patient + "/authorisation"
}

const redeemPath = "/dhos/v1/activation"

func creating(token, patient string) request {
	return request{method: http.MethodPost, path: activationPath(patient), token: token}
}

func redeeming(body string) request {
	return request{method: http.MethodPost, path: redeemPath, body: body}
}

func buying(patient, code string) request {
	return request{method: http.MethodPost, path: jwtPath(patient), code: code}
}

func (h *host) create(t *testing.T, token, patient string) (c created) {
	t.Helper()
	h.send(t, creating(token, patient)).into(t, http.StatusOK, &c)
	return c
}

func (h *host) redeem(t *testing.T, body string) (r redeemed) {
	t.Helper()
	h.send(t, redeeming(body)).into(t, http.StatusOK, &r)
	return r
}

func (h *host) buy(t *testing.T, patient, code string) (b bought) {
	t.Helper()
	h.send(t, buying(patient, code)).into(t, http.StatusOK, &b)
	return b
}

// refused wants the one refusal of ACT-8.
func (h *host) refused(t *testing.T, body string) {
	t.Helper()
	h.send(t, redeeming(body)).problem(t, http.StatusNotFound, "activation_refused")
}

// mainJob is what all of it is for.
func (h *host) mainJob(t *testing.T) bought {
	t.Helper()
	patient := h.world.patient()
	c := h.create(t, h.world.clinic(t), patient)
	return h.buy(t, patient, h.redeem(t, c.parts()).AuthorisationCode)
}

// patient draws an id that nobody has.
func (w *world) patient() string {
	id := "patient-" + randomHex(8)
	w.seen.patient(id)
	return id
}

func (w *world) token(t *testing.T, r stack.TokenRequest) string {
	t.Helper()
	token, err := w.issuer.Token(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	w.seen.secret(token)
	return token
}

// clinic is the token of a clinic's system.
func (w *world) clinic(t *testing.T) string {
	t.Helper()
	return w.token(t, stack.TokenRequest{Roles: []string{readActivation, writeActivation}})
}

type readiness struct {
	Status   string   `json:"status"`
	Degraded []string `json:"degraded"`
	Checks   []struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
	} `json:"checks"`
}

func (h *host) ready(ctx context.Context) (status int, r readiness, err error) {
	got, err := h.try(ctx, request{method: http.MethodGet, path: "/health/ready"})
	if err != nil {
		return 0, r, err
	}
	return got.status, r, json.Unmarshal(got.body, &r)
}

// isReady is nil when requests can be served and nothing is missing.
func (h *host) isReady(ctx context.Context) error {
	status, r, err := h.ready(ctx)
	if err == nil && (status != http.StatusOK || r.Status != "ready") {
		err = fmt.Errorf("%s: /health/ready answers %d %+v", h.name, status, r)
	}
	return err
}

func (h *host) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	for {
		err := h.isReady(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}
