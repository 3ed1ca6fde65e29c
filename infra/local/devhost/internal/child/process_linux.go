package child

import (
	"os/exec"
	"runtime"
	"syscall"
)

// separate puts the child in a process group of its own, so that a Ctrl-C of
// the terminal does not reach it, and lets the kernel kill it if devhost dies.
// The real host leaves its child behind; a laptop should not.
func separate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// lockThread: Pdeathsig fires at the end of the thread that started the child.
func lockThread() { runtime.LockOSThread() }

func killAll(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
