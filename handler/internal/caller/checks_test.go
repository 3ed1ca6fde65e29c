package caller

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"go/parser"
	gotoken "go/token"
	"slices"
	"strings"
	"testing"
)

// attack is a token that one rule refuses.
type attack struct {
	name, raw string
	rule      string
	reason    Reason
}

func attacks() []attack {
	h := func(changes members) string { return signed(changed(header(), changes), v2()) }
	c := func(changes members) string { return signed(header(), changed(v2(), changes)) }
	c1 := func(changes members) string { return signed(header(), changed(v1(), changes)) }
	headerJSON, claimsJSON := must(json.Marshal(header())), must(json.Marshal(v2()))
	rawHeader := func(s string) string { return sign([]byte(s), claimsJSON, "k1") }
	rawClaims := func(s string) string { return sign(headerJSON, []byte(s), "k1") }
	moreClaims := func(s string) string { return rawClaims(strings.TrimSuffix(string(claimsJSON), "}") + "," + s + "}") }
	moreHeader := func(s string) string { return rawHeader(strings.TrimSuffix(string(headerJSON), "}") + "," + s + "}") }
	good := signed(header(), v2())
	parts := strings.Split(good, ".")
	public := must(x509.MarshalPKIXPublicKey(rsaKeys()["k1"].Public()))
	spki := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	loose := good[:len(good)-1] + string(alphabet[strings.IndexByte(alphabet, good[len(good)-1])+1]) // 256 bytes leave 4 bits free
	signature := must(base64.RawURLEncoding.DecodeString(parts[2]))
	signature[9] ^= 1
	flipped := parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(signature)
	now := noon.Unix()

	list := []attack{
		{"longer than 16 KiB", c(members{"x": strings.Repeat("a", 13<<10)}), "size", TokenMalformed},
		{"30,000 dots", strings.Repeat(".", 30000), "size", TokenMalformed},
		{"two parts", parts[0] + "." + parts[1], "parts", TokenMalformed},
		{"no signature", parts[0] + "." + parts[1] + ".", "parts", TokenMalformed},
		{"four parts", good + ".e30", "parts", TokenMalformed},
		{"JWS in JSON form", `{"payload":"` + parts[1] + `"}`, "parts", TokenMalformed},
		{"percent-encoded dots", strings.ReplaceAll(good, ".", "%2E"), "parts", TokenMalformed},
		{"padding", good + "==", "base64url", TokenMalformed},
		{"loose bits", loose, "base64url", TokenMalformed},
		{"line break", parts[0][:8] + "\r\n" + parts[0][8:] + "." + parts[1] + "." + parts[2], "base64url", TokenMalformed},
		{"space", parts[0] + "." + parts[1][:8] + " " + parts[1][8:] + "." + parts[2], "base64url", TokenMalformed},
		{"a second credential behind it", good + ", Bearer x", "base64url", TokenMalformed},
		{"base64 of the other alphabet", parts[0] + "." + parts[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(parts[2]) + "+", "base64url", TokenMalformed},
		{"header no object", rawHeader(`"x"`), "header", TokenMalformed},
		{"header twice alg", moreHeader(`"alg":"none"`), "header", TokenMalformed},
		{"header Alg beside alg", moreHeader(`"Alg":"none"`), "header", TokenMalformed},
		{"header with KID alone", rawHeader(`{"typ":"JWT","alg":"RS256","KID":"k1"}`), "header", TokenMalformed},
		{"header with something behind", rawHeader(string(headerJSON) + "{}"), "header", TokenMalformed},
		{"claims an array", rawClaims("[" + string(claimsJSON) + "]"), "claims", TokenMalformed},
		{"claims null", rawClaims("null"), "claims", TokenMalformed},
		{"claims empty object behind", rawClaims(string(claimsJSON) + " {}"), "claims", TokenMalformed},
		{"claims with a byte order mark", rawClaims("\ufeff" + string(claimsJSON)), "claims", TokenMalformed},
		{"claims no UTF-8", moreClaims("\"x\":\"\xff\xfe\""), "claims", TokenMalformed},
		{"claims half a surrogate pair", moreClaims(`"x":"\ud800"`), "claims", TokenMalformed},
		{"claims half a surrogate pair in a name", moreClaims(`"\ud800":1`), "claims", TokenMalformed},
		{"claims twice aud", moreClaims(`"aud":"api://evil"`), "claims", TokenMalformed},
		{"claims twice aud, escaped", moreClaims(`"\u0061ud":"api://evil"`), "claims", TokenMalformed},
		{"claims twice in a deep object", moreClaims(`"x":{"y":[{"z":1,"z":2}]}`), "claims", TokenMalformed},
		{"claims OID beside oid", moreClaims(`"OID":"x"`), "claims", TokenMalformed},
		{"claims ſub beside sub", moreClaims(`"ſub":"x"`), "claims", TokenMalformed},
		{"claims Scp alone", moreClaims(`"Scp":"x"`), "claims", TokenMalformed},
		{"claims 17 deep", moreClaims(`"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16)), "claims", TokenMalformed},
		{"claims exp NaN", rawClaims(strings.Replace(string(claimsJSON), `"exp":`, `"exp":NaN,"e":`, 1)), "claims", TokenMalformed},
		{"kid missing", h(members{"kid": nil}), "kid", TokenMalformed},
		{"kid empty", h(members{"kid": ""}), "kid", TokenMalformed},
		{"kid a number", h(members{"kid": 1}), "kid", TokenMalformed},
		{"kid an object", h(members{"kid": members{"$ne": ""}}), "kid", TokenMalformed},
		{"kid of 256 bytes", h(members{"kid": strings.Repeat("k", 256)}), "kid", TokenMalformed},

		{"iss of another tenant", c(members{"iss": "https://login.microsoftonline.com/" + otherTenant + "/v2.0"}), "issuer", TokenUntrustedIssuer},
		{"iss an array", c(members{"iss": []string{v2()["iss"].(string)}}), "issuer", TokenUntrustedIssuer},
		{"iss missing", c(members{"iss": nil}), "issuer", TokenUntrustedIssuer},
		{"iss v1 without its slash", c1(members{"iss": "https://sts.windows.net/" + tenant}), "issuer", TokenUntrustedIssuer},
		{"iss http", c(members{"iss": "http://login.microsoftonline.com/" + tenant + "/v2.0"}), "issuer", TokenUntrustedIssuer},
		{"iss the template", c(members{"iss": "https://login.microsoftonline.com/{tenantid}/v2.0"}), "issuer", TokenUntrustedIssuer},
		{"iss in upper case", c(members{"iss": "https://login.microsoftonline.com/" + strings.ToUpper(tenant) + "/v2.0"}), "issuer", TokenUntrustedIssuer},

		{"typ missing", h(members{"typ": nil}), "typ", TokenWrongType},
		{"typ of a proof", h(members{"typ": "dpop+jwt"}), "typ", TokenWrongType},
		{"alg none, still signed", h(members{"alg": "none"}), "alg", TokenMalformed},
		{"alg missing", h(members{"alg": nil}), "alg", TokenMalformed},
		{"alg an array", h(members{"alg": []string{"RS256"}}), "alg", TokenMalformed},
		{"alg RS384", h(members{"alg": "RS384"}), "alg", TokenMalformed},
		{"alg HS256 with the public key", hmacSigned(changed(header(), members{"alg": "HS256"}), v2(), spki), "alg", TokenMalformed},
		{"alg HS512 with the public key", hmacSigned(changed(header(), members{"alg": "HS512"}), v2(), bytes.TrimSpace(spki)), "alg", TokenMalformed},
		{"ver of v1 in a v2 token", c(members{"ver": "1.0"}), "version", TokenUntrustedIssuer},
		{"ver of v2 in a v1 token", c1(members{"ver": "2.0"}), "version", TokenUntrustedIssuer},
		{"ver missing", c(members{"ver": nil}), "version", TokenUntrustedIssuer},
		{"ver a number", c(members{"ver": 2}), "version", TokenUntrustedIssuer},
		{"tid of another tenant", c(members{"tid": otherTenant}), "tenant", TokenUntrustedIssuer},
		{"tid of another tenant, v1", c1(members{"tid": otherTenant}), "tenant", TokenUntrustedIssuer},
		{"tid missing", c(members{"tid": nil}), "tenant", TokenUntrustedIssuer},
		{"tid in upper case", c(members{"tid": strings.ToUpper(tenant)}), "tenant", TokenUntrustedIssuer},
		{"aud missing", c(members{"aud": nil}), "audience", TokenWrongAudience},
		{"aud of another API", c(members{"aud": "00000003-0000-0000-c000-000000000000"}), "audience", TokenWrongAudience},
		{"aud an array of ours", c(members{"aud": []string{audience}}), "audience", TokenWrongAudience},
		{"aud an array with ours", c(members{"aud": []string{audience, "api://other"}}), "audience", TokenWrongAudience},
		{"aud of v1 in a v2 token", c(members{"aud": audienceURI}), "audience", TokenWrongAudience},
		{"aud with a suffix", c(members{"aud": audience + ".evil"}), "audience", TokenWrongAudience},
		{"aud in upper case", c(members{"aud": strings.ToUpper(audience)}), "audience", TokenWrongAudience},
		{"aud of another API, v1", c1(members{"aud": "api://other"}), "audience", TokenWrongAudience},
		{"exp missing", c(members{"exp": nil}), "dates", TokenMalformed},
		{"exp a string", c(members{"exp": "1900000000"}), "dates", TokenMalformed},
		{"exp null", rawClaims(strings.Replace(string(claimsJSON), `"exp":`, `"exp":null,"e":`, 1)), "dates", TokenMalformed},
		{"exp true", c(members{"exp": true}), "dates", TokenMalformed},
		{"exp 0", c(members{"exp": 0}), "dates", TokenMalformed},
		{"exp negative", c(members{"exp": -1}), "dates", TokenMalformed},
		{"exp in milliseconds", c(members{"exp": (now + 3600) * 1000}), "dates", TokenMalformed},
		{"exp the largest number", rawClaims(strings.Replace(string(claimsJSON), `"exp":`, `"exp":9223372036854775807,"e":`, 1)), "dates", TokenMalformed},
		{"exp with a fraction", rawClaims(strings.Replace(string(claimsJSON), `"exp":`, `"exp":1.9e9,"e":`, 1)), "dates", TokenMalformed},
		{"iat missing", c(members{"iat": nil}), "dates", TokenMalformed},
		{"nbf a string", c(members{"nbf": "0"}), "dates", TokenMalformed},
		{"exp over by the leeway", c(members{"exp": now - 60}), "expired", TokenExpired},
		{"exp over by the leeway, v1", c1(members{"exp": now - 60}), "expired", TokenExpired},
		{"iat ahead", c(members{"iat": now + 61}), "issued", TokenNotYetValid},
		{"nbf ahead", c(members{"nbf": now + 61}), "not_before", TokenNotYetValid},
		{"a life of more than 28 h", c(members{"exp": now - 5 + 100801}), "lifetime", TokenMalformed},
		{"azp missing, as in an ID token", c(members{"azp": nil}), "client", TokenWrongType},
		{"appid missing in v1", c1(members{"appid": nil, "azp": appID}), "client", TokenWrongType},
		{"oid missing", c(members{"oid": nil}), "object", TokenMalformed},
		{"oid empty", c(members{"oid": "", "sub": ""}), "object", TokenMalformed},
		{"oid an array", c(members{"oid": []string{oid}}), "object", TokenMalformed},
		{"oid in upper case", c(members{"oid": strings.ToUpper(oid)}), "object", TokenMalformed},
		{"sub missing", c(members{"sub": nil}), "principal", TokenWrongType},
		{"sub of 256 bytes", c(members{"sub": strings.Repeat("s", 256)}), "principal", TokenWrongType},
		{"neither app-only nor delegated", c(members{"idtyp": nil, "sub": "x"}), "principal", TokenWrongType},
		{"of a user, without scp", c(members{"idtyp": "user"}), "principal", TokenWrongType},
		{"roles a string", c(members{"roles": role}), "roles", TokenMalformed},
		{"roles with a number", c(members{"roles": []any{role, 1}}), "roles", TokenMalformed},
		{"kid unknown", h(members{"kid": "nope"}), "key", TokenBadSignature},
		{"kid with a path", h(members{"kid": "../../../../dev/null"}), "key", TokenBadSignature},
		{"a bit of the signature", flipped, "signature", TokenBadSignature},
		{"a byte short", parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(signature[:255]), "signature", TokenBadSignature},
		{"zeros", parts[0] + "." + parts[1] + "." + strings.Repeat("A", 342), "signature", TokenBadSignature},
		{"signed by another key", sign(headerJSON, claimsJSON, "attacker"), "signature", TokenBadSignature},
		{"signed by k2, kid k1", sign(headerJSON, claimsJSON, "k2"), "signature", TokenBadSignature},
		{"PSS", pssSigned(header(), v2()), "signature", TokenBadSignature},
		{"claims of another token", parts[0] + "." + strings.Split(c(members{"roles": []string{"admin"}}), ".")[1] + "." + parts[2], "signature", TokenBadSignature},
	}
	for _, name := range extensions() {
		list = append(list, attack{"header " + name, h(members{name: "x"}), "extensions", TokenWrongType})
	}
	return list
}

func TestAUT1_EveryAttackIsRefusedByItsRule(t *testing.T) {
	b := newBench(t)
	good := signed(header(), v2())
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			c, err := b.verify(a.raw)
			if rule, reason := rejectedBy(err); rule != a.rule || reason != a.reason {
				t.Errorf("%v; want rule %s, reason %s", err, a.rule, a.reason)
			}
			if c.Kind != "" {
				t.Errorf("a caller in spite of the refusal: %+v", c)
			}
			if _, err := b.verify(good); err != nil {
				t.Errorf("the good token afterwards: %v", err)
			}
		})
	}
}

// Without one check, some attack on it gets in. The checks that prepare what later ones read are different: without them
// nothing gets in at all, not even the good token.
func TestAUT1_EveryCheckIsNeeded(t *testing.T) {
	b := newBench(t)
	good, all := signed(header(), v2()), attacks()
	prepares := []string{"parts", "base64url", "header", "claims", "key"}
	// kid has the key cache behind it, which has no key without a name.
	backed := []string{"kid"}
	without := func(rule string) *Verifier {
		v := *b.Verifier
		drop := func(c check) bool { return c.rule == rule }
		v.form = slices.DeleteFunc(slices.Clone(v.form), drop)
		v.entra = slices.DeleteFunc(slices.Clone(v.entra), drop)
		if len(v.form)+len(v.entra)+1 != len(b.form)+len(b.entra) {
			t.Fatalf("there is not one check %s", rule)
		}
		return &v
	}
	for _, c := range slices.Concat(b.form, b.entra) {
		t.Run(c.rule, func(t *testing.T) {
			v := without(c.rule)
			if _, err := v.Verify(t.Context(), "Bearer "+good); (err == nil) == slices.Contains(prepares, c.rule) {
				t.Errorf("the good token: %v", err)
			}
			var in []string
			for _, a := range all {
				if _, err := v.Verify(t.Context(), "Bearer "+a.raw); err == nil {
					if a.rule != c.rule {
						t.Errorf("%q, an attack on %s, gets in", a.name, a.rule)
					}
					in = append(in, a.name)
				}
			}
			if (len(in) == 0) != (slices.Contains(prepares, c.rule) || slices.Contains(backed, c.rule)) {
				t.Errorf("these attacks get in: %q", in)
			}
		})
	}
}

func TestAUT1_ThePackageCommentNamesEveryCheck(t *testing.T) {
	file := must(parser.ParseFile(gotoken.NewFileSet(), "doc.go", nil, parser.ParseComments))
	doc := file.Doc.Text()
	for _, c := range slices.Concat(formChecks(), entraChecks(Entra{}), []check{{rule: "own_token"}, {rule: "own_session"}}) {
		if !strings.Contains(doc, "\n\t"+c.rule+" ") {
			t.Errorf("%s is not there", c.rule)
		}
	}
}

func FuzzVerifyNeverPanics(f *testing.F) {
	for _, a := range attacks() {
		f.Add(a.raw)
	}
	b := newBench(f)
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := b.Verify(context.Background(), "Bearer "+raw)
		if (err == nil) != (c.Kind != "") {
			t.Errorf("%+v, %v", c, err)
		}
		if o, err := parseObject([]byte(raw), nil); err == nil && !json.Valid([]byte(raw)) {
			t.Errorf("%v", o)
		}
	})
}
