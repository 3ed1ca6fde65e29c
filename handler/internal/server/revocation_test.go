package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/revoked"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/token"
)

// signing gives the bench real tokens and a real list; now is the clock by which tokens expire.
func (b *bench) signing(t testing.TB, now func() time.Time) *token.Issuer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.ParseKey(secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))))
	if err != nil {
		t.Fatal(err)
	}
	p := b.Parts()
	issuer, err := token.NewIssuer(token.Config{Issuer: p.Issuer, Audience: p.Audience, Keys: []*token.Key{key}, Now: now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	p.Claims = issuer.Verify
	p.Mint = func(g activation.Grant) (string, time.Duration, error) {
		raw, err := issuer.Mint(token.Grant{
			Subject: g.Subject(), Session: g.Session(), Scopes: []string{"read:a", "write:b"}, IssuedAt: g.At(), Lifetime: 15 * time.Minute,
		})
		return raw, 15 * time.Minute, err
	}
	p.Revoked = revoked.New(revoked.Source{Read: b.store.Endings, Now: now, Sign: func(all []activation.Ending, at time.Time) ([]byte, error) {
		return issuer.Revocations(all, at, revoked.Lifetime)
	}}).Document
	return issuer
}

// let lets the patient in, and gives the authorisation code.
func (b *bench) let(t *testing.T) string {
	t.Helper()
	made := b.create(t)
	w := b.ask(t, "POST /dhos/v1/activation", `{"code":"`+made.Code+`"}`)
	code := read[map[string]string](t, w, http.StatusOK)["authorisation_code"]
	b.log.take(t)
	return code
}

// buy buys a token.
func (b *bench) buy(t *testing.T, code string) string {
	t.Helper()
	w := b.ask(t, "POST "+patientPath+"/jwt", "", "x-authorisation-code: "+code)
	raw := read[map[string]any](t, w, http.StatusOK)["jwt"].(string)
	b.log.take(t)
	return raw
}

// form sends parameters.
func (b *bench) form(t *testing.T, path, body, as string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	headers = append(headers, "Authorization: Bearer "+as)
	if !strings.Contains(strings.Join(headers, ""), "Content-Type") {
		headers = append(headers, "Content-Type: application/x-www-form-urlencoded")
	}
	return b.ask(t, "POST "+path, body, headers...)
}

func (b *bench) introspect(t *testing.T, raw string) map[string]any {
	t.Helper()
	w := b.form(t, introspectionPath, url.Values{"token": {raw}}.Encode(), "introspector")
	wantHeaders(t, w.Header())
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("it may be kept: %v", w.Header())
	}
	return read[map[string]any](t, w, http.StatusOK)
}

var dead = map[string]any{"active": false}

func claimsOf(t *testing.T, raw string) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TOK-8: what RFC 7662 section 2.2 has, of a token that is active; and nothing else of one that is not.
func TestTOK8_Introspection(t *testing.T) {
	b := newBench(t)
	now := noon
	b.signing(t, func() time.Time { return now })
	raw := b.buy(t, b.let(t))
	claims := claimsOf(t, raw)
	want := map[string]any{
		"active": true, "scope": "read:a write:b", "client_id": "latchkey-patient", "token_type": "Bearer", "sub": "patient-canary-7",
		"aud": "https://latchkey.example/", "iss": "https://latchkey.example/", "iat": float64(noon.Unix()), "nbf": float64(noon.Unix()),
		"exp": float64(noon.Add(15 * time.Minute).Unix()), "jti": claims["jti"], "sid": claims["sid"],
	}
	if got := b.introspect(t, raw); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if e := b.event(t); e["action"] != "token.introspect" || e["outcome"] != "allowed" || e["subject"] == "" || e["why"] != nil {
		t.Errorf("the event is %v", e)
	}
	other := newBench(t)
	other.signing(t, func() time.Time { return now })
	foreign := other.buy(t, other.let(t))
	for name, raw := range map[string]string{
		"no token": "x", "a foreign one": foreign, "a changed one": raw[:len(raw)-6] + "AAAAAA", "two lines": raw + "\n", "a long one": strings.Repeat("a", 16384),
	} {
		if got := b.introspect(t, raw); !reflect.DeepEqual(got, dead) {
			t.Errorf("%s: %v", name, got)
		}
		if e := b.event(t); e["why"] != "not_ours" || e["outcome"] != "allowed" {
			t.Errorf("%s: the event is %v", name, e)
		}
	}
	now = noon.Add(16*time.Minute + time.Second)
	if got := b.introspect(t, raw); !reflect.DeepEqual(got, dead) {
		t.Errorf("an expired one: %v", got)
	}
}

// RFC 7662 section 4: at its exp a token is active no more, whatever the verifiers of others allow for their clocks.
func TestTOK8_NoTokenIsActivePastItsExp(t *testing.T) {
	now := noon
	clock := func() time.Time { return now }
	b := newBenchWith(t, Clock{Now: clock, Wait: func(context.Context, time.Duration) error { return nil }})
	b.signing(t, clock)
	raw := b.buy(t, b.let(t))
	for _, c := range []struct {
		after  time.Duration
		active bool
	}{{15*time.Minute - time.Second, true}, {15 * time.Minute, false}, {15*time.Minute + 59*time.Second, false}} {
		now = noon.Add(c.after)
		b.log.take(t)
		got := b.introspect(t, raw)
		if got["active"] != c.active || !c.active && !reflect.DeepEqual(got, dead) {
			t.Errorf("after %s: %v", c.after, got)
		}
		if e := b.event(t); !c.active && e["why"] != "not_ours" {
			t.Errorf("after %s the event is %v", c.after, e)
		}
	}
}

// TOK-8: one token ends, for good and at once, and what it was bought with stays.
func TestTOK8_Revocation(t *testing.T) {
	b := newBench(t)
	b.signing(t, func() time.Time { return noon })
	code := b.let(t)
	first, second := b.buy(t, code), b.buy(t, code)
	body := url.Values{"token": {first}, "token_type_hint": {"refresh_token"}, "whatever": {"else"}}.Encode()
	for range 2 { // and once more: RFC 7009 section 2.2
		w := b.form(t, revocationPath, body, "revoker")
		if w.Code != http.StatusOK || w.Body.Len() != 0 {
			t.Fatalf("%d %q", w.Code, w.Body)
		}
		wantHeaders(t, w.Header())
		if e := b.event(t); e["action"] != "token.revoke" || e["outcome"] != "allowed" || e["subject"] == nil {
			t.Errorf("the event is %v", e)
		}
	}
	if got := b.introspect(t, first); !reflect.DeepEqual(got, dead) {
		t.Errorf("it lives: %v", got)
	}
	b.log.take(t)
	if got := b.introspect(t, second); got["active"] != true {
		t.Errorf("another one ended with it: %v", got)
	}
	b.log.take(t)
	b.buy(t, code)
	records := b.store.Records(patientID())
	if r := records[len(records)-1]; len(records) != 3 || string(r.Action) != "token.revoke" || r.Token != claimsOf(t, first)["jti"] || r.Origin.Actor.ID != object {
		t.Errorf("%d records, the last is %+v", len(records), r)
	}
	w := b.form(t, revocationPath, "token=not-one-of-ours", "revoker")
	if e := b.event(t); w.Code != http.StatusOK || e["why"] != "not_ours" {
		t.Errorf("%d, the event is %v", w.Code, e)
	}
}

// The routes of the standards take their parameters once each, and nothing else.
func TestTOK8_ParametersAreStrict(t *testing.T) {
	b := newBench(t)
	b.signing(t, func() time.Time { return noon })
	for _, path := range []string{revocationPath, introspectionPath} {
		as := map[string]string{revocationPath: "revoker", introspectionPath: "introspector"}[path]
		for name, c := range map[string]struct {
			body, contentType string
			status            int
			reason            Reason
		}{
			"JSON":                     {`{"token":"a"}`, "application/json", 415, ReasonMediaType},
			"another charset":          {"token=a", encodedForm + "; charset=utf-16", 415, ReasonMediaType},
			"two types":                {"token=a", encodedForm + ", text/plain", 415, ReasonMediaType},
			"nothing":                  {"", encodedForm, 400, ReasonInvalid},
			"no token":                 {"token_type_hint=access_token", encodedForm, 400, ReasonInvalid},
			"an empty token":           {"token=", encodedForm, 400, ReasonInvalid},
			"a token twice":            {"token=a&token=a", encodedForm, 400, ReasonInvalid},
			"another one twice":        {"token=a&x=1&x=2", encodedForm, 400, ReasonInvalid},
			"in another case":          {"Token=a", encodedForm, 400, ReasonInvalid},
			"in look-alikes":           {"to%E2%84%AAen=a", encodedForm, 400, ReasonInvalid},
			"not UTF-8":                {"token=%ff", encodedForm, 400, ReasonInvalid},
			"a broken escape":          {"token=%4", encodedForm, 400, ReasonInvalid},
			"a semicolon":              {"token=a;b=c", encodedForm, 400, ReasonInvalid},
			"many":                     {"token=a" + strings.Repeat("&x", 64), encodedForm, 400, ReasonInvalid},
			"a token that is too long": {"token=" + strings.Repeat("a", 16385), encodedForm, 400, ReasonInvalid},
			"a body that is too large": {"token=" + strings.Repeat("a", 65<<10), encodedForm, 413, ReasonTooLarge},
		} {
			w := b.form(t, path, c.body, as, "Content-Type: "+c.contentType)
			p := b.wantProblem(t, w, c.status, c.reason)
			if strings.Contains(w.Body.String(), strings.Repeat("a", 20)) || strings.Contains(p.Detail, "\xff") {
				t.Errorf("%s: what was sent is quoted", name)
			}
		}
		if w := b.form(t, path, "token=a&charset=x", as, "Content-Type: "+encodedForm+"; charset=UTF-8"); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		b.log.take(t)
		b.wantProblem(t, b.form(t, path, "token=a", "writer"), 403, ReasonInsufficientScope)
		b.wantProblem(t, b.form(t, path, "token=a", "unknown"), 401, ReasonInvalidToken)
	}
	// A look-alike beside the token does not take its place.
	raw := b.buy(t, b.let(t))
	w := b.form(t, introspectionPath, "to%E2%84%AAen=b&TOKEN=c&token="+raw+"&to%E2%84%AAen_type_hint=x", "introspector")
	if got := read[map[string]any](t, w, http.StatusOK); got["active"] != true {
		t.Errorf("%v", got)
	}
}

// ACT-14: at once on our own routes and at introspection, and in the list.
func TestACT14_LostPhone(t *testing.T) {
	b := newBench(t)
	now := noon
	b.signing(t, func() time.Time { return now })
	code := b.let(t)
	raw := b.buy(t, code)
	pending := b.create(t)
	b.log.take(t)
	for range 2 {
		w := b.ask(t, "DELETE "+patientPath+"/authorisation", "", "Authorization: Bearer writer")
		if w.Code != http.StatusNoContent || w.Body.Len() != 0 {
			t.Fatalf("%d %q", w.Code, w.Body)
		}
		if e := b.event(t); e["action"] != "authorisation.revoke" || e["outcome"] != "allowed" || e["subject"] == nil {
			t.Errorf("the event is %v", e)
		}
	}
	b.wantProblem(t, b.ask(t, "POST "+patientPath+"/jwt", "", "x-authorisation-code: "+code), 404, ReasonCredentialRefused)
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/activation", `{"code":"`+pending.Code+`"}`), 404, ReasonActivationRefused)
	if got := b.introspect(t, raw); !reflect.DeepEqual(got, dead) {
		t.Errorf("a token that was bought before lives: %v", got)
	}
	if e := b.event(t); e["why"] != "ended" {
		t.Errorf("the event is %v", e)
	}
	w := b.ask(t, "GET /.well-known/latchkey-revoked", "")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/jwt" || w.Header().Get("Cache-Control") != "public, max-age=30" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	want := []any{map[string]any{"sid": claimsOf(t, raw)["sid"], "until": float64(noon.Add(activation.MaxLifetime + activation.PublishedAfter).Unix())}}
	if got := claimsOf(t, w.Body.String())["revoked"]; !reflect.DeepEqual(got, want) {
		t.Errorf("published: %v, want %v", got, want)
	}
	tag := w.Header().Get("ETag")
	if again := b.ask(t, "GET /.well-known/latchkey-revoked", "", "If-None-Match: "+tag); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("%d %q", again.Code, again.Body)
	}
	b.log.take(t)
	for as, status := range map[string]int{"reader": 403, "nobody": 403} {
		if w := b.ask(t, "DELETE "+patientPath+"/authorisation", "", "Authorization: Bearer "+as); w.Code != status {
			t.Errorf("%s: %d", as, w.Code)
		}
	}
}

// ACT-14: without storage an old list is 503 in the end, and so is everything else that cannot be known.
func TestACT14_WithoutStorageNothingIsMadeUp(t *testing.T) {
	b := newBench(t)
	now := noon
	b.signing(t, func() time.Time { return now })
	code := b.let(t)
	raw := b.buy(t, code)
	if w := b.ask(t, "GET /.well-known/latchkey-revoked", ""); w.Code != http.StatusOK {
		t.Fatalf("%d", w.Code)
	}
	b.log.take(t)
	b.store.Fault = func(memstore.Op, memstore.When) error { return errors.New("storage is down") }
	now = noon.Add(29 * time.Second)
	if w := b.ask(t, "GET /.well-known/latchkey-revoked", ""); w.Code != http.StatusOK {
		t.Errorf("a list of 29 s: %d", w.Code)
	}
	b.log.take(t)
	now = noon.Add(30 * time.Second)
	b.wantProblem(t, b.ask(t, "GET /.well-known/latchkey-revoked", ""), 503, ReasonUnavailable)
	b.wantProblem(t, b.form(t, introspectionPath, "token="+raw, "introspector"), 503, ReasonUnavailable)
	b.wantProblem(t, b.form(t, revocationPath, "token="+raw, "revoker"), 503, ReasonUnavailable)
	b.wantProblem(t, b.ask(t, "DELETE "+patientPath+"/authorisation", "", "Authorization: Bearer writer"), 503, ReasonUnavailable)
}

type listedAuthorisation struct {
	ID       string  `json:"authorisation_id"`
	Label    string  `json:"label"`
	Created  *string `json:"created"`
	LastUsed *string `json:"last_used"`
	Imported bool    `json:"imported"`
}

// ACT-13: several named devices.
func TestACT13_ListLabelAndEndOne(t *testing.T) {
	b := newBench(t)
	b.signing(t, func() time.Time { return noon })
	list := func() []listedAuthorisation {
		t.Helper()
		w := b.ask(t, "GET "+patientPath+"/authorisation", "", "Authorization: Bearer reader")
		if e := b.event(t); e["action"] != "credential.list" || e["outcome"] != "allowed" {
			t.Errorf("the event is %v", e)
		}
		return read[[]listedAuthorisation](t, w, http.StatusOK)
	}
	if all := list(); all == nil || len(all) != 0 {
		t.Errorf("%v, want an empty array", all)
	}
	code := b.let(t)
	all := list()
	if len(all) != 1 || all[0].LastUsed != nil || all[0].Label != "" || all[0].Created == nil || *all[0].Created != "2026-11-24T12:00:00.000Z" || all[0].Imported {
		t.Fatalf("%+v", all)
	}
	sid := claimsOf(t, b.buy(t, code))["sid"]
	if all = list(); all[0].ID != sid || all[0].LastUsed == nil || *all[0].LastUsed != "2026-11-24T12:00:00.000Z" {
		t.Errorf("%+v, want %v, in use", all, sid)
	}
	one := patientPath + "/authorisation/" + all[0].ID
	label := func(path, body string) *httptest.ResponseRecorder {
		return b.ask(t, "PATCH "+path, body, "Authorization: Bearer writer")
	}
	if w := label(one, `{"label":"Anna's phone"}`); w.Code != http.StatusNoContent {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if e := b.event(t); e["action"] != "credential.label" || strings.Contains(b.log.String(), "Anna") {
		t.Errorf("the event is %v", e)
	}
	if all = list(); all[0].Label != "Anna's phone" {
		t.Errorf("%+v", all)
	}
	for _, body := range []string{`{"label":"` + strings.Repeat("x", 101) + `"}`, `{"label":"a\u0000b"}`, `{"label":" a"}`, `{"label":null}`, `{}`, `{"label":1}`} {
		b.wantProblem(t, label(one, body), 400, ReasonInvalid)
	}
	b.wantProblem(t, label(one+"x", `{"label":"b"}`), 404, ReasonNoAuthorisation)
	b.wantProblem(t, b.ask(t, "PATCH "+one, `{"label":"b"}`, "Authorization: Bearer reader"), 403, ReasonInsufficientScope)

	pending := b.create(t)
	b.log.take(t)
	b.wantProblem(t, b.ask(t, "DELETE "+one, "", "Authorization: Bearer reader"), 403, ReasonInsufficientScope)
	for range 2 {
		if w := b.ask(t, "DELETE "+one, "", "Authorization: Bearer writer"); w.Code != http.StatusNoContent {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if e := b.event(t); e["action"] != "credential.revoke" {
			t.Errorf("the event is %v", e)
		}
	}
	b.wantProblem(t, b.ask(t, "POST "+patientPath+"/jwt", "", "x-authorisation-code: "+code), 404, ReasonCredentialRefused)
	b.wantProblem(t, label(one, `{"label":"b"}`), 404, ReasonNoAuthorisation)
	read[map[string]any](t, b.ask(t, "POST /dhos/v1/activation", `{"code":"`+pending.Code+`"}`), http.StatusOK) // it was not ended
}

// Nothing of a token or a sid is logged.
func TestTOK8_NoTokenIsLogged(t *testing.T) {
	b := newBench(t)
	b.signing(t, func() time.Time { return noon })
	code := b.let(t)
	raw := b.buy(t, code)
	b.introspect(t, raw)
	b.form(t, revocationPath, "token="+raw, "revoker")
	b.form(t, revocationPath, "token="+raw+"x", "revoker")
	b.ask(t, "DELETE "+patientPath+"/authorisation", "", "Authorization: Bearer writer")
	for _, secret := range []string{raw, claimsOf(t, raw)["jti"].(string), code, "patient-canary-7"} {
		if strings.Contains(b.log.String(), secret) {
			t.Errorf("%q is logged", secret)
		}
	}
	if !strings.Contains(b.log.String(), "token.revoke") {
		t.Error("nothing is logged")
	}
}
