package logging_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"latchkey/handler/internal/logging"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/settings"
)

func logged(c settings.Log, do func(*slog.Logger)) (stdout, stderr string) {
	var out, err bytes.Buffer
	do(logging.New(&out, &err, c))
	return out.String(), err.String()
}

func everyLevel(l *slog.Logger) {
	l = l.With("pre", 1).WithGroup("g")
	l.Debug("a debug")
	l.Info("an info")
	l.Warn("a warning", "to", "be")
	l.Error("an error", "cause", errors.New("line\none"))
}

// host-contract.md section 2: the host takes a line on stdout as information, and one on stderr as an error unless it holds "warn".
func TestOPS4_LevelsGoWhereTheHostReadsThemRightly(t *testing.T) {
	for _, format := range []settings.LogFormat{settings.LogJSON, settings.LogPlain, settings.LogColour} {
		stdout, stderr := logged(settings.Log{Level: slog.LevelDebug, Format: format}, everyLevel)
		out, err := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n"), strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
		if len(out) != 2 || !strings.Contains(out[0], "a debug") || !strings.Contains(out[1], "an info") {
			t.Errorf("%s: stdout is %q", format, stdout)
		}
		if len(err) < 2 || !strings.Contains(err[0], "a warning") || !strings.Contains(err[1], "an error") {
			t.Errorf("%s: stderr is %q", format, stderr)
		}
		if strings.Contains(strings.ToLower(err[1]), "warn") {
			t.Errorf("%s: the host would take this error for a warning: %q", format, err[1])
		}
	}
}

func TestOPS4_TheLevelIsABound(t *testing.T) {
	for level, want := range map[slog.Level]int{slog.LevelDebug: 4, slog.LevelInfo: 3, slog.LevelWarn: 2, slog.LevelError: 1} {
		stdout, stderr := logged(settings.Log{Level: level, Format: settings.LogJSON}, everyLevel)
		if n := strings.Count(stdout+stderr, "\n"); n != want {
			t.Errorf("%s: %d lines, want %d", level, n, want)
		}
	}
}

func TestOPS4_Formats(t *testing.T) {
	_, stderr := logged(settings.Log{Format: settings.LogJSON}, everyLevel)
	for line := range strings.Lines(stderr) {
		var m struct {
			Level string
			Pre   int
			G     map[string]string
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.Pre != 1 || len(m.G) != 1 || m.Level == "" {
			t.Errorf("%q: %+v %v", line, m, err)
		}
	}
	_, stderr = logged(settings.Log{Format: settings.LogPlain}, everyLevel)
	if !strings.Contains(stderr, `level=ERROR msg="an error" pre=1 g.cause="line\none"`) || strings.Contains(stderr, "\x1b") {
		t.Errorf("plain is %q", stderr)
	}
	stdout, stderr := logged(settings.Log{Format: settings.LogColour}, everyLevel)
	if !strings.HasPrefix(stdout, "\x1b[36mtime=") || !strings.HasPrefix(stderr, "\x1b[31mtime=") || !strings.Contains(stderr, "\x1b[0m") {
		t.Errorf("colour is %q and %q", stdout, stderr)
	}
}

// A line is a line, and what is secret stays so, in every format.
func TestOPS4_NoSecretAndNoForgedLine(t *testing.T) {
	for _, format := range []settings.LogFormat{settings.LogJSON, settings.LogPlain, settings.LogColour} {
		stdout, _ := logged(settings.Log{Format: format}, func(l *slog.Logger) {
			l.Info("x\r\nlevel=ERROR", "k\n", "v\r\n{}\u2028\x1b[2J", "pepper", secret.New("canary"))
		})
		if strings.Count(stdout, "\n") != 1 || strings.Contains(stdout, "\r") || strings.Contains(stdout, "\x1b[2J") {
			t.Errorf("%s: more than a line: %q", format, stdout)
		}
		if strings.Contains(stdout, "canary") || !strings.Contains(stdout, "[redacted]") {
			t.Errorf("%s: %q", format, stdout)
		}
	}
}
