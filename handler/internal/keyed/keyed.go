// Package keyed makes and checks what is stored instead of a secret (ACT-15, model.md section 3): keyed hashes of codes
// that act as keys, and memory-hard, salted, keyed hashes of OTPs. The key is a pepper that storage never sees. Every
// stored string names the pepper and the method that made it, so that both can change.
package keyed

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/argon2"

	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/subject"
)

// MinPepper is the smallest pepper, in bytes: as long as the output of the hash (RFC 2104 section 3).
const MinPepper = sha256.Size

// Keyed hashes serve as storage keys: lower-case base32hex without padding sorts as its bytes do and needs no escapes.
var encoding = base32.HexEncoding.WithPadding(base32.NoPadding)

func encode(b []byte) string { return strings.ToLower(encoding.EncodeToString(b)) }

// Purposes keep the hashes of one kind of secret apart from those of another: each has a key of its own, derived from the
// pepper by HKDF (RFC 5869) with the purpose as its info.
const (
	purposeVersion    = "latchkey/version"
	purposeCode       = "latchkey/code"
	purposeCredential = "latchkey/credential"
	purposeOTP        = "latchkey/otp"
	purposeReference  = "latchkey/reference"
	purposeReplay     = "latchkey/replay"
	purposeTicket     = "latchkey/ticket"
)

// Hash is a keyed hash together with the version of the pepper that made it.
type Hash struct {
	Version string
	Sum     string
}

// String gives "version~sum", the form in which hashes stand in keys.
func (h Hash) String() string { return h.Version + "~" + h.Sum }

// pepper is one version of the key, with its derived keys.
type pepper struct {
	version                                          string
	code, credential, otp, reference, replay, ticket []byte
}

// Ring holds the peppers in force. The first one makes new hashes; all of them check old ones. It is immutable.
type Ring struct {
	peppers []*pepper // pointers: where fmt cannot call Format it prints addresses
	cost    Cost
}

// Format implements fmt.Formatter: the derived keys are worth as much as the pepper, and are never printed.
func (Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// NewRing takes peppers in standard base64, the current one first. Each must hold MinPepper bytes or more. A pepper's
// version is derived from it: two instances agree on it without being told, and it gives nothing away.
func NewRing(encoded ...secret.Text) (*Ring, error) {
	return NewRingWithCost(Cost{Memory: argonMemory, Passes: argonPasses, Lanes: argonLanes}, encoded...)
}

// NewRingWithCost is NewRing for tests that hash by the thousand: its OTPs cost what they are told to. Stored strings name their
// cost, so that any ring checks them.
func NewRingWithCost(cost Cost, encoded ...secret.Text) (*Ring, error) {
	if len(encoded) == 0 {
		return nil, errors.New("no pepper")
	}
	ring := &Ring{cost: cost}
	for _, e := range encoded {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(e.Reveal()))
		if err != nil {
			return nil, errors.New("a pepper is standard base64") // the cause would quote the secret
		}
		if len(raw) < MinPepper {
			return nil, fmt.Errorf("a pepper has %d bytes or more, this one has %d", MinPepper, len(raw))
		}
		p := &pepper{}
		for purpose, into := range map[string]*[]byte{
			purposeCode: &p.code, purposeCredential: &p.credential, purposeOTP: &p.otp, purposeReference: &p.reference,
			purposeReplay: &p.replay, purposeTicket: &p.ticket,
		} {
			if *into, err = hkdf.Key(sha256.New, raw, nil, purpose, sha256.Size); err != nil {
				return nil, fmt.Errorf("deriving a key: %w", err)
			}
		}
		version, err := hkdf.Key(sha256.New, raw, nil, purposeVersion, 5)
		if err != nil {
			return nil, fmt.Errorf("deriving a version: %w", err)
		}
		p.version = encode(version)
		ring.peppers = append(ring.peppers, p)
	}
	return ring, nil
}

// mac hashes parts under key. Each part goes in with its length, so that no two lists of parts are the same input.
func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return h.Sum(nil)
}

// Code gives the index keys of a locator, one a pepper, the current one first.
func (r *Ring) Code(kind subject.Kind, locator string) []Hash {
	return r.each(func(p *pepper) []byte { return mac(p.code, string(kind), locator) })
}

// Credential gives the keys under which a subject's authorisation code may stand, one a pepper, the current one first. The
// subject salts the hash. A keyed hash is enough for a secret of 112 bits or more (ASVS 5.0 6.5.2), and costs a microsecond.
func (r *Ring) Credential(of subject.ID, code string) []Hash {
	return r.each(func(p *pepper) []byte { return mac(p.credential, string(of.Kind), of.Name, code) })
}

// Reference gives a subject a name for logs that only the holder of the pepper can compute.
func (r *Ring) Reference(of subject.ID) string {
	return encode(mac(r.peppers[0].reference, string(of.Kind), of.Name)[:10])
}

func (r *Ring) each(sum func(*pepper) []byte) []Hash {
	hashes := make([]Hash, len(r.peppers))
	for i, p := range r.peppers {
		hashes[i] = Hash{Version: p.version, Sum: encode(sum(p))}
	}
	return hashes
}

// Version names the pepper that makes new hashes.
func (r *Ring) Version() string { return r.peppers[0].version }

// Derived is a stream of bytes that is the same for the same pepper and parts and tells nothing about them: secrets drawn from
// it can be told again without being stored (model.md section 3). It holds derivable bytes and no more. ErrHash: the ring has
// no such pepper.
func (r *Ring) Derived(version string, parts ...string) (io.Reader, error) {
	for _, p := range r.peppers {
		if p.version == version {
			stream, err := hkdf.Expand(sha256.New, mac(p.replay, parts...), "latchkey/derived", derivable)
			if err != nil {
				return nil, fmt.Errorf("deriving: %w", err)
			}
			return bytes.NewReader(stream), nil
		}
	}
	return nil, ErrHash
}

// derivable is how many bytes a stream holds: a code of 128 characters takes 32 at a time and throws one of a hundred away.
const derivable = 1024

// Mark is a short keyed hash by which the same parts are known again.
func (r *Ring) Mark(version string, parts ...string) (string, error) {
	for _, p := range r.peppers {
		if p.version == version {
			return encode(mac(p.replay, append([]string{"mark"}, parts...)...)[:16]), nil
		}
	}
	return "", ErrHash
}

// The cost of an OTP's hash: OWASP's second choice for argon2id (19 MiB, two passes, one lane), as model.md section 3 has
// it. It bounds what a thief of both the table and the pepper can try; the attempts bound everybody else.
const (
	argonMemory  = 19 * 1024 // KiB
	argonPasses  = 2
	argonLanes   = 1
	argonKeySize = 32 // bytes
)

// What a stored string may ask for at most: who can write to the table must not be able to stop the handler.
const (
	mostMemory = 256 * 1024 // KiB
	mostPasses = 16
	mostLanes  = 16
)

// Cost is what one argon2id hash takes (RFC 9106 section 3.1): memory in KiB, passes over it, lanes.
type Cost struct {
	Memory, Passes uint32
	Lanes          uint8
}

func (c Cost) allowed() bool {
	return c.Passes >= 1 && c.Passes <= mostPasses && c.Lanes >= 1 && c.Lanes <= mostLanes && c.Memory <= mostMemory
}

// ErrHash says that a stored hash cannot be read or names a pepper that is not in the ring.
var ErrHash = errors.New("the stored hash cannot be checked")

var phc = base64.RawStdEncoding.Strict()

// stored writes the PHC string of an OTP's hash.
func stored(c Cost, keyid string, salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d,keyid=%s$%s$%s",
		argon2.Version, c.Memory, c.Passes, c.Lanes, keyid, phc.EncodeToString(salt), phc.EncodeToString(key))
}

// OTP hashes a new OTP, canonical, for one activation: salt bytes from random, then argon2id over the keyed hash. The
// string is in the PHC form, with the pepper's version as keyid. It takes about 50 ms and 19 MiB.
func (r *Ring) OTP(random io.Reader, salt int, activation, otp string) (string, error) {
	s := make([]byte, salt)
	if _, err := io.ReadFull(random, s); err != nil {
		return "", fmt.Errorf("drawing a salt: %w", err)
	}
	p := r.peppers[0]
	key := argon2.IDKey(mac(p.otp, activation, otp), s, r.cost.Passes, r.cost.Memory, r.cost.Lanes, argonKeySize)
	return stored(r.cost, p.version, s, key), nil
}

// MatchOTP reports whether otp, canonical, is what hash was made from. It takes as long as OTP does. ErrHash means that the
// question cannot be answered: that is no "no".
func (r *Ring) MatchOTP(hash, activation, otp string) (bool, error) {
	fields := strings.Split(hash, "$") // "", argon2id, v=, parameters, salt, key
	if len(fields) != 6 {
		return false, ErrHash
	}
	var cost Cost
	parameters, keyid, _ := strings.Cut(fields[3], ",keyid=")
	if _, err := fmt.Sscanf(parameters, "m=%d,t=%d,p=%d", &cost.Memory, &cost.Passes, &cost.Lanes); err != nil || !cost.allowed() {
		return false, ErrHash
	}
	salt, saltErr := phc.DecodeString(fields[4])
	want, keyErr := phc.DecodeString(fields[5])
	// What does not come out again as it was is none of ours.
	if saltErr != nil || keyErr != nil || len(want) != argonKeySize || stored(cost, keyid, salt, want) != hash {
		return false, ErrHash
	}
	for _, p := range r.peppers {
		if p.version == keyid {
			got := argon2.IDKey(mac(p.otp, activation, otp), salt, cost.Passes, cost.Memory, cost.Lanes, argonKeySize)
			return subtle.ConstantTimeCompare(got, want) == 1, nil
		}
	}
	return false, ErrHash
}
