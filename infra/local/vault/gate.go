package main

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// errKeysUnreachable: the token names a key that the vault does not know, and
// the issuer does not answer.
var errKeysUnreachable = errors.New("the issuer's keys cannot be read")

// gate checks the token of a request as Key Vault does: issuer, audience,
// time and signature.
type gate struct {
	tenant   string
	resource string
	keysURL  string
	client   *http.Client
	now      func() time.Time

	mu   sync.Mutex
	keys map[string]*rsa.PublicKey
}

// challenge is the value of WWW-Authenticate that a client learns tenant and
// resource from.
func (g *gate) challenge() string {
	return fmt.Sprintf("Bearer authorization=%q, resource=%q",
		"https://login.microsoftonline.com/"+g.tenant, g.resource)
}

// caller is who sent a request, for the text of a 403.
type caller struct {
	oid, appid, iss string
}

// admit returns the caller. Its error is errKeysUnreachable, or says in Key
// Vault's manner what is wrong with the token.
func (g *gate) admit(r *http.Request) (caller, error) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return caller{}, errors.New("AKV10000: Request is missing a Bearer or PoP token")
	}
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(raw, claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		return g.key(r.Context(), kid)
	},
		jwt.WithValidMethods([]string{"RS256"}),
		jwt.WithAudience(g.resource),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(g.now),
	)
	switch {
	case errors.Is(err, errKeysUnreachable):
		return caller{}, errKeysUnreachable
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return caller{}, fmt.Errorf("AKV10022: Invalid audience. Expected %s, found: %v", g.resource, claims["aud"])
	case errors.Is(err, jwt.ErrTokenExpired):
		return caller{}, errors.New("AKV10015: The token is expired")
	case err != nil:
		return caller{}, fmt.Errorf("AKV10046: The token is not valid: %v", err)
	}
	text := func(name string) string { v, _ := claims[name].(string); return v }
	c := caller{oid: text("oid"), appid: text("appid") + text("azp"), iss: text("iss")}
	if c.iss != "https://sts.windows.net/"+g.tenant+"/" && c.iss != "https://login.microsoftonline.com/"+g.tenant+"/v2.0" {
		return caller{}, fmt.Errorf("AKV10032: Invalid issuer. Found %s", c.iss)
	}
	return c, nil
}

// key finds the issuer's key, and asks the issuer when it is not known yet.
func (g *gate) key(ctx context.Context, kid string) (*rsa.PublicKey, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if k := g.keys[kid]; k != nil {
		return k, nil
	}
	keys, err := g.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errKeysUnreachable, err)
	}
	g.keys = keys
	if k := keys[kid]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("unknown key %q", kid)
}

func (g *gate) fetch(ctx context.Context) (map[string]*rsa.PublicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.keysURL, nil)
	if err != nil {
		return nil, err
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", g.keysURL, resp.Status)
	}
	var document struct {
		Keys []struct{ Kid, N, E string }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&document); err != nil {
		return nil, err
	}
	keys := make(map[string]*rsa.PublicKey)
	for _, k := range document.Keys {
		n, errN := base64.RawURLEncoding.DecodeString(k.N)
		e, errE := base64.RawURLEncoding.DecodeString(k.E)
		if err := errors.Join(errN, errE); err != nil {
			return nil, fmt.Errorf("key %q: %w", k.Kid, err)
		}
		keys[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	return keys, nil
}
