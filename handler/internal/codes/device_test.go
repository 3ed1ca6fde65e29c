package codes_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"latchkey/handler/internal/codes"
)

func TestACT10_ADeviceCodeIsReadAsItIsPrinted(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for n := codes.MinDevice; n <= codes.MaxDevice; n++ {
		code, err := codes.Draw(random, n)
		if err != nil {
			t.Fatal(err)
		}
		printed := codes.Device("OXF", code)
		for _, form := range []string{printed, strings.ToLower(printed), strings.ReplaceAll(printed, "-", ""), " " + strings.ReplaceAll(printed, "-", " ") + " "} {
			if got, err := codes.ParseDevice("OXF", form); err != nil || got != code {
				t.Errorf("%q: %q, %v", form, got, err)
			}
		}
		// One wrong character, and one swap, are found before anything is looked up.
		bare := strings.ReplaceAll(printed, "-", "")
		for i := 3; i < len(bare); i++ {
			for _, other := range []byte(codes.Alphabet) {
				if other == bare[i] {
					continue
				}
				if _, err := codes.ParseDevice("OXF", bare[:i]+string(other)+bare[i+1:]); !errors.Is(err, codes.ErrMistyped) {
					t.Errorf("%d characters, another %d.: %v", n, i, err)
				}
			}
			for j := 3; j < i; j++ {
				swapped := []byte(bare)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				if _, err := codes.ParseDevice("OXF", string(swapped)); swapped[i] != swapped[j] && !errors.Is(err, codes.ErrMistyped) {
					t.Errorf("%d characters, %d and %d swapped: %v", n, i, j, err)
				}
			}
		}
	}
}

func TestACT10_WhatIsNoDeviceCodeIsMistyped(t *testing.T) {
	for _, length := range []int{1, 9, codes.MinDevice - 1} {
		if _, err := codes.ParseDevice("OXF", codes.Device("OXF", strings.Repeat("K", length))); !errors.Is(err, codes.ErrMistyped) {
			t.Errorf("%d characters: %v", length, err)
		}
	}
	good := codes.Device("OXF", "23456789CDFHJK")
	for _, bad := range []string{"", "OXF", "CAM" + good[3:], good[3:], good + "2", good + "!", "OXF-" + strings.Repeat("2", 30)} {
		if _, err := codes.ParseDevice("OXF", bad); !errors.Is(err, codes.ErrMistyped) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
