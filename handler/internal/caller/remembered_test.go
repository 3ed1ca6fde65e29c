package caller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"latchkey/handler/internal/subject"
	"latchkey/handler/internal/token"
)

// errAgain is what a check says that should not have run.
var errAgain = errors.New("the token is checked again")

// seal makes every check of every issuer fail, so that only what is remembered gets in.
func (b *bench) seal() {
	for _, from := range b.issuers {
		from.checks = []check{plain("again", func(*candidate) error { return errAgain })}
	}
}

func TestAUT1_AVerifiedTokenIsRemembered(t *testing.T) {
	b := newBench(t)
	for _, k := range kinds(b) {
		t.Run(k.issuer, func(t *testing.T) {
			b.Verifier = must(NewVerifier(b.config))
			first, err := b.verify(k.good)
			if err != nil {
				t.Fatal(err)
			}
			b.seal()
			again, err := b.verify(k.good)
			if err != nil || !reflect.DeepEqual(first, again) {
				t.Errorf("%+v, %v, want %+v", again, err, first)
			}
			if _, err := b.verify(k.good + "A"); err == nil {
				t.Error("a longer token is taken for it")
			}
		})
	}
}

// What is in doubt is checked anew: each of these makes a remembered token one that nobody knows.
func TestAUT1_ARememberedTokenIsForgotten(t *testing.T) {
	k1, k2, k3 := &rsaKeys()["k1"].PublicKey, &rsaKeys()["k2"].PublicKey, &rsaKeys()["k3"].PublicKey
	entra, provider := signed(header(), v2()), providerSigned("rs", nil, keycloak())
	setBack := func(b *bench) { b.clock.advance(-leeway - 6*time.Second) }
	refetch := func(b *bench, document string) {
		b.issuer.serve(document)
		<-b.keys.fetchNow().done
	}
	for _, test := range []struct {
		name, raw string
		do        func(*bench)
		want      Cause
	}{
		{"it is over", entra, func(b *bench) { b.clock.advance(time.Hour + leeway) }, Expired},
		{"the clock was set back before iat", signed(header(), changed(v2(), members{"nbf": nil})), setBack, IatAhead},
		{"the clock was set back before nbf", signed(header(), changed(v2(), members{"iat": noon.Unix() - 1000})), setBack, NbfAhead},
		{"its key was withdrawn", entra, func(b *bench) { refetch(b, documentOf(jwkOf("k2", k2, nil))) }, KeyUnknown},
		{"its key was replaced", entra, func(b *bench) { refetch(b, documentOf(jwkOf("k1", k3, nil))) }, SignatureWrong},
		{"its key is for something else now", entra, func(b *bench) {
			refetch(b, documentOf(jwkOf("k1", k1, members{"use": "enc"}), jwkOf("k2", k2, nil)))
		}, KeyUnknown},
		{"the provider's key is for another algorithm now", provider, func(b *bench) {
			b.provider.serve(documentOf(publicJWK("rs", signers()["rs"].Public(), members{"alg": PS256})))
			<-b.providerKeys.fetchNow().done
		}, AlgWrong},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			if _, err := b.verify(test.raw); err != nil {
				t.Fatal(err)
			}
			test.do(b)
			if _, err := b.verify(test.raw); causeOf(err) != test.want {
				t.Errorf("%v, want %s", err, test.want)
			}
			if n := b.remembered.cache.Len(); n != 0 {
				t.Errorf("%d tokens are remembered", n)
			}
		})
	}
	// The same key under the same kid is the same, whatever else changes in the document.
	b := newBench(t)
	if _, err := b.verify(entra); err != nil {
		t.Fatal(err)
	}
	refetch(b, documentOf(jwkOf("k3", k3, nil), jwkOf("k1", k1, members{"use": nil, "x5t": "other"})))
	b.seal()
	if _, err := b.verify(entra); err != nil {
		t.Errorf("after a refresh: %v", err)
	}
	// Up to its last second it is good.
	b.clock.advance(time.Hour + leeway - time.Second)
	if _, err := b.verify(entra); err != nil {
		t.Errorf("within the leeway: %v", err)
	}
}

func TestAUT4_NothingIsRememberedBeyondTheKeysThemselves(t *testing.T) {
	b := newBench(t)
	long := signed(header(), changed(v2(), members{"iat": noon.Unix(), "exp": noon.Unix() + int64(maxLifetime/time.Second)}))
	if _, err := b.verify(long); err != nil {
		t.Fatal(err)
	}
	b.issuer.fail(503)
	b.clock.advance(keepFor - time.Second)
	if _, err := b.verify(long); err != nil {
		t.Errorf("after 23 h 59 min: %v", err)
	}
	b.clock.advance(time.Second)
	if _, err := b.verify(long); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after 24 h: %v", err)
	}
}

func TestAUT1_TheSessionOfARememberedTokenIsAskedForEachTime(t *testing.T) {
	b := newBench(t)
	raw := must(b.tokens.Mint(ownGrant()))
	asked, lives := 0, true
	b.session = func(subject.ID, string, string) (bool, error) { asked++; return lives, nil }
	for range 3 {
		if _, err := b.verify(raw); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
	lives = false
	if _, err := b.verify(raw); causeOf(err) != SessionEnded {
		t.Error(err)
	}
	lives = true
	b.tokens = must(token.NewIssuer(token.Config{
		Issuer: ownIssuer, Audience: ownIssuer, Keys: []*token.Key{tokenKey(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))},
		Now: b.clock.now, Random: rand.Reader,
	}))
	if _, err := b.verify(raw); causeOf(err) != OwnKeyUnknown {
		t.Errorf("with other signing keys: %v", err)
	}
}

func TestAUT1_JunkIsNeverRemembered(t *testing.T) {
	b := newBench(t)
	for _, k := range kinds(b) {
		for _, a := range k.attacks {
			if a.rule == "own_session" {
				continue // a good token, of a session that may live again
			}
			_, _ = b.verify(a.raw)
		}
	}
	if n := b.remembered.cache.Len(); n != 0 {
		t.Errorf("%d tokens are remembered", n)
	}
}

func TestAUT1_MemoryIsBounded(t *testing.T) {
	b := newBench(t)
	b.config.Remember = 3
	v := must(NewVerifier(b.config))
	var wait sync.WaitGroup
	for i := range 20 {
		raw := signed(header(), changed(v2(), members{"uti": fmt.Sprint(i)}))
		wait.Go(func() {
			for range 5 {
				if _, err := v.Verify(t.Context(), "Bearer "+raw); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if n := v.remembered.cache.Len(); n != 3 {
		t.Errorf("%d tokens are remembered", n)
	}
}

// What is kept of a token is small, whatever else was in its header and its claims.
func TestAUT1_MemoryHoldsNoTokens(t *testing.T) {
	const tokens, padding = 300, 5000
	b := newBench(t)
	ed := func(i int) string {
		much := strings.Repeat("x", padding)
		return providerSigned("ed", members{"more": much}, changed(keycloak(), members{"jti": fmt.Sprint(i), "more": much}))
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what a finalizer held goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	_, _ = b.verify(ed(0))
	before := heap()
	for i := range tokens {
		if _, err := b.verify(ed(1 + i)); err != nil {
			t.Fatal(err)
		}
	}
	each := (heap() - before) / tokens
	t.Logf("%d bytes a token", each)
	if n := b.remembered.cache.Len(); n != 1+tokens || each > padding/2 {
		t.Errorf("%d bytes for each of %d tokens", each, n)
	}
	runtime.KeepAlive(b)
}

func TestCopiedIsTheSameOfItsOwn(t *testing.T) {
	text := strings.Repeat("x", 1000) + "scope"
	c := Caller{Kind: User, Scopes: []string{text[1000:]}, Delegated: []string{}}
	c.Actor.ID = text[999:]
	got := c.copied()
	if !reflect.DeepEqual(got, c) {
		t.Errorf("%+v is not %+v", got, c)
	}
	got.Scopes[0] = "changed"
	if c.Scopes[0] != "scope" {
		t.Error("the list is shared")
	}
}

// large is a token of Entra's of 1.8 KB, as a managed identity with some roles has it.
func large() string {
	roles := []string{role}
	for i := range 19 {
		roles = append(roles, fmt.Sprintf("read:some_scope_of_%02d", i))
	}
	return signed(header(), changed(v2(), members{"roles": roles, "rh": "1.AQoA" + strings.Repeat("x", 60), "xms_mirid": "/subscriptions/" + oid + "/resourcegroups/x"}))
}

func TestAUT1_ARememberedTokenCosts3Allocations(t *testing.T) {
	b := newBench(t)
	authorization := "Bearer " + large()
	if n := len(authorization); n < 1800 || n > 1900 {
		t.Fatalf("%d bytes", n)
	}
	verify := func() {
		if _, err := b.Verify(context.Background(), authorization); err != nil {
			t.Fatal(err)
		}
	}
	verify()
	if n := testing.AllocsPerRun(100, verify); n > 3 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRemembered(b *testing.B) {
	bench := newBench(b)
	authorization := "Bearer " + large()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bench.Verify(context.Background(), authorization); err != nil {
			b.Fatal(err)
		}
	}
}

// Cold is beside the bare verification of the same token's signature, in turns: what all other checks cost is the difference.
func BenchmarkCold(b *testing.B) {
	bench := newBench(b)
	raw := large()
	authorization := "Bearer " + raw
	at := strings.LastIndexByte(raw, '.')
	signature := must(jwt.NewParser().DecodeSegment(raw[at+1:]))
	var cold, bare []time.Duration
	for b.Loop() {
		bench.remembered.cache.Purge()
		began := time.Now()
		_, err := bench.Verify(context.Background(), authorization)
		middle := time.Now()
		bareErr := jwt.SigningMethodRS256.Verify(raw[:at], signature, &rsaKeys()["k1"].PublicKey)
		cold, bare = append(cold, middle.Sub(began)), append(bare, time.Since(middle))
		if err != nil || bareErr != nil {
			b.Fatal(err, bareErr)
		}
	}
	slices.Sort(cold)
	slices.Sort(bare)
	b.ReportMetric(float64(cold[len(cold)/2].Nanoseconds()), "ns/cold")
	b.ReportMetric(float64(bare[len(bare)/2].Nanoseconds()), "ns/signature")
	b.ReportMetric(float64(cold[len(cold)/2])/float64(bare[len(bare)/2]), "times-the-signature")
}

func BenchmarkColdOwn(b *testing.B) {
	bench := newBench(b)
	own := "Bearer " + must(bench.tokens.Mint(ownGrant()))
	for b.Loop() {
		bench.remembered.cache.Purge()
		if _, err := bench.Verify(context.Background(), own); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefuseBadSignature(b *testing.B) {
	bench := newBench(b)
	good := signed(header(), v2())
	authorization := "Bearer " + good[:len(good)-342] + strings.Repeat("A", 342)
	for b.Loop() {
		if _, err := bench.Verify(context.Background(), authorization); err == nil {
			b.Fatal("let in")
		}
	}
}
