package identity_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/memstore"
)

// losses are the operations that a network can lose.
var losses = []memstore.Op{memstore.OpIdentityOpen, memstore.OpIdentityCommit, memstore.OpIdentityReopen, memstore.OpIdentityReopenState}

// together runs n at once and waits for all.
func together(n int, do func(i int)) {
	var ready, done sync.WaitGroup
	ready.Add(1)
	for i := range n {
		done.Go(func() { ready.Wait(); do(i) })
	}
	ready.Done()
	done.Wait()
}

// asks asks until there is an answer.
func (l *lab) asks(r *identity.Registry, key identity.Key) (identity.State, error) {
	for {
		state, err := r.Ask(l.Context(), by(key), key, identity.App)
		if !again(err) {
			return state, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// AUT-3: 64 requests of one stranger to four instances leave one row, one record and one place in the queue.
func TestAUT3_OneStrangerIsRecordedOnce(t *testing.T) {
	random := seeded(t)
	for range 20 {
		l := newLab(t)
		l.lossy(random, 0.1, losses...)
		instances := []*identity.Registry{l.instance(), l.instance(), l.instance(), l.instance()}
		states, failed := make([]identity.State, 64), make([]error, 64)
		together(64, func(i int) { states[i], failed[i] = l.asks(instances[i%4], machine) })
		l.store.Fault = nil
		for i := range states {
			if states[i] != identity.Pending || failed[i] != nil {
				t.Errorf("%q, %v", states[i], failed[i])
			}
		}
		l.equal("records", l.actions(tenant), []string{"ask pending"})
		l.equal("queue", l.pending(tenant), int64(1))
		l.equal("N", l.read(machine).N, int64(1))
	}
}

// AUT-3: of 2,000 strangers of one issuer exactly 1,000 wait, whatever is lost and however many instances they ask.
func TestAUT3_AThousandWait(t *testing.T) {
	const strangers = 2000
	l := newLab(t)
	l.lossy(seeded(t), 0.02, losses...)
	var instances []*identity.Registry
	for range 8 {
		instances = append(instances, l.instance())
	}
	var pending, full atomic.Int64
	together(strangers, func(i int) {
		state, err := l.asks(instances[i%len(instances)], identity.Key{Issuer: tenant, Subject: fmt.Sprint("stranger ", i)})
		switch {
		case err == nil && state == identity.Pending:
			pending.Add(1)
		case errors.Is(err, identity.ErrFull):
			full.Add(1)
		default:
			t.Errorf("%q, %v", state, err)
		}
	})
	l.store.Fault = nil
	all, _, err := l.List(t.Context(), []string{tenant}, identity.Pending, identity.Key{}, 2*strangers)
	l.ok(err)
	l.equal("waiting, refused, rows, records, queue",
		[]int64{pending.Load(), full.Load(), int64(len(all)), int64(len(l.actions(tenant))), l.pending(tenant)}, []int64{1000, 1000, 1000, 1000, 1000})

	// There is room for one more as soon as one is let in or sent away, and for others' all the time; a refusal writes nothing.
	late := identity.Key{Issuer: tenant, Subject: "late"}
	intents := len(l.store.Intents())
	_, err = l.Ask(t.Context(), by(late), late, identity.App)
	l.refused("late", err, identity.ErrFull)
	l.equal("intents", len(l.store.Intents()), intents)
	l.ask(rebuilt)
	_, err = l.Change(t.Context(), by(admin), nil, all[0].Key, identity.Patch{State: identity.Disabled})
	l.ok(err)
	l.ask(late)
	_, err = l.Ask(t.Context(), by(machine), machine, identity.App)
	l.refused("full again", err, identity.ErrFull)
}

// AUT-3: what several administrators do at once has an order: each change has one record, and the last one stands.
func TestAUT3_AdministratorsAtOnce(t *testing.T) {
	first, second := identity.Terms{Scopes: []string{"first"}}, identity.Terms{Scopes: []string{"second"}}
	seen := map[string]bool{}
	random := seeded(t)
	for range 300 {
		l := newLab(t)
		l.ask(machine)
		order := random.Perm(4)
		l.lossy(random, 0.1, losses...)
		does := []func(*identity.Registry) error{
			func(r *identity.Registry) error {
				_, err := r.Approve(t.Context(), by(admin), nil, machine, identity.Approval{Terms: first})
				return err
			},
			func(r *identity.Registry) error {
				_, err := r.Approve(t.Context(), by(admin), nil, machine, identity.Approval{Terms: second})
				return err
			},
			func(r *identity.Registry) error {
				_, err := r.Change(t.Context(), by(admin), nil, machine, identity.Patch{State: identity.Disabled})
				return err
			},
			func(r *identity.Registry) error { _, err := l.asks(r, machine); return err },
		}
		results := make([]error, len(does))
		together(len(does), func(i int) { results[order[i]] = does[order[i]](l.instance()) })
		l.store.Fault = nil
		is := l.read(machine)
		records := l.store.Identities().Records(tenant)
		for i, record := range records {
			l.equal("number", record.N, int64(i+1))
		}
		last := records[len(records)-1]
		waiting := int64(0)
		if is.State == identity.Pending { // nobody got through
			waiting++
		}
		l.equal("the last one stands", []any{last.State, last.N, l.pending(tenant)}, []any{string(is.State), is.N, waiting})

		actions := l.actions(tenant)
		known := slices.Clone(results)
		if slices.ContainsFunc(known, again) {
			continue // who got no answer does not know; the records were looked at
		}
		seen[fmt.Sprint(actions[1:])] = true
		switch {
		case results[2] != nil || results[3] != nil:
			t.Errorf("disabling %v, asking %v", results[2], results[3])
		case errors.Is(results[0], identity.ErrDisabled) && errors.Is(results[1], identity.ErrDisabled):
			l.equal("disabled first", actions[1:], []string{"change disabled"})
		case results[0] == nil && results[1] == nil:
			t.Error("both were approved")
		case results[0] == nil || results[1] == nil:
			l.equal("approved first", actions[1:], []string{"approve approved", "change disabled"})
			other := errors.Join(results[0], results[1])
			if !errors.Is(other, identity.ErrApproved) && !errors.Is(other, identity.ErrDisabled) {
				t.Errorf("the other got %v", other)
			}
		default:
			t.Errorf("%v, %v", results[0], results[1])
		}
	}
	if len(seen) < 2 {
		t.Errorf("only %v happened", seen)
	}
}

// errCrash: the process is gone, and with it all that it would have done.
var errCrash = errors.New("crashed")

// AUT-3: a successor takes two commits. Wherever the instance dies between them, the same call again completes it; at no time are
// both let in, and each change has one record.
func TestAUT3_ASuccessionSurvivesACrashAtEveryStep(t *testing.T) {
	approval := identity.Approval{Terms: identity.Terms{Scopes: []string{"a"}}, Replaces: &machine}
	steps := 0
	for crashed := true; crashed; steps++ {
		l := newLab(t)
		l.in(identity.Approved, machine)
		l.ask(rebuilt)
		n, crashing, looking := 0, true, false
		var both bool
		l.store.Fault = func(memstore.Op, memstore.When) error {
			if looking {
				return nil
			}
			looking = true
			old, _ := l.store.Identities().Lookup(context.Background(), machine)
			heir, _ := l.store.Identities().Lookup(context.Background(), rebuilt)
			both = both || old.State == identity.Approved && heir.State == identity.Approved
			looking = false
			if n++; crashing && n > steps {
				return errCrash
			}
			return nil
		}
		dying := identity.New(l.store.Identities(), identity.Clock{
			Now: func() time.Time { return noon }, Wait: func(context.Context, time.Duration) error { return errCrash },
		}, rand.Reader)
		_, err := dying.Approve(t.Context(), by(admin), nil, rebuilt, approval)
		if crashed = err != nil; crashed && !errors.Is(err, commit.ErrUnavailable) {
			t.Fatalf("step %d: %v", steps, err)
		}
		crashing = false
		answer, err := l.Approve(t.Context(), by(admin), nil, rebuilt, approval)
		l.ok(err)
		l.equal("answer", []any{answer.State, answer.Label, answer.Scopes}, []any{identity.Approved, "it", []string{"a"}})
		old := l.read(machine)
		l.equal("old", []any{old.State, old.Successor}, []any{identity.Retired, rebuilt})
		l.equal("records", l.actions(tenant), []string{"ask pending", "approve approved", "retire retired"})
		l.equal("records", l.actions(rebuilt.Issuer), []string{"ask pending", "approve approved"})
		l.equal("queue", l.pending(rebuilt.Issuer), int64(0))
		if both {
			t.Errorf("step %d: both were let in", steps)
		}
	}
	if steps < 10 {
		t.Errorf("only %d steps", steps)
	}
}

// A place in the room of those who ask is given back, and who finds none is told at once.
func TestAUT3_AskingHasABound(t *testing.T) {
	l := newLab(t)
	inside, held := make(chan bool, 100), make(chan bool)
	l.store.Fault = func(op memstore.Op, when memstore.When) error {
		if op == memstore.OpIdentityReopen && when == memstore.Before {
			inside <- true
			<-held
		}
		return nil
	}
	results := make(chan error, 65)
	ask := func(i int) {
		key := identity.Key{Issuer: tenant, Subject: fmt.Sprint(i)}
		_, err := l.Ask(t.Context(), by(key), key, identity.App)
		results <- err
	}
	for i := range 65 {
		go ask(i)
	}
	<-inside // one has its turn, 63 wait for it
	l.refused("the 65th", <-results, commit.ErrBusy)
	close(held)
	for range 64 {
		l.ok(<-results)
	}
	ask(99)
	l.ok(<-results)
	l.equal("queue", l.pending(tenant), int64(65))
}
