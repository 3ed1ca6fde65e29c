package e2e_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"latchkey/handler/internal/faults"
	"latchkey/infra/local/stack"
)

// What long runs set: how often, and how long.
const (
	roundsVariable = "LATCHKEY_ROUNDS" // a number
	soakVariable   = "LATCHKEY_SOAK"   // a duration
)

// rounds is how often a test does the same, short of which is for make test.
func rounds(t *testing.T, short int) int {
	t.Helper()
	text := os.Getenv(roundsVariable)
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", roundsVariable, err)
	}
	return n
}

// soak is how long a test looks.
func soak(t *testing.T, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(soakVariable)
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", soakVariable, err)
	}
	return d
}

// faultProxy puts a proxy in front of a world's storage. around, if there is one, surrounds each of its calls to the storage. setting
// makes a host use it.
func (w *world) faultProxy(t *testing.T, around func(next http.RoundTripper) http.RoundTripper) (proxy *faults.Proxy, setting string) {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(filepath.Join(w.stack.Dir, "leaf.pem"), filepath.Join(w.stack.Dir, "leaf.key"))
	if err != nil {
		t.Fatal(err)
	}
	transport := w.stack.Client().Transport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 128
	t.Cleanup(transport.CloseIdleConnections)
	next := http.RoundTripper(transport)
	if around != nil {
		next = around(next)
	}
	if proxy, err = faults.StartProxy(w.stack.Tables, certificate, next, faults.None); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() }) // what it cut is no failure
	return proxy, "Storage__TablesEndpoint=" + proxy.URL
}

// lossy is two handlers without a host over one storage, with a fault proxy before it, and a client whose replies may get lost.
type lossy struct {
	*world
	proxy *faults.Proxy
	// network is what is between the clients and the handlers.
	network *faults.Transport
	clinic  string
}

func newLossy(t *testing.T, settings ...string) *lossy {
	t.Helper()
	owned(t)
	l := &lossy{world: ownWorld(t)}
	var setting string
	l.proxy, setting = l.faultProxy(t, nil)
	for i := range 2 {
		h := l.extra(t, fmt.Sprint(direct, " ", i), stack.HostOptions{Direct: true, Env: append(settings, setting)})
		if err := h.awaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.hosts = append(l.hosts, h)
	}
	l.network = faults.NewTransport(line().RoundTrip, faults.None)
	l.clinic = l.world.clinic(t)
	return l
}

// line is a connection for each request: on one that was used before, net/http would send a request with an Idempotency-Key again by
// itself.
func line() *http.Transport { return &http.Transport{DisableKeepAlives: true} }

// lose plans both networks anew.
func (l *lossy) lose(seed uint64, chance float64, storage, clients []faults.Fault) {
	l.proxy.Transport.Follow(faults.Seeded(seed, chance, storage...))
	l.network.Follow(faults.Seeded(seed+1, chance, clients...))
}

// mend ends all faults, and waits for what is late.
func (l *lossy) mend() {
	l.proxy.Transport.Follow(faults.None)
	l.network.Follow(faults.None)
	l.proxy.Transport.Settle()
	l.network.Settle()
}

// errNoReply: nobody knows whether it was done.
var errNoReply = errors.New("no reply")

// send sends a request under a key, "" for none, to one of the handlers. It is errNoReply when there is none, and when it is a 503.
func (l *lossy) send(ctx context.Context, to int, r request, key string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, l.hosts[to%len(l.hosts)].url+r.path, strings.NewReader(r.body))
	if err != nil {
		return 0, nil, err
	}
	for name, value := range map[string]string{
		"Content-Type": map[bool]string{true: "application/json"}[r.body != ""], "Idempotency-Key": key, "x-authorisation-code": r.code,
		"Authorization": map[bool]string{true: "Bearer " + r.token}[r.token != ""],
	} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := l.network.RoundTrip(req)
	if err != nil {
		return 0, nil, errors.Join(errNoReply, err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil, errors.Join(errNoReply, err)
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		return resp.StatusCode, body, errNoReply
	}
	return resp.StatusCode, body, nil
}

// ask sends a request under a key until it is answered, and says how often.
func (l *lossy) ask(ctx context.Context, to int, r request, key string) (status int, body []byte, tries int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for tries = 1; ; tries++ {
		status, body, err = l.send(ctx, to+tries, r, key)
		if !errors.Is(err, errNoReply) || ctx.Err() != nil {
			return status, body, tries, err
		}
	}
}

// create invites a patient under a key of its own.
func (l *lossy) create(ctx context.Context, patient string) (c created, err error) {
	status, body, _, err := l.ask(ctx, 0, creating(l.clinic, patient), randomHex(16))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%d %s", status, body)
	}
	if err != nil {
		return c, fmt.Errorf("creating: %w", err)
	}
	return c, json.Unmarshal(body, &c)
}
