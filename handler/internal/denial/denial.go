// Package denial explains refusals without keeping them (AUT-6, model.md section 5). Why a caller was refused is sealed into a
// ticket that the caller gets and cannot read; an administrator hands it back for as long as Lifetime, and reads it. Nothing is
// stored, so nobody can fill a store with refusals.
package denial

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"latchkey/handler/internal/keyed"
)

// Lifetime is how long a ticket can be opened.
const Lifetime = 7 * 24 * time.Hour

// Denial is one refusal.
type Denial struct {
	// ID is the instance that the caller may quote, which stands in the log too.
	ID string
	// Operation is the operation's id.
	Operation string
	// Cause names the rule that failed: see caller.Explain.
	Cause string
	// Expected and Got are what the rule compared, cut to what a ticket has room for. They hold no token.
	Expected, Got string
	// At is when, to the second, UTC.
	At time.Time
}

// room is what a ticket has for each of its texts, in bytes: every ticket has one length, so that it tells nothing.
var room = [...]int{40, 48, 48, 128, 128}

// size is that of the sealed text: the time, and each of its texts behind a byte for its length.
const size = 8 + 5 + 40 + 48 + 48 + 128 + 128

// ErrTicket: the ticket is not one of ours, or not whole, or too old.
var ErrTicket = errors.New("the ticket cannot be opened")

// Seal makes the ticket of a denial.
func Seal(ring *keyed.Ring, random io.Reader, d Denial) (string, error) {
	text := binary.BigEndian.AppendUint64(make([]byte, 0, size), uint64(d.At.Unix()))
	for i, field := range []string{d.ID, d.Operation, d.Cause, d.Expected, d.Got} {
		field = cut(field, room[i])
		text = append(text, byte(len(field)))
		text = append(text, field...)
	}
	return ring.Seal(random, text[:size])
}

// Open reads a ticket at now. Its errors are ErrTicket.
func Open(ring *keyed.Ring, ticket string, now time.Time) (Denial, error) {
	text, err := ring.Unseal(ticket)
	if err != nil || len(text) != size {
		return Denial{}, ErrTicket
	}
	d := Denial{At: time.Unix(int64(binary.BigEndian.Uint64(text)), 0).UTC()}
	if now.Sub(d.At) >= Lifetime {
		return Denial{}, fmt.Errorf("%w: it is older than %d days", ErrTicket, int(Lifetime.Hours()/24))
	}
	text = text[8:]
	for _, field := range []*string{&d.ID, &d.Operation, &d.Cause, &d.Expected, &d.Got} {
		length := int(text[0])
		*field, text = string(text[1:1+length]), text[1+length:]
	}
	return d, nil
}

// cut gives what fits into n bytes of a text, whole characters only. What came from outside is fit to be shown already
// (caller.Rejected).
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	for len(s) > n {
		end := n
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return s
}
