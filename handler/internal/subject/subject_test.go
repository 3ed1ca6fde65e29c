package subject_test

import (
	"errors"
	"strings"
	"testing"

	"latchkey/handler/internal/subject"
)

func TestNew(t *testing.T) {
	long := strings.Repeat("a", 128)
	for _, id := range []string{"a", "0", "_", "-", "...", "a.", ".a", "-a", "A-b_c.9", "ab3d9aa3-d5aa-406a-87b2-cd67ad872724", long} {
		for _, kind := range []subject.Kind{subject.Patient, subject.Device, subject.Clinician} {
			if got, err := subject.New(kind, id); got != (subject.ID{Kind: kind, Name: id}) || err != nil {
				t.Errorf("%s %q: got %+v, %v", kind, id, got, err)
			}
		}
	}
	for _, id := range []string{
		"", ".", "..", long + "a", " ", "a ", " a", "a b", "a/b", "a\\b", "a#b", "a?b", "a%b", "%2e", "a~b", "a'b", "a\"b", "a+b", "a:b", "a@b",
		"a\n", "\na", "a\x00", "a\x7f", "a\t", "é", "a\u0301", "\u212a", "\uff21", "a\u200b", "\xff", "a\xc2",
	} {
		if got, err := subject.New(subject.Patient, id); got != (subject.ID{}) || !errors.Is(err, subject.ErrName) {
			t.Errorf("%q: got %+v, %v; want ErrName", id, got, err)
		}
	}
}

func TestIDsAreComparedExactly(t *testing.T) {
	a, errA := subject.New(subject.Patient, "Patient-1")
	b, errB := subject.New(subject.Patient, "patient-1")
	c, errC := subject.New(subject.Device, "patient-1")
	if err := errors.Join(errA, errB, errC); err != nil || a == b || b == c {
		t.Errorf("%v, %v, %v: %v", a, b, c, err)
	}
}

func FuzzNew(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a", "a/b", "\xff", strings.Repeat("a", 129), "a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := subject.New(subject.Patient, s)
		if err != nil {
			if !errors.Is(err, subject.ErrName) || id != (subject.ID{}) {
				t.Fatalf("got %+v, %v", id, err)
			}
			return
		}
		// What is taken can stand in a URL's path and in a key as it is.
		if id.Name != s || len(s) == 0 || len(s) > 128 || strings.Trim(s, ".") == "" && len(s) < 3 {
			t.Fatalf("%q was taken as %+v", s, id)
		}
		for i := range len(s) {
			c := s[i]
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._-", c) >= 0) {
				t.Fatalf("%q was taken", s)
			}
		}
	})
}
