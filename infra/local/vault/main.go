// Command vault is the local stand-in for a Key Vault's secrets.
//
// It owns secrets with their versions and attributes, the 401 challenge, the
// check of the caller's token against the local identity's keys, and a switch
// that makes it fail as Key Vault fails. It refuses what Latchkey does not
// use: keys, certificates, deletion and backup are not there, and it listens on
// loopback only. ../README.md says where it differs from the real one.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.SetFlags(0)
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("vault", flag.ContinueOnError)
	var (
		port   = flags.Int("port", 0, "port (TLS, 127.0.0.1)")
		cert   = flags.String("cert", "", "certificate, PEM `file`")
		key    = flags.String("key", "", "its private key, PEM `file`")
		data   = flags.String("data", "", "`file` with the secrets; read at start, written at every change")
		tenant = flags.String("tenant", "", "tenant `id` whose tokens are taken")
		keys   = flags.String("keys-url", "", "`url` of the tenant's keys document")
		ca     = flags.String("ca", "", "authority that -keys-url is trusted by, PEM `file`")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"-cert": *cert, "-key": *key, "-data": *data, "-tenant": *tenant, "-keys-url": *keys, "-ca": *ca,
	} {
		if value == "" {
			return fmt.Errorf("vault: %s is missing", name)
		}
	}
	authority, err := os.ReadFile(*ca)
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return fmt.Errorf("vault: %s: no certificate in it", *ca)
	}
	store, err := openStore(*data, time.Now)
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	s := newService(*port, store, &gate{
		tenant:   *tenant,
		resource: resourceFor(*port),
		keysURL:  *keys,
		client: &http.Client{
			Timeout:   10 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		},
		now: time.Now,
	})
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)))
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	server := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{pair}},
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(listener, "", "") }()
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	return errors.Join(err, server.Close())
}

// resourceFor is the audience that the vault asks for. azsecrets takes a
// challenge only when its resource's host, with a dot before it, ends the
// vault's own host (keyvault/internal, challenge_policy.go): for 127.0.0.1 the
// longest such host is 0.0.1. So a client keeps that check on here too.
func resourceFor(port int) string {
	return "https://0.0.1:" + strconv.Itoa(port)
}
