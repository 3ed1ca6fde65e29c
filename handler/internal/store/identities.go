package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/identity"
)

// The row keys of an issuer's partition that are no identities', or what they begin with. "~" is behind every identity.
const (
	queueKey            = "~head"
	identityAuditPrefix = "~" + auditPrefix
	identityEnd         = "~"
)

// Identities is identity.Store on the table of the same name.
type Identities struct{ *Store }

var _ identity.Store = Identities{}

// Identities returns the part of the store that keeps identities.
func (s *Store) Identities() Identities { return Identities{s} }

// identityKeys are both keys of an identity: the two parts of its ID, whose form is fixed by what was sent to clients.
func identityKeys(key identity.Key) (partition, row string, err error) {
	partition, row, _ = strings.Cut(key.ID(), "~")
	if partition == "" || row == "" {
		return "", "", errKey
	}
	return partition, row, nil
}

func identityAuditKey(record audit.Record) string {
	return identityAuditPrefix + inverted(record.Time) + "~" + record.ID
}

// identityOf is whom a record is of.
func identityOf(record audit.Record) identity.Key {
	return identity.Key{Issuer: record.Identity.Issuer, Subject: record.Identity.ID}
}

// Lookup implements identity.Store.
func (s Identities) Lookup(ctx context.Context, key identity.Key) (*identity.Identity, error) {
	trip(ctx)
	partition, row, err := identityKeys(key)
	if err != nil {
		return nil, err
	}
	f, err := get(ctx, "looking up an identity", s.identities, partition, row)
	if err != nil {
		return nil, err
	}
	return readIdentity(f)
}

// Open implements identity.Store.
func (s Identities) Open(ctx context.Context, record audit.Record) (identity.Opened, error) {
	trip(ctx)
	return s.opened(ctx, record, func(partition, row string) error {
		err := s.insert(ctx, "announcing a change of an identity", s.journal, identityIntentRow(partition, record))
		if exists(err) { // its key holds the record's random id: an earlier try of ours
			return nil
		}
		return err
	})
}

// Reopen implements identity.Store.
func (s Identities) Reopen(ctx context.Context, record audit.Record) (now identity.Opened, committed bool, err error) {
	trip(ctx)
	now, err = s.opened(ctx, record, func(partition, _ string) error {
		f, err := get(ctx, "looking for a record of an identity", s.identities, partition, identityAuditKey(record))
		committed = f.exists
		return err
	})
	if err != nil {
		return identity.Opened{}, false, err
	}
	return now, committed, nil
}

// opened reads the identity of a record and its issuer's queue, beside something else.
func (s Identities) opened(ctx context.Context, record audit.Record, beside func(partition, row string) error) (now identity.Opened, err error) {
	partition, row, err := identityKeys(identityOf(record))
	if err != nil {
		return identity.Opened{}, err
	}
	var is, queue found
	err = together(
		func() error { return beside(partition, row) },
		func() (err error) {
			is, err = get(ctx, "reading an identity", s.identities, partition, row)
			return err
		},
		func() (err error) {
			queue, err = get(ctx, "reading a queue", s.identities, partition, queueKey)
			return err
		},
	)
	if err != nil {
		return identity.Opened{}, err
	}
	var wrong error
	if now.Identity, err = readIdentity(is); err == nil {
		now.Queue, wrong = readQueue(queue)
	}
	return now, errors.Join(err, wrong)
}

// Commit implements identity.Store. It is the only function that changes an identity or a queue, in one entity group transaction
// with the record.
func (s Identities) Commit(ctx context.Context, change identity.Change) error {
	trip(ctx)
	writes, err := identityChanges(change)
	if err != nil {
		return err
	}
	err = s.transact(ctx, "committing a change of an identity", s.identities, writes)
	if stale(err) || exists(err) || missing(err) { // as Store.Commit
		return commit.ErrConflict
	}
	return err
}

// identityChanges lists what a change writes.
func identityChanges(change identity.Change) ([]write, error) {
	next := change.Identity
	if identityOf(change.Record) != next.Key {
		return nil, refuse("a change is of one identity")
	}
	row, err := identityRow(next)
	if err != nil {
		return nil, err
	}
	partition := row.PartitionKey
	writes := []write{versioned(row, next.Version)}
	if change.Queue != nil {
		writes = append(writes, versioned(queueRow(partition, *change.Queue), change.Queue.Version))
	}
	return append(writes, write{insert, identityAuditRow(partition, row.RowKey, change.Record), ""}), nil
}

// versioned replaces the row that was read, or makes it.
func versioned(row aztables.EDMEntity, version identity.Version) write {
	if version == identity.Absent {
		return write{insert, row, ""}
	}
	return write{merge, row, azcore.ETag(version)}
}

// List implements identity.Store. It takes a trip a page of at most 1,000 rows.
func (s Identities) List(ctx context.Context, issuer string, state identity.State, after string, limit int) ([]identity.Identity, error) {
	const doing = "listing identities"
	// The key of an identity without a subject is the beginning of its issuer's.
	partition, from, _ := strings.Cut(identity.Key{Issuer: issuer, Subject: after}.ID(), "~")
	if err := checkKeys(partition, identityEnd+from); err != nil || limit <= 0 {
		return nil, err
	}
	// Every part of the filter is a key or a word of ours.
	filter := fmt.Sprintf("PartitionKey eq '%s' and RowKey gt '%s' and RowKey lt '%s'", partition, from, identityEnd)
	switch state {
	case "":
	case identity.Pending, identity.Approved, identity.Disabled, identity.Retired:
		filter += fmt.Sprintf(" and state eq '%s'", state)
	default:
		return nil, refuse("a list of a state that there is not")
	}
	pager := s.identities.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter, Top: to.Ptr(int32(min(limit, maxPage)))})
	var list []identity.Identity
	for pager.More() { // an empty page is not the end: the service stops where it likes (threats.md F-06)
		trip(ctx)
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, short(doing, err)
		}
		for _, e := range page.Entities {
			f := found{exists: true}
			if err := json.Unmarshal(e, &f.row); err != nil {
				return nil, &Error{Doing: doing, cause: cause(err)}
			}
			f.etag = azcore.ETag(f.row.ETag)
			i, err := readIdentity(f)
			if err != nil {
				return nil, err
			}
			if list = append(list, *i); len(list) == limit {
				return list, nil
			}
		}
	}
	return list, nil
}

// Seen implements identity.Store: it updates the row that is there, and never inserts one.
func (s Identities) Seen(ctx context.Context, key identity.Key, at time.Time) error {
	trip(ctx)
	partition, row, err := identityKeys(key)
	if err != nil {
		return err
	}
	seen := entity(partition, row, columns{"seen": formatTime(at.UTC().Truncate(time.Hour))})
	err = s.merge(ctx, "noting a call", s.identities, write{merge, seen, azcore.ETagAny})
	if missing(err) {
		return nil
	}
	return err
}

func identityRow(i identity.Identity) (aztables.EDMEntity, error) {
	partition, row, err := identityKeys(i.Key)
	successor := ""
	if i.Successor != (identity.Key{}) {
		successor = i.Successor.ID()
	}
	return entity(partition, row, columns{
		"state": string(i.State), "kind": string(i.Kind), "label": i.Label, "scopes": strings.Join(i.Scopes, " "), "successor": successor,
		"created": formatTime(i.Created), "created_by": i.CreatedBy, "modified": formatTime(i.Modified), "modified_by": i.ModifiedBy,
		"seen": formatTime(i.Seen), "n": aztables.EDMInt64(i.N),
	}), err
}

// readIdentity reads an identity, nil if there is none.
func readIdentity(f found) (*identity.Identity, error) {
	if !f.exists {
		return nil, nil
	}
	key, err := identity.ParseID(f.row.PartitionKey + "~" + f.row.RowKey)
	if err != nil {
		return nil, errKey
	}
	r := reader{row: f.row}
	i := &identity.Identity{
		Key: key, State: identity.State(r.text("state")), Kind: identity.Kind(r.text("kind")), Label: r.text("label"),
		Scopes:  strings.Fields(r.text("scopes")),
		Created: r.time("created"), CreatedBy: r.text("created_by"), Modified: r.time("modified"), ModifiedBy: r.text("modified_by"),
		Seen: r.time("seen"), Version: identity.Version(f.etag),
	}
	if len(i.Scopes) == 0 {
		i.Scopes = nil
	}
	switch i.State {
	case identity.Pending, identity.Approved, identity.Disabled, identity.Retired:
	default: // a disabled one must not pass for anything else
		r.fail("state")
	}
	n, ok := f.row.Properties["n"].(aztables.EDMInt64)
	if !ok {
		r.fail("n")
	}
	i.N = int64(n)
	if successor := r.text("successor"); successor != "" {
		if i.Successor, err = identity.ParseID(successor); err != nil {
			r.fail("successor")
		}
	}
	return i, r.err
}

func queueRow(partition string, q identity.Queue) aztables.EDMEntity {
	return entity(partition, queueKey, columns{"pending": aztables.EDMInt64(q.Pending)})
}

func readQueue(f found) (identity.Queue, error) {
	if !f.exists {
		return identity.Queue{}, nil
	}
	r := reader{row: f.row}
	pending, ok := f.row.Properties["pending"].(aztables.EDMInt64)
	if !ok { // it is always written: a damaged one must not pass for an empty queue
		r.fail("pending")
	}
	return identity.Queue{Pending: int64(pending), Version: identity.Version(f.etag)}, r.err
}

func identityAuditRow(partition, of string, record audit.Record) aztables.EDMEntity {
	c := recordColumns(record)
	c["identity"], c["state"], c["label"], c["scopes"], c["other"] = of, record.State, record.Label, record.Scopes, ""
	if record.Other != (audit.Actor{}) {
		c["other"] = identity.Key{Issuer: record.Other.Issuer, Subject: record.Other.ID}.ID()
	}
	return entity(partition, identityAuditKey(record), c)
}

func identityIntentRow(partition string, record audit.Record) aztables.EDMEntity {
	pk, rk := intentKeys(record)
	return entity(pk, rk, columns{"subject": partition, "record": identityAuditKey(record), "table": identities})
}
