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
// who may call is decided here, not by the host's keys. A table that the host would not serve as net/http does is an error.
func Functions() ([]Function, error) { return functionsOf(Routes()) }

func functionsOf(routes []Route) ([]Function, error) {
	type binding struct {
		Type      string   `json:"type"`
		Direction string   `json:"direction"`
		Name      string   `json:"name"`
		AuthLevel string   `json:"authLevel,omitempty"`
		Methods   []string `json:"methods,omitempty"`
		Route     string   `json:"route,omitempty"`
	}
	routes = slices.Clone(routes)
	slices.SortFunc(routes, func(a, b Route) int { return strings.Compare(hostOrder(a), hostOrder(b)) })
	var functions []Function
	for i, route := range routes {
		if why := unservable(route, routes[:i]); why != "" {
			return nil, fmt.Errorf("the route %s: %s", route.Path, why)
		}
		text, err := json.MarshalIndent(map[string]any{"bindings": []binding{
			{Type: "httpTrigger", Direction: "in", Name: "req", AuthLevel: "anonymous", Methods: route.methods(), Route: route.template()},
			{Type: "http", Direction: "out", Name: "res"},
		}}, "", "  ")
		if err != nil {
			return nil, err
		}
		functions = append(functions, Function{functionNameOf(route.template()), append(text, '\n')})
	}
	return functions, nil
}

// template is the path as the host writes it.
func (r Route) template() string { return strings.TrimPrefix(r.Path, "/") }

// methods are the route's methods in lower case, sorted: the host compares them by case where it looks for conflicts.
func (r Route) methods() []string {
	var methods []string
	for _, operation := range r.Operations {
		methods = append(methods, strings.ToLower(operation.Method))
	}
	slices.Sort(methods)
	return methods
}

// unservable says why the host would refuse a route, or try it too late, "" if it would not. earlier are the routes that the host
// tries before it.
func unservable(route Route, earlier []Route) string {
	template, methods := route.template(), route.methods()
	name := functionNameOf(template)
	switch lower := strings.ToLower(template); {
	case !functionTemplate.MatchString(template):
		return "its template is not of the grammar"
	case !functionName.MatchString(name) || name == "host":
		return "its function cannot be called " + name
	case strings.HasPrefix(lower, "admin"), strings.HasPrefix(lower, "runtime"):
		return "the host keeps admin and runtime for itself"
	case len(methods) == 0:
		return "it has no methods, which the host never matches"
	}
	seen := map[string]bool{}
	for segment := range strings.SplitSeq(template, "/") {
		if isParameter(segment) && seen[segment] {
			return "it has a parameter twice"
		}
		seen[segment] = true
	}
	for _, other := range earlier {
		if functionNameOf(other.template()) == name {
			return "its function is called as that of " + other.Path
		}
		shared := slices.ContainsFunc(methods, func(m string) bool { return slices.Contains(other.methods(), m) })
		if shared && meet(template, other.template()) && !isNarrower(other.template(), template) {
			return "the host would try " + other.Path + " first"
		}
	}
	return ""
}

func isParameter(segment string) bool { return strings.HasPrefix(segment, "{") }

// meet reports whether one path can match both templates. The host does not look at case.
func meet(a, b string) bool {
	return eachSegment(a, b, func(a, b string) bool { return isParameter(a) || isParameter(b) || strings.EqualFold(a, b) })
}

// isNarrower reports whether whatever matches a matches b, and b matches more.
func isNarrower(a, b string) bool {
	within := func(a, b string) bool { return isParameter(b) || strings.EqualFold(a, b) }
	return eachSegment(a, b, within) && !eachSegment(b, a, within)
}

// eachSegment reports whether both templates have as many segments, and holds is true of each pair.
func eachSegment(a, b string, holds func(a, b string) bool) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	if len(as) != len(bs) {
		return false
	}
	for i := range as {
		if !holds(as[i], bs[i]) {
			return false
		}
	}
	return true
}

// functionNameOf derives a folder's name from its template: dhos/v1/patient/{patient_id}/jwt is patient-_patient_id-jwt.
func functionNameOf(template string) string {
	template = strings.TrimPrefix(template, "dhos/v1/")
	return strings.Trim(strings.NewReplacer("/", "-", ".", "-", "{", "_", "}", "").Replace(template), "-")
}

// hostOrder is the form in which the host sorts functions: the name, ordinal, in upper case.
func hostOrder(r Route) string { return strings.ToUpper(functionNameOf(r.template())) }
