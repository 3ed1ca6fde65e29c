// Package recipes holds requests by which somebody could get past the check of callers, and the answer that each must get
// (AUT-1, AUT-2, AUT-4). It owns the table, and a builder that makes each token byte by byte, so that also what no library would
// write can be sent. It refuses to know the verifier: a case is the same for our own, for others beside it, and over HTTP.
//
//	f, err := recipes.New(names, own)
//	for _, c := range recipes.Cases() {
//		serve(f.Document(c.Document))
//		ask(c.Request(f, time.Now()), c.Want)
//	}
//
// The cases are made for this policy: RS256 alone of Entra ID; typ JWT or at+jwt; 60 s of leeway and 28 h of life at most; aud one
// string; Identity:Require is true, the identity Names.Object is registered without scopes and Names.Stranger is not known;
// Names.Scope is the scope of the route. Cases whose ids begin with J are of the project's catalogue of attacks, those with L are
// like them.
//
// Sources: RFC 7515, 7517, 7518, 7519, 8725, 6750, 9068, 9110; Microsoft, "Access tokens in the Microsoft identity platform" and
// "Secure applications and APIs by validating claims"; Wycheproof's vectors of JWS and JWK.
package recipes
