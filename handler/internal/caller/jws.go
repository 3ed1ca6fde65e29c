package caller

import (
	"context"
	"slices"
	"time"
)

// VerifyJWS answers nil for a JWS in compact form (RFC 7515 section 7.1) that one of the keys of a JWK set (RFC 7517 section 5)
// signed by one of the algorithms. They are the same checks as Verify's of a token's form, of keys and of the signature, without
// those of claims: published test vectors, whose payloads are no claims, are run by it. It believes the document, and fetches
// nothing. It answers *Rejected, or the error that the document has no key.
func VerifyJWS(document []byte, algorithms []string, raw string) error {
	set, err := keyRules{algorithms: algorithms}.parse(document)
	if err != nil {
		return err
	}
	at := time.Unix(0, 0) // the keys were fetched at the moment in which they are used
	set.fetched = at
	keys := &Keys{config: KeysConfig{Now: func() time.Time { return at }}, asked: at}
	keys.set.Store(set)
	checks := slices.DeleteFunc(formChecks(nil), func(c check) bool { return c.rule == "claims" || c.rule == "iss" })
	checks = slices.Concat(checks, []check{algorithm(algorithms)}, signature(keys))
	return run(context.Background(), checks, &candidate{raw: raw, now: at})
}
