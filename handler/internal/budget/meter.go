package budget

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"
)

const (
	// lapse is how long a leased block may be handed out. See year.
	lapse = 12 * time.Hour
	// patience bounds a lease with all its trips.
	patience = 3 * time.Second
	// pause is how long nobody asks storage again after it failed.
	pause = time.Second
	// mostConflicts is how many lost races a lease bears.
	mostConflicts = 20
	// quiet is how long a meter says the same thing only once.
	quiet = time.Minute
)

// Empty says that a budget has nothing left.
type Empty struct {
	Kind  Kind
	Limit Limit
	// After is how long until it is worth trying again.
	After time.Duration
}

func (e *Empty) Error() string { return fmt.Sprintf("the %s budget is empty", e.Kind) }

// ErrUnknown says that storage could not be asked what is left.
var ErrUnknown = errors.New("the budget is not known")

// Report is what somebody should know of a budget.
type Report struct {
	Kind Kind
	// Left of Capacity is what a total had after a lease: told when it is below a tenth.
	Left, Capacity int64
	// Err is why a budget could not be asked for, else nil.
	Err error
}

// Meter is a family of buckets of one kind, as one instance sees it. It is safe for concurrent use.
type Meter struct {
	kind   Kind
	limit  func() Limit
	env    Environment
	ahead  bool // it leases the next block before the last is used up, and reports when little is left
	shards []shard

	mu     sync.Mutex
	low    time.Time // when it was last reported that little is left
	failed time.Time // and that storage does not answer
}

// Environment is what meters work with. All fields are required.
type Environment struct {
	Store Store
	// Now is the instance's clock. Only time that passes is taken from it.
	Now func() time.Time
	// Later runs what need not be done before an answer, with a context of its own. It may drop it.
	Later func(func(context.Context))
	// Report is told what somebody should know. It must not block.
	Report func(Report)
}

// NewMeter makes a family of so many buckets. limit is asked at every lease, so that a new setting counts from the next one.
func NewMeter(kind Kind, shards int, limit func() Limit, env Environment) *Meter {
	return &Meter{kind: kind, limit: limit, env: env, shards: make([]shard, shards)}
}

// shard is what this instance holds of one bucket.
type shard struct {
	mu sync.Mutex
	// units are there to be handed out until lapse after leased: those of later blocks lapse with the first, which is early and so
	// allowed. A lot is all that lapses at once; a unit can only come back to the lot that it was taken from.
	units  int64
	leased time.Time
	lot    uint64
	// until then storage is not asked again, because of why.
	until time.Time
	why   error
	// leasing is closed when the lease that is under way has ended.
	leasing chan struct{}
}

// Take takes one unit of the bucket that name belongs to. Once storage was asked it is a matter of memory. It returns how to give
// the unit back, which may be called once, at any time. The error is *Empty, or ErrUnknown when storage does not answer.
func (m *Meter) Take(ctx context.Context, name string) (giveBack func(), err error) {
	i := shardOf(name, len(m.shards))
	s := &m.shards[i]
	for {
		s.mu.Lock()
		now := m.env.Now()
		if s.lapsed(now) {
			s.units = 0
		}
		switch {
		case s.units > 0:
			s.units--
			lot := s.lot
			early := m.ahead && m.limit().half(s.units) && s.leasing == nil && !now.Before(s.until)
			s.mu.Unlock()
			if early {
				m.env.Later(func(ctx context.Context) { m.renew(ctx, i) })
			}
			return func() { s.giveBack(lot) }, nil
		case now.Before(s.until):
			err := s.refusal(now)
			s.mu.Unlock()
			return nil, err
		case s.leasing == nil:
			s.leasing = make(chan struct{})
			s.mu.Unlock()
			m.lease(ctx, i)
		default:
			leasing := s.leasing
			s.mu.Unlock()
			select {
			case <-leasing:
			case <-ctx.Done():
				return nil, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
			}
		}
	}
}

// lapsed reports whether there is nothing at now that may still be handed out.
func (s *shard) lapsed(now time.Time) bool { return s.lot == 0 || now.Sub(s.leased) >= lapse }

func (s *shard) giveBack(lot uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lot == lot {
		s.units++
	}
}

// refusal says why nothing is handed out at now.
func (s *shard) refusal(now time.Time) error {
	var empty *Empty
	if errors.As(s.why, &empty) {
		return &Empty{empty.Kind, empty.Limit, s.until.Sub(now)}
	}
	return s.why
}

// renew leases the next block while there are units of the last.
func (m *Meter) renew(ctx context.Context, i int) {
	s := &m.shards[i]
	s.mu.Lock()
	if s.leasing != nil || !m.limit().half(s.units) {
		s.mu.Unlock()
		return
	}
	s.leasing = make(chan struct{})
	s.mu.Unlock()
	m.lease(ctx, i)
}

// lease asks storage for a block and notes what it says. The caller has set leasing; whatever happens, it is closed.
func (m *Meter) lease(ctx context.Context, i int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	began := m.env.Now()
	var granted int64
	after, why := pause, fmt.Errorf("%w: leasing panicked", ErrUnknown)
	defer func() {
		s := &m.shards[i]
		s.mu.Lock()
		defer s.mu.Unlock()
		if granted > 0 {
			if s.lapsed(began) {
				s.units, s.leased, s.lot = 0, began, s.lot+1
			}
			s.units += granted
			s.until, s.why = time.Time{}, nil
		} else {
			s.until, s.why = m.env.Now().Add(after), why
		}
		close(s.leasing)
		s.leasing = nil
	}()

	limit := m.limit()
	key := Key{m.kind, i}
	var cause error
	for range mostConflicts {
		b, now, err := m.env.Store.Bucket(ctx, key)
		if err != nil {
			cause = err
			break
		}
		next, block, wait := limit.lease(b, now)
		if m.ahead && next.Tokens < limit.Capacity/10 {
			m.report(&m.low, Report{Kind: m.kind, Left: next.Tokens, Capacity: limit.Capacity})
		}
		if block == 0 {
			after, why = wait, &Empty{Kind: m.kind, Limit: limit}
			return
		}
		if cause = m.env.Store.SwapBucket(ctx, key, next); cause == nil {
			granted = block
			return
		}
		if !errors.Is(cause, ErrConflict) {
			break // it may have been carried out: these units are lost, and never handed out twice
		}
	}
	why = fmt.Errorf("%w: %w", ErrUnknown, cause)
	m.report(&m.failed, Report{Kind: m.kind, Err: cause})
}

// report tells r unless the same was told a moment ago.
func (m *Meter) report(last *time.Time, r Report) {
	now := m.env.Now()
	m.mu.Lock()
	told := !last.IsZero() && now.Sub(*last) < quiet
	if !told {
		*last = now
	}
	m.mu.Unlock()
	if !told {
		m.env.Report(r)
	}
}

// shardOf spreads names over so many buckets, the same on every instance.
func shardOf(name string, shards int) int {
	h := fnv.New64a()
	h.Write([]byte(name))
	return int(h.Sum64() % uint64(shards))
}
