package caller

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
	"latchkey/handler/internal/token"
)

func TestAUT1_GoodTokens(t *testing.T) {
	b := newBench(t)
	app := Caller{Kind: App, Actor: audit.Actor{Issuer: tenant, ID: oid}, Scopes: []string{role}}
	user := Caller{Kind: User, Actor: audit.Actor{Issuer: tenant, ID: oid}, Delegated: []string{"access", "more"}}
	now := noon.Unix()
	for _, test := range []struct {
		name string
		raw  string
		want Caller
	}{
		{"v2", signed(header(), v2()), app},
		{"v1", signed(header(), v1()), app},
		{"v1 with a client id as audience", signed(header(), changed(v1(), members{"aud": audience})), app},
		{"typ at+jwt", signed(changed(header(), members{"typ": "at+jwt"}), v2()), app},
		{"the second key", sign(must(json.Marshal(changed(header(), members{"kid": "k2"}))), must(json.Marshal(v2())), "k2"), app},
		{"members that nobody knows", signed(changed(header(), members{"x5t": "k1"}), changed(v2(), members{"xms_new": members{"a": []int{1, 2}}, "rh": "0.A"})), app},
		{"no idtyp, no scp, oid is sub", signed(header(), changed(v2(), members{"idtyp": nil})), app},
		{"no roles", signed(header(), changed(v2(), members{"roles": nil})), Caller{Kind: App, Actor: app.Actor}},
		{"scp gives an app nothing", signed(header(), changed(v2(), members{"scp": role, "roles": nil})), Caller{Kind: App, Actor: app.Actor}},
		{"exp over within the leeway", signed(header(), changed(v2(), members{"exp": now - 59})), app},
		{"iat and nbf ahead within the leeway", signed(header(), changed(v2(), members{"iat": now + 60, "nbf": now + 60})), app},
		{"no nbf", signed(header(), changed(v2(), members{"nbf": nil})), app},
		{"a life of 28 h", signed(header(), changed(v2(), members{"exp": now - 5 + 100800})), app},
		{"delegated", signed(header(), changed(v2(), members{"idtyp": nil, "scp": "access more", "sub": "pairwise", "roles": []string{role}})), user},
		{"delegated, though oid is sub", signed(header(), changed(v2(), members{"idtyp": nil, "scp": "access more", "roles": []string{role}})), user},
		{"delegated with idtyp", signed(header(), changed(v2(), members{"idtyp": "user", "scp": "access more", "sub": "pairwise"})), user},
		{"delegated, v1", signed(header(), changed(v1(), members{"idtyp": nil, "scp": "access more", "sub": "pairwise"})), user},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := b.verify(test.raw)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	if hits := b.issuer.hits.Load(); hits != 1 {
		t.Errorf("%d fetches of the keys", hits)
	}
}

func TestAUT5_TheHeadersForm(t *testing.T) {
	b := newBench(t)
	good := signed(header(), v2())
	for _, test := range []struct {
		name, value string
		want        Cause
	}{
		{"good", "Bearer " + good, ""},
		{"lower case", "bearer " + good, ""},
		{"upper case", "BEARER " + good, ""},
		{"two spaces", "Bearer  " + good, ""},
		{"nothing", "", NoHeader},
		{"another scheme", "Basic " + good, OtherScheme},
		{"no scheme", good, OtherScheme},
		{"a tab", "Bearer\t" + good, OtherScheme},
		{"a scheme that begins so", "BearerX " + good, OtherScheme},
		{"a scheme with a long s", "Bearer\u017f " + good, OtherScheme},
		{"a space before", " Bearer " + good, OtherScheme},
		{"no token", "Bearer", EmptyToken},
		{"only spaces", "Bearer  ", EmptyToken},
		{"a space behind", "Bearer " + good + " ", TokenEncoding},
		{"two tokens", "Bearer " + good + ", Bearer x", TokenEncoding},
		{"two schemes", "Bearer Bearer " + good, TokenEncoding},
		{"quotes", `Bearer "` + good + `"`, TokenEncoding},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := b.Verify(t.Context(), test.value)
			if cause := causeOf(err); cause != test.want || (err == nil) != (test.want == "") {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func ownGrant() token.Grant {
	return token.Grant{
		Subject: subject.ID{Kind: subject.Patient, Name: "p-1"}, Session: "sid-1", Scopes: []string{"read:gdm_patient", "x"},
		IssuedAt: noon, Lifetime: 15 * time.Minute,
	}
}

func TestAUT1_OwnTokens(t *testing.T) {
	b := newBench(t)
	raw := must(b.tokens.Mint(ownGrant()))
	var asked []string
	b.session = func(of subject.ID, sid, jti string) (bool, error) {
		asked = append(asked, string(of.Kind), of.Name, sid, jti)
		return true, nil
	}
	c, err := b.verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := Caller{
		Kind: Subject, Actor: audit.Actor{Issuer: ownIssuer, ID: "patient/p-1"}, Scopes: []string{"read:gdm_patient", "x"},
		Subject: ownGrant().Subject, Holder: ownGrant().Subject, Session: "sid-1", Token: c.Token,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if !reflect.DeepEqual(asked, []string{"patient", "p-1", "sid-1", c.Token}) || c.Token == "" {
		t.Errorf("the session was looked up as %q", asked)
	}
	if hits := b.issuer.hits.Load(); hits != 0 {
		t.Errorf("Entra's keys were fetched %d times for a token of ours", hits)
	}
}

// ownSigned is a token of ours with changes, signed by our key.
func (b *bench) ownSigned(headerChanges, claimsChanges members) string {
	parts := strings.Split(must(b.tokens.Mint(ownGrant())), ".")
	part := func(n int, changes members) string {
		var m members
		if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[n])), &m); err != nil {
			panic(err)
		}
		return b64(must(json.Marshal(changed(m, changes))))
	}
	text := part(0, headerChanges) + "." + part(1, claimsChanges)
	return text + "." + b64(must(jwt.SigningMethodES256.Sign(text, b.ours)))
}

// ownAttacks are on tokens of ours.
func ownAttacks(b *bench) []attack {
	grant := func(change func(*token.Grant)) string {
		g := ownGrant()
		change(&g)
		return must(b.tokens.Mint(g))
	}
	good := must(b.tokens.Mint(ownGrant()))
	stranger := must(token.NewIssuer(token.Config{
		Issuer: ownIssuer, Audience: ownIssuer, Keys: []*token.Key{tokenKey(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))},
		Now: b.clock.now, Random: rand.Reader,
	}))
	return []attack{
		{"expired", grant(func(g *token.Grant) { g.IssuedAt = noon.Add(-16 * time.Minute) }), "own_token", OwnExpired},
		{"not valid yet", grant(func(g *token.Grant) { g.IssuedAt = noon.Add(2 * time.Minute) }), "own_token", OwnNotYetValid},
		{"another audience", b.ownSigned(nil, members{"aud": "x"}), "own_token", OwnAudience},
		{"ours in a list of audiences", b.ownSigned(nil, members{"aud": []string{ownIssuer}}), "own_token", OwnAudience},
		{"typ of every JWT", b.ownSigned(members{"typ": "JWT"}, nil), "own_token", OwnHeader},
		{"a header member more", b.ownSigned(members{"x5t": "x"}, nil), "own_token", OwnHeader},
		{"alg none", b.ownSigned(members{"alg": "none"}, nil), "own_token", OwnAlgorithm},
		{"alg ES384", b.ownSigned(members{"alg": "ES384"}, nil), "own_token", OwnAlgorithm},
		{"a key of nobody", must(stranger.Mint(ownGrant())), "own_token", OwnKeyUnknown},
		{"Entra's key", signed(header(), changed(v2(), members{"iss": ownIssuer})), "own_token", OwnKeyUnknown},
		{"claims changed", strings.Join([]string{strings.Split(good, ".")[0], strings.Split(b.ownSigned(nil, members{"scope": "all"}), ".")[1], strings.Split(good, ".")[2]}, "."), "own_token", OwnSignature},
		{"no subject", b.ownSigned(nil, members{"sub": nil}), "own_token", OwnClaims},
		{"scope a list", b.ownSigned(nil, members{"scope": []string{"x"}}), "own_token", OwnClaims},
		{"exp a text", b.ownSigned(nil, members{"exp": "1900000000"}), "own_token", OwnClaims},
		{"its session is over", grant(func(g *token.Grant) { g.Session = "ended" }), "own_session", SessionEnded},
	}
}

// What is ours alone cannot be signed by us and be another's, or the other way round.
func TestAUT1_AKeyOfOneIssuerVerifiesNoTokenOfAnother(t *testing.T) {
	b := newBench(t)
	for name, raw := range map[string]string{
		"Entra's claims by our key":      b.ownSigned(nil, v2()),
		"the provider's claims by ours":  b.ownSigned(members{"typ": "JWT"}, keycloak()),
		"the provider's by Entra's":      signed(header(), keycloak()),
		"Entra's by the provider's":      providerSigned("rs", nil, v2()),
		"Entra's by the provider's, k1":  providerSigned("k1", nil, v2()),
		"ours by the provider's":         providerSigned("es", nil, changed(v2(), members{"iss": ownIssuer})),
		"Entra's iss, the provider's k1": providerSigned("k1", nil, changed(keycloak(), members{"iss": v2()["iss"]})),
	} {
		if c, err := b.verify(raw); err == nil || c.Kind != "" {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestAUT5_AStorageThatIsDownIsNoRefusal(t *testing.T) {
	b := newBench(t)
	raw := must(b.tokens.Mint(ownGrant()))
	down := errors.New("connection refused")
	b.session = func(subject.ID, string, string) (bool, error) { return true, down }
	if c, err := b.verify(raw); !errors.Is(err, ErrUnavailable) || !errors.Is(err, down) || c.Kind != "" {
		t.Errorf("%+v, %v", c, err)
	}
	b.tokens = nil
	if c, err := b.verify(raw); !errors.Is(err, ErrUnavailable) || c.Kind != "" {
		t.Errorf("without a signing key: %+v, %v", c, err)
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	b := newBench(t)
	v1Issuer, v2Issuer := EntraIssuers(tenant)
	for name, change := range map[string]func(*Config){
		"no tenant":                       func(c *Config) { c.Entra.Tenant = "" },
		"a tenant by name":                func(c *Config) { c.Entra.Tenant = "common" },
		"the tenant of personal accounts": func(c *Config) { c.Entra.Tenant = consumers },
		"no audience":                     func(c *Config) { c.Entra.Audiences = nil },
		"an empty audience":               func(c *Config) { c.Entra.Audiences = []string{audience, ""} },
		"no issuer of our own":            func(c *Config) { c.Own.Issuer = "" },
		"Entra's issuer for our own":      func(c *Config) { c.Own.Issuer = v2Issuer },
		"the same, tenant upper case":     func(c *Config) { c.Entra.Tenant, c.Own.Issuer = strings.ToUpper(tenant), v1Issuer },
		"a provider without an issuer":    func(c *Config) { c.Providers[0].Issuer = "" },
		"a provider with a long issuer":   func(c *Config) { c.Providers[0].Issuer = "https://" + strings.Repeat("x", 248) },
		"a provider without an audience":  func(c *Config) { c.Providers[0].Audiences = nil },
		"a provider with an empty one":    func(c *Config) { c.Providers[0].Audiences = []string{""} },
		"a provider without an algorithm": func(c *Config) { c.Providers[0].Algorithms = nil },
		"a provider with a shared secret": func(c *Config) { c.Providers[0].Algorithms = []string{"HS256"} },
		"a provider that is Entra":        func(c *Config) { c.Providers[0].Issuer = v1Issuer },
		"a provider that is ourselves":    func(c *Config) { c.Providers[0].Issuer = ownIssuer },
		"two providers of one issuer":     func(c *Config) { c.Providers = append(c.Providers, c.Providers[0]) },
		"a memory of less than no tokens": func(c *Config) { c.Remember = -1 },
	} {
		c := b.config
		c.Providers = slices.Clone(c.Providers)
		change(&c)
		if v, err := NewVerifier(c); err == nil {
			t.Errorf("%s: %+v", name, v)
		}
	}
	want := []string{v2Issuer, v1Issuer, providerIssuer, ownIssuer}
	slices.Sort(want)
	if got := b.Issuers(); !slices.Equal(got, want) {
		t.Errorf("issuers %q", got)
	}
}

// What an administrator copies from a portal may be in upper case; what Entra signs never is.
func TestSettingsInUpperCaseWork(t *testing.T) {
	b := newBench(t)
	b.config.Entra.Tenant, b.config.Entra.Audiences = strings.ToUpper(tenant), []string{strings.ToUpper(audience)}
	if _, err := must(NewVerifier(b.config)).Verify(t.Context(), "Bearer "+signed(header(), v2())); err != nil {
		t.Error(err)
	}
}

// What a refusal holds goes into a log and a ticket: it is short, on one line, and holds no token and nobody's name.
func TestAUT6_RefusalsHoldNothingSecret(t *testing.T) {
	b := newBench(t)
	for _, k := range kinds(b) {
		for _, a := range k.attacks {
			_, err := b.verify(a.raw)
			var r *Rejected
			if !errors.As(err, &r) {
				t.Fatalf("%s: %v", a.name, err)
			}
			for _, text := range []string{r.Expected, r.Got} {
				if len(text) > maxShown || !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\n\r") {
					t.Errorf("%s: %q", a.name, text)
				}
			}
			for _, part := range append(strings.Split(a.raw, "."), oid, "alice") {
				if len(part) > 8 && strings.Contains(err.Error(), part) {
					t.Errorf("%s: %v", a.name, err)
				}
			}
			if why, known := Explain(r.Cause); !known || why.Class != ClassInvalidToken {
				t.Errorf("%s: %+v", a.name, why)
			}
		}
	}
	nested := signed(header(), changed(v2(), members{"aud": signed(header(), v2())}))
	if _, err := b.verify(nested); causeOf(err) != AudWrong || strings.Contains(err.Error(), "eyJ") {
		t.Errorf("a token within a claim: %v", err)
	}
	if strings.Contains(b.log.String(), "eyJ") {
		t.Errorf("the log has a token: %s", b.log)
	}
}

// An administrator finds what they need in a refusal.
func TestAUT6_RefusalsSayWhatWasCompared(t *testing.T) {
	b := newBench(t)
	for _, test := range []struct {
		raw      string
		expected string
		got      string
	}{
		{signed(header(), changed(v2(), members{"aud": "api://other"})), audience + " or " + audienceURI, "api://other"},
		{signed(header(), changed(v2(), members{"iss": "https://evil.example"})), providerIssuer, "https://evil.example"},
		{signed(changed(header(), members{"alg": "RS512"}), v2()), RS256, "RS512"},
		{signed(changed(header(), members{"kid": "other"}), v2()), "https://login.microsoftonline.com/" + tenant + "/v2.0", "other"},
		{signed(header(), changed(v2(), members{"exp": noon.Unix() - 3600})), "exp after 2026-03-02T11:59:00Z", "2026-03-02T11:00:00Z"},
		{signed(header(), changed(v2(), members{"tid": otherTenant})), tenant, otherTenant},
		{signed(header(), changed(v2(), members{"kid": nil, "ver": 2})), "2.0", "(a number) 2"},
	} {
		_, err := b.verify(test.raw)
		var r *Rejected
		if !errors.As(err, &r) || !strings.Contains(r.Expected, test.expected) || r.Got != test.got {
			t.Errorf("%v, want %s, %s", err, test.expected, test.got)
		}
	}
}

func TestShownIsCutOnACharacter(t *testing.T) {
	for n := range 8 {
		got := shown(strings.Repeat("a", 110+n) + strings.Repeat("💡", 10))
		if len(got) > maxShown || len(got) < maxShown-4 || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
	for in, want := range map[string]string{
		"a\x00b\nc\u0085d\u2028e\xff": "a?b?c?d?e?", "api://\u202egro.live\u200b\u2066": "api://?gro.live??", "x eyJhbGciOiJub25lIn0.e30. y": "(something like a token)", strings.Repeat("é", 60): strings.Repeat("é", 60),
	} {
		if got := shown(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
