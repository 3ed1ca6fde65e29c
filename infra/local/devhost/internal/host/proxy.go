package host

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"latchkey/infra/local/devhost/internal/loopback"
	"latchkey/infra/local/devhost/internal/wire"
)

// proxyTries is how often proxying tries in all (RetryProxyHandler); each try
// of a request without a body is sent up to four times.
const proxyTries = 10

// proxy streams the request and the reply (enableProxyingHttpRequest).
func (h *Host) proxy(ctx context.Context, x *exchange, body []byte) {
	call := loopback.Call{Method: x.req.Method, Target: proxiedPath(x.path) + canonicalURI(x.query), Body: body, Sends: 1}
	var empty bool // a body of length 0, which is a body for HttpClient
	call.Header, empty = h.proxiedHeader(x)
	tries := proxyTries
	switch {
	case x.req.Chunked:
		x.expectContinue()
		call.Stream, call.Sent = &limited{x.req.Body, h.bodyLimit}, make(chan struct{})
		tries = 1
		defer x.settle(call.Sent)
	case body != nil:
		tries = 1
	case !empty:
		call.Sends = sendsWithoutBody
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !x.req.Chunked {
		// A client that hangs up cancels the handler's request.
		watch := wire.Watch(x.conn, x.br, true, cancel)
		defer func() { x.close = !watch() || x.close }()
	}
	reply, err := h.try(ctx, call, tries)
	if err != nil {
		x.empty(http.StatusInternalServerError)
		return
	}
	defer reply.Close()
	x.stream(reply)
}

// settle waits until nobody reads the request's body any more; a handler that
// answered without reading all of it costs the client its connection.
func (x *exchange) settle(sent <-chan struct{}) {
	select {
	case <-sent:
	case <-time.After(linger):
		x.close = true
		_ = x.conn.SetReadDeadline(time.Unix(1, 0))
		<-sent
	}
}

// try sends a call until there is a reply.
func (h *Host) try(ctx context.Context, call loopback.Call, tries int) (*loopback.Reply, error) {
	for n := 1; ; n++ {
		reply, err := h.client.Do(ctx, call)
		if err == nil || n == tries || ctx.Err() != nil {
			return reply, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(min(time.Duration(n)*50, 250) * time.Millisecond):
		}
	}
}

// proxiedHeader is what the handler sees in proxying mode (YARP's default
// transforms and the host's three headers). It also reports whether an empty
// body is sent as a body.
func (h *Host) proxiedHeader(x *exchange) (out wire.Header, empty bool) {
	content := false
	for _, l := range x.req.Header.Joined() {
		name := strings.ToLower(l.Name)
		switch name {
		case "host", "connection", "keep-alive", "te", "transfer-encoding", "upgrade", "content-length",
			"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix":
			continue
		case "content-type", "content-encoding", "content-language", "content-disposition", "content-location",
			"content-md5", "content-range", "allow", "expires", "last-modified":
			content = true
		}
		if !strings.HasPrefix(name, "proxy-") {
			out = append(out, l)
		}
	}
	id := h.guid()
	out.Set(hostVersion, Version)
	out.Set(invocationID, id)
	if !out.Has("x-ms-invocation-id") {
		out.Add("x-ms-invocation-id", id)
	}
	out.Add("Host", h.handler)
	out.Add("X-Forwarded-For", x.client)
	out.Add("X-Forwarded-Host", x.req.Header.Get("Host"))
	out.Add("X-Forwarded-Proto", x.scheme)
	switch {
	case x.req.Chunked:
		out.Add("Transfer-Encoding", "chunked")
	case x.req.Length >= 0:
		out.Add("Content-Length", strconv.FormatInt(x.req.Length, 10))
		empty = x.req.Length == 0
	case content || needsLength(x.req.Method):
		out.Add("Content-Length", "0")
		empty = content
	}
	return out, empty
}

// stream passes a reply on as it comes. The head goes out with the first byte
// of the body, so that an empty chunked body gets Content-Length: 0.
func (x *exchange) stream(r *loopback.Reply) {
	var out wire.Header
	for _, l := range r.Header {
		name := strings.ToLower(l.Name)
		switch name {
		case "connection", "keep-alive", "transfer-encoding", "te", "upgrade", "trailer":
			continue
		}
		if !wire.IsASCII(l.Value) || (r.Status == http.StatusResetContent && !r.Body.Done) {
			x.empty(http.StatusInternalServerError)
			return
		}
		if !strings.HasPrefix(name, "proxy-") {
			out = append(out, l)
		}
	}
	chunked := r.Length < 0 && !r.Bodiless && x.req.Minor == 1
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if !x.started && (n > 0 || err == io.EOF) {
			x.streamHead(r, out, chunked && n > 0)
		}
		if n > 0 && chunked {
			wire.WriteChunk(x.bw, buf[:n])
		} else if n > 0 {
			_, _ = x.bw.Write(buf[:n])
		}
		switch {
		case err == io.EOF:
			if chunked && (n > 0 || !x.emptyBody) {
				wire.WriteChunk(x.bw, nil)
			}
			_ = x.bw.Flush()
			return
		case err != nil:
			_ = x.bw.Flush()
			x.abort()
			return
		}
		if x.bw.Flush() != nil {
			x.close = true
			return
		}
	}
}

func (x *exchange) streamHead(r *loopback.Reply, out wire.Header, chunked bool) {
	switch {
	case chunked:
		out.Add("Transfer-Encoding", "chunked")
	case r.Bodiless || r.Length >= 0:
	case x.req.Minor == 0:
		x.close, x.says = true, true
	default:
		x.emptyBody = true
		out.Add("Content-Length", "0")
	}
	x.head(r.Status, r.Reason, out)
}
