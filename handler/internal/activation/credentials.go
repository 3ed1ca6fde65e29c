package activation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

const (
	// ImportedID is the id of the credential that came from the predecessor: it has no sid, and bought no token here yet. No sid looks
	// like it: they have 26 characters.
	ImportedID = "imported"
	// MaxLabel is the longest label, in characters.
	MaxLabel = 100
)

// Errors of labels.
var (
	// ErrLabel: the label has a form that is not allowed.
	ErrLabel = errors.New("a label has at most 100 characters, all of them visible, and no blank at its ends")
	// ErrNoCredential: the subject has no such credential.
	ErrNoCredential = errors.New("there is no such credential")
)

// Credentials lists what buys tokens for a subject, oldest first (ACT-13); imported is whether there is one of the predecessor's
// beside them, of which nothing is known. A credential is known by its sid: every token holds it, it is no secret, and it says
// nothing about the authorisation code. A subject that nobody knows has none.
func (s *Service) Credentials(ctx context.Context, of subject.ID) (all []Credential, imported bool, err error) {
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	head, all, err := s.store.Credentials(ctx, of)
	if err != nil {
		return nil, false, commit.Unavailable(err)
	}
	slices.SortFunc(all, func(a, b Credential) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Session, b.Session)
	})
	return all, head.Imported != "", nil
}

// Label names one of a subject's credentials; "" takes the name away. It answers ErrLabel, or ErrNoCredential for an id that
// Credentials does not list (the imported one has no place for a label).
func (s *Service) Label(ctx context.Context, from audit.Origin, gate commit.Gate, of subject.ID, id, label string) error {
	if !isShown(label, MaxLabel) {
		return ErrLabel
	}
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	record, err := s.record(from, audit.LabelCredential, of)
	if err != nil {
		return err
	}
	opened, err := s.store.Open(ctx, Opening{Record: record})
	if err != nil {
		return commit.Unavailable(err)
	}
	err = s.settle(ctx, gate, record, opened.Head, func(head Head) (Change, error) {
		i := slices.IndexFunc(head.Credentials, func(c Credential) bool { return c.Session == id })
		if i < 0 {
			return Change{}, ErrNoCredential
		}
		labelled := head.Credentials[i]
		labelled.Label = label
		return Change{Labelled: []Credential{labelled}}.under(head.next(), record), nil
	})
	if err != nil {
		return fmt.Errorf("labelling a credential: %w", err)
	}
	return nil
}
