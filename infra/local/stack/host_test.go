package stack

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// capture is an Output that a test may read while processes still print.
type capture struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(p)
}

func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

// testDist stages the handler of testdata.
func testDist(t *testing.T) string {
	t.Helper()
	dist := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dist, "latchkey"), "./testdata/handler")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Mkdir(filepath.Join(dist, "running"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"host.json": `{"version":"2.0","extensions":{"http":{"routePrefix":""}},"customHandler":{
			"description":{"defaultExecutablePath":"latchkey"},
			"enableProxyingHttpRequest":true,"enableForwardingHttpRequest":true}}`,
		"running/function.json": `{"bindings":[
			{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","methods":["get"],"route":"running"},
			{"type":"http","direction":"out","name":"res"}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dist, name), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dist
}

type shown struct {
	Environment map[string]string
	PID         int
}

func show(t *testing.T, h *Host) (shown, http.Header) {
	t.Helper()
	resp, err := get(t.Context(), http.DefaultClient, h.URL+"/running", nil)
	if err != nil {
		t.Fatal(err)
	}
	var out shown
	if err := decode(resp, &out); err != nil {
		t.Fatal(err)
	}
	return out, resp.Header
}

func TestHostsRunTheStagedAppOverOneStorage(t *testing.T) {
	s := start(t, Options{Dist: testDist(t)})
	ctx := t.Context()

	// A host starts while what its app needs is down.
	if err := s.Vault.Stop(); err != nil {
		t.Fatal(err)
	}
	var printed capture
	proxying, err := s.StartHost(ctx, HostOptions{Output: &printed})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Vault.Start(ctx); err != nil {
		t.Fatal(err)
	}
	forwarding, err := s.StartHost(ctx, HostOptions{Forwarding: true})
	if err != nil {
		t.Fatal(err)
	}
	direct, err := s.StartHost(ctx, HostOptions{Direct: true, Env: []string{"Site__Code=LDN"}})
	if err != nil {
		t.Fatal(err)
	}

	var handlers []int
	for _, h := range []*Host{proxying, forwarding, direct} {
		got, _ := show(t, h)
		handlers = append(handlers, got.PID)
		for name, want := range map[string]string{
			"Storage__TablesEndpoint": s.Tables,
			"KeyVault__Endpoint":      s.VaultURL,
			"Entra__KeysUrl":          s.KeysURL,
			"Tokens__Issuer":          proxying.URL, // one issuer, whichever host answers
		} {
			if got.Environment[name] != want {
				t.Errorf("%s: %s = %q, want %q", h.Kind, name, got.Environment[name], want)
			}
		}
		bundle, err := os.ReadFile(got.Environment["Network__CABundle"])
		if err != nil || !bytes.Contains(bundle, []byte("BEGIN CERTIFICATE")) {
			t.Errorf("%s: CA bundle: %v", h.Kind, err)
		}
	}
	// Proxying replaces Host by the handler's own address, forwarding keeps it.
	if _, header := show(t, proxying); header.Get("X-Host-Seen") == strings.TrimPrefix(proxying.URL, "http://") {
		t.Error("the first host forwards, want proxying")
	}
	if _, header := show(t, forwarding); header.Get("X-Host-Seen") != strings.TrimPrefix(forwarding.URL, "http://") {
		t.Error("the second host proxies, want forwarding")
	}
	if got, _ := show(t, direct); got.Environment["Site__Code"] != "LDN" {
		t.Errorf("Site__Code %q, want LDN", got.Environment["Site__Code"])
	}
	if !strings.Contains(printed.String(), "handler listens") {
		t.Errorf("the handler's output is not captured: %q", printed.String())
	}

	// Same port after a restart.
	if err := proxying.Stop(); err != nil {
		t.Fatal(err)
	}
	gone(t, handlers[:1], time.Second)
	if err := proxying.Start(ctx); err != nil {
		t.Fatal(err)
	}
	again, _ := show(t, proxying)
	handlers = append(handlers, again.PID)

	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	gone(t, handlers, time.Second)
}

// func is used when it is on PATH: with the arguments it takes, in a folder
// with the settings file it needs. The one here is a script around devhost.
func TestTheRealHostIsPreferred(t *testing.T) {
	s := start(t, Options{Dist: testDist(t)})
	if err := s.programs.build(t.Context(), "devhost"); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := "#!/bin/sh\n" +
		`[ "$1 $2" = "start --port" ] && grep -q '"IsEncrypted": false' local.settings.json || exit 9` + "\n" +
		`exec "` + s.programs.path("devhost") + `" --root . --port "$3"` + "\n"
	if err := os.WriteFile(filepath.Join(bin, "func"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	h, err := s.StartHost(t.Context(), HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if h.Kind != "func" {
		t.Errorf("started %s, want func", h.Kind)
	}
	show(t, h)
}

func TestWithoutADistThereIsNoHost(t *testing.T) {
	s := start(t, Options{Dist: t.TempDir()})
	if _, err := s.StartHost(t.Context(), HostOptions{}); !errors.Is(err, ErrNoDist) {
		t.Errorf("got %v, want ErrNoDist", err)
	}
}
