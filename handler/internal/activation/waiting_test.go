package activation

import (
	"context"
	"errors"
	"latchkey/handler/internal/commit"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnsComeInOrderAndLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line turns[string]
		var order []int
		var busy bool
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				release, err := line.take(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				if busy {
					t.Error("two work at once")
				}
				busy = true
				order = append(order, i)
				time.Sleep(time.Second)
				busy = false
				release()
			})
			synctest.Wait() // so that they come one after the other
		}
		release, err := line.take(t.Context(), "b") // nobody waits for another's turn
		if err != nil {
			t.Fatal(err)
		}
		release()
		all.Wait()
		if !slices.IsSorted(order) || len(order) != 20 {
			t.Errorf("their order was %v", order)
		}
		if len(line.queues) != 0 {
			t.Errorf("%d queues are left", len(line.queues))
		}
	})
}

func TestTurnsAreNotKeptByWhoGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line turns[string]
		first, err := line.take(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := line.take(ctx, "a"); !errors.Is(err, commit.ErrBusy) {
			t.Errorf("who waited too long got %v", err)
		}
		var last func()
		var waiting sync.WaitGroup
		waiting.Go(func() { last, err = line.take(t.Context(), "a") })
		synctest.Wait()
		first()
		waiting.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if len(line.queues) != 1 {
			t.Errorf("%d queues while one works", len(line.queues))
		}
		last()
		if len(line.queues) != 0 {
			t.Errorf("%d queues are left", len(line.queues))
		}
	})
}

func TestTurnsHaveABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := turns[string]{most: 3}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				release, err := line.take(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Second)
				release()
			})
		}
		synctest.Wait()
		if _, err := line.take(t.Context(), "a"); !errors.Is(err, commit.ErrBusy) {
			t.Errorf("a fourth got %v", err)
		}
		if release, err := line.take(t.Context(), "b"); err != nil {
			t.Errorf("on another key: %v", err)
		} else {
			release()
		}
		all.Wait()
		if release, err := line.take(t.Context(), "a"); err != nil {
			t.Errorf("afterwards: %v", err)
		} else {
			release()
		}
		if len(line.queues) != 0 {
			t.Errorf("%d queues are left", len(line.queues))
		}
	})
}

// An instance has memory for two hashes at once (model.md section 3).
func TestTwoHashAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(nil, nil, Clock{}, nil, nil, nil)
		hashing, most := 0, 0
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				release, err := s.slot(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				hashing++
				most = max(most, hashing)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				hashing--
				mu.Unlock()
				release()
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := s.slot(ctx); !errors.Is(err, commit.ErrBusy) {
			t.Errorf("who waited too long got %v", err)
		}
		began := time.Now()
		all.Wait()
		if most != 2 {
			t.Errorf("%d hashed at once", most)
		}
		if took := time.Since(began); took != 4500*time.Millisecond {
			t.Errorf("ten of a second each took %s more", took)
		}
	})
}
