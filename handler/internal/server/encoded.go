package server

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// encodedForm is the media type of a request's parameters in OAuth (RFC 6749 appendix B). The routes of those standards take nothing
// else: they take no JSON.
const encodedForm = "application/x-www-form-urlencoded"

// plainEncoded is plainBody for parameters.
func plainEncoded(r *http.Request) error {
	body, err := readBody(r, true, false)
	if err != nil {
		return err
	}
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset, given := parameters["charset"]; err != nil || media != encodedForm || given && !strings.EqualFold(charset, "utf-8") {
		return problem(http.StatusUnsupportedMediaType, ReasonMediaType, "The body must be "+encodedForm+".")
	}
	r.Header.Set("Content-Type", encodedForm) // huma knows this one spelling
	_, err = once(body)
	return err
}

// once reads parameters, each of which may be there once (RFC 6749 section 3.2). One without a value is as one that was left
// out, by the same section.
func once(body []byte) (map[string]string, error) {
	text := string(body)
	if strings.Count(text, "&") >= mostParameters {
		return nil, invalid("body", fmt.Sprintf("has more than %d parameters", mostParameters))
	}
	query, err := url.ParseQuery(text)
	if err != nil {
		return nil, invalid("body", "cannot be read as "+encodedForm)
	}
	all := make(map[string]string, len(query))
	for key, values := range query {
		switch {
		case !utf8.ValidString(key) || !utf8.ValidString(values[0]):
			return nil, invalid("body", "is not UTF-8")
		case len(values) > 1:
			return nil, invalid("body."+key, "stands there more than once")
		case values[0] != "":
			all[key] = values[0]
		}
	}
	return all, nil
}

// parameterName is what the parameters of the standards are called. Others are ignored (RFC 6749 section 3.2), and must not pass for
// one of these where names are read without regard to case.
var parameterName = regexp.MustCompile(`^[a-z_]+$`)

// encoded lets huma read parameters as the members of an object, all of them strings.
var encoded = huma.Format{Unmarshal: func(body []byte, v any) error {
	all, err := once(body)
	if err != nil {
		return err
	}
	for key := range all {
		if !parameterName.MatchString(key) {
			delete(all, key)
		}
	}
	object, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return json.Unmarshal(object, v)
}}
