package caller

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"latchkey/handler/internal/audit"
)

// providerAttacks are on tokens of a provider.
func providerAttacks() []attack {
	c := func(changes members) string { return providerSigned("rs", nil, changed(keycloak(), changes)) }
	h := func(changes members) string { return providerSigned("rs", changes, keycloak()) }
	silent := members{"typ": nil, "scope": nil} // about what it is
	s := func(changes members) string {
		return providerSigned("rs", nil, changed(changed(keycloak(), silent), changes))
	}
	instead := map[string]any{"a number": 1, "an object": members{"latchkey": true}, "true": true, "null": json.RawMessage("null"), "a list in a list": []any{[]string{"latchkey"}}}
	var list []attack
	for what, value := range instead {
		list = append(list,
			attack{"aud " + what, c(members{"aud": value}), "audience", AudForm},
			attack{"scope " + what, c(members{"scope": value}), "scopes", ScopesForm},
			attack{"roles " + what, c(members{"resource_access": members{"latchkey": members{"roles": value}}}), "roles", RolesForm},
			attack{"claim typ " + what, c(members{"typ": value}), "access", OtherToken},
			attack{"sub " + what, c(members{"sub": value}), "subject", SubForm},
		)
	}
	for _, sub := range []string{"", " ", "a ", " a", "a\x00", "a\n", "\u00e9", "a\u200b", strings.Repeat("s", 256)} {
		list = append(list, attack{"sub " + sub, c(members{"sub": sub}), "subject", SubForm})
	}
	for _, kind := range []string{"Refresh", "Offline", "Logout", "DPoP", "bearer", "BEARER", ""} {
		list = append(list, attack{"claim typ " + kind, c(members{"typ": kind}), "access", OtherToken})
	}
	for alg, cause := range map[string]Cause{"none": AlgNone, "HS256": AlgSymmetric, "RS512": AlgWrong, "ES384": AlgWrong, "Ed25519": AlgWrong, "ES256K": AlgWrong} {
		list = append(list, attack{"alg " + alg, h(members{"alg": alg}), "alg", cause})
	}
	es := func(reform func(signature []byte) []byte) string {
		good := providerSigned("es", nil, keycloak())
		at := strings.LastIndexByte(good, '.') + 1
		return good[:at] + b64(reform(must(base64.RawURLEncoding.DecodeString(good[at:]))))
	}
	return append(list, []attack{
		{"typ of a proof", h(members{"typ": "dpop+jwt"}), "typ", TypWrong},
		{"typ jwt", h(members{"typ": "jwt"}), "typ", TypWrong},
		{"aud missing", c(members{"aud": nil}), "audience", AudMissing},
		{"aud an empty list", c(members{"aud": []string{}}), "audience", AudWrong},
		{"aud of another", c(members{"aud": "account"}), "audience", AudWrong},
		{"aud of others", c(members{"aud": []string{"account", "latchkey2", "Latchkey", "latchkey "}}), "audience", AudWrong},
		{"aud two in one text", c(members{"aud": "account latchkey"}), "audience", AudWrong},
		{"aud with a number beside ours", c(members{"aud": []any{"latchkey", 1}}), "audience", AudForm},
		{"exp missing", c(members{"exp": nil}), "dates", ExpMissing},
		{"iat missing", c(members{"iat": nil}), "dates", IatMissing},
		{"nbf a text", c(members{"nbf": "0"}), "dates", DateForm},
		{"exp with a fraction", c(members{"exp": 1.5e9 + 0.5}), "dates", DateForm},
		{"over", c(members{"exp": noon.Unix() - 60}), "expired", Expired},
		{"iat ahead", c(members{"iat": noon.Unix() + 61}), "issued", IatAhead},
		{"nbf ahead", c(members{"nbf": noon.Unix() + 61}), "not_before", NbfAhead},
		{"a life of more than 28 h", c(members{"exp": noon.Unix() - 5 + 100801}), "lifetime", LifetimeLong},
		{"bound to a certificate", c(members{"cnf": members{"x5t#S256": "x"}}), "bound", TokenBound},
		{"a logout token with a client", c(members{"typ": nil, "events": members{"http://schemas.openid.net/event/backchannel-logout": members{}}}), "access", OtherToken},
		{"a security event of typ at+jwt", providerSigned("rs", members{"typ": "at+jwt"}, changed(keycloak(), members{"events": members{}})), "access", OtherToken},
		{"an ID token of Keycloak", c(members{"typ": "ID", "nonce": "n"}), "access", IDToken},
		{"an ID token with at_hash", s(members{"at_hash": "x", "scope": role}), "access", IDToken},
		{"at_hash, though it says Bearer", c(members{"at_hash": "x"}), "access", IDToken},
		{"an ID token with c_hash", s(members{"c_hash": "x", "scope": role}), "access", IDToken},
		{"an ID token with nonce", s(members{"nonce": "n", "scope": role}), "access", IDToken},
		{"nothing says that it is an access token", s(nil), "access", IDToken},
		{"at_hash in spite of at+jwt", providerSigned("rs", members{"typ": "at+jwt"}, changed(keycloak(), members{"typ": nil, "at_hash": "x"})), "access", IDToken},
		{"sub missing", c(members{"sub": nil}), "subject", SubForm},
		{"resource_access a text", c(members{"resource_access": "latchkey"}), "roles", RolesForm},
		{"resource_access a list", c(members{"resource_access": []any{members{"latchkey": members{"roles": []string{role}}}}}), "roles", RolesForm},
		{"roles with a number", c(members{"resource_access": members{"latchkey": members{"roles": []any{role, 1}}}}), "roles", RolesForm},
		{"kid unknown", h(members{"kid": "nope"}), "key", KeyUnknown},
		{"kid of Entra", h(members{"kid": "k2"}), "key", KeyUnknown},
		{"RS256 with the key for PS256", providerSigned("rs", members{"kid": "ps"}, keycloak()), "key_alg", AlgWrong},
		{"PS256 with the key for RS256", providerSigned("ps", members{"kid": "rs"}, keycloak()), "key_alg", AlgWrong},
		{"alg of another key, signed by its own", providerSigned("es", members{"alg": RS256}, keycloak()), "key_alg", AlgWrong},
		{"ES256 with the RSA key", h(members{"alg": ES256}), "key_alg", AlgWrong},
		{"EdDSA with the key of P-256", providerSigned("ed", members{"kid": "es"}, keycloak()), "key_alg", AlgWrong},
		{"signed by Entra's key of this kid", sign(must(json.Marshal(members{"typ": "JWT", "alg": RS256, "kid": "k1"})), must(json.Marshal(keycloak())), "k1"), "signature", SignatureWrong},
		{"PS256 by PKCS1 v1.5", changedSignature("ps", func(text string) []byte {
			sum := sha256.Sum256([]byte(text))
			return must(rsa.SignPKCS1v15(nil, signers()["ps"].(*rsa.PrivateKey), crypto.SHA256, sum[:]))
		}), "signature", SignatureWrong},
		{"PS256 with a longer salt", changedSignature("ps", func(text string) []byte {
			sum := sha256.Sum256([]byte(text))
			return must(rsa.SignPSS(rand.Reader, signers()["ps"].(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 64}))
		}), "signature", SignatureWrong},
		{"ES256 in ASN.1", es(func(sig []byte) []byte {
			return must(asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])}))
		}), "signature", SignatureWrong},
		{"ES256 of zeros", es(func([]byte) []byte { return make([]byte, 64) }), "signature", SignatureWrong}, // CVE-2022-21449
		{"ES256 a byte long", es(func(sig []byte) []byte { return append(sig, 0) }), "signature", SignatureWrong},
		{"ES256 halves swapped", es(func(sig []byte) []byte { return append(sig[32:], sig[:32]...) }), "signature", SignatureWrong},
		{"EdDSA of zeros", changedSignature("ed", func(string) []byte { return make([]byte, 64) }), "signature", SignatureWrong},
	}...)
}

// changedSignature is a token of the provider with a signature of our own making.
func changedSignature(kid string, by func(text string) []byte) string {
	good := providerSigned(kid, nil, keycloak())
	at := strings.LastIndexByte(good, '.')
	return good[:at+1] + b64(by(good[:at]))
}

func TestAUT1_GoodTokensOfAProvider(t *testing.T) {
	b := newBench(t)
	alice := Caller{
		Kind: User, Actor: audit.Actor{Issuer: providerIssuer, ID: "f:1b2c:alice"}, Scopes: []string{role, "more"},
		Delegated: []string{"openid", "email", role},
	}
	robot := Caller{Kind: App, Actor: audit.Actor{Issuer: providerIssuer, ID: "robot"}, Scopes: []string{role, "more"}}
	without := func(change func(*Caller)) Caller { c := alice; change(&c); return c }
	c := func(changes members) string { return providerSigned("rs", nil, changed(keycloak(), changes)) }
	roles := func(value any) string {
		return c(members{"resource_access": members{"latchkey": members{"roles": value}}})
	}
	for _, test := range []struct {
		name, raw string
		want      Caller
	}{
		{"RS256", providerSigned("rs", nil, keycloak()), alice},
		{"PS256", providerSigned("ps", nil, keycloak()), alice},
		{"ES256", providerSigned("es", nil, keycloak()), alice},
		{"EdDSA", providerSigned("ed", nil, keycloak()), alice},
		{"a kid that Entra has too", providerSigned("k1", nil, keycloak()), alice},
		{"at+jwt", providerSigned("rs", members{"typ": "at+jwt"}, changed(keycloak(), members{"typ": nil, "nonce": "n"})), alice},
		{"application/at+jwt", providerSigned("rs", members{"typ": "application/at+jwt"}, changed(keycloak(), members{"typ": nil})), alice},
		{"Bearer with a nonce, as older Keycloaks have it", c(members{"nonce": "n"}), alice},
		{"known by its scope alone", c(members{"typ": nil}), alice},
		{"aud one text", c(members{"aud": "latchkey"}), alice},
		{"aud ours twice", c(members{"aud": []string{"latchkey", "latchkey"}}), alice},
		{"roles one text", roles(role + " more"), alice},
		{"no roles", roles([]string{}), without(func(c *Caller) { c.Scopes = []string{} })},
		{"roles of another client alone", c(members{"resource_access": members{"account": members{"roles": []string{role}}}}), without(func(c *Caller) { c.Scopes = nil })},
		{"no resource_access", c(members{"resource_access": nil}), without(func(c *Caller) { c.Scopes = nil })},
		{"no scope", c(members{"scope": nil}), without(func(c *Caller) { c.Delegated = nil })},
		{"other spaces part no scopes", c(members{"scope": "a\u00a0" + role + "\t" + role}), without(func(c *Caller) { c.Delegated = []string{"a\u00a0" + role + "\t" + role} })},
		{"a client of its own, by client_id", c(members{"sub": "robot", "client_id": "robot"}), robot},
		{"a client of its own, by azp", c(members{"sub": "robot", "azp": "robot"}), robot},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := b.verify(test.raw)
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
	if hits := b.issuer.hits.Load(); hits != 0 {
		t.Errorf("Entra's keys were fetched %d times", hits)
	}
}

// Where the settings name no scopes, the provider does not divide what a client may do for a person.
func TestAUT1_WithoutAScopesPathAClientMayDoAll(t *testing.T) {
	b := newBench(t)
	b.config.Providers[0].Scopes = Path{}
	c, err := must(NewVerifier(b.config)).Verify(t.Context(), "Bearer "+providerSigned("rs", nil, keycloak()))
	if err != nil || !c.Whole || c.Delegated != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestParsePath(t *testing.T) {
	claims := object{
		"roles": []any{"a"}, "a": map[string]any{"b": map[string]any{"c": "x  y"}}, "https://x.example/roles": []any{"url"},
		"t~/": "tilde", "~1": "one", "a.b": "dotted",
	}
	for _, test := range []struct {
		text string
		want []string
	}{
		{"", nil}, {"roles", []string{"a"}}, {"a.b.c", []string{"x", "y"}}, {"/a/b/c", []string{"x", "y"}},
		{"/https:~1~1x.example~1roles", []string{"url"}}, {"/t~0~1", []string{"tilde"}}, {"/~01", []string{"one"}}, {"/a.b", []string{"dotted"}},
		{"a.x.c", nil}, {"nothing", nil}, {"Roles", nil},
	} {
		if got, ok := must(ParsePath(test.text)).find(claims); !ok || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: %q, %v", test.text, got, ok)
		}
	}
	for _, text := range []string{"a", "a.b", "roles.0", "/roles/0"} {
		if got, ok := must(ParsePath(text)).find(claims); ok || got != nil {
			t.Errorf("%q: %q", text, got)
		}
	}
	for _, text := range []string{".", "a.", ".a", "a..b", "/", "//", "/a/", "/a~", "/~2", "/a~~0"} {
		if p, err := ParsePath(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}
