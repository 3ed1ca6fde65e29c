package main

import "strings"

// curlLines are the three steps of the main job for pasting into any POSIX
// shell. Each keeps its reply in a variable that the next one takes its values
// from, with sed, because curl and sed are on every machine and jq is not.
func curlLines(base, bearer string) []string {
	r := strings.NewReplacer("{base}", base, "{bearer}", bearer)
	value := func(variable, member string) string {
		return `$(printf %s "$` + variable + `" | sed -n 's/.*"` + member + `" *: *"\([^"]*\)".*/\1/p')`
	}
	return []string{
		r.Replace(`ACTIVATION=$(curl -sS -X POST -H "Authorization: Bearer {bearer}" {base}/dhos/v1/patient/patient-1/activation); echo "$ACTIVATION"`),
		r.Replace(`REDEEMED=$(curl -sS -H 'Content-Type: application/json' -d "{\"activation_code\":\"` + value("ACTIVATION", "activation_code") +
			`\",\"otp\":\"` + value("ACTIVATION", "otp") + `\"}" {base}/dhos/v1/activation); echo "$REDEEMED"`),
		r.Replace(`curl -sS -X POST -H "x-authorisation-code: ` + value("REDEEMED", "authorisation_code") + `" {base}/dhos/v1/patient/patient-1/jwt; echo`),
	}
}
