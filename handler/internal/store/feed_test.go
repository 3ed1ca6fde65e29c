package store

import (
	"testing"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/storetest"
)

// TestF06_TheFeedIsReadToItsEnd: an ending behind a page's end must not be forgotten.
func TestF06_TheFeedIsReadToItsEnd(t *testing.T) {
	a := start(t)
	s := a.store(t, account, a.client)
	// The feed is everybody's: this test has a century of its own.
	since := time.Date(2190, 1, 1, 0, 0, 0, 0, time.UTC)
	const total = 2050
	want := map[string]time.Time{}
	for i := 0; i < total; i += maxOperations {
		var writes []write
		for j := i; j < min(i+maxOperations, total); j++ {
			record := storetest.Record(storetest.Patient(), audit.RevokeAuthorisation)
			record.Time = since.Add(time.Duration(j) * time.Second)
			e := activation.Ending{Session: storetest.Random(), Until: record.Time.Add(activation.MaxLifetime)}
			row, err := feedRow(record, e)
			if err != nil {
				t.Fatal(err)
			}
			want[e.Session] = e.Until
			writes = append(writes, write{insert, row, ""})
		}
		if err := s.transact(t.Context(), "testing", s.feed, writes); err != nil {
			t.Fatal(err)
		}
	}
	ctx, trips := Count(t.Context())
	began := time.Now()
	all, err := s.Endings(ctx, since)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d endings in %s, %d trips", len(all), time.Since(began).Round(time.Millisecond), trips.Sequence())
	if trips.Sequence() != 3 {
		t.Errorf("%d trips", trips.Sequence())
	}
	for i, e := range all {
		if !e.Until.Equal(want[e.Session]) {
			t.Fatalf("%d: %+v", i, e)
		}
		if i > 0 && e.Until.After(all[i-1].Until) {
			t.Fatalf("%d is newer than the one before it", i)
		}
		delete(want, e.Session)
	}
	if len(want) > 0 {
		t.Errorf("%d are not there", len(want))
	}
	later, err := s.Endings(t.Context(), since.Add(total/2*time.Second))
	if err != nil || len(later) != total/2 {
		t.Errorf("%d of the later half, %v", len(later), err)
	}
}

func TestADamagedEndingIsAnErrorAndNotForgotten(t *testing.T) {
	record := storetest.Record(storetest.Patient(), audit.RevokeAuthorisation)
	good, err := feedRow(record, activation.Ending{Session: "s", Until: storetest.Start})
	if err != nil {
		t.Fatal(err)
	}
	for column, value := range map[string]any{"sid": "", "jti": "both", "until": "soon"} {
		spoiled := entity(good.PartitionKey, good.RowKey, columns{"sid": "s", "jti": "", "until": good.Properties["until"]})
		if _, err := readEnding(spoiled); err != nil {
			t.Fatal(err)
		}
		spoiled.Properties[column] = value
		if e, err := readEnding(spoiled); err == nil {
			t.Errorf("%s: %+v", column, e)
		}
	}
}
