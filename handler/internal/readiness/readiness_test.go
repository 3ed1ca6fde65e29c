package readiness_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/handler/internal/readiness"
	"latchkey/handler/internal/server"
	"latchkey/handler/internal/settings"
)

// bench is a monitor with parts that a test can break.
type bench struct {
	*readiness.Monitor
	log     bytes.Buffer
	now     time.Time
	skew    time.Duration
	storage error
	age     time.Duration
	keys    bool
	looks   int
}

func newBench() *bench {
	b := &bench{now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), keys: true, age: time.Minute}
	b.Monitor = readiness.New(func() time.Time { return b.now }, slog.New(slog.NewTextHandler(&b.log, nil)))
	return b
}

func (b *bench) ready() *bench {
	b.Settings(settings.State{Ready: true})
	b.Probe(readiness.Probes{
		Storage: func(ctx context.Context) (time.Time, error) {
			b.looks++
			if err := ctx.Err(); err != nil {
				return time.Time{}, err
			}
			return b.now.Add(b.skew), b.storage
		},
		Issuers: []readiness.Issuer{{Name: "tenant", Keys: func() (time.Duration, bool) { return b.age, b.keys }}},
	})
	b.log.Reset()
	return b
}

// later lets the last look grow old.
func (b *bench) later() { b.now = b.now.Add(3 * time.Second) }

// wrong gives the checks that are not well, and whether one of them is vital.
func (b *bench) wrong(t *testing.T) (names []string, vital bool) {
	t.Helper()
	for _, c := range b.Checks(t.Context()) {
		if !c.OK {
			names = append(names, c.Name)
			vital = vital || c.Vital
		}
	}
	return names, vital
}

func TestOPS1_WhatIsMissingIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(*bench)
		wrong  []string
		vital  bool
	}{
		"nothing":                  {func(*bench) {}, nil, false},
		"storage":                  {func(b *bench) { b.storage = errors.New("dial tcp 10.1.2.3:443: refused") }, []string{"storage"}, true},
		"the issuer's keys":        {func(b *bench) { b.keys = false }, []string{"issuer-keys"}, false},
		"the clock, 30 s slow":     {func(b *bench) { b.skew = 30 * time.Second }, nil, false},
		"the clock, 31 s slow":     {func(b *bench) { b.skew = 31 * time.Second }, []string{"clock"}, true},
		"the clock, 31 s fast":     {func(b *bench) { b.skew = -31 * time.Second }, []string{"clock"}, true},
		"the settings":             {func(b *bench) { b.Settings(settings.State{Missing: []string{"Codes:Pepper"}}) }, []string{"settings"}, true},
		"storage and the issuer's": {func(b *bench) { b.storage, b.keys = errors.New("x"), false }, []string{"storage", "issuer-keys"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench().ready()
			c.break_(b)
			if got, vital := b.wrong(t); !reflect.DeepEqual(got, c.wrong) || vital != c.vital {
				t.Errorf("%q, vital %t; want %q, %t", got, vital, c.wrong, c.vital)
			}
		})
	}
}

// What anybody can read names no host; the log has the cause.
func TestOPS1_NothingIsGivenAway(t *testing.T) {
	unavailable := &settings.Unavailable{Missing: []string{"Codes:Pepper"}, Err: errors.New("dial tcp 10.1.2.3:443")}
	for name, c := range map[string]struct {
		break_ func(*bench)
		want   string
	}{
		"storage":       {func(b *bench) { b.storage = errors.New("dial tcp 10.1.2.3:443") }, "cannot be read; the log says why"},
		"vault":         {func(b *bench) { b.Settings(settings.State{Missing: unavailable.Missing, Err: unavailable}) }, "Key Vault cannot be read; missing: Codes:Pepper"},
		"a wrong value": {func(b *bench) { b.Settings(settings.State{Err: errors.New("10.1.2.3")}) }, "a value is wrong; the log says which"},
		"missing values": {func(b *bench) {
			b.Settings(settings.State{Missing: []string{"A:B", "C:D"}, Err: errors.New("10.1.2.3")})
		}, "missing: A:B, C:D"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench().ready()
			c.break_(b)
			for _, check := range b.Checks(t.Context()) {
				if !check.OK && check.Detail != c.want || strings.Contains(check.Detail, "10.1.2.3") {
					t.Errorf("%+v, want %q", check, c.want)
				}
			}
			if !strings.Contains(b.log.String(), "10.1.2.3") {
				t.Errorf("the log is %s", b.log.String())
			}
		})
	}
}

func TestOPS1_BeforeTheSettingsAreKnown(t *testing.T) {
	b := newBench()
	want := []server.Check{{Name: "settings", Vital: true, Detail: "not read yet"}}
	if got := b.Checks(t.Context()); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	b.ready() // is noticed at once
	if got, _ := b.wrong(t); got != nil {
		t.Errorf("%q", got)
	}
}

// It is asked often and looks seldom.
func TestOPS1_ALookIsGoodForTwoSeconds(t *testing.T) {
	b := newBench().ready()
	for range 100 {
		b.Checks(t.Context())
	}
	if b.looks != 1 {
		t.Errorf("%d looks at once", b.looks)
	}
	b.storage = errors.New("x")
	b.now = b.now.Add(2*time.Second - 1)
	if got, _ := b.wrong(t); got != nil || b.looks != 1 {
		t.Errorf("%q after %d looks", got, b.looks)
	}
	b.now = b.now.Add(1)
	if got, _ := b.wrong(t); got == nil || b.looks != 2 {
		t.Errorf("%q after %d looks", got, b.looks)
	}
}

// Who asks and hangs up spoils the answer for nobody.
func TestOPS1_ACallerThatHangsUp(t *testing.T) {
	b := newBench().ready()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range b.Checks(ctx) {
		if !c.OK {
			t.Errorf("%+v", c)
		}
	}
}

// A change is logged once, for better and for worse.
func TestOPS1_AChangeIsLoggedOnce(t *testing.T) {
	b := newBench().ready()
	looks := func(want ...string) {
		t.Helper()
		for range 3 {
			b.later()
			b.Checks(t.Context())
		}
		lines := strings.Split(strings.TrimSuffix(b.log.String(), "\n"), "\n")
		if b.log.Len() == 0 {
			lines = nil
		}
		if len(lines) != len(want) {
			t.Fatalf("%q, want %q", lines, want)
		}
		for i := range want {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("%q, want %q", lines[i], want[i])
			}
		}
		b.log.Reset()
	}
	looks()
	b.storage = errors.New("out of order")
	looks(`level=ERROR msg="not well" check=storage detail="cannot be read; the log says why" cause="out of order"`)
	b.keys = false
	looks() // they log that themselves
	b.storage, b.keys = nil, true
	looks(`level=INFO msg="well again" check=storage`)
	b.skew = time.Hour
	looks(`check=clock detail="is 1h0m0s off storage's"`)
	b.Settings(settings.State{Missing: []string{"Codes:Pepper"}, Err: errors.New("no Codes:Pepper")})
	looks(`level=ERROR msg="the settings are not complete" cause="no Codes:Pepper"`)
	b.Settings(settings.State{Ready: true})
	looks(`level=INFO msg="the settings are complete"`)
}

// An outage is logged when nobody asks; Watch ends with its context.
func TestOPS1_WatchLooksByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		var down atomic.Bool
		m := readiness.New(time.Now, slog.New(slog.NewTextHandler(&log, nil)))
		m.Settings(settings.State{Ready: true})
		m.Probe(readiness.Probes{
			Storage: func(context.Context) (time.Time, error) {
				if down.Load() {
					return time.Time{}, errors.New("out of order")
				}
				return time.Now(), nil
			},
			Issuers: []readiness.Issuer{{Name: "tenant", Keys: func() (time.Duration, bool) { return 0, true }}},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); m.Watch(ctx) }()
		synctest.Wait()
		down.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !strings.Contains(log.String(), "out of order") {
			t.Errorf("the log is %s", log.String())
		}
		cancel()
		<-done
	})
}

// A storage that does not answer is given 5 s.
func TestOPS1_ALookHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := readiness.New(time.Now, slog.New(slog.DiscardHandler))
		m.Settings(settings.State{Ready: true})
		m.Probe(readiness.Probes{
			Storage: func(ctx context.Context) (time.Time, error) {
				<-ctx.Done()
				return time.Time{}, ctx.Err()
			},
			Issuers: []readiness.Issuer{{Name: "tenant", Keys: func() (time.Duration, bool) { return 0, true }}},
		})
		began := time.Now()
		checks := m.Checks(t.Context())
		if took := time.Since(began); took != 5*time.Second || checks[1].OK {
			t.Errorf("%s, %+v", took, checks)
		}
	})
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestAUT4_OneIssuerDownDegrades(t *testing.T) {
	age := func(known bool) func() (time.Duration, bool) {
		return func() (time.Duration, bool) { return time.Minute, known }
	}
	for _, test := range []struct {
		issuers []readiness.Issuer
		ok      bool
		detail  string
	}{
		{[]readiness.Issuer{{Name: "a", Keys: age(true)}, {Name: "b", Keys: age(true)}}, true, "a: fetched 1m0s ago; b: fetched 1m0s ago"},
		{[]readiness.Issuer{{Name: "a", Keys: age(true)}, {Name: "b", Keys: age(false)}}, false, "a: fetched 1m0s ago; b: none could be fetched, and its tokens cannot be checked"},
		{[]readiness.Issuer{{Name: "a", Keys: age(false)}, {Name: "b", Keys: age(true)}}, false, "a: none could be fetched, and its tokens cannot be checked; b: fetched 1m0s ago"},
	} {
		m := readiness.New(func() time.Time { return time.Time{} }, slog.New(slog.DiscardHandler))
		m.Probe(readiness.Probes{
			Storage: func(context.Context) (time.Time, error) { return time.Time{}, nil }, Issuers: test.issuers,
		})
		checks := m.Checks(t.Context())
		if got := checks[len(checks)-1]; got.OK != test.ok || got.Detail != test.detail || got.Vital {
			t.Errorf("%+v", got)
		}
	}
}
