package rowcheck

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// registered is one identity, read.
type registered struct {
	row     string // its name, with the table
	n       int64
	is      terms
	records []change // of it
}

// terms are what an administrator sees of an identity.
type terms struct{ state, label, scopes, successor string }

type change struct {
	record
	row string
	is  terms
}

// identities holds the identities to their records, and the queues to the identities.
func (c *checker) identities(rows []Row) {
	partitions := map[string]map[string]*registered{}
	queues := map[string]int64{}
	at := func(partition, key string) *registered {
		if partitions[partition][key] == nil {
			partitions[partition][key] = &registered{row: "identities " + partition + " " + key}
		}
		return partitions[partition][key]
	}
	for _, r := range rows {
		partition, key := r.text("PartitionKey"), r.text("RowKey")
		if partitions[partition] == nil {
			partitions[partition] = map[string]*registered{}
		}
		var err error
		switch {
		case key == "~head":
			queues[partition], err = strconv.ParseInt(r.text("pending"), 10, 64)
		case strings.HasPrefix(key, "~aud~"):
			a := change{row: "identities " + r.name(), is: terms{r.text("state"), r.text("label"), r.text("scopes"), r.text("other")}}
			if a.record, err = readRecord(r); err == nil {
				i := at(partition, r.text("identity"))
				i.records = append(i.records, a)
			}
		case strings.Contains(key, "~"):
			err = fmt.Errorf("a row of no known kind")
		default:
			i := at(partition, key)
			i.is = terms{r.text("state"), r.text("label"), r.text("scopes"), r.text("successor")}
			i.n, err = strconv.ParseInt(r.text("n"), 10, 64)
		}
		if err != nil {
			c.violates(Readable, "identities "+r.name(), "%v", err)
		}
	}
	for partition, all := range partitions {
		var waiting int64
		for _, i := range all {
			if c.registered(partition, i); i.is.state == "pending" {
				waiting++
			}
		}
		if queues[partition] != waiting {
			c.violates(Queued, "identities "+partition+" ~head", "%d are counted, %d are pending", queues[partition], waiting)
		}
	}
}

// registered goes through the records of one identity.
func (c *checker) registered(partition string, i *registered) {
	slices.SortFunc(i.records, func(a, b change) int { return cmp.Compare(a.n, b.n) })
	var was terms
	for k, a := range i.records {
		if a.n != int64(k+1) {
			c.violates(Numbered, a.row, "it is the %d. by its number, which is %d", k+1, a.n)
		}
		c.announced(a.record, a.row, partition, "identities")
		if !possible(was, a) {
			c.violates(Possible, a.row, "%s from %+v to %+v", a.action, was, a.is)
		}
		was = a.is
	}
	if int64(len(i.records)) != i.n {
		c.violates(Numbered, i.row, "n is %d, and there are %d records", i.n, len(i.records))
	}
	if i.is != was {
		c.violates(Visible, i.row, "it is %+v, and %+v by its records", i.is, was)
	}
}

// possible reports whether a record follows from what its identity was before, the zero terms if nobody knew it.
func possible(was terms, a change) bool {
	is, held := a.is, was.state == "pending" || was.state == "approved" || was.state == "disabled"
	if a.outcome != "allowed" || (is.successor != "") != (is.state == "retired") {
		return false
	}
	switch a.action {
	case "identity.ask":
		return was == terms{} && is == terms{state: "pending"}
	case "identity.register":
		return was == terms{} && is.state == "approved"
	case "identity.approve":
		return was.state == "pending" && is.state == "approved"
	case "identity.change":
		return held && (is.state == was.state || is.state == "disabled" || was.state == "disabled" && is.state == "approved")
	case "identity.retire":
		return held && is.state == "retired" && is.label == was.label && is.scopes == was.scopes
	}
	return false
}
