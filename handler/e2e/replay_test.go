package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/infra/local/stack"
)

// sameReply wants every byte that was sent before, but for the Date.
func sameReply(t *testing.T, from string, got, want reply) {
	t.Helper()
	got.header, want.header = got.header.Clone(), want.header.Clone()
	got.header.Del("Date")
	want.header.Del("Date")
	if got.status != want.status || !bytes.Equal(got.body, want.body) {
		t.Errorf("%s answers %d %s, want %d %s", from, got.status, got.body, want.status, want.body)
	}
	if !maps.EqualFunc(got.header, want.header, slices.Equal) {
		t.Errorf("%s: header %v, want %v", from, got.header, want.header)
	}
}

// crashing is one more handler without a host, which a test may kill.
func (w *world) crashing(t *testing.T) *host {
	t.Helper()
	h := w.extra(t, direct, stack.HostOptions{Direct: true})
	if err := h.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// crash kills a handler and starts it again.
func (h *host) crash(t *testing.T) {
	t.Helper()
	if err := h.proc.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := h.proc.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestACT6_AWinnerIsToldTheSameByAnyInstanceAndAfterACrash(t *testing.T) {
	w := owned(t)
	h := w.crashing(t)
	patient := w.patient()
	c := h.create(t, w.clinic(t), patient)
	key := randomHex(16)
	redeem := redeeming(c.parts()).under(key)
	first := h.send(t, redeem)
	var r redeemed
	first.into(t, http.StatusOK, &r)
	h.crash(t)
	sameReply(t, "after a crash it", h.send(t, redeem), first)
	for _, other := range w.hosts {
		got := other.send(t, redeem)
		if got.status != first.status || !bytes.Equal(got.body, first.body) { // a host has headers of its own
			t.Errorf("%s answers %d %s, want %s", other.name, got.status, got.body, first.body)
		}
	}
	// Whichever form it is asked in.
	byCode := request{method: http.MethodPost, path: redeemPath, body: `{"code":"` + c.Code + `"}`}.under(key)
	sameReply(t, "by the whole code it", h.send(t, byCode), first)
	h.buy(t, patient, r.AuthorisationCode)

	if text := w.partition(t, patient)["head"].text("redeems"); strings.Count(text, `"rid"`) != 1 {
		t.Errorf("the head remembers %s", text)
	}
}

// Nobody but the holder of the key, the code and the OTP is told anything: refusals are those of any dead code, in bytes and time.
func TestACT6_ARepeatByAnyoneElseIsTheOrdinaryRefusal(t *testing.T) {
	w := owned(t)
	h := w.crashing(t)
	token, patient := w.clinic(t), w.patient()
	used := h.create(t, token, patient)
	h.redeem(t, used.parts())

	won := h.create(t, token, w.patient())
	key := randomHex(16)
	var r redeemed
	h.send(t, redeeming(won.parts()).under(key)).into(t, http.StatusOK, &r)

	before := len(w.partition(t, patient))
	requests := map[string]request{
		"a used code":                 redeeming(used.parts()),
		"a used code, under a key":    redeeming(used.parts()).under(randomHex(16)),
		"without the key":             redeeming(won.parts()),
		"another key":                 redeeming(won.parts()).under(randomHex(16)),
		"a wrong OTP, another key":    redeeming(won.wrong()).under(randomHex(16)),
		"a wrong OTP under the key":   redeeming(won.wrong()).under(key),
		"another's code with the key": redeeming(used.parts()).under(key),
	}
	const tries = 3 // a busy machine may miss a beat
	for try := 1; ; try++ {
		late := h.compareRequests(t, requests, 3)
		if len(late) == 0 {
			break
		}
		if try == tries {
			t.Fatalf("the time tells some refusals from others: %v", late)
		}
	}
	if after := len(w.partition(t, patient)); after != before {
		t.Errorf("tries at a used code under keys left %d rows", after-before)
	}
	// A wrong OTP under the key was counted beside the activation, three to nine times: it is still told.
	sameBody := h.send(t, redeeming(won.parts()).under(key))
	var again redeemed
	sameBody.into(t, http.StatusOK, &again)
	if again != r {
		t.Errorf("after wrong OTPs it is told %+v", again)
	}
}

func TestACT1_ACreationIsToldTheSameWhileItIsPending(t *testing.T) {
	w := owned(t)
	h := w.crashing(t)
	token, patient := w.clinic(t), w.patient()
	key := randomHex(16)
	create := creating(token, patient).under(key)
	first := h.send(t, create)
	var c created
	first.into(t, http.StatusOK, &c)
	h.crash(t)
	sameReply(t, "after a crash it", h.send(t, create), first)
	for _, other := range w.hosts {
		if got := other.send(t, create); got.status != http.StatusOK || !bytes.Equal(got.body, first.body) {
			t.Errorf("%s answers %d %s", other.name, got.status, got.body)
		}
	}
	wantKept(t, w.kept(t, patient), map[string]int{"head": 1, "pending": 1, "activation.create allowed": 1})
	// The key of one caller says nothing to another, and nothing about another patient.
	other := w.token(t, stack.TokenRequest{Roles: []string{writeActivation}, Client: "11111111-2222-4333-8444-555555555555"})
	if got := h.send(t, creating(token, w.patient()).under(key)); got.status != http.StatusOK || bytes.Contains(got.body, []byte(c.ActivationCode)) {
		t.Errorf("another patient under the same key: %d %s", got.status, got.body)
	}
	h.redeem(t, c.parts())
	before := w.partition(t, patient)
	for range 2 {
		h.send(t, create).problem(t, http.StatusConflict, "superseded")
	}
	if after := w.partition(t, patient); !maps.EqualFunc(before, after, func(a, b row) bool { return a.text("Timestamp") == b.text("Timestamp") }) {
		t.Error("a superseded creation changed rows")
	}
	var mine, theirs created
	h.send(t, creating(token, patient).under(key+"2")).into(t, http.StatusOK, &mine)
	h.send(t, creating(other, patient).under(key+"2")).into(t, http.StatusOK, &theirs)
	if mine.UUID == theirs.UUID {
		t.Error("another caller was told the activation of the first")
	}
	h.send(t, creating(token, patient).under(key+"2")).problem(t, http.StatusConflict, "superseded") // replaced
	h.redeem(t, theirs.parts())
}

func TestACT6_AKeyHas22CharactersOrMore(t *testing.T) {
	w := given(t)
	h := w.hosts[len(w.hosts)-1]
	token, patient := w.clinic(t), w.patient()
	long := strings.Repeat("k", 128)
	c := h.create(t, token, patient)
	bad := map[string]string{"too short": long[:21], "too long": long + "k", "with a space": long[:21] + " " + "k"}
	if h.name == direct { // a host does not pass it on
		bad["beyond ASCII"] = long[:21] + "\u00e9"
	}
	for name, key := range bad {
		for what, r := range map[string]request{"create": creating(token, patient), "redeem": redeeming(c.parts())} {
			if got := h.send(t, r.under(key)); got.status != http.StatusBadRequest {
				t.Errorf("%s under a key that is %s: %d %s", what, name, got.status, got.body)
			} else if bytes.Contains(got.body, []byte(key)) {
				t.Errorf("%s under a key that is %s: it is quoted", what, name)
			}
		}
	}
	for _, key := range []string{long[:22], long, `!"#$%&'()*+,-./0123456789:;<=>?@[\]^_{|}~`} {
		h.send(t, creating(token, patient).under(key)).into(t, http.StatusOK, &c)
		var r redeemed
		h.send(t, redeeming(c.parts()).under(key)).into(t, http.StatusOK, &r)
	}
}

// What is stored of an operation that can be asked for again gives nothing away: no key, no code and no stream from which one is
// drawn, and nothing beside what the documents list.
func TestACT15_RowsDoNotTellWhatCanBeToldAgain(t *testing.T) {
	w := owned(t)
	h := w.any()
	patient := w.patient()
	keys := []string{randomHex(16), randomHex(16)}
	var c created
	h.send(t, creating(w.clinic(t), patient).under(keys[0])).into(t, http.StatusOK, &c)
	for pass, pending := range []bool{true, false} {
		var r redeemed
		secrets := []string{c.ActivationCode, c.OTP, c.Code, word(c.Code), keys[0]}
		if !pending {
			h.send(t, redeeming(c.parts()).under(keys[1])).into(t, http.StatusOK, &r)
			h.send(t, redeeming(c.parts()).under(keys[1])).into(t, http.StatusOK, &r)
			secrets = append(secrets, r.AuthorisationCode, keys[1])
		}
		seen := 0
		for _, table := range tables(t) {
			for _, row := range w.rows(t, table) {
				text, err := json.Marshal(row)
				if err != nil {
					t.Fatal(err)
				}
				seen++
				for i, secret := range secrets {
					for form, written := range writings(secret) {
						if strings.Contains(strings.ToLower(string(text)), strings.ToLower(written)) {
							t.Errorf("pass %d: secret %d stands %s in a row of %s: %s", pass, i, form, table, text)
						}
					}
				}
			}
		}
		if seen < 5 {
			t.Errorf("only %d rows were looked at", seen)
		}
	}
	for column, want := range map[string][]string{
		"issues": {"act", "at", "idem", "length", "rid", "v"}, "redeems": {"act", "at", "idem", "length", "rid", "v"},
	} {
		var stored []map[string]any
		if err := json.Unmarshal([]byte(w.partition(t, patient)["head"].text(column)), &stored); err != nil || len(stored) != 1 {
			t.Fatalf("%s: %v, %d of them", column, err, len(stored))
		}
		if got := slices.Sorted(maps.Keys(stored[0])); !slices.Equal(got, want) {
			t.Errorf("%s holds %v, want %v", column, got, want)
		}
	}
}

// writings are the forms in which a secret could be stored.
func writings(secret string) map[string]string {
	whole := []byte(secret[:len(secret)-len(secret)%3])
	forms := map[string]string{
		"in hexadecimal digits": hex.EncodeToString([]byte(secret)),
		"in base64":             base64.RawStdEncoding.EncodeToString(whole),
		"in base64url":          base64.RawURLEncoding.EncodeToString(whole),
	}
	if len(secret) > 8 { // six characters turn up in a hash by chance
		forms["in clear"] = secret
	}
	return forms
}

// compareRequests sends all at once, so many rounds, and wants one refusal in bytes. It returns those whose median time differs.
func (h *host) compareRequests(t *testing.T, requests map[string]request, rounds int) (late []string) {
	t.Helper()
	names := slices.Sorted(maps.Keys(requests))
	took := map[string][]time.Duration{}
	var first reply
	for range rounds {
		for i, got := range together(t, len(names), func(ctx context.Context, i int) (reply, error) { return h.try(ctx, requests[names[i]]) }) {
			p := got.problem(t, http.StatusNotFound, "activation_refused")
			got.body = bytes.Replace(got.body, []byte(p.Instance), nil, 1)
			if first.body == nil {
				first = got
			}
			sameReply(t, names[i], got, first)
			took[names[i]] = append(took[names[i]], got.took)
		}
	}
	for _, name := range names {
		slices.Sort(took[name])
		if median := took[name][rounds/2]; median < beat || median > beat+60*time.Millisecond {
			late = append(late, fmt.Sprintf("%s: %v", name, median))
		}
	}
	return late
}
