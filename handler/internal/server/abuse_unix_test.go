//go:build unix

package server

import (
	"context"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// ABU-4: 5,000 wrong redeems of unknown codes in a minute cost less than a millisecond of processor time each, all that the
// process does counted: parsing, budgets, the reply and the collection of garbage.
func TestABU4_UnknownCodesCostLessThanAMillisecond(t *testing.T) {
	const n = 5000
	now := noon
	b := newBenchWith(t, Clock{Now: func() time.Time { return now }, Wait: func(context.Context, time.Duration) error { return nil }})
	b.fromHeader()
	random := chacha(5)
	requests := make([]*http.Request, n)
	for i := range requests {
		locator, otp := guessed(t, random)
		requests[i] = from("192.0.2.1", parts(t, locator, otp)) // one address: its budget is spent, and asked for again and again
	}
	before := processorTime(t)
	for _, r := range requests {
		now = now.Add(time.Minute / n)
		b.handler.ServeHTTP(discard{http.Header{}}, r)
	}
	each := (processorTime(t) - before) / n
	t.Logf("%s of processor time each", each)
	if each > time.Millisecond {
		t.Errorf("%s of processor time each", each)
	}
}

// processorTime is what the process used so far, in user and system mode.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
