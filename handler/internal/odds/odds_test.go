package odds_test

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"latchkey/handler/internal/odds"
)

func devices() odds.Kind {
	return odds.Kind{Name: "device", Alphabet: 23, Length: 14, Live: 1000, Guesses: 1e10}
}

func patients() odds.Kind {
	return odds.Kind{Name: "patient", Alphabet: 23, Length: 10, OTP: 6, Attempts: 10, Live: 1000, Guesses: 1e10}
}

// near reports whether two chances are the same but for rounding.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12*math.Max(a, b) }

// ABU-2: the figure of model.md section 7.
func TestABU2_TheDefaultsAreBelowOneInAMillion(t *testing.T) {
	d, p := devices().Yearly(), patients().Yearly()
	t.Logf("devices %.3g, patients %.3g, any %.3g", d, p, odds.Any(devices(), patients()))
	if got := fmt.Sprintf("%.1e", d); got != "8.6e-07" {
		t.Errorf("devices: %s, model.md says 8.6e-7", got)
	}
	if any := odds.Any(devices(), patients()); any > odds.Threshold || any < d || any < p {
		t.Errorf("any: %g", any)
	}
}

// exact is the formula again, on exact fractions.
func exact(k odds.Kind) float64 {
	integer := func(f float64) *big.Int { i, _ := big.NewFloat(f).Int(nil); return i }
	space := new(big.Int).Exp(big.NewInt(int64(k.Alphabet)), big.NewInt(int64(k.Length)), nil)
	live := integer(k.Live)
	if live.Cmp(space) >= 0 {
		return 1
	}
	var met *big.Rat
	if k.OTP == 0 {
		met = new(big.Rat).SetFrac(new(big.Int).Mul(integer(k.Guesses), live), space)
	} else { // N p / (1 - p) = N L / (S - L)
		met = new(big.Rat).SetFrac(new(big.Int).Mul(integer(k.Guesses), live), new(big.Int).Sub(space, live))
		otps := new(big.Int).Exp(big.NewInt(int64(k.Alphabet)), big.NewInt(int64(k.OTP)), nil)
		hit := new(big.Rat).SetFrac(big.NewInt(int64(k.Attempts)), otps)
		if one := big.NewRat(1, 1); hit.Cmp(one) > 0 {
			hit = one
		}
		met.Mul(met, hit)
	}
	f, _ := met.Float64()
	return min(1, f)
}

// drawn makes a kind from small numbers to large ones.
func drawn(random *rand.Rand) odds.Kind {
	k := odds.Kind{Alphabet: 2 + random.IntN(30), Length: 1 + random.IntN(20), Live: float64(random.Int64N(1e6)), Guesses: float64(random.Int64N(1e12))}
	if random.IntN(2) == 0 {
		k.OTP, k.Attempts = 1+random.IntN(11), 1+random.IntN(10)
	}
	return k
}

func TestABU2_TheFormulaIsTheSameInExactFractions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		k := drawn(random)
		if got, want := k.Yearly(), exact(k); math.Abs(got-want) > 1e-9*want {
			t.Fatalf("%+v: %g, exactly %g", k, got, want)
		}
	}
}

// More guesses, codes or attempts never make it less likely; longer codes and OTPs never more.
func TestABU2_TheFormulaIsMonotone(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 1))
	for range 10_000 {
		k := drawn(random)
		was := k.Yearly()
		if was < 0 || was > 1 || math.IsNaN(was) {
			t.Fatalf("%+v: %g", k, was)
		}
		for what, change := range map[string]func(*odds.Kind){
			"more guesses":  func(k *odds.Kind) { k.Guesses *= 2 },
			"more codes":    func(k *odds.Kind) { k.Live *= 2 },
			"more attempts": func(k *odds.Kind) { k.Attempts++ },
		} {
			more := k
			change(&more)
			if got := more.Yearly(); got < was && !near(got, was) {
				t.Fatalf("%+v: %s makes %g of %g", k, what, got, was)
			}
		}
		for what, change := range map[string]func(*odds.Kind){
			"a longer code":     func(k *odds.Kind) { k.Length++ },
			"a larger alphabet": func(k *odds.Kind) { k.Alphabet++ },
			"a longer OTP": func(k *odds.Kind) {
				if k.OTP > 0 {
					k.OTP++
				}
			},
		} {
			less := k
			change(&less)
			if got := less.Yearly(); got > was && !near(got, was) {
				t.Fatalf("%+v: %s makes %g of %g", k, what, got, was)
			}
		}
	}
}

// attack is a year of guesses at codes of a small space, as the service answers them: it reports whether anyone got in. Each
// guess is a random one: to guess in an order, or never twice, is no better against codes that are replaced.
func attack(k odds.Kind, random *rand.Rand) bool {
	space, otps := int(k.Space()), int(k.OTPs())
	live := map[int]int{} // OTP by code
	draw := func() {
		for {
			code := random.IntN(space)
			if _, taken := live[code]; !taken {
				live[code] = random.IntN(otps)
				return
			}
		}
	}
	for range int(k.Live) {
		draw()
	}
	for unknown := 0; unknown < int(k.Guesses); {
		code := random.IntN(space)
		otp, known := live[code]
		switch {
		case !known:
			unknown++
		case k.OTP == 0:
			return true
		default:
			first := random.IntN(otps) // each attempt another one
			for i := range k.Attempts {
				if (first+i)%otps == otp {
					return true
				}
			}
			delete(live, code) // its attempts are used up
			draw()
		}
	}
	return false
}

// A small world, attacked often: the formula bounds what happens, and is not far above it.
func TestABU2_ASimulationAgreesWithTheFormula(t *testing.T) {
	const worlds = 40_000
	for name, k := range map[string]odds.Kind{
		"a code that is enough":  {Alphabet: 23, Length: 3, Live: 3, Guesses: 200},
		"a code with an OTP":     {Alphabet: 23, Length: 2, OTP: 1, Attempts: 2, Live: 5, Guesses: 100},
		"crowded, so many known": {Alphabet: 23, Length: 1, OTP: 2, Attempts: 3, Live: 11, Guesses: 10},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, uint64(k.Length)))
			in := 0
			for range worlds {
				if attack(k, random) {
					in++
				}
			}
			got, bound := float64(in)/worlds, k.Yearly()
			noise := 4 * math.Sqrt(bound/worlds)
			// A union bound u stands for 1 - e^-u.
			expected := 1 - math.Exp(-bound)
			t.Logf("%.4f of %d worlds, the bound is %.4f", got, worlds, bound)
			if got > bound+noise {
				t.Errorf("%.4f got in, the bound is %.4f", got, bound)
			}
			if math.Abs(got-expected) > noise+bound*bound/10 {
				t.Errorf("%.4f got in, %.4f were expected", got, expected)
			}
		})
	}
}

func TestABU2_WithoutRoomItIsCertain(t *testing.T) {
	if got := (odds.Kind{Alphabet: 2, Length: 3, Live: 8, Guesses: 1}).Yearly(); got != 1 {
		t.Errorf("every code lives: %g", got)
	}
	if got := devices(); got.Holding() != 1 {
		t.Errorf("who holds a device code is in: %g", got.Holding())
	}
}
