// Package host is the part of devhost that clients talk to: it routes
// requests to the handler in forwarding or proxying mode, fires timers, and
// answers what the Functions host answers itself.
//
// It follows host-contract.md sections 2 to 4. It refuses to be a second host:
// what it leaves out is listed in devhost's help.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"latchkey/infra/local/devhost/internal/app"
	"latchkey/infra/local/devhost/internal/child"
	"latchkey/infra/local/devhost/internal/loopback"
	"latchkey/infra/local/devhost/internal/wire"
)

// Version is what devhost calls itself in headers: a 4.x that no real host has.
const Version = "4.0.0.0"

// bodyLimit is the default of FUNCTIONS_REQUEST_BODY_SIZE_LIMIT, in bytes.
const bodyLimit = 104857600

// Options are what a host needs from outside.
type Options struct {
	App *app.App // nil: the app is in error, everything gets 503
	// Settings are handed to the handler.
	Settings *app.Settings
	// HandlerPort is the port of 127.0.0.1 the handler is to listen on.
	HandlerPort int
	// StartWait is how long a request waits for the handler (135 s on the
	// real host) before it fails and the host stops.
	StartWait time.Duration
	// Log is for the host's own lines, Output for the handler's.
	Log, Output child.Log
	Now         func() time.Time
	Random      io.Reader
}

// Host serves one app.
type Host struct {
	Options
	bodyLimit int64
	handler   string // address
	client    *loopback.Client
	sup       *child.Supervisor
	conns     conns
	draining  atomic.Bool
	fail      chan error // why the host ends by itself
	timers    map[string]*timer
	forwarded bool // ASPNETCORE_FORWARDEDHEADERS_ENABLED
}

// New returns a host; nothing runs yet.
func New(opt Options) *Host {
	h := &Host{Options: opt, bodyLimit: bodyLimit,
		handler: net.JoinHostPort("127.0.0.1", strconv.Itoa(opt.HandlerPort)),
		conns:   conns{busy: map[net.Conn]bool{}}, fail: make(chan error, 1), timers: map[string]*timer{}}
	if n, err := strconv.ParseInt(opt.Settings.Get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"), 10, 64); err == nil && n > 0 {
		h.bodyLimit = n
	}
	h.forwarded = opt.Settings.Flag("ASPNETCORE_FORWARDEDHEADERS_ENABLED")
	h.client = loopback.New(h.handler)
	if opt.App != nil {
		h.sup = child.New(child.Options{Start: h.command, Port: opt.HandlerPort, InitTimeout: opt.App.Handler.InitTimeout,
			StderrIsError: opt.App.Handler.StderrIsError, Output: opt.Output, Host: opt.Log, Now: opt.Now})
		for _, f := range opt.App.Functions {
			if f.Timer != nil {
				h.timers[f.Name] = newTimer(h, f)
			}
		}
	}
	return h
}

// command is one start of the handler: the five variables of the host over the
// settings, and a new worker id each time.
func (h *Host) command() *exec.Cmd {
	port, id := strconv.Itoa(h.HandlerPort), h.guid()
	over := map[string]string{
		"FUNCTIONS_HTTPWORKER_PORT":         port,
		"FUNCTIONS_CUSTOMHANDLER_PORT":      port,
		"FUNCTIONS_HTTPWORKER_ID":           id,
		"FUNCTIONS_CUSTOMHANDLER_WORKER_ID": id,
		"FUNCTIONS_APP_ROOT_PATH":           h.App.Root,
	}
	env := app.NewSettings(h.Settings.Environ(over))
	args, _ := env.Expand(h.App.Handler.Arguments)
	// Names that are not set are taken out.
	args = regexp.MustCompile(`%[^%\s]+%`).ReplaceAllString(args, "")
	cmd := exec.Command(h.App.Handler.Executable, splitArgs(args)...)
	cmd.Dir = h.App.Handler.WorkingDirectory
	cmd.Env = env.Environ(nil)
	return cmd
}

// splitArgs splits at blanks outside double quotes.
func splitArgs(s string) []string {
	var out []string
	var word strings.Builder
	quoted, open := false, false
	for _, c := range s {
		switch {
		case c == '"':
			quoted, open = !quoted, true
		case c == ' ' && !quoted:
			if open {
				out = append(out, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(c)
			open = true
		}
	}
	if open {
		out = append(out, word.String())
	}
	return out
}

// Run serves on the listener until ctx ends, or until the handler has used up
// its restarts or never became ready. Then it closes the listener, finishes
// running requests for up to 30 s, kills the handler and returns nil, or the
// reason why it ended by itself.
func (h *Host) Run(ctx context.Context, ln net.Listener) error {
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	h.conns.wg.Add(1)
	go h.serve(requests, ln)

	alive, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	ended := make(chan error, 1)
	if h.App == nil || len(h.App.Functions) == 0 {
		go func() { <-alive.Done(); ended <- nil }()
	} else {
		go func() { ended <- h.sup.Run(alive) }()
	}
	ticking, stopTimers := context.WithCancel(ctx)
	defer stopTimers()
	for _, t := range h.timers {
		go t.run(ticking)
	}

	var reason error
	select {
	case <-ctx.Done():
	case reason = <-h.fail:
	case reason = <-ended:
		cut() // nobody will answer any more
		ended <- nil
	}
	_ = ln.Close()
	stopTimers()
	h.drain()
	kill()
	<-ended
	h.client.CloseIdle()
	return reason
}

// stop makes the host end by itself.
func (h *Host) stop(err error) {
	select {
	case h.fail <- err:
	default:
	}
}

// guid draws a version 4 UUID (RFC 9562 section 5.4).
func (h *Host) guid() string {
	var b [16]byte
	if _, err := io.ReadFull(h.Random, b[:]); err != nil {
		panic(fmt.Sprintf("no randomness: %v", err))
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// dispatch answers one request.
func (h *Host) dispatch(ctx context.Context, x *exchange) {
	if h.forwarded {
		x.forwardedHeaders()
	}
	if h.App == nil {
		x.notRunning()
		return
	}
	if strings.HasPrefix(strings.ToLower(x.path), "/admin/") {
		h.admin(ctx, x)
		return
	}
	name, _, ok := h.App.Routes.Match(x.req.Method, x.path)
	if !ok {
		if x.path == "/" {
			h.homepage(x)
			return
		}
		x.empty(http.StatusNotFound)
		return
	}
	f := h.App.Function(name)
	switch {
	case f.Disabled:
		x.empty(http.StatusNotFound)
	case !f.HTTP.Raw || h.App.Mode == app.Payload:
		h.Log.Error("function " + name + " gets its requests as JSON payloads, which devhost does not do")
		x.empty(http.StatusInternalServerError)
	default:
		h.invoke(ctx, x)
	}
}

// invoke hands an HTTP-only function's request to the handler.
func (h *Host) invoke(ctx context.Context, x *exchange) {
	var body []byte
	if x.req.Length > 0 {
		var err error
		if body, err = x.body(); errors.Is(err, errClientGone) {
			x.abort()
			return
		} else if err != nil {
			x.empty(http.StatusInternalServerError)
			return
		}
	}
	if err := h.sup.Ready(ctx, h.StartWait); err != nil {
		x.empty(http.StatusInternalServerError)
		if errors.Is(err, child.ErrNeverReady) {
			h.stop(err)
		}
		return
	}
	for _, l := range x.req.Header {
		// .NET writes header values as ASCII and throws at the rest.
		if !wire.IsASCII(l.Value) {
			x.empty(http.StatusInternalServerError)
			return
		}
	}
	ctx, timedOut, done := h.deadline(ctx)
	defer done()
	if h.App.Mode == app.Proxying {
		h.proxy(ctx, x, body)
	} else {
		h.forward(ctx, x, body, timedOut)
	}
}

// timeoutReply is how long after functionTimeout the client gets its answer.
const timeoutReply = 2300 * time.Millisecond

// deadline ends a context some time after functionTimeout; at functionTimeout
// itself the handler is killed and started again, with all that runs in it.
func (h *Host) deadline(parent context.Context) (ctx context.Context, timedOut func() bool, done func()) {
	ctx, cancel := context.WithCancel(parent)
	if h.App.FunctionTimeout == 0 {
		return ctx, func() bool { return false }, cancel
	}
	var fired atomic.Bool
	atLimit := time.AfterFunc(h.App.FunctionTimeout, func() {
		fired.Store(true)
		h.Log.Error("a function ran longer than functionTimeout")
		h.sup.Restart()
	})
	after := time.AfterFunc(h.App.FunctionTimeout+timeoutReply, cancel)
	return ctx, fired.Load, func() { atLimit.Stop(); after.Stop(); cancel() }
}

func (h *Host) homepage(x *exchange) {
	if h.Settings.Flag("AzureWebJobsDisableHomepage") {
		x.reply(http.StatusNoContent, "", nil, nil)
		return
	}
	const page = "<!DOCTYPE html><html><head><title>devhost</title></head>" +
		"<body><h1>Your Functions app is up and running</h1></body></html>\n"
	x.reply(http.StatusOK, "", header("Content-Type", "text/html"), []byte(page))
}
