package recipes

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

func fixture(t *testing.T) *Fixture {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(
		Names{
			Tenant: "a1b2c3d4-2222-4333-8444-5555555555ff", Object: "aaaaaaaa-0000-4000-8000-000000000001", Stranger: "bbbbbbbb-0000-4000-8000-000000000002",
			Audience: "cccccccc-0000-4000-8000-00000000aaaa", Scope: "write:gdm_activation", Other: "read:gdm_activation", Listener: "http://127.0.0.1:9",
		},
		Own{Issuer: "https://latchkey.test", Audience: "https://dhos.test/", Key: key, KeyID: "own", Patient: "pat-1", Session: "s1", Token: "j1", Device: "dev-1", DeviceSession: "s2", DeviceToken: "j2"},
	)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAUT1_EachRecipeIsOneOfItsOwn(t *testing.T) {
	f := fixture(t)
	now := time.Now()
	seen := map[string]bool{}
	titles := map[string]string{}
	catalogued := 0
	for _, c := range Cases() {
		if seen[c.ID] || c.ID == "" || c.Title == "" || len(c.Want) == 0 {
			t.Errorf("%s %q: the id is taken, or something is missing", c.ID, c.Title)
		}
		seen[c.ID] = true
		if strings.HasPrefix(c.ID, "J") {
			catalogued++
		}
		for _, name := range []string{c.Document, c.Before} {
			if name != "" && !slices.Contains(Documents(), name) {
				t.Fatalf("%s: there is no document %q", c.ID, name)
			}
		}
		r := c.Request(f, now)
		if strings.Contains(r.Token+r.Query+r.Body, "$") {
			t.Errorf("%s: a name was not replaced in %q", c.ID, r.Token+r.Query+r.Body)
		}
		for _, field := range r.Fields {
			if strings.Contains(field.Value, "$") {
				t.Errorf("%s: a name was not replaced in %s: %q", c.ID, field.Name, field.Value)
			}
		}
		// No two controls send the same: a change that changes nothing shows here. Signatures are left out, since some are
		// made with chance.
		var b bytes.Buffer
		parts := strings.Split(r.Token, ".")
		what := r
		if len(parts) == 3 && len(parts[2]) > 40 {
			what.Token = parts[0] + "." + parts[1]
			what.Fields = slices.Clone(r.Fields)
			for i := range what.Fields {
				what.Fields[i].Value = strings.ReplaceAll(what.Fields[i].Value, r.Token, what.Token)
			}
		}
		if err := what.Write(&b, "POST", strings.Join(r.Paths, " "), "h"); err != nil {
			t.Fatal(err)
		}
		key := b.String() + c.Document + c.Before
		if c.Want[0] == 200 {
			if other := titles[key]; other != "" {
				t.Errorf("%s %s sends what %s sends", c.ID, c.Title, other)
			}
			titles[key] = c.ID + " " + c.Title
		}
	}
	if catalogued != 131 {
		t.Errorf("%d cases of the catalogue, want 131", catalogued)
	}
	t.Logf("%d cases, %d documents", len(seen), len(Documents()))
}

// What the table calls good is good, says a verifier that is not ours: a builder that makes rubbish would have all its cases refused.
func TestAUT1_TheGoodTokensOfTheTableVerify(t *testing.T) {
	f := fixture(t)
	verified := 0
	for _, c := range Cases() {
		if !c.Accepted() || c.Transported(f) || c.Document == Hanging {
			continue
		}
		r := c.Request(f, time.Now())
		document := f.Document(c.Document)
		if c.Before != "" && c.Document != Rotated {
			document = f.Document(c.Before)
		}
		_, err := jwt.NewParser(jwt.WithLeeway(time.Minute), jwt.WithIssuedAt(), jwt.WithStrictDecoding()).Parse(r.Token, func(tok *jwt.Token) (any, error) {
			if tok.Header["kid"] == f.own.KeyID {
				return f.own.Key.Public(), nil
			}
			return keyOf(t, document.Body, tok.Header["kid"].(string)), nil
		})
		if err != nil {
			t.Errorf("%s %s: %v", c.ID, c.Title, err)
		}
		verified++
	}
	if verified < 50 {
		t.Errorf("only %d were looked at", verified)
	}
}

func keyOf(t *testing.T, document []byte, kid string) any {
	t.Helper()
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(document, &set); err != nil {
		t.Fatal(err)
	}
	for _, raw := range set.Keys {
		var id struct{ Kid any }
		if json.Unmarshal(raw, &id) != nil || id.Kid != kid {
			continue
		}
		key, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipX5UScheme: true})
		if err != nil {
			t.Fatal(err)
		}
		return key.Key()
	}
	return nil
}

func TestTextsAreWrittenAsTheyAre(t *testing.T) {
	var o object
	o.set("a", "x")
	o.set("b", text("\"\xff\""))
	o.append("a", 1)
	o.prepend(`\u0061`, nil)
	if got, want := o.String(), "{\"\\u0061\":null,\"a\":\"x\",\"b\":\"\xff\",\"a\":1}"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	o.rename("b", "B")
	o.remove("a")
	if got, want := o.String(), "{\"\\u0061\":null,\"B\":\"\xff\"}"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRequestsAreWrittenAsTheyAre(t *testing.T) {
	r := Request{Fields: []Field{{"Authorization", "Bearer a"}, {"authorization", "Bearer\tb"}}, Query: "a=b", Body: "x=y"}
	var b bytes.Buffer
	if err := r.Write(&b, "POST", "//x/%2e", "h:1", Field{"traceparent", "t"}); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		t.Fatal(err)
	}
	if got.RequestURI != "//x/%2e?a=b" || !reflect.DeepEqual(got.Header.Values("Authorization"), []string{"Bearer a", "Bearer\tb"}) ||
		got.ContentLength != 3 || got.Host != "h:1" || got.Header.Get("traceparent") != "t" {
		t.Errorf("%s %v", got.RequestURI, got.Header)
	}
	if want := []string{"Bearer a", "Bearer\tb"}; !reflect.DeepEqual(r.Authorization(), want) {
		t.Errorf("%q, want %q", r.Authorization(), want)
	}
}

func TestTheBadFormsOfASignatureAreWhatTheyAreCalled(t *testing.T) {
	f := fixture(t)
	d := &draft{f: f, now: time.Now()}
	good := by(k1, "RS256")(d, "x.y")
	if err := jwt.SigningMethodRS256.Verify("x.y", good, f.rsa(k1).Public()); err != nil {
		t.Fatal(err)
	}
	// Under the exponent 1 the padded digest is what verification compares with: s^1 = s.
	padded := paddedDigest(d, "x.y")
	if len(padded) != 256 || padded[1] != 1 || padded[2] != 0xff {
		t.Errorf("padded digest % x", padded[:8])
	}
	for name, how := range map[string]signing{
		"plus modulus": plusModulus, "bare digest": bareDigest, "padded digest": paddedDigest, "of another": ofAnother, "PSS": by(k1, "PS256"), "SHA-1": by(k1, "RS1"),
	} {
		if err := jwt.SigningMethodRS256.Verify("x.y", how(d, "x.y"), f.rsa(k1).Public()); err == nil {
			t.Errorf("%s verifies", name)
		}
	}
	part := encode([]byte("ab"))
	if changed := loose(part); changed == part || decode(changed) != "ab" {
		t.Errorf("loose(%q) = %q", part, changed)
	}
}
