package identity

import (
	"context"
	"strings"
	"time"

	"latchkey/handler/internal/audit"
)

// Store is what the registry asks of storage. Each method is one trip (its calls run in parallel), and none retries a commit.
type Store interface {
	// Lookup reads one identity by one point read, nil if there is none.
	Lookup(ctx context.Context, key Key) (*Identity, error)
	// Open reads the record's identity and its issuer's queue, and writes the record's intent.
	Open(ctx context.Context, record audit.Record) (Opened, error)
	// Commit carries a change out whole or not at all: commit.ErrConflict if surely not, nil if so.
	Commit(ctx context.Context, change Change) error
	// Reopen reads the record's identity and its issuer's queue, and whether the record was committed. These are reads at one
	// time, no snapshot. It writes nothing.
	Reopen(ctx context.Context, record audit.Record) (now Opened, committed bool, err error)
	// List reads up to limit identities of one issuer, in the order of their IDs, beginning behind the subject after ("": at the
	// first), those in one state or ("") all. Fewer than limit means that there are no more.
	List(ctx context.Context, issuer string, state State, after string, limit int) ([]Identity, error)
	// Seen notes when an identity last called, to the hour. It changes a row that is there, and never makes one.
	Seen(ctx context.Context, key Key, at time.Time) error
}

// Queue counts the pending identities of one issuer.
type Queue struct {
	Pending int64
	Version Version
}

// Opened is the state that a change is decided from.
type Opened struct {
	Identity *Identity // nil if nobody knows it
	Queue    Queue
}

// Change is what a commit carries out.
type Change struct {
	// Identity is the next state of the identity that the record names; its Version is the one that it replaces.
	Identity Identity
	// Queue is the next state of the issuer's queue with the version that it replaces, nil if it stays.
	Queue *Queue
	// Record is committed in the same transaction.
	Record audit.Record
}

// change makes the change from the identity as it is to next.
func (o Opened) change(next Identity, record audit.Record) Change {
	waited := false
	next.N, next.Version = 0, Absent
	if o.Identity != nil {
		next.N, next.Version, waited = o.Identity.N, o.Identity.Version, o.Identity.State == Pending
	}
	next.N++
	next.Modified, next.ModifiedBy = record.Time, record.Origin.Actor.String()
	record.N = next.N
	record.State, record.Label, record.Scopes = string(next.State), next.Label, strings.Join(next.Scopes, " ")
	c := Change{Identity: next, Record: record}
	if waits := next.State == Pending; waits != waited {
		queue := o.Queue
		if queue.Pending++; waited {
			queue.Pending -= 2
		}
		c.Queue = &queue
	}
	return c
}
