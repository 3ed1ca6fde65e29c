// Package strictjson refuses JSON that two readers could read in two ways. It owns the check, not the decoding:
// encoding/json takes the last of two members of one name, folds the case of names, and mends invalid UTF-8 in silence
// (RFC 8259 section 4 and RFC 7493 sections 2.1 and 2.3 call such texts not interoperable).
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// MaxDepth is how deep objects and lists may be nested.
const MaxDepth = 8

// Object checks that data is one JSON object and nothing else, nested at most MaxDepth deep, in valid UTF-8, without two
// members of one object whose names are equal or equal but for case. root is what the object is called in an *Error.
func Object(data []byte, root string) error {
	if !utf8.Valid(data) {
		return &Error{root, "is not valid UTF-8"}
	}
	c := checker{json.NewDecoder(bytes.NewReader(data))}
	c.UseNumber()
	token, err := c.Token()
	if err != nil {
		return c.broken(root, err)
	}
	if token != json.Delim('{') {
		return &Error{root, "is not a JSON object"}
	}
	if err := c.object(root, 1); err != nil {
		return err
	}
	if _, err := c.Token(); !errors.Is(err, io.EOF) {
		return &Error{root, "goes on after its end"}
	}
	return nil
}

type checker struct{ *json.Decoder }

func (c checker) broken(path string, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{path, "ends too early"}
	case errors.As(err, &syntax):
		return &Error{path, fmt.Sprintf("is not JSON at byte %d", syntax.Offset)}
	}
	return &Error{path, "is not JSON"}
}

func (c checker) object(path string, depth int) error {
	seen := map[string]bool{}
	for c.More() {
		token, err := c.Token()
		if err != nil {
			return c.broken(path, err)
		}
		name, _ := token.(string) // within an object the decoder gives names as strings, or fails
		if strings.ContainsRune(name, utf8.RuneError) {
			return &Error{path, "has a member whose name is not valid Unicode"}
		}
		if folded := fold(name); seen[folded] {
			return &Error{path + "." + name, "stands there twice, or twice but for upper and lower case"}
		} else {
			seen[folded] = true
		}
		if err := c.value(path+"."+name, depth); err != nil {
			return err
		}
	}
	if _, err := c.Token(); err != nil {
		return c.broken(path, err)
	}
	return nil
}

// fold makes names that encoding/json may take for one equal: it compares under simple Unicode case folding.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

func (c checker) value(path string, depth int) error {
	token, err := c.Token()
	if err != nil {
		return c.broken(path, err)
	}
	switch t := token.(type) {
	case string:
		// A lone surrogate escape is mended to this rune; a text that means it has no business here either.
		if strings.ContainsRune(t, utf8.RuneError) {
			return &Error{path, "is not valid Unicode"}
		}
	case json.Delim:
		if depth == MaxDepth {
			return &Error{path, fmt.Sprintf("is nested more than %d deep", MaxDepth)}
		}
		if t == '{' {
			return c.object(path, depth+1)
		}
		for c.More() {
			if err := c.value(path, depth+1); err != nil {
				return err
			}
		}
		if _, err := c.Token(); err != nil {
			return c.broken(path, err)
		}
	}
	return nil
}
