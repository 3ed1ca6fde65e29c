package e2e_test

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"latchkey/infra/local/stack"
)

// ABU-1, ABU-3: two instances share what one address may be refused. Beyond it every refusal is 429 on both, and a right code works.
func TestABU1_TwoInstancesShareASourcesBudget(t *testing.T) {
	w := owned(t)
	const most = 40
	settings := []string{"Abuse__SourceRefusals=40", "Abuse__SourceWindowSeconds=86400"}
	hosts := []*host{
		w.extra(t, "guarded 1", stack.HostOptions{Direct: true, Env: settings}), w.extra(t, "guarded 2", stack.HostOptions{Direct: true, Env: settings}),
	}
	for _, h := range hosts {
		if err := h.awaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// An address of our own: that of the other tests has other limits.
	here := &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext,
	}}
	redeem := func(h *host, body string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/dhos/v1/activation", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return nil
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := here.Do(r)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer
	}
	const unknown = `{"activation_code":"2345678923","otp":"234567"}`
	const tries = most + 20
	var answered [tries]int
	var all sync.WaitGroup
	for i := range answered {
		all.Go(func() {
			if answer := redeem(hosts[i%2], unknown); answer != nil {
				answered[i] = answer.StatusCode
			}
		})
	}
	all.Wait()
	statuses := map[int]int{}
	for _, status := range answered {
		statuses[status]++
	}
	// What one instance still holds when the bucket is empty is used up by it: nothing is missing in the end.
	if statuses[404] != most || statuses[404]+statuses[429] != tries {
		t.Errorf("%v, want %d times 404 and then 429", statuses, most)
	}
	c := hosts[0].create(t, w.clinic(t), w.patient())
	for _, h := range hosts {
		for what, body := range map[string]string{"unknown": unknown, "wrong": c.wrong()} {
			answer := redeem(h, body)
			if answer == nil {
				t.FailNow()
			}
			var p struct{ Reason string }
			if err := json.NewDecoder(answer.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != http.StatusTooManyRequests || p.Reason != "too_many_refusals" || answer.Header.Get("Retry-After") == "" ||
				answer.Header.Get("RateLimit-Policy") != `"source";q=40;w=86400` || !strings.HasPrefix(answer.Header.Get("RateLimit"), `"source";r=0;t=`) {
				t.Errorf("%s: %d %s %v", what, answer.StatusCode, p.Reason, answer.Header)
			}
		}
	}
	if answer := redeem(hosts[1], c.parts()); answer == nil || answer.StatusCode != http.StatusOK {
		t.Errorf("the right code: %+v", answer)
	}
}
