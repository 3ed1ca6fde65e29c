package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"sync"
	"time"
)

// signingKey is one RSA key as Entra publishes it: with a self-signed
// certificate whose SHA-1 thumbprint is both x5t and kid.
type signingKey struct {
	kid     string
	private *rsa.PrivateKey
	cert    []byte // DER
}

func newSigningKey(now time.Time) (signingKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return signingKey{}, fmt.Errorf("signing key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return signingKey{}, fmt.Errorf("signing key: %w", err)
	}
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(5, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		return signingKey{}, fmt.Errorf("signing key: %w", err)
	}
	return signingKey{kid: thumbprint(der), private: private, cert: der}, nil
}

// thumbprint is x5t of RFC 7517, section 4.8. SHA-1 is the format's own choice
// and protects nothing here.
func thumbprint(der []byte) string {
	sum := sha1.Sum(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// keyring holds the published keys, newest first: the first one signs. Its
// file makes a restart look like an outage of Entra, not like a new tenant.
type keyring struct {
	path string

	mu     sync.Mutex
	keys   []signingKey
	hidden *signingKey // signs what no verifier may accept; never published
}

func openKeyring(path string, now time.Time) (*keyring, error) {
	r := &keyring{path: path}
	body, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, r.rotate(now, false)
	case err != nil:
		return nil, err
	}
	for len(body) > 0 {
		var keyBlock, certBlock *pem.Block
		keyBlock, body = pem.Decode(body)
		certBlock, body = pem.Decode(body)
		if keyBlock == nil || certBlock == nil {
			return nil, fmt.Errorf("%s: not pairs of key and certificate", path)
		}
		parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		private, ok := parsed.(*rsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("%s: not an RSA key", path)
		}
		r.keys = append(r.keys, signingKey{kid: thumbprint(certBlock.Bytes), private: private, cert: certBlock.Bytes})
	}
	if len(r.keys) == 0 {
		return nil, fmt.Errorf("%s: no key in it", path)
	}
	return r, nil
}

// rotate makes a new key that signs from now on. The older ones stay
// published, as Entra's do, or go at once when dropOld is set.
func (r *keyring) rotate(now time.Time, dropOld bool) error {
	fresh, err := newSigningKey(now)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	next := []signingKey{fresh}
	if !dropOld {
		next = append(next, r.keys...)
	}
	if err := save(r.path, next); err != nil {
		return err
	}
	r.keys = next
	return nil
}

func save(path string, keys []signingKey) error {
	var body []byte
	for _, k := range keys {
		der, err := x509.MarshalPKCS8PrivateKey(k.private)
		if err != nil {
			return err
		}
		body = append(body, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
		body = append(body, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.cert})...)
	}
	// Written beside and moved, so that a kill never leaves half a file.
	if err := os.WriteFile(path+".new", body, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (r *keyring) signer() signingKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys[0]
}

// unpublished returns a key that is in no keys document, made on first use.
func (r *keyring) unpublished(now time.Time) (signingKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hidden == nil {
		k, err := newSigningKey(now)
		if err != nil {
			return signingKey{}, err
		}
		r.hidden = &k
	}
	return *r.hidden, nil
}

// jwk is one entry of a keys document. Entra sends no "alg", and "issuer" in
// the v2 document only.
type jwk struct {
	Kty    string   `json:"kty"`
	Use    string   `json:"use"`
	Kid    string   `json:"kid"`
	X5t    string   `json:"x5t"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	X5c    []string `json:"x5c"`
	Issuer string   `json:"issuer,omitempty"`
}

func (r *keyring) published(issuer string) []jwk {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]jwk, 0, len(r.keys))
	for _, k := range r.keys {
		out = append(out, jwk{
			Kty:    "RSA",
			Use:    "sig",
			Kid:    k.kid,
			X5t:    k.kid,
			N:      base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()),
			E:      base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.private.E)).Bytes()),
			X5c:    []string{base64.StdEncoding.EncodeToString(k.cert)},
			Issuer: issuer,
		})
	}
	return out
}
