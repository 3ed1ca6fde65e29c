// Package vault reads settings from Azure Key Vault with the app's identity (CFG-2). It owns the names that settings have
// there, and what Key Vault's refusals mean. It refuses to write, to keep a value, and to show one: its errors hold names
// and states, never a value or the body of a reply. It is the only importer of azsecrets.
package vault

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"golang.org/x/sync/errgroup"
)

// The ways in which reading fails. Each error names the vault, and the secret where one is to blame.
var (
	// ErrUnavailable: no answer, or one that says "later". It may mend itself.
	ErrUnavailable = errors.New("is not available")
	// ErrIdentity: the app got no token for the vault.
	ErrIdentity = errors.New("cannot be asked without an identity")
	// ErrDenied: the vault refuses the app's identity or its network address.
	ErrDenied = errors.New("refuses this app")
	// ErrSecret: a secret exists, and its newest version must not be used.
	ErrSecret = errors.New("holds a secret that must not be used")
	// ErrNoVault: something answers that does not behave like a Key Vault of that name.
	ErrNoVault = errors.New("does not answer as a Key Vault does")
)

// The limits of a call. The caller tries again later, so one repeat is enough for a lost packet. A vault that asks for more
// patience than maxDelay is told to the caller at once.
const (
	callLimit = 8 * time.Second
	repeats   = 1
	delay     = 500 * time.Millisecond
	maxDelay  = 2 * time.Second
	parallel  = 8 // secrets read at a time
)

// Vault is one Key Vault. It is safe for concurrent use.
type Vault struct {
	client *azsecrets.Client
	host   string // for messages
	now    func() time.Time
}

// New makes a reader of the vault at endpoint, an https URL. transport carries its requests; now is the time by which a
// secret's dates are judged. It sends nothing. The vault must prove that it asks for a token for itself: the check of the
// challenge's resource stays on (https://aka.ms/azsdk/blog/vault-uri).
func New(endpoint string, credential azcore.TokenCredential, transport policy.Transporter, now func() time.Time) (*Vault, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("the address of a Key Vault is an https URL")
	}
	options := &azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: transport,
		Retry:     policy.RetryOptions{MaxRetries: repeats, TryTimeout: callLimit, RetryDelay: delay, MaxRetryDelay: maxDelay},
	}}
	client, err := azsecrets.NewClient(endpoint, identity{credential}, options)
	if err != nil {
		return nil, fmt.Errorf("making a Key Vault client: %w", err)
	}
	return &Vault{client: client, host: u.Host, now: now}, nil
}

// secretName is what a setting is called in a vault, whose names have only letters, digits and dashes (CFG-1).
func secretName(key string) string { return strings.ReplaceAll(key, ":", "--") }

// Read gives the values of those keys (Section:Key) whose secrets (Section--Key, in any case) the vault holds. It lists the
// vault first, a page of 25 a call, and then reads only what is there.
//
// The newest version of a secret counts, as for everybody who reads without a version. If it is disabled, expired or not
// yet valid, that is ErrSecret, and no older version takes its place: somebody switched that value on or off on purpose.
// Key Vault itself would hand out expired and not yet valid ones
// (https://learn.microsoft.com/azure/key-vault/secrets/about-secrets).
func (v *Vault) Read(ctx context.Context, keys []string) (map[string]string, error) {
	wanted := make(map[string]string, len(keys)) // lower-case secret name to key: names do not depend on case
	for _, key := range keys {
		wanted[strings.ToLower(secretName(key))] = key
	}
	var there []string
	err := v.guarded(ctx, func() (err error) {
		there, err = v.list(ctx, wanted)
		return err
	})
	if err != nil {
		return nil, err
	}

	var mu sync.Mutex
	values := make(map[string]string, len(there))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, key := range there {
		group.Go(func() error {
			return v.guarded(ctx, func() error {
				value, found, err := v.get(ctx, secretName(key))
				if err != nil || !found {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				values[key] = value
				return nil
			})
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return values, nil
}

// list gives the wanted keys whose secrets exist. All that must not be used are named in one error.
func (v *Vault) list(ctx context.Context, wanted map[string]string) (there []string, err error) {
	var unusable []string
	pages := v.client.NewListSecretPropertiesPager(nil)
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, properties := range page.Value {
			if properties == nil || properties.ID == nil {
				continue
			}
			key, found := wanted[strings.ToLower(properties.ID.Name())]
			if !found {
				continue
			}
			if state := v.state(properties.Attributes); state != "" {
				unusable = append(unusable, secretName(key)+" is "+state)
				continue
			}
			there = append(there, key)
		}
	}
	if len(unusable) > 0 {
		return nil, v.failure(ErrSecret, strings.Join(unusable, ", "))
	}
	return there, nil
}

// get reads one secret. One that is not there is no error: it may be deleted between the list and now.
func (v *Vault) get(ctx context.Context, name string) (value string, found bool, err error) {
	secret, err := v.client.GetSecret(ctx, name, "", nil)
	if refused, ok := errors.AsType[*azcore.ResponseError](err); ok {
		switch {
		case refused.StatusCode == http.StatusNotFound:
			return "", false, nil
		case refused.StatusCode == http.StatusForbidden && innerCode(refused) == "SecretDisabled":
			return "", false, v.failure(ErrSecret, name+" is disabled")
		}
	}
	if err != nil {
		return "", false, err
	}
	if state := v.state(secret.Attributes); state != "" {
		return "", false, v.failure(ErrSecret, name+" is "+state)
	}
	if secret.Value == nil {
		return "", false, v.failure(ErrNoVault, name+" comes without a value")
	}
	return *secret.Value, true, nil
}

// state says why a version must not be used now, or nothing.
func (v *Vault) state(a *azsecrets.SecretAttributes) string {
	switch {
	case a == nil:
		return ""
	case a.Enabled != nil && !*a.Enabled:
		return "disabled"
	case a.Expires != nil && !v.now().Before(*a.Expires):
		return "expired since " + a.Expires.UTC().Format(time.RFC3339)
	case a.NotBefore != nil && v.now().Before(*a.NotBefore):
		return "not valid before " + a.NotBefore.UTC().Format(time.RFC3339)
	}
	return ""
}

// guarded runs a call of the SDK and says what its error means. It also catches the SDK's panic over a challenge whose
// authorization has no path (keyvault/internal 1.2.0, parseTenant): an impostor's 401 must not end the process.
func (v *Vault) guarded(ctx context.Context, call func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = v.failure(ErrNoVault, "its challenge cannot be read")
		}
	}()
	return v.explain(ctx, call())
}

// failure makes an error that names the vault.
func (v *Vault) failure(kind error, detail string) error {
	return fmt.Errorf("the Key Vault %s %w: %s", v.host, kind, detail)
}

// explain turns an error of the SDK into one of ours. It keeps no text of a reply, and its own text is the same for the
// same cause, so that a cause that lasts can be told once.
func (v *Vault) explain(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, ErrSecret) || errors.Is(err, ErrNoVault) {
		return err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	if refused, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return v.refusal(refused)
	}
	if errors.Is(err, errToken) && !timedOut(err) {
		return v.failure(ErrIdentity, "the app has no identity assigned, or its identity endpoint gives no token")
	}
	if reason := unreachable(err); reason != "" {
		return v.failure(ErrUnavailable, reason)
	}
	return v.failure(ErrNoVault, "its challenge or its reply is not one of this vault's")
}

// refusal explains a reply that is no success.
func (v *Vault) refusal(r *azcore.ResponseError) error {
	switch code := innerCode(r); {
	case code == "ForbiddenByFirewall", code == "ForbiddenByConnection":
		return v.failure(ErrDenied, "its network rules do not let this app in ("+code+")")
	case r.StatusCode == http.StatusUnauthorized, r.StatusCode == http.StatusForbidden:
		return v.failure(ErrDenied, fmt.Sprintf("the app's identity lacks the role \"Key Vault Secrets User\" there, or belongs to another tenant (%d)", r.StatusCode))
	case r.StatusCode == http.StatusRequestTimeout, r.StatusCode == http.StatusTooManyRequests, r.StatusCode >= 500:
		return v.failure(ErrUnavailable, fmt.Sprintf("it answers %d", r.StatusCode))
	}
	return v.failure(ErrNoVault, fmt.Sprintf("it answers %d", r.StatusCode))
}

// innerCode is the code that says which gate refused, such as ForbiddenByRbac or SecretDisabled.
func innerCode(r *azcore.ResponseError) string {
	if r.RawResponse == nil {
		return ""
	}
	body, err := runtime.Payload(r.RawResponse)
	if err != nil {
		return ""
	}
	var reply struct {
		Error struct {
			InnerError struct{ Code string }
		}
	}
	if json.Unmarshal(body, &reply) != nil {
		return ""
	}
	return reply.Error.InnerError.Code
}

func timedOut(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout()
}

// unreachable says why no reply came, or nothing if that is not what went wrong.
func unreachable(err error) string {
	if timedOut(err) {
		return "no answer in time"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return "its name does not exist"
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate is not trusted: " + certificate.Err.Error()
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "the connection is refused"
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return "the connection fails"
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return "the connection fails"
	}
	return ""
}

// errToken marks the errors of the credential, whose texts hold replies of the identity endpoint.
var errToken = errors.New("no token")

// identity is a credential whose errors can be told from the vault's.
type identity struct{ azcore.TokenCredential }

// GetToken implements azcore.TokenCredential.
func (i identity) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := i.TokenCredential.GetToken(ctx, options)
	if err != nil {
		return token, errors.Join(errToken, err)
	}
	return token, nil
}
