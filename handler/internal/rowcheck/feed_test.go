package rowcheck_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"testing"
	"time"

	"latchkey/handler/internal/rowcheck"
)

// ended is what a patient leaves who was let in, whose token, and then everything, was ended.
func ended(t *testing.T) *planted {
	t.Helper()
	p := &planted{T: t}
	const rows = `{"subjects": [
{"PartitionKey":"p~c","RowKey":"head","n":"6","pending":"","creds":"[]"},
{"PartitionKey":"p~c","RowKey":"act~2~E","status":"completed","ended":"","redeemed":"2026-03-01T09:30:02.000Z"},
{"PartitionKey":"p~c","RowKey":"act~1~F","status":"revoked","ended":"revoked","redeemed":""},
{"PartitionKey":"p~c","RowKey":"jti~t1","until":"2026-03-01T10:00:00.000Z"}],
"feed": [
{"PartitionKey":"rev","RowKey":"4~rc4~t1","sid":"","jti":"t1","until":"2026-03-01T10:00:00.000Z"},
{"PartitionKey":"rev","RowKey":"6~rc6~s9","sid":"s9","jti":"","until":"2026-03-02T09:32:06.000Z"},
{"PartitionKey":"rev","RowKey":"7~void~s8","sid":"s8","jti":"","until":"2026-03-02T09:32:06.000Z"}]}`
	if err := json.Unmarshal([]byte(rows), &p.Tables); err != nil {
		t.Fatal(err)
	}
	for i, r := range []rowcheck.Row{
		{"action": "activation.create", "activation": "E"},
		{"action": "activation.redeem", "activation": "E"},
		{"action": "credential.label"},
		{"action": "token.revoke", "token": "t1"},
		{"action": "activation.create", "activation": "F"},
		{"action": "authorisation.revoke", "activation": "F", "sessions": "s9"},
	} {
		id, at := fmt.Sprintf("rc%d", i+1), time.Date(2026, 3, 1, 9, 30, i+1, 0, time.UTC)
		key, stamp := "aud~"+fmt.Sprint(9-i)+"~"+id, at.Format("2006-01-02T15:04:05.000Z")
		for column, value := range map[string]any{
			"PartitionKey": "p~c", "RowKey": key, "n": fmt.Sprint(i + 1), "id": id, "outcome": "allowed", "reason": "", "at": stamp, "announced": stamp,
		} {
			r[column] = value
		}
		p.Subjects = append(p.Subjects, r)
		h := fnv.New32a()
		h.Write([]byte(id))
		p.Journal = append(p.Journal, rowcheck.Row{
			"PartitionKey": fmt.Sprintf("202603010930~%02d", h.Sum32()%16), "RowKey": at.Format("20060102150405.000") + "~" + id, "subject": "p~c", "record": key,
		})
	}
	return p
}

func (p *planted) published(key string) rowcheck.Row {
	p.Helper()
	for _, r := range p.Feed {
		if r["RowKey"] == key {
			return r
		}
	}
	p.Fatalf("there is no row %s", key)
	return nil
}

func TestEndingsArePublished(t *testing.T) {
	for _, v := range rowcheck.Check(ended(t).Tables, options) {
		t.Error(v)
	}
	lives := func(p *planted) {
		p.Subjects = append(p.Subjects, rowcheck.Row{"PartitionKey": "p~c", "RowKey": "cred~v~k9", "sid": "s9"},
			rowcheck.Row{"PartitionKey": "p~c", "RowKey": "sid~s9", "key": "cred~v~k9"})
		p.row("c head")["creds"] = `[{"sid":"s9","key":"v~k9"}]`
	}
	for name, c := range map[string]struct {
		plant func(*planted)
		want  rowcheck.Rule
	}{
		"an end that is not published":           {func(p *planted) { p.Feed = p.Feed[:1] }, rowcheck.Published},
		"a token's end that is not published":    {func(p *planted) { p.Feed = p.Feed[1:] }, rowcheck.Published},
		"an end of another session":              {func(p *planted) { p.published("6~rc6~s9")["sid"] = "s8" }, rowcheck.Published},
		"an end that is forgotten too early":     {func(p *planted) { p.published("6~rc6~s9")["until"] = "2026-03-02T09:30:06.000Z" }, rowcheck.Published},
		"an end under a record that is not its":  {func(p *planted) { p.published("6~rc6~s9")["RowKey"] = "6~rc5~s9" }, rowcheck.Published},
		"what has ended and lives":               {lives, rowcheck.Published},
		"a token that has ended and lives":       {func(p *planted) { p.drop("jti~t1") }, rowcheck.Published},
		"a token that nobody ended":              {func(p *planted) { p.row("jti~t1")["RowKey"] = "jti~t2" }, rowcheck.Published},
		"an end of more than there was":          {func(p *planted) { p.row("~rc6")["sessions"] = "s9 s8" }, rowcheck.Possible},
		"an end of another activation":           {func(p *planted) { p.row("~rc6")["activation"] = "E" }, rowcheck.Possible},
		"an end of one that there was not":       {func(p *planted) { r := p.row("~rc6"); r["action"], r["sessions"] = "credential.revoke", "s9 s8" }, rowcheck.Possible},
		"a label on nothing":                     {func(p *planted) { r := p.row("~rc2"); r["action"] = "credential.label" }, rowcheck.Possible},
		"a token's end that says not which":      {func(p *planted) { p.row("~rc4")["token"] = "" }, rowcheck.Possible},
		"a pending one that was to be ended too": {func(p *planted) { p.row("c head")["pending"] = `{"act":"F","attempts":0}` }, rowcheck.Visible},
	} {
		t.Run(name, func(t *testing.T) {
			p := ended(t)
			c.plant(p)
			for _, v := range rowcheck.Check(p.Tables, options) {
				if v.Rule == c.want {
					return
				}
			}
			t.Errorf("%q was not found", c.want)
		})
	}
}
