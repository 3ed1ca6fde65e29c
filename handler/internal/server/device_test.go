package server

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"latchkey/handler/internal/codes"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	ward       = "Authorization: Bearer ward"
	newDevice  = `{"location_id":"ward-7","description":"The tablet at the door"}`
	deviceForm = "POST /dhos/v1/activation?type=send_entry"
)

// device creates one and returns it with its ETag.
func (b *bench) device(t testing.TB, body string) (Device, string) {
	t.Helper()
	w := b.ask(t, "POST /dhos/v1/device?type=SEND", body, ward)
	return read[Device](t, w, http.StatusOK), w.Header().Get("ETag")
}

// letIn activates a device and redeems its code: what comes back buys tokens.
func (b *bench) letIn(t testing.TB, id string) (code, authorisation string) {
	t.Helper()
	made := read[map[string]string](t, b.ask(t, "POST /dhos/v1/device/"+id+"/activation", "", ward), http.StatusOK)
	won := read[map[string]string](t, b.ask(t, deviceForm, `{"code":"`+made["code"]+`"}`), http.StatusOK)
	return made["code"], won["authorisation_code"]
}

func (b *bench) deviceToken(t testing.TB, id, code string) *httptest.ResponseRecorder {
	t.Helper()
	return b.ask(t, "POST /dhos/v1/device/"+id+"/jwt", "", "x-authorisation-code: "+code)
}

func (b *bench) patch(t testing.TB, id, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return b.ask(t, "PATCH /dhos/v1/device/"+id, body, append(headers, ward)...)
}

func TestDIR1_ADeviceIsCreatedReadAndChanged(t *testing.T) {
	b := newBench(t)
	made, tag := b.device(t, newDevice)
	want := Device{made.UUID, "ward-7", "The tablet at the door", true, stamp(noon), tenant + "/" + object, stamp(noon), tenant + "/" + object}
	if made != want || len(made.UUID) != 36 || tag != `"1"` {
		t.Errorf("%+v, %s, want %+v", made, tag, want)
	}
	w := b.ask(t, "GET /dhos/v1/device/"+made.UUID, "", ward)
	if got := read[Device](t, w, http.StatusOK); got != want || w.Header().Get("ETag") != tag {
		t.Errorf("read %+v, %s", got, w.Header().Get("ETag"))
	}
	w = b.patch(t, made.UUID, `{"description":"x","location_id":"ward-8"}`, `If-Match: "1"`)
	want.Description, want.LocationID = "x", "ward-8"
	if got := read[Device](t, w, http.StatusOK); got != want || w.Header().Get("ETag") != `"2"` {
		t.Errorf("changed %+v, %s", got, w.Header().Get("ETag"))
	}
	// The same again changes nothing, an old ETag is refused, and * is any.
	if w = b.patch(t, made.UUID, `{"description":"x"}`, "If-Match: *"); w.Code != http.StatusOK || w.Header().Get("ETag") != `"2"` {
		t.Errorf("%d %s: %s", w.Code, w.Header().Get("ETag"), w.Body)
	}
	b.log.take(t)
	b.wantProblem(t, b.patch(t, made.UUID, `{"description":"y"}`, `If-Match: "1"`), http.StatusPreconditionFailed, ReasonPrecondition)
	b.wantProblem(t, b.patch(t, made.UUID, `{"description":"y"}`, `If-Match: "0"`), http.StatusPreconditionFailed, ReasonPrecondition)
	// An activation is no change of what is known of it.
	b.letIn(t, made.UUID)
	if w = b.ask(t, "GET /dhos/v1/device/"+made.UUID, "", ward); w.Header().Get("ETag") != `"2"` {
		t.Errorf("after its activation the ETag is %s", w.Header().Get("ETag"))
	}
	b.log.take(t)

	named, _ := b.device(t, `{"uuid":"D-1","location_id":"ward-7","description":"Named"}`)
	if named.UUID != "D-1" {
		t.Errorf("%+v", named)
	}
	b.log.take(t)
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/device", `{"uuid":"D-1","location_id":"l","description":"d"}`, ward), http.StatusConflict, ReasonDeviceExists)
	for _, line := range []string{"GET /dhos/v1/device/nobody", "POST /dhos/v1/device/nobody/activation"} {
		b.wantProblem(t, b.ask(t, line, "", ward), http.StatusNotFound, ReasonDeviceNotFound)
	}
	b.wantProblem(t, b.patch(t, "nobody", `{"active":false}`), http.StatusNotFound, ReasonDeviceNotFound)
}

func TestDIR5_WhatIsWrongWithADeviceIsNamed(t *testing.T) {
	b := newBench(t)
	b.device(t, `{"uuid":"D-1","location_id":"l","description":"d"}`)
	b.log.take(t)
	for name, c := range map[string]struct{ line, body, field string }{
		"no location":      {"POST /dhos/v1/device", `{"description":"d"}`, "body"},
		"a bad location":   {"POST /dhos/v1/device", `{"location_id":"a,b","description":"d"}`, "body.location_id"},
		"a blank":          {"POST /dhos/v1/device", `{"location_id":"l","description":" d"}`, "body.description"},
		"a line break":     {"PATCH /dhos/v1/device/D-1", `{"description":"a\nb"}`, "body.description"},
		"null":             {"PATCH /dhos/v1/device/D-1", `{"active":null}`, "body.active"},
		"a text":           {"PATCH /dhos/v1/device/D-1", `{"active":"true"}`, "body.active"},
		"an unknown field": {"PATCH /dhos/v1/device/D-1", `{"activ":true}`, "body.activ"},
		"dots":             {"POST /dhos/v1/device", `{"uuid":"..","location_id":"l","description":"d"}`, "body.uuid"},
		"many locations":   {"GET /dhos/v1/device?location_id=" + strings.Repeat("a,", 20) + "b,c%20d", "", "query.location_id"},
		"an odd active":    {"GET /dhos/v1/device?active=yes", "", "query.active"},
		"an OTP":           {deviceForm, `{"code":"OXF-2222","otp":"222222"}`, "body.code"},
		"the OTP alone":    {deviceForm, `{"otp":"222222"}`, "body.code"},
		"an OTP beside":    {deviceForm, `{"activation_code":"OXF-2222","otp":"222222"}`, "body.otp"},
		"no code":          {deviceForm, `{}`, "body.code"},
		"another type":     {"POST /dhos/v1/activation?type=send", `{"code":"OXF-2222"}`, "query.type"},
		"no header":        {"GET /dhos/v1/device/D-1/jwt", "", "header.x-authorisation-code"},
		"no body":          {"POST /dhos/v1/activation/2222222222", "", "body"},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.wantProblem(t, b.ask(t, c.line, c.body, ward), http.StatusBadRequest, ReasonInvalid)
			if len(p.Errors) == 0 || p.Errors[0].Field != c.field {
				t.Errorf("%+v, want the field %s", p.Errors, c.field)
			}
		})
	}
}

func TestDIR1_PagesOfDevices(t *testing.T) {
	b := newBench(t)
	for _, id := range []string{"D-1", "D-2", "D-3", "D-4", "D-5"} {
		at := map[string]string{"D-2": "b", "D-4": "b", "D-5": "c"}[id]
		if at == "" {
			at = "a"
		}
		b.device(t, `{"uuid":"`+id+`","location_id":"`+at+`","description":"d"}`)
	}
	b.patch(t, "D-3", `{"active":false}`)
	b.patch(t, "D-1", `{"location_id":"c"}`)
	list := func(query string) (ids []string, pages int) {
		t.Helper()
		for next := "/dhos/v1/device?" + query; next != ""; pages++ {
			w := b.ask(t, "GET "+next, "", ward)
			for _, d := range read[[]Device](t, w, http.StatusOK) {
				ids = append(ids, d.UUID)
			}
			next, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
		}
		return ids, pages
	}
	for query, want := range map[string]string{
		"limit=100":                    "D-1 D-2 D-4 D-5",
		"active=all":                   "D-1 D-2 D-3 D-4 D-5",
		"active=false":                 "D-3",
		"location_id=a":                "",
		"location_id=a&active=all":     "D-3",
		"location_id=c":                "D-1 D-5",
		"location_id=c,a&active=all":   "D-1 D-3 D-5",
		"location_id=b,b,c":            "D-1 D-2 D-4 D-5",
		"location_id=nowhere":          "",
		"location_id=b,c,a&active=all": "D-1 D-2 D-3 D-4 D-5",
	} {
		for _, limit := range []string{"1", "2", "3", "50"} {
			if strings.Contains(query, "limit") {
				query = "active=true"
			}
			if got, _ := list(query + "&limit=" + limit); strings.Join(got, " ") != want {
				t.Errorf("%s by %s: %v, want %s", query, limit, got, want)
			}
		}
	}
	if _, pages := list("active=all&limit=2"); pages != 3 {
		t.Errorf("%d pages of 2", pages)
	}
}

func TestACT5_ADeviceRedeemsByEveryForm(t *testing.T) {
	b := newBench(t)
	device, _ := b.device(t, newDevice)
	for name, form := range map[string]func(code string) (line, body string){
		"the code": func(code string) (string, string) { return deviceForm, `{"code":"` + code + `"}` },
		"activation_code": func(code string) (string, string) {
			return deviceForm, `{"activation_code":"` + strings.ToLower(code) + `"}`
		},
		"the path alone": func(code string) (string, string) { return "POST /dhos/v1/activation/" + code + "?type=send_entry", "" },
		"the path, with an object": func(code string) (string, string) {
			return "POST /dhos/v1/activation/" + strings.ReplaceAll(code, "-", "") + "?type=send_entry", "{}"
		},
	} {
		w := b.ask(t, "POST /dhos/v1/device/"+device.UUID+"/activation", "", ward)
		made := read[map[string]string](t, w, http.StatusOK)
		if keys := slices.Sorted(maps.Keys(made)); !slices.Equal(keys, []string{"code", "created", "created_by", "expires_at", "modified", "modified_by", "uuid"}) ||
			!strings.HasPrefix(made["code"], "OXF-") || len(strings.ReplaceAll(made["code"], "-", "")) != 3+14+1 {
			t.Errorf("%v", made)
		}
		line, body := form(made["code"])
		won := read[map[string]string](t, b.ask(t, line, body), http.StatusOK)
		if len(won) != 2 || won["device_id"] != device.UUID || len(won["authorisation_code"]) != 32 {
			t.Errorf("%s: %v", name, won)
		}
		token := read[map[string]any](t, b.deviceToken(t, device.UUID, won["authorisation_code"]), http.StatusOK)
		if token["jwt"] == "" || token["token_type"] != "Bearer" {
			t.Errorf("%s: %v", name, token)
		}
		b.log.take(t)
		b.wantProblem(t, b.ask(t, line, body), http.StatusNotFound, ReasonActivationRefused)
	}
}

// T-17: each form knows its own kind alone, and says no more of the other's codes than of any (threats.md).
func TestT17_ACodeOfTheOtherKindIsUnknown(t *testing.T) {
	b := newBench(t)
	device, _ := b.device(t, newDevice)
	ofPatient := b.create(t)
	ofDevice := read[map[string]string](t, b.ask(t, "POST /dhos/v1/device/"+device.UUID+"/activation", "", ward), http.StatusOK)["code"]
	b.log.take(t)
	var bodies []string
	for _, c := range [][2]string{
		{deviceForm, `{"code":"` + ofPatient.Code + `"}`},
		{"POST /dhos/v1/activation", `{"code":"` + ofDevice + `"}`},
		{"POST /dhos/v1/activation?type=gdm", `{"code":"` + ofDevice + `"}`},
		{"POST /dhos/v1/activation/" + ofPatient.Code + "?type=send_entry", ""},
	} {
		p := b.wantProblem(t, b.ask(t, c[0], c[1]), http.StatusNotFound, ReasonActivationRefused)
		p.Instance = ""
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(text))
	}
	if len(slices.Compact(bodies)) != 1 {
		t.Errorf("the refusals differ: %v", bodies)
	}
	// Both still work where they belong.
	read[map[string]string](t, b.ask(t, deviceForm, `{"code":"`+ofDevice+`"}`), http.StatusOK)
	read[map[string]string](t, b.ask(t, "POST /dhos/v1/activation", `{"code":"`+ofPatient.Code+`"}`), http.StatusOK)
}

// T-22 (threats.md): who was not activated, who sends a wrong code, who is inactive and who is nobody get the same bytes.
func TestT22_RefusedDevicesAreAlike(t *testing.T) {
	b := newBench(t)
	fresh, _ := b.device(t, newDevice)
	wrong, _ := b.device(t, newDevice)
	inactive, _ := b.device(t, newDevice)
	_, code := b.letIn(t, wrong.UUID)
	_, aside := b.letIn(t, inactive.UUID)
	b.patch(t, inactive.UUID, `{"active":false}`)
	b.log.take(t)
	var all []Problem
	for _, c := range [][2]string{{fresh.UUID, code}, {wrong.UUID, code[1:] + "2"}, {inactive.UUID, aside}, {"nobody", code}} {
		p := b.wantProblem(t, b.deviceToken(t, c[0], c[1]), http.StatusForbidden, ReasonCredentialRefused)
		p.Instance = ""
		all = append(all, p)
	}
	for _, p := range all[1:] {
		if p.Detail != all[0].Detail || p.Ticket != "" || p.Type != all[0].Type {
			t.Errorf("%+v and %+v", p, all[0])
		}
	}
}

func TestTOK2_ADeviceTokenHasItsEventAndItsPersona(t *testing.T) {
	b := newBench(t)
	device, _ := b.device(t, newDevice)
	_, code := b.letIn(t, device.UUID)
	b.log.take(t)
	w := b.ask(t, "GET /dhos/v1/device/"+device.UUID+"/jwt", "", "x-authorisation-code: "+code)
	if w.Code != http.StatusOK || w.Header().Get("Deprecation") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if e := b.event(t); e["action"] != "token.issue" || e["outcome"] != "allowed" || e["event_type"] != "SEND entry device auth success" {
		t.Errorf("%v", e)
	}
}

func TestACT14_AStolenTablet(t *testing.T) {
	b := newBench(t)
	device, _ := b.device(t, newDevice)
	_, code := b.letIn(t, device.UUID)
	pending := read[map[string]string](t, b.ask(t, "POST /dhos/v1/device/"+device.UUID+"/activation", "", ward), http.StatusOK)["code"]
	for range 2 {
		if w := b.ask(t, "DELETE /dhos/v1/device/"+device.UUID+"/authorisation", "", ward); w.Code != http.StatusNoContent {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
	}
	b.log.take(t)
	b.wantProblem(t, b.deviceToken(t, device.UUID, code), http.StatusForbidden, ReasonCredentialRefused)
	b.wantProblem(t, b.ask(t, deviceForm, `{"code":"`+pending+`"}`), http.StatusNotFound, ReasonActivationRefused)
	if endings, err := b.store.Endings(t.Context(), noon.Add(-time.Hour)); err != nil || len(endings) != 1 {
		t.Errorf("%d endings, %v", len(endings), err)
	}
}

// AUT-2 for devices: nobody without the scope learns or changes anything.
func TestDIR1_DevicesAreBehindTheirScopes(t *testing.T) {
	b := newBench(t)
	for _, line := range []string{
		"GET /dhos/v1/device", "GET /dhos/v1/device/D-1", "POST /dhos/v1/device/D-1/activation", "DELETE /dhos/v1/device/D-1/authorisation",
	} {
		p := b.wantProblem(t, b.ask(t, line, "", "Authorization: Bearer writer"), http.StatusForbidden, ReasonInsufficientScope)
		if want := map[bool]string{true: scopeReadDevice, false: scopeWriteDevice}[strings.HasPrefix(line, "GET")]; p.Scope != want {
			t.Errorf("%s wants %s", line, p.Scope)
		}
	}
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/device", newDevice, "Authorization: Bearer writer"), http.StatusForbidden, ReasonInsufficientScope)
	b.gated = func() error { return problem(http.StatusForbidden, ReasonIdentityDisabled, "off") }
	b.wantProblem(t, b.ask(t, "POST /dhos/v1/device", `{"uuid":"D-1","location_id":"l","description":"d"}`, ward), http.StatusForbidden, ReasonIdentityDisabled)
	b.gated = nil
	b.wantProblem(t, b.ask(t, "GET /dhos/v1/device/D-1", "", ward), http.StatusNotFound, ReasonDeviceNotFound)
	if len(b.store.Records(deviceID("D-1"))) != 0 {
		t.Error("somebody turned off created a device")
	}
}

// T-11 and ABU-1 for devices over HTTP: unknown codes empty the devices' total, refusals leave at the fixed time, whatever the code,
// and a patient's code works meanwhile.
func TestT11_DevicesHaveABudgetOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const units = 50
		b := smallTotal(t, units)
		device, _ := b.device(t, newDevice)
		right, _ := json.Marshal(map[string]string{
			"code": read[map[string]string](t, b.ask(t, "POST /dhos/v1/device/"+device.UUID+"/activation", "", ward), http.StatusOK)["code"],
		})
		ofPatient := b.create(t)
		statuses := map[int]int{}
		for i := range 4 * units {
			secret, err := codes.Draw(rand.Reader, 14)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			w := b.send(from(fmt.Sprintf("192.0.2.%d", i%200), request(t, deviceForm, `{"code":"`+codes.Device("OXF", secret)+`"}`)))
			if took := time.Since(began); took != beat {
				t.Fatalf("guess %d left after %s", i, took)
			}
			statuses[w.Code]++
		}
		if statuses[http.StatusNotFound] < units || statuses[http.StatusServiceUnavailable] < 2*units || len(statuses) != 2 {
			t.Errorf("%v", statuses)
		}
		b.log.take(t)
		b.wantProblem(t, b.ask(t, deviceForm, string(right)), http.StatusServiceUnavailable, ReasonTooManyGuesses)
		read[map[string]string](t, b.ask(t, "POST /dhos/v1/activation", `{"code":"`+ofPatient.Code+`"}`), http.StatusOK)
		time.Sleep(24 * time.Hour)
		read[map[string]string](t, b.ask(t, deviceForm, string(right)), http.StatusOK)
	})
}
