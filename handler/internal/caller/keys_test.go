package caller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func tokenOf(kid, key string) string {
	return sign(must(json.Marshal(changed(header(), members{"kid": kid}))), must(json.Marshal(v2())), key)
}

func TestAUT4_DownAtStartThenUp(t *testing.T) {
	b := newBench(t)
	good := tokenOf("k1", "k1")
	b.issuer.fail(503)
	if _, err := b.verify(good); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("down: %v", err)
	}
	if _, ok := b.keys.Age(); ok || ready(b.keys) || b.keys.Problem() == nil {
		t.Error("ready without keys")
	}
	if _, err := b.verify(good); !errors.Is(err, ErrUnavailable) || b.issuer.hits.Load() != 1 {
		t.Errorf("at once again: %v, %d fetches", err, b.issuer.hits.Load())
	}
	b.issuer.serve(goodDocument())
	b.clock.advance(coldEvery)
	if _, err := b.verify(good); err != nil {
		t.Errorf("up again: %v", err)
	}
	b.clock.advance(time.Minute)
	if age, ok := b.keys.Age(); !ok || age != time.Minute || !ready(b.keys) || b.keys.Problem() != nil {
		t.Errorf("age %v, %v", age, ok)
	}
	if lines := strings.Count(b.log.String(), "\n"); lines != 2 {
		t.Errorf("%d log lines, want one when it begins and one when it ends: %s", lines, b.log)
	}
	// A bad token is refused even when the keys are missing: that is known without them.
	cold := newBench(t)
	cold.issuer.fail(503)
	if _, err := cold.verify(signed(header(), changed(v2(), members{"aud": "x"}))); errors.Is(err, ErrUnavailable) || cold.issuer.hits.Load() != 0 {
		t.Errorf("%v, %d fetches", err, cold.issuer.hits.Load())
	}
}

// broken are answers that must not replace good keys.
func broken() map[string]http.HandlerFunc {
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, goodDocument())
		}
	}
	k1 := &rsaKeys()["k1"].PublicKey
	return map[string]http.HandlerFunc{
		"503":                  status(503),
		"404":                  status(404),
		"204":                  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"a redirect":           status(302),
		"a permanent redirect": status(308),
		"HTML":                 text("<html><body>Sign in</body></html>"),
		"{}":                   text("{}"),
		"null":                 text("null"),
		"nothing":              text(""),
		"no keys":              text(`{"keys":[]}`),
		"keys null":            text(`{"keys":null}`),
		"keys no list":         text(`{"keys":{}}`),
		"no key that fits":     text(documentOf(jwkOf("k1", k1, members{"use": "enc"}))),
		"cut off":              text(goodDocument()[:200]),
		"keys twice":           text(strings.TrimSuffix(goodDocument(), "}") + `,"keys":[]}`),
		"Keys":                 text(strings.Replace(goodDocument(), `"keys"`, `"Keys"`, 1)),
		"a kid twice in a key": text(strings.Replace(goodDocument(), `"kid":"k1"`, `"kid":"k1","\u006bid":"k9"`, 1)),
		"no UTF-8":             text(strings.Replace(goodDocument(), `"kid":"k1"`, "\"x\":\"\xff\",\"kid\":\"k1\"", 1)),
		"something behind":     text(goodDocument() + "{}"),
		"more than 1 MiB":      text(goodDocument() + strings.Repeat(" ", 1<<20)),
		"the connection dies":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"length longer than it": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(goodDocument())+1))
			_, _ = io.WriteString(w, goodDocument())
		},
	}
}

func TestAUT4_BrokenAnswersNeverReplaceGoodKeys(t *testing.T) {
	for name, answer := range broken() {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			good := tokenOf("k1", "k1")
			if _, err := b.verify(good); err != nil {
				t.Fatal(err)
			}
			b.issuer.do(answer)
			b.clock.advance(time.Hour)
			<-b.keys.fetchNow().done
			if b.keys.Problem() == nil {
				t.Error("nothing is said about it")
			}
			b.clock.advance(22*time.Hour + 59*time.Minute)
			now := b.clock.now().Unix()
			fresh := signed(header(), changed(v2(), members{"iat": now, "nbf": now, "exp": now + 3600}))
			if _, err := b.verify(fresh); err != nil {
				t.Errorf("after 23 h 59 min: %v", err)
			}
			b.clock.advance(time.Minute)
			if _, err := b.verify(fresh); !errors.Is(err, ErrUnavailable) || ready(b.keys) {
				t.Errorf("after 24 h: %v", err)
			}
		})
	}
}

func TestAUT4_BrokenAnswersAtStartAreNoKeys(t *testing.T) {
	for name, answer := range broken() {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.issuer.do(answer)
			if _, err := b.verify(tokenOf("k1", "k1")); !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
			if hits := b.issuer.hits.Load(); hits != 1 {
				t.Errorf("%d requests: a redirect was followed", hits)
			}
		})
	}
}

// Which of two keys is the right one cannot be told. While there are keys from before, they stay; without any, the rest of the
// document is better than nothing.
func TestAUT4_TwoKeysOfOneKid(t *testing.T) {
	ambiguous := documentOf(jwkOf("k1", &rsaKeys()["k1"].PublicKey, nil), jwkOf("k1", &rsaKeys()["attacker"].PublicKey, nil),
		jwkOf("k3", &rsaKeys()["k3"].PublicKey, nil))
	b := newBench(t)
	if _, err := b.verify(tokenOf("k1", "k1")); err != nil {
		t.Fatal(err)
	}
	b.issuer.serve(ambiguous)
	<-b.keys.fetchNow().done
	if _, err := b.verify(tokenOf("k1", "k1")); err != nil || b.keys.Problem() == nil {
		t.Errorf("%v, %v", err, b.keys.Problem())
	}
	if cause := causeOf(lastOf(b.verify(tokenOf("k1", "attacker")))); cause != SignatureWrong {
		t.Errorf("the second key of the kid: %s", cause)
	}

	cold := newBench(t)
	cold.issuer.serve(ambiguous)
	if _, err := cold.verify(tokenOf("k3", "k3")); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"k1", "attacker"} {
		if cause := causeOf(lastOf(cold.verify(tokenOf("k1", key)))); cause != KeyUnknown {
			t.Errorf("%s at the start: %s", key, cause)
		}
	}
}

func lastOf(_ Caller, err error) error { return err }

func TestAUT4_WhichKeysAreTaken(t *testing.T) {
	private := must(rsa.GenerateKey(rand.Reader, 2048))
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	k := &private.PublicKey
	for _, test := range []struct {
		name string
		jwks []members
		want bool
	}{
		{"as Entra v2 has it", []members{jwkOf("k", k, nil)}, true},
		{"as Entra v1 has it", []members{jwkOf("k", k, members{"issuer": nil, "cloud_instance_name": nil})}, true},
		{"use absent", []members{jwkOf("k", k, members{"use": nil})}, true},
		{"alg RS256", []members{jwkOf("k", k, members{"alg": "RS256"})}, true},
		{"key_ops verify", []members{jwkOf("k", k, members{"key_ops": []string{"verify"}})}, true},
		{"issuer as a template", []members{jwkOf("k", k, members{"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"})}, true},
		{"issuer of v1", []members{jwkOf("k", k, members{"issuer": "https://sts.windows.net/" + tenant + "/"})}, true},
		{"a certificate nobody asked for", []members{jwkOf("k", k, members{"x5c": []string{"AAAA"}, "x5u": "https://x.example/"})}, true},
		{"twice the same", []members{jwkOf("k", k, nil), jwkOf("k", k, members{"use": nil})}, true},
		{"beside broken ones", []members{{"kty": "RSA"}, {"kty": 1}, {"kty": "EC", "kid": "k", "crv": "P-256", "x": "AA", "y": "AA"}, jwkOf("k", k, nil)}, true},

		{"use enc", []members{jwkOf("k", k, members{"use": "enc"})}, false},
		{"alg RS512", []members{jwkOf("k", k, members{"alg": "RS512"})}, false},
		{"alg HS256", []members{jwkOf("k", k, members{"alg": "HS256"})}, false},
		{"key_ops encrypt", []members{jwkOf("k", k, members{"key_ops": []string{"encrypt"}})}, false},
		{"key_ops empty", []members{jwkOf("k", k, members{"key_ops": []string{}})}, false},
		{"issuer of another tenant", []members{jwkOf("k", k, members{"issuer": "https://login.microsoftonline.com/" + otherTenant + "/v2.0"})}, false},
		{"issuer of the consumers' tenant", []members{jwkOf("k", k, members{"issuer": "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"})}, false},
		{"issuer empty", []members{jwkOf("k", k, members{"issuer": ""})}, false},
		{"kid in another case", []members{jwkOf("k", k, members{"kid": nil, "KID": "k"})}, false},
		{"use no string", []members{jwkOf("k", k, members{"use": []string{"sig"}})}, false},
		{"alg no string", []members{jwkOf("k", k, members{"alg": []string{"RS256"}})}, false},
		{"key_ops one text", []members{jwkOf("k", k, members{"key_ops": "verify"})}, false},
		{"issuer no string", []members{jwkOf("k", k, members{"issuer": 1})}, false},
		{"another cloud", []members{jwkOf("k", k, members{"cloud_instance_name": "partner.microsoftonline.cn"})}, false},
		{"no kid", []members{jwkOf("k", k, members{"kid": nil})}, false},
		{"RSA of 1024 bits", []members{jwkOf("k", &small.PublicKey, nil)}, false},
		{"exponent 1", []members{jwkOf("k", k, members{"e": "AQ"})}, false},
		{"exponent 2", []members{jwkOf("k", k, members{"e": "Ag"})}, false},
		{"exponent 4", []members{jwkOf("k", k, members{"e": "BA"})}, false},
		{"exponent of 9 bytes", []members{jwkOf("k", k, members{"e": base64.RawURLEncoding.EncodeToString([]byte{1, 0, 0, 0, 0, 0, 1, 0, 1})})}, false},
		{"a symmetric key", []members{{"kty": "oct", "kid": "k", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}}, false},
		{"one kid, two keys", []members{jwkOf("k", k, nil), jwkOf("k", &rsaKeys()["attacker"].PublicKey, nil)}, false},
		{"one kid, three keys", []members{jwkOf("k", k, nil), jwkOf("k", &rsaKeys()["attacker"].PublicKey, nil), jwkOf("k", k, nil)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			// k2 is always there, so that the document as a whole is good.
			document := documentOf(append(test.jwks, jwkOf("k2", &rsaKeys()["k2"].PublicKey, nil))...)
			set, err := keyRules{algorithms: []string{RS256}, tenant: tenant}.parse([]byte(document))
			if err != nil || set.keys["k2"] == nil {
				t.Fatalf("%v, %v", set, err)
			}
			if got := set.keys["k"]; (got != nil) != test.want || got != nil && !k.Equal(got.key) {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestAUT4_UnknownKidsFetchOnceIn30Seconds(t *testing.T) {
	b := newBench(t)
	good := tokenOf("k1", "k1")
	if _, err := b.verify(good); err != nil {
		t.Fatal(err)
	}
	for round := range int64(3) {
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for range 50 {
					_, err := b.verify(tokenOf(rand.Text(), "attacker"))
					if causeOf(err) != KeyUnknown {
						t.Error(err)
					}
				}
				if _, err := b.verify(good); err != nil {
					t.Errorf("a good token in the flood: %v", err)
				}
			})
		}
		wait.Wait()
		if hits := b.issuer.hits.Load(); hits != 2+round {
			t.Errorf("%d fetches after round %d", hits, round)
		}
		b.clock.advance(unknownEvery)
	}
	if kept := len(b.keys.set.Load().keys); kept != 2 {
		t.Errorf("%d kids are remembered", kept)
	}
}

func TestAUT4_RotationIsPickedUp(t *testing.T) {
	b := newBench(t)
	if _, err := b.verify(tokenOf("k1", "k1")); err != nil {
		t.Fatal(err)
	}
	b.issuer.serve(documentOf(jwkOf("k2", &rsaKeys()["k2"].PublicKey, nil), jwkOf("k3", &rsaKeys()["k3"].PublicKey, nil)))
	// All who come at once wait for the same fetch.
	var wait sync.WaitGroup
	raw := tokenOf("k3", "k3")
	for range 20 {
		wait.Go(func() {
			if _, err := b.verify(raw); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if hits := b.issuer.hits.Load(); hits != 2 {
		t.Errorf("%d fetches", hits)
	}
	// A key that was withdrawn is gone (CVE-2025-22149).
	if cause := causeOf(lastOf(b.verify(tokenOf("k1", "k1")))); cause != KeyUnknown {
		t.Errorf("the withdrawn key: %s", cause)
	}
}

func TestAUT4_AKidThatCannotBeLookedUpIsNoRefusal(t *testing.T) {
	b := newBench(t)
	if _, err := b.verify(tokenOf("k1", "k1")); err != nil {
		t.Fatal(err)
	}
	b.issuer.fail(503)
	if _, err := b.verify(tokenOf("k3", "k3")); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func TestNewKeysRefuses(t *testing.T) {
	ofTenant := KeysConfig{URL: keysURL(tenant), Tenant: tenant}
	ofIssuer := KeysConfig{Issuer: providerIssuer, Algorithms: []string{RS256}}
	with := func(c KeysConfig, change func(*KeysConfig)) KeysConfig { change(&c); return c }
	bad := map[string]KeysConfig{
		"every tenant's keys":           with(ofTenant, func(c *KeysConfig) { c.Tenant = "common" }),
		"a tenant and an issuer":        with(ofTenant, func(c *KeysConfig) { c.Issuer = providerIssuer }),
		"nobody's":                      {URL: keysURL(tenant)},
		"no algorithm":                  with(ofIssuer, func(c *KeysConfig) { c.Algorithms = nil }),
		"a shared secret":               with(ofIssuer, func(c *KeysConfig) { c.Algorithms = []string{RS256, "HS256"} }),
		"an unknown algorithm":          with(ofIssuer, func(c *KeysConfig) { c.Algorithms = []string{"RS512"} }),
		"discovery of a name":           with(ofIssuer, func(c *KeysConfig) { c.Issuer = "nhs" }),
		"discovery without TLS":         with(ofIssuer, func(c *KeysConfig) { c.Issuer = "http://idp.example" }),
		"a provider's keys without TLS": with(ofIssuer, func(c *KeysConfig) { c.URL = "http://idp.example/keys" }),
	}
	for _, url := range []string{"", "http://login.microsoftonline.com/x", "https://", "ftp://x", "https://a:b@login.microsoftonline.com/x", "/keys"} {
		bad["address "+url] = with(ofTenant, func(c *KeysConfig) { c.URL = url })
	}
	for name, c := range bad {
		c.Client = http.DefaultClient
		if k, err := NewKeys(c); err == nil {
			t.Errorf("%s: %v", name, k)
		}
	}
	for want, c := range map[string]KeysConfig{
		tenant: ofTenant, providerIssuer: ofIssuer,
		"nhs": with(ofIssuer, func(c *KeysConfig) { c.Issuer, c.URL = "nhs", "https://idp.example/keys" }),
	} {
		c.Client = http.DefaultClient
		if k, err := NewKeys(c); err != nil || k.Issuer() != want {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// A key is for one algorithm (RFC 8725 section 3.1): the one that it names, or the only one it can be meant for.
func TestAUT4_AKeyIsPinnedToOneAlgorithm(t *testing.T) {
	rs, es, ed := signers()["rs"].Public(), signers()["es"].Public(), signers()["ed"].Public()
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	point := must(p384.PublicKey.Bytes())
	all, rsaOnly := Algorithms(), []string{RS256}
	for _, test := range []struct {
		name    string
		jwk     members
		allowed []string
		want    string
	}{
		{"RSA that says RS256", publicJWK("k", rs, members{"alg": "RS256"}), all, RS256},
		{"RSA that says PS256", publicJWK("k", rs, members{"alg": "PS256"}), all, PS256},
		{"RSA that could be meant for two", publicJWK("k", rs, nil), all, ""},
		{"RSA that can only be meant for one", publicJWK("k", rs, nil), []string{PS256, ES256, EdDSA}, PS256},
		{"RSA that says what is not allowed", publicJWK("k", rs, members{"alg": "PS256"}), rsaOnly, ""},
		{"RSA that says ES256", publicJWK("k", rs, members{"alg": "ES256"}), all, ""},
		{"RSA that says RSA-OAEP", publicJWK("k", rs, members{"alg": "RSA-OAEP"}), all, ""},
		{"P-256", publicJWK("k", es, nil), all, ES256},
		{"P-256 that is not allowed", publicJWK("k", es, nil), rsaOnly, ""},
		{"P-256 that says RS256", publicJWK("k", es, members{"alg": "RS256"}), all, ""},
		{"P-256 off the curve", publicJWK("k", es, members{"y": b64(make([]byte, 32))}), all, ""},
		{"P-384", members{"kid": "k", "kty": "EC", "crv": "P-384", "x": b64(point[1:49]), "y": b64(point[49:])}, all, ""},
		{"P-384 that says P-256", members{"kid": "k", "kty": "EC", "crv": "P-256", "x": b64(point[1:49]), "y": b64(point[49:])}, all, ""},
		{"Ed25519", publicJWK("k", ed, nil), all, EdDSA},
		{"Ed25519 that says EdDSA", publicJWK("k", ed, members{"alg": "EdDSA"}), all, EdDSA},
		{"Ed25519 a byte short", publicJWK("k", ed, members{"x": b64(make([]byte, 31))}), all, ""},
		{"X25519", publicJWK("k", ed, members{"crv": "X25519"}), all, ""},
		{"a shared secret", members{"kid": "k", "kty": "oct", "k": b64(make([]byte, 32)), "alg": "HS256"}, all, ""},
		{"an issuer that nobody asks a provider for", publicJWK("k", es, members{"issuer": "https://x.example"}), all, ES256},
	} {
		t.Run(test.name, func(t *testing.T) {
			other := publicJWK("other", signers()["k1"].Public(), members{"alg": test.allowed[0]}) // so that the document is good
			set, err := keyRules{algorithms: test.allowed}.parse([]byte(documentOf(test.jwk, other)))
			got := ""
			if err == nil && set.keys["k"] != nil {
				got = set.keys["k"].algorithm
			}
			if got != test.want || err != nil && test.allowed[0] == RS256 {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
		})
	}
	// The same key for two algorithms under one kid is two keys.
	twice := documentOf(publicJWK("k", rs, members{"alg": "RS256"}), publicJWK("k", rs, members{"alg": "PS256"}), publicJWK("es", es, nil))
	if set, err := (keyRules{algorithms: all}).parse([]byte(twice)); err != nil || set.keys["k"] != nil || !set.ambiguous {
		t.Errorf("%+v, %v", set, err)
	}
}

// A provider may publish keys that are for others too, as Microsoft does for all tenants: one for another tenant, or for personal
// accounts, is not the provider's.
func TestAUT4_AProvidersKeyNamesNoOtherTenant(t *testing.T) {
	const external = "https://" + tenant + ".ciamlogin.com/" + tenant + "/v2.0"
	for issuer, want := range map[any]bool{
		nil: true, external: true, "https://x.example": true,
		"https://login.microsoftonline.com/{tenantid}/v2.0":           true,
		"https://login.microsoftonline.com/" + tenant + "/v2.0":       true,
		"https://login.microsoftonline.com/" + otherTenant + "/v2.0":  false,
		"https://login.microsoftonline.com/" + consumers + "/v2.0":    false,
		"https://sts.windows.net/" + tenant + "/" + consumers + "/x/": false,
		"": false, 1: false,
	} {
		k := must(NewKeys(KeysConfig{Issuer: external, Algorithms: []string{ES256}, Client: http.DefaultClient}))
		document := documentOf(publicJWK("k", signers()["es"].Public(), members{"issuer": issuer}), publicJWK("es", signers()["es"].Public(), nil))
		if set := must(k.rules.parse([]byte(document))); (set.keys["k"] != nil) != want {
			t.Errorf("issuer %v: taken is %v", issuer, !want)
		}
	}
}

// discovered is a provider whose metadata says where its keys are.
func discovered(issuer string, answer func(address string) (*http.Response, error)) *Keys {
	return must(NewKeys(KeysConfig{
		Issuer: issuer, Algorithms: Algorithms(), Now: time.Now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) { return answer(r.URL.String()) })},
	}))
}

func TestAUT4_KeysAreFoundByDiscovery(t *testing.T) {
	for _, issuer := range []string{providerIssuer, "https://tenant.auth.example/"} {
		var asked []string
		keysAt := "https://keys.example/1"
		k := discovered(issuer, func(address string) (*http.Response, error) {
			asked = append(asked, address)
			switch address {
			case strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration":
				return answering(string(must(json.Marshal(members{"issuer": issuer, "jwks_uri": keysAt, "x": 1}))))
			case keysAt:
				return answering(providerDocument())
			}
			return nil, errors.New("nobody is there")
		})
		if _, err := k.key(t.Context(), "es"); err != nil || len(asked) != 2 {
			t.Errorf("%v, asked %q", err, asked)
		}
		keysAt = "https://keys.example/2"
		<-k.fetchNow().done
		if err := k.Problem(); err != nil || len(asked) != 4 {
			t.Errorf("keys that moved: %v, asked %q", err, asked)
		}
	}
}

func TestAUT4_MetadataThatIsNotTheIssuersIsRefused(t *testing.T) {
	good := members{"issuer": providerIssuer, "jwks_uri": "https://keys.example/1"}
	text := func(changes members) string { return string(must(json.Marshal(changed(good, changes)))) }
	for name, metadata := range map[string]string{
		"another issuer":            text(members{"issuer": "https://evil.example"}),
		"the issuer with a slash":   text(members{"issuer": providerIssuer + "/"}),
		"no issuer":                 text(members{"issuer": nil}),
		"an issuer that is no text": text(members{"issuer": []string{providerIssuer}}),
		"no address":                text(members{"jwks_uri": nil}),
		"an address without TLS":    text(members{"jwks_uri": "http://keys.example/1"}),
		"an address with a user":    text(members{"jwks_uri": "https://a@keys.example/1"}),
		"an address that is none":   text(members{"jwks_uri": "keys"}),
		"a file":                    text(members{"jwks_uri": "file:///etc/passwd"}),
		"HTML":                      "<html>",
		"null":                      "null",
		"the issuer twice":          strings.TrimSuffix(text(nil), "}") + `,"Issuer":"https://evil.example"}`,
		"something behind":          text(nil) + "{}",
		"more than 1 MiB":           text(nil) + strings.Repeat(" ", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			k := discovered(providerIssuer, func(address string) (*http.Response, error) {
				asked++
				if strings.HasPrefix(address, providerIssuer) {
					return answering(metadata)
				}
				return answering(providerDocument())
			})
			if _, err := k.key(t.Context(), "es"); !errors.Is(err, ErrUnavailable) || asked != 1 {
				t.Errorf("%v, %d requests", err, asked)
			}
		})
	}
}

// Who is known to whom: each issuer's age is its own, and one that is down leaves the other alone.
func TestAUT4_AProviderThatIsDownLeavesTheOthersAlone(t *testing.T) {
	b := newBench(t)
	b.provider.fail(503)
	if _, err := b.verify(providerSigned("es", nil, keycloak())); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if _, err := b.verify(signed(header(), v2())); err != nil {
		t.Error(err)
	}
	if !ready(b.keys) || ready(b.providerKeys) {
		t.Error("the keys' ages are mixed up")
	}
	if all := b.config.Keys(); !slices.Equal(all, []*Keys{b.keys, b.providerKeys}) || all[0].Issuer() != tenant || all[1].Issuer() != providerIssuer {
		t.Errorf("keys %v", all)
	}
}

// roundTripper stands in for the network where time is simulated.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answering(document string) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(document))}, nil
}

func keysOver(f roundTripper) *Keys {
	return must(NewKeys(KeysConfig{
		URL: keysURL(tenant), Tenant: tenant, Client: &http.Client{Transport: f}, Now: time.Now, Random: rand.Reader,
		Log: slog.New(slog.DiscardHandler),
	}))
}

func TestAUT4_RunRefreshesHourlyAndRetries(t *testing.T) {
	document := goodDocument()
	synctest.Test(t, func(t *testing.T) {
		var hits atomic.Int64
		var down atomic.Bool
		k := keysOver(func(*http.Request) (*http.Response, error) {
			hits.Add(1)
			if down.Load() {
				return nil, errors.New("connection refused")
			}
			return answering(document)
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go k.Run(ctx)
		synctest.Wait()
		if !ready(k) || hits.Load() != 1 {
			t.Fatalf("after the start: ready %v, %d fetches", ready(k), hits.Load())
		}
		time.Sleep(53 * time.Minute)
		if hits.Load() != 1 {
			t.Errorf("refreshed before 54 minutes were over")
		}
		for range 48 {
			time.Sleep(15 * time.Minute)
			if age, ok := k.Age(); !ok || age > time.Hour {
				t.Fatalf("age %v", age)
			}
		}
		// 12 h 53 min are 12 to 14 refreshes.
		if n := hits.Load(); n < 13 || n > 15 {
			t.Errorf("%d fetches", n)
		}
		down.Store(true)
		time.Sleep(3 * time.Hour)
		before := hits.Load()
		down.Store(false)
		time.Sleep(retryAtMost)
		if age, _ := k.Age(); age > retryAtMost || k.Problem() != nil {
			t.Errorf("age %v: not recovered in %v", age, retryAtMost)
		}
		if before > 15+3*3600/27+10 {
			t.Errorf("%d fetches while it was down", before)
		}
		cancel()
		synctest.Wait()
	})
}

func TestAUT4_AHangingIssuerIsAskedOnceAndAnsweredInTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hits, running, most atomic.Int64
		k := keysOver(func(r *http.Request) (*http.Response, error) {
			hits.Add(1)
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		ask := func(arrive, within time.Duration) {
			time.Sleep(arrive)
			began := time.Now()
			if _, err := k.key(t.Context(), "k1"); !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
			if took := time.Since(began); took > within {
				t.Errorf("waited %v", took)
			}
		}
		var wait sync.WaitGroup
		for range 200 {
			wait.Go(func() { ask(0, 2*time.Second) })
			wait.Go(func() { ask(time.Second, time.Second) })
			// Whoever comes when the fetch is known to be slow does not wait at all.
			wait.Go(func() { ask(3*time.Second, 0) })
		}
		wait.Wait()
		if hits.Load() != 1 || most.Load() != 1 {
			t.Errorf("%d fetches, %d at once", hits.Load(), most.Load())
		}
		time.Sleep(fetchTimeout)
		if running.Load() != 0 {
			t.Error("the fetch never ends")
		}
	})
}

func TestAUT4_InstancesDoNotRefreshInStep(t *testing.T) {
	document := goodDocument()
	for _, test := range []struct {
		random string
		want   time.Duration
	}{
		{"\x00", time.Hour},
		{"\x80", 57 * time.Minute},
		{"", time.Hour}, // no randomness is no reason to stop
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var fetched []time.Duration
			k := keysOver(func(*http.Request) (*http.Response, error) {
				fetched = append(fetched, time.Since(began))
				return answering(document)
			})
			k.config.Random = strings.NewReader(test.random)
			ctx, cancel := context.WithTimeout(t.Context(), 61*time.Minute)
			defer cancel()
			k.Run(ctx)
			if len(fetched) != 2 || fetched[1] != test.want {
				t.Errorf("fetched at %v, want %v", fetched, test.want)
			}
		})
	}
}

func TestAUT4_RunJoinsTheFetchOfARequest(t *testing.T) {
	document := goodDocument()
	synctest.Test(t, func(t *testing.T) {
		var hits atomic.Int64
		k := keysOver(func(*http.Request) (*http.Response, error) {
			hits.Add(1)
			time.Sleep(time.Second)
			return answering(document)
		})
		go func() { _, _ = k.key(t.Context(), "k1") }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		k.Run(ctx)
		if hits.Load() != 1 || !ready(k) {
			t.Errorf("%d fetches", hits.Load())
		}
	})
}

func TestAUT4_AClientWhoLeavesDoesNotEndTheFetch(t *testing.T) {
	document := goodDocument()
	synctest.Test(t, func(t *testing.T) {
		k := keysOver(func(r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(time.Second):
				return answering(document)
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := k.key(ctx, "k1"); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if _, err := k.key(t.Context(), "k1"); err != nil {
			t.Error(err)
		}
	})
}

func TestAUT4_APanicInTheFetchIsAFailure(t *testing.T) {
	k := keysOver(func(*http.Request) (*http.Response, error) { panic("boom") })
	if _, err := k.key(t.Context(), "k1"); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func TestAUT4_JunkKidsTakeNoMemory(t *testing.T) {
	k := keysOver(func(*http.Request) (*http.Response, error) { return answering(goodDocument()) })
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	if _, err := k.key(t.Context(), "k1"); err != nil {
		t.Fatal(err)
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	for range 200_000 {
		if _, err := k.key(t.Context(), rand.Text()); !errors.Is(err, errUnknownKey) {
			t.Fatal(err)
		}
	}
	// 200,000 kids of 26 bytes would be 5 MB.
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if n := runtime.NumGoroutine(); n > goroutines+1 {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
}

// ready reports whether there are keys.
func ready(k *Keys) bool { _, known := k.Age(); return known }

func keysURL(tenant string) string {
	return "https://login.microsoftonline.com/" + tenant + "/discovery/v2.0/keys"
}
