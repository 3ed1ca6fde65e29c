package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"latchkey/handler/internal/faults"
	"latchkey/handler/internal/rowcheck"
	"latchkey/infra/local/stack"
)

// killsVariable is how many kills the test makes, 10 if it is not set.
const killsVariable = "LATCHKEY_KILLS"

// TestACT6_KilledHandlersLoseNothingAndDoubleNothing kills handlers at random moments under load. Their hosts restart them, and
// a host whose restart budget is spent ends and is started again, as the platform does. Both work on one storage. Every client
// asks again until it is answered; at the end each one's latest credential works, and the row check is clean.
func TestACT6_KilledHandlersLoseNothingAndDoubleNothing(t *testing.T) {
	owned(t)
	kills := 10
	if text := os.Getenv(killsVariable); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", killsVariable, err)
		}
	}
	random := rand.New(rand.NewPCG(faults.Seed(t), 0))
	w := ownWorld(t)
	var hosts []*host
	for _, h := range []*host{w.extra(t, proxying, stack.HostOptions{}), w.extra(t, forwarding, stack.HostOptions{Forwarding: true})} {
		if err := h.awaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}

	load := &load{hosts: hosts, clinic: w.clinic(t)}
	stop := load.start(t, 4)
	for range kills {
		time.Sleep(time.Duration(50+random.IntN(250)) * time.Millisecond)
		kill(t, hosts[random.IntN(len(hosts))])
	}
	patients := stop()
	if t.Failed() {
		return
	}
	for _, h := range hosts {
		eventually(t, time.Minute, func() error { return errors.Join(revived(t.Context(), h), h.isReady(t.Context())) })
	}
	for patient, code := range patients {
		hosts[0].buy(t, patient, code)
	}
	t.Logf("%d kills; %d operations; %d requests had no answer or a 5xx, and were sent again", kills, load.done.Load(), load.again.Load())
	if load.again.Load() == 0 {
		t.Error("no kill met a request: the load is too small")
	}
	checkRows(t, w.stack, load.secrets)
}

// ownWorld is a stack whose rows are this test's alone: others change rows by hand.
func ownWorld(t *testing.T) *world {
	t.Helper()
	w := &world{seen: newSeen(), parts: newOutput()}
	s, err := stack.Start(t.Context(), stack.Options{Output: w.parts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	w.stack, w.issuer = s, s.Issuer
	return w
}

// checkRows holds all rows of a stack to the invariants, under the default settings.
func checkRows(t *testing.T, s *stack.Stack, secrets []string) {
	t.Helper()
	token, err := s.ResourceToken(t.Context(), "https://storage.azure.com")
	if err != nil {
		t.Fatal(err)
	}
	tables, err := rowcheck.Read(t.Context(), s.Client().Do, s.Tables, token)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range rowcheck.Check(tables, rowcheck.Options{MaxAttempts: 10, MaxCredentials: 1, Secrets: secrets}) {
		t.Error(v)
	}
	t.Logf("%d rows of subjects, %d of codes, %d intents", len(tables.Subjects), len(tables.Codes), len(tables.Journal))
	if len(tables.Subjects) == 0 {
		t.Error("there are no rows")
	}
}

// kill ends the handler process of a host as a crash or the kernel would.
func kill(t *testing.T, h *host) {
	t.Helper()
	var pid int
	eventually(t, time.Minute, func() (err error) {
		if err := revived(t.Context(), h); err != nil {
			return err
		}
		pid, err = handlerOf(h)
		return err
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
}

// revived starts a host again that has ended, and reports whether its handler answers.
func revived(ctx context.Context, h *host) error {
	select {
	case <-h.proc.Done():
		return h.proc.Start(ctx)
	default:
		_, _, err := h.ready(ctx)
		return err
	}
}

// handlerOf finds the process of a host's handler: the one that runs the copy of the binary in the host's own folder.
func handlerOf(h *host) (int, error) {
	binary := filepath.Join(h.world.stack.Dir, "host-"+strconv.Itoa(h.proc.Port), "latchkey")
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		if path, err := os.Readlink(link); err == nil && path == binary {
			return strconv.Atoi(filepath.Base(filepath.Dir(link)))
		}
	}
	return 0, errors.New("the host has no handler process")
}

// load is clients that work through both hosts and ask again until they are answered.
type load struct {
	hosts  []*host
	clinic string
	// done counts operations, again requests that had no answer, or a 5xx.
	done, again atomic.Int64

	mu      sync.Mutex
	secrets []string
}

// start starts clients. stop waits until each has finished what it began, and returns every patient's authorisation code.
func (l *load) start(t *testing.T, clients int) (stop func() map[string]string) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	held := map[string]string{}
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			patient := l.hosts[0].world.patient()
			code := ""
			for ctx.Err() == nil {
				next, err := l.round(t.Context(), patient, code)
				if err != nil {
					t.Errorf("%s: %v\nwhat the handlers say of it, of the last minute:\n%s", patient, err, strings.Join(l.linesLike(err.Error()), "\n"))
					return
				}
				code = next
			}
			mu.Lock()
			defer mu.Unlock()
			if code != "" {
				held[patient] = code
			}
		})
	}
	return func() map[string]string {
		cancel()
		wait.Wait()
		return held
	}
}

// round invites a patient, misses once, lets it in and buys tokens; what the credential before bought is refused from then on.
func (l *load) round(ctx context.Context, patient, before string) (code string, err error) {
	create := creating(l.clinic, patient)
	create.header = http.Header{"Idempotency-Key": {randomHex(16)}}
	var c created
	if err := l.ask(ctx, create, http.StatusOK, &c); err != nil {
		return "", fmt.Errorf("creating: %w", err)
	}
	// Once, whatever becomes of it: a miss is counted before it is answered, and ten that nobody answered would lock the activation.
	if got, err := l.hosts[rand.IntN(len(l.hosts))].try(ctx, redeeming(c.wrong())); err == nil && got.status < http.StatusInternalServerError &&
		got.status != http.StatusNotFound {
		return "", fmt.Errorf("missing: status %d", got.status)
	}
	redeem := redeeming(c.parts())
	redeem.header = http.Header{"Idempotency-Key": {randomHex(16)}}
	var r redeemed
	if err := l.ask(ctx, redeem, http.StatusOK, &r); err != nil {
		return "", fmt.Errorf("redeeming: %w", err)
	}
	l.note(c.ActivationCode, c.OTP, c.Code, r.AuthorisationCode)
	if err := l.ask(ctx, buying(patient, r.AuthorisationCode), http.StatusOK, nil); err != nil {
		return "", fmt.Errorf("buying a token: %w", err)
	}
	if before != "" {
		if err := l.ask(ctx, buying(patient, before), http.StatusNotFound, nil); err != nil {
			return "", fmt.Errorf("buying a token with the credential before: %w", err)
		}
	}
	return r.AuthorisationCode, nil
}

// patience is how long a client asks again: well within the 60 s in which a redemption can be asked for.
const patience = 45 * time.Second

// ask sends a request, now through one host, now through the other, until it is answered with less than a 5xx.
func (l *load) ask(ctx context.Context, r request, status int, into any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		got, err := l.hosts[rand.IntN(len(l.hosts))].try(ctx, r)
		switch {
		case err == nil && got.status == status:
			l.done.Add(1)
			if into == nil {
				return nil
			}
			return json.Unmarshal(got.body, into)
		case err == nil && got.status < http.StatusInternalServerError:
			return fmt.Errorf("status %d, want %d: %s", got.status, status, got.body)
		case ctx.Err() != nil:
			return fmt.Errorf("no answer in %v: %d, %w", patience, got.status, err)
		}
		l.again.Add(1)
		time.Sleep(20 * time.Millisecond)
	}
}

// linesLike finds the handlers' lines about the subject of the problem whose text is told: they hold no secret.
func (l *load) linesLike(told string) []string {
	_, instance, _ := strings.Cut(told, `"instance":"urn:latchkey:`)
	instance, _, _ = strings.Cut(instance, `"`)
	if instance == "" {
		return nil
	}
	var lines []string
	for _, h := range l.hosts {
		lines = append(lines, strings.Split(h.out.String(), "\n")...)
	}
	at := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, instance) })
	if at < 0 {
		return nil
	}
	e, _ := parse(lines[at])
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return !strings.Contains(line, instance) && (e.Subject == "" || !strings.Contains(line, e.Subject))
	})
	slices.Sort(lines)
	return lines[max(0, len(lines)-40):]
}

func (l *load) note(secrets ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets = append(l.secrets, secrets...)
}
