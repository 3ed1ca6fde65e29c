package e2e_test

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"latchkey/infra/local/stack"
)

// This file holds Latchkey to what the predecessor's apps and systems rely on: doc/predecessor.md. Each difference in its list is
// shown by the test that has its number.

const contract = "../doc/predecessor.md"

var (
	differenceLine = regexp.MustCompile(`(?m)^- \*\*P-(\d+)\*\* `)
	differenceTest = regexp.MustCompile(`(?m)^func TestP(\d+)_`)
	endpointLine   = regexp.MustCompile("(?m)^\\| `([A-Z]+) ([^`?]+)[^`]*` \\| .+ \\| .+ \\|$")
)

// numbers are what an expression finds in a text, in its order.
func numbers(found [][]string) (all []string) {
	for _, m := range found {
		all = append(all, m[1])
	}
	return all
}

// TestPredecessor_EveryDifferenceIsShown: no difference is claimed that no test shows, and none is tested that is not owned up to.
func TestPredecessor_EveryDifferenceIsShown(t *testing.T) {
	text, err := os.ReadFile(contract)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("contract_test.go")
	if err != nil {
		t.Fatal(err)
	}
	said := numbers(differenceLine.FindAllStringSubmatch(string(text), -1))
	shown := numbers(differenceTest.FindAllStringSubmatch(string(source), -1))
	if len(said) < 20 || !slices.Equal(said, shown) {
		t.Errorf("the list has P-%s, the tests show P-%s", strings.Join(said, " P-"), strings.Join(shown, " P-"))
	}
	for i, n := range said {
		if n != fmt.Sprint(i+1) {
			t.Errorf("P-%s is number %d of the list", n, i+1)
		}
	}
	for _, line := range strings.Split(string(text), "\n") {
		for _, m := range regexp.MustCompile(`P-(\d+)`).FindAllStringSubmatch(line, -1) {
			if !slices.Contains(said, m[1]) {
				t.Errorf("%s is no line of the list: %s", m[0], line)
			}
		}
	}
}

// TestPredecessor_EveryEndpointIsThere holds the table to the document of what runs.
func TestPredecessor_EveryEndpointIsThere(t *testing.T) {
	h := given(t).any()
	text, err := os.ReadFile(contract)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	got := h.send(t, request{method: http.MethodGet, path: "/openapi.json"})
	if err := json.Unmarshal(got.body, &document); err != nil {
		t.Fatal(err)
	}
	endpoints := endpointLine.FindAllStringSubmatch(string(text), -1)
	if len(endpoints) != 15 {
		t.Errorf("the table has %d endpoints, the predecessor 15", len(endpoints))
	}
	for _, m := range endpoints {
		if document.Paths[m[2]][strings.ToLower(m[1])] == nil {
			t.Errorf("%s %s is not there", m[1], m[2])
		}
	}
}

// polaris asks as the predecessor's apps and systems do: the same paths, parameters, headers and bodies.
type polaris struct {
	*testing.T
	*host
	system string // the token of a system that may do everything
}

const (
	clinicianPath = "/dhos/v1/clinician"
	devicePath    = "/dhos/v1/device"
)

func polarisAt(t *testing.T, h *host) polaris {
	t.Helper()
	return polaris{t, h, h.world.token(t, stack.TokenRequest{Roles: []string{
		readActivation, writeActivation, "read:send_device", "write:send_device", "write:send_clinician",
	}})}
}

// throughPolaris runs a test through every host.
func throughPolaris(t *testing.T, test func(polaris)) {
	given(t).through(t, func(t *testing.T, h *host) { test(polarisAt(t, h)) })
}

func (p polaris) ask(method, path, body string) reply {
	p.Helper()
	return p.send(p.T, request{method: method, path: path, token: p.system, body: body})
}

func (p polaris) wants(status int, what string, got reply) reply {
	p.Helper()
	if got.status != status {
		p.Errorf("%s: %d %s, want %d", what, got.status, got.body, status)
	}
	return got
}

// object is a reply's body that has at least these members, none of them empty.
func (p polaris) object(got reply, members ...string) map[string]any {
	p.Helper()
	var body map[string]any
	if err := json.Unmarshal(got.body, &body); err != nil || got.status != http.StatusOK {
		p.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	for _, name := range members {
		if body[name] == nil || body[name] == "" {
			p.Errorf("no %s in %s", name, got.body)
		}
	}
	return body
}

// list is a reply's body.
func (p polaris) list(got reply) (all []map[string]any) {
	p.Helper()
	if err := json.Unmarshal(got.body, &all); err != nil || got.status != http.StatusOK {
		p.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	return all
}

var (
	identifierMembers = []string{"uuid", "created", "created_by", "modified", "modified_by"}
	deviceMembers     = append([]string{"location_id", "description", "active"}, identifierMembers...)
)

func (p polaris) device() string {
	p.Helper()
	got := p.ask(http.MethodPost, devicePath+"?type=send_entry", fmt.Sprintf(`{"description":"A tablet","location_id":%q}`, randomGUID()))
	return p.object(got, deviceMembers...)["uuid"].(string)
}

func (p polaris) patchDevice(device, body string) map[string]any {
	p.Helper()
	return p.object(p.ask(http.MethodPatch, devicePath+"/"+device, body), identifierMembers...)
}

// deviceCode asks for an activation.
func (p polaris) deviceCode(device string) string {
	p.Helper()
	return p.object(p.ask(http.MethodPost, devicePath+"/"+device+"/activation", ""), "code", "expires_at")["code"].(string)
}

// useCode redeems a device's code as tablets do: without a body and without a token.
func (p polaris) useCode(code string) reply {
	p.Helper()
	return p.send(p.T, request{method: http.MethodPost, path: redeemPath + "/" + code + "?type=send_entry"})
}

func (p polaris) deviceToken(device, code string) reply {
	p.Helper()
	return p.send(p.T, request{method: http.MethodGet, path: devicePath + "/" + device + "/jwt", code: code})
}

// activate carries a device through to its token.
func (p polaris) activate(device string) (code, token string) {
	p.Helper()
	used := p.object(p.useCode(p.deviceCode(device)), "authorisation_code", "device_id")
	if used["device_id"] != device {
		p.Errorf("device_id %v, want %s", used["device_id"], device)
	}
	code = used["authorisation_code"].(string)
	return code, p.object(p.deviceToken(device, code), "jwt")["jwt"].(string)
}

// clinicianOf is what the predecessor's own stories create.
type clinicianOf struct{ id, identifier string }

func (p polaris) someone() clinicianOf { return clinicianOf{randomGUID(), randomHex(6)} }

// body is one to create with; further members win.
func (c clinicianOf) body(further map[string]any) string {
	all := map[string]any{
		"clinician_id": c.id, "groups": []string{"SEND Superclinician"}, "login_active": true, "products": []string{"SEND"},
		"send_entry_identifier": c.identifier,
	}
	for name, value := range further {
		all[name] = value
	}
	text, _ := json.Marshal(all) // strings and booleans
	return string(text)
}

func (p polaris) clinician(further map[string]any) clinicianOf {
	p.Helper()
	c := p.someone()
	if got := p.wants(http.StatusCreated, "a clinician", p.ask(http.MethodPost, clinicianPath, c.body(further))); len(got.body) != 0 {
		p.Errorf("a clinician is answered with %s", got.body)
	}
	return c
}

func (p polaris) patchClinician(c clinicianOf, body string) {
	p.Helper()
	p.wants(http.StatusOK, "changing a clinician", p.ask(http.MethodPatch, clinicianPath+"/"+c.id, body))
}

func (p polaris) login(identifier, device string) reply {
	p.Helper()
	return p.send(p.T, request{method: http.MethodGet, path: clinicianPath + "/jwt?send_entry_identifier=" + identifier, token: device})
}

// claims are a token's, as its holder reads them: unverified.
func (p polaris) claims(token string) jwt.MapClaims {
	p.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		p.Fatal(err)
	}
	return parsed.Claims.(jwt.MapClaims)
}

func (p polaris) metadata(token string) map[string]any {
	p.Helper()
	m, _ := p.claims(token)["metadata"].(map[string]any)
	return m
}

// saidAs is a request's line as one of the predecessor's events.
type saidAs struct {
	Type string         `json:"event_type"`
	Data map[string]any `json:"event_data"`
}

// line is what the handler printed of a request, "" if its output is not ours.
func (p polaris) line(trace string) (text string, e saidAs) {
	p.Helper()
	if p.out == nil {
		return "", saidAs{}
	}
	p.event(p.T, trace)
	for text := range strings.SplitSeq(p.out.String(), "\n") {
		if at := strings.Index(text, `{"time":`); at >= 0 && strings.Contains(text, trace) {
			if err := json.Unmarshal([]byte(text[at:]), &e); err != nil {
				p.Fatal(err)
			}
			return text, e
		}
	}
	return "", saidAs{}
}

// tells wants a request's line to be this event, where the line can be seen; "?" is any text.
func (p polaris) tells(got reply, kind string, data map[string]any) {
	p.Helper()
	text, e := p.line(got.trace)
	if text == "" {
		return
	}
	for name, value := range data {
		if is, _ := e.Data[name].(string); value == "?" && is != "" {
			data[name] = is
		}
	}
	if kind == "" {
		data = nil
	}
	if e.Type != kind || !reflect.DeepEqual(e.Data, data) {
		p.Errorf("told %q %v, want %q %v", e.Type, e.Data, kind, data)
	}
}

// The first story: a patient is activated.
func TestPredecessor_ActivateAPatient(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		patient := p.world.patient()
		made := p.object(p.ask(http.MethodPost, activationPath(patient), ""), "otp", "activation_code", "expires_at")
		if all := p.list(p.ask(http.MethodGet, activationPath(patient), "")); len(all) != 0 {
			t.Errorf("activations before any is completed: %v", all)
		}
		used := p.object(p.send(p.T, request{method: http.MethodPost, path: redeemPath + "/" + made["activation_code"].(string),
			body: fmt.Sprintf(`{"otp":%q}`, made["otp"])}), "authorisation_code", "patient_id")
		if used["patient_id"] != patient {
			p.Errorf("patient_id %v", used["patient_id"])
		}
		got := p.send(p.T, request{method: http.MethodGet, path: jwtPath(patient), code: used["authorisation_code"].(string)})
		if m := p.metadata(p.object(got, "jwt")["jwt"].(string)); m["patient_id"] != patient {
			p.Errorf("metadata %v", m)
		}
		all := p.list(p.ask(http.MethodGet, activationPath(patient), ""))
		if len(all) != 1 {
			p.Fatalf("%d activations, want 1", len(all))
		}
		for _, name := range append([]string{"activation_completed"}, identifierMembers...) {
			if all[0][name] == nil || all[0][name] == "" {
				p.Errorf("no %s in %v", name, all[0])
			}
		}
	})
}

// The second story: a device is changed, activated, and a clinician logs in through it.
func TestPredecessor_ActivateADeviceAndLogIn(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		c, device := p.clinician(nil), p.device()
		code := p.deviceCode(device)
		used := p.object(p.useCode(code), "authorisation_code", "device_id")
		got := p.deviceToken(device, used["authorisation_code"].(string))
		token := p.object(got, "jwt")["jwt"].(string)
		if m := p.metadata(token); m["device_id"] != device {
			p.Errorf("metadata %v", m)
		}
		p.tells(got, "SEND entry device auth success", map[string]any{"device_id": device})
		got = p.login(c.identifier, token)
		if m := p.metadata(p.object(got, "jwt")["jwt"].(string)); m["clinician_id"] != c.id || m["referring_device_id"] != device {
			p.Errorf("metadata %v", m)
		}
		p.tells(got, "SEND entry login success", map[string]any{"device_id": device, "clinician_id": c.id, "send_entry_identifier": "?"})

		location := randomGUID()
		got = p.ask(http.MethodPatch, devicePath+"/"+device, fmt.Sprintf(`{"description":"Testing","location_id":%q,"active":false}`, location))
		p.tells(got, "SEND entry device update", map[string]any{"device_id": device, "clinician_id": "?",
			"updated_fields": map[string]any{"description": "Testing", "location_id": location, "active": false}})
		for what, body := range map[string]map[string]any{"PATCH": p.object(got, identifierMembers...), "GET": p.object(p.ask(http.MethodGet, devicePath+"/"+device, ""), identifierMembers...)} {
			if body["uuid"] != device || body["description"] != "Testing" || body["location_id"] != location || body["active"] != false {
				p.Errorf("%s: %v", what, body)
			}
		}
	})
}

// The third story: an inactive clinician is refused, and so is an inactive device.
func TestPredecessor_InactiveOnesAreRefused(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		c, device := p.clinician(nil), p.device()
		// All members but the id are sent again: in the predecessor those left out would be cleared.
		p.patchClinician(c, fmt.Sprintf(`{"groups":["SEND Superclinician"],"login_active":false,"products":["SEND"],"send_entry_identifier":%q}`, c.identifier))
		code, token := p.activate(device)
		got := p.wants(http.StatusForbidden, "an inactive clinician", p.login(c.identifier, token))
		p.tells(got, "SEND entry login failure", map[string]any{"device_id": device, "clinician_id": c.id, "send_entry_identifier": "?", "reason": "?"})

		p.patchDevice(device, `{"active":false}`)
		got = p.wants(http.StatusForbidden, "an inactive device", p.deviceToken(device, code))
		p.tells(got, "SEND entry device auth failed", map[string]any{"device_id": device, "reason": "?"})
		p.wants(http.StatusOK, "an activation of an inactive device", p.ask(http.MethodPost, devicePath+"/"+device+"/activation", ""))
	})
}

// TestAUD2_DevicesAndLoginsAreTold: what the stories did stands in storage under the predecessor's names, in the records of the changes.
func TestAUD2_DevicesAndLoginsAreTold(t *testing.T) {
	w := owned(t)
	p := polarisAt(t, w.any())
	c, device := p.clinician(nil), p.device()
	_, token := p.activate(device)
	p.object(p.login(c.identifier, token), "jwt")
	p.patchDevice(device, `{"description":"Ward 3"}`)
	refused := p.wants(http.StatusForbidden, "a wrong code", p.deviceToken(device, strings.Repeat("C", 32)))
	unknown := p.wants(http.StatusNotFound, "nobody", p.login("nobody-"+randomHex(8), token))

	got := map[string]map[string]any{}
	key := "d~" + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(device)))
	for _, r := range w.rows(t, "subjects") {
		if r.text("PartitionKey") != key || r.text("event_type") == "" {
			continue
		}
		var data map[string]any
		if err := json.Unmarshal([]byte(r.text("event_data")), &data); err != nil {
			t.Fatal(err)
		}
		if got[r.text("event_type")] != nil || !strings.HasPrefix(r.text("RowKey"), "aud~") {
			t.Errorf("once more, or no record: %v", r)
		}
		got[r.text("event_type")] = data
	}
	by, _ := got["SEND entry device update"]["clinician_id"].(string)
	want := map[string]map[string]any{
		"SEND entry device auth success": {"device_id": device},
		"SEND entry login success":       {"device_id": device, "clinician_id": c.id, "send_entry_identifier": c.identifier},
		"SEND entry device update":       {"device_id": device, "clinician_id": by, "updated_fields": map[string]any{"description": "Ward 3"}},
	}
	if !reflect.DeepEqual(got, want) || by == "" {
		t.Errorf("stored\n%v\nwant\n%v", got, want)
	}
	p.tells(refused, "SEND entry device auth failed", map[string]any{"device_id": device, "reason": "?"})
	p.tells(unknown, "SEND entry login failure", map[string]any{"device_id": device, "send_entry_identifier": "?", "reason": "?"})
}

// TestPredecessor_StatusesOfPatients: what was 200, 400, 401, 403 and 404 is so.
func TestPredecessor_StatusesOfPatients(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		patient := p.world.patient()
		reader := p.world.token(p.T, stack.TokenRequest{Roles: []string{readActivation}})
		c := p.create(p.T, p.system, patient)
		byCode := func(code, query, body string) request {
			return request{method: http.MethodPost, path: redeemPath + "/" + code + query, body: body}
		}
		unknown := byCode("2345678923", "", `{"otp":"234567"}`)
		for what, ask := range map[string]struct {
			status int
			r      request
		}{
			"create without a token":         {401, request{method: http.MethodPost, path: activationPath(patient)}},
			"create without the scope":       {403, request{method: http.MethodPost, path: activationPath(patient), token: reader}},
			"list without a token":           {401, request{method: http.MethodGet, path: activationPath(patient)}},
			"redeem without a body":          {400, byCode(c.ActivationCode, "", "")},
			"redeem without an OTP":          {400, byCode(c.ActivationCode, "", `{}`)},
			"redeem with another type":       {400, byCode(c.ActivationCode, "?type=unknown_type", fmt.Sprintf(`{"otp":%q}`, c.OTP))},
			"redeem an unknown code":         {404, unknown},
			"redeem with a wrong OTP":        {404, byCode(c.ActivationCode, "", `{"otp":"222222"}`)},
			"a token without the header":     {400, request{method: http.MethodGet, path: jwtPath(patient)}},
			"a token of an unknown patient":  {404, request{method: http.MethodGet, path: jwtPath(p.world.patient()), code: strings.Repeat("C", 30)}},
			"a token with a code of nothing": {404, request{method: http.MethodGet, path: jwtPath(patient), code: "x"}},
		} {
			p.wants(ask.status, what, p.send(p.T, ask.r))
		}
		p.wants(200, "redeem with type=gdm", p.send(p.T, byCode(c.ActivationCode, "?type=gdm", fmt.Sprintf(`{"otp":%q}`, c.OTP))))
		p.wants(404, "redeem once more", p.send(p.T, byCode(c.ActivationCode, "", fmt.Sprintf(`{"otp":%q}`, c.OTP))))
		if all := p.list(p.ask(http.MethodGet, activationPath(p.world.patient()), "")); len(all) != 0 {
			p.Errorf("an unknown patient's activations: %v", all)
		}
		running := p.object(p.send(p.T, request{method: http.MethodGet, path: "/running"}))
		if running["running"] != true {
			p.Errorf("running: %v", running)
		}
		p.object(p.send(p.T, request{method: http.MethodGet, path: "/version"}), "circle", "hash")
	})
}

func TestPredecessor_StatusesOfDevices(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		device, other := p.device(), p.device()
		path, unknown := devicePath+"/"+device, devicePath+"/"+randomGUID()
		withBody := func(path string) request {
			return request{method: http.MethodGet, path: path, token: p.system, body: `{"a":1}`}
		}
		system := func(method, path, body string) request {
			return request{method: method, path: path, token: p.system, body: body}
		}
		code := strings.Repeat("C", 32)
		clinic := p.world.clinic(p.T)
		for what, ask := range map[string]struct {
			status int
			r      request
		}{
			"create without a token":         {401, request{method: http.MethodPost, path: devicePath, body: `{"description":"x","location_id":"L1"}`}},
			"create without the scope":       {403, request{method: http.MethodPost, path: devicePath, token: clinic, body: `{"description":"x","location_id":"L1"}`}},
			"create without a body":          {400, system(http.MethodPost, devicePath, "")},
			"create without a location":      {400, system(http.MethodPost, devicePath, `{"description":"x"}`)},
			"create without a description":   {400, system(http.MethodPost, devicePath, `{"location_id":"L1"}`)},
			"create with an unknown member":  {400, system(http.MethodPost, devicePath, `{"description":"x","location_id":"L1","colour":"red"}`)},
			"create with another type":       {400, system(http.MethodPost, devicePath, `{"description":1,"location_id":"L1"}`)},
			"read an unknown one":            {404, system(http.MethodGet, unknown, "")},
			"read with a body":               {400, withBody(path)},
			"list with a body":               {400, withBody(devicePath)},
			"list with another state":        {400, system(http.MethodGet, devicePath+"?active=perhaps", "")},
			"list without a token":           {401, request{method: http.MethodGet, path: devicePath}},
			"change an unknown one":          {404, system(http.MethodPatch, unknown, `{"active":true}`)},
			"change without a body":          {400, system(http.MethodPatch, path, "")},
			"change an unknown member":       {400, system(http.MethodPatch, path, `{"colour":"red"}`)},
			"change the id":                  {400, system(http.MethodPatch, path, `{"uuid":"x"}`)},
			"change to another type":         {400, system(http.MethodPatch, path, `{"active":"yes"}`)},
			"activate an unknown one":        {404, system(http.MethodPost, unknown+"/activation", "")},
			"a token without the header":     {400, request{method: http.MethodGet, path: path + "/jwt"}},
			"a token before it is activated": {403, request{method: http.MethodGet, path: path + "/jwt", code: code}},
			"a token of an unknown one":      {403, request{method: http.MethodGet, path: unknown + "/jwt", code: code}},
		} {
			p.wants(ask.status, what, p.send(p.T, ask.r))
		}
		activation := p.deviceCode(device)
		p.object(p.useCode(activation), "authorisation_code", "device_id")
		p.wants(404, "a code once more", p.useCode(activation))
		code, _ = p.activate(other)
		p.wants(403, "a token with another's code", p.deviceToken(device, code))
		p.wants(403, "a token with a wrong code", p.deviceToken(other, code[:len(code)-1]))
	})
}

func TestPredecessor_DevicesAreListedByLocationAndState(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		one, two := randomGUID(), randomGUID()
		at := func(location string) string {
			got := p.ask(http.MethodPost, devicePath+"?type=send_entry", fmt.Sprintf(`{"description":"A tablet","location_id":%q}`, location))
			return p.object(got, deviceMembers...)["uuid"].(string)
		}
		first, second, third := at(one), at(two), at(one)
		p.patchDevice(third, `{"active":false}`)
		for query, want := range map[string][]string{
			"?location_id=" + one:                                   {first},
			"?location_id=" + one + "&active=true":                  {first},
			"?location_id=" + one + "&active=false":                 {third},
			"?type=send_entry&location_id=" + one + "," + two:       {first, second},
			"?location_id=" + two + "&active=false&type=send_entry": nil,
			"?location_id=" + randomGUID():                          nil,
		} {
			var got []string
			for _, d := range p.list(p.ask(http.MethodGet, devicePath+query, "")) {
				got = append(got, d["uuid"].(string))
				for _, name := range deviceMembers {
					if d[name] == nil || d[name] == "" {
						p.Errorf("no %s in %v", name, d)
					}
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				p.Errorf("%s: %v, want %v", query, got, want)
			}
		}
	})
}

func TestPredecessor_StatusesOfClinicians(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		c := p.clinician(nil)
		path := clinicianPath + "/" + c.id
		device := p.device()
		_, token := p.activate(device)
		fresh := func(further map[string]any) string { return p.someone().body(further) }
		without := func(member string) string {
			var all map[string]any
			if err := json.Unmarshal([]byte(fresh(nil)), &all); err != nil {
				p.Fatal(err)
			}
			delete(all, member)
			text, _ := json.Marshal(all)
			return string(text)
		}
		system := func(method, path, body string) request {
			return request{method: method, path: path, token: p.system, body: body}
		}
		as := func(token, query string) request {
			return request{method: http.MethodGet, path: clinicianPath + "/jwt" + query, token: token}
		}
		gdm := p.clinician(map[string]any{"products": []string{"GDM"}, "groups": []string{"GDM Clinician"}})
		administrator := p.clinician(map[string]any{"groups": []string{"send administrator"}})
		over := p.clinician(map[string]any{"contract_expiry_eod_date": time.Now().AddDate(0, 0, -2).Format(time.DateOnly)})
		plain := p.clinician(map[string]any{"groups": []string{"send clinician"}, "contract_expiry_eod_date": "2050-01-01"})
		noDevice := p.world.token(p.T, stack.TokenRequest{Roles: []string{"read:send_entry_identifier"}})
		for what, ask := range map[string]struct {
			status int
			r      request
		}{
			"create without a token":        {401, request{method: http.MethodPost, path: clinicianPath, body: fresh(nil)}},
			"create without the scope":      {403, request{method: http.MethodPost, path: clinicianPath, token: p.world.clinic(p.T), body: fresh(nil)}},
			"create without a body":         {400, system(http.MethodPost, clinicianPath, "")},
			"create without an id":          {400, system(http.MethodPost, clinicianPath, without("clinician_id"))},
			"create without products":       {400, system(http.MethodPost, clinicianPath, without("products"))},
			"create without login_active":   {400, system(http.MethodPost, clinicianPath, without("login_active"))},
			"create with an unknown member": {400, system(http.MethodPost, clinicianPath, fresh(map[string]any{"colour": "red"}))},
			"create with another type":      {400, system(http.MethodPost, clinicianPath, fresh(map[string]any{"login_active": "yes"}))},
			"create without groups":         {201, system(http.MethodPost, clinicianPath, without("groups"))},
			"create without an identifier":  {201, system(http.MethodPost, clinicianPath, without("send_entry_identifier"))},
			"create the same once more":     {409, system(http.MethodPost, clinicianPath, clinicianOf{c.id, randomHex(6)}.body(nil))},
			"change an unknown one":         {404, system(http.MethodPatch, clinicianPath+"/"+randomGUID(), `{"groups":[],"products":[]}`)},
			"change the id":                 {400, system(http.MethodPatch, path, `{"clinician_id":"x","groups":[],"products":[]}`)},
			"change without a body":         {400, system(http.MethodPatch, path, "")},
			"log in without an identifier":  {400, as(token, "")},
			"log in without a token":        {401, as("", "?send_entry_identifier="+c.identifier)},
			"log in without the scope":      {403, as(p.system, "?send_entry_identifier="+c.identifier)},
			"log in through no device":      {403, as(noDevice, "?send_entry_identifier="+c.identifier)},
			"log in as nobody":              {404, as(token, "?send_entry_identifier="+randomHex(8))},
			"log in for another product":    {403, as(token, "?send_entry_identifier="+gdm.identifier)},
			"log in as an administrator":    {403, as(token, "?send_entry_identifier="+administrator.identifier)},
			"log in after the contract":     {403, as(token, "?send_entry_identifier="+over.identifier)},
			"log in":                        {200, as(token, "?send_entry_identifier="+c.identifier)},
			"log in under a contract":       {200, as(token, "?send_entry_identifier="+plain.identifier)},
		} {
			p.wants(ask.status, what, p.send(p.T, ask.r))
		}
	})
}

func TestP1_ErrorsAreProblemDocumentsWithTheOldMembers(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		got := p.send(p.T, request{method: http.MethodGet, path: jwtPath(p.world.patient())})
		body := got.problem(p.T, http.StatusBadRequest, "invalid_request") // its code and message too
		if body.Message == "" || body.Code != http.StatusBadRequest {
			p.Errorf("%s", got.body)
		}
	})
}

func TestP2_ATokenThatIsNotAcceptedIs401(t *testing.T) {
	p := polarisAt(t, given(t).any())
	for what, r := range map[string]stack.TokenRequest{
		"expired": {Roles: []string{readActivation}, ExpiresIn: -time.Hour}, "of another key": {Roles: []string{readActivation}, Unpublished: true},
	} {
		got := p.send(t, request{method: http.MethodGet, path: activationPath(p.world.patient()), token: p.world.token(t, r)})
		got.problem(t, http.StatusUnauthorized, "invalid_token")
		if !strings.Contains(got.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%s: WWW-Authenticate %q", what, got.header.Get("WWW-Authenticate"))
		}
	}
	known := randomGUID()
	p.world.known(t, known)
	reader := p.world.token(t, stack.TokenRequest{OID: &known, Roles: []string{readActivation}})
	got := p.send(t, request{method: http.MethodPost, path: activationPath(p.world.patient()), token: reader})
	if body := got.problem(t, http.StatusForbidden, "insufficient_scope"); body.Scope != writeActivation {
		t.Errorf("scope %q", body.Scope)
	}
}

func TestP3_NoSharedKeySignsAToken(t *testing.T) {
	p := polarisAt(t, given(t).any())
	issuer, _ := p.claims(p.mainJob(t).JWT).GetIssuer()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.MapClaims{
		"metadata": map[string]any{"system_id": "tests"}, "iss": issuer, "aud": issuer, "scope": readActivation, "exp": time.Now().Add(time.Minute).Unix(),
	}).SignedString([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	p.send(t, request{method: http.MethodGet, path: activationPath(p.world.patient()), token: token}).problem(t, http.StatusUnauthorized, "invalid_token")
}

func TestP4_ARefusalQuotesNoValue(t *testing.T) {
	p := polarisAt(t, given(t).any())
	const otp, typed = "2C3D4F", "typed-into-it"
	got := p.send(t, redeeming(fmt.Sprintf(`{"activation_code":"2345678923","otp":%q,"colour":%q}`, otp, typed)))
	body := got.problem(t, http.StatusBadRequest, "invalid_request")
	if len(body.Errors) != 1 || body.Errors[0].Field != "body.colour" || strings.Contains(string(got.body), otp) || strings.Contains(string(got.body), typed) {
		t.Errorf("%s", got.body)
	}
}

func TestP5_NothingMayStandThereTwice(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		path := redeemPath + "/2345678923"
		p.wants(400, "a parameter twice", p.send(p.T, request{method: http.MethodPost, path: path + "?type=gdm&type=gdm", body: `{"otp":"234567"}`}))
		p.wants(400, "a member twice", p.send(p.T, request{method: http.MethodPost, path: path, body: `{"otp":"234567","otp":"234567"}`}))
	})
}

func TestP6_AContentTypeAloneIsNoBody(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		for _, path := range []string{activationPath(p.world.patient()), devicePath + "/" + p.device(), devicePath + "?location_id=L0"} {
			r := request{method: http.MethodGet, path: path, token: p.system, header: http.Header{"Content-Type": {"application/json"}}}
			p.wants(200, "the type alone", p.send(p.T, r))
			r.body = `{}`
			p.wants(400, "with a body", p.send(p.T, r))
		}
	})
}

func TestP7_ABodyThatIsNoJSONOrTooLargeHasItsOwnStatus(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		path := redeemPath + "/2345678923"
		p.wants(415, "text", p.send(p.T, request{method: http.MethodPost, path: path, body: `{"otp":"234567"}`, header: http.Header{"Content-Type": {"text/plain"}}}))
		p.wants(413, "70 KB", p.send(p.T, request{method: http.MethodPost, path: path, body: `{"otp":"` + strings.Repeat("2", 70_000) + `"}`}))
	})
}

func TestP8_IdsHaveAForm(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		p.wants(400, "a blank", p.ask(http.MethodGet, activationPath("a%20b"), ""))
		p.wants(400, "129 characters", p.ask(http.MethodGet, activationPath(strings.Repeat("a", 129)), ""))
		p.wants(200, "128 characters", p.ask(http.MethodGet, activationPath(strings.Repeat("a", 128)), "")) // the predecessor had 36
	})
}

func TestP9_WhoIsSaidWithTheirIssuer(t *testing.T) {
	p := polarisAt(t, given(t).any())
	who := regexp.MustCompile(`^` + regexp.QuoteMeta(p.world.issuer.Tenant) + `/[0-9a-f-]{36}$`)
	made := p.create(t, p.system, p.world.patient())
	device := p.object(p.ask(http.MethodGet, devicePath+"/"+p.device(), ""), deviceMembers...)
	for _, by := range []any{made.CreatedBy, made.ModifiedBy, device["created_by"], device["modified_by"]} {
		if s, _ := by.(string); !who.MatchString(s) {
			t.Errorf("by %v, want %v", by, who)
		}
	}
}

func TestP10_NothingOfTheTestSystemIsThere(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		for _, path := range []string{"POST /drop_data", "POST /reset_test_data", "GET /dhos/v1/patient/1/security-info", "GET /dhos/v1/patient/1/security-test"} {
			method, path, _ := strings.Cut(path, " ")
			p.wants(404, path, p.ask(method, path, ""))
		}
		c := p.create(p.T, p.system, "static_patient_uuid_1")
		if strings.Count(c.OTP, c.OTP[:1]) == len(c.OTP) || c.ActivationCode == "1" {
			p.Errorf("a fixed code: %s, %s", c.ActivationCode, c.OTP)
		}
		p.wants(404, "the fixed authorisation code", p.send(p.T, request{method: http.MethodGet, path: jwtPath("static_patient_uuid_1"), code: "1"}))
	})
}

func TestP11_AnActivationHasWhatTheOldDocumentPromised(t *testing.T) {
	p := polarisAt(t, given(t).any())
	p.object(p.ask(http.MethodPost, activationPath(p.world.patient()), ""), append([]string{"activation_code", "otp", "expires_at", "code"}, identifierMembers...)...)
}

func TestP12_AskingAgainDrawsANewCode(t *testing.T) {
	p := polarisAt(t, given(t).any())
	patient := p.world.patient()
	old, next := p.create(t, p.system, patient), p.create(t, p.system, patient)
	if old.ActivationCode == next.ActivationCode {
		t.Error("the same code")
	}
	p.refused(t, old.parts())
	p.redeem(t, next.parts())
}

func TestP13_OTPsAreLongerAndAnyCaseWillDo(t *testing.T) {
	p := polarisAt(t, given(t).any())
	c := p.create(t, p.system, p.world.patient())
	if !anyOTP.MatchString(c.OTP) {
		t.Errorf("OTP %q", c.OTP)
	}
	c.OTP = strings.ToLower(c.OTP)
	p.redeem(t, c.parts())
}

func TestP14_ACodeThatCannotBeIsToldSo(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		for code, otp := range map[string]string{"nope": "222222", "123": "456", "2345678923": "1!", "AAAAAAAAAA": "222222"} {
			p.send(p.T, request{method: http.MethodPost, path: redeemPath + "/" + code, body: fmt.Sprintf(`{"otp":%q}`, otp)}).
				problem(p.T, http.StatusBadRequest, "mistyped")
		}
		p.send(p.T, request{method: http.MethodPost, path: redeemPath + "/2345678923", body: `{"otp":"222222"}`}).
			problem(p.T, http.StatusNotFound, "activation_refused")
		p.useCode("123456789").problem(p.T, http.StatusBadRequest, "mistyped")
	})
}

func TestP15_ExpiriesAreLocalAndSayTheirOffset(t *testing.T) {
	p := polarisAt(t, given(t).any())
	for what, got := range map[string]reply{
		"patient": p.ask(http.MethodPost, activationPath(p.world.patient()), ""),
		"device":  p.ask(http.MethodPost, devicePath+"/"+p.device()+"/activation", ""),
	} {
		text, _ := p.object(got, "expires_at")["expires_at"].(string)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || at.Format(time.TimeOnly) != "23:59:59" || time.Until(at) < 4*24*time.Hour || time.Until(at) > 6*24*time.Hour {
			t.Errorf("%s: %q, %v", what, text, err)
		}
	}
}

func TestP16_ActivationsComeInPagesAndByStatus(t *testing.T) {
	p := polarisAt(t, given(t).any())
	patient := p.world.patient()
	for range 2 {
		p.redeem(t, p.create(t, p.system, patient).parts())
	}
	p.create(t, p.system, patient)
	all, next := p.host.list(t, p.system, activationPath(patient)+"?limit=1")
	if len(all) != 1 || next == "" || all[0].Status != "completed" || all[0].ExpiresAt == "" {
		t.Errorf("%+v, then %q", all, next)
	}
	if all, _ := p.host.list(t, p.system, activationPath(patient)+"?status=pending"); len(all) != 1 || all[0].ActivationCompleted != nil {
		t.Errorf("pending: %+v", all)
	}
}

func TestP17_OneOfManyWhoRedeemGetsIn(t *testing.T) {
	p := polarisAt(t, given(t).any())
	c := p.create(t, p.system, p.world.patient())
	statuses := map[int]int{}
	for _, got := range together(t, 8, func(ctx context.Context, i int) (reply, error) {
		return p.world.hosts[i%len(p.world.hosts)].try(ctx, redeeming(c.parts()))
	}) {
		statuses[got.status]++
	}
	if statuses[http.StatusOK] != 1 || statuses[http.StatusNotFound] != 7 {
		t.Errorf("%v", statuses)
	}
}

func TestP18_GuessesAtOnceAreCountedOneByOne(t *testing.T) {
	p := polarisAt(t, given(t).any())
	c := p.create(t, p.system, p.world.patient())
	p.refusedAtOnce(t, c.wrong(), 10)
	p.refused(t, c.parts())
}

func TestP19_WhoIsRefusedTooOftenIsToldToWait(t *testing.T) {
	w := owned(t)
	h := w.extra(t, "strict", stack.HostOptions{Direct: true, Env: []string{"Abuse__SourceRefusals=5", "Abuse__SourceWindowSeconds=86400"}})
	if err := h.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	// An address of our own: that of the other tests has other limits.
	here := &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}}).DialContext,
	}}
	var statuses []int
	for range 6 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+redeemPath+"/2345678923", strings.NewReader(`{"otp":"234567"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := here.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if statuses = append(statuses, answer.StatusCode); answer.StatusCode == http.StatusTooManyRequests && answer.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if !slices.Equal(statuses, []int{404, 404, 404, 404, 404, 429}) {
		t.Errorf("%v", statuses)
	}
}

func TestP20_TokensAreAskedForByPost(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		patient := p.world.patient()
		code := p.redeem(p.T, p.create(p.T, p.system, patient).parts()).AuthorisationCode
		device := p.device()
		deviceCode, token := p.activate(device)
		c := p.clinician(nil)
		for what, r := range map[string]request{
			"patient": {path: jwtPath(patient), code: code}, "device": {path: devicePath + "/" + device + "/jwt", code: deviceCode},
			"clinician": {path: clinicianPath + "/jwt?send_entry_identifier=" + c.identifier, token: token},
		} {
			for _, r.method = range []string{http.MethodGet, http.MethodPost} {
				got := p.send(p.T, r)
				p.object(got, "jwt")
				if deprecated := got.header.Get("Deprecation"); (deprecated != "") != (r.method == http.MethodGet) {
					p.Errorf("%s, %s: Deprecation %q", what, r.method, deprecated)
				}
			}
		}
	})
}

func TestP21_ATokenSaysHowLongItIsGood(t *testing.T) {
	p := polarisAt(t, given(t).any())
	patient, c, device := p.world.patient(), p.clinician(nil), p.device()
	code := p.redeem(t, p.create(t, p.system, patient).parts()).AuthorisationCode
	deviceCode, token := p.activate(device)
	for what, is := range map[string]struct {
		got     reply
		seconds float64
	}{
		"patient":   {p.send(t, request{method: http.MethodGet, path: jwtPath(patient), code: code}), 900},
		"device":    {p.deviceToken(device, deviceCode), 86400},
		"clinician": {p.login(c.identifier, token), 900},
	} {
		body := p.object(is.got, "jwt")
		if body["token_type"] != "Bearer" || body["expires_in"] != is.seconds || is.got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v, Cache-Control %q", what, body, is.got.header.Get("Cache-Control"))
		}
	}
}

func TestP22_APatientWhoHasNotRedeemedIsNoFault(t *testing.T) {
	p := polarisAt(t, given(t).any())
	patient := p.world.patient()
	p.create(t, p.system, patient)
	p.send(t, request{method: http.MethodGet, path: jwtPath(patient), code: strings.Repeat("C", 30)}).problem(t, http.StatusNotFound, "authorisation_refused")
}

func TestP23_ThePublishedKeysVerifyEveryToken(t *testing.T) {
	p := polarisAt(t, given(t).any())
	c, device := p.clinician(nil), p.device()
	_, deviceToken := p.activate(device)
	for what, token := range map[string]string{
		"patient": p.mainJob(t).JWT, "device": deviceToken, "clinician": p.object(p.login(c.identifier, deviceToken), "jwt")["jwt"].(string),
	} {
		issuer, _ := p.claims(token).GetIssuer()
		if _, header := verify(t, p.host, token, issuer); header["alg"] == "HS512" || header["kid"] == "" || header["typ"] != "at+jwt" {
			t.Errorf("%s: %v", what, header)
		}
	}
}

func TestP24_TheAudienceIsNotTheIssuerAndClaimsAreAdded(t *testing.T) {
	p := polarisAt(t, given(t).any())
	c, device := p.clinician(nil), p.device()
	_, deviceToken := p.activate(device)
	for what, token := range map[string]string{
		"patient": p.mainJob(t).JWT, "device": deviceToken, "clinician": p.object(p.login(c.identifier, deviceToken), "jwt")["jwt"].(string),
	} {
		claims := p.claims(token)
		for _, name := range []string{"iss", "aud", "exp", "scope", "metadata", "sub", "client_id", "iat", "nbf", "jti", "sid"} {
			if claims[name] == nil || claims[name] == "" {
				t.Errorf("%s: no %s in %v", what, name, claims)
			}
		}
		if p.proc != nil && reflect.DeepEqual(claims["aud"], claims["iss"]) { // elsewhere it is the owner's setting
			t.Errorf("%s: aud %v, iss %v", what, claims["aud"], claims["iss"])
		}
	}
}

func TestP25_ANewPhoneEndsTheTokensOfTheOld(t *testing.T) {
	p := polarisAt(t, given(t).any())
	patient := p.world.patient()
	old := p.buy(t, patient, p.redeem(t, p.create(t, p.system, patient).parts()).AuthorisationCode).JWT
	if !p.host.active(t, old) {
		t.Error("the first token is not good before")
	}
	p.redeem(t, p.create(t, p.system, patient).parts())
	if p.host.active(t, old) {
		t.Error("the first token is good after")
	}
}

// The stack has no service that could be asked for scopes.
func TestP26_ScopesAreSettings(t *testing.T) {
	w := owned(t)
	settings := [3]string{"read:gdm_message", "read:send_entry_identifier read:send_location", "read:send_patient"}
	// What the predecessor's roles held: patient, device, clinician.
	roles := [3]string{
		"read:gdm_answer read:gdm_bg_reading read:gdm_medication read:gdm_message read:gdm_patient_abbreviated read:gdm_patient read:gdm_question " +
			"read:gdm_rule read:gdm_survey read:gdm_telemetry read:gdm_trustomer write:gdm_answer write:gdm_bg_reading write:gdm_message " +
			"write:gdm_telemetry write:gdm_terms_agreement",
		"read:send_device read:send_entry_identifier read:send_location",
		"read:send_clinician read:send_encounter read:send_observation read:send_patient read:send_rule read:send_trustomer read:ward_report " +
			"write:send_encounter write:send_observation write:send_patient",
	}
	var env []string
	for i, name := range []string{"Patient", "Device", "Clinician"} {
		env = append(env, "Personas__"+name+"="+strings.ReplaceAll(settings[i], " ", ","))
	}
	h := w.extra(t, "personas", stack.HostOptions{Direct: true, Env: env})
	if err := h.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	scopes := func(h *host) (all [3]string) {
		p := polarisAt(t, h)
		c, device := p.clinician(nil), p.device()
		_, token := p.activate(device)
		for i, token := range []string{p.mainJob(t).JWT, token, p.object(p.login(c.identifier, token), "jwt")["jwt"].(string)} {
			all[i], _ = p.claims(token)["scope"].(string)
		}
		return all
	}
	if got := scopes(h); got != settings {
		t.Errorf("%q, want %q", got, settings)
	}
	for i, scope := range scopes(w.any()) {
		held := strings.Fields(scope)
		if len(held) == 0 || i == 1 && !slices.Contains(held, "read:send_entry_identifier") {
			t.Errorf("too little: %q", scope)
		}
		for _, one := range held {
			if !slices.Contains(strings.Fields(roles[i]), one) {
				t.Errorf("%s is more than the predecessor gave", one)
			}
		}
	}
}

func TestP27_DeviceCodesAreNoNineDigits(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		code := p.deviceCode(p.device())
		if bare := word(code); len(bare) < 3+12+1 || !regexp.MustCompile(`^[A-Z0-9]{3}[2-9CDFHJKMNPQRTVWX]+$`).MatchString(bare) {
			p.Errorf("code %q", code)
		}
		p.object(p.useCode(strings.ToLower(word(code))), "authorisation_code")
	})
}

func TestP28_TheCodeOfAnInactiveDeviceIsDead(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		device := p.device()
		p.patchDevice(device, `{"active":false}`)
		p.wants(404, "redeeming", p.useCode(p.deviceCode(device)))
	})
}

func TestP29_NobodyLogsInThroughAnInactiveDevice(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		c, device := p.clinician(nil), p.device()
		_, token := p.activate(device)
		p.object(p.login(c.identifier, token), "jwt")
		p.patchDevice(device, `{"active":false}`)
		p.wants(403, "after", p.login(c.identifier, token))
	})
}

func TestP30_ADeviceThatIsBackNeedsANewToken(t *testing.T) {
	p := polarisAt(t, given(t).any())
	c, device := p.clinician(nil), p.device()
	code, old := p.activate(device)
	p.patchDevice(device, `{"active":false}`)
	p.patchDevice(device, `{"active":true}`)
	p.wants(403, "the old token", p.login(c.identifier, old))
	next := p.object(p.deviceToken(device, code), "jwt")["jwt"].(string)
	p.object(p.login(c.identifier, next), "jwt")
}

func TestP31_ADeviceMayBringItsID(t *testing.T) {
	p := polarisAt(t, given(t).any())
	id := randomGUID()
	body := fmt.Sprintf(`{"uuid":%q,"description":"A tablet","location_id":"L1"}`, id)
	if made := p.object(p.ask(http.MethodPost, devicePath, body), deviceMembers...); made["uuid"] != id {
		t.Errorf("%v", made)
	}
	p.wants(409, "once more", p.ask(http.MethodPost, devicePath, body))
}

func TestP32_DevicesComeInPages(t *testing.T) {
	p := polarisAt(t, given(t).any())
	location := randomGUID()
	want := map[any]bool{}
	for range 3 {
		got := p.ask(http.MethodPost, devicePath, fmt.Sprintf(`{"description":"A tablet","location_id":%q}`, location))
		want[p.object(got, deviceMembers...)["uuid"]] = true
	}
	next, pages := devicePath+"?limit=2&location_id="+location, 0
	for ; next != "" && pages < 5; pages++ {
		got := p.ask(http.MethodGet, next, "")
		for _, d := range p.list(got) {
			if !want[d["uuid"]] {
				t.Errorf("not asked for, or twice: %v", d)
			}
			delete(want, d["uuid"])
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(got.header.Get("Link"), "<"), ">")
	}
	if len(want) != 0 || pages < 2 {
		t.Errorf("%d pages, without %v", pages, want)
	}
}

func TestP33_AChangeCanNameTheVersionItIsOf(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		path := devicePath + "/" + p.device()
		tag := p.wants(200, "reading", p.ask(http.MethodGet, path, "")).header.Get("ETag")
		change := func(description string) reply {
			return p.send(p.T, request{method: http.MethodPatch, path: path, token: p.system, body: fmt.Sprintf(`{"description":%q}`, description),
				header: http.Header{"If-Match": {tag}}})
		}
		known := request{method: http.MethodGet, path: path, token: p.system, header: http.Header{"If-None-Match": {tag}}}
		p.object(p.send(p.T, known), deviceMembers...)
		p.wants(200, "the version that is", change("one"))
		p.wants(412, "the version that was", change("two"))
		p.wants(200, "none", p.ask(http.MethodPatch, path, `{"description":"three"}`))
	})
}

func TestP34_AnIdentifierNamesOneClinician(t *testing.T) {
	p := polarisAt(t, given(t).any())
	c := p.clinician(nil)
	p.wants(409, "the same identifier", p.ask(http.MethodPost, clinicianPath, clinicianOf{randomGUID(), c.identifier}.body(nil)))
	other := p.clinician(nil)
	p.wants(409, "taking it over", p.ask(http.MethodPatch, clinicianPath+"/"+other.id, fmt.Sprintf(`{"send_entry_identifier":%q}`, c.identifier)))
}

func TestP35_WhatAChangeOfAClinicianLeavesOutStays(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		_, token := p.activate(p.device())
		over := p.clinician(map[string]any{"contract_expiry_eod_date": time.Now().AddDate(0, 0, -2).Format(time.DateOnly)})
		p.patchClinician(over, `{"products":["SEND"],"groups":["SEND Clinician"]}`)
		p.wants(403, "a contract that has ended", p.login(over.identifier, token))
		c := p.clinician(nil)
		p.patchClinician(c, `{"products":["SEND","GDM"]}`)
		p.wants(200, "identifier and groups", p.login(c.identifier, token))
		p.patchClinician(c, `{"send_entry_identifier":null}`)
		p.wants(404, "an identifier that was taken away", p.login(c.identifier, token))
	})
}

// There is always a day that has ended on one side of the world and not on the other.
func TestP36_ContractsEndWithTheLocalDay(t *testing.T) {
	w := owned(t)
	west, err := time.LoadLocation("Pacific/Pago_Pago")
	if err != nil {
		t.Fatal(err)
	}
	at := func(zone string) polaris {
		h := w.extra(t, zone, stack.HostOptions{Direct: true, Env: []string{"Site__TimeZone=" + zone}})
		if err := h.awaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		return polarisAt(t, h)
	}
	there, here := at("Pacific/Kiritimati"), at(west.String())
	_, token := here.activate(here.device())
	c := here.clinician(map[string]any{"contract_expiry_eod_date": time.Now().In(west).Format(time.DateOnly)})
	here.wants(200, "on its last day", here.login(c.identifier, token))
	there.wants(403, "on the day after", there.login(c.identifier, token))
}

func TestP37_AWrongGroupIsToldToo(t *testing.T) {
	p := polarisAt(t, given(t).any())
	device := p.device()
	_, token := p.activate(device)
	c := p.clinician(map[string]any{"groups": []string{"send administrator"}})
	got := p.wants(403, "an administrator", p.login(c.identifier, token))
	p.tells(got, "SEND entry login failure", map[string]any{"device_id": device, "clinician_id": c.id, "send_entry_identifier": "?", "reason": "?"})
}

func TestP38_AnUnknownDeviceIsToldToo(t *testing.T) {
	p := polarisAt(t, given(t).any())
	unknown := randomGUID()
	got := p.wants(403, "an unknown device", p.deviceToken(unknown, strings.Repeat("C", 32)))
	p.tells(got, "SEND entry device auth failed", map[string]any{"device_id": unknown, "reason": "?"})
}

func TestP39_TheLineHasAWordAndAnAlias(t *testing.T) {
	p := polarisAt(t, owned(t).any())
	_, token := p.activate(p.device())
	identifier := "nobody-" + randomHex(8)
	got := p.wants(404, "nobody", p.login(identifier, token))
	text, e := p.line(got.trace)
	if reason, _ := e.Data["reason"].(string); !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(reason) {
		t.Errorf("reason %q", reason)
	}
	if alias, _ := e.Data["send_entry_identifier"].(string); alias == "" || strings.Contains(text, identifier) {
		t.Errorf("the line: %s", text)
	}
	again := p.login(identifier, token)
	if _, same := p.line(again.trace); same.Data["send_entry_identifier"] != e.Data["send_entry_identifier"] {
		t.Errorf("%v and %v", same.Data, e.Data)
	}
}

func TestP40_WhoChangedADeviceIsNamed(t *testing.T) {
	p := polarisAt(t, owned(t).any())
	oid := randomGUID()
	caller := p.world.token(t, stack.TokenRequest{OID: &oid, Roles: []string{"write:send_device"}})
	device := p.device()
	got := p.wants(200, "changing", p.send(t, request{method: http.MethodPatch, path: devicePath + "/" + device, token: caller, body: `{"location_id":"L2"}`}))
	p.tells(got, "SEND entry device update", map[string]any{"device_id": device, "clinician_id": oid, "updated_fields": map[string]any{"location_id": "L2"}})
}

func TestP41_ADevicesCodeTakesNoOTP(t *testing.T) {
	throughPolaris(t, func(p polaris) {
		code := p.deviceCode(p.device())
		with := func(body string) reply {
			return p.send(p.T, request{method: http.MethodPost, path: redeemPath + "/" + code + "?type=send_entry", body: body})
		}
		p.wants(400, "with an OTP", with(`{"otp":"234567"}`))
		p.wants(200, "with none", with(`{"otp":null}`)) // the old document allows it
	})
}
