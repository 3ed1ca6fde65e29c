package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
)

// errLost: nobody knows whether the commit was carried out.
var errLost = errors.New("no answer")

// lossy loses a tenth of the commits on their way, and a tenth of the replies.
type lossy struct {
	Store
	mu     sync.Mutex
	random *rand.Rand
	lost   int
}

func (l *lossy) Commit(ctx context.Context, change activation.Change) error {
	l.mu.Lock()
	before, after := l.random.Float64() < 0.1, l.random.Float64() < 0.1
	if before || after {
		l.lost++
	}
	l.mu.Unlock()
	if before {
		return errLost
	}
	if err := l.Store.Commit(ctx, change); !after {
		return err
	}
	return errLost
}

// lossRace is the protocol of package activation at its barest: after a conflict or a silence, only the own record tells who won.
func (s *suite) lossRace() {
	const racers = 64
	network := &lossy{Store: s.store, random: rand.New(rand.NewPCG(1, 2))}
	head := s.commit(Creation(s.head(Patient()), Start))
	changes := make([]activation.Change, racers)
	won, failed := make([]bool, racers), make([]error, racers)
	var ready, done sync.WaitGroup
	ready.Add(1)
	for i := range changes {
		changes[i] = Redemption(head, Start)
		done.Go(func() {
			ready.Wait()
			won[i], failed[i] = settle(s.Context(), network, changes[i])
		})
	}
	ready.Done()
	done.Wait()
	winners := 0
	for i, change := range changes {
		s.ok(failed[i])
		if won[i] {
			winners++
		}
		s.equal("a record is committed if its racer won", s.committed(change.Record), won[i])
	}
	s.equal("winners", winners, 1)
	if network.lost == 0 {
		s.Error("nothing was lost")
	}
}

// settle commits a change, and looks whether it did as often as it is not known.
func settle(ctx context.Context, store Store, change activation.Change) (won bool, err error) {
	for {
		failed := store.Commit(ctx, change)
		if failed == nil {
			return true, nil
		}
		head, committed, err := store.Reopen(ctx, change.Record)
		if err != nil || committed {
			return committed, err
		}
		if head.Version != change.Head.Version {
			// The head moved; the record may have been read just before it did.
			_, committed, err = store.Reopen(ctx, change.Record)
			return committed, err
		}
		if !errors.Is(failed, errLost) && !errors.Is(failed, commit.ErrConflict) {
			return false, failed
		}
	}
}

// announced: an intent without a change is allowed, and is no change.
func (s *suite) announced() {
	of := Patient()
	head := s.let(of)
	next := Creation(head, Start.Add(2*time.Minute))
	before := s.state(next)
	for _, record := range []audit.Record{next.Record, Record(of, audit.RevokeActivation)} {
		opened, err := s.store.Open(s.Context(), activation.Opening{Record: record})
		s.ok(err)
		s.equal("opened", opened.Head, head)
	}
	s.equal("state", s.state(next), before)
}
