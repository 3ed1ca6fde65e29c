package store

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// Clinicians is clinician.Store: a clinician is the head of a partition of subjects, and the claims are the table unique.
type Clinicians struct{ *Store }

var _ clinician.Store = Clinicians{}

// Clinicians returns the part of the store that keeps clinicians.
func (s *Store) Clinicians() Clinicians { return Clinicians{s} }

// The keys of a claim: a partition for each identifier, so that they never wait for each other.
const (
	claimPrefix = "sei~"
	claimKey    = "x"
)

// Open implements clinician.Store.
func (s Clinicians) Open(ctx context.Context, record audit.Record, identifier string) (opened clinician.Opened, err error) {
	trip(ctx)
	partition, err := partitionOf(record.Subject)
	if err != nil {
		return clinician.Opened{}, err
	}
	calls := []func() error{
		func() error { return s.announce(ctx, partition, record) },
		func() (err error) {
			opened.Clinician, err = s.clinician(ctx, record.Subject, partition)
			return err
		},
	}
	if identifier != "" {
		calls = append(calls, func() (err error) {
			opened.Claim, err = s.claimed(ctx, identifier)
			return err
		})
	}
	if err := together(calls...); err != nil {
		return clinician.Opened{}, err
	}
	return opened, nil
}

// Commit implements clinician.Store. It is the only function that changes a clinician, in one entity group transaction with the record.
func (s Clinicians) Commit(ctx context.Context, change clinician.Change) error {
	trip(ctx)
	writes, err := clinicianChanges(change)
	if err != nil {
		return err
	}
	return conflict(s.transact(ctx, "committing a change of a clinician", s.subjects, writes))
}

// conflict gives the one meaning of the three statuses that are a "no", as Store.Commit.
func conflict(err error) error {
	if stale(err) || exists(err) || missing(err) {
		return commit.ErrConflict
	}
	return err
}

// clinicianChanges lists what a change writes.
func clinicianChanges(change clinician.Change) ([]write, error) {
	if change.Record.Subject != change.Clinician.Subject || change.Record.Subject.Kind != subject.Clinician {
		return nil, refuse("a change is of one clinician")
	}
	partition, err := partitionOf(change.Clinician.Subject)
	if err != nil {
		return nil, err
	}
	row, err := clinicianRow(partition, change.Clinician)
	if err != nil {
		return nil, err
	}
	head := write{insert, row, ""}
	if v := change.Clinician.Version; v != clinician.Absent {
		head = write{merge, row, azcore.ETag(v)}
	}
	return []write{head, {insert, auditRow(partition, change.Record), ""}}, nil
}

// Reopen implements clinician.Store.
func (s Clinicians) Reopen(ctx context.Context, record audit.Record) (now *clinician.Clinician, committed bool, err error) {
	trip(ctx)
	partition, err := partitionOf(record.Subject)
	if err != nil {
		return nil, false, err
	}
	err = together(
		func() (err error) { now, err = s.clinician(ctx, record.Subject, partition); return err },
		func() (err error) { committed, err = s.recorded(ctx, partition, record); return err },
	)
	if err != nil {
		return nil, false, err
	}
	return now, committed, nil
}

func (s Clinicians) recorded(ctx context.Context, partition string, record audit.Record) (bool, error) {
	f, err := get(ctx, "looking for a record", s.subjects, partition, auditKey(record))
	return f.exists, err
}

// Clinician implements clinician.Store.
func (s Clinicians) Clinician(ctx context.Context, of subject.ID) (*clinician.Clinician, error) {
	trip(ctx)
	partition, err := partitionOf(of)
	if err != nil {
		return nil, err
	}
	return s.clinician(ctx, of, partition)
}

func (s Clinicians) clinician(ctx context.Context, of subject.ID, partition string) (*clinician.Clinician, error) {
	f, err := get(ctx, "reading a clinician", s.subjects, partition, headKey)
	if err != nil {
		return nil, err
	}
	return readClinician(of, f)
}

// Claim implements clinician.Store.
func (s Clinicians) Claim(ctx context.Context, identifier string) (*clinician.Claim, error) {
	trip(ctx)
	return s.claimed(ctx, identifier)
}

func (s Clinicians) claimed(ctx context.Context, identifier string) (*clinician.Claim, error) {
	f, err := get(ctx, "reading who has an identifier", s.unique, claimPrefix+encodeID(identifier), claimKey)
	if err != nil {
		return nil, err
	}
	return readClaim(identifier, f)
}

// Put implements clinician.Store.
func (s Clinicians) Put(ctx context.Context, claim clinician.Claim) (clinician.Version, error) {
	const doing = "claiming an identifier"
	trip(ctx)
	row, err := claimRow(claim)
	if err != nil {
		return "", err
	}
	w := write{insert, row, ""}
	if claim.Version != clinician.Absent {
		w = write{merge, row, azcore.ETag(claim.Version)}
	}
	if err := check(w); err != nil {
		return "", err
	}
	body, err := json.Marshal(row)
	if err != nil {
		return "", refuse("a row cannot be encoded")
	}
	var etag azcore.ETag
	if w.verb == insert {
		var resp aztables.AddEntityResponse
		resp, err = s.unique.AddEntity(policy.WithHTTPHeader(ctx, http.Header{"Prefer": {"return-no-content"}}), body, nil)
		etag = resp.ETag
	} else {
		var resp aztables.UpdateEntityResponse
		resp, err = s.unique.UpdateEntity(ctx, body, &aztables.UpdateEntityOptions{IfMatch: &w.match, UpdateMode: aztables.UpdateModeMerge})
		etag = resp.ETag
	}
	if err = conflict(short(doing, err)); err != nil {
		return "", err
	}
	if etag == "" { // it was written, and nobody knows as what: it is read again
		return "", &Error{Doing: doing, cause: errNoETag}
	}
	return clinician.Version(etag), nil
}

var errNoETag = errors.New("the answer has no ETag")

// Enter implements clinician.Store.
func (s Clinicians) Enter(ctx context.Context, through clinician.Through, identifier string) (live bool, claim *clinician.Claim, err error) {
	trip(ctx)
	inside := Beside(ctx)
	err = together(
		func() (err error) {
			live, err = s.Session(inside, through.Device, through.Session, through.Token)
			return err
		},
		func() (err error) { claim, err = s.claimed(ctx, identifier); return err },
	)
	if err != nil {
		return false, nil, err
	}
	return live, claim, nil
}

// Meet implements clinician.Store.
func (s Clinicians) Meet(ctx context.Context, record audit.Record, of subject.ID) (is *clinician.Clinician, active bool, err error) {
	trip(ctx)
	partition, err := partitionOf(of)
	if err != nil {
		return nil, false, err
	}
	device, err := partitionOf(record.Subject)
	if err != nil {
		return nil, false, err
	}
	var head found
	err = together(
		func() error { return s.announce(ctx, device, record) },
		func() (err error) { is, err = s.clinician(ctx, of, partition); return err },
		func() (err error) { head, err = get(ctx, "reading a device", s.subjects, device, headKey); return err },
	)
	if err != nil {
		return nil, false, err
	}
	h, err := readHead(record.Subject, head)
	return is, head.exists && h.Active, err
}

// Pass implements clinician.Store. It updates the session that is there, and never inserts one: the session's end comes before the
// record or behind it, and in the second case the token that is granted carries a dead sid.
func (s Clinicians) Pass(ctx context.Context, session string, record audit.Record) error {
	trip(ctx)
	writes, err := loginWrites(session, record)
	if err != nil {
		return err
	}
	return conflict(s.transact(ctx, "recording a login", s.subjects, writes))
}

func loginWrites(session string, record audit.Record) ([]write, error) {
	partition, err := partitionOf(record.Subject)
	if err != nil || !name.MatchString(session) {
		return nil, errKey
	}
	return []write{
		{merge, entity(partition, sessionPrefix+session, columns{"login": formatTime(record.Time)}), azcore.ETagAny},
		{insert, auditRow(partition, record), ""},
	}, nil
}

// Repass implements clinician.Store.
func (s Clinicians) Repass(ctx context.Context, session string, record audit.Record) (live, committed bool, err error) {
	trip(ctx)
	partition, err := partitionOf(record.Subject)
	if err != nil || !name.MatchString(session) {
		return false, false, errKey
	}
	var row found
	err = together(
		func() (err error) {
			row, err = get(ctx, "checking a session", s.subjects, partition, sessionPrefix+session)
			return err
		},
		func() (err error) { committed, err = s.recorded(ctx, partition, record); return err },
	)
	return row.exists && err == nil, committed && err == nil, err
}

func clinicianRow(partition string, c clinician.Clinician) (aztables.EDMEntity, error) {
	products, err := json.Marshal(append([]string{}, c.Products...))
	if err != nil {
		return aztables.EDMEntity{}, err
	}
	groups, err := json.Marshal(append([]string{}, c.Groups...))
	return entity(partition, headKey, columns{
		"kind": string(c.Subject.Kind), "active": c.LoginActive, "n": aztables.EDMInt64(c.N), "own_identifier": c.Identifier,
		"own_products": string(products), "own_groups": string(groups), "own_last_day": string(c.LastDay),
		"own_created": formatTime(c.Created), "own_created_by": c.CreatedBy, "own_modified": formatTime(c.Modified), "own_modified_by": c.ModifiedBy,
	}), err
}

// readClinician reads a clinician, nil if there is none.
func readClinician(of subject.ID, f found) (*clinician.Clinician, error) {
	if !f.exists {
		return nil, nil
	}
	r := reader{row: f.row}
	c := &clinician.Clinician{
		Subject: of, Identifier: r.text("own_identifier"), LastDay: clinician.Day(r.text("own_last_day")),
		Created: r.time("own_created"), CreatedBy: r.text("own_created_by"), Modified: r.time("own_modified"), ModifiedBy: r.text("own_modified_by"),
		Version: clinician.Version(f.etag),
	}
	r.json("own_products", &c.Products)
	r.json("own_groups", &c.Groups)
	var ok bool
	// A head without it is damaged, and must not pass for one who may log in, nor for one who may not.
	if c.LoginActive, ok = f.row.Properties["active"].(bool); !ok {
		r.fail("active")
	}
	n, ok := f.row.Properties["n"].(aztables.EDMInt64)
	if !ok {
		r.fail("n")
	}
	c.N = int64(n)
	return c, r.err
}

func claimRow(c clinician.Claim) (aztables.EDMEntity, error) {
	partition, err := partitionOf(c.Clinician)
	if err != nil || c.Identifier == "" || c.Clinician.Kind != subject.Clinician {
		return aztables.EDMEntity{}, errKey
	}
	return entity(claimPrefix+encodeID(c.Identifier), claimKey, columns{
		"subject": partition, "try": c.Try, "at": formatTime(c.At), "confirmed": c.Confirmed,
	}), nil
}

// readClaim reads a claim, nil if there is none.
func readClaim(identifier string, f found) (*clinician.Claim, error) {
	if !f.exists {
		return nil, nil
	}
	r := reader{row: f.row}
	of, err := subjectOf(r.text("subject"))
	c := &clinician.Claim{Identifier: identifier, Clinician: of, Try: r.text("try"), At: r.time("at"), Version: clinician.Version(f.etag)}
	var ok bool
	if c.Confirmed, ok = f.row.Properties["confirmed"].(bool); !ok {
		r.fail("confirmed")
	}
	return c, errors.Join(err, r.err)
}
