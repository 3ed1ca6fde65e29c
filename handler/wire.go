package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/admission"
	"latchkey/handler/internal/budget"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/denial"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/readiness"
	"latchkey/handler/internal/revoked"
	"latchkey/handler/internal/server"
	"latchkey/handler/internal/settings"
	"latchkey/handler/internal/site"
	"latchkey/handler/internal/store"
	"latchkey/handler/internal/subject"
	"latchkey/handler/internal/token"
	"latchkey/handler/internal/vault"
)

// network is how the handler reaches others: one pool of connections, which trusts the system's authorities and those of
// Network:CABundle.
type network struct{ client *http.Client }

func newNetwork(c settings.Network) network {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, certificate := range c.CACertificates {
		roots.AddCert(certificate)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	// The storage account is one host; a slow one must not take every port the platform lets out.
	transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = 64, 256
	return network{&http.Client{Transport: transport}}
}

// credential is the app's identity: the managed one in Azure, a developer's on a laptop.
func (n network) credential() (azcore.TokenCredential, error) {
	return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: n.client},
	})
}

// vault returns the reader of the vault, or nil if there is none.
func (n network) vault(c settings.KeyVault) (func(context.Context, []string) (map[string]string, error), error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	credential, err := n.credential()
	if err != nil {
		return nil, err
	}
	v, err := vault.New(c.Endpoint, credential, n.client, time.Now)
	if err != nil {
		return nil, err
	}
	return v.Read, nil
}

// issuers are those whose tokens are trusted, with the keys of each.
func (n network) issuers(s *settings.Settings, log *slog.Logger) (caller.Config, error) {
	trusted := caller.Config{Now: time.Now}
	keys := func(c caller.KeysConfig) (*caller.Keys, error) {
		c.Client, c.Now, c.Random, c.Log = n.client, time.Now, rand.Reader, log
		return caller.NewKeys(c)
	}
	ofEntra, err := keys(caller.KeysConfig{Tenant: s.Entra.TenantID, URL: s.Entra.KeysURL})
	if err != nil {
		return trusted, err
	}
	trusted.Entra = caller.Entra{Tenant: s.Entra.TenantID, Audiences: s.Entra.Audiences, Keys: ofEntra}
	for _, p := range s.Identity.Providers {
		ofProvider, err := keys(caller.KeysConfig{Issuer: p.Issuer, Algorithms: p.Algorithms, URL: p.KeysURL})
		if err != nil {
			return trusted, err
		}
		trusted.Providers = append(trusted.Providers, caller.Provider{
			Issuer: p.Issuer, Audiences: p.Audiences, Algorithms: p.Algorithms, Roles: p.Roles, Scopes: p.Scopes, Keys: ofProvider,
		})
	}
	return trusted, nil
}

// mostLater is how much may be done in the background at once.
const mostLater = 64

// assemble makes what routes work with from the first good settings. Nothing here asks the network.
func assemble(ctx context.Context, source *settings.Source, n network, log *slog.Logger) (*server.Parts, readiness.Probes, error) {
	first := source.Current()
	fail := func(err error) (*server.Parts, readiness.Probes, error) { return nil, readiness.Probes{}, err }
	credential, err := n.credential()
	if err != nil {
		return fail(err)
	}
	tables, err := store.New(first.Storage.TablesEndpoint, credential, store.Options{Transport: n.client})
	if err != nil {
		return fail(err)
	}
	peppers, err := keyed.NewRing(first.Codes.Pepper)
	if err != nil {
		return fail(err)
	}
	key, err := token.ParseKey(first.Tokens.SigningKey)
	if err != nil {
		return fail(err)
	}
	issuer, err := token.NewIssuer(token.Config{
		Issuer: first.Tokens.Issuer, Audience: first.Tokens.Audience, Keys: []*token.Key{key}, Now: time.Now, Random: rand.Reader,
	})
	if err != nil {
		return fail(err)
	}
	trusted, err := n.issuers(first, log)
	if err != nil {
		return fail(err)
	}
	trusted.Own = caller.Own{
		Issuer: first.Tokens.Issuer, Tokens: func() *token.Issuer { return issuer }, Session: tables.Session,
	}
	verifier, err := caller.NewVerifier(trusted)
	if err != nil {
		return fail(err)
	}
	for _, keys := range trusted.Keys() {
		go keys.Run(ctx)
	}

	places := make(chan struct{}, mostLater)
	later := func(do func(context.Context)) {
		select {
		case places <- struct{}{}:
		default:
			return // it is a note for people, and is made again within the hour
		}
		go func() {
			defer func() { <-places }()
			defer func() {
				if failed := recover(); failed != nil {
					log.Error("a panic in the background", "cause", fmt.Sprint(failed)) // three of them would end the host
				}
			}()
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			do(ctx)
		}()
	}
	registry := identity.New(tables.Identities(), identity.Clock(systemClock), rand.Reader)
	door, err := admission.New(admission.Config{
		Registry: registry, Policy: callers(source), Now: time.Now, Beside: store.Beside, Later: later,
	})
	if err != nil {
		return fail(err)
	}
	guard := budget.NewGuard(limits(source), budget.Environment{Store: tables, Now: time.Now, Later: later, Report: reportBudget(log)})
	later(guard.Warm)
	list := revoked.New(revoked.Source{
		Read: tables.Endings, Now: time.Now,
		Sign: func(all []activation.Ending, at time.Time) ([]byte, error) {
			return issuer.Revocations(all, at, revoked.Lifetime)
		},
	})
	return &server.Parts{
		Activations: activation.New(tables, policy(source, peppers), systemClock, rand.Reader, later, guard.Guess),
		Refused:     guard.Refused,
		Verify:      verifier.Verify,
		Recognise:   verifier.Recognise,
		Clinicians: clinician.New(tables.Clinicians(), func() *time.Location { return source.Current().Site.TimeZone }, clinician.Clock(systemClock),
			rand.Reader, guard.Login),
		MintClinician: func(g clinician.Grant) (string, time.Duration, error) {
			now := source.Current()
			lifetime := now.Tokens.ClinicianLifetime
			jwt, err := issuer.Mint(token.Grant{
				Subject: g.Subject(), Device: g.Device(), Session: g.Session(), Scopes: now.Personas.Clinician, IssuedAt: g.At(), Lifetime: lifetime,
			})
			return jwt, lifetime, err
		},
		Admit:      door.Admit,
		Identities: registry,
		Seal:       func(d denial.Denial) (string, error) { return denial.Seal(peppers, rand.Reader, d) },
		Unseal:     func(ticket string) (denial.Denial, error) { return denial.Open(peppers, ticket, time.Now()) },
		Mint: func(g activation.Grant) (string, time.Duration, error) {
			now := source.Current()
			lifetime, scopes := persona(now, g.Subject().Kind)
			jwt, err := issuer.Mint(token.Grant{
				Subject: g.Subject(), Session: g.Session(), Scopes: scopes, IssuedAt: g.At(), Lifetime: lifetime,
			})
			return jwt, lifetime, err
		},
		Claims:    issuer.Verify,
		Revoked:   list.Document,
		Reference: peppers.Reference,
		Registers: registers(first),
		Keys:      issuer.KeysDocument(),
		Algorithm: issuer.SigningAlgorithm(),
		Issuer:    first.Tokens.Issuer,
		Audience:  first.Tokens.Audience,
		Issuers:   verifier.Issuers(),
		Imported:  func() bool { return source.Current().Import.Credentials },
		Zone:      func() *time.Location { return source.Current().Site.TimeZone },
		Site:      first.Site.Code,
		Sites:     func() site.Directory { return source.Current().Sites },
		AppLink:   func() string { return source.Current().Site.AppLink },
		Browse:    first.Docs.Page,
	}, readiness.Probes{Storage: tables.Ping, Issuers: issuersKeys(trusted.Keys())}, nil
}

// persona is what the tokens of a kind of subject are worth (TOK-5): nothing, for one that has none.
func persona(s *settings.Settings, kind subject.Kind) (lifetime time.Duration, scopes []string) {
	switch kind {
	case subject.Patient:
		return s.Tokens.PatientLifetime, s.Personas.Patient
	case subject.Device:
		return s.Tokens.DeviceLifetime, s.Personas.Device
	}
	return 0, nil
}

// policy is what one operation of the domain takes from the settings of its moment.
func policy(source *settings.Source, peppers *keyed.Ring) func() activation.Policy {
	return func() activation.Policy {
		s := source.Current()
		return activation.Policy{
			Keys: peppers, Site: s.Site.Code, OTPLength: s.Codes.OTPLength, CodeLength: s.Codes.AuthorisationCodeLength, DeviceCodeLength: s.Codes.DeviceCodeLength,
			SaltLength: s.Codes.SaltLength, MaxAttempts: s.Codes.MaxAttempts, ExpiryDays: s.Codes.ExpiryDays,
			Zone: s.Site.TimeZone, MaxPerPatient: s.Codes.MaxCredentialsPerPatient,
			Imported: s.Import.Credentials,
		}
	}
}

func issuersKeys(keys []*caller.Keys) []readiness.Issuer {
	all := make([]readiness.Issuer, len(keys))
	for i, k := range keys {
		all[i] = readiness.Issuer{Name: k.Issuer(), Keys: k.Age}
	}
	return all
}

// limits are the budgets that the settings of the moment allow.
func limits(source *settings.Source) func() budget.Limits {
	return func() budget.Limits {
		a := source.Current().Abuse
		return budget.Limits{
			Unknown: budget.PerYear(a.UnknownCapacity, a.UnknownPerYear), Source: budget.PerWindow(a.SourceRefusals, a.SourceWindow),
			Login: budget.PerWindow(a.UnknownLogins, a.SourceWindow),
		}
	}
}

// reportBudget logs what somebody should know of a budget: alerts are made of these lines.
func reportBudget(log *slog.Logger) func(budget.Report) {
	return func(r budget.Report) {
		if r.Err != nil {
			log.Error("a budget cannot be asked for", "budget", string(r.Kind), "cause", r.Err.Error())
			return
		}
		log.Warn("a budget is nearly empty: many unknown codes were tried", "budget", string(r.Kind), "left", r.Left, "of", r.Capacity)
	}
}

// registers are the issuers whose identities the registry keeps, as it names them.
func registers(s *settings.Settings) []string {
	all := []string{s.Entra.TenantID}
	for _, p := range s.Identity.Providers {
		all = append(all, p.Issuer)
	}
	return all
}

// callers is what the settings of the moment ask of callers.
func callers(source *settings.Source) func() caller.Policy {
	return func() caller.Policy {
		now := source.Current().Identity
		return caller.Policy{Administrators: now.Administrators, Require: now.Require, DefaultScopes: now.DefaultScopes}
	}
}

// clientAddress says whose address can be believed (model.md section 9). Without a host it is the peer's. Under the host it is
// X-Forwarded-For when the host proxies and was told to take the front end's word: then it is one address that no client can
// forge. A forwarding host hands over another part of the header: no address at all. The two are told apart by Host: a proxying
// host puts our own address there, a forwarding one leaves the client's, host-contract.md 3.3. Where nothing in front routes by Host, a client
// of a forwarding host could write our address there: so forwarded headers are for a host that proxies (model.md section 9).
func clientAddress(underHost, forwardedHeaders bool) func(*http.Request) string {
	return func(r *http.Request) string {
		text := r.Header.Get("X-Forwarded-For")
		switch {
		case !underHost:
			text, _, _ = net.SplitHostPort(r.RemoteAddr)
		case !forwardedHeaders, !proxied(r), len(r.Header.Values("X-Forwarded-For")) != 1:
			return ""
		}
		address, err := netip.ParseAddr(text)
		if err != nil {
			return ""
		}
		return address.Unmap().WithZone("").String()
	}
}

// proxied reports whether the request was made for our own address, as a proxying host makes it.
func proxied(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && r.Host == local.String()
}
