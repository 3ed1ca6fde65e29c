// Command start runs the whole stack until Ctrl-C, answers that with exit 0 (go
// run would make it 1), and tells a newcomer what to paste: it is what make
// start runs. With the word token it prints a token of
// a stack that runs already: make token.
//
//	start [-since UNIX]
//	start token [-port 7071] "write:gdm_activation read:gdm_activation"
//
// The port is PORT, or 7071, or a free one when that is taken and PORT is not
// set. Everything it keeps is in .local/<port>/ below the repository.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"latchkey/infra/local/stack"
)

const (
	defaultPort   = 7071 // of func start
	defaultScopes = "write:gdm_activation read:gdm_activation"
)

func main() {
	began := time.Now()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	log.SetFlags(0)
	var err error
	if len(os.Args) > 1 && os.Args[1] == "token" {
		err = token(ctx, os.Args[2:], os.Stdout)
	} else {
		err = start(ctx, os.Args[1:], began, os.Getenv, os.Stdout, os.Stderr)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// start returns nil when it was asked to end and everything ended.
func start(ctx context.Context, args []string, began time.Time, getenv func(string) string, out, parts io.Writer) (err error) {
	flags := flag.NewFlagSet("start", flag.ContinueOnError)
	since := flags.Int64("since", 0, "when the caller began, in seconds since 1970: make's own work counts too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	port, dir, lock, err := claim(getenv("PORT"))
	if err != nil {
		return err
	}
	defer lock.Close()
	host := &stack.HostOptions{Port: port}
	if getenv("LOG_FORMAT") == "" {
		host.Env = []string{"LOG_FORMAT=plain"} // a person reads it
	}
	s, err := stack.Start(ctx, stack.Options{
		Dir:    dir,
		Host:   host,
		Output: parts,
	})
	if ctx.Err() != nil {
		// Ctrl-C before it was up: Start has stopped all again.
		if s != nil {
			return s.Stop()
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	took := time.Since(began)

	app := s.Hosts()[0]
	if err := save(dir, app.URL, s); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(filepath.Join(dir, aboutFile))) }()
	fmt.Fprintf(out, "\nLatchkey runs at %s (host: %s).\n", app.URL, app.Kind)
	fmt.Fprintf(out, "GET /running answered %.1f s after the start of the stack", took.Seconds())
	if *since > 0 {
		fmt.Fprintf(out, ", %.0f s after make began", time.Since(time.Unix(*since, 0)).Seconds())
	}
	fmt.Fprint(out, ".\n\n")

	bearer := "$TOKEN"
	if getenv("Entra__KeysUrl") != "" {
		fmt.Fprintf(out, "Tokens come from your own issuer (Entra__KeysUrl). Put one with %s into TOKEN.\n", defaultScopes)
	} else {
		if bearer, err = s.Issuer.Token(ctx, stack.TokenRequest{Roles: strings.Fields(defaultScopes)}); err != nil {
			return err
		}
		fmt.Fprintf(out, "A clinic system's token, good for an hour, with %s:\n\n%s\n", defaultScopes, bearer)
	}
	fmt.Fprint(out, "\nPaste these: the clinic activates a patient, the phone redeems the code, the phone buys a JWT.\n\n")
	for _, line := range curlLines(app.URL, bearer) {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintf(out, "\nAnother token: make token PORT=%d SCOPES=\"read:gdm_activation\". Ctrl-C stops everything.\n\n", port)

	select {
	case <-ctx.Done():
		return nil
	case <-app.Done():
		return fmt.Errorf("the host at %s has ended", app.URL)
	}
}

// claim returns the port and the folder of this copy. The folder is locked
// until lock is closed, so that two copies never share one.
func claim(wanted string) (port int, dir string, lock *os.File, err error) {
	port = defaultPort
	if wanted != "" {
		if port, err = strconv.Atoi(wanted); err != nil || port < 1 || port > 65535 {
			return 0, "", nil, fmt.Errorf("PORT=%s is not a port", wanted)
		}
	}
	for range 10 {
		dir = folder(port)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return 0, "", nil, err
		}
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return 0, "", nil, err
		}
		locked := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
		if locked && stack.PortFree(port) {
			return port, dir, lock, nil
		}
		lock.Close()
		if wanted != "" {
			return 0, "", nil, fmt.Errorf("port %d is taken: set PORT to another one, or leave it unset", port)
		}
		if port, err = stack.FreePort(); err != nil {
			return 0, "", nil, err
		}
	}
	return 0, "", nil, errors.New("no free port")
}

func folder(port int) string {
	return filepath.Join(".local", strconv.Itoa(port))
}

const aboutFile = "stack.json"

// about is that file: what make token and a test suite need of a stack, as
// long as it runs.
type about struct {
	BaseURL     string `json:"base_url"`
	IdentityURL string `json:"identity_url"`
	CAFile      string `json:"ca_file"`
	Tenant      string `json:"tenant"`
	API         string `json:"api"`
}

func save(dir, baseURL string, s *stack.Stack) error {
	body, err := json.MarshalIndent(about{
		BaseURL: baseURL, IdentityURL: s.Issuer.URL, CAFile: s.CAFile, Tenant: s.Issuer.Tenant, API: s.Issuer.API,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, aboutFile), append(body, '\n'), 0o644)
}

func token(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("token", flag.ContinueOnError)
	port := flags.Int("port", defaultPort, "port of the stack")
	version := flags.Int("version", 2, "1 or 2, as Entra's")
	if err := flags.Parse(args); err != nil {
		return err
	}
	body, err := os.ReadFile(filepath.Join(folder(*port), aboutFile))
	if err != nil {
		return fmt.Errorf("no stack runs at port %d (make start): %w", *port, err)
	}
	var a about
	if err := json.Unmarshal(body, &a); err != nil {
		return err
	}
	issuer, err := stack.Connect(ctx, a.IdentityURL, a.CAFile)
	if err != nil {
		return fmt.Errorf("no stack runs at port %d (make start): %w", *port, err)
	}
	scopes := strings.Fields(strings.Join(flags.Args(), " "))
	if len(scopes) == 0 {
		scopes = strings.Fields(defaultScopes)
	}
	got, err := issuer.Token(ctx, stack.TokenRequest{Roles: scopes, Version: *version})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, got)
	return err
}
