package memstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// Announce implements activation.Store.
func (s *Store) Announce(ctx context.Context, record audit.Record) error {
	return s.run(ctx, OpAnnounce, func() error {
		s.intents = append(s.intents, record)
		return nil
	})
}

// Used implements activation.Store.
func (s *Store) Used(ctx context.Context, key keyed.Hash, record audit.Record) error {
	return s.run(ctx, OpUsed, func() error {
		p := s.in(record.Subject)
		c, there := p.credentials[key]
		if !there || p.committed(record) {
			return commit.ErrConflict
		}
		c.Used = record.Time.UTC().Truncate(time.Hour)
		p.credentials[key] = c
		p.records = append(p.records, record)
		return nil
	})
}

// Reuse implements activation.Store.
func (s *Store) Reuse(ctx context.Context, record audit.Record, keys []keyed.Hash) (found *activation.Credential, committed bool, err error) {
	err = s.run(ctx, OpReuse, func() error {
		committed = s.in(record.Subject).committed(record)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	found, err = s.Credential(ctx, record.Subject, keys)
	return found, committed && err == nil, err
}

// Heads implements activation.Store.
func (s *Store) Heads(ctx context.Context, of []subject.ID) (heads []activation.Head, err error) {
	err = s.run(ctx, OpHeads, func() error {
		for _, one := range of {
			heads = append(heads, copied(s.in(one).head))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return heads, nil
}

// Enlist implements activation.Store.
func (s *Store) Enlist(ctx context.Context, device subject.ID, lists []string, at time.Time) error {
	if device.Kind != subject.Device {
		return errors.New("only devices stand in lists")
	}
	return s.run(ctx, OpEnlist, func() error {
		for _, list := range lists {
			if s.lists[list] == nil {
				s.lists[list] = map[string]time.Time{}
			}
			s.lists[list][device.Name] = at
		}
		return nil
	})
}

// Listed implements activation.Store.
func (s *Store) Listed(ctx context.Context, lists []string, after string, limit int) (found [][]subject.ID, err error) {
	err = s.run(ctx, OpListed, func() error {
		found = make([][]subject.ID, len(lists))
		for i, list := range lists {
			var names []string
			for name := range s.lists[list] {
				if name > after {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			for _, name := range names[:min(limit, len(names))] {
				found[i] = append(found[i], subject.ID{Kind: subject.Device, Name: name})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
