package caller

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Rejected is the error for a token that is not accepted: 401 (RFC 6750 section 3.1, invalid_token). Whoever sent it learns
// nothing but that (AUT-6): the rest is for the log line and the sealed ticket.
type Rejected struct {
	// Cause is the rule that failed: Explain tells what it means.
	Cause Cause
	// Expected and Got are what the rule compared, at most 120 bytes each, or "". They hold no token, no part of one that
	// somebody could use, and no claim about a person.
	Expected, Got string
}

func (r *Rejected) Error() string {
	return "token refused: " + string(r.Cause) + comparison(r.Expected, r.Got)
}

// Forbidden is the error for a caller who is known and may not do this: 403 (RFC 6750 section 3.1, insufficient_scope).
type Forbidden struct {
	// Cause is the rule that failed: Explain tells what it means, and which class the caller sees.
	Cause Cause
	// Scope is the one that is needed.
	Scope string
	// Expected and Got are what the rule compared, as in Rejected.
	Expected, Got string
}

func (f *Forbidden) Error() string {
	return "the scope " + f.Scope + " is refused: " + string(f.Cause) + comparison(f.Expected, f.Got)
}

// comparison puts what was expected and what came behind a message.
func comparison(expected, got string) string {
	switch {
	case expected == "" && got == "":
		return ""
	case expected == "":
		return " (got " + got + ")"
	case got == "":
		return " (expected " + expected + ")"
	}
	return " (expected " + expected + ", got " + got + ")"
}

// ErrUnavailable says that nobody can tell now whether the token is good, since the issuer's keys or the storage cannot be
// reached: 503. Asking again later is right.
var ErrUnavailable = errors.New("the token cannot be checked now")

// maxShown is the most that Expected and Got hold, in bytes.
const maxShown = 120

// shown makes what came from outside fit for a log line and a ticket: short, on one line, and never a token inside a claim.
// What looks like one is not quoted: every JWT, and every part of one with JSON in it, begins with the base64url of `{"`.
func shown(text string) string {
	if strings.Contains(text, "eyJ") {
		return "(something like a token)"
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError { // nor what turns the direction of writing
			return '?'
		}
		return r
	}, text)
	if len(text) <= maxShown {
		return text
	}
	end := maxShown - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
