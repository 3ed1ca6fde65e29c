package keyed_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/subject"
)

var (
	patient = subject.ID{Kind: subject.Patient, Name: "patient-1"}
	// cheap is for what says nothing about the cost.
	cheap = keyed.Cost{Memory: 8, Passes: 1, Lanes: 1}
)

// pepper is a known one: n, n+1, n+2, ...
func pepper(n byte) []byte {
	raw := make([]byte, keyed.MinPepper)
	for i := range raw {
		raw[i] = n + byte(i)
	}
	return raw
}

func encoded(raw []byte) secret.Text { return secret.New(base64.StdEncoding.EncodeToString(raw)) }

func newRing(t testing.TB, cost keyed.Cost, peppers ...[]byte) *keyed.Ring {
	t.Helper()
	var all []secret.Text
	for _, p := range peppers {
		all = append(all, encoded(p))
	}
	ring, err := keyed.NewRingWithCost(cost, all...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// Computed apart from this code, by Python's hmac and HKDF as RFC 5869 writes it down, from the pepper 00 01 02 ... 1f. What is
// stored is found under these strings: none may ever change.
func TestACT15_StoredHashesStayAsTheyAre(t *testing.T) {
	ring, err := keyed.NewRing(encoded(pepper(0)))
	if err != nil {
		t.Fatal(err)
	}
	mark, err := ring.Mark(ring.Version(), "key", "of")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := ring.Derived(ring.Version(), "id", "key")
	if err != nil {
		t.Fatal(err)
	}
	derived := make([]byte, 16)
	if _, err := io.ReadFull(stream, derived); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ got, want string }{
		"version":    {ring.Version(), "j2u0hqph"},
		"code":       {ring.Code(subject.Patient, "7KQ49F2MHX")[0].String(), "j2u0hqph~nrsj5fd1cgr3uv58epmktjmontbj4pjbqv6njajktbj8bp7mjvj0"},
		"credential": {ring.Credential(patient, "CODE")[0].String(), "j2u0hqph~re2f6seovjqg5bfcio6qebdlng0skbql31i4hlmg47nvkvf1am20"},
		"reference":  {ring.Reference(patient), "dfnfej2rir1bepia"},
		"mark":       {mark, "jov8q8uemu4o6pinekgtmgo510"},
		"derived":    {hex.EncodeToString(derived), "2f04b3d7c165494f3926c025e0262112"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", what, c.got, c.want)
		}
	}
}

const (
	salt     = "0123456789abcdef"
	storedAs = "$argon2id$v=19$m=19456,t=2,p=1,keyid=j2u0hqph$MDEyMzQ1Njc4OWFiY2RlZg$"
	knownKey = "kPuYkKGCWXZ0V1OB+hnGc/RsqHhv+cBpZSuLDaCKxsw"
)

func TestACT15_AnOTPIsStoredAsAPHCString(t *testing.T) {
	ring, err := keyed.NewRing(encoded(pepper(0)))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := ring.OTP(strings.NewReader(salt), len(salt), "activation", "3FJ7WP")
	if err != nil {
		t.Fatal(err)
	}
	if want := storedAs + knownKey; stored != want {
		t.Errorf("got %s, want %s", stored, want)
	}
	if right, err := ring.MatchOTP(stored, "activation", "3FJ7WP"); !right || err != nil {
		t.Errorf("the right one: %v, %v", right, err)
	}
}

func TestACT15_AStoredOTPNamesItsCost(t *testing.T) {
	dear, slow := newRing(t, keyed.Cost{Memory: 64, Passes: 3, Lanes: 2}, pepper(0)), newRing(t, cheap, pepper(0))
	for name, stored := range map[string]string{"dear": otp(t, dear, "A"), "cheap": otp(t, slow, "A")} {
		for _, ring := range []*keyed.Ring{dear, slow} {
			wantMatch(t, ring, stored, "A", true)
			wantMatch(t, ring, stored, "B", false)
		}
		if costly := strings.Contains(stored, "$m=64,t=3,p=2,"); costly != (name == "dear") {
			t.Errorf("%s: %s", name, stored)
		}
	}
}

func otp(t testing.TB, ring *keyed.Ring, of string) string {
	t.Helper()
	stored, err := ring.OTP(strings.NewReader(salt), len(salt), "activation", of)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func wantMatch(t testing.TB, ring *keyed.Ring, stored, otp string, want bool) {
	t.Helper()
	if right, err := ring.MatchOTP(stored, "activation", otp); right != want || err != nil {
		t.Errorf("%q against %s: %v, %v; want %v", otp, stored, right, err, want)
	}
}

func TestACT15_AnOTPCountsForItsActivationAndPepper(t *testing.T) {
	ring, other := newRing(t, cheap, pepper(0)), newRing(t, cheap, pepper(1))
	stored := otp(t, ring, "3FJ7WP")
	for _, wrong := range []string{"", "3FJ7W", "3FJ7WPX", "3fj7wp", "3FJ7WQ"} {
		wantMatch(t, ring, stored, wrong, false)
	}
	if right, err := ring.MatchOTP(stored, "another", "3FJ7WP"); right || err != nil {
		t.Errorf("for another activation: %v, %v", right, err)
	}
	// The thief of a row who puts in his own pepper's version gets no further: the hash is keyed.
	forged := strings.Replace(stored, "j2u0hqph", other.Version(), 1)
	wantMatch(t, other, forged, "3FJ7WP", false)
	salted, err := ring.OTP(strings.NewReader("another salt 16B"), len(salt), "activation", "3FJ7WP")
	if err != nil || salted == stored || !strings.HasPrefix(salted, stored[:len("$argon2id$v=19$m=8,t=1,p=1,keyid=j2u0hqph$")]) {
		t.Errorf("with another salt: %s, %v", salted, err)
	}
}

// A string that is none of ours is not "no": the caller must not count an attempt nor turn the holder of the right OTP away.
func TestACT15_ABrokenHashIsNoAnswer(t *testing.T) {
	ring := newRing(t, cheap, pepper(0))
	stored := otp(t, ring, "A")
	replace := func(old, with string) string {
		t.Helper()
		changed := strings.Replace(stored, old, with, 1)
		if changed == stored {
			t.Fatalf("%s has no %s", stored, old)
		}
		return changed
	}
	key := stored[strings.LastIndexByte(stored, '$')+1:]
	broken := map[string]string{
		"another method":       replace("argon2id", "argon2i"),
		"no method":            replace("argon2id", ""),
		"something in front":   "x" + stored,
		"something behind":     stored + "$",
		"a line behind":        stored + "\n",
		"another version":      replace("v=19", "v=16"),
		"no version":           replace("v=19$", ""),
		"a version with more":  replace("v=19", "v=19 "),
		"an unknown pepper":    replace("j2u0hqph", "00000000"),
		"no pepper":            replace(",keyid=j2u0hqph", ""),
		"an empty pepper":      replace("j2u0hqph", ""),
		"no passes":            replace("t=1", "t=0"),
		"endless passes":       replace("t=1", "t=4294967295"),
		"passes out of range":  replace("t=1", "t=4294967296"),
		"negative passes":      replace("t=1", "t=-1"),
		"no lanes":             replace("p=1", "p=0"),
		"too many lanes":       replace("p=1", "p=255"),
		"lanes out of range":   replace("p=1", "p=256"),
		"all the memory":       replace("m=8", "m=4294967295"),
		"a gibibyte":           replace("m=8", "m=1048576"),
		"a sign":               replace("m=8", "m=+8"),
		"a leading zero":       replace("m=8", "m=08"),
		"more parameters":      replace("p=1", "p=1,x=1"),
		"fewer parameters":     replace("m=8,", ""),
		"a salt of other text": replace("MDEy", "M*Ey"),
		"a padded salt":        replace("RlZg$", "RlZg==$"),
		"a salt with a break":  replace("MDEy", "MD\nEy"),
		"a short key":          replace(key, key[:8]),
		"no key":               replace(key, ""),
		"a long key":           replace(key, strings.Repeat("A", 4096)),
		"loose bits":           stored[:len(stored)-1] + looser(stored[len(stored)-1:]),
		"nothing":              "",
		"only marks":           "$$$$$",
	}
	for n := range len(stored) {
		broken[fmt.Sprintf("the first %d bytes", n)] = stored[:n]
	}
	for why, hash := range broken {
		for _, tried := range []string{"A", "B"} {
			if right, err := ring.MatchOTP(hash, "activation", tried); right || !errors.Is(err, keyed.ErrHash) {
				t.Errorf("%s: %v, %v; want ErrHash", why, right, err)
			}
		}
	}
}

// looser gives the base64 character with a bit set that stands for nothing at the end of 32 bytes.
func looser(last string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return string(alphabet[strings.Index(alphabet, last)|1])
}

func TestACT15_OldPeppersVerifyAndTheFirstMakesNewHashes(t *testing.T) {
	old, current := newRing(t, cheap, pepper(0)), newRing(t, cheap, pepper(1))
	both, swapped := newRing(t, cheap, pepper(1), pepper(0)), newRing(t, cheap, pepper(0), pepper(1))
	if both.Version() != current.Version() || both.Version() == old.Version() || swapped.Version() != old.Version() {
		t.Errorf("versions %s, %s, %s, %s", old.Version(), current.Version(), both.Version(), swapped.Version())
	}
	code, credential := both.Code(subject.Patient, "7KQ49F2MHX"), both.Credential(patient, "CODE")
	for what, c := range map[string]struct{ got, want keyed.Hash }{
		"code, first":       {code[0], current.Code(subject.Patient, "7KQ49F2MHX")[0]},
		"code, second":      {code[1], old.Code(subject.Patient, "7KQ49F2MHX")[0]},
		"credential, first": {credential[0], current.Credential(patient, "CODE")[0]},
		"second":            {credential[1], old.Credential(patient, "CODE")[0]},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", what, c.got, c.want)
		}
	}
	if len(code) != 2 || len(credential) != 2 || both.Reference(patient) != current.Reference(patient) {
		t.Errorf("%d codes, %d credentials", len(code), len(credential))
	}
	stored := otp(t, old, "A")
	wantMatch(t, both, stored, "A", true)
	wantMatch(t, both, stored, "B", false)
	if _, err := current.MatchOTP(stored, "activation", "A"); !errors.Is(err, keyed.ErrHash) {
		t.Errorf("without the old pepper: %v, want ErrHash", err)
	}
	if made := otp(t, both, "A"); !strings.Contains(made, ",keyid="+current.Version()+"$") {
		t.Errorf("a new hash is %s", made)
	}
	for version, ring := range map[string]*keyed.Ring{old.Version(): old, current.Version(): current} {
		ours, err := ring.Mark(version, "key")
		if theirs, bothErr := both.Mark(version, "key"); ours != theirs || err != nil || bothErr != nil {
			t.Errorf("a mark under %s: %s and %s, %v, %v", version, ours, theirs, err, bothErr)
		}
	}
	if _, err := current.Mark(old.Version(), "key"); !errors.Is(err, keyed.ErrHash) {
		t.Errorf("a mark without its pepper: %v", err)
	}
	if _, err := current.Derived(old.Version(), "key"); !errors.Is(err, keyed.ErrHash) {
		t.Errorf("a stream without its pepper: %v", err)
	}
}

// The same words under each purpose, kind, subject and split give strings that have nothing in common.
func TestACT15_PurposesAndPartsAreApart(t *testing.T) {
	ring := newRing(t, cheap, pepper(0))
	one := func(h []keyed.Hash) string { return h[0].Sum }
	mark := func(parts ...string) string {
		t.Helper()
		m, err := ring.Mark(ring.Version(), parts...)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	stream := func(parts ...string) string {
		t.Helper()
		r, err := ring.Derived(ring.Version(), parts...)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 32)
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(b)
	}
	seen := map[string]string{}
	for what, sum := range map[string]string{
		"code":                        one(ring.Code(subject.Patient, "x")),
		"code of a device":            one(ring.Code(subject.Device, "x")),
		"code, empty":                 one(ring.Code(subject.Patient, "")),
		"code, split elsewhere":       one(ring.Code("patien", "tx")),
		"credential":                  one(ring.Credential(subject.ID{Kind: subject.Patient, Name: "a"}, "x")),
		"credential of a device":      one(ring.Credential(subject.ID{Kind: subject.Device, Name: "a"}, "x")),
		"credential of another":       one(ring.Credential(subject.ID{Kind: subject.Patient, Name: "b"}, "x")),
		"credential, split elsewhere": one(ring.Credential(subject.ID{Kind: subject.Patient, Name: "ax"}, "")),
		"credential like a code":      one(ring.Credential(subject.ID{Kind: subject.Patient, Name: ""}, "x")),
		"reference":                   ring.Reference(subject.ID{Kind: subject.Patient, Name: "x"}),
		"mark":                        mark("patient", "x"),
		"mark, split elsewhere":       mark("patientx"),
		"mark, with more":             mark("patient", "x", ""),
		"stream":                      stream("patient", "x"),
		"stream, split elsewhere":     stream("patientx"),
		"stream of a mark's parts":    stream("mark", "patient", "x"),
	} {
		for other, is := range seen {
			n := min(len(sum), len(is), 8)
			if sum[:n] == is[:n] {
				t.Errorf("%s and %s begin with the same %s", what, other, sum[:n])
			}
		}
		seen[what] = sum
	}
}

func TestACT15_AStreamEnds(t *testing.T) {
	ring := newRing(t, cheap, pepper(0))
	r, err := ring.Derived(ring.Version(), "id")
	if err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(r); len(all) != 1024 || err != nil {
		t.Errorf("%d bytes, %v", len(all), err)
	}
}

func TestACT15_AWeakPepperIsRefused(t *testing.T) {
	good := encoded(pepper(0))
	for name, bad := range map[string]secret.Text{
		"nothing":   {},
		"empty":     secret.New(""),
		"31 bytes":  encoded(pepper(0)[:31]),
		"no base64": secret.New(strings.Repeat("*", 44)),
		"URL form":  secret.New(strings.Repeat("_-", 22)),
		"hex":       secret.New(hex.EncodeToString(pepper(0)) + "0"),
	} {
		for _, peppers := range [][]secret.Text{{bad}, {good, bad}, {bad, good}} {
			ring, err := keyed.NewRing(peppers...)
			if ring != nil || err == nil {
				t.Errorf("%s was taken", name)
			} else if text := bad.Reveal(); text != "" && strings.Contains(err.Error(), text) {
				t.Errorf("%s: the error quotes it: %v", name, err)
			}
		}
	}
	if ring, err := keyed.NewRing(); ring != nil || err == nil {
		t.Error("a ring without a pepper was made")
	}
	if _, err := keyed.NewRing(secret.New("  " + good.Reveal() + "\n")); err != nil {
		t.Errorf("white space around it matters: %v", err)
	}
}

func TestACT15_NoSaltNoHash(t *testing.T) {
	ring := newRing(t, cheap, pepper(0))
	for _, r := range []io.Reader{strings.NewReader(""), strings.NewReader("short")} {
		if got, err := ring.OTP(r, 16, "activation", "A"); got != "" || err == nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func TestCFG5_ARingPrintsNothingOfItsPepper(t *testing.T) {
	raw := pepper(0)
	ring := newRing(t, cheap, raw)
	type exported struct {
		Ring  *keyed.Ring
		Value keyed.Ring
	}
	type hidden struct{ ring *keyed.Ring }
	var out bytes.Buffer
	for _, verb := range strings.Split("vsdqxXc", "") {
		for _, flag := range []string{"", "+", "#"} {
			for _, v := range []any{ring, *ring, exported{ring, *ring}, &exported{ring, *ring}, hidden{ring}, &hidden{ring}, []*keyed.Ring{ring}, fmt.Errorf("%v", ring)} {
				fmt.Fprintf(&out, "%"+flag+verb+"\n", v)
			}
		}
	}
	if b, err := json.Marshal(exported{ring, *ring}); err != nil {
		t.Error(err)
	} else {
		out.Write(b)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("a", "ring", ring, "in", exported{ring, *ring})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("a", "ring", ring, "in", exported{ring, *ring})
	printed := strings.ToLower(out.String())
	for _, purpose := range []string{"", "latchkey/code", "latchkey/credential", "latchkey/otp", "latchkey/reference", "latchkey/replay"} {
		key := raw
		if purpose != "" {
			var err error
			if key, err = hkdf.Key(sha256.New, raw, nil, purpose, sha256.Size); err != nil {
				t.Fatal(err)
			}
		}
		for _, form := range []string{"%d", "%x", "% x", "%#v", "%s"} {
			begin := strings.ToLower(strings.Trim(fmt.Sprintf(form, key[:8]), "[]{}"))
			begin = strings.TrimPrefix(begin, "byte{")
			if strings.Contains(printed, begin) {
				t.Errorf("the key of %q was printed as %q", purpose, begin)
			}
		}
		if strings.Contains(printed, strings.ToLower(base64.StdEncoding.EncodeToString(key[:9]))) {
			t.Errorf("the key of %q was printed in base64", purpose)
		}
	}
	if !strings.Contains(printed, "[redacted]") {
		t.Error("nothing was printed at all")
	}
}

func BenchmarkMatchOTP(b *testing.B) {
	ring, err := keyed.NewRing(encoded(pepper(0)))
	if err != nil {
		b.Fatal(err)
	}
	stored := otp(b, ring, "A")
	for b.Loop() {
		if _, err := ring.MatchOTP(stored, "activation", "B"); err != nil {
			b.Fatal(err)
		}
	}
}
