package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"latchkey/handler/internal/budget"
)

var _ budget.Store = (*Store)(nil)

// windowKey is the one row of a bucket: it is overwritten, so that the table never grows.
const windowKey = "window"

// bucketPartition spreads buckets over partitions: each is one.
func bucketPartition(key budget.Key) string { return fmt.Sprintf("%s~%04d", key.Kind, key.Shard) }

// Bucket implements budget.Store. The time is that of storage's answer, to the second.
func (s *Store) Bucket(ctx context.Context, key budget.Key) (budget.Bucket, time.Time, error) {
	trip(ctx)
	const doing = "reading a budget"
	var answer *http.Response
	f, err := get(policy.WithCaptureResponse(ctx, &answer), doing, s.budgets, bucketPartition(key), windowKey)
	if err != nil {
		return budget.Bucket{}, time.Time{}, err
	}
	now, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return budget.Bucket{}, time.Time{}, &Error{Doing: doing, cause: errNoDate}
	}
	b, err := readBucket(f)
	return b, now, err
}

// SwapBucket implements budget.Store. azcore may repeat it: then the first may have been carried out, and the repeat is a
// conflict. The units of the first are lost to this instance, and never handed out twice.
func (s *Store) SwapBucket(ctx context.Context, key budget.Key, b budget.Bucket) error {
	trip(ctx)
	var err error
	row := bucketRow(key, b)
	if b.Version == "" {
		err = s.insert(ctx, "making a budget", s.budgets, row)
	} else {
		err = s.merge(ctx, "leasing of a budget", s.budgets, write{merge, row, azcore.ETag(b.Version)})
	}
	if stale(err) || exists(err) || missing(err) {
		return budget.ErrConflict
	}
	return err
}

func bucketRow(key budget.Key, b budget.Bucket) aztables.EDMEntity {
	return entity(bucketPartition(key), windowKey, columns{"tokens": aztables.EDMInt64(b.Tokens), "at": formatTime(b.At)})
}

func readBucket(f found) (budget.Bucket, error) {
	if !f.exists {
		return budget.Bucket{}, nil
	}
	r := reader{row: f.row}
	// Both are always written. A bucket without them is damaged, and must not pass for a full one.
	tokens, ok := f.row.Properties["tokens"].(aztables.EDMInt64)
	if !ok {
		r.fail("tokens")
	}
	b := budget.Bucket{Tokens: int64(tokens), At: r.time("at"), Version: string(f.etag)}
	if b.At.IsZero() {
		r.fail("at")
	}
	return b, r.err
}

var errNoDate = errors.New("there is no date in the answer")
