package server

import (
	"net/http"
	"strings"
	"testing"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

const (
	ada      = `{"clinician_id":"ada","login_active":true,"send_entry_identifier":"321-654","products":["SEND"],"groups":["SEND Clinician"],"contract_expiry_eod_date":null}`
	staff    = "Authorization: Bearer staff"
	byTablet = "Authorization: Bearer tablet"
	loginAs  = "/dhos/v1/clinician/jwt?send_entry_identifier="
)

// letTablet gives the tablet a session, or an inactive head with one: as no device has it, but as a reader could find it.
func (b *bench) letTablet(t testing.TB, active bool) {
	t.Helper()
	c := activation.Credential{Session: "sid-of-the-tablet", Key: keyed.Hash{Version: "1", Sum: "sum"}}
	err := b.store.Commit(t.Context(), activation.Change{
		Head:   activation.Head{Subject: tablet, Active: active, N: 1, Credentials: []activation.Credential{c}},
		Added:  []activation.Credential{c},
		Record: audit.Record{ID: "let", Time: noon, Subject: tablet, N: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ok is a request that must be answered with this status and without a body.
func (b *bench) empty(t testing.TB, line, body string, status int) {
	t.Helper()
	w := b.ask(t, line, body, staff)
	if w.Code != status || w.Body.Len() != 0 {
		t.Fatalf("%s: %d %q, want %d and nothing", line, w.Code, w.Body, status)
	}
	b.log.take(t)
}

// is reads the clinician from the store.
func (b *bench) is(t testing.TB, name string) clinician.Clinician {
	t.Helper()
	is, err := b.store.Clinicians().Clinician(t.Context(), subject.ID{Kind: subject.Clinician, Name: name})
	if err != nil || is == nil {
		t.Fatalf("%v, %v", is, err)
	}
	return *is
}

func TestDIR2_AClinicianIsCreatedOnce(t *testing.T) {
	b := newBench(t)
	b.empty(t, "POST /dhos/v1/clinician", ada, http.StatusCreated)
	is := b.is(t, "ada")
	if !is.LoginActive || is.Identifier != "321-654" || strings.Join(is.Products, ",") != "send" || strings.Join(is.Groups, ",") != "send clinician" || is.LastDay != "" {
		t.Errorf("%+v", is)
	}
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/clinician", strings.Replace(ada, "321", "322", 1), staff), http.StatusConflict, ReasonClinicianExists)
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/clinician", strings.Replace(ada, `"ada"`, `"bob"`, 1), staff), http.StatusConflict, ReasonIdentifierTaken)
	b.empty(t, "POST /dhos/v1/clinician", `{"clinician_id":"eve","login_active":false,"products":[]}`, http.StatusCreated)
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/clinician", ada), http.StatusUnauthorized, ReasonInvalidToken)
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/clinician", ada, "Authorization: Bearer writer"), http.StatusForbidden, ReasonInsufficientScope)
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/clinician", ada, "Authorization: Bearer phone"), http.StatusForbidden, ReasonInsufficientScope)
}

func TestDIR3_AbsentLeavesAndNullClears(t *testing.T) {
	b := newBench(t)
	b.empty(t, "POST /dhos/v1/clinician", strings.Replace(ada, `date":null`, `date":"2027-03-31"`, 1), http.StatusCreated)
	const patch = "PATCH /dhos/v1/clinician/ada"
	before := b.is(t, "ada")
	for _, step := range []struct {
		body string
		want func(*clinician.Clinician)
	}{
		{`{}`, func(c *clinician.Clinician) {}},
		{`{"groups":null}`, func(c *clinician.Clinician) { c.Groups = []string{} }},
		{`{"products":["SEND","GDM","send"]}`, func(c *clinician.Clinician) { c.Products = []string{"send", "gdm"} }},
		{`{"products":null}`, func(c *clinician.Clinician) { c.Products = []string{} }},
		{`{"login_active":false}`, func(c *clinician.Clinician) { c.LoginActive = false }},
		{`{"contract_expiry_eod_date":null}`, func(c *clinician.Clinician) { c.LastDay = "" }},
		{`{"contract_expiry_eod_date":"2028-02-29","groups":["SEND Superclinician"]}`, func(c *clinician.Clinician) { c.LastDay, c.Groups = "2028-02-29", []string{"send superclinician"} }},
		{`{"send_entry_identifier":null}`, func(c *clinician.Clinician) { c.Identifier = "" }},
		{`{"send_entry_identifier":"000-1"}`, func(c *clinician.Clinician) { c.Identifier = "000-1" }},
	} {
		step.want(&before)
		b.empty(t, patch, step.body, http.StatusOK)
		is := b.is(t, "ada")
		if is.LoginActive != before.LoginActive || is.Identifier != before.Identifier || is.LastDay != before.LastDay ||
			strings.Join(is.Products, ",") != strings.Join(before.Products, ",") || strings.Join(is.Groups, ",") != strings.Join(before.Groups, ",") {
			t.Fatalf("after %s: %+v, want %+v", step.body, is, before)
		}
	}
	b.wantProblem(t, b.ask(t, patch, `{"login_active":null}`, staff), http.StatusBadRequest, ReasonInvalid)
	b.wantProblem(t, b.ask(t, "PATCH /dhos/v1/clinician/nobody", `{"login_active":true}`, staff), http.StatusNotFound, ReasonClinicianNotFound)
	b.wantProblem(t, b.ask(t, "PATCH /dhos/v1/clinician/nobody", `{"send_entry_identifier":"free"}`, staff), http.StatusNotFound, ReasonClinicianNotFound)
	if claim, err := b.store.Clinicians().Claim(t.Context(), "free"); err != nil || claim != nil {
		t.Errorf("nobody claimed it: %+v, %v", claim, err)
	}
	// What was let go is anybody's at once.
	b.empty(t, "POST /dhos/v1/clinician", strings.Replace(ada, `"ada"`, `"bob"`, 1), http.StatusCreated)
	b.wantProblem(t, b.ask(t, patch, `{"send_entry_identifier":"321-654"}`, staff), http.StatusConflict, ReasonIdentifierTaken)
}

func TestDIR5_WhatIsWrongWithAClinicianIsNamed(t *testing.T) {
	b := newBench(t)
	b.empty(t, "POST /dhos/v1/clinician", ada, http.StatusCreated)
	for field, bodies := range map[string][2]string{ // of POST and PATCH
		"body.clinician_id":             {`{"login_active":true,"products":[]}`, `{"clinician_id":"ada"}`},
		"body.login_active":             {`{"clinician_id":"b","products":[],"login_active":"yes"}`, `{"login_active":1}`},
		"body.products":                 {`{"clinician_id":"b","login_active":true,"products":null}`, `{"products":"send"}`},
		"body.products[0]":              {`{"clinician_id":"b","login_active":true,"products":[1]}`, `{"products":[null]}`},
		"body.groups":                   {`{"clinician_id":"b","login_active":true,"products":[],"groups":["  "]}`, `{"groups":{"a":1}}`},
		"body.send_entry_identifier":    {`{"clinician_id":"b","login_active":true,"products":[],"send_entry_identifier":7}`, `{"send_entry_identifier":" 7"}`},
		"body.contract_expiry_eod_date": {`{"clinician_id":"b","login_active":true,"products":[],"contract_expiry_eod_date":"2027-2-1"}`, `{"contract_expiry_eod_date":"2027-02-29"}`},
		"body.something":                {`{"clinician_id":"b","login_active":true,"products":[],"something":1}`, `{"something":null}`},
	} {
		for i, line := range []string{"POST /dhos/v1/clinician", "PATCH /dhos/v1/clinician/ada"} {
			p := b.wantProblem(t, b.ask(t, line, bodies[i], staff), http.StatusBadRequest, ReasonInvalid)
			if len(p.Errors) == 0 || p.Errors[0].Field != field && !strings.Contains(p.Errors[0].Detail+p.Detail, strings.TrimPrefix(field, "body.")) {
				t.Errorf("%s %s: %+v", line, bodies[i], p.Errors)
			}
		}
	}
	b.wantProblem(t, b.ask(t, "POST "+loginAs+"321-654", `{}`, byTablet), http.StatusBadRequest, ReasonInvalid)
	b.wantProblem(t, b.ask(t, "GET /dhos/v1/clinician/jwt", "", byTablet), http.StatusBadRequest, ReasonInvalid)
}

func TestTOK3_AClinicianLogsInThroughADevice(t *testing.T) {
	b := newBench(t)
	b.letTablet(t, true)
	b.empty(t, "POST /dhos/v1/clinician", ada, http.StatusCreated)
	for _, method := range []string{"POST ", "GET "} {
		w := b.ask(t, method+loginAs+"321-654", "", byTablet)
		got := read[tokenBody](t, w, http.StatusOK)
		if got.JWT != "jwt-of-ada-through-tablet-1-sid-of-the-tablet" || got.ExpiresIn != 900 {
			t.Errorf("%+v", got)
		}
		if (w.Header().Get("Deprecation") != "") != (method == "GET ") {
			t.Errorf("%s: Deprecation %q", method, w.Header().Get("Deprecation"))
		}
		if e := b.event(t); e["action"] != "clinician.login" || e["event_type"] != "SEND entry login success" {
			t.Errorf("%v", e)
		}
	}
	records := b.store.Records(tablet)
	if last := records[len(records)-1]; len(records) != 3 || last.Action != audit.LogIn || last.Clinician != "ada" || last.Identifier != "321-654" {
		t.Errorf("%+v", records)
	}
	b.wantProblem(t, b.ask(t, "POST "+loginAs+"999", "", byTablet), http.StatusNotFound, ReasonClinicianNotFound)
	b.wantProblem(t, b.ask(t, "POST "+loginAs+"321-654", ""), http.StatusUnauthorized, ReasonInvalidToken)
	for _, notADevice := range []string{"phone", "impostor", "staff", "tablet without scope"} {
		b.wantProblem(t, b.ask(t, "POST "+loginAs+"321-654", "", "Authorization: Bearer "+notADevice), http.StatusForbidden, ReasonInsufficientScope)
	}
	refused := func(patch string) {
		t.Helper()
		b.empty(t, "PATCH /dhos/v1/clinician/ada", patch, http.StatusOK)
		b.wantProblem(t, b.ask(t, "POST "+loginAs+"321-654", "", byTablet), http.StatusForbidden, ReasonLoginRefused)
	}
	refused(`{"groups":["SEND Administrator","GDM Clinician"]}`)
	refused(`{"groups":["SEND Superclinician"],"login_active":false}`)
	refused(`{"login_active":true,"contract_expiry_eod_date":"2026-11-23"}`)
	if b.is(t, "ada").LoginActive {
		t.Error("the contract is over, and the login is active")
	}
	b.empty(t, "PATCH /dhos/v1/clinician/ada", `{"login_active":true,"contract_expiry_eod_date":"2026-11-24"}`, http.StatusOK)
	read[tokenBody](t, b.ask(t, "POST "+loginAs+"321-654", "", byTablet), http.StatusOK)
}

func TestTOK3_TheDeviceMustBeActiveAndNotRevoked(t *testing.T) {
	for name, prepare := range map[string]func(*bench){
		"a session that has ended": func(*bench) {},
		"an inactive device":       func(b *bench) { b.letTablet(t, false) },
	} {
		b := newBench(t)
		prepare(b)
		b.empty(t, "POST /dhos/v1/clinician", ada, http.StatusCreated)
		p := b.wantProblem(t, b.ask(t, "POST "+loginAs+"321-654", "", byTablet), http.StatusForbidden, ReasonLoginRefused)
		if p.Ticket != "" {
			t.Errorf("%s: a ticket", name)
		}
	}
}

// ABU-1, model.md section 7: a device that guesses identifiers is stopped, and no other.
func TestTOK3_ADeviceMayNotGuess(t *testing.T) {
	b := newBench(t)
	b.letTablet(t, true)
	b.empty(t, "POST /dhos/v1/clinician", ada, http.StatusCreated)
	for range 40 { // what is known does not count
		read[tokenBody](t, b.ask(t, "POST "+loginAs+"321-654", "", byTablet), http.StatusOK)
	}
	for range usual().Login.Capacity {
		b.log.take(t)
		b.wantProblem(t, b.ask(t, "POST "+loginAs+"999", "", byTablet), http.StatusNotFound, ReasonClinicianNotFound)
	}
	w := b.ask(t, "POST "+loginAs+"321-654", "", byTablet)
	if !strings.HasPrefix(w.Header().Get("RateLimit"), `"device";r=0;t=`) || w.Header().Get("Retry-After") == "" {
		t.Errorf("%v", w.Header())
	}
	b.wantProblem(t, w, http.StatusTooManyRequests, ReasonTooManyLogins)
}
