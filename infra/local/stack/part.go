package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	startPatience = 60 * time.Second      // a cold node on a busy machine
	probeEvery    = 10 * time.Millisecond // small beside the fastest start
	probeTimeout  = 5 * time.Second
	stopPatience  = 10 * time.Second
)

// Part is one process of the stack. It keeps its port, its data and its
// settings over Stop and Start.
type Part struct {
	name    string
	path    string
	args    []string
	env     []string
	dir     string
	asks    syscall.Signal // asks it to end; default SIGTERM
	orphan  syscall.Signal // what it gets when this process dies; default SIGKILL
	output  io.Writer
	ready   func(context.Context) error // one probe
	running *process
	mu      sync.Mutex
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is reaped
	err  error         // of Wait; read it after done
}

// Start starts the process and waits until it answers. It is an error when it
// runs already, ends before it answers, or does not answer in a minute.
func (p *Part) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil {
		select {
		case <-p.running.done:
		default:
			return fmt.Errorf("%s: it runs already", p.name)
		}
	}
	proc, err := p.spawn()
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.running = proc
	if err := p.await(ctx, proc); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", p.name, err), p.end(syscall.SIGKILL))
	}
	return nil
}

// Stop asks the process to end, with the signal it saves its data at, and
// waits for it. It is no error when it does not run. It is one when it has to
// be killed.
func (p *Part) Stop() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	asks := p.asks
	if asks == 0 {
		asks = syscall.SIGTERM
	}
	return p.end(asks)
}

// Kill ends the process as a crash or the kernel would (SIGKILL).
func (p *Part) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end(syscall.SIGKILL)
}

// PID returns the id of the running process, 0 when there is none.
func (p *Part) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return 0
	}
	return p.running.cmd.Process.Pid
}

// Done returns a channel that is closed when the process that runs now has
// ended, for whatever reason. It is nil when none was started.
func (p *Part) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return nil
	}
	return p.running.done
}

func (p *Part) spawn() (*process, error) {
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Dir = p.env, p.dir
	cmd.Stdout, cmd.Stderr = p.output, p.output
	// A grandchild may hold the pipe after its parent has gone.
	cmd.WaitDelay = 2 * time.Second
	orphan := p.orphan
	if orphan == 0 {
		orphan = syscall.SIGKILL
	}
	cmd.SysProcAttr = attributes(orphan)

	proc := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the *thread* that
		// forked ends (prctl(2), PR_SET_PDEATHSIG), so this one is held.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		proc.err = cmd.Wait()
		// What it left behind is in its process group.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		close(proc.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return proc, nil
}

func (p *Part) await(ctx context.Context, proc *process) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var last error
	for {
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		last = p.ready(probe)
		cancel()
		// Something else may answer on the port of a process that could not
		// bind it, so being alive comes first.
		select {
		case <-proc.done:
			return fmt.Errorf("it ended before it answered: %v", proc.err)
		default:
		}
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), last)
		case <-proc.done:
			return fmt.Errorf("it ended before it answered: %v", proc.err)
		case <-tick.C:
		}
	}
}

// end sends sig, and SIGKILL to the whole group after stopPatience.
func (p *Part) end(sig syscall.Signal) error {
	proc := p.running
	p.running = nil
	if proc == nil {
		return nil
	}
	select {
	case <-proc.done:
		return nil
	default:
	}
	if sig == syscall.SIGKILL {
		_ = syscall.Kill(-proc.cmd.Process.Pid, sig)
	} else {
		_ = proc.cmd.Process.Signal(sig)
	}
	select {
	case <-proc.done:
		return nil
	case <-time.After(stopPatience):
	}
	_ = syscall.Kill(-proc.cmd.Process.Pid, syscall.SIGKILL)
	<-proc.done
	return fmt.Errorf("%s: did not end within %v of %v and was killed", p.name, stopPatience, sig)
}
