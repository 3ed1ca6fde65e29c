package e2e_test

// This file is the last of the package, so that its test looks at the whole run.

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/infra/local/stack"
)

// Codes, OTPs, authorisation codes, tokens and patient ids stand in no line that host and handler print, and the secrets among
// them in no row of a table, whatever was done to the app before, and by this test.
func TestCFG5_NothingSecretIsLoggedOrStoredInClear(t *testing.T) {
	w := owned(t)
	w.through(t, func(t *testing.T, h *host) {
		token, patient := w.clinic(t), w.patient()
		h.create(t, token, patient)
		c := h.create(t, token, patient)
		h.send(t, redeeming(c.wrong()))
		h.send(t, redeeming(fmt.Sprintf(`{"code":%q}`, "X"+c.Code)))
		h.send(t, request{method: http.MethodPost, path: redeemPath + "/" + c.ActivationCode, body: fmt.Sprintf(`{"otp":%q,"otp":1}`, c.OTP)})
		h.send(t, request{method: http.MethodPost, path: redeemPath + "/" + c.ActivationCode + "?otp=" + c.OTP, body: `{}`})
		h.send(t, request{method: http.MethodPost, path: redeemPath + "/" + c.ActivationCode + "%2F" + c.Code, body: `{"otp":1}`})
		var r redeemed
		h.send(t, request{method: http.MethodPost, path: redeemPath + "/" + c.ActivationCode, body: fmt.Sprintf(`{"otp":%q}`, c.OTP)}).into(t, http.StatusOK, &r)
		h.send(t, redeeming(c.parts()))
		b := h.buy(t, patient, r.AuthorisationCode)
		h.send(t, buying(patient+"x", r.AuthorisationCode))
		h.send(t, request{method: http.MethodGet, path: jwtPath(patient), code: r.AuthorisationCode + "x"})
		h.send(t, creating(b.JWT, patient))
		h.send(t, creating(b.JWT+"x", patient))
		h.send(t, creating(w.token(t, stack.TokenRequest{Unpublished: true}), patient))
		h.send(t, request{method: http.MethodGet, path: activationPath(patient) + "/" + c.UUID + "/nowhere", token: token})
		h.send(t, request{method: "X" + c.ActivationCode + c.OTP, path: activationPath(patient)})
		last := h.send(t, request{method: http.MethodGet, path: activationPath(patient), token: token})
		h.event(t, last.trace) // all before it is written
	})
	time.Sleep(100 * time.Millisecond) // what is noted off the path of a reply

	t.Logf("noted: %v", w.seen)
	for _, out := range append([]*output{w.parts}, w.outputs...) {
		out.mu.Lock()
		lines := append(out.lines, string(out.rest))
		out.mu.Unlock()
		for _, line := range lines {
			if found := w.seen.in(line); len(found) > 0 {
				t.Errorf("%v in the line %s", found, line)
			}
		}
	}
	rows := 0
	for _, table := range tables(t) {
		for _, r := range w.rows(t, table) {
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			rows++
			// A subject's own rows are found by its id: partitions are no keyed hashes (model.md section 1).
			if found := w.seen.in(string(text), aPatient); len(found) > 0 {
				t.Errorf("%v in a row of %s: %s", found, table, text)
			}
		}
	}
	if rows < 10 {
		t.Errorf("only %d rows were looked at", rows)
	}
}

// The canary can fail: whatever is planted is found, in all its forms, and nothing else is.
func TestTheCanaryFindsWhatIsPlanted(t *testing.T) {
	s := newSeen()
	s.patient("patient-0123456789abcdef")
	s.request(request{path: redeemPath + "/7KQ49F2MHX?type=gdm", body: `{"otp":"3FJ7WP"}`, token: "aaaaaaaaaaaaaaaa.claimsclaimsclaims.signaturesignature"})
	s.reply([]byte(`{"authorisation_code":"JNJF9H24FFQNRV9DKVCTMCF4XN5JDF6N","code":"OXF-7KQ4-9F2M-HX3F-J7WP-C"}`))
	for _, planted := range []string{
		`"path":"/dhos/v1/activation/7KQ49F2MHX"`, "7kq49f2mhx", `{"otp":"3FJ7WP"}`, "otp=3fj7wp", "OXF-7KQ4-9F2M-HX3F-J7WP-C", "oxf7kq49f2mhx3fj7wpc",
		"JNJF9H24FFQNRV9DKVCTMCF4XN5JDF6N", "x claimsclaimsclaims y", "signaturesignature", "/patient/patient-0123456789abcdef/jwt",
		hex.EncodeToString([]byte("7KQ49F2MHX")), hex.EncodeToString([]byte("3FJ7WP")),
		base64.StdEncoding.EncodeToString([]byte("JNJF9H24FFQNRV9DKVCTMCF4XN5JDF6N")),
		base64.RawURLEncoding.EncodeToString([]byte("OXF-7KQ4-9F2M-HX3F-J7WP-C")),
	} {
		if len(s.in("before "+planted+" behind")) == 0 {
			t.Errorf("%q is not found", planted)
		}
	}
	for _, innocent := range []string{
		`{"time":"2026-11-24T15:33:48.3264781Z","level":"INFO","msg":"request","operation":"redeem-activation","instance":"24cd65a34c9a70b0d4061e9d76b63508"}`,
		"x3FJ7WPx", "7KQ49F2MH", "patient-0123456789abcde", "a~bjog6f~3fj7wp0",
	} {
		if found := s.in(innocent); len(found) > 0 {
			t.Errorf("%v is found in %s", found, innocent)
		}
	}
	if found := s.in("patient-0123456789abcdef", aPatient); len(found) > 0 {
		t.Errorf("%v is found although it may be there", found)
	}
	if strings.Contains(fmt.Sprint(s), "7KQ49F2MHX") {
		t.Error("the canary itself tells")
	}
}
