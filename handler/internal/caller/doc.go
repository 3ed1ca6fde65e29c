// Package caller says who calls: it turns an Authorization header into a Caller, or into the cause why not, and tests whether a
// Caller may do something (mission.md AUT-1, AUT-2, AUT-4, AUT-5, AUT-6; model.md section 5). It owns the checks of tokens, the
// cache of issuers' keys, and the table of causes. It refuses to know HTTP's server side, storage and settings: they come in as
// values and functions.
//
// # Checks
//
// The unverified iss picks the issuer, whose checks then test everything in order. Every check is one element of a slice
// (model.md section 8), and there is no switch that leaves one out. A token passes all of them or is refused for a Cause, which is for
// the log and the sealed ticket; the caller learns that the token is not accepted, and nothing else.
//
// Of every token, before its issuer is believed:
//
//	size        at most 16 KiB, the room a header has (CVE-2025-30204: work before checks)
//	parts       three parts and two dots: a JWS in compact form (RFC 7515 section 7.1), no JWE, no JSON form
//	base64url   canonical: no padding, no line break, no loose bits, so that a token is one string (RFC 7515 section 2,
//	            RFC 4648 sections 3.3 and 3.5)
//	header      one JSON object, UTF-8, no member twice or in another case, at most 16 deep and 100 values (RFC 7515
//	            section 4, RFC 8725 section 2.6, RFC 8259 sections 4 and 9), no number of more than 32 bytes
//	claims      the same, but 2,000 values (RFC 7519 section 4; IdentityModel refuses claims that differ by case)
//	nonce       none in the header: such tokens are made for Microsoft Graph and its like, who alone can verify them
//	            (Microsoft, "Access tokens")
//	extensions  none of crit, b64, zip, jwk, jku, x5u, x5c, cty, enc, epk, p2c: we understand no extension (RFC 7515
//	            section 4.1.11) and take no key from a token (RFC 8725 section 3.10)
//	kid         a string of 1 to 255 bytes: which key it was is never guessed
//	iss         an issuer that is trusted, to the letter (RFC 7519 section 4.1.1, RFC 8725 section 3.8)
//
// Of a token of Entra ID ("claims" is Microsoft's "Access token claims reference", "validation" is "Secure applications
// and APIs by validating claims"):
//
//	typ         JWT (claims), or at+jwt (RFC 9068)
//	alg         RS256 alone (RFC 8725 section 3.1; Entra signs with nothing else)
//	version     ver is the one of the form that iss has (claims: ver, iss)
//	tenant      tid is the configured tenant, which iss holds as well (validation: tid must be iss's GUID)
//	audience    aud is one string: in v2 a configured client id, in v1 any configured audience (claims: aud)
//	dates       exp and iat, and nbf if there is one, are NumericDates in whole seconds (RFC 7519 sections 2 and 4.1)
//	expired     exp is not over, with 60 s of leeway (RFC 7519 section 4.1.4)
//	issued      iat is not ahead by more than 60 s (RFC 7519 section 4.1.6)
//	not_before  nor is nbf (RFC 7519 section 4.1.5)
//	lifetime    exp is at most 28 h after iat (Microsoft, "Configurable token lifetimes" and "Continuous access
//	            evaluation": 24 to 28 h are the longest)
//	bound       no cnf: a token that is bound to a key is no bearer token, and its proof is not tested here (RFC 7800
//	            section 3.1, RFC 8705 section 3, RFC 9449 section 6)
//	client      azp in v2, appid in v1, is a GUID (claims). ID tokens have neither: they are no access tokens
//	object      oid is a GUID (claims), and tid with oid is the identity (validation: never e-mail, upn or name)
//	subject     sub is a string of 1 to 255 bytes (OpenID Connect Core section 2)
//	idtyp       app or user, if there is one (claims: idtyp)
//	roles       none, or an array of strings (claims)
//	scopes      scp is one string, if there is one (claims)
//	principal   app-only (idtyp is app, or there is no idtyp, no scp, and oid is sub), or delegated with scp (model.md
//	            section 5 (a) and (b))
//	key         kid is one of the tenant's keys; which keys those are is said at Keys
//	key_alg     alg is the one algorithm of that key (RFC 8725 section 3.1)
//	signature   is by that key (RFC 7518 section 3)
//
// Of a token of another provider:
//
//	typ         JWT, at+jwt or application/at+jwt (RFC 9068 section 4)
//	alg         one of the provider's algorithms
//	audience    aud is a configured audience, or a list of strings that holds one (RFC 7519 section 4.1.3)
//	dates       as above
//	expired     as above
//	issued      as above
//	not_before  as above
//	lifetime    as above
//	bound       as above
//	access      it is an access token and not what else a provider signs for the same audience: it says so, or has what only
//	            access tokens have and nothing that only ID tokens have (RFC 8725 section 3.11; see access)
//	subject     sub is 1 to 255 characters of visible ASCII (OpenID Connect Core section 2); iss and sub are the identity
//	roles       what is at the roles path is a list of strings, or one string with spaces between them, or not there
//	scopes      the same of the scopes path
//	key         kid is one of the provider's keys
//	key_alg     alg is the one algorithm of that key
//	signature   is by that key
//
// Of our own tokens:
//
//	own_token    all that package token checks (RFC 9068 section 4)
//	own_session  the session and the token's own id still live, looked up on each call (model.md sections 1 and 4)
//
// # What is remembered
//
// That a token passed its checks is remembered under its hash until it is over, or the key that verified it is no longer one of its
// issuer's. What its caller may do, and whether a session of ours lives, is asked each time.
package caller
