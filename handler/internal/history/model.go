package history

import (
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

const (
	// remembered is how many creations and redemptions a subject can be asked for again (model.md section 1).
	remembered = 8
	// mostMisses is how many wrong OTPs a repeated redemption bears (model.md section 3).
	mostMisses = 10
	// mostCredentials is the most that Rules may allow.
	mostCredentials = 20
)

// input is a call with its place in the record: what it made has that name until somebody is told the real one.
type input struct {
	Call
	n int
}

func (i input) unnamed() string { return "?" + strconv.Itoa(i.n) }

// state is a subject between two operations. It is comparable, so that the search knows a state again.
type state struct {
	pending  string // the pending activation, "" for none
	attempts int    // wrong OTPs of it
	// completed are the redeemed activations, in alphabetical order.
	completed string
	// live are the authorisation codes that buy tokens, the newest last.
	live [mostCredentials]string
	// created and redeemed are what can be asked for again, the newest last.
	created  [remembered]creation
	redeemed [remembered]redemption
	ended    bool
}

type creation struct{ key, activation string }

type redemption struct {
	key, activation, code string
	misses                int
}

// model is the sequential specification.
func (r Rules) model() porcupine.Model {
	seed := maphash.MakeSeed()
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, out any) (bool, any) {
			before, reply := s.(state), out.(Reply)
			next := before
			legal := r.step(&next, in.(input), reply)
			// A call without a reply that changes nothing may as well come after the end: one place less to try.
			return legal && (reply.Outcome != Unknown || before.ended || next != before), next
		},
		Hash: func(s any) uint64 { return maphash.Comparable(seed, s.(state)) },
	}
}

// end is after all calls that had a reply. What comes behind it never happened.
const end Action = "end"

// step does in to s and reports whether out is a reply that the rules allow.
func (r Rules) step(s *state, in input, out Reply) bool {
	if s.ended {
		return true
	}
	switch in.Action {
	case end:
		s.ended = true
		return true
	case Create:
		return s.create(in, out)
	case Redeem:
		return r.redeem(s, in, out)
	case Refresh:
		return slices.Contains(s.live[:], in.Code) == (out.Outcome == Done)
	case Revoke:
		return s.revoke(in, out)
	case EndAll:
		// Lost phone (ACT-14): what is asked for after the reply gets nothing.
		s.pending, s.attempts = "", 0
		clear(s.live[:])
		return out.Outcome == Done || out.Outcome == Unknown
	}
	return false
}

// create: a pending activation is replaced; under a key that was used before, it is told again while it is pending (ACT-1, ACT-2).
func (s *state) create(in input, out Reply) bool {
	if i := slices.IndexFunc(s.created[:], func(c creation) bool { return in.Key != "" && c.key == in.Key }); i >= 0 {
		c := &s.created[i]
		pending := c.activation == s.pending
		switch out.Outcome {
		case Unknown:
			return true
		case Superseded:
			return !pending
		case Done:
			return pending && name(out.Activation, &c.activation, &s.pending)
		}
		return false
	}
	id := out.Activation
	switch out.Outcome {
	case Unknown:
		id = in.unnamed()
	case Done:
	default:
		return false
	}
	s.pending, s.attempts = id, 0
	if in.Key != "" {
		push(s.created[:], creation{in.Key, id})
	}
	return true
}

// redeem: exactly once, and a wrong OTP is counted before it is answered (ACT-5 to ACT-7). The winner's key is told its code again
// while that is live, if it comes with the right OTP.
func (r Rules) redeem(s *state, in input, out Reply) bool {
	if s.pending != in.Activation {
		return s.redeemAgain(in, out)
	}
	if !in.Right {
		if s.attempts++; s.attempts >= r.Attempts {
			s.pending, s.attempts = "", 0
		}
		return out.Outcome == Refused || out.Outcome == Unknown
	}
	code := out.Code
	switch out.Outcome {
	case Unknown:
		code = in.unnamed()
	case Done:
	default:
		return false
	}
	s.pending, s.attempts = "", 0
	s.complete(in.Activation)
	push(s.live[:], code)
	clear(s.live[:mostCredentials-r.Credentials])
	if in.Key != "" {
		push(s.redeemed[:], redemption{in.Key, in.Activation, code, 0})
	}
	return true
}

func (s *state) redeemAgain(in input, out Reply) bool {
	i := slices.IndexFunc(s.redeemed[:], func(r redemption) bool {
		return in.Key != "" && r.key == in.Key && r.activation == in.Activation
	})
	if i < 0 || s.redeemed[i].misses >= mostMisses {
		return out.Outcome == Refused || out.Outcome == Unknown
	}
	again := &s.redeemed[i]
	if at := slices.Index(s.live[:], again.code); in.Right && at >= 0 {
		return out.Outcome == Unknown || out.Outcome == Done && name(out.Code, &again.code, &s.live[at])
	}
	again.misses++
	return out.Outcome == Refused || out.Outcome == Unknown
}

// revoke ends a pending activation; one that ended before without being redeemed stays ended (ACT-4).
func (s *state) revoke(in input, out Reply) bool {
	switch {
	case s.pending == in.Activation:
		s.pending, s.attempts = "", 0
	case slices.Contains(strings.Fields(s.completed), in.Activation):
		return out.Outcome == NotPending || out.Outcome == Unknown
	}
	return out.Outcome == Done || out.Outcome == Unknown
}

func (s *state) complete(activation string) {
	all := append(strings.Fields(s.completed), activation)
	slices.Sort(all)
	s.completed = strings.Join(all, " ")
}

// name puts what was told in the place of what nobody had been told yet, or compares it.
func name(told string, places ...*string) bool {
	if !strings.HasPrefix(*places[0], "?") {
		return *places[0] == told
	}
	for _, p := range places {
		*p = told
	}
	return true
}

// push appends to a list of fixed length; the oldest goes.
func push[T any](list []T, added T) {
	copy(list, list[1:])
	list[len(list)-1] = added
}
