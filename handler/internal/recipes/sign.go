package recipes

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"hash"
	"math/big"
	"strings"
)

// signing makes the third part over "header.claims".
type signing func(d *draft, input string) []byte

// by signs with a private key in one algorithm of RFC 7518 section 3 or RFC 8037, whatever the header says.
func by(name keyName, alg string) signing {
	return func(d *draft, input string) []byte {
		key := d.f.keys[name].private
		if alg == "EdDSA" {
			return ed25519.Sign(key.(ed25519.PrivateKey), []byte(input))
		}
		hash, digest := digestOf(alg, input)
		switch alg[:2] {
		case "RS":
			return must(rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), hash, digest))
		case "PS":
			return must(rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		}
		r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), digest)
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

func digestOf(alg, input string) (crypto.Hash, []byte) {
	switch alg[2:] {
	case "384":
		sum := sha512.Sum384([]byte(input))
		return crypto.SHA384, sum[:]
	case "512":
		sum := sha512.Sum512([]byte(input))
		return crypto.SHA512, sum[:]
	case "1":
		sum := sha1.Sum([]byte(input))
		return crypto.SHA1, sum[:]
	}
	sum := sha256.Sum256([]byte(input))
	return crypto.SHA256, sum[:]
}

// keyed is an HMAC under bytes that anybody knows (CVE-2016-10555).
func keyed(alg string, material func(f *Fixture) []byte) signing {
	return func(d *draft, input string) []byte {
		var h func() hash.Hash = sha256.New
		if strings.HasSuffix(alg, "512") {
			h = sha512.New
		}
		mac := hmac.New(h, material(d.f))
		mac.Write([]byte(input))
		return mac.Sum(nil)
	}
}

func literal(s string) func(*Fixture) []byte { return func(*Fixture) []byte { return []byte(s) } }

// Forms of the public key k1.
func spkiDER(f *Fixture) []byte { return must(x509.MarshalPKIXPublicKey(f.rsa(k1).Public())) }
func spkiPEM(f *Fixture) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spkiDER(f)})
}
func spkiBare(f *Fixture) []byte { return []byte(strings.TrimSuffix(string(spkiPEM(f)), "\n")) }
func pkcs1PEM(f *Fixture) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&f.rsa(k1).PublicKey)})
}
func modulus(f *Fixture) []byte     { return f.rsa(k1).N.Bytes() }
func modulusText(f *Fixture) []byte { return []byte(encode(modulus(f))) }
func certificatePEM(f *Fixture) []byte {
	return []byte("-----BEGIN CERTIFICATE-----\n" + f.certificate(k1) + "\n-----END CERTIFICATE-----\n")
}
func keyDocument(f *Fixture) []byte { return f.Document(Default).Body }

func unsigned(*draft, string) []byte { return nil }

func zeros(n int) signing { return func(*draft, string) []byte { return make([]byte, n) } }

// altered changes the bytes of a good signature.
func altered(change func([]byte) []byte) signing {
	return func(d *draft, input string) []byte { return change(by(k1, "RS256")(d, input)) }
}

// paddedDigest is what a signature under the exponent 1 looks like: the padded digest itself (RFC 8017 section 9.2).
func paddedDigest(d *draft, input string) []byte {
	_, digest := digestOf("RS256", input)
	prefix := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
	tail := append(append([]byte{0}, prefix...), digest...)
	em := []byte{0, 1}
	for len(em) < 256-len(tail) {
		em = append(em, 0xff)
	}
	return append(em, tail...)
}

// bareDigest pads the digest without saying which hash it is of.
func bareDigest(d *draft, input string) []byte {
	_, digest := digestOf("RS256", input)
	return must(rsa.SignPKCS1v15(rand.Reader, d.f.rsa(k1), 0, digest))
}

// plusModulus is the same signature, larger by the modulus: equal to it in arithmetic.
func plusModulus(d *draft, input string) []byte {
	s := new(big.Int).SetBytes(by(k1, "RS256")(d, input))
	return s.Add(s, d.f.rsa(k1).N).Bytes()
}

// asn1 is an ECDSA signature in the form of X.509 instead of JWS.
func asn1(name keyName) signing {
	return func(d *draft, input string) []byte {
		_, digest := digestOf("ES256", input)
		return must(ecdsa.SignASN1(rand.Reader, d.f.keys[name].private.(*ecdsa.PrivateKey), digest))
	}
}

// ofAnother is a good signature of the same key over other claims.
func ofAnother(d *draft, input string) []byte {
	return by(k1, "RS256")(d, input+"AA")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the keys are ours and good
	}
	return v
}
