package host

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"latchkey/infra/local/devhost/internal/loopback"
	"latchkey/infra/local/devhost/internal/wire"
)

// Headers of the host towards the handler.
const (
	hostVersion  = "X-Azure-Functions-HostVersion"
	invocationID = "X-Azure-Functions-InvocationId"
	userAgent    = "Azure-Functions-Host/" + Version
)

// sendsWithoutBody is how often a request without a body is sent in all while
// connections close before any byte of a reply.
const sendsWithoutBody = 4

func header(name, value string) wire.Header { return wire.Header{{Name: name, Value: value}} }

// needsLength: .NET sends Content-Length: 0 for these even without a body.
func needsLength(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, http.MethodConnect:
		return false
	}
	return true
}

// forward sends the request anew and buffers request and reply
// (enableForwardingHttpRequest).
func (h *Host) forward(ctx context.Context, x *exchange, body []byte, timedOut func() bool) {
	fail := func() {
		if timedOut() {
			<-ctx.Done()
		}
		x.empty(http.StatusInternalServerError)
	}
	head, ok := h.forwardedHeader(x)
	if !ok {
		fail()
		return
	}
	call := loopback.Call{Method: x.req.Method, Target: forwardedPath(x.path) + forwardedQuery(x.query),
		Header: head, Body: body, Sends: 1}
	if body == nil {
		call.Sends = sendsWithoutBody
	}
	reply, err := h.client.Do(ctx, call)
	if err != nil {
		fail()
		return
	}
	defer reply.Close()
	got, err := io.ReadAll(reply.Body)
	if err != nil || (reply.Status == http.StatusResetContent && len(got) > 0) {
		fail()
		return
	}
	x.buffered(reply, got)
}

// forwardedHeader is what the handler sees in forwarding mode. It reports
// false where building the request throws: a chunked body, or a Content-Type
// that does not parse.
func (h *Host) forwardedHeader(x *exchange) (wire.Header, bool) {
	if x.req.Chunked {
		return nil, false
	}
	var out wire.Header
	in := x.req.Header.Joined()
	for _, l := range in {
		switch strings.ToLower(l.Name) {
		case "content-type", "content-length", "content-encoding", "content-language", "content-disposition",
			"content-location", "content-md5", "content-range", "allow", "expires", "last-modified":
			// They cannot live on a request message and are lost.
		case "user-agent":
		default:
			out = append(out, l)
		}
	}
	extend := func(name, value, sep string) {
		if had := in.Get(name); had != "" {
			value = had + sep + value
		}
		out.Set(name, value)
	}
	extend(hostVersion, Version, ", ")
	extend(invocationID, h.guid(), ", ")
	extend("User-Agent", userAgent, " ")
	switch {
	case x.req.Length > 0:
		out.Add("Content-Length", strconv.FormatInt(x.req.Length, 10))
		if ct := in.Get("Content-Type"); ct != "" {
			ct, ok := respaced(ct)
			if !ok {
				return nil, false
			}
			out.Add("Content-Type", ct)
		}
	case needsLength(x.req.Method):
		out.Add("Content-Length", "0")
	}
	return out, true
}

// respaced writes a media type as .NET's MediaTypeHeaderValue does, and
// reports whether it is one.
func respaced(ct string) (string, bool) {
	const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
	parts := splitQuoted(ct)
	if !regexp.MustCompile(`^` + token + `/` + token + `$`).MatchString(parts[0]) {
		return ct, false
	}
	param := regexp.MustCompile(`^` + token + `\s*=\s*(` + token + `|"(?:[^"\\]|\\.)*")$`)
	for _, p := range parts[1:] {
		if !param.MatchString(p) {
			return ct, false
		}
	}
	return strings.Join(parts, "; "), true
}

// splitQuoted splits at semicolons outside quotes and trims the parts.
func splitQuoted(s string) []string {
	var out []string
	quoted, from := false, 0
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			out = append(out, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	return append(out, strings.TrimSpace(s[from:]))
}

// buffered passes a reply on as forwarding does.
func (x *exchange) buffered(r *loopback.Reply, body []byte) {
	var out wire.Header
	for _, l := range r.Header {
		if !wire.IsASCII(l.Value) {
			// Kestrel throws after the reason phrase was set.
			x.reply(http.StatusInternalServerError, r.Reason, nil, nil)
			return
		}
		switch name := strings.ToLower(l.Name); {
		case l.Value == "" || name == "transfer-encoding" || name == "trailer":
		case name == "content-length" && !r.Bodiless:
		case name == "connection":
			x.connection(&out, r.Header)
		case name == "allow":
			for m := range strings.SplitSeq(l.Value, ",") {
				out.Add(l.Name, strings.TrimSpace(m))
			}
		case name == "content-type":
			ct, _ := respaced(l.Value)
			out.Add(l.Name, ct)
		default:
			out = append(out, l)
		}
	}
	if x.req.Method != http.MethodHead {
		switch r.Status {
		case http.StatusNotModified:
			out.Set("Content-Length", "0")
			x.close = true
		case http.StatusNoContent:
			x.close = true // without a word
		}
	}
	x.reply(r.Status, r.Reason, out, body)
}

// connection passes the handler's Connection header on: "close" then ends the
// client's connection too.
func (x *exchange) connection(out *wire.Header, in wire.Header) {
	if out.Has("Connection") {
		return
	}
	for _, t := range in.Tokens("Connection") {
		if t == "close" || t == "keep-alive" {
			out.Add("Connection", t)
			x.close = x.close || t == "close"
			return
		}
	}
}
