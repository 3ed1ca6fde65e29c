package activation

import (
	"crypto/subtle"
	"io"
	"slices"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
)

// An operation that was given an Idempotency-Key draws its secrets from a stream that the pepper, a stored random id and the
// key make together, so that it can tell them again and nobody else can (model.md section 3). Without a key they are plain
// randomness, and nothing can be told again.

const (
	// repeatRedemption and repeatCreation are how long an operation can be asked for again.
	repeatRedemption = 60 * time.Second
	repeatCreation   = 24 * time.Hour
	// mostRepeatable is how many of each the head remembers.
	mostRepeatable = 8
	// mostMisses is how many wrong OTPs a repeated redemption bears, beside those of the activation.
	mostMisses = 10
)

// newRepeatable starts what the head will hold of an operation under key; length is that of its secret in characters, of what
// marks whose key it is.
func (s *Service) newRepeatable(p Policy, key string, activation UUID, length int, at time.Time, of string) (Repeatable, error) {
	id, err := codes.ID(s.random)
	if err != nil {
		return Repeatable{}, err
	}
	r := Repeatable{Activation: activation, Version: p.Keys.Version(), ID: id, Length: length, At: at}
	r.Mark, err = p.Keys.Mark(r.Version, key, of)
	return r, err
}

// secrets is the stream from which the operation draws, and drew, what it gives away.
func (r Repeatable) secrets(p Policy, key string, from ...string) (io.Reader, error) {
	return p.Keys.Derived(r.Version, append([]string{r.ID, key}, from...)...)
}

// again reports whether r may be asked for at now, under key, by of.
func (r Repeatable) again(p Policy, key, of string, now time.Time, window time.Duration) bool {
	if key == "" || !now.Before(r.At.Add(window)) {
		return false
	}
	mark, err := p.Keys.Mark(r.Version, key, of)
	return err == nil && subtle.ConstantTimeCompare([]byte(mark), []byte(r.Mark)) == 1
}

// remember keeps of a list what can still be asked for, and added.
func remember[T interface{ until() time.Time }](list []T, added T, now time.Time) []T {
	kept := make([]T, 0, mostRepeatable)
	for _, old := range list {
		if now.Before(old.until()) {
			kept = append(kept, old)
		}
	}
	kept = append(kept, added)
	return kept[max(0, len(kept)-mostRepeatable):]
}

func (r Redemption) until() time.Time { return r.At.Add(repeatRedemption) }
func (c Creation) until() time.Time   { return c.At.Add(repeatCreation) }

// redemption finds the redemption of an activation that key may ask for again at now: its place, or -1.
func (h Head) redemption(p Policy, activation UUID, key string, now time.Time) int {
	for i, r := range h.Redemptions {
		if r.Activation == activation && r.again(p, key, activation.String(), now, repeatRedemption) {
			return i
		}
	}
	return -1
}

// repeat is the change that a repeated redemption makes, at place i of the head: right or wrong, it is committed before it is
// answered, so that the holder of the key has mostMisses guesses and no more. Only the right OTP derives an authorisation code
// that is live; code is "" for a wrong one.
func repeat(p Policy, head Head, i int, try Try, record audit.Record) (change Change, code string, err error) {
	r := head.Redemptions[i]
	switch {
	case r.Misses >= mostMisses:
		return Change{}, "", refuse(audit.ReasonLocked)
	case !head.Active:
		return Change{}, "", refuse(audit.ReasonInactive)
	}
	secrets, err := r.secrets(p, try.Key, try.Locator, try.OTP)
	if err != nil {
		return Change{}, "", err
	}
	if code, err = codes.Draw(secrets, r.Length); err != nil {
		return Change{}, "", err
	}
	next := head.next()
	keys := p.Keys.Credential(head.Subject, code)
	if slices.ContainsFunc(head.Credentials, func(c Credential) bool { return slices.Contains(keys, c.Key) }) {
		record.Reason = audit.ReasonRepeated
		return Change{}.under(next, record), code, nil
	}
	next.Redemptions[i].Misses++
	record.Outcome, record.Reason = audit.Denied, audit.ReasonWrongOTP
	return Change{}.under(next, record), "", nil
}
