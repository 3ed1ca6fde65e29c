package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/MicahParks/jwkset"

	"latchkey/handler/internal/secret"
)

// must returns v; a test's own preparation does not fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pkcs8(private any) secret.Text {
	der := must(x509.MarshalPKCS8PrivateKey(private))
	return secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func sec1(private *ecdsa.PrivateKey) string {
	der := must(x509.MarshalECPrivateKey(private))
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func privateJWK(private any) secret.Text {
	jwk := must(jwkset.NewJWKFromKey(private, jwkset.JWKOptions{Marshal: jwkset.JWKMarshalOptions{Private: true}}))
	return secret.New(string(must(json.Marshal(jwk.Marshal()))))
}

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func newEd25519() ed25519.PrivateKey {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return must(private, err)
}

// testRSA saves the time of drawing RSA keys: the tests of other things share one.
var testRSA = must(rsa.GenerateKey(rand.Reader, 2048))

func TestTOK4_ParseKeyReadsEachForm(t *testing.T) {
	ec, ed := newEC(elliptic.P256()), newEd25519()
	parameters := string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}}))
	for _, test := range []struct {
		name  string
		value secret.Text
		alg   string
		want  crypto.Signer
	}{
		{"PKCS#8 EC", pkcs8(ec), "ES256", ec},
		{"PKCS#8 RSA", pkcs8(testRSA), "RS256", testRSA},
		{"PKCS#8 Ed25519", pkcs8(ed), "EdDSA", ed},
		{"SEC1", secret.New(sec1(ec)), "ES256", ec},
		{"SEC1 with parameters, as openssl writes it", secret.New(parameters + sec1(ec)), "ES256", ec},
		{"JWK EC", privateJWK(ec), "ES256", ec},
		{"JWK RSA", privateJWK(testRSA), "RS256", testRSA},
		{"JWK Ed25519", privateJWK(ed), "EdDSA", ed},
		{"space around", secret.New("\n " + pkcs8(ec).Reveal() + "\n"), "ES256", ec},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, err := ParseKey(test.value)
			if err != nil {
				t.Fatal(err)
			}
			if key.Algorithm() != test.alg {
				t.Errorf("algorithm %s, want %s", key.Algorithm(), test.alg)
			}
			if !key.private.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(test.want.Public()) {
				t.Error("another key was read")
			}
		})
	}
}

func TestTOK4_ParseKeyRefuses(t *testing.T) {
	ec, ed := newEC(elliptic.P256()), newEd25519()
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	swapped := map[string]string{}
	if err := json.Unmarshal([]byte(privateJWK(ed).Reveal()), &swapped); err != nil {
		t.Fatal(err)
	}
	swapped["x"] = base64.RawURLEncoding.EncodeToString(newEd25519().Public().(ed25519.PublicKey))
	public := must(jwkset.NewJWKFromKey(ec.Public(), jwkset.JWKOptions{}))
	publicDER := must(x509.MarshalPKIXPublicKey(ec.Public()))
	for _, test := range []struct {
		name  string
		value secret.Text
		want  error
	}{
		{"nothing", secret.New(""), ErrKeyForm},
		{"a word", secret.New("canary-5f2b"), ErrKeyForm},
		{"cut PEM", secret.New(pkcs8(ec).Reveal()[:80]), ErrKeyForm},
		{"broken DER", secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("canary-5f2b")}))), ErrKeyForm},
		{"two keys", secret.New(pkcs8(ec).Reveal() + pkcs8(ed).Reveal()), ErrKeyForm},
		{"a public key", secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}))), ErrKeyForm},
		{"an encrypted key", secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}))), ErrKeyForm},
		{"a public JWK", secret.New(string(must(json.Marshal(public.Marshal())))), ErrKeyForm},
		{"a symmetric JWK", privateJWK([]byte("canary-5f2b-canary-5f2b-canary-5f2b")), ErrKeyForm},
		{"a JWK whose halves do not match", secret.New(string(must(json.Marshal(swapped)))), ErrKeyForm},
		{"P-384", pkcs8(newEC(elliptic.P384())), ErrKeyKind},
		{"RSA of 1024 bits", privateJWK(small), ErrKeyKind},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, err := ParseKey(test.value)
			if !errors.Is(err, test.want) || key != nil {
				t.Fatalf("got %v, %v; want %v", key, err, test.want)
			}
			if err != test.want {
				t.Errorf("the error carries more than its fixed text: %v", err)
			}
		})
	}
}

func TestCFG5_KeysPrintNoSecret(t *testing.T) {
	ec := newEC(elliptic.P256())
	key := must(ParseKey(pkcs8(ec)))
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", key)
	d := must(ec.Bytes())
	for _, printed := range []string{
		fmt.Sprint(key), fmt.Sprintf("%+v", key), fmt.Sprintf("%#v", key), log.String(),
		fmt.Sprintf("%+v", struct{ K *Key }{key}),
	} {
		for _, form := range []string{fmt.Sprintf("%d", d), fmt.Sprintf("%x", d), base64.RawURLEncoding.EncodeToString(d), new(big.Int).SetBytes(d).String()} {
			if strings.Contains(printed, form) {
				t.Errorf("the private key shows in %q", printed)
			}
		}
	}
	if !strings.Contains(fmt.Sprint(key), key.ID()) {
		t.Error("the id does not show")
	}
}

// The example of RFC 7638 section 3.1.
func TestThumbprintOfRFC7638(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj" +
		"hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajr" +
		"n1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	jwk := must(jwkset.NewJWKFromRawJSON([]byte(`{"kty":"RSA","n":"`+n+`","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`),
		jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{}))
	if got := must(thumbprint(jwk.Marshal())); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("got %s", got)
	}
}

// The example of RFC 8037 appendix A.3.
func TestThumbprintOfRFC8037(t *testing.T) {
	jwk := must(jwkset.NewJWKFromRawJSON([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`),
		jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{}))
	if got := must(thumbprint(jwk.Marshal())); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("got %s", got)
	}
}
