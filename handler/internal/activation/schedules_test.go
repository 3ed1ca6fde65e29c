package activation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// A schedule is one order in which the storage calls of several clients on several instances are carried out, with one fate for
// each call, one order of late commits among them, and one course of time. A seed decides all of it: whenever everybody waits, one
// call is picked and carried out. What happened is then judged by the records, against the rules as they are written in mission.md.

const (
	// schedulesVariable is how many schedules are tried, seedVariable the one that is tried alone.
	schedulesVariable = "LATCHKEY_SCHEDULES"
	seedVariable      = "LATCHKEY_SEED"
	fewSchedules      = 3000
	// With the comparison of versions taken out, one of so many must have two winners.
	soonFound  = 300
	twoWinners = "two winners"
)

func TestACT6_NoScheduleHasTwoWinnersOrNone(t *testing.T) {
	first, n := uint64(1), uint64(fewSchedules)
	if text := os.Getenv(schedulesVariable); text != "" {
		n = number(t, text)
	}
	if text := os.Getenv(seedVariable); text != "" {
		first, n = number(t, text), 1
	}
	met := map[string]int{}
	failed := 0
	for seed := first; seed < first+n; seed++ {
		s := explore(t, seed, false)
		for what := range s.met {
			met[what]++
		}
		if len(s.problems) > 0 {
			t.Errorf("schedule %d (replay it with %s=%d):\n\t%s\n\n\t%s", seed, seedVariable, seed,
				strings.Join(s.problems, "\n\t"), strings.Join(s.log, "\n\t"))
			if failed++; failed == 3 {
				t.Fatal("and so on")
			}
		}
	}
	t.Logf("%d schedules, of which so many met: %v", n, met)
	if n < fewSchedules {
		return
	}
	for _, what := range []string{
		"won", "repeated", string(audit.ReasonWrongOTP), string(audit.ReasonUsed), string(audit.ReasonReplaced), string(audit.ReasonRevoked),
		string(audit.ReasonLocked), string(audit.ReasonExpired), "created", "told again", "superseded", "revoked", "not pending", "unknown",
		"ended all", "ended one", "nothing to end", "refreshed", "refused to refresh after the end",
		"crashed", string(lostThere), string(lostBack), string(tooLate), string(twice), "landed late", "torn",
	} {
		if met[what] < 5 {
			t.Errorf("%q was met by %d schedules: too few to say anything", what, met[what])
		}
	}
}

func TestTheSchedulesFindTwoWinners(t *testing.T) {
	for seed := uint64(1); seed <= soonFound; seed++ {
		for _, problem := range explore(t, seed, true).problems {
			if strings.HasPrefix(problem, twoWinners) {
				t.Logf("schedule %d: %s", seed, problem)
				return
			}
		}
	}
	t.Errorf("without the comparison of versions, %d schedules had no two winners", soonFound)
}

func TestASeedReplaysItsSchedule(t *testing.T) {
	for seed := uint64(1); seed <= 300; seed++ {
		if a, b := explore(t, seed, false).log, explore(t, seed, false).log; !slices.Equal(a, b) {
			t.Fatalf("schedule %d:\n%s\n\nand then:\n%s", seed, strings.Join(a, "\n"), strings.Join(b, "\n"))
		}
	}
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fate is what becomes of one storage call.
type fate string

const (
	carried   fate = "carried out"
	lostThere fate = "lost on the way there"
	lostBack  fate = "lost on the way back"
	tooLate   fate = "late"            // the caller hears nothing, and it arrives later
	twice     fate = "delivered twice" // and the reply is that to the second
)

// verdict is all that is decided of one storage call.
type verdict struct {
	fate    fate
	crashes bool // the process of the client ends with this call
	swapped bool // of two reads at one time, the other one comes first
}

// request is a client that waits for its storage call to be carried out.
type request struct {
	client int
	op     string
	decide chan verdict
}

type schedule struct {
	*lab
	rng      *rand.Rand
	faulty   float64 // the chance of a fault
	mu       sync.Mutex
	waiting  []request
	late     []activation.Change
	running  int
	log      []string
	met      map[string]bool
	problems []string

	codes map[activation.UUID]activation.Created
	calls []*call
	// old is the credential that there may be at first, steps counts the beginnings and ends of calls.
	old   activation.Redeemed
	oldID string
	steps int
	// landed says when the commit of a call was carried out, by its trace.
	landed map[string]int
	quiet  bool // there are no faults
}

// call is what one client asked for and what it was told.
type call struct {
	trace   string
	kind    kind
	of      activation.UUID // what it is about; of a creation, what it made
	key     string
	right   bool
	at      time.Time
	crashed bool
	// began and done are places in the order of what clients do; done is 0 until they are told.
	began, done int

	err     error
	won     activation.Redeemed
	created activation.Created
}

type kind string

const (
	creates kind = "create"
	redeems kind = "redeem"
	revokes kind = "revoke"
	ends    kind = "end all"
	endsOne kind = "end one" // the old credential
	buys    kind = "refresh" // with the old credential
)

func explore(t *testing.T, seed uint64, unconditional bool) (s *schedule) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s = &schedule{lab: newLab(t, seed), rng: rand.New(rand.NewPCG(seed, 1)), met: map[string]bool{}, codes: map[activation.UUID]activation.Created{}, landed: map[string]int{}}
		s.store.Unconditional = unconditional
		s.policy.MaxAttempts, s.policy.MaxPerPatient = 1+s.rng.IntN(3), 1+s.rng.IntN(2)
		s.run()
		s.judge()
	})
	return s
}

func (s *schedule) run() {
	if s.rng.IntN(2) == 0 {
		s.old = s.let(s.invite()) // there is a credential to be replaced
		s.oldID = s.head().Credentials[0].Session
	}
	made := s.invite()
	s.codes[made.ID] = made
	if s.rng.IntN(5) == 0 { // midnight comes while they are at it
		s.goTo(made.Expires.Add(-time.Duration(s.rng.IntN(1500)) * time.Millisecond))
	}
	s.faulty = []float64{0, 0.1, 0.3}[s.rng.IntN(3)]
	s.quiet = s.faulty == 0
	instances := make([]*activation.Service, 1+s.rng.IntN(3))
	s.later = func(func(context.Context)) {} // what is done beside the answers is lost: the promises hold without it
	for i := range instances {
		instances[i] = s.on(scheduled{s, s.store})
	}
	clients := 2 + s.rng.IntN(6)
	for i := range clients {
		s.start(i, instances[s.rng.IntN(len(instances))], made, s.rng.IntN(14))
	}
	s.pick()
	s.faulty = 0
	s.conclude(clients, instances[0])
}

// start lets a client do what a die says. Those that hear 503 ask again once or twice.
func (s *schedule) start(i int, on *activation.Service, made activation.Created, die int) {
	key := fmt.Sprintf("key-%d-%d-of-a-client-of-22", i, die)
	again := s.rng.IntN(3)
	shared := "a-key-of-two-clients-at-once"
	s.running++
	go func() {
		defer func() { s.mu.Lock(); s.running--; s.mu.Unlock() }()
		for n := 0; ; n++ {
			c := &call{trace: fmt.Sprintf("%d.%d", i, n), of: made.ID, right: true}
			switch {
			case die <= 1:
				c.kind = redeems
			case die == 2:
				c.kind, c.key = redeems, key
			case die == 3:
				c.kind, c.key = redeems, shared
			case die <= 6:
				c.kind, c.right = redeems, false
			case die == 7:
				c.kind = revokes
			case die == 8:
				c.kind, c.key = creates, shared
			case die == 10:
				c.kind = ends
			case die == 11:
				c.kind = endsOne
			case die > 11:
				c.kind = buys
			default:
				c.kind = creates
			}
			s.carry(on, i, c)
			if c.kind == buys && n < again && !c.crashed { // once more, whatever was said
				continue
			}
			if !c.unknown() || n >= again || c.crashed {
				if c.kind == creates && c.err == nil && !c.crashed {
					s.carry(on, i, &call{trace: fmt.Sprintf("%d.new", i), kind: redeems, of: c.of, right: true})
				}
				return
			}
		}
	}()
}

type clientKey struct{}

// carry carries a call out.
func (s *schedule) carry(service *activation.Service, client int, c *call) {
	// No two deadlines are at one time: which of them came first would be up to the runtime, and no seed could replay it.
	time.Sleep(time.Duration(client+1) * 7 * time.Microsecond)
	s.mu.Lock()
	c.at = time.Now()
	s.calls = append(s.calls, c)
	s.steps++
	c.began = s.steps
	made := s.codes[c.of]
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.steps++; !c.crashed {
			c.done = s.steps
		}
	}()
	ctx := context.WithValue(context.Background(), clientKey{}, who{client, c})
	origin := audit.Origin{Trace: c.trace}
	switch c.kind {
	case creates:
		origin.Actor = clinic.Actor
		c.created, c.err = service.Create(ctx, origin, nil, patient, c.key)
		if c.of = c.created.ID; c.err == nil {
			s.mu.Lock()
			s.codes[c.of] = c.created
			s.mu.Unlock()
		}
	case revokes:
		c.err = service.Revoke(ctx, origin, nil, patient, c.of)
	case ends:
		c.err = service.EndAll(ctx, origin, nil, patient)
	case endsOne:
		c.err = service.EndOne(ctx, origin, nil, patient, s.oldID)
	case buys:
		_, c.err = service.Authorise(ctx, origin, patient, s.old.AuthorisationCode)
	case redeems:
		what := try(made, c.key)
		if !c.right {
			what = guess(made)
		}
		c.won, c.err = service.Redeem(ctx, origin, what)
	}
}

// unknown is a call whose caller does not know what became of it.
func (c *call) unknown() bool {
	return c.crashed || errors.Is(c.err, commit.ErrUnavailable) || errors.Is(c.err, commit.ErrBusy)
}

type who struct {
	client int
	call   *call
}

// pick carries out one call after the other until all clients are done and everything late has arrived.
func (s *schedule) pick() {
	for {
		synctest.Wait()
		s.mu.Lock()
		slices.SortFunc(s.waiting, func(a, b request) int { return a.client - b.client })
		options := len(s.waiting) + len(s.late)
		done := options == 0 && s.running == 0
		var next *request
		var landing *activation.Change
		switch i := s.rng.IntN(max(options, 1)); {
		case s.rng.IntN(8) == 0: // time passes
		case i < len(s.waiting):
			picked := s.waiting[i]
			next = &picked
			s.waiting = slices.Delete(s.waiting, i, i+1)
		case options > 0 && s.rng.IntN(3) == 0:
			i -= len(s.waiting)
			change := s.late[i]
			landing = &change
			s.late = slices.Delete(s.late, i, i+1)
		}
		s.mu.Unlock()
		switch {
		case done:
			return
		case next != nil:
			v := s.decide(next.op)
			s.say("%d %s: %+v", next.client, next.op, v)
			s.met[string(v.fate)] = true
			if v.crashes {
				s.met["crashed"] = true
			}
			next.decide <- v
		case landing != nil:
			err := s.land(context.Background(), *landing)
			s.say("a late commit of %s arrives: %v", landing.Record.Origin.Trace, err)
			if err == nil {
				s.met["landed late"] = true
			}
		default:
			time.Sleep(time.Duration(1+s.rng.IntN(800)) * time.Millisecond)
		}
	}
}

func (s *schedule) say(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *schedule) decide(op string) verdict {
	v := verdict{fate: carried, swapped: s.rng.IntN(2) == 0}
	if s.rng.Float64() >= s.faulty {
		return v
	}
	fates := []fate{lostThere, lostBack}
	if op == "Commit" {
		fates = append(fates, tooLate, tooLate, twice)
	}
	v.fate, v.crashes = fates[s.rng.IntN(len(fates))], s.rng.IntN(12) == 0
	return v
}

// scheduled is the store as a client sees it: each call waits until it is picked, and meets its fate.
type scheduled struct {
	*schedule
	activation.Store // what only devices need goes by no schedule
}

// await waits to be picked. A client that has crashed does nothing any more: its calls fail, and nobody hears what it says.
func (s scheduled) await(ctx context.Context, op string) (verdict, error) {
	w := ctx.Value(clientKey{}).(who)
	if w.call.crashed {
		return verdict{}, errSilence
	}
	r := request{w.client, op, make(chan verdict)}
	s.mu.Lock()
	s.waiting = append(s.waiting, r)
	s.mu.Unlock()
	v := <-r.decide
	w.call.crashed = v.crashes
	return v, ctx.Err()
}

// do carries out a call that is no commit.
func (s scheduled) do(ctx context.Context, op string, work func(swapped bool) error) error {
	v, err := s.await(ctx, op)
	switch {
	case err != nil:
		return err
	case v.fate == lostThere:
		return errSilence
	}
	if err := work(v.swapped); err != nil || v.fate == carried {
		return err
	}
	return errSilence
}

func (s scheduled) Code(ctx context.Context, keys []keyed.Hash) (found *activation.Code, err error) {
	err = s.do(ctx, "Code", func(bool) error { found, err = s.store.Code(ctx, keys); return err })
	return found, err
}

func (s scheduled) EndCode(ctx context.Context, code activation.Code, at time.Time, why audit.Reason) error {
	return s.do(ctx, "EndCode", func(bool) error { return s.store.EndCode(ctx, code, at, why) })
}

func (s scheduled) Open(ctx context.Context, opening activation.Opening) (opened activation.Opened, err error) {
	err = s.do(ctx, "Open", func(bool) error { opened, err = s.store.Open(ctx, opening); return err })
	return opened, err
}

func (s scheduled) Commit(ctx context.Context, change activation.Change) error {
	v, err := s.await(ctx, "Commit")
	if err != nil {
		return err
	}
	switch v.fate {
	case lostThere:
		return errSilence
	case tooLate:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.schedule.late = append(s.schedule.late, change)
		return errSilence
	}
	err = s.land(ctx, change)
	switch v.fate {
	case lostBack:
		return errSilence
	case twice:
		return s.land(ctx, change)
	}
	return err
}

// land carries a commit out, and looks whether what it ends was published before.
func (s *schedule) land(ctx context.Context, change activation.Change) error {
	published := s.published()
	err := s.store.Commit(ctx, change)
	if err == nil {
		s.mu.Lock()
		s.steps++
		s.landed[change.Record.Origin.Trace] = s.steps
		s.mu.Unlock()
	}
	if err == nil && (change.Record.Action == audit.RevokeAuthorisation || change.Record.Action == audit.RevokeCredential) {
		for _, c := range change.Removed {
			if !published[c.Session] {
				s.mu.Lock()
				s.wrong("%s ended %s before it was published", change.Record.Origin.Trace, c.Session)
				s.mu.Unlock()
			}
		}
	}
	return err
}

// published are the sids in the feed.
func (s *schedule) published() map[string]bool {
	all, err := s.store.Endings(context.Background(), time.Time{})
	if err != nil {
		panic(err)
	}
	sids := map[string]bool{}
	for _, e := range all {
		sids[e.Session] = true
	}
	return sids
}

// Reopen makes its two reads in either order, with whatever is picked between them.
func (s scheduled) Reopen(ctx context.Context, record audit.Record) (head activation.Head, committed bool, err error) {
	var headFirst bool
	err = s.do(ctx, "Reopen", func(swapped bool) error {
		headFirst = swapped
		head, committed, err = s.store.Reopen(ctx, record)
		return err
	})
	if err != nil {
		return activation.Head{}, false, err
	}
	err = s.do(ctx, "Reopen, the other read", func(bool) error {
		laterHead, laterCommitted, err := s.store.Reopen(ctx, record)
		if laterHead.Version != head.Version {
			s.mu.Lock()
			s.met["torn"] = true
			s.mu.Unlock()
		}
		if headFirst {
			committed = laterCommitted
		} else {
			head = laterHead
		}
		return err
	})
	if err != nil {
		return activation.Head{}, false, err
	}
	return head, committed, nil
}

func (s scheduled) Activation(ctx context.Context, of subject.ID, id activation.UUID) (found *activation.Activation, err error) {
	err = s.do(ctx, "Activation", func(bool) error { found, err = s.store.Activation(ctx, of, id); return err })
	return found, err
}

func (s scheduled) Activations(ctx context.Context, of subject.ID, after activation.UUID, limit int) ([]activation.Activation, error) {
	return s.store.Activations(ctx, of, after, limit)
}

func (s scheduled) Credential(ctx context.Context, of subject.ID, keys []keyed.Hash) (found *activation.Credential, err error) {
	err = s.do(ctx, "Credential", func(bool) error { found, err = s.store.Credential(ctx, of, keys); return err })
	return found, err
}

func (s scheduled) Credentials(ctx context.Context, of subject.ID) (activation.Head, []activation.Credential, error) {
	return s.store.Credentials(ctx, of)
}

func (s scheduled) Session(ctx context.Context, of subject.ID, sid, jti string) (bool, error) {
	return s.store.Session(ctx, of, sid, jti)
}

func (s scheduled) Publish(ctx context.Context, record audit.Record, endings []activation.Ending) error {
	return s.do(ctx, "Publish", func(bool) error { return s.store.Publish(ctx, record, endings) })
}

func (s scheduled) Retract(ctx context.Context, record audit.Record, endings []activation.Ending) error {
	return s.do(ctx, "Retract", func(bool) error { return s.store.Retract(ctx, record, endings) })
}

func (s scheduled) Touch(ctx context.Context, of subject.ID, key keyed.Hash, at time.Time) error {
	return s.store.Touch(ctx, of, key, at)
}

// conclude lets those that lost their reply ask again under their key, and then somebody with the right OTP, with no faults.
func (s *schedule) conclude(client int, on *activation.Service) {
	ask := func(c *call) {
		s.running++
		go func() {
			s.carry(on, client, c)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.running--
		}()
		s.pick()
		client++
	}
	for _, c := range slices.Clone(s.calls) {
		if c.kind == redeems && c.right && c.key != "" && c.unknown() {
			ask(&call{trace: c.trace + ".again", kind: redeems, of: c.of, key: c.key, right: true})
		}
	}
	if pending := s.head().Invitation; pending != nil {
		if _, told := s.codes[pending.Activation]; told {
			ask(&call{trace: "last", kind: redeems, of: pending.Activation, right: true})
		}
	}
}

func (s *schedule) wrong(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// story is what the records say, read one after the other by the rules.
type story struct {
	pending   string // the activation, "" for none
	attempts  int
	ended     map[string]audit.Reason
	live      []*call // whose redemptions' credentials are, oldest first; nil for the one of before
	redeemed  []*call // all of them
	byTrace   map[string]audit.Record
	committed map[string]int // how many records have this trace
}

// judge says what is wrong with what happened.
func (s *schedule) judge() {
	calls := map[string]*call{}
	for _, c := range s.calls {
		calls[c.trace] = c
	}
	story := s.read(calls)
	s.compare(story)
	gave := map[activation.UUID]string{}
	for _, c := range s.calls {
		s.hear(c, story)
		if c.kind == redeems && c.err == nil && !c.crashed {
			if code := gave[c.of]; code != "" && code != c.won.AuthorisationCode {
				s.wrong("%s of %s", twoWinners, c.of)
			}
			gave[c.of] = c.won.AuthorisationCode
		}
	}
	// Each credential works while it is among the newest and was not ended, and its holder was the one who was told.
	for i, c := range story.redeemed {
		if c == nil || c.won.AuthorisationCode == "" || c.crashed {
			continue
		}
		_, err := s.Authorise(context.Background(), phone, patient, c.won.AuthorisationCode)
		if live := slices.Contains(story.live, c); live != (err == nil) {
			s.wrong("the credential of %s, redemption %d of %d: %v", c.trace, i+1, len(story.redeemed), err)
		}
	}
	s.tokens()
	s.feed()
}

// tokens: whoever asks after somebody was told that the credential has ended is refused (ACT-14).
func (s *schedule) tokens() {
	over := 0 // when somebody was first told so
	for _, c := range s.calls {
		if (c.kind == ends || c.kind == endsOne) && c.err == nil && c.done > 0 && (over == 0 || c.done < over) {
			over = c.done
		}
	}
	for _, c := range s.calls {
		var refusal *activation.Refusal
		switch after := over > 0 && c.began > over; {
		case c.kind != buys || c.crashed:
		case c.err == nil && (after || s.oldID == ""):
			s.wrong("%s bought a token with what had ended, or never was", c.trace)
		case c.err == nil:
			s.met["refreshed"] = true
		case after && s.oldID != "" && errors.As(c.err, &refusal):
			s.met["refused to refresh after the end"] = true
		}
	}
}

// feed: what a record says it ended is published, unless the redemption that replaced it met a fault; and without faults nothing
// that lives is.
func (s *schedule) feed() {
	published := s.published()
	for _, r := range s.store.Records(patient) {
		for _, sid := range strings.Fields(r.Sessions) {
			if !published[sid] && (r.Action != audit.RedeemActivation || s.quiet) {
				s.wrong("%s ended %s, and it is not published", r.Origin.Trace, sid)
			}
		}
	}
	for _, c := range s.head().Credentials {
		if published[c.Session] && s.quiet {
			s.wrong("%s lives, and is published as ended", c.Session)
		}
	}
}

// read follows the records, and finds each that the rules do not allow.
func (s *schedule) read(calls map[string]*call) story {
	t := story{ended: map[string]audit.Reason{}, byTrace: map[string]audit.Record{}, committed: map[string]int{}}
	announced := map[string]bool{}
	for _, r := range s.store.Intents() {
		announced[r.ID] = true
	}
	for i, r := range s.store.Records(patient) {
		c := calls[r.Origin.Trace]
		t.byTrace[r.Origin.Trace] = r
		if t.committed[r.Origin.Trace]++; c != nil && t.committed[r.Origin.Trace] > 1 {
			s.wrong("%s was committed twice", c.trace)
		}
		if r.N != int64(i+1) || !announced[r.ID] {
			s.wrong("record %d has N %d, announced %v", i+1, r.N, announced[r.ID])
		}
		isPending := r.Activation == t.pending && t.pending != ""
		switch {
		case r.Action == audit.CreateActivation:
			if t.pending != "" {
				t.ended[t.pending] = audit.ReasonReplaced
			}
			t.pending, t.attempts = r.Activation, 0
		case r.Action == audit.RevokeActivation:
			if !isPending {
				s.wrong("%s revoked what was not pending", r.Origin.Trace)
			}
			t.ended[r.Activation], t.pending = audit.ReasonRevoked, ""
		case r.Action == audit.RevokeAuthorisation:
			if r.Activation != t.pending || t.pending == "" && len(t.live) == 0 || len(strings.Fields(r.Sessions)) != len(t.live) {
				s.wrong("%s ended %q and %q, with %q pending and %d credentials", r.Origin.Trace, r.Activation, r.Sessions, t.pending, len(t.live))
			}
			t.ended[t.pending], t.pending, t.live = audit.ReasonRevoked, "", nil
			delete(t.ended, "")
		case r.Action == audit.RevokeCredential:
			i := slices.Index(t.live, nil)
			if i < 0 || r.Sessions != s.oldID {
				s.wrong("%s ended %q, which did not live", r.Origin.Trace, r.Sessions)
				break
			}
			t.live = slices.Delete(t.live, i, i+1)
		case r.Outcome == audit.Allowed && r.Reason == "":
			if !isPending || c != nil && (!c.right || !r.Time.Before(s.codes[c.of].Expires)) {
				s.wrong("%s redeemed what it could not", r.Origin.Trace)
			}
			if t.ended[r.Activation] != "" {
				s.wrong("%s redeemed what had ended: %s", r.Origin.Trace, t.ended[r.Activation])
			}
			t.ended[r.Activation], t.pending = audit.ReasonUsed, ""
			t.redeemed = append(t.redeemed, c)
			t.live = append(t.live, c)
			t.live = slices.Clone(t.live[max(0, len(t.live)-s.policy.MaxPerPatient):])
		case r.Outcome == audit.Allowed:
			if t.ended[r.Activation] != audit.ReasonUsed || c.key == "" || !c.right {
				s.wrong("%s was told again", c.trace)
			}
		case isPending:
			if c.right {
				s.wrong("the right OTP of %s was counted as wrong", c.trace)
			}
			if t.attempts++; t.attempts == s.policy.MaxAttempts {
				t.ended[r.Activation], t.pending = audit.ReasonLocked, ""
			}
		case c.key == "" || t.ended[r.Activation] != audit.ReasonUsed:
			s.wrong("an attempt of %s was counted for what had ended", c.trace)
		}
	}
	return t
}

// compare holds the rows against the story.
func (s *schedule) compare(t story) {
	head := s.head()
	pending, attempts := "", 0
	if head.Invitation != nil {
		pending, attempts = head.Invitation.Activation.String(), head.Invitation.Attempts
	}
	if records := s.store.Records(patient); pending != t.pending || pending != "" && attempts != t.attempts || head.N != int64(len(records)) {
		s.wrong("the head: %q pending with %d attempts, %d commits; the records: %q, %d, %d", pending, attempts, head.N, t.pending, t.attempts, len(records))
	}
	if want := len(t.live); len(head.Credentials) != want {
		s.wrong("%d credentials, want %d", len(head.Credentials), want)
	}
	for _, a := range s.rows() {
		why := t.ended[a.ID.String()]
		status, ended := activation.Revoked, why
		switch why {
		case "":
			status = activation.Pending
		case audit.ReasonUsed:
			status, ended = activation.Completed, ""
		}
		if a.Status != status || a.Ended != ended {
			s.wrong("%s stands as %s, %q; its end was %q", a.ID, a.Status, a.Ended, why)
		}
		made, told := s.codes[a.ID]
		if !told {
			continue
		}
		code, err := s.store.Code(context.Background(), s.policy.Keys.Code(subject.Patient, made.Locator))
		if err != nil || code == nil || code.Activation != a.ID || !code.Ended.IsZero() && code.EndedFor != why {
			s.wrong("the code of %s (%q): %+v, %v", a.ID, why, code, err)
		}
	}
}

// hear holds what a call was told against the story.
func (s *schedule) hear(c *call, t story) {
	record, committed := t.byTrace[c.trace]
	if c.unknown() {
		s.met["unknown"] = true
		return
	}
	of := c.of.String()
	var refusal *activation.Refusal
	switch {
	case c.kind == creates && c.err == nil:
		s.met["created"] = true
		if !committed {
			s.met["told again"] = true
			if c.key == "" {
				s.wrong("%s was told of an activation that it did not make", c.trace)
			}
		}
		if committed && record.Activation != of {
			s.wrong("%s was told another activation than it made", c.trace)
		}
	case c.kind == creates && errors.Is(c.err, activation.ErrSuperseded):
		s.met["superseded"] = true
		if committed || c.key == "" {
			s.wrong("%s was told superseded", c.trace)
		}
	case c.kind == revokes && c.err == nil:
		s.met["revoked"] = true
		if why := t.ended[of]; why == "" || why == audit.ReasonUsed {
			s.wrong("%s was told revoked, and the end was %q", c.trace, why)
		}
	case c.kind == revokes && errors.Is(c.err, activation.ErrNotPending):
		s.met["not pending"] = true
		if committed || t.ended[of] != audit.ReasonUsed {
			s.wrong("%s was told not pending, and the end was %q", c.trace, t.ended[of])
		}
	case (c.kind == ends || c.kind == endsOne) && c.err == nil:
		if !committed {
			s.met["nothing to end"] = true
		} else if c.kind == ends {
			s.met["ended all"] = true
		} else {
			s.met["ended one"] = true
		}
	case c.kind == buys && (c.err == nil || errors.As(c.err, &refusal) && refusal.Action == audit.IssueToken):
		if committed {
			s.wrong("%s bought a token and left a record", c.trace)
		}
	case c.kind == redeems && c.err == nil:
		s.met["won"] = true
		if record.Reason == audit.ReasonRepeated {
			s.met["repeated"] = true
		}
		if !committed || record.Outcome != audit.Allowed || !c.right || c.won.Activation != c.of || c.won.Subject != patient {
			s.wrong("%s won, right %v, with the record %+v", c.trace, c.right, record)
		}
	case errors.As(c.err, &refusal):
		s.met[string(refusal.Reason)] = true
		s.refusedAs(c, refusal.Reason, t)
	default:
		s.wrong("%s was told %v", c.trace, c.err)
	}
}

// refusedAs holds a refusal against the story. None goes to a winner, none goes uncounted, and each says what was.
func (s *schedule) refusedAs(c *call, why audit.Reason, t story) {
	record, committed := t.byTrace[c.trace]
	if committed != (why == audit.ReasonWrongOTP) || committed && record.Outcome != audit.Denied {
		s.wrong("%s (right %v) was refused, %s, with the record %+v", c.trace, c.right, why, record)
	}
	if c.trace == "last" && why != audit.ReasonExpired {
		s.wrong("nobody won, and the right OTP is refused: %s", why)
	}
	switch why {
	case audit.ReasonExpired:
		if s.now().Before(s.codes[c.of].Expires) {
			s.wrong("%s was told expired", c.trace)
		}
	case audit.ReasonUsed, audit.ReasonReplaced, audit.ReasonRevoked, audit.ReasonLocked:
		if t.ended[c.of.String()] != why {
			s.wrong("%s was told %s, and the end was %q", c.trace, why, t.ended[c.of.String()])
		}
	case audit.ReasonNotPending: // why could not be read
		if t.ended[c.of.String()] == "" || s.met[string(carried)] && !s.met[string(lostThere)] && !s.met[string(lostBack)] {
			s.wrong("%s was told not pending, and the end was %q", c.trace, t.ended[c.of.String()])
		}
	case audit.ReasonWrongOTP:
		if c.right && c.key == "" {
			s.wrong("the right OTP of %s was called wrong", c.trace)
		}
	default:
		s.wrong("%s was told %s", c.trace, why)
	}
	// The winner who lost the reply and asks again in time under the same key gets it, while the credential lives (ACT-6).
	if c.key == "" || !c.right {
		return
	}
	for _, won := range t.live {
		if won == nil || won.of != c.of || won.key != c.key || c.began < s.landed[won.trace] {
			continue // who asked while it was on its way may have been answered before it came
		}
		if at := t.byTrace[won.trace].Time; c.at.Add(s.shift).Before(at.Add(50 * time.Second)) { // its own waits may take the rest
			s.wrong("%s won, asked again as %s after %s, and was told %s", won.trace, c.trace, c.at.Add(s.shift).Sub(at), why)
		}
	}
}
