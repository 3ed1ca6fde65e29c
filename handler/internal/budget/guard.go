package budget

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"latchkey/handler/internal/subject"
)

// sourceRows is how many rows all sources share (model.md section 1).
const sourceRows = 4096

// Limits are what the settings of the moment say.
type Limits struct {
	// Unknown is the total of unknown locators, for each kind. See PerYear.
	Unknown Limit
	// Source is what one address may be refused. See PerWindow.
	Source Limit
	// Login is how many identifiers that nobody has one device may try. See PerWindow.
	Login Limit
}

// Guard keeps the budgets of redeeming. It is safe for concurrent use.
type Guard struct {
	totals  map[subject.Kind]*Meter
	sources *Meter
	logins  *Meter
}

// NewGuard makes the budgets of one instance. limits is asked at every lease. It asks storage for nothing yet; see Warm.
func NewGuard(limits func() Limits, env Environment) *Guard {
	total := func(kind Kind) *Meter {
		m := NewMeter(kind, 1, func() Limit { return limits().Unknown }, env)
		m.ahead = true
		return m
	}
	return &Guard{
		totals:  map[subject.Kind]*Meter{subject.Patient: total(Patients), subject.Device: total(Devices)},
		sources: NewMeter(Sources, sourceRows, func() Limit { return limits().Source }, env),
		logins:  NewMeter(Logins, sourceRows, func() Limit { return limits().Login }, env),
	}
}

// Warm leases what the first look-ups will need, so that they find it in memory. It is a help: if it fails, they ask.
func (g *Guard) Warm(ctx context.Context) {
	for _, m := range g.totals {
		m.renew(ctx, 0)
	}
}

// Guess takes a unit of the total before a code of this kind is looked up, and returns how to give it back if the code is known.
// The error is *Empty, or ErrUnknown: then nothing may be looked up.
func (g *Guard) Guess(ctx context.Context, kind subject.Kind) (known func(), err error) {
	total := g.totals[kind]
	if total == nil {
		return nil, fmt.Errorf("%w: there is none of kind %q", ErrUnknown, kind)
	}
	return total.Take(ctx, "")
}

// Login takes a unit of a device's budget before an identifier is looked up, and returns how to give it back if somebody has it. There is
// no total of all devices (model.md section 7): who guesses needs one that was let in. The errors are those of Guess.
func (g *Guard) Login(ctx context.Context, device string) (known func(), err error) {
	return g.logins.Take(ctx, device)
}

// Refused charges a refused redeem to its source, an IP address: *Empty if its budget has nothing left, else nil. It is nil as well
// if there is no address that can be trusted, and if storage does not answer: see the package's documentation. Who hangs up is
// charged all the same: a client that closes its half of the connection can still read how it was refused.
func (g *Guard) Refused(ctx context.Context, source string) error {
	name := sourceOf(source)
	if name == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_, err := g.sources.Take(ctx, name)
	var empty *Empty
	if errors.As(err, &empty) {
		return empty
	}
	return nil
}

// sourceOf is what one client counts as: an IPv4 address whole, an IPv6 one by its /64, the least that a network is given
// (RFC 6177 section 2). "" for what is no address.
func sourceOf(text string) string {
	address, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	address = address.Unmap().WithZone("")
	if address.Is4() {
		return address.String()
	}
	prefix, err := address.Prefix(64)
	if err != nil {
		return ""
	}
	return prefix.String()
}
