package rowcheck_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"latchkey/handler/internal/rowcheck"
)

// callers is what four identities of two issuers leave: m1 was let in, turned off and on, and has m2 as its successor; m3 was registered
// by hand; m4 waits.
const callers = `{
"identities": [
{"PartitionKey":"t1","RowKey":"~head","pending":"1"},
{"PartitionKey":"t2","RowKey":"~head","pending":"0"},
{"PartitionKey":"t1","RowKey":"m1","n":"5","state":"retired","label":"it","scopes":"a","successor":"t2~m2"},
{"PartitionKey":"t2","RowKey":"m2","n":"2","state":"approved","label":"it","scopes":"a","successor":""},
{"PartitionKey":"t1","RowKey":"m3","n":"1","state":"approved","label":"","scopes":"","successor":""},
{"PartitionKey":"t1","RowKey":"m4","n":"2","state":"pending","label":"who?","scopes":"","successor":""},
{"PartitionKey":"t1","RowKey":"~aud~9~i1","identity":"m1","n":"1","id":"i1","action":"identity.ask","outcome":"allowed","reason":"","state":"pending","label":"","scopes":"","other":"","at":"2026-03-01T09:30:00.000Z","announced":"2026-03-01T09:30:00.000Z"},
{"PartitionKey":"t1","RowKey":"~aud~8~i2","identity":"m1","n":"2","id":"i2","action":"identity.approve","outcome":"allowed","reason":"","state":"approved","label":"it","scopes":"a b","other":"","at":"2026-03-01T09:30:01.000Z","announced":"2026-03-01T09:30:01.000Z"},
{"PartitionKey":"t1","RowKey":"~aud~7~i3","identity":"m1","n":"3","id":"i3","action":"identity.change","outcome":"allowed","reason":"","state":"disabled","label":"it","scopes":"a b","other":"","at":"2026-03-01T09:30:02.000Z","announced":"2026-03-01T09:30:02.000Z"},
{"PartitionKey":"t1","RowKey":"~aud~6~i4","identity":"m1","n":"4","id":"i4","action":"identity.change","outcome":"allowed","reason":"","state":"approved","label":"it","scopes":"a","other":"","at":"2026-03-01T09:30:03.000Z","announced":"2026-03-01T09:30:03.000Z"},
{"PartitionKey":"t1","RowKey":"~aud~5~i5","identity":"m1","n":"5","id":"i5","action":"identity.retire","outcome":"allowed","reason":"","state":"retired","label":"it","scopes":"a","other":"t2~m2","at":"2026-03-01T09:30:04.000Z","announced":"2026-03-01T09:30:04.000Z"},
{"PartitionKey":"t2","RowKey":"~aud~4~i6","identity":"m2","n":"1","id":"i6","action":"identity.ask","outcome":"allowed","reason":"","state":"pending","label":"","scopes":"","other":"","at":"2026-03-01T09:30:05.000Z","announced":"2026-03-01T09:30:05.000Z"},
{"PartitionKey":"t2","RowKey":"~aud~3~i7","identity":"m2","n":"2","id":"i7","action":"identity.approve","outcome":"allowed","reason":"","state":"approved","label":"it","scopes":"a","other":"","at":"2026-03-01T09:30:06.000Z","announced":"2026-03-01T09:30:06.000Z"},
{"PartitionKey":"t1","RowKey":"~aud~2~i8","identity":"m3","n":"1","id":"i8","action":"identity.register","outcome":"allowed","reason":"","state":"approved","label":"","scopes":"","other":"","at":"2026-03-01T09:30:07.000Z","announced":"2026-03-01T09:30:07.000Z"},
{"PartitionKey":"t1","RowKey":"~aud~1~i9","identity":"m4","n":"1","id":"i9","action":"identity.ask","outcome":"allowed","reason":"","state":"pending","label":"","scopes":"","other":"","at":"2026-03-01T09:30:08.000Z","announced":"2026-03-01T09:30:08.000Z"},
{"PartitionKey":"t1","RowKey":"~aud~0~i0","identity":"m4","n":"2","id":"i0","action":"identity.change","outcome":"allowed","reason":"","state":"pending","label":"who?","scopes":"","other":"","at":"2026-03-01T09:30:09.000Z","announced":"2026-03-01T09:30:09.000Z"}
],
"journal": [
{"PartitionKey":"202603010930~15","RowKey":"20260301093000.000~i1","subject":"t1","record":"~aud~9~i1","table":"identities"},
{"PartitionKey":"202603010930~02","RowKey":"20260301093001.000~i2","subject":"t1","record":"~aud~8~i2","table":"identities"},
{"PartitionKey":"202603010930~05","RowKey":"20260301093002.000~i3","subject":"t1","record":"~aud~7~i3","table":"identities"},
{"PartitionKey":"202603010930~00","RowKey":"20260301093003.000~i4","subject":"t1","record":"~aud~6~i4","table":"identities"},
{"PartitionKey":"202603010930~03","RowKey":"20260301093004.000~i5","subject":"t1","record":"~aud~5~i5","table":"identities"},
{"PartitionKey":"202603010930~06","RowKey":"20260301093005.000~i6","subject":"t2","record":"~aud~4~i6","table":"identities"},
{"PartitionKey":"202603010930~09","RowKey":"20260301093006.000~i7","subject":"t2","record":"~aud~3~i7","table":"identities"},
{"PartitionKey":"202603010930~04","RowKey":"20260301093007.000~i8","subject":"t1","record":"~aud~2~i8","table":"identities"},
{"PartitionKey":"202603010930~07","RowKey":"20260301093008.000~i9","subject":"t1","record":"~aud~1~i9","table":"identities"},
{"PartitionKey":"202603010930~12","RowKey":"20260301093009.000~i0","subject":"t1","record":"~aud~0~i0","table":"identities"}
]}`

func TestEveryPlantedViolationOfIdentitiesIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(row func(end string) rowcheck.Row, drop func(end string))
		want  []rowcheck.Rule
	}{
		"nothing":                       {func(func(string) rowcheck.Row, func(string)) {}, nil},
		"a change without a record":     {func(_ func(string) rowcheck.Row, drop func(string)) { drop("~i4") }, []rowcheck.Rule{rowcheck.Numbered, rowcheck.Possible}},
		"the last one without a record": {func(_ func(string) rowcheck.Row, drop func(string)) { drop("~i5") }, []rowcheck.Rule{rowcheck.Numbered, rowcheck.Visible}},
		"a record without a change":     {func(row func(string) rowcheck.Row, _ func(string)) { row("t1 m3")["n"] = "0" }, []rowcheck.Rule{rowcheck.Numbered}},
		"an identity that is gone":      {func(_ func(string) rowcheck.Row, drop func(string)) { drop("t1 m3") }, []rowcheck.Rule{rowcheck.Numbered, rowcheck.Visible}},
		"an identity of no record":      {func(row func(string) rowcheck.Row, _ func(string)) { row("~i8")["identity"] = "m5" }, []rowcheck.Rule{rowcheck.Numbered, rowcheck.Visible}},
		"a scope too many":              {func(row func(string) rowcheck.Row, _ func(string)) { row("t2 m2")["scopes"] = "a b" }, []rowcheck.Rule{rowcheck.Visible}},
		"another label":                 {func(row func(string) rowcheck.Row, _ func(string)) { row("t2 m2")["label"] = "x" }, []rowcheck.Rule{rowcheck.Visible}},
		"another successor":             {func(row func(string) rowcheck.Row, _ func(string)) { row("t1 m1")["successor"] = "t2~m3" }, []rowcheck.Rule{rowcheck.Visible}},
		"one that came back":            {func(row func(string) rowcheck.Row, _ func(string)) { row("t1 m1")["state"] = "approved" }, []rowcheck.Rule{rowcheck.Visible}},
		"one that came back by record": {func(row func(string) rowcheck.Row, _ func(string)) {
			row("~i3")["state"], row("~i3")["other"] = "retired", "x"
		}, []rowcheck.Rule{rowcheck.Possible}},
		"a queue that lost one": {func(row func(string) rowcheck.Row, _ func(string)) { row("t1 ~head")["pending"] = "0" }, []rowcheck.Rule{rowcheck.Queued}},
		"a queue that kept one": {func(row func(string) rowcheck.Row, _ func(string)) { row("t2 ~head")["pending"] = "1" }, []rowcheck.Rule{rowcheck.Queued}},
		"a queue of nobody": {func(row func(string) rowcheck.Row, _ func(string)) {
			row("t2 ~head")["PartitionKey"], row("t1 ~head")["pending"] = "t3", "2"
		}, []rowcheck.Rule{rowcheck.Queued}},
		"a record without an intent":  {func(_ func(string) rowcheck.Row, drop func(string)) { drop("000~i2") }, []rowcheck.Rule{rowcheck.Announced}},
		"an intent of another table":  {func(row func(string) rowcheck.Row, _ func(string)) { delete(row("000~i2"), "table") }, []rowcheck.Rule{rowcheck.Announced}},
		"an intent of another issuer": {func(row func(string) rowcheck.Row, _ func(string)) { row("000~i2")["subject"] = "t2" }, []rowcheck.Rule{rowcheck.Announced}},
		"asked twice":                 {func(row func(string) rowcheck.Row, _ func(string)) { row("~i2")["action"] = "identity.ask" }, []rowcheck.Rule{rowcheck.Possible}},
		"registered twice":            {func(row func(string) rowcheck.Row, _ func(string)) { row("~i2")["action"] = "identity.register" }, []rowcheck.Rule{rowcheck.Possible}},
		"approved though disabled":    {func(row func(string) rowcheck.Row, _ func(string)) { row("~i4")["action"] = "identity.approve" }, []rowcheck.Rule{rowcheck.Possible}},
		"enabled though pending":      {func(row func(string) rowcheck.Row, _ func(string)) { row("~i2")["action"] = "identity.change" }, []rowcheck.Rule{rowcheck.Possible}},
		"retired and changed": {func(row func(string) rowcheck.Row, _ func(string)) {
			row("~i5")["scopes"], row("t1 m1")["scopes"] = "c", "c"
		}, []rowcheck.Rule{rowcheck.Possible}},
		"retired for nobody": {func(row func(string) rowcheck.Row, _ func(string)) {
			row("~i5")["other"], row("t1 m1")["successor"] = "", ""
		}, []rowcheck.Rule{rowcheck.Possible}},
		"denied and done":             {func(row func(string) rowcheck.Row, _ func(string)) { row("~i2")["outcome"] = "denied" }, []rowcheck.Rule{rowcheck.Possible}},
		"by nobody's action":          {func(row func(string) rowcheck.Row, _ func(string)) { row("~i2")["action"] = "identity.list" }, []rowcheck.Rule{rowcheck.Possible}},
		"a row of no known kind":      {func(row func(string) rowcheck.Row, _ func(string)) { row("t2 ~head")["RowKey"] = "~x" }, []rowcheck.Rule{rowcheck.Readable}},
		"a queue that cannot be read": {func(row func(string) rowcheck.Row, _ func(string)) { row("t2 ~head")["pending"] = "x" }, []rowcheck.Rule{rowcheck.Readable}},
		"a code in clear":             {func(row func(string) rowcheck.Row, _ func(string)) { row("t1 m4")["seen"] = "x7kq49f2mxh" }, []rowcheck.Rule{rowcheck.InClear}},
	} {
		t.Run(name, func(t *testing.T) {
			var tables rowcheck.Tables
			if err := json.Unmarshal([]byte(callers), &tables); err != nil {
				t.Fatal(err)
			}
			is := func(r rowcheck.Row, end string) bool {
				return strings.HasSuffix(fmt.Sprint(r["PartitionKey"], " ", r["RowKey"]), end)
			}
			row := func(end string) rowcheck.Row {
				for _, r := range append(slices.Clone(tables.Identities), tables.Journal...) {
					if is(r, end) {
						return r
					}
				}
				t.Fatalf("there is no row %s", end)
				return nil
			}
			drop := func(end string) {
				row(end)
				gone := func(r rowcheck.Row) bool { return is(r, end) }
				if strings.HasPrefix(end, "000~") {
					tables.Journal = slices.DeleteFunc(tables.Journal, gone)
				} else {
					tables.Identities = slices.DeleteFunc(tables.Identities, gone)
				}
			}
			c.plant(row, drop)
			rules := map[rowcheck.Rule]bool{}
			found := rowcheck.Check(tables, options)
			for _, v := range found {
				rules[v.Rule] = true
			}
			for _, want := range c.want {
				if !rules[want] {
					t.Errorf("%q was not found", want)
				}
				delete(rules, want)
			}
			if len(rules) > 0 {
				t.Errorf("and this was: %v", found)
			}
		})
	}
}
