// Package site owns which sites there are and where (ACT-12). One phone app serves all of them: it reads the prefix of a code
// and asks here for the address. The package refuses two prefixes that one slip of a hand turns into each other, since the check
// character of a code does not cover its prefix (model.md section 2).
package site

import (
	"fmt"
	"slices"
	"strings"
)

// Site is one site, an NHS Trust say, with a deployment of its own.
type Site struct {
	// Code is the prefix of its codes, codes.SiteLength characters of A-Z and 0-9.
	Code string
	// Name is what people call it, "" if nobody said.
	Name string
	// BaseURL is where it is served, without a slash at the end.
	BaseURL string
}

// Directory are all sites, by their codes.
type Directory []Site

// NewDirectory puts a deployment's own site beside the others. Its address and name are those that stand among the others, where
// they do: own gives what is left. The error is an *AlikeError.
func NewDirectory(own Site, others []Site) (Directory, error) {
	all := slices.Clone(others)
	if i := slices.IndexFunc(all, func(s Site) bool { return s.Code == own.Code }); i < 0 {
		all = append(all, own)
	} else if all[i].Name == "" {
		all[i].Name = own.Name
	}
	slices.SortFunc(all, func(a, b Site) int { return strings.Compare(a.Code, b.Code) })
	for i, a := range all {
		for _, b := range all[i+1:] {
			if alike(a.Code, b.Code) {
				return nil, &AlikeError{a.Code, b.Code}
			}
		}
	}
	return all, nil
}

// Find is the site of a prefix, in any case.
func (d Directory) Find(code string) (Site, bool) {
	code = strings.ToUpper(code)
	i, found := slices.BinarySearchFunc(d, code, func(s Site, c string) int { return strings.Compare(s.Code, c) })
	if !found {
		return Site{}, false
	}
	return d[i], true
}

// AlikeError names two prefixes that are too much alike.
type AlikeError struct{ A, B string }

func (e *AlikeError) Error() string {
	if e.A == e.B {
		return e.A + " is there twice"
	}
	return fmt.Sprintf("%s and %s are too much alike: they differ in one character, or by a swap", e.A, e.B)
}

// alike reports whether one wrong character, or two that changed places, make b of a. Both have one length. They are the slips
// that the check character finds in the rest of a code, neighbours or not.
func alike(a, b string) bool {
	var differ []int
	for i := range len(a) {
		if a[i] != b[i] {
			differ = append(differ, i)
		}
	}
	switch len(differ) {
	case 0, 1:
		return true
	case 2:
		i, j := differ[0], differ[1]
		return a[i] == b[j] && a[j] == b[i]
	}
	return false
}
