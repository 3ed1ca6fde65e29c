package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrCut is how a connection ends that a fault cut.
var ErrCut = errors.New("the connection was cut by a fault")

// Transport sends requests and lets faults happen to them. It is an http.RoundTripper and a transporter of azcore, and safe for
// concurrent use.
type Transport struct {
	next func(*http.Request) (*http.Response, error)

	mu   sync.Mutex
	plan Plan
	seen map[Call]int // by Op and Table
	hits []string
	hung int
	late sync.WaitGroup
}

// NewTransport makes a Transport in front of another: http.Client.Do or a RoundTripper's method.
func NewTransport(next func(*http.Request) (*http.Response, error), plan Plan) *Transport {
	return &Transport{next: next, plan: plan, seen: map[Call]int{}}
}

// Follow changes the plan, and counts calls anew.
func (t *Transport) Follow(plan Plan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan, t.seen, t.hits = plan, map[Call]int{}, nil
}

// Calls is how many calls there were since the plan was given.
func (t *Transport) Calls() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	total := 0
	for _, n := range t.seen {
		total += n
	}
	return total
}

// Hits says which calls met which fault, in order.
func (t *Transport) Hits() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.hits...)
}

// Holding reports whether a reply is held back now: its request was carried out, unless the fault says otherwise.
func (t *Transport) Holding() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hung > 0
}

func (t *Transport) hold(ctx context.Context) error {
	t.mu.Lock()
	t.hung++
	t.mu.Unlock()
	<-ctx.Done()
	t.mu.Lock()
	t.hung--
	t.mu.Unlock()
	return ctx.Err()
}

// Settle waits until all that is late was carried out.
func (t *Transport) Settle() { t.late.Wait() }

// Do implements azcore's policy.Transporter.
func (t *Transport) Do(r *http.Request) (*http.Response, error) { return t.RoundTrip(r) }

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	fault := t.draw(r)
	if fault == (Fault{}) {
		return t.next(r)
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
	}
	send := func(ctx context.Context) (*http.Response, error) {
		again := r.Clone(ctx)
		again.Body = http.NoBody
		if len(body) > 0 {
			again.Body = io.NopCloser(bytes.NewReader(body))
		}
		return t.next(again)
	}
	if fault.Carry == Late {
		t.late.Go(func() {
			time.Sleep(fault.Pause)
			if resp, err := send(context.WithoutCancel(r.Context())); err == nil {
				drop(resp)
			}
		})
		return t.answer(fault, r, nil)
	}
	if err := wait(r.Context(), fault.Pause); err != nil {
		return nil, err
	}
	var resp *http.Response
	for range map[Carry]int{Once: 1, Twice: 2}[fault.Carry] {
		again, err := send(r.Context())
		if err != nil {
			drop(resp)
			return nil, err
		}
		if resp != nil && fault.Reply == First {
			drop(again)
			continue
		}
		drop(resp)
		resp = again
	}
	return t.answer(fault, r, resp)
}

func (t *Transport) draw(r *http.Request) Fault {
	c := call(r)
	t.mu.Lock()
	t.seen[c]++
	c.N = t.seen[c]
	plan := t.plan
	t.mu.Unlock()
	fault := plan(c)
	if fault != (Fault{}) {
		t.mu.Lock()
		t.hits = append(t.hits, fmt.Sprintf("%v: %v", c, fault))
		t.mu.Unlock()
	}
	return fault
}

// answer is what the caller gets in place of genuine, which is nil if there is none.
func (t *Transport) answer(f Fault, r *http.Request, genuine *http.Response) (*http.Response, error) {
	switch f.Reply {
	case Busy:
		return instead(r, genuine, http.StatusServiceUnavailable, "ServerBusy", nil), nil
	case BusyRetryAfter:
		return instead(r, genuine, http.StatusServiceUnavailable, "ServerBusy", http.Header{"Retry-After": {"1"}}), nil
	case Throttled:
		return instead(r, genuine, http.StatusTooManyRequests, "TooManyRequests", nil), nil
	case Failed:
		return instead(r, genuine, http.StatusInternalServerError, "OperationTimedOut", nil), nil
	case Unreachable:
		return instead(r, genuine, http.StatusBadGateway, "", http.Header{"Content-Type": {"text/html"}}), nil
	case Hung:
		drop(genuine)
		return nil, t.hold(r.Context())
	}
	if genuine == nil || f.Reply == Lost {
		drop(genuine)
		return nil, ErrCut
	}
	if f.Reply != Truncated && f.Reply != Garbled {
		return genuine, nil
	}
	body, err := io.ReadAll(genuine.Body)
	genuine.Body.Close()
	if err != nil || len(body) == 0 {
		return nil, errors.Join(err, ErrCut)
	}
	if f.Reply == Truncated {
		genuine.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body[:len(body)/2]), broken{}))
		return genuine, nil
	}
	for i := range body {
		body[i] ^= 0x55
	}
	genuine.Body = io.NopCloser(bytes.NewReader(body))
	return genuine, nil
}

// instead answers in the service's place, in its words.
func instead(r *http.Request, genuine *http.Response, status int, code string, header http.Header) *http.Response {
	drop(genuine)
	body := "<html><body>Bad gateway</body></html>"
	if header == nil {
		header = http.Header{}
	}
	if code != "" {
		body = fmt.Sprintf(`{"odata.error":{"code":%q,"message":{"lang":"en-US","value":"made by a fault"}}}`, code)
		header.Set("X-Ms-Error-Code", code)
		header.Set("Content-Type", "application/json")
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}
}

// broken is a body that breaks off.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// drop reads a reply to its end, so that its connection can be used again.
func drop(resp *http.Response) {
	if resp == nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
