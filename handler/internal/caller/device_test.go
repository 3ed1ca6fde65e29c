package caller

import (
	"errors"
	"testing"

	"latchkey/handler/internal/subject"
)

// A route of devices takes a device with a token of ours that holds the scope, and nobody else: no role makes up for that.
func TestTOK3_OnlyADeviceLogsCliniciansIn(t *testing.T) {
	const scope = "read:send_entry_identifier"
	of := func(kind subject.Kind, scopes ...string) Caller {
		return Caller{Kind: Subject, Subject: subject.ID{Kind: kind, Name: "x"}, Scopes: scopes}
	}
	for name, c := range map[string]struct {
		caller Caller
		want   Cause
	}{
		"a device":                   {of(subject.Device, "read:x", scope), ""},
		"a device without the scope": {of(subject.Device, scope+"s"), DeviceLacksScope},
		"a device in another case":   {of(subject.Device, "Read:send_entry_identifier"), DeviceLacksScope},
		"a patient with the scope":   {of(subject.Patient, scope), NotADevice},
		"a clinician with the scope": {of(subject.Clinician, scope), NotADevice},
		"an app with the role":       {Caller{Kind: App, Scopes: []string{scope}}, NotADevice},
		"a person with the scope":    {Caller{Kind: User, Whole: true, Scopes: []string{scope}, Delegated: []string{scope}}, NotADevice},
		"an app that says it is one": {Caller{Kind: App, Subject: subject.ID{Kind: subject.Device, Name: "x"}, Scopes: []string{scope}}, NotADevice},
		"nobody":                     {Caller{}, NotADevice},
	} {
		err := AuthoriseDevice(c.caller, scope)
		var forbidden *Forbidden
		if errors.As(err, &forbidden); c.want == "" && err != nil || c.want != "" && (forbidden == nil || forbidden.Cause != c.want || forbidden.Scope != scope) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// A clinician has no session but the device's: that is looked up, in the device's name. Recognise looks at no session, and at all else.
func TestTOK3_ACliniciansSessionIsTheDevices(t *testing.T) {
	b := newBench(t)
	asked := subject.ID{}
	b.session = func(of subject.ID, sid, _ string) (bool, error) {
		asked = of
		return sid != "ended", nil
	}
	device := subject.ID{Kind: subject.Device, Name: "d-1"}
	g := ownGrant()
	g.Subject, g.Device = subject.ID{Kind: subject.Clinician, Name: "c-1"}, device
	c, err := b.verify(must(b.tokens.Mint(g)))
	if err != nil || asked != device || c.Holder != device || c.Subject != g.Subject {
		t.Errorf("asked for %v: %+v, %v", asked, c, err)
	}
	g.Session, asked = "ended", subject.ID{}
	ended := "Bearer " + must(b.tokens.Mint(g))
	if c, err = b.Recognise(t.Context(), ended); err != nil || c.Session != "ended" || asked != (subject.ID{}) {
		t.Errorf("asked for %v: %+v, %v", asked, c, err)
	}
	var rejected *Rejected
	if _, err = b.Verify(t.Context(), ended); !errors.As(err, &rejected) || rejected.Cause != SessionEnded {
		t.Errorf("remembered, and then: %v", err)
	}
	if _, err = b.Recognise(t.Context(), ended[:len(ended)-4]+"AAAA"); !errors.As(err, &rejected) || rejected.Cause != OwnSignature {
		t.Errorf("a spoilt one: %v", err)
	}
}
