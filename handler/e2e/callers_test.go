package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/infra/local/stack"
)

const (
	denialPath   = "/dhos/v1/denial"
	identityPath = "/dhos/v1/identity"
	readAudit    = "read:audit"
)

// administrator is the token of the one administrator of the settings.
func (w *world) administrator(t *testing.T) string {
	t.Helper()
	return w.token(t, stack.TokenRequest{OID: new(stack.Administrator)})
}

// registered is an identity as it is sent.
type registered struct {
	ID, Issuer, Subject, State, Label string
	Kind, Successor                   *string
	Scopes                            []string
	Created, Modified                 string
	CreatedBy                         string  `json:"created_by"`
	ModifiedBy                        string  `json:"modified_by"`
	LastSeen                          *string `json:"last_seen"`
}

// registry sends a request to the registry as its administrator, and wants the status.
func (h *host) registry(t *testing.T, method, path string, body any, status int) (r registered) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	out := request{method: method, path: identityPath + path, token: h.world.administrator(t)}
	if body != nil {
		out.body = string(text)
	}
	got := h.send(t, out)
	if got.status != status {
		t.Fatalf("%s %s: %d %s, want %d", method, out.path, got.status, got.body, status)
	}
	if err := json.Unmarshal(got.body, &r); err != nil {
		t.Fatalf("%v: %s", err, got.body)
	}
	return r
}

// listed are the identities in a state, all pages of them, by id.
func (h *host) listed(t *testing.T, state string) map[string]registered {
	t.Helper()
	all := map[string]registered{}
	for next := identityPath + "?limit=100&state=" + state; next != ""; {
		got := h.send(t, request{method: http.MethodGet, path: next, token: h.world.administrator(t)})
		var page []registered
		if err := json.Unmarshal(got.body, &page); err != nil || got.status != http.StatusOK {
			t.Fatalf("%d %s, %v", got.status, got.body, err)
		}
		for _, r := range page {
			all[r.ID] = r
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(got.header.Get("Link"), "<"), ">")
	}
	return all
}

// approve registers an identity, tid~oid, with these scopes.
func (w *world) approve(t *testing.T, id string, scopes ...string) {
	t.Helper()
	issuer, subject, _ := strings.Cut(id, "~")
	w.any().registry(t, http.MethodPost, "", map[string]any{"issuer": issuer, "subject": subject, "scopes": append([]string{}, scopes...)}, http.StatusCreated)
}

// known makes the identity of an object id one that may do nothing by its registration. A host that is not ours may know it already.
func (w *world) known(t *testing.T, oid string) {
	t.Helper()
	got := w.any().send(t, request{method: http.MethodPost, path: identityPath, token: w.administrator(t), body: fmt.Sprintf(`{"issuer":%q,"subject":%q}`, w.issuer.Tenant, oid)})
	if got.status != http.StatusCreated && got.status != http.StatusConflict {
		t.Fatalf("registering: %d %s", got.status, got.body)
	}
}

// app is an app-only caller with an object id that nobody has seen, and its id in the registry.
func (w *world) app(roles ...string) (r stack.TokenRequest, id string) {
	oid := randomGUID()
	return stack.TokenRequest{OID: &oid, Roles: roles}, w.issuer.Tenant + "~" + oid
}

// asks is what a create is answered with.
func (h *host) asks(t *testing.T, token string) reply {
	t.Helper()
	return h.send(t, creating(token, h.world.patient()))
}

func (h *host) wantStatus(t *testing.T, token string, status int) {
	t.Helper()
	if got := h.asks(t, token); got.status != status {
		t.Errorf("%s: %d %s, want %d", h.name, got.status, got.body, status)
	}
}

// TestAUT3_AnUnknownIdentityIsLetInByOneCall: it is told that it waits, stands in the queue, and works from the moment of its
// approval, through every instance, without a restart and within a second.
func TestAUT3_AnUnknownIdentityIsLetInByOneCall(t *testing.T) {
	w := given(t)
	caller, id := w.app()
	token := w.token(t, caller)
	began := time.Now()
	h := w.any()
	p := h.asks(t, token).problem(t, http.StatusForbidden, "identity_pending")
	if p.Scope != writeActivation || strings.Contains(p.Detail, *caller.OID) {
		t.Errorf("%+v", p)
	}
	h.registry(t, http.MethodPost, "/"+id+"/approve", map[string]any{"label": "a clinic", "scopes": []string{writeActivation}}, http.StatusOK)
	h.wantStatus(t, token, http.StatusOK)
	if took := time.Since(began); took > time.Second {
		t.Errorf("from the first refusal to the first success it took %v, want less than a second", took)
	} else {
		t.Logf("let in after %v", took)
	}
	for _, other := range w.hosts {
		other.wantStatus(t, token, http.StatusOK)
		got := other.send(t, request{method: http.MethodGet, path: activationPath(w.patient()), token: token})
		got.problem(t, http.StatusForbidden, "insufficient_scope") // it holds what it was given
	}
	if is := h.listed(t, "approved")[id]; is.Label != "a clinic" || is.Kind == nil || *is.Kind != "app" || is.LastSeen == nil ||
		!strings.Contains(is.CreatedBy, *caller.OID) || !strings.Contains(is.ModifiedBy, stack.Administrator) {
		t.Errorf("%+v", is)
	}

	// Somebody who asks again and again is one in the queue.
	waiting, waits := w.app()
	for range 3 {
		for _, h := range w.hosts {
			h.asks(t, w.token(t, waiting)).problem(t, http.StatusForbidden, "identity_pending")
		}
	}
	if is, found := h.listed(t, "pending")[waits]; !found || is.State != "pending" || len(is.Scopes) != 0 {
		t.Errorf("%+v", is)
	}
	h.registry(t, http.MethodPatch, "/"+waits, map[string]any{"state": "disabled"}, http.StatusOK)
	h.asks(t, w.token(t, waiting)).problem(t, http.StatusForbidden, "identity_disabled")

	if w.stack == nil {
		return
	}
	for _, c := range []struct {
		oid  string
		want []string
	}{
		{*caller.OID, []string{"identity.ask by itself", "identity.approve by the administrator"}},
		{*waiting.OID, []string{"identity.ask by itself", "identity.change by the administrator"}},
	} {
		if got := w.recordsOf(t, c.oid); !slices.Equal(got, c.want) {
			t.Errorf("records of %s: %q, want %q", c.oid, got, c.want)
		}
	}
}

// recordsOf are the audit records about an identity, oldest first.
func (w *world) recordsOf(t *testing.T, oid string) (all []string) {
	t.Helper()
	var rows []row
	for _, r := range w.rows(t, "identities") {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(r.text("action"), "identity.") && strings.Contains(string(text), oid) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.text("at"), b.text("at")) })
	for _, r := range rows {
		by := map[string]string{oid: "itself", stack.Administrator: "the administrator"}[r.text("actor")]
		all = append(all, r.text("action")+" by "+by)
	}
	return all
}

// TestAUT2_ADisabledIdentityMayDoNothing: a registration that is disabled overrides every role and every scope, at once and on every
// instance, and so does one whose place a successor has taken.
func TestAUT2_ADisabledIdentityMayDoNothing(t *testing.T) {
	w := given(t)
	h := w.any()
	for name, c := range map[string]struct{ roles, scopes []string }{
		"with a role":  {[]string{writeActivation}, nil},
		"with a scope": {nil, []string{writeActivation}},
		"with both":    {[]string{writeActivation}, []string{writeActivation}},
	} {
		t.Run(name, func(t *testing.T) {
			caller, id := w.app(c.roles...)
			token := w.token(t, caller)
			w.approve(t, id, c.scopes...)
			for _, h := range w.hosts {
				h.wantStatus(t, token, http.StatusOK)
			}
			h.registry(t, http.MethodPatch, "/"+id, map[string]any{"state": "disabled"}, http.StatusOK)
			for _, h := range w.hosts {
				h.asks(t, token).problem(t, http.StatusForbidden, "identity_disabled")
			}
			h.registry(t, http.MethodPatch, "/"+id, map[string]any{"state": "approved"}, http.StatusOK)
			for _, h := range w.hosts {
				h.wantStatus(t, token, http.StatusOK)
			}
		})
	}
	t.Run("a successor", func(t *testing.T) {
		old, oldID := w.app(writeActivation)
		fresh, freshID := w.app()
		w.approve(t, oldID, writeActivation)
		oldToken, freshToken := w.token(t, old), w.token(t, fresh)
		h.wantStatus(t, oldToken, http.StatusOK)
		h.asks(t, freshToken).problem(t, http.StatusForbidden, "identity_pending")
		h.registry(t, http.MethodPost, "/"+freshID+"/approve", map[string]any{"replaces": oldID}, http.StatusOK)
		for _, h := range w.hosts {
			h.wantStatus(t, freshToken, http.StatusOK)
			h.asks(t, oldToken).problem(t, http.StatusForbidden, "identity_disabled")
		}
		if is := h.registry(t, http.MethodGet, "/"+oldID, nil, http.StatusOK); is.State != "retired" || is.Successor == nil || *is.Successor != freshID {
			t.Errorf("%+v", is)
		}
	})
}

// TestAUT2_WhatARegistrationIsNeededFor: with Identity:Require an app role alone is not enough, and what every approved identity holds
// comes from Identity:DefaultScopes; without, roles and registered scopes each do.
func TestAUT2_WhatARegistrationIsNeededFor(t *testing.T) {
	w := owned(t)
	h := w.extra(t, "strict", stack.HostOptions{Direct: true, Env: []string{"Identity__Require=true", "Identity__DefaultScopes=" + writeActivation}})
	if err := h.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	both := func(token string, loose, strict int) {
		t.Helper()
		w.host(t, direct).wantStatus(t, token, loose)
		h.wantStatus(t, token, strict)
	}
	withRole, id := w.app(writeActivation)
	both(w.token(t, withRole), http.StatusOK, http.StatusForbidden)
	h.registry(t, http.MethodPost, "/"+id+"/approve", map[string]any{}, http.StatusOK) // it waits since then
	both(w.token(t, withRole), http.StatusOK, http.StatusOK)
	without, id := w.app()
	w.approve(t, id)
	both(w.token(t, without), http.StatusForbidden, http.StatusOK)
	scoped, id := w.app()
	w.approve(t, id, writeActivation)
	both(w.token(t, scoped), http.StatusOK, http.StatusOK)
	both(w.administrator(t), http.StatusOK, http.StatusOK)

	// A person's registration counts as far as they let the client act for them.
	person, id := w.app()
	w.approve(t, id, writeActivation)
	for scp, want := range map[string]int{writeActivation: http.StatusOK, "user_impersonation": http.StatusOK, readActivation: http.StatusForbidden} {
		person.Scopes = scp
		both(w.token(t, person), want, want)
	}
	unknown, _ := w.app()
	unknown.Scopes = writeActivation
	both(w.token(t, unknown), http.StatusForbidden, http.StatusForbidden)
}

// TestAUT2_TheRegistryCostsNoRoundTrip: for a caller whom their token admits the registry is read beside the first read of the
// operation.
func TestAUT2_TheRegistryCostsNoRoundTrip(t *testing.T) {
	w := owned(t)
	byRole, id := w.app(writeActivation)
	byRegistry, other := w.app()
	w.approve(t, id)
	w.approve(t, other, writeActivation)
	for _, h := range w.hosts {
		for name, c := range map[string]struct {
			token string
			trips int
		}{"role": {w.token(t, byRole), 2}, "registry": {w.token(t, byRegistry), 3}} {
			for range 2 {
				got := h.asks(t, c.token)
				e := h.event(t, got.trace)
				if got.status != http.StatusOK || e.Trips == nil || *e.Trips != c.trips {
					t.Errorf("%s, admitted by %s: %d %s, trips %v, want %d", h.name, name, got.status, got.body, e.Trips, c.trips)
				}
			}
		}
	}
	// That they called is noted behind their backs.
	for _, id := range []string{id, other} {
		eventually(t, 5*time.Second, func() error {
			is := w.any().registry(t, http.MethodGet, "/"+id, nil, http.StatusOK)
			if is.LastSeen == nil {
				return fmt.Errorf("%s was never seen", id)
			}
			if at, err := time.Parse(time.RFC3339, *is.LastSeen); err != nil || at.Minute() != 0 || time.Since(at) > time.Hour+time.Minute {
				t.Errorf("seen at %s, want the hour", *is.LastSeen)
			}
			return nil
		})
	}
}

// explained is what a ticket holds.
type explained struct {
	Instance, At, Operation, Cause, Told, Meaning, Remedy, Expected, Got string
}

func opening(token, ticket string) request {
	return request{method: http.MethodPost, path: denialPath, token: token, body: fmt.Sprintf(`{"ticket":%q}`, ticket)}
}

// TestAUT6_ATicketExplainsARefusal: whoever may read the audit opens the ticket of a 401 or 403, through any host, and learns the
// rule, what it wanted and found, and what to do. All tickets have one length, and nothing is kept of a refusal.
func TestAUT6_ATicketExplainsARefusal(t *testing.T) {
	w := given(t)
	known := stack.TokenRequest{OID: new(randomGUID()), Roles: []string{writeActivation}}
	w.approve(t, w.issuer.Tenant+"~"+*known.OID)
	wrongAudience := "00000003-0000-0000-c000-000000000000"
	with := func(change func(*stack.TokenRequest)) string {
		r := known
		change(&r)
		return w.token(t, r)
	}
	length := map[int]bool{}
	var last string
	w.through(t, func(t *testing.T, h *host) {
		before := w.counted(t)
		for name, c := range map[string]struct {
			token  string
			status int
			want   explained
		}{
			"expired": {with(func(r *stack.TokenRequest) { r.ExpiresIn = -time.Hour }), http.StatusUnauthorized,
				explained{Cause: "expired", Told: "invalid_token"}},
			"for another API": {with(func(r *stack.TokenRequest) { r.Audience = &wrongAudience }), http.StatusUnauthorized,
				explained{Cause: "aud_wrong", Told: "invalid_token", Expected: w.issuer.API, Got: wrongAudience}},
			"of an unknown key": {with(func(r *stack.TokenRequest) { r.Unpublished = true }), http.StatusUnauthorized,
				explained{Cause: "", Told: "invalid_token"}},
			"none": {"", http.StatusUnauthorized, explained{Cause: "no_header", Told: "invalid_token"}},
			"without the role": {with(func(r *stack.TokenRequest) { r.Roles = []string{readActivation} }), http.StatusForbidden,
				explained{Told: "insufficient_scope", Expected: writeActivation}},
		} {
			t.Run(name, func(t *testing.T) {
				refused := h.send(t, creating(c.token, w.patient()))
				p := refused.problem(t, c.status, c.want.Told)
				if p.Ticket == "" || strings.Contains(string(refused.body), wrongAudience) {
					t.Fatalf("%s", refused.body)
				}
				length[len(p.Ticket)], last = true, p.Ticket
				for _, other := range w.hosts {
					var got explained
					other.send(t, opening(w.administrator(t), p.Ticket)).into(t, http.StatusOK, &got)
					at, err := time.Parse(time.RFC3339, got.At)
					if err != nil || time.Since(at) > time.Minute || time.Until(at) > time.Second {
						t.Errorf("at %q: %v", got.At, err)
					}
					if got.Instance != p.Instance || got.Operation != "create-patient-activation" || got.Told != c.want.Told ||
						got.Meaning == "" || got.Remedy == "" || got.Cause == "" || c.want.Cause != "" && got.Cause != c.want.Cause ||
						!strings.Contains(got.Expected, c.want.Expected) || !strings.Contains(got.Got, c.want.Got) {
						t.Errorf("%+v, want %+v of %s", got, c.want, p.Instance)
					}
				}
			})
		}
		if after := w.counted(t); after != before {
			t.Errorf("there were %s rows, and are %s: something is kept of a refusal", before, after)
		}
	})
	if len(length) != 1 {
		t.Errorf("lengths of tickets: %v, want one", length)
	}

	h := w.any()
	admin := w.administrator(t)
	flipped := []byte(last)
	at := len(flipped) / 2
	if flipped[at]++; flipped[at] > 'y' || flipped[at] == '[' || flipped[at] == ':' {
		flipped[at] = 'b'
	}
	for name, ticket := range map[string]string{
		"cut": last[:len(last)-4], "longer": last + "AAAA", "forged": string(flipped), "made up": strings.Repeat("A", len(last)),
		"a patient's token": w.clinic(t),
	} {
		if got := h.send(t, opening(admin, ticket)); got.status != http.StatusBadRequest || ticket == last {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	for name, c := range map[string]struct {
		request stack.TokenRequest
		status  int
	}{
		"with read:audit":              {stack.TokenRequest{Roles: []string{readAudit}}, http.StatusOK},
		"a person with read:audit":     {stack.TokenRequest{Scopes: readAudit}, http.StatusOK},
		"with another scope":           {stack.TokenRequest{Roles: []string{writeActivation}}, http.StatusForbidden},
		"a person with another's role": {stack.TokenRequest{Scopes: "user_impersonation", Roles: []string{readAudit}}, http.StatusForbidden},
	} {
		if got := h.send(t, opening(w.token(t, c.request), last)); got.status != c.status {
			t.Errorf("%s: %d %s, want %d", name, got.status, got.body, c.status)
		}
	}
}

// counted says how many rows there are in all tables, "" where the tables are somebody else's.
func (w *world) counted(t *testing.T) string {
	t.Helper()
	if w.stack == nil {
		return ""
	}
	counts := map[string]int{}
	for _, table := range tables(t) {
		counts[table] = len(w.rows(t, table))
	}
	text, err := json.Marshal(counts)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
