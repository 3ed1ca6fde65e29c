// Package codes owns the codes that people read and type (ACT-11, model.md section 2): their alphabet, what counts as
// the same character, the check character, and the printed form. It refuses a mistyped code before anything is looked up.
package codes

import (
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Alphabet has 23 characters, a prime, without vowels and look-alikes. One character carries 4.52 bits.
const Alphabet = "23456789CDFHJKMNPQRTVWX"

// Lengths in characters. The locator's is fixed; what lies between it and the check is the OTP (model.md section 2).
const (
	LocatorLength = 10
	SiteLength    = 3
	// MinOTP and MaxOTP bound an OTP on the wire, whatever the setting is today.
	MinOTP = 4
	MaxOTP = 12
	// MinDevice and MaxDevice bound a device's code without prefix and check, on the wire and as the setting (model.md section 2).
	MinDevice = 12
	MaxDevice = 21
	// maxChecked is the longest part that one check character can cover: weights must differ and none be 0 modulo 23.
	maxChecked = len(Alphabet) - 1
)

// ErrMistyped says that a code has the wrong shape, a character that is none, or a check that does not fit. It is the
// same for every code, and costs nothing.
var ErrMistyped = errors.New("the code is mistyped")

// values maps a byte of the canonical upper case to its value, or -1.
var values = func() (v [256]int8) {
	for i := range v {
		v[i] = -1
	}
	for i := range len(Alphabet) {
		v[Alphabet[i]] = int8(i)
	}
	return v
}()

// Canonical folds what people write to what was issued: lower case is upper, spaces and dashes are nothing, and a
// character outside the alphabet that looks like one of it is read as that one. Anything else is ErrMistyped.
func Canonical(s string) (string, error) {
	var b strings.Builder
	b.Grow(len(s))
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		switch c {
		case ' ', '-':
			continue
		case 'B':
			c = '8'
		case 'S':
			c = '5'
		case 'Z':
			c = '2'
		case 'G':
			c = '6'
		case 'U':
			c = 'V'
		}
		if values[c] < 0 {
			return "", ErrMistyped
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// Draw returns n characters of the alphabet, each equally likely, from r. It fails only when r fails.
func Draw(r io.Reader, n int) (string, error) {
	out := make([]byte, 0, n)
	// The largest multiple of 23 below 256: a byte beyond it is drawn again, so that none is likelier.
	const limit = 256 - 256%len(Alphabet)
	var buf [32]byte
	for len(out) < n {
		if _, err := io.ReadFull(r, buf[:]); err != nil {
			return "", fmt.Errorf("drawing a code: %w", err)
		}
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, Alphabet[int(b)%len(Alphabet)])
			}
		}
	}
	return string(out), nil
}

// sum is the weighted sum modulo 23 of canonical characters. The weights are 1, 2, ... from the right, all different and
// none 0 modulo 23, so that every single substitution and every swap of two different characters changes it.
func sum(canonical string) int {
	s := 0
	for i := range len(canonical) {
		s += (len(canonical) - i) * int(values[canonical[i]])
	}
	return s % len(Alphabet)
}

// withCheck appends the character that makes the weighted sum 0. The last character has weight 1.
func withCheck(canonical string) string {
	s := sum(canonical + Alphabet[:1])
	return canonical + string(Alphabet[(len(Alphabet)-s)%len(Alphabet)])
}

// Human is the printed form of a patient's code: site, locator, OTP and check, in groups of four behind the site
// (OXF-7KQ4-9F2M-...). Locator and OTP are canonical; both come from Draw.
func Human(site, locator, otp string) string {
	return printed(site, locator+otp)
}

// Device is the printed form of a device's code, which is canonical and comes from Draw: as Human, in one part.
func Device(site, code string) string { return printed(site, code) }

func printed(site, secret string) string {
	checked := withCheck(secret)
	var b strings.Builder
	b.WriteString(site)
	for i := range len(checked) {
		if i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(checked[i])
	}
	return b.String()
}

// bare upper-cases ASCII letters and drops spaces and dashes. Other letters stay: what only Unicode calls the same is
// not the same here.
func bare(r rune) rune {
	switch {
	case r == ' ', r == '-':
		return -1
	case 'a' <= r && r <= 'z':
		return r - ('a' - 'A')
	}
	return r
}

// ParseHuman takes a patient's code apart. The site's own prefix must stand in front (it is not folded, but case, spaces
// and dashes do not matter there either), and the check must fit; else ErrMistyped.
func ParseHuman(site, code string) (locator, otp string, err error) {
	secret, err := unprinted(site, code)
	if err != nil || len(secret) < LocatorLength+MinOTP {
		return "", "", ErrMistyped
	}
	return secret[:LocatorLength], secret[LocatorLength:], nil
}

// ParseDevice takes a device's code apart, as ParseHuman does. A patient's code has the shape of one: it is for the look-up to say
// that there is no such device's.
func ParseDevice(site, code string) (string, error) {
	secret, err := unprinted(site, code)
	if err != nil || len(secret) < MinDevice {
		return "", ErrMistyped
	}
	return secret, nil
}

// unprinted is what stands between the prefix and the check, canonical, or ErrMistyped.
func unprinted(site, code string) (string, error) {
	rest, found := strings.CutPrefix(strings.Map(bare, code), site)
	if !found {
		return "", ErrMistyped
	}
	checked, err := Canonical(rest)
	if err != nil || len(checked) == 0 || len(checked) > maxChecked || sum(checked) != 0 {
		return "", ErrMistyped
	}
	return checked[:len(checked)-1], nil
}

// ParseLocator folds a locator that was sent without the rest of its code, or answers ErrMistyped.
func ParseLocator(s string) (string, error) {
	c, err := Canonical(s)
	if err != nil || len(c) != LocatorLength {
		return "", ErrMistyped
	}
	return c, nil
}

// ParseOTP folds an OTP that was sent without the rest of its code, or answers ErrMistyped.
func ParseOTP(s string) (string, error) {
	c, err := Canonical(s)
	if err != nil || len(c) < MinOTP || len(c) > MaxOTP {
		return "", ErrMistyped
	}
	return c, nil
}

// ID draws a name that only machines read: 128 random bits, 26 characters of lower-case base32hex. Records, sessions and tries
// are named so.
func ID(r io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", fmt.Errorf("drawing an id: %w", err)
	}
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])), nil
}
