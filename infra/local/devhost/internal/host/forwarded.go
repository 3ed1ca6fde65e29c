package host

import (
	"net"
	"strings"

	"latchkey/infra/local/devhost/internal/wire"
)

// forwardedHeaders does what ASP.NET Core's ForwardedHeadersMiddleware does
// with ASPNETCORE_FORWARDEDHEADERS_ENABLED: the last entry of X-Forwarded-For
// becomes the client, that of X-Forwarded-Proto the scheme; the rest of each
// list stays, and what was before is kept in X-Original-For and -Proto.
func (x *exchange) forwardedHeaders() {
	h := &x.req.Header
	if last, rest, ok := lastEntry(*h, "X-Forwarded-For"); ok {
		if addr := address(last); addr != "" {
			h.Set("X-Original-For", x.conn.RemoteAddr().String())
			x.client = addr
			setList(h, "X-Forwarded-For", rest)
		}
	}
	if last, rest, ok := lastEntry(*h, "X-Forwarded-Proto"); ok {
		h.Set("X-Original-Proto", x.scheme)
		x.scheme = last
		setList(h, "X-Forwarded-Proto", rest)
	}
}

func lastEntry(h wire.Header, name string) (last string, rest []string, ok bool) {
	var all []string
	for _, v := range h.Values(name) {
		for e := range strings.SplitSeq(v, ",") {
			if e = strings.TrimSpace(e); e != "" {
				all = append(all, e)
			}
		}
	}
	if len(all) == 0 {
		return "", nil, false
	}
	return all[len(all)-1], all[:len(all)-1], true
}

func setList(h *wire.Header, name string, values []string) {
	h.Del(name)
	if len(values) > 0 {
		h.Add(name, strings.Join(values, ", "))
	}
}

// address cuts a port off; it is "" if the text is no address.
func address(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	if ip := net.ParseIP(strings.Trim(s, "[]")); ip != nil {
		return ip.String()
	}
	return ""
}
