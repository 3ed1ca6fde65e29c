package server

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Function is one folder of functions/.
type Function struct {
	// Name is the folder's. The host tries functions in the order of their names, without precedence (host-contract.md
	// 3.8): a parameter's segment begins with _, which sorts behind every letter, so that literals are tried first.
	Name string
	// JSON is the text of its function.json.
	JSON []byte
}

// The grammar of function names (host-contract.md 4.3) and of the templates that this generator may write: literals and
// plain parameters. A template that ASP.NET refuses would take the whole app down.
var (
	functionName     = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,127}$`)
	functionTemplate = regexp.MustCompile(`^(?:[A-Za-z0-9._-]+|\{[a-z_]+\})(?:/(?:[A-Za-z0-9._-]+|\{[a-z_]+\}))*$`)
)

// Functions are the functions of the route table, one a route, in the order in which the host tries them. Each lets everybody in:
// who may call is decided here, not by the host's keys.
func Functions() ([]Function, error) {
	type binding struct {
		Type      string   `json:"type"`
		Direction string   `json:"direction"`
		Name      string   `json:"name"`
		AuthLevel string   `json:"authLevel,omitempty"`
		Methods   []string `json:"methods,omitempty"`
		Route     string   `json:"route,omitempty"`
	}
	var functions []Function
	for _, route := range Routes() {
		template := strings.TrimPrefix(route.Path, "/")
		name := functionNameOf(template)
		if !functionName.MatchString(name) || !functionTemplate.MatchString(template) ||
			strings.HasPrefix(template, "admin") || strings.HasPrefix(template, "runtime") {
			return nil, fmt.Errorf("the host would refuse the route %s", route.Path)
		}
		var methods []string
		for _, operation := range route.Operations {
			methods = append(methods, strings.ToLower(operation.Method))
		}
		slices.Sort(methods)
		text, err := json.MarshalIndent(map[string]any{"bindings": []binding{
			{Type: "httpTrigger", Direction: "in", Name: "req", AuthLevel: "anonymous", Methods: methods, Route: template},
			{Type: "http", Direction: "out", Name: "res"},
		}}, "", "  ")
		if err != nil {
			return nil, err
		}
		functions = append(functions, Function{name, append(text, '\n')})
	}
	slices.SortFunc(functions, func(a, b Function) int { return strings.Compare(hostOrder(a.Name), hostOrder(b.Name)) })
	return functions, nil
}

// functionNameOf derives a folder's name from its template: dhos/v1/patient/{patient_id}/jwt is patient-_patient_id-jwt.
func functionNameOf(template string) string {
	template = strings.TrimPrefix(template, "dhos/v1/")
	return strings.Trim(strings.NewReplacer("/", "-", ".", "-", "{", "_", "}", "").Replace(template), "-")
}

// hostOrder is the form in which the host compares names: ordinal, in upper case.
func hostOrder(name string) string { return strings.ToUpper(name) }
