package cron_test

import (
	"errors"
	"testing"
	"time"

	"latchkey/infra/local/devhost/internal/cron"
)

func TestNext(t *testing.T) {
	for _, c := range []struct{ schedule, from, want string }{
		{"0 */5 * * * *", "2026-11-22T07:50:31Z", "2026-11-22T07:55:00Z"},
		{"*/2 * * * * *", "2026-11-22T07:50:31.5Z", "2026-11-22T07:50:32Z"},
		{"0 0 4 29 2 *", "2026-11-22T07:50:31Z", "2028-02-29T04:00:00Z"},
		{"0 0 5 31 2 *", "2026-11-22T07:50:31Z", ""},
		{"0 30 9-17/4 * * MON-FRI", "2026-11-21T10:00:00Z", "2026-11-23T09:30:00Z"},
		{"0 0 0 1 JAN,JUL *", "2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"15 3 * * *", "2026-11-22T03:15:00Z", "2026-11-23T03:15:00Z"},
		{"00:10:00", "2026-11-22T03:15:00Z", "2026-11-22T03:25:00Z"},
	} {
		s, err := cron.Parse(c.schedule)
		if err != nil {
			t.Errorf("%s: %v", c.schedule, err)
			continue
		}
		from, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if next := s.Next(from); !next.IsZero() {
			got = next.Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s after %s: got %q, want %q", c.schedule, c.from, got, c.want)
		}
	}
}

func TestBadSchedules(t *testing.T) {
	for _, text := range []string{"* * *", "61 * * * * *", "* * * * * 8x", "*/0 * * * * *", "a * * * * *", "", "00:00:00"} {
		if _, err := cron.Parse(text); !errors.Is(err, cron.ErrSchedule) {
			t.Errorf("%q: got %v, want ErrSchedule", text, err)
		}
	}
}

func TestBelowMinute(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]bool{"*/2 * * * * *": true, "0 * * * * *": false, "00:00:59": true, "0 0 5 31 2 *": false} {
		s, err := cron.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.BelowMinute(now); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}
