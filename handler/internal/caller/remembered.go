package caller

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// remembered are tokens that passed their checks, by hash, so that a token which comes with every request for a day is verified
// once. What is remembered is that the token is good, never what its caller may do (model.md section 5). Only good tokens get in,
// and only so many: the one that was not used for the longest goes.
type remembered struct {
	cache *lru.Cache[hash, *memory]
}

// memory is what is kept of one token.
type memory struct {
	from          *issuer
	caller        Caller
	exp, iat, nbf time.Time
	proof         func() bool
}

func newRemembered(most int) (remembered, error) {
	cache, err := lru.New[hash, *memory](most)
	return remembered{cache}, err
}

// hash is what a token is remembered under.
type hash [sha256.Size]byte

func hashOf(raw string) hash { return sha256.Sum256([]byte(raw)) }

// find returns what is known of a token that would pass its checks now as it did before: its times are good by the clock of
// this moment, and the key that verified it is still there. What is in doubt is forgotten, and checked anew.
func (r remembered) find(sum hash, now time.Time) *memory {
	m, known := r.cache.Get(sum)
	if !known {
		return nil
	}
	if !now.Before(m.exp.Add(leeway)) || m.iat.After(now.Add(leeway)) || m.nbf.After(now.Add(leeway)) || !m.proof() {
		r.cache.Remove(sum)
		return nil
	}
	return m
}

// keep remembers a token that has just passed its checks.
func (r remembered) keep(sum hash, t *candidate) {
	exp, hasExp := t.claims.date("exp")
	iat, hasIat := t.claims.date("iat")
	if !hasExp || !hasIat || t.proof == nil {
		return
	}
	nbf, _ := t.claims.date("nbf")
	r.cache.Add(sum, &memory{t.from, t.caller.copied(), exp, iat, nbf, t.proof})
}

// copied is a caller of its own memory: the one read from a token holds parts of its text, and so the whole of it.
func (c Caller) copied() Caller {
	for _, text := range []*string{&c.Actor.Issuer, &c.Actor.ID, &c.Subject.Name, &c.Session, &c.Token} {
		*text = strings.Clone(*text)
	}
	c.Scopes, c.Delegated = copied(c.Scopes), copied(c.Delegated)
	return c
}

// copied copies texts into one.
func copied(list []string) []string {
	all, copies := strings.Join(list, ""), slices.Clone(list)
	for i, text := range list {
		copies[i], all = all[:len(text)], all[len(text):]
	}
	return copies
}
