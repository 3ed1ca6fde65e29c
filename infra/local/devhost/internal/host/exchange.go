package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"latchkey/infra/local/devhost/internal/wire"
)

// exchange is one request of a client, and the way to answer it. Each is
// answered once.
type exchange struct {
	h    *Host
	conn net.Conn
	br   *bufio.Reader
	bw   *bufio.Writer
	req  *wire.Request

	path   string // decoded
	query  string // as sent, with its "?"
	scheme string
	client string // address without port

	// close: the connection ends after this exchange. says: the client is
	// told so by a header.
	close, says bool
	started     bool
	emptyBody   bool // of a streamed reply without a length
}

var (
	errClientGone = errors.New("the client hung up")
	errTooLarge   = errors.New("the body is over the limit")
)

// prepare reads the target and the connection options. It reports false for a
// target that Kestrel refuses.
func (x *exchange) prepare() bool {
	r := x.req
	target := r.Target
	for _, scheme := range []string{"http://", "https://"} {
		if rest, ok := strings.CutPrefix(target, scheme); ok {
			authority, _, _ := strings.Cut(rest, "/")
			if !strings.EqualFold(authority, r.Header.Get("Host")) {
				return false
			}
			target = rest[len(authority):]
		}
	}
	raw, query, found := strings.Cut(target, "?")
	if found {
		x.query = "?" + query
	}
	if !strings.HasPrefix(raw, "/") && raw != "*" {
		return false
	}
	var ok bool
	if x.path, ok = decodePath(raw); !ok {
		return false
	}
	x.scheme = "http"
	x.client, _, _ = net.SplitHostPort(x.conn.RemoteAddr().String())
	x.close = r.Minor == 0
	for _, t := range r.Header.Tokens("Connection") {
		x.close = t == "close" || (x.close && t != "keep-alive")
	}
	x.says = x.close
	return true
}

// body reads a body of known length to its end before the handler is called,
// as the HTTP binding of the host does.
func (x *exchange) body() ([]byte, error) {
	if x.req.Length > x.h.bodyLimit {
		x.close, x.says = true, true
		return nil, errTooLarge
	}
	x.expectContinue()
	b, err := io.ReadAll(x.req.Body)
	if err != nil {
		return nil, errClientGone
	}
	return b, nil
}

// expectContinue answers Expect: 100-continue, which Kestrel does itself when
// the body is asked for.
func (x *exchange) expectContinue() {
	if x.req.HasBody() && x.req.Minor == 1 && strings.EqualFold(x.req.Header.Get("Expect"), "100-continue") {
		wire.WriteHead(x.bw, "HTTP/1.1 100 Continue", nil)
		_ = x.bw.Flush() // the next read tells
	}
}

// limited is a chunked body that fails beyond the limit.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// head writes the start of a reply and what the host adds to each.
func (x *exchange) head(status int, reason string, h wire.Header) {
	if reason == "" {
		reason = http.StatusText(status)
	}
	if a := x.h.App; a != nil {
		for name, value := range a.CustomHeaders {
			if !h.Has(name) {
				h.Add(name, value)
			}
		}
	}
	if !h.Has("Date") {
		h.Add("Date", x.h.Now().UTC().Format(http.TimeFormat))
	}
	if !h.Has("Server") {
		h.Add("Server", "Kestrel")
	}
	if x.h.draining.Load() {
		x.close, x.says = true, true
	}
	if x.says && !h.Has("Connection") {
		h.Add("Connection", "close")
	}
	x.started = true
	wire.WriteHead(x.bw, fmt.Sprintf("HTTP/1.1 %d %s", status, reason), h)
}

// reply answers with a whole body. Content-Length is added unless the header
// has one or the status allows none.
func (x *exchange) reply(status int, reason string, h wire.Header, body []byte) {
	head := x.req.Method == http.MethodHead
	bodiless := head || status == http.StatusNoContent || status == http.StatusNotModified
	if !h.Has("Content-Length") && (!bodiless || head && len(body) > 0) {
		h.Add("Content-Length", strconv.Itoa(len(body)))
	}
	x.head(status, reason, h)
	if !bodiless {
		_, _ = x.bw.Write(body)
	}
	_ = x.bw.Flush()
}

// empty answers with a status alone: all of the host's own errors look so.
func (x *exchange) empty(status int) { x.reply(status, "", nil, nil) }

// notRunning is the answer of a host in error.
func (x *exchange) notRunning() {
	x.head(http.StatusServiceUnavailable, "", wire.Header{{Name: "Transfer-Encoding", Value: "chunked"}})
	if x.req.Method != http.MethodHead {
		wire.WriteChunk(x.bw, []byte("Function host is not running."))
		wire.WriteChunk(x.bw, nil)
	}
	_ = x.bw.Flush()
}

// abort ends the connection in the middle of a reply.
func (x *exchange) abort() {
	x.close = true
	if tcp, ok := x.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = x.conn.Close()
}
