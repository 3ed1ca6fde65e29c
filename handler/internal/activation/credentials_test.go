package activation_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
)

func (l *lab) credentials() []activation.Credential {
	l.Helper()
	all, imported, err := l.Credentials(l.Context(), patient)
	l.ok(err)
	if imported {
		l.Error("there is an imported credential")
	}
	return all
}

func TestACT13_CredentialsAreListedWithTheirUse(t *testing.T) {
	inLab(t, func(l *lab) {
		l.set(func(p *activation.Policy) { p.MaxPerPatient = 3 })
		if all := l.credentials(); len(all) != 0 {
			t.Fatalf("%+v", all)
		}
		var sids []string
		var created []time.Time
		for range 3 {
			made := l.invite()
			created = append(created, l.now().UTC().Truncate(time.Millisecond))
			l.let(made)
			head := l.head()
			sids = append(sids, head.Credentials[len(head.Credentials)-1].Session)
			time.Sleep(30 * time.Minute)
		}
		used := l.let(l.invite()) // the first goes
		sids, created = append(sids[1:], l.grant(used).Session()), append(created[1:], l.now().UTC().Truncate(time.Millisecond))
		all := l.credentials()
		if len(all) != 3 {
			t.Fatalf("%d are listed", len(all))
		}
		for i, c := range all {
			wantUsed := time.Time{}
			if i == 2 {
				wantUsed = l.now().UTC().Truncate(time.Hour)
			}
			if c.Session != sids[i] || !c.Created.Equal(created[i]) || !c.Used.Equal(wantUsed) || c.Label != "" {
				t.Errorf("%d: %+v, want %s of %s, used %s", i, c, sids[i], created[i], wantUsed)
			}
		}
	})
}

func TestACT13_ALabelIsKeptUntilItsCredentialEnds(t *testing.T) {
	inLab(t, func(l *lab) {
		won := l.let(l.invite())
		sid := l.grant(won).Session()
		long := strings.Repeat("é", activation.MaxLabel)
		for _, label := range []string{"Anna's phone", long, "телефон 2", ""} {
			l.ok(l.Label(l.Context(), clinic, nil, patient, sid, label))
			if all := l.credentials(); len(all) != 1 || all[0].Label != label {
				t.Errorf("%+v, want the label %q", all, label)
			}
		}
		records := l.records()
		if r := records[len(records)-1]; r.Action != audit.LabelCredential || r.Outcome != audit.Allowed {
			t.Errorf("the record is %+v", r)
		}
		for _, label := range []string{long + "x", "two\nlines", "tab\t", " ends", "ends ", "\u202eright to left", "\u200bzero", "\xff", "nul\x00"} {
			if err := l.Label(l.Context(), clinic, nil, patient, sid, label); !errors.Is(err, activation.ErrLabel) {
				t.Errorf("%q: got %v, want ErrLabel", label, err)
			}
		}
		l.ok(l.EndAll(l.Context(), clinic, nil, patient))
		stranger := subject.ID{Kind: subject.Patient, Name: "nobody"}
		for _, err := range []error{
			l.Label(l.Context(), clinic, nil, patient, sid, "back"), l.Label(l.Context(), clinic, nil, stranger, sid, "mine"),
			l.Label(l.Context(), clinic, nil, patient, activation.ImportedID, "old"),
		} {
			if !errors.Is(err, activation.ErrNoCredential) {
				t.Errorf("got %v, want ErrNoCredential", err)
			}
		}
		l.wantNoToken(patient, won.AuthorisationCode)
	})
}
