// Package rowcheck looks at all rows at once, while nobody writes, and says what cannot be: a change without its record, a
// record without its intent or its change, an attempt that was lost, a credential too many or too few, a secret in clear. It
// owns the invariants that hold between rows (model.md sections 1 and 6). It refuses to share code with what writes the rows:
// it reads the documented format (package store) anew, so that one mistake cannot hide another.
package rowcheck

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Row is a row as the Table service sends it, without metadata.
type Row map[string]any

func (r Row) text(column string) string { s, _ := r[column].(string); return s }

// name is how a violation names a row: by its keys. They hold patients' ids in base32: who may read the rows may read this.
func (r Row) name() string { return r.text("PartitionKey") + " " + r.text("RowKey") }

// Tables are all rows there are.
type Tables struct{ Subjects, Codes, Journal, Identities, Feed, Lists, Unique []Row }

func (t Tables) all() map[string][]Row {
	return map[string][]Row{"subjects": t.Subjects, "codes": t.Codes, "journal": t.Journal, "identities": t.Identities, "feed": t.Feed, "lists": t.Lists, "unique": t.Unique}
}

// Options are the settings under which the rows were written, and what must not be in them.
type Options struct {
	// MaxAttempts is how many wrong OTPs an activation bears, MaxCredentials how many credentials a subject has at most.
	MaxAttempts, MaxCredentials int
	// Secrets are codes, OTPs and tokens that were given away.
	Secrets []string
}

// Rule is an invariant. A violation of it says where.
type Rule string

// The rules.
const (
	Readable    Rule = "every row can be read"
	Numbered    Rule = "every change has one record, numbered from 1 to the n of what was changed without gaps; a token's has no number"
	Announced   Rule = "every record has the intent that it names"
	Possible    Rule = "every record follows from those before it"
	Visible     Rule = "every record's change is in the rows, and no other"
	Attempts    Rule = "every wrong OTP is counted"
	Credentials Rule = "every redeemed activation has its credential, unless a later one replaced it"
	Paired      Rule = "the head's list, cred~ and sid~ agree"
	Indexed     Rule = "a pending activation has a live index row"
	Queued      Rule = "an issuer's queue counts its pending identities"
	Published   Rule = "what a record ended is dead, and in the feed as long as a token could live"
	Claimed     Rule = "what a clinician logs in by has a claim"
	Listed      Rule = "a device stands in the lists of all and of its location"
	InClear     Rule = "no secret is stored in clear"
)

// Violation is a rule that does not hold, and where.
type Violation struct {
	Rule   Rule
	Row    string // table, PartitionKey and RowKey
	Detail string
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Row, v.Rule, v.Detail) }

// Check returns every violation, ordered by row. Intents without a record are none (the change was never made), nor are index
// rows without an activation.
func Check(t Tables, o Options) []Violation {
	c := &checker{options: o, intents: map[string]Row{}, index: map[string][]Row{}}
	c.clear(t)
	for _, r := range t.Journal {
		c.intents[r.name()] = r
	}
	for _, r := range t.Codes {
		key := r.text("subject") + " " + r.text("activation")
		c.index[key] = append(c.index[key], r)
	}
	partitions := map[string][]Row{}
	for _, r := range t.Subjects {
		partitions[r.text("PartitionKey")] = append(partitions[r.text("PartitionKey")], r)
	}
	for _, rows := range partitions {
		if s := c.read(rows); s != nil {
			c.records(s)
			if s.kind() == "c" {
				c.clinician(s, t.Unique)
				continue
			}
			c.devices(s, c.changes(s), t.Lists)
			c.pairs(s)
			c.published(s, t.Feed)
		}
	}
	c.identities(t.Identities)
	slices.SortFunc(c.found, func(a, b Violation) int { return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Rule, b.Rule)) })
	return c.found
}

type checker struct {
	options Options
	intents map[string]Row   // by name
	index   map[string][]Row // by subject and activation
	found   []Violation
}

func (c *checker) violates(rule Rule, row, detail string, a ...any) {
	c.found = append(c.found, Violation{rule, row, fmt.Sprintf(detail, a...)})
}

// clear looks for secrets, whatever their case, in keys and columns.
func (c *checker) clear(t Tables) {
	for table, rows := range t.all() {
		for _, r := range rows {
			b, err := json.Marshal(r)
			if err != nil {
				c.violates(Readable, table+" "+r.name(), "%v", err)
			}
			text := strings.ToUpper(string(b))
			for i, secret := range c.options.Secrets {
				if secret != "" && holds(text, strings.ToUpper(secret)) {
					c.violates(InClear, table+" "+r.name(), "secret number %d", i)
				}
			}
		}
	}
}

// shortSecret is the length from which a secret does not stand in a random id by chance: an OTP of 6 characters does, once in some
// thousand rows and secrets each. A shorter one counts where it stands by itself.
const shortSecret = 10

func holds(text, secret string) bool {
	letter := func(i int) bool {
		return i >= 0 && i < len(text) && (text[i] >= '0' && text[i] <= '9' || text[i] >= 'A' && text[i] <= 'Z')
	}
	for from := 0; ; {
		i := strings.Index(text[from:], secret)
		if i < 0 {
			return false
		}
		i += from
		if len(secret) >= shortSecret || !letter(i-1) && !letter(i+len(secret)) {
			return true
		}
		from = i + 1
	}
}

// subject is one partition, read.
type subject struct {
	partition   string
	head        head
	activations map[string]Row // by uuid
	credentials map[string]string
	held        map[string]string // sid by key
	sessions    map[string]string // key by sid
	tokens      map[string]bool   // jti of those that were ended
	records     []record
}

// kind is the letter of what it is.
func (s *subject) kind() string { letter, _, _ := strings.Cut(s.partition, "~"); return letter }

// most is how many credentials it may have.
func (s *subject) most(o Options) int {
	if s.kind() == "d" {
		return 1
	}
	return o.MaxCredentials
}

func (s *subject) row(key string) string { return "subjects " + s.partition + " " + key }

type head struct {
	N       int64
	Pending *pending
	Creds   []credential
	// What follows are a device's alone.
	Held     []credential
	Active   bool
	Location string
	// Identifier is a clinician's alone.
	Identifier string
}

type pending struct {
	Activation string `json:"act"`
	Attempts   int    `json:"attempts"`
}

type credential struct{ Sid, Key string }

type record struct {
	key                                         string
	n                                           int64
	id, action, outcome, reason, activation, at string
	sessions, token, event                      string
	announced                                   time.Time
}

const stamp = "2006-01-02T15:04:05.000Z"

// read takes a partition apart; nil if it has no head that can be read.
func (c *checker) read(rows []Row) *subject {
	s := &subject{
		partition:   rows[0].text("PartitionKey"),
		activations: map[string]Row{}, credentials: map[string]string{}, held: map[string]string{}, sessions: map[string]string{}, tokens: map[string]bool{},
	}
	headless := true
	for _, r := range rows {
		key := r.text("RowKey")
		kind, rest, _ := strings.Cut(key, "~")
		var err error
		switch kind {
		case "head":
			headless = false
			s.head, err = readHead(r)
		case "act":
			s.activations[rest[strings.LastIndexByte(rest, '~')+1:]] = r
		case "cred":
			s.credentials[rest] = r.text("sid")
		case "held":
			s.held[rest] = r.text("sid")
		case "sid":
			s.sessions[rest] = strings.TrimPrefix(r.text("key"), "cred~")
		case "aud":
			var a record
			if a, err = readRecord(r); err == nil {
				s.records = append(s.records, a)
			}
		case "jti":
			s.tokens[rest] = true
		default:
			err = fmt.Errorf("a row of no known kind")
		}
		if err != nil {
			c.violates(Readable, s.row(key), "%v", err)
		}
	}
	if headless {
		c.violates(Visible, s.row("head"), "there are %d rows and no head", len(rows))
		return nil
	}
	slices.SortFunc(s.records, func(a, b record) int { return cmp.Compare(a.n, b.n) })
	return s
}

func readHead(r Row) (h head, err error) {
	if h.N, err = strconv.ParseInt(r.text("n"), 10, 64); err != nil {
		return h, err
	}
	if text := r.text("pending"); text != "" {
		h.Pending = &pending{}
		if err = json.Unmarshal([]byte(text), h.Pending); err != nil {
			return h, err
		}
	}
	h.Active, _ = r["active"].(bool)
	h.Location, h.Identifier = r.text("own_location"), r.text("own_identifier")
	if r.text("kind") == "clinician" {
		return h, nil // it has no credentials: it logs in through a device
	}
	if text := r.text("held"); text != "" {
		if err = json.Unmarshal([]byte(text), &h.Held); err != nil {
			return h, err
		}
	}
	return h, json.Unmarshal([]byte(r.text("creds")), &h.Creds)
}

func readRecord(r Row) (a record, err error) {
	a = record{
		key: r.text("RowKey"), id: r.text("id"), action: r.text("action"), outcome: r.text("outcome"),
		reason: r.text("reason"), activation: r.text("activation"), at: r.text("at"),
		sessions: r.text("sessions"), token: r.text("token"), event: r.text("event_data"),
	}
	if a.n, err = strconv.ParseInt(r.text("n"), 10, 64); err != nil {
		return a, err
	}
	a.announced, err = time.Parse(stamp, r.text("announced"))
	return a, err
}

// records holds them to their numbers and intents.
func (c *checker) records(s *subject) {
	changes := int64(0)
	for _, a := range s.records {
		switch {
		case a.unnumbered() && a.n == 0 && s.kind() == "d":
		case a.n != changes+1:
			c.violates(Numbered, s.row(a.key), "it is the %d. by its number, which is %d", changes+1, a.n)
			changes++
		default:
			changes++
		}
		c.announced(a, s.row(a.key), s.partition, "")
	}
	if changes != s.head.N {
		c.violates(Numbered, s.row("head"), "n is %d, and there are %d records", s.head.N, changes)
	}
}

// announced looks for the intent that a record names; table is that of the record, "" for subjects.
func (c *checker) announced(a record, row, partition, table string) {
	h := fnv.New32a()
	h.Write([]byte(a.id))
	name := fmt.Sprintf("%s~%02d %s~%s", a.announced.Format("200601021504"), h.Sum32()%16, a.announced.Format("20060102150405.000"), a.id)
	switch intent, exists := c.intents[name]; {
	case !exists:
		c.violates(Announced, row, "there is no row %s in the journal", name)
	case intent.text("subject") != partition || intent.text("record") != a.key || intent.text("table") != table:
		c.violates(Announced, row, "the intent %s is of %s %s %s", name, intent.text("table"), intent.text("subject"), intent.text("record"))
	}
}

// changes goes through the records and compares what they make of the subject with what its rows say.
func (c *checker) changes(s *subject) state {
	is := c.follow(s)
	var pendingIs string
	if s.head.Pending != nil {
		pendingIs = s.head.Pending.Activation
		if counted := s.head.Pending.Attempts; pendingIs == is.pending && counted != is.attempts {
			c.violates(Attempts, s.row("head"), "%d are counted, %d are recorded", counted, is.attempts)
		}
	}
	if pendingIs != is.pending {
		c.violates(Visible, s.row("head"), "pending is %q, and %q by its records", pendingIs, is.pending)
	}
	for id, want := range is.activations {
		row, exists := s.activations[id]
		if !exists {
			c.violates(Visible, s.row("act~"), "there is no row of %s", id)
			continue
		}
		got := end{row.text("status"), row.text("ended"), row.text("redeemed")}
		if got != want {
			c.violates(Visible, s.row(row.text("RowKey")), "it is %+v, and %+v by its records", got, want)
		}
	}
	for id, row := range s.activations {
		if _, exists := is.activations[id]; !exists {
			c.violates(Visible, s.row(row.text("RowKey")), "no record created it")
		}
	}
	if want := min(is.let, s.most(c.options)); len(s.head.Creds) != want {
		c.violates(Credentials, s.row("head"), "%d are live, and %d by its records", len(s.head.Creds), want)
	}
	if is.pending != "" && is.attempts < c.options.MaxAttempts {
		live := func(r Row) bool { return r.text("ended") == "" }
		if !slices.ContainsFunc(c.index[s.partition+" "+is.pending], live) {
			c.violates(Indexed, s.row("head"), "%s is pending and cannot be found", is.pending)
		}
	}
	return is
}

// pairs compares the three places that a credential is in.
func (c *checker) pairs(s *subject) {
	listed := map[string]string{}
	for _, l := range s.head.Creds {
		listed[l.Key] = l.Sid
	}
	bySession := map[string]string{}
	for sid, key := range s.sessions {
		bySession[key] = sid
	}
	for what, of := range map[string]map[string]string{"cred~": s.credentials, "sid~": bySession} {
		if !maps.Equal(listed, of) || len(listed) != len(s.head.Creds) || len(bySession) != len(s.sessions) {
			c.violates(Paired, s.row(what), "the head lists %d, there are %d", len(s.head.Creds), len(of))
		}
	}
}
