package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/subject"
	"latchkey/handler/internal/token"
)

const (
	cold       = "Latchkey, cold"
	remembered = "Latchkey, remembered"
	ownIssuer  = "https://latchkey.test"
)

// latchkeys are Latchkey's verifier as it is when it does not know a token yet, and when it does.
func latchkeys() []contestant {
	return []contestant{
		{cold, latchkey(1)}, // tokens that take turns are each forgotten before they come again
		{remembered, latchkey(4096)},
	}
}

func latchkey(remember int) func(context.Context, world) (verify, error) {
	return func(_ context.Context, w world) (verify, error) {
		keys, err := caller.NewKeys(caller.KeysConfig{
			URL: w.keysURL, Tenant: w.tenant, Client: w.client, Now: time.Now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, err
		}
		verifier, err := caller.NewVerifier(caller.Config{
			Entra: caller.Entra{Tenant: w.tenant, Audiences: w.audiences, Keys: keys},
			Own: caller.Own{
				Issuer: ownIssuer, Tokens: func() *token.Issuer { return nil },
				Session: func(context.Context, subject.ID, string, string) (bool, error) { return false, nil },
			},
			Now: time.Now, Remember: remember,
		})
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, authorization string) error {
			_, err := verifier.Verify(ctx, authorization)
			return err
		}, nil
	}
}
