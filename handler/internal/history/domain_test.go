package history_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/faults"
	"latchkey/handler/internal/history"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/storetest"
	"latchkey/handler/internal/subject"
)

// How a history is made: small enough to be decided at once, crowded enough that everything meets.
const (
	clients      = 5
	callsEach    = 8
	atOnce       = 4 // histories: each is mostly waiting
	decideWithin = 10 * time.Second
	// A seeded bug must be found within.
	findWithin = time.Minute
)

// soak is how long a test looks: LATCHKEY_SOAK, a duration, or the short time of make test.
func soak(t *testing.T, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("LATCHKEY_SOAK")
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("LATCHKEY_SOAK: %v", err)
	}
	return d
}

// world is one subject with the instances of the service that serve it.
type world struct {
	subject  subject.ID
	services []*activation.Service
	recorder *history.Recorder
	rules    history.Rules

	mu    sync.Mutex
	made  []activation.Created // what somebody was told
	codes []string
}

// newWorld puts two instances on a store.
func newWorld(t *testing.T, store activation.Store, rules history.Rules) *world {
	t.Helper()
	ring, err := keyed.NewRingWithCost(keyed.Cost{Memory: 8, Passes: 1, Lanes: 1},
		secret.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, keyed.MinPepper))))
	if err != nil {
		t.Fatal(err)
	}
	policy := activation.Policy{
		Keys: ring, Site: "OXF", OTPLength: 6, CodeLength: 32, SaltLength: 16, MaxAttempts: rules.Attempts, ExpiryDays: 5, Zone: time.UTC,
		MaxPerPatient: rules.Credentials,
	}
	// Time runs fifty times faster for those who wait, so that a lost reply costs a millisecond.
	clock := activation.Clock{Now: time.Now, Wait: func(ctx context.Context, d time.Duration) error {
		time.Sleep(d / 50)
		return ctx.Err()
	}}
	w := &world{subject: subject.ID{Kind: subject.Patient, Name: "p"}, recorder: history.NewRecorder(time.Now), rules: rules}
	for range 2 {
		w.services = append(w.services, activation.New(store, func() activation.Policy { return policy }, clock, rand.Reader,
			func(do func(context.Context)) { do(context.Background()) }, storetest.Unlimited))
	}
	return w
}

// run lets all clients do what their seed says.
func (w *world) run(seed uint64) {
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			who := client{world: w, id: c, draw: mathrand.New(mathrand.NewPCG(seed, uint64(c)))}
			for range callsEach {
				who.act()
			}
		})
	}
	all.Wait()
}

func (w *world) check() error { return w.recorder.Check(w.rules, decideWithin) }

// client is one of those who call.
type client struct {
	*world
	id    int
	draw  *mathrand.Rand
	calls int
	again func() history.Reply // the latest call whose reply was lost, with its key
}

// origin: all creations are one caller's, whose keys the history knows apart.
var origin = audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "clinic"}}

func (c *client) service() *activation.Service { return c.services[c.draw.IntN(len(c.services))] }

// key is an Idempotency-Key in two of three cases.
func (c *client) key() string {
	if c.calls++; c.draw.IntN(3) == 0 {
		return ""
	}
	return fmt.Sprintf("key-%d-%d-of-22-characters", c.id, c.calls)
}

// latest is an activation that was told, mostly the newest.
func (c *client) latest() (activation.Created, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.made) == 0 {
		return activation.Created{}, false
	}
	return c.made[max(0, len(c.made)-1-c.draw.IntN(5)/3)], true
}

func (c *client) act() {
	if again := c.again; again != nil && c.draw.IntN(4) > 0 {
		c.again = nil
		again()
		return
	}
	made, any := c.latest()
	switch n := c.draw.IntN(20); {
	case !any || n < 2:
		c.create(c.key())
	case n < 6:
		c.redeem(made, true, c.key())
	case n < 14:
		c.redeem(made, false, c.key())
	case n < 18:
		c.refresh()
	case n < 19:
		c.endAll()
	default:
		c.revoke(made)
	}
}

func (c *client) create(key string) history.Reply {
	reply := c.recorder.Do(c.id, history.Call{Action: history.Create, Key: key}, func() history.Reply {
		made, err := c.service().Create(context.Background(), origin, nil, c.subject, key)
		if err != nil {
			return failed(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.made = append(c.made, made)
		return history.Reply{Outcome: history.Done, Activation: made.ID.String()}
	})
	c.note(reply, key, func() history.Reply { return c.create(key) })
	return reply
}

func (c *client) redeem(made activation.Created, right bool, key string) history.Reply {
	try := activation.Try{Locator: made.Locator, OTP: made.OTP, Key: key}
	if !right {
		try.OTP = strings.Repeat("2", len(made.OTP)-1) + "3"
		if try.OTP == made.OTP {
			try.OTP = strings.Repeat("3", len(made.OTP))
		}
	}
	call := history.Call{Action: history.Redeem, Activation: made.ID.String(), Right: right, Key: key}
	reply := c.recorder.Do(c.id, call, func() history.Reply {
		won, err := c.service().Redeem(context.Background(), audit.Origin{}, try)
		if err != nil {
			return failed(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.codes = append(c.codes, won.AuthorisationCode)
		return history.Reply{Outcome: history.Done, Code: won.AuthorisationCode}
	})
	c.note(reply, key, func() history.Reply { return c.redeem(made, right, key) })
	return reply
}

// note remembers a call that can be asked for again.
func (c *client) note(reply history.Reply, key string, again func() history.Reply) {
	if key != "" && (reply.Outcome == history.Unknown || c.draw.IntN(3) == 0) {
		c.again = again
	}
}

func (c *client) refresh() {
	c.mu.Lock()
	code := "2222222222222222"
	if n := len(c.codes); n > 0 {
		code = c.codes[max(0, n-1-c.draw.IntN(3))]
	}
	c.mu.Unlock()
	c.recorder.Do(c.id, history.Call{Action: history.Refresh, Code: code}, func() history.Reply {
		if _, err := c.service().Authorise(context.Background(), audit.Origin{}, c.subject, code); err != nil {
			return failed(err)
		}
		return history.Reply{Outcome: history.Done}
	})
}

func (c *client) revoke(made activation.Created) {
	c.recorder.Do(c.id, history.Call{Action: history.Revoke, Activation: made.ID.String()}, func() history.Reply {
		if err := c.service().Revoke(context.Background(), origin, nil, c.subject, made.ID); err != nil {
			return failed(err)
		}
		return history.Reply{Outcome: history.Done}
	})
}

func (c *client) endAll() {
	c.recorder.Do(c.id, history.Call{Action: history.EndAll}, func() history.Reply {
		if err := c.service().EndAll(context.Background(), origin, nil, c.subject); err != nil {
			return failed(err)
		}
		return history.Reply{Outcome: history.Done}
	})
}

// failed is what an error tells a client.
func failed(err error) history.Reply {
	var refusal *activation.Refusal
	switch {
	case errors.As(err, &refusal):
		return history.Reply{Outcome: history.Refused}
	case errors.Is(err, activation.ErrSuperseded):
		return history.Reply{Outcome: history.Superseded}
	case errors.Is(err, activation.ErrNotPending):
		return history.Reply{Outcome: history.NotPending}
	case errors.Is(err, commit.ErrUnavailable), errors.Is(err, commit.ErrBusy):
		return history.Reply{Outcome: history.Unknown}
	}
	return history.Reply{Outcome: history.Outcome(err.Error())} // which no rule allows
}

// flaky is a store whose calls take their time, and one of ten of which fails: before it was carried out, after, or, if it is a
// commit, both: it is carried out when nobody expects it any more.
type flaky struct {
	*memstore.Store
	draw func(n int) int
	late sync.WaitGroup
}

var errFault = errors.New("a fault")

func newFlaky(seed uint64) *flaky {
	var mu sync.Mutex
	dice := mathrand.New(mathrand.NewPCG(seed, 1<<32))
	f := &flaky{Store: memstore.New(), draw: func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return dice.IntN(n)
	}}
	f.Fault = func(memstore.Op, memstore.When) error {
		time.Sleep(time.Duration(f.draw(200)) * time.Microsecond)
		if f.draw(20) == 0 {
			return errFault
		}
		return nil
	}
	return f
}

func (f *flaky) Commit(ctx context.Context, change activation.Change) error {
	if f.draw(10) > 0 {
		return f.Store.Commit(ctx, change)
	}
	f.late.Go(func() {
		time.Sleep(time.Duration(f.draw(3000)) * time.Microsecond)
		_ = f.Store.Commit(context.WithoutCancel(ctx), change)
	})
	return errFault
}

// look makes histories, some at once, and judges them until one is illegal or time is up. over puts something between the service and
// its store. undecided is what becomes of a history that takes too long to judge: nil goes on.
func look(t *testing.T, limit time.Duration, over func(*flaky) activation.Store, undecided func(error) error) error {
	t.Helper()
	seed, began := faults.Seed(t), time.Now()
	var next atomic.Uint64
	var histories, calls, unknown, left atomic.Int64
	workers, ctx := errgroup.WithContext(t.Context())
	for range atOnce {
		workers.Go(func() error {
			for ctx.Err() == nil && time.Since(began) < limit {
				n := seed + next.Add(1) - 1
				store := newFlaky(n)
				w := newWorld(t, over(store), history.Rules{Attempts: 2 + int(n%2), Credentials: 1 + int(n/2%2)})
				w.run(n)
				store.late.Wait()
				a, u := w.recorder.Len()
				histories.Add(1)
				calls.Add(int64(a))
				unknown.Add(int64(u))
				err := w.check()
				if errors.Is(err, history.ErrUndecided) {
					left.Add(1)
					err = undecided(err)
				}
				if err != nil {
					return fmt.Errorf("history %d: %w", n-seed, err)
				}
			}
			return nil
		})
	}
	err := workers.Wait()
	t.Logf("%d histories, %d calls, %d of them without a reply; %d histories were not decided; %v",
		histories.Load(), calls.Load(), unknown.Load(), left.Load(), time.Since(began).Round(time.Millisecond))
	if histories.Load() == 0 {
		t.Error("no history was made")
	}
	return err
}

func TestACT6_EveryHistoryHasASequentialExplanation(t *testing.T) {
	err := look(t, soak(t, 3*time.Second), func(f *flaky) activation.Store { return f }, func(err error) error { return err })
	if err != nil {
		t.Error(err)
	}
}

// forgetful is the bug of a redemption without If-Match: a commit that lost its race is carried out on whatever is there.
type forgetful struct{ *flaky }

func (s forgetful) Commit(ctx context.Context, change activation.Change) error {
	for {
		err := s.flaky.Commit(ctx, change)
		if !errors.Is(err, commit.ErrConflict) {
			return err
		}
		head, committed, err := s.flaky.Store.Reopen(ctx, change.Record)
		if err != nil {
			return err
		}
		if committed || change.Head.Version == head.Version {
			return commit.ErrConflict
		}
		change.Head.Version, change.Removed = head.Version, nil
	}
}

// hasty is the bug of an attempt that is counted after it was answered.
type hasty struct{ *flaky }

func (s hasty) Commit(ctx context.Context, change activation.Change) error {
	if change.Record.Outcome != audit.Denied {
		return s.flaky.Commit(ctx, change)
	}
	s.late.Go(func() {
		time.Sleep(time.Millisecond)
		_ = s.flaky.Store.Commit(context.WithoutCancel(ctx), change)
	})
	return nil
}

// uncounted is the worse one: the attempt is not counted at all.
type uncounted struct{ *flaky }

func (s uncounted) Commit(ctx context.Context, change activation.Change) error {
	if change.Record.Outcome == audit.Denied {
		return nil
	}
	return s.flaky.Commit(ctx, change)
}

// oblivious is the bug of taking one's own lost write for somebody else's.
type oblivious struct{ *flaky }

func (s oblivious) Reopen(ctx context.Context, record audit.Record) (activation.Head, bool, error) {
	head, _, err := s.flaky.Reopen(ctx, record)
	return head, false, err
}

// sparing is the bug of ending all but what was let in while it was being ended.
type sparing struct{ *flaky }

func (s sparing) Commit(ctx context.Context, change activation.Change) error {
	if change.Record.Action == audit.RevokeAuthorisation && s.draw(3) == 0 {
		return nil
	}
	return s.flaky.Commit(ctx, change)
}

func TestACT6_TheCheckerFindsSeededBugs(t *testing.T) {
	for name, bug := range map[string]func(*flaky) activation.Store{
		"a redemption without If-Match":                   func(f *flaky) activation.Store { return forgetful{f} },
		"an attempt that is counted after it is answered": func(f *flaky) activation.Store { return hasty{f} },
		"an attempt that is not counted":                  func(f *flaky) activation.Store { return uncounted{f} },
		"an own write that is taken for another's":        func(f *flaky) activation.Store { return oblivious{f} },
		"an end that spares something":                    func(f *flaky) activation.Store { return sparing{f} },
	} {
		t.Run(name, func(t *testing.T) {
			// An illegal history may take long to be judged: the next one will do as well.
			err := look(t, findWithin, bug, func(error) error { return nil })
			if !errors.Is(err, history.ErrIllegal) {
				t.Fatalf("it was not found: %v", err)
			}
		})
	}
}
