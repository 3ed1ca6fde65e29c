package rowcheck_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"latchkey/handler/internal/rowcheck"
)

var options = rowcheck.Options{MaxAttempts: 3, MaxCredentials: 1, Secrets: []string{"7KQ49F2MXH", "", "3FJ7WP"}}

// dump is what two patients leave. Of one, A is replaced by B, B redeemed after a miss and asked for again, rightly and wrongly,
// and C pending after a miss; D of the other is revoked. A change that was never made left an index row and an intent.
const dump = `{
"subjects": [
{"PartitionKey":"p~a","RowKey":"head","n":"8","pending":"{\"act\":\"C\",\"attempts\":1}","creds":"[{\"sid\":\"s1\",\"key\":\"v~k1\"}]"},
{"PartitionKey":"p~a","RowKey":"act~3~A","status":"revoked","ended":"replaced","redeemed":""},
{"PartitionKey":"p~a","RowKey":"act~2~B","status":"completed","ended":"","redeemed":"2026-03-01T09:30:04.000Z"},
{"PartitionKey":"p~a","RowKey":"act~1~C","status":"pending","ended":"","redeemed":""},
{"PartitionKey":"p~a","RowKey":"cred~v~k1","sid":"s1"},
{"PartitionKey":"p~a","RowKey":"sid~s1","key":"cred~v~k1"},
{"PartitionKey":"p~a","RowKey":"aud~8~rec1","n":"1","id":"rec1","action":"activation.create","outcome":"allowed","reason":"","activation":"A","at":"2026-03-01T09:30:01.000Z","announced":"2026-03-01T09:30:01.000Z"},
{"PartitionKey":"p~a","RowKey":"aud~7~rec2","n":"2","id":"rec2","action":"activation.create","outcome":"allowed","reason":"","activation":"B","at":"2026-03-01T09:30:02.000Z","announced":"2026-03-01T09:30:02.000Z"},
{"PartitionKey":"p~a","RowKey":"aud~6~rec3","n":"3","id":"rec3","action":"activation.redeem","outcome":"denied","reason":"wrong_otp","activation":"B","at":"2026-03-01T09:30:03.000Z","announced":"2026-03-01T09:30:03.000Z"},
{"PartitionKey":"p~a","RowKey":"aud~5~rec4","n":"4","id":"rec4","action":"activation.redeem","outcome":"allowed","reason":"","activation":"B","at":"2026-03-01T09:30:04.000Z","announced":"2026-03-01T09:30:04.000Z"},
{"PartitionKey":"p~a","RowKey":"aud~4~rec5","n":"5","id":"rec5","action":"activation.redeem","outcome":"allowed","reason":"repeated","activation":"B","at":"2026-03-01T09:30:05.000Z","announced":"2026-03-01T09:30:05.000Z"},
{"PartitionKey":"p~a","RowKey":"aud~3~rec6","n":"6","id":"rec6","action":"activation.redeem","outcome":"denied","reason":"wrong_otp","activation":"B","at":"2026-03-01T09:30:06.000Z","announced":"2026-03-01T09:30:06.000Z"},
{"PartitionKey":"p~a","RowKey":"aud~2~rec7","n":"7","id":"rec7","action":"activation.create","outcome":"allowed","reason":"","activation":"C","at":"2026-03-01T09:30:07.000Z","announced":"2026-03-01T09:30:07.000Z"},
{"PartitionKey":"p~a","RowKey":"aud~1~rec8","n":"8","id":"rec8","action":"activation.redeem","outcome":"denied","reason":"wrong_otp","activation":"C","at":"2026-03-01T09:30:08.000Z","announced":"2026-03-01T09:30:08.000Z"},
{"PartitionKey":"p~b","RowKey":"head","n":"2","pending":"","creds":"[]"},
{"PartitionKey":"p~b","RowKey":"act~1~D","status":"revoked","ended":"revoked","redeemed":""},
{"PartitionKey":"p~b","RowKey":"aud~1~rec9","n":"1","id":"rec9","action":"activation.create","outcome":"allowed","reason":"","activation":"D","at":"2026-03-01T09:30:09.000Z","announced":"2026-03-01T09:30:09.000Z"},
{"PartitionKey":"p~b","RowKey":"aud~0~rec0","n":"2","id":"rec0","action":"activation.revoke","outcome":"allowed","reason":"","activation":"D","at":"2026-03-01T09:31:00.000Z","announced":"2026-03-01T09:31:00.000Z"}
],
"codes": [
{"PartitionKey":"aa","RowKey":"v~aaA","subject":"p~a","activation":"A","ended":""},
{"PartitionKey":"bb","RowKey":"v~bbB","subject":"p~a","activation":"B","ended":"2026-03-01T09:31:00.000Z"},
{"PartitionKey":"cc","RowKey":"v~ccC","subject":"p~a","activation":"C","ended":""},
{"PartitionKey":"dd","RowKey":"v~ddX","subject":"p~z","activation":"X","ended":""}
],
"journal": [
{"PartitionKey":"202603010930~08","RowKey":"20260301093001.000~rec1","subject":"p~a","record":"aud~8~rec1"},
{"PartitionKey":"202603010930~01","RowKey":"20260301093002.000~rec2","subject":"p~a","record":"aud~7~rec2"},
{"PartitionKey":"202603010930~14","RowKey":"20260301093003.000~rec3","subject":"p~a","record":"aud~6~rec3"},
{"PartitionKey":"202603010930~07","RowKey":"20260301093004.000~rec4","subject":"p~a","record":"aud~5~rec4"},
{"PartitionKey":"202603010930~04","RowKey":"20260301093005.000~rec5","subject":"p~a","record":"aud~4~rec5"},
{"PartitionKey":"202603010930~13","RowKey":"20260301093006.000~rec6","subject":"p~a","record":"aud~3~rec6"},
{"PartitionKey":"202603010930~10","RowKey":"20260301093007.000~rec7","subject":"p~a","record":"aud~2~rec7"},
{"PartitionKey":"202603010930~03","RowKey":"20260301093008.000~rec8","subject":"p~a","record":"aud~1~rec8"},
{"PartitionKey":"202603010930~00","RowKey":"20260301093009.000~rec9","subject":"p~b","record":"aud~1~rec9"},
{"PartitionKey":"202603010931~11","RowKey":"20260301093100.000~rec0","subject":"p~b","record":"aud~0~rec0"},
{"PartitionKey":"202603010930~05","RowKey":"20260301093009.500~never","subject":"p~a","record":"aud~0~never"}
]}`

// planted is a dump that a test spoils.
type planted struct {
	*testing.T
	rowcheck.Tables
}

func sound(t *testing.T) *planted {
	t.Helper()
	p := &planted{T: t}
	if err := json.Unmarshal([]byte(dump), &p.Tables); err != nil {
		t.Fatal(err)
	}
	return p
}

// row finds a row by the end of its key: that of a record is its id, that of patient a's head "a head".
func (p *planted) row(end string) rowcheck.Row {
	p.Helper()
	for _, rows := range [][]rowcheck.Row{p.Subjects, p.Codes, p.Journal} {
		for _, r := range rows {
			if strings.HasSuffix(fmt.Sprint(r["PartitionKey"], " ", r["RowKey"]), end) {
				return r
			}
		}
	}
	p.Fatalf("there is no row %s", end)
	return nil
}

func (p *planted) drop(end string) {
	gone := p.row(end)
	is := func(r rowcheck.Row) bool {
		return r["PartitionKey"] == gone["PartitionKey"] && r["RowKey"] == gone["RowKey"]
	}
	p.Subjects, p.Codes, p.Journal = slices.DeleteFunc(p.Subjects, is), slices.DeleteFunc(p.Codes, is), slices.DeleteFunc(p.Journal, is)
}

func TestSoundRowsHaveNoViolation(t *testing.T) {
	for _, v := range rowcheck.Check(sound(t).Tables, options) {
		t.Error(v)
	}
	if found := rowcheck.Check(rowcheck.Tables{}, options); len(found) > 0 {
		t.Errorf("no rows: %v", found)
	}
}

func TestEveryPlantedViolationIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(*planted)
		want  []rowcheck.Rule
	}{
		"a change without a record":         {func(p *planted) { p.drop("~rec8") }, []rowcheck.Rule{rowcheck.Numbered, rowcheck.Attempts}},
		"a record without a change":         {func(p *planted) { p.row("a head")["n"] = "7" }, []rowcheck.Rule{rowcheck.Numbered}},
		"two records of one number":         {func(p *planted) { p.row("aud~1~rec8")["n"] = "7" }, []rowcheck.Rule{rowcheck.Numbered}},
		"a record without an intent":        {func(p *planted) { p.drop("000~rec4") }, []rowcheck.Rule{rowcheck.Announced}},
		"an intent of another record":       {func(p *planted) { p.row("000~rec4")["record"] = "aud~4~rec5" }, []rowcheck.Rule{rowcheck.Announced}},
		"an intent of another subject":      {func(p *planted) { p.row("000~rec4")["subject"] = "p~b" }, []rowcheck.Rule{rowcheck.Announced}},
		"an intent in another shard":        {func(p *planted) { p.row("000~rec4")["PartitionKey"] = "202603010930~08" }, []rowcheck.Rule{rowcheck.Announced}},
		"a record that names a stale one":   {func(p *planted) { p.row("aud~5~rec4")["announced"] = "2026-03-01T09:29:04.000Z" }, []rowcheck.Rule{rowcheck.Announced}},
		"a lost attempt":                    {func(p *planted) { p.row("a head")["pending"] = `{"act":"C","attempts":0}` }, []rowcheck.Rule{rowcheck.Attempts}},
		"an attempt too many":               {func(p *planted) { p.row("a head")["pending"] = `{"act":"C","attempts":2}` }, []rowcheck.Rule{rowcheck.Attempts}},
		"a pending activation that is gone": {func(p *planted) { p.row("a head")["pending"] = "" }, []rowcheck.Rule{rowcheck.Visible}},
		"a revocation that did not happen":  {func(p *planted) { p.row("b head")["pending"] = `{"act":"D","attempts":0}` }, []rowcheck.Rule{rowcheck.Visible}},
		"an activation still pending":       {func(p *planted) { p.row("~B")["status"] = "pending" }, []rowcheck.Rule{rowcheck.Visible}},
		"an activation ended otherwise":     {func(p *planted) { p.row("~A")["ended"] = "revoked" }, []rowcheck.Rule{rowcheck.Visible}},
		"a redemption at another time":      {func(p *planted) { p.row("~B")["redeemed"] = "2026-03-01T09:30:05.000Z" }, []rowcheck.Rule{rowcheck.Visible}},
		"an activation without a row":       {func(p *planted) { p.drop("~A") }, []rowcheck.Rule{rowcheck.Visible}},
		"an activation of no record": {func(p *planted) {
			p.Subjects = append(p.Subjects, rowcheck.Row{"PartitionKey": "p~a", "RowKey": "act~0~E", "status": "pending"})
		}, []rowcheck.Rule{rowcheck.Visible}},
		"a subject without a head": {func(p *planted) { p.drop("b head") }, []rowcheck.Rule{rowcheck.Visible}},
		"redeemed twice": {func(p *planted) { p.row("aud~4~rec5")["reason"] = "" },
			[]rowcheck.Rule{rowcheck.Possible}},
		"redeemed though replaced": {func(p *planted) { p.row("aud~5~rec4")["activation"] = "A" },
			[]rowcheck.Rule{rowcheck.Possible, rowcheck.Visible, rowcheck.Credentials}},
		"created twice": {func(p *planted) { p.row("aud~2~rec7")["activation"] = "A" }, []rowcheck.Rule{rowcheck.Possible, rowcheck.Visible}},
		"repeated before it was redeemed": {func(p *planted) {
			p.row("aud~6~rec3")["outcome"], p.row("aud~6~rec3")["reason"] = "allowed", "repeated"
		}, []rowcheck.Rule{rowcheck.Possible}},
		"revoked though redeemed": {func(p *planted) {
			p.row("aud~4~rec5")["action"], p.row("aud~4~rec5")["reason"] = "activation.revoke", ""
		}, []rowcheck.Rule{rowcheck.Possible}},
		"a record of nobody's": {func(p *planted) { p.row("aud~4~rec5")["outcome"] = "denied" }, []rowcheck.Rule{rowcheck.Possible}},
		"a redeemed activation without its credential": {func(p *planted) {
			p.row("a head")["creds"] = "[]"
			p.drop("cred~v~k1")
			p.drop("sid~s1")
		}, []rowcheck.Rule{rowcheck.Credentials}},
		"two credentials": {func(p *planted) {
			p.row("a head")["creds"] = `[{"sid":"s1","key":"v~k1"},{"sid":"s2","key":"v~k2"}]`
			p.Subjects = append(p.Subjects, rowcheck.Row{"PartitionKey": "p~a", "RowKey": "cred~v~k2", "sid": "s2"},
				rowcheck.Row{"PartitionKey": "p~a", "RowKey": "sid~s2", "key": "cred~v~k2"})
		}, []rowcheck.Rule{rowcheck.Credentials}},
		"a credential that came back": {func(p *planted) {
			p.Subjects = append(p.Subjects, rowcheck.Row{"PartitionKey": "p~a", "RowKey": "cred~v~old", "used": "2026-03-01T09:00:00.000Z"})
		}, []rowcheck.Rule{rowcheck.Paired}},
		"a session too many": {func(p *planted) {
			p.Subjects = append(p.Subjects, rowcheck.Row{"PartitionKey": "p~a", "RowKey": "sid~s2", "key": "cred~v~k1"})
		}, []rowcheck.Rule{rowcheck.Paired}},
		"a credential that is gone":      {func(p *planted) { p.drop("cred~v~k1") }, []rowcheck.Rule{rowcheck.Paired}},
		"a session that is gone":         {func(p *planted) { p.drop("sid~s1") }, []rowcheck.Rule{rowcheck.Paired}},
		"a credential of another sid":    {func(p *planted) { p.row("cred~v~k1")["sid"] = "s2" }, []rowcheck.Rule{rowcheck.Paired}},
		"a pending one without a code":   {func(p *planted) { p.drop("v~ccC") }, []rowcheck.Rule{rowcheck.Indexed}},
		"a pending one with a dead code": {func(p *planted) { p.row("v~ccC")["ended"] = "2026-03-01T09:31:00.000Z" }, []rowcheck.Rule{rowcheck.Indexed}},
		"a code in clear":                {func(p *planted) { p.row("aud~8~rec1")["trace"] = "x7kq49f2mxhx" }, []rowcheck.Rule{rowcheck.InClear}},
		"a code in clear in a key":       {func(p *planted) { p.row("v~ddX")["RowKey"] = "7KQ49F2MXH" }, []rowcheck.Rule{rowcheck.InClear}},
		"an OTP in clear":                {func(p *planted) { p.row("aud~8~rec1")["trace"] = "a3fj7wp 3fj7wp" }, []rowcheck.Rule{rowcheck.InClear}},
		"an OTP by chance in an id":      {func(p *planted) { p.row("aud~8~rec1")["trace"] = "a3fj7wp3fj7wp9" }, nil},
		"a head that cannot be read":     {func(p *planted) { p.row("b head")["creds"] = "[" }, []rowcheck.Rule{rowcheck.Readable}},
		"a record that cannot be read":   {func(p *planted) { p.row("aud~0~rec0")["n"] = 2.5 }, []rowcheck.Rule{rowcheck.Readable, rowcheck.Numbered, rowcheck.Visible, rowcheck.Indexed}},
		"a row of no known kind": {func(p *planted) {
			p.Subjects = append(p.Subjects, rowcheck.Row{"PartitionKey": "p~a", "RowKey": "what~1"})
		}, []rowcheck.Rule{rowcheck.Readable}},
	} {
		t.Run(name, func(t *testing.T) {
			p := sound(t)
			c.plant(p)
			found := rowcheck.Check(p.Tables, options)
			rules := map[rowcheck.Rule]bool{}
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

func TestAMissAfterTheLastIsImpossible(t *testing.T) {
	p := sound(t)
	tight := options
	tight.MaxAttempts = 1
	for name, v := range map[string]rowcheck.Violation{
		"redeemed though locked": {Rule: rowcheck.Possible, Row: "subjects p~a aud~5~rec4"},
		"locked and pending":     {Rule: rowcheck.Visible, Row: "subjects p~a act~1~C"},
	} {
		if !slices.ContainsFunc(rowcheck.Check(p.Tables, tight), func(f rowcheck.Violation) bool { return f.Rule == v.Rule && f.Row == v.Row }) {
			t.Errorf("%s: not found", name)
		}
	}
}

func TestReadFollowsPages(t *testing.T) {
	pages := 0
	do := func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("Authorization") != "Bearer token" {
			t.Error("without the token")
		}
		resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"value":[{"RowKey":"one"}]}`))}
		if r.URL.Path == "/account/codes()" && r.URL.Query().Get("NextRowKey") == "" {
			pages++
			resp.Header.Set("x-ms-continuation-NextPartitionKey", "p")
			resp.Header.Set("x-ms-continuation-NextRowKey", "r")
		}
		return resp, nil
	}
	got, err := rowcheck.Read(t.Context(), do, "https://storage.invalid/account", "token")
	if err != nil || pages != 1 || len(got.Codes) != 2 || len(got.Subjects) != 1 || len(got.Journal) != 1 {
		t.Errorf("%v, %d pages, %+v", err, pages, got)
	}
	denied := func(*http.Request) (*http.Response, error) {
		return &http.Response{Status: "403 Forbidden", StatusCode: http.StatusForbidden, Body: http.NoBody}, nil
	}
	if _, err := rowcheck.Read(t.Context(), denied, "https://storage.invalid/account", "token"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("got %v", err)
	}
}
