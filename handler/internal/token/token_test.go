package token

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"latchkey/handler/internal/subject"
)

const (
	issuerURL = "https://latchkey.example/"
	audience  = "https://latchkey.example/"
)

var (
	noon  = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	grant = Grant{
		Subject:  subject.ID{Kind: subject.Patient, Name: "p-1"},
		Session:  "session-1",
		Scopes:   []string{"read:gdm_patient", "write:gdm_patient"},
		IssuedAt: noon,
		Lifetime: 15 * time.Minute,
	}
)

func newIssuer(t *testing.T, now time.Time, keys ...*Key) *Issuer {
	t.Helper()
	i, err := NewIssuer(Config{
		Issuer: issuerURL, Audience: audience, Keys: keys,
		Now: func() time.Time { return now }, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newKey() *Key { return must(ParseKey(pkcs8(newEC(elliptic.P256())))) }

// part decodes one part of a token.
func part(t *testing.T, raw string, n int) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[n])), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTOK4_EveryClaim(t *testing.T) {
	key := newKey()
	i := newIssuer(t, noon, key)
	raw, err := i.Mint(grant)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := part(t, raw, 0), (map[string]any{"typ": "at+jwt", "alg": "ES256", "kid": key.ID()}); !reflect.DeepEqual(got, want) {
		t.Errorf("header %v, want %v", got, want)
	}
	claims := part(t, raw, 1)
	id, _ := claims["jti"].(string)
	if b, err := base64.RawURLEncoding.DecodeString(id); err != nil || len(b) != 16 {
		t.Errorf("jti %q is not 16 bytes", id)
	}
	delete(claims, "jti")
	want := map[string]any{
		"iss": issuerURL, "aud": audience, "sub": "p-1", "client_id": "latchkey-patient",
		"iat": 1772452800.0, "nbf": 1772452800.0, "exp": 1772453700.0,
		"sid": "session-1", "scope": "read:gdm_patient write:gdm_patient",
		"metadata": map[string]any{"patient_id": "p-1"},
	}
	if !reflect.DeepEqual(claims, want) {
		t.Errorf("claims %v, want %v", claims, want)
	}
	if again := part(t, must(i.Mint(grant)), 1); again["jti"] == id {
		t.Error("two tokens have one jti")
	}
}

func TestTOK4_VerifyGivesBackWhatWasMinted(t *testing.T) {
	for _, kind := range []subject.Kind{subject.Patient, subject.Device, subject.Clinician} {
		for _, key := range []*Key{newKey(), must(ParseKey(pkcs8(testRSA))), must(ParseKey(pkcs8(newEd25519())))} {
			t.Run(string(kind)+" "+key.Algorithm(), func(t *testing.T) {
				i := newIssuer(t, noon, key)
				g := grant
				g.Subject.Kind = kind
				if kind == subject.Clinician {
					g.Device = subject.ID{Kind: subject.Device, Name: "d-1"}
				}
				raw := must(i.Mint(g))
				got, err := i.Verify(raw)
				if err != nil {
					t.Fatal(err)
				}
				want := Claims{
					Subject: g.Subject, Device: g.Device, Session: g.Session, ID: part(t, raw, 1)["jti"].(string), Scopes: g.Scopes,
					IssuedAt: noon, Expires: noon.Add(15 * time.Minute),
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		}
	}
}

// The way of a stranger: only the published document and libraries.
func TestTOK6_StrangersVerifyWithTheKeysDocument(t *testing.T) {
	for _, key := range []*Key{newKey(), must(ParseKey(pkcs8(testRSA))), must(ParseKey(pkcs8(newEd25519())))} {
		t.Run(key.Algorithm(), func(t *testing.T) {
			other := newKey()
			i := newIssuer(t, noon, key, other)
			var set jwkset.JWKSMarshal
			if err := json.Unmarshal(i.KeysDocument(), &set); err != nil {
				t.Fatal(err)
			}
			store := must(set.ToStorage())
			_, err := jwt.Parse(must(i.Mint(grant)), func(parsed *jwt.Token) (any, error) {
				jwk, err := store.KeyRead(t.Context(), parsed.Header["kid"].(string))
				return jwk.Key(), err
			}, jwt.WithValidMethods([]string{key.Algorithm()}), jwt.WithIssuer(issuerURL), jwt.WithAudience(audience),
				jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return noon }))
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTOK6_KeysDocumentIsPublicAndDeterministic(t *testing.T) {
	a, b, c := newKey(), must(ParseKey(pkcs8(testRSA))), must(ParseKey(pkcs8(newEd25519())))
	document := newIssuer(t, noon, a, b, c).KeysDocument()
	if !bytes.Equal(document, newIssuer(t, noon, a, b, c).KeysDocument()) {
		t.Error("two documents of the same keys differ")
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(document, &set); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		key     *Key
		members []string
	}{
		{a, []string{"alg", "crv", "kid", "kty", "use", "x", "y"}},
		{b, []string{"alg", "e", "kid", "kty", "n", "use"}},
		{c, []string{"alg", "crv", "kid", "kty", "use", "x"}},
	}
	if len(set.Keys) != len(want) {
		t.Fatalf("%d keys", len(set.Keys))
	}
	for n, w := range want {
		got := set.Keys[n]
		if members := slices.Sorted(maps.Keys(got)); !slices.Equal(members, w.members) {
			t.Errorf("members %v, want %v", members, w.members)
		}
		if got["kid"] != w.key.ID() || got["use"] != "sig" || got["alg"] != w.key.Algorithm() {
			t.Errorf("got %v", got)
		}
	}
}

func TestTOK7_OtherKeysVerifyButDoNotSign(t *testing.T) {
	old, current := newKey(), newKey()
	raw := must(newIssuer(t, noon, old).Mint(grant))
	after := newIssuer(t, noon, current, old)
	if _, err := after.Verify(raw); err != nil {
		t.Errorf("a token of the old key: %v", err)
	}
	if kid := part(t, must(after.Mint(grant)), 0)["kid"]; kid != current.ID() {
		t.Errorf("signed with %v", kid)
	}
	if _, err := newIssuer(t, noon, current).Verify(raw); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("without the old key: %v", err)
	}
}

// forge signs a token of the given parts with a key, as nobody but its owner can.
func forge(key *Key, header, claims map[string]any) string {
	t := jwt.NewWithClaims(key.method, jwt.MapClaims(claims))
	t.Header = header
	return must(t.SignedString(key.private))
}

func TestTOK4_VerifyRefuses(t *testing.T) {
	key, rsaKey, stranger := newKey(), must(ParseKey(pkcs8(testRSA))), newKey()
	i := newIssuer(t, noon, key, rsaKey)
	raw := must(i.Mint(grant))
	parts := strings.Split(raw, ".")
	encode := func(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))) }
	// with changes one part and signs again, so that only what was changed can be the reason.
	with := func(n int, name string, value any) string {
		both := []map[string]any{part(t, raw, 0), part(t, raw, 1)}
		both[n][name] = value
		if value == nil {
			delete(both[n], name)
		}
		return forge(key, both[0], both[1])
	}
	signature := must(base64.RawURLEncoding.DecodeString(parts[2]))
	signature[5] ^= 1
	flipped := parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(signature)
	header := part(t, raw, 0)
	header["alg"] = "none"
	none := encode(header) + "." + parts[1] + "."
	header["alg"] = "HS256"
	confused := encode(header) + "." + parts[1]
	confused += "." + base64.RawURLEncoding.EncodeToString(must(jwt.SigningMethodHS256.Sign(confused, i.KeysDocument())))
	header["alg"] = "RS256"
	claims := part(t, raw, 1)
	claims["sub"] = "p-2"
	// 64 bytes take 86 characters, of whose last one two bits count.
	last := raw[len(raw)-1]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	loose := raw[:len(raw)-1] + string(alphabet[strings.IndexByte(alphabet, last)+1])

	for _, test := range []struct {
		name, raw string
		want      error
	}{
		{"nothing", "", ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], ErrMalformed},
		{"four parts", raw + ".e30", ErrMalformed},
		{"a line break inside", parts[0][:9] + "\n" + parts[0][9:] + "." + parts[1] + "." + parts[2], ErrMalformed},
		{"padding", raw + "==", ErrMalformed},
		{"loose bits in the last character", loose, ErrMalformed},
		{"too long", raw + strings.Repeat("A", maxSize), ErrMalformed},
		{"header is no JSON", "e3." + parts[1] + "." + parts[2], ErrMalformed},
		{"kid missing", with(0, "kid", nil), ErrUnknownKey},
		{"kid a number", with(0, "kid", 1), ErrUnknownKey},
		{"kid of a stranger, signed by the stranger", must(newIssuer(t, noon, stranger).Mint(grant)), ErrUnknownKey},
		{"alg none", none, ErrAlgorithm},
		{"alg HS256 with the public keys", confused, ErrAlgorithm},
		{"alg of another of our keys", encode(header) + "." + parts[1] + "." + parts[2], ErrAlgorithm},
		{"alg unknown to anybody", strings.Replace(none, none[:strings.Index(none, ".")], encode(map[string]any{"alg": "XX", "kid": key.ID(), "typ": "at+jwt"}), 1), ErrAlgorithm},
		{"typ JWT", with(0, "typ", "JWT"), ErrHeader},
		{"typ missing", with(0, "typ", nil), ErrHeader},
		{"crit", with(0, "crit", []string{"b64"}), ErrHeader},
		{"a jwk beside", with(0, "jwk", map[string]any{}), ErrHeader},
		{"a bit of the signature", flipped, ErrSignature},
		{"no signature", parts[0] + "." + parts[1] + ".", ErrSignature},
		{"another subject", parts[0] + "." + encode(claims) + "." + parts[2], ErrSignature},
		{"our kid, signed by a stranger", forge(stranger, part(t, raw, 0), part(t, raw, 1)), ErrSignature},
		{"iss with more behind", with(1, "iss", issuerURL+"x"), ErrIssuer},
		{"iss missing", with(1, "iss", nil), ErrClaims},
		{"aud of another", with(1, "aud", "https://other.example/"), ErrAudience},
		{"aud an array", with(1, "aud", []string{audience}), ErrAudience},
		{"aud an array with another", with(1, "aud", []string{"x", audience}), ErrAudience},
		{"exp over by the leeway", with(1, "exp", noon.Add(-60*time.Second).Unix()), ErrExpired},
		{"exp missing", with(1, "exp", nil), ErrClaims},
		{"exp a string", with(1, "exp", "1900000000"), ErrClaims},
		{"nbf ahead", with(1, "nbf", noon.Add(61*time.Second).Unix()), ErrNotYetValid},
		{"nbf missing", with(1, "nbf", nil), ErrClaims},
		{"iat ahead", with(1, "iat", noon.Add(61*time.Second).Unix()), ErrNotYetValid},
		{"iat missing", with(1, "iat", nil), ErrClaims},
		{"jti missing", with(1, "jti", nil), ErrClaims},
		{"sid missing", with(1, "sid", nil), ErrClaims},
		{"scope an array", with(1, "scope", []string{"a"}), ErrClaims},
		{"client_id missing", with(1, "client_id", nil), ErrClaims},
		{"client_id without the prefix", with(1, "client_id", "patient"), ErrClaims},
		{"client_id of no kind", with(1, "client_id", "latchkey-robot"), ErrClaims},
		{"client_id of another kind than metadata", with(1, "client_id", "latchkey-device"), ErrClaims},
		{"sub of another than metadata", with(1, "sub", "p-2"), ErrClaims},
		{"sub of a form that is no id", with(1, "sub", "../p"), ErrClaims},
		{"metadata missing", with(1, "metadata", nil), ErrClaims},
	} {
		t.Run(test.name, func(t *testing.T) {
			claims, err := i.Verify(test.raw)
			if err != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if !reflect.DeepEqual(claims, Claims{}) {
				t.Errorf("claims of a refused token: %+v", claims)
			}
		})
	}
}

func TestTOK4_ATokenWithoutScopeMayDoNothing(t *testing.T) {
	key := newKey()
	i := newIssuer(t, noon, key)
	raw := must(i.Mint(grant))
	claims := part(t, raw, 1)
	delete(claims, "scope")
	got, err := i.Verify(forge(key, part(t, raw, 0), claims))
	if err != nil || len(got.Scopes) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTOK4_LeewayIsSixtySeconds(t *testing.T) {
	key := newKey()
	raw := must(newIssuer(t, noon, key).Mint(grant))
	expires := noon.Add(grant.Lifetime)
	for _, test := range []struct {
		at   time.Time
		want error
	}{
		{noon.Add(-61 * time.Second), ErrNotYetValid},
		{noon.Add(-60 * time.Second), nil},
		{expires.Add(59 * time.Second), nil},
		{expires.Add(60 * time.Second), ErrExpired},
	} {
		if _, err := newIssuer(t, test.at, key).Verify(raw); !errors.Is(err, test.want) {
			t.Errorf("at %v: got %v, want %v", test.at, err, test.want)
		}
	}
}

func TestMintRefusesWhatMustNotExist(t *testing.T) {
	i := newIssuer(t, noon, newKey())
	for name, change := range map[string]func(*Grant){
		"no subject":           func(g *Grant) { g.Subject = subject.ID{} },
		"a subject of no kind": func(g *Grant) { g.Subject.Kind = "robot" },
		"no session":           func(g *Grant) { g.Session = "" },
		"no lifetime":          func(g *Grant) { g.Lifetime = 0 },
		"no time":              func(g *Grant) { g.IssuedAt = time.Time{} },
		"two scopes in one":    func(g *Grant) { g.Scopes = []string{"a b"} },
		"an empty scope":       func(g *Grant) { g.Scopes = []string{""} },
	} {
		g := grant
		change(&g)
		if raw, err := i.Mint(g); !errors.Is(err, ErrGrant) || raw != "" {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
	}
	starved := must(NewIssuer(Config{
		Issuer: issuerURL, Audience: audience, Keys: []*Key{newKey()},
		Now: time.Now, Random: strings.NewReader("15 bytes are it"),
	}))
	if raw, err := starved.Mint(grant); err == nil {
		t.Errorf("minted without randomness: %s", raw)
	}
}

func TestNewIssuerRefuses(t *testing.T) {
	key := newKey()
	for name, config := range map[string]Config{
		"no issuer":     {Audience: audience, Keys: []*Key{key}},
		"no audience":   {Issuer: issuerURL, Keys: []*Key{key}},
		"no key":        {Issuer: issuerURL, Audience: audience},
		"one key twice": {Issuer: issuerURL, Audience: audience, Keys: []*Key{key, key}},
	} {
		if i, err := NewIssuer(config); err == nil {
			t.Errorf("%s: %v", name, i)
		}
	}
}

func TestVerifyErrorsQuoteNothing(t *testing.T) {
	i := newIssuer(t, noon, newKey())
	canary := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"canary","kid":"canary","typ":"canary"}`))
	for _, raw := range []string{"canary", canary + ".canary.canary", canary + ".e30.canary", "canary.canary"} {
		if _, err := i.Verify(raw); err == nil || strings.Contains(fmt.Sprintf("%+v", err), "canary") {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func BenchmarkMint(b *testing.B) {
	i := must(NewIssuer(Config{Issuer: issuerURL, Audience: audience, Keys: []*Key{newKey()}, Now: time.Now, Random: rand.Reader}))
	for b.Loop() {
		if _, err := i.Mint(grant); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	i := must(NewIssuer(Config{
		Issuer: issuerURL, Audience: audience, Keys: []*Key{newKey()},
		Now: func() time.Time { return noon }, Random: rand.Reader,
	}))
	raw := must(i.Mint(grant))
	for b.Loop() {
		if _, err := i.Verify(raw); err != nil {
			b.Fatal(err)
		}
	}
}
