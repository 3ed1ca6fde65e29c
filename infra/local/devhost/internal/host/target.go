package host

import (
	"strings"
	"unicode/utf8"
)

// decodePath decodes a request path as Kestrel does: escapes become
// characters, but %2F and what is not UTF-8 stay as they are, broken escapes
// too; then "." and ".." are resolved. %00 is refused (ok is false).
func decodePath(raw string) (path string, ok bool) {
	decoded := unescape(raw, func(b byte) bool { return b == '/' })
	return removeDots(decoded), !strings.Contains(decoded, "\x00")
}

// unescape turns escapes into characters. Those that are broken or not UTF-8
// stay as they are, and so do the ASCII ones that keep names.
func unescape(s string, keep func(byte) bool) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		b, isEscape := unhex(s[i:])
		r, n := rune(b), 3
		if b >= utf8.RuneSelf {
			r, n = escapedRune(s[i:])
		}
		switch {
		case !isEscape:
			out.WriteByte(s[i])
			i++
		case n == 0 || keep(b):
			out.WriteString(s[i : i+3])
			i += 3
		default:
			out.WriteRune(r)
			i += n
		}
	}
	return out.String()
}

// unhex reads the escape that s starts with.
func unhex(s string) (b byte, ok bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	for _, c := range []byte(s[1:3]) {
		switch {
		case '0' <= c && c <= '9':
			b = b<<4 | (c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			b = b<<4 | (c | 0x20 - 'a' + 10)
		default:
			return 0, false
		}
	}
	return b, true
}

// escapedRune reads a character of several escaped bytes, and how many bytes
// of s it takes: 0 if they are not UTF-8.
func escapedRune(s string) (rune, int) {
	var buf []byte
	for n := 0; len(buf) < utf8.UTFMax; n += 3 {
		b, ok := unhex(s[n:])
		if !ok {
			break
		}
		buf = append(buf, b)
		if r, size := utf8.DecodeRune(buf); r != utf8.RuneError && size == len(buf) {
			return r, n + 3
		}
	}
	return 0, 0
}

// removeDots resolves "." and ".." segments (RFC 3986 section 5.2.4); empty
// segments stay.
func removeDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	var out []string
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, p := range parts {
		last := i == len(parts)-1
		switch p {
		case ".", "..":
			if p == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, p)
		}
	}
	return "/" + strings.Join(out, "/")
}

// proxiedPath is the path the handler sees in proxying mode: the decoded path
// encoded anew (YARP's RequestUtilities), so that %2F becomes %252F.
func proxiedPath(decoded string) string {
	return escape(decoded, func(c byte) bool {
		return isUnreserved(c) || strings.IndexByte("!$&'()*+,;=:@/", c) >= 0
	})
}

// forwardedPath is the path the handler sees in forwarding mode: the decoded
// path read as a URL once more (new Uri(GetDisplayUrl()).AbsolutePath).
func forwardedPath(decoded string) string {
	if i := strings.IndexAny(decoded, "?#"); i >= 0 {
		decoded = decoded[:i]
	}
	return removeDots(canonicalURI(strings.ReplaceAll(decoded, `\`, "/")))
}

// canonicalURI normalises a part of a URL as System.Uri does: escapes of
// unreserved characters are undone, broken ones escaped, and characters that
// are neither reserved nor unreserved are escaped.
func canonicalURI(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		b, ok := unhex(s[i:])
		switch {
		case ok && isUnreserved(b):
			out.WriteByte(b)
			i += 2
		case ok:
			out.WriteString(s[i : i+3])
			i += 2
		default:
			out.WriteString(escape(s[i:i+1], func(c byte) bool {
				return isUnreserved(c) || strings.IndexByte(";/?:@&=+$,!*'()[]#", c) >= 0
			}))
		}
	}
	return out.String()
}

func isUnreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func escape(s string, keep func(byte) bool) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for i := range len(s) {
		if c := s[i]; keep(c) {
			out.WriteByte(c)
		} else {
			out.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return out.String()
}

// pair is one key of a query with all its values.
type pair struct {
	key    string
	values []string
}

// parseQuery reads a query into one entry a key, in order of first appearance
// and in the spelling of the last; keys are compared without case.
func parseQuery(query string) []pair {
	var pairs []pair
	at := map[string]int{}
	for part := range strings.SplitSeq(strings.TrimPrefix(query, "?"), "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		k, v = unescapeQuery(k), unescapeQuery(v)
		i, seen := at[strings.ToLower(k)]
		if !seen {
			i = len(pairs)
			at[strings.ToLower(k)] = i
			pairs = append(pairs, pair{})
		}
		pairs[i] = pair{k, append(pairs[i].values, v)}
	}
	return pairs
}

// unescapeQuery reads a name or value of a query; "+" is a blank there.
func unescapeQuery(s string) string {
	return unescape(strings.ReplaceAll(s, "+", " "), func(byte) bool { return false })
}

// forwardedQuery rebuilds the query as forwarding does: each key once, its
// values joined by commas, all encoded anew (UrlEncoder.Default).
func forwardedQuery(query string) string {
	enc := func(s string) string {
		return escape(s, func(c byte) bool {
			return isUnreserved(c) || strings.IndexByte("!$()*,:;@", c) >= 0
		})
	}
	var out strings.Builder
	sep := byte('?')
	for _, p := range parseQuery(query) {
		out.WriteByte(sep)
		out.WriteString(enc(p.key) + "=" + enc(strings.Join(p.values, ",")))
		sep = '&'
	}
	return out.String()
}
