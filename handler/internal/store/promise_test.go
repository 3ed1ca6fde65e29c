package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"golang.org/x/sync/errgroup"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/faults"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/rowcheck"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/storetest"
	"latchkey/handler/internal/subject"
)

// promise is the domain on this store on Azurite, behind a network that may fail. What it leaves is checked when the test ends.
type promise struct {
	azurite
	keys *keyed.Ring

	mu       sync.Mutex
	subjects map[string]bool
	secrets  []string
}

func newPromise(t *testing.T) *promise {
	t.Helper()
	ring, err := keyed.NewRingWithCost(keyed.Cost{Memory: 8, Passes: 1, Lanes: 1}, secret.New("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="))
	if err != nil {
		t.Fatal(err)
	}
	p := &promise{azurite: start(t), keys: ring, subjects: map[string]bool{}}
	t.Cleanup(func() { p.check(t) })
	return p
}

// check holds all rows of the test's subjects to the invariants between rows.
func (p *promise) check(t *testing.T) {
	token, err := bearer{}.GetToken(context.Background(), policy.TokenRequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := rowcheck.Read(context.Background(), p.client.Do, p.base+"/"+account, token.Token)
	if err != nil {
		t.Fatal(err)
	}
	others := func(r rowcheck.Row) bool { return !p.subjects[fmt.Sprint(r["PartitionKey"])] }
	tables.Subjects = slices.DeleteFunc(tables.Subjects, others)
	tables.Identities = nil // of others' tests: those that are checked have their own
	for _, v := range rowcheck.Check(tables, rowcheck.Options{MaxAttempts: 10, MaxCredentials: 1, Secrets: p.secrets}) {
		t.Error(v)
	}
	t.Logf("%d rows of %d subjects checked", len(tables.Subjects), len(p.subjects))
}

// patient draws a subject whose rows are checked in the end.
func (p *promise) patient(t *testing.T) subject.ID {
	t.Helper()
	of := storetest.Patient()
	p.watch(t, of)
	return of
}

// watch has a subject's rows checked in the end.
func (p *promise) watch(t *testing.T, of subject.ID) {
	t.Helper()
	partition, err := partitionOf(of)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subjects[partition] = true
}

// device makes a device whose rows are checked in the end.
func (p *promise) device(t *testing.T, s *activation.Service) subject.ID {
	t.Helper()
	of := storetest.Device()
	p.watch(t, of)
	if _, err := s.CreateDevice(t.Context(), clinic, nil, of.Name, "The tablet at the door", "ward-7"); err != nil {
		t.Fatal(err)
	}
	return of
}

// letDevice lets a device in, and gives the authorisation code.
func (p *promise) letDevice(t *testing.T, s *activation.Service, of subject.ID) string {
	t.Helper()
	won, err := s.RedeemDevice(t.Context(), audit.Origin{}, p.create(t, s, of).Locator, "")
	if err != nil {
		t.Fatal(err)
	}
	p.given(won.AuthorisationCode)
	return won.AuthorisationCode
}

// given notes what nobody may find in a row.
func (p *promise) given(secrets ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secrets = append(p.secrets, secrets...)
}

// instance is a process of its own: it shares nothing with another but the rows and the pepper. Its pauses are a tenth as long.
func (p *promise) instance(t *testing.T, plan faults.Plan) (*activation.Service, *faults.Transport) {
	t.Helper()
	network := faults.NewTransport(p.client.Do, plan)
	settings := activation.Policy{
		// The longest OTP: one of 6 characters is met by chance in so many random names, and looks as if it were stored in clear.
		Keys: p.keys, Site: "OXF", OTPLength: 11, DeviceCodeLength: 14, CodeLength: 32, SaltLength: 16, MaxAttempts: 10, ExpiryDays: 5,
		Zone: time.UTC, MaxPerPatient: 1,
	}
	wait := func(ctx context.Context, d time.Duration) error {
		select {
		case <-time.After(d / 10):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return activation.New(p.store(t, account, network), func() activation.Policy { return settings },
		activation.Clock{Now: time.Now, Wait: wait}, rand.Reader, func(func(context.Context)) {}, storetest.Unlimited), network
}

var clinic = audit.Origin{Actor: audit.Actor{Issuer: "tenant", ID: "clinic"}}

func (p *promise) create(t *testing.T, s *activation.Service, of subject.ID) activation.Created {
	t.Helper()
	key := rand.Text()
	made, err := s.Create(t.Context(), clinic, nil, of, key)
	for range 5 { // the machine may be busy with the race of another round
		if !errors.Is(err, commit.ErrUnavailable) {
			break
		}
		made, err = s.Create(t.Context(), clinic, nil, of, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.given(made.Locator, made.OTP)
	return made
}

// let lets a patient in, and gives the authorisation code.
func (p *promise) let(t *testing.T, s *activation.Service, of subject.ID) string {
	t.Helper()
	made := p.create(t, s, of)
	won, err := s.Redeem(t.Context(), audit.Origin{}, activation.Try{Locator: made.Locator, OTP: made.OTP})
	if err != nil {
		t.Fatal(err)
	}
	p.given(won.AuthorisationCode)
	return won.AuthorisationCode
}

func wrong(otp string) string {
	if strings.HasPrefix(otp, "C") {
		return "D" + otp[1:]
	}
	return "C" + otp[1:]
}

// refused reports whether err is the domain's "no".
func refused(err error) bool {
	var refusal *activation.Refusal
	return errors.As(err, &refusal)
}

// TestF01_EveryCallOfEveryOperationMeetsEveryFault lets each call in turn meet each fault of the catalogue. The operation either
// succeeds, or its outcome is unknown; asked again over a sound network, under the same key, it succeeds, and the same. Nobody
// is told "no" who was right. Afterwards each change has its record and each record its intent, at whichever call it broke off.
func TestF01_EveryCallOfEveryOperationMeetsEveryFault(t *testing.T) {
	p := newPromise(t)
	sound, _ := p.instance(t, faults.None)
	for name, begin := range map[string]func(*testing.T) operation{
		"create": func(t *testing.T) operation {
			of, key := p.patient(t), rand.Text()
			return func(ctx context.Context, s *activation.Service) (string, error) {
				made, err := s.Create(ctx, clinic, nil, of, key)
				p.given(made.Locator, made.OTP)
				return made.Human, err
			}
		},
		"redeem": func(t *testing.T) operation {
			made, key := p.create(t, sound, p.patient(t)), rand.Text()
			return func(ctx context.Context, s *activation.Service) (string, error) {
				won, err := s.Redeem(ctx, audit.Origin{}, activation.Try{Locator: made.Locator, OTP: made.OTP, Key: key})
				p.given(won.AuthorisationCode)
				return won.AuthorisationCode, err
			}
		},
		"miss": func(t *testing.T) operation {
			made := p.create(t, sound, p.patient(t))
			return func(ctx context.Context, s *activation.Service) (string, error) {
				_, err := s.Redeem(ctx, audit.Origin{}, activation.Try{Locator: made.Locator, OTP: wrong(made.OTP)})
				if refused(err) { // that is its success
					err = nil
				}
				return "", err
			}
		},
		"revoke": func(t *testing.T) operation {
			of := p.patient(t)
			made := p.create(t, sound, of)
			return func(ctx context.Context, s *activation.Service) (string, error) {
				return "", s.Revoke(ctx, clinic, nil, of, made.ID)
			}
		},
		"redeem, replacing": func(t *testing.T) operation {
			of := p.patient(t)
			p.let(t, sound, of)
			made, key := p.create(t, sound, of), rand.Text()
			return func(ctx context.Context, s *activation.Service) (string, error) {
				won, err := s.Redeem(ctx, audit.Origin{}, activation.Try{Locator: made.Locator, OTP: made.OTP, Key: key})
				p.given(won.AuthorisationCode)
				return won.AuthorisationCode, err
			}
		},
		"end all": func(t *testing.T) operation {
			of := p.patient(t)
			code := p.let(t, sound, of)
			p.create(t, sound, of)
			return func(ctx context.Context, s *activation.Service) (string, error) {
				if err := s.EndAll(ctx, clinic, nil, of); err != nil {
					return "", err
				}
				if _, err := sound.Authorise(ctx, audit.Origin{}, of, code); !refused(err) {
					return "", fmt.Errorf("it has ended, and buys a token: %w", err)
				}
				return "", nil
			}
		},
		"create a device": func(t *testing.T) operation {
			of := storetest.Device()
			p.watch(t, of)
			return func(ctx context.Context, s *activation.Service) (string, error) {
				made, err := s.CreateDevice(ctx, clinic, nil, of.Name, "x", "ward-7")
				if errors.Is(err, activation.ErrDeviceExists) { // it was created by the try that nobody heard of
					made, err = s.Device(ctx, of)
				}
				if err != nil {
					return "", err
				}
				page, _, err := sound.Devices(ctx, []string{"ward-7"}, nil, of.Name[:len(of.Name)-1], 1)
				if err != nil || len(page) != 1 || page[0].Subject != of {
					return "", fmt.Errorf("it is not on its page: %v, %w", page, err)
				}
				return made.Subject.Name, nil
			}
		},
		"redeem a device": func(t *testing.T) operation {
			of := p.device(t, sound)
			p.letDevice(t, sound, of)
			made, key := p.create(t, sound, of), rand.Text()
			return func(ctx context.Context, s *activation.Service) (string, error) {
				won, err := s.RedeemDevice(ctx, audit.Origin{}, made.Locator, key)
				p.given(won.AuthorisationCode)
				return won.AuthorisationCode, err
			}
		},
		"a device's token": func(t *testing.T) operation {
			of := p.device(t, sound)
			code := p.letDevice(t, sound, of)
			return func(ctx context.Context, s *activation.Service) (string, error) {
				grant, err := s.AuthoriseDevice(ctx, audit.Origin{}, of, code)
				return grant.Session(), err
			}
		},
		"deactivate a device that moves": func(t *testing.T) operation {
			of := p.device(t, sound)
			code := p.letDevice(t, sound, of)
			p.create(t, sound, of)
			off, ward := false, "ward-8"
			return func(ctx context.Context, s *activation.Service) (string, error) {
				if _, err := s.ChangeDevice(ctx, clinic, nil, of, activation.DevicePatch{Active: &off, Location: &ward}); err != nil {
					return "", err
				}
				if _, err := sound.AuthoriseDevice(ctx, audit.Origin{}, of, code); !refused(err) {
					return "", fmt.Errorf("it is inactive, and buys a token: %w", err)
				}
				return "", nil
			}
		},
		"activate a device": func(t *testing.T) operation {
			of := p.device(t, sound)
			code := p.letDevice(t, sound, of)
			on, off := true, false
			if _, err := sound.ChangeDevice(t.Context(), clinic, nil, of, activation.DevicePatch{Active: &off}); err != nil {
				t.Fatal(err)
			}
			return func(ctx context.Context, s *activation.Service) (string, error) {
				if _, err := s.ChangeDevice(ctx, clinic, nil, of, activation.DevicePatch{Active: &on}); err != nil {
					return "", err
				}
				_, err := sound.AuthoriseDevice(ctx, audit.Origin{}, of, code)
				return "", err
			}
		},
		"end what was put aside": func(t *testing.T) operation {
			of := p.device(t, sound)
			p.letDevice(t, sound, of)
			off := false
			if _, err := sound.ChangeDevice(t.Context(), clinic, nil, of, activation.DevicePatch{Active: &off}); err != nil {
				t.Fatal(err)
			}
			return func(ctx context.Context, s *activation.Service) (string, error) {
				return "", s.EndAll(ctx, clinic, nil, of)
			}
		},
		"end a token": func(t *testing.T) operation {
			of := p.patient(t)
			grant, err := sound.Authorise(t.Context(), audit.Origin{}, of, p.let(t, sound, of))
			if err != nil {
				t.Fatal(err)
			}
			jti := storetest.Random()
			return func(ctx context.Context, s *activation.Service) (string, error) {
				if err := s.EndToken(ctx, clinic, nil, of, grant.Session(), jti, grant.At().Add(time.Hour)); err != nil {
					return "", err
				}
				if live, err := sound.Lives(ctx, of, grant.Session(), jti); live || err != nil {
					return "", fmt.Errorf("it has ended, and lives %v: %w", live, err)
				}
				return "", nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, call := range p.calls(t, begin(t)) {
				for _, fault := range faults.All(30 * time.Millisecond) {
					if call.Op == faults.Read && fault.Carry != faults.Once {
						continue // a read changes nothing: how often it is carried out is all the same
					}
					t.Run(fmt.Sprint(call, ", ", fault), func(t *testing.T) {
						t.Parallel()
						p.meets(t, begin(t), call, fault)
					})
				}
			}
		})
	}
}

// operation does the same each time, and returns what it gives away.
type operation func(context.Context, *activation.Service) (string, error)

// calls are those that an operation makes when nothing goes wrong.
func (p *promise) calls(t *testing.T, do operation) (all []faults.Call) {
	t.Helper()
	var mu sync.Mutex
	s, _ := p.instance(t, func(c faults.Call) faults.Fault {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, c)
		return faults.Fault{}
	})
	if _, err := do(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return all
}

func (p *promise) meets(t *testing.T, do operation, call faults.Call, fault faults.Fault) {
	s, network := p.instance(t, faults.Rules(faults.Rule{Op: call.Op, Table: call.Table, Nth: call.N, Fault: fault}))
	first, err := do(t.Context(), s)
	known := err == nil
	if !known && !errors.Is(err, commit.ErrUnavailable) {
		t.Errorf("got %v, want success or ErrUnavailable", err)
	}
	network.Settle()
	if hits := network.Hits(); len(hits) != 1 {
		t.Errorf("%d faults happened: %q", len(hits), hits)
	}
	again, _ := p.instance(t, faults.None)
	second, err := do(t.Context(), again)
	if err != nil {
		t.Errorf("asked again: %v", err)
	}
	if known && second != first {
		t.Error("asked again, it gave something else away")
	}
}

// roundsVariable is how many races there are, 20 if it is not set.
const roundsVariable = "LATCHKEY_ROUNDS"

// TestACT6_OneOfManyRacersWinsWhateverIsLost lets 64 try one code through 8 instances, nine of them with a wrong OTP, with a tenth
// of all replies of storage lost, and a tenth of those to the racers: who has no answer asks another instance again under its
// own key.
func TestACT6_OneOfManyRacersWinsWhateverIsLost(t *testing.T) { newPromise(t).races(t, 64) }

// TestT03_NineWrongTriesKeepNobodyOut is the same with one right racer: whatever races it loses to the wrong ones, it wins.
func TestT03_NineWrongTriesKeepNobodyOut(t *testing.T) { newPromise(t).races(t, wrongs+1) }

const (
	instances = 8
	wrongs    = 9 // one fewer than lock an activation
	loss      = 0.1
)

func (p *promise) races(t *testing.T, racers int) {
	rounds := 20
	if text := os.Getenv(roundsVariable); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", roundsVariable, err)
		}
	}
	seed := faults.Seed(t)
	sound, _ := p.instance(t, faults.None)
	var services []*activation.Service
	var networks []*faults.Transport
	for i := range uint64(instances) {
		s, network := p.instance(t, faults.Seeded(seed+i, loss, faults.Fault{Reply: faults.Lost}))
		services, networks = append(services, s), append(networks, network)
	}
	var askedAgain atomic.Int64
	var group errgroup.Group
	group.SetLimit(4) // rounds have nothing in common but the instances; most of their time is spent on waiting
	for round := range rounds {
		of := p.patient(t)
		made := p.create(t, sound, of)
		group.Go(func() error {
			code, again, err := p.race(t.Context(), services, seed+uint64(round), made, racers)
			askedAgain.Add(int64(again))
			if err == nil {
				_, err = sound.Authorise(t.Context(), clinic, of, code)
			}
			if err != nil {
				return fmt.Errorf("round %d: %w", round, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	hits := 0
	for _, network := range networks {
		hits += len(network.Hits())
	}
	t.Logf("%d rounds, %d replies of storage lost, racers asked again %d times", rounds, hits, askedAgain.Load())
	// One right racer a round may have had all its answers, by chance.
	if hits == 0 || racers > wrongs+1 && askedAgain.Load() == 0 {
		t.Error("nothing was lost")
	}
}

// race lets all try at once and returns the winner's code.
func (p *promise) race(ctx context.Context, services []*activation.Service, seed uint64, made activation.Created, racers int) (code string, again int, err error) {
	results := make([]racer, racers)
	var ready, done sync.WaitGroup
	ready.Add(1)
	for i := range results {
		random := mathrand.New(mathrand.NewPCG(seed, uint64(i)))
		try, chance := activation.Try{Locator: made.Locator, OTP: made.OTP, Key: rand.Text()}, loss
		if i < wrongs {
			try.OTP, chance = wrong(made.OTP), 0 // asked again, it would count again
		}
		done.Go(func() {
			ready.Wait()
			results[i] = run(ctx, services, random, chance, try)
		})
	}
	ready.Done()
	done.Wait()
	for i, r := range results {
		again += r.again
		switch {
		case r.err == nil && (i < wrongs || code != ""):
			return "", again, errors.New("a wrong OTP won, or there are two winners")
		case r.err == nil:
			code = r.code
			p.given(code)
		case !refused(r.err):
			return "", again, fmt.Errorf("racer %d: %w", i, r.err)
		}
	}
	if code == "" {
		return "", again, errors.New("nobody won")
	}
	return code, again, nil
}

// racer is what one of them was told in the end.
type racer struct {
	code  string
	err   error
	again int
}

// run asks until it is answered: one try at least, and one more after each lost reply.
func run(ctx context.Context, services []*activation.Service, random *mathrand.Rand, chance float64, try activation.Try) (r racer) {
	const patience = 50
	told := "" // what it would have been told, had it heard
	for r.again = range patience {
		won, err := services[random.IntN(len(services))].Redeem(ctx, audit.Origin{}, try)
		r.code, r.err = won.AuthorisationCode, err
		switch {
		case err == nil && told != "" && told != r.code:
			r.err = errors.New("a repeated reply has another code")
			return r
		case err != nil && told != "" && refused(err):
			r.err = errors.New("the winner was told no")
			return r
		}
		told = r.code
		if random.Float64() >= chance && (err == nil || refused(err)) {
			return r
		}
	}
	r.err = errors.Join(errors.New("no answer"), r.err)
	return r
}

// TestChangeWithoutItsIntentIsImpossible: whatever becomes of the intent, no change is made before it is known to be written.
func TestChangeWithoutItsIntentIsImpossible(t *testing.T) {
	p := newPromise(t)
	for _, fault := range []faults.Fault{{Carry: faults.Never, Reply: faults.Lost}, {Carry: faults.Never, Reply: faults.Busy}, {Reply: faults.Failed}} {
		s, network := p.instance(t, faults.Rules(faults.Rule{Op: faults.Insert, Table: journal, Times: 99, Fault: fault}))
		of := p.patient(t)
		if _, err := s.Create(t.Context(), clinic, nil, of, ""); !errors.Is(err, commit.ErrUnavailable) {
			t.Errorf("%v: got %v, want ErrUnavailable", fault, err)
		}
		for _, hit := range network.Hits() {
			if !strings.HasPrefix(hit, "insert journal") {
				t.Errorf("%v: %s", fault, hit)
			}
		}
		if rows := partitionRows(t, p.azurite, of); len(rows) > 0 {
			t.Errorf("%v: there are %d rows of the subject", fault, len(rows))
		}
	}
}

// TestProxy_AHandlersWayToStorage sends a store through the proxy: what the rules say happens to it, over TLS and in the real
// protocol, and a cut connection is an unknown outcome.
func TestProxy_AHandlersWayToStorage(t *testing.T) {
	a := start(t)
	proxy, err := faults.StartProxy(a.base+"/"+account, a.certificate, a.client.Transport, faults.None)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := New(proxy.URL, bearer{}, Options{Transport: a.client})
	if err != nil {
		t.Fatal(err)
	}
	change := storetest.Creation(fresh(), storetest.Start)
	if err := s.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	committed := func(record audit.Record) bool {
		t.Helper()
		_, committed, err := s.Reopen(t.Context(), record)
		if err != nil {
			t.Fatal(err)
		}
		return committed
	}
	for fault, landed := range map[faults.Fault]bool{
		{Reply: faults.Lost}: true, {Carry: faults.Never, Reply: faults.Lost}: false, {Reply: faults.Truncated}: true,
		{Reply: faults.Garbled}: true, {Carry: faults.Never, Reply: faults.Busy}: false, {Carry: faults.Never, Reply: faults.Unreachable}: false,
		{Carry: faults.Late, Pause: 20 * time.Millisecond}: true,
	} {
		change := storetest.Creation(fresh(), storetest.Start)
		proxy.Transport.Follow(faults.Rules(faults.Rule{Op: faults.Transaction, Fault: fault}))
		if err := s.Commit(t.Context(), change); err == nil || errors.Is(err, commit.ErrConflict) {
			t.Errorf("%v: got %v, want an unknown outcome", fault, err)
		}
		proxy.Transport.Settle()
		if got := committed(change.Record); got != landed {
			t.Errorf("%v: committed %v", fault, got)
		}
	}

	// Reads are repeated over a connection that is cut, a commit is not.
	proxy.Transport.Follow(func(c faults.Call) faults.Fault {
		if c.N == 1 {
			proxy.Cut()
		}
		return faults.Fault{}
	})
	if !committed(change.Record) {
		t.Error("the record is gone")
	}
	if err := s.Commit(t.Context(), storetest.Creation(fresh(), storetest.Start)); err == nil || errors.Is(err, commit.ErrConflict) {
		t.Errorf("a cut connection: got %v, want an unknown outcome", err)
	}
}
