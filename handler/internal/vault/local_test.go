package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"latchkey/infra/local/certs"
)

const localTenant = "11111111-2222-3333-4444-555555555555"

// localVault is the stand-in of infra/local/vault as a process, over TLS, with an issuer of this test.
type localVault struct {
	t      *testing.T
	url    string
	port   int
	client *http.Client
	key    *rsa.PrivateKey
}

// GetToken implements azcore.TokenCredential: it signs what it is asked for.
func (l *localVault) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"aud": strings.TrimSuffix(o.Scopes[0], "/.default"), "iss": "https://sts.windows.net/" + o.TenantID + "/",
		"exp": now.Add(time.Hour).Unix(), "oid": "an-app",
	})
	token.Header["kid"] = "k"
	signed, err := token.SignedString(l.key)
	return azcore.AccessToken{Token: signed, ExpiresOn: now.Add(time.Hour)}, err
}

// startLocalVault builds and starts the stand-in, which ends with the test.
func startLocalVault(t *testing.T) *localVault {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "vault")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "latchkey/infra/local/vault").CombinedOutput(); err != nil {
		t.Fatalf("building the local vault: %v\n%s", err, out)
	}
	files, err := certs.Make(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	l := &localVault{t: t, client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}}
	t.Cleanup(l.client.CloseIdleConnections)
	if l.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	issuer := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[{"kid":"k","n":%q,"e":%q}]}`, b64(l.key.N.Bytes()), b64(big.NewInt(int64(l.key.E)).Bytes()))
	}))
	issuer.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	issuer.StartTLS()
	t.Cleanup(issuer.Close)

	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.port = free.Addr().(*net.TCPAddr).Port
	l.url = "https://" + free.Addr().String()
	free.Close()
	var output bytes.Buffer
	process := exec.Command(program, "-port", strconv.Itoa(l.port), "-cert", files.Cert, "-key", files.Key, "-data", filepath.Join(dir, "data"),
		"-tenant", localTenant, "-keys-url", issuer.URL, "-ca", files.CA)
	process.Stdout, process.Stderr = &output, &output
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Process.Kill(); process.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := l.client.Get(l.url + "/admin/counts")
		if err == nil {
			resp.Body.Close()
			return l
		}
		if time.Now().After(deadline) {
			t.Fatalf("the local vault does not answer: %v\n%s", err, output.String())
		}
	}
}

// set gives a secret a new version, with further members of the body.
func (l *localVault) set(name, value string, attributes map[string]any) {
	l.t.Helper()
	body, err := json.Marshal(map[string]any{"value": value, "attributes": attributes})
	if err != nil {
		l.t.Fatal(err)
	}
	token, err := l.GetToken(l.t.Context(), policy.TokenRequestOptions{
		TenantID: localTenant, Scopes: []string{"https://0.0.1:" + strconv.Itoa(l.port)}})
	if err != nil {
		l.t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPut, l.url+"/secrets/"+name+"?api-version=7.4", bytes.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token.Token)
	l.send(r)
}

func (l *localVault) fault(kind string) {
	l.t.Helper()
	r, err := http.NewRequest(http.MethodPost, l.url+"/admin/fault", strings.NewReader(url.Values{"kind": {kind}}.Encode()))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	l.send(r)
}

func (l *localVault) send(r *http.Request) {
	l.t.Helper()
	resp, err := l.client.Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		l.t.Fatalf("%s %s: %s", r.Method, r.URL.Path, resp.Status)
	}
}

// TestCFG2_LocalVault reads over TLS, with the challenge, its check of the resource and real JSON.
func TestCFG2_LocalVault(t *testing.T) {
	l := startLocalVault(t)
	var mu sync.Mutex
	var calls []string
	counting := do(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		calls = append(calls, r.URL.Path)
		mu.Unlock()
		return l.client.Do(r)
	})
	v, err := New(l.url, l, counting, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"Codes:Pepper", "Tokens:SigningKey", "Site:Code"}

	for i := range 40 { // two pages
		l.set(fmt.Sprintf("of-others-%02d", i), canary, nil)
	}
	l.set("Codes--Pepper", "old", nil)
	l.set("Codes--Pepper", "new", nil)
	l.set("Tokens--SigningKey", "line\nline\n", nil)
	got, err := v.Read(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"Codes:Pepper": "new", "Tokens:SigningKey": "line\nline\n"}, got); diff != "" {
		t.Error(diff)
	}
	if len(calls) != 5 { // the challenge, two pages, two secrets
		t.Errorf("%d calls: %v", len(calls), calls)
	}

	for kind, want := range map[string]error{"forbidden": ErrDenied, "throttled": ErrUnavailable, "unavailable": ErrUnavailable} {
		l.fault(kind)
		if _, err := v.Read(t.Context(), keys); !errors.Is(err, want) {
			t.Errorf("%s: got %v", kind, err)
		}
	}
	l.fault("")
	if _, err := v.Read(t.Context(), keys); err != nil {
		t.Errorf("mended: got %v", err)
	}

	l.set("Codes--Pepper", canary, map[string]any{"enabled": false})
	l.set("Tokens--SigningKey", canary, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})
	_, err = v.Read(t.Context(), keys)
	if !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), "Codes--Pepper is disabled, Tokens--SigningKey is expired since 2") {
		t.Errorf("got %v", err)
	}

	elsewhere, err := New("https://localhost:"+strconv.Itoa(l.port), l, l.client, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.Read(t.Context(), keys); !errors.Is(err, ErrNoVault) {
		t.Errorf("a challenge for another host: got %v", err)
	}
}
