package server

import (
	"bytes"
	"encoding/xml"
	"html"
	"image/png"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

const createLine = "POST " + patientPath + "/activation"

// shown makes an activation of the patient in a form, and gives the reply.
func (b *bench) shown(t testing.TB, accept string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	w := b.ask(t, createLine, "", append(headers, "Authorization: Bearer writer", "Accept: "+accept)...)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", accept, w.Code, w.Body)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s: Cache-Control is %q", accept, got)
	}
	wantHeaders(t, w.Header())
	return w
}

// codeOn finds the code on a reply in any form, as who gets it does.
func codeOn(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	const link = "https://app.example/activate#"
	switch contentType := w.Header().Get("Content-Type"); contentType {
	case "application/json":
		return read[created](t, w, http.StatusOK).Code
	case "image/png":
		img, err := png.Decode(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
		if err != nil {
			t.Fatal(err)
		}
		result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true})
		if err != nil {
			t.Fatal(err)
		}
		code, ok := strings.CutPrefix(result.GetText(), link)
		if !ok {
			t.Fatalf("the QR code says %q", result.GetText())
		}
		return code
	case "image/svg+xml":
		var svg struct {
			Title string `xml:"title"`
		}
		if err := xml.Unmarshal(w.Body.Bytes(), &svg); err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(svg.Title, "Activation code ")
	case "text/html; charset=utf-8":
		m := regexp.MustCompile(`(?s)<p class="code"[^>]*>(.*?)</p>`).FindStringSubmatch(w.Body.String())
		if m == nil {
			t.Fatalf("there is no code on %s", w.Body)
		}
		return regexp.MustCompile(`<[^>]*>`).ReplaceAllString(m[1], "")
	default:
		t.Fatalf("the reply is %q", contentType)
		return ""
	}
}

// ACT-11: the code as a picture. Who made it can redeem it, so each form is really the code.
func TestACT11_EveryFormHoldsALiveCode(t *testing.T) {
	for accept, contentType := range map[string]string{
		"image/svg+xml": "image/svg+xml", "image/png": "image/png", "text/html": "text/html; charset=utf-8", "*/*": "application/json",
	} {
		b := newBench(t)
		w := b.shown(t, accept)
		if got := w.Header().Get("Content-Type"); got != contentType {
			t.Errorf("%s is %q", accept, got)
		}
		// The code stands in no line of the log, and neither does the link.
		code := codeOn(t, w)
		if log := b.log.String(); strings.Contains(log, code) || strings.Contains(log, "app.example") || !strings.Contains(log, `"action":"activation.create"`) {
			t.Errorf("%s: the log is %s", accept, log)
		}
		if w := b.ask(t, redeemLine, `{"code":"`+code+`"}`); w.Code != http.StatusOK {
			t.Errorf("%s: the code %q does not work: %s", accept, code, w.Body)
		}
	}
}

// What a browser would show cannot reach anything, whatever is in it.
func TestACT11_PicturesAndSheetsHaveAPolicy(t *testing.T) {
	b := newBench(t)
	for accept, want := range map[string]string{
		"image/svg+xml": `^default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$`,
		"image/png":     `^default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$`,
		"text/html":     `^default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='$`,
		"*/*":           `^$`,
	} {
		if got := b.shown(t, accept).Header().Get("Content-Security-Policy"); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: the policy is %q", accept, got)
		}
	}
}

// Without an Accept that asks for something else the reply is what it always was.
func TestACT11_JSONStaysTheDefault(t *testing.T) {
	key := "Idempotency-Key: a-key-of-22-characters"
	b := newBench(t)
	want := b.ask(t, createLine, "", "Authorization: Bearer writer", key)
	for _, accept := range []string{"*/*", "application/json", "application/json, */*;q=0.1", "nonsense", "application/*;q=0.3"} {
		got := b.ask(t, createLine, "", "Authorization: Bearer writer", key, "Accept: "+accept)
		if got.Code != http.StatusOK || !bytes.Equal(got.Body.Bytes(), want.Body.Bytes()) {
			t.Errorf("%s: %d %s, want %s", accept, got.Code, got.Body, want.Body)
		}
		for name, values := range want.Header() {
			if strings.Join(got.Header()[name], "|") != strings.Join(values, "|") || len(got.Header()) != len(want.Header()) {
				t.Errorf("%s: the headers are %v, want %v", accept, got.Header(), want.Header())
			}
		}
	}
	members := regexp.MustCompile(`"([a-z_]+)":`).FindAllStringSubmatch(want.Body.String(), -1)
	var names []string
	for _, m := range members {
		names = append(names, m[1])
	}
	if got := strings.Join(names, " "); got != "activation_code otp code expires_at uuid created created_by modified modified_by" {
		t.Errorf("the members are %s", got)
	}
}

// A ward wants the code for its screen, the picture and the page: the same key tells the same activation in each form, in any order.
func TestACT11_OneKeyTellsEveryForm(t *testing.T) {
	b := newBench(t)
	key := "Idempotency-Key: a-key-of-22-characters"
	want := codeOn(t, b.shown(t, "text/html", key))
	for _, accept := range []string{"image/png", "application/json", "image/svg+xml", "text/html"} {
		if got := codeOn(t, b.shown(t, accept, key)); got != want {
			t.Errorf("%s: the code is %q, want %q", accept, got, want)
		}
	}
	if n := len(b.store.Records(patientID())); n != 1 {
		t.Errorf("%d changes, want 1", n)
	}
	// Another key is another activation, and this one has ended.
	if got := codeOn(t, b.shown(t, "image/png", "Idempotency-Key: another-key-of-24-chars.")); got == want {
		t.Error("two keys have one code")
	}
	for _, accept := range []string{"image/png", "text/html", "*/*"} {
		b.log.take(t)
		w := b.ask(t, createLine, "", "Authorization: Bearer writer", key, "Accept: "+accept)
		b.wantProblem(t, w, http.StatusConflict, ReasonSuperseded)
	}
}

// Neither picture nor page says whose code it is (picture.Sheet); the page says what the ward can compare.
func TestACT11_NothingSaysWhoseCodeItIs(t *testing.T) {
	b := newBench(t)
	key := "Idempotency-Key: a-key-of-22-characters"
	uuid := read[created](t, b.shown(t, "*/*", key), http.StatusOK).UUID
	for _, accept := range []string{"image/svg+xml", "image/png", "text/html"} {
		body := b.shown(t, accept, key).Body.String()
		if strings.Contains(body, patientID().Name) || strings.Contains(body, object) {
			t.Errorf("%s names the patient or the caller", accept)
		}
		if accept != "text/html" {
			continue
		}
		text := html.UnescapeString(body)
		for _, want := range []string{
			"Reference: " + uuid + ".", "It works until the end of Sunday 29 November 2026, and only once.", "From Oxford & <Sons>", "Made on 24 November 2026, 12:00.",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("it does not say %q", want)
			}
		}
		if strings.Contains(body, "<Sons>") {
			t.Error("the site's name is not escaped")
		}
	}
}

// The prefix stands for a site that has no name.
func TestACT11_ASiteWithoutAName(t *testing.T) {
	b := newBench(t)
	b.Parts().Site = "CAM"
	if body := b.shown(t, "text/html").Body.String(); !strings.Contains(body, "<p>From CAM</p>") {
		t.Errorf("it is from nobody: %s", body)
	}
}
