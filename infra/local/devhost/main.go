// Command devhost stands in for the Azure Functions host on a laptop that has
// no `func`: it reads a script root, starts the custom handler, keeps it
// running and routes HTTP and timers to it.
//
// It is measured against exchanges recorded on the real host's code; what it
// leaves out is in its help and, exchange by exchange, in left-out.txt. It is
// never linked into the handler.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"latchkey/infra/local/devhost/internal/app"
	"latchkey/infra/local/devhost/internal/child"
	"latchkey/infra/local/devhost/internal/host"
)

const help = `usage: devhost [--root DIR] [--port N] [--start-wait DURATION]

devhost stands in for the Azure Functions host on a laptop: custom handlers
with HTTP triggers (proxying or forwarding, as host.json says; proxying wins)
and timer triggers.

  --root DIR        script root: host.json, the handler, <function>/function.json (default ".")
  --port N          port on 127.0.0.1 (default Host.LocalHttpPort of local.settings.json, else 7071)
  --start-wait D    how long a request waits for the handler to start before it fails
                    and devhost ends (default 2m15s, as measured on the real host)

Every line on standard output begins with a time, a level (info, warn, error)
and its origin (host or handler). SIGINT and SIGTERM: the port closes, running
requests are finished for up to 30 s, then the handler gets SIGKILL.
POST /admin/functions/<name> with {"input":""} fires a timer.

Other than the real host, on purpose:
  - the handler runs in a process group of its own: a Ctrl-C of the terminal does
    not reach it; on Linux it dies with devhost. The real host shares its group
    and leaves it behind.
  - keys are not checked, as with func start: function and admin levels are open.
  - timers keep their status in memory, not in storage: after a start Last is
    empty and nothing is past due. Times are UTC.
  - the constraint datetime and .NET's own regular expressions are not known.
  - the version in headers is ` + host.Version + `.

Not done, because this app cannot notice it:
  - HTTP functions by JSON payload (no HTTP mode enabled, or other bindings than
    one httpTrigger and one http output): 500 and a line in the log
  - triggers other than httpTrigger and timerTrigger; httpWorker; customHandler.http
    routes; configuration profiles; extension bundles
  - keys, secrets and EasyAuth; the front end's own headers (DISGUISED-HOST);
    CORS; hsts and the throttles of extensions.http
  - admin routes but host/status, host/ping and functions/<name>; drain mode
  - HTTP/2, TLS, WebSockets, upgrades; Application Insights and traceparent
`

func main() {
	if err := run(os.Args[1:], os.Environ(), os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "devhost:", err)
		os.Exit(1)
	}
}

func run(args, environ []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("devhost", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(stdout, help) }
	root := flags.String("root", ".", "")
	port := flags.Int("port", 0, "")
	startWait := flags.Duration("start-wait", 135*time.Second, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("--root %s is not a folder", dir)
	}
	console := &console{w: stdout, now: time.Now}
	log, output := console.from("host"), console.from("handler")

	settings := app.NewSettings(environ)
	local, err := settings.AddLocalFile(dir)
	if err != nil {
		return err
	}
	if local.Warning != "" {
		log.Warn(local.Warning)
	}
	if *port == 0 {
		*port = local.Port
	}
	if *port == 0 {
		*port = 7071
	}
	// What func start sets for its host.
	settings.Default("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
	settings.Default("WEBSITE_HOSTNAME", "localhost:"+strconv.Itoa(*port))
	settings.Default("AzureWebJobsScriptRoot", dir)

	loaded, err := app.Load(dir, settings)
	if err != nil {
		log.Error(err.Error() + "; every request gets 503 until that is mended and devhost is started again")
	}
	handlerPort, err := describe(loaded, log)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)))
	if err != nil {
		return err
	}
	log.Info(fmt.Sprintf("listening on http://%s, root %s", ln.Addr(), dir))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	h := host.New(host.Options{App: loaded, Settings: settings, HandlerPort: handlerPort, StartWait: *startWait,
		Log: log, Output: output, Now: time.Now, Random: rand.Reader})
	switch err := h.Run(ctx, ln); {
	case errors.Is(err, child.ErrBudget):
		// The platform starts the real host again; its exit code is 0 too.
		log.Error("Exceeded http worker restart retry count. Shutting down Functions Host")
	case err != nil:
		log.Error(err.Error() + "; shutting down")
	default:
		log.Info("stopped")
	}
	return nil
}

// describe logs what was loaded, and chooses the handler's port: the one that
// host.json asks for, or a free one.
func describe(a *app.App, log child.Log) (int, error) {
	if a == nil {
		return 0, nil
	}
	for _, p := range a.Problems {
		log.Error(p)
	}
	if len(a.Functions) == 0 {
		log.Warn("no functions found; the handler is not started")
	}
	for _, f := range a.Functions {
		switch {
		case f.Disabled:
			log.Info(f.Name + ": disabled")
		case f.HTTP != nil:
			log.Info(fmt.Sprintf("%s: %v %s", f.Name, f.HTTP.Methods, f.HTTP.Route))
		default:
			log.Info(f.Name + ": timer")
		}
	}
	log.Info("HTTP mode: " + a.Mode.String())
	ln, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Handler.Port)))
	if err != nil {
		return 0, fmt.Errorf("unable to bind to the handler's port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// console writes one line at a time.
type console struct {
	mu  sync.Mutex
	w   io.Writer
	now func() time.Time
}

func (c *console) from(origin string) child.Log { return source{c, origin} }

type source struct {
	c      *console
	origin string
}

func (s source) Info(line string)  { s.write("info ", line) }
func (s source) Warn(line string)  { s.write("warn ", line) }
func (s source) Error(line string) { s.write("error", line) }

func (s source) write(level, line string) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	fmt.Fprintf(s.c.w, "%s %s %s: %s\n", s.c.now().UTC().Format("2006-01-02T15:04:05.000Z"), level, s.origin, line)
}
