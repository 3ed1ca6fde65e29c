package settings

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errDown = errors.New("the Key Vault v is not available: the connection is refused")

// fakeVault answers the n-th reading with the n-th reply, the last one for ever, and notes when it was asked.
type fakeVault struct {
	replies []func(context.Context) (map[string]string, error)
	at      []time.Duration
	began   time.Time
}

func (f *fakeVault) read(ctx context.Context, keys []string) (map[string]string, error) {
	if !slices.Equal(keys, VaultKeys()) {
		return nil, errors.New("asked for the wrong keys")
	}
	f.at = append(f.at, time.Since(f.began))
	return f.replies[min(len(f.at), len(f.replies))-1](ctx)
}

func down(context.Context) (map[string]string, error) { return nil, errDown }

func holding(values map[string]string) func(context.Context) (map[string]string, error) {
	return func(context.Context) (map[string]string, error) { return values, nil }
}

// waiting is a loader whose environment lacks both secrets; what it reports is added to states.
func waiting(vault *fakeVault, jitter float64, states *[]State) Loader {
	vault.began = time.Now()
	return Loader{
		Checks:      checks(),
		Environment: with(map[string]string{"Tokens__SigningKey": "-", "Codes__Pepper": "-"}),
		Vault:       vault.read,
		Jitter:      func() float64 { return jitter },
		Report:      func(s State) { *states = append(*states, s) },
	}
}

func secrets() map[string]string {
	return map[string]string{"Tokens:SigningKey": canaryKey, "Codes:Pepper": canaryPepper}
}

// TestF09_VaultDownAtStart: one report says what is missing, one says that it is over, and the loader comes back by itself.
func TestF09_VaultDownAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := &fakeVault{replies: []func(context.Context) (map[string]string, error){down, down, down, down, down, down, down, holding(secrets())}}
		var states []State
		var source Source
		if err := waiting(vault, 0, &states).Start(t.Context(), &source); err != nil {
			t.Fatal(err)
		}
		if got := source.Current(); got == nil || got.Tokens.SigningKey.Reveal() != canaryKey {
			t.Error("the snapshot is not in force")
		}
		if len(states) != 2 || states[0].Ready || !states[1].Ready || states[1].Err != nil {
			t.Fatalf("%d states: %+v", len(states), states)
		}
		if diff := cmp.Diff([]string{"Tokens:SigningKey", "Codes:Pepper"}, states[0].Missing); diff != "" {
			t.Error(diff)
		}
		if !errors.Is(states[0].Err, errDown) {
			t.Errorf("the cause is lost: %v", states[0].Err)
		}
		const text = "the Key Vault v is not available: the connection is refused; missing until then: Tokens:SigningKey, Codes:Pepper"
		if states[0].Err.Error() != text {
			t.Errorf("%v", states[0].Err)
		}
		// Without jitter the waits are 1, 2, 4, 8, 15, 15, 15 s.
		want := []time.Duration{0, 1, 3, 7, 15, 30, 45, 60}
		for i := range want {
			want[i] *= time.Second
		}
		if diff := cmp.Diff(want, vault.at); diff != "" {
			t.Error(diff)
		}
	})
}

func TestF09_WaitsStayBelowThirtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := &fakeVault{replies: []func(context.Context) (map[string]string, error){down}}
		var states []State
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var source Source
		if err := waiting(vault, 0.999, &states).Start(ctx, &source); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if len(states) != 1 || source.Current() != nil {
			t.Errorf("an hour of the same outage gave %d reports", len(states))
		}
		for i := 1; i < len(vault.at); i++ {
			if wait := vault.at[i] - vault.at[i-1]; wait < time.Second || wait >= 30*time.Second {
				t.Errorf("wait %d is %s", i, wait)
			}
		}
		if n := len(vault.at); n < 120 || n > 130 {
			t.Errorf("%d tries in an hour", n)
		}
	})
}

// TestF09_AVaultThatHangs does not hold the loader: each try has its limit.
func TestF09_AVaultThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) (map[string]string, error) { <-ctx.Done(); return nil, errDown }
		vault := &fakeVault{replies: []func(context.Context) (map[string]string, error){hang, holding(secrets())}}
		var states []State
		var source Source
		if err := waiting(vault, 0, &states).Start(t.Context(), &source); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]time.Duration{0, 21 * time.Second}, vault.at); diff != "" || len(states) != 2 {
			t.Errorf("%d states, %s", len(states), diff)
		}
	})
}

// TestCFG3_EachChangeIsReportedOnce: down, then a value that is wrong, then a secret that is missing, then good.
func TestCFG3_EachChangeIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := secrets()
		wrong["Codes:OTPLength"] = "2"
		vault := &fakeVault{replies: []func(context.Context) (map[string]string, error){
			down, down, holding(wrong), holding(wrong), holding(nil), holding(nil), holding(secrets()),
		}}
		var states []State
		var source Source
		if err := waiting(vault, 0.5, &states).Start(t.Context(), &source); err != nil {
			t.Fatal(err)
		}
		var got [][]string
		for _, s := range states {
			got = append(got, s.Missing)
		}
		both := []string{"Tokens:SigningKey", "Codes:Pepper"}
		if diff := cmp.Diff([][]string{both, nil, both, nil}, got); diff != "" {
			t.Fatal(diff)
		}
		if problems, ok := errors.AsType[Problems](states[1].Err); !ok || problems[0].Key != "Codes:OTPLength" {
			t.Errorf("the wrong value is not reported: %v", states[1].Err)
		}
	})
}

// TestStartGivesUpWithoutAVault: nothing would mend the environment.
func TestStartGivesUpWithoutAVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states []State
		l := waiting(&fakeVault{}, 0, &states)
		l.Vault = nil
		var source Source
		err := l.Start(t.Context(), &source)
		if problems, ok := errors.AsType[Problems](err); !ok || len(problems) != 2 || len(states) != 1 {
			t.Errorf("got %v after %d reports", err, len(states))
		}
		l.Environment = with(nil)
		if err := l.Start(t.Context(), &source); err != nil || source.Current() == nil {
			t.Errorf("a complete environment gives %v", err)
		}
	})
}

func TestStartEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states []State
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			var source Source
			vault := &fakeVault{replies: []func(context.Context) (map[string]string, error){down}}
			done <- waiting(vault, 0, &states).Start(ctx, &source)
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
