package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"latchkey/handler/internal/faults"
	"latchkey/handler/internal/history"
)

const (
	// historiesAtOnce are so many patients, with so many clients each.
	historiesAtOnce, clientsEach = 6, 5
	// historyTime is after how long a client begins nothing new; a history that takes a minute cannot be judged.
	historyTime = 4 * time.Second
	// mostCalls of a client keep a history decidable.
	mostCalls = 10
	// decideWithin bounds the search of one.
	decideWithin = 30 * time.Second
)

// historyAttempts is low, so that activations are locked often.
const historyAttempts = 3

// TestACT6_EveryHistoryOfTwoProcessesHasASequentialExplanation lets clients create, redeem, refresh and revoke through two handlers
// over one storage, with faults before and behind the handlers, and looks for an order of the calls that explains every reply.
func TestACT6_EveryHistoryOfTwoProcessesHasASequentialExplanation(t *testing.T) {
	limit := soak(t, 12*time.Second)
	l := newLossy(t, fmt.Sprint("Codes__MaxAttempts=", historyAttempts))
	seed := faults.Seed(t)
	l.lose(seed, 0.1, faults.All(50*time.Millisecond), []faults.Fault{
		{Reply: faults.Lost}, {Carry: faults.Never, Reply: faults.Lost}, {Carry: faults.Late, Pause: 50 * time.Millisecond}, {Pause: 50 * time.Millisecond},
	})
	var mu sync.Mutex
	histories, calls, unknown := 0, 0, 0
	until := time.Now().Add(limit)
	workers, ctx := errgroup.WithContext(t.Context())
	for worker := range historiesAtOnce {
		workers.Go(func() error {
			for n := 0; ctx.Err() == nil && (n == 0 || time.Now().Before(until)); n++ {
				p := &crowd{lossy: l, patient: l.patient(), recorder: history.NewRecorder(time.Now)}
				p.run(ctx, seed+uint64(worker)<<32+uint64(n))
				if err := p.recorder.Check(history.Rules{Attempts: historyAttempts, Credentials: 1}, decideWithin); err != nil {
					return fmt.Errorf("history %d of worker %d: %w", n, worker, err)
				}
				mu.Lock()
				a, u := p.recorder.Len()
				histories, calls, unknown = histories+1, calls+a, unknown+u
				mu.Unlock()
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		t.Error(err)
	}
	hits := len(l.proxy.Transport.Hits())
	l.mend()
	t.Logf("%d histories, %d calls, %d of them without a reply; %d faults of storage", histories, calls, unknown, hits)
	if unknown == 0 || hits == 0 {
		t.Error("there were no faults")
	}
}

// crowd is the clients of one patient.
type crowd struct {
	*lossy
	patient  string
	recorder *history.Recorder

	mu    sync.Mutex
	made  []created
	codes []string
}

func (p *crowd) run(ctx context.Context, seed uint64) {
	until := time.Now().Add(historyTime)
	var all sync.WaitGroup
	for id := range clientsEach {
		all.Go(func() {
			c := &person{crowd: p, id: id, draw: rand.New(rand.NewPCG(seed, uint64(id)))}
			for n := 0; n < mostCalls && time.Now().Before(until); n++ {
				c.act(ctx)
			}
		})
	}
	all.Wait()
}

// person is one of them.
type person struct {
	*crowd
	id    int
	draw  *rand.Rand
	again func() // the latest call that may be asked for again
}

func (c *person) key() string {
	if c.draw.IntN(3) == 0 {
		return ""
	}
	return randomHex(16)
}

func (c *person) act(ctx context.Context) {
	if again := c.again; again != nil && c.draw.IntN(4) > 0 {
		c.again = nil
		again()
		return
	}
	c.mu.Lock()
	var made created
	if n := len(c.made); n > 0 {
		made = c.made[max(0, n-1-c.draw.IntN(5)/3)]
	}
	code := "2222222222222222"
	if n := len(c.codes); n > 0 {
		code = c.codes[max(0, n-1-c.draw.IntN(3))]
	}
	c.mu.Unlock()
	switch n := c.draw.IntN(20); {
	case made.UUID == "" || n < 3:
		c.create(ctx, c.key())
	case n < 7:
		c.redeem(ctx, made, true, c.key())
	case n < 13:
		c.redeem(ctx, made, false, c.key())
	case n < 18:
		c.do(ctx, history.Call{Action: history.Refresh, Code: code}, buying(c.patient, code), "", nil)
	case n < 19:
		c.do(ctx, history.Call{Action: history.EndAll}, request{method: http.MethodDelete, path: authorisationPath(c.patient), token: c.clinic}, "", nil)
	default:
		c.do(ctx, history.Call{Action: history.Revoke, Activation: made.UUID},
			request{method: http.MethodDelete, path: activationPath(c.patient) + "/" + made.UUID, token: c.clinic}, "", nil)
	}
}

func (c *person) create(ctx context.Context, key string) {
	c.do(ctx, history.Call{Action: history.Create, Key: key}, creating(c.clinic, c.patient), key, func(body []byte) (history.Reply, error) {
		var made created
		if err := json.Unmarshal(body, &made); err != nil {
			return history.Reply{}, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.made = append(c.made, made)
		return history.Reply{Outcome: history.Done, Activation: made.UUID}, nil
	})
}

func (c *person) redeem(ctx context.Context, made created, right bool, key string) {
	body := made.parts()
	if !right {
		body = made.wrong()
	}
	call := history.Call{Action: history.Redeem, Activation: made.UUID, Right: right, Key: key}
	c.do(ctx, call, redeeming(body), key, func(body []byte) (history.Reply, error) {
		var won redeemed
		if err := json.Unmarshal(body, &won); err != nil {
			return history.Reply{}, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.codes = append(c.codes, won.AuthorisationCode)
		return history.Reply{Outcome: history.Done, Code: won.AuthorisationCode}, nil
	})
}

// do sends a request and records what came of it. A call under a key may be made again.
func (c *person) do(ctx context.Context, call history.Call, r request, key string, done func([]byte) (history.Reply, error)) {
	reply := c.recorder.Do(c.id, call, func() history.Reply {
		status, body, err := c.send(ctx, c.draw.IntN(2), r, key)
		if errors.Is(err, errNoReply) {
			return history.Reply{Outcome: history.Unknown}
		}
		if err != nil {
			return history.Reply{Outcome: history.Outcome(err.Error())}
		}
		if (status == http.StatusOK || status == http.StatusNoContent) && done == nil {
			return history.Reply{Outcome: history.Done}
		}
		if status == http.StatusOK {
			reply, err := done(body)
			if err != nil {
				reply.Outcome = history.Outcome(err.Error())
			}
			return reply
		}
		return history.Reply{Outcome: refusal(call.Action, status)}
	})
	if key != "" && (reply.Outcome == history.Unknown || c.draw.IntN(3) == 0) {
		c.again = func() { c.do(ctx, call, r, key, done) }
	}
}

// refusal is what a status means for an action; what it does not have is an outcome that no rule allows.
func refusal(action history.Action, status int) history.Outcome {
	switch {
	case action == history.Create && status == http.StatusConflict:
		return history.Superseded
	case action == history.Revoke && status == http.StatusConflict:
		return history.NotPending
	case (action == history.Redeem || action == history.Refresh) && status == http.StatusNotFound:
		return history.Refused
	}
	return history.Outcome(fmt.Sprint("status ", status))
}
