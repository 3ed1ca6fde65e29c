package activation

import (
	"context"
	"latchkey/handler/internal/commit"
	"sync"
)

// turns lets one at a time work on a key, in order of arrival, so that an instance never hashes two guesses at one secret at once
// (model.md section 3). It holds nothing for a key that nobody works on.
type turns[K comparable] struct {
	// most is how many may work or wait on one key; 0 for any number.
	most int

	mu     sync.Mutex
	queues map[K]*queue
}

type queue struct {
	place chan struct{}
	here  int // working or waiting
}

// take waits for the turn. The caller must release it. ErrBusy: too many wait, or the context ended.
func (t *turns[K]) take(ctx context.Context, of K) (release func(), err error) {
	q := t.join(of)
	if q == nil {
		return nil, commit.ErrBusy
	}
	select {
	case q.place <- struct{}{}:
		return func() { <-q.place; t.leave(of, q) }, nil
	case <-ctx.Done():
		t.leave(of, q)
		return nil, commit.ErrBusy
	}
}

func (t *turns[K]) join(of K) *queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queues == nil {
		t.queues = map[K]*queue{}
	}
	q := t.queues[of]
	if q == nil {
		q = &queue{place: make(chan struct{}, 1)}
		t.queues[of] = q
	}
	if t.most > 0 && q.here >= t.most {
		return nil
	}
	q.here++
	return q
}

func (t *turns[K]) leave(of K, q *queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.here--; q.here == 0 {
		delete(t.queues, of)
	}
}
