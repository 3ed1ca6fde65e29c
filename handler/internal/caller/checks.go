package caller

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxToken    = 16 << 10 // bytes
	maxName     = 255      // bytes of kid and sub (model.md section 1)
	leeway      = 60 * time.Second
	maxLifetime = 28 * time.Hour
)

// check is one rule. The package comment lists them all, with the source of each.
type check struct {
	rule string
	// test answers nil for a token that passes, *Rejected for one that does not, and ErrUnavailable when nobody can tell. It may
	// fill in the candidate.
	test func(ctx context.Context, t *candidate) error
}

// plain makes a check of a rule that needs nothing but the token.
func plain(rule string, test func(*candidate) error) check {
	return check{rule, func(_ context.Context, t *candidate) error { return test(t) }}
}

// run applies the checks in order, to the first that does not hold.
func run(ctx context.Context, checks []check, t *candidate) error {
	for _, c := range checks {
		if err := c.test(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// refuse makes a refusal out of what a check compared.
func refuse(cause Cause, expected, got string) error {
	return &Rejected{Cause: cause, Expected: shown(expected), Got: shown(got)}
}

// extensions are header members that would change what the token means or which key verifies it.
func extensions() []string {
	return []string{"crit", "b64", "zip", "jwk", "jku", "x5u", "x5c", "cty", "enc", "epk", "p2c"}
}

// headerNames and claimNames are what we read: none of them may come in another case.
func headerNames() map[string]bool { return setOf(append(extensions(), "nonce", "typ", "alg", "kid")) }

func claimNames() map[string]bool {
	return setOf([]string{
		"iss", "aud", "exp", "iat", "nbf", "ver", "tid", "oid", "sub", "azp", "appid", "idtyp", "scp", "roles", "cnf",
		"typ", "nonce", "at_hash", "c_hash", "azpacr", "client_id", "events", "jti", "sid", "scope", "metadata",
	})
}

func setOf(names []string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[name] = true
	}
	return s
}

// formChecks are for every token. They believe nothing that it says; the last of them finds whose checks come next.
func formChecks(issuers map[string]*issuer) []check {
	extensions, headerNames, claimNames := extensions(), headerNames(), claimNames()
	strict := base64.RawURLEncoding.Strict()
	return []check{
		plain("size", func(t *candidate) error {
			if len(t.raw) > maxToken {
				return refuse(TokenTooLong, "at most 16 KiB", "more")
			}
			return nil
		}),
		plain("parts", func(t *candidate) error {
			if !t.split() {
				return refuse(TokenParts, "3 parts that are not empty", strconv.Itoa(strings.Count(t.raw, ".")+1))
			}
			return nil
		}),
		plain("base64url", func(t *candidate) error {
			if !t.decode(strict) {
				return refuse(TokenEncoding, "canonical base64url", "")
			}
			return nil
		}),
		plain("header", func(t *candidate) (err error) {
			causes := malformed{HeaderNotJSON, HeaderNotUnicode, HeaderTwice, HeaderCase, HeaderTooLarge}
			t.header, err = causes.object(t.headerJSON, maxHeaderValues, headerNames)
			return err
		}),
		plain("claims", func(t *candidate) (err error) {
			causes := malformed{ClaimsNotJSON, ClaimsNotUnicode, ClaimsTwice, ClaimsCase, ClaimsTooLarge}
			t.claims, err = causes.object(t.claimsJSON, maxValues, claimNames)
			return err
		}),
		plain("nonce", func(t *candidate) error {
			if t.header.has("nonce") {
				return refuse(HeaderNonce, "a token for Latchkey", "one for another API of Microsoft")
			}
			return nil
		}),
		plain("extensions", func(t *candidate) error {
			if at := slices.IndexFunc(extensions, t.header.has); at >= 0 {
				return refuse(HeaderExtension, "none", extensions[at])
			}
			return nil
		}),
		plain("kid", func(t *candidate) error {
			switch kid := t.header.text("kid"); {
			case kid == "":
				return refuse(KidMissing, "a text", t.header.told("kid"))
			case len(kid) > maxName:
				return refuse(KidTooLong, "at most 255 bytes", kid)
			}
			return nil
		}),
		plain("iss", func(t *candidate) error {
			name := t.claims.text("iss")
			switch t.from = issuers[name]; {
			case t.from != nil:
				return nil
			case name == "":
				return refuse(IssMissing, "a text", t.claims.told("iss"))
			}
			return refuse(IssUnknown, anyOf(slices.Sorted(maps.Keys(issuers))), name)
		}),
	}
}

// typ asks for the type of an access token: only these names, spelt so. The older one is every JWT's (RFC 7519 section 5.1).
func typ(allowed ...string) check {
	return plain("typ", func(t *candidate) error {
		if !slices.Contains(allowed, t.header.text("typ")) {
			return refuse(TypWrong, anyOf(allowed), t.header.told("typ"))
		}
		return nil
	})
}

// algorithm asks for one that is allowed, before the key is looked for. Each key has one of them, which signature asks for.
func algorithm(allowed []string) check {
	return plain("alg", func(t *candidate) error {
		alg := t.header.text("alg")
		switch {
		case slices.Contains(allowed, alg):
			return nil
		case strings.EqualFold(alg, "none"):
			return refuse(AlgNone, anyOf(allowed), alg)
		case len(alg) > 2 && strings.EqualFold(alg[:2], "HS"):
			return refuse(AlgSymmetric, anyOf(allowed), alg)
		}
		return refuse(AlgWrong, anyOf(allowed), t.header.told("alg"))
	})
}

// times are the checks of exp, iat and nbf.
func times() []check {
	return []check{
		plain("dates", func(t *candidate) error {
			for _, name := range []string{"exp", "iat", "nbf"} {
				if _, ok := t.claims.date(name); ok {
					continue
				}
				switch there := t.claims.has(name); {
				case there:
					return refuse(DateForm, name+" in whole seconds since 1970", t.claims.told(name))
				case name == "exp":
					return refuse(ExpMissing, "exp", "(missing)")
				case name == "iat":
					return refuse(IatMissing, "iat", "(missing)")
				}
			}
			return nil
		}),
		plain("expired", func(t *candidate) error {
			if exp, _ := t.claims.date("exp"); !t.now.Before(exp.Add(leeway)) {
				return refuse(Expired, "exp after "+moment(t.now.Add(-leeway)), moment(exp))
			}
			return nil
		}),
		plain("issued", func(t *candidate) error {
			if iat, _ := t.claims.date("iat"); iat.After(t.now.Add(leeway)) {
				return refuse(IatAhead, "iat not after "+moment(t.now.Add(leeway)), moment(iat))
			}
			return nil
		}),
		plain("not_before", func(t *candidate) error {
			if nbf, _ := t.claims.date("nbf"); nbf.After(t.now.Add(leeway)) {
				return refuse(NbfAhead, "nbf not after "+moment(t.now.Add(leeway)), moment(nbf))
			}
			return nil
		}),
		plain("lifetime", func(t *candidate) error {
			iat, _ := t.claims.date("iat")
			exp, _ := t.claims.date("exp")
			if lifetime := exp.Sub(iat); lifetime > maxLifetime {
				return refuse(LifetimeLong, "at most "+maxLifetime.String(), lifetime.String())
			}
			return nil
		}),
	}
}

// unbound refuses a token that is bound to a key of its client (RFC 7800 section 3.1, RFC 8705 section 3, RFC 9449 section 6). The
// proof that belongs to it is not looked at here: taken without, a stolen one would work.
func unbound() check {
	return plain("bound", func(t *candidate) error {
		if t.claims.has("cnf") {
			return refuse(TokenBound, "a bearer token", "one with cnf")
		}
		return nil
	})
}

// signature are the checks that need the issuer's keys. They come last: whatever can be known without them costs no fetch.
func signature(keys *Keys) []check {
	return []check{
		{"key", func(ctx context.Context, t *candidate) error {
			kid := t.header.text("kid")
			key, err := keys.key(ctx, kid)
			switch {
			case errors.Is(err, errUnknownKey):
				return refuse(KeyUnknown, "a key of "+t.claims.text("iss"), kid)
			case err != nil:
				return err
			}
			kid = strings.Clone(kid) // what is remembered must not hold the header's text
			t.key, t.proof = key, func() bool { return keys.hold(kid, key) }
			return nil
		}},
		plain("key_alg", func(t *candidate) error {
			if alg := t.header.text("alg"); t.key == nil || t.key.algorithm != alg {
				return refuse(AlgWrong, "the algorithm of the key "+t.header.text("kid"), alg)
			}
			return nil
		}),
		plain("signature", func(t *candidate) error {
			signed := t.raw[:len(t.parts[0])+1+len(t.parts[1])]
			if t.key == nil || !t.key.verifies(signed, t.signature) {
				return refuse(SignatureWrong, "a signature by the key "+t.header.text("kid"), "")
			}
			return nil
		}),
	}
}

// moment writes a time for people.
func moment(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// anyOf lists what would have been good.
func anyOf(all []string) string { return strings.Join(all, " or ") }
