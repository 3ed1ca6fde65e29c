//go:build !linux

package stack

import "syscall"

// attributes put a child into a process group of its own. Only Linux can tell
// a child that its parent was killed; elsewhere Stop and Ctrl-C end it.
func attributes(syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
