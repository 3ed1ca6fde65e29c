package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/handler/internal/budget"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/odds"
)

// fromHeader takes the client's address from a header of the tests.
func (b *bench) fromHeader() {
	b.ClientAddress = func(r *http.Request) string { return r.Header.Get("X-Test-Address") }
}

// from is a request of somebody there.
func from(address string, r *http.Request) *http.Request {
	r.Header.Set("X-Test-Address", address)
	return r
}

// guessed draws a code of the right form, as strangers do.
func guessed(t testing.TB, random io.Reader) (locator, otp string) {
	locator, err := codes.Draw(random, codes.LocatorLength)
	if err != nil {
		t.Error(err)
	}
	if otp, err = codes.Draw(random, 6); err != nil {
		t.Error(err)
	}
	return locator, otp
}

func chacha(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// createFor makes an activation of this patient.
func (b *bench) createFor(t testing.TB, patient string) created {
	t.Helper()
	w := b.ask(t, "POST /dhos/v1/patient/"+patient+"/activation", "", "Authorization: Bearer writer")
	return read[created](t, w, http.StatusOK)
}

// ABU-1, ABU-3: 10,000 guesses over HTTP from four addresses, and twenty patients who redeem meanwhile, half of them from the
// address of an attacker.
func TestABU1_TenThousandGuessesOverHTTP(t *testing.T) {
	const guesses, attackers, patients = 10_000, 4, 20
	var mu sync.Mutex
	held := map[string]bool{} // events whose refusal waited for its time
	b := newBenchWith(t, Clock{Now: func() time.Time { return noon }, Wait: func(ctx context.Context, _ time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		held[eventOf(ctx).id] = true
		return nil
	}})
	b.fromHeader()
	var invited []created
	for i := range patients {
		invited = append(invited, b.createFor(t, fmt.Sprint("patient-", i)))
	}
	b.log.take(t)
	web := httptest.NewServer(b.handler)
	defer web.Close()
	send := func(client *http.Client, address, body string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL+"/dhos/v1/activation", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(from(address, r))
		if err != nil {
			t.Error(err)
			return 0
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		return answer.StatusCode
	}
	address := func(i int) string { return fmt.Sprintf("198.51.100.%d", i) }
	var answered [attackers]map[int]int
	var done atomic.Int64
	var all sync.WaitGroup
	for i := range attackers {
		answered[i] = map[int]int{}
		all.Go(func() {
			random, client := chacha(byte(i)), &http.Client{Transport: &http.Transport{}}
			for range guesses / attackers {
				locator, otp := guessed(t, random)
				answered[i][send(client, address(i), fmt.Sprintf(`{"activation_code":%q,"otp":%q}`, locator, otp))]++
				done.Add(1)
			}
		})
	}
	all.Go(func() {
		client := &http.Client{Transport: &http.Transport{}}
		for i, made := range invited {
			for done.Load() < int64(guesses*(i+1)/(patients+2)) { // spread over the attack
				time.Sleep(time.Millisecond)
			}
			where := address(i % attackers)
			if i%2 == 0 {
				where = "203.0.113.77"
			}
			if status := send(client, where, fmt.Sprintf(`{"code":%q}`, made.Code)); status != http.StatusOK {
				t.Errorf("patient %d from %s: %d", i, where, status)
			}
		}
	})
	all.Wait()

	limit := b.limits.Source
	for i, statuses := range answered {
		if statuses[404] != int(limit.Capacity) || statuses[404]+statuses[429] != guesses/attackers {
			t.Errorf("attacker %d: %v, want %d times 404 and then 429 alone", i, statuses, limit.Capacity)
		}
	}
	won := 0
	for _, line := range b.log.take(t) {
		if line["status"] == float64(http.StatusOK) {
			won++
			if held[line["instance"].(string)] {
				t.Error("a right redeem was held")
			}
		}
	}
	if won != patients {
		t.Errorf("%d got in, want the %d patients", won, patients)
	}
	if len(held) != guesses {
		t.Errorf("%d refusals were held, want %d", len(held), guesses)
	}
	// None of the guesses got in. That is what the odds say: fewer than one in a million attacks like this would.
	chance := odds.Kind{Alphabet: len(codes.Alphabet), Length: codes.LocatorLength, OTP: 6, Attempts: 10, Live: patients, Guesses: guesses}.Yearly()
	if chance > 1e-6 {
		t.Errorf("the odds of this attack are %g", chance)
	}
	t.Logf("%d guesses, the odds of one of them %.1e; %v", guesses, chance, answered)
}

// refusedAlike are the ways to be refused by a code's state.
type refusedAlike struct{ unknown, wrong, used, locked *http.Request }

// wrongs makes a code of each state. What it takes to get there is charged to nobody.
func (b *bench) wrongs(t testing.TB) (all refusedAlike, right *http.Request) {
	t.Helper()
	body := func(locator, otp string) *http.Request {
		return request(t, redeemLine, fmt.Sprintf(`{"activation_code":%q,"otp":%q}`, locator, otp))
	}
	used := b.createFor(t, "patient-used")
	if w := b.send(body(used.ActivationCode, used.OTP)); w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	locked := b.createFor(t, "patient-locked")
	for range 10 {
		b.send(body(locked.ActivationCode, wrongOTP(locked.OTP)))
	}
	live := b.createFor(t, "patient-live")
	return refusedAlike{
		body(unknownLocator, "234567"), body(live.ActivationCode, wrongOTP(live.OTP)), body(used.ActivationCode, used.OTP),
		body(locked.ActivationCode, locked.OTP),
	}, body(live.ActivationCode, live.OTP)
}

func (r refusedAlike) each() map[string]*http.Request {
	return map[string]*http.Request{"unknown": r.unknown, "wrong": r.wrong, "used": r.used, "locked": r.locked}
}

// plain is a problem document without what differs from one request to the next.
func plain(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	delete(m, "instance")
	header := w.Header().Clone()
	return fmt.Sprint(w.Code, m, header)
}

// ABU-1, ABU-3, ACT-8: when a source's budget is empty, every refusal to it is the same 429 at the fixed time. Nothing else is.
func TestABU1_ASpentSourceIs429Alike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchWith(t, realTime())
		b.fromHeader()
		refused, right := b.wrongs(t)
		const here, there = "192.0.2.1", "192.0.2.2"
		for range 1000 { // a mistyped code costs nothing
			if w := b.send(from(here, try(t, "OXF-2"))); w.Code != http.StatusBadRequest {
				t.Fatalf("%d: %s", w.Code, w.Body)
			}
		}
		spent := 0
		for b.send(from(here, parts(t, unknownLocator, "234567"))).Code == http.StatusNotFound {
			spent++
		}
		if most := 60 + int(60*spent*int(beat)/int(10*time.Minute)); spent < 60 || spent > most {
			t.Errorf("%d refusals were within, want 60 to %d", spent, most)
		}
		b.log.take(t)
		seen := map[string][]string{}
		for name, r := range refused.each() {
			began := time.Now()
			w := b.send(from(here, r))
			if took := time.Since(began); took != beat {
				t.Errorf("%s left after %s", name, took)
			}
			p := b.wantProblem(t, w, http.StatusTooManyRequests, ReasonTooManyRefusals)
			if p.Errors != nil {
				t.Errorf("%s: %+v", name, p)
			}
			// Time passes between them: what is left of the wait differs, and by nothing else.
			after := w.Header().Get("Retry-After")
			if want := `"source";r=0;t=` + after; w.Header().Get("RateLimit") != want || after == "" || after == "0" {
				t.Errorf("%s: RateLimit is %q, Retry-After %q", name, w.Header().Get("RateLimit"), after)
			}
			if got := w.Header().Get("RateLimit-Policy"); got != `"source";q=60;w=600` {
				t.Errorf("%s: RateLimit-Policy is %q", name, got)
			}
			w.Header().Del("Retry-After")
			w.Header().Del("RateLimit")
			looks := plain(t, w)
			seen[looks] = append(seen[looks], name)
		}
		if len(seen) != 1 {
			t.Errorf("they can be told apart: %v", seen)
		}
		for name, r := range map[string]*http.Request{"from elsewhere": from(there, parts(t, unknownLocator, "234567")), "without an address": from("", parts(t, unknownLocator, "234567"))} {
			w := b.send(r)
			b.wantProblem(t, w, http.StatusNotFound, ReasonActivationRefused)
			for h := range w.Header() {
				if strings.HasPrefix(h, "Ratelimit") || h == "Retry-After" {
					t.Errorf("%s: %s without a 429", name, h)
				}
			}
		}
		began := time.Now()
		if w := b.send(from(here, right)); w.Code != http.StatusOK || time.Since(began) != 0 {
			t.Errorf("the right code: %d after %s", w.Code, time.Since(began))
		}
		time.Sleep(b.limits.Source.Period)
		b.log.take(t)
		// What it takes to ask storage for the budget is part of the work that ends at the fixed time.
		asked := 0
		b.store.Fault = func(op memstore.Op, when memstore.When) error {
			if (op == memstore.OpBucket || op == memstore.OpSwapBucket) && when == memstore.Before {
				time.Sleep(20 * time.Millisecond)
				asked++
			}
			return nil
		}
		began = time.Now()
		b.wantProblem(t, b.send(from(here, parts(t, unknownLocator, "234567"))), http.StatusNotFound, ReasonActivationRefused)
		if took := time.Since(began); took != beat || asked != 2 {
			t.Errorf("with %d calls for the budget it left after %s", asked, took)
		}
	})
}

// The true reason of a refusal is in the log, whatever it looks like outside.
func TestABU1_TheLogHasTheTrueReasonOfA429(t *testing.T) {
	b := newBench(t)
	b.fromHeader()
	refused, _ := b.wrongs(t)
	for range b.limits.Source.Capacity {
		b.send(from("192.0.2.1", parts(t, unknownLocator, "234567")))
	}
	for name, want := range map[*http.Request]string{refused.unknown: "unknown_code", refused.wrong: "wrong_otp", refused.used: "used", refused.locked: "locked"} {
		b.log.take(t)
		if w := b.send(from("192.0.2.1", name)); w.Code != http.StatusTooManyRequests {
			t.Errorf("%d", w.Code)
		}
		if e := b.event(t); e["why"] != want || e["outcome"] != "denied" || e["reason"] != string(ReasonTooManyRefusals) {
			t.Errorf("want %s: %v", want, e)
		}
	}
}

// smallTotal is a bench whose total is spent by so many unknown codes. Its time really passes, in a bubble.
func smallTotal(t *testing.T, units int64) *bench {
	ring, err := keyed.NewRing(benchPepper)
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchOn(t, realTime(), ring, budget.Limits{
		Unknown: budget.Limit{Capacity: units, Refill: units, Period: 24 * time.Hour, Block: 1}, Source: budget.PerWindow(1000, time.Minute),
	})
	b.fromHeader()
	return b
}

// ABU-1: when the total is empty nothing is looked up, and every code of the kind is the same 503 at the fixed time. Nothing is
// lost by that: the same code works when there is a unit again.
func TestABU1_AnEmptyTotalIs503WhateverTheCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const units = 50
		b := smallTotal(t, units)
		refused, right := b.wrongs(t)
		var looked atomic.Int64
		b.store.Fault = func(op memstore.Op, when memstore.When) error {
			if op == memstore.OpCode && when == memstore.Before {
				looked.Add(1)
			}
			return nil
		}
		for range 200 { // known codes cost the total nothing
			b.send(from("192.0.2.9", refusedClone(t, refused.used)))
		}
		if looked.Swap(0) != 200 {
			t.Fatal("known codes were not looked up")
		}
		statuses := map[int]int{}
		for i := range 10 * units {
			statuses[b.send(from(fmt.Sprintf("192.0.2.%d", i%200), parts(t, unknownLocator, "234567"))).Code]++
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		// Each waits for its time: what came back meanwhile was handed out as well.
		took := 10 * units * beat
		if bound := units + units*int64(took)/int64(24*time.Hour) + 1; looked.Load() > bound || looked.Load() < units || statuses[503] != 10*units-int(looked.Load()) {
			t.Errorf("%d look-ups, at most %d; %v", looked.Load(), bound, statuses)
		}
		looked.Store(0)
		seen := map[string][]string{}
		all := refused.each()
		all["right"] = right
		for name, r := range all {
			b.log.take(t)
			began := time.Now()
			w := b.send(from("192.0.2.1", refusedClone(t, r)))
			if took := time.Since(began); took != beat {
				t.Errorf("%s left after %s", name, took)
			}
			b.wantProblem(t, w, http.StatusServiceUnavailable, ReasonTooManyGuesses)
			if w.Header().Get("Retry-After") == "" || w.Header().Get("RateLimit") != "" {
				t.Errorf("%s: %v", name, w.Header())
			}
			w.Header().Del("Retry-After")
			looks := plain(t, w)
			seen[looks] = append(seen[looks], name)
		}
		if len(seen) != 1 || looked.Load() != 0 {
			t.Errorf("they can be told apart: %v; %d look-ups", seen, looked.Load())
		}
		time.Sleep(24 * time.Hour)
		if w := b.send(from("192.0.2.1", right)); w.Code != http.StatusOK {
			t.Errorf("a day later: %d: %s", w.Code, w.Body)
		}
	})
}

// refusedClone is the same request, with its body still to be read.
func refusedClone(t testing.TB, r *http.Request) *http.Request {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	again := r.Clone(r.Context())
	r.Body, again.Body = io.NopCloser(strings.NewReader(string(body))), io.NopCloser(strings.NewReader(string(body)))
	return again
}

// ABU-3: who does not hold the code cannot lock its patient out: not by guesses from the same address, not by making the source's
// budget fail, not by both.
func TestABU3_NobodyIsLockedOutByOthers(t *testing.T) {
	b := newBench(t)
	b.fromHeader()
	random := chacha(7)
	const here = "192.0.2.1"
	attack := func() {
		for range 200 {
			locator, otp := guessed(t, random)
			b.send(from(here, parts(t, locator, otp)))
		}
	}
	for name, fail := range map[string]func(memstore.Op, memstore.When) error{
		"guesses alone": nil,
		"and the budgets' storage fails": func(op memstore.Op, _ memstore.When) error {
			if op == memstore.OpBucket || op == memstore.OpSwapBucket {
				return errors.New("no answer")
			}
			return nil
		},
	} {
		made := b.createFor(t, "patient-"+strings.ReplaceAll(name, " ", "-")[:7])
		b.store.Fault = fail
		attack()
		if w := b.send(from(here, try(t, made.Code))); w.Code != http.StatusOK {
			t.Errorf("%s: %d: %s", name, w.Code, w.Body)
		}
		b.store.Fault = nil
	}
}

// dearHash is so much memory that a hash cannot be overlooked.
const dearHash = 64 << 20 // bytes

// allocated counts all that was allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// hashes counts the memory-hard hashes of so many wrong redeems, 5,000 a minute from many addresses.
func (b *bench) hashes(t *testing.T, n int, next func(i int) *http.Request, now *time.Time) (hashed int) {
	t.Helper()
	for i := range n {
		r := from(fmt.Sprintf("10.0.%d.%d", i>>8&255, i&255), next(i))
		*now = now.Add(time.Minute / 5000)
		before := allocated()
		b.handler.ServeHTTP(discard{http.Header{}}, r)
		if allocated()-before >= dearHash {
			hashed++
		}
		if i%500 == 0 {
			b.log.take(t)
		}
	}
	return hashed
}

// ABU-4: a minute's wrong redeems of unknown codes cost no hash, those of one known code ten.
func TestABU4_OnlyAKnownCodeCostsHashesAndAtMostTen(t *testing.T) {
	now := noon
	ring, err := keyed.NewRingWithCost(keyed.Cost{Memory: dearHash >> 10, Passes: 1, Lanes: 1}, benchPepper)
	if err != nil {
		t.Fatal(err)
	}
	clock := Clock{Now: func() time.Time { return now }, Wait: func(context.Context, time.Duration) error { return nil }}
	b := newBenchOn(t, clock, ring, usual())
	b.fromHeader()
	before := allocated()
	made := b.create(t)
	if allocated()-before < dearHash {
		t.Fatal("a hash is overlooked")
	}
	random := chacha(3)
	unknown := b.hashes(t, 5000, func(int) *http.Request {
		locator, otp := guessed(t, random)
		return parts(t, locator, otp)
	}, &now)
	known := b.hashes(t, 5000, func(i int) *http.Request {
		_, otp := guessed(t, random)
		return parts(t, made.ActivationCode, otp)
	}, &now)
	if unknown != 0 || known != 10 {
		t.Errorf("%d hashes for 5,000 unknown codes, %d for one known code; want 0 and 10", unknown, known)
	}
}
