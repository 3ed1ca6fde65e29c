package stack

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are drawn below the ranges that Linux and macOS take the local ports
// of outgoing connections from (32768 and 49152 upwards), so that nothing
// takes the port of a part while it is stopped.
const (
	firstPort = 20000
	lastPort  = 31999
)

// freePorts sets each of into to a port of 127.0.0.1 that nobody listens on.
func freePorts(into ...*int) error {
	taken := make(map[int]bool)
	for _, port := range into {
		found := false
		for range 200 {
			p := firstPort + rand.IntN(lastPort-firstPort+1)
			if !taken[p] && PortFree(p) {
				*port, taken[p], found = p, true, true
				break
			}
		}
		if !found {
			return errors.New("no free port on 127.0.0.1")
		}
	}
	return nil
}

// PortFree reports whether nobody listens on the port of 127.0.0.1 now.
func PortFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// FreePort returns a port of 127.0.0.1 that nobody listens on.
func FreePort() (int, error) {
	var port int
	return port, freePorts(&port)
}
