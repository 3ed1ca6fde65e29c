//go:build unix && !linux

package child

import (
	"os/exec"
	"syscall"
)

// separate puts the child in a process group of its own, so that a Ctrl-C of
// the terminal does not reach it. If devhost itself is killed the child stays
// behind here, as on the real host.
func separate(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func lockThread() {}

func killAll(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
