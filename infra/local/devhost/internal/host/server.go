package host

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"latchkey/infra/local/devhost/internal/wire"
)

const (
	drainLimit = 30 * time.Second // for running requests at shutdown
	drainBody  = 5 * time.Second  // for a body that nobody wanted
	linger     = 500 * time.Millisecond
)

// conns keeps account of connections, so that idle ones can be closed at once
// and busy ones waited for.
type conns struct {
	mu      sync.Mutex
	busy    map[net.Conn]bool
	closing bool
	wg      sync.WaitGroup // the accept loop and every connection
}

func (c *conns) add(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wg.Add(1)
	c.busy[conn] = false
}

// set notes whether a request runs; it reports false if the connection has to
// end instead.
func (c *conns) set(conn net.Conn, busy bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[conn] = busy
	return busy || !c.closing
}

func (c *conns) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, conn)
	c.wg.Done()
}

func (c *conns) close(busyToo bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	for conn, busy := range c.busy {
		if busyToo || !busy {
			_ = conn.Close()
		}
	}
}

// serve accepts connections until the listener is closed.
func (h *Host) serve(ctx context.Context, ln net.Listener) {
	defer h.conns.wg.Done()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			h.Log.Error("accept: " + err.Error())
			time.Sleep(10 * time.Millisecond)
			continue
		}
		h.conns.add(conn)
		go func() {
			defer h.conns.remove(conn)
			defer conn.Close()
			h.connection(ctx, conn)
		}()
	}
}

// drain finishes running requests, up to the limit.
func (h *Host) drain() {
	h.draining.Store(true)
	h.conns.close(false)
	done := make(chan struct{})
	go func() { h.conns.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(drainLimit):
		h.Log.Warn("requests still run after 30 s, they are cut off")
		h.conns.close(true)
	}
}

func (h *Host) connection(ctx context.Context, conn net.Conn) {
	br, bw := bufio.NewReaderSize(conn, 16<<10), bufio.NewWriterSize(conn, 16<<10)
	for h.conns.set(conn, false) {
		if _, err := br.Peek(1); err != nil {
			return
		}
		h.conns.set(conn, true)
		req, err := wire.ReadRequest(br)
		x := &exchange{h: h, conn: conn, br: br, bw: bw, req: req}
		var refusal *wire.Refusal
		switch {
		case errors.As(err, &refusal):
			h.refuse(x, refusal.Status)
			return
		case err != nil:
			return
		case !x.prepare():
			h.refuse(x, http.StatusBadRequest)
			return
		}
		h.dispatch(ctx, x)
		if x.close {
			h.linger(conn, br)
			return
		}
		if !h.discard(conn, req) {
			return
		}
	}
}

// refuse answers as Kestrel does what never becomes a request, and hangs up.
func (h *Host) refuse(x *exchange, status int) {
	wire.WriteHead(x.bw, "HTTP/1.1 "+statusLine(status), wire.Header{
		{Name: "Content-Length", Value: "0"}, {Name: "Connection", Value: "close"},
		{Name: "Date", Value: h.Now().UTC().Format(http.TimeFormat)}, {Name: "Server", Value: "Kestrel"}})
	_ = x.bw.Flush()
	h.linger(x.conn, x.br)
}

// statusLine uses Kestrel's words where they differ from Go's.
func statusLine(status int) string {
	if status == http.StatusRequestURITooLong {
		return "414 URI Too Long"
	}
	return strings.Join([]string{strconv.Itoa(status), http.StatusText(status)}, " ")
}

// discard reads the rest of a body, so that the connection can be used again.
func (h *Host) discard(conn net.Conn, req *wire.Request) bool {
	if req.Body.Done {
		return true
	}
	_ = conn.SetReadDeadline(h.Now().Add(drainBody))
	_, err := io.Copy(io.Discard, req.Body)
	_ = conn.SetReadDeadline(time.Time{})
	return err == nil
}

// linger lets the client read the reply before the connection is reset
// over bytes that nobody reads.
func (h *Host) linger(conn net.Conn, br *bufio.Reader) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil {
		return
	}
	_ = conn.SetReadDeadline(h.Now().Add(linger))
	_, _ = io.Copy(io.Discard, br)
}
