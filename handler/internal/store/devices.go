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

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// deviceColumns are a device's own fields, beside what every head has.
func deviceColumns(h activation.Head) (columns, error) {
	held, err := credentialsColumn(h.Held)
	c := columns{"held": held}
	if d := h.Device; d != nil {
		c["own_description"], c["own_location"], c["own_changes"] = d.Description, d.Location, aztables.EDMInt64(d.Changes)
		c["own_created"], c["own_created_by"] = formatTime(d.Created), d.CreatedBy
		c["own_modified"], c["own_modified_by"] = formatTime(d.Modified), d.ModifiedBy
	}
	return c, err
}

// readDevice adds them to a head. Without a location it is no device that was created.
func readDevice(h *activation.Head, r *reader) {
	h.Held = r.credentials("held")
	d := activation.Device{
		Description: r.text("own_description"), Location: r.text("own_location"),
		Created: r.time("own_created"), CreatedBy: r.text("own_created_by"),
		Modified: r.time("own_modified"), ModifiedBy: r.text("own_modified_by"),
	}
	if d.Location == "" {
		return
	}
	changes, ok := r.row.Properties["own_changes"].(aztables.EDMInt64)
	if !ok {
		r.fail("own_changes")
	}
	d.Changes = int64(changes)
	h.Device = &d
}

// suspended are the writes that put a credential aside: in one transaction with the head that is inactive from then on.
func suspended(partition string, c activation.Credential, at time.Time) []write {
	return append(removed(partition, c),
		write{insert, entity(partition, heldPrefix+c.Key.String(), columns{"sid": c.Session, "at": formatTime(at)}), ""})
}

func removed(partition string, c activation.Credential) []write {
	return []write{
		{remove, entity(partition, credentialPrefix+c.Key.String(), nil), azcore.ETagAny},
		{remove, entity(partition, sessionPrefix+c.Session, nil), azcore.ETagAny},
	}
}

// Announce implements activation.Store.
func (s *Store) Announce(ctx context.Context, record audit.Record) error {
	trip(ctx)
	partition, err := partitionOf(record.Subject)
	if err != nil {
		return err
	}
	return s.announce(ctx, partition, record)
}

// Used implements activation.Store. It changes a credential that is there, whatever its version: two tokens at one time are no rivals.
func (s *Store) Used(ctx context.Context, key keyed.Hash, record audit.Record) error {
	trip(ctx)
	partition, err := partitionOf(record.Subject)
	if err != nil {
		return err
	}
	used := columns{"used": formatTime(record.Time.UTC().Truncate(time.Hour))}
	err = s.transact(ctx, "recording a token", s.subjects, []write{
		{merge, entity(partition, credentialPrefix+key.String(), used), azcore.ETagAny},
		{insert, auditRow(partition, record), ""},
	})
	if missing(err) || exists(err) {
		return commit.ErrConflict
	}
	return err
}

// Reuse implements activation.Store.
func (s *Store) Reuse(ctx context.Context, record audit.Record, keys []keyed.Hash) (found *activation.Credential, committed bool, err error) {
	partition, err := partitionOf(record.Subject)
	if err != nil {
		return nil, false, err
	}
	err = together(
		func() (err error) { found, err = s.Credential(ctx, record.Subject, keys); return err },
		func() error {
			f, err := get(ctx, "looking for a record", s.subjects, partition, auditKey(record))
			committed = f.exists
			return err
		},
	)
	if err != nil {
		return nil, false, err
	}
	return found, committed, nil
}

// Heads implements activation.Store: as many point reads at once.
func (s *Store) Heads(ctx context.Context, of []subject.ID) ([]activation.Head, error) {
	if len(of) == 0 {
		return nil, nil
	}
	trip(ctx)
	heads := make([]activation.Head, len(of))
	calls := make([]func() error, len(of))
	for i, one := range of {
		calls[i] = func() error {
			partition, err := partitionOf(one)
			if err != nil {
				return err
			}
			f, err := get(ctx, "reading a subject", s.subjects, partition, headKey)
			if err != nil {
				return err
			}
			heads[i], err = readHead(one, f)
			return err
		}
	}
	if err := together(calls...); err != nil {
		return nil, err
	}
	return heads, nil
}

// listKeys are both keys of a device's row in a list. The order of the encoded ids is that of the ids.
func listKeys(list, id string) (partition, row string) {
	partition = everyDevice
	if list != activation.EveryDevice {
		partition = locationPrefix + encodeID(list)
	}
	return partition, encodeID(id)
}

func listRow(list, id string, at time.Time) aztables.EDMEntity {
	partition, row := listKeys(list, id)
	return entity(partition, row, columns{"written": formatTime(at)})
}

// Enlist implements activation.Store. A row that is there is written once more, so that its version is another one: the clean-up, which
// removes what it saw, leaves it.
func (s *Store) Enlist(ctx context.Context, device subject.ID, lists []string, at time.Time) error {
	if device.Kind != subject.Device {
		return refuse("only devices stand in lists")
	}
	trip(ctx)
	calls := make([]func() error, len(lists))
	for i, list := range lists {
		row := listRow(list, device.Name, at)
		calls[i] = func() error {
			const doing = "listing a device"
			for range 3 {
				if err := s.insert(ctx, doing, s.lists, row); !exists(err) {
					return err
				}
				if err := s.merge(ctx, doing, s.lists, write{merge, row, azcore.ETagAny}); !missing(err) {
					return err
				}
				// It was cleaned up in between.
			}
			return &Error{Doing: doing, cause: errors.New("the row comes and goes")}
		}
	}
	return together(calls...)
}

// Listed implements activation.Store: one range of each list, at once. It takes a trip more if the service stops before an end.
func (s *Store) Listed(ctx context.Context, lists []string, after string, limit int) ([][]subject.ID, error) {
	if limit <= 0 {
		return make([][]subject.ID, len(lists)), nil
	}
	trip(ctx)
	found := make([][]subject.ID, len(lists))
	calls := make([]func() error, len(lists))
	for i, list := range lists {
		calls[i] = func() (err error) {
			found[i], err = s.list(ctx, list, after, limit)
			return err
		}
	}
	if err := together(calls...); err != nil {
		return nil, err
	}
	return found, nil
}

func (s *Store) list(ctx context.Context, list, after string, limit int) (found []subject.ID, err error) {
	const doing = "reading a list"
	partition, from := listKeys(list, after)
	if err := checkKeys(partition, from+"0"); err != nil {
		return nil, err
	}
	filter := fmt.Sprintf("PartitionKey eq '%s' and RowKey gt '%s'", partition, from)
	pager := s.lists.NewListEntitiesPager(&aztables.ListEntitiesOptions{
		Filter: &filter, Select: to.Ptr("PartitionKey,RowKey"), Top: to.Ptr(int32(min(limit, maxPage))),
	})
	for first := true; pager.More(); first = false {
		if !first { // the service stops where it likes (threats.md F-06)
			trip(ctx)
		}
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, short(doing, err)
		}
		for _, text := range page.Entities {
			var row aztables.EDMEntity
			if err := json.Unmarshal(text, &row); err != nil {
				return nil, &Error{Doing: doing, cause: cause(err)}
			}
			id, err := base32hex.DecodeString(strings.ToUpper(row.RowKey))
			if err != nil {
				return nil, errKey
			}
			of, err := subject.New(subject.Device, string(id))
			if err != nil {
				return nil, errKey
			}
			if found = append(found, of); len(found) == limit {
				return found, nil
			}
		}
	}
	return found, nil
}
