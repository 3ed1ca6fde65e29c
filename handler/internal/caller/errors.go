package caller

import "errors"

// Reason is why a token was refused, in a stable word that is safe to tell the anonymous caller (AUT-6): it says what to mend,
// and nothing about our settings or about other callers. Never rename one.
type Reason string

// The reasons.
const (
	// TokenMissing: no Authorization header, or one of another scheme. RFC 6750 section 3.1 wants no error code for it.
	TokenMissing Reason = "token_missing"
	// TokenMalformed: the token has not the form of one that we take.
	TokenMalformed Reason = "token_malformed"
	// TokenExpired: exp is over. A new token is needed.
	TokenExpired Reason = "token_expired"
	// TokenNotYetValid: iat or nbf lies ahead. One of two clocks is wrong.
	TokenNotYetValid Reason = "token_not_yet_valid"
	// TokenUntrustedIssuer: iss, or the tenant, is not one that we trust.
	TokenUntrustedIssuer Reason = "token_untrusted_issuer"
	// TokenWrongAudience: the token was made for somebody else.
	TokenWrongAudience Reason = "token_wrong_audience"
	// TokenWrongType: a good token maybe, but no access token (an ID token, one for Microsoft Graph).
	TokenWrongType Reason = "token_wrong_type"
	// TokenBadSignature: the key is unknown, or the signature is not by it.
	TokenBadSignature Reason = "token_bad_signature"
	// TokenRevoked: a token of ours whose session has ended.
	TokenRevoked Reason = "token_revoked"
)

// Rejected is the error for a token that is not accepted: 401 (RFC 6750 section 3.1, invalid_token).
type Rejected struct {
	Reason Reason
	// Rule is the name of the check that failed, as the package comment lists them. It is for the log, not for the caller.
	Rule string
}

func (r *Rejected) Error() string {
	return "token refused: " + string(r.Reason) + " (rule " + r.Rule + ")"
}

// Forbidden is the error for a caller who is known and may not do this: 403 (RFC 6750 section 3.1, insufficient_scope).
type Forbidden struct {
	// Scope is the one that is needed.
	Scope string
}

func (f *Forbidden) Error() string { return "the scope " + f.Scope + " is needed" }

// ErrUnavailable says that nobody can tell now whether the token is good, since the issuer's keys or the storage cannot be
// reached: 503. Asking again later is right.
var ErrUnavailable = errors.New("the token cannot be checked now")
