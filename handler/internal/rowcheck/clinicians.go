package rowcheck

import (
	"encoding/base32"
	"slices"
	"strings"
)

// The kinds of records that are written beside a change of a clinician.
const (
	employed      = "clinician.create allowed "
	changed       = "clinician.change allowed "
	contractEnded = "clinician.end_contract allowed "
	yielded       = "clinician.yield_identifier allowed "
)

// clinician holds a clinician's head against its records, and what it logs in by against the claims. That two clinicians name one
// identifier is no violation: a claim has one subject, and who dies between two steps leaves its name on a row. One without any claim is.
func (c *checker) clinician(s *subject, claims []Row) {
	for i, a := range s.records {
		switch kind := a.kind(); {
		case !slices.Contains([]string{employed, changed, contractEnded, yielded}, kind):
			c.violates(Possible, s.row(a.key), "%s: nobody writes such a record of a clinician", kind)
		case (i == 0) != (kind == employed):
			c.violates(Possible, s.row(a.key), "%s is the %d. record", kind, i+1)
		case i < len(s.records)-1:
		case kind == contractEnded && s.head.Active:
			c.violates(Visible, s.row("head"), "the contract was ended, and the login is active")
		case kind == yielded && s.head.Identifier != "":
			c.violates(Visible, s.row("head"), "the identifier was taken off, and is there")
		}
	}
	if s.head.Identifier == "" {
		return
	}
	encoded := base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(s.head.Identifier))
	if !slices.ContainsFunc(claims, func(r Row) bool { return r.text("PartitionKey") == "sei~"+strings.ToLower(encoded) }) {
		c.violates(Claimed, s.row("head"), "nobody claimed its identifier")
	}
}
