package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/budget"
)

// charged charges a refused redeem to where it came from (ABU-1, model.md section 7): every refusal alike, whatever its reason, and
// nothing else. What comes back still holds the refusal, so that the log has its true reason.
func (c call) charged(ctx context.Context, err error) error {
	if _, refused := errors.AsType[*activation.Refusal](err); !refused {
		return err
	}
	if empty := c.Refused(ctx, c.event.origin.Source); empty != nil {
		return fmt.Errorf("%w: %w", empty, err)
	}
	return err
}

// exhausted is what an empty budget looks like. A source's replaces a refusal by 429 with the fields of
// draft-ietf-httpapi-ratelimit-headers-11; a total's is 503, for every code of its kind.
func exhausted(e *budget.Empty) *Problem {
	after := seconds(e.After)
	switch e.Kind {
	case budget.Sources:
	case budget.Logins:
		return limited(e, "device", problem(http.StatusTooManyRequests, ReasonTooManyLogins,
			"Too many identifiers that nobody has were tried on this device. Nobody logs in through it for the moment."))
	default:
		return problem(http.StatusServiceUnavailable, ReasonTooManyGuesses,
			"Too many codes that nobody issued were tried. No code is looked up for the moment; yours keeps its tries.").
			with("Retry-After", after)
	}
	return limited(e, "source", problem(http.StatusTooManyRequests, ReasonTooManyRefusals,
		"This activation does not work, and too many from this address did not. A code that is right works all the same."))
}

// limited adds the fields that say how much of which budget there is.
func limited(e *budget.Empty, policy string, p *Problem) *Problem {
	after := seconds(e.After)
	return p.with("Retry-After", after).
		with("RateLimit-Policy", fmt.Sprintf(`%q;q=%d;w=%s`, policy, e.Limit.Capacity, seconds(e.Limit.Period))).
		with("RateLimit", fmt.Sprintf(`%q;r=0;t=%s`, policy, after))
}

// seconds are whole ones, rounded up: who comes back then is not too early.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((max(d, 1)+time.Second-1)/time.Second), 10)
}
