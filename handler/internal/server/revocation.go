package server

import (
	"context"
	"fmt"
	"strings"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/revoked"
	"latchkey/handler/internal/subject"
)

// tokenParameters are those of RFC 7009 section 2.1 and RFC 7662 section 2.1. Which kind of token it is shows in the token.
type tokenParameters struct {
	Body struct {
		_     struct{} `additionalProperties:"true"`
		Token string   `json:"token" minLength:"1" maxLength:"16384" doc:"A token of ours."`
		Hint  string   `json:"token_type_hint,omitempty" doc:"Is ignored, as the standards allow."`
	} `contentType:"application/x-www-form-urlencoded"`
}

// revokeToken ends one token (RFC 7009). What is no token of ours, or has ended, cannot be used: that is 200 as well (section 2.2), and
// the event says so.
func revokeToken(ctx context.Context, c call, in *tokenParameters) (*struct{}, error) {
	claims, err := c.Claims(in.Body.Token)
	if err != nil {
		c.event.decided(audit.RevokeToken, subject.ID{}, c.Parts, "", nil)
		c.event.Detail = audit.ReasonNotOurs
		return nil, nil
	}
	err = c.Activations.EndToken(ctx, c.origin(), c.gate, claims.Holder(), claims.Session, claims.ID, claims.Expires)
	c.event.decided(audit.RevokeToken, claims.Subject, c.Parts, "", err)
	return nil, err
}

type introspection struct {
	Active    bool   `json:"active" doc:"Whether the token is one of ours, has not expired, and neither it nor what it was bought with was ended."`
	Scope     string `json:"scope,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	TokenType string `json:"token_type,omitempty" doc:"Bearer."`
	Expires   int64  `json:"exp,omitempty"`
	IssuedAt  int64  `json:"iat,omitempty"`
	NotBefore int64  `json:"nbf,omitempty"`
	Subject   string `json:"sub,omitempty"`
	Audience  string `json:"aud,omitempty"`
	Issuer    string `json:"iss,omitempty"`
	ID        string `json:"jti,omitempty"`
	Session   string `json:"sid,omitempty" doc:"Of what the token was bought with."`
}

type introspectionOutput struct{ Body introspection }

// introspectToken says what a token is worth now (RFC 7662). Of one that is not active it says nothing else (section 2.2).
func introspectToken(ctx context.Context, c call, in *tokenParameters) (*introspectionOutput, error) {
	out := &introspectionOutput{}
	claims, err := c.Claims(in.Body.Token)
	if err != nil {
		c.event.decided(audit.IntrospectToken, subject.ID{}, c.Parts, "", nil)
		c.event.Detail = audit.ReasonNotOurs
		return out, nil
	}
	// Claims allows 60 s for two clocks. Here is one: who made the token says whether it has expired (RFC 7662 section 4).
	if !c.Clock.Now().Before(claims.Expires) {
		c.event.decided(audit.IntrospectToken, claims.Subject, c.Parts, "", nil)
		c.event.Detail = audit.ReasonNotOurs
		return out, nil
	}
	live, err := c.Activations.Lives(ctx, claims.Holder(), claims.Session, claims.ID)
	c.event.decided(audit.IntrospectToken, claims.Subject, c.Parts, "", err)
	switch {
	case err != nil:
		return nil, err
	case !live:
		c.event.Detail = audit.ReasonEnded
		return out, nil
	}
	out.Body = introspection{
		Active: true, Scope: strings.Join(claims.Scopes, " "), ClientID: claims.Client(), TokenType: "Bearer",
		Expires: claims.Expires.Unix(), IssuedAt: claims.IssuedAt.Unix(), NotBefore: claims.IssuedAt.Unix(),
		Subject: claims.Subject.Name, Audience: c.Audience, Issuer: c.Issuer, ID: claims.ID, Session: claims.Session,
	}
	return out, nil
}

// revocations is the list that verifiers follow (ACT-14, model.md section 4).
func revocations(ctx context.Context, c call, in *documentInput) (*document, error) {
	list, err := c.Revoked(ctx)
	if err != nil {
		return nil, err
	}
	out := in.tagged("application/jwt", list.Text, list.Tag)
	out.CacheControl = fmt.Sprintf("public, max-age=%d", int(revoked.MaxAge.Seconds()))
	return out, nil
}
