package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const redeemLine = "POST /dhos/v1/activation"

// Each request is wrong in all the ways that stand below its line: the first one is told.
func TestChecksAreInOrder(t *testing.T) {
	const createLine, writer = "POST " + patientPath + "/activation", "Authorization: Bearer writer"
	bad := "POST /dhos/v1/patient/~/activation?a=1&a=2"
	for _, c := range []struct {
		name     string
		starting bool
		line     string
		body     string
		headers  []string
		status   int
		reason   Reason
	}{
		{"the path is plain", true, "POST /dhos/v1/patient/a%2Fb/activation?a=1&a=2", "{}", nil, 400, ReasonInvalid},
		{"the settings are known", true, bad, "{}", []string{"Authorization: Bearer junk"}, 503, ReasonStarting},
		{"there is a token", false, bad, "{}", nil, 401, ReasonInvalidToken},
		{"it is good", false, bad, "{}", []string{"Authorization: Bearer junk"}, 401, ReasonInvalidToken},
		{"it holds the scope", false, bad, "{}", []string{"Authorization: Bearer reader"}, 403, ReasonInsufficientScope},
		{"the query is plain", false, bad, "{}", []string{writer}, 400, ReasonInvalid},
		{"there is no body", false, createLine, "{}", []string{writer}, 400, ReasonInvalid},
		{"the query is known", false, createLine + "?a=1", "", []string{writer}, 400, ReasonInvalid},
		{"the id is an id", false, "POST /dhos/v1/patient/~/activation", "", []string{writer}, 400, ReasonInvalid},
		{"redeem: the query first", false, redeemLine + "?type=gdm&type=gdm", "{", nil, 400, ReasonInvalid},
		{"redeem: then the type", false, redeemLine + "?type=x", "{", []string{"Content-Type: text/plain"}, 415, ReasonMediaType},
		{"redeem: then the body", false, redeemLine + "?type=x", "{", nil, 400, ReasonInvalid},
		{"redeem: then the code's form", false, redeemLine, `{"code":"OXF-2"}`, nil, 400, ReasonMistyped},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			if c.starting {
				b.starting()
			}
			b.wantProblem(t, b.ask(t, c.line, c.body, c.headers...), c.status, c.reason)
			if n := len(b.store.Intents()); n != 0 {
				t.Errorf("%d intents were written", n)
			}
		})
	}
}

// DIR-5: whatever is wrong with a body is 400, and the field is named.
func TestDIR5_BodiesAreStrict(t *testing.T) {
	for name, c := range map[string]struct{ body, field string }{
		"none":                  {"", "body"},
		"empty object":          {"{}", "body.activation_code"},
		"code and its parts":    {`{"code":"OXF-7KQ4","otp":"234567"}`, "body.code"},
		"no OTP":                {`{"activation_code":"2345678923"}`, "body.otp"},
		"unknown member":        {`{"activation_code":"2345678923","otp":"234567","x":1}`, "body.x"},
		"member in upper case":  {`{"activation_code":"2345678923","OTP":"234567"}`, "body.OTP"},
		"member twice":          {`{"activation_code":"2345678923","otp":"234567","otp":"234567"}`, "body.otp"},
		"member in two cases":   {`{"activation_code":"2345678923","otp":"234567","Otp":"234567"}`, "body.Otp"},
		"wrong type":            {`{"activation_code":2345678923,"otp":"234567"}`, "body.activation_code"},
		"null for a text":       {`{"activation_code":null,"otp":"234567"}`, "body.activation_code"},
		"too long":              {`{"activation_code":"` + strings.Repeat("2", 65) + `","otp":"234567"}`, "body.activation_code"},
		"null":                  {"null", "body"},
		"a list":                {`[{"otp":"1"}]`, "body"},
		"broken":                {`{"otp":`, "body"},
		"two objects":           {`{"otp":"1"}{}`, "body"},
		"invalid UTF-8":         {"{\"otp\":\"\xff\"}", "body"},
		"a byte order mark":     {"\ufeff{}", "body"},
		"deep":                  {strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20), "body.a.a.a.a.a.a.a.a"},
		"many members":          {manyMembers(300), "body.m64"},
		"a number beyond range": {`{"otp":1e999}`, "body.otp"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			var headers []string
			if c.body == "" {
				headers = []string{"Content-Type: application/json", "Content-Length: 0"}
			}
			p := b.wantProblem(t, b.ask(t, redeemLine, c.body, headers...), http.StatusBadRequest, ReasonInvalid)
			if len(p.Errors) == 0 || p.Errors[0].Field != c.field || !strings.Contains(p.Detail, c.field) {
				t.Errorf("%+v, want the field %s", p.Errors, c.field)
			}
		})
	}
}

func manyMembers(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `,"m%d":1`, i)
	}
	return "{" + strings.TrimPrefix(s.String(), ",") + "}"
}

// No operation without a body takes one, not even an empty object (mission.md DIR-5).
func TestDIR5_ABodyWhereNoneBelongs(t *testing.T) {
	b := newBench(t)
	n := 0
	for _, route := range Routes() {
		for _, o := range route.Operations {
			if o.body {
				continue
			}
			n++
			path := strings.NewReplacer("{patient_id}", "p1", "{device_id}", "d1", "{uuid}", uuid7, "{identity_id}", tenant+"~"+object).Replace(route.Path)
			scope := map[string]string{scopeReadActivation: "reader", scopeWriteActivation: "writer", scopeReadIdentity: "registrar",
				scopeReadDevice: "ward", scopeWriteDevice: "ward", scopeReadIdentifier: "tablet"}[o.Scope]
			w := b.ask(t, o.Method+" "+path, "{}", "Authorization: Bearer "+scope)
			if p := b.wantProblem(t, w, http.StatusBadRequest, ReasonInvalid); p.Errors[0].Field != "body" {
				t.Errorf("%s: %s", o.ID, p.Detail)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d operations were tried", n)
	}
}

// threats.md H-07.
func TestContentTypes(t *testing.T) {
	const body = `{"activation_code":"2345678923","otp":"234567"}`
	for value, status := range map[string]int{
		"application/json":                    404,
		"application/json; charset=utf-8":     404,
		"APPLICATION/JSON ;CHARSET=\"UTF-8\"": 404,
		"application/json;v=a+b":              404,
		"application/json; charset=utf-16":    415,
		"application/json,text/html":          415,
		"application/json;;":                  415,
		"application/problem+json":            415,
		"text/json":                           415,
		"text/plain":                          415,
		"application/x-www-form-urlencoded":   415,
		"multipart/form-data; boundary=x":     415,
		"json":                                415,
		"":                                    415,
	} {
		b := newBench(t)
		w := b.ask(t, redeemLine, body, "Content-Type: "+value)
		if w.Code != status {
			t.Errorf("%q: %d, want %d", value, w.Code, status)
		}
	}
	b := newBench(t)
	p := b.wantProblem(t, b.ask(t, redeemLine, body, "Content-Type: application/json", "Content-Type: text/plain"), 400, ReasonInvalid)
	if p.Errors[0].Field != "header.content-type" {
		t.Errorf("%+v", p.Errors)
	}
}

// threats.md H-01. The host wants a body read to its end; without it nobody reads on.
func TestBodiesHaveABound(t *testing.T) {
	pad := func(n int) string {
		const body = `{"activation_code":"2345678923","otp":"234567"}`
		return body + strings.Repeat(" ", n-len(body))
	}
	t.Run("64 KiB", func(t *testing.T) {
		b := newBench(t)
		b.wantProblem(t, b.ask(t, redeemLine, pad(MaxBody)), http.StatusNotFound, ReasonActivationRefused)
	})
	for _, chunked := range []bool{false, true} {
		for _, underHost := range []bool{false, true} {
			for _, c := range []struct {
				size  int64
				whole bool
			}{{MaxBody + 1, true}, {5 << 20, underHost}, {drainedUnderHost + MaxBody + 2, false}} {
				t.Run(fmt.Sprint("chunked ", chunked, " host ", underHost, " size ", c.size), func(t *testing.T) {
					b := newBench(t)
					b.UnderHost = underHost
					body := endless(c.size)
					r, err := http.NewRequest(http.MethodPost, "/dhos/v1/activation", body)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Content-Type", "application/json")
					if r.ContentLength = c.size; chunked {
						r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
					}
					w := b.send(r)
					b.wantProblem(t, w, http.StatusRequestEntityTooLarge, ReasonTooLarge)
					if closed := w.Header().Get("Connection") == "close"; closed == c.whole {
						t.Errorf("the connection is closed: %t", closed)
					}
					if left, _ := io.Copy(io.Discard, body); (left == 0) != c.whole {
						t.Errorf("%d bytes were left", left)
					}
				})
			}
		}
	}
	t.Run("where no body belongs", func(t *testing.T) {
		b := newBench(t)
		b.wantProblem(t, b.ask(t, "GET /running", pad(MaxBody+1)), http.StatusBadRequest, ReasonInvalid)
	})
	t.Run("cut off", func(t *testing.T) {
		b := newBench(t)
		r := request(t, redeemLine, "", "Content-Type: application/json", "Content-Length: 10")
		p := b.wantProblem(t, b.send(r), http.StatusBadRequest, ReasonInvalid)
		if p.Errors[0] != (FieldError{"body", "ended too early"}) {
			t.Errorf("%+v", p.Errors)
		}
	})
}

// What the host would join into one line, or a reader would take the first of, is refused.
func TestHeadersThatStandTwice(t *testing.T) {
	create, token := "POST "+patientPath+"/activation", "POST "+patientPath+"/jwt"
	for name, c := range map[string]struct {
		line    string
		headers []string
		status  int
		reason  Reason
	}{
		"Authorization, the good one first": {create, []string{"Authorization: Bearer writer", "Authorization: Bearer junk"}, 401, ReasonInvalidToken},
		"Authorization, twice the same":     {create, []string{"Authorization: Bearer writer", "authorization: Bearer writer"}, 401, ReasonInvalidToken},
		"x-authorisation-code":              {token, []string{"x-authorisation-code: a", "X-Authorisation-Code: b"}, 400, ReasonInvalid},
		"x-authorisation-code, empty":       {token, []string{"x-authorisation-code:"}, 400, ReasonInvalid},
		"x-authorisation-code, none":        {token, nil, 400, ReasonInvalid},
		"Idempotency-Key": {create, []string{"Authorization: Bearer writer",
			"Idempotency-Key: a-key-of-22-characters", "Idempotency-Key: a-key-of-22-characters"}, 400, ReasonInvalid},
		"Idempotency-Key, empty": {create, []string{"Authorization: Bearer writer", "Idempotency-Key:"}, 400, ReasonInvalid},
		"Idempotency-Key, short": {create, []string{"Authorization: Bearer writer", "Idempotency-Key: 123456789012345678901"}, 400, ReasonInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.wantProblem(t, b.ask(t, c.line, "", c.headers...), c.status, c.reason)
			if n := len(b.store.Intents()); n != 0 {
				t.Errorf("%d intents were written", n)
			}
		})
	}
}

// There is one form of every reply, whatever is asked for. huma's own reader panics on the second of these.
func TestAcceptMeansNothing(t *testing.T) {
	for _, value := range []string{"text/html", "a;", ";;", "application/cbor", "application/json;q=0", strings.Repeat(",", 1000)} {
		b := newBench(t)
		if w := b.ask(t, "GET /running", "", "Accept: "+value); w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%q: %d %v", value, w.Code, w.Header())
		}
	}
}

func TestQueries(t *testing.T) {
	const path = "GET " + patientPath + "/activation?"
	for query, field := range map[string]string{
		"limit=1&limit=1":       "query.limit",
		"limit=1&LIMIT=1":       "query.LIMIT",
		"limit=0":               "query.limit",
		"limit=101":             "query.limit",
		"limit=1,1":             "query.limit",
		"limit=":                "query.limit",
		"status":                "query.status",
		"status=Pending":        "query.status",
		"status=all;limit=1":    "query",
		"limit=%zz":             "query",
		"cursor=x":              "query.cursor",
		"cursor=" + object:      "query.cursor", // a UUID, of another version
		"unknown=1":             "query.unknown",
		"limit%5B%5D=1":         "query.limit[]",
		"limit=1&status=a%00ll": "query.status",
	} {
		t.Run(query, func(t *testing.T) {
			b := newBench(t)
			p := b.wantProblem(t, b.ask(t, path+query, "", "Authorization: Bearer reader"), http.StatusBadRequest, ReasonInvalid)
			if p.Errors[0].Field != field {
				t.Errorf("%+v, want %s", p.Errors, field)
			}
		})
	}
}

func TestAProblemNamesAFewErrors(t *testing.T) {
	b := newBench(t)
	p := b.wantProblem(t, b.ask(t, "GET /running?"+manyQueries(mostParameters), ""), http.StatusBadRequest, ReasonInvalid)
	if len(p.Errors) != mostErrors {
		t.Errorf("%d errors are listed", len(p.Errors))
	}
	p = b.wantProblem(t, b.ask(t, "GET /running?"+manyQueries(mostParameters+1), ""), http.StatusBadRequest, ReasonInvalid)
	if len(p.Errors) != 1 || p.Errors[0].Field != "query" {
		t.Errorf("%+v", p.Errors)
	}
}

// model.md section 9 and threats.md H-09, H-14: one canonical path, or none.
func TestPaths(t *testing.T) {
	long := strings.Repeat("a", 129)
	for target, want := range map[string]struct {
		status int
		reason Reason
	}{
		"/running":                                 {200, ""},
		"/running/":                                {200, ""},
		"/%72unning":                               {200, ""},
		"http://elsewhere.example/running":         {200, ""},
		"/running//":                               {404, ReasonNoRoute},
		"//running":                                {404, ReasonNoRoute},
		"/./running":                               {404, ReasonNoRoute},
		"/x/../running":                            {404, ReasonNoRoute},
		"/x/%2e%2E/running":                        {404, ReasonNoRoute},
		"/running;jsessionid=1":                    {404, ReasonNoRoute},
		"/RUNNING":                                 {404, ReasonNoRoute},
		"/DHOS/v1/patient/p1/jwt":                  {404, ReasonNoRoute},
		"/dhos//v1/patient/p1/activation":          {404, ReasonNoRoute},
		"/dhos/v1/patient//activation":             {404, ReasonNoRoute},
		"/dhos/v1/patient/../activation":           {404, ReasonNoRoute},
		"/dhos/v1/patient/%2e/activation":          {404, ReasonNoRoute},
		"/dhos/v1/patient/a%2Fb/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/a%2fb/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/a%3Fb/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/a%23b/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/a%25b/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/a%5Cb/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/%25%32%46/activation":    {400, ReasonInvalid},
		"/dhos/v1/patient/a%00b/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/a%0d%0ab/activation":     {400, ReasonInvalid},
		"/dhos/v1/patient/a%09b/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/a%7fb/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/a%20b/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/a%E2%80%A8/activation":   {400, ReasonInvalid},
		"/dhos/v1/patient/%F0%9F%99%82/activation": {400, ReasonInvalid},
		"/dhos/v1/patient/%FF/activation":          {400, ReasonInvalid},
		"/dhos/v1/patient/x'%20or%201/activation":  {400, ReasonInvalid},
		"/dhos/v1/patient/" + long + "/activation": {400, ReasonInvalid},
		"/dhos/v1/patient/p1%0A/activation":        {400, ReasonInvalid},
		"/dhos/v1/patient/p1/activation/":          {200, ""},
		"/dhos/v1/patient/P.1_-x/activation":       {200, ""},
		"/nothing":                                 {404, ReasonNoRoute},
		"*":                                        {404, ReasonNoRoute},
	} {
		t.Run(target, func(t *testing.T) {
			b := newBench(t)
			w := b.ask(t, "GET "+target, "", "Authorization: Bearer reader")
			if want.status == http.StatusOK {
				if b.event(t); w.Code != http.StatusOK {
					t.Errorf("%d: %s", w.Code, w.Body)
				}
				return
			}
			b.wantProblem(t, w, want.status, want.reason)
			if w.Header().Get("Location") != "" {
				t.Error("a redirect")
			}
		})
	}
}

// threats.md H-13.
func TestMethods(t *testing.T) {
	const read, write = "GET, HEAD", "POST"
	for line, allow := range map[string]string{
		"POST /running":    read,
		"OPTIONS /running": read,
		"TRACE /running":   read,
		"get /running":     read,
		"MADEUPMETHODOFACLIENTTHATISLONG /running":        read,
		"PUT " + patientPath + "/activation":              "GET, HEAD, POST",
		"PATCH " + patientPath + "/jwt/":                  "GET, HEAD, POST",
		"GET " + patientPath + "/activation/" + uuid7:     "DELETE",
		"HEAD /dhos/v1/activation":                        write,
		"GET /dhos/v1/activation/2345678923":              write,
		"DELETE /dhos/v1/activation/?_method=POST":        write,
		"OPTIONS /.well-known/jwks.json":                  read,
		"POST /":                                          "",
		"CONNECT latchkey.example:443":                    "",
		"OPTIONS /nothing":                                "",
		"GET /dhos/v1/patient/p1":                         "",
		"GET /dhos/v1":                                    "",
		"DELETE /dhos/v1/patient/p1/activation/a/b":       "",
		"GET /admin/host/status":                          "",
		"POST /activation":                                "",
		"HEAD /dhos/v1/activation/2345678923/2345678923/": "",
	} {
		t.Run(line, func(t *testing.T) {
			b := newBench(t)
			w := b.ask(t, line, "", "X-HTTP-Method-Override: GET", "X-Original-URL: /running")
			if allow == "" {
				b.wantProblem(t, w, http.StatusNotFound, ReasonNoRoute)
			} else {
				b.wantProblem(t, w, http.StatusMethodNotAllowed, ReasonMethod)
			}
			if got := w.Header().Get("Allow"); got != allow {
				t.Errorf("Allow is %q, want %q", got, allow)
			}
		})
	}
	t.Run("HEAD is GET", func(t *testing.T) {
		b := newBench(t)
		if w := b.ask(t, "HEAD /running", ""); w.Code != http.StatusOK || b.event(t)["operation"] != "running" {
			t.Errorf("%d", w.Code)
		}
	})
	t.Run("no CORS", func(t *testing.T) { // threats.md H-18
		b := newBench(t)
		for _, line := range []string{"GET /running", "OPTIONS " + patientPath + "/jwt"} {
			w := b.ask(t, line, "", "Origin: https://evil.example", "Access-Control-Request-Method: POST")
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s: %s", line, name)
				}
			}
		}
	})
	t.Run("the host's probe", func(t *testing.T) {
		b := newBench(t).starting()
		if w := b.ask(t, "GET /", ""); w.Code != http.StatusNoContent || b.log.String() != "" {
			t.Errorf("%d, log %q", w.Code, b.log)
		}
	})
}
