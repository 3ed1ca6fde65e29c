package activation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// Ending is a session or one token that must not be believed any more: what the feed, and the list that verifiers follow, is made
// of (ACT-14, model.md section 4).
type Ending struct {
	// Session is a sid: every token that carries it has ended. Token is a jti: that one has. One of them is "".
	Session, Token string
	// Until is when the last of these tokens has expired for every verifier, UTC: nobody need know of it from then on.
	Until time.Time
}

// PublishedAfter is how long after its tokens' exp an ending stays published: a verifier may allow for 60 s between its clock and
// ours (AUT-1), a commit is given 10 s after the time of its record, and the clocks of two instances may differ by 30 s.
const PublishedAfter = 2 * time.Minute

// sessionEndings are the endings of credentials that a change of record ends. Their tokens were bought before its commit.
func sessionEndings(record audit.Record, ended []Credential) []Ending {
	endings := make([]Ending, len(ended))
	for i, c := range ended {
		endings[i] = Ending{Session: c.Session, Until: record.Time.Add(MaxLifetime + PublishedAfter)}
	}
	return endings
}

// Endings are those that a change makes: one of each credential that it removes or suspends, and of the token.
func (c Change) Endings() []Ending {
	all := append(sessionEndings(c.Record, c.Removed), sessionEndings(c.Record, c.Suspended)...)
	if c.Token != nil {
		all = append(all, *c.Token)
	}
	return all
}

// sessionsOf is how a record names the credentials that its change ended.
func sessionsOf(ended []Credential) string {
	sids := make([]string, len(ended))
	for i, c := range ended {
		sids[i] = c.Session
	}
	return strings.Join(sids, " ")
}

// EndAll ends all that buys tokens for a subject, and a pending activation with it ("lost phone", ACT-14). Once it is answered no
// token is granted to the subject any more, and Session knows none of those that were. Ending what has ended, or what never was,
// is no error and writes nothing but its intent.
func (s *Service) EndAll(ctx context.Context, from audit.Origin, gate commit.Gate, of subject.ID) error {
	return s.end(ctx, from, gate, audit.Record{Action: audit.RevokeAuthorisation, Subject: of}, func(head Head, record audit.Record) (Change, error) {
		if len(head.Credentials) == 0 && head.Imported == "" && head.Invitation == nil && len(head.Held) == 0 {
			return Change{}, errEnded
		}
		next := head.next()
		change := Change{Removed: next.Credentials, Dropped: next.Held}
		if next.Invitation != nil {
			record.Activation = next.Invitation.Activation.String()
			change.Ended = []Step{end(next.Invitation.Activation, Revoked, audit.ReasonRevoked, record)}
		}
		next.Credentials, next.Held, next.Imported, next.Invitation = nil, nil, "", nil
		record.Sessions = sessionsOf(change.Removed)
		return change.under(next, record), nil
	})
}

// EndOne ends one of a subject's credentials (ACT-13), by its id in Credentials. A pending activation stays. Otherwise it is as
// EndAll.
func (s *Service) EndOne(ctx context.Context, from audit.Origin, gate commit.Gate, of subject.ID, id string) error {
	return s.end(ctx, from, gate, audit.Record{Action: audit.RevokeCredential, Subject: of}, func(head Head, record audit.Record) (Change, error) {
		next := head.next()
		if id == ImportedID && head.Imported != "" {
			next.Imported = ""
			return Change{}.under(next, record), nil
		}
		i := slices.IndexFunc(head.Credentials, func(c Credential) bool { return c.Session == id })
		if i < 0 {
			return Change{}, errEnded
		}
		change := Change{Removed: []Credential{head.Credentials[i]}}
		next.Credentials = slices.Delete(next.Credentials, i, i+1)
		record.Sessions = sessionsOf(change.Removed)
		return change.under(next, record), nil
	})
}

// EndToken ends one token of a subject before it expires (RFC 7009), and not the credential it was bought with. One that has ended,
// or whose credential has, is left as it is, without an error.
func (s *Service) EndToken(ctx context.Context, from audit.Origin, gate commit.Gate, of subject.ID, sid, jti string, expires time.Time) error {
	start := audit.Record{Action: audit.RevokeToken, Subject: of, Token: jti}
	return s.end(ctx, from, gate, start, func(head Head, record audit.Record) (Change, error) {
		// What ends a token or its credential moves the head: the answer is that of this head, or of a later one, on which the commit
		// will fail.
		live, err := s.store.Session(ctx, of, sid, jti)
		switch {
		case err != nil:
			return Change{}, commit.Unavailable(err)
		case !live:
			return Change{}, errEnded
		}
		token := Ending{Token: jti, Until: expires.UTC().Add(PublishedAfter)}
		return Change{Token: &token}.under(head.next(), record), nil
	})
}

// errEnded: there is nothing left to end.
var errEnded = errors.New("it has ended")

// end carries out a change that ends something, or may. Each attempt publishes its endings first: whoever hears of the end finds it
// published. So it is with the lists that the change needs (model.md section 1). What was published and then surely not carried out is
// taken back if it still lives; what nobody knows of stays.
//
// A process that dies between the two leaves an ending that did not happen. Its key names the record, and the record's intent is in
// the journal: whoever follows that finds no record and takes the ending back.
func (s *Service) end(
	ctx context.Context, from audit.Origin, gate commit.Gate, start audit.Record, decide func(Head, audit.Record) (Change, error),
) error {
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	record, err := s.record(from, start.Action, start.Subject)
	if err != nil {
		return err
	}
	record.Token, record.Changed = start.Token, start.Changed
	opened, err := s.store.Open(ctx, Opening{Record: record})
	if err != nil {
		return commit.Unavailable(err)
	}
	var last Head // the state that was judged last
	var published []Ending
	err = commit.Loop[Head, Change]{
		Gate: gate, Wait: s.clock.Wait,
		Commit: func(ctx context.Context, change Change) error {
			if endings := change.Endings(); len(endings) > 0 {
				published = append(published, endings...)
				if err := s.store.Publish(ctx, record, endings); err != nil {
					return err // nothing was committed, and the next attempt publishes again
				}
			}
			if len(change.Lists) > 0 {
				if err := s.store.Enlist(ctx, record.Subject, change.Lists, record.Time); err != nil {
					return err
				}
			}
			return s.store.Commit(ctx, change)
		},
		Reopen: func(ctx context.Context) (Head, bool, error) { return s.store.Reopen(ctx, record) },
	}.Settle(ctx, opened.Head, func(head Head) (Change, error) {
		last = head
		return decide(head, record)
	})
	switch {
	case err == nil, errors.Is(err, errEnded):
		return nil
	case !errors.Is(err, commit.ErrUnavailable):
		if alive := last.alive(published); len(alive) > 0 {
			_ = s.store.Retract(ctx, record, alive) // what stays is found by its intent
		}
	}
	return fmt.Errorf("ending %s: %w", start.Action, err)
}

// alive are the endings of what the head says is alive. A token's is: if it had ended there would have been nothing to refuse.
func (h Head) alive(endings []Ending) (alive []Ending) {
	for _, e := range endings {
		lives := e.Token != "" || slices.ContainsFunc(h.Credentials, func(c Credential) bool { return c.Session == e.Session })
		if lives && !slices.Contains(alive, e) {
			alive = append(alive, e)
		}
	}
	return alive
}

// againEvery and mostAgain say how often an end that could not be published is published again, in the background.
const (
	againEvery = time.Second
	mostAgain  = 5
)

// replaced publishes the endings of the credentials that a redemption put a new one in the place of: after its commit, since before
// it nobody knows whether the old ones will go. One that fails is tried again beside the answer: nobody else would, for who redeemed
// has what they came for. If all of that is lost, the record says what to publish: it has the sids and the time. Until then they
// have ended on our own routes and at introspection, and at exp elsewhere.
func (s *Service) replaced(ctx context.Context, record audit.Record, ended []Credential) {
	if len(ended) == 0 {
		return
	}
	endings := sessionEndings(record, ended)
	if s.store.Publish(ctx, record, endings) == nil {
		return
	}
	s.later(func(ctx context.Context) {
		for range mostAgain {
			if s.clock.Wait(ctx, againEvery) != nil || s.store.Publish(ctx, record, endings) == nil {
				return
			}
		}
	})
}
