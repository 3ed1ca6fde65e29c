package route

import "strings"

// Route is a template with the methods it is bound to and who answers it.
type Route struct {
	Template *Template
	// Methods: nil means all; an empty list means none.
	Methods []string
	// Name of the function.
	Name string
}

// Table is a list of routes in function order.
type Table []Route

// Match returns the name and the route values of the first route whose
// template and method both match: a method is a constraint, so a wrong one
// falls through to the next route, and at last to 404.
func (t Table) Match(method, path string) (name string, values map[string]string, ok bool) {
	for _, r := range t {
		if !r.allows(method) {
			continue
		}
		if values, ok := r.Template.Match(path); ok {
			return r.Name, values, true
		}
	}
	return "", nil, false
}

func (r Route) allows(method string) bool {
	if r.Methods == nil {
		return true
	}
	for _, m := range r.Methods {
		if strings.EqualFold(m, method) {
			return true
		}
	}
	return false
}
