package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	handler  = "latchkey/handler"
	internal = handler + "/internal/"
)

// domain are the packages that decide. What they know is what an auditor has to read to believe the promises.
var domain = oneOf(internal+"activation", internal+"audit", internal+"budget", internal+"clinician", internal+"codes", internal+"commit", internal+"identity", internal+"keyed", internal+"odds", internal+"picture", internal+"revoked", internal+"secret", internal+"site", internal+"strictjson", internal+"subject")

// aids are of tests alone.
var aids = oneOf(internal+"faults", internal+"history", internal+"memstore", internal+"recipes", internal+"rowcheck", internal+"storetest")

var (
	jwt    = below("github.com/golang-jwt", "github.com/MicahParks")
	azure  = below("github.com/Azure", "github.com/AzureAD")
	huma   = below("github.com/danielgtaylor/huma")
	tables = below("github.com/Azure/azure-sdk-for-go/sdk/data/aztables")
	vaults = below("github.com/Azure/azure-sdk-for-go/sdk/security/keyvault")
)

// match says whether a package is one of some.
type match func(path string) bool

func oneOf(paths ...string) match { return func(p string) bool { return slices.Contains(paths, p) } }

// below are the packages at some paths and under them.
func below(roots ...string) match {
	return func(p string) bool {
		return slices.ContainsFunc(roots, func(root string) bool { return p == root || strings.HasPrefix(p, root+"/") })
	}
}

func (m match) but(others match) match { return func(p string) bool { return m(p) && !others(p) } }
func (m match) or(others match) match  { return func(p string) bool { return m(p) || others(p) } }

// direction is one rule on who may import what.
type direction struct {
	of   match
	not  match
	deep bool // what is imported by what is imported counts as well
	why  string
	// planted breaks this rule.
	planted pkg
}

// pkg is what the rules see of a package: what its files import (tests do not count), and all that follows from that.
type pkg struct {
	ImportPath    string
	Dir           string
	GoFiles       []string
	Imports, Deps []string
}

var directions = []direction{
	{domain, below("net/http"), true, "the domain decides the same behind any protocol; statuses are made at the edge",
		pkg{ImportPath: internal + "codes", Deps: []string{"net/http"}}},
	{domain, azure, true, "the domain runs on any Store; retries, ETags and error codes of Azure stay behind it",
		pkg{ImportPath: internal + "activation", Deps: []string{"github.com/Azure/azure-sdk-for-go/sdk/azcore"}}},
	{domain, jwt, true, "the domain grants; what form a grant is sent in is not its business",
		pkg{ImportPath: internal + "activation", Deps: []string{"github.com/golang-jwt/jwt/v5"}}},
	{domain, huma, true, "the domain has no wire format",
		pkg{ImportPath: internal + "audit", Deps: []string{"github.com/danielgtaylor/huma/v2"}}},
	{domain, below("latchkey").but(domain), false, "edges know the domain, never the other way round",
		pkg{ImportPath: internal + "activation", Imports: []string{internal + "store"}}},
	{below(handler).but(oneOf(internal + "store")), tables, false,
		"aztables writes unconditionally unless told otherwise, and reports failed transactions as 202: one package knows how to hold it",
		pkg{ImportPath: internal + "server", Imports: []string{"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"}}},
	{below(handler).but(oneOf(internal + "vault")), vaults, false, "secrets come in by one door",
		pkg{ImportPath: handler, Imports: []string{"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"}}},
	{below(handler).but(oneOf(internal+"token", internal+"caller")), jwt, false,
		"tokens are made by token and judged by caller: a third place would judge them by other rules",
		pkg{ImportPath: internal + "server", Imports: []string{"github.com/golang-jwt/jwt/v5"}}},
	{below(handler).but(oneOf(internal + "server")), huma, false, "the framework can be replaced in one package",
		pkg{ImportPath: internal + "caller", Imports: []string{"github.com/danielgtaylor/huma/v2/humatest"}}},
	{oneOf(internal + "server"), below(internal+"store", internal+"vault", internal+"settings", internal+"keyed"), false,
		"routes get what they work with from main: nothing else wires",
		pkg{ImportPath: internal + "server", Imports: []string{internal + "store"}}},
	{oneOf(handler + "/cmd/latchkey"), oneOf(internal + "server"), true, "a tool that people run beside the app serves nothing",
		pkg{ImportPath: handler + "/cmd/latchkey", Deps: []string{internal + "server"}}},
	{oneOf(handler, handler+"/cmd/functions", handler+"/cmd/latchkey"), aids, true, "what makes storage fail or forget is no part of what ships",
		pkg{ImportPath: handler, Deps: []string{internal + "memstore"}}},
	{below(handler), below("latchkey/infra"), true, "what makes a laptop look like Azure is never linked into the handler",
		pkg{ImportPath: handler, Deps: []string{"latchkey/infra/local/stack"}}},
	{below("latchkey"), oneOf(handler).or(below(handler + "/cmd")), false, "programs are the end of the line",
		pkg{ImportPath: internal + "server", Imports: []string{handler + "/cmd/functions"}}},
}

// broken gives what p imports against the rule.
func (d direction) broken(p pkg) (found []string) {
	if !d.of(p.ImportPath) {
		return nil
	}
	imports := p.Imports
	if d.deep {
		imports = append(slices.Clone(p.Imports), p.Deps...)
	}
	for _, i := range imports {
		if d.not(i) && i != p.ImportPath && !slices.Contains(found, i) {
			found = append(found, i)
		}
	}
	return found
}

// packages are those of the module, without their tests.
func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", "latchkey/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsKeepTheirDirection(t *testing.T) {
	all := packages(t)
	for _, d := range directions {
		applied := 0
		for _, p := range all {
			if d.of(p.ImportPath) {
				applied++
			}
			for _, i := range d.broken(p) {
				t.Errorf("%s imports %s: %s", p.ImportPath, i, d.why)
			}
		}
		if applied == 0 {
			t.Errorf("no package is held to the rule %q", d.why)
		}
	}
}

// A rule that nothing can break holds nothing.
func TestEachDirectionCanBeBroken(t *testing.T) {
	for i, d := range directions {
		if d.why == "" {
			t.Errorf("rule %d has no reason", i)
		}
		if len(d.broken(d.planted)) == 0 {
			t.Errorf("%q does not find %+v", d.why, d.planted)
		}
		harmless := d.planted
		harmless.Imports, harmless.Deps = []string{"fmt"}, []string{"fmt", "strings"}
		if found := d.broken(harmless); len(found) != 0 {
			t.Errorf("%q finds %v", d.why, found)
		}
	}
}

// word is one rule on what the files of some packages may say.
type word struct {
	of    match
	finds func(*ast.File) []ast.Node
	why   string
	// planted is the source of a file that breaks it, fine one that does not.
	planted, fine string
}

var words = []word{
	{linked.but(oneOf(handler)), names("time", "Now", "Since", "Until"), "the time is an argument: only main asks the clock",
		`import clock "time"; var at = clock.Now`, `import "time"; var at time.Time; func f(t struct{ Now func() }) { t.Now() }`},
	{domain, names("time", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"), "the domain waits by the clock that it is given",
		`import "time"; func f() { time.Sleep(1) }`, `import "time"; const d = time.Second`},
	{linked.but(oneOf(handler)), names("crypto/rand"), "randomness is an argument: a test must be able to repeat it, or to end it",
		`import "crypto/rand"; var r = rand.Reader`, `import "crypto/hkdf"; var k = hkdf.Key[H]`},
	{domain, names("math/rand/v2"), "secrets are not drawn from a generator that can be predicted",
		`import "math/rand/v2"; var n = rand.IntN(23)`, `import "fmt"; var n = fmt.Sprint`},
	{linked.but(oneOf(handler)), names("os", "Getenv", "LookupEnv", "Environ"), "the environment is read in one place, which reports all its problems at once",
		`import "os"; var s = os.Getenv("X")`, `import "os"; var s = os.ReadFile`},
	{linked, names(internal+"keyed", "NewRingWithCost"), "what ships hashes at full cost",
		`import "latchkey/handler/internal/keyed"; var r = keyed.NewRingWithCost`, `import "latchkey/handler/internal/keyed"; var r = keyed.NewRing`},
	{linked.but(oneOf(handler)), names(internal+"token", "Grant"), "tokens are minted for what the gate of the domain granted: only the wiring turns the one into the other",
		`import "latchkey/handler/internal/token"; var g token.Grant`, `import "latchkey/handler/internal/token"; var c token.Claims`},
	{linked, inits, "nothing happens before main",
		`func init() {}`, `type t struct{}; func (t) init() {}`},
}

// linked are the handler's own packages that ship.
var linked = below(handler).but(aids).but(below(handler+"/cmd", handler+"/e2e"))

// names finds uses of what an import offers: these of it, or all. A dot import is a use of all.
func names(imported string, of ...string) func(*ast.File) []ast.Node {
	return func(f *ast.File) (found []ast.Node) {
		for _, i := range f.Imports {
			if p, err := strconv.Unquote(i.Path.Value); err != nil || p != imported {
				continue
			}
			local := path.Base(strings.TrimSuffix(imported, "/v2"))
			if i.Name != nil {
				local = i.Name.Name
			}
			if local == "." {
				found = append(found, i)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				// A name that the file declares itself has an object here; that of an import has none.
				if x, ok := s.X.(*ast.Ident); ok && x.Name == local && x.Obj == nil && (len(of) == 0 || slices.Contains(of, s.Sel.Name)) {
					found = append(found, s)
				}
				return true
			})
		}
		return found
	}
}

func inits(f *ast.File) (found []ast.Node) {
	for _, d := range f.Decls {
		if function, ok := d.(*ast.FuncDecl); ok && function.Recv == nil && function.Name.Name == "init" {
			found = append(found, d)
		}
	}
	return found
}

func TestPackagesAskNobodyForWhatIsAnArgument(t *testing.T) {
	files := token.NewFileSet()
	looked := make([]int, len(words))
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for i, w := range words {
				if !w.of(p.ImportPath) {
					continue
				}
				looked[i]++
				for _, n := range w.finds(f) {
					at := files.Position(n.Pos())
					t.Errorf("%s/%s:%d: %s", p.ImportPath, name, at.Line, w.why)
				}
			}
		}
	}
	for i, w := range words {
		if looked[i] == 0 {
			t.Errorf("no file is held to the rule %q", w.why)
		}
	}
}

func TestEachWordCanBeFound(t *testing.T) {
	for _, w := range words {
		for source, want := range map[string]int{w.planted: 1, w.fine: 0} {
			f, err := parser.ParseFile(token.NewFileSet(), "planted.go", fmt.Sprintf("package planted; %s", source), 0)
			if err != nil {
				t.Fatal(err)
			}
			if found := len(w.finds(f)); found != want {
				t.Errorf("%q finds %d in %s, want %d", w.why, found, source, want)
			}
		}
	}
}
