package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
)

const devicePath = "/dhos/v1/device"

// DevicePath is the id in the path. Its form is checked by the schema before anything is looked up.
type DevicePath struct {
	DeviceID string `path:"device_id" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$" patternDescription:"an id of A-Z a-z 0-9 . _ -" doc:"The device's id: its uuid." example:"6a1c2f7e-0a5b-4a53-9d0e-6f1d7f1f2a10"`
}

func (p DevicePath) subject() (subject.ID, error) {
	of, err := subject.New(subject.Device, p.DeviceID)
	if err != nil {
		return of, invalid("path.device_id", err.Error())
	}
	return of, nil
}

// Device is a device as it is sent: the predecessor's fields.
type Device struct {
	UUID        string `json:"uuid" doc:"The device's id."`
	LocationID  string `json:"location_id" doc:"Where it is, as the hospital names it."`
	Description string `json:"description" doc:"What people call it."`
	Active      bool   `json:"active" doc:"Whether it may be let in and buy tokens."`
	Created     string `json:"created" format:"date-time"`
	CreatedBy   string `json:"created_by" doc:"Who: issuer and id."`
	Modified    string `json:"modified" format:"date-time"`
	ModifiedBy  string `json:"modified_by"`
}

func sentDevice(h activation.Head) Device {
	d := h.Device
	return Device{h.Subject.Name, d.Location, d.Description, h.Active, stamp(d.Created), d.CreatedBy, stamp(d.Modified), d.ModifiedBy}
}

type deviceOutput struct {
	ETag string `header:"ETag" doc:"Which of its changes this is, for If-Match."`
	Body Device
}

func answerDevice(h activation.Head) *deviceOutput {
	return &deviceOutput{`"` + strconv.FormatInt(h.Device.Changes, 10) + `"`, sentDevice(h)}
}

type createDeviceInput struct {
	RawBody []byte
	Type    string `query:"type" maxLength:"64" doc:"As the predecessor takes it. It changes nothing."`
	Body    struct {
		UUID        string `json:"uuid,omitempty" minLength:"1" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$" patternDescription:"an id of A-Z a-z 0-9 . _ -" doc:"Its id. Left out: a fresh one."`
		LocationID  string `json:"location_id" minLength:"1" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$" patternDescription:"an id of A-Z a-z 0-9 . _ -" doc:"Where it is, as the hospital names it."`
		Description string `json:"description" minLength:"1" maxLength:"200" doc:"What people call it. It is no place for anything about patients."`
	}
}

func createDevice(ctx context.Context, c call, in *createDeviceInput) (*deviceOutput, error) {
	if err := plainMembers(in.RawBody); err != nil {
		return nil, err
	}
	if in.Body.UUID != "" {
		if _, err := subject.New(subject.Device, in.Body.UUID); err != nil {
			return nil, invalid("body.uuid", err.Error())
		}
	}
	made, err := c.Activations.CreateDevice(ctx, c.origin(), c.gate, in.Body.UUID, in.Body.Description, in.Body.LocationID)
	c.event.decided(audit.CreateDevice, made.Subject, c.Parts, "", err)
	if err != nil {
		return nil, err
	}
	return answerDevice(made), nil
}

type listDevicesInput struct {
	LocationID string `query:"location_id" maxLength:"2600" doc:"Only those at these locations, with commas between them, at most 20."`
	Active     string `query:"active" enum:"true,false,all" default:"true" doc:"Which devices."`
	Type       string `query:"type" maxLength:"64" doc:"As the predecessor takes it. It changes nothing."`
	Limit      int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"The longest page. A page may be shorter, or empty, and have another one behind it."`
	Cursor     string `query:"cursor" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$" patternDescription:"from a Link header" doc:"Where the page begins: from the Link header of the one before."`
}

type listDevicesOutput struct {
	Link string `header:"Link" doc:"The next page (RFC 8288), if there is one."`
	Body []Device
}

func listDevices(ctx context.Context, c call, in *listDevicesInput) (*listDevicesOutput, error) {
	var locations []string
	if in.LocationID != "" {
		locations = strings.Split(in.LocationID, ",")
	}
	var active *bool
	if in.Active != "all" {
		is := in.Active == "true"
		active = &is
	}
	page, more, err := c.Activations.Devices(ctx, locations, active, in.Cursor, in.Limit)
	if errors.Is(err, activation.ErrLocation) {
		err = invalid("query.location_id", fmt.Sprintf("is not a list of at most %d ids of A-Z a-z 0-9 . _ - with commas between them", activation.MaxLocations))
	}
	c.event.decided(audit.ListDevices, subject.ID{}, c.Parts, "", err)
	if err != nil {
		return nil, err
	}
	out := &listDevicesOutput{Body: make([]Device, len(page))}
	for i, head := range page {
		out.Body[i] = sentDevice(head)
	}
	if more != "" {
		query := url.Values{"active": {in.Active}, "cursor": {more}, "limit": {strconv.Itoa(in.Limit)}}
		if in.LocationID != "" {
			query.Set("location_id", in.LocationID)
		}
		out.Link = fmt.Sprintf(`<%s?%s>; rel="next"`, devicePath, query.Encode())
	}
	return out, nil
}

func getDevice(ctx context.Context, c call, in *DevicePath) (*deviceOutput, error) {
	device, err := in.subject()
	if err != nil {
		return nil, err
	}
	is, err := c.Activations.Device(ctx, device)
	c.event.decided(audit.ReadDevice, device, c.Parts, "", err)
	if err != nil {
		return nil, err
	}
	return answerDevice(is), nil
}

type changeDeviceInput struct {
	DevicePath
	RawBody []byte
	IfMatch string `header:"If-Match" pattern:"^(\\*|\"[0-9]{1,18}\")$" patternDescription:"an ETag, or *" doc:"Change it only as it was when this ETag was sent."`
	Body    struct {
		Description *string `json:"description,omitempty" minLength:"1" maxLength:"200" doc:"What people call it."`
		LocationID  *string `json:"location_id,omitempty" minLength:"1" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$" patternDescription:"an id of A-Z a-z 0-9 . _ -" doc:"Where it is."`
		Active      *bool   `json:"active,omitempty" doc:"false ends its tokens and a pending activation, and puts what buys tokens aside; true brings that back."`
	}
}

func changeDevice(ctx context.Context, c call, in *changeDeviceInput) (*deviceOutput, error) {
	device, err := in.subject()
	if err != nil {
		return nil, err
	}
	if err := plainMembers(in.RawBody); err != nil {
		return nil, err
	}
	patch := activation.DevicePatch{Description: in.Body.Description, Location: in.Body.LocationID, Active: in.Body.Active}
	if n := strings.Trim(in.IfMatch, `"`); n != "" && n != "*" {
		if patch.At, err = strconv.ParseInt(n, 10, 64); err != nil || patch.At == 0 {
			return nil, activation.ErrDeviceMoved // it was never one of ours
		}
	}
	is, err := c.Activations.ChangeDevice(ctx, c.origin(), c.gate, device, patch)
	c.event.changed(&audit.DeviceFields{Description: patch.Description, LocationID: patch.Location, Active: patch.Active})
	c.event.decided(audit.ChangeDevice, device, c.Parts, "", err)
	if err != nil {
		return nil, err
	}
	return answerDevice(is), nil
}

type activateDeviceInput struct {
	DevicePath
	Idempotent
}

type deviceActivationOutput struct {
	Body struct {
		Identifier
		Code      string `json:"code" doc:"The whole code, as people type it: it lets the device in by itself." example:"OXF-7KQ4-9F2M-HX3F-J7W"`
		ExpiresAt string `json:"expires_at" format:"date-time" doc:"The last second in which it works."`
	}
}

func activateDevice(ctx context.Context, c call, in *activateDeviceInput) (*deviceActivationOutput, error) {
	device, err := in.subject()
	if err != nil {
		return nil, err
	}
	key := in.Key
	if key == "" {
		key = c.event.invocation // as createActivation
	}
	made, err := c.Activations.Create(ctx, c.origin(), c.gate, device, key)
	c.event.decided(audit.CreateActivation, device, c.Parts, activationID(made.ID), err)
	if err != nil {
		return nil, err
	}
	out := &deviceActivationOutput{}
	out.Body.Identifier, out.Body.Code, out.Body.ExpiresAt = identifierOf(made.Activation), made.Human, until(made.Expires, c.Zone())
	return out, nil
}

type deviceTokenInput struct {
	DevicePath
	AuthorisationCode string `header:"x-authorisation-code" required:"true" minLength:"1" maxLength:"256" doc:"From redeeming an activation."`
}

// createDeviceToken answers 403 alike for a wrong code, an unknown device, one that was not activated and one that is inactive (TOK-2).
func createDeviceToken(ctx context.Context, c call, in *deviceTokenInput) (*tokenOutput, error) {
	device, err := in.subject()
	if err != nil {
		return nil, err
	}
	var grant activation.Grant
	err = c.timed(ctx, &c.refreshes, c.Imported(), func() (err error) { // as createPatientToken
		grant, err = c.Activations.AuthoriseDevice(ctx, c.origin(), device, in.AuthorisationCode)
		return err
	})
	var token string
	var lifetime time.Duration
	if err == nil {
		token, lifetime, err = c.Mint(grant)
	}
	c.event.decided(audit.IssueToken, device, c.Parts, "", err)
	switch _, refused := errors.AsType[*activation.Refusal](err); {
	case refused:
		return nil, problem(http.StatusForbidden, ReasonCredentialRefused,
			"This authorisation code does not work for this device. If it is right, the device is inactive or needs a new activation.")
	case err != nil:
		return nil, fmt.Errorf("issuing a token: %w", err)
	}
	return &tokenOutput{tokenBody{token, "Bearer", int(lifetime.Seconds())}}, nil
}

func getDeviceToken(ctx context.Context, c call, in *deviceTokenInput) (*deprecatedTokenOutput, error) {
	out, err := createDeviceToken(ctx, c, in)
	if err != nil {
		return nil, err
	}
	return &deprecatedTokenOutput{getDeprecated, `</openapi.json>; rel="deprecation"`, out.Body}, nil
}

func endDeviceAuthorisation(ctx context.Context, c call, in *DevicePath) (*struct{}, error) {
	device, err := in.subject()
	if err != nil {
		return nil, err
	}
	err = c.Activations.EndAll(ctx, c.origin(), c.gate, device)
	c.event.decided(audit.RevokeAuthorisation, device, c.Parts, "", err)
	return nil, err
}

// deviceProblem is the part of the one table of errors that is of devices, nil for other errors.
func deviceProblem(err error) *Problem {
	switch {
	case errors.Is(err, activation.ErrDescription):
		return invalid("body.description", activation.ErrDescription.Error())
	case errors.Is(err, activation.ErrLocation):
		return invalid("body.location_id", activation.ErrLocation.Error())
	case errors.Is(err, activation.ErrNoDevice):
		return problem(http.StatusNotFound, ReasonDeviceNotFound, "There is no such device.")
	case errors.Is(err, activation.ErrDeviceExists):
		return problem(http.StatusConflict, ReasonDeviceExists, "There is a device under this id already. Change it, or choose another id.")
	case errors.Is(err, activation.ErrDeviceMoved):
		return problem(http.StatusPreconditionFailed, ReasonPrecondition, "The device has changed since. Read it again.")
	}
	return nil
}

// directoryProblem is the part of the one table that is of what is registered here: identities, devices, clinicians.
func directoryProblem(err error) *Problem {
	if p := deviceProblem(err); p != nil {
		return p
	}
	if p := clinicianProblem(err); p != nil {
		return p
	}
	return registryProblem(err)
}
