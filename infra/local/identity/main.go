// Command identity is the local stand-in for Entra ID and for the managed
// identity of an App Service app.
//
// It owns signing keys, the tenant's discovery and keys documents, a token
// endpoint that shapes a token as a test asks, the managed-identity
// endpoint, keys documents that tests write, and other OpenID providers. The
// issuer strings are Entra's real ones, so that a verifier runs the code it
// runs in production; only the address of the keys differs. It refuses to be
// more: no consent, no users, no secrets are checked, and it listens on
// loopback only. ../README.md lists its routes and parameters.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv); err != nil {
		log.SetFlags(0)
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string) error {
	flags := flag.NewFlagSet("identity", flag.ContinueOnError)
	var (
		port    = flags.Int("port", 0, "port of the issuer (TLS, 127.0.0.1)")
		msiPort = flags.Int("msi-port", 0, "port of the managed-identity endpoint (plain HTTP, 127.0.0.1, as App Service has it)")
		cert    = flags.String("cert", "", "certificate of the issuer, PEM `file`")
		key     = flags.String("key", "", "its private key, PEM `file`")
		keys    = flags.String("keys", "", "`file` that keeps the signing keys over a restart")
		tenant  = flags.String("tenant", "", "tenant `id`")
		api     = flags.String("api", "", "application (client) `id` of the API, for GET /")
		oid     = flags.String("oid", "", "object `id` of the managed identity")
		client  = flags.String("client", "", "client `id` of the managed identity")
		roles   = flags.String("roles", "", "app roles that the managed identity has at api://..., separated by spaces")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	header := getenv("IDENTITY_HEADER")
	for name, value := range map[string]string{
		"-cert": *cert, "-key": *key, "-keys": *keys, "-tenant": *tenant, "-oid": *oid, "-client": *client,
		"IDENTITY_HEADER (environment)": header,
	} {
		if value == "" {
			return fmt.Errorf("identity: %s is missing", name)
		}
	}

	ring, err := openKeyring(*keys, time.Now())
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	s := &service{
		tenant: *tenant,
		api:    *api,
		base:   "https://127.0.0.1:" + strconv.Itoa(*port),
		managed: managedIdentity{
			header: header, oid: *oid, client: *client, roles: strings.Fields(*roles),
		},
		ring: ring,
		now:  time.Now,
	}
	s.providers.base, s.providers.dir, s.providers.now = s.base, filepath.Dir(*keys), time.Now
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	issuer, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)))
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	msi, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(*msiPort)))
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}

	servers := []*http.Server{
		{Handler: s.issuerRoutes(), ReadHeaderTimeout: 10 * time.Second, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}},
		{Handler: s.managedRoutes(), ReadHeaderTimeout: 10 * time.Second},
	}
	failed := make(chan error, len(servers))
	go func() { failed <- servers[0].ServeTLS(issuer, "", "") }()
	go func() { failed <- servers[1].Serve(msi) }()
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	for _, server := range servers {
		err = errors.Join(err, server.Close())
	}
	return err
}
