// Command compare measures Latchkey's check of callers beside the libraries that somebody might take instead, on the same
// tokens in one process: how long each takes next to the bare check of the signature, and which of the recipes (package
// recipes) each lets in. It owns no rule about tokens. It is a module of its own, so that what it compares with is no
// dependency of the product; its tests hold the floors of the figures, and run Wycheproof's vectors through Latchkey's verifier.
//
// Each of the others is used as its documentation has it for this job, with the options that a careful author sets: one
// algorithm, issuer, audience, expiry, leeway, and the tenant and the object id from typed claims.
package main
