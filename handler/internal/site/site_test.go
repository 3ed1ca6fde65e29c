package site

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestACT12_PrefixesThatOneSlipConfuses(t *testing.T) {
	for _, c := range []struct {
		a, b  string
		alike bool
	}{
		{"OXF", "OXF", true},
		{"OXF", "OXE", true}, {"OXF", "OYF", true}, {"OXF", "AXF", true}, // one character
		{"OXF", "XOF", true}, {"OXF", "OFX", true}, {"OXF", "FXO", true}, // a swap, of neighbours or not
		{"OXF", "XFO", false}, {"OXF", "FOX", false}, // three that moved
		{"OXF", "OAB", false}, {"OXF", "ABF", false}, {"OXF", "CAM", false}, {"AAB", "BBA", false},
		{"AAB", "ABA", true}, {"OXF", "XAF", false},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			_, err := NewDirectory(Site{Code: "999"}, []Site{{Code: pair[0]}, {Code: pair[1]}})
			var alike *AlikeError
			if errors.As(err, &alike) != c.alike || (err == nil) == c.alike {
				t.Errorf("%v: %v", pair, err)
			}
		}
		// The deployment's own prefix is held to it too; but it may stand among the others.
		_, err := NewDirectory(Site{Code: c.a}, []Site{{Code: c.b}})
		if want := c.alike && c.a != c.b; (err != nil) != want {
			t.Errorf("%s beside %s of its own: %v", c.b, c.a, err)
		}
	}
}

func TestACT12_TheOwnSiteIsAlwaysThere(t *testing.T) {
	own := Site{"OXF", "Oxford", "https://oxford.example"}
	cam := Site{"CAM", "", "https://cambridge.example"}
	for _, c := range []struct {
		others []Site
		want   Directory
	}{
		{nil, Directory{own}},
		{[]Site{cam}, Directory{cam, own}},
		{[]Site{{"OXF", "", "https://front.example"}, cam}, Directory{cam, {"OXF", "Oxford", "https://front.example"}}},
		{[]Site{{"OXF", "Front", "https://front.example"}}, Directory{{"OXF", "Front", "https://front.example"}}},
	} {
		got, err := NewDirectory(own, c.others)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
		for _, s := range got {
			for _, code := range []string{s.Code, "oXf", "cam"} {
				found, ok := got.Find(code)
				if code == s.Code && (!ok || found != s) {
					t.Errorf("%s is %v, %t", code, found, ok)
				}
				if code == "oXf" && (!ok || found.Code != "OXF") {
					t.Errorf("%s is %v, %t", code, found, ok)
				}
			}
		}
		if s, ok := got.Find("XYZ"); ok {
			t.Errorf("XYZ is %v", s)
		}
	}
}
