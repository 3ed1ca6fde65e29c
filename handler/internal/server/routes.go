package server

import (
	"fmt"
	"net/http"
	"strings"

	"latchkey/handler/internal/audit"
)

// The scopes of the routes.
const (
	scopeReadActivation  = "read:gdm_activation"
	scopeWriteActivation = "write:gdm_activation"
	scopeReadDevice      = "read:send_device"
	scopeWriteDevice     = "write:send_device"
	scopeWriteClinician  = "write:send_clinician"
	scopeReadIdentifier  = "read:send_entry_identifier"
	scopeReadAudit       = "read:audit"
	scopeReadIdentity    = "read:identity"
	scopeWriteIdentity   = "write:identity"
	scopeRevokeToken     = "revoke:token"
	scopeIntrospectToken = "introspect:token"
)

// The endpoints of RFC 7009 and RFC 7662. TOK-9 puts the token endpoint beside them.
const (
	revocationPath    = "/oauth2/revoke"
	introspectionPath = "/oauth2/introspect"
)

// Routes is the one table: the mux, the OpenAPI document and functions/*/function.json come from it.
func Routes() []Route {
	return []Route{
		{"/dhos/v1/patient/{patient_id}/activation", []Operation{
			operation(http.MethodPost, "create-patient-activation", kind{
				scope: scopeWriteActivation, action: audit.CreateActivation, errors: []int{http.StatusConflict}, summary: "Invite a patient", forms: forPeople,
				details: "A pending activation is replaced: its code is dead from then on. Code and OTP are told to nobody else, and again only under the Idempotency-Key. " +
					"Accept chooses between JSON, a QR code (image/svg+xml, image/png) and a page to hand out (text/html); ask again under the same Idempotency-Key for another form.",
			}, createActivation),
			operation(http.MethodGet, "list-patient-activations", kind{
				scope: scopeReadActivation, action: audit.ListActivations, summary: "List a patient's activations, newest first",
			}, listActivations),
		}},
		{"/dhos/v1/patient/{patient_id}/activation/{uuid}", []Operation{
			operation(http.MethodDelete, "revoke-patient-activation", kind{
				scope: scopeWriteActivation, action: audit.RevokeActivation, errors: []int{http.StatusNotFound, http.StatusConflict},
				summary: "Revoke a pending activation",
			}, revokeActivation),
		}},
		{"/dhos/v1/activation", []Operation{
			operation(http.MethodPost, "redeem-activation", kind{
				body: true, errors: []int{http.StatusNotFound, http.StatusTooManyRequests}, summary: "Redeem an activation",
				details: "Works exactly once. Send the code that was typed, or activation_code and otp. A refusal does not say why.",
			}, redeemActivation),
		}},
		{"/dhos/v1/activation/{activation_code}", []Operation{
			operation(http.MethodPost, "redeem-activation-by-code", kind{
				body: true, optional: true, errors: []int{http.StatusNotFound, http.StatusTooManyRequests}, summary: "Redeem an activation, with the code in the path",
				details: "As redeem-activation, which new clients use: it has nothing secret in a URL.",
			}, redeemActivationByCode),
		}},
		{"/dhos/v1/patient/{patient_id}/jwt", []Operation{
			operation(http.MethodPost, "create-patient-jwt", kind{
				errors: []int{http.StatusNotFound}, summary: "Buy a token with the authorisation code",
			}, createPatientToken),
			operation(http.MethodGet, "get-patient-jwt", kind{
				errors: []int{http.StatusNotFound}, deprecated: true, summary: "Buy a token with the authorisation code: use POST",
			}, getPatientToken),
		}},
		{devicePath, []Operation{
			operation(http.MethodPost, "create-device", kind{
				scope: scopeWriteDevice, action: audit.CreateDevice, body: true, errors: []int{http.StatusConflict}, summary: "Create a device",
			}, createDevice),
			operation(http.MethodGet, "list-devices", kind{
				scope: scopeReadDevice, action: audit.ListDevices, summary: "List the devices of some locations, or all, in the order of their ids",
			}, listDevices),
		}},
		{devicePath + "/{device_id}", []Operation{
			operation(http.MethodGet, "get-device", kind{
				scope: scopeReadDevice, action: audit.ReadDevice, errors: []int{http.StatusNotFound}, summary: "Read a device",
			}, getDevice),
			operation(http.MethodPatch, "change-device", kind{
				scope: scopeWriteDevice, action: audit.ChangeDevice, body: true, errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
				summary: "Change a device, or make it inactive or active again",
				details: "What is left out stays. An inactive device cannot be let in and buys no token, and its tokens have ended as if its authorisation were revoked. " +
					"Active again, it buys tokens with the authorisation code that it has.",
			}, changeDevice),
		}},
		{devicePath + "/{device_id}/activation", []Operation{
			operation(http.MethodPost, "create-device-activation", kind{
				scope: scopeWriteDevice, action: audit.CreateActivation, errors: []int{http.StatusNotFound, http.StatusConflict}, summary: "Make a code that lets a device in",
				details: "A pending activation is replaced: its code is dead from then on. The code is told to nobody else, and again only under the Idempotency-Key.",
			}, activateDevice),
		}},
		{devicePath + "/{device_id}/jwt", []Operation{
			operation(http.MethodPost, "create-device-jwt", kind{
				errors: []int{http.StatusForbidden}, summary: "Buy a device's token with its authorisation code",
			}, createDeviceToken),
			operation(http.MethodGet, "get-device-jwt", kind{
				errors: []int{http.StatusForbidden}, deprecated: true, summary: "Buy a device's token with its authorisation code: use POST",
			}, getDeviceToken),
		}},
		{devicePath + "/{device_id}/authorisation", []Operation{
			operation(http.MethodDelete, "revoke-device-authorisation", kind{
				scope: scopeWriteDevice, action: audit.RevokeAuthorisation, summary: "End what buys tokens for a device (stolen tablet)",
				details: "As revoke-patient-authorisations. The device stays, and can be let in again by a new activation.",
			}, endDeviceAuthorisation),
		}},
		{clinicianPath, []Operation{
			operation(http.MethodPost, "create-clinician", kind{
				scope: scopeWriteClinician, action: audit.CreateClinician, body: true, status: http.StatusCreated, errors: []int{http.StatusConflict},
				summary: "Make a clinician known", details: "409 for an id or a send_entry_identifier that is in use. Of many who ask for one identifier at once, one gets it.",
			}, createClinician),
		}},
		{clinicianPath + "/{clinician_id}", []Operation{
			operation(http.MethodPatch, "change-clinician", kind{
				scope: scopeWriteClinician, action: audit.ChangeClinician, body: true, status: http.StatusOK,
				errors:  []int{http.StatusNotFound, http.StatusConflict},
				summary: "Change a clinician", details: "A merge patch (RFC 7396): what is left out stays, null clears.",
			}, changeClinician),
		}},
		{clinicianPath + "/jwt", []Operation{
			operation(http.MethodPost, "create-clinician-jwt", kind{
				scope: scopeReadIdentifier, device: true, action: audit.LogIn, errors: []int{http.StatusNotFound, http.StatusTooManyRequests},
				summary: "Log a clinician in through a device", details: "Called with the device's own token; no other is taken. The clinician's token ends with the device's authorisation.",
			}, createClinicianToken),
			operation(http.MethodGet, "get-clinician-jwt", kind{
				scope: scopeReadIdentifier, device: true, action: audit.LogIn, errors: []int{http.StatusNotFound, http.StatusTooManyRequests},
				deprecated: true, summary: "Log a clinician in through a device: use POST",
			}, getClinicianToken),
		}},
		{identityPath, []Operation{
			operation(http.MethodGet, "list-identities", kind{
				scope: scopeReadIdentity, action: audit.ListIdentities, summary: "List the identities that called or were registered",
			}, listIdentities),
			operation(http.MethodPost, "register-identity", kind{
				scope: scopeWriteIdentity, action: audit.RegisterIdentity, body: true, status: http.StatusCreated, errors: []int{http.StatusConflict},
				summary: "Register an identity before it calls", details: "It is approved at once.",
			}, registerIdentity),
		}},
		{identityPath + "/{identity_id}", []Operation{
			operation(http.MethodGet, "get-identity", kind{
				scope: scopeReadIdentity, action: audit.ReadIdentity, errors: []int{http.StatusNotFound}, summary: "Read an identity",
			}, getIdentity),
			operation(http.MethodPatch, "change-identity", kind{
				scope: scopeWriteIdentity, action: audit.ChangeIdentity, body: true,
				errors:  []int{http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed},
				summary: "Change an identity's label or scopes, disable it, or let it in again",
				details: "What is left out stays. A retired identity stays as it is, and nobody takes from themselves.",
			}, changeIdentity),
		}},
		{identityPath + "/{identity_id}/approve", []Operation{
			operation(http.MethodPost, "approve-identity", kind{
				scope: scopeWriteIdentity, action: audit.ApproveIdentity, body: true, errors: []int{http.StatusNotFound, http.StatusConflict},
				summary: "Let a pending identity in",
				details: "The body is {} at least. Asking for the same again changes nothing; where a predecessor is named it also completes what was broken off.",
			}, approveIdentity),
		}},
		{"/dhos/v1/denial", []Operation{
			operation(http.MethodPost, "open-denial", kind{
				scope: scopeReadAudit, delegated: true, action: audit.ReadDenial, body: true, summary: "Explain a refusal",
				details: "Opens the ticket of a 401 or 403 for seven days: the rule that failed, what it wanted and found, and how to mend it.",
			}, openDenial),
		}},
		{"/dhos/v1/site/{site_code}", []Operation{
			operation(http.MethodGet, "find-site", kind{
				errors: []int{http.StatusNotFound}, summary: "Where the site of a code's prefix is",
			}, findSite),
		}},
		{"/.well-known/latchkey-sites.json", []Operation{
			operation(http.MethodGet, "sites", kind{summary: "Where all sites are"}, sites),
		}},
		{"/dhos/v1/patient/{patient_id}/authorisation", []Operation{
			operation(http.MethodGet, "list-patient-authorisations", kind{
				scope: scopeReadActivation, action: audit.ListCredentials, summary: "List what buys tokens for a patient, oldest first",
			}, listAuthorisations),
			operation(http.MethodDelete, "revoke-patient-authorisations", kind{
				scope: scopeWriteActivation, action: audit.RevokeAuthorisation, summary: "End all that buys tokens for a patient (lost phone)",
				details: "A pending activation is ended too. From the reply on no token can be bought, and those that were are refused here and at introspection; " +
					"verifiers that follow /.well-known/latchkey-revoked refuse them within 60 s, others at their exp. Once more is the same, and writes nothing.",
			}, endAuthorisations),
		}},
		{"/dhos/v1/patient/{patient_id}/authorisation/{authorisation_id}", []Operation{
			operation(http.MethodPatch, "label-patient-authorisation", kind{
				scope: scopeWriteActivation, action: audit.LabelCredential, body: true, errors: []int{http.StatusNotFound}, summary: "Name one of them",
			}, labelAuthorisation),
			operation(http.MethodDelete, "revoke-patient-authorisation", kind{
				scope: scopeWriteActivation, action: audit.RevokeCredential, summary: "End one of them",
				details: "As ending all, but for the others and for a pending activation. One that is not there has ended: that is no error.",
			}, endAuthorisation),
		}},
		{revocationPath, []Operation{
			operation(http.MethodPost, "revoke-token", kind{
				scope: scopeRevokeToken, action: audit.RevokeToken, body: true, encoded: true, status: http.StatusOK, summary: "End one token (RFC 7009)",
				details: "What it was bought with stays: end the authorisation if that is meant. A token that is not ours, or has ended, is 200 too.",
			}, revokeToken),
		}},
		{introspectionPath, []Operation{
			operation(http.MethodPost, "introspect-token", kind{
				scope: scopeIntrospectToken, action: audit.IntrospectToken, body: true, encoded: true, summary: "Say what a token is worth now (RFC 7662)",
			}, introspectToken),
		}},
		{"/.well-known/latchkey-revoked", []Operation{
			operation(http.MethodGet, "revocations", kind{
				summary: "What has ended before it expired, signed",
				details: "A JWT of typ latchkey-revoked+jwt, by a key of /.well-known/jwks.json: revoked is an array of {sid or jti, until}. Verifiers fetch it every 30 s, " +
					"refuse every token of ours with such a sid or jti, and do not rely on a list past its exp.",
			}, revocations),
		}},
		{"/.well-known/jwks.json", []Operation{
			operation(http.MethodGet, "keys", kind{summary: "The keys that verify our tokens"}, keys),
		}},
		{"/.well-known/openid-configuration", []Operation{
			operation(http.MethodGet, "openid-configuration", kind{summary: "OpenID Provider metadata"}, openIDConfiguration),
		}},
		{"/.well-known/oauth-authorization-server", []Operation{
			operation(http.MethodGet, "authorization-server", kind{summary: "Authorization server metadata (RFC 8414)"}, authorizationServer),
		}},
		{"/.well-known/oauth-protected-resource", []Operation{
			operation(http.MethodGet, "protected-resource", kind{summary: "Protected resource metadata (RFC 9728)"}, protectedResource),
		}},
		{"/running", []Operation{
			operation(http.MethodGet, "running", kind{starts: true, summary: "Whether the process runs"}, running),
		}},
		{"/version", []Operation{
			operation(http.MethodGet, "version", kind{starts: true, summary: "What is running"}, version),
		}},
		{"/health/live", []Operation{
			operation(http.MethodGet, "live", kind{starts: true, summary: "Whether the process lives"}, live),
		}},
		{"/health/ready", []Operation{
			operation(http.MethodGet, "ready", kind{
				starts: true, errors: []int{http.StatusServiceUnavailable}, summary: "Whether requests can be served",
			}, ready),
		}},
		{"/openapi.json", []Operation{
			operation(http.MethodGet, "openapi-json", kind{starts: true, summary: "This document"}, openAPIJSON),
		}},
		{"/openapi.yaml", []Operation{
			operation(http.MethodGet, "openapi-yaml", kind{starts: true, summary: "This document, as YAML"}, openAPIYAML),
		}},
		{"/ui", []Operation{
			operation(http.MethodGet, "ui", kind{
				errors: []int{http.StatusNotFound}, summary: "This document, as a page (outside production)",
			}, browse),
		}},
	}
}

// Markdown is the route table as the README shows it. It ends in a newline.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| route | scope | what |\n| --- | --- | --- |\n")
	for _, route := range Routes() {
		for _, o := range route.Operations {
			scope := ""
			if o.Scope != "" {
				scope = "`" + o.Scope + "`"
			}
			fmt.Fprintf(&b, "| `%s %s` | %s | %s |\n", o.Method, route.Path, scope, o.Summary)
		}
	}
	return b.String()
}
