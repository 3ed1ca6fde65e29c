package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// HostOptions say how the staged app is run.
type HostOptions struct {
	Port       int       // 0 = a free one
	Direct     bool      // the handler alone with LISTEN_ADDR, without a host
	Forwarding bool      // the host forwards requests instead of proxying them
	Env        []string  // NAME=value; wins over the environment and the stack
	Output     io.Writer // what host and handler print, as they print it; nil = Options.Output
}

// Host is one Functions host (or handler) over the stack's storage.
type Host struct {
	*Part
	URL  string // http://127.0.0.1:PORT
	Port int
	Kind string // func, devhost or handler
}

// StartHost starts another host and returns when it answers GET /running. It
// works as well while a part of the stack is down. All hosts of a stack issue
// tokens in the first one's name. Its errors are ErrNoDist or name the host.
func (s *Stack) StartHost(ctx context.Context, o HostOptions) (*Host, error) {
	if _, err := os.Stat(filepath.Join(s.options.Dist, "host.json")); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoDist
	}
	if o.Port == 0 {
		if err := freePorts(&o.Port); err != nil {
			return nil, err
		}
	}
	h := &Host{URL: loopback("http", o.Port), Port: o.Port}
	s.mu.Lock()
	if s.issuer == "" {
		s.issuer = h.URL
	}
	issuer := s.issuer
	s.mu.Unlock()

	// Each host has a copy, so that the next make package does not change
	// what runs, and its settings file is nobody else's.
	dir := filepath.Join(s.Dir, "host-"+strconv.Itoa(o.Port))
	if err := stage(s.options.Dist, dir); err != nil {
		return nil, err
	}
	env, err := s.settings(issuer, o.Env, dir+".ca.pem")
	if err != nil {
		return nil, err
	}
	if o.Forwarding {
		env = append(env, "AzureFunctionsJobHost__customHandler__enableProxyingHttpRequest=false")
	}
	h.Part = &Part{
		env: env,
		dir: dir,
		// Asked to end, a host ends its handler too; killed, it leaves it.
		orphan: syscall.SIGTERM,
		output: o.Output,
		ready:  running(h.URL),
	}
	tool := functionsTool()
	switch {
	case o.Direct:
		h.Kind, h.path = "handler", filepath.Join(dir, "latchkey")
		h.Part.env = append(env, "LISTEN_ADDR=127.0.0.1:"+strconv.Itoa(o.Port))
	case tool != "":
		h.Kind, h.path, h.args = "func", tool, []string{"start", "--port", strconv.Itoa(o.Port)}
		h.Part.env = append(env, "FUNCTIONS_CORE_TOOLS_TELEMETRY_OPTOUT=1")
	default:
		if err := s.programs.build(ctx, "devhost"); err != nil {
			return nil, err
		}
		h.Kind, h.path, h.args = "devhost", s.programs.path("devhost"), []string{"--root", dir, "--port", strconv.Itoa(o.Port)}
	}
	h.name = h.Kind
	if h.output == nil {
		h.output = s.output.named(h.Kind)
	}
	// It is the stack's to stop from here on, whatever comes of its start.
	s.mu.Lock()
	s.hosts = append(s.hosts, h)
	s.mu.Unlock()
	if err := h.Start(ctx); err != nil {
		return nil, err
	}
	return h, nil
}

// functionsTool returns the path of Azure Functions Core Tools, or "".
func functionsTool() string {
	path, err := exec.LookPath("func")
	if err != nil {
		return ""
	}
	return path
}

// stage copies the staged app and adds the settings file that func needs: it
// asks for the runtime when nothing names it, and takes a file without
// IsEncrypted for an encrypted one. All settings are in the environment.
func stage(dist, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.CopyFS(dir, os.DirFS(dist)); err != nil {
		return fmt.Errorf("staging: %w", err)
	}
	body, err := json.MarshalIndent(map[string]any{
		"IsEncrypted": false,
		"Values":      map[string]string{"FUNCTIONS_WORKER_RUNTIME": "custom"},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "local.settings.json"), body, 0o644)
}

func running(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		resp, err := get(ctx, http.DefaultClient, url+"/running", nil)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("GET /running answers %s", resp.Status)
		}
		return nil
	}
}
