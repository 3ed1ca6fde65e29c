package audit_test

import (
	"encoding/json"
	"testing"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
)

// TestAUD2_TheFiveEvents: names and fields are what the predecessor's audit trail is searched by, so they stand here letter by letter.
func TestAUD2_TheFiveEvents(t *testing.T) {
	device := subject.ID{Kind: subject.Device, Name: "d-1"}
	of := func(action audit.Action, outcome audit.Outcome, reason audit.Reason) audit.Record {
		return audit.Record{Action: action, Outcome: outcome, Reason: reason, Subject: device,
			Origin: audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "object"}}}
	}
	login := func(r audit.Record, clinician, identifier string) audit.Record {
		r.Clinician, r.Identifier = clinician, identifier
		return r
	}
	changed := func(r audit.Record, f audit.DeviceFields) audit.Record {
		r.Changed = &f
		return r
	}
	by := func(r audit.Record, id string) audit.Record {
		r.Origin.Actor.ID = id
		return r
	}
	all := audit.DeviceFields{Description: new("Ward 3"), LocationID: new("L1"), Active: new(false)}
	for name, c := range map[string]struct {
		record     audit.Record
		kind, data string
	}{
		"token of a device": {of(audit.IssueToken, audit.Allowed, ""), "SEND entry device auth success", `{"device_id":"d-1"}`},
		"no token": {of(audit.IssueToken, audit.Denied, audit.ReasonNoCredential), "SEND entry device auth failed",
			`{"device_id":"d-1","reason":"no_credential"}`},
		"login": {login(of(audit.LogIn, audit.Allowed, ""), "c-1", "666123"), "SEND entry login success",
			`{"device_id":"d-1","clinician_id":"c-1","send_entry_identifier":"666123"}`},
		"login of nobody": {login(of(audit.LogIn, audit.Denied, audit.ReasonNotFound), "", "666123"), "SEND entry login failure",
			`{"device_id":"d-1","send_entry_identifier":"666123","reason":"not_found"}`},
		"login refused": {login(of(audit.LogIn, audit.Denied, audit.ReasonInactive), "c-1", "666123"), "SEND entry login failure",
			`{"device_id":"d-1","clinician_id":"c-1","send_entry_identifier":"666123","reason":"inactive"}`},
		"change": {changed(of(audit.ChangeDevice, audit.Allowed, ""), all), "SEND entry device update",
			`{"device_id":"d-1","clinician_id":"object","updated_fields":{"description":"Ward 3","location_id":"L1","active":false}}`},
		"change of one field by a clinician": {by(changed(of(audit.ChangeDevice, audit.Allowed, ""), audit.DeviceFields{LocationID: new("L2")}), "clinician/c-1"),
			"SEND entry device update", `{"device_id":"d-1","clinician_id":"c-1","updated_fields":{"location_id":"L2"}}`},
	} {
		e, is := c.record.SendEntry()
		data, err := json.Marshal(e.Data)
		if err != nil || !is || string(e.Type) != c.kind || string(data) != c.data {
			t.Errorf("%s: %q %s, want %q %s (%v)", name, e.Type, data, c.kind, c.data, err)
		}
	}

	patients := of(audit.IssueToken, audit.Allowed, "")
	patients.Subject.Kind = subject.Patient
	for name, r := range map[string]audit.Record{
		"token of a patient":     patients,
		"storage down":           of(audit.IssueToken, audit.Failed, audit.ReasonUnavailable),
		"login down":             login(of(audit.LogIn, audit.Failed, audit.ReasonUnavailable), "", "666123"),
		"login without scope":    of(audit.LogIn, audit.Denied, audit.ReasonNoScope),
		"change that was denied": changed(of(audit.ChangeDevice, audit.Denied, audit.ReasonNoScope), all),
		"another change":         of(audit.RevokeAuthorisation, audit.Allowed, ""),
	} {
		if e, is := r.SendEntry(); is || e != (audit.SendEntryEvent{}) {
			t.Errorf("%s: %+v, want none", name, e)
		}
	}
}
