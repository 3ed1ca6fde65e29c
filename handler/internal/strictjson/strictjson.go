// Package strictjson refuses JSON that two readers could read in two ways. encoding/json takes the last of two members of one
// name, folds the case of names, and mends invalid Unicode in silence; RFC 8259 section 4 and RFC 7493 (I-JSON) section 2
// call such texts not interoperable. The package owns that check, for request bodies and for tokens; what the members mean
// is decided elsewhere.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error says what is wrong and where. It never quotes a value.
type Error struct {
	// Path names the place, for example "body.otp", or is the root's name alone.
	Path string
	// Problem says what is wrong with it.
	Problem string
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
}

// maxName is the longest name of a member, in bytes: errors repeat it.
const maxName = 128

// Object reads one JSON object (RFC 8259) and nothing behind it, within the limits, in valid Unicode, with numbers in the range of
// RFC 7493 section 2.2, and without two members of one object whose names are equal or equal but for case. Values are string,
// json.Number, bool, nil, []any or map[string]any. Anything else is an *Error, in which root is the object's name.
func Object(data []byte, root string, limits Limits) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, &Error{root, "is not valid UTF-8"}
	}
	// The whole grammar is tested before anything is built.
	if !json.Valid(data) {
		return nil, &Error{root, "is not JSON" + position(data)}
	}
	r := reader{json.NewDecoder(bytes.NewReader(data)), limits, 0}
	r.UseNumber()
	value, err := r.value(root, 0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &Error{root, "is not a JSON object"}
	}
	return object, nil
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

// reader reads a text of which it is known that it is JSON.
type reader struct {
	*json.Decoder
	limits Limits
	values int
}

// value reads the value at path, which stands within depth objects and lists.
func (r *reader) value(path string, depth int) (any, error) {
	token, err := r.Token()
	if err != nil {
		return nil, &Error{path, "is not JSON"}
	}
	delimiter, opens := token.(json.Delim)
	switch {
	case !opens:
		return token, r.scalar(path, token)
	case depth == r.limits.Depth:
		return nil, &Error{path, fmt.Sprintf("is nested more than %d deep", r.limits.Depth)}
	}
	var all any
	if delimiter == '[' {
		all, err = r.list(path, depth+1)
	} else {
		all, err = r.object(path, depth+1)
	}
	if err != nil {
		return nil, err
	}
	if _, err := r.Token(); err != nil { // the end of the list or object
		return nil, &Error{path, "is not JSON"}
	}
	return all, nil
}

// count counts one more member or element.
func (r *reader) count(path string) error {
	if r.values++; r.values > r.limits.Values {
		return &Error{path, fmt.Sprintf("is one value too many: there may be %d", r.limits.Values)}
	}
	return nil
}

func (r *reader) list(path string, depth int) ([]any, error) {
	all := []any{}
	for r.More() {
		if err := r.count(path); err != nil {
			return nil, err
		}
		value, err := r.value(path, depth)
		if err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, nil
}

func (r *reader) object(path string, depth int) (map[string]any, error) {
	all, seen := map[string]any{}, map[string]bool{}
	for r.More() {
		token, err := r.Token()
		name, isText := token.(string)
		switch {
		case err != nil || !isText:
			return nil, &Error{path, "is not JSON"}
		case len(name) > maxName:
			return nil, &Error{path, fmt.Sprintf("has a member whose name is longer than %d bytes", maxName)}
		case r.scalar(path, name) != nil:
			return nil, &Error{path, "has a member whose name is not valid Unicode"}
		}
		here, folded := path+"."+name, Fold(name)
		if seen[folded] {
			return nil, &Error{here, "stands there twice, or twice but for upper and lower case"}
		}
		seen[folded] = true
		if err := r.count(here); err != nil {
			return nil, err
		}
		if all[name], err = r.value(here, depth); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (r *reader) scalar(path string, token json.Token) error {
	switch v := token.(type) {
	case string:
		if len(v) > r.limits.Text {
			return &Error{path, fmt.Sprintf("is longer than %d bytes", r.limits.Text)}
		}
		// The decoder puts U+FFFD in the place of an escape that is half a surrogate pair, so that two different strings look
		// the same. A text that means it has no business here either.
		if strings.ContainsRune(v, utf8.RuneError) {
			return &Error{path, "is not valid Unicode"}
		}
	case json.Number:
		if _, err := strconv.ParseFloat(string(v), 64); err != nil {
			return &Error{path, "is a number out of range"}
		}
	}
	return nil
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
