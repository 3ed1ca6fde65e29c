package memstore

import (
	"context"
	"time"

	"latchkey/handler/internal/budget"
)

// The operations on budgets.
const (
	OpBucket     Op = "Bucket"
	OpSwapBucket Op = "SwapBucket"
)

var _ budget.Store = (*Store)(nil)

// Buckets returns what every bucket that was ever written has left.
func (s *Store) Buckets() map[budget.Key]budget.Bucket {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[budget.Key]budget.Bucket, len(s.buckets))
	for key, b := range s.buckets {
		all[key] = b
	}
	return all
}

// Bucket implements budget.Store.
func (s *Store) Bucket(ctx context.Context, key budget.Key) (b budget.Bucket, now time.Time, err error) {
	err = s.run(ctx, OpBucket, func() error {
		b, now = s.buckets[key], time.Now()
		if s.Now != nil {
			now = s.Now()
		}
		now = now.UTC().Truncate(time.Second) // as the Date of an answer
		return nil
	})
	if err != nil {
		return budget.Bucket{}, time.Time{}, err
	}
	return b, now, nil
}

// SwapBucket implements budget.Store.
func (s *Store) SwapBucket(ctx context.Context, key budget.Key, b budget.Bucket) error {
	return s.run(ctx, OpSwapBucket, func() error {
		if s.buckets[key].Version != b.Version && !s.Unconditional {
			return budget.ErrConflict
		}
		b.At, b.Version = b.At.UTC().Truncate(time.Millisecond), string(s.version())
		s.buckets[key] = b
		return nil
	})
}
