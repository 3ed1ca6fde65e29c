package activation_test

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/storetest"
)

var errSilence = errors.New("no answer")

// tardy carries out the next commit that is armed between the two reads of the Reopen that looks for it: the record was read before
// it landed, the head after. That is the worst that Store.Reopen allows.
type tardy struct {
	*memstore.Store
	mu      sync.Mutex
	armed   int // how many commits from now on; 0 = none
	late    *activation.Change
	between func() // what else happens before the head is read
}

func (s *tardy) Commit(ctx context.Context, change activation.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.armed--; s.armed == 0 {
		s.late = &change
		return errSilence
	}
	return s.Store.Commit(ctx, change)
}

func (s *tardy) Reopen(ctx context.Context, record audit.Record) (activation.Head, bool, error) {
	s.mu.Lock()
	late := s.late
	s.late = nil
	s.mu.Unlock()
	if late == nil {
		return s.Store.Reopen(ctx, record)
	}
	if err := s.Store.Commit(ctx, *late); err != nil {
		return activation.Head{}, false, err
	}
	if s.between != nil {
		s.between()
	}
	head, _, err := s.Store.Reopen(ctx, record)
	return head, false, err
}

func (b *bench) tardy() (*tardy, *activation.Service) {
	s := &tardy{Store: b.store}
	return s, activation.New(s, func() activation.Policy { return b.policy }, activation.Clock{
		Now:  func() time.Time { return b.now },
		Wait: func(context.Context, time.Duration) error { return nil },
	}, rand.Reader, func(do func(context.Context)) { do(context.Background()) }, storetest.Unlimited)
}

func TestACT6_AWinnerWhoseCommitLandsWhileItIsLookedForIsToldYes(t *testing.T) {
	for name, k := range map[string]string{"without a key": "", "with a key": key} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			made := b.create(t, "")
			store, service := b.tardy()
			store.armed = 1
			won, err := service.Redeem(t.Context(), phone, try(made, k))
			if err != nil {
				t.Fatalf("the winner was told %v", err)
			}
			if _, err := b.Authorise(t.Context(), phone, patient, won.AuthorisationCode); err != nil {
				t.Errorf("its code does not work: %v", err)
			}
			if n := len(b.store.Records(patient)); n != 2 {
				t.Errorf("%d records, want that of the creation and one of the redemption", n)
			}
		})
	}
}

func TestACT1_ACreationThatIsReplacedWhileItIsLookedForIsStillTold(t *testing.T) {
	b := newBench(t)
	store, service := b.tardy()
	store.armed, store.between = 1, func() { b.create(t, otherKey) }
	made, err := service.Create(t.Context(), clinic, nil, patient, key)
	if err != nil || made.Locator == "" || made.OTP == "" {
		t.Errorf("got %+v, %v", made, err)
	}
}

// The last attempt is counted once: a miss that landed while it was looked for must not seem to be the tenth.
func TestACT7_AMissThatLandsWhileItIsLookedForEndsNothing(t *testing.T) {
	b := newBench(t)
	made := b.create(t, "")
	wrong := try(made, "")
	wrong.OTP = "222222"
	if made.OTP == wrong.OTP {
		wrong.OTP = "333333"
	}
	b.policy.MaxAttempts = 2
	store, service := b.tardy()
	store.armed = 1
	_, err := service.Redeem(t.Context(), phone, wrong)
	wantRefusal(t, err, audit.ReasonWrongOTP)
	if _, err := b.Redeem(t.Context(), phone, try(made, "")); err != nil {
		t.Errorf("one attempt of two was used, and the right OTP is told %v", err)
	}
}

func TestACT1_ALockedActivationIsNotToldAgain(t *testing.T) {
	b := newBench(t)
	b.policy.MaxAttempts = 1
	made := b.create(t, key)
	wrong := try(made, "")
	wrong.OTP = "222222"
	if made.OTP == wrong.OTP {
		wrong.OTP = "333333"
	}
	_, err := b.Redeem(t.Context(), phone, wrong)
	wantRefusal(t, err, audit.ReasonWrongOTP)
	if _, err := b.Create(t.Context(), clinic, nil, patient, key); !errors.Is(err, activation.ErrSuperseded) {
		t.Errorf("got %v, want ErrSuperseded", err)
	}
}
