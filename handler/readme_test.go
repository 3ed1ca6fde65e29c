package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"latchkey/handler/internal/server"
	"latchkey/handler/internal/settings"
)

var update = flag.Bool("update", false, "write the tables of README.md anew")

const readme = "../README.md"

// The tables in the README are those of the code. Run "go test ./handler -run README -update" when they changed.
func TestTheREADMEHasTheTables(t *testing.T) {
	data, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for name, want := range map[string]string{"routes": server.Markdown(), "settings": settings.Markdown()} {
		before, rest, opened := strings.Cut(text, "<!-- "+name+" -->\n")
		got, after, closed := strings.Cut(rest, "<!-- /"+name+" -->")
		switch {
		case !opened || !closed:
			t.Fatalf("the marks of the %s are not there", name)
		case *update:
			text = before + "<!-- " + name + " -->\n" + want + "<!-- /" + name + " -->" + after
		case got != want:
			t.Errorf("the %s are not those of the code; run it with -update. They should be:\n%s", name, want)
		}
	}
	if *update {
		if err := os.WriteFile(readme, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
