package server

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/handler/internal/memstore"
)

// Whatever is sent, the answer is whole: no panic, no 5xx but for a fault of ours, a problem document for every refusal, one event.
// Under the host three crashes take the whole app down (model.md section 9).
func FuzzHandler(f *testing.F) {
	for _, raw := range []string{
		"GET / HTTP/1.1\r\n\r\n",
		"GET /running HTTP/1.1\r\nAccept: application/cbor;q=1, text/*;q=x, ;,\r\n\r\n",
		"HEAD /openapi.yaml HTTP/1.0\r\nIf-None-Match: W/\"x\", *,\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\n\r\n",
		"CONNECT latchkey.example:443 HTTP/1.1\r\n\r\n",
		"TRACE /.well-known/jwks.json?a HTTP/1.1\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
		"GET http://evil.example//running/ HTTP/1.1\r\nX-Azure-Functions-InvocationId: ,0b4f5d2e-1111-4222-8333-444444444444\r\n\r\n",
		"POST /dhos/v1/activation HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 47\r\n\r\n" + `{"activation_code":"2345678923","otp":"234567"}`,
		"POST /dhos/v1/activation HTTP/1.1\r\nContent-Type: application/json;charset=\"utf-8\"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /dhos/v1/activation?type=gdm HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n" + `{"code":"OXF-7KQ4-9F2M-HX3F-J7WP"}`,
		"POST /dhos/v1/activation/2345678923 HTTP/1.1\r\nContent-Type: application/json\r\nIdempotency-Key: a-key-of-22-characters\r\nContent-Length: 16\r\n\r\n" + `{"otp":"234567"}`,
		"POST /dhos/v1/activation/2345%2F8923/ HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n" + `{"otp":"1"}]`,
		"POST /dhos/v1/patient/p1/activation HTTP/1.1\r\nAuthorization: Bearer writer\r\n\r\n",
		"POST /dhos/v1/patient/p1/activation HTTP/1.1\r\nAuthorization: Bearer writer\r\nAccept: text/html;q=0.5, image/*;q=0.1, application/json;q=0\r\n\r\n",
		"POST /dhos/v1/patient/p1/activation HTTP/1.1\r\nAuthorization: Bearer writer\r\nAccept: image/svg+xml\r\nAccept: image/png;x=\",\r\n\r\n",
		"GET /dhos/v1/site/oxf HTTP/1.1\r\nIf-None-Match: *\r\n\r\n",
		"GET /dhos/v1/patient/p1/activation?status=all&limit=1&cursor=" + uuid7 + " HTTP/1.1\r\nAuthorization: Bearer reader\r\n\r\n",
		"DELETE /dhos/v1/patient/%2e%2E/activation/" + uuid7 + " HTTP/1.1\r\nAuthorization: Bearer writer\r\n\r\n",
		"DELETE /dhos/v1/patient/p1/activation/" + uuid7 + " HTTP/1.1\r\nAuthorization: Bearer writer\r\nAuthorization: Basic x\r\n\r\n",
		"GET /dhos/v1/patient/p1/authorisation HTTP/1.1\r\nAuthorization: Bearer reader\r\n\r\n",
		"DELETE /dhos/v1/patient/p1/authorisation HTTP/1.1\r\nAuthorization: Bearer writer\r\n\r\n",
		"DELETE /dhos/v1/patient/p1/authorisation/imported HTTP/1.1\r\nAuthorization: Bearer writer\r\n\r\n",
		"PATCH /dhos/v1/patient/p1/authorisation/a HTTP/1.1\r\nAuthorization: Bearer writer\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n" + `{"label":"a"}`,
		"POST /oauth2/revoke HTTP/1.1\r\nAuthorization: Bearer revoker\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 27\r\n\r\ntoken=a.b.c&Token=%C3%28&_=",
		"POST /oauth2/introspect HTTP/1.1\r\nAuthorization: Bearer introspector\r\nContent-Type: application/x-www-form-urlencoded;charset=UTF-8\r\nContent-Length: 14\r\n\r\ntoken=%41+b&_=",
		"GET /.well-known/latchkey-revoked HTTP/1.1\r\nIf-None-Match: \"a\", W/\"b\"\r\n\r\n",
		"GET /.well-known/latchkey-sites.json HTTP/1.1\r\n\r\n",
		"GET /dhos/v1/patient/p1/jwt HTTP/1.1\r\nx-authorisation-code: \xff\r\nCookie: a=b; c\r\n\r\n",
		"POST /dhos/v1/patient/p1/jwt HTTP/1.1\r\nx-authorisation-code: a\r\nContent-Length: 5\r\n\r\n{",
	} {
		f.Add(raw, byte(0))
		f.Add(raw, byte(1))
		f.Add(raw, byte(2))
	}
	b := newBench(f)
	b.UnderHost = true
	var asked atomic.Int64
	b.signing(f, func() time.Time { // each look is 15 s later: no list is so young that it is given again, or too old when it is there
		return noon.Add(time.Duration(asked.Add(1)) * 15 * time.Second)
	})
	var fault byte
	b.store.Fault = func(memstore.Op, memstore.When) error {
		switch fault {
		case 1:
			return errors.New("the network is down")
		case 2:
			panic("the store broke")
		}
		return nil
	}
	f.Fuzz(func(t *testing.T, raw string, injected byte) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil || slices.Contains([]string{"Bearer panic", "Bearer broken", "Bearer down"}, r.Header.Get("Authorization")) {
			t.Skip()
		}
		fault = injected % 3
		probe := r.Method == http.MethodGet && r.URL.Path == "/"
		*b.waited = nil
		b.log.take(t)
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, r)

		unlisted := r.URL.Path == "/.well-known/latchkey-revoked" // is read in a goroutine of its own, where a panic becomes an error
		if w.Code >= 500 && !(fault == 1 && w.Code == 503) && !(fault == 2 && (w.Code == 500 || unlisted && w.Code == 503)) {
			t.Fatalf("%d with the fault %d: %s\n%s", w.Code, fault, w.Body, b.log)
		}
		if n := strings.Count(b.log.String(), "\n"); n != 1 && !probe {
			t.Fatalf("%d lines for a request: %s", n, b.log)
		}
		if w.Code < 400 {
			return
		}
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Code != w.Code || p.Reason == "" ||
			p.Detail == "" || !instance.MatchString(p.Instance) || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Fatalf("%d %v, no problem document (%v): %s", w.Code, w.Header(), err, w.Body)
		}
		wantHeaders(t, w.Header())
	})
}
