// Command latchkey is the custom handler: one HTTP server that the Functions host starts, or that LISTEN_ADDR starts without
// one. This package is the only wiring: it reads the environment, makes the credential and the clients, and hands them on.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
	_ "time/tzdata" // Functions on Linux may lack the system's

	azlog "github.com/Azure/azure-sdk-for-go/sdk/azcore/log"

	"latchkey/handler/internal/logging"
	"latchkey/handler/internal/readiness"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/server"
	"latchkey/handler/internal/settings"
	"latchkey/handler/internal/store"
	"latchkey/handler/internal/token"
)

// What was built: the Makefile sets them.
var version, build, commit = "development", "0", "unknown"

func main() {
	if err := run(os.LookupEnv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "latchkey:", err)
		os.Exit(1) // never 0: the host would take that for a wish not to run (host-contract.md section 2)
	}
}

// Time limits of the server. The host keeps idle connections for 75 s and must not find one closed that it writes to; it
// sends a request's body at once, since it has read it whole.
const (
	headerTime = 5 * time.Second
	readTime   = 30 * time.Second
	writeTime  = time.Minute // an operation takes 10 s at most
	idleTime   = 2 * time.Minute
	drainTime  = 25 * time.Second
	maxHeader  = 32 << 10 // bytes, as the host's own bound
)

func run(environment func(string) (string, bool), stdout, stderr io.Writer) error {
	lookup := settings.Environment(environment)
	checks := settings.Checks{ReadFile: os.ReadFile, SigningKey: func(k secret.Text) error { _, err := token.ParseKey(k); return err }}
	boot, problems := settings.LoadBoot(checks, lookup)
	if problems != nil {
		return problems
	}
	log := logging.New(stdout, stderr, boot.Log)
	azlog.SetListener(nil) // whatever AZURE_SDK_GO_LOGGING says: the SDK's lines hold row keys, and so ids
	monitor := readiness.New(time.Now, log)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// Listen first: the host waits for the port, and everything else may take its time.
	listener, err := net.Listen("tcp", boot.HTTP.Addr)
	if err != nil {
		return err
	}
	var parts atomic.Pointer[server.Parts]
	forwarded, _ := environment("ASPNETCORE_FORWARDEDHEADERS_ENABLED")
	if boot.HTTP.UnderHost && forwarded != "true" {
		log.Warn("no client's address can be trusted: budgets by source are off", "unset", "ASPNETCORE_FORWARDEDHEADERS_ENABLED")
	}
	s := &server.Server{
		Build: server.Build{Version: version, Number: build, Commit: commit},
		Parts: parts.Load, Ready: monitor.Checks, Count: count, Log: log, Clock: systemClock, Random: rand.Reader,
		UnderHost: boot.HTTP.UnderHost, ClientAddress: clientAddress(boot.HTTP.UnderHost, forwarded == "true"),
	}
	web := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()

	loaded := make(chan error, 1)
	go func() { loaded <- load(ctx, boot, checks, lookup, log, monitor, &parts) }()
	for {
		select {
		case err := <-loaded:
			if err != nil && ctx.Err() == nil {
				return err
			}
			loaded = nil
		case err := <-served:
			return err
		case <-ctx.Done():
			if boot.HTTP.UnderHost {
				// A terminal's Ctrl-C reaches the host as well, which restarts a handler that exits before it does.
				stop()
			}
			drain, cancel := context.WithTimeout(context.Background(), drainTime)
			defer cancel()
			return errors.Join(web.Shutdown(drain), ignore(<-served, http.ErrServerClosed))
		}
	}
}

func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// load waits for the settings, however long that takes, and then makes the parts.
func load(
	ctx context.Context, boot *settings.Boot, checks settings.Checks, environment settings.Lookup, log *slog.Logger,
	monitor *readiness.Monitor, parts *atomic.Pointer[server.Parts],
) error {
	net := newNetwork(boot.Network)
	readVault, err := net.vault(boot.KeyVault)
	if err != nil {
		return err
	}
	var source settings.Source
	loader := settings.Loader{Checks: checks, Environment: environment, Vault: readVault, Jitter: mathrand.Float64, Report: monitor.Settings}
	if err := loader.Start(ctx, &source); err != nil {
		return err
	}
	made, probes, err := assemble(ctx, &source, net, log)
	if err != nil {
		return err
	}
	monitor.Probe(probes)
	parts.Store(made)
	go monitor.Watch(ctx)
	return nil
}

var systemClock = server.Clock{Now: time.Now, Wait: func(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}}

func count(ctx context.Context) (context.Context, func() (int, int)) {
	ctx, trips := store.Count(ctx)
	return ctx, func() (int, int) { return int(trips.Sequence()), int(trips.Calls()) }
}
