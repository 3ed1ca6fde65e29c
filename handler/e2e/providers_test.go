package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"latchkey/infra/local/stack"
)

// realm is another OpenID provider of the local identity service.
type realm struct {
	world  *world
	name   string
	issuer string
}

func (w *world) realm(name string) realm {
	return realm{w, name, w.issuer.URL + "/auth/realms/" + name}
}

// token asks for a token for Latchkey, as the client c with these roles, and what form says instead.
func (r realm) token(t *testing.T, roles string, form url.Values) string {
	t.Helper()
	all := url.Values{"grant_type": {"client_credentials"}, "client_id": {"c-" + r.name}, "audience": {"latchkey"}, "roles": {roles}}
	for name, values := range form {
		all[name] = values
	}
	var out struct {
		AccessToken string `json:"access_token"`
	}
	r.post(t, r.issuer+"/protocol/openid-connect/token", all, &out)
	r.world.seen.secret(out.AccessToken)
	return out.AccessToken
}

func (r realm) post(t *testing.T, address string, form url.Values, into any) {
	t.Helper()
	resp, err := r.world.stack.Client().PostForm(address, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", address, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// asked says how often the realm's keys were asked for.
func (r realm) asked(t *testing.T) int {
	t.Helper()
	resp, err := r.world.stack.Client().Get(r.world.issuer.URL + "/admin/realms/" + r.name)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var counts struct{ Keys int }
	if err := json.NewDecoder(resp.Body).Decode(&counts); err != nil {
		t.Fatal(err)
	}
	return counts.Keys
}

// TestAUT1_AnotherProviderBesideEntra: one that is in the settings is trusted from discovery on, with roles where Keycloak has them,
// beside Entra ID and not instead of it; neither's keys are good for the other's tokens, and one that is not in the settings is
// nobody.
func TestAUT1_AnotherProviderBesideEntra(t *testing.T) {
	w := owned(t)
	clinic, second, stranger := w.realm("clinic"), w.realm("second"), w.realm("stranger")
	setting, err := json.Marshal([]map[string]any{
		{"issuer": clinic.issuer, "audiences": []string{"latchkey"}, "roles": "resource_access.latchkey.roles"},
		{"issuer": second.issuer, "audiences": []string{"latchkey"}, "algorithms": []string{"PS256"}, "roles": "resource_access.latchkey.roles",
			"keysUrl": second.issuer + "/protocol/openid-connect/certs?alg=PS256"},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := w.extra(t, "two providers", stack.HostOptions{Direct: true, Env: []string{"Identity__Providers=" + string(setting)}})
	if err := h.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	entra := stack.TokenRequest{Roles: []string{writeActivation}}
	// First, since an unknown kid has keys asked for once in 30 s, and some of the tokens below have one.
	t.Run("its keys rotate", func(t *testing.T) {
		before := clinic.token(t, writeActivation, nil)
		h.wantStatus(t, before, http.StatusOK)
		asked := clinic.asked(t)
		clinic.post(t, w.issuer.URL+"/admin/realms/clinic/rotate", url.Values{"drop_old": {"true"}}, new(struct{ Kid string }))
		after := clinic.token(t, writeActivation, nil)
		eventually(t, 5*time.Second, func() error {
			if got := h.asks(t, after); got.status != http.StatusOK {
				return fmt.Errorf("a token of the new key: %d %s", got.status, got.body)
			}
			return nil
		})
		h.wantStatus(t, before, http.StatusUnauthorized)
		h.wantStatus(t, w.token(t, entra), http.StatusOK)
		if n := clinic.asked(t) - asked; n > 2 {
			t.Errorf("its keys were asked for %d times", n)
		}
	})

	text := func(claims map[string]any) url.Values {
		body, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		return url.Values{"set": {string(body)}}
	}
	oid := randomGUID()
	asEntra := text(map[string]any{
		"iss": "https://login.microsoftonline.com/" + w.issuer.Tenant + "/v2.0", "aud": w.issuer.API, "tid": w.issuer.Tenant, "oid": oid, "sub": oid,
		"ver": "2.0", "idtyp": "app", "azp": oid, "roles": []string{writeActivation},
	})
	asClinic := entra
	asClinic.Set = map[string]any{
		"iss": clinic.issuer, "aud": "latchkey", "sub": "x", "azp": "x", "typ": "Bearer", "resource_access": map[string]any{"latchkey": map[string]any{"roles": []string{writeActivation}}},
	}
	for name, c := range map[string]struct {
		token  string
		status int
	}{
		"Entra ID's":                      {w.token(t, entra), http.StatusOK},
		"with the role":                   {clinic.token(t, writeActivation+" x", nil), http.StatusOK},
		"for others too":                  {clinic.token(t, writeActivation, text(map[string]any{"aud": []string{"account", "latchkey"}})), http.StatusOK},
		"without the role":                {clinic.token(t, readActivation, url.Values{"sub": {"no-role"}}), http.StatusForbidden},
		"with the role of another client": {clinic.token(t, "", text(map[string]any{"sub": "other-client", "resource_access": map[string]any{"other": map[string]any{"roles": []string{writeActivation}}}})), http.StatusForbidden},
		"with the realm's role":           {clinic.token(t, "", text(map[string]any{"sub": "realm-role", "realm_access": map[string]any{"roles": []string{writeActivation}}})), http.StatusForbidden},
		"with Entra ID's roles":           {clinic.token(t, "", text(map[string]any{"sub": "entra-role", "roles": []string{writeActivation}})), http.StatusForbidden},
		"with roles in one text":          {clinic.token(t, "", text(map[string]any{"resource_access": map[string]any{"latchkey": map[string]any{"roles": map[string]bool{writeActivation: true}}}})), http.StatusUnauthorized},
		"for another audience":            {clinic.token(t, writeActivation, url.Values{"audience": {"account"}}), http.StatusUnauthorized},
		"for nobody":                      {clinic.token(t, writeActivation, url.Values{"omit": {"aud"}}), http.StatusUnauthorized},
		"expired":                         {clinic.token(t, writeActivation, url.Values{"expires_in": {"-120"}}), http.StatusUnauthorized},
		"by another algorithm":            {clinic.token(t, writeActivation, url.Values{"alg": {"PS256"}}), http.StatusUnauthorized},
		"an ID token":                     {clinic.token(t, writeActivation, text(map[string]any{"typ": "ID"})), http.StatusUnauthorized},
		"a refresh token":                 {clinic.token(t, writeActivation, text(map[string]any{"typ": "Refresh"})), http.StatusUnauthorized},
		"without a subject":               {clinic.token(t, writeActivation, url.Values{"omit": {"sub"}}), http.StatusUnauthorized},
		"a slash behind its issuer":       {clinic.token(t, writeActivation, text(map[string]any{"iss": clinic.issuer + "/"})), http.StatusUnauthorized},
		"the second's":                    {second.token(t, writeActivation, url.Values{"alg": {"PS256"}}), http.StatusOK},
		"the second's, the first's way":   {second.token(t, writeActivation, nil), http.StatusUnauthorized},
		"the first's key, the second's iss": {clinic.token(t, writeActivation, url.Values{
			"alg": {"PS256"}, "set": {fmt.Sprintf(`{"iss":%q}`, second.issuer)}}), http.StatusUnauthorized},
		"a provider's key, Entra ID's iss": {clinic.token(t, "", asEntra), http.StatusUnauthorized},
		"Entra ID's key, a provider's iss": {w.token(t, asClinic), http.StatusUnauthorized},
		"a stranger's":                     {stranger.token(t, writeActivation, nil), http.StatusUnauthorized},
		"a stranger's, the clinic's iss":   {stranger.token(t, writeActivation, text(map[string]any{"iss": clinic.issuer})), http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) { h.wantStatus(t, c.token, c.status) })
	}
	// Where the provider is not in the settings it is nobody.
	w.any().wantStatus(t, clinic.token(t, writeActivation, nil), http.StatusUnauthorized)
	if n := stranger.asked(t); n != 0 {
		t.Errorf("the keys of a stranger were asked for %d times", n)
	}

	t.Run("its identities are registered like others", func(t *testing.T) {
		token := clinic.token(t, "", url.Values{"sub": {"machine 1|auth"}})
		h.asks(t, token).problem(t, http.StatusForbidden, "identity_pending")
		var id string
		for _, r := range h.listed(t, "pending") {
			if r.Issuer == clinic.issuer && r.Subject == "machine 1|auth" {
				id = r.ID
			}
		}
		if id == "" || strings.ContainsAny(id, "/:|% ") {
			t.Fatalf("its id in the queue is %q", id)
		}
		h.registry(t, http.MethodPost, "/"+id+"/approve", map[string]any{"scopes": []string{writeActivation}}, http.StatusOK)
		h.wantStatus(t, token, http.StatusOK)
		h.registry(t, http.MethodPatch, "/"+id, map[string]any{"state": "disabled"}, http.StatusOK)
		h.asks(t, token).problem(t, http.StatusForbidden, "identity_disabled")
		// Another provider's subject of the same name is somebody else.
		h.asks(t, second.token(t, "", url.Values{"alg": {"PS256"}, "sub": {"machine 1|auth"}})).problem(t, http.StatusForbidden, "identity_pending")
	})
}
