package server

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/subject"
)

// PatientPath is the id in the path. Its form is checked by the schema before anything is looked up.
type PatientPath struct {
	PatientID string `path:"patient_id" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$" patternDescription:"an id of A-Z a-z 0-9 . _ -" doc:"The hospital's own pseudonymous id of the patient." example:"ab3d9aa3-d5aa-406a-87b2-cd67ad872724"`
}

func (p PatientPath) subject() (subject.ID, error) { return subject.New(subject.Patient, p.PatientID) }

// Identifier holds the fields that the predecessor gives every object.
type Identifier struct {
	UUID       string `json:"uuid" format:"uuid" doc:"The activation's id."`
	Created    string `json:"created" format:"date-time"`
	CreatedBy  string `json:"created_by" doc:"Who: tenant and object id."`
	Modified   string `json:"modified" format:"date-time"`
	ModifiedBy string `json:"modified_by"`
}

func identifierOf(a activation.Activation) Identifier {
	return Identifier{a.ID.String(), stamp(a.Created), a.CreatedBy, stamp(a.Modified), a.ModifiedBy}
}

// stamp is how times are sent: RFC 3339, UTC, milliseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// until is how an expiry is sent: as the last second of the local day that it ends (ACT-9).
func until(expires time.Time, zone *time.Location) string {
	return expires.Add(-time.Second).In(zone).Format(time.RFC3339)
}

// Idempotent takes the key under which a try can be asked for again.
type Idempotent struct {
	Key string `header:"Idempotency-Key" minLength:"22" maxLength:"128" pattern:"^[!-~]+$" patternDescription:"visible ASCII" doc:"A secret of this one try, drawn at random by the client (128 bits or more): who knows it and the request can ask for the reply again."`
}

type createInput struct {
	PatientPath
	Idempotent
}

func createActivation(ctx context.Context, c call, in *createInput) (*createdActivation, error) {
	patient, err := in.subject()
	if err != nil {
		return nil, err
	}
	key := in.Key
	if key == "" {
		// The host runs a request without a body again, under the same id, when it gets no answer (host-contract.md 3.7).
		key = c.event.invocation
	}
	made, err := c.Activations.Create(ctx, c.origin(), c.gate, patient, key)
	c.event.decided(audit.CreateActivation, patient, c.Parts, activationID(made.ID), err)
	if err != nil {
		return nil, err
	}
	return c.written(made)
}

// activationID is the id for an event, "" for none.
func activationID(id activation.UUID) string {
	if id == (activation.UUID{}) {
		return ""
	}
	return id.String()
}

type listInput struct {
	PatientPath
	Status string `query:"status" enum:"pending,completed,expired,revoked,all" default:"completed" doc:"Which activations."`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"The longest page."`
	Cursor string `query:"cursor" format:"uuid" doc:"Where the page begins: from the Link header of the one before."`
}

type listedActivation struct {
	Identifier
	Status              string  `json:"status" enum:"pending,completed,expired,revoked"`
	ExpiresAt           string  `json:"expires_at" format:"date-time"`
	ActivationCompleted *string `json:"activation_completed" format:"date-time" doc:"When it was redeemed, null if it was not."`
}

type listOutput struct {
	Link string `header:"Link" doc:"The next page (RFC 8288), if there is one."`
	Body []listedActivation
}

func listActivations(ctx context.Context, c call, in *listInput) (*listOutput, error) {
	patient, err := in.subject()
	if err != nil {
		return nil, err
	}
	var after activation.UUID
	if in.Cursor != "" {
		if after, err = activation.ParseUUID(in.Cursor); err != nil {
			return nil, invalid("query.cursor", "is not from a Link header")
		}
	}
	status := activation.Status(in.Status)
	if in.Status == "all" {
		status = ""
	}
	page, more, err := c.Activations.List(ctx, patient, status, after, in.Limit)
	c.event.decided(audit.ListActivations, patient, c.Parts, "", err)
	if err != nil {
		return nil, err
	}
	out := &listOutput{Body: make([]listedActivation, 0, len(page))}
	for _, a := range page {
		item := listedActivation{Identifier: identifierOf(a), Status: string(a.Status), ExpiresAt: until(a.Expires, c.Zone())}
		if !a.Redeemed.IsZero() {
			redeemed := stamp(a.Redeemed)
			item.ActivationCompleted = &redeemed
		}
		out.Body = append(out.Body, item)
	}
	if next := activationID(more); next != "" {
		query := url.Values{"cursor": {next}, "limit": {strconv.Itoa(in.Limit)}, "status": {in.Status}}
		out.Link = fmt.Sprintf(`</dhos/v1/patient/%s/activation?%s>; rel="next"`, in.PatientID, query.Encode())
	}
	return out, nil
}

type revokeInput struct {
	PatientPath
	UUID string `path:"uuid" format:"uuid" doc:"The activation's id."`
}

func revokeActivation(ctx context.Context, c call, in *revokeInput) (*struct{}, error) {
	patient, err := in.subject()
	if err != nil {
		return nil, err
	}
	id, err := activation.ParseUUID(in.UUID)
	if err == nil {
		err = c.Activations.Revoke(ctx, c.origin(), c.gate, patient, id)
	}
	c.event.decided(audit.RevokeActivation, patient, c.Parts, activationID(id), err)
	return nil, err
}

// RedeemKind is the predecessor's query parameter.
type RedeemKind struct {
	Type string `query:"type" enum:"gdm,send_entry" default:"gdm" doc:"Whose activation it is: gdm, a patient's, or send_entry, a device's."`
}

type redeemInput struct {
	RedeemKind
	Idempotent
	Body struct {
		Code           string `json:"code,omitempty" maxLength:"64" doc:"The code as it was typed; instead of the other two. A device's is always whole." example:"OXF-7KQ4-9F2M-HX3F-J7WP-7"`
		ActivationCode string `json:"activation_code,omitempty" maxLength:"64" doc:"The locator, with otp; the whole code of a device."`
		OTP            string `json:"otp,omitempty" maxLength:"64"`
	}
}

type redeemByCodeInput struct {
	RedeemKind
	Idempotent
	ActivationCode string `path:"activation_code" maxLength:"64" doc:"The locator; the whole code of a device."`
	Body           *struct {
		OTP string `json:"otp,omitempty" maxLength:"64" doc:"A patient's. A device has none."`
	}
}

type redeemed struct {
	Body struct {
		AuthorisationCode string `json:"authorisation_code" doc:"Buys tokens. Keep it in encrypted storage: without the Idempotency-Key nobody can ask for it again."`
		PatientID         string `json:"patient_id,omitempty" doc:"Who was let in, if it is a patient."`
		DeviceID          string `json:"device_id,omitempty" doc:"Which was let in, if it is a device."`
	}
}

func redeemActivation(ctx context.Context, c call, in *redeemInput) (*redeemed, error) {
	b := in.Body
	switch {
	case b.Code != "" && (b.ActivationCode != "" || b.OTP != ""):
		return nil, invalid("body.code", "stands for activation_code and otp: send it alone")
	case in.device():
		code := b.Code + b.ActivationCode // one of them
		if code == "" {
			return nil, invalid("body.code", "is missing")
		}
		return c.redeemDevice(ctx, code, b.OTP, in.Key)
	case b.Code != "":
		locator, otp, err := codes.ParseHuman(c.Site, b.Code)
		if err != nil {
			return nil, err
		}
		return c.redeemPatient(ctx, activation.Try{Locator: locator, OTP: otp, Key: in.Key})
	case b.ActivationCode == "":
		return nil, invalid("body.activation_code", "is missing; or send code alone")
	case b.OTP == "":
		return nil, invalid("body.otp", "is missing")
	}
	return c.redeemParts(ctx, b.ActivationCode, b.OTP, in.Key)
}

func redeemActivationByCode(ctx context.Context, c call, in *redeemByCodeInput) (*redeemed, error) {
	otp := ""
	if in.Body != nil {
		otp = in.Body.OTP
	}
	switch {
	case in.device():
		return c.redeemDevice(ctx, in.ActivationCode, otp, in.Key)
	case in.Body == nil:
		return nil, invalid("body", "is missing")
	case otp == "":
		return nil, invalid("body.otp", "is missing")
	}
	return c.redeemParts(ctx, in.ActivationCode, otp, in.Key)
}

func (k RedeemKind) device() bool { return k.Type == "send_entry" }

func (c call) redeemDevice(ctx context.Context, code, otp, key string) (*redeemed, error) {
	if otp != "" {
		return nil, invalid("body.otp", "is not for a device: its code is enough")
	}
	secret, err := codes.ParseDevice(c.Site, code)
	if err != nil {
		return nil, err
	}
	return c.redeem(ctx, func() (activation.Redeemed, error) { return c.Activations.RedeemDevice(ctx, c.origin(), secret, key) })
}

func (c call) redeemPatient(ctx context.Context, try activation.Try) (*redeemed, error) {
	return c.redeem(ctx, func() (activation.Redeemed, error) { return c.Activations.Redeem(ctx, c.origin(), try) })
}

func (c call) redeemParts(ctx context.Context, code, otp, key string) (*redeemed, error) {
	try := activation.Try{Key: key}
	var err error
	if try.Locator, err = codes.ParseLocator(code); err != nil {
		return nil, err
	}
	if try.OTP, err = codes.ParseOTP(otp); err != nil {
		return nil, err
	}
	return c.redeemPatient(ctx, try)
}

// redeem is where all forms meet.
func (c call) redeem(ctx context.Context, try func() (activation.Redeemed, error)) (*redeemed, error) {
	var won activation.Redeemed
	err := c.timed(ctx, &c.redeems, true, func() (err error) {
		won, err = try()
		return c.charged(ctx, err)
	})
	c.event.decided(audit.RedeemActivation, won.Subject, c.Parts, activationID(won.Activation), err)
	if err != nil {
		return nil, err
	}
	out := &redeemed{}
	out.Body.AuthorisationCode = won.AuthorisationCode
	if won.Subject.Kind == subject.Device {
		out.Body.DeviceID = won.Subject.Name
	} else {
		out.Body.PatientID = won.Subject.Name
	}
	return out, nil
}

type tokenInput struct {
	PatientPath
	AuthorisationCode string `header:"x-authorisation-code" required:"true" minLength:"1" maxLength:"256" doc:"From redeeming an activation."`
}

type tokenBody struct {
	JWT       string `json:"jwt" doc:"The token (RFC 9068)."`
	TokenType string `json:"token_type" enum:"Bearer"`
	ExpiresIn int    `json:"expires_in" doc:"Seconds."`
}

type tokenOutput struct{ Body tokenBody }

func createPatientToken(ctx context.Context, c call, in *tokenInput) (*tokenOutput, error) {
	patient, err := in.subject()
	if err != nil {
		return nil, err
	}
	var grant activation.Grant
	authorise := func() (err error) {
		grant, err = c.Activations.Authorise(ctx, c.origin(), patient, in.AuthorisationCode)
		return err
	}
	// Where credentials were imported some refusals cost a memory-hard hash and others none.
	err = c.timed(ctx, &c.refreshes, c.Imported(), authorise)
	var token string
	var lifetime time.Duration
	if err == nil {
		token, lifetime, err = c.Mint(grant)
	}
	c.event.decided(audit.IssueToken, patient, c.Parts, "", err)
	if err != nil {
		return nil, fmt.Errorf("issuing a token: %w", err)
	}
	return &tokenOutput{tokenBody{token, "Bearer", int(lifetime.Seconds())}}, nil
}

type deprecatedTokenOutput struct {
	Deprecation string `header:"Deprecation" doc:"Since when (RFC 9745)."`
	Link        string `header:"Link" doc:"What to use instead (RFC 8288)."`
	Body        tokenBody
}

// getDeprecated is 2026-11-24T00:00:00Z, the day of the first version, as RFC 9745 section 2.1 writes dates: a GET should not give
// secrets away, and this one is kept for the phones that are out there.
const getDeprecated = "@1795478400"

func getPatientToken(ctx context.Context, c call, in *tokenInput) (*deprecatedTokenOutput, error) {
	out, err := createPatientToken(ctx, c, in)
	if err != nil {
		return nil, err
	}
	return &deprecatedTokenOutput{getDeprecated, `</openapi.json>; rel="deprecation"`, out.Body}, nil
}
