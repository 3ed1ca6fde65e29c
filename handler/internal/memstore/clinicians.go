package memstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// The operations on clinicians.
const (
	OpClinicianOpen        Op = "Clinicians.Open"
	OpClinicianCommit      Op = "Clinicians.Commit"
	OpClinicianReopen      Op = "Clinicians.Reopen"
	OpClinicianReopenState Op = "Clinicians.ReopenState" // the later of Reopen's reads, after that of the record
	OpClinician            Op = "Clinicians.Clinician"
	OpClaim                Op = "Clinicians.Claim"
	OpPut                  Op = "Clinicians.Put"
	OpEnter                Op = "Clinicians.Enter"
	OpMeet                 Op = "Clinicians.Meet"
	OpPass                 Op = "Clinicians.Pass"
	OpRepass               Op = "Clinicians.Repass"
)

// Clinicians is the clinician.Store of a Store, under the same faults.
type Clinicians struct{ store *Store }

var _ clinician.Store = Clinicians{}

// Clinicians returns the part of the store that keeps clinicians.
func (s *Store) Clinicians() Clinicians { return Clinicians{s} }

// known is one clinician's row with its records.
type known struct {
	is      clinician.Clinician
	records []audit.Record
}

// Records returns the committed records of a clinician, in the order of the commits.
func (c Clinicians) Records(of subject.ID) []audit.Record {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	return slices.Clone(c.of(of).records)
}

func (c Clinicians) of(who subject.ID) known { return c.store.clinicians[who] }

// now reads a clinician, nil if nobody knows them.
func (c Clinicians) now(who subject.ID) *clinician.Clinician {
	is := c.of(who).is
	if is.Version == clinician.Absent {
		return nil
	}
	is.Products, is.Groups = slices.Clone(is.Products), slices.Clone(is.Groups)
	return &is
}

func (c Clinicians) claim(identifier string) *clinician.Claim {
	if claim, there := c.store.claims[identifier]; there {
		return &claim
	}
	return nil
}

func has(records []audit.Record, record audit.Record) bool {
	return slices.ContainsFunc(records, func(r audit.Record) bool { return r.ID == record.ID && r.Time.Equal(record.Time) })
}

// Open implements clinician.Store.
func (c Clinicians) Open(ctx context.Context, record audit.Record, identifier string) (opened clinician.Opened, err error) {
	err = c.store.run(ctx, OpClinicianOpen, func() error {
		c.store.intents = append(c.store.intents, record)
		opened.Clinician = c.now(record.Subject)
		if identifier != "" {
			opened.Claim = c.claim(identifier)
		}
		return nil
	})
	if err != nil {
		return clinician.Opened{}, err
	}
	return opened, nil
}

// Commit implements clinician.Store.
func (c Clinicians) Commit(ctx context.Context, change clinician.Change) error {
	next := change.Clinician
	if change.Record.Subject != next.Subject || next.Subject.Kind != subject.Clinician {
		return errors.New("a change is of one clinician")
	}
	return c.store.run(ctx, OpClinicianCommit, func() error {
		is := c.of(next.Subject)
		if is.is.Version != next.Version && !c.store.Unconditional || has(is.records, change.Record) {
			return commit.ErrConflict
		}
		next.Version = clinician.Version(c.store.version())
		next.Products, next.Groups = append([]string{}, next.Products...), append([]string{}, next.Groups...)
		next.Created, next.Modified = stored(next.Created), stored(next.Modified)
		c.store.clinicians[next.Subject] = known{next, append(is.records, change.Record)}
		return nil
	})
}

// stored is a time as it is kept.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// Reopen implements clinician.Store.
func (c Clinicians) Reopen(ctx context.Context, record audit.Record) (now *clinician.Clinician, committed bool, err error) {
	err = c.store.run(ctx, OpClinicianReopen, func() error {
		committed = has(c.of(record.Subject).records, record)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	err = c.store.run(ctx, OpClinicianReopenState, func() error {
		now = c.now(record.Subject)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return now, committed, nil
}

// Clinician implements clinician.Store.
func (c Clinicians) Clinician(ctx context.Context, of subject.ID) (is *clinician.Clinician, err error) {
	err = c.store.run(ctx, OpClinician, func() error {
		is = c.now(of)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return is, nil
}

// Claim implements clinician.Store.
func (c Clinicians) Claim(ctx context.Context, identifier string) (claim *clinician.Claim, err error) {
	err = c.store.run(ctx, OpClaim, func() error {
		claim = c.claim(identifier)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return claim, nil
}

// Put implements clinician.Store.
func (c Clinicians) Put(ctx context.Context, claim clinician.Claim) (version clinician.Version, err error) {
	if claim.Identifier == "" || claim.Clinician.Kind != subject.Clinician {
		return "", errors.New("a claim is of an identifier, by a clinician")
	}
	err = c.store.run(ctx, OpPut, func() error {
		if c.store.claims[claim.Identifier].Version != claim.Version && !c.store.Unconditional {
			return commit.ErrConflict
		}
		claim.Version, claim.At = clinician.Version(c.store.version()), stored(claim.At)
		c.store.claims[claim.Identifier], version = claim, claim.Version
		return nil
	})
	if err != nil {
		return "", err
	}
	return version, nil
}

// Enter implements clinician.Store.
func (c Clinicians) Enter(ctx context.Context, through clinician.Through, identifier string) (live bool, claim *clinician.Claim, err error) {
	err = c.store.run(ctx, OpEnter, func() error {
		p := c.store.in(through.Device)
		_, lives := p.sessions[through.Session]
		live, claim = lives && !p.ended[through.Token], c.claim(identifier)
		return nil
	})
	if err != nil {
		return false, nil, err
	}
	return live, claim, nil
}

// Meet implements clinician.Store.
func (c Clinicians) Meet(ctx context.Context, record audit.Record, of subject.ID) (is *clinician.Clinician, active bool, err error) {
	err = c.store.run(ctx, OpMeet, func() error {
		c.store.intents = append(c.store.intents, record)
		device := c.store.in(record.Subject).head
		is, active = c.now(of), device.Active && device.N > 0
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return is, active, nil
}

// Pass implements clinician.Store.
func (c Clinicians) Pass(ctx context.Context, session string, record audit.Record) error {
	return c.store.run(ctx, OpPass, func() error {
		p := c.store.in(record.Subject)
		if _, there := p.sessions[session]; !there || p.committed(record) {
			return commit.ErrConflict
		}
		p.records = append(p.records, record)
		return nil
	})
}

// Repass implements clinician.Store.
func (c Clinicians) Repass(ctx context.Context, session string, record audit.Record) (live, committed bool, err error) {
	err = c.store.run(ctx, OpRepass, func() error {
		p := c.store.in(record.Subject)
		_, live = p.sessions[session]
		committed = p.committed(record)
		return nil
	})
	return live && err == nil, committed && err == nil, err
}
