package codes_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"latchkey/handler/internal/codes"
)

const site = "OXF"

// seeded is randomness that is the same in every run.
func seeded(n uint64) io.Reader {
	var key [32]byte
	key[0], key[1] = byte(n), byte(n>>8)
	return rand.NewChaCha8(key)
}

// issue draws a code with an OTP of a length.
func issue(t testing.TB, r io.Reader, otp int) (locator, secret, human string) {
	t.Helper()
	locator, err := codes.Draw(r, codes.LocatorLength)
	if err != nil {
		t.Fatal(err)
	}
	if secret, err = codes.Draw(r, otp); err != nil {
		t.Fatal(err)
	}
	return locator, secret, codes.Human(site, locator, secret)
}

func wantParts(t testing.TB, code, locator, otp string) {
	t.Helper()
	if l, o, err := codes.ParseHuman(site, code); l != locator || o != otp || err != nil {
		t.Errorf("%q is read as %q, %q, %v; want %q, %q", code, l, o, err, locator, otp)
	}
}

func wantMistyped(t testing.TB, code, why string) {
	t.Helper()
	if l, o, err := codes.ParseHuman(site, code); !errors.Is(err, codes.ErrMistyped) || l != "" || o != "" {
		t.Errorf("%q (%s) is read as %q, %q, %v; want ErrMistyped", code, why, l, o, err)
	}
}

// Kept as it is, so that a change of the form shows: people hold these codes on paper.
func TestACT11_TheFormOfACodeStays(t *testing.T) {
	for otp, want := range map[string]string{
		"3FJ7WP":      "OXF-7KQ4-9F2M-HX3F-J7WP-7",
		"2222":        "OXF-7KQ4-9F2M-HX22-22J",
		"XXXXXXXXXXX": "OXF-7KQ4-9F2M-HXXX-XXXX-XXXX-X5",
	} {
		if got := codes.Human(site, "7KQ49F2MHX", otp); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestACT11_ACodeIsReadAsItWasIssued(t *testing.T) {
	r := seeded(1)
	for otp := codes.MinOTP; otp <= 11; otp++ {
		for range 200 {
			locator, secret, human := issue(t, r, otp)
			wantParts(t, human, locator, secret)
		}
	}
	// One check character covers 22 characters, so that no OTP of 12 fits into a combined code, and none shorter than the floor.
	for _, otp := range []int{0, 1, codes.MinOTP - 1, codes.MaxOTP, codes.MaxOTP + 1} {
		locator, secret, _ := issue(t, r, otp)
		wantMistyped(t, codes.Human(site, locator, secret), "its OTP has another length")
	}
}

// canonical is ParseHuman's own folding, written again from model.md section 2: nil for what is no code character.
func canonical(c byte) (byte, bool) {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	if i := strings.IndexByte("BSZGU", c); i >= 0 {
		c = "8526V"[i]
	}
	return c, strings.IndexByte(codes.Alphabet, c) >= 0
}

// Every character of the code, the check and the site's prefix included, is replaced by every other byte and by some that only
// Unicode takes for the same. A space or a dash in the place of a character is none of them: it is a character left out.
func TestACT11_EverySubstitutionIsNoticed(t *testing.T) {
	r := seeded(2)
	tried := 0
	for n := range 40 {
		_, _, human := issue(t, r, codes.MinOTP+n%8)
		for at := range len(human) {
			if human[at] == '-' {
				continue
			}
			inPrefix := at < len(site)
			for c := range 256 {
				b := byte(c)
				if b == ' ' || b == '-' {
					continue
				}
				same := strings.EqualFold(string(rune(b)), string(rune(human[at]))) && b < utf8.RuneSelf
				if folded, ok := canonical(b); ok && !inPrefix && folded == human[at] {
					same = true
				}
				if same {
					continue
				}
				tried++
				wantMistyped(t, human[:at]+string([]byte{b})+human[at+1:], "one byte is another")
				if b >= utf8.RuneSelf {
					wantMistyped(t, human[:at]+string(rune(b))+human[at+1:], "one character is another")
				}
			}
		}
		if t.Failed() {
			return
		}
	}
	if tried < 40*18*200 {
		t.Errorf("only %d substitutions were tried", tried)
	}
}

func TestACT11_EverySwapIsNoticed(t *testing.T) {
	r := seeded(3)
	tried := 0
	for n := range 400 {
		_, _, human := issue(t, r, codes.MinOTP+n%8)
		for i := range len(human) {
			for j := i + 1; j < len(human); j++ {
				if human[i] == human[j] || human[i] == '-' || human[j] == '-' {
					continue
				}
				swapped := []byte(human)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				tried++
				wantMistyped(t, string(swapped), "two are swapped")
			}
		}
		if t.Failed() {
			return
		}
	}
	if tried < 400*100 {
		t.Errorf("only %d swaps were tried", tried)
	}
}

func TestACT11_CaseSpacesDashesAndLookAlikesDoNotMatter(t *testing.T) {
	r := seeded(4)
	lookAlikes := strings.NewReplacer("8", "B", "5", "S", "2", "Z", "6", "G", "V", "U")
	for range 500 {
		locator, otp, human := issue(t, r, 6)
		prefix, rest, _ := strings.Cut(human, "-")
		for _, typed := range []string{
			strings.ToLower(human),
			strings.ReplaceAll(human, "-", ""),
			strings.ReplaceAll(human, "-", " "),
			"  " + strings.Join(strings.Split(human, ""), " -") + "--",
			prefix + lookAlikes.Replace(rest),
			prefix + strings.ToLower(lookAlikes.Replace(rest)),
		} {
			wantParts(t, typed, locator, otp)
		}
		if l, err := codes.ParseLocator(strings.ToLower(lookAlikes.Replace(locator))); l != locator || err != nil {
			t.Errorf("a locator is read as %q, %v", l, err)
		}
		if o, err := codes.ParseOTP(" " + lookAlikes.Replace(otp) + "-"); o != otp || err != nil {
			t.Errorf("an OTP is read as %q, %v", o, err)
		}
	}
}

func TestACT11_ThePrefixIsNotFolded(t *testing.T) {
	locator, otp, _ := issue(t, seeded(5), 6)
	human := codes.Human("BU5", locator, otp)
	for _, typed := range []string{human, strings.ToLower(human)} {
		if _, _, err := codes.ParseHuman("BU5", typed); err != nil {
			t.Errorf("%s: %v", typed, err)
		}
	}
	for _, other := range []string{"8U5", "BV5", "BUS", "OXF", "UB5", "BU", ""} {
		if _, _, err := codes.ParseHuman("BU5", other+human[3:]); !errors.Is(err, codes.ErrMistyped) {
			t.Errorf("prefix %q: %v", other, err)
		}
	}
}

func TestACT11_WhatOnlyUnicodeCallsTheSameIsNot(t *testing.T) {
	_, _, human := issue(t, seeded(6), 6)
	for _, c := range []string{
		"\u017f",  // long s, whose upper case is S
		"\u212a",  // the Kelvin sign, whose lower case is k
		"\u0130",  // a dotted capital i
		"\uff17",  // a full-width 7
		"\uff2b",  // a full-width K
		"\u0661",  // an Arabic digit
		"\u041a",  // a Cyrillic Ka
		"K\u0301", // K with an accent
		"\u00a0",  // a space that does not break
		"\u2013",  // an en dash
		"\u200b",  // a space of no width
		"\x00", "\ufffd", "\xff", "\xc2", "\t", "\n",
	} {
		for _, at := range []int{0, 4, 10, len(human)} {
			wantMistyped(t, human[:at]+c+human[at:], "something was put in")
			if at < len(human) {
				wantMistyped(t, human[:at]+c+human[at+1:], "something took a place")
			}
		}
		if got, err := codes.Canonical("7" + c); !errors.Is(err, codes.ErrMistyped) {
			t.Errorf("%q is read as %q, %v", c, got, err)
		}
	}
	// Where folding would give the very character that was issued, no check could tell.
	human = codes.Human("SKF", "2345K6789C", "555KKK")
	for issued, typed := range map[string]string{"S": "\u017f", "5": "\u017f", "K": "\u212a", "7": "\uff17", "F": "\uff26", "-": "\u2013"} {
		for at := range human {
			if human[at:at+1] != issued {
				continue
			}
			if l, o, err := codes.ParseHuman("SKF", human[:at]+typed+human[at+1:]); !errors.Is(err, codes.ErrMistyped) {
				t.Errorf("%q for %s is read as %q, %q, %v", typed, issued, l, o, err)
			}
		}
	}
}

func TestACT11_PartsHaveTheirLengths(t *testing.T) {
	for n := range 16 {
		s := strings.Repeat("7", n)
		if _, err := codes.ParseLocator(s); errors.Is(err, codes.ErrMistyped) != (n != codes.LocatorLength) {
			t.Errorf("a locator of %d: %v", n, err)
		}
		if _, err := codes.ParseOTP(s); errors.Is(err, codes.ErrMistyped) != (n < codes.MinOTP || n > codes.MaxOTP) {
			t.Errorf("an OTP of %d: %v", n, err)
		}
	}
}

// With 23 characters and 230,000 drawings, each is expected 10,000 times; 22 degrees of freedom go beyond 60.4 once in 50,000.
// Bytes modulo 23 without drawing again, which favour three characters by a tenth, give about 300.
func TestACT11_EveryCharacterIsEquallyLikely(t *testing.T) {
	const each = 10_000
	drawn, err := codes.Draw(seeded(7), each*len(codes.Alphabet))
	if err != nil || len(drawn) != each*len(codes.Alphabet) {
		t.Fatalf("%d characters, %v", len(drawn), err)
	}
	chi := 0.0
	for _, c := range codes.Alphabet {
		d := float64(strings.Count(drawn, string(c)) - each)
		chi += d * d / each
	}
	if chi > 60.4 {
		t.Errorf("chi-square is %.1f", chi)
	}
}

func TestACT11_NoCodeIsDrawnWithoutRandomness(t *testing.T) {
	broken := errors.New("broken")
	for name, r := range map[string]io.Reader{
		"at once":  errorReader{broken},
		"later":    io.MultiReader(bytes.NewReader(bytes.Repeat([]byte{255}, 40)), errorReader{broken}),
		"too late": io.MultiReader(bytes.NewReader(make([]byte, 31)), errorReader{broken}),
	} {
		if got, err := codes.Draw(r, 6); !errors.Is(err, broken) || got != "" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if got, err := codes.Draw(bytes.NewReader(nil), 6); err == nil {
		t.Errorf("from nothing was drawn %q", got)
	}
}

type errorReader struct{ error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.error }

func FuzzParseHuman(f *testing.F) {
	for _, s := range []string{
		"OXF-7KQ4-9F2M-HX3F-J7WP-7", "oxf 7kq4 9f2m hx3f j7wp 7", "OXF7KQ49F2MHX2222J", "OXF", "", "-", "OXF-", "\xff", "ſ",
		"OXF-7KQ4-9F2M-HXXX-XXXX-XXXX-X5", "OXF-7KQ4-9F2M-HX3F-J7WP-N", "OXFOXF-7KQ4-9F2M-HX3F-J7WP-7",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		locator, otp, err := codes.ParseHuman(site, s)
		if err != nil {
			if !errors.Is(err, codes.ErrMistyped) || locator != "" || otp != "" {
				t.Fatalf("got %q, %q, %v", locator, otp, err)
			}
			return
		}
		// What is read is what was printed: it comes out the same, and each part is canonical.
		wantParts(t, codes.Human(site, locator, otp), locator, otp)
		for _, part := range []string{locator, otp} {
			if c, err := codes.Canonical(part); c != part || err != nil {
				t.Fatalf("%q is not canonical: %q, %v", part, c, err)
			}
		}
		if len(otp) < codes.MinOTP || len(locator) != codes.LocatorLength {
			t.Fatalf("lengths of %q and %q", locator, otp)
		}
	})
}
