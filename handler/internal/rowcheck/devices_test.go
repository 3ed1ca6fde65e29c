package rowcheck_test

import (
	"encoding/json"
	"slices"
	"testing"

	"latchkey/handler/internal/rowcheck"
)

// tablet is what a device leaves that was created, let in, bought a token and was made inactive while a second code waited: its
// credential is put aside. base32hex of "7" is "6s".
const tablet = `{
"subjects": [
{"PartitionKey":"d~t","RowKey":"head","n":"5","active":false,"pending":"","creds":"[]","held":"[{\"sid\":\"s1\",\"key\":\"v~k1\"}]","own_location":"7"},
{"PartitionKey":"d~t","RowKey":"act~2~A","status":"completed","ended":"","redeemed":"2026-03-01T09:30:03.000Z"},
{"PartitionKey":"d~t","RowKey":"act~1~B","status":"revoked","ended":"revoked","redeemed":""},
{"PartitionKey":"d~t","RowKey":"held~v~k1","sid":"s1","at":"2026-03-01T09:30:05.000Z"},
{"PartitionKey":"d~t","RowKey":"aud~6~rec1","n":"1","id":"rec1","action":"device.create","outcome":"allowed","reason":"","activation":"","at":"2026-03-01T09:30:01.000Z","announced":"2026-03-01T09:30:01.000Z"},
{"PartitionKey":"d~t","RowKey":"aud~5~rec2","n":"2","id":"rec2","action":"activation.create","outcome":"allowed","reason":"","activation":"A","at":"2026-03-01T09:30:02.000Z","announced":"2026-03-01T09:30:02.000Z"},
{"PartitionKey":"d~t","RowKey":"aud~4~rec3","n":"3","id":"rec3","action":"activation.redeem","outcome":"allowed","reason":"","activation":"A","at":"2026-03-01T09:30:03.000Z","announced":"2026-03-01T09:30:03.000Z"},
{"PartitionKey":"d~t","RowKey":"aud~3~rec4","n":"0","id":"rec4","action":"token.issue","outcome":"allowed","reason":"","activation":"","at":"2026-03-01T09:30:04.000Z","announced":"2026-03-01T09:30:04.000Z"},
{"PartitionKey":"d~t","RowKey":"aud~2~rec5","n":"4","id":"rec5","action":"activation.create","outcome":"allowed","reason":"","activation":"B","at":"2026-03-01T09:30:05.000Z","announced":"2026-03-01T09:30:05.000Z"},
{"PartitionKey":"d~t","RowKey":"aud~1~rec6","n":"5","id":"rec6","action":"device.change","outcome":"allowed","reason":"","activation":"B","sessions":"s1","event_data":"{\"updated_fields\":{\"active\":false}}","at":"2026-03-01T09:30:06.000Z","announced":"2026-03-01T09:30:06.000Z"}
],
"codes": [],
"feed": [{"PartitionKey":"rev","RowKey":"1~rec6~s1","sid":"s1","jti":"","until":"2026-03-02T09:32:06.000Z"}],
"lists": [{"PartitionKey":"all","RowKey":"t","written":""},{"PartitionKey":"loc~6s","RowKey":"t","written":""}],
"journal": [
{"PartitionKey":"202603010930~08","RowKey":"20260301093001.000~rec1","subject":"d~t","record":"aud~6~rec1"},
{"PartitionKey":"202603010930~01","RowKey":"20260301093002.000~rec2","subject":"d~t","record":"aud~5~rec2"},
{"PartitionKey":"202603010930~14","RowKey":"20260301093003.000~rec3","subject":"d~t","record":"aud~4~rec3"},
{"PartitionKey":"202603010930~07","RowKey":"20260301093004.000~rec4","subject":"d~t","record":"aud~3~rec4"},
{"PartitionKey":"202603010930~04","RowKey":"20260301093005.000~rec5","subject":"d~t","record":"aud~2~rec5"},
{"PartitionKey":"202603010930~13","RowKey":"20260301093006.000~rec6","subject":"d~t","record":"aud~1~rec6"}
]}`

func soundTablet(t *testing.T) *planted {
	t.Helper()
	p := &planted{T: t}
	if err := json.Unmarshal([]byte(tablet), &p.Tables); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryPlantedViolationOfADeviceIsFound(t *testing.T) {
	for _, v := range rowcheck.Check(soundTablet(t).Tables, options) {
		t.Error(v)
	}
	for name, c := range map[string]struct {
		plant func(*planted)
		want  rowcheck.Rule
	}{
		"active all the same":          {func(p *planted) { p.row("t head")["active"] = true }, rowcheck.Visible},
		"nothing was put aside":        {func(p *planted) { p.row("t head")["held"] = "[]" }, rowcheck.Credentials},
		"it is lost":                   {func(p *planted) { p.drop("held~v~k1") }, rowcheck.Paired},
		"it buys tokens":               {func(p *planted) { p.row("held~v~k1")["RowKey"] = "cred~v~k1" }, rowcheck.Paired},
		"it is another's":              {func(p *planted) { p.row("held~v~k1")["sid"] = "s2" }, rowcheck.Paired},
		"it was let in while inactive": {func(p *planted) { p.row("t head")["creds"] = `[{"sid":"s1","key":"v~k1"}]` }, rowcheck.Paired},
		"it was never created":         {func(p *planted) { p.row("~rec1")["action"] = "credential.upgrade" }, rowcheck.Visible},
		"a token without an intent":    {func(p *planted) { p.drop("000~rec4") }, rowcheck.Announced},
		"a change without a number":    {func(p *planted) { p.row("aud~1~rec6")["n"] = "0" }, rowcheck.Numbered},
		"its end is not published":     {func(p *planted) { p.Feed = nil }, rowcheck.Published},
		"its code waits on":            {func(p *planted) { p.row("act~1~B")["status"] = "pending" }, rowcheck.Visible},
		"in no list":                   {func(p *planted) { p.Lists = nil }, rowcheck.Listed},
		"in another ward's list":       {func(p *planted) { p.Lists[1]["PartitionKey"] = "loc~70" }, rowcheck.Listed},
	} {
		t.Run(name, func(t *testing.T) {
			p := soundTablet(t)
			c.plant(p)
			found := rowcheck.Check(p.Tables, options)
			if !slices.ContainsFunc(found, func(v rowcheck.Violation) bool { return v.Rule == c.want }) {
				t.Errorf("found %v, want %s", found, c.want)
			}
		})
	}
}
