package e2e_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/handler/internal/faults"
	"latchkey/infra/local/stack"
)

// behindFaults starts a host whose handler reaches storage through a proxy. It is ready when it returns.
func (w *world) behindFaults(t *testing.T, name string, o stack.HostOptions) (*host, *faults.Proxy) {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(w.stack.CertFile, w.stack.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := faults.StartProxy(w.stack.Tables, certificate, w.stack.Client().Transport, faults.None)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	o.Env = append(o.Env, "Storage__TablesEndpoint="+proxy.URL)
	h := w.extra(t, name, o)
	if err := h.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h, proxy
}

// committedUnanswered lets the next commit be carried out, holds its reply back, and kills the handler then.
func committedUnanswered(t *testing.T, h *host, proxy *faults.Proxy, r request) (reply, error) {
	t.Helper()
	proxy.Transport.Follow(faults.Rules(faults.Rule{Op: faults.Transaction, Fault: faults.Fault{Reply: faults.Hung}}))
	type answer struct {
		reply
		error
	}
	answers := make(chan answer, 1)
	go func() {
		got, err := h.try(t.Context(), r)
		answers <- answer{got, err}
	}()
	eventually(t, time.Minute, func() error {
		if !proxy.Transport.Holding() {
			return fmt.Errorf("no commit after %d calls", proxy.Transport.Calls())
		}
		return nil
	})
	kill(t, h)
	got := <-answers
	return got.reply, got.error
}

// TestF08_AHandlerKilledBetweenCommitAndReply: a proxying host runs a create again under its invocation id, because it has no
// body, and its client gets a code that works, as if nothing had happened. A forwarding host does not outlast the restart, and no
// host runs a request with a body again: there the client asks again under its key, and is told the same. Each change was made
// once.
func TestF08_AHandlerKilledBetweenCommitAndReply(t *testing.T) {
	owned(t)
	for _, mode := range []struct {
		name    string
		options stack.HostOptions
		masked  bool
	}{{proxying, stack.HostOptions{}, true}, {forwarding, stack.HostOptions{Forwarding: true}, false}} {
		t.Run(mode.name, func(t *testing.T) {
			w := ownWorld(t)
			h, proxy := w.behindFaults(t, mode.name, mode.options)
			patient := w.patient()

			create := creating(w.clinic(t), patient)
			if !mode.masked {
				create.header = http.Header{"Idempotency-Key": {randomHex(16)}}
			}
			got, err := committedUnanswered(t, h, proxy, create)
			if err != nil {
				t.Fatal(err)
			}
			if !mode.masked {
				if got.status != http.StatusInternalServerError {
					t.Errorf("status %d of a create whose handler died", got.status)
				}
				eventually(t, time.Minute, func() error { return revived(t.Context(), h) })
				eventually(t, time.Minute, func() error { return h.isReady(t.Context()) })
				got = h.send(t, create)
			}
			var c created
			got.into(t, http.StatusOK, &c)

			redeem := redeeming(c.parts())
			redeem.header = http.Header{"Idempotency-Key": {randomHex(16)}}
			if got, err := committedUnanswered(t, h, proxy, redeem); err == nil && got.status < http.StatusInternalServerError {
				t.Errorf("a redeem whose handler died was answered: %d", got.status)
			}
			eventually(t, time.Minute, func() error { return revived(t.Context(), h) })
			eventually(t, time.Minute, func() error { return h.isReady(t.Context()) })
			h.refused(t, c.parts()) // who has no key is too late
			var first, second redeemed
			h.send(t, redeem).into(t, http.StatusOK, &first)
			h.send(t, redeem).into(t, http.StatusOK, &second)
			if first != second {
				t.Error("the same key was told two things")
			}
			h.buy(t, patient, first.AuthorisationCode)

			made := 0
			for key := range w.partition(t, patient) {
				if strings.HasPrefix(key, "act~") {
					made++
				}
			}
			if made != 1 {
				t.Errorf("%d activations were made", made)
			}
			checkRows(t, w.stack, []string{c.ActivationCode, c.OTP, first.AuthorisationCode})
		})
	}
}

// TestF01_TheMainJobThroughABadNetwork runs the release binary with a tenth of all calls of storage failing in every way of the
// catalogue, and its connections cut now and then: each client is let in once, and what it holds works.
func TestF01_TheMainJobThroughABadNetwork(t *testing.T) {
	owned(t)
	w := ownWorld(t)
	h, proxy := w.behindFaults(t, direct, stack.HostOptions{Direct: true})
	proxy.Transport.Follow(faults.Seeded(faults.Seed(t), 0.1, faults.All(50*time.Millisecond)...))
	load := &load{hosts: []*host{h}, clinic: w.clinic(t)}
	stop := load.start(t, 4)
	for range 10 {
		time.Sleep(300 * time.Millisecond)
		proxy.Cut()
	}
	patients := stop()
	hits := len(proxy.Transport.Hits())
	proxy.Transport.Follow(faults.None)
	proxy.Transport.Settle()
	for patient, code := range patients {
		h.buy(t, patient, code)
	}
	t.Logf("%d operations, %d faults, %d requests sent again", load.done.Load(), hits, load.again.Load())
	if hits == 0 || len(patients) == 0 {
		t.Error("there were no faults, or no patients")
	}
	checkRows(t, w.stack, load.secrets)
}
