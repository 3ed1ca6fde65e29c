package caller

import (
	"errors"
	"slices"
	"strings"
)

// Provider says which tokens of one OpenID provider are taken: Keycloak, Entra External ID, NHS CIS2 or any other.
type Provider struct {
	// Issuer is the provider's issuer URL, exactly as its tokens have it in iss.
	Issuer string
	// Audiences are what its tokens may be made out to.
	Audiences []string
	// Algorithms are what its keys may be for: some of Algorithms().
	Algorithms []string
	// Roles is where the roles of a caller are, Scopes where what a person lets the client do is. Both may be nowhere.
	Roles, Scopes Path
	// Keys are the provider's.
	Keys *Keys
}

// issuer checks the configuration.
func (p Provider) issuer() (*issuer, error) {
	switch {
	case p.Issuer == "" || len(p.Issuer) > maxName:
		return nil, errors.New("an issuer has 1 to 255 bytes") // model.md section 1: it is half of the registry's key
	case len(p.Algorithms) == 0 || slices.ContainsFunc(p.Algorithms, unknownAlgorithm):
		return nil, errors.New("the algorithms must be some of " + anyOf(Algorithms()))
	}
	if err := named("audience", p.Audiences); err != nil {
		return nil, err
	}
	return &issuer{name: p.Issuer, checks: p.checks(), caller: p.caller}, nil
}

// checks are for tokens whose iss is the provider.
func (p Provider) checks() []check {
	return slices.Concat([]check{
		typ("JWT", "at+jwt", "application/at+jwt"),
		algorithm(p.Algorithms),
		plain("audience", func(t *candidate) error {
			if !t.claims.has("aud") {
				return refuse(AudMissing, anyOf(p.Audiences), "(missing)")
			}
			var list []string
			var ok bool
			if aud, isText := t.claims["aud"].(string); isText {
				list, ok = []string{aud}, true
			} else {
				list, ok = texts(t.claims["aud"])
			}
			switch {
			case !ok:
				return refuse(AudForm, "a text or a list of texts", t.claims.told("aud"))
			case !slices.ContainsFunc(list, func(aud string) bool { return slices.Contains(p.Audiences, aud) }):
				return refuse(AudWrong, anyOf(p.Audiences), strings.Join(list, " and "))
			}
			return nil
		}),
	}, times(), []check{
		unbound(),
		plain("access", access),
		plain("subject", func(t *candidate) error {
			sub := t.claims.text("sub")
			strange := func(r rune) bool { return r < ' ' || r > '~' }
			if sub == "" || len(sub) > maxName || strings.ContainsFunc(sub, strange) || strings.TrimSpace(sub) != sub {
				return refuse(SubForm, "1 to 255 characters of visible ASCII", "")
			}
			return nil
		}),
		plain("roles", func(t *candidate) error {
			if _, ok := p.Roles.find(t.claims); !ok {
				return refuse(RolesForm, "texts at "+p.Roles.String(), "something else")
			}
			return nil
		}),
		plain("scopes", func(t *candidate) error {
			if _, ok := p.Scopes.find(t.claims); !ok {
				return refuse(ScopesForm, "texts at "+p.Scopes.String(), "something else")
			}
			return nil
		}),
	}, signature(p.Keys))
}

// access tells access tokens from what else a provider signs with the same key and for the same audience. A token that says what
// it is decides: by its typ (RFC 9068 section 2.1), or by the claim typ, which is Keycloak's: Bearer, and not ID, Refresh,
// Offline, Logout or another. Else it must have nothing that only ID tokens have, and something that they never have.
func access(t *candidate) error {
	c := t.claims
	idToken := func(got string) error { return refuse(IDToken, "an access token", "one with "+got) }
	switch kind := c.text("typ"); {
	case c.has("events"): // RFC 8417 section 4: security events, and logout tokens among them, are told from all others by it
		return refuse(OtherToken, "an access token", "a security event")
	case c.has("at_hash"): // OpenID Connect Core section 3.1.3.6
		return idToken("at_hash")
	case c.has("c_hash"): // section 3.3.2.11
		return idToken("c_hash")
	case kind == "ID":
		return idToken("the claim typ ID")
	case kind == "Bearer":
		return nil
	case c.has("typ"):
		return refuse(OtherToken, "the claim typ Bearer", c.told("typ"))
	case t.header.text("typ") != "JWT": // at+jwt
		return nil
	case c.has("nonce"): // section 2
		return idToken("nonce")
	}
	// RFC 9068 section 2.2, RFC 8693 sections 4.2 and 4.3; scp is Okta's and Microsoft's, idtyp and azpacr are Microsoft's.
	if !slices.ContainsFunc([]string{"scope", "client_id", "scp", "idtyp", "azpacr"}, c.has) {
		return refuse(IDToken, "typ at+jwt, or a claim of access tokens alone, such as scope or client_id", "none")
	}
	return nil
}

// caller reads who calls from a token that passed all checks. It is a person unless the token says that the client is its own
// subject (RFC 9068 section 2.2): a workload of a provider that does not say so is registered, or has its roles, like a person.
func (p Provider) caller(t *candidate) Caller {
	c := Caller{Kind: User}
	c.Actor.Issuer, c.Actor.ID = p.Issuer, t.claims.text("sub")
	c.Scopes, _ = p.Roles.find(t.claims)
	if c.Actor.ID == t.claims.text("client_id") || c.Actor.ID == t.claims.text("azp") {
		c.Kind = App
		return c
	}
	c.Delegated, _ = p.Scopes.find(t.claims)
	c.Whole = !p.Scopes.set()
	return c
}
