package e2e_test

import (
	"encoding/base32"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"latchkey/handler/internal/faults"
	"latchkey/handler/internal/rowcheck"
	"latchkey/infra/local/stack"
)

const clinicians = "/dhos/v1/clinician"

// staff is who manages clinicians.
func (w *world) staff(t *testing.T) string {
	t.Helper()
	return w.token(t, stack.TokenRequest{Roles: []string{"write:send_clinician"}})
}

func employing(as, id, identifier string) request {
	return request{method: http.MethodPost, path: clinicians, token: as, body: fmt.Sprintf(
		`{"clinician_id":%q,"login_active":true,"products":["SEND"],"groups":["SEND Clinician"],"send_entry_identifier":%q}`, id, identifier)}
}

func loggingIn(tablet, identifier string) request {
	return request{method: http.MethodPost, path: clinicians + "/jwt?send_entry_identifier=" + identifier, token: tablet}
}

// nurse makes a clinician who may log in by the identifier.
func (h *host) nurse(t *testing.T, as, identifier string) (id string) {
	t.Helper()
	id = "nurse-" + randomHex(8)
	if got := h.send(t, employing(as, id, identifier)); got.status != http.StatusCreated || len(got.body) != 0 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	return id
}

func (h *host) patchNurse(t *testing.T, as, id, body string) {
	t.Helper()
	got := h.send(t, request{method: http.MethodPatch, path: clinicians + "/" + id, token: as, body: body})
	if got.status != http.StatusOK || len(got.body) != 0 {
		t.Fatalf("%s: %d %s", body, got.status, got.body)
	}
}

// tabletToken lets a new device in and buys its token.
func (h *host) tabletToken(t *testing.T) (id, code, token string) {
	t.Helper()
	as := h.world.ward(t)
	id = h.tablet(t, as, "ward-login").UUID
	code = h.letTabletIn(t, as, id)
	var b bought
	h.send(t, buyingForTablet(id, code)).into(t, http.StatusOK, &b)
	return id, code, b.JWT
}

// TestTOK3_AClinicianFromCreationToTheEndOfTheDevice goes the whole way through every host.
func TestTOK3_AClinicianFromCreationToTheEndOfTheDevice(t *testing.T) {
	given(t).through(t, func(t *testing.T, h *host) {
		as, badge := h.world.staff(t), "badge-"+randomHex(8)
		device, _, token := h.tabletToken(t)
		id := h.nurse(t, as, badge)
		var b bought
		h.send(t, loggingIn(token, badge)).into(t, http.StatusOK, &b)
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(b.JWT, claims); err != nil {
			t.Fatal(err)
		}
		metadata, _ := claims["metadata"].(map[string]any)
		if b.ExpiresIn != 900 || claims["exp"].(float64)-claims["iat"].(float64) != 900 || metadata["clinician_id"] != id ||
			metadata["referring_device_id"] != device || claims["sid"] != claim(t, token, "sid") ||
			claims["scope"] != "read:send_clinician read:send_patient read:send_observation write:send_observation" {
			t.Errorf("%d, %v", b.ExpiresIn, claims)
		}
		h.send(t, loggingIn(token, "nobody-"+badge)).problem(t, http.StatusNotFound, "clinician_not_found")
		h.send(t, loggingIn(b.JWT, badge)).problem(t, http.StatusForbidden, "insufficient_scope") // a clinician is no device
		h.send(t, employing(as, id, "another-"+badge)).problem(t, http.StatusConflict, "clinician_exists")
		h.send(t, employing(as, "another-"+id, badge)).problem(t, http.StatusConflict, "identifier_taken")

		h.patchNurse(t, as, id, `{"groups":null}`)
		h.send(t, loggingIn(token, badge)).problem(t, http.StatusForbidden, "login_refused")
		h.patchNurse(t, as, id, `{"groups":["SEND Superclinician"],"contract_expiry_eod_date":"2001-01-01"}`)
		h.send(t, loggingIn(token, badge)).problem(t, http.StatusForbidden, "login_refused")
		h.patchNurse(t, as, id, `{"contract_expiry_eod_date":null}`)
		h.send(t, loggingIn(token, badge)).problem(t, http.StatusForbidden, "login_refused") // it was turned off
		h.patchNurse(t, as, id, `{"login_active":true}`)
		h.send(t, loggingIn(token, badge)).into(t, http.StatusOK, &b)

		if !h.active(t, b.JWT) {
			t.Error("introspection does not believe a clinician's token")
		}
		stolen := request{method: http.MethodDelete, path: devices + "/" + device + "/authorisation", token: h.world.ward(t)}
		if got := h.send(t, stolen); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if h.active(t, b.JWT) {
			t.Error("a token that was got through a stolen tablet is believed")
		}
		h.send(t, loggingIn(token, badge)).problem(t, http.StatusForbidden, "login_refused")
	})
}

// A clinician's one token can be ended, and the device's stays (RFC 7009).
func TestTOK3_OneTokenOfAClinicianIsEnded(t *testing.T) {
	h := given(t).any()
	badge := "badge-" + randomHex(8)
	_, _, token := h.tabletToken(t)
	h.nurse(t, h.world.staff(t), badge)
	var one, other bought
	h.send(t, loggingIn(token, badge)).into(t, http.StatusOK, &one)
	h.send(t, loggingIn(token, badge)).into(t, http.StatusOK, &other)
	revoker := h.world.token(t, stack.TokenRequest{Roles: []string{"revoke:token"}})
	if got := h.send(t, about(revocationPath, revoker, one.JWT)); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if h.active(t, one.JWT) || !h.active(t, other.JWT) || !h.active(t, token) {
		t.Errorf("the ended one %v, another %v, the device's %v", h.active(t, one.JWT), h.active(t, other.JWT), h.active(t, token))
	}
}

// TestACT14_NobodyLogsInThroughAnInactiveDevice: the device is made inactive on one of two instances while clinicians log in through
// both. What arrives after the reply gets no token on either, and what was in flight carries a dead sid.
func TestACT14_NobodyLogsInThroughAnInactiveDevice(t *testing.T) {
	w := owned(t)
	hosts := []*host{w.host(t, proxying), w.host(t, direct)}
	ward := w.ward(t)
	badge := "badge-" + randomHex(8)
	hosts[0].nurse(t, w.staff(t), badge)
	var seen races
	n := rounds(t, 3)
	for round := range n {
		device, _, token := hosts[0].tabletToken(t)
		seen.round(t, hosts, loggingIn(token, badge), round == 0, func() { hosts[round%2].turnTablet(t, ward, device, false) })
	}
	t.Logf("%d rounds: %d logged in, %d were told after the reply, %d were refused", n, seen.tokens, seen.flying, seen.refused)
	if seen.refused == 0 {
		t.Error("nobody asked after the end")
	}
}

// TestDIR2_64CreatorsOfOneIdentifier on two instances: one gets it, and all others hear that it is taken.
func TestDIR2_64CreatorsOfOneIdentifier(t *testing.T) {
	w := owned(t)
	hosts := []*host{w.host(t, proxying), w.host(t, direct)}
	as := w.staff(t)
	for range rounds(t, 3) {
		badge := "badge-" + randomHex(8)
		var won atomic.Int64
		var crowd errgroup.Group
		for i := range 64 {
			try := employing(as, fmt.Sprint(badge, "-", i), badge)
			crowd.Go(func() error {
				got, err := hosts[i%2].try(t.Context(), try)
				switch {
				case err != nil:
					return err
				case got.status == http.StatusCreated:
					won.Add(1)
				case got.status != http.StatusConflict:
					return fmt.Errorf("status %d: %s", got.status, got.body)
				}
				return nil
			})
		}
		if err := crowd.Wait(); err != nil || won.Load() != 1 {
			t.Fatalf("%d of 64 have it: %v", won.Load(), err)
		}
	}
}

// TestDIR2_KilledCreatorsOrphanNothing lets 64 create somebody with one identifier on two instances that lose requests to storage and
// replies of it, while both handlers are killed. At most one is told that it has it, and nobody else gets it then. If nobody has it, it
// can be had 60 s later at the latest.
func TestDIR2_KilledCreatorsOrphanNothing(t *testing.T) {
	owned(t)
	w := ownWorld(t)
	lossy := faults.Seeded(faults.Seed(t), 0.05,
		faults.Fault{Reply: faults.Lost}, faults.Fault{Carry: faults.Never, Reply: faults.Lost}, faults.Fault{Carry: faults.Never, Reply: faults.Busy})
	var hosts []*host
	for _, name := range []string{proxying, forwarding} {
		h, proxy := w.behindFaults(t, name, stack.HostOptions{Forwarding: name == forwarding})
		proxy.Transport.Follow(lossy)
		hosts = append(hosts, h)
	}
	as := w.staff(t)
	tally := map[string]int{}
	for range rounds(t, 1) { // an orphan is waited for
		badge := "badge-" + randomHex(8)
		results := make([]int, 64)
		var crowd sync.WaitGroup
		for i := range results {
			try := employing(as, fmt.Sprint(badge, "-", i), badge)
			crowd.Go(func() {
				time.Sleep(time.Duration(i) * 2 * time.Millisecond)
				if got, err := hosts[i%2].try(t.Context(), try); err == nil {
					results[i] = got.status
				}
			})
		}
		time.Sleep(90 * time.Millisecond)
		kill(t, hosts[0])
		time.Sleep(40 * time.Millisecond)
		kill(t, hosts[1])
		crowd.Wait()
		winner := -1
		for i, status := range results {
			switch {
			case status == http.StatusCreated && winner >= 0:
				t.Fatalf("%d and %d were told that they have it", winner, i)
			case status == http.StatusCreated:
				winner = i
				tally["has it"]++
			case status == http.StatusConflict:
				tally["taken"]++
			case status == 0, status >= 500:
				tally["not known"]++
			default:
				t.Fatalf("%d: status %d", i, status)
			}
		}
		for _, h := range hosts {
			eventually(t, time.Minute, func() error { return revived(t.Context(), h) })
		}
		began := time.Now()
		late := employing(as, badge+"-late", badge)
		eventually(t, 70*time.Second, func() error {
			got, err := hosts[0].try(t.Context(), late)
			switch {
			case err != nil:
				return err
			case got.status == http.StatusCreated && winner >= 0:
				t.Fatalf("%d was told that it has it, and another got it", winner)
			case got.status == http.StatusCreated:
				tally["had late"]++
				return nil
			case got.status == http.StatusConflict && winner >= 0:
				return nil
			case got.status == http.StatusConflict && w.isHad(t, badge):
				tally["had by who was not told"]++
				return nil
			}
			return fmt.Errorf("%s after the race: %d %s", time.Since(began), got.status, got.body)
		})
	}
	t.Logf("%v", tally)
	if tally["not known"] == 0 {
		t.Error("no kill met a creator")
	}
	checkRows(t, w.stack, nil)
}

// isHad reads from the rows whether somebody has an identifier: the claim and the row of who made it agree.
func (w *world) isHad(t *testing.T, identifier string) bool {
	t.Helper()
	token, err := w.stack.ResourceToken(t.Context(), "https://storage.azure.com")
	if err != nil {
		t.Fatal(err)
	}
	tables, err := rowcheck.Read(t.Context(), w.stack.Client().Do, w.stack.Tables, token)
	if err != nil {
		t.Fatal(err)
	}
	partition := "sei~" + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(identifier)))
	for _, claim := range tables.Unique {
		for _, row := range tables.Subjects {
			if claim["PartitionKey"] == partition && row["PartitionKey"] == claim["subject"] && row["own_identifier"] == identifier {
				return true
			}
		}
	}
	return false
}
