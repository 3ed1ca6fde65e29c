package server

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"latchkey/handler/internal/memstore"
)

// RFC 9110 section 12.5.1.
func TestAcceptChoosesTheForm(t *testing.T) {
	for _, c := range []struct {
		accept string
		want   form
	}{
		{"", formJSON}, {"*/*", formJSON}, {"application/json", formJSON}, {"application/*", formJSON}, {"APPLICATION/JSON", formJSON},
		{"application/json;charset=UTF-8", formJSON}, {`text/html;charset="utf-8"`, formSheet},
		{"image/svg+xml", formSVG}, {"image/png", formPNG}, {"text/html", formSheet}, {"Text/HTML ; q=1.000", formSheet},
		{"image/*", formSVG}, {"text/*", formSheet},
		{"image/png, image/svg+xml", formSVG}, {"image/png, image/svg+xml;q=0.999", formPNG},
		{"application/json, text/html", formJSON}, {"application/json;q=0.5, text/html;q=0.6", formSheet},
		// The most specific range counts, not the highest.
		{"*/*, application/json;q=0", formSVG}, {"image/*;q=1, image/svg+xml;q=0.1, text/html;q=0.2", formPNG},
		{"*/*;q=0.1, image/*;q=0, application/json;q=0", formSheet},
		// What a browser sends.
		{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8", formSheet},
		{"image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", formSVG},
		// A range with a parameter that we have not fits nothing, and the others count.
		{"image/png;level=1", ""}, {"image/png;level=1, image/*;q=0.1", formSVG}, {`text/html;x="a,\",b", image/png`, formPNG},
		// Empty elements are nothing.
		{",, image/png ,", formPNG}, {" , ", formJSON},
		{"image/webp", ""}, {"application/json;q=0", ""}, {"*/*;q=0", ""}, {"application/problem+json", ""}, {"text/html;charset=latin1", ""},
		// What cannot be read is not there. The last is that of Java's HttpURLConnection.
		{"image", formJSON}, {"image/", formJSON}, {"*/png", formJSON}, {"image/png;q=2", formJSON}, {"image/png;q=1.001", formJSON},
		{"image/png;q=0.0001", formJSON}, {"image/png;q=-1", formJSON}, {"image/png;q=", formJSON}, {"image/png;q=.5", formJSON}, {";0,", formJSON},
		{"image/png;q=0,5", formJSON}, {`image/png;x="`, formJSON}, {"image/png; q=0x1", formJSON}, {"image/png;q=1;q=0", formJSON},
		{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", formJSON},
	} {
		got, err := choose([]string{c.accept}, forPeople)
		if got != c.want {
			t.Errorf("%q is %q, want %q", c.accept, got, c.want)
		}
		var p *Problem
		if refused := errors.As(err, &p); refused != (c.want == "") || refused && p.Status != http.StatusNotAcceptable {
			t.Errorf("%q: %v", c.accept, err)
		}
	}
	// Several lines are one list.
	if got, err := choose([]string{"image/webp;q=0.3", "image/png"}, forPeople); got != formPNG || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := choose(nil, forPeople); got != formJSON || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzAccept(f *testing.F) {
	for _, seed := range []string{
		"", "*/*", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "image/svg+xml;q=0.5,image/png;x=\"a,\\\"\",,", ";0,", "a/b;q*0=1",
		"image/png\n, image/svg+xml", "application/json;q=0, */*;q=0.001",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		got, err := choose([]string{accept}, forPeople)
		if (got == "") != (err != nil) || got != "" && got != formJSON && !slices.Contains(forPeople, got) {
			t.Fatalf("%q, %v", got, err)
		}
		ranges, ok := acceptable(accept)
		if !ok && got != formJSON {
			t.Fatalf("%q from what cannot be read", got)
		}
		for _, r := range ranges {
			if r.q < 0 || r.q > 1000 || strings.Count(r.media, "/") != 1 {
				t.Fatalf("%+v", r)
			}
		}
		// To ask for a thing twice is to ask for it, and what is not there changes nothing.
		if ok {
			for _, same := range [][]string{{accept, accept}, {accept, ""}, {"", accept}} {
				if again, _ := choose(same, forPeople); again != got {
					t.Fatalf("%q, and %q for %q", got, again, same)
				}
			}
		}
	})
}

// A caller who can take no form of ours has changed nothing: it is decided before anything is read or written. Who may not call
// learns nothing about it.
func TestACT11_NotAcceptableChangesNothing(t *testing.T) {
	const line = "POST " + patientPath + "/activation"
	b := newBench(t)
	b.create(t)
	b.log.take(t)
	records, asked := len(b.store.Records(patientID())), 0
	intents := len(b.store.Intents())
	b.store.Fault = func(memstore.Op, memstore.When) error {
		asked++
		return nil
	}
	for _, accept := range []string{"image/webp", "application/xml, image/png;q=0", "application/problem+json", "*/*;q=0"} {
		w := b.ask(t, line, "", "Authorization: Bearer writer", "Accept: "+accept, "Idempotency-Key: a-key-of-22-characters")
		p := b.wantProblem(t, w, http.StatusNotAcceptable, ReasonNotAcceptable)
		if want := "Nothing was done: Accept fits none of application/json, image/svg+xml, image/png, text/html."; p.Detail != want {
			t.Errorf("it says %q", p.Detail)
		}
	}
	if n := len(b.store.Records(patientID())); n != records || len(b.store.Intents()) != intents || asked != 0 {
		t.Errorf("%d records after %d, %d intents after %d, %d calls of the store", n, records, len(b.store.Intents()), intents, asked)
	}
	if w := b.ask(t, line, "", "Accept: image/webp"); w.Code != http.StatusUnauthorized {
		t.Errorf("%d for a stranger", w.Code)
	}
	if w := b.ask(t, line, "", "Authorization: Bearer reader", "Accept: image/webp"); w.Code != http.StatusForbidden {
		t.Errorf("%d without the scope", w.Code)
	}
}

// OPS-2: the document says which forms there are, and that one may have none.
func TestACT11_OpenAPIListsTheForms(t *testing.T) {
	var document struct {
		Paths map[string]map[string]described
	}
	if err := json.Unmarshal(openAPI(t), &document); err != nil {
		t.Fatal(err)
	}
	responses := document.Paths["/dhos/v1/patient/{patient_id}/activation"]["post"].Responses
	got := slices.Sorted(maps.Keys(responses["200"].Content))
	if want := []string{"application/json", "image/png", "image/svg+xml", "text/html"}; !slices.Equal(got, want) {
		t.Errorf("the forms are %v, want %v", got, want)
	}
	if ref := responses["200"].Content["application/json"].Schema.Ref; ref != "#/components/schemas/CreatedActivationBody" {
		t.Errorf("the JSON is %q", ref)
	}
	if _, ok := responses["406"]; !ok {
		t.Error("406 is not there")
	}
}
