package stack

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// environment is a process environment, NAME=value. The last one of a name
// counts, as for os/exec.
type environment []string

func (e environment) lookup(name string) (string, bool) {
	for i := len(e) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(e[i], name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// or returns the value of name, or other when it is not set or empty.
func (e environment) or(name, other string) string {
	if value, _ := e.lookup(name); value != "" {
		return value
	}
	return other
}

// with adds what e does not have yet: what is set already wins.
func (e environment) with(ours map[string]string) environment {
	out := append(environment(nil), e...)
	for name, value := range ours {
		if _, set := e.lookup(name); !set {
			out = append(out, name+"="+value)
		}
	}
	return out
}

// settings is the environment of the app: what is inherited, what it lacks
// from the stack, and extra on top of both. Two kinds are not left to what is
// inherited: CA bundles add up, because the app needs theirs and ours (into is
// the file that holds both), and the managed identity is the stack's own.
func (s *Stack) settings(issuer string, extra []string, into string) (environment, error) {
	env := append(environment(s.options.Environ), extra...)
	bundle, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, err
	}
	if theirs := env.or("Network__CABundle", ""); theirs != "" {
		more, err := os.ReadFile(theirs)
		if err != nil {
			return nil, fmt.Errorf("Network__CABundle: %w", err)
		}
		bundle = bytes.Join([][]byte{bytes.TrimSpace(more), bundle}, []byte("\n"))
	}
	if err := os.WriteFile(into, bundle, 0o644); err != nil {
		return nil, err
	}
	env = env.with(map[string]string{
		"Entra__TenantId":          s.Issuer.Tenant,
		"Entra__Audiences":         s.Issuer.API + ",api://" + s.Issuer.API,
		"Entra__KeysUrl":           s.KeysURL,
		"Storage__TablesEndpoint":  s.Tables,
		"KeyVault__Endpoint":       s.VaultURL,
		"Tokens__Issuer":           issuer,
		"Tokens__Audience":         "https://dhos.invalid/",
		"Site__Code":               "OXF",
		"Identity__Administrators": s.Issuer.Tenant + "/" + Administrator,
		"Docs__Page":               "true",
		"LOG_FORMAT":               "json",
		// Everybody on this machine is one address.
		"Abuse__SourceRefusals": "100000",
		// Not a developer's own sign-in, whatever else is on this machine.
		"AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
	})
	env = append(env, s.managedIdentity()...)
	env = append(env, extra...)
	return append(env, "Network__CABundle="+into), nil
}

// managedIdentity is what App Service tells an app about its identity.
func (s *Stack) managedIdentity() []string {
	return []string{
		"IDENTITY_ENDPOINT=" + loopback("http", s.ports.managed) + "/msi/token",
		"IDENTITY_HEADER=" + s.header,
	}
}
