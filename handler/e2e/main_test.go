package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"latchkey/infra/local/stack"
)

// world is what all tests share: one stack, and three ways to its app.
type world struct {
	stack  *stack.Stack // nil when the host is somebody else's
	issuer *stack.Issuer
	hosts  []*host
	seen   *seen
	parts  *output // what storage, identity and vault print

	mu      sync.Mutex
	outputs []*output // what every host and handler of the run printed
}

// host is one way to the app.
type host struct {
	name  string
	url   string
	world *world
	proc  *stack.Host // nil when it is somebody else's
	out   *output     // what host and handler print; nil as well
}

// Names of our own hosts.
const (
	proxying   = "proxying"
	forwarding = "forwarding"
	direct     = "direct" // LISTEN_ADDR, no Functions host
)

var shared struct {
	world *world
	err   error
}

func TestMain(m *testing.M) {
	shared.world, shared.err = begin()
	code := m.Run()
	if w := shared.world; w != nil && w.stack != nil {
		if err := w.stack.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the stack:", err)
			code = 1
		}
	}
	os.Exit(code)
}

const root = "../.."

var errNotStaged = errors.New("dist/latchkey is missing: run make stage")

func begin() (*world, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	w := &world{seen: newSeen(), parts: newOutput()}
	if url := os.Getenv("LATCHKEY_E2E_BASE_URL"); url != "" {
		var err error
		w.issuer, err = stack.Connect(ctx, os.Getenv("LATCHKEY_E2E_IDENTITY_URL"), os.Getenv("LATCHKEY_E2E_CA"))
		w.hosts = []*host{{name: "given", url: url, world: w}}
		return w, err
	}
	if _, err := os.Stat(filepath.Join(root, "dist", "latchkey")); err != nil {
		return nil, errNotStaged
	}
	s, err := stack.Start(ctx, stack.Options{Output: w.parts})
	if err != nil {
		return nil, err
	}
	w.stack, w.issuer = s, s.Issuer
	for _, o := range []struct {
		name    string
		options stack.HostOptions
	}{
		{proxying, stack.HostOptions{}}, {forwarding, stack.HostOptions{Forwarding: true}}, {direct, stack.HostOptions{Direct: true}},
	} {
		h, err := w.startHost(ctx, o.name, o.options)
		if err != nil {
			return nil, errors.Join(err, s.Stop())
		}
		w.hosts = append(w.hosts, h)
		// They answer GET /running before they have their settings.
		if err := h.awaitReady(ctx); err != nil {
			return nil, errors.Join(err, s.Stop())
		}
	}
	return w, nil
}

func (w *world) startHost(ctx context.Context, name string, o stack.HostOptions) (*host, error) {
	out := newOutput()
	w.mu.Lock()
	w.outputs = append(w.outputs, out)
	w.mu.Unlock()
	o.Output = out
	proc, err := w.stack.StartHost(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return &host{name: name, url: proc.URL, world: w, proc: proc, out: out}, nil
}

// extra starts one more host for a test, and stops it with the test.
func (w *world) extra(t *testing.T, name string, o stack.HostOptions) *host {
	t.Helper()
	h, err := w.startHost(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.proc.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// given returns what tests run against. Without Node or Azurite they are skipped on a laptop and fail in CI.
func given(t *testing.T) *world {
	t.Helper()
	if err := shared.err; errors.Is(err, stack.ErrNoAzurite) && os.Getenv("CI") == "" {
		skip(t, err.Error())
	} else if err != nil {
		t.Fatal(err)
	}
	return shared.world
}

// owned is given, for tests that need the processes.
func owned(t *testing.T) *world {
	t.Helper()
	w := given(t)
	if w.stack == nil {
		skip(t, "the host is not ours: nothing but its HTTP can be seen")
	}
	return w
}

// skip is the only place where this suite leaves something out.
func skip(t *testing.T, why string) {
	t.Helper()
	t.Skip(why)
}

// any is the first host. Most rows are the same through each: the main job and the hostile requests go through all.
func (w *world) any() *host { return w.hosts[0] }

// host finds one of our own by its name.
func (w *world) host(t *testing.T, name string) *host {
	t.Helper()
	for _, h := range w.hosts {
		if h.name == name {
			return h
		}
	}
	t.Fatalf("there is no host %q", name)
	return nil
}

// through runs a test through every host.
func (w *world) through(t *testing.T, test func(*testing.T, *host)) {
	for _, h := range w.hosts {
		t.Run(h.name, func(t *testing.T) { test(t, h) })
	}
}

// eventually asks every 50 ms until test is content, for at most limit.
func eventually(t *testing.T, limit time.Duration, test func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := test()
		if err == nil {
			return
		}
		if time.Since(began) > limit {
			t.Fatalf("after %v: %v", limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// contextOf is for clean-ups: the test's own context has ended by then.
func contextOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
