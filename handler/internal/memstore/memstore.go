// Package memstore is activation.Store in memory, for tests of what stands on a Store. It is as strict as the real one
// (package storetest holds both to one suite): a change is compared and swapped on the head's version and carried out
// whole or not at all. It keeps nothing beyond the process and is never part of the handler.
package memstore

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/budget"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// Op names a method of the Store, for faults.
type Op string

// The operations.
const (
	OpCode        Op = "Code"
	OpEndCode     Op = "EndCode"
	OpOpen        Op = "Open"
	OpCommit      Op = "Commit"
	OpReopen      Op = "Reopen"
	OpReopenHead  Op = "ReopenHead" // the second of Reopen's two reads, after that of the record
	OpActivation  Op = "Activation"
	OpActivations Op = "Activations"
	OpCredential  Op = "Credential"
	OpTouch       Op = "Touch"
	OpSession     Op = "Session"
	OpCredentials Op = "Credentials"
	OpPublish     Op = "Publish"
	OpRetract     Op = "Retract"
	OpEndings     Op = "Endings"
	OpAnnounce    Op = "Announce"
	OpUsed        Op = "Used"
	OpReuse       Op = "Reuse" // of the record; the credential is read by OpCredential
	OpHeads       Op = "Heads"
	OpEnlist      Op = "Enlist"
	OpListed      Op = "Listed"
)

// When says on which side of an operation a fault is asked for.
type When bool

// Before: an error means that the operation was not carried out. After: it was, and the error takes the place of its
// reply, as when a reply is lost.
const (
	Before When = false
	After  When = true
)

// Store is an activation.Store in memory, safe for concurrent use.
type Store struct {
	// Fault, if set before the first use, is called before and after each operation, with no lock held: it may sleep,
	// wait for others or use the Store itself. Its error is returned to the caller as it is.
	Fault func(op Op, when When) error
	// Unconditional, if set before the first use, commits on any version of the head. It is there for the test of tests: what
	// is said to find two winners must find them then.
	Unconditional bool
	// Now, if set before the first use, is the clock of the storage, by which buckets are refilled.
	Now func() time.Time

	mu         sync.Mutex
	partitions map[subject.ID]*partition
	codes      map[keyed.Hash]activation.Code
	intents    []audit.Record
	buckets    map[budget.Key]budget.Bucket
	issuers    map[string]*issuer // of identities
	feed       map[published]activation.Ending
	clinicians map[subject.ID]known
	claims     map[string]clinician.Claim      // by identifier
	lists      map[string]map[string]time.Time // of devices, when they were written, by their names
	versions   int64
}

// partition holds the rows of one subject.
type partition struct {
	head        activation.Head
	activations map[activation.UUID]activation.Activation
	credentials map[keyed.Hash]activation.Credential
	held        map[keyed.Hash]bool
	sessions    map[string]keyed.Hash
	ended       map[string]bool // token ids
	records     []audit.Record
}

var _ activation.Store = (*Store)(nil)

// New returns an empty Store.
func New() *Store {
	return &Store{
		partitions: map[subject.ID]*partition{}, codes: map[keyed.Hash]activation.Code{}, buckets: map[budget.Key]budget.Bucket{},
		issuers: map[string]*issuer{}, feed: map[published]activation.Ending{}, clinicians: map[subject.ID]known{}, claims: map[string]clinician.Claim{}, lists: map[string]map[string]time.Time{},
	}
}

// Records returns the committed records of a subject, in the order of the commits.
func (s *Store) Records(of subject.ID) []audit.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.partitions[of]; p != nil {
		return slices.Clone(p.records)
	}
	return nil
}

// Intents returns the records as they were announced, oldest first, committed or not.
func (s *Store) Intents() []audit.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.intents)
}

// run surrounds an operation with its faults, and holds the lock while it works.
func (s *Store) run(ctx context.Context, op Op, work func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Fault != nil {
		if err := s.Fault(op, Before); err != nil {
			return err
		}
	}
	err := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return work()
	}()
	if s.Fault != nil {
		if lost := s.Fault(op, After); lost != nil {
			return lost
		}
	}
	return err
}

// in returns a subject's partition for reading: an empty one if there is none yet.
func (s *Store) in(of subject.ID) *partition {
	if p := s.partitions[of]; p != nil {
		return p
	}
	return &partition{
		head:        activation.Head{Subject: of, Active: true},
		activations: map[activation.UUID]activation.Activation{},
		credentials: map[keyed.Hash]activation.Credential{},
		held:        map[keyed.Hash]bool{},
		sessions:    map[string]keyed.Hash{},
		ended:       map[string]bool{},
	}
}

func (s *Store) version() activation.Version {
	s.versions++
	return activation.Version(strconv.FormatInt(s.versions, 10))
}

// copied returns a head that shares nothing with h, so that no caller can reach into the store.
func copied(h activation.Head) activation.Head {
	h.Credentials = slices.Clone(h.Credentials)
	h.Held = slices.Clone(h.Held)
	if h.Device != nil {
		device := *h.Device
		h.Device = &device
	}
	if h.Invitation != nil {
		invitation := *h.Invitation
		h.Invitation = &invitation
	}
	return h
}

// Code implements activation.Store.
func (s *Store) Code(ctx context.Context, keys []keyed.Hash) (found *activation.Code, err error) {
	err = s.run(ctx, OpCode, func() error {
		for _, key := range keys {
			if code, ok := s.codes[key]; ok {
				found = &code
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// EndCode implements activation.Store.
func (s *Store) EndCode(ctx context.Context, code activation.Code, at time.Time, why audit.Reason) error {
	if code.Version == activation.Absent {
		return errors.New("ending a code asks for the version that was read")
	}
	return s.run(ctx, OpEndCode, func() error {
		if row, ok := s.codes[code.Key]; ok && row.Version == code.Version {
			row.Ended, row.EndedFor, row.Version = at, why, s.version()
			s.codes[code.Key] = row
		}
		return nil
	})
}

// Open implements activation.Store.
func (s *Store) Open(ctx context.Context, opening activation.Opening) (opened activation.Opened, err error) {
	err = s.run(ctx, OpOpen, func() error {
		s.intents = append(s.intents, opening.Record)
		if code := opening.Code; code != nil {
			switch row, taken := s.codes[code.Key]; {
			case !taken:
				row = *code
				row.Version = s.version()
				s.codes[code.Key] = row
			case row.Activation != code.Activation || row.Subject != code.Subject:
				return activation.ErrCodeTaken
			}
		}
		p := s.in(opening.Record.Subject)
		opened.Head = copied(p.head)
		if a, ok := p.activations[opening.Activation]; ok {
			opened.Activation = &a
		}
		return nil
	})
	if err != nil {
		return activation.Opened{}, err
	}
	return opened, nil
}

// Commit implements activation.Store.
func (s *Store) Commit(ctx context.Context, change activation.Change) error {
	of := change.Head.Subject
	if change.Record.Subject != of || change.Created != nil && change.Created.Subject != of {
		return errors.New("a change is of one subject")
	}
	return s.run(ctx, OpCommit, func() error {
		p := s.in(of)
		if change.Head.Version != p.head.Version && !s.Unconditional || p.committed(change.Record) {
			return commit.ErrConflict
		}
		if change.Created != nil {
			if _, exists := p.activations[change.Created.ID]; exists {
				return commit.ErrConflict
			}
		}
		for _, step := range change.Ended {
			if _, exists := p.activations[step.Activation]; !exists {
				return commit.ErrConflict
			}
		}
		for _, c := range change.Added {
			_, key := p.credentials[c.Key]
			_, session := p.sessions[c.Session]
			if key || session {
				return commit.ErrConflict
			}
		}
		for _, c := range change.Dropped {
			if !p.held[c.Key] {
				return commit.ErrConflict
			}
		}
		for _, c := range change.Suspended {
			if p.held[c.Key] {
				return commit.ErrConflict
			}
		}
		for _, c := range slices.Concat(change.Removed, change.Suspended) {
			_, key := p.credentials[c.Key]
			_, session := p.sessions[c.Session]
			if !key || !session {
				return commit.ErrConflict
			}
		}
		for _, c := range change.Labelled {
			if _, exists := p.credentials[c.Key]; !exists {
				return commit.ErrConflict
			}
		}
		if t := change.Token; t != nil && p.ended[t.Token] {
			return commit.ErrConflict
		}
		// Nothing below can fail.
		p.head = copied(change.Head)
		p.head.Version = s.version()
		for i, c := range p.head.Credentials {
			p.head.Credentials[i] = activation.Credential{Session: c.Session, Key: c.Key}
		}
		for i, c := range p.head.Held {
			p.head.Held[i] = activation.Credential{Session: c.Session, Key: c.Key}
		}
		for _, step := range change.Ended {
			a := p.activations[step.Activation]
			a.Status, a.Ended, a.Modified, a.ModifiedBy = step.Status, step.Why, step.At, step.By
			if step.Status == activation.Completed {
				a.Redeemed = step.At
			}
			p.activations[step.Activation] = a
		}
		if change.Created != nil {
			p.activations[change.Created.ID] = *change.Created
		}
		for _, c := range change.Added {
			p.credentials[c.Key] = activation.Credential{Session: c.Session, Key: c.Key, Created: change.Record.Time}
			p.sessions[c.Session] = c.Key
		}
		for _, c := range slices.Concat(change.Removed, change.Suspended) {
			delete(p.credentials, c.Key)
			delete(p.sessions, c.Session)
		}
		for _, c := range change.Dropped {
			delete(p.held, c.Key)
		}
		for _, c := range change.Suspended {
			p.held[c.Key] = true
		}
		for _, c := range change.Labelled {
			labelled := p.credentials[c.Key]
			labelled.Label = c.Label
			p.credentials[c.Key] = labelled
		}
		if change.Token != nil {
			p.ended[change.Token.Token] = true
		}
		p.records = append(p.records, change.Record)
		s.partitions[of] = p
		return nil
	})
}

// committed reports whether a record of the same key stands in the partition.
func (p *partition) committed(record audit.Record) bool {
	return slices.ContainsFunc(p.records, func(r audit.Record) bool { return r.ID == record.ID && r.Time.Equal(record.Time) })
}

// Reopen implements activation.Store.
func (s *Store) Reopen(ctx context.Context, record audit.Record) (head activation.Head, committed bool, err error) {
	err = s.run(ctx, OpReopen, func() error {
		committed = s.in(record.Subject).committed(record)
		return nil
	})
	if err != nil {
		return activation.Head{}, false, err
	}
	err = s.run(ctx, OpReopenHead, func() error {
		head = copied(s.in(record.Subject).head)
		return nil
	})
	if err != nil {
		return activation.Head{}, false, err
	}
	return head, committed, nil
}

// Activation implements activation.Store.
func (s *Store) Activation(ctx context.Context, of subject.ID, id activation.UUID) (found *activation.Activation, err error) {
	err = s.run(ctx, OpActivation, func() error {
		if a, ok := s.in(of).activations[id]; ok {
			found = &a
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Activations implements activation.Store.
func (s *Store) Activations(ctx context.Context, of subject.ID, after activation.UUID, limit int) (found []activation.Activation, err error) {
	err = s.run(ctx, OpActivations, func() error {
		for id, a := range s.in(of).activations {
			if after == (activation.UUID{}) || newestFirst(id, after) > 0 {
				found = append(found, a)
			}
		}
		slices.SortFunc(found, func(a, b activation.Activation) int { return newestFirst(a.ID, b.ID) })
		found = found[:min(max(limit, 0), len(found))]
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// newestFirst is the order of the real store's keys: the newer time first, then by the id itself.
func newestFirst(a, b activation.UUID) int {
	return cmp.Or(activation.Drawn(b).Compare(activation.Drawn(a)), cmp.Compare(a.String(), b.String()))
}

// Credential implements activation.Store.
func (s *Store) Credential(ctx context.Context, of subject.ID, keys []keyed.Hash) (found *activation.Credential, err error) {
	err = s.run(ctx, OpCredential, func() error {
		for _, key := range keys {
			if c, ok := s.in(of).credentials[key]; ok {
				found = &c
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Touch implements activation.Store.
func (s *Store) Touch(ctx context.Context, of subject.ID, key keyed.Hash, at time.Time) error {
	return s.run(ctx, OpTouch, func() error {
		p := s.in(of)
		if c, ok := p.credentials[key]; ok {
			c.Used = at.UTC().Truncate(time.Hour)
			p.credentials[key] = c
		}
		return nil
	})
}

// Credentials implements activation.Store.
func (s *Store) Credentials(ctx context.Context, of subject.ID) (head activation.Head, all []activation.Credential, err error) {
	err = s.run(ctx, OpCredentials, func() error {
		p := s.in(of)
		head, all = copied(p.head), slices.Collect(maps.Values(p.credentials))
		return nil
	})
	if err != nil {
		return activation.Head{}, nil, err
	}
	return head, all, nil
}

// Session implements activation.Store.
func (s *Store) Session(ctx context.Context, of subject.ID, sid, jti string) (live bool, err error) {
	err = s.run(ctx, OpSession, func() error {
		p := s.in(of)
		_, session := p.sessions[sid]
		live = session && !p.ended[jti]
		return nil
	})
	return live && err == nil, err
}
