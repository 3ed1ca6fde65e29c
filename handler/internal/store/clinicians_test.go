package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/faults"
	"latchkey/handler/internal/storetest"
	"latchkey/handler/internal/subject"
)

// TestClinicianFormat pins every stored key and column of clinicians, claims and logins, as TestFormat does those of others.
func TestClinicianFormat(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 30, 0, 123456789, time.FixedZone("", 3600)) // 09:30 UTC
	record := audit.Record{
		ID: "rec1", Time: at, Announced: at.Add(time.Minute), Action: audit.ChangeClinician, Outcome: audit.Allowed,
		Origin:  audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "clinic"}, Source: "192.0.2.1", Trace: "0af7651916cd43dd8448eb211c80319c"},
		Subject: subject.ID{Kind: subject.Clinician, Name: "Ada-1"}, N: 3,
	}
	ada := clinician.Clinician{
		Subject: record.Subject, LoginActive: true, Identifier: "Zoë 7", Products: []string{"send"}, Groups: []string{"send clinician"}, LastDay: "2028-02-29",
		Created: at, CreatedBy: "tenant/a", Modified: at.Add(time.Minute), ModifiedBy: "tenant/b", N: 3, Version: "etag1",
	}
	writes, err := clinicianChanges(clinician.Change{Clinician: ada, Record: record})
	if err != nil {
		t.Fatal(err)
	}
	bare := clinician.Clinician{Subject: record.Subject, N: 1}
	first, err := clinicianChanges(clinician.Change{Clinician: bare, Record: record})
	if err != nil {
		t.Fatal(err)
	}
	claim, err := claimRow(clinician.Claim{Identifier: "Zoë 7", Clinician: ada.Subject, Try: "rec1", At: at, Confirmed: true})
	if err != nil {
		t.Fatal(err)
	}
	login := record
	login.Action, login.Subject, login.N = audit.LogIn, subject.ID{Kind: subject.Device, Name: "tablet"}, 0
	login.Clinician, login.Identifier = "Ada-1", "Zoë 7"
	logins, err := loginWrites("sid1", login)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range append(append(append(writes, first[0]), write{row: claim}), logins...) {
		text, err := json.Marshal(w.row)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, []string{"insert ", "merge ", "remove "}[w.verb]+string(w.match)+" "+string(text))
	}
	want, err := os.ReadFile("testdata/clinicians.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); diff != "" {
		t.Errorf("rows (-testdata/clinicians.txt +got):\n%s", diff)
	}
}

func TestADamagedClinicianIsAnError(t *testing.T) {
	who := storetest.Nurse()
	for column, value := range map[string]any{
		"active": "true", "n": "1", "own_identifier": 1, "own_products": "nonsense", "own_groups": "nonsense", "own_last_day": true,
		"own_created": "nonsense", "own_modified": "nonsense",
	} {
		row, err := clinicianRow("x", who)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readClinician(who.Subject, found{row: row, exists: true}); err != nil {
			t.Fatal(err)
		}
		row.Properties[column] = value
		if _, err := readClinician(who.Subject, found{row: row, exists: true}); err == nil || !strings.Contains(err.Error(), `"`+column+`"`) || strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%s: %v", column, err)
		}
	}
	for column, value := range map[string]any{"subject": "nonsense", "at": "nonsense", "confirmed": "true", "try": 1} {
		row, err := claimRow(clinician.Claim{Identifier: "x", Clinician: who.Subject, At: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		row.Properties[column] = value
		if _, err := readClaim("x", found{row: row, exists: true}); err == nil || strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%s: %v", column, err)
		}
	}
}

// staff is an instance of the service of clinicians behind a network that may fail. Its pauses are a tenth as long.
func (a azurite) staff(t *testing.T, plan faults.Plan) *clinician.Service {
	t.Helper()
	wait := func(ctx context.Context, d time.Duration) error {
		select {
		case <-time.After(d / 10):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	store := a.store(t, account, faults.NewTransport(a.client.Do, plan)).Clinicians()
	return clinician.New(store, func() *time.Location { return time.UTC }, clinician.Clock{Now: time.Now, Wait: wait}, rand.Reader,
		func(context.Context, string) (func(), error) { return func() {}, nil })
}

func fieldsOf(identifier string) clinician.Fields {
	yes, none, groups := true, []string{}, []string{"send clinician"}
	return clinician.Fields{LoginActive: &yes, Products: &none, Groups: &groups, Identifier: &identifier}
}

func drawClinician() subject.ID { return storetest.Nurse().Subject }

// DIR-2 on the real storage: 64 creators of one identifier at once, in four processes whose network loses replies, delivers twice and
// late. At most one is told that it has it, and whoever is, has it by both rows.
func TestDIR2_OneOf64CreatorsOnTheRealStorage(t *testing.T) {
	p := newPromise(t)
	seed := faults.Seed(t)
	for round := range 3 {
		var plans []*clinician.Service
		for i := range uint64(4) {
			plan := faults.None
			if round > 0 {
				plan = faults.Seeded(seed+i, 0.1, faults.All(20*time.Millisecond)...)
			}
			plans = append(plans, p.staff(t, plan))
		}
		identifier := storetest.Random()
		who, results := make([]subject.ID, 64), make([]error, 64)
		var all sync.WaitGroup
		for i := range who {
			who[i] = drawClinician()
			all.Go(func() {
				results[i] = plans[i%len(plans)].Create(t.Context(), clinic, nil, who[i], fieldsOf(identifier))
			})
		}
		all.Wait()
		store := p.store(t, account, p.client).Clinicians()
		claim, err := store.Claim(t.Context(), identifier)
		if err != nil || claim == nil {
			t.Fatalf("%+v, %v", claim, err)
		}
		tally := map[string]int{}
		for i, err := range results {
			is, failed := store.Clinician(t.Context(), who[i])
			if failed != nil {
				t.Fatal(failed)
			}
			if is != nil {
				p.watch(t, who[i])
			}
			switch {
			case err == nil:
				tally["has it"]++
				if claim.Clinician != who[i] || is == nil || is.Identifier != identifier {
					t.Errorf("round %d: %d was told that it has it: %+v, %+v", round, i, claim, is)
				}
			case errors.Is(err, clinician.ErrTaken):
				tally["taken"]++
			case round > 0 && errors.Is(err, commit.ErrUnavailable):
				tally["unknown"]++
			default:
				t.Errorf("round %d: %d: %v", round, i, err)
			}
		}
		if tally["has it"] > 1 || round == 0 && (tally["has it"] != 1 || tally["taken"] != 63) {
			t.Errorf("round %d: %v", round, tally)
		}
		t.Logf("round %d: %v", round, tally)
	}
}

// clinicianCosts measures what the operations on clinicians cost (TestStorageCallsAreThoseDocumented).
func (p *promise) clinicianCosts(t *testing.T, got map[string]cost) {
	s := p.staff(t, faults.None)
	store := p.store(t, account, p.client)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	ada, x := drawClinician(), storetest.Random()
	p.watch(t, ada)
	got["create a clinician"] = measured(func(ctx context.Context) { ok(s.Create(ctx, clinic, nil, ada, fieldsOf(x))) })
	none := clinician.Fields{Groups: new([]string)}
	got["change a clinician"] = measured(func(ctx context.Context) { ok(s.Change(ctx, clinic, nil, ada, none)) })
	got["change a clinician to what they are"] = measured(func(ctx context.Context) { ok(s.Change(ctx, clinic, nil, ada, none)) })
	got["change a clinician's identifier"] = measured(func(ctx context.Context) {
		x = storetest.Random()
		ok(s.Change(ctx, clinic, nil, ada, fieldsOf(x)))
	})
	got["create a clinician, the identifier taken"] = measured(func(ctx context.Context) {
		if err := s.Create(ctx, clinic, nil, drawClinician(), fieldsOf(x)); !errors.Is(err, clinician.ErrTaken) {
			t.Error(err)
		}
	})
	of := storetest.Device()
	c := activation.Credential{Session: storetest.Random(), Key: storetest.Hash()}
	ok(store.Commit(t.Context(), activation.Change{
		Head:  activation.Head{Subject: of, Active: true, N: 1, Credentials: []activation.Credential{c}},
		Added: []activation.Credential{c}, Record: storetest.Record(of, audit.RedeemActivation),
	}))
	through := clinician.Through{Device: of, Session: c.Session, Token: storetest.Random()}
	logIn := func(want audit.Reason, identifier string) cost {
		return measured(func(ctx context.Context) {
			_, _, err := s.LogIn(ctx, audit.Origin{}, through, identifier)
			var refusal *activation.Refusal
			if why := audit.Reason(""); errors.As(err, &refusal) && refusal.Reason != want || err == nil && want != why || err != nil && refusal == nil {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	got["log in"] = logIn("", x)
	got["log in, an unknown identifier"] = logIn(audit.ReasonNotFound, storetest.Random())
	past := "2001-01-01"
	ok(s.Change(t.Context(), clinic, nil, ada, clinician.Fields{LastDay: &past}))
	got["log in, the first time the contract is over"] = logIn(audit.ReasonContractEnded, x)
	got["log in, inactive"] = logIn(audit.ReasonInactive, x)
}
