package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"
	"golang.org/x/time/rate"
)

// verify answers nil for a token that is taken. It gets the value of the Authorization header.
type verify func(ctx context.Context, authorization string) error

// scheme stands before the token.
const scheme = "Bearer "

// contestant is one way to verify tokens. The context ends what runs behind it.
type contestant struct {
	name  string
	begin func(ctx context.Context, w world) (verify, error)
}

const (
	goOIDCName = "go-oidc"
	jwxName    = "jwx"
)

// others are the libraries beside Latchkey.
func others() []contestant {
	return []contestant{
		{"golang-jwt + keyfunc", golangJWT},
		{goOIDCName, goOIDC},
		{jwxName, jwx},
	}
}

// careful are the claims that a careful author reads and tests, whatever verified the token.
type careful struct {
	Issuer string `json:"iss"`
	Tenant string `json:"tid"`
	Object string `json:"oid"`
}

var errClaims = errors.New("iss, aud, tid or oid is not as it should be")

func (c careful) test(w world) error {
	if !slices.Contains(w.issuers(), c.Issuer) || c.Tenant != w.tenant || c.Object == "" {
		return errClaims
	}
	return nil
}

// bare is the check that nobody can leave out, with all that it needs at hand: SHA-256 and RSASSA-PKCS1-v1_5.
func bare(s sample) (verify, error) {
	type half struct{ signed, signature []byte }
	halves := map[string]half{}
	for _, raw := range s.tokens {
		dot := strings.LastIndexByte(raw, '.')
		signature, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
		if err != nil {
			return nil, err
		}
		halves[scheme+raw] = half{[]byte(raw[:dot]), signature}
	}
	return func(_ context.Context, authorization string) error {
		h := halves[authorization]
		sum := sha256.Sum256(h.signed)
		return rsa.VerifyPKCS1v15(s.key, crypto.SHA256, sum[:], h.signature)
	}, nil
}

func golangJWT(ctx context.Context, w world) (verify, error) {
	keys, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{w.keysURL}, keyfunc.Override{
		Client: w.client, HTTPTimeout: w.client.Timeout,
		RefreshUnknownKID: rate.NewLimiter(rate.Every(30*time.Second), 1), RateLimitWaitMax: time.Second,
		RefreshErrorHandlerFunc: func(string) func(context.Context, error) { return func(context.Context, error) {} },
	})
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithAudience(w.audiences...), jwt.WithLeeway(leeway),
	)
	type claims struct {
		jwt.RegisteredClaims
		Tenant string `json:"tid"`
		Object string `json:"oid"`
	}
	return func(ctx context.Context, authorization string) error {
		var c claims
		if _, err := parser.ParseWithClaims(strings.TrimPrefix(authorization, scheme), &c, keys.KeyfuncCtx(ctx)); err != nil {
			return err
		}
		return careful{c.Issuer, c.Tenant, c.Object}.test(w)
	}, nil
}

func goOIDC(ctx context.Context, w world) (verify, error) {
	// It knows one issuer and one audience: where there are two of each it wants them tested by whoever uses it.
	verifier := oidc.NewVerifier("", oidc.NewRemoteKeySet(oidc.ClientContext(ctx, w.client), w.keysURL), &oidc.Config{
		SupportedSigningAlgs: []string{oidc.RS256}, SkipClientIDCheck: true, SkipIssuerCheck: true,
	})
	return func(ctx context.Context, authorization string) error {
		token, err := verifier.Verify(ctx, strings.TrimPrefix(authorization, scheme))
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(token.Audience, func(a string) bool { return slices.Contains(w.audiences, a) }) {
			return errClaims
		}
		var c careful
		if err := token.Claims(&c); err != nil {
			return err
		}
		return c.test(w)
	}, nil
}

func jwx(ctx context.Context, w world) (verify, error) {
	// Its cache would fetch by schedule alone, not for a key that has just come: here that is the same, and faster.
	set, err := jwk.Fetch(ctx, w.keysURL, jwk.WithHTTPClient(w.client))
	if err != nil {
		return nil, err
	}
	for i := range set.Len() {
		key, _ := set.Key(i)
		// Entra's keys have no alg. Without one it would infer what the key could do; one is pinned instead.
		if _, has := key.Algorithm(); !has && key.KeyType() == jwa.RSA() {
			if err := key.Set(jwk.AlgorithmKey, jwa.RS256()); err != nil {
				return nil, err
			}
		}
	}
	options := []jwxjwt.ParseOption{
		jwxjwt.WithKeySet(set), jwxjwt.WithAcceptableSkew(leeway), jwxjwt.WithRequiredClaim("exp"), jwxjwt.WithStrictStringClaims(true),
	}
	return func(_ context.Context, authorization string) error {
		token, err := jwxjwt.ParseString(strings.TrimPrefix(authorization, scheme), options...)
		if err != nil {
			return err
		}
		var c careful
		c.Issuer, _ = token.Issuer()
		if audience, _ := token.Audience(); !slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(w.audiences, a) }) {
			return errClaims
		}
		if err := errors.Join(token.Get("tid", &c.Tenant), token.Get("oid", &c.Object)); err != nil {
			return fmt.Errorf("%w: %w", errClaims, err)
		}
		return c.test(w)
	}, nil
}
