// Package stack starts what makes a laptop look like Azure: Azurite, the
// identity service, the vault and, over them, the staged app under a Functions
// host.
//
//	s, err := stack.Start(ctx, stack.Options{Host: &stack.HostOptions{}})
//	defer s.Stop()
//	token, err := s.Issuer.Token(ctx, stack.TokenRequest{Roles: []string{"write:gdm_activation"}})
//
// It owns processes, ports, certificates, seeds and the app's environment.
// Every part is a process of its own and can be stopped and started again on
// its port with its data. It refuses to know the app: it imports nothing of
// the handler, talks to Azurite in plain REST, and stages nothing (dist/ is
// made by make package).
package stack

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"latchkey/infra/local/certs"
)

// The fixed ids of the local tenant. They are the same on every machine, so
// that a token, a log line or a note from one can be read on another.
const (
	DefaultTenant = "0f4d2c1b-6a59-4b7e-8c3d-1e2f3a4b5c6d" // the tenant, unless Entra__TenantId is set
	DefaultAPI    = "5b8e7c6d-2f1a-4d3c-9b0e-7a6f5e4d3c2b" // client id of the API's registration
	Administrator = "9c1d8e7f-3b2a-4c5d-8e6f-0a1b2c3d4e5f" // oid of the one administrator

	managedOID    = "a7b6c5d4-e3f2-4a1b-8c9d-0e1f2a3b4c5d"
	managedClient = "c3d4e5f6-a7b8-4c9d-8e0f-1a2b3c4d5e6f"
)

// ErrNoAzurite: infra/local/node_modules is not installed, or there is no
// node. Tests skip on it on a laptop and fail in CI.
var ErrNoAzurite = errors.New("azurite is not installed: run npm ci --prefix infra/local with Node 20 or later")

// ErrNoDist: there is no staged app to start a host on.
var ErrNoDist = errors.New("dist/ is missing: run make package")

// Options say where a stack lives and what it has. The zero value is a stack
// without a host in a temporary folder.
type Options struct {
	Root    string       // the repository; default: the folder of go.mod above the working directory
	Dist    string       // the staged app; default Root/dist
	Dir     string       // data and certificates, kept; default a temporary folder that Stop removes
	Host    *HostOptions // the first host; nil = none yet
	Environ []string     // what the stack and its parts inherit, NAME=value; nil = this process's own
	Output  io.Writer    // what the parts print, a line at a time with the part's name before it; nil = nowhere
}

// Stack is a running stack. Its methods may be called from many goroutines.
type Stack struct {
	Storage  *Part   // Azurite's table service
	Identity *Part   // Entra and the managed-identity endpoint
	Vault    *Part   // Key Vault
	Issuer   *Issuer // tokens of the local tenant

	Dir      string // data and certificates
	CAFile   string // the authority that Storage, Identity and Vault are trusted by, PEM
	CertFile string // its leaf for 127.0.0.1, for what a test puts between the app and a part, PEM
	KeyFile  string // the leaf's key, PEM
	Tables   string // URL of the table service with the account
	VaultURL string
	KeysURL  string // the tenant's v2 keys document

	options  Options
	client   *http.Client
	programs *programs
	output   *lines
	ports    struct{ storage, identity, managed, vault int }
	header   string // X-IDENTITY-HEADER

	mu     sync.Mutex
	hosts  []*Host
	issuer string // of Latchkey's own tokens: the first host's URL

	stop    sync.Once
	stopped error
}

// Start starts a stack and returns when each part answers. ctx bounds the
// start only; whatever was started is stopped again when it fails. Its errors
// are ErrNoAzurite, ErrNoDist, or name the part.
func Start(ctx context.Context, o Options) (*Stack, error) {
	s, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// prepare lays everything out without starting a process.
func prepare(o Options) (*Stack, error) {
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
	o.Environ = slices.Clip(o.Environ) // each part appends to its own copy
	if o.Root == "" {
		root, err := findRoot()
		if err != nil {
			return nil, err
		}
		o.Root = root
	}
	if o.Dist == "" {
		o.Dist = filepath.Join(o.Root, "dist")
	}
	azurite, err := findAzurite(o.Root)
	if err != nil {
		return nil, err
	}
	s := &Stack{options: o, output: newLines(o.Output), header: randomHex(), Dir: o.Dir}
	s.programs = &programs{root: o.Root, environ: o.Environ, output: s.output.named("build")}
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp("", "latchkey-"); err != nil {
			return nil, err
		}
	} else if s.Dir, err = filepath.Abs(s.Dir); err != nil {
		return nil, err
	}
	if err := s.layOut(azurite); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Stack) layOut(azurite azurite) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	tls, err := certs.Make(s.Dir, time.Now())
	if err != nil {
		return err
	}
	s.CAFile, s.CertFile, s.KeyFile = tls.CA, tls.Cert, tls.Key
	if s.client, err = trusting(tls.CA); err != nil {
		return err
	}
	if err := freePorts(&s.ports.storage, &s.ports.identity, &s.ports.managed, &s.ports.vault); err != nil {
		return err
	}
	if err := seedVault(s.vaultFile()); err != nil {
		return err
	}

	env := environment(s.options.Environ)
	tenant := env.or("Entra__TenantId", DefaultTenant)
	api := DefaultAPI
	s.Issuer = &Issuer{URL: loopback("https", s.ports.identity), Tenant: tenant, API: api, client: s.client}
	s.KeysURL = s.Issuer.URL + "/" + tenant + "/discovery/v2.0/keys"
	s.VaultURL = loopback("https", s.ports.vault)
	s.Tables = loopback("https", s.ports.storage) + "/" + azuriteAccount

	s.Storage = azurite.part(s, tls)
	s.Identity = &Part{
		name: "identity",
		path: s.programs.path("identity"),
		args: []string{
			"-port", strconv.Itoa(s.ports.identity), "-msi-port", strconv.Itoa(s.ports.managed),
			"-cert", tls.Cert, "-key", tls.Key, "-keys", filepath.Join(s.Dir, "identity.pem"),
			"-tenant", tenant, "-api", api, "-oid", managedOID,
			// A client id in the environment would be sent along by
			// azidentity; it then is the managed identity's.
			"-client", env.or("AZURE_CLIENT_ID", managedClient),
			"-roles", "write:gdm_activation read:gdm_activation",
		},
		env:    append(env, "IDENTITY_HEADER="+s.header),
		output: s.output.named("identity"),
		ready:  s.answers(s.Issuer.URL + "/"),
	}
	s.Vault = &Part{
		name: "vault",
		path: s.programs.path("vault"),
		args: []string{
			"-port", strconv.Itoa(s.ports.vault), "-cert", tls.Cert, "-key", tls.Key,
			"-data", s.vaultFile(), "-tenant", tenant, "-keys-url", s.KeysURL, "-ca", tls.CA,
		},
		env:    env,
		output: s.output.named("vault"),
		ready:  s.answers(s.VaultURL + "/"),
	}
	return nil
}

func (s *Stack) start(ctx context.Context) error {
	// Azurite takes most of a second; all else is ready before it.
	err := together(
		func() error { return s.Storage.Start(ctx) },
		func() error {
			names := []string{"identity", "vault"}
			if s.options.Host != nil && !s.options.Host.Direct && functionsTool() == "" {
				names = append(names, "devhost")
			}
			if err := s.programs.build(ctx, names...); err != nil {
				return err
			}
			return together(
				func() error { return s.Identity.Start(ctx) },
				func() error { return s.Vault.Start(ctx) },
			)
		},
	)
	if err != nil {
		return err
	}
	if err := s.createTables(ctx); err != nil {
		return err
	}
	if s.options.Host != nil {
		if _, err := s.StartHost(ctx, *s.options.Host); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends every process and removes the folder if Start made it. It returns
// what did not end as it should; a second call returns the same.
func (s *Stack) Stop() error {
	s.stop.Do(func() {
		s.mu.Lock()
		hosts := s.hosts
		s.mu.Unlock()
		stops := make([]func() error, 0, len(hosts))
		for _, h := range hosts {
			stops = append(stops, h.Stop)
		}
		s.stopped = together(stops...)
		// The parts go last, so that what a host finishes still finds them.
		s.stopped = errors.Join(s.stopped, together(s.Vault.Stop, s.Identity.Stop, s.Storage.Stop))
		if s.options.Dir == "" {
			s.stopped = errors.Join(s.stopped, os.RemoveAll(s.Dir))
		}
	})
	return s.stopped
}

// Hosts returns the hosts in the order they were started.
func (s *Stack) Hosts() []*Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.hosts)
}

// Client returns a client that trusts the stack's authority and no other.
func (s *Stack) Client() *http.Client { return s.client }

// answers is the readiness of a part that speaks HTTP: any reply will do.
func (s *Stack) answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		resp, err := get(ctx, s.client, url, nil)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
}

// together runs all of fs at once and returns their errors joined.
func together(fs ...func() error) error {
	errs := make([]error, len(fs))
	var wg sync.WaitGroup
	for i, f := range fs {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// trusting returns a client for loopback services below the authority in file.
func trusting(file string) (*http.Client, error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(body) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 16},
	}, nil
}

func get(ctx context.Context, client *http.Client, url string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	return client.Do(req)
}

func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory: set Options.Root")
		}
		dir = parent
	}
}

func randomHex() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func loopback(scheme string, port int) string {
	return scheme + "://127.0.0.1:" + strconv.Itoa(port)
}
