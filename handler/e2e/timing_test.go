package e2e_test

import (
	"bytes"
	"encoding/base32"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"latchkey/handler/internal/faults"
	"latchkey/infra/local/stack"
)

// told is the t from which on two samples are held to differ: that of dudect (Reparaz, Balasch and Verbauwhede 2017, section III).
const told = 4.5

// TestACT8_KnownAndUnknownCannotBeToldApart takes a clock to the release binary, without a host in between. Against redeems the bytes
// and the beat are held through every host by TestACT8_RefusalsLookTheSame; here is what a client with patience could average.
func TestACT8_KnownAndUnknownCannotBeToldApart(t *testing.T) {
	w := owned(t)
	h, random := w.host(t, direct), rand.New(rand.NewPCG(faults.Seed(t), 0))
	t.Run("refresh", func(t *testing.T) {
		classes, _ := h.refreshes(t)
		took := h.interleaved(t, random, classes, 2*rounds(t, 150))
		for name := range classes {
			score := separation(took[name], took["unknown"])
			t.Logf("%s: %d samples, median %v, t = %.2f", name, len(took[name]), median(took[name]), score)
			if math.Abs(score) >= told {
				t.Errorf("the time tells %s from unknown: t = %.2f", name, score)
			}
		}
	})
	t.Run("redeem", func(t *testing.T) {
		const most = 300 // of each kind: each of them waits for a beat
		token, n := w.clinic(t), min(rounds(t, 60), most)
		classes := map[string][]request{}
		for name, body := range h.dead(t, token) {
			classes[name] = []request{redeeming(body)}
		}
		for range n { // one try each, which says nothing of simultaneous ones at a live code: they may miss a beat
			classes["wrong"] = append(classes["wrong"], redeeming(h.create(t, token, w.patient()).wrong()))
		}
		// On a busy machine the medians of few samples wander. More of them bring two that are one together, and no others.
		took := map[string][]time.Duration{}
		for more := 3; more > 0; more-- {
			for name, further := range h.abreast(t, random, classes, n) {
				took[name] = append(took[name], further...)
			}
			var apart []string
			for name := range classes {
				by := median(took[name]) - median(took["unknown"])
				t.Logf("%s: %d samples, median %v after the beat, %v from unknown", name, len(took[name]), median(took[name]), by)
				if by.Abs() >= time.Millisecond {
					apart = append(apart, fmt.Sprint(name, " by ", by))
				}
			}
			if len(apart) == 0 {
				return
			}
			if more == 1 {
				t.Errorf("the time tells from unknown: %v", apart)
			}
		}
	})
}

// The clock can tell: two milliseconds that storage needs longer for patients it knows.
func TestACT8_TheClockWouldTellTwoMilliseconds(t *testing.T) {
	w := owned(t)
	classes, known := w.host(t, direct).refreshes(t)
	_, setting := w.faultProxy(t, func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if slices.ContainsFunc(known, func(partition string) bool { return strings.Contains(r.URL.Path, partition) }) {
				time.Sleep(2 * time.Millisecond)
			}
			return next.RoundTrip(r)
		})
	})
	h := w.extra(t, "slower for some", stack.HostOptions{Direct: true, Env: []string{setting}})
	if err := h.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := h.interleaved(t, rand.New(rand.NewPCG(faults.Seed(t), 0)), classes, 300)
	for name := range classes {
		score := separation(took[name], took["unknown"])
		t.Logf("%s: median %v, t = %.2f", name, median(took[name]), score)
		if name != "unknown" && score < told {
			t.Errorf("the time does not tell %s from unknown: t = %.2f", name, score)
		}
	}
}

// refreshes are requests for tokens that are all refused, by why; known are the partitions of the patients that exist.
func (h *host) refreshes(t *testing.T) (classes map[string][]request, known []string) {
	t.Helper()
	const patients = 20
	w, token := h.world, h.world.clinic(t)
	classes = map[string][]request{}
	for range patients {
		live, ended, unknown := w.patient(), w.patient(), w.patient()
		var codes []string
		for _, patient := range []string{live, ended} {
			codes = append(codes, h.redeem(t, h.create(t, token, patient).parts()).AuthorisationCode)
			known = append(known, "p~"+strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(patient))))
		}
		ending := request{method: http.MethodDelete, path: "/dhos/v1/patient/" + ended + "/authorisation", token: token}
		if got := h.send(t, ending); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
		wrong := codes[1] // of the right form, and somebody's once
		classes["known"] = append(classes["known"], buying(live, wrong))
		classes["ended"] = append(classes["ended"], buying(ended, wrong))
		classes["unknown"] = append(classes["unknown"], buying(unknown, wrong))
	}
	return classes, known
}

// interleaved sends n requests of each class, one after the other, the classes in an order that is drawn anew each time: what changes
// meanwhile on the machine changes for all of them. The replies have to be the same bytes.
func (h *host) interleaved(t *testing.T, random *rand.Rand, classes map[string][]request, n int) map[string][]time.Duration {
	t.Helper()
	const warm = 20
	names, took := slices.Sorted(maps.Keys(classes)), map[string][]time.Duration{}
	var first reply
	for i := range warm + n {
		for _, at := range random.Perm(len(names)) {
			name := names[at]
			got := h.send(t, classes[name][i%len(classes[name])])
			got = got.masked(t, "authorisation_refused")
			if first.body == nil {
				first = got
			}
			sameReply(t, name, got, first)
			if i >= warm {
				took[name] = append(took[name], got.took)
			}
		}
	}
	return took
}

// abreast sends n requests of each class, one of each at a time in an order that is drawn: what slows one slows all. Some such rows are
// under way at once. It gives the times after the beat. (That refusals leave at the first one is for TestACT8_RefusalsLookTheSame: on a
// busy machine some of those with work to do miss it.) The replies have to be the same bytes.
func (h *host) abreast(t *testing.T, random *rand.Rand, classes map[string][]request, n int) map[string][]time.Duration {
	t.Helper()
	const atOnce = 5
	names := slices.Sorted(maps.Keys(classes))
	replies := make([]reply, n*len(names))
	var all errgroup.Group
	all.SetLimit(atOnce)
	for i := range n {
		order := random.Perm(len(names))
		if i < atOnce {
			time.Sleep(beat / atOnce) // so that they do not all leave at once
		}
		all.Go(func() error {
			var row errgroup.Group
			for _, at := range order {
				row.Go(func() (err error) {
					requests := classes[names[at]]
					replies[i*len(names)+at], err = h.try(t.Context(), requests[i%len(requests)])
					return err
				})
			}
			return row.Wait()
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	took, first := map[string][]time.Duration{}, replies[0].masked(t, "activation_refused")
	for i, got := range replies {
		name := names[i%len(names)]
		sameReply(t, name, got.masked(t, "activation_refused"), first)
		took[name] = append(took[name], got.took%beat)
	}
	return took
}

// masked wants a refusal, and leaves its id out.
func (r reply) masked(t *testing.T, reason string) reply {
	t.Helper()
	p := r.problem(t, http.StatusNotFound, reason)
	r.body = bytes.Replace(r.body, []byte(p.Instance), []byte(fmt.Sprintf("%*s", len(p.Instance), "")), 1)
	return r
}

func median(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// separation is Welch's t of the means of two samples without their fastest and slowest twentieth; the variance is that of the samples
// with both drawn in (Yuen 1974), or it would be too small.
func separation(a, b []time.Duration) float64 {
	meanA, errorA := trimmed(a)
	meanB, errorB := trimmed(b)
	return (meanA - meanB) / math.Sqrt(errorA+errorB)
}

// trimmed gives the trimmed mean of a sample in seconds, and the square of its standard error.
func trimmed(of []time.Duration) (mean, squared float64) {
	sorted := slices.Sorted(slices.Values(of))
	n, cut := len(sorted), len(sorted)/20
	var sum, drawnSum float64
	drawn := make([]float64, n)
	for i := range sorted {
		drawn[i] = sorted[min(max(i, cut), n-1-cut)].Seconds()
		drawnSum += drawn[i]
		if i >= cut && i < n-cut {
			sum += drawn[i]
		}
	}
	for _, d := range drawn {
		squared += (d - drawnSum/float64(n)) * (d - drawnSum/float64(n))
	}
	kept := float64(n - 2*cut)
	return sum / kept, squared / (kept * (kept - 1))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
