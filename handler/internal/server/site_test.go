package server

import (
	"net/http"
	"strings"
	"testing"
)

// ACT-12: the app reads the prefix of a code and asks where its site is.
func TestACT12_FindSite(t *testing.T) {
	b := newBench(t)
	for code, want := range map[string]string{
		"CAM": `{"code":"CAM","base_url":"https://cam.example"}`,
		"OXF": `{"code":"OXF","name":"Oxford \u0026 \u003cSons\u003e","base_url":"https://latchkey.example"}`,
		"oxf": `{"code":"OXF","name":"Oxford \u0026 \u003cSons\u003e","base_url":"https://latchkey.example"}`,
	} {
		w := b.ask(t, "GET /dhos/v1/site/"+code, "")
		if w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s %v", code, w.Code, w.Body, w.Header())
		}
		wantKept(t, b, "/dhos/v1/site/"+code)
	}
	b.log.take(t)
	w := b.ask(t, "GET /dhos/v1/site/XYZ", "")
	b.wantProblem(t, w, http.StatusNotFound, ReasonSiteNotFound)
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("what is not there may be kept: %q", got) // it may come
	}
	for _, code := range []string{"OX", "OXFD", "O-X", "%c3%89X", "OX%20"} {
		b.wantProblem(t, b.ask(t, "GET /dhos/v1/site/"+code, ""), http.StatusBadRequest, ReasonInvalid)
	}
	b.starting().wantProblem(t, b.ask(t, "GET /dhos/v1/site/OXF", ""), http.StatusServiceUnavailable, ReasonStarting)
}

func TestACT12_AllSites(t *testing.T) {
	b := newBench(t)
	const path = "/.well-known/latchkey-sites.json"
	want := `{"sites":[{"code":"CAM","base_url":"https://cam.example"},{"code":"OXF","name":"Oxford \u0026 \u003cSons\u003e","base_url":"https://latchkey.example"}]}`
	if w := b.ask(t, "GET "+path, ""); w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	wantKept(t, b, path)
}

// wantKept: it may be kept, and asked for again by its ETag.
func wantKept(t *testing.T, b *bench, path string) {
	t.Helper()
	h := b.ask(t, "GET "+path, "").Header()
	tag := h.Get("ETag")
	if h.Get("Cache-Control") != "public, max-age=300" || !strings.HasPrefix(tag, `"`) || h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%s: %v", path, h)
	}
	if w := b.ask(t, "GET "+path, "", "If-None-Match: "+tag); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("%s: %d, %d bytes", path, w.Code, w.Body.Len())
	}
}
