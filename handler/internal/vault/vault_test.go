package vault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets/fake"
	"github.com/google/go-cmp/cmp"
)

const (
	endpoint = "https://v.vault.azure.net"
	canary   = "canary-value" // what no error may hold
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

func atNoon() time.Time { return noon }

func newVault(t *testing.T, transport policy.Transporter) *Vault {
	t.Helper()
	v, err := New(endpoint, &azfake.TokenCredential{}, transport, atNoon)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// listed is one secret of a fake vault.
type listed struct {
	name, value string
	attributes  azsecrets.SecretAttributes
}

// fakeVault is azsecrets' own fake with secrets in pages; reads holds the names that were read.
type fakeVault struct {
	pages [][]listed

	mu    sync.Mutex
	reads []string
}

// transport is to be made once: it remembers which page comes next.
func (f *fakeVault) transport() policy.Transporter {
	return fake.NewServerTransport(&fake.Server{
		NewListSecretPropertiesPager: func(*azsecrets.ListSecretPropertiesOptions) (resp azfake.PagerResponder[azsecrets.ListSecretPropertiesResponse]) {
			for _, page := range f.pages {
				var result azsecrets.ListSecretPropertiesResponse
				for _, s := range page {
					result.Value = append(result.Value, &azsecrets.SecretProperties{
						ID: to.Ptr(azsecrets.ID(endpoint + "/secrets/" + s.name)), Attributes: &s.attributes})
				}
				resp.AddPage(http.StatusOK, result, nil)
			}
			return resp
		},
		GetSecret: func(_ context.Context, name, version string, _ *azsecrets.GetSecretOptions) (resp azfake.Responder[azsecrets.GetSecretResponse], fail azfake.ErrorResponder) {
			f.mu.Lock()
			f.reads = append(f.reads, name+version)
			f.mu.Unlock()
			for _, page := range f.pages {
				for _, s := range page {
					if strings.EqualFold(s.name, name) && version == "" {
						resp.SetResponse(http.StatusOK, azsecrets.GetSecretResponse{Secret: azsecrets.Secret{Value: &s.value, Attributes: &s.attributes}}, nil)
						return resp, fail
					}
				}
			}
			fail.SetResponseError(http.StatusNotFound, "SecretNotFound")
			return resp, fail
		},
	})
}

// TestCFG1_SecretsAreSectionDashDashKey: what is wanted and there comes back under the setting's key; nothing else is read.
func TestCFG1_SecretsAreSectionDashDashKey(t *testing.T) {
	f := &fakeVault{pages: [][]listed{{
		{name: "Tokens--SigningKey", value: "key\n"},
		{name: "codes--PEPPER", value: "pepper"},
		{name: "Codes-OTPLength", value: "7"},
		{name: "somebody-elses", value: canary},
	}}}
	got, err := newVault(t, f.transport()).Read(t.Context(), []string{"Tokens:SigningKey", "Codes:Pepper", "Codes:OTPLength", "Site:Code"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"Tokens:SigningKey": "key\n", "Codes:Pepper": "pepper"}, got); diff != "" {
		t.Error(diff)
	}
	slices.Sort(f.reads)
	if diff := cmp.Diff([]string{"Codes--Pepper", "Tokens--SigningKey"}, f.reads); diff != "" {
		t.Error(diff)
	}
}

func TestCFG2_AnEmptyVaultIsNoError(t *testing.T) {
	got, err := newVault(t, (&fakeVault{pages: [][]listed{{}}}).transport()).Read(t.Context(), []string{"Codes:Pepper"})
	if err != nil || got == nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestUnusableSecretsAreNamed: all of them at once, none is read, and an attribute at its very moment counts.
func TestUnusableSecretsAreNamed(t *testing.T) {
	f := &fakeVault{pages: [][]listed{{
		{"Codes--Pepper", canary, azsecrets.SecretAttributes{Enabled: to.Ptr(false)}},
		{"Tokens--SigningKey", canary, azsecrets.SecretAttributes{Enabled: to.Ptr(true), Expires: to.Ptr(noon)}},
		{"Site--Code", canary, azsecrets.SecretAttributes{Enabled: to.Ptr(true), NotBefore: to.Ptr(noon.Add(time.Second))}},
		{"Tokens--Issuer", canary, azsecrets.SecretAttributes{Enabled: to.Ptr(true), NotBefore: to.Ptr(noon), Expires: to.Ptr(noon.Add(time.Second))}},
		{"not-ours", canary, azsecrets.SecretAttributes{Enabled: to.Ptr(false)}},
	}}}
	got, err := newVault(t, f.transport()).Read(t.Context(), []string{"Codes:Pepper", "Tokens:SigningKey", "Site:Code", "Tokens:Issuer"})
	if !errors.Is(err, ErrSecret) || got != nil {
		t.Fatalf("got %v, %v", got, err)
	}
	const want = "the Key Vault v.vault.azure.net holds a secret that must not be used: Codes--Pepper is disabled, " +
		"Tokens--SigningKey is expired since 2026-12-01T12:00:00Z, Site--Code is not valid before 2026-12-01T12:00:01Z"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	if len(f.reads) != 0 {
		t.Errorf("read %v", f.reads)
	}
}

// TestReadsEightAtATime over a vault of several pages.
func TestReadsEightAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeVault{}
		var keys []string
		for page := range 3 {
			f.pages = append(f.pages, nil)
			for i := range 8 {
				f.pages[page] = append(f.pages[page], listed{name: fmt.Sprintf("P%d--K%d", page, i), value: "x"})
				keys = append(keys, fmt.Sprintf("P%d:K%d", page, i))
			}
		}
		var now, most atomic.Int32
		server := f.transport()
		transport := do(func(r *http.Request) (*http.Response, error) {
			if !strings.HasPrefix(r.URL.Path, "/secrets/P") {
				return server.Do(r)
			}
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			return server.Do(r)
		})
		began := time.Now()
		got, err := newVault(t, transport).Read(t.Context(), keys)
		if err != nil || len(got) != 24 {
			t.Fatalf("%d values, %v", len(got), err)
		}
		if most.Load() != parallel || time.Since(began) != 3*time.Second {
			t.Errorf("%d at a time, %s", most.Load(), time.Since(began))
		}
	})
}

// do is a transport made of a function.
type do func(*http.Request) (*http.Response, error)

func (f do) Do(r *http.Request) (*http.Response, error) { return f(r) }

func reply(r *http.Request, status int, header http.Header, body string) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: header, Request: r,
		Body: io.NopCloser(strings.NewReader(body)),
	}
}

func challenge(authorization, resource string) http.Header {
	return http.Header{"Www-Authenticate": {fmt.Sprintf("Bearer authorization=%q, resource=%q", authorization, resource)}}
}

const tenantURL = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555"

// asVault answers a request without a token with the challenge, and others by next.
func asVault(next do) do {
	return func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("Authorization") == "" {
			return reply(r, http.StatusUnauthorized, challenge(tenantURL, "https://vault.azure.net"), ""), nil
		}
		return next(r)
	}
}

func refusal(code, inner string) string {
	return fmt.Sprintf(`{"error":{"code":%q,"message":%q,"innererror":{"code":%q}}}`, code, canary, inner)
}

// TestRefusals maps what Key Vault answers to the first request. No text of a reply comes through.
func TestRefusals(t *testing.T) {
	const role = `the app's identity lacks the role "Key Vault Secrets User" there, or belongs to another tenant`
	tests := []struct {
		name   string
		status int
		header http.Header
		body   string
		want   error
		text   string
	}{
		{"role", 403, nil, refusal("Forbidden", "ForbiddenByRbac"), ErrDenied, role + " (403)"},
		{"access policy", 403, nil, refusal("Forbidden", "AccessDenied"), ErrDenied, role + " (403)"},
		{"no body", 403, nil, "", ErrDenied, role + " (403)"},
		{"firewall", 403, nil, refusal("Forbidden", "ForbiddenByFirewall"), ErrDenied, "its network rules do not let this app in (ForbiddenByFirewall)"},
		{"private link", 403, nil, refusal("Forbidden", "ForbiddenByConnection"), ErrDenied, "its network rules do not let this app in (ForbiddenByConnection)"},
		{"token refused", 401, challenge(tenantURL, "https://vault.azure.net"), refusal("Unauthorized", ""), ErrDenied, role + " (401)"},
		{"token refused without a challenge", 401, nil, refusal("Unauthorized", ""), ErrDenied, role + " (401)"},
		{"throttled", 429, http.Header{"Retry-After": {"60"}}, refusal("Throttled", ""), ErrUnavailable, "it answers 429"},
		{"broken", 500, nil, canary, ErrUnavailable, "it answers 500"},
		{"down", 503, nil, canary, ErrUnavailable, "it answers 503"},
		{"not a vault", 404, nil, "<html>" + canary, ErrNoVault, "it answers 404"},
		{"old version", 400, nil, refusal("BadParameter", ""), ErrNoVault, "it answers 400"},
		{"a portal's page", 200, nil, "<html>" + canary, ErrNoVault, "its challenge or its reply is not one of this vault's"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVault(t, asVault(func(r *http.Request) (*http.Response, error) {
					return reply(r, test.status, test.header, test.body), nil
				}))
				began := time.Now()
				_, err := v.Read(t.Context(), []string{"Codes:Pepper"})
				if took := time.Since(began); took > repeats*maxDelay {
					t.Errorf("it took %s: a Retry-After of a minute is the caller's to wait for", took)
				}
				if !errors.Is(err, test.want) || !strings.HasSuffix(err.Error(), ": "+test.text) {
					t.Errorf("got %v, want %v: %s", err, test.want, test.text)
				}
				if !strings.HasPrefix(err.Error(), "the Key Vault v.vault.azure.net ") || strings.Contains(err.Error(), canary) {
					t.Errorf("the error says too little or too much: %v", err)
				}
			})
		})
	}
}

// TestBetweenListAndRead: what changes after the list was made is noticed by the read.
func TestBetweenListAndRead(t *testing.T) {
	const list = `{"value":[{"id":"https://v.vault.azure.net/secrets/Codes--Pepper","attributes":{"enabled":true}}]}`
	tests := []struct {
		name   string
		status int
		body   string
		want   error
		text   string
	}{
		{"deleted", 404, refusal("SecretNotFound", ""), nil, ""},
		{"disabled", 403, refusal("Forbidden", "SecretDisabled"), ErrSecret, "Codes--Pepper is disabled"},
		{"not readable", 403, refusal("Forbidden", "ForbiddenByRbac"), ErrDenied, "(403)"},
		{"expired", 200, `{"value":"` + canary + `","attributes":{"enabled":true,"exp":1}}`, ErrSecret, "Codes--Pepper is expired since 1970-01-01T00:00:01Z"},
		{"no value", 200, `{"attributes":{"enabled":true}}`, ErrNoVault, "Codes--Pepper comes without a value"},
		{"gone", 503, "", ErrUnavailable, "it answers 503"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVault(t, asVault(func(r *http.Request) (*http.Response, error) {
					if r.URL.Path == "/secrets" {
						return reply(r, 200, nil, list), nil
					}
					return reply(r, test.status, nil, test.body), nil
				}))
				got, err := v.Read(t.Context(), []string{"Codes:Pepper"})
				if len(got) != 0 || !errors.Is(err, test.want) {
					t.Fatalf("got %v, %v, want %v", got, err, test.want)
				}
				if err != nil && (!strings.HasSuffix(err.Error(), test.text) || strings.Contains(err.Error(), canary)) {
					t.Errorf("got %v, want %s", err, test.text)
				}
			})
		})
	}
}

// TestAChallengeForAnotherVault never makes the app ask for a token; one that the SDK cannot parse does not end the process.
func TestAChallengeForAnotherVault(t *testing.T) {
	tests := map[string]http.Header{
		"another resource":             challenge(tenantURL, "https://vault.evil.example"),
		"a resource that ends alike":   challenge(tenantURL, "https://ault.azure.net"),
		"an authorization of no path":  challenge("https://login", "https://vault.azure.net"),
		"a challenge of no resource":   {"Www-Authenticate": {"Bearer realm=x"}},
		"a challenge of another kind":  {"Www-Authenticate": {"Basic realm=x"}},
		"a resource that is not a URL": challenge(tenantURL, "https://%zz"),
	}
	for name, header := range tests {
		t.Run(name, func(t *testing.T) {
			credential := credential(func(context.Context) error {
				t.Error("asked for a token")
				return nil
			})
			v, err := New(endpoint, credential, do(func(r *http.Request) (*http.Response, error) {
				return reply(r, http.StatusUnauthorized, header, canary), nil
			}), atNoon)
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Read(t.Context(), []string{"Codes:Pepper"})
			if !errors.Is(err, ErrNoVault) || strings.Contains(err.Error(), "Disable") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// credential gives a token unless its function fails.
type credential func(context.Context) error

func (c credential) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token", ExpiresOn: noon.AddDate(100, 0, 0)}, c(ctx)
}

func TestNoIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tests := map[string]struct {
			credential credential
			want       error
		}{
			"refused": {func(context.Context) error { return errors.New("400 from the endpoint: " + canary) }, ErrIdentity},
			"hanging": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, ErrUnavailable},
		}
		for name, test := range tests {
			v, err := New(endpoint, test.credential, asVault(func(*http.Request) (*http.Response, error) {
				t.Errorf("%s: sent a request without a token", name)
				return nil, errors.New("unexpected")
			}), atNoon)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = v.Read(t.Context(), []string{"Codes:Pepper"}); !errors.Is(err, test.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
}

// TestF09_NoAnswer: each way of not answering has one text, whatever port the connection had.
func TestF09_NoAnswer(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	broken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broken.Close() })
	go func() {
		for {
			conn, err := broken.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()

	dialing := func(address string) policy.Transporter {
		return &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		}}
	}
	tests := map[string]struct {
		transport policy.Transporter
		text      string
	}{
		"refused":   {dialing(closed.Listener.Addr().String()), "the connection is refused"},
		"untrusted": {dialing(untrusted.Listener.Addr().String()), "its certificate is not trusted: x509: "},
		"broken":    {dialing(broken.Addr().String()), "the connection fails"},
		"no name": {&http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}
		}}}, "its name does not exist"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVault(t, test.transport)
			_, first := v.Read(t.Context(), []string{"Codes:Pepper"})
			_, second := v.Read(t.Context(), []string{"Codes:Pepper"})
			if !errors.Is(first, ErrUnavailable) || !strings.Contains(first.Error(), "the Key Vault v.vault.azure.net is not available: "+test.text) {
				t.Errorf("got %v", first)
			}
			if second == nil || second.Error() != first.Error() {
				t.Errorf("the same cause has two texts: %v and %v", first, second)
			}
		})
	}
}

// TestF09_Slow: a vault that never answers costs two tries of callLimit and a wait; the caller's own limits come first.
func TestF09_Slow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, do(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		began := time.Now()
		_, err := v.Read(t.Context(), []string{"Codes:Pepper"})
		if took := time.Since(began); !errors.Is(err, ErrUnavailable) || took < 2*callLimit || took > 2*callLimit+maxDelay {
			t.Errorf("got %v after %s", err, took)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Read(ctx, []string{"Codes:Pepper"}); !errors.Is(err, ErrUnavailable) || !strings.HasSuffix(err.Error(), "no answer in time") {
			t.Errorf("a limit of the caller: %v", err)
		}

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := v.Read(ctx, []string{"Codes:Pepper"}); !errors.Is(err, context.Canceled) {
			t.Errorf("the caller's leaving: %v", err)
		}
	})
}

func TestNewRefusesWhatIsNoHTTPS(t *testing.T) {
	for _, address := range []string{"", "v.vault.azure.net", "http://v.vault.azure.net", "https://"} {
		if _, err := New(address, &azfake.TokenCredential{}, nil, atNoon); err == nil {
			t.Errorf("%q is taken", address)
		}
	}
}
