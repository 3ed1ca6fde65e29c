package picture

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"
	"time"
)

// Sheet is what stands on the page that a ward hands out, beside the code.
//
// There is no name and no id of the patient on it. A sheet lets in whoever holds it, so that one that is lost must not say into
// whose record; and the id that Latchkey knows is a pseudonym that neither a nurse nor a patient could compare with anything, so
// that it would look like a check and be none. Against the wrong patient's sheet there is what can be compared: the reference
// is the activation's id, which the ward's own system shows beside the patient, and which opens nothing; and the sheet asks whoever
// hands it out for the two questions that identify a patient.
type Sheet struct {
	// Site is the site's name, or its prefix.
	Site string
	// Reference is the activation's id.
	Reference string
	// Made and Expires say when the code was made, and the first moment at which it works no longer. Both in the site's zone.
	Made, Expires time.Time
}

//go:embed sheet.html
var sheetPage string

// Page draws the sheet: one HTML page that needs nothing else, for paper (A4 and A5) and screen. policy is the
// Content-Security-Policy under which it works (CSP Level 3): its one style, and nothing else at all.
func (s Sheet) Page(c Code) (page []byte, policy string, err error) {
	t, err := template.New("sheet").Parse(sheetPage)
	if err != nil {
		return nil, "", fmt.Errorf("drawing a sheet: %w", err)
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Site": s.Site, "Reference": s.Reference, "Made": dayAndTime(s.Made), "Until": Until(s.Expires),
		"Code": c.human, "Groups": strings.Split(c.human, "-"), "Spoken": c.Spoken(),
		"QR": template.HTML(c.SVG()), // ours, and escaped
	})
	if err != nil {
		return nil, "", fmt.Errorf("drawing a sheet: %w", err)
	}
	_, rest, _ := strings.Cut(b.String(), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	return b.Bytes(), Policy("style-src 'sha256-" + hash(style) + "'"), nil
}

// Policy is the Content-Security-Policy of something that needs nothing but what allowed lists.
func Policy(allowed ...string) string {
	return strings.Join(append([]string{
		"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, allowed...), "; ")
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

const (
	day      = "Monday 2 January 2006"
	minute   = "15:04"
	inAMonth = "2 January 2006"
)

func dayAndTime(t time.Time) string { return t.Format(inAMonth + ", " + minute) }

// Until says in words how long something lives that is over from expires on: "the end of Sunday 29 November 2026". A day ends
// where its last second does (ACT-9); if the zone was changed since, it may be a time of day: "14:00 on Sunday 29 November 2026".
func Until(expires time.Time) string {
	last := expires.Add(-time.Second)
	if last.Day() != expires.Day() {
		return "the end of " + last.Format(day)
	}
	return expires.Format(minute + " on " + day)
}
