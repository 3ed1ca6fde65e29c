package clinician_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTOK8_OneGateMakesEveryClinicianGrant: other packages cannot set a grant's fields; here only LogIn does.
func TestTOK8_OneGateMakesEveryClinicianGrant(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var made []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, grantsMade(t, string(text))...)
	}
	if !slices.Equal(made, []string{"LogIn"}) {
		t.Errorf("grants are made in %v, want LogIn alone, once", made)
	}
	planted := grantsMade(t, `package clinician
		func literal() Grant { return Grant{session: "s"} }
		func field() (g Grant) { g.session = "s"; return g }
		func fine() (Grant, string) { return Grant{}, Grant{}.session }`)
	if !slices.Equal(planted, []string{"literal", "field"}) {
		t.Errorf("of those that were planted it finds %v", planted)
	}
}

// grantsMade names the functions that hold a literal of a Grant that is not empty, or set what may be its fields.
func grantsMade(t *testing.T, source string) (made []string) {
	f, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if of, ok := n.Type.(*ast.Ident); ok && of.Name == "Grant" && len(n.Elts) > 0 {
					made = append(made, fn.Name.Name)
				}
			case *ast.AssignStmt:
				for _, l := range n.Lhs {
					if s, ok := l.(*ast.SelectorExpr); ok && slices.Contains([]string{"clinician", "device", "session", "at"}, s.Sel.Name) {
						made = append(made, fn.Name.Name)
					}
				}
			}
			return true
		})
	}
	return made
}
