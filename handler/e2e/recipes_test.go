package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"latchkey/handler/internal/recipes"
	"latchkey/infra/local/stack"
)

// refetch is how often unknown keys may make an instance ask for the issuer's keys (AUT-4).
const refetch = 30 * time.Second

// kitchen is what recipes are made with: one issuer whose keys this test holds, in the stack's tenant.
type kitchen struct {
	*recipes.Fixture
	world    *world
	listener *httptest.Server
	heard    atomic.Int64 // requests to the listener
	// identifier is that of a clinician, for the recipes that log one in.
	identifier string
	// One host is started at a time: a program that another start has open while it forks cannot be run (ETXTBSY).
	starting sync.Mutex
	body     struct { // of every 401, without what is the request's own
		sync.Mutex
		text string
	}
}

// TestAUT1_EveryRecipe sends all recipes to the release binary: those about tokens and transport through each host, those about keys
// documents to a process of its own for each document. Whatever is sent gets its status; nothing that was not asked for goes out;
// nothing of a token comes back or is printed; every 401 has the same body; and a good token works as before.
func TestAUT1_EveryRecipe(t *testing.T) {
	w := owned(t)
	k := w.kitchen(t)
	type group struct{ before, document string }
	groups := map[group][]recipes.Case{}
	for _, c := range recipes.Cases() {
		g := group{c.Before, c.Document}
		groups[g] = append(groups[g], c)
	}
	var sent atomic.Int64
	t.Run("default", func(t *testing.T) {
		for _, mode := range []struct {
			name    string
			options stack.HostOptions
		}{{proxying, stack.HostOptions{}}, {forwarding, stack.HostOptions{Forwarding: true}}, {direct, stack.HostOptions{Direct: true}}} {
			t.Run(mode.name, func(t *testing.T) {
				s := k.served(t, "recipes-"+mode.name, recipes.Default, mode.options)
				for _, c := range groups[group{"", recipes.Default}] {
					t.Run(c.ID, func(t *testing.T) { k.try(t, s, c); sent.Add(1) })
				}
				k.control(t, s)
				s.wantFetches(t)
				if s.proc.Kind == "handler" {
					k.wantNoMoreGoroutines(t, s)
				}
			})
		}
	})
	t.Run("documents", func(t *testing.T) {
		for g, cases := range groups {
			if g == (group{"", recipes.Default}) {
				continue
			}
			t.Run(strings.TrimPrefix(g.before+" then "+g.document, " then "), func(t *testing.T) {
				t.Parallel()
				name := "recipes-" + randomHex(4)
				if g.before == "" {
					s := k.served(t, name, g.document, stack.HostOptions{Direct: true})
					for _, c := range cases {
						t.Run(c.ID, func(t *testing.T) { k.try(t, s, c); sent.Add(1) })
					}
					s.wantFetches(t)
					return
				}
				s := k.served(t, name, g.before, stack.HostOptions{Direct: true})
				k.control(t, s)
				s.serve(t, k, g.document)
				if g.document != recipes.Rotated {
					// Nothing has reason to ask for keys so soon. A kid that nobody knows is one.
					k.poke(t, s)
				}
				for _, c := range cases {
					t.Run(c.ID, func(t *testing.T) { k.try(t, s, c); sent.Add(1) })
				}
				k.control(t, s)
				if got := s.asked(t).Asked; got != 2 {
					t.Errorf("the keys were asked for %d times, want once before and once after", got)
				}
			})
		}
	})
	if n := k.heard.Load(); n != 0 {
		t.Errorf("%d requests went to an address that only tokens and documents named", n)
	}
	t.Logf("%d cases of %d recipes", sent.Load(), len(recipes.Cases()))
}

// kitchen makes the world that the recipes are for: an identity that is registered without scopes, and a patient with a session.
func (w *world) kitchen(t *testing.T) *kitchen {
	t.Helper()
	k := &kitchen{world: w}
	k.listener = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { k.heard.Add(1) }))
	t.Cleanup(k.listener.Close)
	h := w.host(t, direct)
	patient := w.patient()
	header, claims := parts(t, h.buy(t, patient, h.redeem(t, h.create(t, w.clinic(t), patient).parts()).AuthorisationCode).JWT)
	_, ofDevice := parts(t, k.device(t, h))
	names := recipes.Names{
		Tenant: w.issuer.Tenant, Object: randomGUID(), Stranger: randomGUID(), Audience: w.issuer.API,
		Scope: writeActivation, Other: readActivation, Listener: k.listener.URL,
	}
	w.approve(t, names.Tenant+"~"+names.Object)
	var err error
	k.Fixture, err = recipes.New(names, recipes.Own{
		Issuer: claims.Iss, Audience: claims.Aud, Key: w.signingKey(t), KeyID: header.Kid, Patient: patient, Session: claims.Sid, Token: claims.Jti,
		Device: ofDevice.Sub, DeviceSession: ofDevice.Sid, DeviceToken: ofDevice.Jti,
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// device lets a device in and makes a clinician known who logs in through it. It returns the device's token.
func (k *kitchen) device(t *testing.T, h *host) string {
	t.Helper()
	as := k.world.ward(t)
	id := h.tablet(t, as, "ward-recipes").UUID
	var b bought
	h.send(t, buyingForTablet(id, h.letTabletIn(t, as, id))).into(t, http.StatusOK, &b)
	k.identifier = randomHex(8)
	clerk := k.world.token(t, stack.TokenRequest{Roles: []string{"write:send_clinician"}})
	body := `{"clinician_id":"` + randomGUID() + `","groups":["SEND Clinician"],"login_active":true,"products":["SEND"],"send_entry_identifier":"` + k.identifier + `"}`
	if got := h.send(t, request{method: http.MethodPost, path: clinicianPath, token: clerk, body: body}); got.status != http.StatusCreated {
		t.Fatalf("%d %s", got.status, got.body)
	}
	return b.JWT
}

type tokenHeader struct{ Kid string }
type tokenClaims struct{ Iss, Aud, Sub, Sid, Jti string }

// parts are what a token of ours says.
func parts(t *testing.T, token string) (header tokenHeader, claims tokenClaims) {
	t.Helper()
	for i, v := range []any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, v); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

func randomGUID() string {
	h := randomHex(16)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:]
}

// signingKey takes Latchkey's key out of the local vault.
func (w *world) signingKey(t *testing.T) crypto.Signer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.stack.Dir, "vault.json"))
	if err != nil {
		t.Fatal(err)
	}
	var secrets []struct {
		Name     string
		Versions []struct{ Value string }
	}
	if err := json.Unmarshal(text, &secrets); err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if s.Name != "Tokens--SigningKey" {
			continue
		}
		block, _ := pem.Decode([]byte(s.Versions[len(s.Versions)-1].Value))
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return key.(crypto.Signer)
	}
	t.Fatal("the vault has no signing key")
	return nil
}

// served is a host whose issuer's keys are a document of a name of its own.
type served struct {
	*host
	name  string
	began time.Time
}

// served starts a host over the document. It has tried to get its keys when this returns.
func (k *kitchen) served(t *testing.T, name, document string, o stack.HostOptions) *served {
	t.Helper()
	s := &served{name: name, began: time.Now(), host: &host{world: k.world}}
	s.serve(t, k, document)
	o.Env = append(o.Env, "Entra__KeysUrl="+k.world.issuer.URL+"/documents/"+name, "Identity__Require=true")
	k.starting.Lock()
	s.host = k.world.extra(t, name, o)
	k.starting.Unlock()
	eventually(t, recovery, func() error {
		if got := s.get(t, "/.well-known/jwks.json"); got.status != http.StatusOK {
			return fmt.Errorf("the keys document answers %d", got.status)
		}
		if s.asked(t).Asked == 0 {
			return errors.New("the issuer's keys were not asked for")
		}
		return nil
	})
	if k.Document(document).Hang {
		return s
	}
	eventually(t, recovery, func() error { // what it asked for has come
		if open := s.asked(t).Open; open != 0 {
			return fmt.Errorf("%d requests for keys are open", open)
		}
		return nil
	})
	return s
}

// serve makes the document what the host gets for keys from now on.
func (s *served) serve(t *testing.T, k *kitchen, document string) {
	t.Helper()
	d := k.Document(document)
	query := url.Values{"type": {d.Type}, "location": {d.Location}, "padding": {strconv.FormatInt(d.Padding, 10)}, "hang": {strconv.FormatBool(d.Hang)}}
	if d.Status != 0 {
		query.Set("status", strconv.Itoa(d.Status))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, k.world.issuer.URL+"/admin/documents/"+s.name+"?"+query.Encode(), bytes.NewReader(d.Body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := k.world.stack.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("writing the document %s: %s", document, resp.Status)
	}
}

type fetches struct{ Asked, Open, Most int }

func (s *served) asked(t *testing.T) (f fetches) {
	t.Helper()
	resp, err := s.world.stack.Client().Get(s.world.issuer.URL + "/admin/documents/" + s.name)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil {
		t.Fatal(err)
	}
	return f
}

// wantFetches wants no more requests for keys than the start, and one for each time that unknown kids may cause one.
func (s *served) wantFetches(t *testing.T) {
	t.Helper()
	got := s.asked(t)
	if most := 2 + int(time.Since(s.began)/refetch); got.Asked > most || got.Most > 1 {
		t.Errorf("the keys were asked for %d times, by up to %d requests at once, in %v, want at most %d, one at a time",
			got.Asked, got.Most, time.Since(s.began).Round(time.Second), most)
	}
}

// control wants a good token to work.
func (k *kitchen) control(t *testing.T, s *served) {
	t.Helper()
	c := recipes.Cases()[0]
	if got := k.send(t, s.host, c, c.Request(k.Fixture, time.Now()), activationPath(k.world.patient())); got.status != http.StatusOK {
		t.Errorf("a good token: %d %s", got.status, got.body)
	}
}

// poke makes the instance ask for its keys again, by a token of a kid that nobody has.
func (k *kitchen) poke(t *testing.T, s *served) {
	t.Helper()
	before := s.asked(t).Asked
	for _, c := range recipes.Cases() {
		if c.ID != "J064" {
			continue
		}
		if got := k.send(t, s.host, c, c.Request(k.Fixture, time.Now()), activationPath(k.world.patient())); got.status != http.StatusUnauthorized && got.status != http.StatusServiceUnavailable {
			t.Errorf("an unknown kid: %d %s", got.status, got.body)
		}
	}
	if s.asked(t).Asked == before {
		t.Error("an unknown kid made nobody ask for keys: this proves nothing")
	}
}

// try sends a case and looks at all that it promises.
func (k *kitchen) try(t *testing.T, s *served, c recipes.Case) {
	h := s.host
	if c.Behind {
		h = behind(t, h)
	}
	target, want := activationPath(k.world.patient()), c.Want
	if c.Route == recipes.Devices {
		target = clinicianPath + "/jwt?send_entry_identifier=" + k.identifier
	}
	if s.proc.Kind != "handler" {
		want = append(slices.Clip(want), c.Hosted...)
	}
	var wait sync.WaitGroup
	began := time.Now()
	for range max(c.Times, 1) {
		r := c.Request(k.Fixture, time.Now())
		targets := r.Paths
		if targets == nil {
			targets = []string{target}
		}
		for _, target := range targets {
			wait.Go(func() {
				got := k.send(t, h, c, r, target)
				k.look(t, c, r, got, want)
			})
		}
	}
	wait.Wait()
	if c.Times > 1 {
		if took := time.Since(began); c.Document == recipes.Hanging && took > fetchPatience {
			t.Errorf("%d at once were answered within %v, want %v", c.Times, took, fetchPatience)
		}
		s.wantFetches(t)
		if c.Document != recipes.Hanging {
			k.control(t, s)
		}
	}
}

// fetchPatience is how long a request waits for keys at most, and a second.
const fetchPatience = 3*time.Second + 2*time.Second // two seconds for the other processes of this machine

// mine is what differs between two refusals of one kind.
var mine = regexp.MustCompile(`"(instance|ticket)":"[^"]*"`)

// look wants the status, and of a refusal the one body, nothing of the token, and what RFC 6750 says.
func (k *kitchen) look(t *testing.T, c recipes.Case, r recipes.Request, got reply, want []int) {
	if !slices.Contains(want, got.status) {
		t.Errorf("%s: status %d, want %v: %s", c.Title, got.status, want, got.body)
		return
	}
	if found := echoes(r, string(got.body)+fmt.Sprint(got.header), k.Scope); got.status >= 400 && len(found) > 0 {
		t.Errorf("%s: the reply holds %q: %s %v", c.Title, found, got.body, got.header)
	}
	challenge := got.header.Get("WWW-Authenticate")
	switch got.status {
	case http.StatusUnauthorized:
		if _, err := got.asProblem(http.StatusUnauthorized, "invalid_token"); err != nil {
			t.Error(err)
		}
		text := mine.ReplaceAllString(string(got.body), `"$1":"-"`)
		k.body.Lock()
		defer k.body.Unlock()
		if k.body.text == "" {
			k.body.text = text
		}
		if text != k.body.text {
			t.Errorf("%s: this 401 differs:\n%s\n%s", c.Title, text, k.body.text)
		}
		// RFC 6750 section 3.1: no error code where no token was sent.
		sentOne := len(r.Authorization()) > 0 && strings.HasPrefix(strings.ToLower(r.Authorization()[0]), "bearer")
		if !strings.HasPrefix(challenge, "Bearer ") || strings.Contains(challenge, "error=") && len(r.Authorization()) == 0 ||
			!strings.Contains(challenge, `error="invalid_token"`) && sentOne && len(r.Authorization()) == 1 && strings.HasPrefix(r.Authorization()[0], "Bearer e") {
			t.Errorf("%s: WWW-Authenticate %q", c.Title, challenge)
		}
	case http.StatusForbidden:
		// On the devices' route a token may be good and its device not: no other token would help (RFC 6750 section 3).
		_, refused := got.asProblem(http.StatusForbidden, "login_refused")
		if c.Route == recipes.Devices && refused == nil {
			break
		}
		if !strings.Contains(challenge, `error="insufficient_scope"`) {
			t.Errorf("%s: WWW-Authenticate %q", c.Title, challenge)
		}
	case http.StatusServiceUnavailable:
		if got.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", c.Title)
		}
	}
}

// echoes are the parts of a token, and the texts in its claims, that stand in what came back. The scope that a caller lacks is said.
func echoes(r recipes.Request, text, scope string) (found []string) {
	for i, part := range strings.Split(r.Token, ".") {
		if len(part) >= head && strings.Contains(text, part) {
			found = append(found, part)
		}
		if decoded, err := base64.RawURLEncoding.DecodeString(part); err == nil && i < 2 {
			for _, value := range texts.FindAllString(string(decoded), 100) {
				if value != scope && !strings.HasPrefix(value, "http") && strings.Contains(text, value) {
					found = append(found, value)
				}
			}
		}
	}
	return found
}

// texts are values of 12 characters and more, such as ids, in claims and headers.
var texts = regexp.MustCompile(`[A-Za-z0-9:/_@.-]{12,}`)

// send writes the request as it is, on a connection of its own.
func (k *kitchen) send(t *testing.T, h *host, c recipes.Case, r recipes.Request, target string) reply {
	method := http.MethodPost
	if parts := strings.Split(r.Token, "."); len(parts) == 3 && len(parts[1]) > 2*head && len(parts[2]) > 2*head {
		k.world.seen.secret(r.Token)
	}
	got, err := h.raw(t.Context(), func(w io.Writer, before ...recipes.Field) error {
		return r.Write(w, method, target, strings.TrimPrefix(h.url, "http://"), before...)
	})
	if err != nil {
		t.Errorf("%s: %v", c.Title, err)
	}
	return got
}

// raw sends what write writes.
func (h *host) raw(ctx context.Context, write func(io.Writer, ...recipes.Field) error) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline) // of an open connection this cannot fail
	trace := randomHex(16)
	began := time.Now()
	// Who refuses a request may answer before it has read all of it: the reply counts, not the write.
	written := write(conn, recipes.Field{Name: "traceparent", Value: "00-" + trace + "-" + randomHex(8) + "-01"})
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return reply{}, errors.Join(written, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, body, time.Since(began), trace}, err
}

// behind is the same app without its host: at the port of the process that the host started, which listens on 127.0.0.1 alone.
func behind(t *testing.T, h *host) *host {
	t.Helper()
	pid, err := handlerOf(h)
	if err != nil {
		if os.Getenv("CI") == "" {
			skip(t, "there is no /proc to find the handler's port in")
		}
		t.Fatal(err)
	}
	environment, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(h.proc.Port) // without a host it is the handler's own
	for entry := range strings.SplitSeq(string(environment), "\x00") {
		if value, ok := strings.CutPrefix(entry, "FUNCTIONS_CUSTOMHANDLER_PORT="); ok && h.proc.Kind != "handler" {
			port = value
		}
	}
	if addresses, err := net.InterfaceAddrs(); err == nil {
		for _, address := range addresses {
			ip, _, err := net.ParseCIDR(address.String())
			if err != nil || ip.IsLoopback() || ip.To4() == nil {
				continue
			}
			if conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip.String(), port), time.Second); err == nil {
				conn.Close()
				t.Errorf("the handler listens on %v too", ip)
			}
		}
	}
	return &host{name: h.name, url: "http://127.0.0.1:" + port, world: h.world, proc: h.proc, out: h.out}
}

// wantNoMoreGoroutines compares the process that had all the recipes with one that had a single good request. Asked to quit, a
// Go program prints them all.
func (k *kitchen) wantNoMoreGoroutines(t *testing.T, s *served) {
	t.Helper()
	fresh := k.served(t, s.name, recipes.Default, stack.HostOptions{Direct: true})
	k.control(t, fresh)
	count := func(s *served) int {
		time.Sleep(200 * time.Millisecond) // for what ends with a connection
		if err := syscall.Kill(s.proc.PID(), syscall.SIGQUIT); err != nil {
			t.Fatal(err)
		}
		<-s.proc.Done()
		n := 0
		eventually(t, 5*time.Second, func() error {
			n = strings.Count(s.out.String(), "\ngoroutine ")
			if n == 0 {
				return errors.New("no goroutine was printed")
			}
			return nil
		})
		return n
	}
	before, after := count(fresh), count(s)
	t.Logf("%d goroutines after one request, %d after all", before, after)
	if after > before+5 {
		t.Errorf("%d goroutines after one request, %d after all:\n%s", before, after, s.out)
	}
}
