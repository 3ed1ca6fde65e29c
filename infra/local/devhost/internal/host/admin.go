package host

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// admin answers the few routes under /admin that a laptop needs. Keys are not
// checked, as with `func start`.
func (h *Host) admin(ctx context.Context, x *exchange) {
	path := strings.TrimSuffix(x.path, "/")
	method := x.req.Method
	name, isFunction := cutFold(path, "/admin/functions/")
	switch {
	case method == http.MethodGet && strings.EqualFold(path, "/admin/host/status"):
		state := "Running"
		text, err := json.Marshal(map[string]any{"id": "devhost", "state": state, "version": Version})
		if err != nil {
			x.empty(http.StatusInternalServerError)
			return
		}
		x.reply(http.StatusOK, "", header("Content-Type", "application/json; charset=utf-8"), text)
	case (method == http.MethodGet || method == http.MethodPost) && strings.EqualFold(path, "/admin/host/ping"):
		x.empty(http.StatusOK)
	case method == http.MethodPost && isFunction && !strings.Contains(name, "/"):
		h.fire(ctx, x, name)
	default:
		x.empty(http.StatusNotFound)
	}
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// fire runs a timer function by hand, in the background.
func (h *Host) fire(ctx context.Context, x *exchange, name string) {
	f := h.App.Function(name)
	if f == nil {
		x.empty(http.StatusNotFound)
		return
	}
	if !x.req.HasBody() && x.req.Header.Get("Content-Type") == "" {
		x.empty(http.StatusUnsupportedMediaType)
		return
	}
	x.expectContinue()
	text, err := io.ReadAll(io.LimitReader(x.req.Body, 1<<20))
	var call struct{ Input *string }
	if err != nil || json.Unmarshal(text, &call) != nil {
		x.empty(http.StatusBadRequest)
		return
	}
	if t := h.timers[f.Name]; t != nil {
		go t.fire(ctx, false, call.Input)
	} else {
		h.Log.Error("function " + f.Name + " cannot be run by hand: devhost does so for timers only")
	}
	x.empty(http.StatusAccepted)
}
