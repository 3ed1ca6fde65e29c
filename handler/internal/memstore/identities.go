package memstore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/identity"
)

// The operations on identities.
const (
	OpIdentityLookup      Op = "Identities.Lookup"
	OpIdentityOpen        Op = "Identities.Open"
	OpIdentityCommit      Op = "Identities.Commit"
	OpIdentityReopen      Op = "Identities.Reopen"
	OpIdentityReopenState Op = "Identities.ReopenState" // the later of Reopen's reads, after that of the record
	OpIdentityList        Op = "Identities.List"
	OpIdentitySeen        Op = "Identities.Seen"
)

// Identities is the identity.Store of a Store, under the same faults.
type Identities struct{ store *Store }

var _ identity.Store = Identities{}

// Identities returns the part of the store that keeps identities.
func (s *Store) Identities() Identities { return Identities{s} }

// issuer holds the rows of one issuer.
type issuer struct {
	queue      identity.Queue
	identities map[string]identity.Identity // by subject
	records    []audit.Record
	committed  map[string]time.Time // of records, by id
}

// of returns an issuer's rows for reading: none if there are none yet.
func (i Identities) of(name string) *issuer {
	if rows := i.store.issuers[name]; rows != nil {
		return rows
	}
	return &issuer{identities: map[string]identity.Identity{}, committed: map[string]time.Time{}}
}

// Records returns the committed records of an issuer's identities, in the order of the commits.
func (i Identities) Records(issuer string) []audit.Record {
	i.store.mu.Lock()
	defer i.store.mu.Unlock()
	return slices.Clone(i.of(issuer).records)
}

// now reads the state of the identity that a record names.
func (i Identities) now(record audit.Record) identity.Opened {
	rows := i.of(record.Identity.Issuer)
	opened := identity.Opened{Queue: rows.queue}
	if is, ok := rows.identities[record.Identity.ID]; ok {
		is.Scopes = slices.Clone(is.Scopes)
		opened.Identity = &is
	}
	return opened
}

// Lookup implements identity.Store.
func (i Identities) Lookup(ctx context.Context, key identity.Key) (found *identity.Identity, err error) {
	if key.Issuer == "" || key.Subject == "" {
		return nil, errors.New("nobody can be looked up")
	}
	err = i.store.run(ctx, OpIdentityLookup, func() error {
		found = i.now(audit.Record{Identity: audit.Actor{Issuer: key.Issuer, ID: key.Subject}}).Identity
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Open implements identity.Store.
func (i Identities) Open(ctx context.Context, record audit.Record) (opened identity.Opened, err error) {
	if record.Identity.Issuer == "" || record.Identity.ID == "" {
		return identity.Opened{}, errors.New("a record is of an identity")
	}
	err = i.store.run(ctx, OpIdentityOpen, func() error {
		i.store.intents = append(i.store.intents, record)
		opened = i.now(record)
		return nil
	})
	if err != nil {
		return identity.Opened{}, err
	}
	return opened, nil
}

// Commit implements identity.Store.
func (i Identities) Commit(ctx context.Context, change identity.Change) error {
	next := change.Identity
	if change.Record.Identity != (audit.Actor{Issuer: next.Issuer, ID: next.Subject}) {
		return errors.New("a change is of one identity")
	}
	return i.store.run(ctx, OpIdentityCommit, func() error {
		rows := i.of(next.Issuer)
		stale := rows.identities[next.Subject].Version != next.Version || change.Queue != nil && change.Queue.Version != rows.queue.Version
		if stale && !i.store.Unconditional || rows.has(change.Record) {
			return commit.ErrConflict
		}
		// Nothing below can fail.
		next.Version, next.Scopes = identity.Version(i.store.version()), slices.Clone(next.Scopes)
		if len(next.Scopes) == 0 {
			next.Scopes = nil
		}
		rows.identities[next.Subject] = next
		if change.Queue != nil {
			rows.queue = identity.Queue{Pending: change.Queue.Pending, Version: identity.Version(i.store.version())}
		}
		rows.records = append(rows.records, change.Record)
		rows.committed[change.Record.ID] = change.Record.Time
		i.store.issuers[next.Issuer] = rows
		return nil
	})
}

// has reports whether a record of the same key stands among the issuer's.
func (i *issuer) has(record audit.Record) bool {
	at, there := i.committed[record.ID]
	return there && at.Equal(record.Time)
}

// Reopen implements identity.Store.
func (i Identities) Reopen(ctx context.Context, record audit.Record) (now identity.Opened, committed bool, err error) {
	err = i.store.run(ctx, OpIdentityReopen, func() error {
		committed = i.of(record.Identity.Issuer).has(record)
		return nil
	})
	if err != nil {
		return identity.Opened{}, false, err
	}
	err = i.store.run(ctx, OpIdentityReopenState, func() error {
		now = i.now(record)
		return nil
	})
	if err != nil {
		return identity.Opened{}, false, err
	}
	return now, committed, nil
}

// List implements identity.Store.
func (i Identities) List(ctx context.Context, issuer string, state identity.State, after string, limit int) (found []identity.Identity, err error) {
	place := func(subject string) string {
		_, place, _ := strings.Cut(identity.Key{Issuer: issuer, Subject: subject}.ID(), "~")
		return place
	}
	err = i.store.run(ctx, OpIdentityList, func() error {
		for subject, is := range i.of(issuer).identities {
			if (state == "" || state == is.State) && place(subject) > place(after) {
				found = append(found, is)
			}
		}
		slices.SortFunc(found, func(a, b identity.Identity) int { return cmp.Compare(place(a.Subject), place(b.Subject)) })
		found = found[:min(max(limit, 0), len(found))]
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Seen implements identity.Store.
func (i Identities) Seen(ctx context.Context, key identity.Key, at time.Time) error {
	return i.store.run(ctx, OpIdentitySeen, func() error {
		rows := i.of(key.Issuer)
		if is, ok := rows.identities[key.Subject]; ok {
			is.Seen, is.Version = at.UTC().Truncate(time.Hour), identity.Version(i.store.version())
			rows.identities[key.Subject] = is
		}
		return nil
	})
}
