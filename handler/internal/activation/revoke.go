package activation

import (
	"context"
	"errors"
	"fmt"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// Revoke ends a pending activation (ACT-4), also one that has expired. It answers ErrNotFound for one that the subject never had,
// and ErrNotPending for one that was completed: its credential is not ended here. Revoking twice is one revocation: the
// second writes nothing but its intent.
func (s *Service) Revoke(ctx context.Context, from audit.Origin, gate commit.Gate, of subject.ID, id UUID) error {
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	record, err := s.record(from, audit.RevokeActivation, of)
	if err != nil {
		return err
	}
	record.Activation = id.String()
	opened, err := s.store.Open(ctx, Opening{Record: record, Activation: id})
	if err != nil {
		return commit.Unavailable(err)
	}
	err = s.settle(ctx, gate, record, opened.Head, func(head Head) (Change, error) {
		if head.Invitation == nil || head.Invitation.Activation != id {
			return Change{}, s.notPending(ctx, of, id, opened.Activation)
		}
		next := head.next()
		next.Invitation = nil
		return Change{Ended: []Step{end(id, Revoked, audit.ReasonRevoked, record)}}.under(next, record), nil
	})
	if err != nil && !errors.Is(err, errRevoked) {
		return fmt.Errorf("revoking an activation: %w", err)
	}
	return nil
}

// errRevoked: there is nothing left to do.
var errRevoked = errors.New("the activation is revoked")

// notPending says what became of an activation that its subject's head does not name; read is its row as it was found at
// first, or nil.
func (s *Service) notPending(ctx context.Context, of subject.ID, id UUID, read *Activation) error {
	if read != nil && read.Status == Pending {
		// It was read beside the head, and just before it ended.
		var err error
		if read, err = s.store.Activation(ctx, of, id); err != nil {
			return commit.Unavailable(err)
		}
	}
	switch {
	case read == nil:
		return ErrNotFound
	case read.Status == Completed:
		return ErrNotPending
	}
	return errRevoked
}
