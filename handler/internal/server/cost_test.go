package server

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

// stranger is a request of somebody who has shown nothing yet.
type stranger struct {
	name   string
	status int
	build  func(t testing.TB) *http.Request
}

// strangers are the dearest requests that we know of, with all the room that the bounds leave.
func strangers() []stranger {
	junk := "Bearer " + strings.Repeat("A", 16<<10)
	body := func(text string) func(t testing.TB) *http.Request {
		return func(t testing.TB) *http.Request { return request(t, redeemLine, text) }
	}
	filled := func(text string) string { return text + strings.Repeat(" ", MaxBody-len(text)) }
	create := "POST " + patientPath + "/activation"
	return []stranger{
		{"unknown code", 404, body(`{"activation_code":"2345678923","otp":"234567"}`)},
		{"unknown code, a full body", 404, body(filled(`{"activation_code":"2345678923","otp":"234567"}`))},
		{"mistyped", 400, body(`{"code":"OXF-7KQ4"}`)},
		{"long text", 400, body(`{"code":"` + strings.Repeat("A", MaxBody-11) + `"}`)},
		{"escaped text", 400, body(`{"code":"` + strings.Repeat(`\u0041`, (MaxBody-11)/6) + `"}`)},
		{"many members", 400, body(manyMembers(5000))},
		{"as many members as may be", 400, body(manyMembers(bodyLimits.Values))},
		{"long names", 400, body(strings.ReplaceAll(manyMembers(60), `"m`, `"`+strings.Repeat("m", 120)))},
		{"many elements", 400, body(`{"code":[` + strings.Repeat("[],", 20000) + `1]}`)},
		{"deep", 400, body(strings.Repeat(`{"a":`, 10000))},
		{"broken at the end", 400, body(filled(`{"code":"`))},
		{"too large", 413, body(filled("{") + "x")},
		{"junk token", 401, func(t testing.TB) *http.Request { return request(t, create, "", "Authorization: "+junk) }},
		{"no token, a large body", 401, func(t testing.TB) *http.Request { return request(t, create, filled("{}")) }},
		{"unknown path", 404, func(t testing.TB) *http.Request { return request(t, "GET /"+strings.Repeat("x/", 4000)+"x", "") }},
		{"wrong method", 405, func(t testing.TB) *http.Request { return request(t, "PATCH "+patientPath+"/jwt", "") }},
		{"escapes", 400, func(t testing.TB) *http.Request { return request(t, "GET /"+strings.Repeat("%2f", 2600), "") }},
		{"many queries", 400, func(t testing.TB) *http.Request {
			return request(t, redeemLine+"?"+strings.TrimPrefix(strings.Repeat("&a=1", 2000), "&"), "{}")
		}},
		{"many unknown queries", 400, func(t testing.TB) *http.Request { return request(t, "GET /running?"+manyQueries(2000), "") }},
		{"many headers", 404, func(t testing.TB) *http.Request {
			var headers []string
			for i := range 900 {
				headers = append(headers, fmt.Sprintf("X-%d: %s", i, strings.Repeat("x", 24)))
			}
			return request(t, "POST "+patientPath+"/jwt", "", append(headers, "x-authorisation-code: unknown")...)
		}},
		{"wrong authorisation code", 404, func(t testing.TB) *http.Request {
			return request(t, "POST "+patientPath+"/jwt", "", "x-authorisation-code: "+strings.Repeat("A", 256))
		}},
	}
}

func manyQueries(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "&q%d=1", i)
	}
	return s.String()[1:]
}

// ABU-4: no unauthenticated request costs more than a megabyte before its code was found to exist. What is measured is all that
// is allocated on the way, garbage as well.
func TestABU4_StrangersCostLessThanAMegabyte(t *testing.T) {
	for _, s := range strangers() {
		t.Run(s.name, func(t *testing.T) {
			b := newBench(t)
			const n = 10
			var requests []*http.Request
			for range n + 1 {
				requests = append(requests, s.build(t))
			}
			w := httptest.NewRecorder()
			b.handler.ServeHTTP(w, requests[n]) // fills the pools
			if w.Code != s.status {
				t.Fatalf("%d: %s", w.Code, w.Body)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for _, r := range requests[:n] {
				b.handler.ServeHTTP(discard{http.Header{}}, r)
			}
			runtime.ReadMemStats(&after)
			if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 1<<20 {
				t.Errorf("%d bytes a request", each)
			}
		})
	}
}

// discard is a reply that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// ABU-4: less than a millisecond of CPU. There is no waiting in it: the bench's clock stands.
func BenchmarkABU4_Strangers(b *testing.B) {
	for _, s := range strangers() {
		b.Run(strings.ReplaceAll(s.name, " ", "-"), func(b *testing.B) {
			bench := newBench(b)
			r := s.build(b)
			body, err := io.ReadAll(r.Body)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Body = io.NopCloser(bytes.NewReader(body))
				bench.log.text.Reset()
				*bench.waited = (*bench.waited)[:0]
				bench.handler.ServeHTTP(discard{http.Header{}}, r)
			}
		})
	}
}
