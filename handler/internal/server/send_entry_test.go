package server

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// TestAUD2_TheLineHasTheEvent: a decision that the predecessor published stands in its line under the same names, but for what was
// typed to log in, and for patients: both have an alias there.
func TestAUD2_TheLineHasTheEvent(t *testing.T) {
	const typed, patient = "canary-666123", "canary-patient"
	b := newBench(t)
	device := subject.ID{Kind: subject.Device, Name: "d-1"}
	for name, c := range map[string]struct {
		decide func(e *Event, p *Parts)
		kind   any // nil: no event
		data   any
	}{
		"token": {func(e *Event, p *Parts) { e.decided(audit.IssueToken, device, p, "", nil) },
			"SEND entry device auth success", map[string]any{"device_id": "d-1"}},
		"login of nobody": {func(e *Event, p *Parts) {
			e.login("", typed, p)
			e.decided(audit.LogIn, device, p, "", problem(http.StatusNotFound, ReasonInvalid, ""))
			e.Outcome, e.Detail = audit.Denied, audit.ReasonNotFound
		}, "SEND entry login failure", map[string]any{"device_id": "d-1", "reason": "not_found",
			"send_entry_identifier": b.ring.Reference(subject.ID{Kind: "send_entry_identifier", Name: typed})}},
		"login while storage is down": {func(e *Event, p *Parts) {
			e.login("", typed, p)
			e.decided(audit.LogIn, device, p, "", commit.ErrUnavailable)
		}, nil, nil},
		"change by a patient": {func(e *Event, p *Parts) {
			by := subject.ID{Kind: subject.Patient, Name: patient}
			e.called(caller.Caller{Actor: audit.Actor{Issuer: "us", ID: "patient/" + patient}, Kind: caller.Subject, Subject: by}, p)
			e.changed(&audit.DeviceFields{Active: new(false)})
			e.decided(audit.ChangeDevice, device, p, "", nil)
		}, "SEND entry device update", map[string]any{"device_id": "d-1", "updated_fields": map[string]any{"active": false},
			"clinician_id": "patient/" + b.ring.Reference(subject.ID{Kind: subject.Patient, Name: patient})}},
		"token of a patient": {func(e *Event, p *Parts) { e.decided(audit.IssueToken, patientID(), p, "", nil) }, nil, nil},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		e := b.begin(r)
		c.decide(e, b.Parts())
		b.Server.log(e, r, http.StatusOK)
		text := b.log.String()
		line := b.event(t)
		if line["event_type"] != c.kind || !reflect.DeepEqual(line["event_data"], c.data) {
			t.Errorf("%s: %v %v, want %v %v", name, line["event_type"], line["event_data"], c.kind, c.data)
		}
		if strings.Contains(text, "canary") {
			t.Errorf("%s: %s", name, text)
		}
	}
}
