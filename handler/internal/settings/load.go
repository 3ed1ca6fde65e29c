package settings

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Lookup is one layer of values. It is asked for a Section:Key or for an alias, and says what it holds for it.
type Lookup func(name string) (value string, found bool)

// Environment makes a layer of environment variables; getenv is os.LookupEnv.
func Environment(getenv func(string) (string, bool)) Lookup {
	return func(name string) (string, bool) { return getenv(environmentName(name)) }
}

// Values makes a layer of what a vault gave, by Section:Key.
func Values(values map[string]string) Lookup {
	return func(name string) (string, bool) {
		value, found := values[name]
		return value, found
	}
}

// Problem says what is wrong with one key. It never holds the value of a secret.
type Problem struct {
	Key     string // Section:Key
	Alias   string // the name that the value stood under, when that was not the key's own
	Wrong   string // completes the sentence "Section:Key ..."
	Missing bool   // there is no value at all
	Value   string // the value, quoted, or only its length; empty when there is none to show
	Allowed string // the values that are taken; empty when the key alone is not to blame
}

// String gives the problem as one sentence on one line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Key)
	if p.Alias != "" {
		fmt.Fprintf(&b, " (set as %s)", p.Alias)
	}
	b.WriteString(" " + p.Wrong)
	if p.Value != "" {
		b.WriteString(": " + p.Value)
	}
	if p.Allowed != "" {
		b.WriteString(", allowed: " + p.Allowed)
	}
	return b.String()
}

// Problems is everything that is wrong with the values of one moment. It is an error when it is not empty; an empty one in
// an error variable would not be nil, so look at its length first.
type Problems []Problem

// Error gives all problems in one line.
func (p Problems) Error() string {
	all := make([]string, len(p))
	for i, one := range p {
		all[i] = one.String()
	}
	return "wrong settings: " + strings.Join(all, "; ")
}

// missing lists the keys that have no value.
func (p Problems) missing() []string {
	var keys []string
	for _, one := range p {
		if one.Missing {
			keys = append(keys, one.Key)
		}
	}
	return keys
}

// Load makes a snapshot from layers; a later layer wins over an earlier one, key by key. Either the snapshot or the
// problems are nil.
func Load(checks Checks, layers ...Lookup) (*Settings, Problems) {
	s, given, problems := load(fields(), checks, layers)
	problems = append(problems, conflicts(given)...)
	problems = append(problems, directory(s)...)
	if problems = append(problems, twoIssuers(s)...); len(problems) > 0 {
		return nil, problems
	}
	derive(s)
	return s, nil
}

// LoadOnly makes the part of the snapshot that these keys hold, for tools that need no more of a deployment than that. Either
// the result or the problems are nil.
func LoadOnly(checks Checks, keys []string, layers ...Lookup) (*Settings, Problems) {
	rows := slices.DeleteFunc(fields(), func(f field) bool { return !slices.Contains(keys, f.Key) })
	s, _, problems := load(rows, checks, layers)
	if len(problems) > 0 {
		return nil, problems
	}
	return s, nil
}

// Boot is what must be known before the vault can be read.
type Boot struct {
	KeyVault KeyVault
	Network  Network
	Log      Log
	HTTP     HTTP
}

// LoadBoot makes the part of the snapshot that the environment alone decides. Either the result or the problems are nil.
func LoadBoot(checks Checks, environment Lookup) (*Boot, Problems) {
	var early []field
	for _, f := range fields() {
		if f.Early {
			early = append(early, f)
		}
	}
	s, given, problems := load(early, checks, []Lookup{environment})
	if problems = append(problems, conflicts(given)...); len(problems) > 0 {
		return nil, problems
	}
	return &Boot{KeyVault: s.KeyVault, Network: s.Network, Log: s.Log, HTTP: s.HTTP}, nil
}

func load(rows []field, checks Checks, layers []Lookup) (s *Settings, given map[string]bool, problems Problems) {
	s, given = &Settings{}, map[string]bool{}
	for _, f := range rows {
		v, problem := f.find(layers)
		given[f.Key] = v.given
		switch {
		case problem != nil:
		case v.given:
			problem = f.take(s, v, checks)
		default:
			problem = f.leaveOut(s, checks)
		}
		if problem != nil {
			problems = append(problems, *problem)
		}
	}
	return s, given, problems
}

// value is what the layers say about a key.
type value struct {
	text  string // without surrounding white space
	alias string
	given bool
}

// find asks the layers, the last one first. In one layer a key has one value, whatever it is called there. An empty value
// is none, except for a secret: there it is more likely a slip than a wish for the default.
func (f field) find(layers []Lookup) (value, *Problem) {
	for i := len(layers) - 1; i >= 0; i-- {
		var v value
		for _, name := range f.names() {
			raw, found := layers[i](name)
			if !found || raw == "" && !f.Secret {
				continue
			}
			one := value{text: strings.TrimSpace(raw), given: true}
			if name != f.Key {
				one.alias = name
			}
			if v.given && v.text != one.text {
				return v, f.problem(one, "differs from "+f.show(v.text)+" under its other name")
			}
			if !v.given {
				v = one
			}
		}
		if v.given {
			return v, nil
		}
	}
	return value{}, nil
}

// take reads a value that was given into s.
func (f field) take(s *Settings, v value, checks Checks) *Problem {
	// An unresolved reference stays in the environment as it was written:
	// https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
	const reference = "@microsoft.keyvault("
	switch {
	case v.text == "" && f.Secret:
		return f.problem(v, "is empty")
	case v.text == "":
		return f.problem(v, "is only white space")
	case strings.HasPrefix(strings.ToLower(v.text), reference):
		return f.problem(v, "is a Key Vault reference that the platform could not resolve")
	}
	if err := f.read(s, v.text, checks); err != nil {
		return f.problem(v, err.Error())
	}
	return nil
}

// leaveOut handles a key without a value.
func (f field) leaveOut(s *Settings, checks Checks) *Problem {
	switch {
	case f.Required:
		p := f.problem(value{}, "is not set")
		p.Missing = true
		return p
	case f.Default != "":
		return f.take(s, value{text: f.Default}, checks)
	}
	return nil
}

func (f field) problem(v value, wrong string) *Problem {
	p := Problem{Key: f.Key, Alias: v.alias, Wrong: wrong, Allowed: f.Allowed}
	if v.text != "" {
		p.Value = f.show(v.text)
	}
	return &p
}

// longest is the longest value that a message quotes, in characters: a GUID in braces. Peppers and keys of storage accounts
// are longer, so that not even a secret under the wrong key is quoted.
const longest = 38

// show gives a value's shape, and the value itself only when it can hold no secret.
func (f field) show(text string) string {
	n := utf8.RuneCountInString(text)
	if f.Secret || n > longest || strings.ContainsAny(text, "@?=") {
		return fmt.Sprintf("%d characters", n)
	}
	return fmt.Sprintf("%q", text)
}
