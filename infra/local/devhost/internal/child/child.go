// Package child starts the custom handler and keeps it running by the rules of
// host-contract.md section 2: readiness by polling, restart at once, a budget
// of three errors, and no signal but SIGKILL at the end.
//
// It refuses to know what the handler serves: requests are the host's matter.
package child

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"latchkey/infra/local/devhost/internal/wire"
)

// ErrBudget: the third error within the window; the host stops.
var ErrBudget = errors.New("exceeded http worker restart retry count")

// ErrNeverReady: the handler did not become ready in time for a request.
var ErrNeverReady = errors.New("the handler did not become ready")

const (
	pollEvery   = 25 * time.Millisecond
	maxErrors   = 3
	errorWindow = 30 * time.Minute
	// intentional is the exit code by which a handler asks for a restart.
	intentional = 200
)

// Log takes one line of the child or about it.
type Log interface {
	Info(line string)
	Warn(line string)
	Error(line string)
}

// Options say what to run and how.
type Options struct {
	// Start gives program, arguments, environment and working directory. It
	// is called for each start, since the worker id is new each time.
	Start func() *exec.Cmd
	// Port of 127.0.0.1 that is polled with GET /; the same for all starts.
	Port int
	// InitTimeout is how long one start may take to answer.
	InitTimeout time.Duration
	// StderrIsError: every stderr line is an error, but for warnings.
	StderrIsError bool
	// Output takes the child's lines, Host the host's own.
	Output, Host Log
	Now          func() time.Time
}

// Supervisor runs one handler.
type Supervisor struct {
	opt     Options
	mu      sync.Mutex
	ready   chan struct{} // closed when ready; a new one for each start
	restart chan struct{}
	errs    []time.Time
}

// New returns a supervisor; Run starts the handler.
func New(opt Options) *Supervisor {
	return &Supervisor{opt: opt, ready: make(chan struct{}), restart: make(chan struct{}, 1)}
}

// Ready waits until the handler answers, at most for the limit. A handler
// that has exited with code 0 still counts as ready, as on the real host.
func (s *Supervisor) Ready(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		s.mu.Lock()
		ready := s.ready
		s.mu.Unlock()
		select {
		case <-ready:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return ErrNeverReady
		case <-time.After(pollEvery):
		}
	}
}

// Restart kills the handler and starts it again; it is not counted.
func (s *Supervisor) Restart() {
	s.notReady()
	select {
	case s.restart <- struct{}{}:
	default:
	}
}

func (s *Supervisor) notReady() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ready:
		s.ready = make(chan struct{})
	default:
	}
}

func (s *Supervisor) setReady() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// Run starts the handler and restarts it until ctx ends (nil: the handler is
// dead then) or the budget is spent (ErrBudget).
func (s *Supervisor) Run(ctx context.Context) error {
	for {
		again, failure := s.life(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if failure != nil {
			s.opt.Host.Error(failure.Error())
			if s.spent() {
				return ErrBudget
			}
		}
		if !again {
			<-ctx.Done()
			return nil
		}
	}
}

// spent counts an error and reports whether it was the last one allowed.
func (s *Supervisor) spent() bool {
	now := s.opt.Now()
	if n := len(s.errs); n > 0 && now.Sub(s.errs[n-1]) > errorWindow {
		s.errs = nil
	}
	s.errs = append(s.errs, now)
	return len(s.errs) >= maxErrors
}

// life is one start of the handler until its end.
func (s *Supervisor) life(ctx context.Context) (again bool, failure error) {
	s.notReady()
	p, err := s.start()
	if err != nil {
		// No error event and no retry on the real host: requests wait in vain.
		s.opt.Host.Error(fmt.Sprintf("failed to start the handler: %v; requests will wait and then fail", err))
		<-ctx.Done()
		return false, nil
	}
	probe, stopProbe := context.WithTimeout(ctx, s.opt.InitTimeout)
	defer stopProbe()
	answered := make(chan struct{})
	go func() {
		if s.poll(probe) {
			close(answered)
		}
	}()
	exited, timeout := p.exited, probe.Done()
	for {
		select {
		case <-ctx.Done():
			p.kill()
			return false, nil
		case <-s.restart:
			s.opt.Host.Info("the handler is killed and started again")
			p.kill()
			return true, nil
		case <-answered:
			s.setReady()
			answered, timeout = nil, nil
		case <-timeout:
			p.kill()
			return true, fmt.Errorf("the handler did not answer GET / within %s", s.opt.InitTimeout)
		case <-exited:
			switch code := p.code; code {
			case 0:
				s.opt.Host.Info("the handler exited with code 0 and is not started again")
				exited = nil // while starting, the timeout still counts
			case intentional:
				s.notReady()
				s.opt.Host.Info("the handler asked for a restart with exit code 200")
				return true, nil
			default:
				s.notReady()
				return true, fmt.Errorf("the handler exited with code %d (0x%X)%s", code, code, p.lastErrors())
			}
		}
	}
}

// poll asks GET / until any HTTP answer comes; only a failure of the socket
// means "not yet".
func (s *Supervisor) poll(ctx context.Context) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", s.opt.Port)
	for {
		if ping(ctx, addr) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pollEvery):
		}
	}
}

func ping(ctx context.Context, addr string) bool {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return false
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	w := bufio.NewWriter(c)
	wire.WriteHead(w, "GET / HTTP/1.1", wire.Header{{Name: "Host", Value: addr}})
	if w.Flush() != nil {
		return false
	}
	_, err = wire.ReadResponse(bufio.NewReader(c), "GET")
	return !errors.Is(err, wire.ErrNoReply)
}

// process is one running handler.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	code   int // valid once exited is closed
	mu     sync.Mutex
	tail   []string
}

func (s *Supervisor) start() (*process, error) {
	cmd := s.opt.Start()
	p := &process{cmd: cmd, exited: make(chan struct{})}
	out := &lines{emit: s.opt.Output.Info}
	errs := &lines{emit: func(line string) { p.stderr(line, s.opt) }}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.WaitDelay = time.Second
	separate(cmd)
	started := make(chan error)
	go func() {
		// Where the child is tied to the life of its parent's thread, the
		// thread has to last as long as the child.
		lockThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // the code is in ProcessState
		out.flush()
		errs.flush()
		p.code = exitCode(cmd)
		close(p.exited)
	}()
	return p, <-started
}

// exitCode is 128 + n after signal n, as .NET has it.
func exitCode(cmd *exec.Cmd) int {
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

func (p *process) kill() {
	killAll(p.cmd)
	<-p.exited
}

// stderr classifies a line as the real host does (WorkerProcess.cs).
func (p *process) stderr(line string, opt Options) {
	lower := strings.ToLower(line)
	isError := opt.StderrIsError
	for _, word := range []string{"error", "fail", "severe", "unhandled exception"} {
		isError = isError || strings.Contains(lower, word)
	}
	switch {
	case strings.Contains(lower, "warn"):
		opt.Output.Warn(line)
	case isError:
		p.mu.Lock()
		p.tail = append(p.tail, line)
		p.tail = p.tail[max(0, len(p.tail)-3):]
		p.mu.Unlock()
		opt.Output.Error(line)
	default:
		opt.Output.Info(line)
	}
}

func (p *process) lastErrors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tail) == 0 {
		return ""
	}
	return ": " + strings.Join(p.tail, " | ")
}

// lines cuts a stream into lines of at most 64 KiB.
type lines struct {
	emit func(string)
	buf  []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.buf = append(l.buf, p...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 {
			break
		}
		l.emit(strings.TrimSuffix(string(l.buf[:i]), "\r"))
		l.buf = l.buf[i+1:]
	}
	if len(l.buf) > 64<<10 {
		l.flush()
	}
	return len(p), nil
}

func (l *lines) flush() {
	if len(l.buf) > 0 {
		l.emit(string(l.buf))
		l.buf = nil
	}
}
