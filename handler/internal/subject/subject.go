// Package subject names whom Latchkey issues tokens for. It refuses ids that storage keys, URLs or logs could
// read as something else, before anything is looked up.
package subject

import (
	"errors"
	"regexp"
)

// Kind is what a subject is. The values are stored: never rename one.
type Kind string

// The kinds of mission.md section 1.
const (
	Patient   Kind = "patient"
	Device    Kind = "device"
	Clinician Kind = "clinician"
)

// ID is a subject: its kind and the hospital's own pseudonymous id. The zero value is no subject.
type ID struct {
	Kind Kind
	Name string
}

// ErrName says that a subject's id has a form that is not allowed.
var ErrName = errors.New("an id is neither . nor .. and has 1 to 128 characters of A-Z a-z 0-9 . _ -")

var name = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// New checks an id's form (model.md section 1) and returns the subject, or ErrName. Ids are compared exactly, by case too.
func New(kind Kind, id string) (ID, error) {
	if !name.MatchString(id) || id == "." || id == ".." {
		return ID{}, ErrName
	}
	return ID{Kind: kind, Name: id}, nil
}
