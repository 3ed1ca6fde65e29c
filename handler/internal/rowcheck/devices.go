package rowcheck

import (
	"encoding/base32"
	"encoding/json"
	"strings"
)

// kinds of records that are written beside a token and count no change: a device's own, and a clinician's through it.
const (
	bought   = "token.issue allowed "
	loggedIn = "clinician.login allowed "
)

// unnumbered is whether a record is of no change of the subject: such a record has the number 0.
func (a record) unnumbered() bool { return a.kind() == bought || a.kind() == loggedIn }

// fields are what a change of a device set.
type fields struct {
	Updated struct {
		Active *bool `json:"active"`
	} `json:"updated_fields"`
}

// active is what a change made of Active, nil for nothing.
func (a record) active() (*bool, error) {
	var f fields
	if a.event == "" {
		return nil, nil
	}
	err := json.Unmarshal([]byte(a.event), &f)
	return f.Updated.Active, err
}

// turn applies a change of a device, and returns why it cannot be.
func (is *state) turn(a record) string {
	to, err := a.active()
	switch {
	case err != nil:
		return err.Error()
	case !is.made:
		return "it was not created"
	case to == nil || *to == !is.inactive:
	case *to:
		is.let, is.held, is.inactive = is.held, 0, false
	default:
		if a.activation != is.pending || len(strings.Fields(a.sessions)) != is.let {
			return "it ended another activation, or other credentials, than there were"
		}
		if is.pending != "" {
			is.close(end{status: "revoked", why: "revoked"})
		}
		is.let, is.held, is.inactive = 0, is.let, true
	}
	return ""
}

// devices holds a device's rows against what its records make of it, and its lists against its head.
func (c *checker) devices(s *subject, is state, lists []Row) {
	if s.kind() != "d" {
		return
	}
	if s.head.Active == is.inactive {
		c.violates(Visible, s.row("head"), "active is %v, and %v by its records", s.head.Active, !is.inactive)
	}
	if len(s.head.Held) != is.held {
		c.violates(Credentials, s.row("head"), "%d are put aside, and %d by its records", len(s.head.Held), is.held)
	}
	if (s.head.Location != "") != is.made {
		c.violates(Visible, s.row("head"), "it is at %q, and was created: %v", s.head.Location, is.made)
	}
	if s.head.Active && len(s.head.Held) > 0 || !s.head.Active && len(s.head.Creds) > 0 {
		c.violates(Paired, s.row("head"), "active is %v with %d credentials and %d put aside", s.head.Active, len(s.head.Creds), len(s.head.Held))
	}
	aside := map[string]string{}
	for _, l := range s.head.Held {
		aside[l.Key] = l.Sid
	}
	for key, sid := range s.held {
		if aside[key] != sid {
			c.violates(Paired, s.row("held~"+key), "the head does not list it")
		}
	}
	if len(aside) != len(s.held) {
		c.violates(Paired, s.row("held~"), "the head lists %d, there are %d", len(aside), len(s.held))
	}
	if s.head.Location == "" {
		return
	}
	_, id, _ := strings.Cut(s.partition, "~")
	encoded := base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(s.head.Location))
	for _, list := range []string{"all", "loc~" + strings.ToLower(encoded)} {
		there := false
		for _, r := range lists {
			there = there || r.text("PartitionKey") == list && r.text("RowKey") == id
		}
		if !there {
			c.violates(Listed, s.row("head"), "it is not in the list %s", list)
		}
	}
}
