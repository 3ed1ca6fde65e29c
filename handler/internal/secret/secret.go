// Package secret holds values that must never be printed. It owns nothing but the type; where the values come from
// is the settings' business.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Text is a secret string. Every way of printing it that fmt, encoding/json and log/slog know yields "[redacted]"
// (CFG-5). Reveal is the only way to the value, so that its uses can be found by searching for the word.
type Text struct {
	// A pointer, so that fmt, which cannot call methods of unexported fields, prints an address at most.
	value *string
}

// New wraps a value.
func New(value string) Text { return Text{value: &value} }

// Reveal returns the value. Never pass it to a log line or an error.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// IsZero reports whether no value is set.
func (t Text) IsZero() bool { return t.Reveal() == "" }

// Format implements fmt.Formatter, for every verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer, for those who ask without fmt.
func (t Text) String() string { return redacted }

// MarshalText implements encoding.TextMarshaler, for JSON and for dumps of settings.
func (t Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (t Text) LogValue() slog.Value { return slog.StringValue(redacted) }
