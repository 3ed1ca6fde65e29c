package activation_test

import (
	"context"
	"encoding/base64"
	"errors"
	"sync"
	"testing"

	"golang.org/x/crypto/scrypt"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/memstore"
)

// imports puts a credential of the predecessor's into the head, as the importer does.
func (b *bench) imports(t *testing.T, code string, active bool) {
	t.Helper()
	b.policy.Imported = true
	salt := []byte(base64.StdEncoding.EncodeToString([]byte("salt")))
	key, err := scrypt.Key([]byte(code), salt, 1<<14, 8, 1, 256)
	if err != nil {
		t.Fatal(err)
	}
	record := audit.Record{ID: "imported", Time: b.now, Announced: b.now, Subject: patient, N: 1}
	opened, err := b.store.Open(t.Context(), activation.Opening{Record: record})
	if err != nil {
		t.Fatal(err)
	}
	head := opened.Head
	head.N, head.Active, head.Imported = 1, active, keyed.Imported(salt, key)
	if err := b.store.Commit(t.Context(), activation.Change{Head: head, Record: record}); err != nil {
		t.Fatal(err)
	}
}

func TestACT15_AnImportedCredentialIsUpgradedOnFirstUse(t *testing.T) {
	b := newBench(t)
	b.imports(t, "of the predecessor", true)
	_, err := b.Authorise(t.Context(), phone, patient, "another")
	wantRefusal(t, err, audit.ReasonNoCredential)

	var wait sync.WaitGroup
	sessions := make([]string, 4)
	for i := range sessions { // however many come at once, one upgrade
		wait.Go(func() {
			if grant, err := b.Authorise(t.Context(), phone, patient, "of the predecessor"); err == nil {
				sessions[i] = grant.Session()
			}
		})
	}
	wait.Wait()
	first, err := b.Authorise(t.Context(), phone, patient, "of the predecessor")
	if err != nil {
		t.Fatal(err)
	}
	for _, session := range sessions {
		if session != first.Session() {
			t.Errorf("one of the four got session %q, want the one upgrade's %q", session, first.Session())
		}
	}
	b.policy.Imported = false
	if again, err := b.Authorise(t.Context(), phone, patient, "of the predecessor"); err != nil || again.Session() != first.Session() {
		t.Errorf("after the upgrade it is one of ours: %v, %v", again, err)
	}
	records := b.store.Records(patient)
	if len(records) != 2 || records[1].Action != audit.UpgradeCredential {
		t.Errorf("records: %+v", records)
	}
}

func TestACT15_AnInactiveSubjectsImportedCredentialDoesNotWork(t *testing.T) {
	b := newBench(t)
	b.imports(t, "of the predecessor", false)
	_, err := b.Authorise(t.Context(), phone, patient, "of the predecessor")
	wantRefusal(t, err, audit.ReasonNoCredential)
}

func TestACT13_ARedeemedActivationReplacesAnImportedCredential(t *testing.T) {
	b := newBench(t)
	b.imports(t, "of the predecessor", true)
	if _, err := b.Redeem(t.Context(), phone, try(b.create(t, ""), "")); err != nil {
		t.Fatal(err)
	}
	_, err := b.Authorise(t.Context(), phone, patient, "of the predecessor")
	wantRefusal(t, err, audit.ReasonNoCredential)
}

func TestABU4_FewMayWaitOnOneImportedID(t *testing.T) {
	b := newBench(t)
	b.imports(t, "of the predecessor", true)
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.store.Fault = func(op memstore.Op, _ memstore.When) error {
		if op == memstore.OpReopen {
			once.Do(func() { close(started) })
			<-release
		}
		return nil
	}
	results := make(chan error, 20)
	for range 20 {
		go func() {
			_, err := b.Authorise(context.Background(), phone, patient, "wrong")
			results <- err
		}()
	}
	<-started
	busy := 0
	for range 12 { // eight are here, the others are turned away at once
		if err := <-results; errors.Is(err, commit.ErrBusy) {
			busy++
		}
	}
	if busy != 12 {
		t.Errorf("%d of 20 were turned away, want 12", busy)
	}
	close(release)
	for range 8 {
		wantRefusal(t, <-results, audit.ReasonNoCredential)
	}
}
