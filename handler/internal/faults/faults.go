// Package faults makes the table service fail as a network and a busy cloud do, in tests: as a transport under the storage
// client, and as a proxy in front of Azurite for a whole process (threats.md section 2, F-01 to F-06). It owns faults, the
// plans that say which call meets which one, and their replay. It refuses to know what a row means, and is never linked into
// the handler.
package faults

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Op is what a request asks of the table service.
type Op string

// The operations.
const (
	Read        Op = "read" // of one row
	List        Op = "list"
	Insert      Op = "insert"
	Merge       Op = "merge"
	Remove      Op = "remove"
	Transaction Op = "transaction"
)

// Call is one request, as a plan sees it.
type Call struct {
	Op Op
	// Table is "" for a transaction: its address does not say.
	Table string
	// N counts the calls of this Op and Table, from 1.
	N int
}

func (c Call) String() string { return fmt.Sprintf("%s %s #%d", c.Op, c.Table, c.N) }

// call reads the kind of a request from its method and address
// (https://learn.microsoft.com/rest/api/storageservices/table-service-rest-api).
func call(r *http.Request) Call {
	last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if r.Method == http.MethodPost && last == "$batch" {
		return Call{Op: Transaction}
	}
	table, keys, _ := strings.Cut(last, "(")
	c := Call{Op: Merge, Table: table}
	switch {
	case r.Method == http.MethodGet && len(keys) > 1:
		c.Op = Read
	case r.Method == http.MethodGet:
		c.Op = List
	case r.Method == http.MethodPost && keys == "":
		c.Op = Insert
	case r.Method == http.MethodDelete:
		c.Op = Remove
	}
	return c
}

// Carry is how often, and when, a request reaches the service.
type Carry string

// The ways of a request.
const (
	Once  Carry = ""
	Never Carry = "never"
	Twice Carry = "twice" // delivered again by the network
	Late  Carry = "late"  // after the caller was told that it failed
)

// Reply is what the caller gets.
type Reply string

// The replies. Of a request that never or too late reaches the service, or whose reply has no body to spoil, Genuine, First,
// Truncated and Garbled are as Lost.
const (
	Genuine        Reply = ""            // the service's; of two, the second
	First          Reply = "first"       // of two
	Lost           Reply = "lost"        // the connection ends without one
	Hung           Reply = "hung"        // there is none until the caller gives up
	Truncated      Reply = "truncated"   // it breaks off in its body
	Garbled        Reply = "garbled"     // its body is noise of the same length
	Busy           Reply = "503"         // ServerBusy
	BusyRetryAfter Reply = "503 in 1 s"  // with Retry-After: 1
	Throttled      Reply = "429"         // without a Retry-After
	Failed         Reply = "500"         // OperationTimedOut: nobody knows whether it was carried out
	Unreachable    Reply = "502 of HTML" // of a proxy on the way
)

// Fault is what becomes of one call. The zero value is none.
type Fault struct {
	Carry Carry
	Reply Reply
	// Pause goes before the request is carried out; with Late, between the caller's failure and that.
	Pause time.Duration
}

func (f Fault) String() string {
	text := "carried out"
	if f.Carry != Once {
		text += " " + string(f.Carry)
	}
	if f.Pause > 0 {
		text += " after " + f.Pause.String()
	}
	if f.Reply != Genuine {
		text += ", reply " + string(f.Reply)
	}
	return text
}

// All is the catalogue: each fault on both sides of the write, where it has two. pause is that of the delayed ones.
func All(pause time.Duration) []Fault {
	var all []Fault
	for _, reply := range []Reply{Lost, Busy, Throttled, Failed, Unreachable} {
		all = append(all, Fault{Carry: Never, Reply: reply}, Fault{Reply: reply})
	}
	return append(all,
		Fault{Reply: Truncated}, Fault{Reply: Garbled},
		Fault{Carry: Twice}, Fault{Carry: Twice, Reply: First}, Fault{Carry: Twice, Reply: Lost},
		Fault{Carry: Late, Pause: pause}, Fault{Carry: Late, Reply: Busy, Pause: pause}, Fault{Pause: pause},
	)
}

// Plan decides what becomes of a call. It may be asked by many at once.
type Plan func(Call) Fault

// None is the plan without faults.
func None(Call) Fault { return Fault{} }

// Rule is a fault for some calls of one kind.
type Rule struct {
	Op    Op     // "" = every one
	Table string // "" = every one
	// Nth is the first call of the kind that is hit, Times how many are from there on; 0 = 1.
	Nth, Times int
	Fault      Fault
}

// Rules is a plan in which the first rule that hits a call decides.
func Rules(rules ...Rule) Plan {
	seen := make([]atomic.Int64, len(rules))
	return func(c Call) Fault {
		hit := Fault{}
		found := false
		for i, rule := range rules {
			if rule.Op != "" && rule.Op != c.Op || rule.Table != "" && rule.Table != c.Table {
				continue
			}
			n, first := int(seen[i].Add(1)), max(rule.Nth, 1)
			if !found && n >= first && n < first+max(rule.Times, 1) {
				hit, found = rule.Fault, true
			}
		}
		return hit
	}
}

// Seeded is a plan that hits each call with the given chance (0 to 1) with one of the faults. What the nth call of a kind
// meets depends on the seed alone, so that a seed replays a schedule, whatever runs beside it.
func Seeded(seed uint64, chance float64, faults ...Fault) Plan {
	return func(c Call) Fault {
		h := fnv.New64a()
		fmt.Fprint(h, c)
		draw := rand.New(rand.NewPCG(seed, h.Sum64()))
		if draw.Float64() >= chance {
			return Fault{}
		}
		return faults[draw.IntN(len(faults))]
	}
}

// seedVariable replays a schedule.
const seedVariable = "LATCHKEY_SEED"

// Seed is the seed of a test: LATCHKEY_SEED, or a fresh one. It is printed if the test fails.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("replay it with %s=%d", seedVariable, seed)
		}
	})
	return seed
}
