package server

import (
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// form is a media type in which an operation can answer: JSON for programs, the others for people (ACT-11).
type form string

// The forms.
const (
	formJSON  form = "application/json"
	formSVG   form = "image/svg+xml"
	formPNG   form = "image/png"
	formSheet form = "text/html"
)

// writable is a body that was written in another form than JSON.
type writable interface{ written() []byte }

// formats are those of huma and ours. huma takes the one that the Content-Type of an answer names.
func formats() map[string]huma.Format {
	all := maps.Clone(huma.DefaultFormats)
	for _, f := range []form{formSVG, formPNG, formSheet} {
		all[string(f)] = huma.Format{Marshal: func(w io.Writer, body any) error {
			_, err := w.Write(body.(writable).written())
			return err
		}}
	}
	all[encodedForm] = encoded
	return all
}

// choose is proactive negotiation (RFC 9110 section 12.5.1): the form of the highest quality, the first of those that are equal.
// JSON comes first. No header, and one that cannot be read, are as */*: section 12.5.1 lets a server disregard the field, and there
// are clients whose library sends a broken one with every request (that of Java says "*; q=.2"), which got JSON until now. One
// that can be read and fits nothing is a 406, and nothing was done.
func choose(accept []string, others []form) (form, error) {
	ranges, ok := acceptable(strings.Join(accept, ","))
	if !ok || len(ranges) == 0 {
		return formJSON, nil
	}
	best, most := form(""), 0
	for _, f := range append([]form{formJSON}, others...) {
		if q := quality(ranges, f); q > most {
			best, most = f, q
		}
	}
	if most > 0 {
		return best, nil
	}
	known := string(formJSON)
	for _, f := range others {
		known += ", " + string(f)
	}
	return "", problem(http.StatusNotAcceptable, ReasonNotAcceptable, "Nothing was done: Accept fits none of "+known+".")
}

// mediaRange is one element of an Accept header.
type mediaRange struct {
	media string // type/subtype, type/* or */*, in lower case
	plain bool   // no parameters that would have to fit as well
	q     int    // in thousandths
}

// quality is that of a form, by the most specific range that it fits (RFC 9110 section 12.5.1), or 0.
func quality(ranges []mediaRange, f form) int {
	kind, _, _ := strings.Cut(string(f), "/")
	for _, media := range []string{string(f), kind + "/*", "*/*"} {
		if i := slices.IndexFunc(ranges, func(r mediaRange) bool { return r.media == media && r.plain }); i >= 0 {
			return ranges[i].q
		}
	}
	return 0
}

// acceptable reads an Accept header, whose lines are joined by commas, and reports whether it is one.
func acceptable(header string) (ranges []mediaRange, ok bool) {
	for header != "" {
		var element string
		element, header = cutElement(header)
		if strings.TrimSpace(element) == "" {
			continue // a list may have empty elements (RFC 9110 section 5.6.1.2)
		}
		media, parameters, err := mime.ParseMediaType(element)
		kind, subtype, slashed := strings.Cut(media, "/")
		if err != nil || !slashed || kind == "*" && subtype != "*" {
			return nil, false
		}
		r := mediaRange{media: media, q: 1000}
		if weight, weighted := parameters["q"]; weighted {
			if r.q, ok = qvalue(weight); !ok {
				return nil, false
			}
			delete(parameters, "q")
		}
		// Texts of ours are UTF-8, whether or not that was asked for.
		if strings.EqualFold(parameters["charset"], "utf-8") {
			delete(parameters, "charset")
		}
		r.plain = len(parameters) == 0
		ranges = append(ranges, r)
	}
	return ranges, true
}

// cutElement takes the first element off a list. A comma in a quoted string does not end it (RFC 9110 section 5.6.4).
func cutElement(list string) (first, rest string) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			return list[:i], list[i+1:]
		}
	}
	return list, ""
}

// qvalue reads a weight in thousandths: 0 to 1 with at most three decimals (RFC 9110 section 12.4.2).
func qvalue(s string) (thousandths int, ok bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 || strings.Trim(decimals, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(whole + decimals + "000"[len(decimals):])
	return n, err == nil && n <= 1000
}

// responses documents the forms of an answer, nil if there is only JSON. huma adds the schema of the JSON.
func (k kind) responses() map[string]*huma.Response {
	if len(k.forms) == 0 {
		return nil
	}
	content := map[string]*huma.MediaType{string(formJSON): {}}
	for _, f := range k.forms {
		schema := &huma.Schema{Type: huma.TypeString}
		if f == formPNG {
			schema = &huma.Schema{} // OpenAPI 3.1 section 4.8.14.2: raw binary has no schema
		}
		content[string(f)] = &huma.MediaType{Schema: schema}
	}
	return map[string]*huma.Response{strconv.Itoa(http.StatusOK): {Content: content}}
}
