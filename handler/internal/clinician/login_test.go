package clinician_test

import (
	"errors"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // the machine may have none

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/subject"
)

func (l *lab) logIn(identifier string) (clinician.Grant, error) {
	grant, _, err := l.LogIn(l.Context(), audit.Origin{Actor: audit.Actor{Issuer: "us", ID: "device/tablet"}}, byIt, identifier)
	return grant, err
}

func TestTOK3_LogIn(t *testing.T) {
	inLab(t, func(l *lab) {
		l.let(true)
		l.create("ada", "x")
		began := time.Now()
		grant, err := l.logIn("x")
		if err != nil || grant.Subject() != named("ada") || grant.Device() != tablet || grant.Session() != byIt.Session || !grant.At().Equal(began) {
			t.Fatalf("%+v, %v", grant, err)
		}
		records := l.store.Records(tablet)
		last := records[len(records)-1]
		if len(records) != 2 || last.Action != audit.LogIn || last.Clinician != "ada" || last.Identifier != "x" || last.N != 0 {
			t.Errorf("%+v", records)
		}
		if l.taken != 0 {
			t.Errorf("%d units were not given back", l.taken)
		}
		_, err = l.logIn("y")
		l.refused(err, audit.ReasonNotFound)
		_, err = l.logIn(" x")
		l.refused(err, audit.ReasonNotFound)
		if l.taken != 2 {
			t.Errorf("%d units were taken, want 2", l.taken)
		}
		l.change("ada", clinician.Fields{Identifier: to("")})
		_, err = l.logIn("x") // the claim stands, the row does not name it
		l.refused(err, audit.ReasonNotFound)
		l.change("ada", clinician.Fields{Identifier: to("x"), Groups: to([]string{"send administrator"})})
		_, err = l.logIn("x")
		l.refused(err, audit.ReasonWrongGroup)
		l.change("ada", clinician.Fields{Groups: to([]string{"SEND Superclinician"}), LoginActive: to(false)})
		_, err = l.logIn("x")
		l.refused(err, audit.ReasonInactive)
		if l.taken != 3 {
			t.Errorf("%d units were taken, want 3", l.taken)
		}
	})
}

// The tablet is reported stolen just before one of the steps of a login: whichever it is, nothing is granted or recorded.
func TestTOK3_NoGrantThroughADeadDevice(t *testing.T) {
	for _, step := range []memstore.Op{memstore.OpEnter, memstore.OpMeet, memstore.OpPass} {
		inLab(t, func(l *lab) {
			l.create("ada", "x")
			l.let(true)
			gone := false
			l.store.Fault = func(op memstore.Op, when memstore.When) error {
				if op == step && when == memstore.Before && !gone {
					gone = true
					l.stolen()
				}
				return nil
			}
			_, err := l.logIn("x")
			l.refused(err, audit.ReasonEnded)
			for _, r := range l.store.Records(tablet) {
				if r.Action == audit.LogIn {
					t.Errorf("stolen before %s, and recorded: %+v", step, r)
				}
			}
		})
	}
}

func TestTOK3_NoGrantThroughAnInactiveDevice(t *testing.T) {
	inLab(t, func(l *lab) {
		l.create("ada", "x")
		l.let(false)
		_, err := l.logIn("x")
		l.refused(err, audit.ReasonDeviceInactive)
	})
}

// A login whose commit nobody answered is recorded once, and granted once.
func TestTOK3_ALostReplyIsOneRecord(t *testing.T) {
	for _, when := range []memstore.When{memstore.Before, memstore.After} {
		inLab(t, func(l *lab) {
			l.let(true)
			l.create("ada", "x")
			lost := 2
			l.store.Fault = func(op memstore.Op, at memstore.When) error {
				if op == memstore.OpPass && at == when && lost > 0 {
					lost--
					return errLost
				}
				return nil
			}
			if _, err := l.logIn("x"); err != nil {
				t.Error(err)
			}
			if n := len(l.store.Records(tablet)); n != 2 {
				t.Errorf("%d records", n)
			}
		})
	}
}

// T-24 of threats.md: a contract lasts to the end of its last day by the site's clock, and its end is carried out once.
func TestT24_AContractEndsWithItsDay(t *testing.T) {
	for zone, cases := range map[string][]struct {
		day     string
		at      string
		expired bool
	}{
		"Europe/London": {
			{"2026-06-30", "2026-06-30T22:59:59Z", false}, {"2026-06-30", "2026-06-30T23:00:00Z", true}, // summer
			{"2026-12-31", "2026-12-31T23:59:59Z", false}, {"2026-12-31", "2027-01-01T00:00:00Z", true},
			{"2026-10-25", "2026-10-25T23:59:59Z", false}, {"2026-10-25", "2026-10-26T00:00:00Z", true}, // 25 hours long
		},
		"America/Havana": { // its clocks are put forward at midnight: 2026-03-08 begins at 01:00
			{"2026-03-07", "2026-03-08T04:59:59Z", false}, {"2026-03-07", "2026-03-08T05:00:00Z", true},
		},
	} {
		for _, c := range cases {
			inLab(t, func(l *lab) {
				var err error
				if l.zone, err = time.LoadLocation(zone); err != nil {
					t.Fatal(err)
				}
				at, err := time.Parse(time.RFC3339, c.at)
				if err != nil {
					t.Fatal(err)
				}
				l.goTo(at)
				l.let(true)
				l.create("ada", "x")
				l.change("ada", clinician.Fields{LastDay: to(c.day)})
				n := len(l.store.Clinicians().Records(named("ada")))
				_, err = l.logIn("x")
				if !c.expired {
					if err != nil || !l.is("ada").LoginActive {
						t.Errorf("%s %+v: %v", zone, c, err)
					}
					return
				}
				l.refused(err, audit.ReasonContractEnded)
				_, err = l.logIn("x")
				l.refused(err, audit.ReasonInactive)
				records := l.store.Clinicians().Records(named("ada"))
				if l.is("ada").LoginActive || len(records) != n+1 || records[n].Action != audit.EndContract {
					t.Errorf("%s %+v: %+v", zone, c, records)
				}
			})
		}
	}
}

// DIR-4: of many who try at the moment the contract is over, none gets in, and it is turned off and recorded once, whatever is lost.
func TestDIR4_TheContractEndsOnce(t *testing.T) {
	inLab(t, func(l *lab) {
		l.let(true)
		l.create("ada", "x")
		l.change("ada", clinician.Fields{LastDay: to("1999-12-31")})
		n := 0
		var mu sync.Mutex
		l.store.Fault = func(op memstore.Op, when memstore.When) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; op == memstore.OpClinicianCommit && n%3 == 0 {
				return errLost
			}
			return nil
		}
		results := make([]error, 32)
		var all sync.WaitGroup
		for i := range results {
			all.Go(func() { _, results[i] = l.logIn("x") })
		}
		all.Wait()
		for _, err := range results {
			var refusal *activation.Refusal
			if !errors.As(err, &refusal) {
				t.Errorf("got %v", err)
			}
		}
		ended := 0
		for _, r := range l.store.Clinicians().Records(named("ada")) {
			if r.Action == audit.EndContract {
				ended++
			}
		}
		if ended != 1 || l.is("ada").LoginActive {
			t.Errorf("recorded %d times; %+v", ended, l.is("ada"))
		}
	})
}

// Nothing is granted while storage is silent, and a refusal of the gate claims nothing.
func TestTOK3_SilenceGrantsNothing(t *testing.T) {
	for _, silent := range []memstore.Op{memstore.OpEnter, memstore.OpMeet, memstore.OpPass} {
		inLab(t, func(l *lab) {
			l.let(true)
			l.create("ada", "x")
			l.store.Fault = func(op memstore.Op, _ memstore.When) error {
				if op == silent || op == memstore.OpRepass {
					return errLost
				}
				return nil
			}
			if grant, err := l.logIn("x"); !errors.Is(err, commit.ErrUnavailable) || grant.Subject() != (subject.ID{}) {
				t.Errorf("%s: %+v, %v", silent, grant, err)
			}
			if l.taken != 0 {
				t.Errorf("%s: %d units are gone", silent, l.taken)
			}
		})
	}
}
