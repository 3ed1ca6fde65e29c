package settings

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTableIsCompleteAndUnambiguous(t *testing.T) {
	owner := map[string]string{}
	form := regexp.MustCompile(`^([A-Z][A-Za-z]+:[A-Z][A-Za-z]+|Sites)$`)
	for _, e := range Table() {
		if !form.MatchString(e.Key) {
			t.Errorf("%s is not Section:Key", e.Key)
		}
		if e.Doc == "" || e.Allowed == "" || (e.Change != Live && e.Change != Restart) {
			t.Errorf("%s is not described: %+v", e.Key, e)
		}
		if strings.Contains(e.Doc+e.Allowed+e.Default, "|") {
			t.Errorf("%s would break the Markdown table", e.Key)
		}
		if e.Required && e.Default != "" {
			t.Errorf("%s is required and has a default", e.Key)
		}
		if e.Secret && len(e.Aliases) > 0 {
			t.Errorf("%s is a secret with two names: a difference between them would be shown", e.Key)
		}
		if e.EnvironmentOnly && !e.Early {
			t.Errorf("%s could come from the vault", e.Key)
		}
		for _, name := range append(e.Aliases, e.Environment()) {
			name = strings.ToLower(name)
			if other := owner[name]; other != "" {
				t.Errorf("%s is a name of %s and %s", name, other, e.Key)
			}
			owner[name] = e.Key
		}
	}
}

// TestACT16_TheNamesAreKept lists the predecessor's names, so that none gets lost.
func TestACT16_TheNamesAreKept(t *testing.T) {
	var got []string
	for _, e := range Table() {
		if !strings.HasPrefix(e.Key, "HTTP:") {
			got = append(got, e.Aliases...)
		}
	}
	want := []string{
		"ACTIVATION_EXPIRY_END_OF_NTH_DAY", "AUTHORISATION_CODE_LENGTH", "JWT_EXPIRY_IN_SECONDS", "LOG_FORMAT", "LOG_LEVEL",
		"MAX_ACTIVATION_ATTEMPTS", "MAX_CREDENTIALS_PER_PATIENT", "OTP_LENGTH", "SALT_LENGTH",
		"SEND_ENTRY_ACTIVATION_CODE_LENGTH", "SEND_ENTRY_DEVICE_JWT_EXPIRY_IN_SECONDS", "TIME_ZONE",
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestVaultIsNotAskedForTheWayToIt(t *testing.T) {
	keys := VaultKeys()
	for _, never := range []string{"KeyVault:Endpoint", "Network:CABundle", "HTTP:ListenAddr", "HTTP:HostPort"} {
		if slices.Contains(keys, never) {
			t.Errorf("the vault is asked for %s", never)
		}
	}
	if want := len(Table()) - 4; len(keys) != want || !slices.Contains(keys, "Codes:Pepper") {
		t.Errorf("the vault is asked for %d keys, want %d: %v", len(keys), want, keys)
	}
}

func TestMarkdownHasARowForEachKey(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(Markdown(), "\n"), "\n")
	if want := len(Table()) + 2; len(lines) != want {
		t.Fatalf("%d lines, want %d", len(lines), want)
	}
	for i, line := range lines {
		if strings.Count(line, "|") != 6 {
			t.Errorf("not five columns: %s", line)
		}
		if i >= 2 && !strings.HasPrefix(line, "| `"+Table()[i-2].Key+"` | ") {
			t.Errorf("not the row of %s: %s", Table()[i-2].Key, line)
		}
	}
	const otp = "| `Codes:OTPLength` | Characters of an OTP. Also `OTP_LENGTH`. | 4 to 11 | `6` | live |"
	if !slices.Contains(lines, otp) {
		t.Errorf("no line is %s", otp)
	}
}

// TestLocalExample holds local.settings.json.example to the table: all keys but those of the process's own port. What is
// optional is empty, so that its default holds and the predecessor's name can still be used. The file becomes complete by
// the secrets alone, and starts with nothing less.
func TestLocalExample(t *testing.T) {
	raw, err := os.ReadFile("../../../local.settings.json.example")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		IsEncrypted *bool
		Values      map[string]string
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if file.IsEncrypted == nil || *file.IsEncrypted {
		t.Error("func takes the file as encrypted") // that is its default (AppSettingsFile.cs)
	}
	if runtime := file.Values["FUNCTIONS_WORKER_RUNTIME"]; runtime != "custom" {
		t.Errorf("FUNCTIONS_WORKER_RUNTIME is %q: func asks a question instead of starting", runtime)
	}
	values := maps.Clone(file.Values)
	delete(values, "FUNCTIONS_WORKER_RUNTIME")
	for _, e := range Table() {
		if strings.HasPrefix(e.Key, "HTTP:") {
			continue // the host says where to listen
		}
		value, found := values[e.Environment()]
		switch {
		case !found:
			t.Errorf("%s is missing", e.Environment())
		case e.Secret && value != "":
			t.Errorf("%s holds something: an example must not be a usable secret", e.Environment())
		case !e.Required && value != "":
			t.Errorf("%s is %q although there is a default", e.Environment(), value)
		}
		delete(values, e.Environment())
	}
	if len(values) > 0 {
		t.Errorf("no such keys: %v", slices.Sorted(maps.Keys(values)))
	}

	env := maps.Clone(file.Values)
	env["FUNCTIONS_CUSTOMHANDLER_PORT"] = "4321"
	_, problems := Load(checks(), environmentOf(env))
	var wrong []string
	for _, p := range problems {
		wrong = append(wrong, p.Key+" "+p.Wrong)
	}
	if diff := cmp.Diff([]string{"Tokens:SigningKey is empty", "Codes:Pepper is empty"}, wrong); diff != "" {
		t.Error(diff)
	}
	mustLoad(t, environmentOf(env), Values(map[string]string{"Tokens:SigningKey": canaryKey, "Codes:Pepper": canaryPepper}))
}
