package server

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/commit"
)

type told struct {
	Instance, At, Operation, Cause, Told, Meaning, Remedy, Expected, Got string
}

func TestAUT6_ATicketIsOpenedByAnAdministratorAlone(t *testing.T) {
	b := newBench(t)
	refusal := b.wantProblem(t, b.ask(t, "POST "+patientPath+"/activation", "", "Authorization: Bearer reader"), http.StatusForbidden, ReasonInsufficientScope)
	body := `{"ticket":"` + refusal.Ticket + `"}`
	got := read[told](t, b.ask(t, "POST /dhos/v1/denial", body, "Authorization: Bearer auditor"), http.StatusOK)
	want := told{refusal.Instance, "2026-11-24T12:00:00Z", "create-patient-activation", string(caller.NoAppRole), string(ReasonInsufficientScope), got.Meaning, got.Remedy, scopeWriteActivation + " in roles", scopeReadActivation}
	if got != want || got.Meaning == "" || got.Remedy == "" {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if e := b.event(t); e["action"] != "denial.read" || e["outcome"] != "allowed" {
		t.Errorf("the event is %v", e)
	}
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/denial", body, "Authorization: Bearer reader"), http.StatusForbidden, ReasonInsufficientScope)
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/denial", body), http.StatusUnauthorized, ReasonInvalidToken)
	for _, bad := range []string{strings.Replace(body, refusal.Ticket, refusal.Ticket[:len(refusal.Ticket)-4], 1), `{"ticket":"x"}`} {
		p := b.wantProblem(t, b.ask(t, "POST /dhos/v1/denial", bad, "Authorization: Bearer auditor"), http.StatusBadRequest, ReasonInvalid)
		if len(p.Errors) != 1 || p.Errors[0].Field != "body.ticket" {
			t.Errorf("%s: %v", bad, p.Errors)
		}
	}
}

// Whoever sends a token that is refused, or none, sees one body: what was wrong is in the ticket.
func TestAUT6_EveryRefusedTokenHasOneBody(t *testing.T) {
	b := newBench(t)
	masked := func(authorization ...string) string {
		w := b.ask(t, "POST "+patientPath+"/activation", "", authorization...)
		p := b.wantProblem(t, w, http.StatusUnauthorized, ReasonInvalidToken)
		if p.Ticket == "" {
			t.Errorf("%v: no ticket", authorization)
		}
		return strings.NewReplacer(p.Instance, "", p.Ticket, "").Replace(w.Body.String())
	}
	want := masked()
	for _, a := range [][]string{{"Authorization: Bearer other"}, {"Authorization: Basic x"}, {"Authorization: Bearer a", "Authorization: Bearer b"}} {
		if got := masked(a...); got != want {
			t.Errorf("%v: %s, not %s", a, got, want)
		}
	}
}

// A patient's token opens no route with a scope, whatever its scopes are called; and the patient's id stands in no line of the log.
func TestOPS4_APatientWhoCallsIsLoggedByReference(t *testing.T) {
	b := newBench(t)
	w := b.ask(t, "POST "+patientPath+"/activation", "", "Authorization: Bearer patient")
	log := b.log.String()
	b.wantProblem(t, w, http.StatusForbidden, ReasonInsufficientScope)
	if strings.Contains(log, patientID().Name) || !strings.Contains(log, "patient/"+b.ring.Reference(patientID())) || !strings.Contains(log, "subject_token") {
		t.Errorf("the log says %s", log)
	}
}

// The gate is asked before anything is committed and before anything is answered, whatever the operation did meanwhile.
func TestAUT2_WhatTheGateSaysStands(t *testing.T) {
	for _, test := range []struct {
		line, token string
	}{
		{"POST " + patientPath + "/activation", "writer"},
		{"GET " + patientPath + "/activation", "reader"},
		{"DELETE " + patientPath + "/activation/" + uuid7, "writer"},
		// What is wrong with the request is for those who are admitted.
		{"POST " + patientPath + "/activation?a=1&a=2", "writer"},
		{"POST " + patientPath + "/activation?a=1", "writer"},
		{"GET " + patientPath + "/activation?limit=0", "reader"},
		{"POST /dhos/v1/patient/~/activation", "writer"},
	} {
		t.Run(test.line, func(t *testing.T) {
			b := newBench(t)
			b.gated = func() error { return &caller.Forbidden{Cause: caller.IdentityDisabled, Scope: "x"} }
			w := b.ask(t, test.line, "", "Authorization: Bearer "+test.token)
			b.wantProblem(t, w, http.StatusForbidden, ReasonIdentityDisabled)
			if records := b.store.Records(patientID()); len(records) != 0 {
				t.Errorf("committed: %v", records)
			}
			b.gated = func() error { return commit.Unavailable(errors.New("no answer")) }
			b.wantProblem(t, b.ask(t, test.line, "", "Authorization: Bearer "+test.token), http.StatusServiceUnavailable, ReasonUnavailable)
			if records := b.store.Records(patientID()); len(records) != 0 {
				t.Errorf("committed: %v", records)
			}
		})
	}
}
