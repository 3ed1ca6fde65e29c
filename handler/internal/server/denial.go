package server

import (
	"context"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/subject"
)

type denialInput struct {
	Body struct {
		Ticket string `json:"ticket" minLength:"1" maxLength:"1024" doc:"From the refusal."`
	}
}

type denialOutput struct {
	Body struct {
		Instance  string `json:"instance" doc:"The refusal's id."`
		At        string `json:"at" format:"date-time"`
		Operation string `json:"operation" doc:"What was asked for."`
		Cause     string `json:"cause" doc:"The rule that failed, in a stable word."`
		Told      string `json:"told" doc:"The reason that the caller was told."`
		Meaning   string `json:"meaning"`
		Remedy    string `json:"remedy" doc:"How to mend it."`
		Expected  string `json:"expected" doc:"What the rule wanted."`
		Got       string `json:"got" doc:"What it found."`
	}
}

// openDenial explains a refusal to an administrator (AUT-6). Nothing was kept of it: all is in the ticket.
func openDenial(_ context.Context, c call, in *denialInput) (*denialOutput, error) {
	d, err := c.Unseal(in.Body.Ticket)
	c.event.decided(audit.ReadDenial, subject.ID{}, c.Parts, "", err)
	if err != nil {
		return nil, invalid("body.ticket", "is not a ticket of the last seven days")
	}
	out := &denialOutput{}
	b := &out.Body
	b.Instance, b.At, b.Operation = "urn:latchkey:"+d.ID, d.At.Format(time.RFC3339), d.Operation
	b.Cause, b.Expected, b.Got = d.Cause, d.Expected, d.Got
	if why, known := caller.Explain(caller.Cause(d.Cause)); known {
		b.Told, b.Meaning, b.Remedy = string(why.Class), why.Meaning, why.Remedy
	}
	return out, nil
}
