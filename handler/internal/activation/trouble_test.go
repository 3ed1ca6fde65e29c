package activation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/storetest"
)

// operations are all that a caller can ask for, each with what it needs beforehand and what must be true if it says that it was
// done. Each changes the patient once.
var operations = map[string]struct {
	prepare func(*lab) activation.Created
	run     func(context.Context, *activation.Service, activation.Created) (done any, err error)
	check   func(*lab, activation.Created, any)
}{
	"create": {
		func(l *lab) activation.Created { return l.invite() },
		func(ctx context.Context, s *activation.Service, _ activation.Created) (any, error) {
			return s.Create(ctx, clinic, nil, patient, "")
		},
		func(l *lab, old activation.Created, done any) {
			l.refused(try(old, ""), audit.ReasonReplaced)
			l.works(l.let(done.(activation.Created)))
		},
	},
	"redeem": {
		func(l *lab) activation.Created { l.let(l.invite()); return l.invite() },
		func(ctx context.Context, s *activation.Service, made activation.Created) (any, error) {
			return s.Redeem(ctx, phone, try(made, ""))
		},
		func(l *lab, made activation.Created, done any) {
			l.works(done.(activation.Redeemed))
			l.refused(try(made, ""), audit.ReasonUsed)
		},
	},
	"a wrong OTP": {
		func(l *lab) activation.Created { return l.invite() },
		func(ctx context.Context, s *activation.Service, made activation.Created) (any, error) {
			_, err := s.Redeem(ctx, phone, guess(made))
			if refusal := new(activation.Refusal); errors.As(err, &refusal) && refusal.Reason == audit.ReasonWrongOTP {
				return nil, nil
			}
			return nil, errors.Join(err, errNotCounted)
		},
		func(l *lab, made activation.Created, _ any) {
			if n := l.counted(made.ID); n != 1 || l.head().Invitation.Attempts != 1 {
				l.Errorf("%d attempts are recorded, %d counted; want 1", n, l.head().Invitation.Attempts)
			}
		},
	},
	"the last wrong OTP": {
		func(l *lab) activation.Created {
			l.set(func(p *activation.Policy) { p.MaxAttempts = 2 })
			made := l.invite()
			l.refused(guess(made), audit.ReasonWrongOTP)
			return made
		},
		func(ctx context.Context, s *activation.Service, made activation.Created) (any, error) {
			_, err := s.Redeem(ctx, phone, guess(made))
			if refusal := new(activation.Refusal); errors.As(err, &refusal) && refusal.Reason == audit.ReasonWrongOTP {
				return nil, nil
			}
			return nil, errors.Join(err, errNotCounted)
		},
		func(l *lab, made activation.Created, _ any) {
			l.refused(try(made, ""), audit.ReasonLocked)
			if n := l.counted(made.ID); n != 2 {
				l.Errorf("%d attempts are recorded", n)
			}
		},
	},
	"revoke": {
		func(l *lab) activation.Created { return l.invite() },
		func(ctx context.Context, s *activation.Service, made activation.Created) (any, error) {
			return nil, s.Revoke(ctx, clinic, nil, patient, made.ID)
		},
		func(l *lab, made activation.Created, _ any) { l.refused(try(made, ""), audit.ReasonRevoked) },
	},
}

var errNotCounted = errors.New("it was not told that the OTP is wrong")

// A commit may be lost on its way there or back, again and again, and a look at what became of it as well: who is told that it
// was done has done it once, and nobody is told "no".
func TestACT6_LostRepliesAreNotTheEnd(t *testing.T) {
	type fault struct {
		op   memstore.Op
		when memstore.When
	}
	for name, o := range operations {
		for _, faults := range [][]fault{
			{{memstore.OpCommit, memstore.Before}},
			{{memstore.OpCommit, memstore.After}},
			{{memstore.OpCommit, memstore.Before}, {memstore.OpCommit, memstore.Before}, {memstore.OpCommit, memstore.After}},
			{{memstore.OpCommit, memstore.Before}, {memstore.OpReopen, memstore.Before}, {memstore.OpCommit, memstore.Before}},
			{{memstore.OpCommit, memstore.After}, {memstore.OpReopen, memstore.Before}, {memstore.OpReopenHead, memstore.After}},
			{{memstore.OpCommit, memstore.After}, {memstore.OpReopen, memstore.After}, {memstore.OpEndCode, memstore.Before}},
		} {
			t.Run(fmt.Sprint(name, " ", faults), func(t *testing.T) {
				inLab(t, func(l *lab) {
					made := o.prepare(l)
					before := len(l.records())
					left := faults
					l.store.Fault = func(op memstore.Op, when memstore.When) error {
						if len(left) > 0 && left[0] == (fault{op, when}) {
							left = left[1:]
							return errSilence
						}
						return nil
					}
					done, err := o.run(t.Context(), l.Service, made)
					if err != nil {
						t.Fatalf("got %v", err)
					}
					if len(left) != 0 && left[0].op != memstore.OpEndCode {
						t.Fatalf("these faults were not met: %v", left)
					}
					l.store.Fault = nil
					if n := len(l.records()) - before; n != 1 {
						t.Errorf("%d records of it", n)
					}
					o.check(l, made, done)
				})
			})
		}
	}
}

// Somebody else may change the subject in the gap, on another instance: a wrong guess if the commit was lost on its way there, a
// guess and a new activation if it was lost on its way back.
func TestACT6_LostRepliesAmongOthersAreNotTheEnd(t *testing.T) {
	for when, meanwhile := range map[memstore.When]func(*lab, *activation.Service, activation.Created){
		memstore.Before: func(l *lab, other *activation.Service, made activation.Created) {
			_, err := other.Redeem(l.Context(), phone, guess(made))
			wantRefusal(l.T, err, audit.ReasonWrongOTP)
		},
		memstore.After: func(l *lab, other *activation.Service, made activation.Created) {
			_, err := other.Redeem(l.Context(), phone, guess(made))
			wantRefusal(l.T, err, audit.ReasonUsed)
			l.invite()
		},
	} {
		inLab(t, func(l *lab) {
			made, other := l.invite(), l.on(l.store)
			lost := false
			l.store.Fault = func(op memstore.Op, at memstore.When) error {
				if op != memstore.OpCommit || at != when || lost {
					return nil
				}
				lost = true
				meanwhile(l, other, made)
				return errSilence
			}
			won := l.let(made)
			l.works(won)
			redeemed := 0
			for _, r := range l.records() {
				if r.Action == audit.RedeemActivation && r.Outcome == audit.Allowed {
					redeemed++
				}
			}
			if redeemed != 1 {
				t.Errorf("%d redemptions are recorded", redeemed)
			}
		})
	}
}

// A commit that nobody answers may arrive after everybody has given it up. Whoever was told 503 may find it done; nobody was told "no",
// and nothing is done twice.
func TestACT6_ACommitThatArrivesLateIsDoneOnceOrNever(t *testing.T) {
	inLab(t, func(l *lab) {
		made := l.invite()
		slow := &late{Store: l.store}
		_, err := l.on(slow).Redeem(t.Context(), phone, try(made, ""))
		if !errors.Is(err, commit.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		won := l.let(made) // somebody else is quicker than the network
		for _, change := range slow.taken() {
			if err := l.store.Commit(t.Context(), change); !errors.Is(err, commit.ErrConflict) {
				t.Errorf("a late commit: %v", err)
			}
		}
		l.works(won)
		l.alive([]activation.Redeemed{won}, 1)

		made = l.invite()
		if _, err = l.on(slow).Redeem(t.Context(), phone, try(made, "")); !errors.Is(err, commit.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		landed := 0
		for _, change := range slow.taken() {
			if l.store.Commit(t.Context(), change) == nil {
				landed++
			}
		}
		if landed != 1 {
			t.Errorf("%d of the attempts landed", landed)
		}
		l.refused(try(made, ""), audit.ReasonUsed)
		if n := len(l.records()); n != 4 {
			t.Errorf("%d records", n)
		}
	})
}

// late takes commits and says nothing.
type late struct {
	*memstore.Store
	mu      sync.Mutex
	changes []activation.Change
}

func (s *late) Commit(_ context.Context, change activation.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = append(s.changes, change)
	return errSilence
}

func (s *late) taken() []activation.Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.changes
	s.changes = nil
	return all
}

// The clock may pass the expiry while an attempt is out: it is judged by when it began, so that it is never told "no" and lands.
func TestACT9_AnAttemptThatIsOutAtMidnightStillCounts(t *testing.T) {
	inLab(t, func(l *lab) {
		made := l.invite()
		l.goTo(made.Expires.Add(-time.Millisecond))
		silent := 3
		l.store.Fault = func(op memstore.Op, when memstore.When) error {
			if op == memstore.OpCommit && when == memstore.Before && silent > 0 {
				silent--
				return errSilence
			}
			return nil
		}
		won := l.let(made)
		if l.now().Before(made.Expires) {
			t.Fatal("it is not midnight yet")
		}
		l.works(won)
	})
}

// conflicting refuses every commit.
type conflicting struct {
	*memstore.Store
	commits int
}

func (s *conflicting) Commit(context.Context, activation.Change) error {
	s.commits++
	return commit.ErrConflict
}

func TestF04_AStormOfConflictsEnds(t *testing.T) {
	for name, o := range operations {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				made := o.prepare(l)
				before := len(l.records())
				store := &conflicting{Store: l.store}
				_, err := o.run(t.Context(), l.on(store), made)
				if !errors.Is(err, commit.ErrBusy) {
					t.Errorf("got %v, want ErrBusy", err)
				}
				if store.commits != 30 {
					t.Errorf("it tried %d times", store.commits)
				}
				if n := len(l.records()); n != before {
					t.Errorf("%d records", n-before)
				}
			})
		})
	}
}

const patience = 10 * time.Second

func TestF01_StorageThatIsDownIsSaidSoInTime(t *testing.T) {
	for name, o := range operations {
		for _, op := range []memstore.Op{memstore.OpOpen, memstore.OpCommit, memstore.OpReopen, memstore.OpReopenHead} {
			t.Run(fmt.Sprint(name, ", ", op), func(t *testing.T) {
				inLab(t, func(l *lab) {
					made := o.prepare(l)
					before := len(l.records())
					l.store.Fault = func(at memstore.Op, when memstore.When) error {
						switch {
						case at == op:
							return errSilence
						case at == memstore.OpCommit && when == memstore.Before && op != memstore.OpOpen:
							return errSilence // so that there is something to look for
						}
						return nil
					}
					began := time.Now()
					_, err := o.run(t.Context(), l.Service, made)
					if !errors.Is(err, commit.ErrUnavailable) || !errors.Is(err, errSilence) {
						t.Errorf("got %v, want ErrUnavailable and why", err)
					}
					if took := time.Since(began); took > patience {
						t.Errorf("it took %s", took)
					}
					l.store.Fault = nil
					if n := len(l.records()); n != before {
						t.Errorf("%d records", n-before)
					}
					done, err := o.run(t.Context(), l.Service, made) // asking again is safe
					if err != nil {
						t.Fatalf("once it is back: %v", err)
					}
					o.check(l, made, done)
				})
			})
		}
	}
	inLab(t, func(l *lab) {
		made := l.invite()
		won := l.let(made)
		l.store.Fault = func(memstore.Op, memstore.When) error { return errSilence }
		_, _, listErr := l.List(t.Context(), patient, "", uuid.Nil, 10)
		_, tokenErr := l.Authorise(t.Context(), phone, patient, won.AuthorisationCode)
		_, redeemErr := l.Redeem(t.Context(), phone, try(made, ""))
		for what, err := range map[string]error{"list": listErr, "token": tokenErr, "redeem": redeemErr} {
			if !errors.Is(err, commit.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// It comes back while somebody is waiting.
func TestF01_StorageThatComesBackIsUsed(t *testing.T) {
	for name, o := range operations {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				made := o.prepare(l)
				began := time.Now()
				opened := false
				l.store.Fault = func(op memstore.Op, when memstore.When) error {
					opened = opened || op == memstore.OpOpen && when == memstore.After
					if opened && op != memstore.OpOpen && time.Since(began) < 7*time.Second {
						return errSilence
					}
					return nil
				}
				done, err := o.run(t.Context(), l.Service, made)
				if err != nil || time.Since(began) > 9*time.Second {
					t.Fatalf("after %s: %v", time.Since(began), err)
				}
				o.check(l, made, done)
			})
		})
	}
}

// hanging answers nothing before the context ends.
type hanging struct{ *memstore.Store }

func (s hanging) Commit(ctx context.Context, _ activation.Change) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestF01_StorageThatHangsIsGivenUp(t *testing.T) {
	for name, o := range operations {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				made := o.prepare(l)
				began := time.Now()
				_, err := o.run(t.Context(), l.on(hanging{l.store}), made)
				if !errors.Is(err, commit.ErrUnavailable) || time.Since(began) > patience {
					t.Errorf("after %s: %v", time.Since(began), err)
				}
			})
		})
	}
}

func TestACT1_ATakenLocatorIsDrawnAgain(t *testing.T) {
	inLab(t, func(l *lab) {
		for _, taken := range []int{1, 2, 3} {
			left := taken
			l.store.Fault = func(op memstore.Op, when memstore.When) error {
				if op == memstore.OpOpen && when == memstore.Before && left > 0 {
					left--
					return activation.ErrCodeTaken
				}
				return nil
			}
			made, err := l.Create(t.Context(), clinic, nil, patient, "")
			if taken == 3 {
				if !errors.Is(err, commit.ErrUnavailable) || made != (activation.Created{}) {
					t.Errorf("three times in a row: %+v, %v", made, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			l.works(l.let(made))
		}
	})
}

// Randomness that ends at any byte gives no secret, and changes nothing that the caller was not told of.
func TestACT15_NothingIsMadeWithoutRandomness(t *testing.T) {
	for name, o := range operations {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				made := o.prepare(l)
				for n := 0; ; n += 8 {
					before := len(l.records())
					poor := activation.New(l.store, l.settings, activation.Clock{Now: l.now, Wait: wait}, strings.NewReader(strings.Repeat("random..", n/8)), nil, storetest.Unlimited)
					_, err := o.run(t.Context(), poor, made)
					if err == nil {
						if n == 0 {
							t.Error("it took none")
						}
						return
					}
					if after := len(l.records()); after != before || n > 1000 {
						t.Fatalf("with %d bytes: %v, and %d records", n, err, after-before)
					}
				}
			})
		})
	}
}
