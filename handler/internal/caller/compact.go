package caller

import (
	"crypto/rsa"
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
	parts []string

	headerJSON, claimsJSON, signature []byte

	header, claims object

	version string // "1.0" or "2.0", of the form that iss has
	key     *rsa.PublicKey
}

// split cuts the token into its three parts. None of them is empty: the signature is never optional.
func (t *candidate) split() bool {
	header, rest, _ := strings.Cut(t.raw, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	if header == "" || claims == "" || signature == "" || strings.Contains(signature, ".") {
		return false
	}
	t.parts = []string{header, claims, signature}
	return true
}

// decode takes canonical base64url alone.
func (t *candidate) decode() bool {
	// Even when it is strict, Go's decoder passes over line breaks.
	if len(t.parts) != 3 || strings.ContainsAny(t.raw, "\r\n") {
		return false
	}
	for n, into := range []*[]byte{&t.headerJSON, &t.claimsJSON, &t.signature} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(t.parts[n])
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
	return time.Unix(seconds, 0), true
}

// limits of what a token may hold. Entra's deepest claims (_claim_sources) have 3 levels, and its longest lists (groups) 200.
const (
	maxDepth  = 16
	maxValues = 2000
)

var errJSON = errors.New("not one JSON object of the strict form")

// parseObject reads one JSON object strictly. known are names, all in lower case, that must not appear in another case: a
// reader that folds case would take them for the real ones.
func parseObject(document []byte, known map[string]bool) (object, error) {
	o, err := strictjson.Object(document, "token", strictjson.Limits{Depth: maxDepth, Values: maxValues, Text: maxToken})
	if err != nil {
		return nil, errJSON
	}
	for name := range o {
		if folded := strictjson.Fold(name); folded != name && known[folded] {
			return nil, errJSON
		}
	}
	return o, nil
}
