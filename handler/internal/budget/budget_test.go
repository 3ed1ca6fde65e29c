package budget_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/handler/internal/budget"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/subject"
)

var (
	noon    = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	errLost = errors.New("no answer")
)

// world is a storage with its clock, which is everybody's unless an instance has a skew.
type world struct {
	store  *memstore.Store
	passed atomic.Int64 // nanoseconds since noon
	limits budget.Limits

	mu      sync.Mutex
	reports []budget.Report
}

func newWorld(limits budget.Limits) *world {
	w := &world{store: memstore.New(), limits: limits}
	w.store.Now = w.now
	return w
}

func (w *world) now() time.Time          { return noon.Add(time.Duration(w.passed.Load())) }
func (w *world) advance(d time.Duration) { w.passed.Add(int64(d)) }

func (w *world) environment() budget.Environment {
	return budget.Environment{
		Store: w.store, Now: w.now, Later: func(do func(context.Context)) { do(context.Background()) },
		Report: func(r budget.Report) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.reports = append(w.reports, r)
		},
	}
}

func (w *world) instance() *budget.Guard {
	return budget.NewGuard(func() budget.Limits { return w.limits }, w.environment())
}

// lose lets a share of all calls fail: half of them before they are carried out, half after.
func (w *world) lose(share float64, random *rand.Rand) {
	var mu sync.Mutex
	w.store.Fault = func(op memstore.Op, when memstore.When) error {
		if op == memstore.OpSwapBucket && when == memstore.Before {
			runtime.Gosched() // let another read the same state
		}
		mu.Lock()
		defer mu.Unlock()
		if random.Float64() < share/2 {
			return errLost
		}
		return nil
	}
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// wantEmpty checks what an empty budget says.
func wantEmpty(t *testing.T, err error, kind budget.Kind) *budget.Empty {
	t.Helper()
	empty, ok := errors.AsType[*budget.Empty](err)
	if !ok || empty.Kind != kind || empty.After <= 0 {
		t.Fatalf("got %v (%+v), want an empty %s budget", err, empty, kind)
	}
	return empty
}

// ABU-1: a million guesses on three instances at once, one storage call in ten lost.
func TestABU1_AMillionGuessesStayInsideTheTotal(t *testing.T) {
	const (
		guesses   = 1_000_000
		each      = 18 * time.Millisecond // five hours in all
		instances = 3
	)
	limit := budget.Limit{Capacity: 100_000, Refill: 100_000, Period: 10 * time.Hour, Block: 1000}
	w := newWorld(budget.Limits{Unknown: limit})
	w.lose(0.1, seeded(1))
	var passed, closed, empty atomic.Int64
	var all sync.WaitGroup
	for range instances {
		guard := w.instance()
		for range 4 {
			all.Go(func() {
				for range guesses / instances / 4 {
					w.advance(each)
					switch _, err := guard.Guess(t.Context(), subject.Patient); {
					case err == nil:
						passed.Add(1)
					case errors.Is(err, budget.ErrUnknown):
						closed.Add(1)
					default:
						empty.Add(1)
					}
				}
			})
		}
	}
	all.Wait()
	took := w.now().Sub(noon)
	bound := limit.Capacity + int64(took)/(int64(limit.Period)/limit.Refill)
	t.Logf("%s: %d passed of at most %d; %d met an empty budget, %d a storage that did not answer", took, passed.Load(), bound, empty.Load(), closed.Load())
	if passed.Load() > bound {
		t.Errorf("%d guesses passed, the bound is %d", passed.Load(), bound)
	}
	// What lost replies took with them is a block each: it must not eat the budget up.
	if passed.Load() < bound*8/10 || empty.Load() == 0 || closed.Load() == 0 {
		t.Errorf("this proves nothing: %d passed of %d, %d empty, %d closed", passed.Load(), bound, empty.Load(), closed.Load())
	}
}

// ABU-1: the same by source. What is beyond the budget of an address is told so, on every instance.
func TestABU1_AMillionRefusalsStayInsideTheSourcesBudget(t *testing.T) {
	const each = 6 * time.Millisecond // 100 minutes in all
	limit := budget.PerWindow(60, 10*time.Minute)
	w := newWorld(budget.Limits{Source: limit})
	random := seeded(2)
	guards := []*budget.Guard{w.instance(), w.instance(), w.instance()}
	within := 0
	for range 1_000_000 {
		w.advance(each)
		if guards[random.IntN(len(guards))].Refused(t.Context(), "192.0.2.1") == nil {
			within++
		}
	}
	took := w.now().Sub(noon)
	bound := int(limit.Capacity + int64(took)/(int64(limit.Period)/limit.Refill))
	reads := len(w.store.Buckets())
	t.Logf("%s: %d within, of at most %d; %d rows", took, within, bound, reads)
	if within > bound || within < bound*9/10 || reads != 1 {
		t.Errorf("%d refusals within the budget, which is %d; %d rows", within, bound, reads)
	}
}

// Whatever instances do, all together hand out no more than the bucket gave: random schedules of guesses, units given back,
// deaths, clocks that jump, lost calls and changed settings. LATCHKEY_SCHEDULES runs more of them, LATCHKEY_SEED one again.
func TestABU1_ScheduleKeepsTheBound(t *testing.T) {
	schedules := 150
	if n, err := strconv.Atoi(os.Getenv("LATCHKEY_SCHEDULES")); err == nil {
		schedules = n
	}
	first := uint64(1)
	if seed, err := strconv.ParseUint(os.Getenv("LATCHKEY_SEED"), 10, 64); err == nil {
		first, schedules = seed, 1
	}
	var sum schedule
	for i := range schedules {
		s := &schedule{t: t, seed: first + uint64(i)}
		s.run()
		sum.handed, sum.back, sum.refused, sum.unknown = sum.handed+s.handed, sum.back+s.back, sum.refused+s.refused, sum.unknown+s.unknown
		if t.Failed() {
			t.Fatalf("seed %d: LATCHKEY_SEED=%d repeats it", s.seed, s.seed)
		}
	}
	t.Logf("%d schedules: %d units handed out, %d given back, %d times empty, %d times unknown", schedules, sum.handed, sum.back, sum.refused, sum.unknown)
	if first == 1 && (sum.handed == 0 || sum.back == 0 || sum.refused == 0 || sum.unknown == 0) {
		t.Error("the schedules do not meet what they are for")
	}
}

type schedule struct {
	t    *testing.T
	seed uint64

	handed, back, refused, unknown int
}

const (
	// lapse and a jump of a clock: how much later than it was leased a unit may be handed out.
	lapse = 12 * time.Hour
	jump  = time.Hour
)

func (s *schedule) run() {
	random := seeded(s.seed)
	limit := budget.Limit{Capacity: 1000, Refill: 1000, Period: 30 * 24 * time.Hour, Block: 100}
	w := newWorld(budget.Limits{Unknown: limit})
	w.lose(random.Float64()*0.3, random)
	var skews [4]time.Duration
	start := func(i int) *budget.Guard {
		env := w.environment()
		env.Now = func() time.Time { return w.now().Add(skews[i]) }
		return budget.NewGuard(func() budget.Limits { return w.limits }, env)
	}
	var guards [4]*budget.Guard
	for i := range guards {
		guards[i] = start(i)
	}
	type unit struct {
		at   time.Time
		back func()
	}
	var held []unit   // may still come back
	var net []float64 // by the hour in which they were handed out: what did not come back
	count := func(u unit, n float64) {
		hour := int(u.at.Sub(noon) / time.Hour)
		for len(net) <= hour {
			net = append(net, 0)
		}
		net[hour] += n
	}
	// guess makes one, which may turn out to be known at once or much later, and reports whether it was let through.
	guess := func(i int) bool {
		back, err := guards[i].Guess(s.t.Context(), subject.Patient)
		switch {
		case err == nil:
			u := unit{w.now(), back}
			count(u, 1)
			s.handed++
			if random.IntN(4) == 0 {
				held = append(held, u)
			}
		case errors.Is(err, budget.ErrUnknown):
			s.unknown++
		default:
			wantEmpty(s.t, err, budget.Patients)
			s.refused++
		}
		return err == nil
	}
	for range 400 {
		i := random.IntN(len(guards))
		switch n := random.IntN(100); {
		case n < 45: // some guesses
			for range 1 + random.IntN(30) {
				guess(i)
			}
		case n < 51: // as many as there are
			for i := range guards {
				for guess(i) {
				}
			}
		case n < 61:
			for _, u := range held {
				u.back()
				count(u, -1)
				s.back++
			}
			held = nil
		case n < 65:
			guards[i] = start(i) // it died
		case n < 70:
			skews[i] = time.Duration(random.Int64N(int64(jump)))
		case n < 97:
			w.advance(time.Duration(random.Int64N(int64(2 * time.Hour))))
		default:
			w.advance(time.Duration(random.Int64N(int64(50 * 24 * time.Hour))))
		}
	}
	// From the start: exactly what the bucket had and got.
	perHour := float64(limit.Refill) / limit.Period.Hours()
	total := 0.0
	// Over any span: what came in during it and the lapse before it. worst is the most that any span that ends here has beyond its
	// refill.
	worst := 0.0
	for hour, n := range net {
		total += n
		if bound := float64(limit.Capacity) + perHour*float64(hour+1); total > bound {
			s.t.Errorf("%v units by hour %d, the bound is %v", total, hour, bound)
		}
		worst = max(0, worst-perHour) + n
		if bound := float64(limit.Capacity) + perHour*((lapse+jump).Hours()+1); worst > bound {
			s.t.Errorf("a span that ends in hour %d has %v units beyond its refill, the bound is %v", hour, worst, bound)
		}
	}
}

// ABU-1: no year sees more than capacity and refill, however the blocks fall.
func TestABU1_NoYearSeesMoreThanCapacityAndRefill(t *testing.T) {
	const most = 1e6
	for _, start := range []time.Time{time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)} { // 365 and 366 days
		w := newWorld(budget.Limits{Unknown: budget.PerYear(most/2, most/2)})
		w.advance(start.Sub(noon) - 11*time.Hour)
		guards := make([]*budget.Guard, 10)
		for i := range guards { // each holds nearly a block when the year begins, and the bucket is full again
			guards[i] = w.instance()
			guards[i].Warm(t.Context())
		}
		w.advance(start.Sub(w.now()))
		passed := 0
		for end := start.AddDate(1, 0, 0); w.now().Before(end); w.advance(6 * time.Hour) {
			for _, guard := range guards {
				for {
					if _, err := guard.Guess(t.Context(), subject.Device); err != nil {
						break
					}
					passed++
				}
			}
		}
		t.Logf("%d guesses in %d", passed, start.Year())
		if passed > most || passed < most*95/100 {
			t.Errorf("%d guesses in %d, want nearly %d and no more", passed, start.Year(), int(most))
		}
	}
}

// A unit comes back when the code is known: known codes cost the total nothing.
func TestABU1_KnownCodesCostTheTotalNothing(t *testing.T) {
	w := newWorld(budget.Limits{Unknown: budget.Limit{Capacity: 1, Refill: 1, Period: time.Hour, Block: 1}})
	guard := w.instance()
	for range 1000 {
		known, err := guard.Guess(t.Context(), subject.Patient)
		if err != nil {
			t.Fatal(err)
		}
		known()
	}
	if _, err := guard.Guess(t.Context(), subject.Patient); err != nil {
		t.Fatal(err)
	}
	_, err := guard.Guess(t.Context(), subject.Patient)
	if empty := wantEmpty(t, err, budget.Patients); empty.After != time.Hour {
		t.Errorf("try again after %s", empty.After)
	}
	if _, err := guard.Guess(t.Context(), subject.Device); err != nil {
		t.Errorf("the other kind has a total of its own: %v", err)
	}
	w.advance(time.Hour)
	if _, err := guard.Guess(t.Context(), subject.Patient); err != nil {
		t.Errorf("an hour later: %v", err)
	}
	if _, err := guard.Guess(t.Context(), subject.Clinician); !errors.Is(err, budget.ErrUnknown) {
		t.Errorf("a kind without a total: %v", err)
	}
}

// Nearly no trips: what is asked of storage for 100,000 guesses and for 100,000 refusals of one address.
func TestABU1_BudgetsAreAMatterOfMemory(t *testing.T) {
	w := newWorld(budget.Limits{Unknown: budget.PerYear(5e9, 5e9), Source: budget.PerWindow(60, 10*time.Minute)})
	calls := 0
	w.store.Fault = func(_ memstore.Op, when memstore.When) error {
		if when == memstore.Before {
			calls++
		}
		return nil
	}
	guard := w.instance()
	for range 100_000 {
		if _, err := guard.Guess(t.Context(), subject.Patient); err != nil {
			t.Fatal(err)
		}
	}
	if calls > 2*51 {
		t.Errorf("%d calls for 100,000 guesses", calls)
	}
	calls = 0
	for range 100_000 {
		_ = guard.Refused(t.Context(), "192.0.2.1")
		w.advance(6 * time.Millisecond) // ten minutes in all
	}
	if calls > 2*31 {
		t.Errorf("%d calls for 100,000 refusals", calls)
	}
	t.Logf("%d calls for 100,000 refusals of one address in ten minutes", calls)
}

// When storage does not answer, the total is closed and the source's budget open. Units in memory are still good.
func TestABU1_WhenStorageDoesNotAnswer(t *testing.T) {
	w := newWorld(budget.Limits{
		Unknown: budget.Limit{Capacity: 100, Refill: 1, Period: time.Hour, Block: 10}, Source: budget.PerWindow(8, 10*time.Minute),
	})
	down := false
	calls := 0
	w.store.Fault = func(memstore.Op, memstore.When) error {
		if down {
			calls++
			return errLost
		}
		return nil
	}
	guard := w.instance()
	guard.Warm(t.Context())
	down = true
	for i := range 10 {
		if _, err := guard.Guess(t.Context(), subject.Patient); err != nil {
			t.Fatalf("guess %d of those in memory: %v", i, err)
		}
	}
	calls = 0
	for range 100 {
		if _, err := guard.Guess(t.Context(), subject.Patient); !errors.Is(err, budget.ErrUnknown) || !errors.Is(err, errLost) && calls > 0 {
			t.Fatalf("got %v, want ErrUnknown", err)
		}
		if err := guard.Refused(t.Context(), "192.0.2.1"); err != nil {
			t.Fatalf("a refusal: %v", err)
		}
	}
	if calls > 3 {
		t.Errorf("a storage that fails was asked %d times in no time", calls)
	}
	w.mu.Lock()
	failures := len(w.reports)
	w.mu.Unlock()
	if failures != 2 { // one a kind, and not again within the minute
		t.Errorf("%d reports: %+v", failures, w.reports)
	}
	down = false
	w.advance(time.Second)
	if _, err := guard.Guess(t.Context(), subject.Patient); err != nil {
		t.Errorf("a second after it came back: %v", err)
	}
}

// An alert at 10 %, before it is empty.
func TestABU1_ItIsReportedBeforeTheTotalIsEmpty(t *testing.T) {
	w := newWorld(budget.Limits{Unknown: budget.Limit{Capacity: 1000, Refill: 1, Period: time.Hour, Block: 10}})
	guard := w.instance()
	reported := 0
	for i := range 1000 {
		if _, err := guard.Guess(t.Context(), subject.Patient); err != nil {
			t.Fatal(err)
		}
		if len(w.reports) > 0 && reported == 0 {
			reported = i
			if r := w.reports[0]; r.Kind != budget.Patients || r.Capacity != 1000 || r.Left >= 100 || r.Err != nil {
				t.Errorf("%+v", r)
			}
		}
	}
	if reported < 850 || reported > 950 || len(w.reports) != 1 {
		t.Errorf("reported after %d of 1000, %d times", reported, len(w.reports))
	}
}

func TestABU1_ASourceIsAnIPv4AddressOrASlash64(t *testing.T) {
	limit := budget.PerWindow(8, 10*time.Minute)
	for name, c := range map[string]struct {
		spends, other string
		same          bool
	}{
		"the address itself":   {"192.0.2.1", "192.0.2.1", true},
		"mapped to IPv6":       {"192.0.2.1", "::ffff:192.0.2.1", true},
		"another address":      {"192.0.2.1", "192.0.2.2", false},
		"the same /64":         {"2001:db8:0:1::1", "2001:db8:0:1:ffff::8%eth0", true},
		"another /64":          {"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		"no address is no one": {"192.0.2.1", "", false},
		"neither is nonsense":  {"192.0.2.1", "nonsense", false},
	} {
		t.Run(name, func(t *testing.T) {
			guard := newWorld(budget.Limits{Source: limit}).instance()
			for range limit.Capacity {
				if err := guard.Refused(t.Context(), c.spends); err != nil {
					t.Fatal(err)
				}
			}
			wantEmpty(t, guard.Refused(t.Context(), c.spends), budget.Sources)
			if err := guard.Refused(t.Context(), c.other); (err != nil) != c.same {
				t.Errorf("%s: %v", c.other, err)
			}
		})
	}
}

// No hot partition and no growth: the whole internet has 4,096 rows, all of them used.
func TestABU1_SourcesSpreadOverFixedRows(t *testing.T) {
	w := newWorld(budget.Limits{Source: budget.PerWindow(8, 10*time.Minute)})
	guard := w.instance()
	for i := range 100_000 {
		_ = guard.Refused(t.Context(), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
	}
	rows := w.store.Buckets()
	if len(rows) != 4096 {
		t.Errorf("%d rows", len(rows))
	}
	for key := range rows {
		if key.Kind != budget.Sources || key.Shard < 0 || key.Shard >= 4096 {
			t.Fatalf("%+v", key)
		}
	}
}

// A setting that changes counts from the next lease on, and never gives more than the smaller of before and now.
func TestABU1_ALoweredLimitCounts(t *testing.T) {
	w := newWorld(budget.Limits{Source: budget.PerWindow(1000, 10*time.Minute)})
	first := w.instance()
	if err := first.Refused(t.Context(), "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	w.limits.Source = budget.PerWindow(10, 10*time.Minute)
	within := 0
	for second := w.instance(); second.Refused(t.Context(), "192.0.2.1") == nil; {
		within++
	}
	if within != 10 {
		t.Errorf("%d were within", within)
	}
}

// Who waits for a lease that another makes does not wait for ever, and a lease that panics blocks nobody.
func TestABU1_ALeaseThatHangsOrPanicsBlocksNobody(t *testing.T) {
	w := newWorld(budget.Limits{Unknown: budget.Limit{Capacity: 100, Refill: 1, Period: time.Hour, Block: 10}})
	hang, hanging := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.store.Fault = func(memstore.Op, memstore.When) error {
		once.Do(func() { close(hanging) })
		<-hang
		panic("storage is broken")
	}
	guard := w.instance()
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		_, _ = guard.Guess(context.Background(), subject.Patient)
	}()
	<-hanging
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := guard.Guess(ctx, subject.Patient); !errors.Is(err, budget.ErrUnknown) {
		t.Errorf("who waited: %v", err)
	}
	close(hang)
	if <-done == nil {
		t.Error("the panic is gone")
	}
	if _, err := guard.Guess(t.Context(), subject.Patient); !errors.Is(err, budget.ErrUnknown) {
		t.Errorf("after the panic: %v", err)
	}
	w.store.Fault = nil
	w.advance(time.Second)
	if _, err := guard.Guess(t.Context(), subject.Patient); err != nil {
		t.Errorf("a second later: %v", err)
	}
}

// Who hangs up while a block is leased is charged as everybody else.
func TestABU1_WhoHangsUpIsChargedAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := budget.PerWindow(5, 10*time.Minute)
		w := newWorld(budget.Limits{Source: limit})
		hang := make(chan struct{})
		w.store.Fault = func(op memstore.Op, when memstore.When) error {
			if op == memstore.OpBucket && when == memstore.Before {
				<-hang
			}
			return nil
		}
		guard := w.instance()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		const tries = 50
		var within atomic.Int64
		var all sync.WaitGroup
		for range tries {
			all.Go(func() {
				if guard.Refused(gone, "192.0.2.1") == nil {
					within.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := within.Load(); n > 0 {
			t.Errorf("%d were told before anything was leased", n)
		}
		close(hang)
		all.Wait()
		if n := within.Load(); n != limit.Capacity {
			t.Errorf("%d were within, want %d", n, limit.Capacity)
		}
	})
}

// Two instances read the same state: one of them leases, the other finds what is left.
func TestABU1_OfTwoLeasesAtOnceOneIsMadeAgain(t *testing.T) {
	w := newWorld(budget.Limits{Unknown: budget.Limit{Capacity: 15, Refill: 1, Period: time.Hour, Block: 10}})
	first, second := w.instance(), w.instance()
	rival := func() {
		for range 10 {
			if _, err := second.Guess(t.Context(), subject.Patient); err != nil {
				t.Error(err)
			}
		}
	}
	w.store.Fault = func(op memstore.Op, when memstore.When) error {
		if do := rival; do != nil && op == memstore.OpSwapBucket && when == memstore.Before {
			rival = nil
			do()
		}
		return nil
	}
	passed := 0
	for {
		if _, err := first.Guess(t.Context(), subject.Patient); err != nil {
			break
		}
		passed++
	}
	if rival != nil || passed > 5 {
		t.Errorf("%d beside the rival's 10, of 15", passed)
	}
}

// TOK-3: what one device may try in vain is bounded over all instances, whatever others do; what somebody has costs nothing.
func TestTOK3_ADevicesUnknownIdentifiersAreBounded(t *testing.T) {
	w := newWorld(budget.Limits{Login: budget.PerWindow(20, 10*time.Minute)})
	guards := []*budget.Guard{w.instance(), w.instance(), w.instance()}
	tries := func(device string) (granted int) {
		for i := range 300 {
			if _, err := guards[i%len(guards)].Login(t.Context(), device); err == nil {
				granted++
			} else if empty := (*budget.Empty)(nil); !errors.As(err, &empty) || empty.Kind != budget.Logins {
				t.Fatal(err)
			}
		}
		return granted
	}
	for range 300 {
		known, err := guards[0].Login(t.Context(), "tablet-1")
		if err != nil {
			t.Fatal(err)
		}
		known()
	}
	if granted := tries("tablet-1"); granted != 20 {
		t.Errorf("%d were granted, want 20", granted)
	}
	if granted := tries("tablet-2"); granted != 20 {
		t.Errorf("another device: %d were granted, want 20", granted)
	}
	w.advance(10 * time.Minute)
	if granted := tries("tablet-1"); granted == 0 || granted > 20 {
		t.Errorf("a window later: %d were granted", granted)
	}
}
