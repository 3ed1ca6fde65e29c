package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"latchkey/infra/local/stack"
)

// recovery is how long an instance may take to notice that what it waits for is back.
const recovery = 40 * time.Second

// mend brings back what a test took away, whatever came of the test.
func (w *world) mend(t *testing.T) {
	t.Cleanup(func() {
		for _, part := range []*stack.Part{w.stack.Storage, w.stack.Identity, w.stack.Vault} {
			if part.PID() == 0 {
				w.start(t, part)
			}
		}
		for _, h := range w.hosts {
			if err := h.awaitReady(contextOf(t)); err != nil {
				t.Error(err)
			}
		}
	})
}

func (w *world) start(t *testing.T, part *stack.Part) {
	t.Helper()
	// The test's own context has ended by the time of its clean-up.
	if err := part.Start(contextOf(t)); err != nil {
		t.Fatal(err)
	}
}

func stop(t *testing.T, part *stack.Part) {
	t.Helper()
	if err := part.Stop(); err != nil {
		t.Fatal(err)
	}
}

// lives wants the process that was there from the start, answering all that needs nothing.
func (h *host) lives(t *testing.T, pid int) {
	t.Helper()
	if got := h.proc.PID(); got != pid {
		t.Errorf("process %d, was %d", got, pid)
	}
	select {
	case <-h.proc.Done():
		t.Fatalf("the process has ended:\n%s", h.out)
	default:
	}
	for _, path := range []string{"/running", "/version", "/health/live", "/openapi.json"} {
		if got := h.get(t, path); got.status != http.StatusOK {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}

// lacks wants /health/ready to say soon that this check alone is not well, in words that name the rest; a vital one makes it 503.
func (h *host) lacks(t *testing.T, vital bool, name string, says ...string) {
	t.Helper()
	wantStatus, want := http.StatusOK, "degraded"
	if vital {
		wantStatus, want = http.StatusServiceUnavailable, "unavailable"
	}
	eventually(t, 15*time.Second, func() error {
		status, r, err := h.ready(t.Context())
		if err != nil {
			return err
		}
		if status != wantStatus || r.Status != want || len(r.Degraded) != 1 || r.Degraded[0] != name {
			return fmt.Errorf("/health/ready: %d %+v, want %s for %s", status, r, want, name)
		}
		for _, check := range r.Checks {
			if check.OK == (check.Name == name) {
				return fmt.Errorf("/health/ready: check %+v", check)
			}
			if check.OK {
				continue
			}
			for _, text := range append(says, "") {
				if check.Detail == "" || !strings.Contains(check.Detail, text) {
					return fmt.Errorf("/health/ready says %q of %s, want %q in it", check.Detail, name, text)
				}
			}
		}
		return nil
	})
}

// unserved wants a 503 that says when to come again.
func (h *host) unserved(t *testing.T, r request, reason string) {
	t.Helper()
	got := h.send(t, r)
	got.problem(t, http.StatusServiceUnavailable, reason)
	if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 60 {
		t.Errorf("%s %s: Retry-After %q", r.method, r.path, got.header.Get("Retry-After"))
	}
}

// told are the lines about a check, oldest first: each line is a change, so that no two neighbours say the same.
func (h *host) told(check string) (lines []string) {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	for _, line := range h.out.lines {
		switch e, ok := parse(line); {
		case !ok:
		case check == "settings" && strings.HasPrefix(e.Msg, "the settings are "):
			lines = append(lines, strings.TrimSpace(e.Msg+" "+e.Cause))
		case e.Check == check && (e.Msg == "not well" || e.Msg == "well again"):
			lines = append(lines, e.Msg)
		}
	}
	return lines
}

func (h *host) wantTold(t *testing.T, check string, want ...string) {
	t.Helper()
	eventually(t, 2*time.Second, func() error {
		if got := h.told(check); strings.Join(got, "; ") != strings.Join(want, "; ") {
			return fmt.Errorf("lines about %s: %q, want %q", check, got, want)
		}
		return nil
	})
}

func TestOPS1_EverythingMayBeDownAtStart(t *testing.T) {
	w := owned(t)
	w.mend(t)
	token, patient := w.clinic(t), w.patient()
	c := w.any().create(t, token, patient)
	stop(t, w.stack.Vault)
	stop(t, w.stack.Identity)
	stop(t, w.stack.Storage)
	began := time.Now()

	h := w.extra(t, "early", stack.HostOptions{Direct: true})
	pid := h.proc.PID()
	vaultIsDown := func() {
		t.Helper()
		h.lives(t, pid)
		h.lacks(t, true, "settings", "Key Vault", "Tokens:SigningKey", "Codes:Pepper")
		h.unserved(t, creating(token, patient), "starting")
		h.unserved(t, redeeming(c.parts()), "starting")
		h.unserved(t, buying(patient, strings.Repeat("C", 32)), "starting")
		h.unserved(t, request{method: http.MethodGet, path: "/.well-known/jwks.json"}, "starting")
	}
	vaultIsDown()
	w.start(t, w.stack.Identity)
	vaultIsDown()

	w.start(t, w.stack.Vault)
	eventually(t, recovery, func() error {
		if got := h.get(t, "/.well-known/jwks.json"); got.status != http.StatusOK {
			return fmt.Errorf("the keys document answers %d", got.status)
		}
		return nil
	})
	h.lives(t, pid)
	h.lacks(t, true, "storage")
	h.unserved(t, creating(token, patient), "unavailable")
	h.unserved(t, redeeming(c.parts()), "unavailable")

	w.start(t, w.stack.Storage)
	eventually(t, recovery, func() error { return h.isReady(t.Context()) })
	t.Logf("all is well %v after the start with nothing", time.Since(began).Round(100*time.Millisecond))
	h.lives(t, pid)
	h.mainJob(t)
	h.buy(t, patient, h.redeem(t, c.parts()).AuthorisationCode)

	h.wantTold(t, "storage", "not well", "well again")
	lines := h.told("settings")
	if len(lines) < 2 || len(lines) > 3 || lines[len(lines)-1] != "the settings are complete" {
		t.Errorf("lines about the settings: %q, want one for each cause and one in the end", lines)
	}
	for i, line := range lines[1:] {
		if line == lines[i] {
			t.Errorf("one line was written twice: %q", line)
		}
	}
}

func TestAUT4_TheIssuersKeysMayComeLate(t *testing.T) {
	w := owned(t)
	w.mend(t)
	token, patient := w.clinic(t), w.patient()
	c := w.any().create(t, token, patient)
	if err := w.issuer.FaultKeys(t.Context(), "503"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.issuer.FaultKeys(contextOf(t), ""); err != nil {
			t.Error(err)
		}
	})
	h := w.extra(t, "without keys", stack.HostOptions{Direct: true})
	pid := h.proc.PID()
	eventually(t, recovery, func() error {
		if got := h.get(t, "/.well-known/jwks.json"); got.status != http.StatusOK {
			return fmt.Errorf("the keys document answers %d", got.status)
		}
		return nil
	})
	h.lacks(t, false, "issuer-keys") // a phone needs no token of the issuer's
	h.unserved(t, creating(token, patient), "unavailable")
	h.buy(t, patient, h.redeem(t, c.parts()).AuthorisationCode)
	h.lives(t, pid)

	if err := w.issuer.FaultKeys(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, recovery, func() error { return h.isReady(t.Context()) })
	h.lives(t, pid)
	h.mainJob(t)
	for _, once := range []string{"the issuer's keys cannot be fetched", "the issuer's keys can be fetched again"} {
		if n := strings.Count(h.out.String(), once); n != 1 {
			t.Errorf("%q is said %d times, want once", once, n)
		}
	}
}

func TestOPS1_EverythingMayGoDownLater(t *testing.T) {
	w := owned(t)
	w.mend(t)
	h := w.host(t, direct)
	pid := h.proc.PID()
	token, patient := w.clinic(t), w.patient()
	code := h.redeem(t, h.create(t, token, patient).parts()).AuthorisationCode
	phone := h.buy(t, patient, code).JWT
	c := h.create(t, token, patient)
	before := h.told("storage")

	// CFG-3, AUT-4: neither the vault nor the issuer is missed once its values are known.
	stop(t, w.stack.Vault)
	stop(t, w.stack.Identity)
	for _, h := range w.hosts {
		h.create(t, token, w.patient())
		h.buy(t, patient, code)
		if err := h.isReady(t.Context()); err != nil {
			t.Error(err)
		}
	}

	stop(t, w.stack.Storage)
	t.Run("without storage", func(t *testing.T) {
		for _, h := range w.hosts {
			for name, r := range map[string]request{
				"create": creating(token, patient),
				"list":   {method: http.MethodGet, path: activationPath(patient), token: token},
				"redeem": redeeming(c.parts()),
				"buy":    buying(patient, code),
				"call":   creating(phone, patient), // whether its session lives cannot be told
			} {
				t.Run(h.name+", "+name, func(t *testing.T) {
					t.Parallel()
					h.unserved(t, r, "unavailable")
				})
			}
			t.Run(h.name+", ready", func(t *testing.T) {
				t.Parallel()
				h.lacks(t, true, "storage")
			})
		}
	})
	h.lives(t, pid)
	h.wantTold(t, "storage", append(before, "not well")...)

	w.start(t, w.stack.Storage)
	eventually(t, recovery, func() error {
		if got := h.send(t, creating(token, w.patient())); got.status != http.StatusOK {
			return fmt.Errorf("create answers %d %s", got.status, got.body)
		}
		return nil
	})
	for _, h := range w.hosts {
		eventually(t, recovery, func() error { return h.isReady(t.Context()) })
		h.buy(t, patient, code)
	}
	h.redeem(t, c.parts()) // nothing was counted against it, and nothing was lost
	h.lives(t, pid)
	h.wantTold(t, "storage", append(before, "not well", "well again")...)
}

func TestCFG4_BadSettingsEndTheProcessWithOneMessageThatNamesAll(t *testing.T) {
	owned(t)
	binary, err := filepath.Abs(filepath.Join(root, "dist", "latchkey"))
	if err != nil {
		t.Fatal(err)
	}
	const pepper = "c2hvcnQgcGVwcGVy"
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = []string{
		"LISTEN_ADDR=127.0.0.1:0", "Entra__TenantId=contoso", "Entra__Audiences=a,,b", "Storage__TablesEndpoint=http://tables.invalid", "OTP_LENGTH=3",
		"AUTHORISATION_CODE_LENGTH=23", "TIME_ZONE=Europe/Oxford", "Codes__Pepper=" + pepper, "Identity__Administrators=somebody@example.org",
	}
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 1 {
		t.Fatalf("%v, want exit code 1: %s", err, out)
	}
	var messages []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "wrong settings:") {
			messages = append(messages, line)
		}
	}
	if len(messages) != 1 && len(messages) != 2 { // the log has it too
		t.Fatalf("%d messages: %s", len(messages), out)
	}
	for _, message := range messages {
		for _, key := range []string{
			"Site:Code", "Entra:TenantId", "Entra:Audiences", "Storage:TablesEndpoint", "OTP_LENGTH", "AUTHORISATION_CODE_LENGTH", "TIME_ZONE",
			"Codes:Pepper", "Identity:Administrators", "Tokens:Issuer", "Tokens:SigningKey",
		} {
			if !strings.Contains(message, key) {
				t.Errorf("the message does not name %s: %s", key, message)
			}
		}
	}
	if strings.Contains(string(out), pepper) || regexp.MustCompile(`somebody@`).Match(out) {
		t.Errorf("the message quotes what may be secret: %s", out)
	}

	// What must be known before the vault can be read is told before anything listens.
	cmd = exec.CommandContext(t.Context(), binary)
	cmd.Env = []string{"KeyVault__Endpoint=http://vault.invalid", "LOG_LEVEL=loud", "Network__CABundle=" + os.DevNull}
	out, err = cmd.CombinedOutput()
	if !errors.As(err, &ended) || ended.ExitCode() != 1 || strings.Count(string(out), "\n") != 1 {
		t.Fatalf("%v, want exit code 1 and one line: %s", err, out)
	}
	for _, key := range []string{"KeyVault:Endpoint", "LOG_LEVEL", "Network:CABundle", "HTTP:ListenAddr"} {
		if !strings.Contains(string(out), key) {
			t.Errorf("the message does not name %s: %s", key, out)
		}
	}
}
