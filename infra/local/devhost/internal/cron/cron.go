// Package cron computes the times of NCRONTAB schedules, in UTC.
//
// It owns the six-field form of timer triggers ({second} {minute} {hour}
// {day} {month} {day of week}), the five-field form, and plain time spans
// (hh:mm:ss). It runs nothing.
package cron

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ErrSchedule: a text that is neither NCRONTAB nor a time span.
var ErrSchedule = errors.New("invalid schedule")

// Schedule is a parsed schedule.
type Schedule struct {
	every  time.Duration
	fields [6]uint64 // bit n: value n is in
}

// Parse reads a schedule.
func Parse(text string) (Schedule, error) {
	if m := regexp.MustCompile(`^(\d\d?):(\d\d):(\d\d)$`).FindStringSubmatch(text); m != nil {
		d, err := time.ParseDuration(m[1] + "h" + m[2] + "m" + m[3] + "s")
		if err != nil || d <= 0 {
			return Schedule{}, fmt.Errorf("%w: %q", ErrSchedule, text)
		}
		return Schedule{every: d}, nil
	}
	parts := strings.Fields(text)
	if len(parts) == 5 {
		parts = append([]string{"0"}, parts...)
	}
	if len(parts) != 6 {
		return Schedule{}, fmt.Errorf("%w: %q has not six fields", ErrSchedule, text)
	}
	var s Schedule
	for i, r := range []struct {
		low, high int
		names     string
	}{
		{0, 59, ""}, {0, 59, ""}, {0, 23, ""}, {1, 31, ""},
		{1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"},
		{0, 6, "sun mon tue wed thu fri sat"},
	} {
		bits, err := parseField(parts[i], r.low, r.high, strings.Fields(r.names))
		if err != nil {
			return Schedule{}, fmt.Errorf("%w: %q: %w", ErrSchedule, text, err)
		}
		s.fields[i] = bits
	}
	return s, nil
}

func parseField(text string, low, high int, names []string) (uint64, error) {
	value := func(s string) (int, error) {
		for i, n := range names {
			if len(s) >= 3 && strings.EqualFold(s[:3], n) {
				return low + i, nil
			}
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("%q is not in %d to %d", s, low, high)
		}
		return n, nil
	}
	var bits uint64
	for part := range strings.SplitSeq(text, ",") {
		span, step, hasStep := strings.Cut(part, "/")
		every := 1
		if hasStep {
			n, err := strconv.Atoi(step)
			if err != nil || n < 1 {
				return 0, fmt.Errorf("%q is no step", step)
			}
			every = n
		}
		from, to := low, high
		if span != "*" {
			first, last, isRange := strings.Cut(span, "-")
			var err error
			if from, err = value(first); err != nil {
				return 0, err
			}
			switch {
			case isRange:
				if to, err = value(last); err != nil {
					return 0, err
				}
			case !hasStep:
				to = from
			}
		}
		for n := from; n <= to; n += every {
			bits |= 1 << n
		}
	}
	return bits, nil
}

// Next returns the first time of the schedule after t, in UTC, or the zero
// time if there is none within eight years (31 February).
func (s Schedule) Next(t time.Time) time.Time {
	t = t.UTC()
	if s.every > 0 {
		return t.Add(s.every)
	}
	in := func(field, value int) bool { return s.fields[field]&(1<<value) != 0 }
	t = t.Truncate(time.Second).Add(time.Second)
	for end := t.AddDate(8, 0, 1); t.Before(end); {
		switch {
		case !in(4, int(t.Month())):
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		case !in(3, t.Day()) || !in(5, int(t.Weekday())):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, time.UTC)
		case !in(2, t.Hour()):
			t = t.Truncate(time.Hour).Add(time.Hour)
		case !in(1, t.Minute()):
			t = t.Truncate(time.Minute).Add(time.Minute)
		case !in(0, t.Second()):
			t = t.Add(time.Second)
		default:
			return t
		}
	}
	return time.Time{}
}

// BelowMinute reports whether two of the next times lie less than a minute
// apart; the host keeps no status for such schedules.
func (s Schedule) BelowMinute(t time.Time) bool {
	if s.every > 0 {
		return s.every < time.Minute
	}
	first := s.Next(t)
	second := s.Next(first)
	return !first.IsZero() && !second.IsZero() && second.Sub(first) < time.Minute
}
