package caller

import (
	"errors"
	"strings"
)

// Path is where in a token's claims the roles or scopes are. The zero value is nowhere.
type Path struct{ names []string }

// ParsePath reads a path: names of members, from the outermost, joined by dots (resource_access.latchkey.roles), or a JSON
// pointer (RFC 6901), which begins with a slash and is for names that have dots themselves, such as the URLs that some providers
// put before their claims (/https:~1~1example.org~1roles). "" is nowhere. It leads through objects alone: a number names no place in
// a list.
func ParsePath(text string) (Path, error) {
	if text == "" {
		return Path{}, nil
	}
	names := strings.Split(text, ".")
	if pointer, is := strings.CutPrefix(text, "/"); is {
		names = strings.Split(pointer, "/")
		for i, name := range names {
			if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(name), "~") {
				return Path{}, errors.New("has a ~ that is neither ~0 nor ~1 (RFC 6901 section 3)")
			}
			names[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		}
	}
	for _, name := range names {
		if name == "" {
			return Path{}, errors.New("has an empty name in it")
		}
	}
	return Path{names}, nil
}

// set reports whether the path leads anywhere.
func (p Path) set() bool { return len(p.names) > 0 }

// find reads the values at the path: those of a list of texts, or of one text with spaces between them. There are none where the
// path leads to nothing; false says that what is there has another form.
func (p Path) find(claims object) ([]string, bool) {
	if !p.set() {
		return nil, true
	}
	var value any = map[string]any(claims)
	for _, name := range p.names {
		within, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, ok = within[name]; !ok {
			return nil, true
		}
	}
	if text, ok := value.(string); ok {
		return words(text), true
	}
	return texts(value)
}

// String gives the names, joined by dots.
func (p Path) String() string { return strings.Join(p.names, ".") }
