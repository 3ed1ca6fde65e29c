package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"image/png"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// One activation is told as a picture, as a page and as JSON, through every host; the picture alone is enough to redeem it. What it looks
// like at which size is in the tests of package picture.
func TestACT11_APictureOfTheCodeRedeemsIt(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		w := h.world
		patient, token, key := w.patient(), w.clinic(t), randomHex(16)
		as := func(form string) reply {
			t.Helper()
			r := creating(token, patient).under(key)
			r.header.Set("Accept", form)
			got := h.send(t, r)
			if got.status != http.StatusOK || got.header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%s: %d %v", form, got.status, got.header)
			}
			return got
		}

		picture := as("image/png")
		if kind := picture.header.Get("Content-Type"); kind != "image/png" {
			t.Errorf("it is %q", kind)
		}
		link, code, found := strings.Cut(scanned(t, picture.body), "#")
		if !found || !strings.HasPrefix(link, "http") {
			t.Fatal("the picture holds no link with a fragment")
		}
		w.seen.secret(code)

		vector := as("image/svg+xml")
		if kind := vector.header.Get("Content-Type"); kind != "image/svg+xml" {
			t.Errorf("it is %q", kind)
		}
		if !bytes.Contains(vector.body, []byte("<title id=\"code-title\">Activation code "+code+"</title>")) {
			t.Error("the SVG is not of the code in the PNG")
		}

		page := as("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8") // what a browser sends
		if kind := page.header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
			t.Errorf("it is %q", kind)
		}
		text := html.UnescapeString(tag.ReplaceAllString(string(page.body), ""))
		if !strings.Contains(text, code) || strings.Contains(text, patient) {
			t.Error("the page is not of the code, or it says whose it is")
		}
		for name, got := range map[string]reply{"SVG": vector, "PNG": picture, "page": page} {
			if !strings.HasPrefix(got.header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("%s: policy %q", name, got.header.Get("Content-Security-Policy"))
			}
		}

		var c created
		as("application/json").into(t, http.StatusOK, &c)
		if c.Code != code {
			t.Error("the JSON is not of the code in the PNG")
		}
		if !strings.Contains(text, c.UUID) {
			t.Error("the page does not say which activation it is")
		}
		redeem := h.send(t, redeeming(fmt.Sprintf(`{"code":%q}`, code)))
		var r redeemed
		redeem.into(t, http.StatusOK, &r)
		if r.PatientID != patient {
			t.Error("it let somebody else in")
		}

		if h.out == nil {
			return // somebody else's host: what it prints cannot be seen
		}
		h.event(t, redeem.trace) // all before it is written
		for line := range strings.SplitSeq(h.out.String(), "\n") {
			if found := w.seen.in(line); len(found) > 0 {
				t.Errorf("%v in the line %s", found, line)
			}
		}
	})
}

// Who can take no form that there is has changed nothing.
func TestACT11_AFormThatThereIsNotMakesNothing(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		patient, token := h.world.patient(), h.world.clinic(t)
		r := creating(token, patient)
		r.header = http.Header{"Accept": {"image/webp, application/pdf"}}
		h.send(t, r).problem(t, http.StatusNotAcceptable, "not_acceptable")
		got := h.send(t, request{method: http.MethodGet, path: activationPath(patient) + "?status=all", token: token})
		var all []json.RawMessage
		if err := json.Unmarshal(got.body, &all); err != nil || got.status != http.StatusOK || len(all) != 0 {
			t.Errorf("%d, %d activations: %v", got.status, len(all), err)
		}
	})
}

var tag = regexp.MustCompile(`<[^>]*>`)

// scanned reads the QR code of a PNG, with a library that did not draw it.
func scanned(t *testing.T, picture []byte) string {
	t.Helper()
	decoded, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(decoded)
	if err != nil {
		t.Fatal(err)
	}
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true})
	if err != nil {
		t.Fatal(err)
	}
	return result.GetText()
}
