package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/google/uuid"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// Somebody waits for every call: azcore's own 800 ms and 60 s are for machines (azure.md section 4).
const (
	retries       = 2
	retryDelay    = 100 * time.Millisecond
	maxRetryDelay = time.Second
	tryTimeout    = 3 * time.Second
)

// Options are what a Store can do without.
type Options struct {
	// Transport sends the requests; nil is azcore's own. It must trust the certificate of the endpoint.
	Transport policy.Transporter
}

// Store is activation.Store on Azure Table Storage. It is safe for concurrent use. Its errors, beside those of package
// activation, are *Error, or say what is wrong with a row or a write.
type Store struct{ subjects, codes, journal, budgets, identities, feed, lists, unique *aztables.Client }

var _ activation.Store = (*Store)(nil)

// New makes a Store on the tables endpoint of a storage account, an https URL. It calls nothing.
func New(endpoint string, cred azcore.TokenCredential, o Options) (*Store, error) {
	service, err := aztables.NewServiceClient(endpoint, credential{cred}, &aztables.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport:        o.Transport,
		Retry:            policy.RetryOptions{MaxRetries: retries, RetryDelay: retryDelay, MaxRetryDelay: maxRetryDelay, TryTimeout: tryTimeout},
		PerCallPolicies:  []policy.Policy{batches{}},
		PerRetryPolicies: []policy.Policy{counting{}},
	}})
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return &Store{
		service.NewClient(subjects), service.NewClient(codes), service.NewClient(journal), service.NewClient(budgets), service.NewClient(identities),
		service.NewClient(feed), service.NewClient(lists), service.NewClient(unique),
	}, nil
}

// Code implements activation.Store.
func (s *Store) Code(ctx context.Context, keys []keyed.Hash) (*activation.Code, error) {
	trip(ctx)
	f, err := s.first(ctx, "looking up a code", s.codes, keys, codeKeys)
	if err != nil || !f.exists {
		return nil, err
	}
	return readCode(f)
}

// EndCode implements activation.Store.
func (s *Store) EndCode(ctx context.Context, code activation.Code, at time.Time, why audit.Reason) error {
	trip(ctx)
	pk, rk, err := codeKeys(code.Key)
	if err != nil {
		return err
	}
	row := entity(pk, rk, columns{"ended": formatTime(at), "ended_for": string(why)})
	err = s.merge(ctx, "ending a code", s.codes, write{merge, row, azcore.ETag(code.Version)})
	if stale(err) || missing(err) {
		return nil
	}
	return err
}

// Open implements activation.Store.
func (s *Store) Open(ctx context.Context, opening activation.Opening) (activation.Opened, error) {
	trip(ctx)
	of := opening.Record.Subject
	partition, err := partitionOf(of)
	if err != nil {
		return activation.Opened{}, err
	}
	var head, invited found
	calls := []func() error{
		func() error { return s.announce(ctx, partition, opening.Record) },
		func() (err error) {
			head, err = get(ctx, "reading a subject", s.subjects, partition, headKey)
			return err
		},
	}
	if opening.Code != nil {
		calls = append(calls, func() error { return s.claim(ctx, *opening.Code) })
	}
	if opening.Activation != uuid.Nil {
		calls = append(calls, func() (err error) {
			invited, err = get(ctx, "reading an activation", s.subjects, partition, activationKey(opening.Activation))
			return err
		})
	}
	if err := together(calls...); err != nil {
		return activation.Opened{}, err
	}
	var opened activation.Opened
	if opened.Head, err = readHead(of, head); err != nil || !invited.exists {
		return opened, err
	}
	a, err := readActivation(of, invited.row)
	opened.Activation = &a
	return opened, err
}

// announce writes a record's intent. Its key holds the record's random id: one that exists is our own, by an earlier try
// whose reply was lost.
func (s *Store) announce(ctx context.Context, partition string, record audit.Record) error {
	err := s.insert(ctx, "announcing a change", s.journal, intentRow(partition, record))
	if exists(err) {
		return nil
	}
	return err
}

// claim inserts an index row, or finds that an earlier try did.
func (s *Store) claim(ctx context.Context, code activation.Code) error {
	partition, err := partitionOf(code.Subject)
	if err != nil {
		return err
	}
	row, err := codeRow(partition, code)
	if err != nil {
		return err
	}
	if err = s.insert(ctx, "claiming a code", s.codes, row); !exists(err) {
		return err
	}
	trip(ctx)
	f, err := get(ctx, "reading a claimed code", s.codes, row.PartitionKey, row.RowKey)
	if err != nil {
		return err
	}
	if !f.exists { // cleaned up in between: draw another rather than argue
		return activation.ErrCodeTaken
	}
	if there, err := readCode(f); err != nil || there.Activation != code.Activation || there.Subject != code.Subject {
		return errors.Join(activation.ErrCodeTaken, err)
	}
	return nil
}

// Commit implements activation.Store. It is the only function that changes a subject, and it does so in one entity group
// transaction: the head at the version that was read, everything beside it, and the record.
func (s *Store) Commit(ctx context.Context, change activation.Change) error {
	trip(ctx)
	writes, err := changes(change)
	if err != nil {
		return err
	}
	err = s.transact(ctx, "committing a change", s.subjects, writes)
	// Only these three are a "no": a row that must not exist does, one that must exist does not, or the head moved. The
	// first may be our own record, by an earlier attempt that landed; Reopen tells.
	if stale(err) || exists(err) || missing(err) {
		return commit.ErrConflict
	}
	return err
}

// changes lists what a change writes, the head first: a lost race is told by its status.
func changes(change activation.Change) ([]write, error) {
	of := change.Head.Subject
	if change.Record.Subject != of || change.Created != nil && change.Created.Subject != of {
		return nil, refuse("a change is of one subject")
	}
	partition, err := partitionOf(of)
	if err != nil {
		return nil, err
	}
	head, err := headRow(partition, change.Head)
	if err != nil {
		return nil, err
	}
	writes := []write{{insert, head, ""}}
	if change.Head.Version != activation.Absent {
		writes[0] = write{merge, head, azcore.ETag(change.Head.Version)}
	}
	if change.Created != nil {
		writes = append(writes, write{insert, activationRow(partition, *change.Created), ""})
	}
	for _, step := range change.Ended {
		writes = append(writes, write{merge, stepRow(partition, step), azcore.ETagAny})
	}
	for _, c := range change.Removed {
		writes = append(writes, removed(partition, c)...)
	}
	for _, c := range change.Suspended {
		writes = append(writes, suspended(partition, c, change.Record.Time)...)
	}
	for _, c := range change.Dropped {
		writes = append(writes, write{remove, entity(partition, heldPrefix+c.Key.String(), nil), azcore.ETagAny})
	}
	for _, c := range change.Added {
		writes = append(writes, write{insert, credentialRow(partition, c, change.Record.Time), ""}, write{insert, sessionRow(partition, c), ""})
	}
	for _, c := range change.Labelled {
		row := entity(partition, credentialPrefix+c.Key.String(), columns{"label": c.Label})
		writes = append(writes, write{merge, row, azcore.ETagAny})
	}
	if t := change.Token; t != nil {
		if !name.MatchString(t.Token) {
			return nil, errKey
		}
		writes = append(writes, write{insert, entity(partition, tokenPrefix+t.Token, columns{"until": formatTime(t.Until)}), ""})
	}
	return append(writes, write{insert, auditRow(partition, change.Record), ""}), nil
}

// Reopen implements activation.Store. Its two reads are no snapshot: an attempt that lands between them may show in the
// head alone. Who finds the head moved and has an attempt in doubt asks once more before it says "no".
func (s *Store) Reopen(ctx context.Context, record audit.Record) (head activation.Head, committed bool, err error) {
	trip(ctx)
	partition, err := partitionOf(record.Subject)
	if err != nil {
		return activation.Head{}, false, err
	}
	var h, r found
	err = together(
		func() (err error) { h, err = get(ctx, "reading a subject", s.subjects, partition, headKey); return err },
		func() (err error) {
			r, err = get(ctx, "looking for a record", s.subjects, partition, auditKey(record))
			return err
		},
	)
	if err != nil {
		return activation.Head{}, false, err
	}
	head, err = readHead(record.Subject, h)
	return head, r.exists, err
}

// Activation implements activation.Store.
func (s *Store) Activation(ctx context.Context, of subject.ID, id activation.UUID) (*activation.Activation, error) {
	trip(ctx)
	partition, err := partitionOf(of)
	if err != nil {
		return nil, err
	}
	f, err := get(ctx, "reading an activation", s.subjects, partition, activationKey(id))
	if err != nil || !f.exists {
		return nil, err
	}
	a, err := readActivation(of, f.row)
	return &a, err
}

// maxPage is the most rows that the service gives at once.
const maxPage = 1000

// Activations implements activation.Store. It takes a trip a page of at most 1,000 rows.
func (s *Store) Activations(ctx context.Context, of subject.ID, after activation.UUID, limit int) ([]activation.Activation, error) {
	partition, err := partitionOf(of)
	if err != nil || limit <= 0 {
		return nil, err
	}
	from := activationPrefix
	if after != uuid.Nil {
		from = activationKey(after)
	}
	// Every part of the filter is a key of ours: an encoded id, digits, a parsed uuid.
	filter := fmt.Sprintf("PartitionKey eq '%s' and RowKey gt '%s' and RowKey lt '%s'", partition, from, activationEnd)
	pager := s.subjects.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter, Top: to.Ptr(int32(min(limit, maxPage)))})
	var list []activation.Activation
	for pager.More() { // an empty page is not the end: the service stops where it likes (threats.md F-06)
		trip(ctx)
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, short("listing activations", err)
		}
		for _, e := range page.Entities {
			var row aztables.EDMEntity
			if err := json.Unmarshal(e, &row); err != nil {
				return nil, &Error{Doing: "listing activations", cause: cause(err)}
			}
			a, err := readActivation(of, row)
			if err != nil {
				return nil, err
			}
			if list = append(list, a); len(list) == limit {
				return list, nil
			}
		}
	}
	return list, nil
}

// Credential implements activation.Store.
func (s *Store) Credential(ctx context.Context, of subject.ID, keys []keyed.Hash) (*activation.Credential, error) {
	trip(ctx)
	partition, err := partitionOf(of)
	if err != nil {
		return nil, err
	}
	f, err := s.first(ctx, "looking up a credential", s.subjects, keys, func(k keyed.Hash) (string, string, error) {
		return partition, credentialPrefix + k.String(), nil
	})
	if err != nil || !f.exists {
		return nil, err
	}
	c, err := readCredential(f.row)
	return &c, err
}

// Credentials implements activation.Store. The keys of credentials and that of the head are neighbours: one range has them all.
func (s *Store) Credentials(ctx context.Context, of subject.ID) (activation.Head, []activation.Credential, error) {
	const doing = "listing credentials"
	partition, err := partitionOf(of)
	if err != nil {
		return activation.Head{}, nil, err
	}
	filter := fmt.Sprintf("PartitionKey eq '%s' and RowKey ge '%s' and RowKey le '%s'", partition, credentialPrefix, headKey)
	pager := s.subjects.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter})
	var head found
	var all []activation.Credential
	for pager.More() {
		trip(ctx)
		page, err := pager.NextPage(ctx)
		if err != nil {
			return activation.Head{}, nil, short(doing, err)
		}
		for _, text := range page.Entities {
			var row aztables.EDMEntity
			if err := json.Unmarshal(text, &row); err != nil {
				return activation.Head{}, nil, &Error{Doing: doing, cause: cause(err)}
			}
			if row.RowKey == headKey {
				head = found{row: row, etag: azcore.ETag(row.ETag), exists: true}
			}
			if !strings.HasPrefix(row.RowKey, credentialPrefix) {
				continue
			}
			c, err := readCredential(row)
			if err != nil {
				return activation.Head{}, nil, err
			}
			all = append(all, c)
		}
	}
	h, err := readHead(of, head)
	return h, all, err
}

// Touch implements activation.Store: it updates the row that is there, and never inserts one.
func (s *Store) Touch(ctx context.Context, of subject.ID, key keyed.Hash, at time.Time) error {
	trip(ctx)
	partition, err := partitionOf(of)
	if err != nil {
		return err
	}
	row := entity(partition, credentialPrefix+key.String(), columns{"used": formatTime(at.UTC().Truncate(time.Hour))})
	err = s.merge(ctx, "noting a use", s.subjects, write{merge, row, azcore.ETagAny})
	if missing(err) {
		return nil
	}
	return err
}

// Session reports whether a token of the subject is still good: the credential that bought it lives, and the token itself
// was not ended (model.md sections 1 and 4). Ids that no token of ours carries are not.
func (s *Store) Session(ctx context.Context, of subject.ID, sid, jti string) (live bool, err error) {
	trip(ctx)
	partition, err := partitionOf(of)
	if err != nil || !name.MatchString(sid) || !name.MatchString(jti) {
		return false, err
	}
	var session, ended found
	err = together(
		func() (err error) {
			session, err = get(ctx, "checking a session", s.subjects, partition, sessionPrefix+sid)
			return err
		},
		func() (err error) {
			ended, err = get(ctx, "checking a token", s.subjects, partition, tokenPrefix+jti)
			return err
		},
	)
	return err == nil && session.exists && !ended.exists, err
}

// Ping asks each table for a row that is not there, and returns storage's own time, to the second, so that an instance can
// tell whether its clock is right (model.md section 6). An error says which table does not answer, and how.
func (s *Store) Ping(ctx context.Context) (time.Time, error) {
	trip(ctx)
	var answer *http.Response
	err := together(
		func() error {
			_, err := get(policy.WithCaptureResponse(ctx, &answer), "asking for subjects", s.subjects, "ping", "ping")
			return err
		},
		func() error { _, err := get(ctx, "asking for codes", s.codes, "ping", "ping"); return err },
		func() error { _, err := get(ctx, "asking for journal", s.journal, "ping", "ping"); return err },
		func() error { _, err := get(ctx, "asking for budgets", s.budgets, "ping", "ping"); return err },
		func() error { _, err := get(ctx, "asking for feed", s.feed, "ping", "ping"); return err },
		func() error { _, err := get(ctx, "asking for unique", s.unique, "ping", "ping"); return err },
		func() error { _, err := get(ctx, "asking for lists", s.lists, "ping", "ping"); return err },
		func() error { _, err := get(ctx, "asking for identities", s.identities, "ping", "ping"); return err },
	)
	if err != nil {
		return time.Time{}, err
	}
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return time.Time{}, &Error{Doing: "asking for the time", cause: errNoDate}
	}
	return date, nil
}

// found is the answer to a point read.
type found struct {
	row    aztables.EDMEntity
	etag   azcore.ETag
	exists bool
}

// get reads one row. One that is not there is no error; a table that is not there is.
func get(ctx context.Context, doing string, table *aztables.Client, partition, row string) (found, error) {
	if err := checkKeys(partition, row); err != nil {
		return found{}, err
	}
	resp, err := table.GetEntity(ctx, partition, row, nil)
	if err = short(doing, err); missing(err) {
		return found{}, nil
	}
	if err != nil {
		return found{}, err
	}
	f := found{etag: resp.ETag, exists: true}
	if err := json.Unmarshal(resp.Value, &f.row); err != nil {
		return found{}, &Error{Doing: doing, cause: cause(err)}
	}
	return f, nil
}

// first reads the rows of all keys in parallel and returns the first that is there. An error counts only if no key before
// it has a row.
func (s *Store) first(ctx context.Context, doing string, table *aztables.Client, keys []keyed.Hash, at func(keyed.Hash) (string, string, error)) (found, error) {
	rows, failed := make([]found, len(keys)), make([]error, len(keys))
	calls := make([]func() error, len(keys))
	for i, key := range keys {
		calls[i] = func() error {
			partition, row, err := at(key)
			if err == nil {
				rows[i], err = get(ctx, doing, table, partition, row)
			}
			failed[i] = err
			return nil
		}
	}
	if err := together(calls...); err != nil {
		return found{}, err
	}
	for i := range keys {
		if failed[i] != nil || rows[i].exists {
			return rows[i], failed[i]
		}
	}
	return found{}, nil
}

// insert adds a row. The service need not send it back: an answer without a body cannot break off in the middle, which
// azcore would not repeat.
func (s *Store) insert(ctx context.Context, doing string, table *aztables.Client, row aztables.EDMEntity) error {
	if err := check(write{insert, row, ""}); err != nil {
		return err
	}
	body, err := json.Marshal(row)
	if err != nil {
		return refuse("a row cannot be encoded")
	}
	ctx = policy.WithHTTPHeader(ctx, http.Header{"Prefer": {"return-no-content"}})
	_, err = table.AddEntity(ctx, body, nil)
	return short(doing, err)
}

// merge changes columns of a row that exists.
func (s *Store) merge(ctx context.Context, doing string, table *aztables.Client, w write) error {
	if err := check(w); err != nil {
		return err
	}
	body, err := json.Marshal(w.row)
	if err != nil {
		return refuse("a row cannot be encoded")
	}
	_, err = table.UpdateEntity(ctx, body, &aztables.UpdateEntityOptions{IfMatch: &w.match, UpdateMode: aztables.UpdateModeMerge})
	return short(doing, err)
}

// transact carries writes of one partition out, all or none, and sends them once.
func (s *Store) transact(ctx context.Context, doing string, table *aztables.Client, writes []write) error {
	if err := check(writes...); err != nil {
		return err
	}
	actions := make([]aztables.TransactionAction, len(writes))
	for i, w := range writes {
		body, err := json.Marshal(w.row)
		if err != nil {
			return refuse("a row cannot be encoded")
		}
		actions[i].Entity = body
		switch w.verb {
		case insert:
			actions[i].ActionType = aztables.TransactionTypeAdd
		case merge:
			actions[i].ActionType, actions[i].IfMatch = aztables.TransactionTypeUpdateMerge, &w.match
		case remove:
			actions[i].ActionType, actions[i].IfMatch = aztables.TransactionTypeDelete, &w.match
		}
	}
	ctx = policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1, TryTimeout: tryTimeout})
	_, err := table.SubmitTransaction(ctx, actions, nil)
	return short(doing, err)
}

// together runs calls in parallel, waits for all and returns the first error in their order. A panic becomes an error: in a
// goroutine of its own it would end the process, and the third time the host (model.md section 9).
func together(calls ...func() error) error {
	failed := make([]error, len(calls))
	var wait sync.WaitGroup
	for i, call := range calls {
		wait.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					failed[i] = &Error{Doing: "calling", cause: fmt.Errorf("panicked with %T", p)}
				}
			}()
			failed[i] = call()
		})
	}
	wait.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}
