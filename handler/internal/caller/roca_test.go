package caller

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"testing"
)

func TestAUT4_ModuliOfTheBrokenGeneratorAreKnown(t *testing.T) {
	// The generator's primes are k times the product of many primes, plus a power of 65537 modulo that product.
	product := big.NewInt(1)
	for p := int64(2); p <= 701; p++ {
		if prime := big.NewInt(p); prime.ProbablyPrime(0) {
			product.Mul(product, prime)
		}
	}
	factor := func(exponent, k int64) *big.Int {
		power := new(big.Int).Exp(big.NewInt(65537), big.NewInt(exponent), product)
		return power.Add(power, new(big.Int).Mul(big.NewInt(k), product))
	}
	weak := new(big.Int).Mul(factor(123456789, 1<<61-1), factor(987654321, 1<<60+7))
	if !roca(weak) {
		t.Error("a modulus of the generator is not found")
	}
	if weak.BitLen() < minKeyBits || strong(&rsa.PublicKey{N: weak, E: 65537}) {
		t.Errorf("it is taken for a strong one, or has only %d bits", weak.BitLen())
	}
	if roca(new(big.Int).Add(weak, big.NewInt(2))) {
		t.Error("the next odd number is taken for the generator's")
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if roca(key.N) || !strong(&key.PublicKey) {
		t.Error("a good modulus is taken for the generator's")
	}
}
