package memstore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
)

// published is the key of an ending in the feed.
type published struct {
	at             time.Time
	record         string
	session, token string
}

func keyOf(record audit.Record, e activation.Ending) published {
	return published{record.Time.UTC().Truncate(time.Millisecond), record.ID, e.Session, e.Token}
}

// Publish implements activation.Store.
func (s *Store) Publish(ctx context.Context, record audit.Record, endings []activation.Ending) error {
	for _, e := range endings {
		if (e.Session == "") == (e.Token == "") || e.Until.IsZero() {
			return errors.New("an ending is of one session or one token, and has a time")
		}
	}
	return s.run(ctx, OpPublish, func() error {
		for _, e := range endings {
			if _, there := s.feed[keyOf(record, e)]; !there {
				e.Until = e.Until.UTC().Truncate(time.Millisecond)
				s.feed[keyOf(record, e)] = e
			}
		}
		return nil
	})
}

// Retract implements activation.Store.
func (s *Store) Retract(ctx context.Context, record audit.Record, endings []activation.Ending) error {
	return s.run(ctx, OpRetract, func() error {
		for _, e := range endings {
			delete(s.feed, keyOf(record, e))
		}
		return nil
	})
}

// Endings is what was published under records of since or later, newest first.
func (s *Store) Endings(ctx context.Context, since time.Time) (all []activation.Ending, err error) {
	err = s.run(ctx, OpEndings, func() error {
		var keys []published
		for key := range s.feed {
			if !key.at.Before(since) {
				keys = append(keys, key)
			}
		}
		slices.SortFunc(keys, func(a, b published) int {
			return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.record, b.record), cmp.Compare(a.session+a.token, b.session+b.token))
		})
		for _, key := range keys {
			all = append(all, s.feed[key])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
