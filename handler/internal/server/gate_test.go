package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/subject"
)

// AUT-2: on every route with a scope, who is put out late changes nothing and learns nothing but that. The requests are those that would
// succeed, so that it is the gate which refuses.
func TestAUT2_EveryRouteWithAScopeIsBehindTheGate(t *testing.T) {
	tokens := map[string]string{
		scopeReadActivation: "reader", scopeWriteActivation: "writer", scopeReadIdentity: "registrar", scopeWriteIdentity: "registrar",
		scopeReadDevice: "ward", scopeWriteDevice: "ward", scopeWriteClinician: "staff",
		scopeReadAudit: "auditor", scopeRevokeToken: "revoker", scopeIntrospectToken: "introspector",
	}
	for _, route := range Routes() {
		for _, o := range route.Operations {
			if o.Scope == "" || o.Scope == scopeReadIdentifier { // a device's own route asks no registry
				continue
			}
			t.Run(o.ID, func(t *testing.T) {
				b := newBench(t)
				b.signing(t, func() time.Time { return noon })
				raw := b.buy(t, b.let(t))
				pending := b.create(t)
				b.asks(t, machine)
				list := read[[]map[string]any](t, b.ask(t, "GET "+patientPath+"/authorisation", "", "Authorization: Bearer reader"), http.StatusOK)
				b.device(t, `{"location_id":"ward-7","description":"x","uuid":"tablet-7"}`)
				b.letIn(t, "tablet-7")
				b.empty(t, "POST /dhos/v1/clinician", ada, http.StatusCreated)
				b.log.take(t)
				refused := b.wantProblem(t, b.ask(t, "GET "+identityPath, "", "Authorization: Bearer nobody"), http.StatusForbidden, ReasonInsufficientScope)

				path := strings.NewReplacer(
					"{patient_id}", "patient-canary-7", "{uuid}", pending.UUID, "{authorisation_id}", list[0]["authorisation_id"].(string), "{identity_id}", machine.ID(),
					"{device_id}", "tablet-7", "{clinician_id}", "ada",
				).Replace(route.Path)
				body := map[string]string{
					"register-identity": `{"issuer":"` + provider + `","subject":"x"}`, "change-identity": `{"state":"disabled"}`, "approve-identity": `{}`,
					"open-denial": `{"ticket":"` + refused.Ticket + `"}`, "label-patient-authorisation": `{"label":"new"}`,
					"create-device": `{"location_id":"ward-7","description":"x","uuid":"tablet-8"}`, "change-device": `{"description":"new"}`,
					"create-clinician": strings.NewReplacer("ada", "bob", "321-654", "777").Replace(ada), "change-clinician": `{"login_active":false}`,
					"revoke-token": "token=" + raw, "introspect-token": "token=" + raw,
				}[o.ID]
				as := "Authorization: Bearer " + tokens[o.Scope]
				headers := []string{as}
				if strings.HasPrefix(body, "token=") {
					headers = append(headers, "Content-Type: "+encodedForm)
				}
				state := func() [3]int {
					endings, err := b.store.Endings(t.Context(), time.Time{})
					if err != nil {
						t.Fatal(err)
					}
					records := 0
					for kind, names := range map[subject.Kind][]string{
						subject.Patient: {patientID().Name}, subject.Device: {"tablet-7", "tablet-8"}, subject.Clinician: {"ada", "bob"},
					} {
						for _, name := range names {
							of := subject.ID{Kind: kind, Name: name}
							records += len(b.store.Records(of)) + len(b.store.Clinicians().Records(of))
						}
					}
					return [3]int{records, len(b.actions(tenant)) + len(b.actions(provider)), len(endings)}
				}
				before := state()
				b.log.take(t)
				b.gated = func() error { return &caller.Forbidden{Cause: caller.IdentityDisabled, Scope: "x"} }
				b.wantProblem(t, b.ask(t, o.Method+" "+path, body, headers...), http.StatusForbidden, ReasonIdentityDisabled)
				// Nor is anybody told first what else is wrong with what they ask.
				for _, wrong := range []string{"?x=1", "?x=1&x=2"} {
					w := b.ask(t, o.Method+" "+path+wrong, body, headers...)
					b.wantProblem(t, w, http.StatusForbidden, ReasonIdentityDisabled)
					if !strings.Contains(w.Header().Get("WWW-Authenticate"), "insufficient_scope") {
						t.Errorf("%s: %v", wrong, w.Header())
					}
				}
				if after := state(); after != before {
					t.Errorf("records of subjects, of identities, and endings: %v, then %v", before, after)
				}
				b.gated = func() error { return nil }
				if w := b.ask(t, o.Method+" "+path, body, headers...); w.Code >= 300 {
					t.Errorf("this proves nothing: with the gate open it is %d %s", w.Code, w.Body)
				}
				if changes := o.Method != http.MethodGet && o.Scope != scopeReadAudit && o.Scope != scopeIntrospectToken; (state() != before) != changes {
					t.Errorf("with the gate open: %v, then %v", before, state())
				}
			})
		}
	}
}
