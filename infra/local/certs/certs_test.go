package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"latchkey/infra/local/certs"
)

func TestLeafIsTrustedThroughItsOwnAuthorityOnly(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	mine, err := certs.Make(first, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := certs.Make(second, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(mine.Cert, mine.Key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	defer server.Close()

	get := func(ca string) error {
		roots := x509.NewCertPool()
		body, err := os.ReadFile(ca)
		if err != nil {
			t.Fatal(err)
		}
		roots.AppendCertsFromPEM(body)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := get(mine.CA); err != nil {
		t.Errorf("own authority: %v", err)
	}
	if err := get(other.CA); err == nil {
		t.Error("a leaf of another authority was trusted")
	}
	info, err := os.Stat(mine.Key)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("key file mode %v, want 0600", info.Mode().Perm())
	}
}
