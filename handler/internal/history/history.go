// Package history decides, for tests, whether what concurrent clients were told of a subject has a sequential explanation: some
// order of their calls, each at one moment between its start and its reply, in which the rules of ACT-1 to ACT-7, ACT-13 and ACT-14 give every
// client the reply that it got (linearizability; the search is porcupine's). A call whose reply never came, or was a 503, may have
// been carried out at any later time, or never.
//
// The rules are stated here once more, on purpose: the package refuses to import the domain that it judges.
package history

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Action is what a client asks for.
type Action string

// The actions.
const (
	Create  Action = "create"
	Redeem  Action = "redeem"
	Refresh Action = "refresh" // buy a token
	Revoke  Action = "revoke"  // a pending activation
	EndAll  Action = "end all" // that buys tokens, and the pending activation
)

// Call is what a client sent.
type Call struct {
	Action Action
	// Activation is the one that Redeem and Revoke are about: an id that a Create told.
	Activation string
	// Right is whether a Redeem came with the right OTP.
	Right bool
	// Code is the authorisation code of a Refresh.
	Code string
	// Key is the Idempotency-Key of a Create or Redeem, "" for none.
	Key string
}

// Outcome is what a client was told.
type Outcome string

// The outcomes.
const (
	Done       Outcome = "done"
	Refused    Outcome = "refused"     // of Redeem and Refresh
	Superseded Outcome = "superseded"  // of Create: 409
	NotPending Outcome = "not pending" // of Revoke: 409
	Unknown    Outcome = "unknown"     // no reply, or a 503
)

// Reply is what came back. Activation is that of a Create that is Done, Code the authorisation code of such a Redeem.
type Reply struct {
	Outcome          Outcome
	Activation, Code string
}

// Rules are the settings under which the history was made.
type Rules struct {
	// Attempts is how many wrong OTPs an activation bears, Credentials how many a patient may have, at most 20.
	Attempts, Credentials int
}

// Window is the longest history that can be judged: a redemption can be asked for again that long (model.md section 3), and the
// rules here have no clock.
const Window = 60 * time.Second

// Errors of Check.
var (
	// ErrIllegal: no order explains the history.
	ErrIllegal = errors.New("no sequence of operations explains what the clients were told")
	// ErrUndecided: the search took too long.
	ErrUndecided = errors.New("the history was not decided in time")
	// ErrTooLong: the history took longer than the Window.
	ErrTooLong = errors.New("the history is too long to be judged: replays lapse within it")
)

// Recorder notes the calls of many clients on one subject.
type Recorder struct {
	now   func() time.Time
	begun time.Time

	mu  sync.Mutex
	all []porcupine.Operation
}

// NewRecorder begins a history. now must not step back; time.Now does not.
func NewRecorder(now func() time.Time) *Recorder { return &Recorder{now: now, begun: now()} }

// Do makes a call for a client, and notes it with its reply.
func (r *Recorder) Do(client int, call Call, make func() Reply) Reply {
	called := r.now().Sub(r.begun)
	reply := make()
	returned := r.now().Sub(r.begun)
	r.add(client, call, reply, called, returned)
	return reply
}

func (r *Recorder) add(client int, call Call, reply Reply, called, returned time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op := porcupine.Operation{
		ClientId: client, Input: input{call, len(r.all)}, Output: reply, Call: called.Nanoseconds(), Return: returned.Nanoseconds(),
	}
	if reply.Outcome == Unknown {
		// It may come at any later time. Behind the end it is as if it never was.
		op.Return = math.MaxInt64
	}
	r.all = append(r.all, op)
}

// Len is how many calls were noted; unknown is how many of them had no reply.
func (r *Recorder) Len() (all, unknown int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range r.all {
		if op.Output.(Reply).Outcome == Unknown {
			unknown++
		}
	}
	return len(r.all), unknown
}

// Check decides within patience. Its errors are those above, with the history.
func (r *Recorder) Check(rules Rules, patience time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var history []porcupine.Operation
	for _, op := range r.all {
		if time.Duration(op.Call) >= Window || op.Return < math.MaxInt64 && time.Duration(op.Return) >= Window {
			return ErrTooLong
		}
		// A refresh changes nothing: without a reply it says nothing.
		if op.Input.(input).Action != Refresh || op.Output.(Reply).Outcome != Unknown {
			history = append(history, op)
		}
	}
	if err := unique(history); err != nil {
		return fmt.Errorf("%w: %w\n%s", ErrIllegal, err, text(history))
	}
	var last int64
	for _, op := range history {
		if op.Return < math.MaxInt64 {
			last = max(last, op.Return)
		}
		last = max(last, op.Call)
	}
	history = append(history, porcupine.Operation{Input: input{Call{Action: end}, len(r.all)}, Output: Reply{Outcome: Done}, Call: last + 1, Return: last + 2})
	switch porcupine.CheckOperationsTimeout(rules.model(), history, patience) {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		return fmt.Errorf("%w:\n%s", ErrIllegal, text(history))
	}
	return fmt.Errorf("%w:\n%s", ErrUndecided, text(history))
}

// unique looks for what no state remembers: ids and codes that were given away before.
func unique(history []porcupine.Operation) error {
	told := map[string]string{}
	for _, op := range history {
		in, out := op.Input.(input), op.Output.(Reply)
		if out.Outcome != Done || in.Action != Create && in.Action != Redeem {
			continue
		}
		what := string(in.Action) + " " + out.Activation + out.Code
		// Without a key each is told once.
		of := fmt.Sprint(in.Key, " ", in.Activation)
		if before, found := told[what]; found && (in.Key == "" || before != of) {
			return fmt.Errorf("%s was told twice", what)
		}
		told[what] = of
	}
	return nil
}

// text lists a history for people, by the time of the calls.
func text(history []porcupine.Operation) string {
	history = slices.Clone(history)
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, op := range history {
		until := "..."
		if op.Return < math.MaxInt64 {
			until = fmt.Sprintf("%.3f", time.Duration(op.Return).Seconds()*1e3)
		}
		fmt.Fprintf(&b, "%9.3f-%-9s client %d: %v -> %v\n", time.Duration(op.Call).Seconds()*1e3, until, op.ClientId, op.Input.(input).Call, op.Output)
	}
	return b.String()
}

func (c Call) String() string {
	s := string(c.Action)
	if c.Activation != "" {
		s += " " + c.Activation
	}
	if c.Action == Redeem {
		s += map[bool]string{true: " right", false: " wrong"}[c.Right]
	}
	if c.Code != "" {
		s += " with " + c.Code
	}
	if c.Key != "" {
		s += " under " + c.Key
	}
	return s
}

func (r Reply) String() string {
	return strings.TrimSpace(string(r.Outcome) + " " + r.Activation + r.Code)
}
