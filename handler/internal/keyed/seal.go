package keyed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// sealSalt is how many random bytes each box has: its key and nonce follow from them, so that no two boxes share a nonce under
// one key however many are made (AES-GCM alone bears 2^32, NIST SP 800-38D section 8.3).
const sealSalt = 16

// ErrSealed says that a box was not made by this ring, or is not whole.
var ErrSealed = errors.New("the box cannot be opened")

// Seal puts a text into a box that only the holder of the pepper opens: AES-256-GCM under a key of the box's own. Boxes of
// texts of one length have one length.
func (r *Ring) Seal(random io.Reader, text []byte) (string, error) {
	salt := make([]byte, sealSalt)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("sealing: %w", err)
	}
	p := r.peppers[0]
	gcm, nonce, err := p.box(salt)
	if err != nil {
		return "", err
	}
	return p.version + "~" + base64.RawURLEncoding.EncodeToString(gcm.Seal(salt, nonce, text, []byte(p.version))), nil
}

// Unseal opens a box, or answers ErrSealed.
func (r *Ring) Unseal(box string) ([]byte, error) {
	version, encoded, _ := strings.Cut(box, "~")
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(sealed) < sealSalt || strings.ContainsAny(encoded, "\r\n") {
		return nil, ErrSealed
	}
	for _, p := range r.peppers {
		if p.version != version {
			continue
		}
		gcm, nonce, err := p.box(sealed[:sealSalt])
		if err != nil {
			return nil, err
		}
		text, err := gcm.Open(nil, nonce, sealed[sealSalt:], []byte(version))
		if err != nil {
			return nil, ErrSealed
		}
		return text, nil
	}
	return nil, ErrSealed
}

// box is the cipher and the nonce of one box.
func (p *pepper) box(salt []byte) (cipher.AEAD, []byte, error) {
	const key, nonce = 32, 12
	stream, err := hkdf.Key(sha256.New, p.ticket, salt, "latchkey/box", key+nonce)
	if err != nil {
		return nil, nil, fmt.Errorf("deriving a box's key: %w", err)
	}
	block, err := aes.NewCipher(stream[:key])
	if err != nil {
		return nil, nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return gcm, stream[key:], err
}
