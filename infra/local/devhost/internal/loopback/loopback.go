// Package loopback sends requests to the handler on 127.0.0.1.
//
// It owns the pool of connections and the rule by which .NET's HttpClient
// sends a request again when a connection closes before the first byte of a
// reply. It refuses redirects, cookies and decompression: replies pass as
// they are.
package loopback

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"latchkey/infra/local/devhost/internal/wire"
)

// Call is a request to the handler. The header must be complete: Host, and
// Content-Length or Transfer-Encoding if there is a body.
type Call struct {
	Method, Target string
	Header         wire.Header
	Body           []byte    // sent as it is
	Stream         io.Reader // sent in chunks while it is read; instead of Body
	// Sent, if there is a Stream, is closed when nothing reads from it any
	// more, however the call ends.
	Sent chan struct{}
	// Sends is how often the call may be sent in all if the connection
	// closes before any reply byte (host-contract: 4 without a body, else 1).
	Sends int
}

// Reply is what the handler answered. It must be closed.
type Reply struct {
	*wire.Response
	end func(reuse bool)
}

// Close gives the connection back, or drops it if the body was not read to
// its end. It is to be called once.
func (r *Reply) Close() { r.end(r.Body.Done && !r.Response.Close) }

// Client talks to one port of 127.0.0.1.
type Client struct {
	addr string
	mu   sync.Mutex
	idle []*pooled
}

type pooled struct {
	net.Conn
	br   *bufio.Reader
	stop func() bool
}

// idleFor is how long the real host keeps an idle connection (73 to 75 s).
const idleFor = 74 * time.Second

// New returns a client for that address ("127.0.0.1:port").
func New(addr string) *Client { return &Client{addr: addr} }

// Do sends the call, as often as it allows, and reads the head of the reply.
// The error is wire.ErrNoReply if every connection closed unanswered.
func (c *Client) Do(ctx context.Context, call Call) (*Reply, error) {
	for n := 1; ; n++ {
		reply, err := c.once(ctx, call)
		if err == nil || ctx.Err() != nil || n >= call.Sends || !errors.Is(err, wire.ErrNoReply) {
			return reply, err
		}
	}
}

func (c *Client) once(ctx context.Context, call Call) (*Reply, error) {
	conn, err := c.take(ctx)
	if err != nil {
		if call.Stream != nil {
			close(call.Sent)
		}
		return nil, err
	}
	abort := context.AfterFunc(ctx, func() { _ = conn.Close() })
	end := func(reuse bool) {
		if abort() && reuse {
			c.put(conn)
			return
		}
		_ = conn.Close()
	}
	bw := bufio.NewWriterSize(conn, 16<<10)
	wire.WriteHead(bw, call.Method+" "+call.Target+" HTTP/1.1", call.Header)
	if call.Stream == nil {
		_, _ = bw.Write(call.Body)
		err = bw.Flush()
	} else {
		// The reply may come before the body has ended.
		go func() {
			defer close(call.Sent)
			if err := stream(bw, call.Stream); err != nil {
				_ = conn.Close()
			}
		}()
	}
	if err != nil {
		end(false)
		return nil, errors.Join(wire.ErrNoReply, err)
	}
	resp, err := wire.ReadResponse(conn.br, call.Method)
	if err != nil {
		end(false)
		return nil, err
	}
	if closesAfter(call.Header) || call.Stream != nil {
		resp.Close = true
	}
	return &Reply{Response: resp, end: end}, nil
}

// closesAfter: a "Connection: close" that is passed on ends the connection.
func closesAfter(h wire.Header) bool {
	for _, t := range h.Tokens("Connection") {
		if t == "close" {
			return true
		}
	}
	return false
}

func stream(bw *bufio.Writer, r io.Reader) error {
	if err := bw.Flush(); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			wire.WriteChunk(bw, buf[:n])
			if err := bw.Flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			wire.WriteChunk(bw, nil)
			return bw.Flush()
		}
		if err != nil {
			return err
		}
	}
}

func (c *Client) take(ctx context.Context) (*pooled, error) {
	for {
		c.mu.Lock()
		n := len(c.idle)
		if n == 0 {
			c.mu.Unlock()
			break
		}
		p := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		if p.stop() {
			return p, nil
		}
		_ = p.Close()
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", c.addr)
	if err != nil {
		return nil, err
	}
	return &pooled{Conn: conn, br: bufio.NewReaderSize(conn, 16<<10)}, nil
}

func (c *Client) put(p *pooled) {
	old := time.AfterFunc(idleFor, func() { _ = p.Close() })
	watch := wire.Watch(p.Conn, p.br, false, func() { _ = p.Close() })
	p.stop = func() bool { return old.Stop() && watch() }
	c.mu.Lock()
	c.idle = append(c.idle, p)
	c.mu.Unlock()
}

// CloseIdle drops the connections that wait in the pool.
func (c *Client) CloseIdle() {
	c.mu.Lock()
	idle := c.idle
	c.idle = nil
	c.mu.Unlock()
	for _, p := range idle {
		_ = p.Close()
	}
}
