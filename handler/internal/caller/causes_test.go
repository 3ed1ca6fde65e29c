package caller

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write handler/doc/refusals.md anew")

// causeConstants are the constants of type Cause in causes.go.
func causeConstants() (all []Cause) {
	file := must(parser.ParseFile(gotoken.NewFileSet(), "causes.go", nil, 0))
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Cause" {
			for _, v := range spec.Values {
				all = append(all, Cause(must(strconv.Unquote(v.(*ast.BasicLit).Value))))
			}
		}
		return true
	})
	return all
}

func TestAUT6_EveryCauseIsExplained(t *testing.T) {
	var explained []Cause
	for _, e := range Explanations() {
		if slices.Contains(explained, e.Cause) {
			t.Errorf("%s stands there twice", e.Cause)
		}
		explained = append(explained, e.Cause)
		for _, text := range []string{e.Meaning, e.Remedy} {
			if !strings.HasSuffix(text, ".") || strings.ContainsAny(text, "|\n") || len(text) > 250 {
				t.Errorf("%s: %q", e.Cause, text)
			}
		}
		if got, known := Explain(e.Cause); !known || got != e {
			t.Errorf("%s: %+v", e.Cause, got)
		}
		switch e.Class {
		case ClassInvalidToken, ClassInsufficientScope, ClassIdentityPending, ClassIdentityDisabled:
		default:
			t.Errorf("%s: class %q", e.Cause, e.Class)
		}
	}
	constants := causeConstants()
	slices.Sort(constants)
	slices.Sort(explained)
	if !slices.Equal(constants, explained) {
		t.Errorf("the causes are\n%q, these are explained\n%q", constants, explained)
	}
	if len(explained) < 40 {
		t.Errorf("%d causes", len(explained))
	}
	if e, known := Explain("nobody knows"); known {
		t.Errorf("%+v", e)
	}
}

// Each cause of a 401 is one that some header leads to. Two headers are the server's to refuse.
func TestAUT6_EveryCauseOfA401IsReached(t *testing.T) {
	b := newBench(t)
	reached := map[Cause]bool{TwoHeaders: true}
	ask := func(authorization string) {
		_, err := b.Verify(t.Context(), authorization)
		reached[causeOf(err)] = true
	}
	for _, header := range []string{"", "Basic x", "Bearer"} {
		ask(header)
	}
	for _, k := range kinds(b) {
		for _, a := range k.attacks {
			ask("Bearer " + a.raw)
		}
	}
	for _, e := range Explanations() {
		if e.Class == ClassInvalidToken && !reached[e.Cause] {
			t.Errorf("no token is refused for %s", e.Cause)
		}
	}
}

// The page is for people: what refusals there are, what they mean, and how to mend them.
func TestAUT6_RefusalsPage(t *testing.T) {
	const page = "../../doc/refusals.md"
	var b strings.Builder
	b.WriteString(`# Why a caller is refused

A caller who is refused learns the reason in the second column, an id, and a ticket. The cause in the first column stands in the
log line with that id. An administrator reads it, what was expected, what came instead and how to mend it, by handing the ticket
to ` + "`POST /dhos/v1/denial`" + ` within seven days.

Every token that is not accepted is a 401 with the same body, whatever the cause; the others are 403.

| cause | the caller sees | what it means | how to mend it |
| --- | --- | --- | --- |
`)
	for _, e := range Explanations() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", e.Cause, e.Class, e.Meaning, e.Remedy)
	}
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(must(os.ReadFile(page))); got != b.String() {
		t.Error("handler/doc/refusals.md is not what the table says: go test ./handler/internal/caller -run Refusals -update")
	}
}
