package audit

import (
	"strings"

	"latchkey/handler/internal/subject"
)

// SendEntryType is the name of an event. The values are the predecessor's, and what reads its audit trail knows them by: never
// change one (mission.md AUD-2).
type SendEntryType string

// The five events.
const (
	LoginFailure      SendEntryType = "SEND entry login failure"
	LoginSuccess      SendEntryType = "SEND entry login success"
	DeviceAuthFailed  SendEntryType = "SEND entry device auth failed"
	DeviceAuthSuccess SendEntryType = "SEND entry device auth success"
	DeviceUpdate      SendEntryType = "SEND entry device update"
)

// DeviceFields are the fields of a device that a change sets; nil leaves one as it is.
type DeviceFields struct {
	Description *string `json:"description,omitempty"`
	LocationID  *string `json:"location_id,omitempty"`
	Active      *bool   `json:"active,omitempty"`
}

// SendEntryEvent says what a record is about as the predecessor did: the same names of the same fields. What is "" is left out.
type SendEntryEvent struct {
	Type SendEntryType
	Data SendEntryData
}

// SendEntryData are the fields of an event. Which of them an event has is the predecessor's rule.
type SendEntryData struct {
	DeviceID      string        `json:"device_id"`
	ClinicianID   string        `json:"clinician_id,omitempty"`
	Identifier    string        `json:"send_entry_identifier,omitempty"`
	Reason        Reason        `json:"reason,omitempty"`
	UpdatedFields *DeviceFields `json:"updated_fields,omitempty"`
}

// SendEntry is the record as one of the predecessor's events, and whether it is one. There is none of what could not be decided,
// nor of who was not admitted: the predecessor published none either.
func (r Record) SendEntry() (SendEntryEvent, bool) {
	if r.Subject.Kind != subject.Device || r.Outcome == Failed {
		return SendEntryEvent{}, false
	}
	allowed := r.Outcome == Allowed
	e := SendEntryEvent{Data: SendEntryData{DeviceID: r.Subject.Name}}
	switch {
	case r.Action == IssueToken && allowed:
		e.Type = DeviceAuthSuccess
	case r.Action == IssueToken:
		e.Type, e.Data.Reason = DeviceAuthFailed, r.Reason
	case r.Action == LogIn && r.Identifier == "": // not admitted: nobody asked in whose name
		return SendEntryEvent{}, false
	case r.Action == LogIn:
		e.Type, e.Data.ClinicianID, e.Data.Identifier = LoginSuccess, r.Clinician, r.Identifier
		if !allowed {
			e.Type, e.Data.Reason = LoginFailure, r.Reason
		}
	case r.Action == ChangeDevice && allowed && r.Changed != nil:
		// Whoever changed it stands under this name, as in the predecessor: a clinician most often, not always.
		by := strings.TrimPrefix(r.Origin.Actor.ID, string(subject.Clinician)+"/")
		e.Type, e.Data.ClinicianID, e.Data.UpdatedFields = DeviceUpdate, by, r.Changed
	default:
		return SendEntryEvent{}, false
	}
	return e, true
}
