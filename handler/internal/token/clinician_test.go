package token

import (
	"errors"
	"reflect"
	"testing"

	"latchkey/handler/internal/subject"
)

var referring = subject.ID{Kind: subject.Device, Name: "d-1"}

// A clinician's token names the device that it was got through, and carries that device's session.
func TestTOK3_AClinicianIsReferredByADevice(t *testing.T) {
	i := newIssuer(t, noon, newKey())
	g := grant
	g.Subject, g.Device = subject.ID{Kind: subject.Clinician, Name: "c-1"}, referring
	raw := must(i.Mint(g))
	claims := part(t, raw, 1)
	if want := map[string]any{"clinician_id": "c-1", "referring_device_id": "d-1"}; !reflect.DeepEqual(claims["metadata"], want) {
		t.Errorf("metadata %v, want %v", claims["metadata"], want)
	}
	got, err := i.Verify(raw)
	if err != nil || got.Holder() != referring || got.Subject != g.Subject {
		t.Errorf("%+v, %v", got, err)
	}
	own := grant
	if got := must(i.Verify(must(i.Mint(own)))); got.Holder() != own.Subject {
		t.Errorf("%+v", got)
	}
	for name, wrong := range map[string]Grant{
		"a clinician without a device":   {Subject: g.Subject},
		"one through another clinician":  {Subject: g.Subject, Device: g.Subject},
		"one through a device of no id":  {Subject: g.Subject, Device: subject.ID{Kind: subject.Device, Name: "d/1"}},
		"a patient through a device":     {Subject: grant.Subject, Device: referring},
		"a device through itself":        {Subject: referring, Device: referring},
		"a patient with half a device":   {Subject: grant.Subject, Device: subject.ID{Name: "d-1"}},
		"a clinician with half a device": {Subject: g.Subject, Device: subject.ID{Kind: subject.Device}},
	} {
		wrong.Session, wrong.Scopes, wrong.IssuedAt, wrong.Lifetime = grant.Session, grant.Scopes, grant.IssuedAt, grant.Lifetime
		if _, err := i.Mint(wrong); !errors.Is(err, ErrGrant) {
			t.Errorf("%s: got %v, want ErrGrant", name, err)
		}
	}
}
