package denial_test

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"latchkey/handler/internal/denial"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/secret"
)

var at = time.Date(2026, 11, 24, 18, 0, 0, 0, time.UTC)

func ring(t *testing.T) *keyed.Ring {
	t.Helper()
	r, err := keyed.NewRing(secret.New(base64.StdEncoding.EncodeToString(make([]byte, keyed.MinPepper))))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func seal(t *testing.T, r *keyed.Ring, d denial.Denial) string {
	t.Helper()
	ticket, err := denial.Seal(r, rand.Reader, d)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func TestAUT6_ATicketSaysWhyForSevenDays(t *testing.T) {
	r := ring(t)
	d := denial.Denial{ID: strings.Repeat("f", 32), Operation: "create-patient-activation", Cause: "audience_other", Expected: "api://latchkey", Got: "api://ünknown", At: at}
	ticket := seal(t, r, d)
	for _, now := range []time.Time{at, at.Add(denial.Lifetime - time.Second)} {
		if got, err := denial.Open(r, ticket, now); err != nil || got != d {
			t.Errorf("%v, %v", got, err)
		}
	}
	if _, err := denial.Open(r, ticket, at.Add(denial.Lifetime)); !errors.Is(err, denial.ErrTicket) {
		t.Errorf("after seven days: %v", err)
	}
	if strings.Contains(ticket, "audience") || strings.Contains(ticket, base64.RawURLEncoding.EncodeToString([]byte("audience"))) {
		t.Error("the ticket can be read")
	}
}

func TestAUT6_EveryTicketHasOneLength(t *testing.T) {
	r := ring(t)
	length := len(seal(t, r, denial.Denial{At: at}))
	for _, long := range []string{"x", strings.Repeat("x", 127), strings.Repeat("é", 500), strings.Repeat("\x00", 500), "\xff", strings.Repeat("\U0001F511", 100)} {
		ticket := seal(t, r, denial.Denial{ID: long, Operation: long, Cause: long, Expected: long, Got: long, At: at})
		if len(ticket) != length {
			t.Errorf("%d bytes, not %d", len(ticket), length)
		}
		got, err := denial.Open(r, ticket, at)
		if err != nil || len(got.Expected) > 128 || len(long) >= 128 && len(got.Got) < 124 || !utf8.ValidString(got.Got) {
			t.Errorf("%q, %v", got.Got, err)
		}
	}
}

func TestAUT6_AnotherBoxIsNoTicket(t *testing.T) {
	r := ring(t)
	other, err := r.Seal(rand.Reader, []byte("something else that was sealed"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", other} {
		if _, err := denial.Open(r, bad, at); !errors.Is(err, denial.ErrTicket) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
