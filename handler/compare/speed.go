package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// speed is what one verification costs.
type speed struct {
	name string
	time time.Duration // median of the rounds
	// ratio to the bare check: the median of the ratios of each round, so that a moment in which the machine is slow counts for
	// both or for neither.
	ratio float64
	// bytes and allocations on the heap.
	bytes, allocations float64
}

// runner is a verification that is ready to be measured.
type runner struct {
	name   string
	verify verify
	// each is how many make one round.
	each int
}

// runners are all contestants with the sample's keys at hand, the bare check first, Latchkey cold and remembered next.
func runners(ctx context.Context, s sample) (all []runner, end func(), err error) {
	check, err := bare(s)
	if err != nil {
		return nil, nil, err
	}
	all = []runner{{"bare RSA check", check, 100}}
	server := newIssuer(s.document)
	w := server.world()
	for _, c := range slices.Concat(latchkeys(), others()) {
		verify, err := c.begin(ctx, w)
		if err != nil {
			server.close()
			return nil, nil, fmt.Errorf("%s: %w", c.name, err)
		}
		each := 100
		if c.name == remembered {
			each = 5000
		}
		all = append(all, runner{c.name, verify, each})
	}
	for _, r := range all {
		// The first fetches keys, and is what remembering begins with.
		for _, token := range s.tokens {
			if err := r.verify(ctx, scheme+token); err != nil {
				server.close()
				return nil, nil, fmt.Errorf("%s refuses the sample: %w", r.name, err)
			}
		}
	}
	return all, server.close, nil
}

// measure lets them take turns for some rounds, in another order in each.
func measure(ctx context.Context, all []runner, tokens []string, rounds int) ([]speed, error) {
	authorizations := make([]string, len(tokens))
	for i, token := range tokens {
		authorizations[i] = scheme + token
	}
	times := make([][]time.Duration, len(all))
	speeds := make([]speed, len(all))
	for round := range rounds {
		for turn := range all {
			i := (turn + round) % len(all)
			r := all[i]
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			for n := range r.each {
				if err := r.verify(ctx, authorizations[n%len(tokens)]); err != nil {
					return nil, fmt.Errorf("%s: %w", r.name, err)
				}
			}
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			times[i] = append(times[i], took/time.Duration(r.each))
			speeds[i].allocations += float64(after.Mallocs-before.Mallocs) / float64(r.each*rounds)
			speeds[i].bytes += float64(after.TotalAlloc-before.TotalAlloc) / float64(r.each*rounds)
		}
	}
	for i, r := range all {
		ratios := make([]float64, rounds)
		for round := range rounds {
			ratios[round] = float64(times[i][round]) / float64(times[0][round])
		}
		speeds[i].name, speeds[i].time, speeds[i].ratio = r.name, median(times[i]), median(ratios)
	}
	return speeds, nil
}

func median[T int64 | float64 | time.Duration](all []T) T {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}
