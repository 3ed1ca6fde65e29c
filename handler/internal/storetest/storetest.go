// Package storetest holds every activation.Store to one contract: what package activation relies on, and no more. A store
// that passes may stand in for another.
package storetest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// stored is a credential as it is read: with the time of the record that it came with.
func stored(c activation.Credential) *activation.Credential {
	c.Created = Start
	return &c
}

// Store is what is tested.
type Store interface {
	activation.Store
	Endings(ctx context.Context, since time.Time) ([]activation.Ending, error)
}

// Start is the time at which the examples begin.
var Start = time.Date(2026, 3, 1, 9, 30, 0, 123e6, time.UTC)

// Random draws a lower-case word of 26 characters, as ids of records and sessions are.
func Random() string { return strings.ToLower(rand.Text()) }

// Hash draws a keyed hash.
func Hash() keyed.Hash { return keyed.Hash{Version: "v0000001", Sum: Random() + Random()} }

// UUID draws a version 7 UUID for a time.
func UUID(at time.Time) activation.UUID {
	u := uuid.New()
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(u[:6], ms[2:])
	u[6] = u[6]&0x0f | 0x70
	return u
}

// Patient draws a subject.
func Patient() subject.ID { return subject.ID{Kind: subject.Patient, Name: "Pt-" + Random()} }

// Record draws the record of a change.
func Record(of subject.ID, what audit.Action) audit.Record {
	return audit.Record{
		ID: Random(), Time: Start, Announced: Start, Action: what, Outcome: audit.Allowed, Subject: of, N: 1,
		Origin: audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "clinic"}, Source: "192.0.2.1", Trace: "0af7651916cd43dd8448eb211c80319c"},
	}
}

// Credential draws a credential.
func Credential() activation.Credential {
	return activation.Credential{Session: Random(), Key: Hash()}
}

// Creation makes the change that a first or a further activation of a subject is.
func Creation(head activation.Head, at time.Time) activation.Change {
	a := activation.Activation{
		ID: UUID(at), Subject: head.Subject, Status: activation.Pending, Created: at, CreatedBy: "tenant/clinic",
		Modified: at, ModifiedBy: "tenant/clinic", Expires: at.Add(48 * time.Hour),
	}
	change := activation.Change{Created: &a, Record: Record(head.Subject, audit.CreateActivation)}
	if head.Invitation != nil {
		change.Ended = []activation.Step{{Activation: head.Invitation.Activation, Status: activation.Revoked, Why: audit.ReasonReplaced, At: at, By: "tenant/clinic"}}
	}
	head.N++
	head.Invitation = &activation.Invitation{Activation: a.ID, OTP: "$argon2id$stored", Attempts: 0, Expires: a.Expires}
	change.Head, change.Record.N, change.Record.Activation = head, head.N, a.ID.String()
	return change
}

// Redemption makes the change that completes the pending activation: old credentials go, one comes.
func Redemption(head activation.Head, at time.Time) activation.Change {
	won := Credential()
	change := activation.Change{
		Ended:   []activation.Step{{Activation: head.Invitation.Activation, Status: activation.Completed, At: at, By: "anonymous"}},
		Removed: head.Credentials, Added: []activation.Credential{won},
		Record: Record(head.Subject, audit.RedeemActivation),
	}
	head.N++
	head.Invitation, head.Credentials = nil, []activation.Credential{won}
	change.Head, change.Record.N = head, head.N
	return change
}

// suite is a store with the test that uses it.
type suite struct {
	*testing.T
	store Store
}

// Run runs the whole contract on stores that start makes. They may share their rows: every test has subjects of its own.
func Run(t *testing.T, start func(t *testing.T) Store) {
	for name, test := range map[string]func(*suite){
		"a subject without a row is active":              (*suite).fresh,
		"what is committed is read again":                (*suite).roundTrip,
		"a change carries every field":                   (*suite).fields,
		"a stale version is refused":                     (*suite).stale,
		"each precondition alone refuses the whole":      (*suite).atomic,
		"a change is of one subject":                     (*suite).oneSubject,
		"one of many first commits wins":                 (*suite).firstRace,
		"one of many later commits wins":                 (*suite).laterRace,
		"one of many wins whatever is lost":              (*suite).lossRace,
		"an intent changes nothing":                      (*suite).announced,
		"a record is found whatever became of the head":  (*suite).reopen,
		"a code belongs to one activation":               (*suite).claim,
		"a code ends once":                               (*suite).endCode,
		"the first key with a row counts":                (*suite).keys,
		"a use is noted to the hour and revives nothing": (*suite).touch,
		"a session lives as long as its credential":      (*suite).session,
		"all credentials are listed, with the head":      (*suite).credentials,
		"a label is kept, and revives nothing":           (*suite).label,
		"a token ends once, and nothing else does":       (*suite).token,
		"an ending is published once, and taken back":    (*suite).feed,
		"a device has its own fields":                    (*suite).device,
		"a credential is put aside and comes back":       (*suite).aside,
		"a token is recorded while its credential lives": (*suite).used,
		"devices are listed in their order, by pages":    (*suite).lists,
		"activations are listed newest first, by pages":  (*suite).pages,
		"subjects do not meet":                           (*suite).apart,
		"a context that is over is an error":             (*suite).over,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(&suite{T: t, store: start(t)})
		})
	}
}

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) equal(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (s *suite) conflict(err error) {
	s.Helper()
	if !errors.Is(err, commit.ErrConflict) {
		s.Fatalf("got %v, want ErrConflict", err)
	}
}

// head reads a subject's head without announcing anything.
func (s *suite) head(of subject.ID) activation.Head {
	s.Helper()
	head, _, err := s.store.Reopen(s.Context(), Record(of, audit.ListActivations))
	s.ok(err)
	return head
}

func (s *suite) commit(change activation.Change) activation.Head {
	s.Helper()
	s.ok(s.store.Commit(s.Context(), change))
	return s.head(change.Head.Subject)
}

// let brings a new subject in: a created activation, redeemed.
func (s *suite) let(of subject.ID) activation.Head {
	s.Helper()
	return s.commit(Redemption(s.commit(Creation(s.head(of), Start)), Start.Add(time.Minute)))
}

func (s *suite) committed(record audit.Record) bool {
	s.Helper()
	_, committed, err := s.store.Reopen(s.Context(), record)
	s.ok(err)
	return committed
}

func (s *suite) fresh() {
	of := Patient()
	want := activation.Head{Subject: of, Version: activation.Absent, Active: true}
	opened, err := s.store.Open(s.Context(), activation.Opening{Record: Record(of, audit.CreateActivation), Activation: UUID(Start)})
	s.ok(err)
	s.equal("opened", opened, activation.Opened{Head: want})
	s.equal("reopened", s.head(of), want)
	a, err := s.store.Activation(s.Context(), of, UUID(Start))
	s.ok(err)
	s.equal("activation", a, (*activation.Activation)(nil))
	list, err := s.store.Activations(s.Context(), of, uuid.Nil, 10)
	s.ok(err)
	s.equal("activations", len(list), 0)
	c, err := s.store.Credential(s.Context(), of, []keyed.Hash{Hash()})
	s.ok(err)
	s.equal("credential", c, (*activation.Credential)(nil))
	code, err := s.store.Code(s.Context(), []keyed.Hash{Hash()})
	s.ok(err)
	s.equal("code", code, (*activation.Code)(nil))
}

func (s *suite) roundTrip() {
	of := Patient()
	created := Creation(s.head(of), Start)
	s.ok(s.store.Commit(s.Context(), created))
	record := Record(of, audit.RedeemActivation)
	opened, err := s.store.Open(s.Context(), activation.Opening{Record: record, Activation: created.Created.ID})
	s.ok(err)
	if opened.Head.Version == activation.Absent {
		s.Fatal("the head has no version")
	}
	created.Head.Version = opened.Head.Version
	s.equal("head", opened.Head, created.Head)
	s.equal("activation", opened.Activation, created.Created)

	at := Start.Add(time.Hour)
	redeemed := Redemption(opened.Head, at)
	s.ok(s.store.Commit(s.Context(), redeemed))
	head := s.head(of)
	if head.Version == opened.Head.Version {
		s.Error("the head kept its version")
	}
	redeemed.Head.Version = head.Version
	s.equal("head", head, redeemed.Head)
	used := *created.Created
	used.Status, used.Modified, used.ModifiedBy, used.Redeemed = activation.Completed, at, "anonymous", at
	a, err := s.store.Activation(s.Context(), of, used.ID)
	s.ok(err)
	s.equal("activation", a, &used)
	won := redeemed.Added[0]
	c, err := s.store.Credential(s.Context(), of, []keyed.Hash{won.Key})
	s.ok(err)
	s.equal("credential", c, stored(won))
}

func (s *suite) fields() {
	of := Patient()
	change := Creation(s.head(of), Start)
	change.Head.Active = false
	change.Head.N = 1<<53 + 1 // more than a float holds
	change.Head.Invitation.Attempts = 7
	for range activation.MaxCredentials {
		c := Credential()
		change.Added, change.Head.Credentials = append(change.Added, c), append(change.Head.Credentials, c)
	}
	head := s.commit(change)
	change.Head.Version = head.Version
	s.equal("head", head, change.Head)

	next := head
	next.Active, next.Invitation, next.Credentials = true, nil, nil
	head = s.commit(activation.Change{
		Head: next, Removed: head.Credentials, Record: Record(of, audit.RevokeActivation),
		Ended: []activation.Step{{Activation: change.Created.ID, Status: activation.Revoked, Why: audit.ReasonLocked, At: Start.Add(time.Hour), By: "somebody"}},
	})
	next.Version = head.Version
	s.equal("head", head, next)
	a, err := s.store.Activation(s.Context(), of, change.Created.ID)
	s.ok(err)
	ended := *change.Created
	ended.Status, ended.Ended, ended.Modified, ended.ModifiedBy = activation.Revoked, audit.ReasonLocked, Start.Add(time.Hour), "somebody"
	s.equal("activation", a, &ended)
}

func (s *suite) stale() {
	of := Patient()
	first := s.commit(Creation(s.head(of), Start))
	second := s.commit(Creation(first, Start.Add(time.Minute)))
	for name, version := range map[string]activation.Version{"older": first.Version, "absent": activation.Absent} {
		old := second
		old.Version = version
		change := Creation(old, Start.Add(time.Hour))
		s.conflict(s.store.Commit(s.Context(), change))
		s.equal(name, s.head(of), second)
		s.equal(name+": record", s.committed(change.Record), false)
	}
	// A version of a head that is not there.
	gone := activation.Head{Subject: Patient(), Version: second.Version, Active: true}
	s.conflict(s.store.Commit(s.Context(), Creation(gone, Start)))
	s.equal("no head", s.head(gone.Subject).Version, activation.Absent)
}

// state is all that can be read of a subject and of what a change would do to it.
type state struct {
	Head        activation.Head
	Activations []activation.Activation
	Credentials []*activation.Credential
	Live        []bool
	Committed   bool
}

func (s *suite) state(change activation.Change, also ...activation.Credential) (now state) {
	s.Helper()
	of, ctx := change.Head.Subject, s.Context()
	var err error
	now.Head, now.Committed, err = s.store.Reopen(ctx, change.Record)
	s.ok(err)
	now.Activations, err = s.store.Activations(ctx, of, uuid.Nil, 100)
	s.ok(err)
	for _, c := range append(append(also, change.Added...), change.Removed...) {
		found, err := s.store.Credential(ctx, of, []keyed.Hash{c.Key})
		s.ok(err)
		live, err := s.store.Session(ctx, of, c.Session, Random())
		s.ok(err)
		now.Credentials, now.Live = append(now.Credentials, found), append(now.Live, live)
	}
	return now
}

func (s *suite) atomic() {
	of := Patient()
	old := s.let(of)
	earlier := Creation(old, Start.Add(2*time.Minute))
	head := s.commit(earlier)
	is := head.Credentials[0]
	for name, spoil := range map[string]func(*activation.Change){
		"the head moved":           func(c *activation.Change) { c.Head.Version = old.Version },
		"the head is said absent":  func(c *activation.Change) { c.Head.Version = activation.Absent },
		"the activation exists":    func(c *activation.Change) { c.Created.ID = head.Invitation.Activation; c.Ended = nil },
		"the ended one is missing": func(c *activation.Change) { c.Ended[0].Activation = UUID(Start) },
		"the added key exists":     func(c *activation.Change) { c.Removed = nil; c.Added[0].Key = is.Key },
		"the added session exists": func(c *activation.Change) { c.Removed = nil; c.Added[0].Session = is.Session },
		"the removed key is missing": func(c *activation.Change) {
			c.Removed = []activation.Credential{{Session: is.Session, Key: Hash()}}
		},
		"the removed session is missing": func(c *activation.Change) {
			c.Removed = []activation.Credential{{Session: Random(), Key: is.Key}}
		},
		"the record exists": func(c *activation.Change) { c.Record = earlier.Record },
	} {
		s.Run(name, func(t *testing.T) {
			s := &suite{T: t, store: s.store}
			change := Creation(head, Start.Add(time.Hour))
			won := Credential()
			change.Added, change.Removed = []activation.Credential{won}, []activation.Credential{is}
			change.Head.Credentials = []activation.Credential{won}
			spoil(&change)
			before := s.state(change, is)
			s.conflict(s.store.Commit(s.Context(), change))
			s.equal("state", s.state(change, is), before)
		})
	}
	s.equal("in the end", s.head(of), head)
}

func (s *suite) oneSubject() {
	of := Patient()
	for name, spoil := range map[string]func(*activation.Change){
		"activation": func(c *activation.Change) { c.Created.Subject = Patient() },
		"record":     func(c *activation.Change) { c.Record.Subject = Patient() },
	} {
		change := Creation(s.head(of), Start)
		spoil(&change)
		if err := s.store.Commit(s.Context(), change); err == nil || errors.Is(err, commit.ErrConflict) {
			s.Errorf("%s of another subject: got %v, want an error that is no conflict", name, err)
		}
		s.equal(name, s.head(of).Version, activation.Absent)
	}
}

const racers = 16

// race commits all changes at once and expects one of them to win.
func (s *suite) race(changes []activation.Change) {
	s.Helper()
	results := make([]error, len(changes))
	var ready, done sync.WaitGroup
	ready.Add(1)
	for i, change := range changes {
		done.Go(func() {
			ready.Wait()
			results[i] = s.store.Commit(s.Context(), change)
		})
	}
	ready.Done()
	done.Wait()
	winner := -1
	for i, err := range results {
		switch {
		case err == nil && winner >= 0:
			s.Fatalf("%d and %d both won", winner, i)
		case err == nil:
			winner = i
		default:
			s.conflict(err)
		}
	}
	if winner < 0 {
		s.Fatal("nobody won")
	}
	for i, change := range changes {
		s.equal(fmt.Sprintf("record of %d", i), s.committed(change.Record), i == winner)
	}
	head, want := s.head(changes[winner].Head.Subject), changes[winner].Head
	want.Version = head.Version
	s.equal("head", head, want)
}

func (s *suite) firstRace() {
	head := s.head(Patient())
	changes := make([]activation.Change, racers)
	for i := range changes {
		changes[i] = Creation(head, Start)
	}
	s.race(changes)
}

func (s *suite) laterRace() {
	head := s.commit(Creation(s.head(Patient()), Start))
	changes := make([]activation.Change, racers)
	for i := range changes {
		changes[i] = Redemption(head, Start)
	}
	s.race(changes)
}

func (s *suite) reopen() {
	of := Patient()
	first := Creation(s.head(of), Start)
	s.equal("before", s.committed(first.Record), false)
	head := s.commit(first)
	s.equal("after", s.committed(first.Record), true)
	s.conflict(s.store.Commit(s.Context(), first)) // the repeat of what landed is a conflict: Reopen tells why
	second := s.commit(Creation(head, Start.Add(time.Second)))
	got, committed, err := s.store.Reopen(s.Context(), first.Record)
	s.ok(err)
	s.equal("committed", committed, true)
	s.equal("head", got, second)
	other := first.Record
	other.ID = Random()
	s.equal("another record of that time", s.committed(other), false)
}

func (s *suite) claim() {
	of, code := Patient(), activation.Code{Key: Hash(), Activation: UUID(Start), Expires: Start.Add(time.Hour)}
	code.Subject = of
	open := func(code activation.Code) error {
		_, err := s.store.Open(s.Context(), activation.Opening{Record: Record(of, audit.CreateActivation), Code: &code})
		return err
	}
	s.ok(open(code))
	s.ok(open(code)) // our own earlier try
	stranger, other := code, code
	stranger.Subject, other.Activation = Patient(), UUID(Start)
	for name, taken := range map[string]activation.Code{"another subject": stranger, "another activation": other} {
		if err := open(taken); !errors.Is(err, activation.ErrCodeTaken) {
			s.Errorf("%s: got %v, want ErrCodeTaken", name, err)
		}
	}
	found, err := s.store.Code(s.Context(), []keyed.Hash{code.Key})
	s.ok(err)
	code.Version = found.Version
	s.equal("code", found, &code)
}

func (s *suite) endCode() {
	of := Patient()
	code := activation.Code{Key: Hash(), Subject: of, Activation: UUID(Start), Expires: Start.Add(time.Hour)}
	_, err := s.store.Open(s.Context(), activation.Opening{Record: Record(of, audit.CreateActivation), Code: &code})
	s.ok(err)
	read := func() activation.Code {
		s.Helper()
		found, err := s.store.Code(s.Context(), []keyed.Hash{code.Key})
		s.ok(err)
		return *found
	}
	live := read()
	s.ok(s.store.EndCode(s.Context(), live, Start.Add(time.Minute), audit.ReasonUsed))
	want := live
	want.Ended, want.EndedFor = Start.Add(time.Minute), audit.ReasonUsed
	ended := read()
	want.Version = ended.Version
	s.equal("ended", ended, want)
	s.ok(s.store.EndCode(s.Context(), live, Start.Add(time.Hour), audit.ReasonRevoked))
	s.equal("after a stale end", read(), ended)
	if err := s.store.EndCode(s.Context(), code, Start, audit.ReasonUsed); err == nil {
		s.Error("a code was ended without the version that was read")
	}
	never := live
	never.Key = Hash()
	s.ok(s.store.EndCode(s.Context(), never, Start, audit.ReasonUsed))
	found, err := s.store.Code(s.Context(), []keyed.Hash{never.Key})
	s.ok(err)
	s.equal("a code that never was", found, (*activation.Code)(nil))
}

func (s *suite) keys() {
	of := Patient()
	head := s.let(of)
	a, none := head.Credentials[0], Hash()
	for name, keys := range map[string][]keyed.Hash{"first": {a.Key, none}, "second": {none, a.Key}} {
		c, err := s.store.Credential(s.Context(), of, keys)
		s.ok(err)
		s.equal(name, c, stored(a))
	}
	c, err := s.store.Credential(s.Context(), of, []keyed.Hash{none, Hash()})
	s.ok(err)
	s.equal("none", c, (*activation.Credential)(nil))
	c, err = s.store.Credential(s.Context(), of, nil)
	s.ok(err)
	s.equal("no keys", c, (*activation.Credential)(nil))
}

func (s *suite) touch() {
	of := Patient()
	head := s.let(of)
	c := head.Credentials[0]
	s.ok(s.store.Touch(s.Context(), of, c.Key, Start))
	found, err := s.store.Credential(s.Context(), of, []keyed.Hash{c.Key})
	s.ok(err)
	touched := *stored(c)
	touched.Used = Start.Truncate(time.Hour)
	s.equal("touched", found, &touched)
	s.equal("head", s.head(of), head) // a use moves no head

	head = s.commit(Creation(head, Start.Add(time.Hour)))
	head = s.commit(Redemption(head, Start.Add(time.Hour)))
	s.ok(s.store.Touch(s.Context(), of, c.Key, Start.Add(2*time.Hour)))
	found, err = s.store.Credential(s.Context(), of, []keyed.Hash{c.Key})
	s.ok(err)
	s.equal("removed", found, (*activation.Credential)(nil))
	s.ok(s.store.Touch(s.Context(), Patient(), c.Key, Start))
}

func (s *suite) session() {
	of := Patient()
	head := s.let(of)
	sid := head.Credentials[0].Session
	live := func(of subject.ID, sid string) bool {
		s.Helper()
		live, err := s.store.Session(s.Context(), of, sid, Random())
		s.ok(err)
		return live
	}
	s.equal("live", live(of, sid), true)
	s.equal("another's", live(Patient(), sid), false)
	s.equal("unknown", live(of, Random()), false)
	s.equal("none", live(of, ""), false)
	head = s.commit(Creation(head, Start.Add(time.Hour)))
	s.equal("still", live(of, sid), true)
	s.commit(Redemption(head, Start.Add(time.Hour)))
	s.equal("replaced", live(of, sid), false)
}

func (s *suite) pages() {
	of := Patient()
	head := s.head(of)
	var want []activation.UUID // newest first
	for i := range 25 {
		change := Creation(head, Start.Add(time.Duration(i/2)*time.Millisecond)) // pairs of one time
		head = s.commit(change)
		want = append([]activation.UUID{change.Created.ID}, want...)
	}
	list := func(after activation.UUID, limit int) (ids []activation.UUID) {
		s.Helper()
		page, err := s.store.Activations(s.Context(), of, after, limit)
		s.ok(err)
		if len(page) > limit {
			s.Errorf("%d activations, more than the %d asked for", len(page), limit)
		}
		for _, a := range page {
			ids = append(ids, a.ID)
		}
		return ids
	}
	all := list(uuid.Nil, 100)
	s.equal("number", len(all), len(want))
	for i, id := range all {
		if i > 0 && activation.Drawn(id).After(activation.Drawn(all[i-1])) {
			s.Fatalf("%d is newer than the one before it", i)
		}
	}
	for _, limit := range []int{1, 7, 10, 25, 26} {
		var paged []activation.UUID
		for after := uuid.Nil; ; {
			page := list(after, limit)
			paged = append(paged, page...)
			if len(page) < limit || len(paged) > len(all) {
				break
			}
			after = page[len(page)-1]
		}
		s.equal(fmt.Sprintf("pages of %d", limit), paged, all)
	}
	s.equal("no room", len(list(uuid.Nil, 0)), 0)
	// A place to begin need not be an activation's.
	s.equal("after the newest time", len(list(UUID(Start.Add(time.Hour)), 100)), len(all))
	s.equal("after the oldest time", len(list(UUID(Start.Add(-time.Hour)), 100)), 0)
}

func (s *suite) apart() {
	one := Patient()
	head := s.let(one)
	for name, other := range map[string]subject.ID{
		"another kind": {Kind: subject.Device, Name: one.Name},
		"another case": {Kind: subject.Patient, Name: strings.ToLower(one.Name)},
		"a longer one": {Kind: subject.Patient, Name: one.Name + "0"},
	} {
		s.equal(name, s.head(other).Version, activation.Absent)
		c, err := s.store.Credential(s.Context(), other, []keyed.Hash{head.Credentials[0].Key})
		s.ok(err)
		s.equal(name, c, (*activation.Credential)(nil))
		list, err := s.store.Activations(s.Context(), other, uuid.Nil, 10)
		s.ok(err)
		s.equal(name, len(list), 0)
	}
}

func (s *suite) over() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	of := Patient()
	change := Creation(s.head(of), Start)
	_, openErr := s.store.Open(ctx, activation.Opening{Record: change.Record})
	_, codeErr := s.store.Code(ctx, []keyed.Hash{Hash()})
	_, listErr := s.store.Activations(ctx, of, uuid.Nil, 1)
	_, credentialErr := s.store.Credential(ctx, of, []keyed.Hash{Hash()})
	for name, err := range map[string]error{
		"Open": openErr, "Code": codeErr, "Activations": listErr, "Credential": credentialErr, "Commit": s.store.Commit(ctx, change),
	} {
		if !errors.Is(err, context.Canceled) {
			s.Errorf("%s: got %v, want context.Canceled", name, err)
		}
	}
}
