// Package certs makes the throw-away certificates of the local stack: one
// authority and one leaf for this machine's loopback names.
//
// It owns the three files below. It refuses to keep the authority's private
// key: nothing more can ever be signed by it, so a copy of the CA file that is
// left in somebody's trust store lets nobody in.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is long enough for any test or working week, and short enough that
// a forgotten folder is of no use.
const lifetime = 14 * 24 * time.Hour

// Files names what Make wrote; all are PEM.
type Files struct {
	CA   string // the authority's certificate: what clients trust
	Cert string // the leaf for 127.0.0.1, ::1 and localhost
	Key  string // the leaf's private key (PKCS #8, mode 0600)
}

// Make writes a new authority and leaf into dir, which must exist. They are
// valid from an hour before now (clocks differ) for 14 days. Files of an
// earlier run are replaced.
func Make(dir string, now time.Time) (Files, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Files{}, fmt.Errorf("authority key: %w", err)
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Files{}, fmt.Errorf("leaf key: %w", err)
	}
	authority := x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Latchkey local authority"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(lifetime),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, &authority, &authority, caKey.Public(), caKey)
	if err != nil {
		return Files{}, fmt.Errorf("authority: %w", err)
	}
	leaf := x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "Latchkey local"},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, &leaf, &authority, leafKey.Public(), caKey)
	if err != nil {
		return Files{}, fmt.Errorf("leaf: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		return Files{}, fmt.Errorf("leaf key: %w", err)
	}

	f := Files{
		CA:   filepath.Join(dir, "ca.pem"),
		Cert: filepath.Join(dir, "leaf.pem"),
		Key:  filepath.Join(dir, "leaf.key"),
	}
	for _, out := range []struct {
		path, kind string
		der        []byte
		mode       os.FileMode
	}{
		{f.CA, "CERTIFICATE", caDER, 0o644},
		{f.Cert, "CERTIFICATE", leafDER, 0o644},
		{f.Key, "PRIVATE KEY", keyDER, 0o600},
	} {
		body := pem.EncodeToMemory(&pem.Block{Type: out.kind, Bytes: out.der})
		if err := os.WriteFile(out.path, body, out.mode); err != nil {
			return Files{}, err
		}
	}
	return f, nil
}
