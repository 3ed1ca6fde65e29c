package stack

import (
	"bytes"
	"io"
	"sync"
)

// lines lets several processes print to one writer without mixing their lines.
type lines struct {
	mu  sync.Mutex
	out io.Writer
}

func newLines(out io.Writer) *lines {
	if out == nil {
		out = io.Discard
	}
	return &lines{out: out}
}

// named returns a writer whose lines carry the name of the process.
func (l *lines) named(name string) io.Writer {
	return &namedWriter{lines: l, prefix: name + ": "}
}

type namedWriter struct {
	lines  *lines
	prefix string
	rest   []byte // the line that has not ended yet; guarded by lines.mu
}

func (w *namedWriter) Write(p []byte) (int, error) {
	w.lines.mu.Lock()
	defer w.lines.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		whole := append(append([]byte(w.prefix), line...), '\n')
		w.rest = rest
		if _, err := w.lines.out.Write(whole); err != nil {
			return len(p), err
		}
	}
}
