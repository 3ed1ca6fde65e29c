package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/subject"
)

// identities is an identity.Store with the test that uses it.
type identities struct {
	*testing.T
	store identity.Store
}

// Identities holds every identity.Store to what package identity relies on. Stores may share their rows: each test has an issuer
// of its own.
func Identities(t *testing.T, store identity.Store) {
	for name, test := range map[string]func(identities){
		"what is committed is read again":          identities.roundTrip,
		"an identity that nobody knows is none":    identities.unknown,
		"each precondition alone refuses":          identities.atomic,
		"a change is of one identity":              identities.oneIdentity,
		"one of many wins whatever they write":     identities.race,
		"a record is found, whatever came after":   identities.reopen,
		"a call is noted to the hour, and alone":   identities.seen,
		"identities are listed by pages, in order": identities.pages,
		"identities do not meet":                   identities.apart,
		"a context that is over is an error":       identities.over,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(identities{t, store})
		})
	}
}

// Caller draws an identity of a tenant of its own.
func Caller() identity.Key { return identity.Key{Issuer: uuid.NewString(), Subject: uuid.NewString()} }

// IdentityRecord draws the record of a change of an identity.
func IdentityRecord(of identity.Key, what audit.Action) audit.Record {
	record := Record(subject.ID{}, what)
	record.Identity = audit.Actor{Issuer: of.Issuer, ID: of.Subject}
	return record
}

// Asked makes the change by which an identity is pending.
func Asked(now identity.Opened, key identity.Key) identity.Change {
	queue := now.Queue
	queue.Pending++
	return identity.Change{
		Identity: identity.Identity{
			Key: key, State: identity.Pending, Kind: identity.App, Created: Start, CreatedBy: "a/b", Modified: Start, ModifiedBy: "a/b", N: 1,
		},
		Queue: &queue, Record: IdentityRecord(key, audit.AskIdentity),
	}
}

// Let makes the change that approves a pending identity.
func Let(now identity.Opened) identity.Change {
	next, queue := *now.Identity, now.Queue
	next.State, next.Label, next.Scopes, next.Modified, next.ModifiedBy = identity.Approved, "Ward 7 – Zoë", []string{"a:b", "c:d"}, Start.Add(time.Minute), "c/d"
	next.N++
	queue.Pending--
	return identity.Change{Identity: next, Queue: &queue, Record: IdentityRecord(next.Key, audit.ApproveIdentity)}
}

func (s identities) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s identities) equal(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (s identities) now(key identity.Key) identity.Opened {
	s.Helper()
	now, _, err := s.store.Reopen(s.Context(), IdentityRecord(key, audit.ReadIdentity))
	s.ok(err)
	return now
}

func (s identities) commit(change identity.Change) identity.Opened {
	s.Helper()
	s.ok(s.store.Commit(s.Context(), change))
	return s.now(change.Identity.Key)
}

func (s identities) conflict(what string, err error) {
	s.Helper()
	if !errors.Is(err, commit.ErrConflict) {
		s.Errorf("%s: got %v, want ErrConflict", what, err)
	}
}

func (s identities) unknown() {
	key := Caller()
	found, err := s.store.Lookup(s.Context(), key)
	s.ok(err)
	s.equal("looked up", found, (*identity.Identity)(nil))
	opened, err := s.store.Open(s.Context(), IdentityRecord(key, audit.AskIdentity))
	s.ok(err)
	s.equal("opened", opened, identity.Opened{})
	s.equal("and not made by that", s.now(key), identity.Opened{})
}

func (s identities) roundTrip() {
	for _, key := range []identity.Key{
		Caller(),
		{Issuer: "https://id.example/" + Random(), Subject: "Zoë O'Neil"},
		{Issuer: "https://id.example/" + strings.Repeat(Random(), 10)[:236], Subject: strings.Repeat("ä", 127) + "x"},
	} {
		change := Asked(s.now(key), key)
		now := s.commit(change)
		want := change.Identity
		want.Version = now.Identity.Version
		s.equal("pending", now.Identity, &want)
		s.equal("queue", now.Queue, identity.Queue{Pending: 1, Version: now.Queue.Version})
		if now.Queue.Version == identity.Absent || want.Version == identity.Absent {
			s.Error("there is no version")
		}

		change = Let(now)
		change.Identity.Seen, change.Identity.Successor = Start.Truncate(time.Hour), identity.Key{Issuer: "https://other.example", Subject: "x"}
		change.Identity.N = 1<<53 + 1 // more than a float holds
		before := now
		now = s.commit(change)
		want = change.Identity
		want.Version = now.Identity.Version
		s.equal("approved", now.Identity, &want)
		s.equal("queue", now.Queue, identity.Queue{Version: now.Queue.Version})
		if now.Identity.Version == before.Identity.Version || now.Queue.Version == before.Queue.Version {
			s.Error("a version stayed")
		}
		found, err := s.store.Lookup(s.Context(), key)
		s.ok(err)
		s.equal("looked up", found, &want)

		change.Identity, change.Queue, change.Record = *now.Identity, nil, IdentityRecord(key, audit.ChangeIdentity)
		change.Identity.State, change.Identity.Label, change.Identity.Scopes = identity.Retired, "", nil
		after := s.commit(change)
		want = change.Identity
		want.Version = after.Identity.Version
		s.equal("retired", after.Identity, &want)
		s.equal("the queue stays", after.Queue, now.Queue)
	}
}

func (s identities) atomic() {
	key := Caller()
	absent := s.now(key)
	asked := Asked(absent, key)
	pending := s.commit(asked)
	other := key
	other.Subject = uuid.NewString()
	second := s.commit(Asked(identity.Opened{Queue: pending.Queue}, other)) // the queue moves
	pending.Queue = second.Queue
	for name, c := range map[string]identity.Change{
		"it is there, and the queue":    Asked(absent, key),
		"it is there":                   Asked(pending, key),
		"the queue is there":            Asked(absent, Caller()),
		"the identity moved":            Let(pending),
		"the queue moved":               Let(pending),
		"the queue is gone":             Let(pending),
		"the identity is gone":          Let(pending),
		"the record is there":           Let(pending),
		"without a queue, it moved":     Let(pending),
		"without a queue, it is there":  Let(pending),
		"without a queue, the record's": Let(pending),
	} {
		switch name {
		case "the queue is there":
			c.Identity.Issuer, c.Record.Identity.Issuer = key.Issuer, key.Issuer
		case "the identity moved":
			c.Identity.Version = second.Identity.Version
		case "the queue moved":
			c.Queue.Version = pending.Identity.Version
		case "the queue is gone":
			c.Queue.Version = identity.Absent
		case "the identity is gone":
			c.Identity.Subject, c.Record.Identity.ID = "gone", "gone"
		case "the record is there":
			c.Record.ID, c.Record.Time = asked.Record.ID, asked.Record.Time
		case "without a queue, it moved":
			c.Queue, c.Identity.Version = nil, second.Identity.Version
		case "without a queue, it is there":
			c.Queue, c.Identity.Version = nil, identity.Absent
		case "without a queue, the record's":
			c.Queue, c.Record = nil, asked.Record
		}
		s.conflict(name, s.store.Commit(s.Context(), c))
		s.equal(name, s.now(key), pending)
		if c.Record.ID != asked.Record.ID {
			_, committed, err := s.store.Reopen(s.Context(), c.Record)
			s.ok(err)
			s.equal(name+": record", committed, false)
		}
	}
	s.commit(Let(pending)) // nothing else was wrong with it
}

func (s identities) oneIdentity() {
	key := Caller()
	change := Asked(s.now(key), key)
	change.Record.Identity.ID = uuid.NewString()
	if err := s.store.Commit(s.Context(), change); err == nil || errors.Is(err, commit.ErrConflict) {
		s.Errorf("got %v, want an error that is no conflict", err)
	}
	s.equal("state", s.now(key), identity.Opened{})
}

func (s identities) race() {
	key := Caller()
	others := make([]identity.Key, racers) // of the same issuer: they meet in the queue
	for i := range others {
		others[i] = identity.Key{Issuer: key.Issuer, Subject: uuid.NewString()}
	}
	empty := s.now(key)
	changes := make([]identity.Change, 0, 2*racers)
	for _, other := range others {
		changes = append(changes, Asked(empty, key), Asked(empty, other))
	}
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
	winners := 0
	for i, err := range results {
		if err != nil {
			s.conflict("a loser", err)
		} else {
			winners++
		}
		_, committed, failed := s.store.Reopen(s.Context(), changes[i].Record)
		s.ok(failed)
		s.equal("a record is committed if its racer won", committed, err == nil)
	}
	s.equal("winners", winners, 1)
	s.equal("queue", s.now(key).Queue.Pending, int64(1))
}

func (s identities) reopen() {
	key := Caller()
	first := Asked(s.now(key), key)
	second := Let(s.commit(first))
	s.conflict("the repeat of what landed", s.store.Commit(s.Context(), first))
	s.commit(second)
	s.conflict("the repeat of what landed", s.store.Commit(s.Context(), second))
	for _, record := range []audit.Record{first.Record, second.Record} {
		now, committed, err := s.store.Reopen(s.Context(), record)
		s.ok(err)
		s.equal("committed", committed, true)
		s.equal("state", now.Identity.State, identity.Approved)
	}
	_, committed, err := s.store.Reopen(s.Context(), IdentityRecord(key, audit.AskIdentity))
	s.ok(err)
	s.equal("another record of that time", committed, false)
}

func (s identities) seen() {
	key := Caller()
	s.ok(s.store.Seen(s.Context(), key, Start))
	s.equal("it makes nobody", s.now(key), identity.Opened{})
	before := s.commit(Asked(s.now(key), key))
	s.ok(s.store.Seen(s.Context(), key, Start))
	after := s.now(key)
	want := *before.Identity
	want.Seen, want.Version = Start.Truncate(time.Hour), after.Identity.Version
	s.equal("identity", after.Identity, &want)
	s.equal("queue", after.Queue, before.Queue)
}

func (s identities) pages() {
	issuer := "https://id.example/" + Random()
	states := []identity.State{identity.Pending, identity.Approved, identity.Disabled, identity.Retired}
	var want []identity.Identity
	for i := range 24 {
		// The first and the last of base32hex, and GUIDs.
		key := identity.Key{Issuer: issuer, Subject: []string{"\x00" + Random(), "\xff" + Random(), uuid.NewString()}[i%3]}
		change := Asked(s.now(key), key)
		change.Identity.State = states[i%len(states)]
		want = append(want, *s.commit(change).Identity)
	}
	slices.SortFunc(want, func(a, b identity.Identity) int { return strings.Compare(a.ID(), b.ID()) })
	list := func(state identity.State, after string, limit int) []identity.Identity {
		s.Helper()
		page, err := s.store.List(s.Context(), issuer, state, after, limit)
		s.ok(err)
		return page
	}
	s.equal("all", list("", "", 100), want)
	for _, state := range append(states, "") {
		wanted := slices.Clone(want)
		if state != "" {
			wanted = slices.DeleteFunc(wanted, func(i identity.Identity) bool { return i.State != state })
		}
		for _, limit := range []int{1, 5, 6, 24, 25} {
			var paged []identity.Identity
			for after := ""; ; after = paged[len(paged)-1].Subject {
				page := list(state, after, limit)
				if paged = append(paged, page...); len(page) < limit || len(paged) > len(want) {
					break
				}
			}
			s.equal(fmt.Sprintf("%q by %d", state, limit), paged, wanted)
		}
	}
	s.equal("no room", len(list("", "", 0)), 0)
	_, err := s.store.List(s.Context(), "https://nobody.example/"+Random(), "", "", 10)
	s.ok(err)
}

func (s identities) apart() {
	key := Caller()
	s.commit(Asked(s.now(key), key))
	for name, other := range map[string]identity.Key{
		"another subject": {Issuer: key.Issuer, Subject: uuid.NewString()},
		"another issuer":  {Issuer: uuid.NewString(), Subject: key.Subject},
		"another case":    {Issuer: key.Issuer, Subject: strings.ToUpper(key.Subject)},
		"a longer one":    {Issuer: key.Issuer, Subject: key.Subject + "0"},
	} {
		found, err := s.store.Lookup(s.Context(), other)
		s.ok(err)
		s.equal(name, found, (*identity.Identity)(nil))
	}
}

func (s identities) over() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	key := Caller()
	change := Asked(s.now(key), key)
	_, lookupErr := s.store.Lookup(ctx, key)
	_, openErr := s.store.Open(ctx, change.Record)
	_, _, reopenErr := s.store.Reopen(ctx, change.Record)
	_, listErr := s.store.List(ctx, key.Issuer, "", "", 1)
	for name, err := range map[string]error{
		"Lookup": lookupErr, "Open": openErr, "Reopen": reopenErr, "List": listErr, "Commit": s.store.Commit(ctx, change), "Seen": s.store.Seen(ctx, key, Start),
	} {
		if !errors.Is(err, context.Canceled) {
			s.Errorf("%s: got %v, want context.Canceled", name, err)
		}
	}
}
