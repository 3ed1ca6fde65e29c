package revoked_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/revoked"
)

// feed is a storage that a test fills, slows and breaks.
type feed struct {
	mu     sync.Mutex
	all    []activation.Ending
	slow   time.Duration
	broken error
	reads  atomic.Int64
	since  time.Time
}

func (f *feed) read(ctx context.Context, since time.Time) ([]activation.Ending, error) {
	f.reads.Add(1)
	f.mu.Lock()
	all, slow, broken := slices.Clone(f.all), f.slow, f.broken
	f.since = since
	f.mu.Unlock()
	select {
	case <-time.After(slow):
		return all, broken
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *feed) set(change func(*feed)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

type signed struct {
	At  time.Time
	All []activation.Ending
}

func sign(all []activation.Ending, at time.Time) ([]byte, error) {
	return json.Marshal(signed{at, all})
}

func newList(f *feed) *revoked.List {
	return revoked.New(revoked.Source{Read: f.read, Sign: sign, Now: time.Now})
}

func get(t *testing.T, l *revoked.List) signed {
	t.Helper()
	d, err := l.Document(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s signed
	if err := json.Unmarshal(d.Text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func ending(sid string, until time.Time) activation.Ending {
	return activation.Ending{Session: sid, Until: until}
}

func TestACT14_TheListHasWhatHasNotExpiredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		later := now.Add(time.Hour)
		f := &feed{all: []activation.Ending{
			ending("a", later), ending("over", now), ending("a", later.Add(time.Minute)), {Token: "a", Until: later}, ending("a", later.Add(-time.Minute)),
		}}
		s := get(t, newList(f))
		want := []activation.Ending{ending("a", later.Add(time.Minute)), {Token: "a", Until: later}}
		if !slices.EqualFunc(s.All, want, func(a, b activation.Ending) bool {
			return a.Session == b.Session && a.Token == b.Token && a.Until.Equal(b.Until)
		}) {
			t.Errorf("%+v, want %+v", s.All, want)
		}
		if back := now.Sub(f.since); back != activation.MaxLifetime+activation.PublishedAfter {
			t.Errorf("it was read %s back", back)
		}
	})
}

// However many ask, for however long: a read in five seconds. And whatever has ended is in it 10 s later.
func TestACT14_TheListCostsStorageNothingUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{slow: 200 * time.Millisecond}
		l := newList(f)
		const seconds = 60
		var all sync.WaitGroup
		var given atomic.Int64
		for client := range 50 {
			all.Go(func() {
				for range seconds * 10 {
					s := get(t, l)
					given.Add(1)
					if age := time.Since(s.At); age > 10*time.Second+f.slow {
						t.Errorf("client %d got a list of %s ago", client, age)
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		time.Sleep(20 * time.Second)
		f.set(func(f *feed) { f.all = append(f.all, ending("late", time.Now().Add(time.Hour))) })
		time.Sleep(10 * time.Second)
		if s := get(t, l); len(s.All) != 1 {
			t.Error("what ended 10 s ago is not in the list")
		}
		all.Wait()
		if n := f.reads.Load(); n > seconds/5+1 || given.Load() != 50*10*seconds {
			t.Errorf("%d lists cost %d reads in %d s", given.Load(), n, seconds)
		}
		before := f.reads.Load()
		time.Sleep(time.Hour)
		if f.reads.Load() != before {
			t.Error("it was read though nobody asked")
		}
	})
}

func TestACT14_AnOldListIsGivenForHalfAMinuteAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		l := newList(f)
		first := get(t, l)
		f.set(func(f *feed) { f.broken = errors.New("storage is down") })
		for time.Since(first.At) < 29*time.Second {
			if s := get(t, l); !s.At.Equal(first.At) {
				t.Fatal("that is another list")
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Until(first.At.Add(30 * time.Second)))
		if _, err := l.Document(t.Context()); !errors.Is(err, commit.ErrUnavailable) {
			t.Errorf("after 30 s: %v", err)
		}
		// A storage that is down is asked once a second, whoever asks.
		f.reads.Store(0)
		for range 1000 {
			if _, err := l.Document(t.Context()); !errors.Is(err, commit.ErrUnavailable) {
				t.Fatalf("got %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := f.reads.Load(); n > 11 {
			t.Errorf("%d looks in 10 s", n)
		}
		f.set(func(f *feed) { f.broken = nil })
		time.Sleep(time.Second)
		if s := get(t, l); time.Since(s.At) > time.Second {
			t.Error("it did not recover")
		}
	})
}

// One that hangs holds nobody up for long, and one that hangs up takes nothing from the others.
func TestACT14_AReadingIsNobodysOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{slow: 3 * time.Second}
		l := newList(f)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := l.Document(short); !errors.Is(err, commit.ErrUnavailable) {
				t.Errorf("who hung up got %v", err)
			}
		})
		for range 10 {
			all.Go(func() {
				time.Sleep(time.Millisecond)
				get(t, l)
			})
		}
		all.Wait()
		if n := f.reads.Load(); n != 1 {
			t.Errorf("%d readings", n)
		}
		f.set(func(f *feed) { f.slow = time.Hour })
		time.Sleep(time.Minute)
		began := time.Now()
		if _, err := l.Document(t.Context()); !errors.Is(err, commit.ErrUnavailable) || time.Since(began) > 8*time.Second {
			t.Errorf("a storage that hangs: %v after %s", err, time.Since(began))
		}
	})
}

func TestAPanicWhileTheListIsMadeIsAnError(t *testing.T) {
	l := revoked.New(revoked.Source{Now: time.Now, Sign: sign, Read: func(context.Context, time.Time) ([]activation.Ending, error) { panic("broken") }})
	if _, err := l.Document(t.Context()); !errors.Is(err, commit.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
