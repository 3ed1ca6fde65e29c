package caller

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// ABU-4: no token of a stranger costs a millisecond or a megabyte. These are the dearest that fit into 16 KiB, each by what one
// part of the reader does for it.
func TestABU4_NoTokenOfAStrangerCostsMuch(t *testing.T) {
	b := newBench(t)
	_, _ = b.verify(signed(header(), v2())) // the keys are there
	plain := string(must(json.Marshal(header())))
	// whole is an object in which a value stands as often as it fits.
	whole := func(value string, bytes int) string {
		return `{"x":[` + strings.TrimSuffix(strings.Repeat(value+",", (bytes-8)/(len(value)+1)), ",") + `]}`
	}
	const room = 12_200 // bytes, base64url of which fits beside the header
	var names strings.Builder
	for i := range 850 {
		fmt.Fprintf(&names, `"É%x":1,`, i)
	}
	cost := func(name, header, claims string) (least time.Duration, memory uint64) {
		raw := b64([]byte(header)) + "." + b64([]byte(claims)) + ".AA"
		if len(raw) > maxToken {
			t.Fatalf("%s: %d bytes", name, len(raw))
		}
		// Other programs only ever add to the time: the least of several is the token's own.
		least = time.Hour
		var before, after runtime.MemStats
		for range 20 {
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, err := b.verify(raw)
			least = min(least, time.Since(began))
			runtime.ReadMemStats(&after)
			if causeOf(err) == "" {
				t.Fatalf("%s: %v", name, err)
			}
		}
		memory = after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %s, %d KB", name, least, memory>>10)
		return least, memory
	}
	// The race detector makes everything slower, a plain text too.
	text, _ := cost("a text", plain, `{"iss":"`+strings.Repeat("a", room-12)+`"}`)
	limit := max(time.Millisecond, 10*text)
	for name, parts := range map[string][2]string{
		"objects":             {plain, whole(`{"A":1}`, 7990)}, // 2,000 values
		"objects in both":     {whole(`{"A":1}`, 4100), whole(`{"A":1}`, 7990)},
		"objects in a header": {whole(`{"A":1}`, room), "{}"},
		"names":               {plain, "{" + strings.TrimSuffix(names.String(), ",") + "}"},
		"escapes":             {plain, whole(`"\n"`, 9990)},
		// Between two doubles: who reads them as such has to go a long way.
		"numbers in the middle": {plain, whole("1.23400000000000001423e+300", room)},
	} {
		if least, memory := cost(name, parts[0], parts[1]); least > limit || memory > 768<<10 { // the request around it takes some too
			t.Errorf("%s: %s, %d KB, want at most %s and 768 KB", name, least, memory>>10, limit)
		}
	}
}
