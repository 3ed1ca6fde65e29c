package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"latchkey/infra/local/devhost/internal/app"
	"latchkey/infra/local/devhost/internal/loopback"
	"latchkey/infra/local/devhost/internal/wire"
)

// timer runs one timer function: POST /<name> with the payload of
// host-contract.md 4.1. The status is kept in memory only.
type timer struct {
	h  *Host
	f  *app.Function
	mu sync.Mutex
	// status of the schedule monitor
	last, updated time.Time
}

func newTimer(h *Host, f *app.Function) *timer { return &timer{h: h, f: f} }

// run follows the schedule until ctx ends; ticks never overlap.
func (t *timer) run(ctx context.Context) {
	if t.f.Disabled {
		return
	}
	if t.f.Timer.RunOnStartup {
		t.fire(ctx, false, nil)
	}
	t.mu.Lock()
	t.updated = t.h.Now()
	t.mu.Unlock()
	for ctx.Err() == nil {
		next := t.f.Timer.Schedule.Next(t.h.Now())
		if next.IsZero() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next.Sub(t.h.Now())):
		}
		t.fire(ctx, false, nil)
		t.mu.Lock()
		t.last, t.updated = next, t.h.Now()
		t.mu.Unlock()
	}
}

// payload types are written with their fields in the host's order.
type timerPayload struct {
	Data     map[string]timerInfo
	Metadata json.RawMessage
}

type timerInfo struct {
	Schedule       struct{ AdjustForDST bool }
	ScheduleStatus *scheduleStatus
	IsPastDue      bool
}

type scheduleStatus struct{ Last, Next, LastUpdated string }

// stamp has an offset and up to seven digits, as .NET's DateTimeOffset.
const stamp = "2006-01-02T15:04:05.9999999-07:00"

// payload builds the body. input is what a call by hand carried: it arrives as
// JSON text within a JSON string.
func (t *timer) payload(pastDue bool, input *string) ([]byte, error) {
	now := t.h.Now().UTC()
	info := timerInfo{IsPastDue: pastDue}
	info.Schedule.AdjustForDST = true
	if s := t.f.Timer.Schedule; t.f.Timer.UseMonitor && !s.BelowMinute(now) {
		t.mu.Lock()
		info.ScheduleStatus = &scheduleStatus{Last: t.last.UTC().Format(stamp),
			Next: s.Next(now).Format(stamp), LastUpdated: t.updated.UTC().Format(stamp)}
		t.mu.Unlock()
	}
	var meta bytes.Buffer
	meta.WriteByte('{')
	if input != nil {
		text, err := json.Marshal(*input)
		if err != nil {
			return nil, err
		}
		twice, err := json.Marshal(string(text))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&meta, "%q:%s,", t.f.Timer.Binding, twice)
	}
	fmt.Fprintf(&meta, `"sys":{"MethodName":%q,"UtcNow":%q,"RandGuid":%q}}`,
		t.f.Name, now.Format("2006-01-02T15:04:05.0000000Z"), t.h.guid())
	return json.Marshal(timerPayload{Data: map[string]timerInfo{t.f.Timer.Binding: info}, Metadata: meta.Bytes()})
}

var errFailed = errors.New("the invocation failed")

// fire runs the function once and logs how it ended.
func (t *timer) fire(ctx context.Context, pastDue bool, input *string) {
	id := t.h.guid()
	if err := t.call(ctx, id, pastDue, input); err != nil && ctx.Err() == nil {
		t.h.Log.Error(fmt.Sprintf("timer %s (%s): %v", t.f.Name, id, err))
		return
	}
	t.h.Log.Info(fmt.Sprintf("timer %s (%s) ran", t.f.Name, id))
}

func (t *timer) call(ctx context.Context, id string, pastDue bool, input *string) error {
	if err := t.h.sup.Ready(ctx, t.h.StartWait); err != nil {
		return err
	}
	body, err := t.payload(pastDue, input)
	if err != nil {
		return err
	}
	ctx, _, done := t.h.deadline(ctx)
	defer done()
	reply, err := t.h.client.Do(ctx, loopback.Call{Method: http.MethodPost, Target: "/" + t.f.Name, Sends: 1,
		Header: wire.Header{{Name: "Host", Value: t.h.handler}, {Name: hostVersion, Value: Version},
			{Name: invocationID, Value: id}, {Name: "User-Agent", Value: userAgent},
			{Name: "Transfer-Encoding", Value: "chunked"}, {Name: "Content-Type", Value: "application/json; charset=utf-8"}},
		Stream: bytes.NewReader(body), Sent: make(chan struct{})})
	if err != nil {
		return err
	}
	defer reply.Close()
	got, err := io.ReadAll(reply.Body)
	if err != nil {
		return err
	}
	return t.result(ctx, id, reply, got)
}

// result judges a reply as DefaultHttpWorkerService does.
func (t *timer) result(ctx context.Context, id string, reply *loopback.Reply, body []byte) error {
	if reply.Status < 200 || reply.Status > 299 {
		return fmt.Errorf("%w: the handler answered %d", errFailed, reply.Status)
	}
	text := bytes.TrimSpace(body)
	if reply.Status == http.StatusNoContent || len(text) == 0 || string(text) == "null" {
		// Neither success nor failure is ever reported on the real host.
		t.h.Log.Error(fmt.Sprintf("timer %s (%s): an empty reply, 204 or null never completes; answer 200 with {}", t.f.Name, id))
		<-ctx.Done()
		return fmt.Errorf("%w: it never completed", errFailed)
	}
	if ct, _, err := mime.ParseMediaType(reply.Header.Get("Content-Type")); err != nil || ct != "application/json" {
		return fmt.Errorf("%w: no MediaTypeFormatter for the content type %q", errFailed, reply.Header.Get("Content-Type"))
	}
	var result struct{ Logs []string }
	if err := json.Unmarshal(text, &result); err != nil {
		return fmt.Errorf("%w: unexpected reply: %w", errFailed, err)
	}
	for _, l := range result.Logs {
		t.h.Output.Info(fmt.Sprintf("%s (%s): %s", t.f.Name, id, l))
	}
	return nil
}
