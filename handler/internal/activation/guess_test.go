package activation_test

import (
	"context"
	"errors"
	"testing"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/memstore"
	"latchkey/handler/internal/subject"
)

// ABU-1: a unit is taken before the look-up, and given back exactly when the code is known.
func TestABU1_AGuessIsCountedBeforeTheLookUp(t *testing.T) {
	inLab(t, func(l *lab) {
		var taken, back int
		var refusal error
		s := activation.New(l.store, l.settings, activation.Clock{Now: l.now, Wait: wait}, l.random,
			func(do func(context.Context)) { do(context.Background()) },
			func(_ context.Context, kind subject.Kind) (func(), error) {
				if kind != subject.Patient {
					t.Errorf("a guess at a code of kind %q", kind)
				}
				if refusal != nil {
					return nil, refusal
				}
				taken++
				return func() { back++ }, nil
			})
		looked, down := 0, false
		l.store.Fault = func(op memstore.Op, when memstore.When) error {
			switch {
			case op != memstore.OpCode || when != memstore.Before:
			case down:
				return errSilence
			default:
				looked++
			}
			if looked > taken {
				t.Error("a look-up before its unit was taken")
			}
			return nil
		}
		made, err := s.Create(t.Context(), clinic, nil, subject.ID{Kind: subject.Patient, Name: "p"}, "")
		if err != nil {
			t.Fatal(err)
		}
		redeem := func(locator, otp string) error {
			_, err := s.Redeem(t.Context(), audit.Origin{}, activation.Try{Locator: locator, OTP: otp})
			return err
		}
		want := func(what string, wantTaken, wantBack int) {
			t.Helper()
			if taken != wantTaken || back != wantBack {
				t.Errorf("%s: %d taken and %d given back, want %d and %d", what, taken, back, wantTaken, wantBack)
			}
		}
		_ = redeem("2222222222", "222222")
		want("an unknown code", 1, 0)
		if err := redeem(made.Locator, made.OTP); err != nil {
			t.Fatal(err)
		}
		want("the right code", 2, 1)
		_ = redeem(made.Locator, made.OTP)
		want("a used code", 3, 2)
		down = true
		_ = redeem(made.Locator, made.OTP)
		want("a storage that does not answer", 4, 2)
		down, looked, taken = false, 0, 0
		refusal = errors.New("the budget is empty")
		if err := redeem(made.Locator, made.OTP); !errors.Is(err, refusal) || looked != 0 {
			t.Errorf("got %v after %d look-ups, want the refusal of the budget", err, looked)
		}
	})
}
