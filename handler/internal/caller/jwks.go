package caller

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"latchkey/handler/internal/strictjson"
)

// The algorithms that an issuer's tokens may be signed with: RS256, which every OpenID provider has (OpenID Connect Core section
// 15.1), and those of FAPI 2.0 (Security Profile section 5.4.1). Nothing with a shared secret, nothing with SHA-1, and no
// longer hashes of the same keys: they would be more to attack, and protect nothing more.
const (
	RS256 = "RS256"
	PS256 = "PS256"
	ES256 = "ES256"
	EdDSA = "EdDSA" // with Ed25519 alone
)

// Algorithms are all that can be allowed for a provider.
func Algorithms() []string { return []string{RS256, PS256, ES256, EdDSA} }

// method is how signatures of an algorithm are verified, nil for one that we do not know.
func method(algorithm string) jwt.SigningMethod {
	switch algorithm {
	case RS256:
		return jwt.SigningMethodRS256
	case PS256:
		// The library would take salts of every length. RFC 7518 section 3.5: as long as the hash.
		return &jwt.SigningMethodRSAPSS{
			SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA,
			VerifyOptions:    &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
		}
	case ES256:
		return jwt.SigningMethodES256
	case EdDSA:
		return jwt.SigningMethodEdDSA
	}
	return nil
}

// Bounds of RSA keys, in bits: what RFC 7518 section 3.3 asks for, and what crypto/tls takes. More only costs time.
const (
	minKeyBits = 2048
	maxKeyBits = 8192
)

// publicKey is a key with the one algorithm that it is for (RFC 8725 section 3.1).
type publicKey struct {
	algorithm string
	method    jwt.SigningMethod
	key       crypto.PublicKey
	// print is the same for the same key and algorithm alone.
	print [sha256.Size]byte
}

func newPublicKey(algorithm string, key crypto.PublicKey) (*publicKey, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return &publicKey{algorithm, method(algorithm), key, sha256.Sum256(append([]byte(algorithm), der...))}, nil
}

// verifies reports whether the signature of the text is by this key.
func (k *publicKey) verifies(signed string, signature []byte) bool {
	return k.method.Verify(signed, signature, k.key) == nil
}

// keyRules say which keys of a document are taken.
type keyRules struct {
	// algorithms are the allowed ones.
	algorithms []string
	// tenant is set for Entra ID: a key that names another issuer or another cloud is passed over.
	tenant string
	// issuer is a provider's, else: a key that names a tenant which is not in it is passed over.
	issuer string
}

// readDocument reads one of an issuer's documents strictly. A key with its certificates has some 20 values and some KB.
func readDocument(document []byte, name string) (object, error) {
	o, err := strictjson.Object(document, name, strictjson.Limits{Depth: 8, Values: 50_000, Text: 64 << 10})
	if err != nil {
		return nil, errors.New(err.Error()) // the document is no part of anybody's request, who is told what is wrong with that
	}
	return o, nil
}

// parse reads a JWK set (RFC 7517 section 5). Keys that we cannot use are passed over, as that section wants; when two
// different ones have the same kid neither is used, and the set is ambiguous. A document without any key is an error, and so is
// one that two readers could read in two ways.
func (r keyRules) parse(document []byte) (*keySet, error) {
	published, err := readDocument(document, "the keys document")
	if err != nil {
		return nil, err
	}
	list, ok := published["keys"].([]any)
	if !ok {
		return nil, errors.New("the keys document is no JWK set")
	}
	keys := make(map[string]*publicKey, len(list))
	var twice []string
	for _, one := range list {
		jwk, _ := one.(map[string]any)
		kid, key := r.key(jwk)
		if key == nil {
			continue
		}
		if other := keys[kid]; other != nil && other.print != key.print {
			twice = append(twice, kid)
		}
		keys[kid] = key
	}
	for _, kid := range twice {
		delete(keys, kid)
	}
	if len(keys) == 0 {
		return nil, errors.New("the keys document has no key that can be used")
	}
	return &keySet{keys: keys, ambiguous: len(twice) > 0}, nil
}

// key returns a key that can be used, or nil.
func (r keyRules) key(jwk object) (kid string, key *publicKey) {
	kid = jwk.text("kid")
	if kid == "" || len(kid) > maxName || !forVerifying(jwk) || !r.ours(jwk) {
		return "", nil
	}
	algorithm := r.algorithm(jwk)
	if algorithm == "" {
		return "", nil
	}
	// Nothing but the numbers is taken: what certificates say beside them is trusted by nobody here.
	parsed, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{
		KTY: jwkset.KTY(jwk.text("kty")), CRV: jwkset.CRV(jwk.text("crv")),
		N: jwk.text("n"), E: jwk.text("e"), X: jwk.text("x"), Y: jwk.text("y"),
	}, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil || !strong(parsed.Key()) {
		return "", nil
	}
	key, err = newPublicKey(algorithm, parsed.Key())
	if err != nil {
		return "", nil
	}
	return kid, key
}

// forVerifying reports whether a key may be used for signatures: use (RFC 7517 section 4.2) and key_ops (section 4.3) say so, as far
// as they are there.
func forVerifying(jwk object) bool {
	operations, _ := texts(jwk["key_ops"])
	return (!jwk.has("use") || jwk.text("use") == "sig") && (!jwk.has("key_ops") || slices.Contains(operations, "verify"))
}

var guids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// ours reports whether a key is the tenant's, where there is one (as IdentityModel's AadIssuerValidator has it), or the provider's.
// Both members are Microsoft's own.
func (r keyRules) ours(jwk object) bool {
	const (
		template = "{tenantid}"
		cloud    = "microsoftonline.com"
	)
	if r.tenant == "" {
		// External ID's documents, and other tenants', are Microsoft's too: a key for personal accounts in one of them is for
		// nobody else (Storm-0558). Its keys name the tenant, or have a template, under another host than iss has.
		foreign := func(id string) bool { return !strings.Contains(r.issuer, id) }
		return !jwk.has("issuer") || jwk.text("issuer") != "" && !slices.ContainsFunc(guids.FindAllString(jwk.text("issuer"), -1), foreign)
	}
	v1, v2 := EntraIssuers(r.tenant)
	issuer := strings.ReplaceAll(jwk.text("issuer"), template, r.tenant)
	return (!jwk.has("issuer") || issuer == v1 || issuer == v2) &&
		(!jwk.has("cloud_instance_name") || jwk.text("cloud_instance_name") == cloud)
}

// algorithm pins the one algorithm of a key: the one it names, if that is allowed and fits, else the only one of those allowed
// that fits it. It is "" for a key that fits none, or that could be meant for two.
func (r keyRules) algorithm(jwk object) string {
	var fitting []string
	for _, a := range r.algorithms {
		if fits(jwk, a) && (!jwk.has("alg") || jwk.text("alg") == a) {
			fitting = append(fitting, a)
		}
	}
	if len(fitting) != 1 {
		return ""
	}
	return fitting[0]
}

// fits reports whether a key of this type can be for an algorithm.
func fits(jwk object, algorithm string) bool {
	switch kty, crv := jwk.text("kty"), jwk.text("crv"); algorithm {
	case RS256, PS256:
		return kty == "RSA"
	case ES256:
		return kty == "EC" && crv == "P-256"
	case EdDSA:
		return kty == "OKP" && crv == "Ed25519"
	}
	return false
}

// strong reports whether a key is one that may be trusted with signatures.
func strong(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= minKeyBits && k.N.BitLen() <= maxKeyBits && k.E >= 3 && k.E%2 == 1 && !roca(k.N)
	case *ecdsa.PublicKey:
		_, err := k.ECDH() // it is a point on the curve
		return err == nil && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize
	}
	return false
}

// keysAddress finds the address of the keys in a provider's metadata (OpenID Connect Discovery section 4.3: the issuer in it must be
// exactly the one that was asked).
func keysAddress(metadata []byte, issuer string) (string, error) {
	m, err := readDocument(metadata, "the issuer's metadata")
	switch address := m.text("jwks_uri"); {
	case err != nil:
		return "", err
	case m.text("issuer") != issuer:
		return "", errors.New("the issuer's metadata is of another issuer")
	case secure(address) != nil:
		return "", errors.New("the issuer's metadata has no https jwks_uri")
	default:
		return address, nil
	}
}

// secure tests for an absolute https URL without a user in it.
func secure(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("it must be an https URL without a user")
	}
	return nil
}
