package token

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"latchkey/handler/internal/activation"
)

// revocationsType is the typ of the list: explicit, so that neither it nor an access token passes for the other (RFC 8725
// section 3.11).
const revocationsType = "latchkey-revoked+jwt"

// entry is an ending as it is sent: every token with this sid, or the one with this jti, must be refused until Until. That is a NumericDate (RFC 7519 section 2).
type entry struct {
	Session string `json:"sid,omitempty"`
	Token   string `json:"jti,omitempty"`
	Until   int64  `json:"until"`
}

// Revocations signs the list of what has ended, as a JWT of the key that signs tokens: iss, iat, exp, and "revoked", an array of
// {"sid" or "jti", "until"}. It has no aud: it is for everybody, and says nothing of whom its tokens are. at is the time before the
// list was read; a verifier must not rely on it from at + lifetime on.
func (i *Issuer) Revocations(all []activation.Ending, at time.Time, lifetime time.Duration) ([]byte, error) {
	entries := make([]entry, len(all))
	for n, e := range all {
		entries[n] = entry{e.Session, e.Token, ceiling(e.Until)}
	}
	t := jwt.NewWithClaims(i.config.Keys[0].method, jwt.MapClaims{
		"iss": i.config.Issuer, "iat": at.Unix(), "exp": at.Add(lifetime).Unix(), "revoked": entries,
	})
	t.Header["typ"] = revocationsType
	t.Header["kid"] = i.config.Keys[0].id
	signed, err := t.SignedString(i.config.Keys[0].private)
	if err != nil {
		return nil, fmt.Errorf("signing the revocations: %w", err)
	}
	return []byte(signed), nil
}

// ceiling is the first whole second that is not before t: an entry must not end early.
func ceiling(t time.Time) int64 {
	if s := t.Unix(); t.Nanosecond() == 0 {
		return s
	}
	return t.Unix() + 1
}
