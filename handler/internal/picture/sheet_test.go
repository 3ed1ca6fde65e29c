package picture

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"
)

func sheet(t testing.TB, s Sheet) (page, policy string) {
	t.Helper()
	c, err := New("https://app.example/activate", human)
	if err != nil {
		t.Fatal(err)
	}
	bytes, policy, err := s.Page(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes), policy
}

var (
	london = func() *time.Location {
		zone, err := time.LoadLocation("Europe/London")
		if err != nil {
			panic(err)
		}
		return zone
	}()
	example = Sheet{
		Site: "Oxford University Hospitals", Reference: "01936b5c-0000-7000-8000-000000000000",
		Made: time.Date(2026, 11, 24, 12, 5, 0, 0, london), Expires: time.Date(2026, 11, 30, 0, 0, 0, 0, london),
	}
	tags = regexp.MustCompile(`<[^>]*>`)
)

func TestACT11_SheetSaysWhatIsNeeded(t *testing.T) {
	page, _ := sheet(t, example)
	text := html.UnescapeString(tags.ReplaceAllString(page, ""))
	for _, want := range []string{
		human, "one character after the other: O X F, 7 K Q 4, 9 F 2 M, H X 3 F, J 7 W P, 7.",
		"It works until the end of Sunday 29 November 2026, and only once.",
		"From Oxford University Hospitals", "Reference: 01936b5c-0000-7000-8000-000000000000. Made on 24 November 2026, 12:05.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q: %s", want, text)
		}
	}
	svg := page[strings.Index(page, "<svg") : strings.Index(page, "</svg>")+len("</svg>")]
	if got := read(t, parse(t, []byte(svg)).raster(t, printed)); got != "https://app.example/activate#"+human {
		t.Errorf("the QR code on it says %q", got)
	}
}

// WCAG 2.2: the language (3.1.1), a title (2.4.2), headings in order (1.3.1), one main part, and the code once for the eye and once
// for the ear.
func TestACT11_SheetIsAccessible(t *testing.T) {
	page, _ := sheet(t, example)
	for want, times := range map[string]int{
		`<html lang="en-GB">`: 1, "<h1>": 1, "<main>": 1, "<title>Activation code from Oxford University Hospitals</title>": 1,
		`class="code" aria-hidden="true"`: 1, `role="img" aria-labelledby="code-title code-text"`: 1,
	} {
		if n := strings.Count(page, want); n != times {
			t.Errorf("%q is there %d times, want %d", want, n, times)
		}
	}
	level, ids := 0, map[string]bool{}
	for _, h := range regexp.MustCompile(`<h([1-6])`).FindAllStringSubmatch(page, -1) {
		next := int(h[1][0] - '0')
		if next > level+1 {
			t.Errorf("a heading of level %d follows one of %d", next, level)
		}
		level = next
	}
	for _, id := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[id[1]] {
			t.Errorf("the id %s is there twice", id[1])
		}
		ids[id[1]] = true
	}
	for _, labels := range regexp.MustCompile(`aria-labelledby="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		for label := range strings.FieldsSeq(labels[1]) {
			if !ids[label] {
				t.Errorf("nothing is called %s", label)
			}
		}
	}
}

// The page needs nothing but itself, and the policy holds it to that.
func TestACT11_SheetAsksNobodyElse(t *testing.T) {
	page, policy := sheet(t, example)
	if found := regexp.MustCompile(`(?i)<script|<link|<img|<iframe|<form|<a |src=|href=|url\(|@import| style=| on[a-z]+=|javascript:`).FindString(page); found != "" {
		t.Errorf("it holds %q", found)
	}
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(page, -1)
	if len(style) != 1 {
		t.Fatalf("%d styles", len(style))
	}
	sum := sha256.Sum256([]byte(style[0][1]))
	want := "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'"
	if policy != want {
		t.Errorf("the policy is %q, want %q", policy, want)
	}
}

func TestACT11_SheetEscapes(t *testing.T) {
	const evil = `</title></style><script>alert('"&')</script><style>`
	clean, _ := sheet(t, example)
	page, policy := sheet(t, Sheet{Site: evil, Reference: evil, Made: example.Made, Expires: example.Expires})
	// The same elements, whatever is said in them.
	names := regexp.MustCompile(`</?[a-z0-9]+`)
	if got, want := names.FindAllString(page, -1), names.FindAllString(clean, -1); strings.Join(got, "") != strings.Join(want, "") {
		t.Errorf("the elements are %v, want %v", got, want)
	}
	if !strings.Contains(html.UnescapeString(page), "From "+evil) {
		t.Error("what was said is not there")
	}
	if _, want := sheet(t, example); policy != want {
		t.Errorf("the policy is another: %q", policy)
	}
}

func TestACT9_ExpiryInWords(t *testing.T) {
	for _, c := range []struct{ at, want string }{
		{"2026-11-30T00:00:00Z", "the end of Sunday 29 November 2026"},
		{"2027-01-01T00:00:00Z", "the end of Thursday 31 December 2026"},
		{"2026-06-30T23:00:00Z", "the end of Tuesday 30 June 2026"}, // summer time
		{"2026-11-29T14:00:00Z", "14:00 on Sunday 29 November 2026"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := Until(at.In(london)); got != c.want {
			t.Errorf("%s is %q, want %q", c.at, got, c.want)
		}
	}
	// Where clocks go forward at midnight, a day ends before one o'clock.
	zone, err := time.LoadLocation("America/Asuncion")
	if err != nil {
		t.Fatal(err)
	}
	if got := Until(time.Date(2023, 10, 1, 4, 0, 0, 0, time.UTC).In(zone)); got != "the end of Saturday 30 September 2023" {
		t.Errorf("%q", got)
	}
}
