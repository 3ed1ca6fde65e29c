package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// lenient makes JSON of what the host accepts: comments and trailing commas
// are taken out (host-contract.md 1.1).
func lenient(text []byte) []byte {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var out []byte
	comma := -1 // where the last comma stands in out, if only space follows
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			out = append(out, text[i:end]...)
			i, comma = end-1, -1
		case bytes.HasPrefix(text[i:], []byte("//")):
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case bytes.HasPrefix(text[i:], []byte("/*")):
			end := bytes.Index(text[i+2:], []byte("*/"))
			if end < 0 {
				return append(out, text[i:]...)
			}
			i += end + 3
		case (c == '}' || c == ']') && comma >= 0:
			out = append(append(out[:comma], out[comma+1:]...), c)
			comma = -1
		default:
			if c == ',' {
				comma = len(out)
			} else if c > ' ' {
				comma = -1
			}
			out = append(out, c)
		}
	}
	return out
}

// tree is host.json as .NET's configuration sees it: one flat map of texts,
// keys joined by ":" and compared without case.
type tree map[string]leaf

type leaf struct{ key, value string }

func (t tree) set(key, value string) { t[strings.ToLower(key)] = leaf{key, value} }

func (t tree) get(key string) (string, bool) {
	l, ok := t[strings.ToLower(key)]
	return l.value, ok
}

func (t tree) text(key string) string { v, _ := t.get(key); return v }

// flag reads a bool; what is neither true nor false counts as false.
func (t tree) flag(key string) bool { return strings.EqualFold(t.text(key), "true") }

// has reports whether the key or anything below it is there.
func (t tree) has(key string) bool {
	key = strings.ToLower(key)
	for k := range t {
		if k == key || strings.HasPrefix(k, key+":") {
			return true
		}
	}
	return false
}

// below returns the direct children of a key that hold a text.
func (t tree) below(key string) map[string]string {
	prefix := strings.ToLower(key) + ":"
	out := map[string]string{}
	for k, l := range t {
		if rest, ok := strings.CutPrefix(k, prefix); ok && !strings.Contains(rest, ":") {
			out[l.key[len(prefix):]] = l.value
		}
	}
	return out
}

// list reads key:0, key:1, ..., or one JSON array in a text (an override).
func (t tree) list(key string) ([]string, error) {
	if text, ok := t.get(key); ok && text != "" {
		var out []string
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		return out, nil
	}
	var out []string
	for i := 0; ; i++ {
		v, ok := t.get(key + ":" + strconv.Itoa(i))
		if !ok {
			return out, nil
		}
		out = append(out, v)
	}
}

func flatten(into tree, prefix string, v any) {
	join := func(k string) string {
		if prefix == "" {
			return k
		}
		return prefix + ":" + k
	}
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 && prefix != "" {
			into.set(prefix, "")
		}
		for k, x := range v {
			flatten(into, join(k), x)
		}
	case []any:
		for i, x := range v {
			flatten(into, join(strconv.Itoa(i)), x)
		}
	case nil:
		into.set(prefix, "")
	default:
		into.set(prefix, fmt.Sprint(v))
	}
}

func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(lenient(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("text after the end of the JSON value")
	}
	return v, nil
}
