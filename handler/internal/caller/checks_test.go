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
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// attack is a token that one rule refuses, and no other.
type attack struct {
	name, raw string
	rule      string
	cause     Cause
}

// entraAttacks are on tokens of Entra ID, and on the form of every token.
func entraAttacks() []attack {
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
		{"longer than 16 KiB", c(members{"x": strings.Repeat("a", 13<<10)}), "size", TokenTooLong},
		{"30,000 dots", strings.Repeat(".", 30000), "size", TokenTooLong},
		{"two parts", parts[0] + "." + parts[1], "parts", TokenParts},
		{"no signature", parts[0] + "." + parts[1] + ".", "parts", TokenParts},
		{"four parts", good + ".e30", "parts", TokenParts},
		{"JWS in JSON form", `{"payload":"` + parts[1] + `"}`, "parts", TokenParts},
		{"percent-encoded dots", strings.ReplaceAll(good, ".", "%2E"), "parts", TokenParts},
		{"padding", good + "==", "base64url", TokenEncoding},
		{"loose bits", loose, "base64url", TokenEncoding},
		{"line break", parts[0][:8] + "\r\n" + parts[0][8:] + "." + parts[1] + "." + parts[2], "base64url", TokenEncoding},
		{"space", parts[0] + "." + parts[1][:8] + " " + parts[1][8:] + "." + parts[2], "base64url", TokenEncoding},
		{"a second credential behind it", good + ", Bearer x", "base64url", TokenEncoding},
		{"base64 of the other alphabet", parts[0] + "." + parts[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(parts[2]) + "+", "base64url", TokenEncoding},
		{"header no object", rawHeader(`"x"`), "header", HeaderNotJSON},
		{"header twice alg", moreHeader(`"alg":"none"`), "header", HeaderTwice},
		{"header Alg beside alg", moreHeader(`"Alg":"none"`), "header", HeaderTwice},
		{"header with KID alone", rawHeader(`{"typ":"JWT","alg":"RS256","KID":"k1"}`), "header", HeaderCase},
		{"header with something behind", rawHeader(string(headerJSON) + "{}"), "header", HeaderNotJSON},
		{"claims an array", rawClaims("[" + string(claimsJSON) + "]"), "claims", ClaimsNotJSON},
		{"claims null", rawClaims("null"), "claims", ClaimsNotJSON},
		{"claims empty object behind", rawClaims(string(claimsJSON) + " {}"), "claims", ClaimsNotJSON},
		{"claims with a byte order mark", rawClaims("\ufeff" + string(claimsJSON)), "claims", ClaimsNotJSON},
		{"claims no UTF-8", moreClaims("\"x\":\"\xff\xfe\""), "claims", ClaimsNotUnicode},
		{"claims half a surrogate pair", moreClaims(`"x":"\ud800"`), "claims", ClaimsNotUnicode},
		{"claims half a surrogate pair in a name", moreClaims(`"\ud800":1`), "claims", ClaimsNotUnicode},
		{"claims twice aud", moreClaims(`"aud":"api://evil"`), "claims", ClaimsTwice},
		{"claims twice aud, escaped", moreClaims(`"\u0061ud":"api://evil"`), "claims", ClaimsTwice},
		{"claims twice in a deep object", moreClaims(`"x":{"y":[{"z":1,"z":2}]}`), "claims", ClaimsTwice},
		{"claims OID beside oid", moreClaims(`"OID":"x"`), "claims", ClaimsTwice},
		{"claims ſub beside sub", moreClaims(`"ſub":"x"`), "claims", ClaimsTwice},
		{"claims Scp alone", moreClaims(`"Scp":"x"`), "claims", ClaimsCase},
		{"claims 17 deep", moreClaims(`"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16)), "claims", ClaimsTooLarge},
		{"claims exp NaN", rawClaims(strings.Replace(string(claimsJSON), `"exp":`, `"exp":NaN,"e":`, 1)), "claims", ClaimsNotJSON},
		{"kid missing", h(members{"kid": nil}), "kid", KidMissing},
		{"kid empty", h(members{"kid": ""}), "kid", KidMissing},
		{"kid a number", h(members{"kid": 1}), "kid", KidMissing},
		{"kid an object", h(members{"kid": members{"$ne": ""}}), "kid", KidMissing},
		{"kid of 256 bytes", h(members{"kid": strings.Repeat("k", 256)}), "kid", KidTooLong},

		{"iss of another tenant", c(members{"iss": "https://login.microsoftonline.com/" + otherTenant + "/v2.0"}), "iss", IssUnknown},
		{"iss an array", c(members{"iss": []string{v2()["iss"].(string)}}), "iss", IssMissing},
		{"iss missing", c(members{"iss": nil}), "iss", IssMissing},
		{"iss v1 without its slash", c1(members{"iss": "https://sts.windows.net/" + tenant}), "iss", IssUnknown},
		{"iss http", c(members{"iss": "http://login.microsoftonline.com/" + tenant + "/v2.0"}), "iss", IssUnknown},
		{"iss the template", c(members{"iss": "https://login.microsoftonline.com/{tenantid}/v2.0"}), "iss", IssUnknown},
		{"iss in upper case", c(members{"iss": "https://login.microsoftonline.com/" + strings.ToUpper(tenant) + "/v2.0"}), "iss", IssUnknown},

		{"typ missing", h(members{"typ": nil}), "typ", TypWrong},
		{"typ of a proof", h(members{"typ": "dpop+jwt"}), "typ", TypWrong},
		{"alg none, still signed", h(members{"alg": "none"}), "alg", AlgNone},
		{"alg missing", h(members{"alg": nil}), "alg", AlgWrong},
		{"alg an array", h(members{"alg": []string{"RS256"}}), "alg", AlgWrong},
		{"alg RS384", h(members{"alg": "RS384"}), "alg", AlgWrong},
		{"alg HS256 with the public key", hmacSigned(changed(header(), members{"alg": "HS256"}), v2(), spki), "alg", AlgSymmetric},
		{"alg HS512 with the public key", hmacSigned(changed(header(), members{"alg": "HS512"}), v2(), bytes.TrimSpace(spki)), "alg", AlgSymmetric},
		{"ver of v1 in a v2 token", c(members{"ver": "1.0"}), "version", VerWrong},
		{"ver of v2 in a v1 token", c1(members{"ver": "2.0"}), "version", VerWrong},
		{"ver missing", c(members{"ver": nil}), "version", VerWrong},
		{"ver a number", c(members{"ver": 2}), "version", VerWrong},
		{"tid of another tenant", c(members{"tid": otherTenant}), "tenant", TidWrong},
		{"tid of another tenant, v1", c1(members{"tid": otherTenant}), "tenant", TidWrong},
		{"tid missing", c(members{"tid": nil}), "tenant", TidMissing},
		{"tid in upper case", c(members{"tid": strings.ToUpper(tenant)}), "tenant", TidWrong},
		{"aud missing", c(members{"aud": nil}), "audience", AudMissing},
		{"aud of another API", c(members{"aud": "00000003-0000-0000-c000-000000000000"}), "audience", AudWrong},
		{"aud an array of ours", c(members{"aud": []string{audience}}), "audience", AudForm},
		{"aud an array with ours", c(members{"aud": []string{audience, "api://other"}}), "audience", AudForm},
		{"aud of v1 in a v2 token", c(members{"aud": audienceURI}), "audience", AudURI},
		{"aud with a suffix", c(members{"aud": audience + ".evil"}), "audience", AudWrong},
		{"aud in upper case", c(members{"aud": strings.ToUpper(audience)}), "audience", AudWrong},
		{"aud of another API, v1", c1(members{"aud": "api://other"}), "audience", AudWrong},
		{"exp missing", c(members{"exp": nil}), "dates", ExpMissing},
		{"exp a string", c(members{"exp": "1900000000"}), "dates", DateForm},
		{"exp null", rawClaims(strings.Replace(string(claimsJSON), `"exp":`, `"exp":null,"e":`, 1)), "dates", DateForm},
		{"exp true", c(members{"exp": true}), "dates", DateForm},
		{"exp 0", c(members{"exp": 0}), "dates", DateForm},
		{"exp negative", c(members{"exp": -1}), "dates", DateForm},
		{"exp in milliseconds", c(members{"exp": (now + 3600) * 1000}), "dates", DateForm},
		{"exp the largest number", rawClaims(strings.Replace(string(claimsJSON), `"exp":`, `"exp":9223372036854775807,"e":`, 1)), "dates", DateForm},
		{"exp with a fraction", rawClaims(strings.Replace(string(claimsJSON), `"exp":`, `"exp":1.9e9,"e":`, 1)), "dates", DateForm},
		{"iat missing", c(members{"iat": nil}), "dates", IatMissing},
		{"nbf a string", c(members{"nbf": "0"}), "dates", DateForm},
		{"exp over by the leeway", c(members{"exp": now - 60}), "expired", Expired},
		{"exp over by the leeway, v1", c1(members{"exp": now - 60}), "expired", Expired},
		{"iat ahead", c(members{"iat": now + 61}), "issued", IatAhead},
		{"nbf ahead", c(members{"nbf": now + 61}), "not_before", NbfAhead},
		{"a life of more than 28 h", c(members{"exp": now - 5 + 100801}), "lifetime", LifetimeLong},
		{"azp missing, as in an ID token", c(members{"azp": nil}), "client", ClientMissing},
		{"appid missing in v1", c1(members{"appid": nil, "azp": appID}), "client", ClientMissing},
		{"oid missing", c(members{"oid": nil}), "object", OidMissing},
		{"oid empty", c(members{"oid": "", "sub": ""}), "object", OidMissing},
		{"oid an array", c(members{"oid": []string{oid}}), "object", OidMissing},
		{"oid in upper case", c(members{"oid": strings.ToUpper(oid)}), "object", OidMissing},
		{"sub missing", c(members{"sub": nil}), "subject", SubForm},
		{"sub of 256 bytes", c(members{"sub": strings.Repeat("s", 256)}), "subject", SubForm},
		{"neither app-only nor delegated", c(members{"idtyp": nil, "sub": "x"}), "principal", PrincipalUnclear},
		{"of a user, without scp", c(members{"idtyp": "user"}), "principal", PrincipalUnclear},
		{"roles a string", c(members{"roles": role}), "roles", RolesForm},
		{"roles with a number", c(members{"roles": []any{role, 1}}), "roles", RolesForm},
		{"kid unknown", h(members{"kid": "nope"}), "key", KeyUnknown},
		{"kid with a path", h(members{"kid": "../../../../dev/null"}), "key", KeyUnknown},
		{"a bit of the signature", flipped, "signature", SignatureWrong},
		{"a byte short", parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(signature[:255]), "signature", SignatureWrong},
		{"zeros", parts[0] + "." + parts[1] + "." + strings.Repeat("A", 342), "signature", SignatureWrong},
		{"signed by another key", sign(headerJSON, claimsJSON, "attacker"), "signature", SignatureWrong},
		{"signed by k2, kid k1", sign(headerJSON, claimsJSON, "k2"), "signature", SignatureWrong},
		{"PSS", pssSigned(header(), v2()), "signature", SignatureWrong},
		{"claims of another token", parts[0] + "." + strings.Split(c(members{"roles": []string{"admin"}}), ".")[1] + "." + parts[2], "signature", SignatureWrong},
	}
	for _, name := range extensions() {
		list = append(list, attack{"header " + name, h(members{name: "x"}), "extensions", HeaderExtension})
	}

	// What stands where a string belongs.
	instead := map[string]any{"a number": 1, "a list": []string{"x"}, "an object": members{}, "true": true, "empty": "", "null": json.RawMessage("null")}
	for what, value := range instead {
		list = append(list,
			attack{"typ " + what, h(members{"typ": value}), "typ", TypWrong},
			attack{"alg " + what, h(members{"alg": value}), "alg", AlgWrong},
			attack{"kid " + what, h(members{"kid": value}), "kid", KidMissing},
			attack{"iss " + what, c(members{"iss": value}), "iss", IssMissing},
			attack{"ver " + what, c(members{"ver": value}), "version", VerWrong},
			attack{"tid " + what, c(members{"tid": value}), "tenant", TidMissing},
			attack{"azp " + what, c(members{"azp": value}), "client", ClientMissing},
			attack{"oid " + what, c(members{"oid": value}), "object", OidMissing},
			attack{"sub " + what, c(members{"sub": value}), "subject", SubForm},
			attack{"idtyp " + what, c(members{"idtyp": value}), "idtyp", IdtypWrong},
		)
		aud := AudForm
		if what == "empty" {
			aud = AudMissing
		} else {
			list = append(list, attack{"scp " + what, c(members{"scp": value}), "scopes", ScopesForm})
		}
		list = append(list, attack{"aud " + what, c(members{"aud": value}), "audience", aud})
		if what != "a number" {
			for _, name := range []string{"exp", "iat", "nbf"} {
				list = append(list, attack{name + " " + what, c(members{name: value}), "dates", DateForm})
			}
		}
		if what != "a list" {
			list = append(list, attack{"roles " + what, c(members{"roles": value}), "roles", RolesForm})
		}
	}
	for _, number := range []string{"1e3", "1.9e9", "-0", "-1", "0", "0.5", "1e400", "1900000000.0", "99999999999999999999", "100000000001", "1E9"} {
		for _, name := range []string{"exp", "iat", "nbf"} {
			rule, cause := "dates", DateForm
			if number == "1e400" {
				rule, cause = "claims", ClaimsTooLarge
			}
			raw := rawClaims(strings.Replace(string(claimsJSON), `"`+name+`":`, `"`+name+`":`+number+`,"was":`, 1))
			list = append(list, attack{name + " " + number, raw, rule, cause})
		}
	}
	for _, name := range []string{"jwt", "Jwt", "AT+JWT", "at+jwt ", "application/at+jwt", "application/jwt", "JOSE", "secevent+jwt", "logout+jwt", "pop", "JWT\u0000"} {
		list = append(list, attack{"typ " + name, h(members{"typ": name}), "typ", TypWrong})
	}
	for alg, cause := range map[string]Cause{
		"None": AlgNone, "NONE": AlgNone, "nOnE": AlgNone, "hs256": AlgSymmetric, "HS384": AlgSymmetric, "rs256": AlgWrong, "RS256 ": AlgWrong,
		"RS512": AlgWrong, "RS1": AlgWrong, "PS256": AlgWrong, "ES256": AlgWrong, "EdDSA": AlgWrong, "RSA-OAEP": AlgWrong, "dir": AlgWrong, "none\u0000": AlgWrong,
	} {
		list = append(list, attack{"alg " + alg, h(members{"alg": alg}), "alg", cause})
	}
	for _, aud := range []string{
		audience + "/", audience + " ", " " + audience, audience + "\u0000", "api://" + audience, strings.ToUpper(audience[:8]) + audience[8:],
		audience + "," + audience, "*", "\ufeff" + audience,
	} {
		list = append(list, attack{"aud " + aud, c(members{"aud": aud}), "audience", AudWrong})
	}
	for _, aud := range []string{audienceURI + "/", audienceURI + "/.default", "API://latchkey", "api://Latchkey", "api://latchke"} {
		list = append(list, attack{"aud of v1 " + aud, c1(members{"aud": aud}), "audience", AudWrong})
	}
	v1Issuer, v2Issuer := EntraIssuers(tenant)
	for _, iss := range []string{
		v2Issuer + "/", strings.ToUpper(v2Issuer), strings.Replace(v2Issuer, ".com", ".com:443", 1), strings.Replace(v2Issuer, "https://", "https://x@", 1),
		strings.Replace(v2Issuer, ".com", ".com.", 1), v2Issuer + "?", v2Issuer + "#", v2Issuer + "\u0000", " " + v2Issuer, strings.TrimSuffix(v2Issuer, "/v2.0"),
		"https://login.microsoftonline.com/" + consumers + "/v2.0", "https://login.microsoftonline.com/common/v2.0",
		"https://login.microsoftonline.us/" + tenant + "/v2.0", strings.TrimSuffix(v1Issuer, "/"), v1Issuer + "v2.0",
		"https://sts.windows.net/" + tenant + "/../" + otherTenant + "/", providerIssuer + "/", strings.ToUpper(providerIssuer), ownIssuer + "x",
	} {
		list = append(list, attack{"iss " + iss, c(members{"iss": iss}), "iss", IssUnknown})
	}
	for _, guid := range []string{
		"{" + oid + "}", "urn:uuid:" + oid, strings.ReplaceAll(oid, "-", ""), oid + " ", oid + "\u0000", oid[:35], "*", "\u212A" + oid[1:],
	} {
		list = append(list, attack{"oid " + guid, c(members{"oid": guid, "sub": guid}), "object", OidMissing})
	}
	for _, idtyp := range []string{"App", "APP", "app ", "User", "device", "application"} {
		list = append(list, attack{"idtyp " + idtyp, c(members{"idtyp": idtyp, "scp": "x"}), "idtyp", IdtypWrong})
	}
	list = append(list,
		attack{"header nonce", h(members{"nonce": "x"}), "nonce", HeaderNonce},
		attack{"header Nonce", h(members{"Nonce": "x"}), "header", HeaderCase},
		attack{"header \u212Aid, the Kelvin sign", moreHeader(`"\u212Aid":"x"`), "header", HeaderTwice},
		attack{"header \u212Aid alone", rawHeader(`{"typ":"JWT","alg":"RS256","\u212Aid":"k1"}`), "header", HeaderCase},
		attack{"header no UTF-8", moreHeader("\"x\":\"\xff\""), "header", HeaderNotUnicode},
		attack{"header half a surrogate pair", moreHeader(`"x":"\udfff"`), "header", HeaderNotUnicode},
		attack{"header alg twice, escaped", moreHeader(`"\u0061lg":"none"`), "header", HeaderTwice},
		attack{"header with jku in another case", moreHeader(`"JKU":"https://evil.example"`), "header", HeaderCase},
		attack{"header 17 deep", moreHeader(`"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16)), "header", HeaderTooLarge},
		attack{"header with 101 values", moreHeader(`"x":[` + strings.Repeat("1,", 99) + `1]`), "header", HeaderTooLarge},
		attack{"header with a long name", moreHeader(`"` + strings.Repeat("x", 200) + `":1`), "header", HeaderTooLarge},
		attack{"header with NUL behind", rawHeader(string(headerJSON) + "\x00"), "header", HeaderNotJSON},
		attack{"header with a comma too many", rawHeader(`{"typ":"JWT","alg":"RS256","kid":"k1",}`), "header", HeaderNotJSON},
		attack{"header with a comment", rawHeader(`{/**/"typ":"JWT","alg":"RS256","kid":"k1"}`), "header", HeaderNotJSON},
		attack{"claims with junk behind", rawClaims(string(claimsJSON) + "x"), "claims", ClaimsNotJSON},
		attack{"claims twice iss, escaped", moreClaims(`"\u0069ss":"x"`), "claims", ClaimsTwice},
		attack{"claims with a number of 33 digits", moreClaims(`"x":` + strings.Repeat("1", 33)), "claims", ClaimsTooLarge},
		attack{"claims with 2,001 values", moreClaims(`"x":[` + strings.Repeat("1,", 2000) + `1]`), "claims", ClaimsTooLarge},
		attack{"claims with U+FFFD", moreClaims("\"x\":\"\ufffd\""), "claims", ClaimsNotUnicode},
		attack{"kid with NUL", h(members{"kid": "k1\x00"}), "key", KeyUnknown},
		attack{"kid in another case", h(members{"kid": "K1"}), "key", KeyUnknown},
		attack{"kid with a space", h(members{"kid": "k1 "}), "key", KeyUnknown},
		attack{"kid of the provider", h(members{"kid": "rs"}), "key", KeyUnknown},
		attack{"bound to a key", c(members{"cnf": members{"jkt": "x"}}), "bound", TokenBound},
		attack{"scp of spaces alone", c(members{"idtyp": "user", "scp": "  "}), "principal", PrincipalUnclear},
		attack{"roles nested", c(members{"roles": []any{[]string{role}}}), "roles", RolesForm},
		attack{"roles with null", c(members{"roles": []any{role, nil}}), "roles", RolesForm},
		attack{"a byte long", parts[0] + "." + parts[1] + "." + b64(append([]byte{0}, must(base64.RawURLEncoding.DecodeString(parts[2]))...)), "signature", SignatureWrong},
		attack{"a signature beyond the modulus", parts[0] + "." + parts[1] + "." + b64(beyond(parts[2])), "signature", SignatureWrong},
		attack{"signed by the provider's key of this kid", foreign(headerJSON, claimsJSON), "signature", SignatureWrong},
		attack{"signed by the key of P-256", providerSigned("es", members{"alg": RS256, "kid": "k1"}, v2()), "signature", SignatureWrong},
	)
	return list
}

// beyond adds the modulus to a signature: the same number modulo n, in another form (RFC 8017 section 8.2.2, step 2a).
func beyond(signature string) []byte {
	n := rsaKeys()["k1"].N
	s := new(big.Int).SetBytes(must(base64.RawURLEncoding.DecodeString(signature)))
	if s.Add(s, n); s.BitLen() > n.BitLen() { // it has no place in as many bytes: the modulus itself does
		s = n
	}
	return s.FillBytes(make([]byte, n.BitLen()/8))
}

// foreign signs by the provider's key that has the kid of a key of Entra's.
func foreign(header, claims []byte) string {
	text := b64(header) + "." + b64(claims)
	return text + "." + b64(must(jwt.SigningMethodRS256.Sign(text, signers()["k1"])))
}

// kinds are the kinds of issuers, each with a good token and the attacks on it.
func kinds(b *bench) []kind {
	_, v2Issuer := EntraIssuers(tenant)
	return []kind{
		{
			v2Issuer, signed(header(), v2()), entraAttacks(),
			// kid has the cache of keys behind it, which has no key without a name. alg has key_alg behind it, and key_alg has
			// alg before it, since all keys of Entra have the one algorithm.
			[]string{"kid", "alg", "key_alg"},
		},
		{providerIssuer, providerSigned("rs", nil, keycloak()), providerAttacks(), []string{"alg"}},
		{ownIssuer, must(b.tokens.Mint(ownGrant())), ownAttacks(b), nil},
	}
}

type kind struct {
	issuer, good string
	attacks      []attack
	backed       []string // checks without which nothing gets in, since others stand behind them
}

func TestAUT1_EveryAttackIsRefusedByItsRule(t *testing.T) {
	b := newBench(t)
	for _, k := range kinds(b) {
		for _, a := range k.attacks {
			t.Run(a.name, func(t *testing.T) {
				c, err := b.verify(a.raw)
				if causeOf(err) != a.cause {
					t.Errorf("%v; want %s", err, a.cause)
				}
				if c.Kind != "" {
					t.Errorf("a caller in spite of the refusal: %+v", c)
				}
				if _, err := b.verify(k.good); err != nil {
					t.Errorf("the good token afterwards: %v", err)
				}
			})
		}
	}
}

// without is the verifier without one check of an issuer, and without memory.
func (b *bench) without(t *testing.T, issuerName, rule string) *Verifier {
	v := must(NewVerifier(b.config))
	drop := func(c check) bool { return c.rule == rule }
	from := v.issuers[issuerName]
	before := len(v.form) + len(from.checks) + len(from.always)
	v.form = slices.DeleteFunc(v.form, drop)
	from.checks = slices.DeleteFunc(from.checks, drop)
	from.always = slices.DeleteFunc(from.always, drop)
	if len(v.form)+len(from.checks)+len(from.always)+1 != before {
		t.Fatalf("there is not one check %s", rule)
	}
	return v
}

// Without one check, some attack on it gets in, and no other. The checks that prepare what later ones read are different:
// without them nothing gets in at all, not even the good token.
func TestAUT1_EveryCheckIsNeeded(t *testing.T) {
	b := newBench(t)
	form := formChecks(nil)
	for _, k := range kinds(b) {
		from := b.issuers[k.issuer]
		checks := slices.Concat(from.checks, from.always)
		if k.issuer == v2()["iss"] {
			checks = slices.Concat(form, checks) // whose attacks are among Entra's
		}
		for _, c := range checks {
			t.Run(k.issuer+" "+c.rule, func(t *testing.T) {
				v := b.without(t, k.issuer, c.rule)
				prepares := slices.Contains([]string{"parts", "base64url", "header", "claims", "iss", "key", "own_token"}, c.rule)
				if _, in := outcome(v, k.good); in == prepares {
					t.Errorf("the good token is let in: %v", in)
				}
				var in, otherwise []string
				for _, a := range k.attacks {
					switch why, isIn := outcome(v, a.raw); {
					case isIn && a.rule != c.rule:
						t.Errorf("%q, an attack on %s, gets in", a.name, a.rule)
					case isIn:
						in = append(in, a.name)
					case why != a.cause:
						otherwise = append(otherwise, a.name)
					}
				}
				backed := slices.Contains(k.backed, c.rule)
				if (len(in) == 0) != (prepares || backed) {
					t.Errorf("these attacks get in: %q", in)
				}
				if backed && c.rule != "key_alg" && len(otherwise) == 0 {
					t.Error("no attack is refused for another cause")
				}
			})
		}
	}
}

// outcome is what the verifier says of a token; a panic, for want of what a check prepares, lets nobody in.
func outcome(v *Verifier, raw string) (why Cause, in bool) {
	defer func() {
		if recover() != nil {
			in = false
		}
	}()
	c, err := v.Verify(context.Background(), "Bearer "+raw)
	return causeOf(err), err == nil && c.Kind != ""
}

// The package comment lists each check of each slice, in its order, and nothing else.
func TestAUT1_ThePackageCommentListsEveryCheck(t *testing.T) {
	file := must(parser.ParseFile(gotoken.NewFileSet(), "doc.go", nil, parser.ParseComments))
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^\t([a-z_0-9]+) {2,}`).FindAllStringSubmatch(file.Doc.Text(), -1) {
		documented = append(documented, m[1])
	}
	b := newBench(t)
	v1Issuer, v2Issuer := EntraIssuers(tenant)
	rules := func(checks ...[]check) (names []string) {
		for _, c := range slices.Concat(checks...) {
			names = append(names, c.rule)
		}
		return names
	}
	own := b.issuers[ownIssuer]
	want := rules(b.form, b.issuers[v2Issuer].checks, b.issuers[providerIssuer].checks, own.checks, own.always)
	if !slices.Equal(documented, want) {
		t.Errorf("the package comment lists\n%q, the code has\n%q", documented, want)
	}
	if !slices.Equal(rules(b.issuers[v1Issuer].checks), rules(b.issuers[v2Issuer].checks)) {
		t.Error("v1 and v2 have different checks")
	}
}
