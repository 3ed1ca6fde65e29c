package settings

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/strictjson"
)

// Provider is one OpenID provider whose access tokens are taken, beside Entra ID's (AUT-1).
type Provider struct {
	Issuer     string   // https, exactly as it stands in "iss"
	Audiences  []string // one or more, exactly as they stand in "aud"
	Algorithms []string // some of caller.Algorithms
	Roles      caller.Path
	Scopes     caller.Path
	KeysURL    string // https; empty = the provider's metadata says it
}

// mostProviders bounds a slip of the hand; nobody has so many.
const mostProviders = 20

// providerLimits bound the text of the whole list.
var providerLimits = strictjson.Limits{Depth: 4, Values: 1000, Text: 1000}

// providers takes a JSON array of objects. Everything that is wrong in it is told at once, each with its place.
func providers(into func(*Settings) *[]Provider) rule {
	return rule{`a JSON array of objects with issuer, audiences, and, where needed, algorithms, roles, scopes and keysUrl`,
		func(s *Settings, value string, _ Checks) error {
			list, err := strictjson.List([]byte(value), "it", providerLimits)
			var strict *strictjson.Error
			switch {
			case errors.As(err, &strict):
				return fmt.Errorf("is wrong: %q %s", strict.Path, strict.Problem) // a path holds names as somebody wrote them
			case len(list) > mostProviders:
				return fmt.Errorf("has more than %d providers", mostProviders)
			}
			var wrong []string
			all := make([]Provider, len(list))
			seen := map[string]bool{}
			for i, one := range list {
				r := members{at: fmt.Sprintf("[%d]", i)}
				all[i] = r.provider(one)
				if issuer := all[i].Issuer; seen[issuer] {
					r.complain(".issuer", errors.New("stands there twice"))
				} else if issuer != "" {
					seen[issuer] = true
				}
				wrong = append(wrong, r.wrong...)
			}
			if len(wrong) > 0 {
				return errors.New("is wrong: " + strings.Join(wrong, "; "))
			}
			*into(s) = all
			return nil
		}}
}

// members reads the members of one provider, and notes what is wrong with them.
type members struct {
	at    string
	of    map[string]any
	wrong []string
}

func (m *members) complain(where string, err error) {
	m.wrong = append(m.wrong, m.at+where+" "+err.Error())
}

func (m *members) provider(value any) Provider {
	of, ok := value.(map[string]any)
	if !ok {
		m.complain("", errors.New("is not an object"))
		return Provider{}
	}
	m.of = of
	p := Provider{
		Issuer:     m.text("issuer", true, httpsURL(parts{path: true})),
		Audiences:  m.list("audiences", nil, audience),
		Algorithms: m.list("algorithms", []string{caller.RS256}, algorithm),
		Roles:      m.path("roles"),
		Scopes:     m.path("scopes"),
		KeysURL:    m.text("keysUrl", false, httpsURL(parts{path: true, query: true})),
	}
	for name := range of {
		if !slices.Contains([]string{"issuer", "audiences", "algorithms", "roles", "scopes", "keysUrl"}, name) {
			m.complain("", fmt.Errorf("has a member %q that nobody knows", name))
		}
	}
	slices.Sort(m.wrong)
	return p
}

// text reads a member that is a text. What is wrong with it is noted, and leaves "".
func (m *members) text(name string, needed bool, check func(string) error) string {
	value, there := m.of[name]
	text, ok := value.(string)
	switch {
	case !there && !needed:
		return ""
	case !there:
		m.complain("."+name, errors.New("is missing"))
		return ""
	case !ok || text == "":
		m.complain("."+name, errors.New("is not a text"))
		return ""
	}
	if err := check(text); err != nil {
		m.complain("."+name, err)
		return ""
	}
	return text
}

// list reads a member that is a list of texts, one or more, none of them twice. Without a default it must be there.
func (m *members) list(name string, otherwise []string, check func(string) error) []string {
	value, there := m.of[name]
	if !there && otherwise != nil {
		return otherwise
	}
	list, _ := value.([]any)
	if len(list) == 0 {
		m.complain("."+name, errors.New("is not a list of one text or more"))
		return nil
	}
	var all []string
	for i, one := range list {
		where := fmt.Sprintf(".%s[%d]", name, i)
		text, ok := one.(string)
		switch {
		case !ok || text == "":
			m.complain(where, errors.New("is not a text"))
		case slices.Contains(all, text):
			m.complain(where, errors.New("stands there twice"))
		default:
			if err := check(text); err != nil {
				m.complain(where, err)
			}
			all = append(all, text)
		}
	}
	return all
}

// path reads a member that says where in a token something is.
func (m *members) path(name string) (p caller.Path) {
	m.text(name, false, func(text string) (err error) {
		p, err = caller.ParsePath(text)
		return err
	})
	return p
}

func httpsURL(p parts) func(string) error {
	return func(value string) error { _, err := parseHTTPS(value, p); return err }
}

func algorithm(name string) error {
	if !slices.Contains(caller.Algorithms(), name) {
		return errors.New("is none of " + strings.Join(caller.Algorithms(), ", "))
	}
	return nil
}

// twoIssuers reports a provider that has the name of another issuer: whose token it is could not be told. Nor is a tenant of Entra ID
// a provider: its tokens name identities by tid and oid, and a provider's checks look at neither.
func twoIssuers(s *Settings) Problems {
	v1, v2 := caller.EntraIssuers(s.Entra.TenantID)
	for i, p := range s.Identity.Providers {
		if strings.HasPrefix(p.Issuer, "https://sts.windows.net/") || strings.HasPrefix(p.Issuer, "https://login.microsoftonline.") {
			if p.Issuer != v1 && p.Issuer != v2 {
				return Problems{{Key: "Identity:Providers", Wrong: fmt.Sprintf("is wrong: [%d].issuer is a tenant of Entra ID: one is trusted, that of Entra:TenantId", i)}}
			}
		}
		if slices.Contains([]string{s.Tokens.Issuer, v1, v2}, p.Issuer) {
			return Problems{{Key: "Identity:Providers", Wrong: fmt.Sprintf("is wrong: [%d].issuer is trusted already, as another's", i)}}
		}
	}
	return nil
}
