package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
)

// feedPartition is the one partition of the feed: it is read as one range, newest first.
const feedPartition = "rev"

// feedKey begins with the record under which something ends, so that all that was published for an intent that came to nothing is one
// range, whoever looks for it; and no record can take back what another published.
func feedKey(record audit.Record, e activation.Ending) string {
	return inverted(record.Time) + "~" + record.ID + "~" + e.Session + e.Token
}

func feedRow(record audit.Record, e activation.Ending) (aztables.EDMEntity, error) {
	if (e.Session == "") == (e.Token == "") || e.Until.IsZero() {
		return aztables.EDMEntity{}, refuse("an ending is of one session or one token, and has a time")
	}
	return entity(feedPartition, feedKey(record, e), columns{"sid": e.Session, "jti": e.Token, "until": formatTime(e.Until)}), nil
}

// Publish implements activation.Store. The rows are inserted one by one, in parallel: some may be there from an earlier attempt.
func (s *Store) Publish(ctx context.Context, record audit.Record, endings []activation.Ending) error {
	trip(ctx)
	return s.each(record, endings, func(row aztables.EDMEntity) error {
		if err := s.insert(ctx, "publishing an ending", s.feed, row); !exists(err) {
			return err
		}
		return nil
	})
}

// Retract implements activation.Store.
func (s *Store) Retract(ctx context.Context, record audit.Record, endings []activation.Ending) error {
	trip(ctx)
	return s.each(record, endings, func(row aztables.EDMEntity) error {
		const doing = "taking an ending back"
		if err := check(write{remove, entity(row.PartitionKey, row.RowKey, nil), azcore.ETagAny}); err != nil {
			return err
		}
		_, err := s.feed.DeleteEntity(ctx, row.PartitionKey, row.RowKey, &aztables.DeleteEntityOptions{IfMatch: to.Ptr(azcore.ETagAny)})
		if err = short(doing, err); missing(err) {
			return nil
		}
		return err
	})
}

func (s *Store) each(record audit.Record, endings []activation.Ending, do func(aztables.EDMEntity) error) error {
	calls := make([]func() error, len(endings))
	for i, e := range endings {
		row, err := feedRow(record, e)
		if err != nil {
			return err
		}
		calls[i] = func() error { return do(row) }
	}
	return together(calls...)
}

// Endings reads all that was published under records of since or later, newest first: a trip a page of 1,000. What was published for
// a change that came to nothing is among it until somebody takes it back.
func (s *Store) Endings(ctx context.Context, since time.Time) ([]activation.Ending, error) {
	const doing = "reading the feed"
	filter := fmt.Sprintf("PartitionKey eq '%s' and RowKey lt '%s'", feedPartition, inverted(since.Add(-time.Millisecond)))
	pager := s.feed.NewListEntitiesPager(&aztables.ListEntitiesOptions{
		Filter: &filter, Select: to.Ptr("RowKey,sid,jti,until"), Top: to.Ptr(int32(maxPage)),
	})
	var all []activation.Ending
	for pager.More() {
		trip(ctx)
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, short(doing, err)
		}
		for _, text := range page.Entities {
			var row aztables.EDMEntity
			if err := json.Unmarshal(text, &row); err != nil {
				return nil, &Error{Doing: doing, cause: cause(err)}
			}
			e, err := readEnding(row)
			if err != nil {
				return nil, err
			}
			all = append(all, e)
		}
	}
	return all, nil
}

func readEnding(row aztables.EDMEntity) (activation.Ending, error) {
	r := reader{row: row}
	e := activation.Ending{Session: r.text("sid"), Token: r.text("jti"), Until: r.time("until")}
	if (e.Session == "") == (e.Token == "") || e.Until.IsZero() {
		return e, errors.Join(r.err, errors.New("store: an ending cannot be read"))
	}
	return e, r.err
}
