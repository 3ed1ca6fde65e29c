package wire

import "strings"

// Line is one header line: a name in the spelling it came in, and its value
// without surrounding white space.
type Line struct{ Name, Value string }

// Header is the header section of a message, line by line, in order.
type Header []Line

// Get returns the value of the first line of that name, or "".
func (h Header) Get(name string) string {
	for _, l := range h {
		if strings.EqualFold(l.Name, name) {
			return l.Value
		}
	}
	return ""
}

// Has reports whether there is a line of that name, empty ones included.
func (h Header) Has(name string) bool {
	for _, l := range h {
		if strings.EqualFold(l.Name, name) {
			return true
		}
	}
	return false
}

// Values returns the values of all lines of that name in order.
func (h Header) Values(name string) []string {
	var vs []string
	for _, l := range h {
		if strings.EqualFold(l.Name, name) {
			vs = append(vs, l.Value)
		}
	}
	return vs
}

// Tokens returns the comma separated tokens of all lines of that name, in
// lower case.
func (h Header) Tokens(name string) []string {
	var ts []string
	for _, v := range h.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if t = strings.ToLower(strings.TrimSpace(t)); t != "" {
				ts = append(ts, t)
			}
		}
	}
	return ts
}

// Add appends a line.
func (h *Header) Add(name, value string) { *h = append(*h, Line{name, value}) }

// Set replaces all lines of that name by one.
func (h *Header) Set(name, value string) {
	h.Del(name)
	h.Add(name, value)
}

// Del removes all lines of that name.
func (h *Header) Del(name string) {
	kept := (*h)[:0:0]
	for _, l := range *h {
		if !strings.EqualFold(l.Name, name) {
			kept = append(kept, l)
		}
	}
	*h = kept
}

// Joined returns the header with one line a name, in order of first
// appearance, as .NET's client writes what Kestrel collected: values joined
// by ", ", those of Cookie by "; ".
func (h Header) Joined() Header {
	var out Header
	at := make(map[string]int, len(h))
	for _, l := range h {
		key := strings.ToLower(l.Name)
		i, seen := at[key]
		if !seen {
			at[key] = len(out)
			out = append(out, l)
			continue
		}
		sep := ", "
		if key == "cookie" {
			sep = "; "
		}
		out[i].Value += sep + l.Value
	}
	return out
}
