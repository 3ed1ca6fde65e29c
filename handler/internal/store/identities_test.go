package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/faults"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/rowcheck"
	"latchkey/handler/internal/storetest"
)

// TestIdentityFormat pins every stored key and column of identities, as TestFormat does those of subjects.
func TestIdentityFormat(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 30, 0, 123456789, time.FixedZone("", 3600)) // 09:30 UTC
	entra := identity.Key{Issuer: "11111111-2222-4333-8444-555555555555", Subject: "aaaaaaaa-0000-4000-8000-000000000001"}
	other := identity.Key{Issuer: "https://id.example/ward", Subject: "Zoë"}
	change := identity.Change{
		Identity: identity.Identity{
			Key: entra, State: identity.Retired, Kind: identity.App, Label: "Ward 7", Scopes: []string{"read:x", "write:x"}, Successor: other,
			Created: at, CreatedBy: "tenant/a", Modified: at.Add(time.Minute), ModifiedBy: "tenant/b", Seen: at.Truncate(time.Hour), N: 3, Version: "etag1",
		},
		Queue: &identity.Queue{Pending: 7, Version: "etag2"},
		Record: audit.Record{
			ID: "rec1", Time: at, Announced: at.Add(time.Minute), Action: audit.RetireIdentity, Outcome: audit.Allowed,
			Origin:   audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "b"}, Source: "192.0.2.1", Trace: "0af7651916cd43dd8448eb211c80319c"},
			Identity: audit.Actor{Issuer: entra.Issuer, ID: entra.Subject}, State: "retired", Label: "Ward 7", Scopes: "read:x write:x",
			Other: audit.Actor{Issuer: other.Issuer, ID: other.Subject}, N: 3,
		},
	}
	writes, err := identityChanges(change)
	if err != nil {
		t.Fatal(err)
	}
	writes = append(writes, write{row: identityIntentRow(writes[0].row.PartitionKey, change.Record)})
	first := change
	first.Identity = identity.Identity{Key: other, State: identity.Pending, Kind: identity.User}
	first.Queue = &identity.Queue{Pending: 1}
	first.Record.Identity, first.Record.Other = audit.Actor{Issuer: other.Issuer, ID: other.Subject}, audit.Actor{}
	more, err := identityChanges(first)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range append(writes, more...) {
		text, err := json.Marshal(w.row)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, []string{"insert ", "merge ", "remove "}[w.verb]+string(w.match)+" "+string(text))
	}
	want, err := os.ReadFile("testdata/identities.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); diff != "" {
		t.Errorf("rows (-testdata/identities.txt +got):\n%s", diff)
	}
}

func TestADamagedIdentityIsAnError(t *testing.T) {
	change := storetest.Asked(identity.Opened{}, storetest.Caller())
	for column, value := range map[string]any{
		"state": "nonsense", "n": "1", "kind": 1, "label": true, "scopes": 1, "successor": "nonsense", "created": "nonsense", "modified": "nonsense", "seen": "nonsense",
	} {
		row, err := identityRow(change.Identity)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readIdentity(found{row: row, exists: true}); err != nil {
			t.Fatal(err)
		}
		row.Properties[column] = value
		if _, err := readIdentity(found{row: row, exists: true}); err == nil || !strings.Contains(err.Error(), `"`+column+`"`) || strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%s: %v", column, err)
		}
		delete(row.Properties, column)
		if _, err := readIdentity(found{row: row, exists: true}); (err == nil) == (column == "state" || column == "n") {
			t.Errorf("without %s: %v", column, err)
		}
	}
	if _, err := readIdentity(found{row: entity("x", "~head", columns{"state": "approved"}), exists: true}); err == nil {
		t.Error("a row of another kind was read")
	}
	for _, damaged := range []columns{{}, {"pending": "1"}} {
		if _, err := readQueue(found{row: entity("x", queueKey, damaged), exists: true}); err == nil {
			t.Errorf("%v was read", damaged)
		}
	}
}

// What lies behind the identities of an issuer is in no list, however many records there are.
func TestListsOfIdentitiesEndBeforeTheirRecords(t *testing.T) {
	for _, key := range []string{queueKey, identityAuditKey(audit.Record{Time: time.Unix(0, 0), ID: "x"}), identityAuditKey(audit.Record{Time: time.Now(), ID: "x"})} {
		if key < identityEnd {
			t.Errorf("%q is in the range of a list", key)
		}
		if err := checkKeys("x", key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, subject := range []string{"\x00", "\xff\xff", uuid.Max.String(), uuid.Nil.String(), strings.Repeat("\xff", 255)} {
		partition, row, err := identityKeys(identity.Key{Issuer: strings.Repeat("\xff", 255), Subject: subject})
		if err != nil || row >= identityEnd {
			t.Errorf("%q, %v", row, err)
		}
		if err := checkKeys(partition, row); err != nil {
			t.Error(err)
		}
	}
}

// TestColumnsOfANewerInstanceStayWithIdentities: during an upgrade both write the same rows.
func TestColumnsOfANewerInstanceStayWithIdentities(t *testing.T) {
	a := start(t)
	s := a.store(t, account, a.client).Identities()
	asked := storetest.Asked(identity.Opened{}, storetest.Caller())
	if err := s.Commit(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	partition, row, err := identityKeys(asked.Identity.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{row, queueKey} {
		f, err := get(t.Context(), "testing", s.identities, partition, key)
		if err == nil {
			err = s.merge(t.Context(), "testing", s.identities, write{merge, entity(partition, key, columns{"newer": "stays"}), f.etag})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	now, _, err := s.Reopen(t.Context(), asked.Record)
	if err = errors.Join(err, s.Commit(t.Context(), storetest.Let(now)), s.Seen(t.Context(), asked.Identity.Key, storetest.Start)); err != nil {
		t.Fatal(err)
	}
	all := a.dump(t, identities, partition)
	for _, key := range []string{row, queueKey} {
		if text := all[partition+" "+key]; !strings.Contains(text, `"newer":"stays"`) {
			t.Errorf("%s lost a column: %s", key, text)
		}
	}
}

// registry is an instance of the registry on this store behind a network. Its pauses are a tenth as long.
func (a azurite) registry(t *testing.T, plan faults.Plan) *identity.Registry {
	t.Helper()
	wait := func(ctx context.Context, d time.Duration) error {
		select {
		case <-time.After(d / 10):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	store := a.store(t, account, faults.NewTransport(a.client.Do, plan)).Identities()
	return identity.New(store, identity.Clock{Now: time.Now, Wait: wait}, rand.Reader)
}

// checkIdentities holds all rows of some issuers to the invariants between rows.
func (a azurite) checkIdentities(t *testing.T, issuers ...string) {
	t.Helper()
	tables := rowcheck.Tables{}
	table := func(name, partition string) (rows []rowcheck.Row) {
		for key, text := range a.dump(t, name, partition) {
			row := rowcheck.Row{}
			if err := json.Unmarshal([]byte(text), &row); err != nil {
				t.Fatal(err)
			}
			row["PartitionKey"], row["RowKey"], _ = strings.Cut(key, " ")
			rows = append(rows, row)
		}
		return rows
	}
	for _, issuer := range issuers {
		partition, _, _ := strings.Cut(identity.Key{Issuer: issuer}.ID(), "~")
		tables.Identities = append(tables.Identities, table(identities, partition)...)
	}
	tables.Journal = table(journal, "")
	for _, v := range rowcheck.Check(tables, rowcheck.Options{}) {
		t.Error(v)
	}
	if len(tables.Identities) == 0 {
		t.Error("there are no rows")
	}
}

// AUT-3: over a network that loses requests and replies, strangers at three instances leave a row, a record and a place each; an
// administrator's calls are carried out once each.
func TestAUT3_OverABadNetwork(t *testing.T) {
	a := start(t)
	seed := faults.Seed(t)
	var instances []*identity.Registry
	for i := range uint64(3) {
		instances = append(instances, a.registry(t, faults.Seeded(seed+i, 0.1, faults.All(20*time.Millisecond)...)))
	}
	issuer := "https://id.example/" + storetest.Random()
	admin := audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "admin"}}
	const strangers = 12
	keys := make([]identity.Key, strangers)
	var pending, approved atomic.Int64
	var all sync.WaitGroup
	again := func(err error) bool { return errors.Is(err, commit.ErrBusy) || errors.Is(err, commit.ErrUnavailable) }
	for i := range keys {
		keys[i] = identity.Key{Issuer: issuer, Subject: uuid.NewString()}
		for _, r := range instances {
			all.Go(func() {
				state, err := r.Ask(t.Context(), audit.Origin{}, keys[i], identity.App)
				for again(err) {
					state, err = r.Ask(t.Context(), audit.Origin{}, keys[i], identity.App)
				}
				if err != nil || state != identity.Pending {
					t.Errorf("%q, %v", state, err)
				}
				pending.Add(1)
			})
		}
	}
	all.Wait()
	for i := range strangers / 2 { // each is the successor of the one beside it, by two instances at once
		for _, r := range instances[:2] {
			all.Go(func() {
				approval := identity.Approval{Replaces: &keys[strangers/2+i]}
				_, err := r.Approve(t.Context(), admin, nil, keys[i], approval)
				for again(err) {
					_, err = r.Approve(t.Context(), admin, nil, keys[i], approval)
				}
				if err != nil {
					t.Error(err)
				}
				approved.Add(1)
			})
		}
	}
	all.Wait()
	if pending.Load() != 3*strangers || approved.Load() != strangers {
		t.Errorf("%d, %d", pending.Load(), approved.Load())
	}
	records := 0
	partition, _, _ := strings.Cut(keys[0].ID(), "~")
	for key := range a.dump(t, identities, partition) {
		if strings.Contains(key, " "+identityAuditPrefix) {
			records++
		}
	}
	if records != 2*strangers {
		t.Errorf("%d records, want %d", records, 2*strangers)
	}
	a.checkIdentities(t, issuer)
}

// identityCosts measures what the operations on identities cost (TestStorageCallsAreThoseDocumented).
func (a azurite) identityCosts(t *testing.T, got map[string]cost) {
	r := a.registry(t, faults.None)
	key, heir := storetest.Caller(), storetest.Caller()
	heir.Issuer = key.Issuer
	from, admin := audit.Origin{Actor: audit.Actor{Issuer: key.Issuer, ID: key.Subject}}, audit.Origin{}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	lookup := func(ctx context.Context) { _, err := r.Lookup(ctx, key); ok(err) }
	ask := func(ctx context.Context) { _, err := r.Ask(ctx, from, key, identity.App); ok(err) }
	approve := func(ctx context.Context) {
		_, err := r.Approve(ctx, admin, nil, key, identity.Approval{})
		ok(err)
	}
	got["look up an identity"] = measured(lookup)
	got["ask, by somebody unknown"] = measured(ask)
	got["ask, by somebody known"] = measured(ask)
	got["approve an identity"] = measured(approve)
	got["approve an identity again"] = measured(approve)
	got["change an identity"] = measured(func(ctx context.Context) {
		_, err := r.Change(ctx, admin, nil, key, identity.Patch{State: identity.Disabled})
		ok(err)
	})
	got["note that an identity called"] = measured(func(ctx context.Context) { ok(r.Seen(ctx, key)) })
	got["register an identity"] = measured(func(ctx context.Context) {
		_, err := r.Register(ctx, admin, nil, identity.Key{Issuer: key.Issuer, Subject: uuid.NewString()}, identity.Terms{})
		ok(err)
	})
	_, err := r.Ask(t.Context(), audit.Origin{}, heir, identity.App)
	ok(err)
	got["approve a successor"] = measured(func(ctx context.Context) {
		_, err := r.Approve(ctx, admin, nil, heir, identity.Approval{Replaces: &key})
		ok(err)
	})
	got["list the identities of an issuer"] = measured(func(ctx context.Context) {
		all, _, err := r.List(ctx, []string{key.Issuer}, "", identity.Key{}, 100)
		if ok(err); len(all) != 3 {
			t.Errorf("%d identities", len(all))
		}
	})
	a.checkIdentities(t, key.Issuer)
}
