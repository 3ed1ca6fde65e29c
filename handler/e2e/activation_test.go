package e2e_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/infra/local/stack"
)

var (
	aLocator = regexp.MustCompile(`^[2-9CDFHJKMNPQRTVWX]{10}$`)
	anyOTP   = regexp.MustCompile(`^[2-9CDFHJKMNPQRTVWX]{6}$`)
	aHuman   = regexp.MustCompile(`^[A-Z0-9]{3}(-[2-9CDFHJKMNPQRTVWX]{1,4}){5}$`)
	aUUID    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
)

func TestACT1_ANewActivationHasAllItsFields(t *testing.T) {
	w := given(t)
	oid := "6c2f5c1e-8a57-4f0f-9a3d-5f0b7c1d2e3f"
	token := w.token(t, stack.TokenRequest{Roles: []string{writeActivation}, OID: &oid})
	began := time.Now()
	c := w.any().create(t, token, w.patient())
	for what, holds := range map[string]bool{
		"activation_code": aLocator.MatchString(c.ActivationCode),
		"otp":             anyOTP.MatchString(c.OTP),
		"code's form":     aHuman.MatchString(c.Code),
		"code's parts":    strings.HasPrefix(word(c.Code)[3:], c.ActivationCode+c.OTP) && len(word(c.Code)) == 3+10+6+1,
		"uuid":            aUUID.MatchString(c.UUID),
		"created_by":      c.CreatedBy == w.issuer.Tenant+"/"+oid,
		"modified_by":     c.ModifiedBy == c.CreatedBy,
		"modified":        c.Modified == c.Created,
	} {
		if !holds {
			t.Errorf("%s is wrong: %+v", what, c)
		}
	}
	at, err := time.Parse(time.RFC3339, c.Created)
	if err != nil || at.Before(began.Add(-2*time.Second)) || at.After(time.Now().Add(2*time.Second)) {
		t.Errorf("created %s, want now: %v", c.Created, err)
	}
	// ACT-9: the end of the fifth local day after the issue.
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	y, m, d := at.In(london).Date()
	if want := time.Date(y, m, d+5, 23, 59, 59, 0, london).Format(time.RFC3339); c.ExpiresAt != want {
		t.Errorf("expires_at %s, want %s", c.ExpiresAt, want)
	}
}

func TestACT2_ANewActivationReplacesThePendingOne(t *testing.T) {
	w := given(t)
	h, token, patient := w.any(), w.clinic(t), w.patient()
	old := h.create(t, token, patient)
	h.refusedAtOnce(t, old.wrong(), 9)
	next := h.create(t, token, patient)
	if next.ActivationCode == old.ActivationCode || next.OTP == old.OTP || next.UUID == old.UUID {
		t.Errorf("the new one shares something with the old: %+v, %+v", old, next)
	}
	h.refused(t, old.parts())
	mixed := next
	mixed.OTP = old.OTP
	h.refused(t, mixed.parts()) // 1 of 10: the nine of the old one are not carried over
	h.refusedAtOnce(t, next.wrong(), 8)
	h.redeem(t, next.parts())
	h.refused(t, next.parts())
}

type listed struct {
	identifier
	Status              string  `json:"status"`
	ExpiresAt           string  `json:"expires_at"`
	ActivationCompleted *string `json:"activation_completed"`
}

func (h *host) list(t *testing.T, token, path string) (all []listed, next string) {
	t.Helper()
	got := h.send(t, request{method: http.MethodGet, path: path, token: token})
	got.into(t, http.StatusOK, &all)
	if link := got.header.Get("Link"); link != "" {
		m := regexp.MustCompile(`^<([^>]+)>; rel="next"$`).FindStringSubmatch(link)
		if m == nil {
			t.Fatalf("Link %q", link)
		}
		next = m[1]
	}
	return all, next
}

func uuids(all []listed) (ids []string) {
	for _, a := range all {
		ids = append(ids, a.UUID)
	}
	return ids
}

func TestACT3_ActivationsAreListedByStatusAndPaged(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		token, patient := h.world.clinic(t), h.world.patient()
		path := activationPath(patient)

		unknown := h.send(t, request{method: http.MethodGet, path: activationPath(h.world.patient()), token: token})
		if unknown.status != http.StatusOK || strings.TrimSpace(string(unknown.body)) != "[]" {
			t.Errorf("unknown patient: %d %s, want 200 []", unknown.status, unknown.body)
		}

		// Newest first: a pending one, three completed, one revoked, one replaced.
		want := map[string][]string{}
		add := func(status string, c created) {
			want[status] = append([]string{c.UUID}, want[status]...)
			want["all"] = append([]string{c.UUID}, want["all"]...)
		}
		add("revoked", h.create(t, token, patient)) // replaced by the next
		revoked := h.create(t, token, patient)
		add("revoked", revoked)
		if got := h.send(t, request{method: http.MethodDelete, path: path + "/" + revoked.UUID, token: token}); got.status != http.StatusNoContent {
			t.Fatalf("revoking: %d %s", got.status, got.body)
		}
		for range 3 {
			c := h.create(t, token, patient)
			h.redeem(t, c.parts())
			add("completed", c)
		}
		pending := h.create(t, token, patient)
		add("pending", pending)

		for query, status := range map[string]string{
			"": "completed", "?status=completed": "completed", "?status=pending": "pending", "?status=revoked": "revoked",
			"?status=expired": "expired", "?status=all": "all",
		} {
			all, next := h.list(t, token, path+query)
			if !slices.Equal(uuids(all), want[status]) || next != "" {
				t.Errorf("%q: %v and %q, want %v", query, uuids(all), next, want[status])
			}
			for _, a := range all {
				if status != "all" && a.Status != status {
					t.Errorf("%q holds one with the status %q", query, a.Status)
				}
				if (a.ActivationCompleted != nil) != (a.Status == "completed") || a.ExpiresAt == "" || a.Created == "" || a.ModifiedBy == "" {
					t.Errorf("%q: fields %+v", query, a)
				}
			}
		}
		for status, want := range want {
			for _, limit := range []int{1, 2, 6} {
				var paged []string
				pages := 0
				for next := fmt.Sprintf("%s?status=%s&limit=%d", path, status, limit); next != "" && pages < 10; pages++ {
					var page []listed
					page, next = h.list(t, token, next)
					if len(page) > limit {
						t.Errorf("a page of %d, limit %d", len(page), limit)
					}
					paged = append(paged, uuids(page)...)
				}
				if !slices.Equal(paged, want) {
					t.Errorf("%s in pages of %d: %v, want %v", status, limit, paged, want)
				}
			}
		}
	})
}

func TestACT3_APendingActivationBecomesExpired(t *testing.T) {
	w := owned(t)
	h, token, patient := w.any(), w.clinic(t), w.patient()
	c := h.create(t, token, patient)
	w.expire(t, patient, c)
	if all, _ := h.list(t, token, activationPath(patient)+"?status=expired"); !slices.Equal(uuids(all), []string{c.UUID}) || all[0].Status != "expired" {
		t.Errorf("expired: %+v", all)
	}
	if all, _ := h.list(t, token, activationPath(patient)+"?status=pending"); len(all) != 0 {
		t.Errorf("pending: %+v", all)
	}
}

func TestACT4_APendingActivationIsRevoked(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		token, patient := h.world.clinic(t), h.world.patient()
		revoke := func(patient, uuid string) reply {
			t.Helper()
			return h.send(t, request{method: http.MethodDelete, path: activationPath(patient) + "/" + uuid, token: token})
		}
		c := h.create(t, token, patient)
		revoke(h.world.patient(), c.UUID).problem(t, http.StatusNotFound, "activation_not_found")
		for _, times := range []string{"once", "twice"} {
			if got := revoke(patient, c.UUID); got.status != http.StatusNoContent || len(got.body) != 0 {
				t.Errorf("revoked %s: %d %s", times, got.status, got.body)
			}
		}
		h.refused(t, c.parts())

		done := h.create(t, token, patient)
		code := h.redeem(t, done.parts()).AuthorisationCode
		revoke(patient, done.UUID).problem(t, http.StatusConflict, "activation_not_pending")
		h.buy(t, patient, code)
		revoke(patient, "019ab000-0000-7000-8000-000000000000").problem(t, http.StatusNotFound, "activation_not_found")
		p := revoke(patient, "not-a-uuid").problem(t, http.StatusBadRequest, "invalid_request")
		if len(p.Errors) != 1 || p.Errors[0].Field != "path.uuid" {
			t.Errorf("errors %+v, want path.uuid", p.Errors)
		}
	})
}

func TestACT5_ThreeFormsRedeem(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		token := h.world.clinic(t)
		byPath := func(query string) func(created) request {
			return func(c created) request {
				return request{method: http.MethodPost, path: redeemPath + "/" + c.ActivationCode + query, body: fmt.Sprintf(`{"otp":%q}`, c.OTP)}
			}
		}
		body := func(query string, of func(created) string) func(created) request {
			return func(c created) request {
				return request{method: http.MethodPost, path: redeemPath + query, body: of(c)}
			}
		}
		human := func(write func(string) string) func(created) string {
			return func(c created) string { return fmt.Sprintf(`{"code":%q}`, write(c.Code)) }
		}
		same := func(s string) string { return s }
		for name, form := range map[string]func(created) request{
			"human code":                body("", human(same)),
			"human code with type=gdm":  body("?type=gdm", human(same)),
			"human code in lower case":  body("", human(strings.ToLower)),
			"human code without dashes": body("", human(word)),
			"human code with spaces":    body("", human(func(s string) string { return " " + strings.ReplaceAll(s, "-", " ") + " " })),
			"human code by look-alikes": body("", human(lookAlikes)),
			"two fields":                body("", created.parts),
			"two fields with type=gdm":  body("?type=gdm", created.parts),
			"path":                      byPath(""),
			"path with type=gdm":        byPath("?type=gdm"),
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				patient := h.world.patient()
				c := h.create(t, token, patient)
				var r redeemed
				h.send(t, form(c)).into(t, http.StatusOK, &r)
				if r.PatientID != patient || len(r.AuthorisationCode) != 32 {
					t.Errorf("%+v", r)
				}
				h.buy(t, patient, r.AuthorisationCode)
				h.send(t, form(c)).problem(t, http.StatusNotFound, "activation_refused")
			})
		}

		c := h.create(t, token, h.world.patient())
		for _, query := range []string{"?type=send", "?type=GDM", "?type=patient"} {
			for _, form := range []func(created) request{byPath(query), body(query, created.parts), body(query, human(same))} {
				r := form(c)
				if p := h.send(t, r).problem(t, http.StatusBadRequest, "invalid_request"); len(p.Errors) != 1 || p.Errors[0].Field != "query.type" {
					t.Errorf("%s: errors %+v, want query.type", r.path, p.Errors)
				}
			}
		}
		// A patient's code is no device's (threats.md T-17).
		h.send(t, body("?type=send_entry", human(same))(c)).problem(t, http.StatusNotFound, "activation_refused")
		h.redeem(t, c.parts())
	})
}

// lookAlikes writes a code behind its site as somebody might who takes some characters for others.
func lookAlikes(code string) string {
	return code[:3] + strings.NewReplacer("8", "B", "5", "S", "2", "Z", "6", "G", "V", "U").Replace(code[3:])
}

func TestACT13_ASecondRedeemReplacesTheAuthorisationCode(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		token, patient := h.world.clinic(t), h.world.patient()
		first := h.redeem(t, h.create(t, token, patient).parts()).AuthorisationCode
		h.buy(t, patient, first)
		next := h.create(t, token, patient)
		h.buy(t, patient, first) // until it is redeemed
		second := h.redeem(t, next.parts()).AuthorisationCode
		h.send(t, buying(patient, first)).problem(t, http.StatusNotFound, "authorisation_refused")
		h.buy(t, patient, second)
	})
}
