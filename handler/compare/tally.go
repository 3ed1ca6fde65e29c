package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/handler/internal/recipes"
)

// tally is what a contestant makes of the recipes.
type tally struct {
	name  string
	cases int
	// letIn are the ids of the recipes that it takes and should refuse, refused of those that it refuses and should take.
	letIn, refused []string
}

const ownKey = "latchkey-own-key"

// newFixture draws the keys of the recipes.
func newFixture() (*recipes.Fixture, error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return recipes.New(
		recipes.Names{
			Tenant: tenant, Object: object, Stranger: "bbbbbbbb-0000-4000-8000-000000000002", Audience: audience,
			Scope: "write:gdm_activation", Other: "read:gdm_activation", Listener: "http://127.0.0.1:9",
		},
		recipes.Own{Issuer: ownIssuer, Audience: ownIssuer, Key: own, KeyID: ownKey, Patient: "pat-1", Session: "s1", Token: "j1"},
	)
}

// comparable are the recipes that say something about a verifier of the issuer's tokens: not those about the request around the
// token, nor those about tokens of Latchkey's own, which nobody else can know.
func comparable(f *recipes.Fixture) (all []recipes.Case) {
	for _, c := range recipes.Cases() {
		if !c.Transported(f) && !ofOurs(c.Request(f, time.Now()).Token) {
			all = append(all, c)
		}
	}
	return all
}

// ofOurs tells a token that Latchkey would have made.
func ofOurs(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) < 2 {
		return false
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	return err == nil && strings.Contains(string(claims), `"iss":"`+ownIssuer)
}

// count tries all cases on one contestant: a fresh one for each, with keys from the document of the case.
func count(ctx context.Context, f *recipes.Fixture, cases []recipes.Case, c contestant) (tally, error) {
	t := tally{name: c.name, cases: len(cases)}
	for _, r := range cases {
		taken, err := try(ctx, f, r, c)
		switch {
		case err != nil:
			return t, fmt.Errorf("%s, %s: %w", c.name, r.ID, err)
		case taken && !mayBe(r, 200, 403):
			t.letIn = append(t.letIn, r.ID)
		case !taken && !mayBe(r, 400, 401, 431, 503):
			t.refused = append(t.refused, r.ID)
		}
	}
	return t, nil
}

// mayBe tells whether one of the statuses is right.
func mayBe(r recipes.Case, statuses ...int) bool {
	return slices.ContainsFunc(r.Want, func(status int) bool { return slices.Contains(statuses, status) })
}

// try tells whether the contestant takes the token of the case. An error means that it could not be tried.
func try(ctx context.Context, f *recipes.Fixture, r recipes.Case, c contestant) (taken bool, err error) {
	first := r.Document
	if r.Before != "" {
		first = r.Before
	}
	server := newIssuer(f.Document(first))
	defer server.close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	verify, err := c.begin(ctx, server.world())
	if err != nil {
		return false, nil // without keys it takes nothing
	}
	if r.Before != "" {
		if err := verify(ctx, scheme+control(f)); err != nil {
			return false, fmt.Errorf("the good token before it is refused: %w", err)
		}
		document := f.Document(r.Document)
		server.serves.Store(&document)
	}
	return verify(ctx, scheme+r.Request(f, time.Now()).Token) == nil, nil
}

// control is the token of the first case, which nothing is wrong with.
func control(f *recipes.Fixture) string { return recipes.Cases()[0].Request(f, time.Now()).Token }
