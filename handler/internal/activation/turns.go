package activation

import (
	"context"
	"sync"
)

// turns lets one at a time work on an activation, so that an instance never hashes two guesses at one code at once
// (model.md section 3). It holds nothing for an activation that nobody works on.
type turns struct {
	mu      sync.Mutex
	queues  map[UUID]chan struct{}
	waiting map[UUID]int
}

// take waits for the turn. The caller must release it.
func (t *turns) take(ctx context.Context, of UUID) (release func(), err error) {
	t.mu.Lock()
	queue := t.queues[of]
	if queue == nil {
		queue = make(chan struct{}, 1)
		t.queues[of] = queue
	}
	t.waiting[of]++
	t.mu.Unlock()

	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.waiting[of]--; t.waiting[of] == 0 {
			delete(t.waiting, of)
			delete(t.queues, of)
		}
	}
	select {
	case queue <- struct{}{}:
		return func() { <-queue; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ErrBusy
	}
}
