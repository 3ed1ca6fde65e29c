package caller

import "math/big"

// roca reports whether a modulus is of the generator that chips of Infineon had until 2017, whose keys can be factored
// (CVE-2017-15361; Nemec, Sýs, Švenda, Klinec, Matyáš, "The Return of Coppersmith's Attack", section 2.4). Modulo each of the
// primes up to 167 such a modulus is a power of 65537. Of other moduli one in some hundred million is: an issuer that
// draws such a one has to draw again.
func roca(modulus *big.Int) bool {
	const generator, last = 65537, 167
	for p := int64(3); p <= last; p += 2 {
		prime := big.NewInt(p)
		if !prime.ProbablyPrime(0) { // exact for numbers of this size
			continue
		}
		rest := new(big.Int).Mod(modulus, prime).Int64()
		for power := int64(1); power != rest; {
			if power = power * generator % p; power == 1 {
				return false // these were all powers
			}
		}
	}
	return true
}
