// Package caller says who calls: it turns an Authorization header into a Caller, or into the reason why not, and tests
// whether a Caller may do something (mission.md AUT-1, AUT-2, AUT-4, AUT-5; model.md section 5). It owns the checks of
// tokens and the cache of an issuer's keys. It refuses to know HTTP's server side, storage and settings: they come in as
// values and functions.
//
// # Checks
//
// The unverified iss picks the verifier, which then checks everything in order. Every check is one element of a slice
// (model.md section 8), and there is no switch that leaves one out. A token passes all of them or is refused; the name of the
// check that failed is for the log, the Reason for the caller.
//
// Of every token, before its issuer is believed:
//
//	size             at most 16 KiB, the room a header has (CVE-2025-30204: work before checks)
//	parts            three parts and two dots: a JWS in compact form (RFC 7515 section 7.1), no JWE, no JSON form
//	base64url        canonical: no padding, no line break, no loose bits, so that a token is one string (RFC 7515
//	                 section 2, RFC 4648 sections 3.3 and 3.5)
//	header           one JSON object, UTF-8, no member twice or in another case, at most 16 deep and 2,000
//	                 values (RFC 7515 section 4, RFC 8725 section 2.6, RFC 8259 sections 4 and 9)
//	claims           the same (RFC 7519 section 4; IdentityModel refuses claims that differ by case)
//	extensions       none of crit, b64, zip, nonce, jwk, jku, x5u, x5c, cty, enc, epk, p2c: we understand no extension
//	                 (RFC 7515 section 4.1.11), take no key from a token (RFC 8725 section 3.10) and cannot verify tokens
//	                 made for Microsoft Graph, which are the ones with a nonce (Microsoft, "Access tokens")
//	kid              a string of 1 to 255 bytes: which key it was is never guessed
//
// Of a token of Entra ID ("claims" is Microsoft's "Access token claims reference", "validation" is "Secure applications
// and APIs by validating claims"):
//
//	typ              JWT (claims), or at+jwt (RFC 9068)
//	alg              RS256 alone (RFC 8725 section 3.1; Entra signs with nothing else)
//	version          ver is the one of the form that iss has (claims: ver, iss)
//	tenant           tid is the configured tenant, which iss holds as well (validation: tid must be iss's GUID)
//	audience         aud is one string: in v2 a configured client id, in v1 any configured audience (claims: aud)
//	dates            exp and iat, and nbf if there is one, are NumericDates in whole seconds (RFC 7519 sections 2 and 4.1)
//	expired          exp is not over, with 60 s of leeway (RFC 7519 section 4.1.4)
//	issued           iat is not ahead by more than 60 s (RFC 7519 section 4.1.6)
//	not_before       nor is nbf (RFC 7519 section 4.1.5)
//	lifetime         exp is at most 28 h after iat (Microsoft, "Configurable token lifetimes" and "Continuous access
//	                 evaluation": 24 to 28 h are the longest)
//	client           azp in v2, appid in v1, is a GUID (claims). ID tokens have neither: they are no access tokens
//	object           oid is a GUID (claims), and tid with oid is the identity (validation: never e-mail, upn or name)
//	principal        app-only (idtyp is app, or there is no idtyp, no scp, and oid is sub), or delegated with scp
//	                 (model.md section 5 (a) and (b); claims: idtyp, scp)
//	roles            none, or an array of strings (claims)
//	key              kid is one of the tenant's keys; which keys those are is said at Keys
//	signature        RSASSA-PKCS1-v1_5 with SHA-256 under that key (RFC 7518 section 3.3)
//
// Of our own tokens:
//
//	own_token        all that package token checks (RFC 9068 section 4)
//	own_session      the session and the token's own id still live, looked up on each call (model.md sections 1 and 4)
package caller
