package storetest

import (
	"slices"
	"strings"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/keyed"
)

// listed are a subject's credentials, ordered by their sids, after a look at whether the head came with them.
func (s *suite) listed(want activation.Head) []activation.Credential {
	s.Helper()
	head, all, err := s.store.Credentials(s.Context(), want.Subject)
	s.ok(err)
	s.equal("head", head, want)
	slices.SortFunc(all, bySession)
	return all
}

func bySession(a, b activation.Credential) int { return strings.Compare(a.Session, b.Session) }

func (s *suite) credentials() {
	of := Patient()
	s.equal("of nobody", len(s.listed(s.head(of))), 0)
	change := Creation(s.head(of), Start)
	var want []activation.Credential
	for range activation.MaxCredentials {
		c := Credential()
		change.Added, change.Head.Credentials = append(change.Added, c), append(change.Head.Credentials, c)
		want = append(want, *stored(c))
	}
	change.Head.Imported = "$scrypt$"
	head := s.commit(change)
	slices.SortFunc(want, bySession)
	s.equal("all", s.listed(head), want)
	s.ok(s.store.Touch(s.Context(), of, want[3].Key, Start))
	want[3].Used = Start.Truncate(time.Hour)
	s.equal("one in use", s.listed(head), want)
}

func (s *suite) label() {
	of := Patient()
	head := s.let(of)
	old := head.Credentials[0]
	label := func(head activation.Head, c activation.Credential, text string) activation.Change {
		c.Label = text
		head.N++
		return activation.Change{Head: head, Labelled: []activation.Credential{c}, Record: Record(of, audit.LabelCredential)}
	}
	head = s.commit(label(head, old, "Anna's \u0144ew phone"))
	want := *stored(old)
	want.Label = "Anna's \u0144ew phone"
	s.equal("labelled", s.listed(head), []activation.Credential{want})
	s.ok(s.store.Touch(s.Context(), of, old.Key, Start))
	want.Used = Start.Truncate(time.Hour)
	s.equal("used", s.listed(head), []activation.Credential{want})
	head = s.commit(label(head, old, ""))
	want.Label = ""
	s.equal("without a label", s.listed(head), []activation.Credential{want})

	head = s.commit(Creation(head, Start.Add(time.Hour)))
	head = s.commit(Redemption(head, Start.Add(time.Hour)))
	s.conflict(s.store.Commit(s.Context(), label(head, old, "back from the dead")))
	c, err := s.store.Credential(s.Context(), of, []keyed.Hash{old.Key})
	s.ok(err)
	s.equal("removed", c, (*activation.Credential)(nil))
	s.equal("head", s.head(of), head)
}

func (s *suite) token() {
	of := Patient()
	head := s.let(of)
	sid, jti := head.Credentials[0].Session, "-"+Random()
	end := func(head activation.Head) activation.Change {
		head.N++
		return activation.Change{
			Head: head, Token: &activation.Ending{Token: jti, Until: Start.Add(time.Hour)}, Record: Record(of, audit.RevokeToken),
		}
	}
	head = s.commit(end(head))
	for what, want := range map[string]bool{jti: false, Random(): true} {
		live, err := s.store.Session(s.Context(), of, sid, what)
		s.ok(err)
		s.equal(what, live, want)
	}
	s.conflict(s.store.Commit(s.Context(), end(head)))
	s.equal("head", s.head(of), head)
}

func (s *suite) feed() {
	// The feed is everybody's: this test has a second of its own.
	at := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(time.Now().UnixNano()%1e9) * time.Second)
	record, other := Record(Patient(), audit.RevokeAuthorisation), Record(Patient(), audit.RevokeAuthorisation)
	record.Time, other.Time = at, at
	until := at.Add(25 * time.Hour)
	sids := []activation.Ending{{Session: Random(), Until: until}, {Session: Random(), Until: until}}
	token := activation.Ending{Token: "_" + Random(), Until: at.Add(time.Hour)}
	read := func(since time.Time) (found []activation.Ending) {
		s.Helper()
		all, err := s.store.Endings(s.Context(), since)
		s.ok(err)
		for _, e := range all {
			if slices.ContainsFunc(append(sids, token), func(o activation.Ending) bool { return o.Session+o.Token == e.Session+e.Token }) {
				found = append(found, e)
			}
		}
		slices.SortFunc(found, byEnding)
		return found
	}
	want := append(slices.Clone(sids), token)
	slices.SortFunc(want, byEnding)
	s.equal("before", len(read(at)), 0)
	s.ok(s.store.Publish(s.Context(), record, sids[:1]))
	again := sids[0]
	again.Until = until.Add(time.Hour)
	s.ok(s.store.Publish(s.Context(), record, []activation.Ending{again, sids[1], token})) // one of them is there
	s.equal("published", read(at), want)
	s.equal("since the next millisecond", len(read(at.Add(time.Millisecond))), 0)
	s.equal("since before", read(at.Add(-time.Hour)), want)

	s.ok(s.store.Publish(s.Context(), other, sids[:1]))
	s.ok(s.store.Retract(s.Context(), record, sids))
	s.ok(s.store.Retract(s.Context(), record, sids)) // as after a lost reply
	want = []activation.Ending{sids[0], token}
	slices.SortFunc(want, byEnding)
	s.equal("taken back, but for what another record published", read(at), want)
	for name, e := range map[string]activation.Ending{
		"of nothing": {Until: until}, "of both": {Session: "a", Token: "b", Until: until}, "for ever": {Session: "a"},
	} {
		if s.store.Publish(s.Context(), record, []activation.Ending{e}) == nil {
			s.Errorf("an ending %s was published", name)
		}
	}
}

func byEnding(a, b activation.Ending) int {
	return strings.Compare(a.Session+a.Token, b.Session+b.Token)
}
