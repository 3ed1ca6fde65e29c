package rowcheck_test

import (
	"slices"
	"strings"
	"testing"

	"latchkey/handler/internal/rowcheck"
)

// employedTables are the rows of one clinician who was created and whose contract then ended.
func employedTables() rowcheck.Tables {
	record := func(n, id, action string) rowcheck.Row {
		return rowcheck.Row{"PartitionKey": "c~c5i62", "RowKey": "aud~1~" + id, "n": n, "id": id, "action": action, "outcome": "allowed", "reason": "",
			"at": "2026-03-01T09:30:00.123Z", "announced": "2026-03-01T09:30:00.123Z"}
	}
	intent := func(shard, id string) rowcheck.Row {
		return rowcheck.Row{"PartitionKey": "202603010930~" + shard, "RowKey": "20260301093000.123~" + id, "subject": "c~c5i62", "record": "aud~1~" + id}
	}
	return rowcheck.Tables{
		Subjects: []rowcheck.Row{
			{"PartitionKey": "c~c5i62", "RowKey": "head", "kind": "clinician", "active": false, "n": "2", "own_identifier": "x"},
			record("1", "a", "clinician.create"), record("2", "b", "clinician.end_contract"),
		},
		Journal: []rowcheck.Row{intent("12", "a"), intent("05", "b")},
		Unique:  []rowcheck.Row{{"PartitionKey": "sei~f0", "RowKey": "x", "subject": "c~c5i62"}},
	}
}

func TestAClinicianIsChecked(t *testing.T) {
	rules := func(change func(*rowcheck.Tables)) (found []rowcheck.Rule) {
		tables := employedTables()
		change(&tables)
		for _, v := range rowcheck.Check(tables, rowcheck.Options{MaxAttempts: 10, MaxCredentials: 1}) {
			found = append(found, v.Rule)
		}
		return found
	}
	if found := rules(func(*rowcheck.Tables) {}); len(found) > 0 {
		t.Fatalf("good rows: %v", found)
	}
	for name, c := range map[string]struct {
		change func(*rowcheck.Tables)
		want   rowcheck.Rule
	}{
		"an identifier without a claim":     {func(t *rowcheck.Tables) { t.Unique = nil }, rowcheck.Claimed},
		"a login that stayed active":        {func(t *rowcheck.Tables) { t.Subjects[0]["active"] = true }, rowcheck.Visible},
		"a change before the creation":      {func(t *rowcheck.Tables) { t.Subjects[1]["action"] = "clinician.change" }, rowcheck.Possible},
		"a record of something else":        {func(t *rowcheck.Tables) { t.Subjects[1]["action"] = "activation.create" }, rowcheck.Possible},
		"a record too few":                  {func(t *rowcheck.Tables) { t.Subjects = t.Subjects[:2] }, rowcheck.Numbered},
		"a record without its intent":       {func(t *rowcheck.Tables) { t.Journal = t.Journal[:1] }, rowcheck.Announced},
		"an identifier that was taken off":  {func(t *rowcheck.Tables) { t.Subjects[2]["action"] = "clinician.yield_identifier" }, rowcheck.Visible},
		"a clinician that is created twice": {func(t *rowcheck.Tables) { t.Subjects[2]["action"] = "clinician.create" }, rowcheck.Possible},
	} {
		if found := rules(c.change); !slices.Contains(found, c.want) {
			t.Errorf("%s: %v", name, strings.Join(func() (s []string) {
				for _, r := range found {
					s = append(s, string(r))
				}
				return s
			}(), "; "))
		}
	}
}
