package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/handler/internal/picture"
	"latchkey/handler/internal/site"
)

// model.md section 2: the check character does not cover the prefix, so that no slip may lead to another site.
func TestACT12_PrefixesThatAreTooMuchAlikeAreRefused(t *testing.T) {
	for value, wrong := range map[string]string{
		"OXE=https://e.example":                          "cannot be used: OXE and OXF are too much alike: they differ in one character, or by a swap",
		"XOF=https://x.example":                          "cannot be used: OXF and XOF are too much alike: they differ in one character, or by a swap",
		"CAM=https://c.example, MAC=https://m.example":   "cannot be used: CAM and MAC are too much alike: they differ in one character, or by a swap",
		"CAM=https://c.example, CAM=https://m.example":   "cannot be used: CAM is there twice",
		"OXF=https://c.example, OXF=https://c.example/x": "cannot be used: OXF is there twice",
	} {
		p := onlyProblem(t, with(map[string]string{"Sites": value}))
		if p.Key != "Sites" || p.Wrong != wrong {
			t.Errorf("%s: %s %s", value, p.Key, p.Wrong)
		}
	}
	for value, wrong := range map[string]string{
		"CAM":                          "has an item 1 that is not an https URL",
		"CAM=":                         "has an item 1 that is not an https URL",
		"CAM=http://c.example":         "has an item 1 that is not an https URL",
		"CAM=https://c.example?a=b":    "has an item 1 that has a query",
		"CAM=https://c.example#a":      "has an item 1 that has a fragment",
		"CAM=https://u@c.example":      "has an item 1 that has a user in it",
		"=https://c.example":           "has an item 1 that has the wrong length",
		"cam=https://c.example":        "has an item 1 that has a character outside A-Z and 0-9",
		"OXF=https://a.example,C=x":    "has an item 2 that has the wrong length",
		"CAM=https://c.example,":       "has an empty item",
		"CAM=https://a.ex,CAM=https:/": "has an item 2 that is not a URL with a host",
	} {
		p := onlyProblem(t, with(map[string]string{"Sites": value}))
		if p.Key != "Sites" || p.Wrong != wrong {
			t.Errorf("%s: %s %s", value, p.Key, p.Wrong)
		}
	}
}

func TestACT12_TheOwnSiteMayBeElsewhere(t *testing.T) {
	s := mustLoad(t, with(map[string]string{"Sites": "OXF=https://front.example/, CAM=https://cam.example", "Site__Name": "Oxford"}))
	want := site.Directory{{Code: "CAM", BaseURL: "https://cam.example"}, {Code: "OXF", Name: "Oxford", BaseURL: "https://front.example"}}
	if diff := cmp.Diff(want, s.Sites); diff != "" {
		t.Error(diff)
	}
	if s.Site.AppLink != "https://front.example/" {
		t.Errorf("the app link is %s", s.Site.AppLink)
	}
}

func TestACT11_AppLinks(t *testing.T) {
	long := func(n int) string { return "https://a.example/" + strings.Repeat("a", n-len("https://a.example/")) }
	for _, value := range []string{
		"https://app.example", "https://app.example/activate", "http://localhost:8080/", "uk.example.app:/activate", "uk.example.app:activate",
		"uk.example.app://activate/x", long(picture.MaxLink),
	} {
		if s := mustLoad(t, with(map[string]string{"Site__AppLink": value})); s.Site.AppLink != value {
			t.Errorf("%s is %s", value, s.Site.AppLink)
		}
	}
	for value, wrong := range map[string]string{
		"http://app.example":               "is not an https URL",
		"latchkey:activate":                "is not an https URL", // any app could take it
		"javascript:alert(1)":              "is not an https URL",
		"data:text/html,x":                 "is not an https URL",
		"activate":                         "is not an https URL",
		"https://app.example/#":            "has a fragment",
		"https://app.example/?code":        "has a query",
		"uk.example.app:/activate#x":       "has a query or a fragment",
		"uk.example.app:/activate?x":       "has a query or a fragment",
		"uk.example.app://me@example/":     "has a user in it",
		"uk.example.app:/acti\u00a0vate":   "is not a URL",
		"https://app.example/a b":          "is not a URL",
		long(picture.MaxLink + 1):          "is too long",
		"https://app.example/%zz":          "is not a URL",
		"uk.example.app:" + long(90):       "is too long",
		"https://me:secret@app.example/go": "has a user in it",
	} {
		if p := onlyProblem(t, with(map[string]string{"Site__AppLink": value})); p.Key != "Site:AppLink" || p.Wrong != wrong {
			t.Errorf("%s: %s %s", value, p.Key, p.Wrong)
		}
	}
	issuer := long(picture.MaxLink)
	p := onlyProblem(t, with(map[string]string{"Tokens__Issuer": issuer}))
	if p.Key != "Site:AppLink" || !strings.HasPrefix(p.Wrong, "is not set, and the site's own address is longer than the 99 characters") {
		t.Errorf("%s %s", p.Key, p.Wrong)
	}
	mustLoad(t, with(map[string]string{"Tokens__Issuer": issuer[:picture.MaxLink-1]}))
	mustLoad(t, with(map[string]string{"Tokens__Issuer": issuer, "Site__AppLink": "https://app.example"}))
}

func TestACT11_SiteNames(t *testing.T) {
	for value, wrong := range map[string]string{
		strings.Repeat("é", 81): "is too long",
		"two\tcolumns":          "has a character that cannot be printed",
		"a\u202eb":              "has a character that cannot be printed",
		"a\xffb":                "has a character that cannot be printed",
	} {
		if p := onlyProblem(t, with(map[string]string{"Site__Name": value})); p.Key != "Site:Name" || p.Wrong != wrong {
			t.Errorf("%q: %s %s", value, p.Key, p.Wrong)
		}
	}
	mustLoad(t, with(map[string]string{"Site__Name": strings.Repeat("é", 80)}))
}
