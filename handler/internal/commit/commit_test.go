package commit

import (
	"context"
	"errors"
	"testing"
	"time"
)

// place is a state that storage holds, and the one record that an operation commits.
type place struct {
	value, version int
	landed         bool
	// answers are what the next attempts get: nil carries the change out and says so.
	answers []error
	lost    bool // the change is carried out, whatever is answered
	looks   int
}

var errSilence = errors.New("no answer")

type change struct{ from, value int }

func (p *place) loop(gate Gate) Loop[change, change] {
	return Loop[change, change]{
		Gate: gate,
		Commit: func(_ context.Context, c change) error {
			var answer error
			if len(p.answers) > 0 {
				answer, p.answers = p.answers[0], p.answers[1:]
			}
			switch {
			case c.from != p.version || p.landed:
				return ErrConflict
			case answer == nil || p.lost:
				p.value, p.version, p.landed = c.value, p.version+1, true
			}
			return answer
		},
		Reopen: func(context.Context) (change, bool, error) {
			p.looks++
			return change{p.version, p.value}, p.landed, nil
		},
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

func increment(now change) (change, error) { return change{now.from, now.value + 1}, nil }

func TestALostReplyIsNoSecondChange(t *testing.T) {
	p := &place{answers: []error{errSilence}, lost: true}
	if err := p.loop(nil).Settle(t.Context(), change{}, increment); err != nil || p.value != 1 || p.looks != 1 {
		t.Errorf("%v: value %d after %d looks", err, p.value, p.looks)
	}
}

func TestAnAttemptThatWasLostIsMadeAgain(t *testing.T) {
	p := &place{answers: []error{errSilence, errSilence}}
	if err := p.loop(nil).Settle(t.Context(), change{}, increment); err != nil || p.value != 1 || p.looks != 2 {
		t.Errorf("%v: value %d after %d looks", err, p.value, p.looks)
	}
}

func TestALostRaceIsDecidedAgain(t *testing.T) {
	p := &place{value: 7, version: 3}
	if err := p.loop(nil).Settle(t.Context(), change{}, increment); err != nil || p.value != 8 {
		t.Errorf("%v: value %d", err, p.value)
	}
}

func TestARefusalAfterASilenceIsNoRefusalYet(t *testing.T) {
	once := errors.New("it is one already")
	p := &place{answers: []error{errSilence}, lost: true}
	err := p.loop(nil).Settle(t.Context(), change{}, func(now change) (change, error) {
		if now.value > 0 {
			return change{}, once
		}
		return increment(now)
	})
	if err != nil {
		t.Errorf("our own change was told as a refusal: %v", err)
	}
}

func TestEndlessRivalsAreBusy(t *testing.T) {
	p := &place{}
	loop := p.loop(nil)
	loop.Commit = func(context.Context, change) error { return ErrConflict }
	if err := loop.Settle(t.Context(), change{}, increment); !errors.Is(err, ErrBusy) || p.looks != mostConflicts {
		t.Errorf("%v after %d looks", err, p.looks)
	}
}

func TestAStorageThatNeverAnswersIsUnavailable(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := &place{answers: []error{errSilence}}
	loop := p.loop(nil)
	loop.Reopen = func(context.Context) (change, bool, error) { cancel(); return change{}, false, errSilence }
	if err := loop.Settle(ctx, change{}, increment); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errSilence) {
		t.Error(err)
	}
}

// Nothing is attempted, nor even decided, for whom the gate does not admit.
func TestAUT2_AClosedGateLetsNothingThrough(t *testing.T) {
	denied := errors.New("denied")
	p := &place{}
	err := p.loop(func(context.Context) error { return denied }).Settle(t.Context(), change{}, func(change) (change, error) {
		t.Error("it was decided")
		return change{}, nil
	})
	if !errors.Is(err, denied) || p.value != 0 || p.looks != 0 {
		t.Errorf("%v: value %d", err, p.value)
	}
}
