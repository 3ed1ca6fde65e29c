// Package logging writes log lines where the Functions host reads them rightly: it takes a line on standard output as
// information and one on standard error as an error, or as a warning if it says so (host-contract.md section 2). The
// package owns the streams and the formats (OPS-4), not what is said.
package logging

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"latchkey/handler/internal/settings"
)

// New makes a logger: warnings and errors go to stderr, the others to stdout.
func New(stdout, stderr io.Writer, c settings.Log) *slog.Logger {
	if c.Format == settings.LogColour {
		stdout, stderr = painted{stdout, "\x1b[36m"}, painted{stderr, "\x1b[31m"}
	}
	return slog.New(split{handler(stdout, c), handler(stderr, c)})
}

func handler(w io.Writer, c settings.Log) slog.Handler {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == settings.LogJSON {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// painted colours each line, for a terminal. slog writes a line a call.
type painted struct {
	w      io.Writer
	colour string
}

func (p painted) Write(line []byte) (int, error) {
	// The colour ends within the line: a reader of lines must not find it at the start of the next one.
	if _, err := io.WriteString(p.w, p.colour+strings.TrimSuffix(string(line), "\n")+"\x1b[0m\n"); err != nil {
		return 0, err
	}
	return len(line), nil
}

// split is a slog.Handler with a stream for each half of the levels.
type split struct{ low, high slog.Handler }

func (s split) half(level slog.Level) slog.Handler {
	if level >= slog.LevelWarn {
		return s.high
	}
	return s.low
}

func (s split) Enabled(ctx context.Context, level slog.Level) bool {
	return s.half(level).Enabled(ctx, level)
}

func (s split) Handle(ctx context.Context, record slog.Record) error {
	return s.half(record.Level).Handle(ctx, record)
}

func (s split) WithAttrs(attrs []slog.Attr) slog.Handler {
	return split{s.low.WithAttrs(attrs), s.high.WithAttrs(attrs)}
}

func (s split) WithGroup(name string) slog.Handler {
	return split{s.low.WithGroup(name), s.high.WithGroup(name)}
}
