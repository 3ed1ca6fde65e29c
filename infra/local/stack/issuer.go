package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Issuer asks the identity service for tokens.
type Issuer struct {
	URL    string // of the service
	Tenant string // id
	API    string // client id of the API's registration

	client *http.Client
}

// Connect returns the issuer of a service that runs already, at url, below
// the authority in caFile (PEM).
func Connect(ctx context.Context, url, caFile string) (*Issuer, error) {
	client, err := trusting(caFile)
	if err != nil {
		return nil, err
	}
	url = strings.TrimSuffix(url, "/")
	resp, err := get(ctx, client, url+"/", nil)
	if err != nil {
		return nil, err
	}
	var about struct{ Tenant, API string }
	if err := decode(resp, &about); err != nil {
		return nil, err
	}
	return &Issuer{URL: url, Tenant: about.Tenant, API: about.API, client: client}, nil
}

// TokenRequest says what a token shall look like. The zero value is an app-only
// version 2 token for the API, without roles, that lives for an hour.
type TokenRequest struct {
	Version     int            // 1 or 2; 0 = 2
	Roles       []string       // app roles
	Client      string         // client id of the caller; "" = one that all share
	OID         *string        // object id; nil = derived from Client; "" = no claim
	Sub         *string        // nil = as OID, or derived when Scopes is set; "" = no claim
	Scopes      string         // scp, for a delegated token
	IDType      *string        // idtyp; nil = "app" without Scopes; "" = no claim
	Audience    *string        // nil = the API's
	ExpiresIn   time.Duration  // whole seconds; negative = expired; 0 = an hour
	Omit        []string       // claims to leave out
	Set         map[string]any // claims to add or overwrite
	Header      map[string]any // JOSE header fields to add, overwrite, or (nil) leave out
	Unpublished bool           // signed with a key that no keys document has
}

// Token returns a token of the given shape.
func (i *Issuer) Token(ctx context.Context, r TokenRequest) (string, error) {
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {r.Client},
		"client_secret": {"not checked"},
		"scope":         {"api://" + i.API + "/.default"},
		"roles":         {strings.Join(r.Roles, " ")},
		"scp":           {r.Scopes},
		"omit":          {strings.Join(r.Omit, " ")},
	}
	if r.Client == "" {
		form.Set("client_id", "d2e3f4a5-b6c7-4d8e-9f0a-1b2c3d4e5f6a")
	}
	if r.Version != 0 {
		form.Set("version", strconv.Itoa(r.Version))
	}
	for name, value := range map[string]*string{"oid": r.OID, "sub": r.Sub, "idtyp": r.IDType, "aud": r.Audience} {
		if value != nil {
			form.Set(name, *value)
		}
	}
	if r.ExpiresIn != 0 {
		form.Set("expires_in", strconv.Itoa(int(r.ExpiresIn/time.Second)))
	}
	if r.Unpublished {
		form.Set("key", "unpublished")
	}
	for name, members := range map[string]map[string]any{"set": r.Set, "header": r.Header} {
		if members != nil {
			body, err := json.Marshal(members)
			if err != nil {
				return "", err
			}
			form.Set(name, string(body))
		}
	}
	var out struct {
		AccessToken string `json:"access_token"`
	}
	err := postForm(ctx, i.client, i.URL+"/"+i.Tenant+"/oauth2/v2.0/token", form, &out)
	if err == nil && out.AccessToken == "" {
		err = errors.New("the identity service sent no token")
	}
	return out.AccessToken, err
}

// Rotate makes a new signing key; dropOld takes the older ones out of the keys
// documents at once, instead of leaving them published.
func (i *Issuer) Rotate(ctx context.Context, dropOld bool) error {
	form := url.Values{"drop_old": {strconv.FormatBool(dropOld)}}
	return postForm(ctx, i.client, i.URL+"/admin/rotate", form, nil)
}

// FaultKeys makes the keys documents fail: kind is 503, empty, html, hang, or
// "" to mend them.
func (i *Issuer) FaultKeys(ctx context.Context, kind string) error {
	return postForm(ctx, i.client, i.URL+"/admin/fault", url.Values{"keys": {kind}}, nil)
}

// Counts are the requests that the identity service answered since its start.
type Counts struct {
	Keys    int64 `json:"keys"`    // of a keys document
	Tokens  int64 `json:"tokens"`  // of the token endpoint
	Managed int64 `json:"managed"` // of the managed-identity endpoint
}

// Counts returns how often the service was asked.
func (i *Issuer) Counts(ctx context.Context) (Counts, error) {
	var c Counts
	resp, err := get(ctx, i.client, i.URL+"/admin/counts", nil)
	if err != nil {
		return c, err
	}
	return c, decode(resp, &c)
}

// ResourceToken returns a token of the app's managed identity for an Azure
// service, e.g. https://storage.azure.com.
func (s *Stack) ResourceToken(ctx context.Context, resource string) (string, error) {
	query := url.Values{"api-version": {"2019-08-01"}, "resource": {resource}}
	resp, err := get(ctx, s.client, loopback("http", s.ports.managed)+"/msi/token?"+query.Encode(),
		http.Header{"X-Identity-Header": {s.header}})
	if err != nil {
		return "", err
	}
	var out struct {
		AccessToken string `json:"access_token"`
	}
	err = decode(resp, &out)
	return out.AccessToken, err
}

func postForm(ctx context.Context, client *http.Client, url string, form url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return decode(resp, into)
}

// decode reads and closes a reply; anything but a 2xx is an error with its
// beginning.
func decode(resp *http.Response, into any) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("%s answers %s: %.300s", resp.Request.URL.Redacted(), resp.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}
