package store

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Trips counts what one operation asks of storage. It is safe for concurrent use.
type Trips struct{ sequence, calls atomic.Int64 }

// Sequence is how many trips there were one after the other: what an operation's time is made of (model.md section 1).
func (t *Trips) Sequence() int64 { return t.sequence.Load() }

// Calls is how many HTTP requests there were in all, repeats included: what an operation costs.
func (t *Trips) Calls() int64 { return t.calls.Load() }

type tripsKey struct{}

// Count returns a context whose use is counted.
func Count(ctx context.Context) (context.Context, *Trips) {
	t := &Trips{}
	return context.WithValue(ctx, tripsKey{}, t), t
}

// trip counts one more trip in sequence.
func trip(ctx context.Context) {
	if t, ok := ctx.Value(tripsKey{}).(*Trips); ok && ctx.Value(besideKey{}) == nil {
		t.sequence.Add(1)
	}
}

// counting counts every request that leaves. It is a per-retry policy.
type counting struct{}

func (counting) Do(req *policy.Request) (*http.Response, error) {
	if t, ok := req.Raw().Context().Value(tripsKey{}).(*Trips); ok {
		t.calls.Add(1)
	}
	return req.Next()
}

type besideKey struct{}

// Beside returns a context whose calls are part of the trip that is under way: they are made while somebody waits for another.
func Beside(ctx context.Context) context.Context { return context.WithValue(ctx, besideKey{}, true) }
