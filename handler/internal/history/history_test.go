package history

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// at is a call of a history that is written down: who, what, the reply, from and to (in milliseconds).
type at struct {
	client   int
	call     Call
	reply    Reply
	from, to int
}

func judge(t *testing.T, rules Rules, calls ...at) error {
	t.Helper()
	r := NewRecorder(func() time.Time { return time.Time{} })
	for _, c := range calls {
		r.add(c.client, c.call, c.reply, time.Duration(c.from)*time.Millisecond, time.Duration(c.to)*time.Millisecond)
	}
	return r.Check(rules, 10*time.Second)
}

var rules = Rules{Attempts: 3, Credentials: 1}

func create(key string) Call     { return Call{Action: Create, Key: key} }
func right(id, key string) Call  { return Call{Action: Redeem, Activation: id, Right: true, Key: key} }
func wrong(id, key string) Call  { return Call{Action: Redeem, Activation: id, Key: key} }
func refresh(code string) Call   { return Call{Action: Refresh, Code: code} }
func revoke(id string) Call      { return Call{Action: Revoke, Activation: id} }
func endAll() Call               { return Call{Action: EndAll} }
func made(id string) Reply       { return Reply{Outcome: Done, Activation: id} }
func won(code string) Reply      { return Reply{Outcome: Done, Code: code} }
func said(outcome Outcome) Reply { return Reply{Outcome: outcome} }
func inTurn(calls ...at) (all []at) {
	for i, c := range calls {
		c.from, c.to = 10*i, 10*i+9
		all = append(all, c)
	}
	return all
}

// tell is a call in a history of one after the other.
func tell(call Call, reply Reply) at { return at{call: call, reply: reply} }

func TestLegalHistories(t *testing.T) {
	misses := func(n int, id string) (all []at) {
		for range n {
			all = append(all, tell(wrong(id, ""), said(Refused)))
		}
		return all
	}
	for name, calls := range map[string][]at{
		"nothing": nil,
		"the main job": inTurn(tell(create(""), made("a")), tell(wrong("a", ""), said(Refused)), tell(right("a", ""), won("x")),
			tell(refresh("x"), said(Done)), tell(right("a", ""), said(Refused)), tell(refresh("x"), said(Done))),
		"a new phone ends the old one": inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(create(""), made("b")),
			tell(refresh("x"), said(Done)), tell(right("b", ""), won("y")), tell(refresh("x"), said(Refused)), tell(refresh("y"), said(Done))),
		"a lost phone": inTurn(tell(create(""), made("a")), tell(right("a", "l"), won("x")), tell(create(""), made("b")), tell(endAll(), said(Done)),
			tell(refresh("x"), said(Refused)), tell(right("b", ""), said(Refused)), tell(right("a", "l"), said(Refused)), tell(endAll(), said(Done)),
			tell(create(""), made("c")), tell(right("c", ""), won("y")), tell(refresh("y"), said(Done))),
		"a lost end that happened later": inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(endAll(), said(Unknown)),
			tell(refresh("x"), said(Done)), tell(refresh("x"), said(Refused))),
		"a refresh on its way while the phone is reported": {
			{0, create(""), made("a"), 0, 1}, {0, right("a", ""), won("x"), 2, 3}, {1, endAll(), said(Done), 4, 8}, {2, refresh("x"), said(Done), 5, 12},
		},
		"a replaced code is dead": inTurn(tell(create(""), made("a")), tell(create(""), made("b")), tell(right("a", ""), said(Refused)),
			tell(right("b", ""), won("x"))),
		"locked": inTurn(append(append([]at{tell(create(""), made("a"))}, misses(3, "a")...), tell(right("a", ""), said(Refused)),
			tell(revoke("a"), said(Done)))...),
		"the last attempt is good": inTurn(append(append([]at{tell(create(""), made("a"))}, misses(2, "a")...), tell(right("a", ""), won("x")))...),
		"revoked": inTurn(tell(create(""), made("a")), tell(revoke("a"), said(Done)), tell(right("a", ""), said(Refused)),
			tell(revoke("a"), said(Done))),
		"too late to revoke": inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(revoke("a"), said(NotPending)),
			tell(refresh("x"), said(Done))),
		"one of two at once": {
			{0, create(""), made("a"), 0, 1}, {0, right("a", ""), said(Refused), 2, 9}, {1, right("a", ""), won("x"), 3, 8},
		},
		"told again": inTurn(tell(create("k"), made("a")), tell(create("k"), made("a")), tell(right("a", "l"), won("x")),
			tell(right("a", "l"), won("x")), tell(right("a", ""), said(Refused)), tell(right("a", "m"), said(Refused)),
			tell(create("k"), said(Superseded))),
		"a winner that was replaced is not told again": inTurn(tell(create(""), made("a")), tell(right("a", "l"), won("x")),
			tell(create(""), made("b")), tell(right("b", ""), won("y")), tell(right("a", "l"), said(Refused))),
		"a lost redemption that happened": inTurn(tell(create(""), made("a")), tell(right("a", ""), said(Unknown)),
			tell(right("a", ""), said(Refused))),
		"a lost redemption that did not": inTurn(tell(create(""), made("a")), tell(right("a", ""), said(Unknown)),
			tell(right("a", ""), won("x"))),
		"a lost redemption that happened later": inTurn(tell(create(""), made("a")), tell(right("a", ""), said(Unknown)),
			tell(wrong("a", ""), said(Refused)), tell(create(""), made("b")), tell(right("b", ""), won("y")), tell(refresh("y"), said(Done))),
		"a lost one replaces a credential at any time": inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")),
			tell(create(""), made("b")), tell(right("b", ""), said(Unknown)), tell(refresh("x"), said(Done)), tell(refresh("x"), said(Refused))),
		"a lost redemption, told again": inTurn(tell(create(""), made("a")), tell(right("a", "l"), said(Unknown)),
			tell(right("a", "m"), said(Refused)), tell(right("a", "l"), won("x")), tell(refresh("x"), said(Done))),
		"a lost creation, told again": inTurn(tell(create("k"), said(Unknown)), tell(create("k"), made("a")), tell(right("a", ""), won("x")),
			tell(create("k"), said(Superseded))),
		"lost misses may count": inTurn(tell(create(""), made("a")), tell(wrong("a", ""), said(Refused)), tell(wrong("a", ""), said(Refused)),
			tell(wrong("a", ""), said(Unknown)), tell(right("a", ""), said(Refused))),
		"lost misses may not count": inTurn(tell(create(""), made("a")), tell(wrong("a", ""), said(Refused)), tell(wrong("a", ""), said(Refused)),
			tell(wrong("a", ""), said(Unknown)), tell(right("a", ""), won("x"))),
		"ten wrong OTPs under the winner's key": inTurn(append(append(
			[]at{tell(create(""), made("a")), tell(right("a", "l"), won("x"))}, repeated(10, tell(wrong("a", "l"), said(Refused)))...),
			tell(right("a", "l"), said(Refused)), tell(refresh("x"), said(Done)))...),
	} {
		if err := judge(t, rules, calls...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func repeated(n int, c at) (all []at) {
	for range n {
		all = append(all, c)
	}
	return all
}

func TestIllegalHistories(t *testing.T) {
	miss := func(id string) at { return tell(wrong(id, ""), said(Refused)) }
	for name, calls := range map[string][]at{
		"two winners":                   inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(right("a", ""), won("y"))),
		"two winners at once":           {{0, create(""), made("a"), 0, 1}, {0, right("a", ""), won("x"), 2, 9}, {1, right("a", ""), won("y"), 3, 8}},
		"no winner":                     inTurn(tell(create(""), made("a")), tell(right("a", ""), said(Refused))),
		"no winner of two":              {{0, create(""), made("a"), 0, 1}, {0, right("a", ""), said(Refused), 2, 9}, {1, right("a", ""), said(Refused), 3, 8}},
		"a wrong OTP wins":              inTurn(tell(create(""), made("a")), tell(wrong("a", ""), won("x"))),
		"an attempt too many":           inTurn(tell(create(""), made("a")), miss("a"), miss("a"), miss("a"), tell(right("a", ""), won("x"))),
		"locked too early":              inTurn(tell(create(""), made("a")), miss("a"), miss("a"), tell(right("a", ""), said(Refused))),
		"a replaced code works":         inTurn(tell(create(""), made("a")), tell(create(""), made("b")), tell(right("a", ""), won("x"))),
		"a revoked code works":          inTurn(tell(create(""), made("a")), tell(revoke("a"), said(Done)), tell(right("a", ""), won("x"))),
		"a used one is revoked":         inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(revoke("a"), said(Done))),
		"a pending one is not":          inTurn(tell(create(""), made("a")), tell(revoke("a"), said(NotPending))),
		"a lost phone buys":             inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(endAll(), said(Done)), tell(refresh("x"), said(Done))),
		"a lost phone's new code works": inTurn(tell(create(""), made("a")), tell(endAll(), said(Done)), tell(right("a", ""), won("x"))),
		"a lost phone is told again": inTurn(tell(create(""), made("a")), tell(right("a", "l"), won("x")), tell(endAll(), said(Done)),
			tell(right("a", "l"), won("x"))),
		"a code does not work": inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(refresh("x"), said(Refused))),
		"an ended code works": inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(create(""), made("b")),
			tell(right("b", ""), won("y")), tell(refresh("x"), said(Done))),
		"a code comes back": inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(create(""), made("b")),
			tell(right("b", ""), said(Unknown)), tell(refresh("x"), said(Refused)), tell(refresh("x"), said(Done))),
		"a winner is told no under its key": inTurn(tell(create(""), made("a")), tell(right("a", "l"), won("x")), tell(right("a", "l"), said(Refused))),
		"a lost winner is told no under its key": inTurn(tell(create(""), made("a")), tell(right("a", "l"), said(Unknown)),
			tell(right("a", "m"), said(Refused)), tell(right("a", "l"), said(Refused))),
		"another key is told":  inTurn(tell(create(""), made("a")), tell(right("a", "l"), won("x")), tell(right("a", "m"), won("x"))),
		"another code is told": inTurn(tell(create(""), made("a")), tell(right("a", "l"), won("x")), tell(right("a", "l"), won("y"))),
		"a wrong OTP is told":  inTurn(tell(create(""), made("a")), tell(right("a", "l"), won("x")), tell(wrong("a", "l"), won("x"))),
		"told after ten misses": inTurn(append(append(
			[]at{tell(create(""), made("a")), tell(right("a", "l"), won("x"))}, repeated(10, tell(wrong("a", "l"), said(Refused)))...),
			tell(right("a", "l"), won("x")))...),
		"two of one creation":     inTurn(tell(create("k"), made("a")), tell(create("k"), made("b"))),
		"superseded for nothing":  inTurn(tell(create("k"), made("a")), tell(create("k"), said(Superseded))),
		"superseded without one":  inTurn(tell(create("k"), said(Superseded))),
		"told after it was used":  inTurn(tell(create("k"), made("a")), tell(right("a", ""), won("x")), tell(create("k"), made("a"))),
		"an id is given twice":    inTurn(tell(create(""), made("a")), tell(create(""), made("a"))),
		"a code is given twice":   inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(create(""), made("b")), tell(right("b", ""), won("x"))),
		"a reply before its call": inTurn(tell(refresh("x"), said(Done)), tell(create(""), made("a")), tell(right("a", ""), won("x"))),
		"lost calls explain one winner, not two": inTurn(tell(create(""), made("a")), tell(create(""), said(Unknown)),
			tell(right("a", ""), won("x")), tell(right("a", ""), won("y"))),
	} {
		if err := judge(t, rules, calls...); !errors.Is(err, ErrIllegal) {
			t.Errorf("%s: got %v, want ErrIllegal", name, err)
		}
	}
}

func TestTheErrorShowsTheHistory(t *testing.T) {
	err := judge(t, rules, inTurn(tell(create("k"), made("a")), tell(right("a", "l"), said(Refused)))...)
	for _, part := range []string{"create under k -> done a", "redeem a right under l -> refused"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}

func TestSeveralCredentials(t *testing.T) {
	calls := inTurn(tell(create(""), made("a")), tell(right("a", ""), won("x")), tell(create(""), made("b")), tell(right("b", ""), won("y")),
		tell(refresh("x"), said(Done)), tell(refresh("y"), said(Done)), tell(create(""), made("c")), tell(right("c", ""), won("z")),
		tell(refresh("x"), said(Refused)), tell(refresh("y"), said(Done)))
	if err := judge(t, Rules{Attempts: 3, Credentials: 2}, calls...); err != nil {
		t.Error(err)
	}
	if err := judge(t, Rules{Attempts: 3, Credentials: 3}, calls...); !errors.Is(err, ErrIllegal) {
		t.Errorf("got %v", err)
	}
}

func TestALongHistoryIsNotJudged(t *testing.T) {
	if err := judge(t, rules, at{0, create(""), made("a"), 0, 60_000}); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v", err)
	}
}
