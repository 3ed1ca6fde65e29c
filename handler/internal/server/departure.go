package server

import (
	"context"
	"latchkey/handler/internal/commit"
	"sync"
	"time"
)

// Refused redeems leave at a fixed time after they are there, so that wrong, unknown, dead and locked codes cannot be told
// apart by a clock (ACT-8, model.md section 3). No work is done to fill the time: it costs nothing (ABU-4).
const (
	// beat is the step: a refusal leaves at the first multiple of it by which its work is done. It must be longer than
	// the work of a wrong OTP on a machine under its normal load.
	beat = 300 * time.Millisecond
	// mostWorking is how many tries one instance works on at once, mostWaiting how many refusals may wait.
	mostWorking = 256
	mostWaiting = 10_000
)

// room bounds what tries may hold of an instance. A place is taken on arrival, before any look-up, so that a full room
// says nothing about a code.
type room struct {
	mu               sync.Mutex
	working, waiting int
}

// enter takes a place, or reports that there is none.
func (r *room) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.working >= mostWorking || r.waiting >= mostWaiting {
		return false
	}
	r.working++
	return true
}

// leave gives the place back when the work is done. What is held then waits for its time, outside the room: every failure, since
// a code's state can have a part in each.
//
// The wait does not end when the client closes its half of the connection: it could still read how soon it was refused.
func (r *room) leave(ctx context.Context, clock Clock, began time.Time, held bool) {
	r.mu.Lock()
	r.working--
	if held {
		r.waiting++
	}
	r.mu.Unlock()
	if !held {
		return
	}
	_ = clock.Wait(context.WithoutCancel(ctx), untilBeat(clock.Now().Sub(began))) // a context without an end gives no error
	r.mu.Lock()
	r.waiting--
	r.mu.Unlock()
}

// timed does what may be refused within a room. If hold, a refusal is held until it may leave: counted from here, when the
// whole request is there, since a client chooses how late its body comes.
func (c call) timed(ctx context.Context, in *room, hold bool, do func() error) error {
	if !in.enter() {
		return commit.ErrBusy
	}
	began := c.Clock.Now()
	err := commit.ErrBusy // what a panic leaves behind, so that it leaves at its time as well
	defer func() { in.leave(ctx, c.Clock, began, hold && err != nil) }()
	err = do()
	return err
}

// untilBeat is the time from worked after arrival to the next multiple of beat.
func untilBeat(worked time.Duration) time.Duration {
	if worked <= 0 {
		return beat
	}
	return (beat - worked%beat) % beat
}
