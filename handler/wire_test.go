package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// model.md section 9, host-contract.md 3.3: an address is believed only where no client can forge it.
func TestClientAddress(t *testing.T) {
	const ours, theirs = "127.0.0.1:40123", "latchkey.example"
	for _, c := range []struct {
		name               string
		underHost, setting bool
		host               string
		forwardedFor       []string
		remote, agent      string
		want               string
	}{
		{"no host: the peer", false, false, theirs, nil, "203.0.113.9:5000", "", "203.0.113.9"},
		{"no host: the peer, whatever is said", false, true, ours, []string{"198.51.100.7"}, "203.0.113.9:5000", "", "203.0.113.9"},
		{"no host: IPv6", false, false, theirs, nil, "[2001:db8::7]:5000", "", "2001:db8::7"},
		{"no host: IPv4 within IPv6", false, false, theirs, nil, "[::ffff:203.0.113.9]:5000", "", "203.0.113.9"},
		{"no host: a zone says nothing", false, false, theirs, nil, "[fe80::1%eth0]:5000", "", "fe80::1"},
		{"no host: no address", false, false, theirs, nil, "@", "", ""},
		{"proxying, told to", true, true, ours, []string{"203.0.113.9"}, "127.0.0.1:6000", "", "203.0.113.9"},
		{"proxying, a client that plays forwarding", true, true, ours, []string{"203.0.113.9"}, "127.0.0.1:6000", "x Azure-Functions-Host/4.1.2.3", "203.0.113.9"},
		{"proxying, not told to", true, false, ours, []string{"203.0.113.9"}, "127.0.0.1:6000", "", ""},
		{"proxying, two lines", true, true, ours, []string{"203.0.113.9", "198.51.100.7"}, "127.0.0.1:6000", "", ""},
		{"proxying, a list", true, true, ours, []string{"198.51.100.7, 203.0.113.9"}, "127.0.0.1:6000", "", ""},
		{"proxying, a port", true, true, ours, []string{"203.0.113.9:99"}, "127.0.0.1:6000", "", ""},
		{"proxying, junk", true, true, ours, []string{"unknown"}, "127.0.0.1:6000", "", ""},
		{"proxying, none", true, true, ours, nil, "127.0.0.1:6000", "", ""},
		{"forwarding, told to", true, true, theirs, []string{"198.51.100.7"}, "127.0.0.1:6000", "x Azure-Functions-Host/4.1.2.3", ""},
		{"forwarding, not told to", true, false, theirs, []string{"198.51.100.7"}, "127.0.0.1:6000", "x Azure-Functions-Host/4.1.2.3", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/running", nil)
			r.Host, r.RemoteAddr = c.host, c.remote
			r.Header.Set("User-Agent", c.agent)
			for _, v := range c.forwardedFor {
				r.Header.Add("X-Forwarded-For", v)
			}
			local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40123}
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
			if got := clientAddress(c.underHost, c.setting)(r); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
