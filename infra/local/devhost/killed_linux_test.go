package main

import "testing"

func TestTheHandlerDiesWithDevhost(t *testing.T) {
	t.Parallel()
	cmd, _, _, handler := process(t, appRoot(t, forwarding, ""))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "the handler is gone", gone(handler))
}
