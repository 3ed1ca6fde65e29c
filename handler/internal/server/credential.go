package server

import (
	"context"
	"errors"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
)

type authorisation struct {
	ID       string  `json:"authorisation_id" doc:"Names it here. It is the sid of every token bought with it, and no secret." example:"0k3n6r9tbdfhjlnprtvx13579b"`
	Label    string  `json:"label" doc:"What people call it."`
	Created  *string `json:"created" format:"date-time" doc:"When it was got by redeeming an activation, null if that was not kept."`
	LastUsed *string `json:"last_used" format:"date-time" doc:"When it last bought a token, to the hour; null for never."`
	Imported bool    `json:"imported" doc:"Whether it comes from the predecessor and has not been used since; nothing more is known of it then."`
}

type authorisationsOutput struct{ Body []authorisation }

func listAuthorisations(ctx context.Context, c call, in *PatientPath) (*authorisationsOutput, error) {
	patient, err := in.subject()
	if err != nil {
		return nil, err
	}
	all, imported, err := c.Activations.Credentials(ctx, patient)
	c.event.decided(audit.ListCredentials, patient, c.Parts, "", err)
	if err != nil {
		return nil, err
	}
	out := &authorisationsOutput{Body: make([]authorisation, 0, len(all)+1)}
	if imported {
		out.Body = append(out.Body, authorisation{ID: activation.ImportedID, Imported: true})
	}
	for _, credential := range all {
		out.Body = append(out.Body, authorisation{
			ID: credential.Session, Label: credential.Label, Created: timeOrNull(credential.Created), LastUsed: timeOrNull(credential.Used),
		})
	}
	return out, nil
}

// timeOrNull is a time as it is sent, null if there is none.
func timeOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}

func endAuthorisations(ctx context.Context, c call, in *PatientPath) (*struct{}, error) {
	patient, err := in.subject()
	if err != nil {
		return nil, err
	}
	err = c.Activations.EndAll(ctx, c.origin(), c.gate, patient)
	c.event.decided(audit.RevokeAuthorisation, patient, c.Parts, "", err)
	return nil, err
}

// AuthorisationPath names one of a patient's credentials.
type AuthorisationPath struct {
	PatientPath
	ID string `path:"authorisation_id" maxLength:"128" pattern:"^[A-Za-z0-9._-]+$" patternDescription:"an id from the list" doc:"From the list of the patient's authorisations."`
}

func endAuthorisation(ctx context.Context, c call, in *AuthorisationPath) (*struct{}, error) {
	patient, err := in.subject()
	if err != nil {
		return nil, err
	}
	err = c.Activations.EndOne(ctx, c.origin(), c.gate, patient, in.ID)
	c.event.decided(audit.RevokeCredential, patient, c.Parts, "", err)
	return nil, err
}

type labelInput struct {
	AuthorisationPath
	Body struct {
		Label string `json:"label" maxLength:"100" doc:"What people call it; empty takes the label away. It is no place for anything about the patient."`
	}
}

func labelAuthorisation(ctx context.Context, c call, in *labelInput) (*struct{}, error) {
	patient, err := in.subject()
	if err != nil {
		return nil, err
	}
	err = c.Activations.Label(ctx, c.origin(), c.gate, patient, in.ID, in.Body.Label)
	if errors.Is(err, activation.ErrLabel) {
		return nil, invalid("body.label", activation.ErrLabel.Error())
	}
	c.event.decided(audit.LabelCredential, patient, c.Parts, "", err)
	return nil, err
}
