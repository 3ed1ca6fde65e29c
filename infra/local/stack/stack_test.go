package stack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/golang-jwt/jwt/v5"
)

// childVariable makes this test binary start a stack in its folder, print its
// process ids and wait to be killed.
const childVariable = "LATCHKEY_STACK_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		s, err := Start(context.Background(), Options{Dir: dir})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(s.Storage.PID(), s.Identity.PID(), s.Vault.PID())
		select {}
	}
	os.Exit(m.Run())
}

// start starts a stack for a test. Without Azurite it skips on a laptop and
// fails in CI.
func start(t *testing.T, o Options) *Stack {
	t.Helper()
	s, err := Start(t.Context(), o)
	if errors.Is(err, ErrNoAzurite) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// The contract of all parts, held by the SDKs that the app uses itself, with
// the options that the app uses.
func TestTheRealSDKsWorkAgainstTheStack(t *testing.T) {
	began := time.Now()
	s := start(t, Options{})
	t.Logf("ready after %v", time.Since(began).Round(time.Millisecond))
	for _, setting := range s.managedIdentity() {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	credential, err := azidentity.NewManagedIdentityCredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	options := azcore.ClientOptions{Transport: s.Client(), Retry: policy.RetryOptions{MaxRetries: -1}}
	ctx := t.Context()

	secrets, err := azsecrets.NewClient(s.VaultURL, credential, &azsecrets.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("vault", func(t *testing.T) { vaultContract(t, s, secrets) })
	t.Run("tables", func(t *testing.T) {
		tables, err := aztables.NewServiceClient(s.Tables, credential, &aztables.ClientOptions{ClientOptions: options})
		if err != nil {
			t.Fatal(err)
		}
		client := tables.NewClient("subjects")
		if _, err := client.AddEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"r","V":"kept"}`), nil); err != nil {
			t.Fatal(err)
		}
		// Durability: SIGINT saves at once what autosave writes every 5 s,
		// whoever holds a connection that is not used.
		unused, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.ports.storage)))
		if err != nil {
			t.Fatal(err)
		}
		defer unused.Close()
		if err := s.Storage.Stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := client.GetEntity(ctx, "p", "r", nil); err == nil {
			t.Error("storage answers although it is stopped")
		}
		if err := s.Storage.Start(ctx); err != nil {
			t.Fatal(err)
		}
		row, err := client.GetEntity(ctx, "p", "r", nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(row.Value, []byte(`"kept"`)) {
			t.Errorf("row after a restart: %s", row.Value)
		}
	})
	t.Run("issuer", func(t *testing.T) { issuerContract(t, s) })
}

func vaultContract(t *testing.T, s *Stack, secrets *azsecrets.Client) {
	ctx := t.Context()
	seeded, err := secrets.GetSecret(ctx, "codes--pepper", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	pepper, err := base64.StdEncoding.DecodeString(*seeded.Value)
	if err != nil || len(pepper) != 32 {
		t.Errorf("pepper: %d bytes, %v", len(pepper), err)
	}

	value := "second"
	first, err := secrets.SetSecret(ctx, "Rotated", azsecrets.SetSecretParameters{Value: ptr("first")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := secrets.SetSecret(ctx, "Rotated", azsecrets.SetSecretParameters{Value: &value}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{"": "second", second.ID.Version(): "second", first.ID.Version(): "first"} {
		got, err := secrets.GetSecret(ctx, "Rotated", version, nil)
		if err != nil {
			t.Fatal(err)
		}
		if *got.Value != want {
			t.Errorf("version %q: got %q, want %q", version, *got.Value, want)
		}
	}

	// An expired one is readable, a disabled one is not.
	soon := time.Now().Add(-time.Hour).Truncate(time.Second)
	expired, err := secrets.SetSecret(ctx, "Expired", azsecrets.SetSecretParameters{
		Value: &value, SecretAttributes: &azsecrets.SecretAttributes{Expires: &soon},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	read, err := secrets.GetSecret(ctx, "Expired", expired.ID.Version(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !read.Attributes.Expires.Equal(soon) {
		t.Errorf("expires %v, want %v", read.Attributes.Expires, soon)
	}
	off := false
	if _, err := secrets.UpdateSecretProperties(ctx, "Rotated", second.ID.Version(), azsecrets.UpdateSecretPropertiesParameters{
		SecretAttributes: &azsecrets.SecretAttributes{Enabled: &off},
	}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = secrets.GetSecret(ctx, "Rotated", "", nil)
	wantRefusal(t, err, http.StatusForbidden, "Forbidden")
	_, err = secrets.GetSecret(ctx, "Nobody", "", nil)
	wantRefusal(t, err, http.StatusNotFound, "SecretNotFound")

	// Lists: 30 more secrets are two pages of 25 at most, without values.
	for i := range 30 {
		if err := s.SetSecret(ctx, fmt.Sprintf("Many-%02d", i), value); err != nil {
			t.Fatal(err)
		}
	}
	names, pages := 0, 0
	for pager := secrets.NewListSecretPropertiesPager(nil); pager.More(); pages++ {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names += len(page.Value)
	}
	if names != 34 || pages != 2 {
		t.Errorf("list: %d secrets on %d pages, want 34 on 2", names, pages)
	}
	versions := map[string]bool{}
	for pager := secrets.NewListSecretPropertiesVersionsPager("Rotated", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Value {
			versions[p.ID.Version()] = *p.Attributes.Enabled
		}
	}
	if len(versions) != 2 || !versions[first.ID.Version()] || versions[second.ID.Version()] {
		t.Errorf("versions: %v", versions)
	}

	// Faults.
	for kind, want := range map[string]struct {
		status int
		code   string
	}{
		"forbidden":   {http.StatusForbidden, "Forbidden"},
		"throttled":   {http.StatusTooManyRequests, "Throttled"},
		"unavailable": {http.StatusServiceUnavailable, "ServiceUnavailable"},
	} {
		if err := s.FaultVault(ctx, kind, 7*time.Second, 1); err != nil {
			t.Fatal(err)
		}
		_, err := secrets.GetSecret(ctx, "Expired", "", nil)
		refused := wantRefusal(t, err, want.status, want.code)
		if kind == "throttled" && refused.RawResponse.Header.Get("Retry-After") != "7" {
			t.Errorf("Retry-After %q, want 7", refused.RawResponse.Header.Get("Retry-After"))
		}
		if _, err := secrets.GetSecret(ctx, "Expired", "", nil); err != nil {
			t.Errorf("after one %s: %v", kind, err)
		}
	}

	// Outage: the same secret under the same version afterwards.
	if err := s.Vault.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.GetSecret(ctx, "Expired", "", nil); err == nil {
		t.Error("the vault answers although it is stopped")
	}
	if err := s.Vault.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.GetSecret(ctx, "Expired", expired.ID.Version(), nil); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func wantRefusal(t *testing.T, err error, status int, code string) *azcore.ResponseError {
	t.Helper()
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal with %d %s", err, status, code)
	}
	if refused.StatusCode != status || refused.ErrorCode != code {
		t.Errorf("got %d %s, want %d %s", refused.StatusCode, refused.ErrorCode, status, code)
	}
	return refused
}

// issuerContract: tokens verify against the published keys over a restart and
// a rotation, and a token that shall not verify does not.
func issuerContract(t *testing.T, s *Stack) {
	ctx := t.Context()
	verify := func(token string) error {
		keys := publishedKeys(t, s)
		_, err := jwt.Parse(token, func(tok *jwt.Token) (any, error) {
			kid, _ := tok.Header["kid"].(string)
			if keys[kid] == nil {
				return nil, errUnknownKey
			}
			return keys[kid], nil
		}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(s.Issuer.API), jwt.WithExpirationRequired())
		return err
	}
	token := func(r TokenRequest) string {
		t.Helper()
		got, err := s.Issuer.Token(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	old := token(TokenRequest{Roles: []string{"write:gdm_activation"}})
	if err := verify(old); err != nil {
		t.Error(err)
	}
	if err := verify(token(TokenRequest{ExpiresIn: -time.Minute})); !errors.Is(err, jwt.ErrTokenExpired) {
		t.Errorf("expired token: %v", err)
	}
	if err := verify(token(TokenRequest{Unpublished: true})); !errors.Is(err, errUnknownKey) {
		t.Errorf("token of an unpublished key: %v", err)
	}

	if err := s.Identity.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Issuer.Token(ctx, TokenRequest{}); err == nil {
		t.Error("the issuer answers although it is stopped")
	}
	if err := s.Identity.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := verify(old); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if err := s.Issuer.Rotate(ctx, false); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(verify(old), verify(token(TokenRequest{}))); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	if err := s.Issuer.Rotate(ctx, true); err != nil {
		t.Fatal(err)
	}
	if err := verify(old); !errors.Is(err, errUnknownKey) {
		t.Errorf("token of a dropped key: %v", err)
	}

	again, err := Connect(ctx, s.Issuer.URL, s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if again.Tenant != s.Issuer.Tenant || again.API != s.Issuer.API {
		t.Errorf("Connect found %s %s", again.Tenant, again.API)
	}
}

var errUnknownKey = errors.New("unknown key")

func publishedKeys(t *testing.T, s *Stack) map[string]*rsa.PublicKey {
	t.Helper()
	resp, err := get(t.Context(), s.Client(), s.KeysURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Keys []struct{ Kid, N, E string } }
	if err := decode(resp, &document); err != nil {
		t.Fatal(err)
	}
	keys := map[string]*rsa.PublicKey{}
	for _, k := range document.Keys {
		n, errN := base64.RawURLEncoding.DecodeString(k.N)
		e, errE := base64.RawURLEncoding.DecodeString(k.E)
		if err := errors.Join(errN, errE); err != nil {
			t.Fatal(err)
		}
		keys[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	return keys
}

func TestStopLeavesNoProcessAndNoFolder(t *testing.T) {
	s := start(t, Options{})
	pids := []int{s.Storage.PID(), s.Identity.PID(), s.Vault.PID()}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	gone(t, pids, time.Second)
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder %s is still there: %v", s.Dir, err)
	}
}

func TestAKilledStackLeavesNoProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child that its parent was killed")
	}
	start(t, Options{}) // skips without Azurite
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"="+t.TempDir())
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, word := range strings.Fields(line) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	gone(t, pids, 10*time.Second)
}

// gone waits until none of the processes runs.
func gone(t *testing.T, pids []int, patience time.Duration) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				t.Errorf("process %d still runs", pid)
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// alive reports whether pid runs; a zombie that nobody has reaped does not.
func alive(pid int) bool {
	if pid == 0 || syscall.Kill(pid, 0) != nil {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return runtime.GOOS != "linux"
	}
	_, after, _ := bytes.Cut(status, []byte(") "))
	return !bytes.HasPrefix(after, []byte("Z"))
}

func TestWhatIsSetAlreadyWins(t *testing.T) {
	dir := t.TempDir()
	theirs := filepath.Join(dir, "theirs.pem")
	if err := os.WriteFile(theirs, []byte("THEIRS"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "ours.pem")
	if err := os.WriteFile(ca, []byte("OURS"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Stack{CAFile: ca, Issuer: &Issuer{Tenant: DefaultTenant, API: DefaultAPI}, KeysURL: "https://ours/keys", header: "ours"}
	s.options.Environ = []string{
		"Entra__KeysUrl=https://theirs/keys", "Network__CABundle=" + theirs, "IDENTITY_HEADER=theirs", "Site__Code=LDN",
	}
	into := filepath.Join(dir, "both.pem")
	env, err := s.settings("http://ours", []string{"Site__Code=EDI", "KeyVault__Endpoint="}, into)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Entra__KeysUrl":     "https://theirs/keys", // inherited
		"Site__Code":         "EDI",                 // extra wins over inherited
		"KeyVault__Endpoint": "",                    // set to nothing is set
		"Tokens__Issuer":     "http://ours",
		"IDENTITY_HEADER":    "ours", // the identity is the stack's own
		"Network__CABundle":  into,
	} {
		if got, _ := env.lookup(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	both, err := os.ReadFile(into)
	if err != nil {
		t.Fatal(err)
	}
	if string(both) != "THEIRS\nOURS" {
		t.Errorf("bundle: %q", both)
	}
}

func TestAPartThatEndsAtOnceIsAnError(t *testing.T) {
	p := &Part{name: "broken", path: "/bin/sh", args: []string{"-c", "exit 3"}, ready: func(context.Context) error { return errors.New("no answer") }}
	err := p.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want the exit status in it", err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestLinesOfPartsAreNotMixed(t *testing.T) {
	var out bytes.Buffer
	l := newLines(&out)
	a, b := l.named("a"), l.named("b")
	for _, write := range []struct {
		to   interface{ Write([]byte) (int, error) }
		text string
	}{{a, "one "}, {b, "two\nthr"}, {a, "line\n"}, {b, "ee\n"}} {
		if _, err := write.to.Write([]byte(write.text)); err != nil {
			t.Fatal(err)
		}
	}
	if want := "b: two\na: one line\nb: three\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestSeedIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.json")
	if err := seedVault(path); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var seeds []struct{ Name string }
	if err := json.Unmarshal(before, &seeds); err != nil || len(seeds) != 2 {
		t.Fatalf("seed: %v, %v", seeds, err)
	}
	if err := seedVault(path); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("a second start made other secrets")
	}
}

func ptr[T any](v T) *T { return &v }
