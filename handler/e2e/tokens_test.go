package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"latchkey/infra/local/stack"
)

// The job that everything is for, through both modes of the host and without one, with an independent verifier at its end.
func TestTOK4_TheMainJobEndsInATokenThatVerifies(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		patient := h.world.patient()
		began := time.Now().Truncate(time.Second)
		c := h.create(t, h.world.clinic(t), patient)
		r := h.redeem(t, `{"code":"`+c.Code+`"}`)
		if r.PatientID != patient {
			t.Errorf("patient_id %q, want %q", r.PatientID, patient)
		}
		b := h.buy(t, patient, r.AuthorisationCode)
		if b.TokenType != "Bearer" || b.ExpiresIn != 900 {
			t.Errorf("token_type %q, expires_in %d", b.TokenType, b.ExpiresIn)
		}

		var about struct {
			Issuer string `json:"issuer"`
		}
		get := func(path string, v any) {
			t.Helper()
			got := h.send(t, request{method: http.MethodGet, path: path})
			if got.status != http.StatusOK {
				t.Fatalf("%s: %d", path, got.status)
			}
			if err := json.Unmarshal(got.body, v); err != nil {
				t.Fatal(err)
			}
		}
		get("/.well-known/openid-configuration", &about)
		claims, header := verify(t, h, b.JWT, about.Issuer)

		if header["typ"] != "at+jwt" || header["alg"] != "ES256" || header["kid"] == "" || len(header) != 3 {
			t.Errorf("header %v", header)
		}
		iat, exp, nbf := claims["iat"].(float64), claims["exp"].(float64), claims["nbf"].(float64)
		if exp-iat != 900 || nbf != iat || iat < float64(began.Unix()) || iat > float64(time.Now().Unix()) {
			t.Errorf("iat %v, nbf %v, exp %v, began %v", iat, nbf, exp, began.Unix())
		}
		for _, id := range []string{"jti", "sid"} {
			if s, _ := claims[id].(string); len(s) < 20 {
				t.Errorf("%s %q is no random id", id, s)
			}
			delete(claims, id)
		}
		for _, date := range []string{"iat", "nbf", "exp"} {
			delete(claims, date)
		}
		want := jwt.MapClaims{
			"iss": about.Issuer, "aud": "https://dhos.invalid/", "sub": patient, "client_id": "latchkey-patient",
			"metadata": map[string]any{"patient_id": patient},
			"scope": "read:gdm_patient_abbreviated read:gdm_message write:gdm_message read:gdm_bg_reading write:gdm_bg_reading " +
				"read:gdm_medication read:gdm_question read:gdm_answer write:gdm_answer read:gdm_trustomer read:gdm_telemetry " +
				"write:gdm_telemetry write:gdm_terms_agreement",
		}
		if h.proc == nil {
			delete(want, "aud") // the owner's setting
			delete(claims, "aud")
		}
		if !reflect.DeepEqual(claims, want) {
			t.Errorf("claims\n%v\nwant\n%v", claims, want)
		}

		other := h.buy(t, patient, r.AuthorisationCode)
		again, _ := verify(t, h, other.JWT, about.Issuer)
		first, _ := verify(t, h, b.JWT, about.Issuer)
		if again["jti"] == first["jti"] || again["sid"] != first["sid"] {
			t.Error("two tokens of one credential need two jti and one sid")
		}
	})
}

// verify checks a token with nothing but what the host publishes.
func verify(t *testing.T, h *host, token, issuer string) (jwt.MapClaims, map[string]any) {
	t.Helper()
	got := h.send(t, request{method: http.MethodGet, path: "/.well-known/jwks.json"})
	var document jwkset.JWKSMarshal
	if err := json.Unmarshal(got.body, &document); err != nil {
		t.Fatal(err)
	}
	for _, key := range document.Keys {
		if key.D != "" || key.K != "" {
			t.Fatal("a private key is published")
		}
	}
	storage, err := document.ToStorage()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.Parse(token, func(tok *jwt.Token) (any, error) {
		kid, _ := tok.Header["kid"].(string)
		key, err := storage.KeyRead(context.Background(), kid)
		if err != nil {
			return nil, err
		}
		return key.Key(), nil
	}, jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(issuer), jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired())
	if err != nil {
		t.Fatal(err)
	}
	// The verifier can say no.
	last := token[len(token)-10 : len(token)-9]
	flipped := "A"
	if last == flipped {
		flipped = "B"
	}
	if _, err := jwt.Parse(token[:len(token)-10]+flipped+token[len(token)-9:], func(*jwt.Token) (any, error) {
		key, err := storage.KeyRead(context.Background(), parsed.Header["kid"].(string))
		return key.Key(), err
	}); err == nil {
		t.Fatal("a token with another signature verifies")
	}
	return parsed.Claims.(jwt.MapClaims), parsed.Header
}

func TestTOK1_TokensAreBoughtByPostAndByTheOldGet(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		w := h.world
		token, patient := w.clinic(t), w.patient()
		code := h.redeem(t, h.create(t, token, patient).parts()).AuthorisationCode
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			ask := func(patient, code string) reply {
				t.Helper()
				return h.send(t, request{method: method, path: jwtPath(patient), code: code})
			}
			got := ask(patient, code)
			var b bought
			got.into(t, http.StatusOK, &b)
			if got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: Cache-Control %q", method, got.header.Get("Cache-Control"))
			}
			if deprecated := got.header.Get("Deprecation"); (deprecated != "") != (method == http.MethodGet) {
				t.Errorf("%s: Deprecation %q", method, deprecated)
			}
			p := ask(patient, "").problem(t, http.StatusBadRequest, "invalid_request")
			if len(p.Errors) != 1 || !strings.EqualFold(p.Errors[0].Field, "header.x-authorisation-code") {
				t.Errorf("%s without a code: errors %+v", method, p.Errors)
			}

			// One answer for all that does not work (flaw 7: one that was issued but not redeemed was a 500).
			issued := w.patient()
			h.create(t, token, issued)
			other := w.patient()
			otherCode := h.redeem(t, h.create(t, token, other).parts()).AuthorisationCode
			var bodies []string
			for _, try := range []struct{ patient, code string }{
				{patient, strings.Repeat("C", 32)}, {patient, "x"}, {w.patient(), code}, {issued, code}, {patient, otherCode}, {patient, strings.ToLower(code)},
			} {
				refused := ask(try.patient, try.code)
				p := refused.problem(t, http.StatusNotFound, "authorisation_refused")
				if body := strings.Replace(string(refused.body), p.Instance, "", 1); !slices.Contains(bodies, body) {
					bodies = append(bodies, body)
				}
			}
			if len(bodies) != 1 {
				t.Errorf("%s: refusals differ: %q", method, bodies)
			}
		}
	})
}

func TestTOK6_MetadataListsWhatExists(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		for path, must := range map[string][]string{
			"/.well-known/jwks.json":                  {"keys"},
			"/.well-known/openid-configuration":       {"issuer", "jwks_uri", "subject_types_supported", "id_token_signing_alg_values_supported", "response_types_supported"},
			"/.well-known/oauth-authorization-server": {"issuer", "jwks_uri", "response_types_supported"},
			"/.well-known/oauth-protected-resource":   {"resource", "authorization_servers", "bearer_methods_supported", "scopes_supported"},
		} {
			got := h.send(t, request{method: http.MethodGet, path: path})
			etag := got.header.Get("ETag")
			if got.status != http.StatusOK || !strings.Contains(got.header.Get("Cache-Control"), "max-age=") || len(etag) < 6 {
				t.Errorf("%s: %d, Cache-Control %q, ETag %q", path, got.status, got.header.Get("Cache-Control"), etag)
			}
			kept := h.send(t, request{method: http.MethodGet, path: path, header: http.Header{"If-None-Match": {`"other", W/` + etag}}})
			if kept.status != http.StatusNotModified || len(kept.body) != 0 || kept.header.Get("ETag") != etag {
				t.Errorf("%s, known: %d, %d bytes, ETag %q", path, kept.status, len(kept.body), kept.header.Get("ETag"))
			}
			changed := h.send(t, request{method: http.MethodGet, path: path, header: http.Header{"If-None-Match": {`"other"`}}})
			if changed.status != http.StatusOK || string(changed.body) != string(got.body) {
				t.Errorf("%s, another known: %d", path, changed.status)
			}

			var document map[string]any
			if err := json.Unmarshal(got.body, &document); err != nil {
				t.Fatal(err)
			}
			for _, member := range must {
				if document[member] == nil {
					t.Errorf("%s has no %s", path, member)
				}
			}
			issuer, _ := document["issuer"].(string)
			if issuer == "" && document["jwks_uri"] != nil {
				issuer = strings.TrimSuffix(document["jwks_uri"].(string), "/.well-known/jwks.json")
			}
			for member, value := range document {
				address, _ := value.(string)
				below, ours := strings.CutPrefix(address, issuer+"/")
				if strings.HasSuffix(member, "_endpoint") && !ours {
					t.Errorf("%s: %s is %q", path, member, address)
				}
				if strings.HasSuffix(member, "_endpoint") {
					// Each takes a POST of somebody who may (RFC 7009, RFC 7662).
					h.rejected(t, h.send(t, request{method: http.MethodPost, path: "/" + below, body: "token=x"}), "no_header")
				} else if issuer != "" && ours {
					if there := h.send(t, request{method: http.MethodGet, path: "/" + below}); there.status != http.StatusOK {
						t.Errorf("%s: %s is at %s, which answers %d", path, member, address, there.status)
					}
				}
			}
			if scopes, listed := document["scopes_supported"].([]any); listed {
				for _, scope := range []any{readActivation, writeActivation, "revoke:token", "introspect:token"} {
					if !slices.Contains(scopes, scope) {
						t.Errorf("scopes_supported %v, without %s", scopes, scope)
					}
				}
			}
		}
	})
}

func TestACT13_ReplacingACredentialEndsItsTokensOnOurRoutes(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		token, patient := h.world.clinic(t), h.world.patient()
		code := h.redeem(t, h.create(t, token, patient).parts()).AuthorisationCode
		phone := h.buy(t, patient, code).JWT
		p := h.send(t, creating(phone, patient)).problem(t, http.StatusForbidden, "insufficient_scope")
		if p.Scope != writeActivation {
			t.Errorf("scope %q", p.Scope)
		}
		h.redeem(t, h.create(t, token, patient).parts())
		got := h.send(t, creating(phone, patient))
		h.rejected(t, got, "session_ended")
		if challenge := got.header.Get("WWW-Authenticate"); !strings.Contains(challenge, `error="invalid_token"`) {
			t.Errorf("WWW-Authenticate %q", challenge)
		}
	})
}

func TestAUT1_BothVersionsOfEntraTokensAreTaken(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		w := h.world
		uri, id := "api://"+w.issuer.API, w.issuer.API
		none := ""
		roles := []string{readActivation, writeActivation}
		for name, r := range map[string]stack.TokenRequest{
			"v1":                 {Version: 1, Roles: roles},
			"v1 for the URI":     {Version: 1, Roles: roles, Audience: &uri},
			"v1 for the GUID":    {Version: 1, Roles: roles, Audience: &id},
			"v2":                 {Version: 2, Roles: roles},
			"v2 without idtyp":   {Version: 2, Roles: roles, IDType: &none},
			"v1 without idtyp":   {Version: 1, Roles: roles, IDType: &none},
			"expired 30 s ago":   {Roles: roles, ExpiresIn: -30 * time.Second},
			"with more roles":    {Roles: append([]string{"dicom:access"}, roles...)},
			"in another's order": {Roles: []string{writeActivation, readActivation}},
		} {
			t.Run(name, func(t *testing.T) {
				token, patient := w.token(t, r), w.patient()
				h.create(t, token, patient)
				if _, next := h.list(t, token, activationPath(patient)); next != "" {
					t.Error("there is a next page")
				}
			})
		}
	})
}

func TestAUT5_OtherTokensAreRefused(t *testing.T) {
	w := given(t)
	roles := []string{readActivation, writeActivation}
	graph, none := "00000003-0000-0000-c000-000000000000", ""
	stranger := "1b2c3d4e-5f60-4718-92a3-b4c5d6e7f809"
	for name, wrong := range map[string]struct {
		request stack.TokenRequest
		cause   string
	}{
		"expired":             {stack.TokenRequest{Roles: roles, ExpiresIn: -5 * time.Minute}, "expired"},
		"not yet valid":       {stack.TokenRequest{Roles: roles, Set: map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}}, "nbf_ahead"},
		"of another audience": {stack.TokenRequest{Roles: roles, Audience: &graph}, "aud_wrong"},
		"of another tenant": {stack.TokenRequest{Roles: roles, Set: map[string]any{
			"tid": stranger, "iss": "https://login.microsoftonline.com/" + stranger + "/v2.0"}}, "iss_unknown"},
		"of another tenant under our issuer": {stack.TokenRequest{Roles: roles, Set: map[string]any{"tid": stranger}}, "tid_wrong"},
		"of a stranger":                      {stack.TokenRequest{Roles: roles, Set: map[string]any{"iss": "https://evil.example/"}}, "iss_unknown"},
		"of a key that is not published":     {stack.TokenRequest{Roles: roles, Unpublished: true}, "key_unknown"},
		"of another type":                    {stack.TokenRequest{Roles: roles, Header: map[string]any{"typ": "dpop+jwt"}}, "typ_wrong"},
		"with a key of its own":              {stack.TokenRequest{Roles: roles, Header: map[string]any{"jwk": map[string]any{"kty": "RSA"}}}, "header_extension"},
		"without an object id":               {stack.TokenRequest{Roles: roles, OID: &none}, "oid_missing"},
	} {
		t.Run(name, func(t *testing.T) {
			h := w.any()
			got := h.send(t, creating(w.token(t, wrong.request), w.patient()))
			h.rejected(t, got, wrong.cause)
			challenge := got.header.Get("WWW-Authenticate")
			if !strings.HasPrefix(challenge, "Bearer ") || !strings.Contains(challenge, `error="invalid_token"`) {
				t.Errorf("WWW-Authenticate %q", challenge)
			}
		})
	}
	good := w.clinic(t)
	parts := strings.Split(good, ".")
	for name, wrong := range map[string]struct{ authorization, cause string }{
		"missing":                {"", "no_header"},
		"of another scheme":      {"Basic " + good, "other_scheme"},
		"none behind the scheme": {"Bearer", "empty_token"},
		"no JWT":                 {"Bearer opaque", "token_parts"},
		"without its signature":  {"Bearer " + parts[0] + "." + parts[1] + ".", "token_parts"},
		"with another's claims":  {"Bearer " + parts[0] + "." + strings.Split(w.token(t, stack.TokenRequest{}), ".")[1] + "." + parts[2], "signature_wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			w.through(t, func(t *testing.T, h *host) {
				r := creating("", w.patient())
				if wrong.authorization != "" {
					r.header = http.Header{"Authorization": {wrong.authorization}}
				}
				got := h.send(t, r)
				h.rejected(t, got, wrong.cause)
				// RFC 6750 section 3.1: no error code where no token was sent.
				sent := wrong.cause != "no_header" && wrong.cause != "other_scheme"
				challenge := got.header.Get("WWW-Authenticate")
				if !strings.HasPrefix(challenge, "Bearer ") || strings.Contains(challenge, "error=") != sent {
					t.Errorf("WWW-Authenticate %q", challenge)
				}
			})
		})
	}
}

// rejected wants the one 401 that every token gets which is not accepted. Why it was not is in the log.
func (h *host) rejected(t *testing.T, got reply, cause string) {
	t.Helper()
	got.problem(t, http.StatusUnauthorized, "invalid_token")
	if e := h.event(t, got.trace); !strings.HasPrefix(e.Cause+" ", "token refused: "+cause+" ") {
		t.Errorf("the log says %q, want %s", e.Cause, cause)
	}
}

func TestAUT2_ScopesComeFromAppRolesAndFromTheAdministratorsList(t *testing.T) {
	w := given(t)
	h := w.any()
	read := func(token string) reply {
		t.Helper()
		return h.send(t, request{method: http.MethodGet, path: activationPath(w.patient()), token: token})
	}
	write := func(token string) reply {
		t.Helper()
		return h.send(t, creating(token, w.patient()))
	}
	for name, c := range map[string]struct {
		request stack.TokenRequest
		lacks   []string
	}{
		"no roles":       {stack.TokenRequest{}, []string{readActivation, writeActivation}},
		"read only":      {stack.TokenRequest{Roles: []string{readActivation}}, []string{writeActivation}},
		"write only":     {stack.TokenRequest{Roles: []string{writeActivation}}, []string{readActivation}},
		"another's role": {stack.TokenRequest{Roles: []string{"write:gdm_activations"}}, []string{readActivation, writeActivation}},
		"scp only": {stack.TokenRequest{Scopes: readActivation + " " + writeActivation},
			[]string{readActivation, writeActivation}},
		"roles of a person": {stack.TokenRequest{Scopes: "user_impersonation", Roles: []string{readActivation, writeActivation}},
			[]string{readActivation, writeActivation}},
		"an administrator": {stack.TokenRequest{OID: new(stack.Administrator)}, nil},
		"another tenant's administrator": {stack.TokenRequest{OID: new("9c1d8e7f-3b2a-4c5d-8e6f-0a1b2c3d4e60")},
			[]string{readActivation, writeActivation}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.request.OID == nil {
				c.request.OID = new(randomGUID())
			}
			if *c.request.OID != stack.Administrator {
				w.known(t, *c.request.OID) // somebody unknown is told to wait instead
			}
			token := w.token(t, c.request)
			for scope, ask := range map[string]func(string) reply{readActivation: read, writeActivation: write} {
				got := ask(token)
				if !slices.Contains(c.lacks, scope) {
					if got.status != http.StatusOK {
						t.Errorf("%s: %d %s", scope, got.status, got.body)
					}
					continue
				}
				p := got.problem(t, http.StatusForbidden, "insufficient_scope")
				challenge := got.header.Get("WWW-Authenticate")
				if p.Scope != scope || !strings.Contains(p.Detail, scope) || !strings.Contains(challenge, `error="insufficient_scope"`) ||
					!strings.Contains(challenge, `scope="`+scope+`"`) {
					t.Errorf("scope %q, detail %q, WWW-Authenticate %q, want %s", p.Scope, p.Detail, challenge, scope)
				}
			}
		})
	}
}
