package keyed_test

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/secret"
)

func ringOf(t *testing.T, peppers ...byte) *keyed.Ring {
	t.Helper()
	var encoded []secret.Text
	for _, p := range peppers {
		encoded = append(encoded, secret.New(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(p)), keyed.MinPepper)))))
	}
	ring, err := keyed.NewRing(encoded...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestAUT6_ABoxOpensForItsRingAlone(t *testing.T) {
	old, rotated, other := ringOf(t, 'a'), ringOf(t, 'b', 'a'), ringOf(t, 'c')
	box, err := old.Seal(rand.Reader, []byte("why"))
	if err != nil {
		t.Fatal(err)
	}
	for name, ring := range map[string]*keyed.Ring{"its own": old, "the next one": rotated} {
		if text, err := ring.Unseal(box); err != nil || string(text) != "why" {
			t.Errorf("%s ring: %q, %v", name, text, err)
		}
	}
	if _, err := other.Unseal(box); !errors.Is(err, keyed.ErrSealed) {
		t.Errorf("another ring: %v", err)
	}
	again, err := old.Seal(rand.Reader, []byte("why"))
	if err != nil || again == box || len(again) != len(box) {
		t.Errorf("the same text sealed twice: %q, %q, %v", box, again, err)
	}
}

func TestAUT6_ATouchedBoxDoesNotOpen(t *testing.T) {
	ring := ringOf(t, 'a', 'b')
	box, err := ring.Seal(rand.Reader, []byte("why"))
	if err != nil {
		t.Fatal(err)
	}
	version, sealed, _ := strings.Cut(box, "~")
	for i := range sealed {
		touched := []byte(sealed)
		touched[i] = map[bool]byte{true: 'B', false: 'A'}[touched[i] == 'A']
		if _, err := ring.Unseal(version + "~" + string(touched)); !errors.Is(err, keyed.ErrSealed) {
			t.Errorf("character %d: %v", i, err)
		}
	}
	elsewhere, _, _ := strings.Cut(func() string { b, _ := ringOf(t, 'b').Seal(rand.Reader, nil); return b }(), "~")
	for _, bad := range []string{"", "~", version, version + "~", version + "~AAAA", box[:len(box)-1], box + "A", box + "=", box + "\n", sealed, elsewhere + "~" + sealed} {
		if _, err := ring.Unseal(bad); !errors.Is(err, keyed.ErrSealed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
