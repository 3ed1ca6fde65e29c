package settings

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"latchkey/handler/internal/picture"
	"latchkey/handler/internal/site"
)

// otherSites takes pairs of a prefix and an address, separated by commas (ACT-12). Whether their prefixes are told apart is seen
// when all are known.
func otherSites(into func(*Settings) *site.Directory) rule {
	return rule{"pairs prefix=https URL, separated by commas", func(s *Settings, value string, checks Checks) error {
		items, err := split(value)
		if err != nil {
			return err
		}
		var all site.Directory
		for i, item := range items {
			var one site.Site
			code, address, _ := strings.Cut(item, "=")
			err := siteCode(func(*Settings) *string { return &one.Code }).read(s, strings.TrimSpace(code), checks)
			if err == nil {
				_, err = parseHTTPS(strings.TrimSpace(address), parts{path: true, loopback: true})
			}
			if err != nil {
				return fmt.Errorf("has an item %d that %w", i+1, err)
			}
			one.BaseURL = strings.TrimSuffix(strings.TrimSpace(address), "/")
			all = append(all, one)
		}
		*into(s) = all
		return nil
	}}
}

// longestName is how long a site's name may be, in characters: it has one line of a sheet.
const longestName = 80

func siteName(value string) error {
	switch {
	case utf8.RuneCountInString(value) > longestName:
		return errors.New("is too long")
	case !utf8.ValidString(value), strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("has a character that cannot be printed")
	}
	return nil
}

// appLink takes what may stand in front of a code in a QR code. A scheme of an app's own has a domain name's form (RFC 8252 section
// 7.1), so that nobody can put a scheme here that does something else. The fragment is ours: it will be the code.
func appLink(value string) error {
	if len(value) > picture.MaxLink {
		return errors.New("is too long")
	}
	u, err := url.Parse(value)
	if err != nil || !strings.Contains(u.Scheme, ".") {
		_, err := parseHTTPS(value, parts{path: true, loopback: true})
		return err
	}
	switch {
	case !visible(value):
		return errors.New("is not a URL")
	case u.User != nil:
		return errors.New("has a user in it")
	case strings.ContainsAny(value, "?#"):
		return errors.New("has a query or a fragment")
	}
	return nil
}

// directory puts the own site among the others, and says what its app link is when nobody did.
func directory(s *Settings) Problems {
	if s.Site.Code == "" {
		return nil // it is a problem already
	}
	all, err := site.NewDirectory(site.Site{Code: s.Site.Code, Name: s.Site.Name, BaseURL: s.Tokens.Issuer}, s.Sites)
	if err != nil {
		return Problems{{Key: "Sites", Wrong: "cannot be used: " + err.Error()}}
	}
	s.Sites = all
	if s.Site.AppLink != "" {
		return nil
	}
	own, _ := all.Find(s.Site.Code)
	if s.Site.AppLink = own.BaseURL + "/"; len(s.Site.AppLink) > picture.MaxLink {
		return Problems{{Key: "Site:AppLink", Wrong: fmt.Sprintf(
			"is not set, and the site's own address is longer than the %d characters that a QR code reads well with", picture.MaxLink-1)}}
	}
	return nil
}
