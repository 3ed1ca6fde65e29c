package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Settings are the app settings: the environment of the host, which is also
// what the handler inherits. A name that is set in the real environment wins
// over local.settings.json.
type Settings struct{ env []string }

// NewSettings takes an environment in the form of os.Environ.
func NewSettings(environ []string) *Settings { return &Settings{env: slices.Clone(environ)} }

// Get returns a setting, or "".
func (s *Settings) Get(name string) string { v, _ := s.Lookup(name); return v }

// Lookup returns a setting and whether it exists.
func (s *Settings) Lookup(name string) (string, bool) {
	for _, e := range slices.Backward(s.env) {
		if k, v, _ := strings.Cut(e, "="); k == name {
			return v, true
		}
	}
	return "", false
}

// Flag reports whether a setting is "true" or "1".
func (s *Settings) Flag(name string) bool {
	v := s.Get(name)
	return strings.EqualFold(v, "true") || v == "1"
}

// Default sets a value that is not there yet.
func (s *Settings) Default(name, value string) {
	if _, ok := s.Lookup(name); !ok {
		s.env = append(s.env, name+"="+value)
	}
}

// Environ returns the environment with some values on top of it.
func (s *Settings) Environ(over map[string]string) []string {
	out := slices.DeleteFunc(slices.Clone(s.env), func(e string) bool {
		k, _, _ := strings.Cut(e, "=")
		_, ok := over[k]
		return ok
	})
	for k, v := range over {
		out = append(out, k+"="+v)
	}
	return out
}

// Expand replaces %NAME% by settings. What is not set stays as it is; names
// returns those.
func (s *Settings) Expand(text string) (expanded string, missing []string) {
	expanded = percentNames().ReplaceAllStringFunc(text, func(m string) string {
		name := strings.Trim(m, "%")
		if v, ok := s.Lookup(name); ok {
			return v
		}
		missing = append(missing, name)
		return m
	})
	return expanded, missing
}

func percentNames() *regexp.Regexp { return regexp.MustCompile(`%[^%]+%`) }

// LocalFile is what local.settings.json says to the host itself.
type LocalFile struct {
	// Port is Host.LocalHttpPort, 0 if it is not set.
	Port int
	// Warning is not empty if `func` would not read the file.
	Warning string
}

// AddLocalFile reads local.settings.json in the root and adds its Values.
// Core tools looks for it from the script root upwards and stops at the first
// folder that has a host.json, which is the script root itself.
func (s *Settings) AddLocalFile(root string) (LocalFile, error) {
	const name = "local.settings.json"
	text, err := os.ReadFile(filepath.Join(root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return LocalFile{}, nil
	}
	if err != nil {
		return LocalFile{}, fmt.Errorf("%s: %w", name, err)
	}
	var file struct {
		IsEncrypted *bool
		Values      map[string]*string
		Host        struct {
			LocalHTTPPort int `json:"LocalHttpPort"`
		}
	}
	if err := json.Unmarshal(lenient(text), &file); err != nil {
		return LocalFile{}, fmt.Errorf("%s: %w", name, err)
	}
	local := LocalFile{Port: file.Host.LocalHTTPPort}
	if file.IsEncrypted == nil || *file.IsEncrypted {
		local.Warning = name + `: func takes it for encrypted unless it says "IsEncrypted": false`
	}
	for k, v := range file.Values {
		if v != nil {
			s.Default(k, *v)
		}
	}
	return local, nil
}
