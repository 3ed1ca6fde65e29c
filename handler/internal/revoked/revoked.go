// Package revoked keeps the signed list of what has ended, which verifiers follow (ACT-14, model.md section 4). It owns when the feed
// is read: however many ask, an instance reads it at most once in a few seconds, and not at all while nobody asks (ABU-4). It refuses
// to answer with a list that is too old to be relied on.
package revoked

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/commit"
)

// The ages of a list, counted from before it was read.
const (
	// fresh: it is given as it is.
	fresh = 5 * time.Second
	// aging: it is given still, while the next one is read. So nobody gets an older one while storage answers, and an end is in the
	// list of every instance 10 s after its reply.
	aging = 10 * time.Second
	// stale: it is given only if storage does not answer. With the 30 s that it may be kept on its way (MaxAge) it is 60 s old where
	// it is used: the promise of ACT-14.
	stale = 30 * time.Second
	// MaxAge is how long a list may be kept on its way.
	MaxAge = 30 * time.Second
	// Lifetime is after what time from its reading a verifier must not rely on a list any more: its exp says so. It is what bounds
	// somebody who holds newer lists back.
	Lifetime = stale + MaxAge

	// calm is the least time between two looks at a storage that failed, patience what one look may take.
	calm     = time.Second
	patience = 8 * time.Second
)

// window is how far back a record can lie whose ending is still published.
const window = activation.MaxLifetime + activation.PublishedAfter

// Source is what a List is made from.
type Source struct {
	// Read gives all endings that were published under records of since or later, in any order, some of them more than once.
	Read func(ctx context.Context, since time.Time) ([]activation.Ending, error)
	// Sign signs the list as it was at a time.
	Sign func(all []activation.Ending, at time.Time) ([]byte, error)
	Now  func() time.Time
}

// List is the list of one instance. It is safe for concurrent use.
type List struct {
	source Source

	mu     sync.Mutex
	last   Document
	flight *flight   // the reading that is under way, or nil
	failed time.Time // when the last reading failed, zero if it did not
	cause  error
}

// Document is a signed list. Whoever gets one must not change it.
type Document struct {
	Text []byte
	// Tag is a hash of the text: it is made once, since the text may be long.
	Tag string
	at  time.Time
}

// flight is one reading, which many may wait for.
type flight struct{ landed chan struct{} }

// New makes a list. It reads nothing until somebody asks.
func New(source Source) *List { return &List{source: source} }

// Document is the list, at most 10 s old while storage answers and 30 s while it does not. An error is commit.ErrUnavailable: there
// is none that can be relied on.
func (l *List) Document(ctx context.Context) (Document, error) {
	l.mu.Lock()
	now := l.source.Now()
	age := l.last.age(now)
	if age < fresh {
		defer l.mu.Unlock()
		return l.last, nil
	}
	if l.flight == nil && (l.failed.IsZero() || now.Sub(l.failed) >= calm) {
		l.flight = &flight{make(chan struct{})}
		// The reading is everybody's: it does not end with who began it.
		go l.read(context.WithoutCancel(ctx), l.flight)
	}
	waiting := l.flight
	if age < aging || waiting == nil {
		defer l.mu.Unlock()
		return l.usable(now)
	}
	l.mu.Unlock()
	select {
	case <-waiting.landed:
	case <-ctx.Done():
		return Document{}, commit.Unavailable(ctx.Err())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.usable(l.source.Now())
}

// usable is the last list, unless it is too old.
func (l *List) usable(now time.Time) (Document, error) {
	if l.last.age(now) < stale {
		return l.last, nil
	}
	return Document{}, fmt.Errorf("%w: there is no list of revocations that is young enough: %w", commit.ErrUnavailable, l.cause)
}

func (d Document) age(now time.Time) time.Duration {
	if d.Text == nil {
		return stale
	}
	return now.Sub(d.at)
}

// read makes the next list.
func (l *List) read(ctx context.Context, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	at := l.source.Now()
	made, err := l.make(ctx, at)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flight = nil
	if l.cause = err; err == nil {
		l.last, l.failed = Document{made, tag(made), at}, time.Time{}
	} else {
		l.failed = l.source.Now()
	}
	close(f.landed)
}

func tag(text []byte) string {
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// make reads and signs. A panic becomes an error: in a goroutine of its own it would end the process.
func (l *List) make(ctx context.Context, at time.Time) (text []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a panic while the list was made: %v", p)
		}
	}()
	all, err := l.source.Read(ctx, at.Add(-window))
	if err != nil {
		return nil, err
	}
	return l.source.Sign(current(all, at), at)
}

// current leaves out what has expired, and of what was published more than once all but the one that lasts longest. The order is that
// of the first of each.
func current(all []activation.Ending, at time.Time) []activation.Ending {
	type id struct{ session, token string }
	places := make(map[id]int, len(all))
	kept := make([]activation.Ending, 0, len(all))
	for _, e := range all {
		if !at.Before(e.Until) {
			continue
		}
		i, again := places[id{e.Session, e.Token}]
		if !again {
			places[id{e.Session, e.Token}] = len(kept)
			kept = append(kept, e)
		} else if e.Until.After(kept[i].Until) {
			kept[i].Until = e.Until
		}
	}
	return kept
}
