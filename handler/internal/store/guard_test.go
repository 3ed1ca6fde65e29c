package store

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/storetest"
	"latchkey/handler/internal/subject"
)

func inserts(n int) []write {
	writes := make([]write, n)
	for i := range writes {
		writes[i] = write{insert, entity("p~x", fmt.Sprintf("row%d", i), columns{"a": "b"}), ""}
	}
	return writes
}

// wide is a row of n columns with values of so many characters.
func wide(n, characters int) aztables.EDMEntity {
	c := columns{}
	for i := range n {
		c[fmt.Sprintf("c%03d", i)] = strings.Repeat("x", characters)
	}
	return entity("p~x", "row", c)
}

// TestGuards shows each limit from both sides, and that what is refused never reaches the network.
func TestGuards(t *testing.T) {
	one := func(row aztables.EDMEntity) []write { return []write{{insert, row, ""}} }
	named := func(column string, value any) []write { return one(entity("p~x", "row", columns{column: value})) }
	keyed := func(partition, row string) []write { return one(entity(partition, row, columns{})) }
	elsewhere := inserts(2)
	elsewhere[1].row.PartitionKey = "p~y"
	twice := inserts(2)
	twice[1].row.RowKey = twice[0].row.RowKey
	big := inserts(5) // of 1,000,000 bytes each, as UTF-16, and 500,000 as sent
	for i := range big {
		big[i].row.Properties = wide(16, 31000).Properties
	}
	heavy := inserts(3) // of 700,000 bytes each as UTF-16, and 2,100,000 as sent: a quote is two characters then
	for i := range heavy {
		heavy[i].row.Properties = columns{}
		for j := range 11 {
			heavy[i].row.Properties[fmt.Sprintf("c%d", j)] = strings.Repeat("\x01", 31000)
		}
	}
	const name = "identifier"
	head := entity("p~x", headKey, columns{})

	for what, c := range map[string]struct {
		writes []write
		want   string // "" if it is allowed
	}{
		"no operation":           {nil, "0 operations"},
		"100 operations":         {inserts(100), ""},
		"101 operations":         {inserts(101), "101 operations"},
		"mixed partitions":       {elsewhere, "another partition"},
		"one row twice":          {twice, "row of another"},
		"252 columns":            {one(wide(252, 1)), ""},
		"253 columns":            {one(wide(253, 1)), "253 columns"},
		"an entity of 1 MB":      {one(wide(16, 32000)), ""},
		"an entity over 1 MiB":   {one(wide(17, 32000)), "bytes, more than 1048576"},
		"a transaction of 3 MB":  {big, ""},
		"one over 4 MiB":         {heavy, "the transaction has"},
		"text of 32768":          {named("a", strings.Repeat("x", 32768)), ""},
		"text of 32769":          {named("a", strings.Repeat("x", 32769)), "UTF-16"},
		"text of 16384 pairs":    {named("a", strings.Repeat("\U0001F511", 16384)), ""},
		"text of 16385 pairs":    {named("a", strings.Repeat("\U0001F511", 16385)), "UTF-16"},
		"a name of 255":          {named(strings.Repeat("n", 255), ""), ""},
		"a name of 256":          {named(strings.Repeat("n", 256), ""), "name"},
		"a name with a dash":     {named("has-dash", ""), "name"},
		"a name with a digit":    {named("1digit", ""), "name"},
		"a name with a space":    {named("has space", ""), "name"},
		"an empty name":          {named("", ""), "name"},
		"an odata annotation":    {named("n@odata.type", ""), "name"},
		"a number of Go":         {named(name, 1), "is a int"},
		"nothing":                {named(name, nil), "is a <nil>"},
		"a key of 512":           {keyed("p~x", strings.Repeat("k", 512)), ""},
		"a key of 513":           {keyed("p~x", strings.Repeat("k", 513)), "513 characters"},
		"an empty key":           {keyed("p~x", ""), "0 characters"},
		"an empty partition":     {keyed("", "row"), "0 characters"},
		"a slash":                {keyed("p~x", "a/b"), "a key has"},
		"a backslash":            {keyed("p~x", `a\b`), "a key has"},
		"a hash":                 {keyed("p~x", "a#b"), "a key has"},
		"a question mark":        {keyed("p~x", "a?b"), "a key has"},
		"a percent sign":         {keyed("p~x", "a%2Fb"), "a key has"},
		"a quote":                {keyed("p~x", "a'b"), "a key has"},
		"a line break":           {keyed("p~x", "a\n"), "a key has"},
		"a control character":    {keyed("p~\x85", "a"), "a key has"},
		"an insert that matches": {[]write{{insert, head, "etag"}}, "matches one"},
		"a merge of no version":  {[]write{{merge, entity("p~x", "row", nil), ""}}, "which version"},
		"a removal of no version": {
			[]write{{remove, entity("p~x", "row", nil), ""}}, "which version"},
		"a head of a version":    {[]write{{merge, head, "etag"}}, ""},
		"a head of any version":  {[]write{{merge, head, azcore.ETagAny}}, "whatever its version"},
		"a head that is removed": {[]write{{remove, head, "etag"}}, "removes it"},
	} {
		err := check(c.writes...)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", what, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
}

func TestWhatIsRefusedIsNotSent(t *testing.T) {
	s, err := New("https://storage.invalid", bearer{}, Options{Transport: transport(func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, errReset
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	of := storetest.Patient()
	evil := keyed.Hash{Version: "v", Sum: "a/../b"}
	head := activation.Head{Subject: of, Active: true, Version: activation.Version(azcore.ETagAny)}
	other := storetest.Creation(activation.Head{Subject: of, Active: true}, storetest.Start)
	other.Created.Subject = storetest.Patient()
	_, code := s.Code(ctx, []keyed.Hash{evil})
	_, credential := s.Credential(ctx, of, []keyed.Hash{evil})
	_, nobody := s.Activation(ctx, subject.ID{}, storetest.UUID(storetest.Start))
	for what, err := range map[string]error{
		"insert":             s.insert(ctx, "testing", s.journal, entity("p~x", "a/b", nil)),
		"merge":              s.merge(ctx, "testing", s.journal, write{merge, entity("p~x", "a", nil), ""}),
		"transaction":        s.transact(ctx, "testing", s.subjects, inserts(101)),
		"a head of any kind": s.Commit(ctx, storetest.Creation(head, storetest.Start)),
		"two subjects":       s.Commit(ctx, other),
		"code":               code, "credential": credential, "nobody": nobody,
		"touch": s.Touch(ctx, of, evil, storetest.Start),
		"end":   s.EndCode(ctx, activation.Code{Key: storetest.Hash()}, storetest.Start, "used"),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
