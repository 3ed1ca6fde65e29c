package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/handler/internal/memstore"
)

// realTime is the clock of the test's bubble, made as main makes the system's.
func realTime() Clock {
	return Clock{Now: time.Now, Wait: func(ctx context.Context, d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

func (b *bench) places() (working, waiting int) {
	b.redeems.mu.Lock()
	defer b.redeems.mu.Unlock()
	return b.redeems.working, b.redeems.waiting
}

func (b *bench) wantPlaces(t *testing.T, working, waiting int) {
	t.Helper()
	if w, n := b.places(); w != working || n != waiting {
		t.Errorf("%d work and %d wait, want %d and %d", w, n, working, waiting)
	}
}

// try is a redeem request.
func try(t *testing.T, code string) *http.Request {
	t.Helper()
	return request(t, redeemLine, fmt.Sprintf(`{"code":%q}`, code))
}

func parts(t *testing.T, locator, otp string) *http.Request {
	t.Helper()
	return request(t, redeemLine, fmt.Sprintf(`{"activation_code":%q,"otp":%q}`, locator, otp))
}

const unknownLocator = "2345678923"

// ACT-8: whatever the reason, and whatever storage took, a refusal leaves at the first multiple of 300 ms. A winner does not wait.
func TestACT8_RefusalsLeaveAtAFixedTime(t *testing.T) {
	for _, c := range []struct {
		each    time.Duration // what a call of storage takes
		unknown time.Duration
		wrong   time.Duration
		right   time.Duration
	}{
		{0, 300, 300, 0},
		{20, 300, 300, 60},
		{100, 300, 300, 300},
		{101, 300, 600, 303},
		{300, 300, 900, 900},
		{301, 600, 1200, 903},
	} {
		t.Run(fmt.Sprint(c.each, " ms a call"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBenchWith(t, realTime())
				made := b.create(t)
				b.store.Fault = func(_ memstore.Op, when memstore.When) error {
					if when == memstore.Before {
						time.Sleep(c.each * time.Millisecond)
					}
					return nil
				}
				ask := func(name string, r *http.Request, status int, want time.Duration) string {
					t.Helper()
					began := time.Now()
					w := b.send(r)
					if took := time.Since(began); took != want*time.Millisecond || w.Code != status {
						t.Errorf("%s: %d after %s, want %d after %d ms", name, w.Code, took, status, want)
					}
					b.wantPlaces(t, 0, 0)
					return w.Body.String()
				}
				ask("unknown", parts(t, unknownLocator, "234567"), 404, c.unknown)
				ask("wrong", parts(t, made.ActivationCode, wrongOTP(made.OTP)), 404, c.wrong)
				ask("mistyped", try(t, "OXF-2"), 400, 0)
				ask("right", try(t, made.Code), 200, c.right)
			})
		})
	}
}

// Storage's failures and our own wait as well: a code's state can have a part in them.
func TestACT8_FailuresLeaveAtAFixedTime(t *testing.T) {
	for name, c := range map[string]struct {
		fault  func() error
		status int
	}{
		"storage fails": {func() error { return errors.New("no") }, 503},
		"a panic":       {func() error { panic("no") }, 500},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBenchWith(t, realTime())
				made := b.create(t)
				b.store.Fault = func(op memstore.Op, _ memstore.When) error {
					if op == memstore.OpOpen {
						time.Sleep(50 * time.Millisecond)
						return c.fault()
					}
					return nil
				}
				began := time.Now()
				w := b.send(try(t, made.Code))
				if took := time.Since(began); w.Code != c.status || took != beat {
					t.Errorf("%d after %s", w.Code, took)
				}
				b.wantPlaces(t, 0, 0)
			})
		})
	}
}

// ABU-4, model.md section 3: the bounds are tested on arrival, before any look-up, and a full room is 503 whatever the code.
func TestABU4_AFullRoomLooksNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchWith(t, realTime())
		made := b.create(t)
		var stop chan struct{}
		looked := 0 // only counted while nothing runs beside
		b.store.Fault = func(_ memstore.Op, when memstore.When) error {
			if stop != nil {
				<-stop
			} else if when == memstore.Before {
				looked++
			}
			return nil
		}
		full := func(why string) {
			t.Helper()
			for name, r := range map[string]*http.Request{
				"right": try(t, made.Code), "wrong": parts(t, made.ActivationCode, wrongOTP(made.OTP)), "unknown": parts(t, unknownLocator, "234567"),
			} {
				b.log.take(t)
				began := time.Now()
				b.wantProblem(t, b.send(r), http.StatusServiceUnavailable, ReasonBusy)
				if took := time.Since(began); took != 0 {
					t.Errorf("%s: %s is refused after %s", why, name, took)
				}
			}
		}

		// As many as may work do.
		stop = make(chan struct{})
		codes := make(chan int, mostWorking)
		for range mostWorking {
			go func() { codes <- b.send(parts(t, unknownLocator, "234567")).Code }()
		}
		synctest.Wait()
		b.wantPlaces(t, mostWorking, 0)
		full("all work")
		b.wantPlaces(t, mostWorking, 0)
		close(stop)
		synctest.Wait()

		// Now as many wait, and none of them holds a place of those that work.
		stop = nil
		b.wantPlaces(t, 0, mostWorking)
		if w := b.send(try(t, made.Code)); w.Code != http.StatusOK {
			t.Errorf("%d while others wait", w.Code)
		}
		b.wantPlaces(t, 0, mostWorking)

		b.redeems.mu.Lock()
		b.redeems.waiting += mostWaiting - mostWorking // as if so many more did
		b.redeems.mu.Unlock()
		looked = 0
		full("all wait")
		if looked != 0 {
			t.Errorf("%d look-ups", looked)
		}
		time.Sleep(beat)
		synctest.Wait()
		for range mostWorking {
			if status := <-codes; status != http.StatusNotFound {
				t.Fatalf("%d", status)
			}
		}
		b.wantPlaces(t, 0, mostWaiting-mostWorking)
		if w := b.send(parts(t, unknownLocator, "234567")); w.Code != http.StatusNotFound {
			t.Errorf("%d when there is room again", w.Code)
		}
	})
}

// Who hangs up waits no more, but what was begun for them is finished.
func TestACT8_ClosingTheConnectionHalfTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchWith(t, realTime())
		made := b.create(t)
		ctx, hangUp := context.WithCancel(t.Context())
		w, done := httptest.NewRecorder(), make(chan struct{})
		go func() {
			defer close(done)
			b.handler.ServeHTTP(w, parts(t, made.ActivationCode, wrongOTP(made.OTP)).WithContext(ctx))
		}()
		synctest.Wait()
		b.wantPlaces(t, 0, 1)
		began := time.Now()
		hangUp()
		<-done
		if took := time.Since(began); took == 0 || took > beat {
			t.Errorf("it left %s after the client had closed its half", took)
		}
		b.wantPlaces(t, 0, 0)
		if records := b.store.Records(patientID()); len(records) != 2 { // created, one miss
			t.Errorf("%d records", len(records))
		}
	})
}

func TestUntilBeat(t *testing.T) {
	for worked, want := range map[time.Duration]time.Duration{
		-time.Second: beat, 0: beat, 1: beat - 1, beat - 1: 1, beat: 0, beat + 1: beat - 1, 7*beat + beat/2: beat / 2,
	} {
		if got := untilBeat(worked); got != want {
			t.Errorf("%s: %s, want %s", worked, got, want)
		}
	}
}
