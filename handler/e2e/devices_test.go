package e2e_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"latchkey/infra/local/stack"
)

const (
	devices       = "/dhos/v1/device"
	redeemDevices = "/dhos/v1/activation?type=send_entry"
)

// ward is who manages devices.
func (w *world) ward(t *testing.T) string {
	t.Helper()
	return w.token(t, stack.TokenRequest{Roles: []string{"read:send_device", "write:send_device"}})
}

type tablet struct {
	UUID        string `json:"uuid"`
	LocationID  string `json:"location_id"`
	Description string `json:"description"`
	Active      bool   `json:"active"`
	Created     string `json:"created"`
	CreatedBy   string `json:"created_by"`
	Modified    string `json:"modified"`
	ModifiedBy  string `json:"modified_by"`
}

// tablet makes a device at a location.
func (h *host) tablet(t *testing.T, as, location string) (made tablet) {
	t.Helper()
	body := `{"location_id":"` + location + `","description":"The tablet at the door"}`
	h.send(t, request{method: http.MethodPost, path: devices + "?type=SEND", token: as, body: body}).into(t, http.StatusOK, &made)
	return made
}

// tabletCode makes a code for it.
func (h *host) tabletCode(t *testing.T, as, id string) string {
	t.Helper()
	var made struct {
		Code       string `json:"code"`
		ExpiresAt  string `json:"expires_at"`
		UUID       string `json:"uuid"`
		Created    string `json:"created"`
		CreatedBy  string `json:"created_by"`
		Modified   string `json:"modified"`
		ModifiedBy string `json:"modified_by"`
	}
	h.send(t, request{method: http.MethodPost, path: devices + "/" + id + "/activation", token: as}).into(t, http.StatusOK, &made)
	return made.Code
}

// letTabletIn redeems its code, and returns the authorisation code.
func (h *host) letTabletIn(t *testing.T, as, id string) string {
	t.Helper()
	var won struct {
		AuthorisationCode string `json:"authorisation_code"`
		DeviceID          string `json:"device_id"`
	}
	h.send(t, request{method: http.MethodPost, path: redeemDevices, body: `{"code":"` + h.tabletCode(t, as, id) + `"}`}).into(t, http.StatusOK, &won)
	if won.DeviceID != id {
		t.Errorf("device_id %q, want %q", won.DeviceID, id)
	}
	return won.AuthorisationCode
}

func buyingForTablet(id, code string) request {
	return request{method: http.MethodPost, path: devices + "/" + id + "/jwt", code: code}
}

// turnTablet makes a device active or inactive.
func (h *host) turnTablet(t *testing.T, as, id string, active bool) {
	t.Helper()
	var is tablet
	body := fmt.Sprintf(`{"active":%v}`, active)
	h.send(t, request{method: http.MethodPatch, path: devices + "/" + id, token: as, body: body}).into(t, http.StatusOK, &is)
	if is.Active != active {
		t.Fatalf("%+v", is)
	}
}

// TestTOK2_ADeviceFromItsCreationToItsToken goes the whole way through every host.
func TestTOK2_ADeviceFromItsCreationToItsToken(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		as, location := h.world.ward(t), "ward-"+randomHex(8)
		made := h.tablet(t, as, location)
		other := h.tablet(t, as, location)
		code := h.letTabletIn(t, as, made.UUID)
		var b bought
		h.send(t, buyingForTablet(made.UUID, code)).into(t, http.StatusOK, &b)
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(b.JWT, claims); err != nil {
			t.Fatal(err)
		}
		metadata, _ := claims["metadata"].(map[string]any)
		if b.ExpiresIn != 86_400 || claims["exp"].(float64)-claims["iat"].(float64) != 86_400 || metadata["device_id"] != made.UUID ||
			claims["scope"] != "read:send_entry_identifier" || claims["sub"] != made.UUID {
			t.Errorf("%d, %v", b.ExpiresIn, claims)
		}
		if !h.active(t, b.JWT) {
			t.Error("introspection does not believe it")
		}
		h.send(t, buyingForTablet(other.UUID, code)).problem(t, http.StatusForbidden, "authorisation_refused")

		h.turnTablet(t, as, other.UUID, false)
		for query, want := range map[string]int{"": 1, "&active=all": 2, "&active=false": 1} {
			var page []tablet
			h.send(t, request{method: http.MethodGet, path: devices + "?location_id=nowhere," + location + query, token: as}).into(t, http.StatusOK, &page)
			if len(page) != want {
				t.Errorf("%q: %d devices, want %d", query, len(page), want)
			}
		}
		if got := h.send(t, request{method: http.MethodDelete, path: devices + "/" + made.UUID + "/authorisation", token: as}); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if h.active(t, b.JWT) {
			t.Error("a stolen tablet's token is believed")
		}
		h.send(t, buyingForTablet(made.UUID, code)).problem(t, http.StatusForbidden, "authorisation_refused")
	})
}

// TestACT10_64RacersRedeemOneDevicesCode on two instances.
func TestACT10_64RacersRedeemOneDevicesCode(t *testing.T) {
	w := owned(t)
	hosts := []*host{w.host(t, proxying), w.host(t, direct)}
	as := w.ward(t)
	for range rounds(t, 3) {
		made := hosts[0].tablet(t, as, "ward-race")
		try := request{method: http.MethodPost, path: redeemDevices, body: `{"code":"` + hosts[0].tabletCode(t, as, made.UUID) + `"}`}
		var won atomic.Int64
		var crowd errgroup.Group
		for i := range 64 {
			crowd.Go(func() error {
				got, err := hosts[i%2].try(t.Context(), try)
				switch {
				case err != nil:
					return err
				case got.status == http.StatusOK:
					won.Add(1)
				case got.status != http.StatusNotFound:
					return fmt.Errorf("status %d: %s", got.status, got.body)
				}
				return nil
			})
		}
		if err := crowd.Wait(); err != nil || won.Load() != 1 {
			t.Fatalf("%d of 64 won: %v", won.Load(), err)
		}
	}
}

// TestACT14_ADeviceInactiveOnOneInstanceBuysOnNone: it is made inactive on one of two instances while tokens are bought from both.
func TestACT14_ADeviceInactiveOnOneInstanceBuysOnNone(t *testing.T) {
	w := owned(t)
	hosts := []*host{w.host(t, proxying), w.host(t, direct)}
	as := w.ward(t)
	var seen races
	n := rounds(t, 3)
	for round := range n {
		id := hosts[0].tablet(t, as, "ward-off").UUID
		code := hosts[0].letTabletIn(t, as, id)
		last := seen.round(t, hosts, buyingForTablet(id, code), round == 0, func() { hosts[round%2].turnTablet(t, as, id, false) })
		hosts[round%2].turnTablet(t, as, id, true)
		for _, h := range hosts {
			var b bought
			h.send(t, buyingForTablet(id, code)).into(t, http.StatusOK, &b)
			if claim(t, b.JWT, "sid") == claim(t, last, "sid") || h.active(t, last) || !h.active(t, b.JWT) {
				t.Errorf("%s: active again, and the old session is, or the new one is not", h.name)
			}
		}
	}
	t.Logf("%d rounds: %d tokens were bought, %d were told after the reply, %d were refused", n, seen.tokens, seen.flying, seen.refused)
	if seen.refused == 0 {
		t.Error("nobody asked after the end")
	}
}

// races counts what became of tokens that were asked for while a device was turned off.
type races struct{ tokens, flying, refused int }

// round asks all hosts for tokens before, during and after an end. None that was asked for after its reply is given, and what was given
// is dead: the last of them is returned. listed is whether the list of what ended is waited for, too.
func (c *races) round(t *testing.T, hosts []*host, buying request, listed bool, end func()) (last string) {
	t.Helper()
	stop := make(chan struct{})
	var all []purchase
	var failed error
	var done sync.WaitGroup
	done.Go(func() { all, failed = buyFrom(t.Context(), stop, hosts, buying, http.StatusForbidden) })
	time.Sleep(100 * time.Millisecond)
	end()
	over := time.Now()
	time.Sleep(100 * time.Millisecond)
	close(stop)
	if done.Wait(); failed != nil {
		t.Fatal(failed)
	}
	for _, p := range all {
		switch {
		case p.token == "":
			c.refused++
			continue
		case p.began.After(over):
			t.Errorf("a token was given %s after the reply", p.began.Sub(over))
		case p.told.After(over):
			c.flying++
		}
		c.tokens++
		last = p.token
	}
	if last == "" {
		t.Fatal("no token was given")
	}
	for _, h := range hosts {
		if h.active(t, last) {
			t.Errorf("%s: introspection believes it", h.name)
		}
	}
	if listed {
		sid := claim(t, last, "sid")
		published(t, over, func(e ended) bool { return e.Session == sid }, hosts...)
	}
	return last
}
