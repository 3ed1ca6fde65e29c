package budget

import (
	"context"
	"errors"
	"math/big"
	"time"
)

// Kind says what a budget is for. The values are stored: never rename one.
type Kind string

// The kinds.
const (
	// Patients and Devices are the totals of unknown locators.
	Patients Kind = "patient"
	Devices  Kind = "device"
	// Sources are refused redeems by address.
	Sources Kind = "source"
	// Logins are identifiers that nobody has, by the device that they were typed into.
	Logins Kind = "login"
)

// Limit is the rule of a bucket: it holds Capacity units and gets Refill of them back in Period, evenly. So no span of time T
// sees more than Capacity + Refill x T / Period leave it. All are positive.
type Limit struct {
	Capacity, Refill int64
	Period           time.Duration
	// Block is how many units an instance leases at most at once.
	Block int64
}

// year is longer than any year, by at least a day. What an instance leased in one year it may hand out in the next, but only
// for lapse; storage's clock may be set. Both stay within that day, so that no calendar year sees more than Capacity + Refill.
const year = 367 * 24 * time.Hour

// mostBlock is the largest block, in units: at 2,000 guesses a second a lease a second for all instances, and what a thousand
// instances a day lose by dying is a thousandth of a year's refill each day.
const mostBlock = 2000

// PerYear is the limit of a total (model.md section 7).
func PerYear(capacity, refill int64) Limit {
	return Limit{Capacity: capacity, Refill: refill, Period: year, Block: max(1, min(mostBlock, capacity/100))}
}

// PerWindow is the limit of a source: so many units, and as many back in each window. A block is small beside it, so that
// what one instance holds is not missing on another.
func PerWindow(units int64, window time.Duration) Limit {
	return Limit{Capacity: units, Refill: units, Period: window, Block: max(1, units/8)}
}

// half reports whether less than half a block is left.
func (l Limit) half(units int64) bool { return units < (l.Block+1)/2 }

// Bucket is the stored state.
type Bucket struct {
	// Tokens are the units left at At, by storage's clock.
	Tokens int64
	At     time.Time
	// Version is the storage's mark of this state (an ETag). "" means that nobody wrote the bucket yet: it is full.
	Version string
}

// Key names a bucket. Shard counts from 0.
type Key struct {
	Kind  Kind
	Shard int
}

// Store keeps buckets. It is safe for concurrent use.
type Store interface {
	// Bucket reads one, with the time that storage's own clock showed. One that nobody wrote is the zero Bucket.
	Bucket(ctx context.Context, key Key) (b Bucket, now time.Time, err error)
	// SwapBucket writes one if its version is still b.Version. ErrConflict: it surely did not. Any other error: nobody knows.
	// Times are kept to the millisecond.
	SwapBucket(ctx context.Context, key Key, b Bucket) error
}

// ErrConflict is how storage says that another instance was faster.
var ErrConflict = errors.New("the bucket was changed meanwhile")

// refilled is b as it stands at now. A clock that went back refills nothing.
func (l Limit) refilled(b Bucket, now time.Time) Bucket {
	if b.Version == "" {
		b.Tokens, b.At = l.Capacity, now
		return b
	}
	b.Tokens = min(b.Tokens, l.Capacity) // the setting may have been lowered
	if !now.After(b.At) {
		return b
	}
	gained := scaled(int64(now.Sub(b.At)), l.Refill, int64(l.Period))
	if missing := l.Capacity - b.Tokens; gained.Cmp(big.NewInt(missing)) >= 0 {
		b.Tokens, b.At = l.Capacity, now
		return b
	}
	units := gained.Int64()
	b.Tokens += units
	// At moves by the time that these units took, not to now: what is left over counts the next time.
	b.At = b.At.Add(l.within(units))
	return b
}

// within is how long a bucket takes to get so many units back, rounded up to the millisecond: what is stored is never early.
func (l Limit) within(units int64) time.Duration {
	took := new(big.Int).Mul(big.NewInt(units), big.NewInt(int64(l.Period)))
	step := new(big.Int).Mul(big.NewInt(l.Refill), big.NewInt(int64(time.Millisecond)))
	took.Add(took, new(big.Int).Sub(step, big.NewInt(1)))
	return time.Duration(took.Div(took, step).Int64()) * time.Millisecond
}

// scaled is a x b / c, rounded down. The product of a year in nanoseconds and a year's units is beyond an int64.
func scaled(a, b, c int64) *big.Int {
	p := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
	return p.Div(p, big.NewInt(c))
}

// lease takes a block out of b, or what there is of one. If there is nothing, it says after how long it is worth asking
// again: when half a block is back.
func (l Limit) lease(b Bucket, now time.Time) (next Bucket, granted int64, after time.Duration) {
	next = l.refilled(b, now)
	granted = max(0, min(l.Block, next.Tokens))
	if granted == 0 {
		return next, 0, max(next.At.Add(l.within((l.Block+1)/2)).Sub(now), time.Second)
	}
	next.Tokens -= granted
	return next, granted, 0
}
