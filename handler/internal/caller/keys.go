package caller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// How long things take. model.md and threats.md F-12 and F-13 give the reasons.
const (
	refreshEvery = time.Hour        // less up to a tenth, so that instances do not ask in step
	keepFor      = 24 * time.Hour   // how long keys serve when the issuer is down
	unknownEvery = 30 * time.Second // how often unknown kids may cause a fetch
	coldEvery    = 2 * time.Second  // how often requests may cause a fetch while there are no keys
	retryAtMost  = 30 * time.Second // the longest pause after a fetch that failed
	fetchTimeout = 10 * time.Second
	waitForFetch = 2 * time.Second // how long a request waits, from the fetch's start
	maxDocument  = 1 << 20         // bytes
)

// KeysConfig is what Keys are made of: of the tenant of Entra ID, or of a provider.
type KeysConfig struct {
	// Tenant is whose keys they are, with Entra ID. Its keys are for RS256, and name no other issuer and no other cloud.
	Tenant string
	// Issuer is whose they are, else; Algorithms are what they may be for.
	Issuer     string
	Algorithms []string
	// URL is where the keys document is, https only. For a provider it may be "": then the issuer's metadata says it.
	URL string
	// Client is how it is fetched. Redirects are not followed, whatever it says.
	Client *http.Client
	Now    func() time.Time
	// Random spreads the refreshes of several instances.
	Random io.Reader
	// Log gets one line when fetching begins to fail and one when it works again.
	Log *slog.Logger
}

// Keys are the public keys of an issuer, from the document it publishes (AUT-4). They are refreshed ahead of time by Run, kept
// for 24 h when the issuer is down, and replaced only by a document with at least one usable key (threats.md F-12): with a kid
// of its own, for signatures or without saying so, by one algorithm that is allowed; RSA of 2048 to 8192 bits with an odd
// exponent of 3 or more, P-256, or Ed25519. Where no address is set, the issuer's metadata is asked for it each time
// (OpenID Connect Discovery section 4), so that keys may move. A kid that is not there causes at most one fetch per 30 s, shared
// by all who wait for it, and leaves nothing behind (F-13).
//
// Keys are safe for concurrent use.
type Keys struct {
	config KeysConfig
	rules  keyRules
	client http.Client
	set    atomic.Pointer[keySet]

	mu      sync.Mutex
	flight  *flight   // the fetch under way, or nil
	tried   time.Time // when the last fetch began
	asked   time.Time // when the last fetch began that an unknown kid caused
	problem error     // of the last fetch
}

type keySet struct {
	keys map[string]*publicKey // by kid
	// ambiguous: two keys in the document had one kid, and are not here.
	ambiguous bool
	fetched   time.Time
}

type flight struct {
	began time.Time
	done  chan struct{}
}

// errUnknownKey says that the issuer has no key of that kid, as far as we may ask.
var errUnknownKey = errors.New("no key has this kid")

// NewKeys checks the configuration. It fetches nothing yet: Run does, or the first token.
func NewKeys(config KeysConfig) (*Keys, error) {
	k := &Keys{config: config, rules: keyRules{algorithms: config.Algorithms, issuer: config.Issuer}, client: *config.Client}
	switch ofTenant := config.Tenant != ""; {
	case ofTenant == (config.Issuer != ""):
		return nil, errors.New("keys are of a tenant or of an issuer")
	case ofTenant:
		k.rules = keyRules{algorithms: []string{RS256}, tenant: strings.ToLower(config.Tenant)}
		if !isGUID(k.rules.tenant) {
			return nil, errors.New("the tenant must be a GUID")
		}
	case len(config.Algorithms) == 0 || slices.ContainsFunc(config.Algorithms, unknownAlgorithm):
		return nil, errors.New("the issuer's algorithms must be some of " + anyOf(Algorithms()))
	}
	asked := config.URL
	if asked == "" {
		asked = config.Issuer // whose metadata says where the keys are
	}
	if err := secure(asked); err != nil {
		return nil, fmt.Errorf("where the keys are: %w", err)
	}
	k.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	k.client.Jar = nil
	return k, nil
}

func unknownAlgorithm(algorithm string) bool { return method(algorithm) == nil }

// Issuer is whose keys they are: the issuer's URL, or the tenant.
func (k *Keys) Issuer() string { return k.config.Tenant + k.config.Issuer }

// Run keeps the keys fresh until the context ends.
func (k *Keys) Run(ctx context.Context) {
	pause := time.Second
	for {
		f := k.fetchNow()
		select {
		case <-f.done:
		case <-ctx.Done():
			return
		}
		wait := refreshEvery
		if k.Problem() != nil {
			wait = pause
			pause = min(2*pause, retryAtMost)
		} else {
			pause = time.Second
		}
		select {
		case <-time.After(wait - k.jitter(wait/10)):
		case <-ctx.Done():
			return
		}
	}
}

// Age is how long ago the keys were fetched; false when there are none, or only too old ones.
func (k *Keys) Age() (time.Duration, bool) {
	set := k.current()
	if set == nil {
		return 0, false
	}
	return k.config.Now().Sub(set.fetched), true
}

// Problem is why the last fetch failed, or nil.
func (k *Keys) Problem() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.problem
}

// key returns the key of a kid: from memory, or after one fetch that all waiters share. errUnknownKey when the issuer has none,
// ErrUnavailable when that cannot be told.
func (k *Keys) key(ctx context.Context, kid string) (*publicKey, error) {
	if set := k.current(); set != nil && set.keys[kid] != nil {
		return set.keys[kid], nil
	}
	if f := k.fetchForRequest(kid); f != nil {
		// The time counts from the fetch's start: when the issuer hangs, only those who came early wait at all.
		timer := time.NewTimer(waitForFetch - k.config.Now().Sub(f.began))
		defer timer.Stop()
		select {
		case <-f.done:
		case <-timer.C:
			return nil, fmt.Errorf("%w: the issuer is slow to give its keys", ErrUnavailable)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
	set := k.current()
	if set != nil && set.keys[kid] != nil {
		return set.keys[kid], nil
	}
	switch problem := k.Problem(); {
	case problem != nil:
		return nil, fmt.Errorf("%w: the issuer's keys: %w", ErrUnavailable, problem)
	case set == nil:
		return nil, fmt.Errorf("%w: there are no keys of the issuer yet", ErrUnavailable)
	}
	return nil, errUnknownKey
}

// hold reports whether the key is still the one of its kid.
func (k *Keys) hold(kid string, key *publicKey) bool {
	set := k.current()
	if set == nil {
		return false
	}
	now := set.keys[kid]
	return now != nil && now.print == key.print
}

// current returns the keys, or nil if there are none young enough.
func (k *Keys) current() *keySet {
	set := k.set.Load()
	if set == nil || k.config.Now().Sub(set.fetched) >= keepFor {
		return nil
	}
	return set
}

// fetchNow joins the fetch under way or begins one.
func (k *Keys) fetchNow() *flight {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight == nil {
		k.begin()
	}
	return k.flight
}

// fetchForRequest joins the fetch under way, or begins one if requests may cause one now. It returns nil when there is nothing
// to wait for.
func (k *Keys) fetchForRequest(kid string) *flight {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight != nil {
		return k.flight
	}
	now, set := k.config.Now(), k.current()
	switch {
	case set == nil && now.Sub(k.tried) < coldEvery:
		return nil
	case set != nil && (set.keys[kid] != nil || now.Sub(k.asked) < unknownEvery):
		return nil // the key has come meanwhile, or it is too soon to ask
	case set != nil:
		k.asked = now
	}
	k.begin()
	return k.flight
}

// begin starts a fetch; the caller holds the lock. It is nobody's own request, so no request's context ends it.
func (k *Keys) begin() {
	f := &flight{began: k.config.Now(), done: make(chan struct{})}
	k.flight, k.tried = f, f.began
	go func() {
		defer close(f.done)
		set, err := k.fetch()
		k.mu.Lock()
		defer k.mu.Unlock()
		k.flight = nil
		if err == nil {
			set.fetched = k.config.Now()
			k.set.Store(set)
		}
		switch {
		case err != nil && k.problem == nil:
			k.config.Log.Warn("the issuer's keys cannot be fetched", "issuer", k.Issuer(), "error", err)
		case err == nil && k.problem != nil:
			k.config.Log.Info("the issuer's keys can be fetched again", "issuer", k.Issuer())
		}
		k.problem = err
	}()
}

func (k *Keys) fetch() (set *keySet, err error) {
	// A panic here would end the process, and what is parsed came from outside.
	defer func() {
		if p := recover(); p != nil {
			set, err = nil, fmt.Errorf("reading the keys document: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	address := k.config.URL
	if address == "" {
		metadata, err := k.get(ctx, strings.TrimSuffix(k.config.Issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return nil, fmt.Errorf("asking for metadata: %w", err)
		}
		if address, err = keysAddress(metadata, k.config.Issuer); err != nil {
			return nil, err
		}
	}
	document, err := k.get(ctx, address)
	if err != nil {
		return nil, err
	}
	set, err = k.rules.parse(document)
	if err != nil {
		return nil, err
	}
	if before := k.current(); set.ambiguous && before != nil && !before.ambiguous {
		return nil, errors.New("the keys document has two keys of one kid: the keys from before it stay")
	}
	return set, nil
}

// get fetches one document of at most 1 MiB.
func (k *Keys) get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := k.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer answered %d", response.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(document) > maxDocument {
		return nil, errors.New("the document has more than 1 MiB")
	}
	return document, nil
}

// jitter draws a duration below the given one.
func (k *Keys) jitter(below time.Duration) time.Duration {
	var b [1]byte
	if _, err := io.ReadFull(k.config.Random, b[:]); err != nil {
		return 0
	}
	return below * time.Duration(b[0]) / 256
}
