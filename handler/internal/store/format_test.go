package store

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/budget"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/storetest"
	"latchkey/handler/internal/subject"
)

func TestTablesAreThoseOfTheDeployment(t *testing.T) {
	text, err := os.ReadFile("../../../infra/tables.json")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := json.Unmarshal(text, &names); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Tables(), names); diff != "" {
		t.Errorf("infra/tables.json (-store +file):\n%s", diff)
	}
}

// example is a change that touches every kind of row, with nothing random in it.
func example() (activation.Change, activation.Code) {
	of := subject.ID{Kind: subject.Patient, Name: "A-1"}
	at := time.Date(2026, 3, 1, 10, 30, 0, 123456789, time.FixedZone("", 3600)) // 09:30 UTC
	id := uuid.MustParse("019ca8bb-b63b-7000-8000-000000000001")                // drawn at 2026-03-01T09:30:00.123Z
	old := uuid.MustParse("019ca8bb-b63b-7000-8000-000000000002")
	hash := func(c string) keyed.Hash {
		return keyed.Hash{Version: "0v0v0v0v", Sum: strings.Repeat(c, 52)}
	}
	won, lost := activation.Credential{Session: "sid1", Key: hash("a")}, activation.Credential{Session: "sid0", Key: hash("b")}
	return activation.Change{
			Head: activation.Head{
				Subject: of, Active: true, N: 3, Version: "etag", Credentials: []activation.Credential{won},
				Invitation: &activation.Invitation{Activation: id, OTP: "$argon2id$", Attempts: 2, Expires: at.Add(time.Hour)},
				Imported:   "$scrypt$",
				Redemptions: []activation.Redemption{{Misses: 1, Repeatable: activation.Repeatable{
					Activation: old, Version: "0v0v0v0v", ID: "rid1", Mark: "mark1", Length: 32, At: at,
				}}},
				Creations: []activation.Creation{{Repeatable: activation.Repeatable{
					Activation: id, Version: "0v0v0v0v", ID: "rid2", Mark: "mark2", Length: 6, At: at,
				}}},
			},
			Created: &activation.Activation{
				ID: id, Subject: of, Status: activation.Pending, Created: at, CreatedBy: "tenant/clinic",
				Modified: at, ModifiedBy: "tenant/clinic", Expires: at.Add(time.Hour),
			},
			Ended: []activation.Step{
				{Activation: old, Status: activation.Completed, At: at, By: "anonymous"},
			},
			Added: []activation.Credential{won}, Removed: []activation.Credential{lost},
			Labelled: []activation.Credential{{Session: "sid2", Key: hash("d"), Label: "Anna's phone"}},
			Token:    &activation.Ending{Token: "jti1", Until: at.Add(time.Hour)},
			Record: audit.Record{
				Sessions: "sid0", Token: "jti1",
				ID: "rec1", Time: at, Announced: at.Add(time.Minute), Action: audit.CreateActivation, Outcome: audit.Denied, Reason: audit.ReasonLocked,
				Origin:  audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "clinic"}, Source: "192.0.2.1", Trace: "0af7651916cd43dd8448eb211c80319c"},
				Subject: of, Activation: id.String(), N: 3,
			},
		}, activation.Code{
			Key: hash("c"), Subject: of, Activation: id, Expires: at.Add(time.Hour), Ended: at, EndedFor: audit.ReasonUsed,
		}
}

// deviceExample makes a device inactive, moves it, and drops what was put aside before.
func deviceExample() activation.Change {
	at := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	of := subject.ID{Kind: subject.Device, Name: "D-1"}
	hash := func(c string) keyed.Hash {
		return keyed.Hash{Version: "0v0v0v0v", Sum: strings.Repeat(c, 52)}
	}
	is, old := activation.Credential{Session: "sid1", Key: hash("a")}, activation.Credential{Session: "sid0", Key: hash("b")}
	off := false
	return activation.Change{
		Head: activation.Head{
			Subject: of, N: 4, Version: "etag", Held: []activation.Credential{is},
			Device: &activation.Device{
				Description: "The tablet", Location: "Ward-7", Changes: 2, Created: at, CreatedBy: "tenant/ward", Modified: at, ModifiedBy: "tenant/ward",
			},
		},
		Suspended: []activation.Credential{is}, Dropped: []activation.Credential{old},
		Record: audit.Record{
			ID: "rec2", Time: at, Announced: at, Action: audit.ChangeDevice, Outcome: audit.Allowed, Subject: of, N: 4, Sessions: "sid1",
			Origin: audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "ward"}}, Changed: &audit.DeviceFields{Active: &off},
		},
	}
}

// TestFormat pins every stored key and column: rows outlive the program that wrote them.
func TestFormat(t *testing.T) {
	change, code := example()
	writes, err := changes(change)
	if err != nil {
		t.Fatal(err)
	}
	partition := writes[0].row.PartitionKey
	coded, err := codeRow(partition, code)
	if err != nil {
		t.Fatal(err)
	}
	writes = append(writes, write{row: coded}, write{row: intentRow(partition, change.Record)}, write{row: bucketRow(
		budget.Key{Kind: budget.Sources, Shard: 7}, budget.Bucket{Tokens: 5, At: change.Record.Time})})
	for _, e := range change.Endings() {
		row, err := feedRow(change.Record, e)
		if err != nil {
			t.Fatal(err)
		}
		writes = append(writes, write{row: row})
	}
	device := deviceExample()
	more, err := changes(device)
	if err != nil {
		t.Fatal(err)
	}
	writes = append(writes, more...)
	for _, list := range []string{device.Head.Device.Location, activation.EveryDevice} {
		writes = append(writes, write{row: listRow(list, device.Head.Subject.Name, device.Record.Time)})
	}
	var got []string
	for _, w := range writes {
		text, err := json.Marshal(w.row)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, []string{"insert ", "merge ", "remove "}[w.verb]+string(w.match)+" "+string(text))
	}
	want, err := os.ReadFile("testdata/rows.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); diff != "" {
		t.Errorf("rows (-testdata/rows.txt +got):\n%s", diff)
	}
}

func TestKeysOfSubjectsAreReadBack(t *testing.T) {
	for _, of := range []subject.ID{
		{Kind: subject.Patient, Name: "a"}, {Kind: subject.Device, Name: "A-Z.0_9"}, {Kind: subject.Clinician, Name: strings.Repeat("Zz", 64)},
	} {
		key, err := partitionOf(of)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkKeys(key, headKey); err != nil {
			t.Errorf("%v: %v", of, err)
		}
		if got, err := subjectOf(key); err != nil || got != of {
			t.Errorf("%v was read as %v, %v", of, got, err)
		}
	}
	for _, of := range []subject.ID{{}, {Kind: "robot", Name: "a"}, {Kind: subject.Patient}} {
		if key, err := partitionOf(of); err == nil {
			t.Errorf("%v got the key %q", of, key)
		}
	}
	for _, key := range []string{"", "p", "p~", "x~64", "p~!", "p~5o======", "p~5sng===="} {
		if of, err := subjectOf(key); err == nil {
			t.Errorf("%q was read as %v", key, of)
		}
	}
}

func TestKeysSortNewestFirst(t *testing.T) {
	at := storetest.Start
	keys := []string{
		auditKey(audit.Record{Time: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), ID: "x"}),
		auditKey(audit.Record{Time: at.Add(time.Millisecond), ID: "x"}),
		auditKey(audit.Record{Time: at, ID: "x"}),
		auditKey(audit.Record{Time: time.Unix(0, 0), ID: "x"}),
	}
	if !slices.IsSorted(keys) || len(keys[0]) != len(keys[3]) {
		t.Errorf("%q", keys)
	}
	if newest := activationKey(storetest.UUID(time.UnixMilli(0))); newest >= activationEnd || newest <= activationPrefix {
		t.Errorf("%q is outside the range of a list", newest)
	}
}

func TestIntentsAreSpreadOverAllShards(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		partition, _ := intentKeys(storetest.Record(storetest.Patient(), audit.CreateActivation))
		seen[partition] = true
	}
	if len(seen) != shards {
		t.Errorf("%d shards: %v", len(seen), seen)
	}
}

func TestADamagedRowIsAnErrorThatNamesTheColumnOnly(t *testing.T) {
	of := storetest.Patient()
	good := fresh()
	good.Invitation = &activation.Invitation{Activation: storetest.UUID(storetest.Start), OTP: "x", Expires: storetest.Start}
	good.Credentials = []activation.Credential{storetest.Credential()}
	for column, value := range map[string]any{
		"active": "true", "n": "1", "pending": `{"act":"SECRET"}`, "creds": `[{"sid":"SECRET","key":"SECRET"}]`,
	} {
		row, err := headRow("p~", good)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readHead(of, found{row: row, exists: true}); err != nil {
			t.Fatal(err)
		}
		row.Properties[column] = value
		_, err = readHead(of, found{row: row, exists: true})
		if err == nil || !strings.Contains(err.Error(), `"`+column+`"`) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", column, err)
		}
	}
	partition, err := partitionOf(of)
	if err != nil {
		t.Fatal(err)
	}
	row, err := codeRow(partition, activation.Code{Key: storetest.Hash(), Activation: storetest.UUID(storetest.Start)})
	if err != nil {
		t.Fatal(err)
	}
	for column, value := range map[string]any{"subject": "x~SECRET", "activation": "SECRET", "expires": "SECRET", "ended": true} {
		spoiled := entity(row.PartitionKey, row.RowKey, columns{})
		for k, v := range row.Properties {
			spoiled.Properties[k] = v
		}
		spoiled.Properties[column] = value
		if _, err := readCode(found{row: spoiled}); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", column, err)
		}
	}
}

// TestColumnsOfANewerInstanceStay: during an upgrade both write the same rows.
func TestColumnsOfANewerInstanceStay(t *testing.T) {
	a := start(t)
	s := a.store(t, account, a.client)
	created := storetest.Creation(fresh(), storetest.Start)
	won := storetest.Credential()
	created.Added, created.Head.Credentials = []activation.Credential{won}, []activation.Credential{won}
	if err := s.Commit(t.Context(), created); err != nil {
		t.Fatal(err)
	}
	of := created.Head.Subject
	partition, err := partitionOf(of)
	if err != nil {
		t.Fatal(err)
	}
	rows := []string{headKey, activationKey(created.Created.ID), credentialPrefix + won.Key.String()}
	for _, row := range rows {
		f, err := get(t.Context(), "testing", s.subjects, partition, row)
		if err != nil || !f.exists {
			t.Fatalf("%v, %v", f.exists, err)
		}
		if err := s.merge(t.Context(), "testing", s.subjects, write{merge, entity(partition, row, columns{"newer": "stays"}), f.etag}); err != nil {
			t.Fatal(err)
		}
	}
	head, _, err := s.Reopen(t.Context(), created.Record)
	if err != nil {
		t.Fatal(err)
	}
	next := storetest.Creation(head, storetest.Start.Add(time.Hour))
	if err := errors.Join(s.Commit(t.Context(), next), s.Touch(t.Context(), of, won.Key, storetest.Start)); err != nil {
		t.Fatal(err)
	}
	all := a.dump(t, subjects, partition)
	for _, row := range rows {
		if text := all[partition+" "+row]; !strings.Contains(text, `"newer":"stays"`) {
			t.Errorf("%s lost a column: %s", row, text)
		}
	}
}

// A bucket that cannot be read is no full one.
func TestADamagedBucketIsAnError(t *testing.T) {
	for column, value := range map[string]any{"tokens": "5", "at": "", "tokens ": nil} {
		row := bucketRow(budget.Key{Kind: budget.Sources, Shard: 7}, budget.Bucket{Tokens: 5, At: storetest.Start})
		if b, err := readBucket(found{row: row, exists: true}); err != nil || b.Tokens != 5 || !b.At.Equal(storetest.Start) {
			t.Fatalf("%+v, %v", b, err)
		}
		column = strings.TrimSpace(column)
		row.Properties[column] = value
		if _, err := readBucket(found{row: row, exists: true}); err == nil || !strings.Contains(err.Error(), column) {
			t.Errorf("%s: %v", column, err)
		}
	}
}
