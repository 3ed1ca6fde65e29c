package app

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"latchkey/infra/local/devhost/internal/cron"
	"latchkey/infra/local/devhost/internal/route"
)

// Function is one loaded function: HTTP or timer.
type Function struct {
	Name string
	// Disabled by the setting AzureWebJobs.<name>.Disabled.
	Disabled bool
	HTTP     *HTTPTrigger
	Timer    *TimerTrigger
}

// HTTPTrigger is an httpTrigger binding.
type HTTPTrigger struct {
	Route   string
	Methods []string // nil: all
	// Raw: exactly one httpTrigger in and one http out, so that the request
	// itself goes to the handler in the two HTTP modes.
	Raw bool
}

// TimerTrigger is a timerTrigger binding.
type TimerTrigger struct {
	Binding      string
	Schedule     cron.Schedule
	RunOnStartup bool
	UseMonitor   bool
}

type binding struct {
	Type, Direction, Name string
	Route                 *string
	Methods               []string
	Schedule              string
	RunOnStartup          bool
	UseMonitor            *bool
}

// discover loads function.json of the direct child folders, in the order that
// decides about routes: by name, ordinal, ignoring case.
func (a *App) discover(settings *Settings) error {
	entries, err := os.ReadDir(a.Root)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(x, y fs.DirEntry) int {
		return cmp.Compare(strings.ToUpper(x.Name()), strings.ToUpper(y.Name()))
	})
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(a.Root, e.Name(), "function.json"))
		if err != nil {
			continue // not a function folder
		}
		f, err := a.function(e.Name(), text, settings)
		if err != nil {
			a.Problems = append(a.Problems, fmt.Sprintf("function %q is not loaded: %v", e.Name(), err))
			continue
		}
		a.Functions = append(a.Functions, f)
	}
	return nil
}

func (a *App) function(name string, text []byte, settings *Settings) (*Function, error) {
	if !regexp.MustCompile(`^(?i)[a-z][a-z0-9_-]{0,127}$`).MatchString(name) || strings.EqualFold(name, "host") {
		return nil, errors.New("the name is not allowed")
	}
	var file struct {
		ScriptFile string
		Bindings   []binding
	}
	if err := json.Unmarshal(lenient(text), &file); err != nil {
		return nil, fmt.Errorf("function.json: %w", err)
	}
	if file.ScriptFile != "" {
		if _, err := os.Stat(filepath.Join(a.Root, name, file.ScriptFile)); err != nil {
			return nil, fmt.Errorf("scriptFile: %w", err)
		}
	}
	f := &Function{Name: name}
	for _, n := range []string{"AzureWebJobs." + name + ".Disabled", "AzureWebJobs_" + name + "_Disabled"} {
		f.Disabled = f.Disabled || settings.Flag(n)
	}
	ins, outs, httpOuts := 0, 0, 0
	for _, b := range file.Bindings {
		if !regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9]{0,127}|\$return)$`).MatchString(b.Name) {
			return nil, fmt.Errorf("the binding name %q is not allowed", b.Name)
		}
		if strings.EqualFold(b.Direction, "out") {
			outs++
			if strings.EqualFold(b.Type, "http") {
				httpOuts++
			}
			continue
		}
		ins++
		if err := f.trigger(b, settings); err != nil {
			return nil, err
		}
	}
	if f.HTTP == nil && f.Timer == nil {
		return nil, errors.New("it has neither an httpTrigger nor a timerTrigger, and devhost knows no other")
	}
	if f.HTTP != nil {
		f.HTTP.Raw = ins == 1 && outs == 1 && httpOuts == 1
	}
	return f, a.checkRoute(f)
}

func (f *Function) trigger(b binding, settings *Settings) error {
	switch strings.ToLower(b.Type) {
	case "httptrigger":
		path := f.Name
		if b.Route != nil && *b.Route != "" {
			var missing []string
			if path, missing = settings.Expand(*b.Route); missing != nil {
				return fmt.Errorf("route: %%%s%% is not set", missing[0])
			}
		}
		f.HTTP = &HTTPTrigger{Route: path, Methods: b.Methods}
	case "timertrigger":
		text, missing := settings.Expand(b.Schedule)
		if missing != nil {
			return fmt.Errorf("schedule: %%%s%% is not set", missing[0])
		}
		s, err := cron.Parse(text)
		if err != nil {
			return fmt.Errorf("schedule: %w", err)
		}
		f.Timer = &TimerTrigger{Binding: b.Name, Schedule: s, RunOnStartup: b.RunOnStartup,
			UseMonitor: b.UseMonitor == nil || *b.UseMonitor}
	}
	return nil
}

// checkRoute refuses reserved routes, and the later of two functions with the
// same template and a common method (compared as written, 3.8).
func (a *App) checkRoute(f *Function) error {
	if f.HTTP == nil {
		return nil
	}
	lower := strings.ToLower(f.HTTP.Route)
	if strings.HasPrefix(lower, "admin") || strings.HasPrefix(lower, "runtime") {
		return fmt.Errorf("the route %q is reserved: it starts with admin or runtime", f.HTTP.Route)
	}
	for _, o := range a.Functions {
		if o.HTTP != nil && strings.ToLower(o.HTTP.Route) == lower && overlap(o.HTTP.Methods, f.HTTP.Methods) {
			return fmt.Errorf("the route specified conflicts with the route defined by function %q", o.Name)
		}
	}
	return nil
}

func overlap(a, b []string) bool {
	if a == nil || b == nil {
		return true
	}
	return slices.ContainsFunc(a, func(m string) bool { return slices.Contains(b, m) })
}

// buildRoutes parses all templates; one that is bad takes the app down.
func (a *App) buildRoutes(prefix string) error {
	for _, f := range a.Functions {
		if f.HTTP == nil {
			continue
		}
		text := f.HTTP.Route
		if prefix != "" {
			text = prefix + "/" + text
		}
		t, err := route.Parse(text)
		if err != nil {
			return fmt.Errorf("function %q, route %q: %w", f.Name, f.HTTP.Route, err)
		}
		a.Routes = append(a.Routes, route.Route{Template: t, Methods: f.HTTP.Methods, Name: f.Name})
	}
	return nil
}
