package caller

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
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

// object is a JSON object whose names are exact. Values are string, json.Number, bool, nil, []any or object.
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

// maxDepth is how deep objects and arrays may nest. Entra's deepest claims (_claim_sources) have 3 levels.
const maxDepth = 16

var errJSON = errors.New("not one JSON object of the strict form")

// parseObject reads one JSON object strictly: UTF-8, every name once however it is written, nothing behind it. known are names,
// all in lower case, that must not appear in another case: a reader that folds case would take them for the real ones.
func parseObject(document []byte, known map[string]bool) (object, error) {
	// Valid tests the whole grammar before anything is built, and the depth it goes to is bounded.
	if !json.Valid(document) {
		return nil, errJSON
	}
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	value, err := readValue(d, 0)
	o, isObject := value.(object)
	if err != nil || !isObject {
		return nil, errJSON
	}
	for name := range o {
		if folded := fold(name); folded != name && known[folded] {
			return nil, errJSON
		}
	}
	return o, nil
}

func readValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delimiter, opens := token.(json.Delim)
	switch {
	case !opens:
		return scalar(token)
	case depth == maxDepth:
		return nil, errJSON
	case delimiter == '[':
		list := []any{}
		for d.More() {
			value, err := readValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err
	}
	o, folded := object{}, map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		same := fold(name)
		if _, err := scalar(name); err != nil || folded[same] {
			return nil, errJSON
		}
		folded[same] = true
		if o[name], err = readValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return o, err
}

// scalar refuses strings with U+FFFD: the decoder puts it in the place of bytes that are no UTF-8 and of \u escapes that are half
// a surrogate pair, so that two different strings would look the same.
func scalar(token json.Token) (any, error) {
	if s, ok := token.(string); ok && strings.ContainsRune(s, utf8.RuneError) {
		return nil, errJSON
	}
	return token, nil
}

// fold gives one form to all names that strings.EqualFold (and encoding/json) takes for the same.
func fold(name string) string {
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			return strings.ToLower(strings.ToUpper(name))
		}
	}
	return name
}
