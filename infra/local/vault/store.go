package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

var (
	errNotFound = errors.New("no such secret")
	errDisabled = errors.New("the secret is disabled")
)

// attributes are times in seconds since 1970 and a switch, as on the wire
// (learn.microsoft.com/rest/api/keyvault/secrets, SecretAttributes).
type attributes struct {
	Enabled   *bool  `json:"enabled,omitempty"`
	NotBefore *int64 `json:"nbf,omitempty"`
	Expires   *int64 `json:"exp,omitempty"`
	Created   int64  `json:"created,omitempty"`
	Updated   int64  `json:"updated,omitempty"`
}

// version is one value of a secret. Order is when it was set: the newest is
// what a read without a version gets, disabled or not.
type version struct {
	ID          string            `json:"version"`
	Value       string            `json:"value"`
	ContentType string            `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Attributes  attributes        `json:"attributes"`
}

// secret keeps the spelling of its first set; names do not depend on case.
type secret struct {
	Name     string    `json:"name"`
	Versions []version `json:"versions"`
}

// store holds the secrets in memory and writes them through to its file, so
// that a stopped vault comes back with what it had.
type store struct {
	path string
	now  func() time.Time

	mu      sync.Mutex
	secrets map[string]*secret // by lower-cased name
}

func openStore(path string, now func() time.Time) (*store, error) {
	s := &store{path: path, now: now, secrets: make(map[string]*secret)}
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	var list []*secret
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, sec := range list {
		// A seed may leave out all but the name and the values.
		for i := range sec.Versions {
			s.complete(&sec.Versions[i])
		}
		s.secrets[strings.ToLower(sec.Name)] = sec
	}
	return s, nil
}

func (s *store) complete(v *version) {
	if v.ID == "" {
		var id [16]byte
		rand.Read(id[:])
		v.ID = hex.EncodeToString(id[:])
	}
	if v.Attributes.Enabled == nil {
		enabled := true
		v.Attributes.Enabled = &enabled
	}
	if v.Attributes.Created == 0 {
		v.Attributes.Created = s.now().Unix()
		v.Attributes.Updated = v.Attributes.Created
	}
}

// set adds a version, which becomes the current one.
func (s *store) set(name string, v version) (secret, version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complete(&v)
	sec := s.secrets[strings.ToLower(name)]
	if sec == nil {
		sec = &secret{Name: name}
		s.secrets[strings.ToLower(name)] = sec
	}
	sec.Versions = append(sec.Versions, v)
	return *sec, v, s.save()
}

// get returns a version, the newest when id is empty: errNotFound or
// errDisabled. Expired and not yet valid ones are returned, as Key Vault does:
// their dates are for the reader to heed
// (learn.microsoft.com/azure/key-vault/secrets/about-secrets).
func (s *store) get(name, id string) (secret, version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, v, err := s.find(name, id)
	if err != nil {
		return secret{}, version{}, err
	}
	if !*v.Attributes.Enabled {
		return secret{}, version{}, errDisabled
	}
	return *sec, *v, nil
}

// update changes attributes, type and tags of a version that exists, and never
// its value.
func (s *store) update(name, id string, change func(*version)) (secret, version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, v, err := s.find(name, id)
	if err != nil {
		return secret{}, version{}, err
	}
	value := v.Value
	change(v)
	v.Value = value
	v.Attributes.Updated = s.now().Unix()
	return *sec, *v, s.save()
}

func (s *store) find(name, id string) (*secret, *version, error) {
	sec := s.secrets[strings.ToLower(name)]
	if sec == nil || len(sec.Versions) == 0 {
		return nil, nil, errNotFound
	}
	if id == "" {
		return sec, &sec.Versions[len(sec.Versions)-1], nil
	}
	for i := range sec.Versions {
		if sec.Versions[i].ID == id {
			return sec, &sec.Versions[i], nil
		}
	}
	return nil, nil, errNotFound
}

// item is one line of a list: never the value.
type item struct {
	name string
	version
}

// list returns the newest version of every secret, by name.
func (s *store) list() []item {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []item
	for _, key := range slices.Sorted(maps.Keys(s.secrets)) {
		sec := s.secrets[key]
		if len(sec.Versions) > 0 {
			out = append(out, item{sec.Name, sec.Versions[len(sec.Versions)-1]})
		}
	}
	return out
}

// versions returns all versions of a secret by id, which is random: Key
// Vault's own list is in no order of time either. No secret, no versions.
func (s *store) versions(name string) []item {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.secrets[strings.ToLower(name)]
	if sec == nil {
		return nil
	}
	var out []item
	for _, v := range sec.Versions {
		out = append(out, item{sec.Name, v})
	}
	slices.SortFunc(out, func(a, b item) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func (s *store) save() error {
	list := make([]*secret, 0, len(s.secrets))
	for _, key := range slices.Sorted(maps.Keys(s.secrets)) {
		list = append(list, s.secrets[key])
	}
	body, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	// Written beside and moved, so that a kill never leaves half a file.
	if err := os.WriteFile(s.path+".new", body, 0o600); err != nil {
		return err
	}
	return os.Rename(s.path+".new", s.path)
}
