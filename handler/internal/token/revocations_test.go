package token

import (
	"crypto/elliptic"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"latchkey/handler/internal/activation"
)

var ended = []activation.Ending{
	{Session: "session-1", Until: noon.Add(24 * time.Hour)},
	{Token: "token-1", Until: noon.Add(time.Minute + time.Millisecond)},
}

// A stranger needs the published keys and a library, as for tokens.
func TestACT14_StrangersVerifyTheSignedList(t *testing.T) {
	for _, key := range []*Key{newKey(), must(ParseKey(pkcs8(testRSA))), must(ParseKey(pkcs8(newEd25519())))} {
		i := newIssuer(t, noon, key)
		raw := must(i.Revocations(ended, noon, time.Minute))
		if got, want := part(t, string(raw), 0), (map[string]any{"typ": "latchkey-revoked+jwt", "alg": key.Algorithm(), "kid": key.ID()}); !reflect.DeepEqual(got, want) {
			t.Errorf("header %v, want %v", got, want)
		}
		want := map[string]any{"iss": issuerURL, "iat": 1772452800.0, "exp": 1772452860.0, "revoked": []any{
			map[string]any{"sid": "session-1", "until": 1772539200.0}, map[string]any{"jti": "token-1", "until": 1772452861.0},
		}}
		if got := part(t, string(raw), 1); !reflect.DeepEqual(got, want) {
			t.Errorf("claims %v, want %v", got, want)
		}
		bare := must(jwkset.NewJWKFromKey(key.private.Public(), jwkset.JWKOptions{}))
		parsed, err := jwt.Parse(string(raw), func(*jwt.Token) (any, error) { return bare.Key(), nil },
			jwt.WithValidMethods([]string{key.Algorithm()}), jwt.WithTimeFunc(func() time.Time { return noon }), jwt.WithIssuer(issuerURL))
		if err != nil || !parsed.Valid {
			t.Errorf("a stranger does not believe it: %v", err)
		}
	}
}

func TestACT14_AnEmptyListIsAnArray(t *testing.T) {
	raw := must(newIssuer(t, noon, newKey()).Revocations(nil, noon, time.Minute))
	if got, isArray := part(t, string(raw), 1)["revoked"].([]any); !isArray || len(got) != 0 {
		t.Errorf("revoked is %v", got)
	}
}

// The list is no access token, and an access token is no list (RFC 8725 section 3.11).
func TestACT14_TheListPassesForNoToken(t *testing.T) {
	i := newIssuer(t, noon, newKey())
	if _, err := i.Verify(string(must(i.Revocations(ended, noon, time.Minute)))); !errors.Is(err, ErrHeader) {
		t.Errorf("got %v, want ErrHeader", err)
	}
}

// No token may outlive what is published about it.
func TestACT14_NoTokenLivesLongerThanItsEndIsPublished(t *testing.T) {
	i := newIssuer(t, noon, must(ParseKey(pkcs8(newEC(elliptic.P256())))))
	g := grant
	for lifetime, want := range map[time.Duration]error{activation.MaxLifetime: nil, activation.MaxLifetime + time.Second: ErrGrant} {
		g.Lifetime = lifetime
		if _, err := i.Mint(g); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", lifetime, err, want)
		}
	}
}

func BenchmarkRevocations(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		all := make([]activation.Ending, n)
		for i := range all {
			all[i] = activation.Ending{Session: fmt.Sprintf("%s%06d", strings.Repeat("s", 20), i), Until: noon}
		}
		i := must(NewIssuer(Config{Issuer: issuerURL, Audience: audience, Keys: []*Key{newKey()}}))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			size := 0
			for b.Loop() {
				size = len(must(i.Revocations(all, noon, time.Minute)))
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}
