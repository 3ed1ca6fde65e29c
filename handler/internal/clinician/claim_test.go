package clinician_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/memstore"
)

// T-25 of threats.md: two clinicians, one identifier.
func TestT25_AnIdentifierIsOneClinicians(t *testing.T) {
	inLab(t, func(l *lab) {
		l.create("ada", "x")
		if err := l.Create(l.Context(), clinic, nil, named("bob"), nurse("x")); !errors.Is(err, clinician.ErrTaken) {
			t.Errorf("got %v", err)
		}
		if l.is("bob").N != 0 {
			t.Error("bob is known")
		}
		l.create("bob", "y")
		if err := l.Change(l.Context(), clinic, nil, named("bob"), clinician.Fields{Identifier: to("x")}); !errors.Is(err, clinician.ErrTaken) {
			t.Errorf("got %v", err)
		}
		l.change("ada", clinician.Fields{Identifier: to("z")})
		l.change("bob", clinician.Fields{Identifier: to("x")}) // at once
		if l.owner("x") != "bob" || l.owner("z") != "ada" || l.owner("y") != "" {
			t.Errorf("x is %q's, z %q's, y %q's", l.owner("x"), l.owner("z"), l.owner("y"))
		}
		if err := l.Change(l.Context(), clinic, nil, named("ada"), clinician.Fields{Identifier: to("x")}); !errors.Is(err, clinician.ErrTaken) {
			t.Errorf("got %v", err)
		}
		l.change("ada", clinician.Fields{Identifier: to("y")})
		l.change("ada", clinician.Fields{Identifier: to("y")}) // its own
		if l.owner("y") != "ada" {
			t.Errorf("y is %q's", l.owner("y"))
		}
	})
}

// rounds is how many schedules are tried: LATCHKEY_SCHEDULES, else few.
func rounds(t *testing.T, usual int) int {
	if text := os.Getenv("LATCHKEY_SCHEDULES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return usual
}

// DIR-2: 64 creators of one identifier at once, with lost requests and replies, and processes that are killed at any operation. At most
// one is told that it has it, and whoever is, has it; and 60 s later the identifier is somebody's, or anybody's.
func TestDIR2_OneOf64CreatorsHasTheIdentifier(t *testing.T) {
	won := 0
	for seed := range uint64(rounds(t, 60)) {
		inLab(t, func(l *lab) {
			dice := rand.New(rand.NewPCG(seed, 2))
			const creators = 64
			results := make([]error, creators)
			killed := make([]bool, creators)
			var all sync.WaitGroup
			for i := range creators {
				store := &chaotic{Store: l.store.Clinicians(), dice: rand.New(rand.NewPCG(seed, uint64(i))), lossy: []float64{0, 0.05, 0.3}[seed%3], left: -1}
				if dice.IntN(3) == 0 {
					store.left, killed[i] = 1+dice.IntN(6), true
				}
				delay := time.Duration(dice.IntN(3)) * time.Millisecond
				service := l.on(store, seed*creators+uint64(i))
				all.Go(func() {
					time.Sleep(delay)
					results[i] = service.Create(l.Context(), clinic, nil, named(fmt.Sprint("c", i)), nurse("x"))
				})
			}
			all.Wait()
			winner := ""
			for i, err := range results {
				switch {
				case err == nil && winner != "":
					t.Fatalf("seed %d: %s and c%d were told that they have it", seed, winner, i)
				case err == nil:
					winner = fmt.Sprint("c", i)
					won++
				case errors.Is(err, clinician.ErrTaken), errors.Is(err, commit.ErrUnavailable):
				case errors.Is(err, clinician.ErrExists):
					t.Errorf("seed %d: c%d: %v", seed, i, err)
				default:
					t.Errorf("seed %d: c%d: %v", seed, i, err)
				}
			}
			if winner != "" && l.owner("x") != winner {
				t.Fatalf("seed %d: %s was told that it has it, and it is %q's", seed, winner, l.owner("x"))
			}
			time.Sleep(time.Minute)
			owner := l.owner("x")
			err := l.Create(l.Context(), clinic, nil, named("late"), nurse("x"))
			switch {
			case owner == "" && err != nil:
				t.Fatalf("seed %d: after 60 s it is nobody's, and cannot be had: %v", seed, err)
			case owner != "" && !errors.Is(err, clinician.ErrTaken):
				t.Fatalf("seed %d: it is %s's, and late got it: %v", seed, owner, err)
			case owner == "" && l.owner("x") != "late":
				t.Fatalf("seed %d: late got it, and it is %q's", seed, l.owner("x"))
			}
		})
	}
	if won == 0 {
		t.Error("nobody ever won: nothing was tried")
	}
}

// The same without faults: one wins, and all others hear that it is taken.
func TestDIR2_64CreatorsWithoutFaults(t *testing.T) {
	inLab(t, func(l *lab) {
		if won := l.race(t); won != 1 {
			t.Errorf("%d have it", won)
		}
	})
}

// Of many who create one clinician, each with the one identifier, one does it, and the identifier stays with them.
func TestDIR2_ManyCreateOneClinician(t *testing.T) {
	inLab(t, func(l *lab) {
		results := make([]error, 16)
		var all sync.WaitGroup
		for i := range results {
			all.Go(func() { results[i] = l.Create(l.Context(), clinic, nil, named("ada"), nurse("x")) })
		}
		all.Wait()
		won := 0
		for _, err := range results {
			if err == nil {
				won++
			} else if !errors.Is(err, clinician.ErrExists) {
				t.Error(err)
			}
		}
		if won != 1 || l.owner("x") != "ada" {
			t.Errorf("%d created ada, and x is %q's", won, l.owner("x"))
		}
	})
}

// slow stops one operation at a point, for as long as the test says.
type slow struct {
	at    memstore.Op
	nth   int
	reach chan struct{}
	go_   chan struct{}
}

func (s *slow) fault(op memstore.Op, when memstore.When) error {
	if op == s.at && when == memstore.Before {
		if s.nth--; s.nth == 0 {
			close(s.reach)
			<-s.go_
		}
	}
	return nil
}

// Whoever is stopped for longer than 60 s between two steps finds the identifier gone, and lets it go: both cannot have it. Stopped
// behind the confirmation, it keeps it.
func TestDIR2_WhoComesLateYields(t *testing.T) {
	for _, step := range []struct {
		at    memstore.Op
		nth   int
		loses bool
	}{
		{memstore.OpPut, 1, true},             // before the claim
		{memstore.OpClinicianCommit, 1, true}, // between claim and commit
		{memstore.OpPut, 2, false},            // between commit and confirmation: the row names it, and nobody may take it over
	} {
		inLab(t, func(l *lab) {
			s := &slow{step.at, step.nth, make(chan struct{}), make(chan struct{})}
			l.store.Fault = s.fault
			var ada error
			var done sync.WaitGroup
			done.Go(func() { ada = l.Create(l.Context(), clinic, nil, named("ada"), nurse("x")) })
			<-s.reach
			time.Sleep(59 * time.Second)
			early := l.Create(l.Context(), clinic, nil, named("early"), nurse("x"))
			if claimed := step.at != memstore.OpPut || step.nth > 1; claimed && !errors.Is(early, clinician.ErrTaken) {
				t.Errorf("%+v: taken over before 60 s: %v", step, early)
			} else if !claimed {
				l.change("early", clinician.Fields{Identifier: to("")}) // for bob
			}
			time.Sleep(2 * time.Second)
			bob := l.Create(l.Context(), clinic, nil, named("bob"), nurse("x"))
			close(s.go_)
			done.Wait()
			synctest.Wait()
			loser, winner := bob, "ada"
			if step.loses {
				loser, winner = ada, "bob"
			}
			if loser == nil || l.owner("x") != winner {
				t.Errorf("%+v: ada %v, bob %v, and it is %q's", step, ada, bob, l.owner("x"))
			}
		})
	}
}

// Who commits after somebody took the claim over takes the identifier off again, with a record of its own.
func TestDIR2_ALostIdentifierIsTakenOff(t *testing.T) {
	inLab(t, func(l *lab) {
		s := &slow{memstore.OpClinicianCommit, 1, make(chan struct{}), make(chan struct{})}
		l.store.Fault = s.fault
		var ada error
		var done sync.WaitGroup
		done.Go(func() { ada = l.Create(l.Context(), clinic, nil, named("ada"), nurse("x")) })
		<-s.reach
		l.shift = 61 * time.Second // an instance whose clock is ahead: no clock makes two owners
		if err := l.Create(l.Context(), clinic, nil, named("bob"), nurse("x")); err != nil {
			t.Error(err)
		}
		close(s.go_)
		done.Wait()
		records := l.store.Clinicians().Records(named("ada"))
		if !errors.Is(ada, clinician.ErrTaken) || l.owner("x") != "bob" || l.is("ada").Identifier != "" ||
			len(records) != 2 || records[1].Action != audit.YieldIdentifier {
			t.Errorf("%v; x is %q's; ada %+v; %+v", ada, l.owner("x"), l.is("ada"), records)
		}
	})
}

// The test of the test: on a store that writes whatever the version is, more than one does.
func TestTheRaceIsOne(t *testing.T) {
	inLab(t, func(l *lab) {
		l.store.Unconditional = true
		if won := l.race(t); won < 2 {
			t.Errorf("%d have it on a store that compares nothing: there was no race", won)
		}
	})
}

// race lets 64 create somebody of their own with one identifier, all of whom have seen it free. It answers how many got it.
func (l *lab) race(t *testing.T) (won int) {
	results := make([]error, 64)
	var all, opened sync.WaitGroup
	opened.Add(len(results))
	l.store.Fault = func(op memstore.Op, when memstore.When) error {
		if op == memstore.OpClinicianOpen && when == memstore.After {
			opened.Done()
			opened.Wait()
		}
		return nil
	}
	for i := range results {
		all.Go(func() { results[i] = l.Create(l.Context(), clinic, nil, named(fmt.Sprint("c", i)), nurse("x")) })
	}
	all.Wait()
	for i, err := range results {
		if err == nil {
			won++
		} else if !errors.Is(err, clinician.ErrTaken) {
			t.Errorf("c%d: %v", i, err)
		}
	}
	return won
}
