package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	err := report(ctx, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// rounds of the report. The tests make fewer, and repeat them.
const rounds = 101

// report measures everything and writes two tables.
func report(ctx context.Context, to io.Writer) error {
	s, err := newSample(time.Now())
	if err != nil {
		return err
	}
	all, end, err := runners(ctx, s)
	if err != nil {
		return err
	}
	speeds, err := measure(ctx, all, s.tokens, rounds)
	end()
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "Verifying tokens of %d bytes, RS256 with 2,048 bits; medians of %d rounds in turns.\n\n", len(s.tokens[0]), rounds)
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\ttime\tto the bare check\tallocations\tbytes\t")
	for _, s := range speeds {
		fmt.Fprintf(table, "%s\t%.2f µs\t%.2f\t%.0f\t%.0f\t\n", s.name, float64(s.time)/1e3, s.ratio, s.allocations, s.bytes)
	}
	if err := table.Flush(); err != nil {
		return err
	}

	f, err := newFixture()
	if err != nil {
		return err
	}
	cases := comparable(f)
	bad, good := 0, 0
	for _, c := range cases {
		switch {
		case !mayBe(c, 200, 403):
			bad++
		case !mayBe(c, 400, 401, 431, 503):
			good++
		}
	}
	fmt.Fprintf(to, "\nOf the %d recipes that are about a token of the issuer's, %d must be refused and %d taken; the rest may be either.\n\n", len(cases), bad, good)
	fmt.Fprintln(table, "\tlet in wrongly\trefused wrongly\t")
	var ids strings.Builder
	for _, c := range slices.Concat(latchkeys()[:1], others()) {
		t, err := count(ctx, f, cases, c)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t\n", t.name, len(t.letIn), len(t.refused))
		for what, which := range map[string][]string{"lets in": t.letIn, "refuses wrongly": t.refused} {
			if len(which) > 0 {
				fmt.Fprintf(&ids, "%s %s: %s\n", t.name, what, strings.Join(which, " "))
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(to, "\n%s", ids.String())
	return err
}
