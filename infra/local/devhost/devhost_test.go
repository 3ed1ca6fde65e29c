package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"latchkey/infra/local/devhost/internal/app"
	"latchkey/infra/local/devhost/internal/child"
	"latchkey/infra/local/devhost/internal/host"
)

const (
	forwarding = "enableForwardingHttpRequest"
	proxying   = "enableProxyingHttpRequest"
)

// bench is a devhost over the fake handler.
type bench struct {
	t      *testing.T
	root   string
	trace  string
	addr   string
	out    *buffer
	stop   context.CancelFunc
	ended  chan error
	client *http.Client
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// appRoot writes an app: route x/{*p} with all methods, onlyget, a timer.
func appRoot(t *testing.T, mode, hostExtra string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	httpTrigger := func(route, methods string) string {
		return `{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "route": "` + route + `"` + methods + `},
			{"type": "http", "direction": "out", "name": "res"}]}`
	}
	for name, text := range map[string]string{
		"host.json": `{"version": "2.0", "extensions": {"http": {"routePrefix": "", "customHeaders": {"X-Added": "host"}}}, ` + hostExtra + `
			"customHandler": {"` + mode + `": true, "description": {"defaultExecutablePath": "` + exe + `", "arguments": ["-test.run=none", "%NOPE%y"]}}}`,
		"x/function.json":       httpTrigger("x/{*p}", ""),
		"onlyget/function.json": httpTrigger("onlyget/{id}", `, "methods": ["get"]`),
		"tick/function.json":    `{"bindings": [{"type": "timerTrigger", "direction": "in", "name": "t", "schedule": "0 0 4 29 2 *"}]}`,
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func start(t *testing.T, mode, hostExtra string, env ...string) *bench {
	t.Helper()
	b := &bench{t: t, root: appRoot(t, mode, hostExtra), trace: filepath.Join(t.TempDir(), "trace"), out: &buffer{},
		ended: make(chan error, 1), client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	settings := app.NewSettings(append(append(os.Environ(), "DEVHOST_TEST_AS=handler", "TRACE="+b.trace), env...))
	a, err := app.Load(b.root, settings)
	if err != nil {
		t.Fatal(err)
	}
	console := &console{w: b.out, now: time.Now}
	port, err := describe(a, console.from("host"))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = ln.Addr().String()
	wait := 20 * time.Second
	if short, err := time.ParseDuration(settings.Get("START_WAIT")); err == nil {
		wait = short
	}
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	h := host.New(host.Options{App: a, Settings: settings, HandlerPort: port, StartWait: wait,
		Log: console.from("host"), Output: console.from("handler"), Now: time.Now, Random: rand.Reader})
	go func() { b.ended <- h.Run(ctx, ln) }()
	t.Cleanup(func() {
		b.stop()
		b.client.CloseIdleConnections()
		select {
		case <-b.ended:
		case <-time.After(10 * time.Second):
			t.Error("the host did not end")
		}
		if t.Failed() {
			t.Log(b.out.String())
		}
	})
	return b
}

func (b *bench) do(method, target string, body io.Reader, header ...string) (int, string, http.Header) {
	b.t.Helper()
	req, err := http.NewRequest(method, "http://"+b.addr+target, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func (b *bench) echo(method, target string, body io.Reader, header ...string) seen {
	b.t.Helper()
	status, text, _ := b.do(method, target, body, header...)
	var s seen
	if err := json.Unmarshal([]byte(text), &s); status != http.StatusOK || err != nil {
		b.t.Fatalf("%s %s: %d %s", method, target, status, text)
	}
	return s
}

// raw sends bytes on a new connection and returns all that comes back until
// the connection closes, or for a while.
func (b *bench) raw(text string) string {
	b.t.Helper()
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		b.t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	got, _ := io.ReadAll(c)
	return string(got)
}

func (b *bench) traced(prefix string) []string {
	b.t.Helper()
	text, err := os.ReadFile(b.trace)
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, prefix) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// started waits for the n-th start: for some milliseconds after a crash, the
// host does not know of it and requests fail.
func (b *bench) started(n int) {
	b.t.Helper()
	eventually(b.t, "start "+strconv.Itoa(n), func() bool { return len(b.traced("start")) >= n })
}

func bothModes(t *testing.T, run func(t *testing.T, mode string)) {
	for _, mode := range []string{forwarding, proxying} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			run(t, mode)
		})
	}
}

func TestWhatTheHandlerSees(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode string) {
		b := start(t, mode, "", "FUNCTIONS_CUSTOMHANDLER_PORT=1", "TRUST=me")
		s := b.echo("POST", "/x/a%2Fb?k=1&k=2", strings.NewReader("{}"), "Content-Type", "application/json", "X-Dup", "1", "X-Dup", "2",
			"Content-Language", "de", "X-Azure-Functions-InvocationId", "spoof", "User-Agent", "UA", "X-Forwarded-For", "9.9.9.9", "Cookie", "a=1")
		id := s.Header.Get("X-Azure-Functions-InvocationId")
		want := map[string]string{"X-Dup": "1, 2", "Content-Type": "application/json", "Cookie": "a=1"}
		target, hostName := "/x/a%252Fb?k=1&k=2", "127.0.0.1:"+s.Env["FUNCTIONS_CUSTOMHANDLER_PORT"]
		if mode == forwarding {
			target, hostName = "/x/a%2Fb?k=1,2", b.addr
			want["Content-Language"], want["X-Forwarded-For"], want["X-Forwarded-Proto"] = "", "9.9.9.9", ""
			want["User-Agent"] = "UA Azure-Functions-Host/" + host.Version
			if !strings.HasPrefix(id, "spoof, ") || len(id) != len("spoof, ")+36 {
				t.Errorf("invocation id %q", id)
			}
		} else {
			want["Content-Language"], want["X-Forwarded-For"], want["X-Forwarded-Proto"] = "de", "127.0.0.1", "http"
			want["User-Agent"], want["X-Forwarded-Host"] = "UA", b.addr
			if len(id) != 36 || s.Header.Get("X-Ms-Invocation-Id") != id {
				t.Errorf("invocation id %q", id)
			}
		}
		if s.Target != target || s.Host != hostName || s.Body != "{}" || s.Length != 2 {
			t.Errorf("saw %s, host %s, %d bytes %q", s.Target, s.Host, s.Length, s.Body)
		}
		for name, value := range want {
			if got := s.Header.Get(name); got != value {
				t.Errorf("%s: got %q, want %q", name, got, value)
			}
		}
		if len(s.Args) != 2 || s.Args[1] != "y" || s.Env["FUNCTIONS_APP_ROOT_PATH"] != b.root || s.Env["FUNCTIONS_HTTPWORKER_ID"] == "" ||
			s.Env["FUNCTIONS_HTTPWORKER_PORT"] != s.Env["FUNCTIONS_CUSTOMHANDLER_PORT"] || s.Env["FUNCTIONS_CUSTOMHANDLER_PORT"] == "1" {
			t.Errorf("started with %q, %v", s.Args, s.Env)
		}
		if s := b.echo("POST", "/x/1", http.NoBody, "Content-Type", "a/b"); s.Length != 0 || (s.Header.Get("Content-Type") == "") != (mode == forwarding) {
			t.Errorf("empty POST: %+v", s)
		}
	})
}

func TestTheForwardedHeadersSetting(t *testing.T) {
	t.Parallel()
	b := start(t, proxying, "", "ASPNETCORE_FORWARDEDHEADERS_ENABLED=true")
	s := b.echo("GET", "/x/1", nil, "X-Forwarded-For", "1.1.1.1, 203.0.113.9:47", "X-Forwarded-Proto", "https")
	if s.Header.Get("X-Forwarded-For") != "203.0.113.9" || s.Header.Get("X-Forwarded-Proto") != "https" || s.Header.Get("X-Original-Proto") != "http" {
		t.Errorf("saw %v", s.Header)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode string) {
		b := start(t, mode, "", "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT=1000")
		// A reader without a length is sent in chunks.
		status, text, _ := b.do("POST", "/x/1", io.MultiReader(strings.NewReader("abc")))
		if mode == forwarding {
			if status != http.StatusInternalServerError || text != "" || len(b.traced("POST")) != 0 {
				t.Errorf("chunked: %d %q, %q", status, text, b.traced("POST"))
			}
		} else if !strings.Contains(text, `"Body":"abc"`) || !strings.Contains(text, `"chunked"`) {
			t.Errorf("chunked: %d %s", status, text)
		}
		if status, text, _ := b.do("POST", "/x/big", strings.NewReader(strings.Repeat("x", 1001))); status != http.StatusInternalServerError || text != "" {
			t.Errorf("over the limit: %d %q", status, text)
		}
		if status, _, _ := b.do("POST", "/x/ct", strings.NewReader("{}"), "Content-Type", "json"); (status == http.StatusInternalServerError) != (mode == forwarding) {
			t.Errorf("Content-Type json: %d", status)
		}
		if len(b.traced("POST /x/big")) != 0 {
			t.Error("the handler saw a body over the limit")
		}
	})
}

func TestReplies(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode string) {
		b := start(t, mode, "")
		for _, c := range []struct{ name, reply, forwarded, proxied string }{
			{"reason", "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\nX-E:\r\nAllow: GET, PUT\r\nKeep-Alive: x\r\n\r\nok",
				"HTTP/1.1 299 Odd|Allow: GET|Allow: PUT|Content-Length: 2|Keep-Alive: x|ok",
				"HTTP/1.1 299 Odd|Allow: GET, PUT|Content-Length: 2|X-E: |ok"},
			{"until close", "HTTP/1.0 200 OK\r\nX-Added: mine\r\n\r\nok",
				"HTTP/1.1 200 OK|Content-Length: 2|X-Added: mine|ok",
				"HTTP/1.1 200 OK|Transfer-Encoding: chunked|X-Added: mine|2|ok|0"},
			{"not ASCII", "HTTP/1.1 200 Fine\r\nX-N: \xc3\xa9\r\nContent-Length: 0\r\n\r\n",
				"HTTP/1.1 500 Fine|Content-Length: 0", "HTTP/1.1 500 Internal Server Error|Content-Length: 0"},
			{"cut", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
				"HTTP/1.1 500 Internal Server Error|Content-Length: 0", "HTTP/1.1 200 OK|Content-Length: 9|short"},
			{"empty chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
				"HTTP/1.1 200 OK|Content-Length: 0", "HTTP/1.1 200 OK|Content-Length: 0"},
			{"not modified", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
				"HTTP/1.1 304 Not Modified|Content-Length: 0|ETag: \"a\"", "HTTP/1.1 304 Not Modified|ETag: \"a\""},
		} {
			want := c.proxied
			if mode == forwarding {
				want = c.forwarded
			}
			if got := b.viaHandler(c.reply); got != want {
				t.Errorf("%s:\n got %s\nwant %s", c.name, got, want)
			}
		}
	})
}

// viaHandler lets the handler answer with these bytes and returns what the
// client gets: status line, sorted headers and body lines, without what is in
// every reply.
func (b *bench) viaHandler(reply string) string {
	b.t.Helper()
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	// A header cannot carry line ends: the handler gets the bytes by file.
	path := filepath.Join(b.t.TempDir(), "reply")
	if err := os.WriteFile(path, []byte(reply), 0o600); err != nil {
		b.t.Fatal(err)
	}
	fmt.Fprintf(c, "GET /x/raw HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Reply: %s\r\n\r\n", path)
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	got, _ := io.ReadAll(c)
	head, body, _ := strings.Cut(string(got), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	out := lines[:1:1]
	var headers []string
	for _, l := range lines[1:] {
		name, _, _ := strings.Cut(l, ":")
		if name != "Date" && name != "Server" && name != "Connection" && l != "X-Added: host" {
			headers = append(headers, l)
		}
	}
	slices.Sort(headers)
	out = append(out, headers...)
	for l := range strings.SplitSeq(strings.TrimRight(body, "\r\n"), "\r\n") {
		if l != "" {
			out = append(out, l)
		}
	}
	return strings.Join(out, "|")
}

func TestStreaming(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode string) {
		b := start(t, mode, "")
		resp, err := b.client.Get("http://" + b.addr + "/x/stream")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		first := make([]byte, 16)
		n, _ := resp.Body.Read(first)
		if streamed := string(first[:n]) == "part"; streamed != (mode == proxying) {
			t.Errorf("first read %q", first[:n])
		}
	})
}

func TestWhatTheHostAnswersItself(t *testing.T) {
	t.Parallel()
	b := start(t, forwarding, "")
	for _, c := range []struct {
		method, target string
		want           int
	}{
		{"GET", "/nosuch", 404}, {"POST", "/onlyget/1", 404}, {"HEAD", "/onlyget/1", 404}, {"OPTIONS", "/onlyget/1", 404},
		{"GET", "/onlyget/1", 200}, {"GET", "/ONLYGET/1/", 200}, {"GET", "/onlyget", 404}, {"GET", "/", 200},
		{"GET", "/admin/host/status", 200}, {"GET", "/admin/nosuch", 404},
	} {
		status, _, header := b.do(c.method, c.target, nil)
		if status != c.want || header.Get("X-Added") != "host" || header.Get("Server") != "Kestrel" {
			t.Errorf("%s %s: %d, want %d; %v", c.method, c.target, status, c.want, header)
		}
	}
	for name, c := range map[string][2]string{
		"raw space":         {"GET /x/a b HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 400 "},
		"not ASCII":         {"GET /x/\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 400 "},
		"null":              {"GET /x/%00 HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 400 "},
		"no host":           {"GET /x/1 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
		"Latin-1":           {"GET /x/1 HTTP/1.1\r\nHost: h\r\nX: \xe9\r\n\r\n", "HTTP/1.1 400 "},
		"UTF-8 in a header": {"GET /x/1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: \xc3\xa9\r\n\r\n", "HTTP/1.1 500 "},
		"long target":       {"GET /x/" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 414 URI Too Long\r\n"},
		"many headers":      {"GET /x/1 HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: 1\r\n", 110) + "\r\n", "HTTP/1.1 431 "},
		"long headers":      {"GET /x/1 HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 33000) + "\r\n\r\n", "HTTP/1.1 431 "},
		"both lengths":      {"POST /x/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", "HTTP/1.1 400 "},
	} {
		if got := b.raw(c[0]); !strings.HasPrefix(got, c[1]) || !strings.Contains(got, "Content-Length: 0\r\n") {
			t.Errorf("%s: got %.60q, want %q", name, got, c[1])
		}
	}
	if got := b.traced("GET /x/"); len(got) != 0 {
		t.Errorf("the handler saw %q", got)
	}
}

func TestTwoRequestsOnOneConnection(t *testing.T) {
	t.Parallel()
	b := start(t, proxying, "")
	got := b.raw("POST /nosuch HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /x/2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if strings.Count(got, "HTTP/1.1 404 ") != 1 || strings.Count(got, "HTTP/1.1 200 ") != 1 {
		t.Errorf("got %q", got)
	}
}

func TestRepeatedExecution(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode string) {
		for _, c := range []struct {
			head, body         string
			forwarded, proxied int
		}{
			{"DELETE /x/drop?a HTTP/1.1\r\n", "", 4, 40},
			{"POST /x/drop?b HTTP/1.1\r\nContent-Length: 0\r\n", "", 4, 10},
			{"POST /x/drop?c HTTP/1.1\r\nContent-Length: 1\r\n", "z", 1, 1},
		} {
			want := c.proxied
			if mode == forwarding {
				want = c.forwarded
			}
			t.Run(strconv.Itoa(want)+c.body, func(t *testing.T) {
				t.Parallel()
				b := start(t, mode, "")
				got := b.raw(c.head + "Host: h\r\nConnection: close\r\n\r\n" + c.body)
				lines := b.traced(strings.Fields(c.head)[0])
				if !strings.HasPrefix(got, "HTTP/1.1 500 ") || len(lines) != want {
					t.Errorf("%d executions, want %d; client got %.40q", len(lines), want, got)
				}
				for _, l := range lines {
					if l != lines[0] {
						t.Errorf("another invocation id: %q and %q", lines[0], l)
					}
				}
			})
		}
	})
}

func TestRestarts(t *testing.T) {
	t.Parallel()
	t.Run("three errors end the host", func(t *testing.T) {
		t.Parallel()
		b := start(t, forwarding, "")
		first := b.echo("GET", "/x/1", nil)
		for n := 1; n <= 3; n++ {
			if status, _, _ := b.do("POST", "/x/exit?code=1", strings.NewReader("a")); status != http.StatusInternalServerError {
				t.Fatalf("crash %d: %d", n, status)
			}
			if n == 3 {
				break
			}
			b.started(n + 1)
			s := b.echo("GET", "/x/1", nil)
			if s.Pid == first.Pid || s.Env["FUNCTIONS_CUSTOMHANDLER_PORT"] != first.Env["FUNCTIONS_CUSTOMHANDLER_PORT"] ||
				s.Env["FUNCTIONS_HTTPWORKER_ID"] == first.Env["FUNCTIONS_HTTPWORKER_ID"] {
				t.Errorf("after crash %d: %v, before %v", n, s.Env, first.Env)
			}
		}
		err := <-b.ended
		b.ended <- err
		if !errors.Is(err, child.ErrBudget) || len(b.traced("start")) != 3 {
			t.Errorf("got %v after %q", err, b.traced("start"))
		}
	})
	t.Run("a handler that cannot start", func(t *testing.T) {
		t.Parallel()
		b := start(t, forwarding, "", "EXIT_AT_START=7")
		err := <-b.ended
		b.ended <- err
		if !errors.Is(err, child.ErrBudget) || len(b.traced("start")) != 3 || !strings.Contains(b.out.String(), "exited with code 7 (0x7): cannot start") {
			t.Errorf("got %v after %q", err, b.traced("start"))
		}
	})
	t.Run("a handler that cannot be executed", func(t *testing.T) {
		t.Parallel()
		b := start(t, forwarding, "", "START_WAIT=200ms", "AzureFunctionsJobHost__customHandler__description__defaultExecutablePath=./nosuch")
		if status, text, _ := b.do("GET", "/x/1", nil); status != http.StatusInternalServerError || text != "" {
			t.Errorf("got %d %q", status, text)
		}
		err := <-b.ended
		b.ended <- err
		if !errors.Is(err, child.ErrNeverReady) {
			t.Errorf("the host ended with %v", err)
		}
	})
	t.Run("exit 200 is not counted", func(t *testing.T) {
		t.Parallel()
		b := start(t, forwarding, "")
		for n := range 4 {
			b.do("POST", "/x/exit?code=200", strings.NewReader("a"))
			b.started(n + 2)
			b.echo("GET", "/x/1", nil)
		}
	})
	t.Run("exit 0 is not restarted", func(t *testing.T) {
		t.Parallel()
		b := start(t, forwarding, "")
		b.do("POST", "/x/exit?code=0", strings.NewReader("a"))
		if status, text, _ := b.do("GET", "/x/1", nil); status != http.StatusInternalServerError || text != "" || len(b.traced("start")) != 1 {
			t.Errorf("got %d %q after %q", status, text, b.traced("start"))
		}
	})
	t.Run("proxying masks one crash of a GET", func(t *testing.T) {
		t.Parallel()
		b := start(t, proxying, "")
		// The third start answers nothing any more: three crashes are the end.
		if status, _, _ := b.do("GET", "/x/exit?code=1", nil); status != http.StatusInternalServerError || len(b.traced("GET /x/exit")) != 3 {
			t.Errorf("got %d after %q", status, b.traced("GET"))
		}
	})
	t.Run("requests wait for a late handler", func(t *testing.T) {
		t.Parallel()
		b := start(t, forwarding, "", "LATE=300ms")
		b.echo("GET", "/x/1", nil)
	})
}

func TestFunctionTimeout(t *testing.T) {
	t.Parallel()
	b := start(t, forwarding, `"functionTimeout": "00:00:01",`)
	began := time.Now()
	status, _, _ := b.do("POST", "/x/hang", strings.NewReader("a"))
	if took := time.Since(began); status != http.StatusInternalServerError || took < 3*time.Second {
		t.Errorf("got %d after %s", status, took)
	}
	b.echo("GET", "/x/1", nil)
	if len(b.traced("start")) != 2 {
		t.Errorf("starts: %q", b.traced("start"))
	}
}

func TestAClientThatLeaves(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode string) {
		b := start(t, mode, "")
		b.echo("GET", "/x/1", nil) // the handler is up
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+b.addr+"/x/slow", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := b.client.Do(req); err == nil {
			resp.Body.Close()
			t.Fatal("the request was answered")
		}
		time.Sleep(600 * time.Millisecond)
		if got := len(b.traced("cancelled")) == 1; got != (mode == proxying) {
			t.Errorf("cancelled: %v", got)
		}
	})
}

func TestTimerByHand(t *testing.T) {
	t.Parallel()
	b := start(t, proxying, "")
	for _, c := range []struct {
		name, body string
		want       int
	}{{"tick", `{"input":"abc"}`, 202}, {"nosuch", `{}`, 404}, {"tick", `[1]`, 400}, {"tick", `{"in`, 400}} {
		if status, _, _ := b.do("POST", "/admin/functions/"+c.name, strings.NewReader(c.body), "Content-Type", "application/json"); status != c.want {
			t.Errorf("%s %s: %d, want %d", c.name, c.body, status, c.want)
		}
	}
	if status, _, _ := b.do("POST", "/admin/functions/tick", nil); status != http.StatusUnsupportedMediaType {
		t.Errorf("without body and type: %d", status)
	}
	eventually(t, "the timer ran", func() bool { return strings.Contains(b.out.String(), ") ran") })
	if got := b.traced("POST "); len(got) != 1 || !strings.HasPrefix(got[0], "POST /tick ") {
		t.Errorf("the handler saw %q", got)
	}
}

func TestOutputLevels(t *testing.T) {
	t.Parallel()
	b := start(t, forwarding, "")
	b.do("GET", "/x/say", nil)
	for _, want := range []string{"info  handler: to stdout\n", "error handler: to stderr\n", "warn  handler: a Warning to stderr\n"} {
		eventually(t, want, func() bool { return strings.Contains(b.out.String(), want) })
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 200 {
		if f() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("never: %s", what)
}

// process is devhost as a process of its own.
func process(t *testing.T, root string) (cmd *exec.Cmd, addr, trace string, handler int) {
	t.Helper()
	trace = filepath.Join(t.TempDir(), "trace")
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(exe, "--root", root, "--port", port)
	cmd.Env = append(os.Environ(), "DEVHOST_TEST_AS=devhost", "TRACE="+trace)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	go func() { _, _ = io.Copy(io.Discard, bufio.NewReader(out)) }()
	eventually(t, "devhost answers", func() bool {
		resp, err := http.Get("http://" + addr + "/x/1")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		var s seen
		handler = 0
		if json.NewDecoder(resp.Body).Decode(&s) == nil {
			handler = s.Pid
		}
		return handler != 0
	})
	return cmd, addr, trace, handler
}

func gone(pid int) func() bool {
	return func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
}

func TestSIGTERM(t *testing.T) {
	t.Parallel()
	cmd, addr, trace, handler := process(t, appRoot(t, forwarding, ""))
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + addr + "/x/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		answer <- string(text)
	}()
	time.Sleep(200 * time.Millisecond)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if got := <-answer; got != "slow" {
		t.Errorf("the running request got %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	eventually(t, "the handler is gone", gone(handler))
	if text, _ := os.ReadFile(trace); strings.Contains(string(text), "signal") {
		t.Errorf("the handler got a signal: %s", text)
	}
}

func TestAnAppInErrorAnswers503(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	settings := app.NewSettings(nil)
	c := &console{w: &buffer{}, now: time.Now}
	h := host.New(host.Options{Settings: settings, Log: c.from("host"), Output: c.from("handler"), Now: time.Now, Random: rand.Reader})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx, ln) }()
	resp, err := http.Get("http://" + ln.Addr().String() + "/x/1")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || string(text) != "Function host is not running." {
		t.Errorf("got %d %q", resp.StatusCode, text)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestHelpNamesWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run([]string{"--help"}, nil, &out); err == nil || !strings.Contains(out.String(), "Not done") {
		t.Errorf("got %v, %s", err, out.String())
	}
}
