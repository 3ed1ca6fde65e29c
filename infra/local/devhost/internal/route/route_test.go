package route_test

import (
	"errors"
	"testing"

	"latchkey/infra/local/devhost/internal/route"
)

func table(t *testing.T, routes ...[2]string) route.Table {
	t.Helper()
	var out route.Table
	for _, r := range routes {
		tmpl, err := route.Parse(r[1])
		if err != nil {
			t.Fatal(err)
		}
		var methods []string
		if r[0] != "" {
			methods = []string{r[0]}
		}
		out = append(out, route.Route{Template: tmpl, Methods: methods, Name: r[0] + " " + r[1]})
	}
	return out
}

func TestFirstRouteInOrderWins(t *testing.T) {
	params := table(t, [2]string{"get", "clinician/{id}"}, [2]string{"get", "clinician/jwt"}, [2]string{"post", "clinician/jwt"})
	literals := table(t, [2]string{"get", "clinician/jwt"}, [2]string{"get", "clinician/{id}"})
	guids := table(t, [2]string{"get", "o/{id:guid}"}, [2]string{"get", "o/{id}"}, [2]string{"", "{*rest}"})
	for _, c := range []struct {
		table        route.Table
		method, path string
		want         string
	}{
		{params, "GET", "/clinician/jwt", "get clinician/{id}"},
		{params, "POST", "/clinician/jwt", "post clinician/jwt"},
		{params, "POST", "/clinician/7", ""},
		{params, "HEAD", "/clinician/jwt", ""},
		{literals, "GET", "/Clinician/JWT/", "get clinician/jwt"},
		{literals, "get", "/clinician/7", "get clinician/{id}"},
		{literals, "GET", "/clinician/7/x", ""},
		{guids, "GET", "/o/0b5d0e6c-6a1c-4f2b-9a3e-6f1c7a1f0a11", "get o/{id:guid}"},
		{guids, "GET", "/o/x", "get o/{id}"},
		{guids, "GET", "/o/x/y", " {*rest}"},
		{guids, "GET", "/", " {*rest}"},
	} {
		if got, _, _ := c.table.Match(c.method, c.path); got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.method, c.path, got, c.want)
		}
	}
}

func TestTemplateMatch(t *testing.T) {
	for _, c := range []struct {
		template string
		yes, no  []string
	}{
		{"x/{*p}", []string{"/x", "/x/", "/x/a", "/x/a//b", "/x/a//", "/X/a"}, []string{"/x//a", "//x/a", "/y"}},
		{"cc/{**x}", []string{"/cc/a/b", "/cc"}, []string{"/c"}},
		{"a/{id}", []string{"/a/1", "/a/1/"}, []string{"/a", "/a/", "/a//", "/a/1//", "/a/1/2"}},
		{"opt/{a?}", []string{"/opt", "/opt/1"}, []string{"/opt/1/2"}},
		{"om/{x?}/b", []string{"/om/1/b"}, []string{"/om/b"}},
		{"def/{a=7}", []string{"/def", "/def/9"}, nil},
		{"t/{a}-{b}", []string{"/t/1-2", "/t/a-b-c"}, []string{"/t/12", "/t/-2"}},
		{"f/{name}.{ext?}", []string{"/f/a.json", "/f/a"}, []string{"/f"}},
		{"t2/{name}.json", []string{"/t2/a.json", "/t2/A.JSON"}, []string{"/t2/.json", "/t2/a.txt"}},
		{"ts/x/", []string{"/ts/x", "/ts/x/"}, nil},
		{"~/til", []string{"/til"}, []string{"/~/til"}},
		{"/ls/x", []string{"/ls/x"}, nil},
		{"", []string{"/"}, []string{"/x"}},
		{"a%20b", []string{"/a%20b"}, []string{"/a b"}},
		{"c/{id:int}", []string{"/c/-12", "/c/7"}, []string{"/c/99999999999", "/c/x", "/c/ "}},
		{"c/{id:long}", []string{"/c/99999999999"}, []string{"/c/x"}},
		{"c/{id:guid}", []string{"/c/0b5d0e6c6a1c4f2b9a3e6f1c7a1f0a11", "/c/{0b5d0e6c-6a1c-4f2b-9a3e-6f1c7a1f0a11}"}, []string{"/c/0b5d"}},
		{"c/{id:bool}", []string{"/c/True"}, []string{"/c/1"}},
		{"c/{id:alpha:minlength(3)}", []string{"/c/abc"}, []string{"/c/ab", "/c/ab1"}},
		{"c/{id:range(5,9)}", []string{"/c/5", "/c/9"}, []string{"/c/10", "/c/x"}},
		{"c/{id:length(4)}", []string{"/c/abcd"}, []string{"/c/abc"}},
		{"c/{id:length(2,3)}", []string{"/c/ab", "/c/abc"}, []string{"/c/a", "/c/abcd"}},
		{"c/{id:maxlength(2)}", []string{"/c/ab"}, []string{"/c/abc"}},
		{"c/{id:min(3)}", []string{"/c/3"}, []string{"/c/2"}},
		{"c/{id:max(3)}", []string{"/c/-3"}, []string{"/c/4"}},
		{`c/{id:regex(^x-\d{{2}}$)}`, []string{"/c/X-12"}, []string{"/c/x-1"}},
		{"c/{id:int?}", []string{"/c", "/c/1"}, []string{"/c/x"}},
	} {
		tmpl, err := route.Parse(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		for _, p := range c.yes {
			if _, ok := tmpl.Match(p); !ok {
				t.Errorf("%s does not match %s", c.template, p)
			}
		}
		for _, p := range c.no {
			if _, ok := tmpl.Match(p); ok {
				t.Errorf("%s matches %s", c.template, p)
			}
		}
	}
}

func TestMethodsEmptyOrAbsent(t *testing.T) {
	tmpl, err := route.Parse("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := (route.Table{{Template: tmpl, Methods: []string{}}}).Match("GET", "/x"); ok {
		t.Error("an empty list of methods matched")
	}
	if _, _, ok := (route.Table{{Template: tmpl}}).Match("FOO", "/x"); !ok {
		t.Error("without a list an odd method did not match")
	}
}

func TestTemplatesThatASPNETRejects(t *testing.T) {
	for _, text := range []string{"a//b", "a/{id", "a/id}", "a?b", "{x}/{X}", "a/{*x}/b", "a{*x}", "{a}{b}", "{id:uuid}",
		"{}", "{id:range(1)}", "{id:length(x)}", "{id:int(}", "{*x?}", "x/{a?}y"} {
		if _, err := route.Parse(text); !errors.Is(err, route.ErrTemplate) {
			t.Errorf("%s: got %v, want ErrTemplate", text, err)
		}
	}
}
