package faults_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/handler/internal/faults"
)

// service counts what it carries out, and answers which time it was.
func service(t *testing.T) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var carried atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodPost && string(body) != "row" {
			t.Errorf("the body is %q", body)
		}
		_, _ = io.WriteString(w, []string{"one", "two"}[carried.Add(1)-1])
	}))
	t.Cleanup(s.Close)
	return s, &carried
}

func TestEachFaultDoesWhatItSays(t *testing.T) {
	const pause = 20 * time.Millisecond
	for _, c := range []struct {
		fault   faults.Fault
		carried int64 // once all is settled
		status  int   // 0: no answer
		body    string
		err     error // of the body, or of the call
	}{
		{faults.Fault{}, 1, 200, "one", nil},
		{faults.Fault{Pause: pause}, 1, 200, "one", nil},
		{faults.Fault{Reply: faults.Lost}, 1, 0, "", faults.ErrCut},
		{faults.Fault{Carry: faults.Never}, 0, 0, "", faults.ErrCut},
		{faults.Fault{Carry: faults.Twice}, 2, 200, "two", nil},
		{faults.Fault{Carry: faults.Twice, Reply: faults.First}, 2, 200, "one", nil},
		{faults.Fault{Carry: faults.Late, Pause: pause}, 1, 0, "", faults.ErrCut},
		{faults.Fault{Carry: faults.Late, Reply: faults.Busy}, 1, 503, "ServerBusy", nil},
		{faults.Fault{Carry: faults.Never, Reply: faults.BusyRetryAfter}, 0, 503, "ServerBusy", nil},
		{faults.Fault{Reply: faults.Throttled}, 1, 429, "TooManyRequests", nil},
		{faults.Fault{Reply: faults.Failed}, 1, 500, "OperationTimedOut", nil},
		{faults.Fault{Carry: faults.Never, Reply: faults.Unreachable}, 0, 502, "<html>", nil},
		{faults.Fault{Reply: faults.Truncated}, 1, 200, "o", io.ErrUnexpectedEOF},
		{faults.Fault{Reply: faults.Garbled}, 1, 200, ":;0", nil},
		{faults.Fault{Reply: faults.Hung}, 1, 0, "", context.DeadlineExceeded},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			t.Parallel()
			s, carried := service(t)
			transport := faults.NewTransport(s.Client().Transport.RoundTrip, faults.Rules(faults.Rule{Fault: c.fault}))
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/account/subjects", strings.NewReader("row"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transport.RoundTrip(req)
			if c.status == 0 {
				if !errors.Is(err, c.err) {
					t.Errorf("got %v, want %v", err, c.err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if resp.StatusCode != c.status || !strings.Contains(string(body), c.body) || !errors.Is(err, c.err) {
					t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
				}
				if retry := resp.Header.Get("Retry-After"); (c.fault.Reply == faults.BusyRetryAfter) != (retry != "") {
					t.Errorf("Retry-After: %q", retry)
				}
			}
			transport.Settle()
			if n := carried.Load(); n != c.carried {
				t.Errorf("carried out %d times, want %d", n, c.carried)
			}
			if hit := c.fault != (faults.Fault{}); len(transport.Hits()) == 1 != hit {
				t.Errorf("hits: %q", transport.Hits())
			}
		})
	}
}

func TestCallsAreToldApart(t *testing.T) {
	var mu sync.Mutex
	var calls []string
	transport := faults.NewTransport(func(*http.Request) (*http.Response, error) { return nil, errors.New("not sent") }, func(c faults.Call) faults.Fault {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, c.String())
		return faults.Fault{}
	})
	for _, line := range []string{
		"GET /account/subjects(PartitionKey='p~a',RowKey='head')", "GET /account/subjects()", "GET /account/subjects(PartitionKey='p~a',RowKey='x')",
		"POST /account/codes", "PATCH /account/codes(PartitionKey='a',RowKey='b')", "DELETE /account/codes(PartitionKey='a',RowKey='b')",
		"POST /account/$batch", "POST /account/$batch",
	} {
		method, path, _ := strings.Cut(line, " ")
		if _, err := transport.Do(httptest.NewRequest(method, path, nil)); err == nil {
			t.Error("there is an answer")
		}
	}
	want := []string{
		"read subjects #1", "list subjects #1", "read subjects #2", "insert codes #1", "merge codes #1", "remove codes #1",
		"transaction  #1", "transaction  #2",
	}
	if !slices.Equal(calls, want) || transport.Calls() != len(want) {
		t.Errorf("got %q", calls)
	}
}

func TestRulesHitTheirCallsAndNoOther(t *testing.T) {
	busy, cut := faults.Fault{Reply: faults.Busy}, faults.Fault{Reply: faults.Lost}
	plan := faults.Rules(
		faults.Rule{Op: faults.Insert, Table: "journal", Nth: 2, Times: 2, Fault: busy},
		faults.Rule{Op: faults.Insert, Fault: cut},
	)
	insert := faults.Call{Op: faults.Insert, Table: "journal"}
	for i, want := range []faults.Fault{cut, busy, busy, {}, {}} {
		if got := plan(insert); got != want {
			t.Errorf("insert %d: %v, want %v", i+1, got, want)
		}
	}
	if got := plan(faults.Call{Op: faults.Read, Table: "journal"}); got != (faults.Fault{}) {
		t.Errorf("a read: %v", got)
	}
}

func TestASeedReplaysItsSchedule(t *testing.T) {
	schedule := func(seed uint64) (all []faults.Fault) {
		plan := faults.Seeded(seed, 0.3, faults.All(time.Millisecond)...)
		for n := range 1000 {
			all = append(all, plan(faults.Call{Op: faults.Transaction, N: n}))
		}
		return all
	}
	first := schedule(7)
	if !slices.Equal(first, schedule(7)) {
		t.Error("the same seed gave another schedule")
	}
	if slices.Equal(first, schedule(8)) {
		t.Error("another seed gave the same schedule")
	}
	hits := 0
	for _, f := range first {
		if f != (faults.Fault{}) {
			hits++
		}
	}
	if hits < 250 || hits > 350 {
		t.Errorf("%d of 1000 calls were hit with a chance of 0.3", hits)
	}
}
