package host

import "testing"

// The tables are those of host-contract.md 3.2.
func TestPathInBothModes(t *testing.T) {
	for _, c := range []struct{ sent, decoded, forwarded, proxied string }{
		{"/x/a%2Fb", "/x/a%2Fb", "/x/a%2Fb", "/x/a%252Fb"},
		{"/x/a%3Fb", "/x/a?b", "/x/a", "/x/a%3Fb"},
		{"/x/a%23b", "/x/a#b", "/x/a", "/x/a%23b"},
		{"/x/a%25b", "/x/a%b", "/x/a%25b", "/x/a%25b"},
		{"/x/%2541", "/x/%41", "/x/A", "/x/%2541"},
		{"/x/a%5Cb", `/x/a\b`, "/x/a/b", "/x/a%5Cb"},
		{"/x/%FF", "/x/%FF", "/x/%FF", "/x/%25FF"},
		{"/x/%C3%A9", "/x/é", "/x/%C3%A9", "/x/%C3%A9"},
		{"/x/%F0%9F%98%80", "/x/😀", "/x/%F0%9F%98%80", "/x/%F0%9F%98%80"},
		{"/x/%C3x", "/x/%C3x", "/x/%C3x", "/x/%25C3x"},
		{"/x/%2B%7E%41%3B", "/x/+~A;", "/x/+~A;", "/x/+~A;"},
		{"/x/[x]", "/x/[x]", "/x/[x]", "/x/%5Bx%5D"},
		{"/x/%20%22%7B", `/x/ "{`, "/x/%20%22%7B", "/x/%20%22%7B"},
		{"/x/%zz", "/x/%zz", "/x/%25zz", "/x/%25zz"},
		{"/x/a%2", "/x/a%2", "/x/a%252", "/x/a%252"},
		{"/x/a/../b", "/x/b", "/x/b", "/x/b"},
		{"/x/a/%2E%2E/b", "/x/b", "/x/b", "/x/b"},
		{"/../x/./a", "/x/a", "/x/a", "/x/a"},
		{"/x/a/..", "/x/", "/x/", "/x/"},
		{"/x/a//b/", "/x/a//b/", "/x/a//b/", "/x/a//b/"},
		{"/X/a'(b)!*~@:$&,=", "/X/a'(b)!*~@:$&,=", "/X/a'(b)!*~@:$&,=", "/X/a'(b)!*~@:$&,="},
	} {
		decoded, ok := decodePath(c.sent)
		if !ok || decoded != c.decoded {
			t.Errorf("%s: decoded %q, %v, want %q", c.sent, decoded, ok, c.decoded)
			continue
		}
		if got := forwardedPath(decoded); got != c.forwarded {
			t.Errorf("%s: forwarded %q, want %q", c.sent, got, c.forwarded)
		}
		if got := proxiedPath(decoded); got != c.proxied {
			t.Errorf("%s: proxied %q, want %q", c.sent, got, c.proxied)
		}
	}
	if _, ok := decodePath("/x/a%00b"); ok {
		t.Error("%00 was accepted")
	}
}

func TestQueryInBothModes(t *testing.T) {
	for _, c := range []struct{ sent, forwarded, proxied string }{
		{"", "", ""},
		{"?", "", "?"},
		{"?a=1&a=2", "?a=1,2", "?a=1&a=2"},
		{"?a=1&A=2", "?A=1,2", "?a=1&A=2"},
		{"?b=1&a=2&c=3&a=4", "?b=1&a=2,4&c=3", "?b=1&a=2&c=3&a=4"},
		{"?flag", "?flag=", "?flag"},
		{"?=x", "?=x", "?=x"},
		{"?&&a=1", "?a=1", "?&&a=1"},
		{"?a=+", "?a=%20", "?a=+"},
		{"?a=%2B", "?a=%2B", "?a=%2B"},
		{"?a=x%26y", "?a=x%26y", "?a=x%26y"},
		{"?a=b=c", "?a=b%3Dc", "?a=b=c"},
		{"?a[]=1", "?a%5B%5D=1", "?a[]=1"},
		{"?a=1;b=2", "?a=1;b%3D2", "?a=1;b=2"},
		{"?a=%2541", "?a=%2541", "?a=%2541"},
		{"?a=%FF", "?a=%25FF", "?a=%FF"},
		{"?a=%zz", "?a=%25zz", "?a=%25zz"},
		{"?a=%C3%A9%7E", "?a=%C3%A9~", "?a=%C3%A9~"},
		{`?a="<>'`, "?a=%22%3C%3E%27", "?a=%22%3C%3E'"},
	} {
		if got := forwardedQuery(c.sent); got != c.forwarded {
			t.Errorf("%s: forwarded %q, want %q", c.sent, got, c.forwarded)
		}
		if got := canonicalURI(c.sent); got != c.proxied {
			t.Errorf("%s: proxied %q, want %q", c.sent, got, c.proxied)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	for _, c := range []struct {
		sent, want string
		ok         bool
	}{
		{"application/json", "application/json", true},
		{`a/b;charset=utf-8;  x="c; d"`, `a/b; charset=utf-8; x="c; d"`, true},
		{"json", "json", false},
		{"application/json;;", "application/json;;", false},
		{"application/json; charset=x y", "application/json; charset=x y", false},
		{"application/json, text/plain", "application/json, text/plain", false},
	} {
		if got, ok := respaced(c.sent); got != c.want || ok != c.ok {
			t.Errorf("%s: got %q, %v, want %q, %v", c.sent, got, ok, c.want, c.ok)
		}
	}
}

func TestArgumentsAreSplitOutsideQuotes(t *testing.T) {
	got := splitArgs(`-u  a b "q w" x"y z" ""`)
	want := []string{"-u", "a", "b", "q w", "xy z", ""}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("argument %d: got %q, want %q", i, got[i], want[i])
		}
	}
}
