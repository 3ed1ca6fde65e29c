package activation_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/memstore"
)

// TestTOK8_OneGateMakesEveryGrant: other packages cannot set a grant's fields; here only the gate does.
func TestTOK8_OneGateMakesEveryGrant(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]int{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for in, n := range grantsMade(f) {
			made[in] += n
		}
	}
	if len(made) != 1 || made["mayIssue"] != 1 {
		t.Errorf("grants are made in %v, want mayIssue alone, once", made)
	}
}

func TestTheSearchForGrantsFindsThem(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "planted.go", `package activation
		func literal() Grant { return Grant{session: "s"} }
		func pointer() *Grant { return &Grant{session: "s"} }
		func field() (g Grant) { g.session = "s"; return g }
		func fine() (Grant, string) { return Grant{}, Grant{}.session }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	made := grantsMade(f)
	if len(made) != 3 || made["literal"] != 1 || made["pointer"] != 1 || made["field"] != 1 {
		t.Errorf("found %v", made)
	}
}

// grantsMade counts, by function, the literals of a Grant that are not empty, and the assignments to what may be its fields.
func grantsMade(f *ast.File) map[string]int {
	made := map[string]int{}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if name, ok := n.Type.(*ast.Ident); ok && name.Name == "Grant" && len(n.Elts) > 0 {
					made[fn.Name.Name]++
				}
			case *ast.AssignStmt:
				for _, left := range n.Lhs {
					if s, ok := left.(*ast.SelectorExpr); ok && (s.Sel.Name == "session" || s.Sel.Name == "subject" || s.Sel.Name == "at") {
						made[fn.Name.Name]++
					}
				}
			}
			return true
		})
	}
	return made
}

// A grant's time is before the look at the credential: an end that comes while the look takes its time is later than the token.
func TestTOK8_AGrantIsNoYoungerThanTheLookAtItsCredential(t *testing.T) {
	inLab(t, func(l *lab) {
		won := l.let(l.invite())
		began := l.now()
		l.store.Fault = func(op memstore.Op, when memstore.When) error {
			if op == memstore.OpCredential {
				time.Sleep(2 * time.Second)
			}
			return nil
		}
		if grant := l.grant(won); !grant.At().Equal(began) {
			t.Errorf("the grant is of %s, the look began at %s", grant.At(), began)
		}
	})
}

func TestTOK8_TheZeroGrantIsOfNobody(t *testing.T) {
	var g activation.Grant
	if g.Subject().Name != "" || g.Session() != "" || !g.At().IsZero() {
		t.Errorf("%+v", g)
	}
}
