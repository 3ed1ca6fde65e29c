package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"latchkey/handler/internal/secret"
)

// minRSABits is the floor of RFC 7518 section 3.3.
const minRSABits = 2048

// Errors of ParseKey. None of them says anything about the value, which is a secret.
var (
	// ErrKeyForm: not one private key in a form that ParseKey reads.
	ErrKeyForm = errors.New("the signing key must be one private key: PKCS#8 or SEC1 in PEM, or a private JWK")
	// ErrKeyKind: a private key, but one that Latchkey does not sign with.
	ErrKeyKind = errors.New("the signing key must be EC P-256, RSA of at least 2048 bits, or Ed25519")
)

// Key is a private signing key with its one algorithm (RFC 8725 section 3.1: a key is used with exactly one).
// However it is printed, only its id shows.
type Key struct {
	id      string
	method  jwt.SigningMethod
	private crypto.Signer
	public  jwkset.JWKMarshal
}

// ID is the key's kid: its thumbprint by RFC 7638 with SHA-256. Whoever has the public key can compute it.
func (k *Key) ID() string { return k.id }

// Algorithm is the key's alg: ES256, RS256 or EdDSA.
func (k *Key) Algorithm() string { return k.method.Alg() }

// String implements fmt.Stringer.
func (k *Key) String() string { return "signing key " + k.id }

// GoString implements fmt.GoStringer, for %#v.
func (k *Key) GoString() string { return k.String() }

// LogValue implements slog.LogValuer.
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// ParseKey reads a private key: PKCS#8 ("PRIVATE KEY") or SEC1 ("EC PRIVATE KEY", RFC 5915) in PEM, or a private JWK
// (RFC 7517). EC P-256 signs ES256, RSA of 2048 bits or more RS256, Ed25519 EdDSA; anything else is ErrKeyKind. Other PEM
// blocks beside the key (EC parameters, certificates) are passed over; two private keys are ErrKeyForm.
func ParseKey(value secret.Text) (*Key, error) {
	text := strings.TrimSpace(value.Reveal())
	private, err := parsePEM([]byte(text))
	if strings.HasPrefix(text, "{") {
		private, err = parseJWK([]byte(text))
	}
	if err != nil {
		return nil, ErrKeyForm
	}

	key := &Key{}
	var alg jwkset.ALG
	switch p := private.(type) {
	case *ecdsa.PrivateKey:
		if p.Curve != elliptic.P256() {
			return nil, ErrKeyKind
		}
		key.private, key.method, alg = p, jwt.SigningMethodES256, jwkset.AlgES256
	case *rsa.PrivateKey:
		if p.N.BitLen() < minRSABits {
			return nil, ErrKeyKind
		}
		key.private, key.method, alg = p, jwt.SigningMethodRS256, jwkset.AlgRS256
	case ed25519.PrivateKey:
		key.private, key.method, alg = p, jwt.SigningMethodEdDSA, jwkset.AlgEdDSA
	default:
		return nil, ErrKeyKind
	}

	bare, err := jwkset.NewJWKFromKey(key.private.Public(), jwkset.JWKOptions{})
	if err != nil {
		return nil, ErrKeyKind
	}
	if key.id, err = thumbprint(bare.Marshal()); err != nil {
		return nil, ErrKeyKind
	}
	public, err := jwkset.NewJWKFromKey(key.private.Public(), jwkset.JWKOptions{
		Metadata: jwkset.JWKMetadataOptions{ALG: alg, KID: key.id, USE: jwkset.UseSig},
	})
	if err != nil {
		return nil, ErrKeyKind
	}
	key.public = public.Marshal()
	return key, nil
}

func parsePEM(text []byte) (found any, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if found != nil {
			return nil, ErrKeyForm
		}
		switch block.Type {
		case "PRIVATE KEY":
			found, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			found, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			err = ErrKeyForm
		}
		if err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, ErrKeyForm
	}
	return found, nil
}

func parseJWK(text []byte) (any, error) {
	jwk, err := jwkset.NewJWKFromRawJSON(text, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
	if err != nil {
		return nil, err
	}
	given, ok := jwk.Key().(crypto.Signer)
	if !ok {
		return nil, ErrKeyForm // a public or a symmetric key
	}
	// jwkset does not prove that the public members belong to the private one, and a signature made with a wrong pair can
	// give an Ed25519 key away. The way through PKCS#8 derives the public half anew.
	der, err := x509.MarshalPKCS8PrivateKey(given)
	if err != nil {
		return nil, err
	}
	derived, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	public, compares := given.Public().(interface{ Equal(crypto.PublicKey) bool })
	signer, signs := derived.(crypto.Signer)
	if !compares || !signs || !public.Equal(signer.Public()) {
		return nil, ErrKeyForm
	}
	return derived, nil
}

// thumbprint is RFC 7638 section 3: SHA-256 over the required members in the order of their names, without spaces. The members
// of Ed25519 keys are given by RFC 8037 appendix A.3.
func thumbprint(k jwkset.JWKMarshal) (string, error) {
	var members any
	switch k.KTY {
	case jwkset.KtyEC:
		members = struct {
			CRV jwkset.CRV `json:"crv"`
			KTY jwkset.KTY `json:"kty"`
			X   string     `json:"x"`
			Y   string     `json:"y"`
		}{k.CRV, k.KTY, k.X, k.Y}
	case jwkset.KtyRSA:
		members = struct {
			E   string     `json:"e"`
			KTY jwkset.KTY `json:"kty"`
			N   string     `json:"n"`
		}{k.E, k.KTY, k.N}
	case jwkset.KtyOKP:
		members = struct {
			CRV jwkset.CRV `json:"crv"`
			KTY jwkset.KTY `json:"kty"`
			X   string     `json:"x"`
		}{k.CRV, k.KTY, k.X}
	default:
		return "", ErrKeyKind
	}
	canonical, err := json.Marshal(members)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(canonical)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
