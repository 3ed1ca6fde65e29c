package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"latchkey/infra/local/stack"
)

const (
	revocationPath    = "/oauth2/revoke"
	introspectionPath = "/oauth2/introspect"
	listPath          = "/.well-known/latchkey-revoked"
)

// about sends a token to one of the two.
func about(path, as, token string) request {
	return request{
		method: http.MethodPost, path: path, token: as, body: url.Values{"token": {token}}.Encode(),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	}
}

// active asks what a token is worth.
func (h *host) active(t *testing.T, token string) bool {
	t.Helper()
	w := h.world
	got := h.send(t, about(introspectionPath, w.token(t, stack.TokenRequest{Roles: []string{"introspect:token"}}), token))
	var body map[string]any
	if err := json.Unmarshal(got.body, &body); err != nil || got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	active, ok := body["active"].(bool)
	if !ok || !active && len(body) != 1 {
		t.Fatalf("introspection says %s", got.body)
	}
	return active
}

// ended is what an entry of the list says.
type ended struct {
	Session string `json:"sid"`
	Token   string `json:"jti"`
	Until   int64  `json:"until"`
}

// revoked reads the published list as a verifier does: with nothing but the published keys.
func (h *host) revoked(ctx context.Context) ([]ended, error) {
	got, err := h.try(ctx, request{method: http.MethodGet, path: listPath})
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK || got.header.Get("Cache-Control") != "public, max-age=30" || got.header.Get("ETag") == "" {
		return nil, fmt.Errorf("%s: %d %v", h.name, got.status, got.header)
	}
	keys, err := h.try(ctx, request{method: http.MethodGet, path: "/.well-known/jwks.json"})
	if err != nil {
		return nil, err
	}
	var document jwkset.JWKSMarshal
	if err := json.Unmarshal(keys.body, &document); err != nil {
		return nil, err
	}
	storage, err := document.ToStorage()
	if err != nil {
		return nil, err
	}
	var claims struct {
		jwt.RegisteredClaims
		Revoked []ended `json:"revoked"`
	}
	parsed, err := jwt.ParseWithClaims(string(got.body), &claims, func(tok *jwt.Token) (any, error) {
		kid, _ := tok.Header["kid"].(string)
		key, err := storage.KeyRead(ctx, kid)
		if err != nil {
			return nil, err
		}
		return key.Key(), nil
	}, jwt.WithValidMethods([]string{"ES256"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil {
		return nil, err
	}
	if parsed.Header["typ"] != "latchkey-revoked+jwt" || claims.Issuer == "" || claims.Revoked == nil {
		return nil, fmt.Errorf("header %v, issuer %q", parsed.Header, claims.Issuer)
	}
	return claims.Revoked, nil
}

// published waits until the list of every host has what a token carries, for as long as ACT-14 allows.
func published(t *testing.T, began time.Time, carries func(ended) bool, hosts ...*host) {
	t.Helper()
	for _, h := range hosts {
		eventually(t, 30*time.Second-time.Since(began), func() error {
			all, err := h.revoked(t.Context())
			if err != nil {
				return err
			}
			for _, e := range all {
				if carries(e) && e.Until > time.Now().Add(14*time.Minute).Unix() {
					return nil
				}
			}
			return errors.New(h.name + " does not list it")
		})
	}
	t.Logf("listed by all after %s", time.Since(began).Round(time.Millisecond))
}

// claim is one of a token's.
func claim(t *testing.T, token, name string) string {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		t.Fatal(err)
	}
	value, _ := claims[name].(string)
	if value == "" {
		t.Fatalf("there is no %s", name)
	}
	return value
}

// purchase is one request for a token under load.
type purchase struct {
	began, told time.Time
	token       string // "" for a refusal
}

// buyFrom buys tokens from hosts until it is told to stop; refusal is the status of one that may be refused.
func buyFrom(ctx context.Context, stop <-chan struct{}, hosts []*host, buy request, refusal int) ([]purchase, error) {
	const buyers = 8
	var mu sync.Mutex
	var all []purchase
	crowd, ctx := errgroup.WithContext(ctx)
	for i := range buyers {
		crowd.Go(func() error {
			for n := i; ; n++ {
				select {
				case <-stop:
					return nil
				default:
				}
				p := purchase{began: time.Now()}
				got, err := hosts[n%len(hosts)].try(ctx, buy)
				if err != nil {
					return err
				}
				p.told = time.Now()
				switch got.status {
				case http.StatusOK:
					var b bought
					if err := json.Unmarshal(got.body, &b); err != nil {
						return err
					}
					p.token = b.JWT
				case refusal:
				default:
					return fmt.Errorf("status %d: %s", got.status, got.body)
				}
				mu.Lock()
				all = append(all, p)
				mu.Unlock()
			}
		})
	}
	err := crowd.Wait()
	return all, err
}

// TestACT14_EndedOnOneInstanceAliveOnNone: a credential is ended on one of two instances while tokens are bought with it from both.
func TestACT14_EndedOnOneInstanceAliveOnNone(t *testing.T) {
	w := owned(t)
	one, other := w.host(t, proxying), w.host(t, direct)
	hosts := []*host{one, other}
	clinic := w.clinic(t)
	var tokens, flying, refused int
	n := rounds(t, 5)
	for round := range n {
		patient := w.patient()
		code := one.redeem(t, one.create(t, clinic, patient).parts()).AuthorisationCode
		stop := make(chan struct{})
		var all []purchase
		var failed error
		var done sync.WaitGroup
		done.Go(func() { all, failed = buyFrom(t.Context(), stop, hosts, buying(patient, code), http.StatusNotFound) })
		time.Sleep(100 * time.Millisecond)
		got := hosts[round%2].send(t, request{method: http.MethodDelete, path: authorisationPath(patient), token: clinic})
		over := time.Now()
		time.Sleep(100 * time.Millisecond)
		close(stop)
		done.Wait()
		if failed != nil || got.status != http.StatusNoContent {
			t.Fatalf("%d, %v", got.status, failed)
		}
		var last string
		for _, p := range all {
			switch {
			case p.token == "":
				refused++
				continue
			case p.began.After(over):
				t.Errorf("round %d: a token was bought %s after the reply", round, p.began.Sub(over))
			case p.told.After(over):
				flying++
			}
			tokens++
			last = p.token
			if claim(t, p.token, "sid") != claim(t, all[0].token, "sid") {
				t.Error("another sid")
			}
		}
		if last == "" {
			t.Fatal("no token was bought")
		}
		for _, h := range hosts {
			if h.active(t, last) {
				t.Errorf("%s: introspection believes it", h.name)
			}
			h.rejected(t, h.send(t, creating(last, patient)), "session_ended")
		}
		if round == 0 {
			sid := claim(t, last, "sid")
			published(t, over, func(e ended) bool { return e.Session == sid }, hosts...)
		}
	}
	t.Logf("%d rounds: %d tokens were bought, %d were told after the reply, %d were refused", n, tokens, flying, refused)
	if refused == 0 {
		t.Error("nobody asked after the end")
	}
}

// TestTOK8_OneTokenEndsOnEveryInstance: RFC 7009 on one, RFC 7662 and our own routes on all.
func TestTOK8_OneTokenEndsOnEveryInstance(t *testing.T) {
	w := owned(t)
	patient, clinic := w.patient(), w.clinic(t)
	h := w.any()
	code := h.redeem(t, h.create(t, clinic, patient).parts()).AuthorisationCode
	first, second := h.buy(t, patient, code).JWT, h.buy(t, patient, code).JWT
	for _, h := range w.hosts {
		if !h.active(t, first) || !h.active(t, second) {
			t.Fatalf("%s does not believe a new token", h.name)
		}
		h.send(t, creating(first, patient)).problem(t, http.StatusForbidden, "insufficient_scope")
	}
	revoker := w.token(t, stack.TokenRequest{Roles: []string{"revoke:token"}})
	began := time.Now()
	for range 2 {
		if got := h.send(t, about(revocationPath, revoker, first)); got.status != http.StatusOK || len(got.body) != 0 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	for _, h := range w.hosts {
		if h.active(t, first) || !h.active(t, second) {
			t.Errorf("%s: the one that ended is active, or the other is not", h.name)
		}
		h.rejected(t, h.send(t, creating(first, patient)), "session_ended")
		h.buy(t, patient, code)
		if got := h.send(t, about(revocationPath, clinic, second)); got.status != http.StatusForbidden {
			t.Errorf("%s: without the scope: %d", h.name, got.status)
		}
	}
	jti := claim(t, first, "jti")
	published(t, began, func(e ended) bool { return e.Token == jti }, w.hosts...)
}

// TestACT13_NamedCredentials: a label goes round, and one is ended by its id.
func TestACT13_NamedCredentials(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		patient, clinic := h.world.patient(), h.world.clinic(t)
		code := h.redeem(t, h.create(t, clinic, patient).parts()).AuthorisationCode
		h.buy(t, patient, code)
		type item struct {
			ID       string  `json:"authorisation_id"`
			Label    string  `json:"label"`
			Created  *string `json:"created"`
			LastUsed *string `json:"last_used"`
			Imported bool    `json:"imported"`
		}
		var all []item
		read := func() {
			t.Helper()
			all = nil
			h.send(t, request{method: http.MethodGet, path: authorisationPath(patient), token: clinic}).into(t, http.StatusOK, &all)
		}
		if read(); len(all) != 1 {
			t.Fatalf("%+v", all)
		}
		one := request{method: http.MethodPatch, path: authorisationPath(patient) + "/" + all[0].ID, token: clinic, body: `{"label":"ward 3, tablet"}`}
		if got := h.send(t, one); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if read(); all[0].Label != "ward 3, tablet" || all[0].Created == nil {
			t.Errorf("%+v", all)
		}
		one.method, one.body = http.MethodDelete, ""
		if got := h.send(t, one); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if read(); len(all) != 0 {
			t.Errorf("%+v", all)
		}
		h.send(t, buying(patient, code)).problem(t, http.StatusNotFound, "authorisation_refused")
	})
}
