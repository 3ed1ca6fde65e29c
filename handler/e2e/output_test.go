package e2e_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
)

// output is what a process prints. It can be read while the process still prints.
type output struct {
	mu     sync.Mutex
	lines  []string
	rest   []byte
	events map[string]event // by trace id
}

// event is a line of the handler. A host may put words of its own before it.
type event struct {
	Msg, Level                 string
	Operation, Method          string
	Status                     int
	Instance, Reason           string
	Trace                      string `json:"trace_id"`
	Action, Outcome, Why       string
	Actor, Subject, Activation string
	Trips                      *int `json:"storage_trips"`
	Calls                      *int `json:"storage_calls"`
	Check, Cause, Detail       string
}

func newOutput() *output { return &output{events: map[string]event{}} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, p...)
	for {
		line, rest, found := bytes.Cut(o.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		o.rest = rest
		o.lines = append(o.lines, string(line))
		if e, ok := parse(string(line)); ok && e.Trace != "" {
			o.events[e.Trace] = e
		}
	}
}

func parse(line string) (e event, ok bool) {
	at := strings.Index(line, `{"time":`)
	return e, at >= 0 && json.NewDecoder(strings.NewReader(line[at:])).Decode(&e) == nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}

// event is the handler's line about the request with this trace id. It is written before the reply; the pipe may be behind.
func (h *host) event(t *testing.T, trace string) event {
	t.Helper()
	for range 100 {
		h.out.mu.Lock()
		e, found := h.out.events[trace]
		h.out.mu.Unlock()
		if found {
			return e
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s: no line has the trace id %s", h.name, trace)
	return event{}
}
