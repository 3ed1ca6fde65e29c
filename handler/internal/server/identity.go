package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/strictjson"
	"latchkey/handler/internal/subject"
)

const identityPath = "/dhos/v1/identity"

// IdentityPath is the id in the path.
type IdentityPath struct {
	ID string `path:"identity_id" maxLength:"817" doc:"The identity's id: tid~oid for Entra ID, else as the list gives it." example:"11111111-2222-4333-8444-555555555555~aaaaaaaa-0000-4000-8000-000000000001"`
}

// Identity is an identity as it is sent.
type Identity struct {
	ID         string   `json:"id" doc:"Its name in paths: tid~oid for Entra ID, opaque for others."`
	Issuer     string   `json:"issuer" doc:"The tenant's GUID for Entra ID, else the issuer's URL."`
	Subject    string   `json:"subject" doc:"The object id (oid) for Entra ID, else the sub."`
	State      string   `json:"state" enum:"pending,approved,disabled,retired"`
	Kind       *string  `json:"kind" enum:"app,user" doc:"What it was when it first called, null if it was registered by hand."`
	Label      string   `json:"label" doc:"What people call it."`
	Scopes     []string `json:"scopes" nullable:"false" doc:"What it holds while it is approved, beside the scopes of everybody approved."`
	Successor  *string  `json:"successor" doc:"The id of what took its place, null if it was not retired."`
	Created    string   `json:"created" format:"date-time"`
	CreatedBy  string   `json:"created_by" doc:"Who: tenant and object id. Itself, if it asked."`
	Modified   string   `json:"modified" format:"date-time"`
	ModifiedBy string   `json:"modified_by"`
	LastSeen   *string  `json:"last_seen" format:"date-time" doc:"When it last called, to the hour, null if it did not yet."`
}

func sentIdentity(i identity.Identity) Identity {
	sent := Identity{
		ID: i.ID(), Issuer: i.Issuer, Subject: i.Subject, State: string(i.State), Label: i.Label, Scopes: append([]string{}, i.Scopes...),
		Created: stamp(i.Created), CreatedBy: i.CreatedBy, Modified: stamp(i.Modified), ModifiedBy: i.ModifiedBy,
	}
	if kind := string(i.Kind); kind != "" {
		sent.Kind = &kind
	}
	if i.Successor != (identity.Key{}) {
		successor := i.Successor.ID()
		sent.Successor = &successor
	}
	if !i.Seen.IsZero() {
		seen := i.Seen.UTC().Format(time.RFC3339)
		sent.LastSeen = &seen
	}
	return sent
}

type identityOutput struct {
	ETag string `header:"ETag" doc:"Which of its changes this is, for If-Match."`
	Body Identity
}

// answerIdentity notes what was decided on an identity, and answers it.
func (c call) answerIdentity(what audit.Action, key identity.Key, is identity.Identity, err error) (*identityOutput, error) {
	c.event.decided(what, subject.ID{}, c.Parts, "", err)
	if key != (identity.Key{}) {
		c.event.Identity = key.ID()
	}
	if err != nil {
		return nil, err
	}
	return &identityOutput{`"` + strconv.FormatInt(is.N, 10) + `"`, sentIdentity(is)}, nil
}

type listIdentitiesInput struct {
	State  string `query:"state" enum:"pending,approved,disabled,retired,all" default:"all" doc:"Which identities."`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"The longest page."`
	Cursor string `query:"cursor" maxLength:"817" doc:"Where the page begins: from the Link header of the one before."`
}

type listIdentitiesOutput struct {
	Link string `header:"Link" doc:"The next page (RFC 8288), if there is one."`
	Body []Identity
}

func listIdentities(ctx context.Context, c call, in *listIdentitiesInput) (*listIdentitiesOutput, error) {
	var after identity.Key
	if in.Cursor != "" {
		var err error
		if after, err = identity.ParseID(in.Cursor); err != nil {
			return nil, invalid("query.cursor", "is not from a Link header")
		}
	}
	state := identity.State(in.State)
	if in.State == "all" {
		state = ""
	}
	page, more, err := c.Identities.List(ctx, c.Registers, state, after, in.Limit)
	c.event.decided(audit.ListIdentities, subject.ID{}, c.Parts, "", err)
	if err != nil {
		return nil, err
	}
	out := &listIdentitiesOutput{Body: make([]Identity, len(page))}
	for i, is := range page {
		out.Body[i] = sentIdentity(is)
	}
	if more != (identity.Key{}) {
		query := url.Values{"cursor": {more.ID()}, "limit": {strconv.Itoa(in.Limit)}, "state": {in.State}}
		out.Link = fmt.Sprintf(`<%s?%s>; rel="next"`, identityPath, query.Encode())
	}
	return out, nil
}

func getIdentity(ctx context.Context, c call, in *IdentityPath) (*identityOutput, error) {
	key, err := identity.ParseID(in.ID)
	var is *identity.Identity
	if err == nil {
		is, err = c.Identities.Lookup(ctx, key)
	}
	if err == nil && is == nil {
		err = identity.ErrNotFound
	}
	if err != nil {
		return c.answerIdentity(audit.ReadIdentity, key, identity.Identity{}, err)
	}
	return c.answerIdentity(audit.ReadIdentity, key, *is, nil)
}

type registerInput struct {
	RawBody []byte
	Body    struct {
		Issuer  string   `json:"issuer" minLength:"1" maxLength:"255" doc:"A trusted issuer: the tenant's GUID or the iss of its tokens, or the issuer's URL." example:"11111111-2222-4333-8444-555555555555"`
		Subject string   `json:"subject" minLength:"1" maxLength:"255" doc:"The object id (oid) for Entra ID, else the sub." example:"aaaaaaaa-0000-4000-8000-000000000001"`
		Label   string   `json:"label,omitempty" maxLength:"100" doc:"What people call it."`
		Scopes  []string `json:"scopes,omitempty" nullable:"false" maxItems:"100" doc:"What it may do, beside the scopes of everybody approved."`
	}
}

type registeredOutput struct {
	Location string `header:"Location"`
	ETag     string `header:"ETag" doc:"Which of its changes this is, for If-Match."`
	Body     Identity
}

func registerIdentity(ctx context.Context, c call, in *registerInput) (*registeredOutput, error) {
	if err := plainMembers(in.RawBody); err != nil {
		return nil, err
	}
	key, err := c.key(in.Body.Issuer, in.Body.Subject)
	if err != nil {
		return nil, err
	}
	is, err := c.Identities.Register(ctx, c.origin(), c.gate, key, identity.Terms{Label: &in.Body.Label, Scopes: in.Body.Scopes})
	out, err := c.answerIdentity(audit.RegisterIdentity, key, is, err)
	if err != nil {
		return nil, err
	}
	return &registeredOutput{identityPath + "/" + key.ID(), out.ETag, out.Body}, nil
}

// key finds how the registry names an identity. A tenant is known by its GUID and by both iss of its tokens (Microsoft, "Access token
// claims reference").
func (p *Parts) key(issuer, name string) (identity.Key, error) {
	for _, known := range p.Registers {
		if !guid.MatchString(known) {
			if issuer == known {
				return identity.Key{Issuer: known, Subject: name}, nil
			}
			continue
		}
		switch issuer {
		case strings.ToUpper(known), known, "https://sts.windows.net/" + known + "/", "https://login.microsoftonline.com/" + known + "/v2.0":
		default:
			continue
		}
		if name = strings.ToLower(name); !guid.MatchString(name) {
			return identity.Key{}, invalid("body.subject", "is not an object id, a GUID")
		}
		return identity.Key{Issuer: known, Subject: name}, nil
	}
	return identity.Key{}, invalid("body.issuer", "is not a trusted issuer")
}

type changeIdentityInput struct {
	IdentityPath
	RawBody []byte
	IfMatch string `header:"If-Match" pattern:"^(\\*|\"[0-9]{1,18}\")$" patternDescription:"an ETag, or *" doc:"Change it only as it was when this ETag was sent."`
	Body    struct {
		Label  *string  `json:"label,omitempty" maxLength:"100" doc:"What people call it."`
		Scopes []string `json:"scopes,omitempty" nullable:"false" maxItems:"100" doc:"All that it may do from now on."`
		State  string   `json:"state,omitempty" enum:"approved,disabled" doc:"disabled puts it out, whatever its tokens say, and rejects a pending one; approved lets a disabled one in again."`
	}
}

func changeIdentity(ctx context.Context, c call, in *changeIdentityInput) (*identityOutput, error) {
	if err := plainMembers(in.RawBody); err != nil {
		return nil, err
	}
	patch := identity.Patch{Terms: identity.Terms{Label: in.Body.Label, Scopes: in.Body.Scopes}, State: identity.State(in.Body.State)}
	if n := strings.Trim(in.IfMatch, `"`); n != "" && n != "*" {
		var err error
		if patch.At, err = strconv.ParseInt(n, 10, 64); err != nil || patch.At == 0 {
			return nil, identity.ErrMoved // it was never one of ours
		}
	}
	key, err := identity.ParseID(in.ID)
	var is identity.Identity
	if err == nil {
		is, err = c.Identities.Change(ctx, c.origin(), c.gate, key, patch)
	}
	return c.answerIdentity(audit.ChangeIdentity, key, is, err)
}

type approveIdentityInput struct {
	IdentityPath
	RawBody []byte
	Body    struct {
		Label    *string  `json:"label,omitempty" maxLength:"100" doc:"What people call it. Left out: that of the identity that it replaces."`
		Scopes   []string `json:"scopes,omitempty" nullable:"false" maxItems:"100" doc:"What it may do, beside the scopes of everybody approved. Left out: what the identity that it replaces might."`
		Replaces string   `json:"replaces,omitempty" minLength:"1" maxLength:"817" doc:"The id of the identity whose place it takes. That one is retired first, for good."`
	}
}

func approveIdentity(ctx context.Context, c call, in *approveIdentityInput) (*identityOutput, error) {
	if err := plainMembers(in.RawBody); err != nil {
		return nil, err
	}
	approval := identity.Approval{Terms: identity.Terms{Label: in.Body.Label, Scopes: in.Body.Scopes}}
	key, err := identity.ParseID(in.ID)
	if err == nil && in.Body.Replaces != "" {
		old, wrong := identity.ParseID(in.Body.Replaces)
		if wrong != nil {
			return nil, invalid("body.replaces", identity.ErrPredecessor.Error())
		}
		approval.Replaces = &old
	}
	var is identity.Identity
	if err == nil {
		is, err = c.Identities.Approve(ctx, c.origin(), c.gate, key, approval)
	}
	return c.answerIdentity(audit.ApproveIdentity, key, is, err)
}

// plainMembers refuses null, which huma takes for left out: who sends null for scopes may well mean that there are none.
func plainMembers(body []byte) error {
	object, err := strictjson.Object(body, "body", knownLimits)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if object[name] == nil {
			return invalid("body."+name, "is null: leave it out instead")
		}
	}
	return nil
}

// registryProblem is the part of the one table of errors that is the registry's, nil for other errors.
func registryProblem(err error) *Problem {
	var bad *identity.Invalid
	switch {
	case errors.As(err, &bad):
		return invalid("body."+bad.Field, bad.Problem)
	case errors.Is(err, identity.ErrKey):
		return invalid("body.subject", identity.ErrKey.Error())
	case errors.Is(err, identity.ErrPredecessor):
		return invalid("body.replaces", identity.ErrPredecessor.Error())
	}
	for _, known := range []struct {
		err    error
		status int
		reason Reason
		detail string
	}{
		{identity.ErrNotFound, http.StatusNotFound, ReasonIdentityNotFound, "There is no such identity."},
		{identity.ErrExists, http.StatusConflict, ReasonIdentityExists, "This identity is known already. If it is pending, approve it; if it is not, change it."},
		{identity.ErrApproved, http.StatusConflict, ReasonIdentityState, "The identity is approved already, on other terms. Change it."},
		{identity.ErrDisabled, http.StatusConflict, ReasonIdentityState, "The identity is disabled. Let it in again by changing its state."},
		{identity.ErrState, http.StatusConflict, ReasonIdentityState, "A pending identity is let in by approving it."},
		{identity.ErrRetired, http.StatusConflict, ReasonIdentityRetired, "The identity is retired, for good. Its successor has its place."},
		{identity.ErrReplaced, http.StatusConflict, ReasonIdentityRetired, "The identity to be replaced is retired already, in favour of another one."},
		{identity.ErrSelf, http.StatusConflict, ReasonIdentitySelf,
			"Nobody disables or retires themselves, or takes scopes from themselves: they might be the last who can undo it. Ask another administrator."},
		{identity.ErrMoved, http.StatusPreconditionFailed, ReasonPrecondition, "The identity has changed since. Read it again."},
	} {
		if errors.Is(err, known.err) {
			return problem(known.status, known.reason, known.detail)
		}
	}
	return nil
}
