// Package route matches request paths the way the Functions host does: plain
// ASP.NET Core routes in function order, the first that matches wins
// (host-contract.md 3.8).
//
// It owns templates, their constraints and the order of routes. It refuses
// what ASP.NET refuses, so that a template which would take the whole app
// down on Azure takes it down here. It knows nothing of function.json.
package route

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrTemplate: a template that ASP.NET Core's TemplateParser rejects.
var ErrTemplate = errors.New("invalid route template")

// Template is a parsed route template.
type Template struct{ segments []segment }

// segment is one of: a literal, one parameter, or (complex set) a mixture.
type segment struct {
	literal string
	param   *param
	complex *regexp.Regexp // its groups are params, in order
	params  []*param
}

type param struct {
	name               string
	catchAll, optional bool
	fallback           string
	hasFallback        bool
	constraints        []constraint
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTemplate, fmt.Sprintf(format, args...))
}

// Parse parses a template, with the route prefix in front already.
func Parse(text string) (*Template, error) {
	text = strings.TrimPrefix(text, "~")
	text = strings.TrimPrefix(text, "/")
	text = strings.TrimSuffix(text, "/")
	t := &Template{}
	if text == "" {
		return t, nil
	}
	names := map[string]bool{}
	parts := splitOutsideBraces(text, '/')
	for i, part := range parts {
		seg, err := parseSegment(part, i == len(parts)-1)
		if err != nil {
			return nil, err
		}
		for _, p := range seg.all() {
			key := strings.ToLower(p.name)
			if names[key] {
				return nil, bad("parameter %q appears twice", p.name)
			}
			names[key] = true
		}
		t.segments = append(t.segments, seg)
	}
	return t, nil
}

func (s segment) all() []*param {
	if s.param != nil {
		return []*param{s.param}
	}
	return s.params
}

// splitOutsideBraces splits at sep where no brace is open.
func splitOutsideBraces(s string, sep byte) []string {
	var out []string
	depth, from := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth--
		case sep:
			if depth <= 0 {
				out = append(out, s[from:i])
				from = i + 1
			}
		}
	}
	return append(out, s[from:])
}

// piece is a literal or a parameter of a segment.
type piece struct {
	literal string
	param   *param
}

func parseSegment(text string, last bool) (segment, error) {
	if text == "" {
		return segment{}, bad("empty segment")
	}
	pieces, err := parsePieces(text)
	if err != nil {
		return segment{}, err
	}
	for i, p := range pieces {
		if p.param == nil {
			continue
		}
		if p.param.catchAll && (!last || len(pieces) > 1) {
			return segment{}, bad("a catch-all must be the last segment and stand alone")
		}
		if i > 0 && pieces[i-1].param != nil {
			return segment{}, bad("two parameters without text between them")
		}
		if p.param.optional && len(pieces) > 1 && (i != len(pieces)-1 || pieces[i-1].literal != ".") {
			return segment{}, bad("an optional parameter within a segment must be last and follow a dot")
		}
	}
	if len(pieces) == 1 {
		return segment{literal: pieces[0].literal, param: pieces[0].param}, nil
	}
	return complexSegment(pieces), nil
}

func complexSegment(pieces []piece) segment {
	var seg segment
	var re strings.Builder
	re.WriteString(`(?is)\A`)
	for i, p := range pieces {
		switch {
		case p.param == nil && i+1 < len(pieces) && pieces[i+1].param != nil && pieces[i+1].param.optional:
			// The dot goes together with the optional parameter behind it.
		case p.param == nil:
			re.WriteString(regexp.QuoteMeta(p.literal))
		case p.param.optional:
			re.WriteString(`(?:\.(.+))?`)
			seg.params = append(seg.params, p.param)
		default:
			re.WriteString(`(.+)`)
			seg.params = append(seg.params, p.param)
		}
	}
	re.WriteString(`\z`)
	seg.complex = regexp.MustCompile(re.String())
	return seg
}

func parsePieces(text string) ([]piece, error) {
	var out []piece
	var lit strings.Builder
	flush := func() error {
		if strings.Contains(lit.String(), "?") {
			return bad("a literal cannot hold a question mark")
		}
		if lit.Len() > 0 {
			out = append(out, piece{literal: lit.String()})
			lit.Reset()
		}
		return nil
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case strings.HasPrefix(text[i:], "{{"), strings.HasPrefix(text[i:], "}}"):
			lit.WriteByte(c)
			i++
		case c == '}':
			return nil, bad("unopened brace")
		case c == '{':
			end := closing(text, i)
			if end < 0 {
				return nil, bad("unclosed brace")
			}
			if err := flush(); err != nil {
				return nil, err
			}
			p, err := parseParam(text[i+1 : end])
			if err != nil {
				return nil, err
			}
			out = append(out, piece{param: p})
			i = end
		default:
			lit.WriteByte(c)
		}
	}
	return out, flush()
}

// closing finds the brace that closes the one at i; doubled braces inside a
// parameter (regex constraints) stand for themselves.
func closing(s string, i int) int {
	for j := i + 1; j < len(s); j++ {
		if (s[j] == '{' || s[j] == '}') && j+1 < len(s) && s[j+1] == s[j] {
			j++
			continue
		}
		switch s[j] {
		case '}':
			return j
		case '{':
			return -1
		}
	}
	return -1
}

func parseParam(text string) (*param, error) {
	text = strings.NewReplacer("{{", "{", "}}", "}").Replace(text)
	p := &param{}
	for range 2 {
		if rest, ok := strings.CutPrefix(text, "*"); ok {
			text, p.catchAll = rest, true
		}
	}
	end := strings.IndexAny(text, ":=?")
	if end < 0 {
		end = len(text)
	}
	p.name, text = text[:end], text[end:]
	if p.name == "" || strings.ContainsAny(p.name, "/{}?*") {
		return nil, bad("invalid parameter name %q", p.name)
	}
	text, p.fallback, p.hasFallback = cutDefault(text)
	if !p.hasFallback {
		text, p.optional = cutOptional(text)
	}
	if p.catchAll && p.optional {
		return nil, bad("a catch-all cannot be optional")
	}
	for _, c := range splitOutsideParens(strings.TrimPrefix(text, ":")) {
		if c == "" {
			continue
		}
		con, err := parseConstraint(c)
		if err != nil {
			return nil, err
		}
		p.constraints = append(p.constraints, con)
	}
	return p, nil
}

func cutOptional(s string) (string, bool) {
	if rest, ok := strings.CutSuffix(s, "?"); ok {
		return rest, true
	}
	return s, false
}

// cutDefault cuts "=value" that stands outside parentheses.
func cutDefault(s string) (rest, value string, ok bool) {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case '=':
			if depth == 0 {
				return s[:i], s[i+1:], true
			}
		}
	}
	return s, "", false
}

func splitOutsideParens(s string) []string {
	var out []string
	depth, from := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ':':
			if depth == 0 {
				out = append(out, s[from:i])
				from = i + 1
			}
		}
	}
	return append(out, s[from:])
}

// Match matches a decoded path and returns the values of the parameters that
// are present. It follows TemplateMatcher.TryMatch: literals ignore case, one
// slash at the end is ignored, and an empty segment fails unless a catch-all
// has taken over before it.
func (t *Template) Match(path string) (map[string]string, bool) {
	path = strings.TrimPrefix(path, "/")
	values := map[string]string{}
	rest, more := path, path != ""
	for _, seg := range t.segments {
		if seg.param != nil && seg.param.catchAll {
			if strings.HasPrefix(rest, "/") {
				return nil, false
			}
			return values, seg.param.accept(rest, values)
		}
		if !more {
			if !seg.matchesNothing(values) {
				return nil, false
			}
			continue
		}
		part, tail, found := strings.Cut(rest, "/")
		if part == "" || !seg.match(part, values) {
			return nil, false
		}
		rest, more = tail, found && tail != ""
	}
	return values, !more
}

func (s segment) matchesNothing(values map[string]string) bool {
	if s.param == nil {
		return false
	}
	if s.param.hasFallback {
		return s.param.accept(s.param.fallback, values)
	}
	return s.param.optional
}

func (s segment) match(part string, values map[string]string) bool {
	switch {
	case s.complex != nil:
		m := s.complex.FindStringSubmatch(part)
		if m == nil {
			return false
		}
		for i, p := range s.params {
			if m[i+1] == "" && p.optional {
				continue
			}
			if !p.accept(m[i+1], values) {
				return false
			}
		}
		return true
	case s.param != nil:
		return s.param.accept(part, values)
	}
	return strings.EqualFold(s.literal, part)
}

func (p *param) accept(value string, values map[string]string) bool {
	if value == "" && p.catchAll {
		return true
	}
	for _, c := range p.constraints {
		if !c(value) {
			return false
		}
	}
	values[p.name] = value
	return true
}
