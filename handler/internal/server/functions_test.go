package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// made is a route with these methods.
func made(path string, methods ...string) Route {
	r := Route{Path: path}
	for _, m := range methods {
		r.Operations = append(r.Operations, Operation{ID: m + path, Method: m})
	}
	return r
}

func TestFunctionsRefuseWhatTheHostWouldNotServe(t *testing.T) {
	const get, post = http.MethodGet, http.MethodPost
	many := strings.Repeat("a", 129)
	for name, routes := range map[string][]Route{
		"a slash too many":                     {made("/a//b", get)},
		"a slash at the end":                   {made("/a/", get)},
		"the root":                             {made("/", get)},
		"a constraint":                         {made("/a/{id:uuid}", get)},
		"an optional parameter":                {made("/a/{id?}", get)},
		"a catch-all":                          {made("/a/{*rest}", get)},
		"an unclosed brace":                    {made("/a/{id", get)},
		"a parameter in half a segment":        {made("/a/x{id}", get)},
		"a question mark":                      {made("/a?", get)},
		"an escape":                            {made("/a%20b", get)},
		"a parameter twice":                    {made("/{id}/{id}", get)},
		"admin":                                {made("/administrators/x", get)},
		"Runtime":                              {made("/Runtime/x", get)},
		"a function called host":               {made("/host", get)},
		"a name in upper case":                 {made("/Running", get)},
		"a name that begins with a digit":      {made("/1/x", get)},
		"a name that begins with a parameter":  {made("/{id}", get)},
		"a long name":                          {made("/"+many, get)},
		"no methods":                           {made("/a")},
		"the same route twice":                 {made("/a/{x}", get), made("/a/{x}", post)},
		"one name for two routes":              {made("/a/b", get), made("/a-b", get)},
		"one name, without the prefix":         {made("/dhos/v1/a", get), made("/a", get)},
		"two names for one parameter":          {made("/a/{x}", get), made("/a/{y}", get)},
		"neither is narrower":                  {made("/a/{x}/b", get), made("/a/c/{y}", get)},
		"names that differ by case":            {made("/a/b", get), made("/a/B", get)},
		"the narrower one would come too late": {made("/a/{b}", get), made("/dhos/v1/c/{d}", get), made("/dhos/{v}/c/x", get)},
	} {
		t.Run(name, func(t *testing.T) {
			if functions, err := functionsOf(routes); err == nil {
				t.Errorf("accepted: %s", functions[0].Name)
			}
		})
	}
}

// The host has no precedence: it tries functions in the order of their names (host-contract.md 3.8).
func TestFunctionsPutLiteralsFirst(t *testing.T) {
	const get, post = http.MethodGet, http.MethodPost
	functions, err := functionsOf([]Route{
		made("/dhos/v1/clinician/{clinician_id}", get, post), made("/dhos/v1/clinician/{clinician_id}/jwt", get),
		made("/dhos/v1/clinician/jwt", get), made("/dhos/v1/clinician/9", get), made("/dhos/v1/clinician/-x", get),
		made("/dhos/v1/clinician/jwt/{x}", post), made("/dhos/v1/clinician", post),
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range functions {
		names = append(names, f.Name)
	}
	want := []string{"clinician", "clinician--x", "clinician-9", "clinician-jwt", "clinician-jwt-_x", "clinician-_clinician_id", "clinician-_clinician_id-jwt"}
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if _, err := functionsOf([]Route{made("/a/{x}/b", get), made("/a/c/{y}", post)}); err != nil {
		t.Errorf("other methods do not collide: %v", err)
	}
}

// What ships: every route is there once, with its methods, in the host's order.
func TestFunctionsOfTheTable(t *testing.T) {
	functions, err := Functions()
	if err != nil {
		t.Fatal(err)
	}
	if len(functions) != len(Routes()) {
		t.Fatalf("%d functions, %d routes", len(functions), len(Routes()))
	}
	templates := map[string][]string{}
	for i, f := range functions {
		var document struct {
			Bindings []struct {
				Type, Direction, Name, AuthLevel, Route string
				Methods                                 []string
			}
		}
		if err := json.Unmarshal(f.JSON, &document); err != nil {
			t.Fatal(err)
		}
		b := document.Bindings
		if len(b) != 2 || b[0].Type != "httpTrigger" || b[0].Direction != "in" || b[0].Name != "req" || b[0].AuthLevel != "anonymous" ||
			b[1].Type != "http" || b[1].Direction != "out" || b[1].Name != "res" {
			t.Errorf("%s: %+v", f.Name, b)
		}
		templates["/"+b[0].Route] = b[0].Methods
		if i > 0 && strings.ToUpper(functions[i-1].Name) >= strings.ToUpper(f.Name) {
			t.Errorf("%s comes after %s", f.Name, functions[i-1].Name)
		}
	}
	for _, route := range Routes() {
		var methods []string
		for _, o := range route.Operations {
			methods = append(methods, strings.ToLower(o.Method))
		}
		if got := templates[route.Path]; !slices.Equal(got, slices.Sorted(slices.Values(methods))) {
			t.Errorf("%s: %q, want %q", route.Path, got, methods)
		}
	}
}
