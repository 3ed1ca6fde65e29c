package wire

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// Watch looks out for the end of a connection on which nothing is expected
// for now, and calls gone if the peer hangs up (or, for a connection that
// must stay silent, sends something). The function it returns ends the watch
// and reports whether the connection is still good. Nobody else may read from
// the connection meanwhile.
func Watch(c net.Conn, br *bufio.Reader, mayTalk bool, gone func()) (stop func() bool) {
	var mu sync.Mutex
	stopped, good := false, true
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := br.Peek(1)
		mu.Lock()
		defer mu.Unlock()
		if stopped || (err == nil && mayTalk) {
			return
		}
		good = false
		gone()
	}()
	return func() bool {
		mu.Lock()
		stopped = true
		mu.Unlock()
		// A deadline in the past wakes the reader up without losing a byte.
		_ = c.SetReadDeadline(time.Unix(1, 0))
		<-done
		_ = c.SetReadDeadline(time.Time{})
		return good
	}
}
