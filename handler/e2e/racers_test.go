package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"latchkey/handler/internal/faults"
)

const (
	racers = 64
	// racesAtOnce are so many patients: a race is mostly waiting.
	racesAtOnce = 4
)

// TestACT6_OneOf64WinsWhateverIsLost lets 64 clients redeem one code at once, each under a key of its own, through two handlers. A
// tenth of the replies of storage is lost on the way to the handlers, and a tenth of theirs on the way to the clients, and every other
// one that lets somebody in. Who gets no answer, or a 503, asks again under the same key: one wins, and it learns so.
func TestACT6_OneOf64WinsWhateverIsLost(t *testing.T) {
	n := rounds(t, 20)
	l := newLossy(t)
	var wins atomic.Int64
	base := line()
	l.network = faults.NewTransport(func(r *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(r)
		if err == nil && r.URL.Path == redeemPath && resp.StatusCode == http.StatusOK && wins.Add(1)%2 == 1 {
			resp.Body.Close()
			return nil, faults.ErrCut
		}
		return resp, err
	}, faults.None)
	lost := []faults.Fault{{Reply: faults.Lost}}
	l.lose(faults.Seed(t), 0.1, lost, lost)

	var mu sync.Mutex
	var total race
	races, ctx := errgroup.WithContext(t.Context())
	races.SetLimit(racesAtOnce)
	for round := range n {
		races.Go(func() error {
			r, err := l.race(ctx)
			if err != nil {
				return fmt.Errorf("round %d: %w", round, err)
			}
			mu.Lock()
			defer mu.Unlock()
			total.again, total.winners, total.secrets = total.again+r.again, total.winners+r.winners, append(total.secrets, r.secrets...)
			return nil
		})
	}
	if err := races.Wait(); err != nil {
		t.Fatal(err)
	}
	l.mend()
	t.Logf("%d rounds: racers asked again %d times, winners %d times", n, total.again, total.winners)
	if total.again == total.winners || n >= 20 && total.winners == 0 {
		t.Error("too few replies were lost")
	}
	checkRows(t, l.stack, total.secrets)
}

// race is what came of one: how often racers asked again, the winner among them, and what was secret.
type race struct {
	again, winners int
	secrets        []string
}

func (l *lossy) race(ctx context.Context) (race, error) {
	patient := l.patient()
	c, err := l.create(ctx, patient)
	if err != nil {
		return race{}, err
	}
	type result struct {
		status, tries int
		body          []byte
		err           error
	}
	var keys [racers]string
	var results [racers]result
	var ready, done sync.WaitGroup
	ready.Add(racers)
	for i := range racers {
		keys[i] = randomHex(16)
		done.Go(func() {
			ready.Done()
			ready.Wait()
			r := &results[i]
			r.status, r.body, r.tries, r.err = l.ask(ctx, i, redeeming(c.parts()), keys[i])
		})
	}
	done.Wait()

	winner, again := -1, 0
	for i, r := range results {
		again += r.tries - 1
		switch {
		case r.err != nil:
			return race{}, fmt.Errorf("racer %d: %w", i, r.err)
		case r.status == http.StatusOK && winner >= 0:
			return race{}, fmt.Errorf("%d and %d both won", winner, i)
		case r.status == http.StatusOK:
			winner = i
		case r.status != http.StatusNotFound:
			return race{}, fmt.Errorf("racer %d: %d %s", i, r.status, r.body)
		}
	}
	if winner < 0 {
		return race{}, errors.New("nobody won, or the winner was told no")
	}
	// Whoever asks again is told the same, by both handlers.
	for to := range l.hosts {
		status, body, _, err := l.ask(ctx, to, redeeming(c.parts()), keys[winner])
		if err != nil || status != http.StatusOK || !bytes.Equal(body, results[winner].body) {
			return race{}, fmt.Errorf("the winner asks again: %d %w", status, err)
		}
	}
	if status, _, _, err := l.ask(ctx, 0, redeeming(c.parts()), keys[(winner+1)%racers]); err != nil || status != http.StatusNotFound {
		return race{}, fmt.Errorf("a loser asks again: %d %w", status, err)
	}
	var won redeemed
	if err := json.Unmarshal(results[winner].body, &won); err != nil || won.PatientID != patient {
		return race{}, fmt.Errorf("the winner's reply is about %q: %w", won.PatientID, err)
	}
	if status, body, _, err := l.ask(ctx, 0, buying(patient, won.AuthorisationCode), ""); err != nil || status != http.StatusOK {
		return race{}, fmt.Errorf("the winner's code does not work: %d %s: %w", status, body, err)
	}
	return race{again, results[winner].tries - 1, []string{c.ActivationCode, c.OTP, won.AuthorisationCode, keys[winner]}}, nil
}
