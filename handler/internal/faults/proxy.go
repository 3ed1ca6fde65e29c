package faults

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Proxy stands between a whole process and the table service, lets faults happen to single calls, and cuts connections. It ends
// TLS and begins it anew, because it must know a write from a read.
type Proxy struct {
	// URL is the address to give out as the service's: the upstream's path at the proxy's own host.
	URL string
	// Transport is the way to the service, with its plan.
	Transport *Transport

	server *http.Server
	mu     sync.Mutex
	open   map[net.Conn]bool
}

// StartProxy starts a proxy on a free port of 127.0.0.1, in front of upstream, an https URL. certificate is what it shows;
// next reaches the upstream. The caller must Close it.
func StartProxy(upstream string, certificate tls.Certificate, next http.RoundTripper, plan Plan) (*Proxy, error) {
	to, err := url.Parse(upstream)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	own := *to
	own.Host = listener.Addr().String()
	p := &Proxy{URL: own.String(), Transport: NewTransport(next.RoundTrip, plan), open: map[net.Conn]bool{}}
	p.server = &http.Server{
		Handler:           p.to(to),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute, // as the service: a client's write must not race it
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // no HTTP/2: a cut call is a cut connection
		ConnState:         p.watch,
		ErrorLog:          log.New(io.Discard, "", 0), // cut handshakes are wanted
	}
	go func() { _ = p.server.ServeTLS(listener, "", "") }()
	return p, nil
}

// Close ends the proxy and all its connections, and waits for what is late.
func (p *Proxy) Close() error {
	err := p.server.Close()
	p.Transport.Settle()
	return err
}

// Cut resets every connection, whatever travels on it. New ones are taken.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		if t, ok := c.(*tls.Conn); ok {
			c = t.NetConn()
		}
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // a reset, not a polite end
		}
		c.Close()
	}
}

func (p *Proxy) watch(c net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case http.StateNew:
		p.open[c] = true
	case http.StateClosed, http.StateHijacked:
		delete(p.open, c)
	}
}

func (p *Proxy) to(upstream *url.URL) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host, out.Host, out.RequestURI = upstream.Scheme, upstream.Host, upstream.Host, ""
		resp, err := p.Transport.RoundTrip(out)
		if err != nil {
			panic(http.ErrAbortHandler) // the connection ends without an answer
		}
		defer resp.Body.Close()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		_, err = io.Copy(w, resp.Body)
		if err = errors.Join(err, http.NewResponseController(w).Flush()); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
}
