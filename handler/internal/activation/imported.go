package activation

import (
	"context"
	"fmt"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// A credential of the predecessor's is known by a memory-hard hash that no pepper made. Checking it costs 16 MiB before anybody
// knows that the code exists: the one exception to ABU-4, off unless such credentials were imported (model.md section 3). It
// works only while its subject is active, and is upgraded before its first token.

const (
	// mostOnOneID is how many may work or wait on one subject's id, whether it is known or not.
	mostOnOneID = 8
	// hashTime is about what one comparison takes: the turn on an id without an imported credential is held as long.
	hashTime = 75 * time.Millisecond
)

// upgrade puts a credential of ours, for the same code, in the place of an imported one, or answers a *Refusal: there is none, it is
// for another code, or it was revoked, replaced or upgraded meanwhile. It buys nothing: that is for mayIssue.
func (s *Service) upgrade(ctx context.Context, from audit.Origin, of subject.ID, code string) error {
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	p := s.policy()
	release, err := s.imports.take(ctx, of)
	if err != nil {
		return err
	}
	defer release()
	record, err := s.record(from, audit.UpgradeCredential, of)
	if err != nil {
		return err
	}
	head, _, err := s.store.Reopen(ctx, record)
	if err != nil {
		return commit.Unavailable(err)
	}
	if head.Imported == "" || !head.Active {
		// As long as a comparison takes, and in a slot as it: many unknown ids wait as many known ones do.
		if release, err := s.slot(ctx); err == nil {
			_ = s.clock.Wait(ctx, hashTime) // time is up: the refusal is the same
			release()
		}
		return notImported()
	}
	if right, err := s.matchImported(ctx, head.Imported, code); err != nil {
		return err
	} else if !right {
		return notImported()
	}
	session, err := codes.ID(s.random)
	if err != nil {
		return err
	}
	ours := Credential{Session: session, Key: p.Keys.Credential(of, code)[0]}
	opened, err := s.store.Open(ctx, Opening{Record: record})
	if err != nil {
		return commit.Unavailable(err)
	}
	compared := head.Imported
	return s.settle(ctx, nil, record, opened.Head, func(head Head) (Change, error) {
		if head.Imported != compared || !head.Active {
			return Change{}, notImported() // it was revoked, replaced or upgraded meanwhile
		}
		next := head.next()
		next.Imported = ""
		next.Credentials = append(next.Credentials, ours)
		return Change{Added: []Credential{ours}}.under(next, record), nil
	})
}

func notImported() *Refusal { return &Refusal{audit.UpgradeCredential, audit.ReasonNoCredential} }

func (s *Service) matchImported(ctx context.Context, stored, code string) (bool, error) {
	release, err := s.slot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	right, err := keyed.MatchImported(stored, code)
	if err != nil {
		return false, fmt.Errorf("comparing an imported credential: %w", err)
	}
	return right, nil
}
