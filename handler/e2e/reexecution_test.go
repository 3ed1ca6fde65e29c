package e2e_test

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/handler/internal/faults"
	"latchkey/infra/local/stack"
)

// assassin kills the handler of a host just after storage has carried out the next transaction, and before the handler can know.
type assassin struct {
	next http.RoundTripper

	mu     sync.Mutex
	victim *host // nil = nobody
	err    error
	killed int // how often
	// commits are the transactions that storage carried out.
	commits int
}

func (a *assassin) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := a.next.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/$batch") {
		return resp, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.commits++
	if a.victim == nil {
		return resp, nil
	}
	var pid int
	if pid, a.err = handlerOf(a.victim); a.err == nil {
		a.err = syscall.Kill(pid, syscall.SIGKILL)
	}
	a.victim = nil
	a.killed++
	resp.Body.Close()
	return nil, faults.ErrCut
}

// aim lets the handler of h die of its next commit.
func (a *assassin) aim(h *host) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.victim, a.commits, a.killed = h, 0, 0
}

// struck wants one kill since aim, and says how many transactions there were.
func (a *assassin) struck(t *testing.T) (commits int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || a.killed != 1 {
		t.Fatalf("%d kills, %v", a.killed, a.err)
	}
	return a.commits
}

// killable is a host of either mode whose handler can be killed between a commit and its reply.
func killable(t *testing.T, test func(t *testing.T, h *host, a *assassin)) {
	owned(t)
	w := ownWorld(t)
	for _, o := range []struct {
		name    string
		options stack.HostOptions
	}{{proxying, stack.HostOptions{}}, {forwarding, stack.HostOptions{Forwarding: true}}} {
		t.Run(o.name, func(t *testing.T) {
			a := &assassin{}
			_, setting := w.faultProxy(t, func(next http.RoundTripper) http.RoundTripper {
				a.next = next
				return a
			})
			o.options.Env = []string{setting}
			h := w.extra(t, o.name, o.options)
			if err := h.awaitReady(t.Context()); err != nil {
				t.Fatal(err)
			}
			test(t, h, a)
		})
	}
}

// under is a request with an Idempotency-Key.
func (r request) under(key string) request {
	r.header = r.header.Clone()
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set("Idempotency-Key", key)
	return r
}

// unanswered wants the host's empty 500 (host-contract.md 3.7).
func (r reply) unanswered(t *testing.T) {
	t.Helper()
	if r.status != http.StatusInternalServerError || len(r.body) > 0 {
		t.Fatalf("status %d, want the host's empty 500: %s", r.status, r.body)
	}
}

// kept counts the rows of a patient by kind, and its records by action and outcome.
func (w *world) kept(t *testing.T, patient string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for key, r := range w.partition(t, patient) {
		kind, _, _ := strings.Cut(key, "~")
		switch kind {
		case "act":
			n[r.text("status")]++
		case "aud":
			n[strings.TrimSpace(r.text("action")+" "+r.text("outcome")+" "+r.text("reason"))]++
		default:
			n[kind]++
		}
	}
	return n
}

func wantKept(t *testing.T, got, want map[string]int) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// The handler dies after a creation was committed. A proxying host runs the request again on the restarted one, under the same
// invocation id: the client sees one answer, and there is one activation. A forwarding one gives up on a dead handler at once: its
// client gets an empty 500 and asks again under its key.
func TestACT6_ACreationWhoseHandlerDiesIsMadeOnce(t *testing.T) {
	killable(t, func(t *testing.T, h *host, a *assassin) {
		patient, token := h.world.patient(), h.world.clinic(t)
		create := creating(token, patient)
		if h.name == forwarding {
			create = create.under(randomHex(16))
		}
		a.aim(h)
		got := h.send(t, create)
		commits := a.struck(t)
		if h.name == forwarding {
			got.unanswered(t)
			if err := h.awaitReady(t.Context()); err != nil {
				t.Fatal(err)
			}
			got = h.send(t, create)
		}
		var c created
		got.into(t, http.StatusOK, &c)
		if commits != 1 {
			t.Errorf("%d transactions, want that of the creation", commits)
		}
		wantKept(t, h.world.kept(t, patient), map[string]int{"head": 1, "pending": 1, "activation.create allowed": 1})
		r := h.redeem(t, c.parts())
		h.buy(t, patient, r.AuthorisationCode)
	})
}

// A revocation has no body either, and says the same however often it is run.
func TestACT4_ARevocationWhoseHandlerDiesIsMadeOnce(t *testing.T) {
	killable(t, func(t *testing.T, h *host, a *assassin) {
		patient, token := h.world.patient(), h.world.clinic(t)
		c := h.create(t, token, patient)
		revoke := request{method: http.MethodDelete, path: activationPath(patient) + "/" + c.UUID, token: token}
		a.aim(h)
		got := h.send(t, revoke)
		a.struck(t)
		if h.name == forwarding {
			got.unanswered(t)
			if err := h.awaitReady(t.Context()); err != nil {
				t.Fatal(err)
			}
			got = h.send(t, revoke)
		}
		if got.status != http.StatusNoContent {
			t.Errorf("status %d: %s", got.status, got.body)
		}
		wantKept(t, h.world.kept(t, patient), map[string]int{
			"head": 1, "revoked": 1, "activation.create allowed": 1, "activation.revoke allowed": 1,
		})
		h.refused(t, c.parts())
	})
}

// A redemption has a body, and no host runs it again: the client gets an empty 500, asks again under its key, and has won.
func TestACT6_AWinnerWhoseHandlerDiesAsksAgain(t *testing.T) {
	killable(t, func(t *testing.T, h *host, a *assassin) {
		patient, token := h.world.patient(), h.world.clinic(t)
		c := h.create(t, token, patient)
		key := randomHex(16)
		a.aim(h)
		h.send(t, redeeming(c.parts()).under(key)).unanswered(t)
		if commits := a.struck(t); commits != 1 {
			t.Errorf("%d transactions", commits)
		}
		if err := h.awaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.refused(t, c.parts())
		h.send(t, redeeming(c.parts()).under(randomHex(16))).problem(t, http.StatusNotFound, "activation_refused")
		first := h.send(t, redeeming(c.parts()).under(key))
		var r redeemed
		first.into(t, http.StatusOK, &r)
		if again := h.send(t, redeeming(c.parts()).under(key)); string(again.body) != string(first.body) {
			t.Error("the third time it was told something else")
		}
		h.buy(t, patient, r.AuthorisationCode)
		wantKept(t, h.world.kept(t, patient), map[string]int{
			"head": 1, "completed": 1, "cred": 1, "sid": 1, "activation.create allowed": 1, "activation.redeem allowed": 1,
			"activation.redeem allowed repeated": 2,
		})
		checkRows(t, h.world.stack, []string{c.OTP, c.ActivationCode, r.AuthorisationCode, key})
	})
}
