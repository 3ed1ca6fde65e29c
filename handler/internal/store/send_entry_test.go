package store

import (
	"testing"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
)

// TestAUD2_TheRecordHasTheEvent: what the predecessor published is stored with the change, under its names; other records have no
// such columns.
func TestAUD2_TheRecordHasTheEvent(t *testing.T) {
	login := audit.Record{
		ID: "rec1", Action: audit.LogIn, Outcome: audit.Allowed, Subject: subject.ID{Kind: subject.Device, Name: "d-1"},
		Clinician: "c-1", Identifier: "666123",
	}
	of := auditRow("d~x", login).Properties
	if of["event_type"] != "SEND entry login success" ||
		of["event_data"] != `{"device_id":"d-1","clinician_id":"c-1","send_entry_identifier":"666123"}` {
		t.Errorf("%v %v", of["event_type"], of["event_data"])
	}
	patients, _ := example()
	of = auditRow("p~x", patients.Record).Properties
	for _, column := range []string{"event_type", "event_data"} {
		if value, exists := of[column]; exists {
			t.Errorf("%s is %v", column, value)
		}
	}
}
