// Package odds computes what guessing codes is worth: the chance that anyone, in a year, guesses any code that lives (ABU-2,
// model.md sections 2 and 7). It owns the formula and no number of a deployment. It refuses to count on anything that an attacker
// decides: how fast they are, how many addresses they have, which instance they ask.
//
// # The formula
//
// Codes are drawn evenly and independently of all guesses. So whatever the guesses before it were, and however often codes are
// replaced meanwhile, one look-up meets one of at most L live codes of a space of S with a chance of at most L/S.
//
// The total (package budget) lets at most N look-ups of unknown codes through in any year. A device code lets in by itself: the
// chance that one of N look-ups meets a live one is at most the sum of their chances,
//
//	P(device) <= N x L / S
//
// For a patient, who meets a live locator has met a known code: that look-up is not charged to the total, and the search goes on. It
// ends with the N-th unknown one. Before it there are, on average, no more than N x p / (1 - p) known ones, with p = L/S for
// locators: each look-up is known with a chance of p, and unknown ones cost. Each locator found gives the attempts A at an OTP
// of a space of T, and then it is dead:
//
//	P(patient) <= N x p / (1 - p) x A / T
//
// Both are union bounds: the truth is below. The chance that any code of either kind is guessed is at most their sum. Codes that
// are known and dead are free as well; they are so few in these spaces that they change no digit, and are left out.
//
// What is not in it: who already holds a patient's locator has A attempts at the OTP, A / T, whatever the budgets (Holding). Codes of
// the predecessor's shape are exempt and have a bound of their own (model.md section 2).
package odds

import "math"

// Threshold is the most that the chance may be in a year (ABU-2).
const Threshold = 1e-6

// Kind is one kind of code that strangers can guess at.
type Kind struct {
	Name string
	// Alphabet is how many characters there are, Length how many of them must be guessed to name a code.
	Alphabet, Length int
	// OTP is how many more prove its holder, 0 if naming it is enough; Attempts are the tries at them, for one code.
	OTP, Attempts int
	// Live is how many such codes there are at any time, at most.
	Live float64
	// Guesses is how many unknown ones may be looked up in any year, at most.
	Guesses float64
}

// Space is how many codes there can be.
func (k Kind) Space() float64 { return math.Pow(float64(k.Alphabet), float64(k.Length)) }

// OTPs is how many OTPs there can be: one, if there is none.
func (k Kind) OTPs() float64 { return math.Pow(float64(k.Alphabet), float64(k.OTP)) }

// Holding is the chance of who holds what names a code and guesses the OTP: 1 if there is none.
func (k Kind) Holding() float64 {
	if k.OTP == 0 {
		return 1
	}
	return min(1, float64(k.Attempts)/k.OTPs())
}

// Yearly is the chance that anyone guesses any live code of this kind in a year, at most.
func (k Kind) Yearly() float64 {
	p := k.Live / k.Space()
	if p >= 1 {
		return 1
	}
	met := k.Guesses * p
	if k.OTP > 0 {
		met /= 1 - p
	}
	return min(1, met*k.Holding())
}

// Any is the chance that anyone guesses any live code of any kind in a year, at most.
func Any(kinds ...Kind) float64 {
	sum := 0.0
	for _, k := range kinds {
		sum += k.Yearly()
	}
	return min(1, sum)
}
