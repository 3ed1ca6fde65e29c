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
)

// Routes is the one table: the mux, the OpenAPI document and functions/*/function.json come from it.
func Routes() []Route {
	return []Route{
		{"/dhos/v1/patient/{patient_id}/activation", []Operation{
			operation(http.MethodPost, "create-patient-activation", kind{
				scope: scopeWriteActivation, action: audit.CreateActivation, errors: []int{http.StatusConflict}, summary: "Invite a patient",
				details: "A pending activation is replaced: its code is dead from then on. Code and OTP are told to nobody else, and again only under the Idempotency-Key.",
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
				body: true, errors: []int{http.StatusNotFound}, summary: "Redeem an activation",
				details: "Works exactly once. Send the code that was typed, or activation_code and otp. A refusal does not say why.",
			}, redeemActivation),
		}},
		{"/dhos/v1/activation/{activation_code}", []Operation{
			operation(http.MethodPost, "redeem-activation-by-code", kind{
				body: true, errors: []int{http.StatusNotFound}, summary: "Redeem an activation, with the code in the path",
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
