// Command latchkey is what people run beside the app: each subcommand answers one question, and says by its exit code what
// the answer is (0 good, 1 not good, 2 it could not be asked). It reads the same environment as the handler does.
package main

import (
	"fmt"
	"io"
	"os"

	"latchkey/handler/internal/settings"
)

// process is what a command gets of the process that it runs in.
type process struct {
	environment    settings.Lookup
	stdout, stderr io.Writer
}

// The exit codes.
const (
	good = iota
	notGood
	notAsked
)

// command is one subcommand. run gets what stands behind its name.
type command struct {
	name, summary string
	run           func(p process, args []string) int
}

func commands() []command {
	return []command{
		{"odds", "the chance that anyone guesses a code in a year (ABU-2)", oddsCommand},
	}
}

func main() {
	os.Exit(run(process{settings.Environment(os.LookupEnv), os.Stdout, os.Stderr}, os.Args[1:]))
}

func run(p process, args []string) int {
	if len(args) > 0 {
		for _, c := range commands() {
			if c.name == args[0] {
				return c.run(p, args[1:])
			}
		}
	}
	fmt.Fprintln(p.stderr, "usage: latchkey COMMAND [flags]; latchkey COMMAND -h says more")
	for _, c := range commands() {
		fmt.Fprintf(p.stderr, "  %-8s %s\n", c.name, c.summary)
	}
	return notAsked
}
