package memstore_test

import (
	"errors"
	"testing"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Store { return memstore.New() })
	t.Run("budgets", func(t *testing.T) { storetest.Buckets(t, memstore.New()) })
	t.Run("identities", func(t *testing.T) { storetest.Identities(t, memstore.New().Identities()) })
	t.Run("clinicians", func(t *testing.T) { s := memstore.New(); storetest.Clinicians(t, s.Clinicians(), s) })
}

func TestFaults(t *testing.T) {
	lost := errors.New("lost")
	store := memstore.New()
	var at memstore.When
	store.Fault = func(op memstore.Op, when memstore.When) error {
		if op == memstore.OpCommit && when == at {
			return lost
		}
		return nil
	}
	of := storetest.Patient()
	change := storetest.Creation(activation.Head{Subject: of, Active: true}, storetest.Start)
	for _, when := range []memstore.When{memstore.Before, memstore.After} {
		at = when
		if err := store.Commit(t.Context(), change); !errors.Is(err, lost) {
			t.Fatalf("got %v, want the fault", err)
		}
		_, committed, err := store.Reopen(t.Context(), change.Record)
		if err != nil || committed != bool(when) {
			t.Errorf("fault %v: committed %v, %v", when, committed, err)
		}
	}
	if n := len(store.Records(of)); n != 1 {
		t.Errorf("%d records", n)
	}
	if _, err := store.Open(t.Context(), activation.Opening{Record: storetest.Record(of, audit.RedeemActivation)}); err != nil || len(store.Intents()) != 1 {
		t.Errorf("%v, %d intents", err, len(store.Intents()))
	}
}
