package rowcheck

import "strings"

// state is what a subject's records make of it.
type state struct {
	pending     string // uuid of the activation that the head holds, "" for none
	attempts    int
	activations map[string]end
	let         int // how often it was let in
	// What follows is of devices: whether it was created and is inactive, and how many credentials are put aside.
	made, inactive bool
	held           int
}

// end is where an activation stands; redeemed is when, "" if it was not.
type end struct{ status, why, redeemed string }

// follow goes through a subject's records in their order.
func (c *checker) follow(s *subject) state {
	is := state{activations: map[string]end{}}
	for _, a := range s.records {
		if a.unnumbered() {
			continue
		}
		if why := is.apply(a, c.options.MaxAttempts); why != "" {
			c.violates(Possible, s.row(a.key), "%s of %s: %s", a.kind(), a.activation, why)
		}
		is.let = min(is.let, s.most(c.options))
	}
	return is
}

// kind says what a record is of.
func (a record) kind() string { return a.action + " " + a.outcome + " " + a.reason }

// The kinds of records that are written beside a change.
const (
	created       = "activation.create allowed "
	revoked       = "activation.revoke allowed "
	redeemed      = "activation.redeem allowed "
	missed        = "activation.redeem denied wrong_otp"
	repeated      = "activation.redeem allowed repeated"
	upgraded      = "credential.upgrade allowed "
	endedAll      = "authorisation.revoke allowed "
	endedOne      = "credential.revoke allowed "
	labelled      = "credential.label allowed "
	deviceMade    = "device.create allowed "
	deviceChanged = "device.change allowed "
	endedIt       = "token.revoke allowed "
)

// apply returns why the record cannot be, "" if it can.
func (is *state) apply(a record, maxAttempts int) (why string) {
	before, exists := is.activations[a.activation]
	completed := before.status == "completed"
	switch a.kind() {
	case upgraded:
		is.let++
	case endedAll:
		if a.activation != is.pending || len(strings.Fields(a.sessions)) != is.let {
			return "it ended another activation, or other credentials, than there were"
		}
		if is.pending != "" {
			is.close(end{status: "revoked", why: "revoked"})
		}
		is.let, is.held = 0, 0
	case endedOne:
		if n := len(strings.Fields(a.sessions)); n > min(is.let, 1) {
			return "it ended what there was not"
		} else {
			is.let -= n // an imported one has no sid
		}
	case deviceMade:
		if is.made {
			return "it was created before"
		}
		is.made = true
	case deviceChanged:
		return is.turn(a)
	case labelled:
		if is.let == 0 {
			return "there was no credential"
		}
	case endedIt:
		if a.token == "" {
			return "it names no token"
		}
	case created:
		if exists {
			return "it was created before"
		}
		if is.pending != "" {
			is.activations[is.pending] = end{status: "revoked", why: "replaced"}
		}
		is.pending, is.attempts = a.activation, 0
		is.activations[a.activation] = end{status: "pending"}
	case repeated:
		if !completed {
			return "it was not redeemed before"
		}
	case missed:
		if completed {
			return "" // a repeat with another OTP: it is counted beside the activation
		}
		if why := is.open(a, maxAttempts); why != "" {
			return why
		}
		if is.attempts++; is.attempts >= maxAttempts {
			is.close(end{status: "revoked", why: "locked"})
		}
	case redeemed:
		if why := is.open(a, maxAttempts); why != "" {
			return why
		}
		if is.inactive {
			return "it is inactive"
		}
		is.close(end{status: "completed", redeemed: a.at})
		is.let++
	case revoked:
		if a.activation != is.pending {
			return "it is not pending"
		}
		is.close(end{status: "revoked", why: "revoked"})
	default:
		return "nobody writes such a record"
	}
	return ""
}

// open returns why an activation takes no OTP, "" if it does.
func (is *state) open(a record, maxAttempts int) string {
	switch {
	case a.activation != is.pending || is.pending == "":
		return "it is not pending"
	case is.attempts >= maxAttempts:
		return "it is locked"
	}
	return ""
}

// close ends the pending activation.
func (is *state) close(as end) {
	is.activations[is.pending] = as
	is.pending, is.attempts = "", 0
}
