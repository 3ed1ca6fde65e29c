package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// cheapRounds is how often 64 clients race for one code in make test.
const cheapRounds = 20

// together runs n tries at once and returns all replies.
func together(t *testing.T, n int, try func(ctx context.Context, i int) (reply, error)) []reply {
	t.Helper()
	replies, errs := make([]reply, n), make([]error, n)
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			replies[i], errs[i] = try(t.Context(), i)
		})
	}
	done.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return replies
}

// refusedAtOnce sends a body n times at once, and wants n refusals.
func (h *host) refusedAtOnce(t *testing.T, body string, n int) {
	t.Helper()
	for _, got := range together(t, n, func(ctx context.Context, _ int) (reply, error) { return h.try(ctx, redeeming(body)) }) {
		got.problem(t, http.StatusNotFound, "activation_refused")
	}
}

func TestACT6_OneOf64ClientsWins(t *testing.T) {
	w := given(t)
	// Two handler processes over one storage: one behind a proxying host, one behind a forwarding one.
	hosts := w.hosts[:min(2, len(w.hosts))]
	token := w.clinic(t)
	for round := range cheapRounds {
		patient := w.patient()
		c := hosts[0].create(t, token, patient)
		replies := together(t, 64, func(ctx context.Context, i int) (reply, error) {
			return hosts[i%len(hosts)].try(ctx, redeeming(c.parts()))
		})
		var won []redeemed
		for _, got := range replies {
			if got.status == http.StatusOK {
				var r redeemed
				got.into(t, http.StatusOK, &r)
				won = append(won, r)
			} else {
				got.problem(t, http.StatusNotFound, "activation_refused")
			}
		}
		if len(won) != 1 || won[0].PatientID != patient {
			t.Fatalf("round %d: winners %+v, want one", round, won)
		}
		for _, h := range hosts {
			h.buy(t, patient, won[0].AuthorisationCode)
		}
	}
}

func TestACT7_TenWrongOTPsEndAnActivation(t *testing.T) {
	w := given(t)
	token := w.clinic(t)
	counted := func(t *testing.T, patient string, c created, want int) {
		t.Helper()
		if w.stack == nil {
			return // what the right one does afterwards has to be enough
		}
		if got := w.attempts(t, patient, c); got != want {
			t.Errorf("%d attempts are counted, want %d", got, want)
		}
	}
	one := func(t *testing.T, c created, n int) {
		t.Helper()
		for i := range n {
			w.hosts[i%len(w.hosts)].refused(t, c.wrong())
		}
	}
	atOnce := func(t *testing.T, c created, n int) {
		t.Helper()
		for _, got := range together(t, n, func(ctx context.Context, i int) (reply, error) {
			return w.hosts[i%len(w.hosts)].try(ctx, redeeming(c.wrong()))
		}) {
			got.problem(t, http.StatusNotFound, "activation_refused")
		}
	}
	for name, wrong := range map[string]func(*testing.T, created, int){"one at a time": one, "at once": atOnce} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := w.any()
			t.Run("nine leave one", func(t *testing.T) {
				t.Parallel()
				patient := w.patient()
				c := h.create(t, token, patient)
				wrong(t, c, 9)
				counted(t, patient, c, 9)
				h.redeem(t, c.parts())
			})
			t.Run("of twelve ten count", func(t *testing.T) {
				t.Parallel()
				patient := w.patient()
				c := h.create(t, token, patient)
				wrong(t, c, 12)
				counted(t, patient, c, 10)
				for _, h := range w.hosts {
					h.refused(t, c.parts())
				}
				again := h.create(t, token, patient)
				h.refused(t, c.parts())
				mixed := again
				mixed.OTP = c.OTP
				h.refused(t, mixed.parts())
				counted(t, patient, again, 1)
				h.redeem(t, again.parts())
			})
		})
	}
}

// beat is what refusals wait for (model.md section 3).
const beat = 300 * time.Millisecond

func TestACT8_RefusalsLookTheSame(t *testing.T) {
	w := given(t)
	w.through(t, func(t *testing.T, h *host) {
		token := w.clinic(t)
		dead := h.dead(t, token)
		// A machine that has too much to do can make a refusal miss its beat; nothing can make one leave early.
		const rounds, tries = 5, 3
		for try := 1; ; try++ {
			dead["wrong"] = h.create(t, token, w.patient()).wrong()
			late := h.compare(t, dead, rounds)
			if len(late) == 0 {
				break
			}
			t.Logf("try %d: %v", try, late)
			if try == tries {
				t.Fatalf("the time tells some refusals from others: %v", late)
			}
		}
	})
}

// dead are bodies that redeem nothing, by why. They stay so, and no try of one is counted.
func (h *host) dead(t *testing.T, token string) map[string]string {
	t.Helper()
	w := h.world
	fresh := func() (string, created) {
		patient := w.patient()
		return patient, h.create(t, token, patient)
	}
	dead := map[string]string{}
	_, unknown := fresh()
	unknown.ActivationCode = strings.Map(func(r rune) rune { // a locator of its own, with the right form
		if r == 'X' {
			return '2'
		}
		return 'X'
	}, unknown.ActivationCode)
	dead["unknown"] = unknown.parts()

	_, used := fresh()
	h.redeem(t, used.parts())
	dead["used"] = used.parts()

	patient, revoked := fresh()
	if got := h.send(t, request{method: http.MethodDelete, path: activationPath(patient) + "/" + revoked.UUID, token: token}); got.status != http.StatusNoContent {
		t.Fatal(got.status)
	}
	dead["revoked"] = revoked.parts()

	patient, replaced := fresh()
	h.create(t, token, patient)
	dead["replaced"] = replaced.parts()

	_, locked := fresh()
	h.refusedAtOnce(t, locked.wrong(), 10)
	dead["locked"] = locked.parts()

	if w.stack != nil {
		patient, expired := fresh()
		w.expire(t, patient, expired)
		dead["expired"] = expired.parts()
	}
	return dead
}

// compare sends all bodies at once, so many rounds, and wants one answer. It returns the medians that differ.
func (h *host) compare(t *testing.T, bodies map[string]string, rounds int) (late []string) {
	t.Helper()
	var names []string
	for name := range bodies {
		names = append(names, name)
	}
	slices.Sort(names)
	took := map[string][]time.Duration{}
	var first reply
	for range rounds {
		replies := together(t, len(names), func(ctx context.Context, i int) (reply, error) {
			return h.try(ctx, redeeming(bodies[names[i]]))
		})
		for i, got := range replies {
			name := names[i]
			p := got.problem(t, http.StatusNotFound, "activation_refused")
			got.body = bytes.Replace(got.body, []byte(p.Instance), []byte("urn:latchkey:"), 1)
			got.header.Del("Date")
			if first.body == nil {
				first = got
			}
			if !bytes.Equal(got.body, first.body) {
				t.Errorf("%s: body %s, want %s", name, got.body, first.body)
			}
			if !reflect.DeepEqual(got.header, first.header) {
				t.Errorf("%s: header %v, want %v", name, got.header, first.header)
			}
			// The handler's clock starts after ours.
			if got.took < beat {
				t.Errorf("%s: left after %v, before the beat", name, got.took)
			}
			took[name] = append(took[name], got.took)
		}
	}
	for _, name := range names {
		slices.Sort(took[name])
		if median := took[name][rounds/2]; median > beat+60*time.Millisecond {
			late = append(late, fmt.Sprintf("%s: %v", name, median))
		}
	}
	return late
}

// Every substitution and every swap is in the tests of the codes themselves; here are some of each, over HTTP.
func TestACT11_AMistypedCodeIsNoticedBeforeAnythingIsRead(t *testing.T) {
	w := given(t)
	h, patient := w.any(), w.patient()
	c := h.create(t, w.clinic(t), patient)
	good := word(c.Code)
	const alphabet = "23456789CDFHJKMNPQRTVWX"
	var mistyped []string
	for i := range len(good) { // two other characters at each place
		at := strings.IndexByte(alphabet, good[i])
		for _, step := range []int{1, 11} {
			mistyped = append(mistyped, good[:i]+alphabet[(at+step+23)%23:(at+step+23)%23+1]+good[i+1:])
		}
	}
	for i := range len(good) { // neighbours, and pairs further apart
		for _, j := range []int{i + 1, i + 7} {
			if j < len(good) && good[i] != good[j] {
				swapped := []byte(good)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				mistyped = append(mistyped, string(swapped))
			}
		}
	}
	mistyped = append(mistyped, good[1:], "XX"+good, strings.ReplaceAll(good, good[3:4], "!"), good[:3])
	if len(mistyped) < 60 {
		t.Fatalf("only %d codes", len(mistyped))
	}
	var bodies []string
	for _, code := range mistyped {
		bodies = append(bodies, fmt.Sprintf(`{"code":%q}`, code))
	}
	for _, locator := range []string{c.ActivationCode[1:], c.ActivationCode + "2", c.ActivationCode[:9] + "0", c.ActivationCode[:9] + "A"} {
		bodies = append(bodies, fmt.Sprintf(`{"activation_code":%q,"otp":%q}`, locator, c.OTP))
	}
	for _, otp := range []string{"222", "2222222222222", "22222O", "2222é2"} {
		bodies = append(bodies, fmt.Sprintf(`{"activation_code":%q,"otp":%q}`, c.ActivationCode, otp))
	}
	var first string
	for _, body := range bodies {
		got := h.send(t, redeeming(body))
		p, err := got.asProblem(http.StatusBadRequest, "mistyped")
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		same := strings.Replace(string(got.body), p.Instance, "", 1)
		if first == "" {
			first = same
		}
		if same != first {
			t.Errorf("%s: %s, want %s", body, same, first)
		}
		if w.stack != nil {
			if e := h.event(t, got.trace); e.Calls == nil || *e.Calls != 0 || *e.Trips != 0 || e.Reason != "mistyped" {
				t.Errorf("%s: event %+v, want one without a call", body, e)
			}
		}
	}
	if w.stack != nil {
		if n := w.attempts(t, patient, c); n != 0 {
			t.Errorf("%d attempts are counted, want none", n)
		}
	}
	h.redeem(t, fmt.Sprintf(`{"code":%q}`, c.Code)) // more than ten tries were no attempts
}

// model.md section 1 says how many round trips an operation takes in sequence, and how many calls in all: the registry is asked
// beside the first trip of what takes a scope.
func TestRoundTripsAreThoseOfTheModel(t *testing.T) {
	owned(t).through(t, func(t *testing.T, h *host) {
		token, patient := h.world.clinic(t), h.world.patient()
		trips := func(what string, r request, status, sequence, calls int) reply {
			t.Helper()
			got := h.send(t, r)
			if got.status != status {
				t.Fatalf("%s: %d %s", what, got.status, got.body)
			}
			e := h.event(t, got.trace)
			if e.Trips == nil || e.Calls == nil || *e.Trips != sequence || *e.Calls != calls {
				t.Errorf("%s: event %+v, want %d trips and %d calls", what, e, sequence, calls)
			}
			return got
		}
		var c created
		trips("create", creating(token, patient), http.StatusOK, 2, 5).into(t, http.StatusOK, &c)
		trips("create again", creating(token, patient), http.StatusOK, 2, 5).into(t, http.StatusOK, &c)
		trips("wrong", redeeming(c.wrong()), http.StatusNotFound, 3, 4)
		var r redeemed
		trips("redeem", redeeming(c.parts()), http.StatusOK, 3, 4).into(t, http.StatusOK, &r)
		trips("refresh", buying(patient, r.AuthorisationCode), http.StatusOK, 1, 1)
		trips("wrong refresh", buying(patient, "C"+r.AuthorisationCode), http.StatusNotFound, 1, 1)
		trips("list", request{method: http.MethodGet, path: activationPath(patient), token: token}, http.StatusOK, 1, 2)
	})
}
