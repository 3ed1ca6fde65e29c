package caller

// Cause is the rule by which a caller was refused, in one stable word. It stands in the log and in the sealed ticket, never in
// the reply (AUT-6). Never rename one: administrators search for them, and tickets hold them for 7 days.
type Cause string

// Class is what a refused caller may see: the reason in the reply. One class covers all causes that must look the same.
type Class string

// The classes.
const (
	// ClassInvalidToken is every token that is not accepted: 401, with one body whatever the cause.
	ClassInvalidToken Class = "invalid_token"
	// ClassInsufficientScope: 403, a known caller who may not do this.
	ClassInsufficientScope Class = "insufficient_scope"
	// ClassIdentityPending: 403, a caller whom an administrator has to approve.
	ClassIdentityPending Class = "identity_pending"
	// ClassIdentityDisabled: 403, a caller whom an administrator has shut out.
	ClassIdentityDisabled Class = "identity_disabled"
)

// Causes of refused headers (401).
const (
	NoHeader    Cause = "no_header"
	OtherScheme Cause = "other_scheme"
	EmptyToken  Cause = "empty_token"
	TwoHeaders  Cause = "two_headers"
)

// Causes of refused tokens of any issuer (401).
const (
	TokenTooLong     Cause = "token_too_long"
	TokenParts       Cause = "token_parts"
	TokenEncoding    Cause = "token_encoding"
	HeaderNotJSON    Cause = "header_not_json"
	HeaderNotUnicode Cause = "header_not_unicode"
	HeaderTwice      Cause = "header_twice"
	HeaderCase       Cause = "header_case"
	HeaderTooLarge   Cause = "header_too_large"
	ClaimsNotJSON    Cause = "claims_not_json"
	ClaimsNotUnicode Cause = "claims_not_unicode"
	ClaimsTwice      Cause = "claims_twice"
	ClaimsCase       Cause = "claims_case"
	ClaimsTooLarge   Cause = "claims_too_large"
	HeaderNonce      Cause = "header_nonce"
	HeaderExtension  Cause = "header_extension"
	KidMissing       Cause = "kid_missing"
	KidTooLong       Cause = "kid_too_long"
	IssMissing       Cause = "iss_missing"
	IssUnknown       Cause = "iss_unknown"
)

// Causes of refused tokens of Entra ID and of providers (401).
const (
	TypWrong         Cause = "typ_wrong"
	AlgNone          Cause = "alg_none"
	AlgSymmetric     Cause = "alg_symmetric"
	AlgWrong         Cause = "alg_wrong"
	VerWrong         Cause = "ver_wrong"
	TidMissing       Cause = "tid_missing"
	TidWrong         Cause = "tid_wrong"
	AudMissing       Cause = "aud_missing"
	AudForm          Cause = "aud_form"
	AudURI           Cause = "aud_uri"
	AudWrong         Cause = "aud_wrong"
	ExpMissing       Cause = "exp_missing"
	IatMissing       Cause = "iat_missing"
	DateForm         Cause = "date_form"
	Expired          Cause = "expired"
	IatAhead         Cause = "iat_ahead"
	NbfAhead         Cause = "nbf_ahead"
	TokenBound       Cause = "token_bound"
	LifetimeLong     Cause = "lifetime_too_long"
	IDToken          Cause = "id_token"
	OtherToken       Cause = "other_token"
	ClientMissing    Cause = "client_missing"
	OidMissing       Cause = "oid_missing"
	SubForm          Cause = "sub_form"
	IdtypWrong       Cause = "idtyp_wrong"
	PrincipalUnclear Cause = "principal_unclear"
	RolesForm        Cause = "roles_form"
	ScopesForm       Cause = "scopes_form"
	KeyUnknown       Cause = "key_unknown"
	SignatureWrong   Cause = "signature_wrong"
)

// Causes of refused tokens of our own (401).
const (
	OwnHeader      Cause = "own_header"
	OwnAlgorithm   Cause = "own_alg"
	OwnKeyUnknown  Cause = "own_key_unknown"
	OwnSignature   Cause = "own_signature_wrong"
	OwnAudience    Cause = "own_aud_wrong"
	OwnExpired     Cause = "own_expired"
	OwnNotYetValid Cause = "own_not_yet_valid"
	OwnClaims      Cause = "own_claims"
	SessionEnded   Cause = "session_ended"
)

// Causes of known callers who may not (403).
const (
	NoAppRole              Cause = "no_app_role"
	ScopeNotDelegated      Cause = "scope_not_delegated"
	NotDelegated           Cause = "not_delegated"
	SubjectToken           Cause = "subject_token"
	NotADevice             Cause = "not_a_device"
	DeviceLacksScope       Cause = "device_lacks_scope"
	RegistrationLacksScope Cause = "registration_lacks_scope"
	RegistrationRequired   Cause = "registration_required"
	IdentityPending        Cause = "identity_pending"
	IdentityPendingFull    Cause = "identity_pending_full"
	IdentityDisabled       Cause = "identity_disabled"
	IdentityRetired        Cause = "identity_retired"
)
