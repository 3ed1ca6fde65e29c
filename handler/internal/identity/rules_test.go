package identity_test

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/identity"
)

func TestIDsAreReadBack(t *testing.T) {
	for key, want := range map[identity.Key]string{
		machine: tenant + "~aaaaaaaa-0000-4000-8000-000000000001",
		{Issuer: "https://a.example", Subject: "1"}:                                                       "d1q78s3j78niuo9ecls62rbgdhig~64",
		{Issuer: tenant, Subject: strings.ToUpper(machine.Subject)}:                                       "",
		{Issuer: strings.Repeat("i", 255), Subject: strings.Repeat("\xff", 255)}:                          "",
		{Issuer: "{11111111-2222-4333-8444-555555555555}", Subject: "urn:uuid:" + machine.Subject + "~é"}: "",
	} {
		id := key.ID()
		if want != "" && id != want {
			t.Errorf("%v is %q, want %q", key, id, want)
		}
		if got, err := identity.ParseID(id); err != nil || got != key {
			t.Errorf("%q was read as %v, %v", id, got, err)
		}
	}
	for _, id := range []string{
		"", "~", tenant, tenant + "~", "~" + tenant, tenant + "~64~64", strings.ToUpper(machine.ID()), tenant + "~65", // bits that no letter has
		tenant + "~" + "c5gn2r9", tenant + "~64=", tenant + "~wx",
		tenant + "~" + strings.Repeat("64", 256),
		identity.Key{Issuer: tenant, Subject: strings.Repeat("x", 256)}.ID(),
		// A GUID in base32hex has another spelling.
		tenant + "~" + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(tenant))),
	} {
		if key, err := identity.ParseID(id); !errors.Is(err, identity.ErrNotFound) {
			t.Errorf("%q was read as %v, %v", id, key, err)
		}
	}
}

func TestAUT3_AStrangerWaitsAndIsLetInByOneCall(t *testing.T) {
	l := newLab(t)
	if is, err := l.Lookup(t.Context(), machine); is != nil || err != nil {
		t.Fatalf("%v, %v", is, err)
	}
	l.ask(machine)
	want := identity.Identity{
		Key: machine, State: identity.Pending, Kind: identity.App, Created: noon, CreatedBy: tenant + "/" + machine.Subject,
		Modified: noon, ModifiedBy: tenant + "/" + machine.Subject, Seen: noon.Truncate(time.Hour), N: 1,
	}
	is := l.read(machine)
	want.Version = is.Version
	l.equal("pending", is, want)
	l.equal("queue", l.pending(tenant), int64(1))

	answer, err := l.Approve(t.Context(), by(admin), nil, machine, identity.Approval{Terms: identity.Terms{
		Label: label("Ward 7"), Scopes: []string{"write:x", "read:x", "write:x"}}})
	l.ok(err)
	is = l.read(machine)
	want.State, want.Label, want.Scopes, want.ModifiedBy, want.N = identity.Approved, "Ward 7", []string{"read:x", "write:x"}, tenant+"/"+admin.Subject, 2
	want.Version = is.Version
	l.equal("approved", is, want)
	answer.Version = is.Version
	l.equal("answer", answer, want)
	l.equal("queue", l.pending(tenant), int64(0))

	record := audit.Record{
		Time: noon, Announced: noon, Action: audit.AskIdentity, Outcome: audit.Allowed, Origin: by(machine), Identity: by(machine).Actor,
		State: "pending", N: 1,
	}
	records := l.store.Identities().Records(tenant)
	record.ID = records[0].ID
	l.equal("record", records[0], record)
	record.Action, record.Origin, record.State, record.Label, record.Scopes, record.N = audit.ApproveIdentity, by(admin), "approved", "Ward 7", "read:x write:x", 2
	record.ID = records[1].ID
	l.equal("record", records[1], record)
	if len(records) != 2 || len(record.ID) != 26 || records[0].ID == records[1].ID {
		t.Errorf("%d records: %+v", len(records), records)
	}
	if n := len(l.store.Intents()); n != 2 {
		t.Errorf("%d intents", n)
	}
}

// Nothing at all is written for whom nothing changes by asking.
func TestAUT3_WhoIsKnownIsNotRecordedAgain(t *testing.T) {
	for _, state := range []identity.State{identity.Pending, identity.Approved, identity.Disabled, identity.Retired} {
		l := newLab(t)
		l.in(state, machine)
		before, records, intents := l.read(machine), l.written(), len(l.store.Intents())
		got, err := l.Ask(t.Context(), by(machine), machine, identity.User)
		l.ok(err)
		l.equal("state", got, state)
		l.equal("identity", l.read(machine), before)
		l.equal("records", l.written(), records)
		l.equal("intents", len(l.store.Intents()), intents)
	}
}

func TestAUT3_WhatHasNoKeyIsNobody(t *testing.T) {
	l := newLab(t)
	long := strings.Repeat("x", 256)
	for _, key := range []identity.Key{{}, {Issuer: tenant}, {Subject: "x"}, {Issuer: long, Subject: "x"}, {Issuer: tenant, Subject: long}} {
		is, err := l.Lookup(t.Context(), key)
		l.ok(err)
		l.equal("looked up", is, (*identity.Identity)(nil))
		_, err = l.Ask(t.Context(), by(key), key, identity.App)
		l.refused("ask", err, identity.ErrKey)
		_, err = l.Register(t.Context(), by(admin), nil, key, identity.Terms{})
		l.refused("register", err, identity.ErrKey)
	}
	l.equal("intents", len(l.store.Intents()), 0)
}

func TestAUT3_RegisteredByHand(t *testing.T) {
	l := newLab(t)
	answer, err := l.Register(t.Context(), by(admin), nil, rebuilt, identity.Terms{Label: label("by hand"), Scopes: []string{"b", "a"}})
	l.ok(err)
	is := l.read(rebuilt)
	l.equal("registered", is, identity.Identity{
		Key: rebuilt, State: identity.Approved, Label: "by hand", Scopes: []string{"a", "b"}, N: 1, Version: is.Version,
		Created: noon, CreatedBy: tenant + "/" + admin.Subject, Modified: noon, ModifiedBy: tenant + "/" + admin.Subject,
	})
	answer.Version = is.Version
	l.equal("answer", answer, is)
	l.equal("queue", l.pending(rebuilt.Issuer), int64(0))
	l.equal("records", l.actions(rebuilt.Issuer), []string{"register approved"})
	for _, state := range []identity.State{identity.Pending, identity.Approved, identity.Disabled, identity.Retired} {
		l := newLab(t)
		l.in(state, machine)
		before, records := l.read(machine), l.written()
		_, err := l.Register(t.Context(), by(admin), nil, machine, identity.Terms{})
		l.refused(string(state), err, identity.ErrExists)
		l.equal(string(state), l.read(machine), before)
		l.equal("records", l.written(), records)
	}
}

// TestAUT3_EveryStep tries every operation in every state: what becomes of it, or which error.
func TestAUT3_EveryStep(t *testing.T) {
	const pending, approved, disabled, retired = identity.Pending, identity.Approved, identity.Disabled, identity.Retired
	type outcome any // a state, an error, or same: it succeeds and writes nothing
	same := "same"
	patch := func(p identity.Patch) func(*lab) error {
		return func(l *lab) error { _, err := l.Change(l.Context(), by(admin), nil, machine, p); return err }
	}
	approve := func(terms identity.Terms) func(*lab) error {
		return func(l *lab) error {
			_, err := l.Approve(l.Context(), by(admin), nil, machine, identity.Approval{Terms: terms})
			return err
		}
	}
	for _, step := range []struct {
		name string
		do   func(*lab) error
		want map[identity.State]outcome
	}{
		{"approve", approve(identity.Terms{}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: approved, approved: same, disabled: identity.ErrDisabled, retired: identity.ErrRetired}},
		{"approve on the terms that it has", approve(identity.Terms{Label: label("it"), Scopes: []string{"b", "a"}}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: approved, approved: same, disabled: identity.ErrDisabled, retired: identity.ErrRetired}},
		{"approve on other terms", approve(identity.Terms{Scopes: []string{"a"}}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: approved, approved: identity.ErrApproved, disabled: identity.ErrDisabled, retired: identity.ErrRetired}},
		{"disable", patch(identity.Patch{State: disabled}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: disabled, approved: disabled, disabled: same, retired: identity.ErrRetired}},
		{"enable", patch(identity.Patch{State: approved}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: identity.ErrState, approved: same, disabled: approved, retired: identity.ErrRetired}},
		{"to pending", patch(identity.Patch{State: pending}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: same, approved: identity.ErrState, disabled: identity.ErrState, retired: identity.ErrRetired}},
		{"to retired", patch(identity.Patch{State: retired}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: identity.ErrState, approved: identity.ErrState, disabled: identity.ErrState, retired: identity.ErrRetired}},
		{"to a state that there is not", patch(identity.Patch{State: "x"}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: identity.ErrState, approved: identity.ErrState, disabled: identity.ErrState, retired: identity.ErrRetired}},
		{"nothing", patch(identity.Patch{}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: same, approved: same, disabled: same, retired: identity.ErrRetired}},
		{"scopes", patch(identity.Patch{Terms: identity.Terms{Scopes: []string{"c"}}}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: pending, approved: approved, disabled: disabled, retired: identity.ErrRetired}},
		{"label", patch(identity.Patch{Terms: identity.Terms{Label: label("another")}}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: pending, approved: approved, disabled: disabled, retired: identity.ErrRetired}},
		{"at another N", patch(identity.Patch{At: 7, State: disabled}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: identity.ErrMoved, approved: identity.ErrMoved, disabled: identity.ErrMoved, retired: identity.ErrMoved}},
		{"at its N", patch(identity.Patch{At: 1, State: disabled}), map[identity.State]outcome{
			"": identity.ErrNotFound, pending: disabled, approved: identity.ErrMoved, disabled: identity.ErrMoved, retired: identity.ErrMoved}},
	} {
		for _, state := range []identity.State{"", pending, approved, disabled, retired} {
			t.Run(fmt.Sprintf("%s when %q", step.name, state), func(t *testing.T) {
				l := newLab(t)
				l.in(state, machine)
				before, _ := l.Lookup(t.Context(), machine)
				records, waiting := l.written(), l.pending(tenant)
				err := step.do(l)
				after, _ := l.Lookup(t.Context(), machine)
				switch want := step.want[state].(type) {
				case error:
					l.refused("it", err, want)
					l.equal("identity", after, before)
					l.equal("records", l.written(), records)
				case string: // same
					l.ok(err)
					l.equal("identity", after, before)
					l.equal("records", l.written(), records)
				case identity.State:
					l.ok(err)
					l.equal("state", after.State, want)
					l.equal("records", l.written(), records+1)
					l.equal("N", after.N, before.N+1)
					if state == pending && want != pending {
						waiting--
					}
				}
				l.equal("queue", l.pending(tenant), waiting)
			})
		}
	}
}

// A patch changes what it names and nothing else, and answers what it made.
func TestAUT3_WhatIsNotNamedStays(t *testing.T) {
	for name, c := range map[string]struct {
		patch identity.Patch
		want  func(*identity.Identity)
	}{
		"label":     {identity.Patch{Terms: identity.Terms{Label: label("x")}}, func(i *identity.Identity) { i.Label = "x" }},
		"no label":  {identity.Patch{Terms: identity.Terms{Label: label("")}}, func(i *identity.Identity) { i.Label = "" }},
		"scopes":    {identity.Patch{Terms: identity.Terms{Scopes: []string{"z", "y"}}}, func(i *identity.Identity) { i.Scopes = []string{"y", "z"} }},
		"no scopes": {identity.Patch{Terms: identity.Terms{Scopes: []string{}}}, func(i *identity.Identity) { i.Scopes = nil }},
		"state":     {identity.Patch{State: identity.Disabled}, func(i *identity.Identity) { i.State = identity.Disabled }},
	} {
		l := newLab(t)
		l.in(identity.Approved, machine)
		want := l.read(machine)
		answer, err := l.Change(t.Context(), by(rebuilt), nil, machine, c.patch)
		l.ok(err)
		is := l.read(machine)
		c.want(&want)
		want.ModifiedBy, want.N, want.Version = rebuilt.Issuer+"/"+rebuilt.Subject, want.N+1, is.Version
		l.equal(name, is, want)
		if answer.N != is.N || answer.State != is.State || answer.Label != is.Label || !slices.Equal(answer.Scopes, is.Scopes) {
			t.Errorf("%s: the answer is %+v", name, answer)
		}
	}
}

func TestAUT3_NobodyTakesFromThemselves(t *testing.T) {
	for name, c := range map[string]struct {
		patch identity.Patch
		want  error
	}{
		"disables itself":      {identity.Patch{State: identity.Disabled}, identity.ErrSelf},
		"drops a scope":        {identity.Patch{Terms: identity.Terms{Scopes: []string{"a"}}}, identity.ErrSelf},
		"drops all":            {identity.Patch{Terms: identity.Terms{Scopes: []string{}}}, identity.ErrSelf},
		"swaps one":            {identity.Patch{Terms: identity.Terms{Scopes: []string{"a", "c"}}}, identity.ErrSelf},
		"adds one":             {identity.Patch{Terms: identity.Terms{Scopes: []string{"a", "b", "c"}}}, nil},
		"names itself":         {identity.Patch{Terms: identity.Terms{Label: label("me")}}, nil},
		"stays as it is":       {identity.Patch{State: identity.Approved, Terms: identity.Terms{Scopes: []string{"b", "a"}}}, nil},
		"is turned by another": {identity.Patch{State: identity.Disabled}, nil},
	} {
		l := newLab(t)
		l.in(identity.Approved, machine)
		who := machine
		if name == "is turned by another" {
			who = identity.Key{Issuer: rebuilt.Issuer, Subject: machine.Subject} // of the same name elsewhere
		}
		before := l.read(machine)
		_, err := l.Change(t.Context(), by(who), nil, machine, c.patch)
		l.refused(name, err, c.want)
		if c.want != nil {
			l.equal(name, l.read(machine), before)
		}
	}
	l := newLab(t)
	l.in(identity.Approved, machine)
	l.ask(rebuilt)
	_, err := l.Approve(t.Context(), by(machine), nil, rebuilt, identity.Approval{Replaces: &machine})
	l.refused("retires itself", err, identity.ErrSelf)
	l.equal("state", l.read(machine).State, identity.Approved)
	l.equal("state", l.read(rebuilt).State, identity.Pending)
}

func TestAUT3_LabelsAndScopesHaveAForm(t *testing.T) {
	hundred := make([]string, 101)
	for i := range hundred {
		hundred[i] = fmt.Sprint("s", i)
	}
	for name, c := range map[string]struct {
		terms identity.Terms
		field string
	}{
		"a long label":    {identity.Terms{Label: label(strings.Repeat("é", 101))}, "label"},
		"a line break":    {identity.Terms{Label: label("a\nb")}, "label"},
		"right to left":   {identity.Terms{Label: label("a\u202eb")}, "label"},
		"no UTF-8":        {identity.Terms{Label: label("a\xff")}, "label"},
		"many scopes":     {identity.Terms{Scopes: hundred}, "scopes"},
		"an empty scope":  {identity.Terms{Scopes: []string{""}}, "scopes"},
		"a blank":         {identity.Terms{Scopes: []string{"a b"}}, "scopes"},
		"a quote":         {identity.Terms{Scopes: []string{`a"`}}, "scopes"},
		"a backslash":     {identity.Terms{Scopes: []string{`a\`}}, "scopes"},
		"beyond ASCII":    {identity.Terms{Scopes: []string{"é"}}, "scopes"},
		"a long scope":    {identity.Terms{Scopes: []string{strings.Repeat("x", 129)}}, "scopes"},
		"as long as may":  {identity.Terms{Label: label(strings.Repeat("é", 100)), Scopes: []string{strings.Repeat("x", 128)}}, ""},
		"as many as may":  {identity.Terms{Scopes: append(slices.Clone(hundred[:100]), "s0")}, ""},
		"every character": {identity.Terms{Scopes: []string{"!#$%&'()*+,-./09:;<=>?@AZ[]^_`az{|}~"}}, ""},
	} {
		l := newLab(t)
		l.in(identity.Approved, machine)
		l.ask(rebuilt)
		ctx, from := t.Context(), by(admin)
		_, registered := l.Register(ctx, from, nil, identity.Key{Issuer: tenant, Subject: "third"}, c.terms)
		_, changed := l.Change(ctx, from, nil, machine, identity.Patch{Terms: c.terms})
		_, succeeded := l.Approve(ctx, from, nil, rebuilt, identity.Approval{Terms: c.terms, Replaces: &machine})
		for what, err := range map[string]error{"register": registered, "change": changed, "approve": succeeded} {
			var invalid *identity.Invalid
			if c.field == "" && err != nil || c.field != "" && (!errors.As(err, &invalid) || invalid.Field != c.field) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		if c.field != "" {
			l.equal(name+": nobody is retired", l.read(machine).State, identity.Approved)
		}
	}
}

func TestAUT3_ASuccessorInherits(t *testing.T) {
	for name, c := range map[string]struct {
		terms  identity.Terms
		label  string
		scopes []string
	}{
		"everything": {identity.Terms{}, "it", []string{"a", "b"}},
		"its label":  {identity.Terms{Scopes: []string{"c"}}, "it", []string{"c"}},
		"its scopes": {identity.Terms{Label: label("new")}, "new", []string{"a", "b"}},
		"nothing":    {identity.Terms{Label: label(""), Scopes: []string{}}, "", nil},
	} {
		l := newLab(t)
		l.in(identity.Approved, machine)
		l.ask(rebuilt)
		approval := identity.Approval{Terms: c.terms, Replaces: &machine}
		_, err := l.Approve(t.Context(), by(admin), nil, rebuilt, approval)
		l.ok(err)
		old, heir := l.read(machine), l.read(rebuilt)
		l.equal(name, []any{old.State, old.Successor, old.Label, old.Scopes}, []any{identity.Retired, rebuilt, "it", []string{"a", "b"}})
		l.equal(name, []any{heir.State, heir.Label, heir.Scopes}, []any{identity.Approved, c.label, c.scopes})
		l.equal(name, l.actions(tenant), []string{"ask pending", "approve approved", "retire retired"})
		l.equal(name, l.actions(rebuilt.Issuer), []string{"ask pending", "approve approved"})
		l.equal("other", l.store.Identities().Records(tenant)[2].Other, by(rebuilt).Actor)
		l.equal("queue", l.pending(rebuilt.Issuer), int64(0))

		_, err = l.Approve(t.Context(), by(admin), nil, rebuilt, approval)
		l.ok(err)
		l.equal(name+" again", l.written(), 5)
	}
}

func TestAUT3_PredecessorsThatAreNone(t *testing.T) {
	other := identity.Key{Issuer: tenant, Subject: "other"}
	for name, c := range map[string]struct {
		old, heir identity.State
		replaces  identity.Key
		want      error
	}{
		"unknown":                  {"", identity.Pending, machine, identity.ErrPredecessor},
		"itself":                   {"", identity.Pending, rebuilt, identity.ErrPredecessor},
		"no key":                   {"", identity.Pending, identity.Key{}, identity.ErrPredecessor},
		"with another successor":   {identity.Retired, identity.Pending, machine, identity.ErrReplaced},
		"of an unknown one":        {identity.Approved, "", machine, identity.ErrNotFound},
		"of a disabled one":        {identity.Approved, identity.Disabled, machine, identity.ErrDisabled},
		"of a retired one":         {identity.Approved, identity.Retired, machine, identity.ErrRetired},
		"of one approved before":   {identity.Approved, identity.Approved, machine, identity.ErrApproved},
		"disabled":                 {identity.Disabled, identity.Pending, machine, nil},
		"pending":                  {identity.Pending, identity.Pending, machine, nil},
		"approved":                 {identity.Approved, identity.Pending, machine, nil},
		"unknown, of another kind": {"", identity.Pending, other, identity.ErrPredecessor},
	} {
		l := newLab(t)
		l.in(c.old, machine)
		l.in(c.heir, rebuilt)
		before, _ := l.Lookup(t.Context(), machine)
		_, err := l.Approve(t.Context(), by(admin), nil, rebuilt, identity.Approval{Replaces: &c.replaces})
		l.refused(name, err, c.want)
		after, _ := l.Lookup(t.Context(), machine)
		if c.want != nil {
			l.equal(name, after, before)
		} else if after.State != identity.Retired || l.read(rebuilt).State != identity.Approved || l.pending(tenant) != 0 {
			t.Errorf("%s: %+v", name, after)
		}
	}
}

// AUT-2: nothing is committed, and nothing told, for whom the gate does not let pass.
func TestAUT2_TheGateStandsBeforeEveryChange(t *testing.T) {
	shut := errors.New("not admitted")
	var asked int
	gate := func(context.Context) error { asked++; return shut }
	for name, do := range map[string]func(*lab) error{
		"register": func(l *lab) error {
			_, err := l.Register(t.Context(), by(admin), gate, identity.Key{Issuer: tenant, Subject: "x"}, identity.Terms{})
			return err
		},
		"register one that is known": func(l *lab) error {
			_, err := l.Register(t.Context(), by(admin), gate, machine, identity.Terms{})
			return err
		},
		"approve": func(l *lab) error {
			_, err := l.Approve(t.Context(), by(admin), gate, rebuilt, identity.Approval{})
			return err
		},
		"approve a successor": func(l *lab) error {
			_, err := l.Approve(t.Context(), by(admin), gate, rebuilt, identity.Approval{Replaces: &machine})
			return err
		},
		"approve an unknown successor": func(l *lab) error {
			_, err := l.Approve(t.Context(), by(admin), gate, identity.Key{Issuer: tenant, Subject: "x"}, identity.Approval{Replaces: &machine})
			return err
		},
		"change": func(l *lab) error {
			_, err := l.Change(t.Context(), by(admin), gate, machine, identity.Patch{State: identity.Disabled})
			return err
		},
	} {
		l := newLab(t)
		l.in(identity.Approved, machine)
		l.ask(rebuilt)
		before := l.written()
		asked = 0
		l.refused(name, do(l), shut)
		l.equal(name, l.written(), before)
		if asked != 1 {
			t.Errorf("%s: the gate was asked %d times", name, asked)
		}
	}
	// And one that is open is asked once.
	l := newLab(t)
	l.in(identity.Approved, machine)
	l.ask(rebuilt)
	asked = 0
	_, err := l.Approve(t.Context(), by(admin), func(context.Context) error { asked++; return nil }, rebuilt, identity.Approval{Replaces: &machine})
	l.ok(err)
	l.equal("asked", asked, 1)
}

func TestAUT3_ListsGoOnWhereTheyEnded(t *testing.T) {
	l := newLab(t)
	var all []identity.Key
	issuers := []string{tenant, "https://b.example", "https://a.example", "https://empty.example", tenant}
	for i := range 20 {
		key := identity.Key{Issuer: issuers[i%3], Subject: fmt.Sprint("s", i)}
		l.in([]identity.State{identity.Pending, identity.Approved}[i%2], key)
		all = append(all, key)
	}
	l.in(identity.Approved, identity.Key{Issuer: "https://not.asked.example", Subject: "x"})
	slices.SortFunc(all, func(a, b identity.Key) int { return strings.Compare(a.ID(), b.ID()) })
	for _, state := range []identity.State{"", identity.Pending, identity.Approved, identity.Retired} {
		var want []identity.Key
		for _, key := range all {
			if state == "" || l.read(key).State == state {
				want = append(want, key)
			}
		}
		for _, limit := range []int{1, 3, 7, 10, 20, 21} {
			var got []identity.Key
			for after := (identity.Key{}); ; {
				page, more, err := l.List(t.Context(), issuers, state, after, limit)
				l.ok(err)
				if len(page) > limit || more != (identity.Key{}) && (len(page) != limit || more != page[limit-1].Key) {
					t.Fatalf("a page of %d, and more behind %v", len(page), more)
				}
				for _, i := range page {
					got = append(got, i.Key)
				}
				if after = more; more == (identity.Key{}) {
					break
				}
			}
			l.equal(fmt.Sprintf("%q by %d", state, limit), got, want)
		}
	}
}

func TestAUT3_ACallIsNotedToTheHour(t *testing.T) {
	l := newLab(t)
	l.ok(l.Seen(t.Context(), machine))
	if is, _ := l.Lookup(t.Context(), machine); is != nil {
		t.Fatal("a note made an identity")
	}
	_, err := l.Register(t.Context(), by(admin), nil, machine, identity.Terms{})
	l.ok(err)
	want := l.read(machine)
	l.ok(l.Seen(t.Context(), machine))
	is := l.read(machine)
	want.Seen, want.Version = noon.Truncate(time.Hour), is.Version
	l.equal("identity", is, want)
	l.equal("records", l.written(), 1)
}
