// Package e2e proves Latchkey's rows from outside, on the release binary: over HTTP, through a Functions host in both of its
// modes and without one. It starts the whole stack as `make start` does. It imports nothing of the app but its tools for tests: faults, and the check of all rows.
//
// The same tests run against a host that is up already, a real Functions host for example:
//
//	LATCHKEY_E2E_BASE_URL      where it answers, such as http://127.0.0.1:7071
//	LATCHKEY_E2E_IDENTITY_URL  the local identity service that its app trusts (infra/local/identity)
//	LATCHKEY_E2E_CA            the authority below which that service's certificate is, PEM
//
// `make start` keeps all three in .local/<port>/stack.json. Tests that need the processes (their output, their outages, the rows
// that they wrote, a second handler) are skipped then.
package e2e
