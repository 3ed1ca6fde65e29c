package stack

import "syscall"

// attributes put a child into a process group of its own, so that Ctrl-C
// reaches this process alone and the parts are stopped in order, and make the
// kernel send it orphan when this process dies without stopping it.
func attributes(orphan syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: orphan}
}
