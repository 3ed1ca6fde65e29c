package caller

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"latchkey/handler/internal/strictjson"
)

// candidate is a token under examination: the checks fill it in their order, each from what those before it found good.
type candidate struct {
	raw   string
	now   time.Time
	parts [3]string

	headerJSON, claimsJSON, signature []byte

	header, claims object

	from   *issuer
	key    *publicKey
	proof  func() bool // whether what verified the signature still counts
	caller Caller
}

// split cuts the token into its three parts. None of them is empty: the signature is never optional.
func (t *candidate) split() bool {
	header, rest, _ := strings.Cut(t.raw, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	if header == "" || claims == "" || signature == "" || strings.Contains(signature, ".") {
		return false
	}
	t.parts = [3]string{header, claims, signature}
	return true
}

// decode takes canonical base64url alone, of which the encoding is a strict one.
func (t *candidate) decode(strict *base64.Encoding) bool {
	// Even when it is strict, Go's decoder passes over line breaks.
	if strings.IndexByte(t.raw, '\r') >= 0 || strings.IndexByte(t.raw, '\n') >= 0 {
		return false
	}
	for n, into := range []*[]byte{&t.headerJSON, &t.claimsJSON, &t.signature} {
		b, err := strict.DecodeString(t.parts[n])
		if err != nil {
			return false
		}
		*into = b
	}
	return true
}

// object is a JSON object as package strictjson reads it: its names are exact.
type object map[string]any

// text returns a member that is a string, else "".
func (o object) text(name string) string {
	s, _ := o[name].(string)
	return s
}

// has reports whether there is a member, of whatever type.
func (o object) has(name string) bool {
	_, there := o[name]
	return there
}

// date returns a NumericDate in whole seconds. What lies at or before 1970 or after the year 5138 is none: it is 0, or somebody
// counted milliseconds from early on.
func (o object) date(name string) (time.Time, bool) {
	number, _ := o[name].(json.Number)
	seconds, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil || seconds <= 0 || seconds > 1e11 {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0).UTC(), true
}

// told says for people what a member is: its text, or what stands there instead of one.
func (o object) told(name string) string {
	value, there := o[name]
	if !there {
		return "(missing)"
	}
	switch v := value.(type) {
	case string:
		if v == "" {
			return "(empty)"
		}
		return v
	case json.Number:
		return "(a number) " + string(v)
	case bool:
		return "(true or false)"
	case []any:
		return "(a list)"
	case nil:
		return "(null)"
	}
	return "(an object)"
}

// Bounds of what a token may hold. Entra's deepest claims (_claim_sources) have 3 levels, and its longest lists (groups) 200.
const (
	maxDepth  = 16
	maxValues = 2000
	// A header has a dozen: what a stranger may fill is filled once, and not twice (ABU-4).
	maxHeaderValues = 100
)

// malformed are the causes of one part of a token that is not one JSON object of the strict form.
type malformed struct{ form, unicode, twice, spelling, excess Cause }

// object reads one JSON object strictly, of at most so many values. known are names, all in lower case, that must not appear in another case.
func (m malformed) object(document []byte, values int, known map[string]bool) (object, error) {
	limits := strictjson.Limits{Depth: maxDepth, Values: values, Text: maxToken, Spelt: known}
	o, err := strictjson.Object(document, "token", limits)
	var wrong *strictjson.Error
	if errors.As(err, &wrong) {
		causes := map[strictjson.Flaw]Cause{
			strictjson.Form: m.form, strictjson.Unicode: m.unicode, strictjson.Twice: m.twice, strictjson.Spelling: m.spelling,
			strictjson.Excess: m.excess,
		}
		return nil, refuse(causes[wrong.Flaw], "one JSON object that can be read in one way", "one that "+wrong.Problem)
	}
	return o, nil
}
