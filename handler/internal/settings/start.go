package settings

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Loader makes snapshots from the environment and, where there is one, the vault.
type Loader struct {
	Checks      Checks
	Environment Lookup
	// Vault reads the values of keys; keys that the vault does not hold are absent from the result (vault.Vault.Read). Nil
	// means that no vault is set.
	Vault func(ctx context.Context, keys []string) (map[string]string, error)
	// Jitter gives a number from 0 up to, not including, 1 (math/rand/v2's Float64). Instances that wait for the same vault
	// shall not come back to it at the same moment.
	Jitter func() float64
	// Report is told by Start when what keeps the handler from its settings changes, and when nothing does any more. It is
	// called from Start's goroutine.
	Report func(State)
}

// State is what Start is waiting for.
type State struct {
	Ready   bool
	Missing []string // the required keys that have no value as long as this lasts
	Err     error    // an *Unavailable or Problems; nil when Ready
}

// Unavailable says that the vault could not be read.
type Unavailable struct {
	Missing []string // the required keys that the environment alone leaves without a value
	Err     error    // what the vault's reader said
}

// Error names the cause and the keys that are missing because of it.
func (u *Unavailable) Error() string {
	if len(u.Missing) == 0 {
		return u.Err.Error()
	}
	return u.Err.Error() + "; missing until then: " + strings.Join(u.Missing, ", ")
}

// Unwrap gives the cause.
func (u *Unavailable) Unwrap() error { return u.Err }

// Once makes one snapshot. The error is Problems, or *Unavailable when the vault could not be read.
func (l Loader) Once(ctx context.Context) (*Settings, error) {
	layers := []Lookup{l.Environment}
	if l.Vault != nil {
		values, err := l.Vault(ctx, VaultKeys())
		if err != nil {
			_, problems := Load(l.Checks, l.Environment)
			return nil, &Unavailable{Missing: problems.missing(), Err: err}
		}
		layers = append(layers, Values(values))
	}
	s, problems := Load(l.Checks, layers...)
	if len(problems) > 0 {
		return nil, problems
	}
	return s, nil
}

// Start tries until the first good snapshot, puts it into source, and returns nil. The vault may be down, not yet open to
// this identity, or hold a bad value: all of that mends itself or is mended while the process waits (CFG-3). Between tries it
// waits 1 to 2 s, then longer, up to 30 s. It returns the Problems at once when there is no vault, since the
// environment of a process does not change; and ctx's error when ctx ends.
func (l Loader) Start(ctx context.Context, source *Source) error {
	const (
		attempt   = 20 * time.Second // for one try; readers have shorter limits of their own for a call
		firstWait = 2 * time.Second
		maxWait   = 30 * time.Second
	)
	reported := ""
	for limit := firstWait; ; limit = min(2*limit, maxWait) {
		s, err := l.within(ctx, attempt)
		if err == nil {
			source.Swap(s)
			l.Report(State{Ready: true})
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if text := err.Error(); text != reported {
			reported = text
			l.Report(State{Missing: missing(err), Err: err})
		}
		if l.Vault == nil {
			return err
		}
		wait := limit/2 + time.Duration(l.Jitter()*float64(limit/2))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (l Loader) within(ctx context.Context, limit time.Duration) (*Settings, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return l.Once(ctx)
}

func missing(err error) []string {
	if unavailable, ok := errors.AsType[*Unavailable](err); ok {
		return unavailable.Missing
	}
	if problems, ok := errors.AsType[Problems](err); ok {
		return problems.missing()
	}
	return nil
}
