// Package strictjson refuses JSON that two readers could read in two ways. encoding/json takes the last of two members of one
// name, folds the case of names, and mends invalid Unicode in silence; RFC 8259 section 4 and RFC 7493 (I-JSON) section 2
// call such texts not interoperable. The package owns that check, for request bodies and for tokens; what the members mean
// is decided elsewhere.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Flaw is what kind of thing is wrong with a text.
type Flaw int

// The flaws.
const (
	// Form: it is not JSON, or no object.
	Form Flaw = iota
	// Unicode: it is not valid UTF-8, or has half a surrogate pair.
	Unicode
	// Twice: two members have one name, or one but for upper and lower case.
	Twice
	// Spelling: a member of the outermost object has a name of Limits.Spelt in another case.
	Spelling
	// Excess: it is beyond the limits, or a number is out of range.
	Excess
)

// Error says what is wrong and where. It never quotes a value.
type Error struct {
	// Path names the place, for example "body.otp", or is the root's name alone.
	Path string
	// Problem says what is wrong with it.
	Problem string
	// Flaw is the kind of the problem.
	Flaw Flaw
}

func (e *Error) Error() string { return e.Path + ": " + e.Problem }

// Limits bound the work that a text can cause.
type Limits struct {
	// Depth is how deep objects and lists may be nested; the whole text is 1 deep.
	Depth int
	// Values is how many members and elements there may be in all.
	Values int
	// Text is how long one text may be, in bytes.
	Text int
	// Spelt are names, folded, that members of the outermost object may have in no other case: a reader that folds case would
	// take those for the real ones.
	Spelt map[string]bool
}

// maxName is the longest name of a member, in bytes: errors repeat it.
const maxName = 128

// The longest number, in bytes, and the most digits of its exponent. All of these are in the range of a double, and cheap to read:
// a few hundred longer ones near the ends of that range cost whoever reads them milliseconds (ABU-4).
const maxNumber, maxExponent = 32, 2

// Object reads one JSON object (RFC 8259) and nothing behind it, within the limits, in valid Unicode, with numbers well in the range
// of RFC 7493 section 2.2, and without two members of one object whose names are equal or equal but for case. Values are string,
// json.Number, bool, nil, []any or map[string]any. Anything else is an *Error, in which root is the object's name.
func Object(data []byte, root string, limits Limits) (map[string]any, error) {
	value, err := read(data, root, limits)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &Error{root, "is not a JSON object", Form}
	}
	return object, nil
}

// List reads one JSON array as Object reads an object.
func List(data []byte, root string, limits Limits) ([]any, error) {
	value, err := read(data, root, limits)
	if err != nil {
		return nil, err
	}
	list, ok := value.([]any)
	if !ok {
		return nil, &Error{root, "is not a JSON array", Form}
	}
	return list, nil
}

func read(data []byte, root string, limits Limits) (any, error) {
	if !utf8.Valid(data) {
		return nil, &Error{root, "is not valid UTF-8", Unicode}
	}
	r := reader{text: string(data), limits: limits, path: []string{root}}
	value, err := r.value()
	if err == nil && r.next() != 0 {
		err = errGrammar
	}
	switch {
	case errors.Is(err, errGrammar):
		return nil, &Error{root, "is not JSON" + position(data), Form}
	case err != nil:
		return nil, err
	}
	return value, nil
}

// position says where a text that is not JSON goes wrong.
func position(data []byte) string {
	var any json.RawMessage
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(data, &any), &syntax) {
		return fmt.Sprintf(" at byte %d", syntax.Offset)
	}
	return ""
}

// errGrammar is what the grammar has no place for.
var errGrammar = errors.New("not JSON")

// reader reads a text of valid UTF-8. It takes the grammar of RFC 8259 and no more, as encoding/json does, in the one pass in which
// it tests the rest: a token's claims are read before anything of it is believed, so that this is what a stranger can make us do.
type reader struct {
	text   string
	at     int // the next byte
	limits Limits
	depth  int // of the objects and lists around the next byte
	values int
	path   []string // the members around the next byte, behind the root
}

// wrong makes an error that names the place.
func (r *reader) wrong(flaw Flaw, problem string) *Error {
	return &Error{strings.Join(r.path, "."), problem, flaw}
}

// next passes over white space and gives the byte behind it, without taking it: 0 at the end of the text. A 0 in the text is
// none that the grammar has a place for either, but behind the whole.
func (r *reader) next() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\n', '\t', '\r':
		case 0:
			return 1
		default:
			return c
		}
	}
	return 0
}

// take takes the next byte if it is this one.
func (r *reader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.at++
	return true
}

func (r *reader) value() (any, error) {
	switch r.next() {
	case '{', '[':
		return r.nested()
	case '"':
		return r.string()
	case 't':
		return true, r.word("true")
	case 'f':
		return false, r.word("false")
	case 'n':
		return nil, r.word("null")
	}
	return r.number()
}

func (r *reader) word(word string) error {
	if !strings.HasPrefix(r.text[r.at:], word) {
		return errGrammar
	}
	r.at += len(word)
	return nil
}

func (r *reader) nested() (value any, err error) {
	if r.depth == r.limits.Depth {
		return nil, r.wrong(Excess, fmt.Sprintf("is nested more than %d deep", r.limits.Depth))
	}
	r.depth++
	if r.text[r.at] == '{' {
		value, err = r.object()
	} else {
		value, err = r.list()
	}
	r.depth--
	return value, err
}

// count counts one more member or element.
func (r *reader) count() error {
	if r.values++; r.values > r.limits.Values {
		return r.wrong(Excess, fmt.Sprintf("is one value too many: there may be %d", r.limits.Values))
	}
	return nil
}

func (r *reader) list() ([]any, error) {
	all := []any{}
	r.at++
	if r.take(']') {
		return all, nil
	}
	for {
		if err := r.count(); err != nil {
			return nil, err
		}
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		all = append(all, value)
		switch {
		case r.take(']'):
			return all, nil
		case !r.take(','):
			return nil, errGrammar
		}
	}
}

func (r *reader) object() (map[string]any, error) {
	all := map[string]any{}
	var folded map[string]bool // the names that folding changed: few objects have any
	r.at++
	if r.take('}') {
		return all, nil
	}
	for {
		name, err := r.name()
		if err != nil {
			return nil, err
		}
		r.path = append(r.path, name)
		fold := Fold(name)
		if _, there := all[fold]; there || folded[fold] {
			return nil, r.wrong(Twice, "stands there twice, or twice but for upper and lower case")
		}
		if fold != name {
			if r.depth == 1 && r.limits.Spelt[fold] {
				return nil, r.wrong(Spelling, "is spelt "+fold)
			}
			if folded == nil {
				folded = map[string]bool{}
			}
			folded[fold] = true
		}
		if err := r.count(); err != nil {
			return nil, err
		}
		if !r.take(':') {
			return nil, errGrammar
		}
		if all[name], err = r.value(); err != nil {
			return nil, err
		}
		r.path = r.path[:len(r.path)-1]
		switch {
		case r.take('}'):
			return all, nil
		case !r.take(','):
			return nil, errGrammar
		}
	}
}

// name takes a member's name.
func (r *reader) name() (string, error) {
	name, ok := r.quoted()
	switch {
	case !ok:
		return "", errGrammar
	case len(name) > maxName:
		return "", r.wrong(Excess, fmt.Sprintf("has a member whose name is longer than %d bytes", maxName))
	case !whole(name):
		return "", r.wrong(Unicode, "has a member whose name is not valid Unicode")
	}
	return name, nil
}

func (r *reader) string() (any, error) {
	s, ok := r.quoted()
	switch {
	case !ok:
		return nil, errGrammar
	case len(s) > r.limits.Text:
		return nil, r.wrong(Excess, fmt.Sprintf("is longer than %d bytes", r.limits.Text))
	case !whole(s):
		return nil, r.wrong(Unicode, "is not valid Unicode")
	}
	return s, nil
}

// whole tests that no half of a surrogate pair was in a text: encoding/json puts U+FFFD in the place of such an escape, so that
// two different strings look the same. A text that means it has no business here either.
func whole(s string) bool { return !strings.Contains(s, string(utf8.RuneError)) }

// quoted takes a string from its first quotation mark to its last. Most have no escapes, and are a part of the text.
func (r *reader) quoted() (s string, ok bool) {
	if r.next() != '"' {
		return "", false
	}
	start := r.at
	for r.at++; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '"':
			r.at++
			return r.text[start+1 : r.at-1], true
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// escaped takes a string that has escapes, of which the first is the next byte; encoding/json reads them.
func (r *reader) escaped(start int) (s string, ok bool) {
	for ; r.at < len(r.text) && r.text[r.at] != '"'; r.at++ {
		if r.text[r.at] == '\\' {
			r.at++
		}
	}
	if r.at >= len(r.text) {
		return "", false
	}
	r.at++
	err := json.Unmarshal([]byte(r.text[start:r.at]), &s)
	return s, err == nil
}

// number takes a number: RFC 8259 section 6 is stricter than strconv.
func (r *reader) number() (any, error) {
	start := r.at
	digits := func() bool {
		from := r.at
		for r.at < len(r.text) && '0' <= r.text[r.at] && r.text[r.at] <= '9' {
			r.at++
		}
		return r.at > from
	}
	is := func(any string) bool {
		if r.at == len(r.text) || strings.IndexByte(any, r.text[r.at]) < 0 {
			return false
		}
		r.at++
		return true
	}
	is("-")
	ok := is("0") || digits()
	if ok && is(".") {
		ok = digits()
	}
	exponent := 0 // its digits
	if ok && is("eE") {
		is("+-")
		from := r.at
		ok = digits()
		exponent = r.at - from
	}
	if !ok {
		return nil, errGrammar
	}
	if r.at-start > maxNumber || exponent > maxExponent {
		return nil, r.wrong(Excess, "is a number out of range")
	}
	return json.Number(r.text[start:r.at]), nil
}

// Fold gives one form to all names that encoding/json and strings.EqualFold take for the same.
func Fold(name string) string {
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			return strings.ToLower(strings.ToUpper(name))
		}
	}
	return name
}
