package caller

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxToken    = 16 << 10 // bytes
	maxName     = 255      // bytes of kid and sub (model.md section 1)
	leeway      = 60 * time.Second
	maxLifetime = 28 * time.Hour
)

// check is one rule. The package comment lists them all, with the source of each.
type check struct {
	rule   string
	reason Reason
	// holds may fill in the candidate. An error means that nobody can tell: ErrUnavailable.
	holds func(ctx context.Context, t *candidate) (bool, error)
}

// plain makes a check of a rule that needs nothing but the token.
func plain(rule string, reason Reason, holds func(*candidate) bool) check {
	return check{rule, reason, func(_ context.Context, t *candidate) (bool, error) { return holds(t), nil }}
}

// run applies the checks in order, to the first that does not hold.
func run(ctx context.Context, checks []check, t *candidate) error {
	for _, c := range checks {
		switch holds, err := c.holds(ctx, t); {
		case err != nil:
			return err
		case !holds:
			return &Rejected{Reason: c.reason, Rule: c.rule}
		}
	}
	return nil
}

// extensions are header members that would change what the token means or which key verifies it.
func extensions() []string {
	return []string{"crit", "b64", "zip", "nonce", "jwk", "jku", "x5u", "x5c", "cty", "enc", "epk", "p2c"}
}

// headerNames and claimNames are what we read: none of them may come in another case.
func headerNames() map[string]bool { return setOf(append(extensions(), "typ", "alg", "kid")) }

func claimNames() map[string]bool {
	return setOf([]string{
		"iss", "aud", "exp", "iat", "nbf", "ver", "tid", "oid", "sub", "azp", "appid", "idtyp", "scp", "roles",
		"client_id", "jti", "sid", "scope", "metadata",
	})
}

func setOf(names []string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[name] = true
	}
	return s
}

// formChecks are for every token. They believe nothing that it says.
func formChecks() []check {
	extensions, headerNames, claimNames := extensions(), headerNames(), claimNames()
	return []check{
		plain("size", TokenMalformed, func(t *candidate) bool { return len(t.raw) <= maxToken }),
		plain("parts", TokenMalformed, (*candidate).split),
		plain("base64url", TokenMalformed, (*candidate).decode),
		plain("header", TokenMalformed, func(t *candidate) bool {
			var err error
			t.header, err = parseObject(t.headerJSON, headerNames)
			return err == nil
		}),
		plain("claims", TokenMalformed, func(t *candidate) bool {
			var err error
			t.claims, err = parseObject(t.claimsJSON, claimNames)
			return err == nil
		}),
		plain("extensions", TokenWrongType, func(t *candidate) bool { return !slices.ContainsFunc(extensions, t.header.has) }),
		plain("kid", TokenMalformed, func(t *candidate) bool {
			kid := t.header.text("kid")
			return kid != "" && len(kid) <= maxName
		}),
	}
}

// entraChecks are for tokens whose iss is one of the tenant's two.
func entraChecks(e Entra) []check {
	return []check{
		plain("typ", TokenWrongType, func(t *candidate) bool {
			typ := t.header.text("typ")
			return typ == "JWT" || typ == "at+jwt"
		}),
		plain("alg", TokenMalformed, func(t *candidate) bool { return t.header.text("alg") == "RS256" }),
		plain("version", TokenUntrustedIssuer, func(t *candidate) bool { return t.claims.text("ver") == t.version }),
		plain("tenant", TokenUntrustedIssuer, func(t *candidate) bool { return t.claims.text("tid") == e.Tenant }),
		plain("audience", TokenWrongAudience, func(t *candidate) bool {
			aud := t.claims.text("aud")
			return slices.Contains(e.Audiences, aud) && (t.version == "1.0" || isGUID(aud))
		}),
		plain("dates", TokenMalformed, func(t *candidate) bool {
			_, exp := t.claims.date("exp")
			_, iat := t.claims.date("iat")
			_, nbf := t.claims.date("nbf")
			return exp && iat && (nbf || !t.claims.has("nbf"))
		}),
		plain("expired", TokenExpired, func(t *candidate) bool {
			exp, _ := t.claims.date("exp")
			return t.now.Before(exp.Add(leeway))
		}),
		plain("issued", TokenNotYetValid, func(t *candidate) bool {
			iat, _ := t.claims.date("iat")
			return !iat.After(t.now.Add(leeway))
		}),
		plain("not_before", TokenNotYetValid, func(t *candidate) bool {
			nbf, _ := t.claims.date("nbf")
			return !nbf.After(t.now.Add(leeway))
		}),
		plain("lifetime", TokenMalformed, func(t *candidate) bool {
			iat, _ := t.claims.date("iat")
			exp, _ := t.claims.date("exp")
			return exp.Sub(iat) <= maxLifetime
		}),
		plain("client", TokenWrongType, func(t *candidate) bool {
			if t.version == "1.0" {
				return isGUID(t.claims.text("appid"))
			}
			return isGUID(t.claims.text("azp"))
		}),
		plain("object", TokenMalformed, func(t *candidate) bool { return isGUID(t.claims.text("oid")) }),
		plain("principal", TokenWrongType, func(t *candidate) bool {
			sub := t.claims.text("sub")
			return sub != "" && len(sub) <= maxName && (appOnly(t.claims) || t.claims.text("scp") != "")
		}),
		plain("roles", TokenMalformed, func(t *candidate) bool {
			_, ok := texts(t.claims["roles"])
			return ok || !t.claims.has("roles")
		}),
		{"key", TokenBadSignature, func(ctx context.Context, t *candidate) (bool, error) {
			key, err := e.Keys.key(ctx, t.header.text("kid"))
			t.key = key
			if errors.Is(err, errUnknownKey) {
				return false, nil
			}
			return err == nil, err
		}},
		plain("signature", TokenBadSignature, func(t *candidate) bool {
			signed := t.raw[:len(t.parts[0])+1+len(t.parts[1])]
			return t.key != nil && jwt.SigningMethodRS256.Verify(signed, t.signature, t.key) == nil
		}),
	}
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

// entraCaller reads who calls from a token that passed all checks.
func entraCaller(claims object) Caller {
	c := Caller{Kind: User}
	c.Actor.Issuer, c.Actor.ID = claims.text("tid"), claims.text("oid")
	if appOnly(claims) {
		c.Kind = App
		c.Scopes, _ = texts(claims["roles"])
		return c
	}
	c.Delegated = strings.Fields(claims.text("scp"))
	return c
}
