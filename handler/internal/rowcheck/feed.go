package rowcheck

import (
	"strings"
	"time"
)

// longest is how long a token may live, whatever the settings say, and the least that a verifier allows for its clock.
const longest = 24*time.Hour + time.Minute

// published holds what records say they ended against the rows that say whether it lives, and against the feed.
func (c *checker) published(s *subject, feed []Row) {
	named := map[string]bool{} // tokens that a record ended
	for _, a := range s.records {
		at, err := time.Parse(stamp, a.at)
		if err != nil {
			c.violates(Readable, s.row(a.key), "%v", err)
			continue
		}
		for _, sid := range strings.Fields(a.sessions) {
			if _, lives := s.sessions[sid]; lives {
				c.violates(Published, s.row(a.key), "it ended %s, which lives", sid)
			}
			// A redemption publishes after its commit, and may have died in between: the record is enough to repeat it.
			if a.action != "activation.redeem" {
				c.inFeed(s, a, sid, at.Add(longest), feed)
			}
		}
		if a.token != "" {
			named[a.token] = true
			if !s.tokens[a.token] {
				c.violates(Published, s.row(a.key), "it ended the token %s, which lives", a.token)
			}
			c.inFeed(s, a, a.token, at, feed)
		}
	}
	for jti := range s.tokens {
		if !named[jti] {
			c.violates(Published, s.row("jti~"+jti), "no record ended it")
		}
	}
}

// inFeed looks for the row that a record published.
func (c *checker) inFeed(s *subject, a record, what string, least time.Time, feed []Row) {
	for _, r := range feed {
		if !strings.HasSuffix(r.text("RowKey"), "~"+a.id+"~"+what) {
			continue
		}
		until, err := time.Parse(stamp, r.text("until"))
		if err != nil || until.Before(least) || r.text("sid")+r.text("jti") != what {
			c.violates(Published, "feed "+r.name(), "it is of %s until %s, want %s until %s or later", r.text("sid")+r.text("jti"), r.text("until"), what, least.Format(stamp))
		}
		return
	}
	c.violates(Published, s.row(a.key), "%s is not in the feed", what)
}
