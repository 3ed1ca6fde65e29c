package activation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/subject"
)

var tablet = subject.ID{Kind: subject.Device, Name: "tablet-1"}

// device creates the tablet.
func (l *lab) device() {
	l.Helper()
	if _, err := l.CreateDevice(l.Context(), clinic, nil, tablet.Name, "The tablet at the door", "ward-7"); err != nil {
		l.Fatal(err)
	}
}

// code makes a code for the tablet.
func (l *lab) code() string {
	l.Helper()
	made, err := l.Create(l.Context(), clinic, nil, tablet, "")
	if err != nil {
		l.Fatal(err)
	}
	if made.OTP != "" || made.Human != codes.Device("OXF", made.Locator) {
		l.Errorf("a device got %q and an OTP of %d", made.Human, len(made.OTP))
	}
	return made.Locator
}

// letTabletIn returns its authorisation code.
func (l *lab) letTabletIn() string {
	l.Helper()
	won, err := l.RedeemDevice(l.Context(), phone, l.code(), "")
	if err != nil || won.Subject != tablet {
		l.Fatalf("%+v, %v", won, err)
	}
	return won.AuthorisationCode
}

// turn makes the tablet active or inactive.
func (l *lab) turn(active bool) {
	l.Helper()
	if _, err := l.ChangeDevice(l.Context(), clinic, nil, tablet, activation.DevicePatch{Active: &active}); err != nil {
		l.Fatal(err)
	}
}

func (l *lab) tabletHead() activation.Head {
	l.Helper()
	heads, err := l.store.Heads(l.Context(), []subject.ID{tablet})
	if err != nil {
		l.Fatal(err)
	}
	return heads[0]
}

func TestACT10_OneOf64RacersGetsADeviceIn(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, seed)
			l.device()
			code := l.code()
			var n atomic.Int64
			l.store.Fault = func(op memstore.Op, when memstore.When) error {
				if op == memstore.OpCommit && when == memstore.After && n.Add(1)%3 == int64(seed%3) {
					return errSilence
				}
				return nil
			}
			instances := []*activation.Service{l.Service, l.on(l.store)}
			won := make([]string, 64)
			var all sync.WaitGroup
			for i := range won {
				all.Go(func() {
					got, err := instances[i%2].RedeemDevice(t.Context(), phone, code, "")
					var refusal *activation.Refusal
					if err != nil && !errors.As(err, &refusal) {
						t.Errorf("racer %d: %v", i, err)
					}
					won[i] = got.AuthorisationCode
				})
			}
			all.Wait()
			l.store.Fault = nil
			won = slices.DeleteFunc(won, func(s string) bool { return s == "" })
			if len(won) != 1 {
				t.Fatalf("%d of 64 were let in", len(won))
			}
			if _, err := l.AuthoriseDevice(t.Context(), phone, tablet, won[0]); err != nil {
				t.Errorf("the winner's code: %v", err)
			}
		})
	}
}

// A device that is made inactive while tokens are bought for it: a request that comes after the reply gets none, on any instance, and
// every token that was bought or is on its way has a dead sid.
func TestACT14_ADeviceIsDeactivatedUnderLoad(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, seed)
			l.device()
			code := l.letTabletIn()
			var calls atomic.Int64
			l.store.Fault = func(op memstore.Op, when memstore.When) error {
				n := calls.Add(1)
				time.Sleep(time.Duration((n*7+int64(seed))%5) * time.Millisecond)
				if n%11 == int64(seed%11) && when == memstore.After && (op == memstore.OpUsed || op == memstore.OpCommit) {
					return errSilence
				}
				return nil
			}
			instances := []*activation.Service{l.Service, l.on(l.store)}
			var off atomic.Bool
			var mu sync.Mutex
			var sids []string
			var buyers sync.WaitGroup
			for i := range 16 {
				buyers.Go(func() {
					for range 12 {
						late := off.Load()
						grant, err := instances[i%2].AuthoriseDevice(t.Context(), phone, tablet, code)
						var refusal *activation.Refusal
						switch {
						case err == nil && late:
							t.Errorf("a token was bought after the reply")
						case err == nil:
							mu.Lock()
							sids = append(sids, grant.Session())
							mu.Unlock()
						case !errors.As(err, &refusal):
							t.Error(err)
						}
					}
				})
			}
			time.Sleep(15 * time.Millisecond)
			l.turn(false)
			off.Store(true)
			buyers.Wait()
			l.store.Fault = nil
			if len(sids) == 0 || len(sids) == 16*12 {
				t.Fatalf("%d tokens were bought: no race", len(sids))
			}
			for _, sid := range slices.Compact(sids) {
				if live, err := l.Lives(t.Context(), tablet, sid, "jti"); err != nil || live {
					t.Errorf("%s lives: %v, %v", sid, live, err)
				}
				if !slices.ContainsFunc(l.endings(), func(e activation.Ending) bool { return e.Session == sid }) {
					t.Errorf("%s is not published", sid)
				}
			}
			bought := 0
			for _, r := range l.store.Records(tablet) {
				if r.Action == audit.IssueToken {
					bought++
				}
			}
			if bought < len(sids) {
				t.Errorf("%d tokens were bought, and %d are recorded", len(sids), bought)
			}

			// It comes back under another sid, and what was dead stays dead.
			l.turn(true)
			grant, err := l.AuthoriseDevice(t.Context(), phone, tablet, code)
			if err != nil || slices.Contains(sids, grant.Session()) {
				t.Errorf("active again: %v, %v", grant.Session(), err)
			}
			if live, err := l.Lives(t.Context(), tablet, sids[0], "jti"); err != nil || live {
				t.Errorf("its old session lives again: %v, %v", live, err)
			}
		})
	}
}

// T-23 (threats.md): an inactive device is not let in, nothing is stored for it, and its code answers as a dead one.
func TestT23_AnInactiveDeviceIsNotLetIn(t *testing.T) {
	inLab(t, func(l *lab) {
		l.device()
		pending := l.code()
		old := l.letTabletIn() // replaces it
		_, err := l.RedeemDevice(t.Context(), phone, pending, "")
		wantRefusal(t, err, audit.ReasonReplaced)
		pending = l.code()
		l.turn(false)
		_, err = l.RedeemDevice(t.Context(), phone, pending, "")
		wantRefusal(t, err, audit.ReasonRevoked)
		later := l.code()
		before := l.tabletHead()
		_, err = l.RedeemDevice(t.Context(), phone, later, "")
		wantRefusal(t, err, audit.ReasonInactive)
		if now := l.tabletHead(); now.Version != before.Version || len(now.Credentials) != 0 || len(now.Held) != 1 {
			t.Errorf("something was stored: %+v", now)
		}
		_, err = l.AuthoriseDevice(t.Context(), phone, tablet, old)
		wantRefusal(t, err, audit.ReasonNoCredential)
		l.turn(true)
		won, err := l.RedeemDevice(t.Context(), phone, later, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = l.AuthoriseDevice(t.Context(), phone, tablet, won.AuthorisationCode); err != nil {
			t.Error(err)
		}
		_, err = l.AuthoriseDevice(t.Context(), phone, tablet, old)
		wantRefusal(t, err, audit.ReasonNoCredential)
	})
}

func TestACT14_WhatWasPutAsideIsEndedToo(t *testing.T) {
	inLab(t, func(l *lab) {
		l.device()
		code := l.letTabletIn()
		l.turn(false)
		for range 2 {
			if err := l.EndAll(t.Context(), clinic, nil, tablet); err != nil {
				t.Fatal(err)
			}
		}
		l.turn(true)
		_, err := l.AuthoriseDevice(t.Context(), phone, tablet, code)
		wantRefusal(t, err, audit.ReasonNoCredential)
		if head := l.tabletHead(); len(head.Held)+len(head.Credentials) != 0 {
			t.Errorf("%+v", head)
		}
	})
}

func TestACT10_OnlyACreatedDeviceGetsACode(t *testing.T) {
	inLab(t, func(l *lab) {
		if _, err := l.Create(t.Context(), clinic, nil, tablet, ""); !errors.Is(err, activation.ErrNoDevice) {
			t.Errorf("got %v, want ErrNoDevice", err)
		}
		if len(l.store.Records(tablet)) != 0 {
			t.Error("something was committed")
		}
	})
}

// stuck gives zeros for a while.
type stuck struct {
	*lab
	left atomic.Int64
}

func (s *stuck) Read(b []byte) (int, error) {
	if s.left.Add(-1) >= 0 {
		clear(b)
		return len(b), nil
	}
	return s.random.Read(b)
}

// T-12 (threats.md): whatever the source of randomness does, one code has one owner.
func TestT12_ATakenDeviceCodeIsDrawnAgain(t *testing.T) {
	inLab(t, func(l *lab) {
		l.device()
		other := subject.ID{Kind: subject.Device, Name: "tablet-2"}
		if _, err := l.CreateDevice(t.Context(), clinic, nil, other.Name, "x", "ward-7"); err != nil {
			t.Fatal(err)
		}
		random := &stuck{lab: l}
		s := activation.New(l.store, l.settings, activation.Clock{Now: l.now, Wait: wait}, random, func(func(context.Context)) {},
			func(context.Context, subject.Kind) (func(), error) { return func() {}, nil })
		random.left.Store(1000)
		first, err := s.Create(t.Context(), clinic, nil, tablet, "")
		if err != nil || strings.Trim(first.Locator, codes.Alphabet[:1]) != "" {
			t.Fatalf("%q, %v", first.Locator, err)
		}
		random.left.Store(1000)
		if _, err = s.Create(t.Context(), clinic, nil, other, ""); !errors.Is(err, activation.ErrCodeTaken) {
			t.Errorf("got %v, want ErrCodeTaken", err)
		}
		random.left.Store(4) // the ids of record and activation, and the first code, which is taken
		second, err := s.Create(t.Context(), clinic, nil, other, "")
		if err != nil || second.Locator == first.Locator {
			t.Fatalf("%q, %v", second.Locator, err)
		}
		for code, owner := range map[string]subject.ID{first.Locator: tablet, second.Locator: other} {
			if won, err := l.RedeemDevice(t.Context(), phone, code, ""); err != nil || won.Subject != owner {
				t.Errorf("%v is of %v, %v", owner, won.Subject, err)
			}
		}
	})
}

// T-11 (threats.md): unknown codes are charged to the devices' budget before they are looked up, and none of many is right.
func TestT11_GuessesAtDeviceCodesAreBounded(t *testing.T) {
	inLab(t, func(l *lab) {
		const live, most = 100, 100_000
		for i := range live {
			id := fmt.Sprint("d", i)
			if _, err := l.CreateDevice(t.Context(), clinic, nil, id, "x", "ward"); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Create(t.Context(), clinic, nil, subject.ID{Kind: subject.Device, Name: id}, ""); err != nil {
				t.Fatal(err)
			}
		}
		left, back := most, 0
		spent := errors.New("no budget")
		s := activation.New(l.store, l.settings, activation.Clock{Now: l.now, Wait: wait}, l.random, func(func(context.Context)) {},
			func(_ context.Context, kind subject.Kind) (func(), error) {
				if kind != subject.Device {
					t.Fatalf("a guess at a code of kind %q", kind)
				}
				if left == 0 {
					return nil, spent
				}
				left--
				return func() { back++ }, nil
			})
		for i := range most + 10 {
			code, err := codes.Draw(l.random, 14)
			if err != nil {
				t.Fatal(err)
			}
			switch _, err = s.RedeemDevice(t.Context(), phone, code, ""); {
			case i >= most && !errors.Is(err, spent):
				t.Fatalf("guess %d: %v", i, err)
			case i < most:
				wantRefusal(t, err, audit.ReasonUnknownCode)
			}
		}
		if back != 0 {
			t.Errorf("%d guesses were not charged", back)
		}
	})
}

func TestACT6_ADeviceCodeIsToldAgainUnderItsKey(t *testing.T) {
	inLab(t, func(l *lab) {
		l.device()
		first, err := l.Create(t.Context(), clinic, nil, tablet, key)
		if err != nil {
			t.Fatal(err)
		}
		l.set(func(p *activation.Policy) { p.DeviceCodeLength = 21 })
		again, err := l.Create(t.Context(), clinic, nil, tablet, key)
		if err != nil || again.Human != first.Human || again.ID != first.ID {
			t.Errorf("%q and %q, %v", again.Human, first.Human, err)
		}
		won, err := l.RedeemDevice(t.Context(), phone, first.Locator, key)
		if err != nil {
			t.Fatal(err)
		}
		repeated, err := l.on(l.store).RedeemDevice(t.Context(), phone, first.Locator, key)
		if err != nil || repeated.AuthorisationCode != won.AuthorisationCode {
			t.Errorf("%+v, %v", repeated, err)
		}
	})
}

// One of many changes that were made of what was seen wins; the others hear that it moved.
func TestDIR1_OneChangeOfWhatWasSeenWins(t *testing.T) {
	inLab(t, func(l *lab) {
		l.device()
		var won, moved atomic.Int64
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				text := fmt.Sprint("by ", i)
				switch _, err := l.ChangeDevice(t.Context(), clinic, nil, tablet, activation.DevicePatch{Description: &text, At: 1}); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, activation.ErrDeviceMoved):
					moved.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 || moved.Load() != 15 {
			t.Errorf("%d won and %d heard that it moved", won.Load(), moved.Load())
		}
	})
}

// Whatever is lost on the way: a change or a token has one record, and a device stands in its lists before it moves.
func TestDIR1_NoLossMakesTwoOfOne(t *testing.T) {
	ops := []memstore.Op{memstore.OpOpen, memstore.OpEnlist, memstore.OpPublish, memstore.OpCommit, memstore.OpReopen, memstore.OpUsed, memstore.OpReuse, memstore.OpAnnounce}
	for _, op := range ops {
		for _, when := range []memstore.When{memstore.Before, memstore.After} {
			inLab(t, func(l *lab) {
				lost := 0
				l.store.Fault = func(o memstore.Op, w memstore.When) error {
					if o == op && w == when && lost < 1 {
						lost++
						return errSilence
					}
					return nil
				}
				surely := func(do func() error) {
					t.Helper()
					lost = 0
					err := do()
					for i := 0; errors.Is(err, commit.ErrUnavailable) && i < 3; i++ {
						err = do()
					}
					if err != nil {
						t.Errorf("%s %v: %v", op, when, err)
					}
				}
				surely(func() error {
					_, err := l.CreateDevice(t.Context(), clinic, nil, tablet.Name, "x", "ward-7")
					return err
				})
				code := ""
				surely(func() error {
					made, err := l.Create(t.Context(), clinic, nil, tablet, "")
					code = made.Locator
					return err
				})
				var won activation.Redeemed
				surely(func() (err error) { won, err = l.RedeemDevice(t.Context(), phone, code, ""); return err })
				surely(func() error {
					_, err := l.AuthoriseDevice(t.Context(), phone, tablet, won.AuthorisationCode)
					return err
				})
				for _, active := range []bool{false, true} {
					ward := fmt.Sprint("ward-", active)
					surely(func() error {
						_, err := l.ChangeDevice(t.Context(), clinic, nil, tablet, activation.DevicePatch{Active: &active, Location: &ward})
						return err
					})
				}
				surely(func() error {
					_, err := l.AuthoriseDevice(t.Context(), phone, tablet, won.AuthorisationCode)
					return err
				})
				var did []audit.Action
				for _, r := range l.store.Records(tablet) {
					did = append(did, r.Action)
				}
				want := []audit.Action{
					audit.CreateDevice, audit.CreateActivation, audit.RedeemActivation, audit.IssueToken, audit.ChangeDevice, audit.ChangeDevice, audit.IssueToken,
				}
				if !slices.Equal(did, want) {
					t.Errorf("%s %v: %v", op, when, did)
				}
				for _, list := range []string{"ward-7", "ward-true", "ward-false", activation.EveryDevice} {
					if all, err := l.store.Listed(t.Context(), []string{list}, "", 10); err != nil || len(all[0]) != 1 {
						t.Errorf("the list %q: %v, %v", list, all, err)
					}
				}
				if page, _, err := l.Devices(t.Context(), []string{"ward-7", "ward-true"}, nil, "", 10); err != nil || len(page) != 1 {
					t.Errorf("a page of %d, %v", len(page), err)
				}
			})
		}
	}
}

// Nobody who is not admitted writes more than an intent.
func TestDIR1_TheGateStandsBeforeTheLists(t *testing.T) {
	inLab(t, func(l *lab) {
		denied := errors.New("denied")
		gate := func(context.Context) error { return denied }
		if _, err := l.CreateDevice(t.Context(), clinic, gate, tablet.Name, "x", "ward-7"); !errors.Is(err, denied) {
			t.Errorf("created: %v", err)
		}
		if all, err := l.store.Listed(t.Context(), []string{"ward-7", activation.EveryDevice}, "", 10); err != nil || len(all[0])+len(all[1]) != 0 {
			t.Errorf("%v, %v", all, err)
		}
		l.device()
		off := false
		if _, err := l.ChangeDevice(t.Context(), clinic, gate, tablet, activation.DevicePatch{Active: &off}); !errors.Is(err, denied) || len(l.endings()) != 0 {
			t.Errorf("changed: %v", err)
		}
	})
}
