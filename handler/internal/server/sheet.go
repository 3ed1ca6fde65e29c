package server

import (
	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/picture"
)

// forPeople are the forms of a code beside JSON, for whoever shows or prints it.
var forPeople = []form{formSVG, formPNG, formSheet}

// createdActivationBody is a new activation: its members as JSON, or a picture of it.
type createdActivationBody struct {
	ActivationCode string `json:"activation_code" doc:"The locator: it names the activation." example:"7KQ49F2MHX"`
	OTP            string `json:"otp" doc:"Proves the holder of the code." example:"3FJ7WP"`
	Code           string `json:"code" doc:"Both in one, as people type it, with a check character." example:"OXF-7KQ4-9F2M-HX3F-J7WP-7"`
	ExpiresAt      string `json:"expires_at" format:"date-time"`
	Identifier

	picture []byte
}

func (b createdActivationBody) written() []byte { return b.picture }

type createdActivation struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	// Policy keeps what a browser shows from reaching anything: an SVG is a document like a page.
	Policy string `header:"Content-Security-Policy" hidden:"true"`
	Body   createdActivationBody
}

// written is a new activation in the form that was asked for, which was known to be one of ours before anything was done. Under
// the same Idempotency-Key the same activation is told again in any form: that is how a ward gets code and picture.
func (c call) written(made activation.Created) (*createdActivation, error) {
	out := &createdActivation{}
	if c.form == formJSON {
		out.Body.ActivationCode, out.Body.OTP, out.Body.Code = made.Locator, made.OTP, made.Human
		out.Body.ExpiresAt, out.Body.Identifier = until(made.Expires, c.Zone()), identifierOf(made.Activation)
		return out, nil
	}
	code, err := picture.New(c.AppLink(), made.Human)
	if err != nil {
		return nil, err
	}
	out.ContentType, out.Policy = string(c.form), picture.Policy()
	switch c.form {
	case formSVG:
		out.Body.picture = code.SVG()
	case formPNG:
		out.Body.picture, err = code.PNG()
	case formSheet:
		out.ContentType = "text/html; charset=utf-8"
		out.Body.picture, out.Policy, err = picture.Sheet{
			Site: c.siteName(), Reference: made.ID.String(), Made: made.Created.In(c.Zone()), Expires: made.Expires.In(c.Zone()),
		}.Page(code)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// siteName is what people call this site, or its prefix.
func (c call) siteName() string {
	if own, _ := c.Sites().Find(c.Site); own.Name != "" {
		return own.Name
	}
	return c.Site
}
