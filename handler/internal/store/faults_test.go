package store

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/storetest"
	"latchkey/handler/internal/subject"
)

var errReset = errors.New("connection reset while reading https://account.table.core.windows.net/subjects")

// fault bends the requests that it is for, the first times of them.
type fault struct {
	on    func(*http.Request) bool
	times int32
	with  func(next transport) transport
}

// bend makes a Store whose requests pass the fault.
func bend(t *testing.T, a azurite, f fault) *Store {
	left := atomic.Int32{}
	left.Store(f.times)
	bent := f.with(a.client.Do)
	return a.store(t, account, transport(func(req *http.Request) (*http.Response, error) {
		if f.on(req) && left.Add(-1) >= 0 {
			return bent(req)
		}
		return a.client.Do(req)
	}))
}

func batch(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, "/$batch") }
func inserted(table string) func(*http.Request) bool {
	return func(req *http.Request) bool {
		return req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/"+table)
	}
}
func reading(table string) func(*http.Request) bool {
	return func(req *http.Request) bool {
		return req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/"+table+"(")
	}
}

// lost carries a request out and loses the reply; cut never sends it.
func lost(next transport) transport {
	return func(req *http.Request) (*http.Response, error) {
		resp, err := next(req)
		if err != nil {
			return nil, err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return nil, errReset
	}
}
func cut(transport) transport {
	return func(*http.Request) (*http.Response, error) { return nil, errReset }
}

// says answers in storage's place.
func says(status int, header http.Header, body string) func(transport) transport {
	return func(transport) transport {
		return func(req *http.Request) (*http.Response, error) {
			if header == nil {
				header = http.Header{}
			}
			return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
		}
	}
}

// etag has the form of an ETag and is that of no row.
const etag = `W/"datetime'2026-01-01T00%3A00%3A00.0000000Z'"`

func fresh() activation.Head { return activation.Head{Subject: storetest.Patient(), Active: true} }

// partitionRows are all rows of a subject.
func partitionRows(t *testing.T, a azurite, of subject.ID) map[string]string {
	t.Helper()
	partition, err := partitionOf(of)
	if err != nil {
		t.Fatal(err)
	}
	return a.dump(t, subjects, partition)
}

func TestF03_CommitWhoseReplyIsLostIsFoundByReopen(t *testing.T) {
	a := start(t)
	for name, f := range map[string]struct {
		with   func(transport) transport
		landed bool
	}{"after it landed": {lost, true}, "before it was sent": {cut, false}} {
		t.Run(name, func(t *testing.T) {
			s := bend(t, a, fault{on: batch, times: 1, with: f.with})
			change := storetest.Creation(fresh(), storetest.Start)
			ctx, trips := Count(t.Context())
			err := s.Commit(ctx, change)
			if err == nil || errors.Is(err, commit.ErrConflict) {
				t.Fatalf("got %v, want an unknown outcome", err)
			}
			if trips.Calls() != 1 {
				t.Errorf("a commit was sent %d times", trips.Calls())
			}
			if _, committed, err := s.Reopen(t.Context(), change.Record); err != nil || committed != f.landed {
				t.Fatalf("committed %v, %v", committed, err)
			}
			err = s.Commit(t.Context(), change) // the domain's repeat: same head, same record
			if f.landed != errors.Is(err, commit.ErrConflict) || !f.landed && err != nil {
				t.Fatalf("the repeat: %v", err)
			}
			records := 0
			for key := range partitionRows(t, a, change.Head.Subject) {
				if strings.Contains(key, " "+auditPrefix) {
					records++
				}
			}
			if records != 1 {
				t.Errorf("%d records of one change", records)
			}
		})
	}
}

func TestCommitIsNeverTakenForDoneByAnAnswerThatCannotBeRead(t *testing.T) {
	a := start(t)
	good := http.Header{"Content-Type": {"multipart/mixed; boundary=b"}}
	inner := "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: application/http\r\n\r\n"
	for name, f := range map[string]func(transport) transport{
		"503":                       says(503, nil, ""),
		"500 with a body":           says(500, nil, `{"odata.error":{"code":"OperationTimedOut"}}`),
		"202 without a body":        says(202, nil, ""),
		"202 with another body":     says(202, nil, "<html>a proxy</html>"),
		"202 of no operations":      says(202, good, "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n"),
		"202 that breaks off early": says(202, good, inner+"HTTP/1.1 204 No Content\r\n\r\n\r\n"),
		"202 that breaks off late":  says(202, good, inner+"HTTP/1.1 204 No Content\r\n\r\n\r\n--c"),
		"202 of half a change set":  says(202, good, inner+"HTTP/1.1 204 No Content\r\n\r\n\r\n--c\r\n--b--\r\n"),
		"202 of no status":          says(202, good, inner+"nonsense\r\n--c--\r\n--b--\r\n"),
		"inner 500":                 says(202, good, inner+"HTTP/1.1 500 Oops\r\n\r\n\r\n--c--\r\n--b--\r\n"),
		"inner 409 of the table":    says(202, good, inner+"HTTP/1.1 409 Conflict\r\n\r\n{\"odata.error\":{\"code\":\"TableBeingDeleted\"}}\r\n--c--\r\n--b--\r\n"),
		"inner 404 of the table":    says(202, good, inner+"HTTP/1.1 404 Not Found\r\n\r\n{\"odata.error\":{\"code\":\"TableNotFound\"}}\r\n--c--\r\n--b--\r\n"),
		"outer 409 without reason":  says(409, nil, ""),
		"403":                       says(403, http.Header{"X-Ms-Error-Code": {"AuthorizationPermissionMismatch"}}, ""),
	} {
		t.Run(name, func(t *testing.T) {
			s := bend(t, a, fault{on: batch, times: 9, with: f})
			ctx, trips := Count(t.Context())
			err := s.Commit(ctx, storetest.Creation(fresh(), storetest.Start))
			if err == nil || errors.Is(err, commit.ErrConflict) {
				t.Errorf("got %v, want an unknown outcome", err)
			}
			if trips.Calls() != 1 {
				t.Errorf("sent %d times", trips.Calls())
			}
		})
	}
}

func TestAtomic_WhicheverOperationFailsNothingIsWritten(t *testing.T) {
	a := start(t)
	s := a.store(t, account, a.client)
	head := fresh()
	commit := func(change activation.Change) activation.Head {
		t.Helper()
		if err := s.Commit(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		head, _, err := s.Reopen(t.Context(), change.Record)
		if err != nil {
			t.Fatal(err)
		}
		return head
	}
	head = commit(storetest.Creation(head, storetest.Start))
	head = commit(storetest.Redemption(head, storetest.Start))
	head = commit(storetest.Creation(head, storetest.Start.Add(time.Minute)))
	before := partitionRows(t, a, head.Subject)

	whole := func() activation.Change {
		change := storetest.Redemption(head, storetest.Start.Add(time.Hour))
		made := storetest.Creation(head, storetest.Start.Add(time.Hour)).Created
		change.Created = made
		return change
	}
	writes, err := changes(whole())
	if err != nil {
		t.Fatal(err)
	}
	if len(writes) != 8 { // head, created, ended, 2 removed, 2 added, record
		t.Fatalf("%d operations", len(writes))
	}
	for i := range writes {
		writes, err := changes(whole())
		if err != nil {
			t.Fatal(err)
		}
		partition := writes[0].row.PartitionKey
		switch w := &writes[i]; {
		case i == 0:
			w.match = etag
		case w.verb == insert: // a row that is there
			for key := range before {
				if w.row.RowKey = strings.TrimPrefix(key, partition+" "); strings.HasPrefix(w.row.RowKey, auditPrefix) {
					break
				}
			}
			if !strings.HasPrefix(w.row.RowKey, auditPrefix) {
				t.Fatal("no record to collide with")
			}
		default: // a row that is not there
			w.row.RowKey = sessionPrefix + storetest.Random()
		}
		err = s.transact(t.Context(), "testing", s.subjects, writes)
		if !stale(err) && !exists(err) && !missing(err) {
			t.Errorf("operation %d: got %v, want a sure no", i, err)
		}
		if diff := cmp.Diff(before, partitionRows(t, a, head.Subject)); diff != "" {
			t.Errorf("operation %d failed and left (-before +after):\n%s", i, diff)
		}
	}
	if err := s.Commit(t.Context(), whole()); err != nil {
		t.Errorf("the change itself: %v", err)
	}
}

func TestLostRepliesOfInsertsAreRecognised(t *testing.T) {
	a := start(t)
	head := fresh()
	code := func() *activation.Code {
		return &activation.Code{Key: storetest.Hash(), Subject: head.Subject, Activation: storetest.UUID(storetest.Start), Expires: storetest.Start.Add(time.Hour)}
	}
	for name, c := range map[string]struct {
		table           string
		sequence, calls int64
	}{
		"journal": {journal, 1, 4},
		"codes":   {codes, 2, 5}, // the row is read back
	} {
		t.Run(name, func(t *testing.T) {
			s := bend(t, a, fault{on: inserted(c.table), times: 1, with: lost})
			ctx, trips := Count(t.Context())
			record := storetest.Record(head.Subject, audit.CreateActivation)
			if _, err := s.Open(ctx, activation.Opening{Record: record, Code: code()}); err != nil {
				t.Fatal(err)
			}
			if trips.Sequence() != c.sequence || trips.Calls() != c.calls {
				t.Errorf("%d trips, %d calls", trips.Sequence(), trips.Calls())
			}
			partition, row := intentKeys(record)
			if len(a.dump(t, journal, partition)) == 0 || a.dump(t, journal, partition)[partition+" "+row] == "" {
				t.Error("there is no intent")
			}
		})
	}
	t.Run("a taken code is no lost reply", func(t *testing.T) {
		s := bend(t, a, fault{on: inserted(codes), times: 1, with: lost})
		taken := code()
		if _, err := s.Open(t.Context(), activation.Opening{Record: storetest.Record(head.Subject, audit.CreateActivation), Code: taken}); err != nil {
			t.Fatal(err)
		}
		other := *taken
		other.Activation = storetest.UUID(storetest.Start)
		_, err := s.Open(t.Context(), activation.Opening{Record: storetest.Record(head.Subject, audit.CreateActivation), Code: &other})
		if !errors.Is(err, activation.ErrCodeTaken) {
			t.Errorf("got %v", err)
		}
	})
}

func TestF01_ReadsAndInsertsAreRepeatedALittle(t *testing.T) {
	a := start(t)
	busy := says(503, http.Header{"X-Ms-Error-Code": {"ServerBusy"}}, "")
	open := func(ctx context.Context, s *Store) error {
		_, err := s.Open(ctx, activation.Opening{Record: storetest.Record(storetest.Patient(), audit.RedeemActivation)})
		return err
	}
	for name, f := range map[string]struct {
		fault
		calls int64
		fails bool
	}{
		"a read, twice busy":          {fault{reading(subjects), 2, busy}, 4, false},
		"a read, cut off":             {fault{reading(subjects), 1, cut}, 3, false},
		"an insert, twice busy":       {fault{inserted(journal), 2, busy}, 4, false},
		"an insert, cut off":          {fault{inserted(journal), 1, cut}, 3, false},
		"a read, busy all the time":   {fault{reading(subjects), 99, busy}, 4, true},
		"an insert, cut all the time": {fault{inserted(journal), 99, cut}, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, trips := Count(t.Context())
			err := open(ctx, bend(t, a, f.fault))
			if (err != nil) != f.fails {
				t.Errorf("got %v", err)
			}
			if trips.Calls() != f.calls || trips.Sequence() != 1 {
				t.Errorf("%d calls, %d trips", trips.Calls(), trips.Sequence())
			}
		})
	}
}

func TestTripsAreAsModelSaysOfEachOperation(t *testing.T) {
	a := start(t)
	s := a.store(t, account, a.client)
	head := fresh()
	created := storetest.Creation(head, storetest.Start)
	code := activation.Code{Key: storetest.Hash(), Subject: head.Subject, Activation: created.Created.ID, Expires: created.Created.Expires}
	var won activation.Credential
	for _, operation := range []struct {
		name            string
		sequence, calls int64
		run             func(context.Context) error
	}{
		{"create", 2, 4, func(ctx context.Context) error {
			_, err := s.Open(ctx, activation.Opening{Record: created.Record, Code: &code})
			return errors.Join(err, s.Commit(ctx, created))
		}},
		{"redeem", 3, 4, func(ctx context.Context) error {
			_, err := s.Code(ctx, []keyed.Hash{code.Key})
			opened, opening := s.Open(ctx, activation.Opening{Record: storetest.Record(head.Subject, audit.RedeemActivation)})
			change := storetest.Redemption(opened.Head, storetest.Start)
			won = change.Added[0]
			return errors.Join(err, opening, s.Commit(ctx, change))
		}},
		{"refresh", 1, 1, func(ctx context.Context) error {
			_, err := s.Credential(ctx, head.Subject, []keyed.Hash{won.Key})
			return err
		}},
		{"refresh with two peppers", 1, 2, func(ctx context.Context) error {
			_, err := s.Credential(ctx, head.Subject, []keyed.Hash{storetest.Hash(), won.Key})
			return err
		}},
		{"check of our own token", 1, 2, func(ctx context.Context) error {
			_, err := s.Session(ctx, head.Subject, won.Session, storetest.Random())
			return err
		}},
		{"list", 1, 1, func(ctx context.Context) error {
			_, err := s.Activations(ctx, head.Subject, uuid.Nil, 10)
			return err
		}},
		{"reopen", 1, 2, func(ctx context.Context) error {
			_, _, err := s.Reopen(ctx, created.Record)
			return err
		}},
		{"ping", 1, int64(len(Tables())), func(ctx context.Context) error {
			_, err := s.Ping(ctx)
			return err
		}},
	} {
		ctx, trips := Count(t.Context())
		if err := operation.run(ctx); err != nil {
			t.Errorf("%s: %v", operation.name, err)
		}
		if trips.Sequence() != operation.sequence || trips.Calls() != operation.calls {
			t.Errorf("%s: %d trips (%d calls), want %d (%d)", operation.name, trips.Sequence(), trips.Calls(), operation.sequence, operation.calls)
		}
	}
}

func TestSession_AnEndedTokenIsNotLive(t *testing.T) {
	a := start(t)
	s := a.store(t, account, a.client)
	created := storetest.Creation(fresh(), storetest.Start)
	won := storetest.Credential()
	created.Added, created.Head.Credentials = []activation.Credential{won}, []activation.Credential{won}
	if err := s.Commit(t.Context(), created); err != nil {
		t.Fatal(err)
	}
	of, jti := created.Head.Subject, storetest.Random()
	partition, err := partitionOf(of)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.insert(t.Context(), "testing", s.subjects, entity(partition, tokenPrefix+jti, columns{"ended": ""})); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sid, jti string
		live     bool
	}{
		"ended":               {won.Session, jti, false},
		"another token":       {won.Session, storetest.Random(), true},
		"no token id":         {won.Session, "", false},
		"a key in the id":     {"x~" + won.Session, storetest.Random(), false},
		"an address in an id": {won.Session, "../head", false},
	} {
		if live, err := s.Session(t.Context(), of, c.sid, c.jti); err != nil || live != c.live {
			t.Errorf("%s: live %v, %v", name, live, err)
		}
	}
}

func TestF06_ListsOfMoreThanAPage(t *testing.T) {
	a := start(t)
	s := a.store(t, account, a.client)
	of := storetest.Patient()
	partition, err := partitionOf(of)
	if err != nil {
		t.Fatal(err)
	}
	const total = 1250
	for i := 0; i < total; i += maxOperations {
		var writes []write
		for j := i; j < min(i+maxOperations, total); j++ {
			at := storetest.Start.Add(time.Duration(j) * time.Second)
			writes = append(writes, write{insert, activationRow(partition, activation.Activation{ID: storetest.UUID(at), Subject: of, Created: at}), ""})
		}
		if err := s.transact(t.Context(), "testing", s.subjects, writes); err != nil {
			t.Fatal(err)
		}
	}
	ctx, trips := Count(t.Context())
	list, err := s.Activations(ctx, of, uuid.Nil, 2000)
	if err != nil || len(list) != total {
		t.Fatalf("%d activations, %v", len(list), err)
	}
	if trips.Sequence() != 2 || trips.Calls() != 2 {
		t.Errorf("%d trips, %d calls", trips.Sequence(), trips.Calls())
	}
	for i, x := range list {
		if want := storetest.Start.Add(time.Duration(total-1-i) * time.Second); !x.Created.Equal(want) {
			t.Fatalf("%d was created at %v, want %v", i, x.Created, want)
		}
	}
	if list, err = s.Activations(t.Context(), of, list[1199].ID, 100); err != nil || len(list) != 50 {
		t.Errorf("%d activations behind the 1,200th, %v", len(list), err)
	}
}

func TestF06_AnEmptyPageIsNotTheEnd(t *testing.T) {
	a := start(t)
	var asked atomic.Int32
	s := a.store(t, account, transport(func(req *http.Request) (*http.Response, error) {
		if asked.Add(1) > 1 {
			if req.URL.Query().Get("NextPartitionKey") != "opaque" || req.URL.Query().Get("NextRowKey") != "token" {
				t.Error("the page was not continued")
			}
			row := `{"value":[{"PartitionKey":"p~","RowKey":"` + activationKey(storetest.UUID(storetest.Start)) + `","status":"pending"}]}`
			return says(200, http.Header{"Content-Type": {"application/json"}}, row)(nil)(req)
		}
		return says(200, http.Header{
			"X-Ms-Continuation-Nextpartitionkey": {"opaque"}, "X-Ms-Continuation-Nextrowkey": {"token"},
		}, `{"value":[]}`)(nil)(req)
	}))
	list, err := s.Activations(t.Context(), storetest.Patient(), uuid.Nil, 10)
	if err != nil || len(list) != 1 || asked.Load() != 2 {
		t.Errorf("%d activations, %d pages, %v", len(list), asked.Load(), err)
	}
}

func TestF07_WhatIsMissingIsAnErrorAndNotAnEmptyAnswer(t *testing.T) {
	a := start(t)
	s := a.store(t, "empty", a.client) // an account without tables
	of := storetest.Patient()
	_, code := s.Code(t.Context(), []keyed.Hash{storetest.Hash()})
	_, open := s.Open(t.Context(), activation.Opening{Record: storetest.Record(of, audit.CreateActivation)})
	_, _, reopen := s.Reopen(t.Context(), storetest.Record(of, audit.CreateActivation))
	_, one := s.Activation(t.Context(), of, storetest.UUID(storetest.Start))
	_, list := s.Activations(t.Context(), of, uuid.Nil, 1)
	_, credential := s.Credential(t.Context(), of, []keyed.Hash{storetest.Hash()})
	_, session := s.Session(t.Context(), of, "sid", "jti")
	_, ping := s.Ping(t.Context())
	_, heads := s.Heads(t.Context(), []subject.ID{of})
	_, listed := s.Listed(t.Context(), []string{activation.EveryDevice}, "", 1)
	_, _, reuse := s.Reuse(t.Context(), storetest.Record(of, audit.IssueToken), []keyed.Hash{storetest.Hash()})
	for name, err := range map[string]error{
		"Code": code, "Open": open, "Reopen": reopen, "Activation": one, "Activations": list, "Credential": credential,
		"Session": session, "Ping": ping,
		"Commit":   s.Commit(t.Context(), storetest.Creation(fresh(), storetest.Start)),
		"Touch":    s.Touch(t.Context(), of, storetest.Hash(), storetest.Start),
		"Heads":    heads,
		"Listed":   listed,
		"Reuse":    reuse,
		"Announce": s.Announce(t.Context(), storetest.Record(of, audit.IssueToken)),
		"Used":     s.Used(t.Context(), storetest.Hash(), storetest.Record(of, audit.IssueToken)),
		"Enlist":   s.Enlist(t.Context(), storetest.Device(), []string{activation.EveryDevice}, storetest.Start),
		"EndCode":  s.EndCode(t.Context(), activation.Code{Key: storetest.Hash(), Version: etag}, storetest.Start, audit.ReasonUsed),
	} {
		if !is(err, http.StatusNotFound, "TableNotFound") {
			t.Errorf("%s: got %v, want 404 TableNotFound", name, err)
		}
	}
}

func TestPing(t *testing.T) {
	a := start(t)
	at, err := a.store(t, account, a.client).Ping(t.Context())
	if err != nil || time.Since(at).Abs() > 10*time.Second {
		t.Errorf("%v, %v", at, err)
	}
	s, err := New(a.base+"/"+account, bearer{errors.New("the identity\nsays no")}, Options{Transport: a.client})
	if err != nil {
		t.Fatal(err)
	}
	denied := says(403, http.Header{"X-Ms-Error-Code": {"AuthorizationPermissionMismatch"}}, "")
	down, err := New("https://127.0.0.1:1/"+account, bearer{}, Options{Transport: a.client})
	if err != nil {
		t.Fatal(err)
	}
	noDate := says(404, http.Header{"X-Ms-Error-Code": {"ResourceNotFound"}}, "")
	untrusted, err := New(a.base+"/"+account, bearer{}, Options{Transport: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]*Store{
		"storage: asking for subjects: no token: the identity says no":                s,
		"storage: asking for codes: HTTP 403 AuthorizationPermissionMismatch":         bend(t, a, fault{reading(codes), 1, denied}),
		"storage: asking for journal: HTTP 403 AuthorizationPermissionMismatch":       bend(t, a, fault{reading(journal), 1, denied}),
		"storage: asking for subjects: HTTP 404 TableNotFound":                        a.store(t, "empty", a.client),
		"storage: asking for subjects: dial tcp 127.0.0.1:1: connect: connection ref": down,
		"storage: asking for the time: there is no date in the answer":                bend(t, a, fault{reading(subjects), 1, noDate}),
		"storage: asking for subjects: tls: failed to verify certificate: x509":       untrusted,
	} {
		if _, err := s.Ping(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestErrorsCarryNoIDs(t *testing.T) {
	a := start(t)
	of := subject.ID{Kind: subject.Patient, Name: "NHS-9434765919"}
	partition, err := partitionOf(of)
	if err != nil {
		t.Fatal(err)
	}
	hash, id := storetest.Hash(), storetest.UUID(storetest.Start)
	quoting := partition + " " + of.Name + " " + hash.Sum
	every := func(*http.Request) bool { return true }
	for name, with := range map[string]func(transport) transport{
		"a refusal that quotes": says(400, nil, `{"odata.error":{"code":"`+quoting+`","message":{"value":"`+quoting+`"}}}`),
		"a code that quotes":    says(403, http.Header{"X-Ms-Error-Code": {quoting}}, ""),
		"an answer that quotes": says(200, http.Header{"Content-Type": {"application/json"}}, "{"+quoting),
		"a batch that quotes":   says(202, http.Header{"Content-Type": {quoting}}, quoting),
		"a network error": func(transport) transport {
			return func(req *http.Request) (*http.Response, error) {
				return nil, errors.New("Get " + req.URL.String() + quoting)
			}
		},
		"the client's error": func(transport) transport {
			return func(req *http.Request) (*http.Response, error) {
				req = req.Clone(req.Context())
				req.URL.Host = "127.0.0.1:1"
				return a.client.Do(req)
			}
		},
		"a panic": func(transport) transport {
			return func(*http.Request) (*http.Response, error) { panic(quoting) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bend(t, a, fault{every, 1 << 20, with})
			change := storetest.Creation(activation.Head{Subject: of, Active: true}, storetest.Start)
			_, code := s.Code(t.Context(), []keyed.Hash{hash})
			_, open := s.Open(t.Context(), activation.Opening{Record: change.Record, Activation: id,
				Code: &activation.Code{Key: hash, Subject: of, Activation: id}})
			_, _, reopen := s.Reopen(t.Context(), change.Record)
			_, credential := s.Credential(t.Context(), of, []keyed.Hash{hash})
			_, session := s.Session(t.Context(), of, hash.Sum, hash.Sum)
			all := map[string]error{"Code": code, "Open": open, "Reopen": reopen, "Credential": credential, "Session": session}
			if name != "a panic" { // these call in the caller's goroutine, where the server recovers
				_, one := s.Activation(t.Context(), of, id)
				_, list := s.Activations(t.Context(), of, id, 10)
				all["Activation"], all["Activations"] = one, list
				all["Touch"] = s.Touch(t.Context(), of, hash, storetest.Start)
				all["EndCode"] = s.EndCode(t.Context(), activation.Code{Key: hash, Version: etag}, storetest.Start, audit.ReasonUsed)
				all["Commit"] = s.Commit(t.Context(), change)
			}
			for op, err := range all {
				if err == nil {
					if !strings.HasPrefix(name, "an answer") && !strings.HasPrefix(name, "a batch") {
						t.Errorf("%s: no error", op)
					}
					continue
				}
				for inner := err; inner != nil; inner = errors.Unwrap(inner) {
					for _, secret := range []string{of.Name, partition[2:], hash.Sum, id.String(), "https://"} {
						if strings.Contains(inner.Error(), secret) {
							t.Errorf("%s: %q holds %q", op, inner, secret)
						}
					}
				}
			}
		})
	}
}

// TestACT15_NoCodeIsStoredInClear looks at every row that a subject leaves, for codes, OTPs and authorisation codes.
func TestACT15_NoCodeIsStoredInClear(t *testing.T) {
	a := start(t)
	s := a.store(t, account, a.client)
	ring, err := keyed.NewRing(secret.New("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="))
	if err != nil {
		t.Fatal(err)
	}
	of := subject.ID{Kind: subject.Patient, Name: "Canary-" + storetest.Random()}
	const locator, otp, code = "7KQ49F2MXH", "C4N4RY", "WNRX7KQ49F2MXHVT7KQ49F2MXHVTWNRX"
	created := storetest.Creation(activation.Head{Subject: of, Active: true}, storetest.Start)
	if created.Head.Invitation.OTP, err = ring.OTP(strings.NewReader("0123456789abcdef"), 16, created.Created.ID.String(), otp); err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(t.Context(), activation.Opening{Record: created.Record, Code: &activation.Code{
		Key: ring.Code(of.Kind, locator)[0], Subject: of, Activation: created.Created.ID, Expires: created.Created.Expires}})
	if err = errors.Join(err, s.Commit(t.Context(), created)); err != nil {
		t.Fatal(err)
	}
	opened, err := s.Open(t.Context(), activation.Opening{Record: storetest.Record(of, audit.RedeemActivation)})
	if err != nil {
		t.Fatal(err)
	}
	redeemed := storetest.Redemption(opened.Head, storetest.Start)
	redeemed.Added[0].Key = ring.Credential(of, code)[0]
	redeemed.Head.Credentials[0].Key = redeemed.Added[0].Key
	if err := s.Commit(t.Context(), redeemed); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Credential(t.Context(), of, ring.Credential(of, code)); err != nil || c == nil {
		t.Fatalf("the credential is not there: %v", err)
	}
	seen := 0
	for _, table := range Tables() {
		for key, row := range a.dump(t, table, "") {
			seen++
			for _, clear := range []string{locator, otp, code, of.Name} {
				if strings.Contains(strings.ToLower(key+row), strings.ToLower(clear)) {
					t.Errorf("%s: %q in %s %s", table, clear, key, row)
				}
			}
		}
	}
	if seen < 9 {
		t.Errorf("only %d rows were looked at", seen)
	}
}
