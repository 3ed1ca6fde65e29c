// Package app reads an Azure Functions app from its script root: host.json,
// the function.json of the direct child folders, and the settings over them.
//
// It owns the rules of discovery (host-contract.md 1.1, 5.1 and 3.8) and
// tells errors that take the whole app down from those of one function. It
// starts nothing and serves nothing.
package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"latchkey/infra/local/devhost/internal/route"
)

// ErrApp: the whole app is in error; the host answers 503 to everything.
var ErrApp = errors.New("the app cannot be loaded")

// Mode is how HTTP-only functions reach the handler.
type Mode int

// Proxying wins if host.json enables both.
const (
	Payload Mode = iota
	Forwarding
	Proxying
)

func (m Mode) String() string { return [...]string{"payload", "forwarding", "proxying"}[m] }

// App is a loaded app.
type App struct {
	Root string
	Mode Mode
	// Handler is how to start the custom handler.
	Handler Handler
	// FunctionTimeout is 0 if unlimited; the default is 30 minutes.
	FunctionTimeout time.Duration
	// CustomHeaders of extensions.http, added to replies that lack them.
	CustomHeaders map[string]string
	Functions     []*Function
	Routes        route.Table
	// Problems are functions that were left out, and why.
	Problems []string
}

// Handler is host.json's customHandler, with paths made absolute. Arguments
// still hold %NAME%: the port is only known at the start.
type Handler struct {
	Executable, Arguments, WorkingDirectory string
	// InitTimeout is how long readiness is waited for, 30 s by default.
	InitTimeout time.Duration
	// Port is 0 unless customHandler.port asks for one.
	Port int
	// StderrIsError: each stderr line is an error, not only those that say so.
	StderrIsError bool
}

// Function returns a function by name, ignoring case, or nil.
func (a *App) Function(name string) *Function {
	for _, f := range a.Functions {
		if strings.EqualFold(f.Name, name) {
			return f
		}
	}
	return nil
}

// Load reads the app in root. The error is ErrApp if the real host would stay
// up and answer 503 to everything.
func Load(root string, settings *Settings) (*App, error) {
	a, err := load(root, settings)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrApp, err)
	}
	return a, nil
}

func load(root string, settings *Settings) (*App, error) {
	conf, err := hostJSON(root, settings)
	if err != nil {
		return nil, err
	}
	a := &App{Root: root, CustomHeaders: conf.below("extensions:http:customHeaders")}
	if a.Handler, err = handler(root, conf, settings); err != nil {
		return nil, err
	}
	switch {
	case conf.flag("customHandler:enableProxyingHttpRequest"):
		a.Mode = Proxying
	case conf.flag("customHandler:enableForwardingHttpRequest"):
		a.Mode = Forwarding
	}
	if a.FunctionTimeout, err = functionTimeout(conf); err != nil {
		return nil, err
	}
	prefix := "api"
	if p, ok := conf.get("extensions:http:routePrefix"); ok {
		prefix = p
	}
	if err := a.discover(settings); err != nil {
		return nil, err
	}
	return a, a.buildRoutes(prefix)
}

// hostJSON reads host.json and lays AzureFunctionsJobHost__a__b over it.
func hostJSON(root string, settings *Settings) (tree, error) {
	text, err := os.ReadFile(filepath.Join(root, "host.json"))
	if err != nil {
		return nil, fmt.Errorf("host.json: %w", err)
	}
	v, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("host.json: %w", err)
	}
	conf := tree{}
	flatten(conf, "", v)
	if version := conf.text("version"); version != "2.0" {
		return nil, fmt.Errorf("host.json: version is %q, must be \"2.0\"", version)
	}
	for _, e := range settings.env {
		k, v, _ := strings.Cut(e, "=")
		if rest, ok := strings.CutPrefix(k, "AzureFunctionsJobHost__"); ok {
			conf.set(strings.ReplaceAll(rest, "__", ":"), v)
		}
	}
	if !conf.has("customHandler") {
		return nil, errors.New("host.json: customHandler is missing (the older httpWorker is not supported)")
	}
	return conf, nil
}

func handler(root string, conf tree, settings *Settings) (Handler, error) {
	const at = "customHandler:description:"
	h := Handler{StderrIsError: true, InitTimeout: 30 * time.Second, WorkingDirectory: root}
	if !conf.has(strings.TrimSuffix(at, ":")) {
		return h, errors.New("host.json: customHandler.description is missing")
	}
	exe, _ := settings.Expand(conf.text(at + "defaultExecutablePath"))
	if exe == "" {
		return h, errors.New("host.json: customHandler.description.defaultExecutablePath is missing")
	}
	base := under(root, conf.text(at+"workerDirectory"))
	h.Executable = exe
	// Only an existing file is taken from the folder, all else is left to PATH.
	if info, err := os.Stat(under(base, exe)); err == nil && info.Mode().IsRegular() {
		h.Executable = under(base, exe)
	}
	h.WorkingDirectory = under(root, conf.text(at+"workingDirectory"))
	if v, ok := conf.get(at + "useStdErrorStreamForErrorsOnly"); ok {
		h.StderrIsError = strings.EqualFold(v, "true")
	}
	args, err := conf.list(at + "arguments")
	if err != nil {
		return h, fmt.Errorf("host.json: %w", err)
	}
	if p := conf.text(at + "defaultWorkerPath"); p != "" {
		args = append(args, `"`+p+`"`)
	}
	more, err := conf.list(at + "workerArguments")
	if err != nil {
		return h, fmt.Errorf("host.json: %w", err)
	}
	h.Arguments = strings.Join(append(args, more...), " ")
	if v := conf.text("customHandler:initializationTimeout"); v != "" {
		if h.InitTimeout, err = parseTimeSpan(v); err != nil {
			return h, fmt.Errorf("host.json: initializationTimeout: %w", err)
		}
	}
	if v := conf.text("customHandler:port"); v != "" {
		if h.Port, err = strconv.Atoi(v); err != nil || h.Port < 1 || h.Port > 65535 {
			return h, fmt.Errorf("host.json: customHandler.port: unable to bind to port %q", v)
		}
	}
	return h, nil
}

func under(base, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

func functionTimeout(conf tree) (time.Duration, error) {
	switch v := conf.text("functionTimeout"); v {
	case "":
		return 30 * time.Minute, nil
	case "-1":
		return 0, nil
	default:
		d, err := parseTimeSpan(v)
		if err != nil || d <= 0 {
			return 0, fmt.Errorf("host.json: functionTimeout: %q is not a time span", v)
		}
		return d, nil
	}
}

// parseTimeSpan reads .NET's [d.]hh:mm:ss[.fraction].
func parseTimeSpan(s string) (time.Duration, error) {
	m := regexp.MustCompile(`^(?:(\d+)\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2})(\.\d{1,7})?)?$`).FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a time span", s)
	}
	num := func(s string) time.Duration { n, _ := strconv.Atoi("0" + s); return time.Duration(n) }
	d := num(m[1])*24*time.Hour + num(m[2])*time.Hour + num(m[3])*time.Minute + num(m[4])*time.Second
	if m[5] != "" {
		f, _ := strconv.ParseFloat("0"+m[5], 64)
		d += time.Duration(f * float64(time.Second))
	}
	return d, nil
}
