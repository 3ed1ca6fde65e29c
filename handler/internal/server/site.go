package server

import (
	"context"
	"net/http"

	"latchkey/handler/internal/site"
)

// A phone app has one build for all sites. It reads the prefix of a code and asks any deployment that it knows where the site is
// (ACT-12). The answers are public: they may be kept, and nobody has to prove who asks.

// knownSite is a site as it is sent.
type knownSite struct {
	Code    string `json:"code"`
	Name    string `json:"name,omitempty"`
	BaseURL string `json:"base_url"`
}

type siteInput struct {
	IfNoneMatch string `header:"If-None-Match" doc:"The ETag of a copy."`
	Code        string `path:"site_code" minLength:"3" maxLength:"3" pattern:"^[A-Za-z0-9]+$" patternDescription:"letters and digits" doc:"The prefix of a code, in any case." example:"OXF"`
}

func findSite(_ context.Context, c call, in *siteInput) (*document, error) {
	found, ok := c.Sites().Find(in.Code)
	if !ok {
		return nil, problem(http.StatusNotFound, ReasonSiteNotFound, "No site has this prefix. Check the first three characters of the code.")
	}
	return (&documentInput{in.IfNoneMatch}).json(sent(found))
}

func sites(_ context.Context, c call, in *documentInput) (*document, error) {
	var all struct {
		Sites []knownSite `json:"sites"`
	}
	for _, s := range c.Sites() {
		all.Sites = append(all.Sites, sent(s))
	}
	return in.json(all)
}

func sent(s site.Site) knownSite { return knownSite{s.Code, s.Name, s.BaseURL} }
