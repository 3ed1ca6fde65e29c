package caller

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Entra says which tokens of Entra ID are taken.
type Entra struct {
	// Tenant is the GUID of the one tenant.
	Tenant string
	// Audiences are client ids (GUIDs), which v1 and v2 tokens may carry, and App ID URIs, which only v1 tokens may.
	Audiences []string
	// Keys are the tenant's.
	Keys *Keys
}

// consumers is the tenant of all personal accounts of Microsoft, which belong to nobody we know.
const consumers = "9188040d-6c67-4c5b-b112-36a304b66dad"

// EntraIssuers are the iss of a tenant's v1 and v2 tokens (Microsoft, "Access token claims reference").
func EntraIssuers(tenant string) (v1, v2 string) {
	return "https://sts.windows.net/" + tenant + "/", "https://login.microsoftonline.com/" + tenant + "/v2.0"
}

// issuers checks the configuration, and makes the two issuers of the tenant.
func (e Entra) issuers() ([]*issuer, error) {
	e.Tenant = strings.ToLower(e.Tenant)
	if !isGUID(e.Tenant) || e.Tenant == consumers {
		return nil, errors.New("the tenant must be a GUID, and not the one of personal accounts")
	}
	audiences := slices.Clone(e.Audiences)
	for i, a := range audiences {
		// Entra writes GUIDs in lower case, the portal's users do not always. App ID URIs stay as they are.
		if lower := strings.ToLower(a); isGUID(lower) {
			audiences[i] = lower
		}
	}
	if err := named("audience", audiences); err != nil {
		return nil, err
	}
	e.Audiences = audiences
	v1, v2 := EntraIssuers(e.Tenant)
	return []*issuer{
		{name: v1, checks: e.checks("1.0"), caller: entraCaller},
		{name: v2, checks: e.checks("2.0"), caller: entraCaller},
	}, nil
}

// named tests a list in which nothing may be empty: an empty list must not mean "any".
func named(what string, list []string) error {
	if len(list) == 0 || slices.Contains(list, "") {
		return fmt.Errorf("at least one %s is needed, and none may be empty", what)
	}
	return nil
}

// checks are for tokens whose iss is the tenant's of this version.
func (e Entra) checks(version string) []check {
	client := "azp"
	if version == "1.0" {
		client = "appid"
	}
	return slices.Concat([]check{
		typ("JWT", "at+jwt"),
		algorithm([]string{RS256}),
		plain("version", func(t *candidate) error {
			if t.claims.text("ver") != version {
				return refuse(VerWrong, version, t.claims.told("ver"))
			}
			return nil
		}),
		plain("tenant", func(t *candidate) error {
			switch tid := t.claims.text("tid"); tid {
			case e.Tenant:
				return nil
			case "":
				return refuse(TidMissing, e.Tenant, t.claims.told("tid"))
			default:
				return refuse(TidWrong, e.Tenant, tid)
			}
		}),
		plain("audience", func(t *candidate) error {
			aud, isText := t.claims["aud"].(string)
			switch {
			case aud == "" && (isText || !t.claims.has("aud")):
				return refuse(AudMissing, anyOf(e.Audiences), t.claims.told("aud"))
			case !isText:
				return refuse(AudForm, anyOf(e.Audiences), t.claims.told("aud"))
			case !slices.Contains(e.Audiences, aud):
				return refuse(AudWrong, anyOf(e.Audiences), aud)
			case version == "2.0" && !isGUID(aud):
				return refuse(AudURI, "a client id", aud)
			}
			return nil
		}),
	}, times(), []check{
		unbound(),
		plain("client", func(t *candidate) error {
			if !isGUID(t.claims.text(client)) {
				return refuse(ClientMissing, client+" with a GUID", t.claims.told(client))
			}
			return nil
		}),
		plain("object", func(t *candidate) error {
			if !isGUID(t.claims.text("oid")) {
				return refuse(OidMissing, "a GUID in lower case", "")
			}
			return nil
		}),
		plain("subject", func(t *candidate) error {
			if sub := t.claims.text("sub"); sub == "" || len(sub) > maxName {
				return refuse(SubForm, "a text of 1 to 255 bytes", "")
			}
			return nil
		}),
		plain("idtyp", func(t *candidate) error {
			idtyp := t.claims.text("idtyp")
			if t.claims.has("idtyp") && idtyp != "app" && idtyp != "user" {
				return refuse(IdtypWrong, "app or user", t.claims.told("idtyp"))
			}
			return nil
		}),
		plain("roles", func(t *candidate) error {
			if _, ok := texts(t.claims["roles"]); !ok && t.claims.has("roles") {
				return refuse(RolesForm, "a list of texts", t.claims.told("roles"))
			}
			return nil
		}),
		plain("scopes", func(t *candidate) error {
			if _, ok := t.claims["scp"].(string); !ok && t.claims.has("scp") {
				return refuse(ScopesForm, "one text", t.claims.told("scp"))
			}
			return nil
		}),
		plain("principal", func(t *candidate) error {
			if !appOnly(t.claims) && len(words(t.claims.text("scp"))) == 0 {
				return refuse(PrincipalUnclear, "idtyp app, or sub equal to oid, or scp", "none of them")
			}
			return nil
		}),
	}, signature(e.Keys))
}

// appOnly tells a workload's token from a person's: by idtyp where there is one, else by model.md section 5 (a).
func appOnly(claims object) bool {
	if claims.has("idtyp") {
		return claims.text("idtyp") == "app"
	}
	return !claims.has("scp") && claims.text("oid") == claims.text("sub")
}

// texts returns the strings of an array that holds nothing else.
func texts(value any) ([]string, bool) {
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// words are the scopes of one text: a space alone parts them (RFC 6749 section 3.3).
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' })
}

// entraCaller reads who calls from a token that passed all checks.
func entraCaller(t *candidate) Caller {
	c := Caller{Kind: User}
	c.Actor.Issuer, c.Actor.ID = t.claims.text("tid"), t.claims.text("oid")
	if appOnly(t.claims) {
		c.Kind = App
		c.Scopes, _ = texts(t.claims["roles"])
		return c
	}
	c.Delegated = words(t.claims.text("scp"))
	return c
}
