package storetest

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"latchkey/handler/internal/budget"
)

// Buckets holds every budget.Store to what package budget relies on. Stores may share their rows: each test draws a bucket.
func Buckets(t *testing.T, store budget.Store) {
	ok := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(t *testing.T, key budget.Key) (budget.Bucket, time.Time) {
		t.Helper()
		b, now, err := store.Bucket(t.Context(), key)
		ok(t, err)
		return b, now
	}
	t.Run("a bucket that nobody wrote is new, and has storage's time", func(t *testing.T) {
		b, now := read(t, bucket())
		if b != (budget.Bucket{}) || now.IsZero() {
			t.Errorf("%+v at %s", b, now)
		}
	})
	t.Run("what is written is read again, under another version each time", func(t *testing.T) {
		key := bucket()
		versions := map[string]bool{"": true}
		b := budget.Bucket{}
		for _, tokens := range []int64{5e9, 1, 0} {
			b.Tokens, b.At = tokens, Start.Add(time.Duration(tokens)+time.Microsecond)
			ok(t, store.SwapBucket(t.Context(), key, b))
			got, _ := read(t, key)
			if got.Tokens != tokens || !got.At.Equal(b.At.Truncate(time.Millisecond)) || versions[got.Version] {
				t.Errorf("wrote %+v, read %+v", b, got)
			}
			versions[got.Version] = true
			b = got
		}
		if other, _ := read(t, budget.Key{Kind: key.Kind, Shard: key.Shard + 1}); other != (budget.Bucket{}) {
			t.Errorf("the next bucket is %+v", other)
		}
	})
	t.Run("a stale version is refused", func(t *testing.T) {
		key := bucket()
		first := budget.Bucket{Tokens: 7, At: Start}
		ok(t, store.SwapBucket(t.Context(), key, first))
		seen, _ := read(t, key)
		if err := store.SwapBucket(t.Context(), key, first); !errors.Is(err, budget.ErrConflict) {
			t.Errorf("a second first write: %v", err)
		}
		next := seen
		next.Tokens = 6
		ok(t, store.SwapBucket(t.Context(), key, next))
		if err := store.SwapBucket(t.Context(), key, next); !errors.Is(err, budget.ErrConflict) {
			t.Errorf("a write of what was overwritten: %v", err)
		}
		if got, _ := read(t, key); got.Tokens != 6 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("one of many swaps wins", func(t *testing.T) {
		key := bucket()
		for round := range 3 {
			b, _ := read(t, key)
			b.At = Start
			var racers sync.WaitGroup
			failed := make([]error, 16)
			for i := range failed {
				racers.Go(func() {
					mine := b
					mine.Tokens = int64(i)
					failed[i] = store.SwapBucket(t.Context(), key, mine)
				})
			}
			racers.Wait()
			winner := -1
			for i, err := range failed {
				switch {
				case err == nil && winner < 0:
					winner = i
				case !errors.Is(err, budget.ErrConflict):
					t.Fatalf("round %d: racer %d got %v, and %d had won", round, i, err, winner)
				}
			}
			if got, _ := read(t, key); winner < 0 || got.Tokens != int64(winner) {
				t.Errorf("round %d: %d won, %+v is there", round, winner, got)
			}
		}
	})
}

// bucket draws one.
func bucket() budget.Key {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return budget.Key{Kind: "test", Shard: 1e6 + int(binary.BigEndian.Uint32(b[:]))}
}
