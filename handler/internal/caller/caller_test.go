package caller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/subject"
	"latchkey/handler/internal/token"
)

func ownKey() *token.Key {
	der := must(x509.MarshalPKCS8PrivateKey(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))
	return must(token.ParseKey(secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))))
}

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
		want        Reason
	}{
		{"good", "Bearer " + good, ""},
		{"lower case", "bearer " + good, ""},
		{"upper case", "BEARER " + good, ""},
		{"two spaces", "Bearer  " + good, ""},
		{"nothing", "", TokenMissing},
		{"another scheme", "Basic " + good, TokenMissing},
		{"no scheme", good, TokenMissing},
		{"a tab", "Bearer\t" + good, TokenMissing},
		{"a scheme that begins so", "BearerX " + good, TokenMissing},
		{"no token", "Bearer", TokenMalformed},
		{"only spaces", "Bearer  ", TokenMalformed},
		{"a space behind", "Bearer " + good + " ", TokenMalformed},
		{"two tokens", "Bearer " + good + ", Bearer x", TokenMalformed},
		{"two schemes", "Bearer Bearer " + good, TokenMalformed},
		{"quotes", `Bearer "` + good + `"`, TokenMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := b.Verify(t.Context(), test.value)
			if _, reason := rejectedBy(err); reason != test.want || (err == nil) != (test.want == "") {
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
		Subject: ownGrant().Subject, Session: "sid-1", Token: c.Token,
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

func TestAUT1_OwnTokensRefused(t *testing.T) {
	b := newBench(t)
	good := must(b.tokens.Mint(ownGrant()))
	other := func(issuer, audience string, key *token.Key) string {
		i := must(token.NewIssuer(token.Config{Issuer: issuer, Audience: audience, Keys: []*token.Key{key}, Now: b.clock.now, Random: rand.Reader}))
		return must(i.Mint(ownGrant()))
	}
	key := ownKey()
	b.tokens = must(token.NewIssuer(token.Config{Issuer: ownIssuer, Audience: ownIssuer, Keys: []*token.Key{key}, Now: b.clock.now, Random: rand.Reader}))
	raw := must(b.tokens.Mint(ownGrant()))
	for _, test := range []struct {
		name, raw string
		at        time.Duration
		session   func(subject.ID, string, string) (bool, error)
		rule      string
		want      Reason
	}{
		{"expired", raw, 16 * time.Minute, nil, "own_token", TokenExpired},
		{"not valid yet", raw, -2 * time.Minute, nil, "own_token", TokenNotYetValid},
		{"another audience", other(ownIssuer, "x", key), 0, nil, "own_token", TokenWrongAudience},
		{"another issuer of the same key", other(ownIssuer+"x", ownIssuer, key), 0, nil, "issuer", TokenUntrustedIssuer},
		{"a key that is not ours any more", good, 0, nil, "own_token", TokenBadSignature},
		{"our issuer, signed by Entra", signed(header(), changed(v2(), members{"iss": ownIssuer})), 0, nil, "own_token", TokenBadSignature},
		{"Entra's issuer, signed by us", other(v2()["iss"].(string), audience, key), 0, nil, "alg", TokenMalformed},
		{"session ended", raw, 0, func(subject.ID, string, string) (bool, error) { return false, nil }, "own_session", TokenRevoked},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.clock.advance(test.at)
			defer b.clock.advance(-test.at)
			b.session = func(subject.ID, string, string) (bool, error) { return true, nil }
			if test.session != nil {
				b.session = test.session
			}
			c, err := b.verify(test.raw)
			if rule, reason := rejectedBy(err); rule != test.rule || reason != test.want || c.Kind != "" {
				t.Errorf("%+v, %v; want %s, %s", c, err, test.rule, test.want)
			}
		})
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
	b.own.Verify = func(string) (token.Claims, error) { return token.Claims{}, ErrUnavailable }
	if c, err := b.verify(raw); !errors.Is(err, ErrUnavailable) || c.Kind != "" {
		t.Errorf("without a signing key: %+v, %v", c, err)
	}
}

func TestAUT2_Authorise(t *testing.T) {
	entra := audit.Actor{Issuer: tenant, ID: oid}
	admins := []Identity{{otherTenant, oid}, {tenant, oid}}
	others := []Identity{{otherTenant, oid}, {tenant, appID}}
	for _, test := range []struct {
		name   string
		c      Caller
		scope  string
		admins []Identity
		want   bool
	}{
		{"app with the role", Caller{Kind: App, Actor: entra, Scopes: []string{"a", role}}, role, nil, true},
		{"app with another role", Caller{Kind: App, Actor: entra, Scopes: []string{"read:activation"}}, role, nil, false},
		{"app with the role in another case", Caller{Kind: App, Actor: entra, Scopes: []string{"Write:Activation"}}, role, nil, false},
		{"app with the role inside a longer one", Caller{Kind: App, Actor: entra, Scopes: []string{"x " + role + " y", role + "x"}}, role, nil, false},
		{"app that is an administrator", Caller{Kind: App, Actor: entra}, role, admins, true},
		{"app that is none of the administrators", Caller{Kind: App, Actor: entra}, role, others, false},
		{"user with the scp", Caller{Kind: User, Actor: entra, Delegated: []string{role}}, role, nil, false},
		{"user with roles that are not an app's", Caller{Kind: User, Actor: entra, Scopes: []string{role}}, role, nil, false},
		{"user who is an administrator", Caller{Kind: User, Actor: entra, Delegated: []string{"x", role}}, role, admins, true},
		{"user who is an administrator, through an app without the scope", Caller{Kind: User, Actor: entra, Delegated: []string{"x"}}, role, admins, false},
		{"user who is none", Caller{Kind: User, Actor: entra, Delegated: []string{"x"}}, role, others, false},
		{"subject with the scope", Caller{Kind: Subject, Scopes: []string{role}}, role, nil, false},
		{"subject without", Caller{Kind: Subject, Scopes: []string{"x"}}, role, nil, false},
		{"subject with an administrator's ids", Caller{Kind: Subject, Actor: entra}, role, admins, false},
		{"nobody", Caller{Scopes: []string{role}, Actor: entra}, role, admins, false},
		{"no scope at all is no free pass", Caller{Kind: App, Actor: entra, Scopes: []string{""}}, "", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Authorise(test.c, test.scope, test.admins)
			var forbidden *Forbidden
			if (err == nil) != test.want || err != nil && (!errors.As(err, &forbidden) || forbidden.Scope != test.scope) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	_, issuer2 := issuers(tenant)
	for name, test := range map[string]struct {
		entra Entra
		own   string
	}{
		"no tenant":                   {Entra{Audiences: []string{audience}}, ownIssuer},
		"a tenant by name":            {Entra{Tenant: "common", Audiences: []string{audience}}, ownIssuer},
		"no audience":                 {Entra{Tenant: tenant}, ownIssuer},
		"an empty audience":           {Entra{Tenant: tenant, Audiences: []string{audience, ""}}, ownIssuer},
		"no issuer of our own":        {Entra{Tenant: tenant, Audiences: []string{audience}}, ""},
		"Entra's issuer for our own":  {Entra{Tenant: tenant, Audiences: []string{audience}}, issuer2},
		"the same, tenant upper case": {Entra{Tenant: strings.ToUpper(tenant), Audiences: []string{audience}}, issuer2},
	} {
		if v, err := NewVerifier(test.entra, Own{Issuer: test.own}, time.Now); err == nil {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// What an administrator copies from a portal may be in upper case; what Entra signs never is.
func TestSettingsInUpperCaseWork(t *testing.T) {
	b := newBench(t)
	v := must(NewVerifier(Entra{Tenant: strings.ToUpper(tenant), Audiences: []string{strings.ToUpper(audience)}, Keys: b.keys}, Own{Issuer: ownIssuer}, b.clock.now))
	if _, err := v.Verify(t.Context(), "Bearer "+signed(header(), v2())); err != nil {
		t.Error(err)
	}
}

func TestErrorsQuoteNothingOfTheToken(t *testing.T) {
	b := newBench(t)
	for _, a := range attacks() {
		_, err := b.verify(a.raw)
		for _, part := range append(strings.Split(a.raw, "."), tenant, oid, audience, "evil") {
			if len(part) > 3 && strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v", a.name, err)
			}
		}
	}
	if strings.Contains(b.log.String(), "eyJ") {
		t.Errorf("the log has a token: %s", b.log)
	}
}

func BenchmarkVerifyEntra(b *testing.B) {
	bench := newBench(b)
	header := "Bearer " + signed(header(), v2())
	for b.Loop() {
		if _, err := bench.Verify(context.Background(), header); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyOwn(b *testing.B) {
	bench := newBench(b)
	header := "Bearer " + must(bench.tokens.Mint(ownGrant()))
	for b.Loop() {
		if _, err := bench.Verify(context.Background(), header); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefuseBadSignature(b *testing.B) {
	bench := newBench(b)
	good := signed(header(), v2())
	header := "Bearer " + good[:len(good)-342] + strings.Repeat("A", 342)
	for b.Loop() {
		if _, err := bench.Verify(context.Background(), header); err == nil {
			b.Fatal("let in")
		}
	}
}
