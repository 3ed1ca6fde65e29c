package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/google/uuid"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
)

// columns are a row's own properties. Values are string, bool or aztables.EDMInt64.
type columns map[string]any

func entity(partition, row string, c columns) aztables.EDMEntity {
	return aztables.EDMEntity{Entity: aztables.Entity{PartitionKey: partition, RowKey: row}, Properties: c}
}

const timeForm = "2006-01-02T15:04:05.000Z"

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeForm)
}

// reader takes columns out of a row. The first column that cannot be read is its error; it names the column, not the value.
type reader struct {
	row aztables.EDMEntity
	err error
}

func (r *reader) fail(column string) {
	if r.err == nil {
		kind, _, _ := strings.Cut(r.row.RowKey, "~")
		r.err = fmt.Errorf("store: a row of kind %q: the column %q cannot be read", kind, column)
	}
}

// text reads a column; one that is missing is "".
func (r *reader) text(column string) string {
	value, exists := r.row.Properties[column]
	s, ok := value.(string)
	if exists && !ok {
		r.fail(column)
	}
	return s
}

func (r *reader) time(column string) time.Time {
	s := r.text(column)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(timeForm, s)
	if err != nil {
		r.fail(column)
	}
	return t
}

// json reads a column into v; one that is missing or "" leaves v as it is.
func (r *reader) json(column string, v any) {
	if s := r.text(column); s != "" && json.Unmarshal([]byte(s), v) != nil {
		r.fail(column)
	}
}

type pendingColumn struct {
	Activation uuid.UUID `json:"act"`
	OTP        string    `json:"otp"`
	Attempts   int       `json:"attempts"`
	Expires    string    `json:"expires"`
}

type credentialColumn struct {
	Session string `json:"sid"`
	Key     string `json:"key"`
}

// repeatableColumn is a redemption or a creation that may be asked for again.
type repeatableColumn struct {
	Activation uuid.UUID `json:"act"`
	Version    string    `json:"v"`
	ID         string    `json:"rid"`
	Mark       string    `json:"idem"`
	Length     int       `json:"length"`
	At         string    `json:"at"`
	Misses     int       `json:"misses,omitempty"`
}

func repeatableOf(r activation.Repeatable, misses int) repeatableColumn {
	return repeatableColumn{r.Activation, r.Version, r.ID, r.Mark, r.Length, formatTime(r.At), misses}
}

// repeatables reads a column of them.
func (r *reader) repeatables(column string, each func(activation.Repeatable, int)) {
	var list []repeatableColumn
	r.json(column, &list)
	for _, c := range list {
		at, err := time.Parse(timeForm, c.At)
		if err != nil {
			r.fail(column)
		}
		each(activation.Repeatable{Activation: c.Activation, Version: c.Version, ID: c.ID, Mark: c.Mark, Length: c.Length, At: at}, c.Misses)
	}
}

func headRow(partition string, h activation.Head) (aztables.EDMEntity, error) {
	pending := ""
	if i := h.Invitation; i != nil {
		b, err := json.Marshal(pendingColumn{i.Activation, i.OTP, i.Attempts, formatTime(i.Expires)})
		if err != nil {
			return aztables.EDMEntity{}, err
		}
		pending = string(b)
	}
	creds, err := credentialsColumn(h.Credentials)
	if err != nil {
		return aztables.EDMEntity{}, err
	}
	redeemed := make([]repeatableColumn, len(h.Redemptions))
	for i, r := range h.Redemptions {
		redeemed[i] = repeatableOf(r.Repeatable, r.Misses)
	}
	redeems, err := json.Marshal(redeemed)
	if err != nil {
		return aztables.EDMEntity{}, err
	}
	issued := make([]repeatableColumn, len(h.Creations))
	for i, c := range h.Creations {
		issued[i] = repeatableOf(c.Repeatable, 0)
	}
	issues, err := json.Marshal(issued)
	if err != nil {
		return aztables.EDMEntity{}, err
	}
	c := columns{}
	if h.Subject.Kind == subject.Device {
		if c, err = deviceColumns(h); err != nil {
			return aztables.EDMEntity{}, err
		}
	}
	maps.Copy(c, columns{
		"kind": string(h.Subject.Kind), "active": h.Active, "n": aztables.EDMInt64(h.N), "pending": pending, "creds": creds,
		"redeems": string(redeems), "issues": string(issues), "imported": h.Imported,
	})
	return entity(partition, headKey, c), nil
}

// credentialsColumn is how a head lists credentials.
func credentialsColumn(all []activation.Credential) (string, error) {
	list := make([]credentialColumn, len(all))
	for i, c := range all {
		list[i] = credentialColumn{c.Session, c.Key.String()}
	}
	text, err := json.Marshal(list)
	return string(text), err
}

// credentials reads such a column.
func (r *reader) credentials(column string) (all []activation.Credential) {
	var list []credentialColumn
	r.json(column, &list)
	for _, c := range list {
		key, err := parseHash(c.Key)
		if err != nil {
			r.fail(column)
		}
		all = append(all, activation.Credential{Session: c.Session, Key: key})
	}
	return all
}

func readHead(of subject.ID, f found) (activation.Head, error) {
	if !f.exists {
		return activation.Head{Subject: of, Version: activation.Absent, Active: true}, nil
	}
	h := activation.Head{Subject: of, Version: activation.Version(f.etag)}
	r := reader{row: f.row}
	var ok bool
	// Both are always written. A head without them is damaged, and must not pass for a fresh one.
	if h.Active, ok = f.row.Properties["active"].(bool); !ok {
		r.fail("active")
	}
	n, ok := f.row.Properties["n"].(aztables.EDMInt64)
	if !ok {
		r.fail("n")
	}
	h.N = int64(n)
	if r.text("pending") != "" {
		var p pendingColumn
		r.json("pending", &p)
		expires, err := time.Parse(timeForm, p.Expires)
		if err != nil || p.Activation == uuid.Nil {
			r.fail("pending")
		}
		h.Invitation = &activation.Invitation{Activation: p.Activation, OTP: p.OTP, Attempts: p.Attempts, Expires: expires}
	}
	h.Imported = r.text("imported")
	h.Credentials = r.credentials("creds")
	if of.Kind == subject.Device {
		readDevice(&h, &r)
	}
	r.repeatables("redeems", func(c activation.Repeatable, misses int) {
		h.Redemptions = append(h.Redemptions, activation.Redemption{Repeatable: c, Misses: misses})
	})
	r.repeatables("issues", func(c activation.Repeatable, _ int) {
		h.Creations = append(h.Creations, activation.Creation{Repeatable: c})
	})
	return h, r.err
}

func activationRow(partition string, a activation.Activation) aztables.EDMEntity {
	return entity(partition, activationKey(a.ID), columns{
		"status": string(a.Status), "ended": string(a.Ended), "expires": formatTime(a.Expires), "redeemed": formatTime(a.Redeemed),
		"created": formatTime(a.Created), "created_by": a.CreatedBy, "modified": formatTime(a.Modified), "modified_by": a.ModifiedBy,
	})
}

func stepRow(partition string, s activation.Step) aztables.EDMEntity {
	c := columns{"status": string(s.Status), "ended": string(s.Why), "modified": formatTime(s.At), "modified_by": s.By}
	if s.Status == activation.Completed {
		c["redeemed"] = formatTime(s.At)
	}
	return entity(partition, activationKey(s.Activation), c)
}

func readActivation(of subject.ID, row aztables.EDMEntity) (activation.Activation, error) {
	r := reader{row: row}
	id, err := uuid.Parse(row.RowKey[strings.LastIndexByte(row.RowKey, '~')+1:])
	if err != nil {
		return activation.Activation{}, errKey
	}
	a := activation.Activation{
		ID: id, Subject: of, Status: activation.Status(r.text("status")), Ended: audit.Reason(r.text("ended")),
		Created: r.time("created"), CreatedBy: r.text("created_by"), Modified: r.time("modified"), ModifiedBy: r.text("modified_by"),
		Expires: r.time("expires"), Redeemed: r.time("redeemed"),
	}
	return a, r.err
}

func credentialRow(partition string, c activation.Credential, created time.Time) aztables.EDMEntity {
	return entity(partition, credentialPrefix+c.Key.String(), columns{"sid": c.Session, "label": "", "created": formatTime(created), "used": ""})
}

func readCredential(row aztables.EDMEntity) (activation.Credential, error) {
	r := reader{row: row}
	key, err := parseHash(strings.TrimPrefix(row.RowKey, credentialPrefix))
	c := activation.Credential{
		Session: r.text("sid"), Key: key, Label: r.text("label"), Created: r.time("created"), Used: r.time("used"),
	}
	return c, errors.Join(err, r.err)
}

func sessionRow(partition string, c activation.Credential) aztables.EDMEntity {
	return entity(partition, sessionPrefix+c.Session, columns{"key": credentialPrefix + c.Key.String()})
}

func auditRow(partition string, record audit.Record) aztables.EDMEntity {
	c := recordColumns(record)
	c["activation"], c["sessions"], c["token"] = record.Activation, record.Sessions, record.Token
	if e, is := record.SendEntry(); is { // AUD-2: what is read as the predecessor's event is what was written then
		data, _ := json.Marshal(e.Data) // strings and a bool: it cannot fail
		c["event_type"], c["event_data"] = string(e.Type), string(data)
	}
	return entity(partition, auditKey(record), c)
}

// recordColumns are what every record has, whatever it is of.
func recordColumns(record audit.Record) columns {
	return columns{
		"action": string(record.Action), "outcome": string(record.Outcome), "reason": string(record.Reason),
		"issuer": record.Origin.Actor.Issuer, "actor": record.Origin.Actor.ID, "source": record.Origin.Source, "trace": record.Origin.Trace,
		"n": aztables.EDMInt64(record.N), "at": formatTime(record.Time), "announced": formatTime(record.Announced), "id": record.ID,
	}
}

func intentRow(partition string, record audit.Record) aztables.EDMEntity {
	pk, rk := intentKeys(record)
	return entity(pk, rk, columns{"subject": partition, "record": auditKey(record)})
}

func codeRow(partition string, code activation.Code) (aztables.EDMEntity, error) {
	pk, rk, err := codeKeys(code.Key)
	return entity(pk, rk, columns{
		"subject": partition, "activation": code.Activation.String(), "expires": formatTime(code.Expires),
		"ended": formatTime(code.Ended), "ended_for": string(code.EndedFor),
	}), err
}

func readCode(f found) (*activation.Code, error) {
	r := reader{row: f.row}
	key, keyErr := parseHash(f.row.RowKey)
	of, ofErr := subjectOf(r.text("subject"))
	id, idErr := uuid.Parse(r.text("activation"))
	code := &activation.Code{
		Key: key, Subject: of, Activation: id, Expires: r.time("expires"),
		Ended: r.time("ended"), EndedFor: audit.Reason(r.text("ended_for")), Version: activation.Version(f.etag),
	}
	return code, errors.Join(r.err, keyErr, ofErr, idErr)
}
