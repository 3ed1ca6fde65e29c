// Package readiness says whether requests can be served, and what is missing (OPS-1): the settings, storage, the clock and
// the issuer's keys. It looks seldom, remembers what it saw, and logs a change once. It mends nothing: what failed recovers
// by itself.
package readiness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"latchkey/handler/internal/server"
	"latchkey/handler/internal/settings"
)

const (
	// fresh is how long a look at storage is good for.
	fresh = 2 * time.Second
	// watchEvery is how often Watch looks, so that an outage is logged when nobody asks.
	watchEvery = 10 * time.Second
	// mostSkew is how far the clock may be off storage's own (model.md section 6).
	mostSkew = 30 * time.Second
)

// The names of the checks that log their changes themselves.
const (
	settingsCheck = "settings"
	keysCheck     = "issuer-keys"
)

// Probes are what is looked at once the settings are known.
type Probes struct {
	// Storage makes one cheap read and answers with storage's own time.
	Storage func(ctx context.Context) (time.Time, error)
	// Issuers are those whose tokens are trusted, beside ourselves.
	Issuers []Issuer
}

// Issuer is one whose keys verify callers' tokens.
type Issuer struct {
	// Name is its URL or tenant. It is told to everybody who asks.
	Name string
	// Keys says how old its keys are; false if there are none.
	Keys func() (age time.Duration, known bool)
}

// Monitor remembers the last look. Its methods are safe for concurrent use.
type Monitor struct {
	now func() time.Time
	log *slog.Logger

	mu       sync.Mutex
	settings settings.State
	probes   *Probes
	looked   time.Time
	checks   []server.Check
	down     map[string]bool // names of checks whose failure was logged
}

// New makes a monitor that waits for the settings.
func New(now func() time.Time, log *slog.Logger) *Monitor {
	return &Monitor{now: now, log: log, down: map[string]bool{}}
}

// Settings is told what the settings wait for, and logs it: once a change.
func (m *Monitor) Settings(state settings.State) {
	if state.Err != nil {
		m.log.Error("the settings are not complete", "cause", state.Err.Error())
	} else {
		m.log.Info("the settings are complete")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settings, m.looked = state, time.Time{}
}

// Probe begins to look at more than the settings.
func (m *Monitor) Probe(p Probes) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.probes, m.looked = &p, time.Time{}
}

// Watch looks from time to time until the context ends.
func (m *Monitor) Watch(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		m.Checks(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Checks looks if the last look is old, one at a time, and tells what was seen.
func (m *Monitor) Checks(ctx context.Context) []server.Check {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.now(); m.checks == nil || m.looked.IsZero() || now.Sub(m.looked) >= fresh {
		// Who asked may go; the answer is for all who wait.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		m.checks, m.looked = m.look(ctx), m.now()
		m.tell()
	}
	return m.checks
}

func (m *Monitor) look(ctx context.Context) []server.Check {
	checks := []server.Check{{Name: settingsCheck, Vital: true, OK: m.settings.Ready, Detail: missing(m.settings)}}
	if m.probes == nil {
		return checks
	}
	before := m.now()
	theirs, err := m.probes.Storage(ctx)
	storage := server.Check{Name: "storage", Vital: true, OK: err == nil, Cause: err}
	if err != nil {
		storage.Detail = "cannot be read; the log says why"
	}
	checks = append(checks, storage)
	if err == nil {
		skew := theirs.Sub(before)
		clock := server.Check{Name: "clock", Vital: true, OK: skew.Abs() <= mostSkew}
		if !clock.OK {
			clock.Detail = fmt.Sprintf("is %s off storage's", skew.Abs().Round(time.Second))
		}
		checks = append(checks, clock)
	}
	return append(checks, keys(m.probes.Issuers))
}

// keys says how old the keys of each issuer are. Without those of one, tokens of the others are checked all the same.
func keys(issuers []Issuer) server.Check {
	check := server.Check{Name: keysCheck, OK: true}
	var all []string
	for _, issuer := range issuers {
		age, known := issuer.Keys()
		if !known {
			check.OK = false
			all = append(all, issuer.Name+": none could be fetched, and its tokens cannot be checked")
			continue
		}
		all = append(all, fmt.Sprintf("%s: fetched %s ago", issuer.Name, age.Round(time.Second)))
	}
	check.Detail = strings.Join(all, "; ")
	return check
}

// missing says what the settings wait for, without a value and without the name of a host.
func missing(s settings.State) string {
	var unavailable *settings.Unavailable
	switch {
	case s.Ready:
		return ""
	case errors.As(s.Err, &unavailable):
		return "Key Vault cannot be read; missing: " + strings.Join(s.Missing, ", ")
	case len(s.Missing) > 0:
		return "missing: " + strings.Join(s.Missing, ", ")
	case s.Err != nil:
		return "a value is wrong; the log says which"
	}
	return "not read yet"
}

// tell logs what changed for better or worse. The settings and the issuer's keys (caller.Keys) log themselves: one line a change.
func (m *Monitor) tell() {
	for _, c := range m.checks {
		if c.Name == settingsCheck || c.Name == keysCheck || c.OK != m.down[c.Name] {
			continue
		}
		m.down[c.Name] = !c.OK
		if c.OK {
			m.log.Info("well again", "check", c.Name)
		} else {
			m.log.Error("not well", "check", c.Name, "detail", c.Detail, "cause", c.Cause)
		}
	}
}
