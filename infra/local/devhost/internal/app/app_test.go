package app_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/infra/local/devhost/internal/app"
	"latchkey/infra/local/devhost/internal/route"
)

const hostJSON = `{"version": "2.0", "extensions": {"http": {"routePrefix": ""}},
	"customHandler": {"description": {"defaultExecutablePath": "handler"}, "enableForwardingHttpRequest": true}}`

func httpFunction(route, methods string) string {
	return `{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "route": "` + route + `", "methods": ` + methods + `},
		{"type": "http", "direction": "out", "name": "res"}]}`
}

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestDiscovery(t *testing.T) {
	root := write(t, map[string]string{
		"host.json":                      hostJSON,
		"m_x/function.json":              httpFunction("o2/{id}", `["get"]`),
		"mx/function.json":               httpFunction("o2/lit", `["get"]`),
		"a0/function.json":               httpFunction("o1/lit", `["get"]`),
		"a-0/function.json":              httpFunction("o1/{id}", `["get"]`),
		"Zed/function.json":              httpFunction("o3", `["get"]`),
		"1bad/function.json":             httpFunction("bad", `["get"]`),
		"host/function.json":             httpFunction("hosty", `["get"]`),
		"adm/function.json":              httpFunction("administrators/x", `["get"]`),
		"dup/function.json":              httpFunction("O2/LIT", `["get"]`),
		"x-dup-post/function.json":       httpFunction("o2/lit", `["post"]`),
		"badjson/function.json":          `{ not json`,
		"badcron/function.json":          `{"bindings": [{"type": "timerTrigger", "direction": "in", "name": "t", "schedule": "* * *"}]}`,
		"nosetting/function.json":        `{"bindings": [{"type": "timerTrigger", "direction": "in", "name": "t", "schedule": "%NOPE%"}]}`,
		"tick/function.json":             `{"bindings": [{"type": "timerTrigger", "direction": "in", "name": "t", "schedule": "%SCHED%"}]}`,
		"functions/nested/function.json": httpFunction("nested", `["get"]`),
		"lenient/function.json": `{ // a comment, a comma too many, and "disabled", which is ignored
			"disabled": true, "bindings": [{"type": "httpTrigger", "direction": "in", "name": "req"},
			{"type": "http", "direction": "out", "name": "$return"},]}`,
	})
	if err := os.Symlink("functions/nested", filepath.Join(root, "linked")); err != nil {
		t.Fatal(err)
	}
	a, err := app.Load(root, app.NewSettings([]string{"SCHED=0 0 * * * *", "AzureWebJobs.a0.Disabled=true"}))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range a.Functions {
		names = append(names, f.Name)
	}
	want := []string{"a-0", "a0", "dup", "lenient", "linked", "mx", "m_x", "tick", "x-dup-post", "Zed"}
	// "dup" sorts before "mx" and has its template: the later one is in error.
	want = slices.DeleteFunc(want, func(s string) bool { return s == "mx" })
	if !slices.Equal(names, want) {
		t.Errorf("functions: got %q, want %q", names, want)
	}
	if len(a.Problems) != 7 {
		t.Errorf("problems: got %d: %q", len(a.Problems), a.Problems)
	}
	if !a.Function("A0").Disabled || a.Function("lenient").Disabled {
		t.Error("disabled: only the setting counts")
	}
	if f := a.Function("lenient"); !f.HTTP.Raw || f.HTTP.Methods != nil || f.HTTP.Route != "lenient" {
		t.Errorf("defaults of an httpTrigger: %+v", f.HTTP)
	}
	if name, _, _ := a.Routes.Match("GET", "/o1/lit"); name != "a-0" {
		t.Errorf("o1/lit went to %q", name)
	}
}

func TestWhatTakesTheWholeAppDown(t *testing.T) {
	for name, c := range map[string]struct {
		host, route string
		want        error
	}{
		"template":         {hostJSON, "a//b", route.ErrTemplate},
		"constraint":       {hostJSON, "{id:uuid}", route.ErrTemplate},
		"slash and prefix": {strings.Replace(hostJSON, `"routePrefix": ""`, `"routePrefix": "api"`, 1), "/x", route.ErrTemplate},
		"broken":           {"{", "x", app.ErrApp},
		"version":          {strings.Replace(hostJSON, "2.0", "1.0", 1), "x", app.ErrApp},
		"no handler":       {`{"version": "2.0"}`, "x", app.ErrApp},
		"no description":   {`{"version": "2.0", "customHandler": {}}`, "x", app.ErrApp},
		"no executable":    {`{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": ""}}}`, "x", app.ErrApp},
	} {
		root := write(t, map[string]string{"host.json": c.host, "f/function.json": httpFunction(c.route, `["get"]`),
			"good/function.json": httpFunction("good", `["get"]`)})
		if _, err := app.Load(root, app.NewSettings(nil)); !errors.Is(err, app.ErrApp) || !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if _, err := app.Load(t.TempDir(), app.NewSettings(nil)); !errors.Is(err, app.ErrApp) {
		t.Errorf("no host.json: got %v", err)
	}
}

func TestHostJSONAndOverrides(t *testing.T) {
	root := write(t, map[string]string{
		"handler": "", "bin/other": "",
		"host.json": `{"version": "2.0", /* prefix: default */ "functionTimeout": "00:00:05", "unknown": [1, {"a": null}],
			"customHandler": {"initializationTimeout": "00:00:01.5", "enableProxyingHttpRequest": true, "enableForwardingHttpRequest": true,
			"description": {"defaultExecutablePath": "./handler", "arguments": ["-u", "%X%"], "defaultWorkerPath": "w.txt",
			"workerArguments": ["a b"], "workingDirectory": "bin",},},}`,
	})
	a, err := app.Load(root, app.NewSettings(nil))
	if err != nil {
		t.Fatal(err)
	}
	h := a.Handler
	if h.Executable != filepath.Join(root, "handler") || h.Arguments != `-u %X% "w.txt" a b` || h.WorkingDirectory != filepath.Join(root, "bin") ||
		h.InitTimeout != 1500*time.Millisecond || !h.StderrIsError || a.FunctionTimeout != 5*time.Second || a.Mode != app.Proxying {
		t.Errorf("got %+v, timeout %s, mode %s", h, a.FunctionTimeout, a.Mode)
	}
	a, err = app.Load(root, app.NewSettings([]string{
		"AzureFunctionsJobHost__customHandler__description__defaultExecutablePath=%WHICH%/other", "WHICH=bin",
		`AzureFunctionsJobHost__customHandler__description__arguments=["x"]`,
		"AzureFunctionsJobHost__customhandler__enableproxyinghttprequest=false",
		"AzureFunctionsJobHost__functionTimeout=-1",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if a.Handler.Executable != filepath.Join(root, "bin/other") || !strings.HasPrefix(a.Handler.Arguments, "x ") ||
		a.Mode != app.Forwarding || a.FunctionTimeout != 0 {
		t.Errorf("overridden: got %+v, timeout %s, mode %s", a.Handler, a.FunctionTimeout, a.Mode)
	}
	// A folder of that name is no file: PATH decides.
	a, err = app.Load(root, app.NewSettings([]string{"AzureFunctionsJobHost__customHandler__description__defaultExecutablePath=bin"}))
	if err != nil || a.Handler.Executable != "bin" {
		t.Errorf("folder: got %q, %v", a.Handler.Executable, err)
	}
}

func TestTheEnvironmentWinsOverLocalSettings(t *testing.T) {
	root := write(t, map[string]string{"local.settings.json": `{"IsEncrypted": false, "Host": {"LocalHttpPort": 7099},
		"Values": {"A": "file", "B": "file", "C": null}}`})
	s := app.NewSettings([]string{"A=real"})
	local, err := s.AddLocalFile(root)
	if err != nil || local.Port != 7099 || local.Warning != "" {
		t.Fatalf("got %+v, %v", local, err)
	}
	if _, set := s.Lookup("C"); s.Get("A") != "real" || s.Get("B") != "file" || set {
		t.Errorf("A=%q B=%q C set: %v", s.Get("A"), s.Get("B"), set)
	}
	env := s.Environ(map[string]string{"A": "host"})
	if slices.Contains(env, "A=real") || !slices.Contains(env, "A=host") {
		t.Errorf("the host's own variables must replace settings: %q", env)
	}
	root = write(t, map[string]string{"local.settings.json": `{"Values": {}}`})
	if local, err := s.AddLocalFile(root); err != nil || local.Warning == "" {
		t.Errorf("IsEncrypted is true if missing: got %+v, %v", local, err)
	}
}
