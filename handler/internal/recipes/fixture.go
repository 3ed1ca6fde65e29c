package recipes

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Names are what the world calls itself.
type Names struct {
	Tenant   string // GUID, in lower case
	Object   string // oid of the caller that is registered without scopes
	Stranger string // oid that is not registered
	Audience string // client id of the API; its App ID URI is api:// and this
	Scope    string // of the route, in lower case
	Other    string // a scope that the route does not ask for
	Listener string // base URL of a server that counts what reaches it
}

// Own is what tokens of ours are made of.
type Own struct {
	Issuer, Audience string
	Key              crypto.Signer // P-256
	KeyID            string
	Patient          string // a patient with a session
	Session, Token   string // its sid and jti
	Device           string // a device with a session
	// DeviceSession and DeviceToken are likewise.
	DeviceSession, DeviceToken string
}

// Fixture is a world with the private keys of its issuer. It is not changed after New and safe for concurrent use.
type Fixture struct {
	Names
	own  Own
	keys map[keyName]signer
}

// keyName says which private key is meant.
type keyName string

const (
	k1, k2, k3  keyName = "k1", "k2", "k3"     // the tenant's; the third comes with a rotation
	foreign     keyName = "foreign"            // published, with something about it that forbids its use
	attacker    keyName = "attacker"           // published by mistake only
	small       keyName = "small"              // RSA of 1024 bits
	elliptic256 keyName = "elliptic"           // P-256, published beside the tenant's in one document
	edwards     keyName = "edwards"            // Ed25519
	symmetric   keyName = "symmetric"          // bytes, published as an "oct" key in one document
	ours        keyName = "ours"               // Latchkey's own
	lowExponent keyName = "k1 with exponent 1" // public only
)

type signer struct {
	id          string // x5t of the certificate, as Entra names its keys
	private     crypto.Signer
	certificate []byte // DER, self-signed
}

// New makes a world. It draws keys, which takes about a second.
func New(names Names, own Own) (*Fixture, error) {
	f := &Fixture{Names: names, own: own, keys: map[keyName]signer{ours: {id: own.KeyID, private: own.Key}}}
	draw := map[keyName]func() (crypto.Signer, error){
		elliptic256: func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		edwards:     func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err },
	}
	for name, bits := range map[keyName]int{k1: 2048, k2: 2048, k3: 2048, foreign: 2048, attacker: 2048, small: 1024} {
		draw[name] = func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, bits) }
	}
	for name, key := range draw {
		private, err := key()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		template := x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
			NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0),
		}
		der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		sum := sha1.Sum(der)
		f.keys[name] = signer{encode(sum[:]), private, der}
	}
	f.keys[symmetric], f.keys[lowExponent] = signer{id: "symmetric"}, signer{id: "exponent-1"}
	return f, nil
}

func (f *Fixture) rsa(name keyName) *rsa.PrivateKey { return f.keys[name].private.(*rsa.PrivateKey) }

// certificate is in base64 as x5c has it.
func (f *Fixture) certificate(name keyName) string {
	return base64.StdEncoding.EncodeToString(f.keys[name].certificate)
}

// Issuers of the tenant (Microsoft, "Access token claims reference", iss).
func (f *Fixture) issuer1() string { return "https://sts.windows.net/" + f.Tenant + "/" }
func (f *Fixture) issuer2() string { return "https://login.microsoftonline.com/" + f.Tenant + "/v2.0" }

const (
	otherTenant  = "99999999-2222-4333-8444-555555555555"
	otherClient  = "11111111-1111-4111-8111-111111111111"
	thisClient   = "dddddddd-0000-4000-8000-000000000004"
	consumers    = "9188040d-6c67-4c5b-b112-36a304b66dad" // the tenant of personal accounts
	microsoft    = "https://login.microsoftonline.com/"
	globalAdmins = "62e90394-69f5-4237-9190-012177145e10" // Global Administrator, in wids
)

// fill replaces the names that texts of the table stand for.
func (f *Fixture) fill(s string) string {
	pairs := []string{
		"$TENANT", strings.ToUpper(f.Tenant), "$tenant", f.Tenant, "$iss1", f.issuer1(), "$iss2", f.issuer2(),
		"$object", f.Object, "$stranger", f.Stranger, "$AUDIENCE", strings.ToUpper(f.Audience), "$audience", f.Audience,
		"$SCOPE", strings.ToUpper(f.Scope), "$scope", f.Scope, "$other", f.Other,
		"$listening", strings.TrimPrefix(strings.TrimPrefix(f.Listener, "https://"), "http://"), "$listener", f.Listener,
		"$ourissuer", f.own.Issuer, "$ouraudience", f.own.Audience, "$patient", f.own.Patient,
		"$session", f.own.Session, "$jti", f.own.Token,
		"$devicesession", f.own.DeviceSession, "$devicetoken", f.own.DeviceToken, "$device", f.own.Device,
	}
	for name, key := range f.keys {
		pairs = append(pairs, "$kid("+string(name)+")", key.id)
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
