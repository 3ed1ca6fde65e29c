package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/clinician"
	"latchkey/handler/internal/subject"
)

const clinicianPath = "/dhos/v1/clinician"

// member is a member of a body of which being left out and being null are two things (RFC 7396 section 1). huma and encoding/json take
// both for a nil pointer.
type member[T any] struct {
	given bool
	value *T // nil for null
}

// UnmarshalJSON implements json.Unmarshaler: it is called for every member that is there, null among them.
func (m *member[T]) UnmarshalJSON(text []byte) error {
	m.given, m.value = true, nil
	if bytes.Equal(text, []byte("null")) {
		return nil
	}
	return json.Unmarshal(text, &m.value)
}

// Schema implements huma.SchemaProvider: as T, or null.
func (m member[T]) Schema(r huma.Registry) *huma.Schema {
	s := *huma.SchemaFromType(r, reflect.TypeFor[T]())
	s.Nullable = true
	return &s
}

// field is what the domain is told: nil for a member that was left out, the zero value for null, which clears.
func (m member[T]) field() *T {
	if !m.given {
		return nil
	}
	if m.value == nil {
		return new(T)
	}
	return m.value
}

// sent is field for a body in which null and left out are the same.
func (m member[T]) sent() *T { return m.value }

type createClinicianInput struct {
	Body struct {
		ID          string           `json:"clinician_id" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$" patternDescription:"an id of A-Z a-z 0-9 . _ -" doc:"The hospital's own pseudonymous id of the clinician." example:"c5a7f5c6-9c2b-4a43-9f0e-2f6f4f3a1b11"`
		LoginActive bool             `json:"login_active" doc:"Whether they may log in at all."`
		Products    []string         `json:"products" nullable:"false" maxItems:"50" doc:"Names, kept in lower case."`
		Identifier  member[string]   `json:"send_entry_identifier,omitempty" minLength:"1" maxLength:"128" doc:"What they log in by. It is one clinician's at a time."`
		Groups      member[[]string] `json:"groups,omitempty" maxItems:"50" doc:"Names, kept in lower case: send clinician and send superclinician may log in through a device."`
		LastDay     member[string]   `json:"contract_expiry_eod_date,omitempty" minLength:"10" maxLength:"10" doc:"The last day of the contract, to its end by the site's clock." example:"2027-03-31"`
	}
}

func createClinician(ctx context.Context, c call, in *createClinicianInput) (*struct{}, error) {
	b := in.Body
	of, err := subject.New(subject.Clinician, b.ID)
	if err != nil {
		return nil, invalid("body.clinician_id", subject.ErrName.Error())
	}
	err = c.Clinicians.Create(ctx, c.origin(), c.gate, of, clinician.Fields{
		LoginActive: &b.LoginActive, Products: &b.Products, Identifier: b.Identifier.sent(), Groups: b.Groups.sent(), LastDay: b.LastDay.sent(),
	})
	c.event.decided(audit.CreateClinician, of, c.Parts, "", err)
	return nil, err
}

// ClinicianPath is the id in the path.
type ClinicianPath struct {
	ClinicianID string `path:"clinician_id" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$" patternDescription:"an id of A-Z a-z 0-9 . _ -" doc:"The hospital's own pseudonymous id of the clinician."`
}

type changeClinicianInput struct {
	ClinicianPath
	Body struct {
		LoginActive member[bool]     `json:"login_active,omitempty" doc:"Whether they may log in at all. It cannot be cleared."`
		Products    member[[]string] `json:"products,omitempty" maxItems:"50" doc:"All of them from now on; null for none."`
		Identifier  member[string]   `json:"send_entry_identifier,omitempty" minLength:"1" maxLength:"128" doc:"What they log in by from now on; null for nothing."`
		Groups      member[[]string] `json:"groups,omitempty" maxItems:"50" doc:"All of them from now on; null for none."`
		LastDay     member[string]   `json:"contract_expiry_eod_date,omitempty" minLength:"10" maxLength:"10" doc:"The last day of the contract, to its end by the site's clock; null for no end."`
	}
}

func changeClinician(ctx context.Context, c call, in *changeClinicianInput) (*struct{}, error) {
	of, err := subject.New(subject.Clinician, in.ClinicianID)
	if err != nil {
		return nil, invalid("path.clinician_id", subject.ErrName.Error())
	}
	b := in.Body
	if b.LoginActive.given && b.LoginActive.value == nil {
		return nil, invalid("body.login_active", "is null, and cannot be cleared: it is true or false")
	}
	err = c.Clinicians.Change(ctx, c.origin(), c.gate, of, clinician.Fields{
		LoginActive: b.LoginActive.field(), Products: b.Products.field(), Identifier: b.Identifier.field(), Groups: b.Groups.field(),
		LastDay: b.LastDay.field(),
	})
	c.event.decided(audit.ChangeClinician, of, c.Parts, "", err)
	return nil, err
}

type loginInput struct {
	Identifier string `query:"send_entry_identifier" required:"true" minLength:"1" maxLength:"128" doc:"What the clinician is known by."`
}

// createClinicianToken logs a clinician in through the device that calls.
func createClinicianToken(ctx context.Context, c call, in *loginInput) (*tokenOutput, error) {
	through := clinician.Through{Device: c.caller.Subject, Session: c.caller.Session, Token: c.caller.Token}
	grant, who, err := c.Clinicians.LogIn(ctx, c.origin(), through, in.Identifier)
	out := &tokenOutput{}
	if err == nil {
		token, lifetime, failed := c.MintClinician(grant)
		out.Body, err = tokenBody{token, "Bearer", int(lifetime.Seconds())}, failed
	}
	c.event.login(who.Name, in.Identifier, c.Parts)
	c.event.decided(audit.LogIn, through.Device, c.Parts, "", err)
	if err != nil {
		return nil, fmt.Errorf("issuing a clinician's token: %w", err)
	}
	return out, nil
}

func getClinicianToken(ctx context.Context, c call, in *loginInput) (*deprecatedTokenOutput, error) {
	out, err := createClinicianToken(ctx, c, in)
	if err != nil {
		return nil, err
	}
	return &deprecatedTokenOutput{getDeprecated, `</openapi.json>; rel="deprecation"`, out.Body}, nil
}

// clinicianProblem is the part of the one table of errors that is of clinicians, nil for other errors.
func clinicianProblem(err error) *Problem {
	var bad *clinician.Invalid
	var refusal *activation.Refusal
	switch {
	case errors.As(err, &bad):
		return invalid("body."+bad.Field, bad.Problem)
	case errors.Is(err, clinician.ErrNotFound):
		return problem(http.StatusNotFound, ReasonClinicianNotFound, "There is no such clinician.")
	case errors.Is(err, clinician.ErrExists):
		return problem(http.StatusConflict, ReasonClinicianExists, "This clinician is known already. Change them.")
	case errors.Is(err, clinician.ErrTaken):
		return problem(http.StatusConflict, ReasonIdentifierTaken, "This send_entry_identifier is another clinician's, or is being given to one at this moment.")
	case !errors.As(err, &refusal) || refusal.Action != audit.LogIn:
		return nil
	case refusal.Reason == audit.ReasonNotFound:
		return problem(http.StatusNotFound, ReasonClinicianNotFound, "Nobody is known by this send_entry_identifier.")
	}
	return problem(http.StatusForbidden, ReasonLoginRefused,
		"This clinician may not log in through this device: one of them is not active, the contract has ended, or none of the clinician's groups may.")
}
