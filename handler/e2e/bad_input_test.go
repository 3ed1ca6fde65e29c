package e2e_test

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// bad is a request that must change nothing.
type bad struct {
	name    string
	request request
	status  int
	reason  string
	fields  []string // the fields that errors names
	says    string   // stands in the detail
	// escaped: the id needs escapes, which a host writes anew, each mode in its own way (model.md section 9). Then any field of
	// the path may be named, and a forwarding host may make another path of it, where nothing is.
	escaped bool
}

func TestDIR5_BadInputIsNamedAndChangesNothing(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		w := h.world
		token, patient := w.clinic(t), w.patient()
		code := h.redeem(t, h.create(t, token, patient).parts()).AuthorisationCode
		c := h.create(t, token, patient)
		snapshot := func() (rows map[string]row, counts map[string]int) {
			if w.stack == nil {
				return nil, nil
			}
			counts = map[string]int{}
			for _, table := range tables(t) {
				counts[table] = len(w.rows(t, table))
			}
			return w.partition(t, patient), counts
		}
		rowsBefore, countsBefore := snapshot()
		for _, b := range badRequests(h, token, patient, c) {
			t.Run(b.name, func(t *testing.T) {
				got := h.send(t, b.request)
				if b.escaped && h.name == forwarding && got.status == http.StatusNotFound {
					got.problem(t, http.StatusNotFound, "no_such_route")
					return
				}
				p := got.problem(t, b.status, b.reason)
				if b.escaped && len(p.Errors) == 1 && p.Errors[0].Field == "path.patient_id" {
					p.Errors[0].Field = "path"
				}
				var fields []string
				for _, e := range p.Errors {
					fields = append(fields, e.Field)
					if e.Detail == "" {
						t.Errorf("%s has no detail", e.Field)
					}
				}
				if !slices.Equal(fields, b.fields) {
					t.Errorf("errors name %q, want %q", fields, b.fields)
				}
				if len(fields) > 0 && !strings.Contains(p.Detail, fields[0]) || !strings.Contains(p.Detail, b.says) {
					t.Errorf("detail %q does not name %v %s", p.Detail, fields, b.says)
				}
			})
		}
		rowsAfter, countsAfter := snapshot()
		if !reflect.DeepEqual(countsBefore, countsAfter) {
			t.Errorf("there were %v rows, and are %v", countsBefore, countsAfter)
		}
		for key, before := range rowsBefore {
			if after := rowsAfter[key]; !reflect.DeepEqual(before, after) {
				t.Errorf("a row of the patient was\n%v\nand is\n%v", before, after)
			}
		}
		h.buy(t, patient, code)
		h.redeem(t, c.parts())
	})
}

func badRequests(h *host, token, patient string, c created) []bad {
	const (
		invalid = "invalid_request"
		bad400  = http.StatusBadRequest
	)
	byPath := redeemPath + "/" + c.ActivationCode
	field := func(name string, r request, field string) bad {
		return bad{name: name, request: r, status: bad400, reason: invalid, fields: []string{field}}
	}
	body := func(name, body, named string) bad { return field(name, redeeming(body), named) }
	pathBody := func(name, body, named string) bad {
		return field(name+", path form", request{method: http.MethodPost, path: byPath, body: body}, named)
	}
	get := func(name, path, named string) bad {
		return field(name, request{method: http.MethodGet, path: path, token: token}, named)
	}
	id := func(name, id string, escaped bool) (all []bad) {
		for what, r := range map[string]request{
			"create": creating(token, id), "list": {method: http.MethodGet, path: activationPath(id), token: token},
			"jwt": buying(id, strings.Repeat("C", 32)),
		} {
			b := field(name+", "+what, r, "path.patient_id")
			if escaped {
				b.escaped, b.fields = true, []string{"path"}
			}
			all = append(all, b)
		}
		return all
	}
	long := strings.Repeat("a", 2048)
	h.world.seen.patient(long)
	large := fmt.Sprintf(`{"activation_code":%q,"otp":%q,"more":%q}`, c.ActivationCode, c.OTP, strings.Repeat("x", 65<<10))
	otp := fmt.Sprintf("%q", c.OTP)

	all := []bad{
		body("broken JSON", `{"activation_code":`+otp, "body"),
		body("no JSON", `activation_code=1`, "body"),
		body("two objects", c.parts()+c.parts(), "body"),
		body("a list", `[`+c.parts()+`]`, "body"),
		body("null", `null`, "body"),
		body("unknown field", `{"activation_code":"`+c.ActivationCode+`","otp":`+otp+`,"pin":1}`, "body.pin"),
		body("field of another case", `{"ACTIVATION_CODE":"`+c.ActivationCode+`","otp":`+otp+`}`, "body.ACTIVATION_CODE"),
		body("wrong type", `{"activation_code":"`+c.ActivationCode+`","otp":222222}`, "body.otp"),
		body("wrong type, null", `{"activation_code":"`+c.ActivationCode+`","otp":null}`, "body.otp"),
		body("wrong type, object", `{"code":{"a":1}}`, "body.code"),
		body("duplicate member", `{"activation_code":"`+c.ActivationCode+`","otp":"2222","otp":`+otp+`}`, "body.otp"),
		body("duplicate member but for case", `{"activation_code":"`+c.ActivationCode+`","otp":"2222","OTP":`+otp+`}`, "body.OTP"),
		body("duplicate member by escape", `{"activation_code":"`+c.ActivationCode+`","otp":"2222","\u006ftp":`+otp+`}`, "body.otp"),
		body("invalid UTF-8", "{\"activation_code\":\""+c.ActivationCode+"\",\"otp\":\"\xff\xfe\"}", "body"),
		body("lone surrogate", `{"activation_code":"`+c.ActivationCode+`","otp":"\ud800"}`, "body.otp"),
		body("deep", strings.Repeat(`{"a":`, 20)+"1"+strings.Repeat("}", 20), "body.a.a.a.a.a.a.a.a"),
		body("neither form", `{}`, "body.activation_code"),
		body("half a form", `{"activation_code":"`+c.ActivationCode+`"}`, "body.otp"),
		body("the other half", `{"otp":`+otp+`}`, "body.activation_code"),
		body("both forms", `{"code":"`+c.Code+`","otp":`+otp+`}`, "body.code"),
		body("too long a value", `{"code":"`+strings.Repeat("2", 65)+`"}`, "body.code"),
		pathBody("broken JSON", `{"otp":`, "body"),
		pathBody("unknown field", `{"otp":`+otp+`,"pin":1}`, "body.pin"),
		pathBody("wrong type", `{"otp":222222}`, "body.otp"),
		pathBody("duplicate member", `{"otp":"2222","otp":`+otp+`}`, "body.otp"),
		field("no body", request{method: http.MethodPost, path: redeemPath}, "body"),
		field("body on create", request{method: http.MethodPost, path: activationPath(patient), token: token, body: `{}`}, "body"),
		field("body on jwt", request{method: http.MethodPost, path: jwtPath(patient), code: strings.Repeat("C", 32), body: `{}`}, "body"),
		field("body on GET", request{method: http.MethodGet, path: activationPath(patient), token: token, body: `{}`}, "body"),
		field("body on DELETE", request{method: http.MethodDelete, path: activationPath(patient) + "/" + c.UUID, token: token, body: `{}`}, "body"),
		field("missing header", buying(patient, ""), "header.x-authorisation-code"),
		field("missing header, trailing slash", request{method: http.MethodGet, path: jwtPath(patient) + "/"}, "header.x-authorisation-code"),
		field("too long a header", buying(patient, strings.Repeat("C", 257)), "header.x-authorisation-code"),
		get("repeated query key", activationPath(patient)+"?limit=1&limit=2", "query.limit"),
		get("unknown query key", activationPath(patient)+"?offset=1", "query.offset"),
		get("query key of another case", activationPath(patient)+"?LIMIT=1", "query.LIMIT"),
		get("limit of words", activationPath(patient)+"?limit=many", "query.limit"),
		get("limit too small", activationPath(patient)+"?limit=0", "query.limit"),
		get("limit too large", activationPath(patient)+"?limit=101", "query.limit"),
		get("unknown status", activationPath(patient)+"?status=PENDING", "query.status"),
		get("cursor of words", activationPath(patient)+"?cursor=last", "query.cursor"),
		get("cursor of another kind", activationPath(patient)+"?cursor=00000000-0000-4000-8000-000000000000", "query.cursor"),
		field("unknown query key on redeem", request{method: http.MethodPost, path: redeemPath + "?otp=222222", body: c.parts()}, "query.otp"),
		field("unknown query key on create", request{method: http.MethodPost, path: activationPath(patient) + "?a=1", token: token}, "query.a"),
		field("code of 2 KiB", request{method: http.MethodPost, path: redeemPath + "/" + strings.Repeat("2", 2048), body: `{"otp":` + otp + `}`},
			"path.activation_code"),
		{name: "large", request: redeeming(large), status: http.StatusRequestEntityTooLarge, reason: "body_too_large", says: "64 KiB"},
		field("large where none belongs", request{method: http.MethodPost, path: activationPath(patient), token: token, body: large}, "body"),
		{name: "missing field, path form", request: request{method: http.MethodPost, path: byPath, body: `{}`}, status: bad400, reason: invalid,
			fields: []string{"body.otp"}, says: "otp"},
		{name: "code with %2F", request: request{method: http.MethodPost, path: redeemPath + "/" + c.ActivationCode[:5] + "%2F" + c.ActivationCode[5:],
			body: `{"otp":` + otp + `}`}, status: bad400, reason: invalid, fields: []string{"path"}, escaped: true},
	}
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/merge-patch+json"} {
		r := redeeming(c.parts())
		r.header = http.Header{"Content-Type": {contentType}}
		all = append(all, bad{name: "Content-Type " + contentType, request: r, status: http.StatusUnsupportedMediaType,
			reason: "unsupported_media_type", says: "application/json"})
	}
	for _, escape := range []string{"%2F", "%2f", "%5C", "%23", "%3F", "%25", "%252F"} {
		all = append(all, id("id with "+escape, "a"+escape+"b", true)...)
	}
	for name, escaped := range map[string]string{
		"a line break": "a%0Ab", "a tab": "a%09b", "0x01": "%01b", "0x7F": "a%7F", "a space": "a%20b", "invalid UTF-8": "a%FFb", "a look-alike": "%D0%B0bc",
	} {
		all = append(all, id("id of "+name, escaped, true)...)
	}
	for name, plain := range map[string]string{"a tilde": "a~b", "a quote": "a'b", "2 KiB": long, "129 characters": long[:129]} {
		all = append(all, id("id of "+name, plain, false)...)
	}
	if h.name != direct {
		return all
	}
	// A host in front answers these itself: a body without length (host-contract.md section 2), a zero in the path.
	all = append(all, id("id with %00", "a%00b", true)...)
	r := redeeming(large)
	r.chunked = true
	all = append(all, bad{name: "large and chunked", request: r, status: http.StatusRequestEntityTooLarge, reason: "body_too_large", says: "64 KiB"})
	r = request{method: http.MethodPost, path: activationPath(patient), token: token, body: `{}`, chunked: true}
	return append(all, field("chunked where none belongs", r, "body"))
}

// What no route matches is told apart from what a route refuses. A host in front has its own answers to both.
func TestOPS3_UnknownPathsAndMethodsAreProblems(t *testing.T) {
	w := owned(t)
	h := w.host(t, direct)
	for _, path := range []string{"/nowhere", "/dhos/v1/patient", "/dhos/v1//activation", "/dhos/v1/patient/x/../activation", "/DHOS/v1/activation"} {
		got := h.send(t, request{method: http.MethodGet, path: path})
		if got.status == http.StatusMethodNotAllowed {
			continue // it was cleaned on its way here
		}
		got.problem(t, http.StatusNotFound, "no_such_route")
	}
	for path, allow := range map[string]string{
		redeemPath: "POST", activationPath("x"): "GET, HEAD, POST", activationPath("x") + "/y": "DELETE", "/running": "GET, HEAD",
	} {
		got := h.send(t, request{method: http.MethodPut, path: path})
		got.problem(t, http.StatusMethodNotAllowed, "method_not_allowed")
		if got.header.Get("Allow") != allow {
			t.Errorf("%s: Allow %q, want %q", path, got.header.Get("Allow"), allow)
		}
	}
}
