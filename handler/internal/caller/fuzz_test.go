package caller

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// answered tests what holds of every answer, whatever the token.
func answered(t *testing.T, c Caller, err error) {
	t.Helper()
	var r *Rejected
	switch {
	case (err == nil) != (c.Kind != ""):
		t.Fatalf("%+v, %v", c, err)
	case err != nil && !errors.As(err, &r):
		t.Fatalf("neither a caller nor a refusal: %v", err)
	case err != nil && (len(r.Expected) > maxShown || len(r.Got) > maxShown):
		t.Fatalf("a long refusal: %v", err)
	}
}

// plausible is another reader of an accepted token: encoding/json, and the rules in their plainest words. entra is the
// algorithm of Entra's key.
func plausible(t *testing.T, raw, entra string, c Caller) {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	part := func(n int) (m map[string]any) {
		d := json.NewDecoder(bytes.NewReader(must(jwt.NewParser(jwt.WithStrictDecoding()).DecodeSegment(parts[n]))))
		d.UseNumber()
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	h, claims := part(0), part(1)
	second := func(name string) int64 {
		n, _ := claims[name].(json.Number)
		return must(n.Int64())
	}
	now := noon.Unix()
	wrong := map[string]bool{
		"typ": h["typ"] != "JWT" && h["typ"] != "at+jwt" && h["typ"] != "application/at+jwt",
		"exp": second("exp") <= now-60 || second("exp") > second("iat")+100800,
		"iat": second("iat") > now+60,
		"nbf": claims["nbf"] != nil && second("nbf") > now+60,
		"kid": h["kid"] == nil || h["kid"] == "",
		"cnf": claims["cnf"] != nil,
	}
	for _, name := range append(extensions(), "nonce") {
		_, wrong["header "+name] = h[name]
	}
	switch claims["iss"] {
	case "https://login.microsoftonline.com/" + tenant + "/v2.0":
		wrong["v2"] = claims["ver"] != "2.0" || claims["aud"] != audience || h["alg"] != entra || h["typ"] == "application/at+jwt"
		wrong["actor"] = c.Actor.Issuer != tenant || c.Actor.ID != claims["oid"] || claims["tid"] != tenant || claims["azp"] == nil
		wrong["kind"] = c.Kind == App && claims["idtyp"] != "app" && claims["oid"] != claims["sub"] || c.Kind == User && claims["scp"] == nil
	case providerIssuer:
		wrong["actor"] = c.Actor.Issuer != providerIssuer || c.Actor.ID != claims["sub"]
		wrong["kind"] = c.Kind == App && claims["azp"] != claims["sub"] && claims["client_id"] != claims["sub"]
		wrong["an ID token"] = claims["at_hash"] != nil || claims["typ"] == "ID"
		wrong["alg"] = !slices.Contains(Algorithms(), h["alg"].(string))
		wrong["aud"] = !strings.Contains(string(must(json.Marshal(claims["aud"]))), "latchkey") && !strings.Contains(string(must(json.Marshal(claims["aud"]))), audience)
	default:
		wrong["iss"] = claims["iss"] != ownIssuer && claims["iss"] != "https://sts.windows.net/"+tenant+"/"
	}
	for what, is := range wrong {
		if is {
			t.Errorf("accepted in spite of %s: %v %v %+v", what, h, claims, c)
		}
	}
}

func FuzzToken(f *testing.F) {
	b := newBench(f)
	for _, k := range kinds(b) {
		f.Add(k.good)
		for _, a := range k.attacks {
			f.Add(a.raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := b.verify(raw)
		answered(t, c, err)
		if err == nil {
			plausible(t, raw, RS256, c)
		}
	})
}

// fuzzed asks about a token of a header and claims, signed by the provider's Ed25519 key: signing by RSA would take all the time.
func fuzzed(t *testing.T, b *bench, header, claims []byte) {
	text := b64(header) + "." + b64(claims)
	raw := text + "." + b64(ed25519.Sign(signers()["ed"].(ed25519.PrivateKey), []byte(text)))
	c, err := b.Verify(context.Background(), "Bearer "+raw)
	answered(t, c, err)
	if err == nil {
		plausible(t, raw, EdDSA, c)
	}
}

// pieces are the headers or the claims of all tokens that tests know.
func pieces(b *bench, n int) (all [][]byte) {
	for _, k := range kinds(b) {
		for _, a := range append(k.attacks, attack{raw: k.good}) {
			if parts := strings.Split(a.raw, "."); len(parts) == 3 {
				if piece, err := jwt.NewParser().DecodeSegment(parts[n]); err == nil {
					all = append(all, piece)
				}
			}
		}
	}
	return all
}

func FuzzHeader(f *testing.F) {
	b := newBench(f)
	for _, header := range pieces(b, 0) {
		f.Add(bytes.ReplaceAll(bytes.ReplaceAll(header, []byte(`"RS256"`), []byte(`"EdDSA"`)), []byte(`"k1"`), []byte(`"ed"`)))
	}
	claims := must(json.Marshal(keycloak()))
	f.Fuzz(func(t *testing.T, header []byte) { fuzzed(t, b, header, claims) })
}

func FuzzClaims(f *testing.F) {
	b := newBench(f)
	// Entra's checks are tried with the provider's key: what they are about is read before the signature.
	rules := keyRules{algorithms: []string{EdDSA}}
	b.keys.set.Store(must(rules.parse([]byte(documentOf(publicJWK("ed", signers()["ed"].Public(), nil))))))
	b.keys.set.Load().fetched = noon
	v2Issuer := v2()["iss"].(string)
	b.issuers[v2Issuer].checks = slices.DeleteFunc(b.issuers[v2Issuer].checks, func(c check) bool { return c.rule == "alg" })
	for _, claims := range pieces(b, 1) {
		f.Add(claims)
	}
	header := must(json.Marshal(members{"typ": "JWT", "alg": EdDSA, "kid": "ed"}))
	f.Fuzz(func(t *testing.T, claims []byte) { fuzzed(t, b, header, claims) })
}

func FuzzKeysDocument(f *testing.F) {
	k, es := &rsaKeys()["k1"].PublicKey, signers()["es"].Public()
	for _, document := range []string{
		goodDocument(), providerDocument(), "", "{}", "null", `{"keys":null}`, `{"keys":{}}`, `{"keys":[null,1,"x",[],{}]}`,
		documentOf(jwkOf("k", k, members{"use": "enc"})), documentOf(jwkOf("k", k, members{"key_ops": []string{"verify"}})),
		documentOf(jwkOf("k", k, members{"e": "AQ"}), jwkOf("k", k, nil)), documentOf(publicJWK("k", es, members{"x": ""})),
		documentOf(jwkOf("k", k, members{"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"})), goodDocument() + "{}",
	} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		for _, rules := range []keyRules{{algorithms: []string{RS256}, tenant: tenant}, {algorithms: Algorithms()}} {
			set, err := rules.parse(document)
			if (err == nil) != (set != nil && len(set.keys) > 0) {
				t.Fatalf("%v, %v", set, err)
			}
			if err != nil {
				continue
			}
			if !json.Valid(document) {
				t.Fatal("keys out of what is no JSON")
			}
			for kid, key := range set.keys {
				var good bool
				switch public := key.key.(type) {
				case *rsa.PublicKey:
					good = (key.algorithm == RS256 || key.algorithm == PS256) && public.Size() >= 256 && public.E >= 3
				case *ecdsa.PublicKey:
					good = key.algorithm == ES256 && public.Curve == elliptic.P256()
				case ed25519.PublicKey:
					good = key.algorithm == EdDSA && len(public) == 32
				}
				if !good || kid == "" || len(kid) > 255 || !slices.Contains(rules.algorithms, key.algorithm) {
					t.Errorf("kid %q: %+v", kid, key)
				}
				key.verifies("x", []byte("x")) // must not panic
			}
		}
	})
}
