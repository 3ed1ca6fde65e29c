package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// Device draws a device.
func Device() subject.ID { return subject.ID{Kind: subject.Device, Name: "D-" + Random()} }

// Making makes the change that a new device is.
func Making(head activation.Head, location string) activation.Change {
	head.N++
	head.Device = &activation.Device{
		Description: "The tablet at the \u0144orth door", Location: location, Changes: 1,
		Created: Start, CreatedBy: "tenant/ward", Modified: Start, ModifiedBy: "tenant/ward",
	}
	change := activation.Change{Head: head, Record: Record(head.Subject, audit.CreateDevice)}
	change.Record.N = head.N
	return change
}

// Turning makes the change that a device is inactive from, or comes back with.
func Turning(head activation.Head, active bool) activation.Change {
	change := activation.Change{Record: Record(head.Subject, audit.ChangeDevice)}
	change.Record.Changed = &audit.DeviceFields{Active: &active}
	head.N++
	head.Active = active
	device := *head.Device
	device.Changes++
	head.Device = &device
	if active {
		change.Dropped = head.Held
		for _, c := range head.Held {
			change.Added = append(change.Added, activation.Credential{Session: Random(), Key: c.Key})
		}
		head.Credentials, head.Held = change.Added, nil
	} else {
		change.Suspended = head.Credentials
		for _, c := range head.Credentials {
			change.Record.Sessions = strings.TrimSpace(change.Record.Sessions + " " + c.Session)
		}
		head.Credentials, head.Held = nil, head.Credentials
	}
	change.Head, change.Record.N = head, head.N
	return change
}

func (s *suite) credential(of subject.ID, key keyed.Hash) *activation.Credential {
	s.Helper()
	c, err := s.store.Credential(s.Context(), of, []keyed.Hash{key})
	s.ok(err)
	return c
}

func (s *suite) device() {
	of := Device()
	made := Making(s.head(of), "ward-7")
	head := s.commit(made)
	made.Head.Version = head.Version
	s.equal("made", head, made.Head)
	// What another change merges leaves its fields.
	head = s.commit(Creation(head, Start))
	s.equal("its fields", head.Device, made.Head.Device)
	other := Device()
	heads, err := s.store.Heads(s.Context(), []subject.ID{other, of})
	s.ok(err)
	s.equal("heads", heads, []activation.Head{{Subject: other, Active: true}, head})
	none, err := s.store.Heads(s.Context(), nil)
	s.ok(err)
	s.equal("no heads", len(none), 0)
}

func (s *suite) aside() {
	of := Device()
	head := s.commit(Making(s.head(of), "ward-7"))
	head = s.commit(Redemption(s.commit(Creation(head, Start)), Start))
	was := head.Credentials[0]
	live := func(sid string) bool {
		s.Helper()
		live, err := s.store.Session(s.Context(), of, sid, Random())
		s.ok(err)
		return live
	}
	off := Turning(head, false)
	head = s.commit(off)
	off.Head.Version = head.Version
	s.equal("inactive", head, off.Head)
	s.equal("the credential of an inactive device", s.credential(of, was.Key), (*activation.Credential)(nil))
	s.equal("its session lives", live(was.Session), false)
	s.ok(s.store.Touch(s.Context(), of, was.Key, Start))
	s.equal("touched", s.credential(of, was.Key), (*activation.Credential)(nil))

	// Nothing is put aside, or comes back, that is not there; and then nothing else is done.
	for name, spoil := range map[string]func(*activation.Change){
		"aside twice":         func(c *activation.Change) { c.Suspended, c.Dropped, c.Added = []activation.Credential{was}, nil, nil },
		"back, and was never": func(c *activation.Change) { c.Dropped = []activation.Credential{Credential()} },
	} {
		change := Turning(head, true)
		spoil(&change)
		if err := s.store.Commit(s.Context(), change); !errors.Is(err, commit.ErrConflict) {
			s.Errorf("%s: got %v, want ErrConflict", name, err)
		}
	}
	s.equal("head", s.head(of), head)

	on := Turning(head, true)
	head = s.commit(on)
	back := on.Added[0]
	s.equal("active again", head.Credentials, []activation.Credential{back})
	s.equal("held", len(head.Held), 0)
	s.equal("the credential", s.credential(of, was.Key), stored(back))
	s.equal("the old session lives", live(was.Session), false)
	s.equal("the new one lives", live(back.Session), true)

	// A redemption, or an end, takes what was put aside with it.
	head = s.commit(Turning(head, false))
	head.N++
	gone := activation.Change{Dropped: head.Held, Record: Record(of, audit.RevokeAuthorisation)}
	head.Held, gone.Record.N = nil, head.N
	gone.Head = head
	head = s.commit(gone)
	s.equal("held in the end", len(head.Held), 0)
	again := Turning(head, true)
	again.Dropped = []activation.Credential{back}
	s.conflict(s.store.Commit(s.Context(), again))
}

func (s *suite) used() {
	of := Device()
	head := s.commit(Making(s.head(of), "ward-7"))
	head = s.commit(Redemption(s.commit(Creation(head, Start)), Start))
	c := head.Credentials[0]
	record := Record(of, audit.IssueToken)
	record.N = 0
	s.ok(s.store.Announce(s.Context(), record))
	s.ok(s.store.Announce(s.Context(), record)) // as after a lost reply
	reuse := func(record audit.Record, keys ...keyed.Hash) (*activation.Credential, bool) {
		s.Helper()
		found, committed, err := s.store.Reuse(s.Context(), record, keys)
		s.ok(err)
		return found, committed
	}
	found, committed := reuse(record, Hash(), c.Key)
	s.equal("found", found, stored(c))
	s.equal("committed before", committed, false)
	s.ok(s.store.Used(s.Context(), c.Key, record))
	found, committed = reuse(record, c.Key)
	want := *stored(c)
	want.Used = Start.Truncate(time.Hour)
	s.equal("used", found, &want)
	s.equal("committed", committed, true)
	s.equal("head", s.head(of), head) // a token moves no head
	s.conflict(s.store.Used(s.Context(), c.Key, record))

	other := Record(of, audit.IssueToken)
	s.conflict(s.store.Used(s.Context(), Hash(), other))
	head = s.commit(Turning(head, false))
	s.conflict(s.store.Used(s.Context(), c.Key, other))
	found, committed = reuse(other, c.Key)
	s.equal("of an inactive device", found, (*activation.Credential)(nil))
	s.equal("a token of an inactive device", committed, false)
	s.equal("inactive", s.head(of), head)
}

func (s *suite) lists() {
	ward, other := "Ward-"+Random(), "Ward-"+Random()
	var ids []string
	for _, suffix := range []string{"", "-", "0", "A", "a", "aa", "b", "z.9"} {
		of := subject.ID{Kind: subject.Device, Name: ward + suffix}
		ids = append(ids, of.Name)
		s.ok(s.store.Enlist(s.Context(), of, []string{ward, activation.EveryDevice}, Start))
	}
	slices.Sort(ids)
	second := subject.ID{Kind: subject.Device, Name: ids[1]}
	s.ok(s.store.Enlist(s.Context(), second, []string{other, ward}, Start.Add(time.Hour))) // it is there, and stays
	read := func(after string, limit int, lists ...string) (all [][]string) {
		s.Helper()
		found, err := s.store.Listed(s.Context(), lists, after, limit)
		s.ok(err)
		for _, list := range found {
			names := []string{}
			for _, of := range list {
				s.equal("kind", of.Kind, subject.Device)
				names = append(names, of.Name)
			}
			all = append(all, names)
		}
		return all
	}
	s.equal("all of a ward", read("", 100, ward), [][]string{ids})
	s.equal("two lists", read("", 100, other, ward), [][]string{{second.Name}, ids})
	s.equal("nowhere", read("", 100, "nowhere-"+Random()), [][]string{{}})
	for _, limit := range []int{1, 3, len(ids)} {
		var paged []string
		for after := ""; ; {
			page := read(after, limit, ward)[0]
			paged = append(paged, page...)
			if len(page) < limit || len(paged) > len(ids) {
				break
			}
			after = page[len(page)-1]
		}
		s.equal(fmt.Sprintf("pages of %d", limit), paged, ids)
	}
	every := read(ward[:len(ward)-1], len(ids), activation.EveryDevice)[0]
	s.equal("among all devices", every, ids)
	if err := s.store.Enlist(s.Context(), Patient(), []string{ward}, Start); err == nil || errors.Is(err, commit.ErrConflict) {
		s.Errorf("a patient was put into a list of devices: %v", err)
	}
}
