package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// clinicians is a clinician.Store with the activation.Store on the same rows, and the test that uses them.
type clinicians struct {
	*testing.T
	store   clinician.Store
	devices activation.Store
}

// Clinicians holds every clinician.Store to what package clinician relies on. devices is the activation.Store on the same rows. Stores
// may share their rows: each test has ids of its own.
func Clinicians(t *testing.T, store clinician.Store, devices activation.Store) {
	for name, test := range map[string]func(clinicians){
		"what is committed is read again":             clinicians.roundTrip,
		"a clinician that nobody knows is none":       clinicians.unknown,
		"each precondition alone refuses":             clinicians.atomic,
		"one of many claims an identifier":            clinicians.race,
		"a claim is written at its version only":      clinicians.claims,
		"a login needs the session, and is once":      clinicians.login,
		"a device is met with its head":               clinicians.meet,
		"identifiers do not meet, whatever they hold": clinicians.apart,
		"a context that is over is an error":          clinicians.over,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(clinicians{t, store, devices})
		})
	}
}

// Nurse draws a clinician as a first commit makes one.
func Nurse() clinician.Clinician {
	return clinician.Clinician{
		Subject: subject.ID{Kind: subject.Clinician, Name: "Cl-" + Random()}, LoginActive: true, Identifier: "Zoë 7/" + Random(),
		Products: []string{"send", "gdm"}, Groups: []string{"send clinician"}, LastDay: "2028-02-29",
		Created: Start, CreatedBy: "tenant/clinic", Modified: Start.Add(time.Minute), ModifiedBy: "tenant/ward", N: 1,
	}
}

// Employed makes the change that a clinician is committed by.
func Employed(c clinician.Clinician) clinician.Change {
	change := clinician.Change{Clinician: c, Record: Record(c.Subject, audit.CreateClinician)}
	change.Record.N = c.N
	return change
}

func (s clinicians) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s clinicians) equal(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (s clinicians) conflict(what string, err error) {
	s.Helper()
	if !errors.Is(err, commit.ErrConflict) {
		s.Errorf("%s: got %v, want ErrConflict", what, err)
	}
}

func (s clinicians) now(of subject.ID) *clinician.Clinician {
	s.Helper()
	is, err := s.store.Clinician(s.Context(), of)
	s.ok(err)
	return is
}

func (s clinicians) roundTrip() {
	want := Nurse()
	s.ok(s.store.Commit(s.Context(), Employed(want)))
	is := s.now(want.Subject)
	want.Version = is.Version
	s.equal("clinician", is, &want)
	if is.Version == clinician.Absent {
		s.Error("it has no version")
	}
	next := *is
	next.LoginActive, next.Identifier, next.Products, next.Groups, next.LastDay, next.N = false, "", nil, nil, "", 2
	change := Employed(next)
	s.ok(s.store.Commit(s.Context(), change))
	is, committed, err := s.store.Reopen(s.Context(), change.Record)
	s.ok(err)
	s.equal("committed", committed, true)
	next.Version, next.Products, next.Groups = is.Version, []string{}, []string{}
	s.equal("clinician, changed", is, &next)
	opened, err := s.store.Open(s.Context(), Record(want.Subject, audit.ChangeClinician), "nobody-has-"+Random())
	s.ok(err)
	s.equal("opened", opened, clinician.Opened{Clinician: &next})
}

func (s clinicians) unknown() {
	who := Nurse()
	s.equal("read", s.now(who.Subject), (*clinician.Clinician)(nil))
	opened, err := s.store.Open(s.Context(), Record(who.Subject, audit.CreateClinician), who.Identifier)
	s.ok(err)
	s.equal("opened", opened, clinician.Opened{})
	is, committed, err := s.store.Reopen(s.Context(), Record(who.Subject, audit.CreateClinician))
	s.ok(err)
	s.equal("reopened", is, (*clinician.Clinician)(nil))
	s.equal("committed", committed, false)
	claim, err := s.store.Claim(s.Context(), who.Identifier)
	s.ok(err)
	s.equal("claim", claim, (*clinician.Claim)(nil))
}

func (s clinicians) atomic() {
	first := Employed(Nurse())
	s.ok(s.store.Commit(s.Context(), first))
	s.conflict("the repeat of what landed", s.store.Commit(s.Context(), first))
	again := Employed(first.Clinician)
	s.conflict("a second of that id", s.store.Commit(s.Context(), again))
	stale := *s.now(first.Clinician.Subject)
	moved := stale
	moved.N = 2
	s.ok(s.store.Commit(s.Context(), Employed(moved)))
	s.conflict("a stale version", s.store.Commit(s.Context(), Employed(stale)))
	same := Employed(*s.now(first.Clinician.Subject))
	same.Record = first.Record
	s.conflict("a record that is there", s.store.Commit(s.Context(), same))
	other := Employed(Nurse())
	other.Record.Subject = Nurse().Subject
	if err := s.store.Commit(s.Context(), other); err == nil || errors.Is(err, commit.ErrConflict) {
		s.Errorf("the record of another: got %v, want an error that is no conflict", err)
	}
	for _, r := range []audit.Record{again.Record, other.Record} {
		_, committed, err := s.store.Reopen(s.Context(), r)
		s.ok(err)
		s.equal("committed", committed, false)
	}
}

// claimOf draws the claim of a clinician.
func claimOf(c clinician.Clinician) clinician.Claim {
	return clinician.Claim{Identifier: c.Identifier, Clinician: c.Subject, Try: Random(), At: Start}
}

func (s clinicians) race() {
	identifier := Nurse().Identifier
	won := make([]error, racers)
	tries := make([]clinician.Claim, racers)
	var ready, done sync.WaitGroup
	ready.Add(1)
	for i := range won {
		tries[i] = claimOf(Nurse())
		tries[i].Identifier = identifier
		done.Go(func() {
			ready.Wait()
			_, won[i] = s.store.Put(s.Context(), tries[i])
		})
	}
	ready.Done()
	done.Wait()
	is, err := s.store.Claim(s.Context(), identifier)
	s.ok(err)
	winners := 0
	for i, err := range won {
		if err != nil {
			s.conflict("a loser", err)
			continue
		}
		winners++
		tries[i].Version = is.Version
		s.equal("claim", is, &tries[i])
	}
	s.equal("winners", winners, 1)
}

func (s clinicians) claims() {
	claim := claimOf(Nurse())
	version, err := s.store.Put(s.Context(), claim)
	s.ok(err)
	_, err = s.store.Put(s.Context(), claim)
	s.conflict("a second insert", err)
	claim.Version, claim.Confirmed = version, true
	next, err := s.store.Put(s.Context(), claim)
	s.ok(err)
	if next == version || next == clinician.Absent {
		s.Errorf("the version was %q and is %q", version, next)
	}
	_, err = s.store.Put(s.Context(), claim)
	s.conflict("a stale version", err)
	is, err := s.store.Claim(s.Context(), claim.Identifier)
	s.ok(err)
	claim.Version = next
	s.equal("claim", is, &claim)
	opened, err := s.store.Open(s.Context(), Record(claim.Clinician, audit.ChangeClinician), claim.Identifier)
	s.ok(err)
	s.equal("opened", opened, clinician.Opened{Claim: &claim})
}

// let gives a new device a session.
func (s clinicians) let(active bool) (of subject.ID, c activation.Credential) {
	s.Helper()
	of = Device()
	c = activation.Credential{Session: Random(), Key: Hash()}
	s.ok(s.devices.Commit(s.Context(), activation.Change{
		Head:  activation.Head{Subject: of, Active: active, N: 1, Credentials: []activation.Credential{c}},
		Added: []activation.Credential{c}, Record: Record(of, audit.RedeemActivation),
	}))
	return of, c
}

func (s clinicians) login() {
	claim := claimOf(Nurse())
	version, err := s.store.Put(s.Context(), claim)
	s.ok(err)
	claim.Version = version
	of, c := s.let(true)
	through := clinician.Through{Device: of, Session: c.Session, Token: Random()}
	live, is, err := s.store.Enter(s.Context(), through, claim.Identifier)
	s.ok(err)
	s.equal("live", live, true)
	s.equal("claim", is, &claim)

	record := Record(of, audit.LogIn)
	record.N, record.Clinician, record.Identifier = 0, claim.Clinician.Name, claim.Identifier
	live, committed, err := s.store.Repass(s.Context(), c.Session, record)
	s.ok(err)
	s.equal("before: live and committed", [2]bool{live, committed}, [2]bool{true, false})
	s.ok(s.store.Pass(s.Context(), c.Session, record))
	s.conflict("the repeat of what landed", s.store.Pass(s.Context(), c.Session, record))
	live, committed, err = s.store.Repass(s.Context(), c.Session, record)
	s.ok(err)
	s.equal("after: live and committed", [2]bool{live, committed}, [2]bool{true, true})

	head, _, err := s.devices.Reopen(s.Context(), Record(of, audit.RevokeAuthorisation))
	s.ok(err)
	s.equal("the head did not move", head.N, int64(1))
	head.N, head.Credentials = 2, nil
	s.ok(s.devices.Commit(s.Context(), activation.Change{
		Head: head, Removed: []activation.Credential{c}, Record: Record(of, audit.RevokeAuthorisation),
	}))
	late := Record(of, audit.LogIn)
	s.conflict("a session that has ended", s.store.Pass(s.Context(), c.Session, late))
	live, committed, err = s.store.Repass(s.Context(), c.Session, late)
	s.ok(err)
	s.equal("ended: live and committed", [2]bool{live, committed}, [2]bool{false, false})
	live, _, err = s.store.Enter(s.Context(), through, claim.Identifier)
	s.ok(err)
	s.equal("ended: live", live, false)
}

func (s clinicians) meet() {
	who := Nurse()
	s.ok(s.store.Commit(s.Context(), Employed(who)))
	met := func(of, whom subject.ID) (bool, bool) {
		s.Helper()
		is, active, err := s.store.Meet(s.Context(), Record(of, audit.LogIn), whom)
		s.ok(err)
		if is != nil {
			s.equal("whom", is.Subject, whom)
		}
		return is != nil, active
	}
	of, _ := s.let(true)
	inactive, _ := s.let(false)
	for _, c := range []struct {
		name          string
		of, whom      subject.ID
		known, active bool
	}{
		{"both", of, who.Subject, true, true},
		{"an inactive device", inactive, who.Subject, true, false},
		{"a device that nobody knows", Device(), who.Subject, true, false},
		{"a clinician that nobody knows", of, Nurse().Subject, false, true},
	} {
		known, active := met(c.of, c.whom)
		s.equal(c.name, [2]bool{known, active}, [2]bool{c.known, c.active})
	}
}

func (s clinicians) apart() {
	claim := claimOf(Nurse())
	_, err := s.store.Put(s.Context(), claim)
	s.ok(err)
	for _, other := range []string{claim.Identifier + "0", claim.Identifier[:len(claim.Identifier)-1], " " + claim.Identifier, "z" + claim.Identifier[1:]} {
		is, err := s.store.Claim(s.Context(), other)
		s.ok(err)
		s.equal(other, is, (*clinician.Claim)(nil))
	}
}

func (s clinicians) over() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	c := Nurse()
	record := Record(Device(), audit.LogIn)
	_, openErr := s.store.Open(ctx, Employed(c).Record, c.Identifier)
	_, _, reopenErr := s.store.Reopen(ctx, Employed(c).Record)
	_, readErr := s.store.Clinician(ctx, c.Subject)
	_, claimErr := s.store.Claim(ctx, c.Identifier)
	_, putErr := s.store.Put(ctx, claimOf(c))
	_, _, enterErr := s.store.Enter(ctx, clinician.Through{Device: record.Subject, Session: "sid", Token: "jti"}, c.Identifier)
	_, _, meetErr := s.store.Meet(ctx, record, c.Subject)
	_, _, repassErr := s.store.Repass(ctx, "sid", record)
	for name, err := range map[string]error{
		"Open": openErr, "Reopen": reopenErr, "Clinician": readErr, "Claim": claimErr, "Put": putErr, "Enter": enterErr, "Meet": meetErr,
		"Repass": repassErr, "Commit": s.store.Commit(ctx, Employed(c)), "Pass": s.store.Pass(ctx, "sid", record),
	} {
		if !errors.Is(err, context.Canceled) {
			s.Errorf("%s: got %v, want context.Canceled", name, err)
		}
	}
}
