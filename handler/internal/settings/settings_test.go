package settings

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // as package main has it

	"github.com/google/go-cmp/cmp"

	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/secret"
	"latchkey/handler/internal/site"
)

// The canaries: nothing that is printed may hold them.
var (
	canaryKey    = "canary-signing-key"
	canaryPepper = base64.StdEncoding.EncodeToString([]byte("canary-pepper-of-32-bytes-canary"))
)

// checks takes canaryKey and no other, and has no files.
func checks() Checks {
	return Checks{
		ReadFile: func(string) ([]byte, error) { return nil, os.ErrNotExist },
		SigningKey: func(key secret.Text) error {
			if key.Reveal() != canaryKey {
				return errors.New("not the key of this test")
			}
			return nil
		},
	}
}

// minimal is the smallest environment that is complete.
func minimal() map[string]string {
	return map[string]string{
		"Site__Code":              "OXF",
		"Entra__TenantId":         "0A1B2C3D-1111-2222-3333-444455556666",
		"Entra__Audiences":        "api://latchkey",
		"Storage__TablesEndpoint": "https://account.table.core.windows.net/",
		"Tokens__Issuer":          "https://latchkey.example.org/auth",
		"Tokens__SigningKey":      canaryKey,
		"Codes__Pepper":           canaryPepper,
		"LISTEN_ADDR":             "127.0.0.1:8080",
	}
}

// with is minimal and changes; a value of "-" takes a name away.
func with(changes map[string]string) Lookup {
	env := minimal()
	maps.Copy(env, changes)
	maps.DeleteFunc(env, func(_, value string) bool { return value == "-" })
	return environmentOf(env)
}

func environmentOf(env map[string]string) Lookup {
	return Environment(func(name string) (string, bool) { value, found := env[name]; return value, found })
}

func mustLoad(t *testing.T, layers ...Lookup) *Settings {
	t.Helper()
	s, problems := Load(checks(), layers...)
	if problems != nil {
		t.Fatal(problems)
	}
	return s
}

// onlyProblem loads and gives the one problem that there must be.
func onlyProblem(t *testing.T, layers ...Lookup) Problem {
	t.Helper()
	s, problems := Load(checks(), layers...)
	if s != nil {
		t.Errorf("a snapshot came beside the problems %v", problems)
	}
	if len(problems) != 1 {
		t.Fatalf("got %d problems, want 1: %v", len(problems), problems)
	}
	return problems[0]
}

func TestDefaultsAreTheStrongOnes(t *testing.T) {
	got := mustLoad(t, with(nil))
	if zone := got.Site.TimeZone.String(); zone != "Europe/London" {
		t.Errorf("time zone %s", zone)
	}
	want := &Settings{
		Entra: Entra{
			TenantID:  "0a1b2c3d-1111-2222-3333-444455556666",
			Audiences: []string{"api://latchkey"},
			KeysURL:   "https://login.microsoftonline.com/0a1b2c3d-1111-2222-3333-444455556666/discovery/v2.0/keys",
		},
		Storage: Storage{TablesEndpoint: "https://account.table.core.windows.net"},
		Tokens: Tokens{
			Issuer: "https://latchkey.example.org/auth", Audience: "https://latchkey.example.org/auth",
			SigningKey: secret.New(canaryKey), PatientLifetime: 15 * time.Minute, DeviceLifetime: 24 * time.Hour, ClinicianLifetime: 15 * time.Minute,
		},
		Codes: Codes{
			Pepper: secret.New(canaryPepper), OTPLength: 6, DeviceCodeLength: 14, AuthorisationCodeLength: 32, SaltLength: 32,
			MaxAttempts: 10, ExpiryDays: 5, MaxCredentialsPerPatient: 1,
		},
		Site:  Site{Code: "OXF", AppLink: "https://latchkey.example.org/auth/", TimeZone: got.Site.TimeZone},
		Sites: site.Directory{{Code: "OXF", BaseURL: "https://latchkey.example.org/auth"}},
		Personas: Personas{Patient: []string{
			"read:gdm_patient_abbreviated", "read:gdm_message", "write:gdm_message", "read:gdm_bg_reading", "write:gdm_bg_reading",
			"read:gdm_medication", "read:gdm_question", "read:gdm_answer", "write:gdm_answer", "read:gdm_trustomer",
			"read:gdm_telemetry", "write:gdm_telemetry", "write:gdm_terms_agreement",
		}, Device: []string{"read:send_entry_identifier"},
			Clinician: []string{"read:send_clinician", "read:send_patient", "read:send_observation", "write:send_observation"}},
		Abuse: Abuse{UnknownCapacity: 5e9, UnknownPerYear: 5e9, SourceRefusals: 60, SourceWindow: 10 * time.Minute, UnknownLogins: 60},

		Log:  Log{Level: slog.LevelInfo, Format: LogJSON},
		HTTP: HTTP{Addr: "127.0.0.1:8080"},
	}
	reveal := cmp.Transformer("Reveal", secret.Text.Reveal)
	sameZone := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
	if diff := cmp.Diff(want, got, reveal, sameZone); diff != "" {
		t.Error(diff)
	}
}

// TestCFG1_EveryKeyIsRead gives each key a value that is not its default, in the environment's form and in the vault's, and
// looks for it in the snapshot.
func TestCFG1_EveryKeyIsRead(t *testing.T) {
	ca := testCertificate(t)
	c := checks()
	c.ReadFile = func(name string) ([]byte, error) {
		if name != "/etc/ca.pem" {
			return nil, os.ErrNotExist
		}
		return ca, nil
	}
	pepper := base64.StdEncoding.EncodeToString([]byte("another-pepper-of-32-bytes-other"))
	own := func(name string) site.Site {
		return site.Site{Code: "OXF", Name: name, BaseURL: "https://latchkey.example.org/auth"}
	}
	tests := []struct {
		key, value string
		got        func(*Settings) any
		want       any
	}{
		{"Site:Code", "R2D", func(s *Settings) any { return s.Site.Code }, "R2D"},
		{"Site:TimeZone", "Asia/Tokyo", func(s *Settings) any { return s.Site.TimeZone.String() }, "Asia/Tokyo"},
		{"Site:Name", "Oxford University Hospitals", func(s *Settings) any { return s.Sites }, site.Directory{own("Oxford University Hospitals")}},
		{"Site:AppLink", "https://app.example/activate", func(s *Settings) any { return s.Site.AppLink }, "https://app.example/activate"},
		{"Sites", "CAM=https://cam.example/, LDN=http://127.0.0.1:1", func(s *Settings) any { return s.Sites },
			site.Directory{{Code: "CAM", BaseURL: "https://cam.example"}, {Code: "LDN", BaseURL: "http://127.0.0.1:1"}, own("")}},
		{"Entra:TenantId", "11111111-2222-3333-4444-55555555555F", func(s *Settings) any { return s.Entra.TenantID }, "11111111-2222-3333-4444-55555555555f"},
		{"Entra:Audiences", "api://a , 0a1b", func(s *Settings) any { return s.Entra.Audiences }, []string{"api://a", "0a1b"}},
		{"Entra:KeysUrl", "https://keys.example.org/a?appid=b", func(s *Settings) any { return s.Entra.KeysURL }, "https://keys.example.org/a?appid=b"},
		{"Identity:Administrators", "11111111-2222-3333-4444-555555555555/AAAAAAAA-2222-3333-4444-555555555555",
			func(s *Settings) any { return s.Identity.Administrators },
			[]identity.Key{{Issuer: "11111111-2222-3333-4444-555555555555", Subject: "aaaaaaaa-2222-3333-4444-555555555555"}}},
		{"Identity:Providers", `[{"issuer":"https://idp.example.org/a","audiences":["latchkey"]}]`,
			func(s *Settings) any { return s.Identity.Providers[0].Issuer }, "https://idp.example.org/a"},
		{"Identity:Require", "true", func(s *Settings) any { return s.Identity.Require }, true},
		{"Identity:DefaultScopes", "read:a, write:a", func(s *Settings) any { return s.Identity.DefaultScopes }, []string{"read:a", "write:a"}},
		{"Storage:TablesEndpoint", "https://127.0.0.1:10002/devstoreaccount1", func(s *Settings) any { return s.Storage.TablesEndpoint }, "https://127.0.0.1:10002/devstoreaccount1"},
		{"KeyVault:Endpoint", "https://v.vault.azure.net/", func(s *Settings) any { return s.KeyVault.Endpoint }, "https://v.vault.azure.net"},
		{"Network:CABundle", "/etc/ca.pem", func(s *Settings) any { return len(s.Network.CACertificates) }, 2},
		{"Tokens:Issuer", "http://127.0.0.1:7071", func(s *Settings) any { return s.Tokens.Issuer }, "http://127.0.0.1:7071"},
		{"Tokens:Audience", "phones", func(s *Settings) any { return s.Tokens.Audience }, "phones"},
		{"Tokens:SigningKey", canaryKey, func(s *Settings) any { return s.Tokens.SigningKey.Reveal() }, canaryKey},
		{"Tokens:PatientLifetimeSeconds", "60", func(s *Settings) any { return s.Tokens.PatientLifetime }, time.Minute},
		{"Tokens:DeviceLifetimeSeconds", "3600", func(s *Settings) any { return s.Tokens.DeviceLifetime }, time.Hour},
		{"Codes:DeviceCodeLength", "21", func(s *Settings) any { return s.Codes.DeviceCodeLength }, 21},
		{"Personas:Device", "read:a,write:a", func(s *Settings) any { return s.Personas.Device }, []string{"read:a", "write:a"}},
		{"Tokens:ClinicianLifetimeSeconds", "60", func(s *Settings) any { return s.Tokens.ClinicianLifetime }, time.Minute},
		{"Personas:Clinician", "read:a,write:a", func(s *Settings) any { return s.Personas.Clinician }, []string{"read:a", "write:a"}},
		{"Abuse:UnknownLogins", "5", func(s *Settings) any { return s.Abuse.UnknownLogins }, int64(5)},
		{"Personas:Patient", "read:a,write:a", func(s *Settings) any { return s.Personas.Patient }, []string{"read:a", "write:a"}},
		{"Codes:Pepper", pepper, func(s *Settings) any { return s.Codes.Pepper.Reveal() }, pepper},
		{"Codes:OTPLength", "7", func(s *Settings) any { return s.Codes.OTPLength }, 7},
		{"Codes:AuthorisationCodeLength", "40", func(s *Settings) any { return s.Codes.AuthorisationCodeLength }, 40},
		{"Codes:SaltLength", "17", func(s *Settings) any { return s.Codes.SaltLength }, 17},
		{"Codes:MaxAttempts", "3", func(s *Settings) any { return s.Codes.MaxAttempts }, 3},
		{"Codes:ExpiryDays", "14", func(s *Settings) any { return s.Codes.ExpiryDays }, 14},
		{"Codes:MaxCredentialsPerPatient", "2", func(s *Settings) any { return s.Codes.MaxCredentialsPerPatient }, 2},
		{"Abuse:UnknownCapacity", "1000000000000", func(s *Settings) any { return s.Abuse.UnknownCapacity }, int64(1e12)},
		{"Abuse:UnknownPerYear", "1000000", func(s *Settings) any { return s.Abuse.UnknownPerYear }, int64(1e6)},
		{"Abuse:SourceRefusals", "5", func(s *Settings) any { return s.Abuse.SourceRefusals }, int64(5)},
		{"Abuse:SourceWindowSeconds", "10", func(s *Settings) any { return s.Abuse.SourceWindow }, 10 * time.Second},
		{"Import:Credentials", "true", func(s *Settings) any { return s.Import.Credentials }, true},
		{"Docs:Page", "True", func(s *Settings) any { return s.Docs.Page }, true},
		{"Log:Level", "WARNING", func(s *Settings) any { return s.Log.Level }, slog.LevelWarn},
		{"Log:Format", "colour", func(s *Settings) any { return s.Log.Format }, LogColour},
		{"HTTP:ListenAddr", ":9", func(s *Settings) any { return s.HTTP }, HTTP{Addr: ":9"}},
		{"HTTP:HostPort", "4321", func(s *Settings) any { return s.HTTP }, HTTP{Addr: "127.0.0.1:4321", UnderHost: true}},
	}
	tried := map[string]bool{}
	for _, test := range tests {
		tried[test.key] = true
		t.Run(test.key, func(t *testing.T) {
			env := minimal()
			if strings.HasPrefix(test.key, "HTTP:") {
				delete(env, "LISTEN_ADDR")
			}
			below := environmentOf(maps.Clone(env))
			env[environmentName(test.key)] = test.value
			for form, layers := range map[string][]Lookup{
				"environment": {environmentOf(env)},
				"vault":       {below, Values(map[string]string{test.key: test.value})},
			} {
				s, problems := Load(c, layers...)
				if problems != nil {
					t.Fatalf("%s: %v", form, problems)
				}
				if diff := cmp.Diff(test.want, test.got(s)); diff != "" {
					t.Errorf("%s: %s", form, diff)
				}
			}
		})
	}
	for _, e := range Table() {
		if !tried[e.Key] {
			t.Errorf("%s is not tried", e.Key)
		}
	}
}

// TestACT16_Bounds walks both ends of every number, under the predecessor's name where it had one.
func TestACT16_Bounds(t *testing.T) {
	tests := []struct {
		name      string
		low, high int
		got       func(*Settings) int
	}{
		{"OTP_LENGTH", 4, 11, func(s *Settings) int { return s.Codes.OTPLength }},
		{"AUTHORISATION_CODE_LENGTH", 24, 128, func(s *Settings) int { return s.Codes.AuthorisationCodeLength }},
		{"SALT_LENGTH", 16, 64, func(s *Settings) int { return s.Codes.SaltLength }},
		{"SEND_ENTRY_DEVICE_JWT_EXPIRY_IN_SECONDS", 1, 86400, func(s *Settings) int { return int(s.Tokens.DeviceLifetime / time.Second) }},
		{"SEND_ENTRY_ACTIVATION_CODE_LENGTH", 12, 21, func(s *Settings) int { return s.Codes.DeviceCodeLength }},
		{"JWT_EXPIRY_IN_SECONDS", 1, 86400, func(s *Settings) int { return int(s.Tokens.PatientLifetime / time.Second) }},
		{"MAX_ACTIVATION_ATTEMPTS", 1, 10, func(s *Settings) int { return s.Codes.MaxAttempts }},
		{"ACTIVATION_EXPIRY_END_OF_NTH_DAY", 1, 30, func(s *Settings) int { return s.Codes.ExpiryDays }},
		{"MAX_CREDENTIALS_PER_PATIENT", 1, 20, func(s *Settings) int { return s.Codes.MaxCredentialsPerPatient }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, n := range []int{test.low, test.high} {
				s := mustLoad(t, with(map[string]string{test.name: fmt.Sprint(n)}))
				if got := test.got(s); got != n {
					t.Errorf("%d was read as %d", n, got)
				}
			}
			wrong := map[string]string{
				fmt.Sprint(test.low - 1):  "is out of range",
				fmt.Sprint(test.high + 1): "is out of range",
				"-1":                      "is out of range",
				"1000000000":              "is out of range",
				"9223372036854775807":     "is out of range",
				"9223372036854775808":     "is out of range", // one more than an int64 holds
				"18446744073709551622":    "is out of range", // 6 in 64 bits
				"5d":                      "is not a whole number",
				"6.0":                     "is not a whole number",
				"+6":                      "is not a whole number",
				"06":                      "is not a whole number",
				"0x6":                     "is not a whole number",
				"6_0":                     "is not a whole number",
				"６":                       "is not a whole number", // a full-width digit
				" ":                       "is only white space",
			}
			for value, want := range wrong {
				p := onlyProblem(t, with(map[string]string{test.name: value}))
				if p.Alias != test.name || p.Wrong != want || p.Allowed != fmt.Sprintf("%d to %d", test.low, test.high) {
					t.Errorf("%q: %+v, want %q", value, p, want)
				}
				if quoted := fmt.Sprintf("%q", value); strings.TrimSpace(value) != "" && p.Value != quoted {
					t.Errorf("the value is shown as %s, want %s", p.Value, quoted)
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	const one, two = "11111111-2222-3333-4444-555555555555", "22222222-2222-3333-4444-555555555555"
	tests := []struct{ name, value, wrong string }{
		{"Site__Code", "-", "is not set"},
		{"Site__Code", "", "is not set"},
		{"Site__Code", "OX", "has the wrong length"},
		{"Site__Code", "OXFD", "has the wrong length"},
		{"Site__Code", "oxf", "has a character outside A-Z and 0-9"},
		{"Site__Code", "OX-", "has a character outside A-Z and 0-9"},
		{"Site__Code", "OÉ", "has a character outside A-Z and 0-9"}, // three bytes
		{"TIME_ZONE", "Europe/Lundun", "is not a known time zone"},
		{"TIME_ZONE", "Local", "is not a known time zone"},
		{"TIME_ZONE", "../../etc/passwd", "is not a known time zone"},

		{"Entra__TenantId", "-", "is not set"},
		{"Entra__TenantId", "contoso.onmicrosoft.com", "is not a GUID"},
		{"Entra__TenantId", "common", "is not a GUID"},
		{"Entra__TenantId", "{" + one + "}", "is not a GUID"},
		{"Entra__TenantId", one + "\n" + one, "is not a GUID"},
		{"Entra__Audiences", "-", "is not set"},
		{"Entra__Audiences", ",", "has an empty item"},
		{"Entra__Audiences", "a,,b", "has an empty item"},
		{"Entra__Audiences", "a,b,", "has an empty item"},
		{"Entra__Audiences", "a,b,a", "names item 3 twice"},
		{"Entra__Audiences", "a,b c", "has an item 2 that has a character that is not visible ASCII"},
		{"Entra__KeysUrl", "http://keys.example.org", "is not an https URL"},
		{"Entra__KeysUrl", "http://127.0.0.1:1/keys", "is not an https URL"},
		{"Identity__Administrators", one, "has an item 1 that is not tid/oid"},
		{"Identity__Administrators", one + "/" + two + "/" + one, "has an item 1 that is not tid/oid"},
		{"Identity__Administrators", one + "/" + two + "," + one + "/me", "has an item 2 that is not tid/oid"},

		{"Storage__TablesEndpoint", "-", "is not set"},
		{"Storage__TablesEndpoint", "account.table.core.windows.net", "is not an https URL"},
		{"Storage__TablesEndpoint", "http://account.table.core.windows.net", "is not an https URL"},
		{"Storage__TablesEndpoint", "https://", "is not a URL with a host"},
		{"Storage__TablesEndpoint", "https:account", "is not a URL with a host"},
		{"Storage__TablesEndpoint", "https://account:", "is not a URL with a host"},
		{"Storage__TablesEndpoint", "https://account:0", "has a port that is none"},
		{"Storage__TablesEndpoint", "https://account:65536", "has a port that is none"},
		{"Storage__TablesEndpoint", "https://account?sv=2024&sig=canary", "has a query"},
		{"Storage__TablesEndpoint", "https://account#", "has a fragment"},
		{"Storage__TablesEndpoint", "https://me:canary@account", "has a user in it"},
		{"Storage__TablesEndpoint", "https://account/ https://other", "is not a URL"},
		{"Storage__TablesEndpoint", "https://account//", "has a path that does not belong there"},
		{"KeyVault__Endpoint", "http://v.vault.azure.net", "is not an https URL"},
		{"KeyVault__Endpoint", "https://v.vault.azure.net/secrets", "has a path that does not belong there"},
		{"Network__CABundle", "/not/there", "names a file that cannot be read"},

		{"Tokens__Issuer", "-", "is not set"},
		{"Tokens__Issuer", "https://a.example.org/", "ends in a slash"},
		{"Tokens__Issuer", "https://a.example.org/x/", "ends in a slash"},
		{"Tokens__Issuer", "https://a.example.org?x", "has a query"},
		{"Tokens__Issuer", "https://a.example.org#x", "has a fragment"},
		{"Tokens__Issuer", "http://a.example.org", "is not an https URL"},
		{"Tokens__Issuer", "http://127.0.0.1.example.org", "is not an https URL"},
		{"Tokens__Audience", "two words", "has a character that is not visible ASCII"},
		{"Tokens__SigningKey", "-", "is not set"},
		{"Tokens__SigningKey", "", "is empty"},
		{"Tokens__SigningKey", " \n", "is empty"},
		{"Tokens__SigningKey", "canary", "cannot be used: not the key of this test"},
		{"Personas__Patient", "read:a,", "has an empty item"},
		{"Personas__Patient", `read:"a"`, "has an item 1 that is not a scope (RFC 6749 section 3.3)"},
		{"Personas__Patient", "read:a write:a", "has an item 1 that is not a scope (RFC 6749 section 3.3)"},

		{"Codes__Pepper", "-", "is not set"},
		{"Codes__Pepper", "", "is empty"},
		{"Codes__Pepper", "\t", "is empty"},
		{"Codes__Pepper", "canary!", "cannot be used: a pepper is standard base64"},
		{"Codes__Pepper", base64.StdEncoding.EncodeToString(make([]byte, 31)), "cannot be used: a pepper has 32 bytes or more, this one has 31"},

		{"Docs__Page", "yes", "is neither true nor false"},
		{"Docs__Page", "1", "is neither true nor false"},
		{"LOG_LEVEL", "verbose", "is not a level"},
		{"LOG_FORMAT", "color", "is not a format"},
		{"LISTEN_ADDR", "8080", "is not host:port"},
		{"LISTEN_ADDR", "127.0.0.1:http", "has a port that is none"},
		{"LISTEN_ADDR", "127.0.0.1:65536", "has a port that is none"},
		{"LISTEN_ADDR", "127.0.0.1:", "has a port that is none"},
		{"LISTEN_ADDR", "-", "is not set, and no Functions host started the handler: there is nowhere to listen"},
		{"FUNCTIONS_CUSTOMHANDLER_PORT", "8081", "is set under a Functions host, which would wait for its own port in vain"},
	}
	for _, test := range tests {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			p := onlyProblem(t, with(map[string]string{test.name: test.value}))
			if p.Wrong != test.wrong {
				t.Errorf("%s, want %q", p, test.wrong)
			}
			if strings.Contains(p.String(), "canary") {
				t.Errorf("the problem shows a secret: %s", p)
			}
			if strings.Contains(p.String(), "\n") {
				t.Errorf("the problem has more than one line: %q", p)
			}
		})
	}
}

// TestC01_AllProblemsAtOnce breaks every key that can be broken and asks for all of them in one message of one line.
func TestC01_AllProblemsAtOnce(t *testing.T) {
	env := map[string]string{}
	want := map[string]bool{}
	for _, e := range Table() {
		if e.Key == "HTTP:HostPort" {
			continue // HTTP:ListenAddr has its place
		}
		want[e.Key] = true
		env[e.Environment()] = "?"
	}
	delete(env, "Codes__Pepper")
	env["Tokens__Audience"] = "two words"
	env["Site__Name"] = "two\tcolumns"
	env["Entra__Audiences"] = ","
	env["Personas__Patient"] = ","
	env["Personas__Device"] = ","
	env["Personas__Clinician"] = ","
	env["Identity__DefaultScopes"] = ","
	s, problems := Load(checks(), environmentOf(env))
	if s != nil {
		t.Error("a snapshot came beside the problems")
	}
	got := map[string]bool{}
	for _, p := range problems {
		got[p.Key] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	message := problems.Error()
	if strings.Contains(message, "\n") {
		t.Errorf("the message has more than one line: %q", message)
	}
	for key := range want {
		if !strings.Contains(message, key+" ") {
			t.Errorf("the message does not name %s", key)
		}
	}
	if diff := cmp.Diff([]string{"Codes:Pepper"}, problems.missing()); diff != "" {
		t.Error(diff)
	}
}

func TestProblemsAreSentences(t *testing.T) {
	_, problems := Load(checks(), with(map[string]string{"OTP_LENGTH": "3", "Codes__Pepper": "-", "Tokens__SigningKey": "canary"}))
	const want = `wrong settings: ` +
		`Tokens:SigningKey cannot be used: not the key of this test: 6 characters, allowed: a PEM (PKCS #8) or JWK private key; ` +
		`Codes:Pepper is not set, allowed: standard base64 of 32 random bytes or more; ` +
		`Codes:OTPLength (set as OTP_LENGTH) is out of range: "3", allowed: 4 to 11`
	if diff := cmp.Diff(want, problems.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestC02_BothNamesMustAgree(t *testing.T) {
	for _, e := range Table() {
		for _, alias := range e.Aliases {
			if strings.HasPrefix(e.Key, "HTTP:") {
				continue
			}
			mustLoad(t, with(map[string]string{e.Environment(): e.Default, alias: " " + e.Default}))
		}
	}
	p := onlyProblem(t, with(map[string]string{"Codes__OTPLength": "5", "OTP_LENGTH": "6"}))
	if p.Key != "Codes:OTPLength" || p.Alias != "OTP_LENGTH" || p.Wrong != `differs from "5" under its other name` || p.Value != `"6"` {
		t.Errorf("%+v", p)
	}
}

func TestCFG2_TheVaultWins(t *testing.T) {
	s := mustLoad(t,
		with(map[string]string{"OTP_LENGTH": "3", "Codes__MaxAttempts": "4", "Tokens__SigningKey": "", "Site__Code": "-"}),
		Values(map[string]string{"Codes:OTPLength": "8", "Tokens:SigningKey": canaryKey + "\n", "Site:Code": "R2D"}))
	if s.Codes.OTPLength != 8 || s.Codes.MaxAttempts != 4 || s.Tokens.SigningKey.Reveal() != canaryKey || s.Site.Code != "R2D" {
		t.Errorf("%+v", s)
	}
	p := onlyProblem(t, with(nil), Values(map[string]string{"Codes:Pepper": ""}))
	if p.Key != "Codes:Pepper" || p.Wrong != "is empty" {
		t.Errorf("an empty secret of the vault: %+v", p)
	}
}

func TestCFG4_UnresolvedReferencesAreSaid(t *testing.T) {
	for _, e := range Table() {
		if strings.HasPrefix(e.Key, "HTTP:") {
			continue
		}
		p := onlyProblem(t, with(map[string]string{
			e.Environment(): "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/x/)"}))
		if p.Key != e.Key || p.Wrong != "is a Key Vault reference that the platform could not resolve" || p.Value != "67 characters" {
			t.Errorf("%+v", p)
		}
	}
}

// TestCFG5_SecretsPrintNowhere prints a whole snapshot, and a Source with it, in every way that there is.
func TestCFG5_SecretsPrintNowhere(t *testing.T) {
	s := mustLoad(t, with(nil))
	var source Source
	source.Swap(s)
	asJSON, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("dump", "settings", s, "tokens", s.Tokens)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("dump", "settings", s, "codes", s.Codes)
	dumps := map[string]string{"json": string(asJSON), "slog": logged.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		dumps[verb] = fmt.Sprintf(verb, s)
		dumps[verb+" of the value"] = fmt.Sprintf(verb, *s)
		dumps[verb+" of the groups"] = fmt.Sprintf(verb+verb, s.Tokens, s.Codes)
	}
	for how, dump := range dumps {
		for _, canary := range []string{canaryKey, canaryPepper, fmt.Sprintf("%x", canaryKey), fmt.Sprintf("%x", canaryPepper)} {
			if strings.Contains(dump, canary) {
				t.Errorf("%s shows a secret: %s", how, dump)
			}
		}
	}
	for _, how := range []string{"json", "slog", "%v of the value", "%+v of the value", "%#v of the value", "%s of the value"} {
		if !strings.Contains(dumps[how], "[redacted]") {
			t.Errorf("%s does not show that there is a secret: %s", how, dumps[how])
		}
	}
}

// TestCFG5_SecretsUnderTheWrongKey: whoever pastes a key into another field must not find it in the log.
func TestCFG5_SecretsUnderTheWrongKey(t *testing.T) {
	for _, pasted := range []string{
		canaryPepper, "https://account.table.core.windows.net/?sig=canary", "AccountKey=canary", "canary@host",
		"-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
	} {
		for _, e := range Table() {
			if strings.HasPrefix(e.Key, "HTTP:") {
				continue
			}
			_, problems := Load(checks(), with(map[string]string{e.Environment(): pasted}))
			if text := problems.Error(); strings.Contains(text, "canary") || strings.Contains(text, canaryPepper) {
				t.Errorf("%s shows what was pasted into it: %s", e.Key, text)
			}
		}
	}
}

func TestLoadBootNeedsNothingElse(t *testing.T) {
	ca := testCertificate(t)
	c := checks()
	c.ReadFile = func(string) ([]byte, error) { return ca, nil }
	boot, problems := LoadBoot(c, environmentOf(map[string]string{
		"KeyVault__Endpoint": "https://v.vault.azure.net", "Network__CABundle": "ca.pem", "LOG_LEVEL": "DEBUG",
		"LOG_FORMAT": "plain", "FUNCTIONS_CUSTOMHANDLER_PORT": "4321", "OTP_LENGTH": "not looked at",
	}))
	if problems != nil {
		t.Fatal(problems)
	}
	if boot.KeyVault.Endpoint != "https://v.vault.azure.net" || len(boot.Network.CACertificates) != 2 ||
		boot.Log != (Log{slog.LevelDebug, LogPlain}) || boot.HTTP != (HTTP{"127.0.0.1:4321", true}) {
		t.Errorf("%+v", boot)
	}
	boot, problems = LoadBoot(checks(), environmentOf(map[string]string{"KeyVault__Endpoint": "v", "LOG_LEVEL": "loud"}))
	if boot != nil || len(problems) != 3 {
		t.Errorf("got %v and %v, want three problems", boot, problems)
	}
}

func TestNetwork_CABundles(t *testing.T) {
	good := string(testCertificate(t))
	for name, test := range map[string]struct{ content, wrong string }{
		"empty":       {"", "names a file without a certificate"},
		"not PEM":     {"certificate", "names a file without a certificate"},
		"only a key":  {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "names a file without a certificate"},
		"one is junk": {good + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "names a file whose certificate 3 is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			c := checks()
			c.ReadFile = func(string) ([]byte, error) { return []byte(test.content), nil }
			_, problems := Load(c, with(map[string]string{"Network__CABundle": "ca.pem"}))
			if len(problems) != 1 || problems[0].Wrong != test.wrong {
				t.Errorf("got %v, want %q", problems, test.wrong)
			}
		})
	}
}

func TestSourceSwapsWhole(t *testing.T) {
	var source Source
	if source.Current() != nil {
		t.Error("an empty source holds something")
	}
	first, second := &Settings{}, &Settings{}
	if old := source.Swap(first); old != nil || source.Current() != first {
		t.Error("the first snapshot is not in force")
	}
	if old := source.Swap(second); old != first || source.Current() != second {
		t.Error("the second snapshot is not in force")
	}
}

// testCertificate gives the PEM of two copies of a certificate.
func testCertificate(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	one := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(append([]byte("# comment\n"), one...), one...)
}

// Tools run where no deployment is: what they do not need may be missing or wrong, and what they need may not.
func TestCFG1_LoadOnlyLooksAtTheseKeysAlone(t *testing.T) {
	keys := []string{"Codes:OTPLength", "Abuse:SourceRefusals"}
	s, problems := LoadOnly(Checks{}, keys, environmentOf(map[string]string{"OTP_LENGTH": "7", "LOG_LEVEL": "nonsense"}))
	if problems != nil || s.Codes.OTPLength != 7 || s.Abuse.SourceRefusals != 60 {
		t.Errorf("%+v, %v", s, problems)
	}
	s, problems = LoadOnly(Checks{}, keys, environmentOf(map[string]string{"OTP_LENGTH": "3"}))
	if s != nil || len(problems) != 1 || problems[0].Key != "Codes:OTPLength" {
		t.Errorf("%+v, %v", s, problems)
	}
}

// A patient's token may do what the predecessor's "GDM Patient" might, unless the settings say otherwise.
func TestTOK5_APersonasScopesAreASetting(t *testing.T) {
	predecessors := []string{
		"read:gdm_answer", "read:gdm_bg_reading", "read:gdm_medication", "read:gdm_message", "read:gdm_patient_abbreviated",
		"read:gdm_question", "read:gdm_telemetry", "read:gdm_trustomer", "write:gdm_answer", "write:gdm_bg_reading",
		"write:gdm_message", "write:gdm_telemetry", "write:gdm_terms_agreement",
	}
	shipped := slices.Sorted(slices.Values(mustLoad(t, with(nil)).Personas.Patient))
	if !slices.Equal(shipped, predecessors) {
		t.Errorf("as shipped: %q", shipped)
	}
	if got := mustLoad(t, with(map[string]string{"Personas__Patient": "read:x"})).Personas.Patient; !slices.Equal(got, []string{"read:x"}) {
		t.Errorf("as set: %q", got)
	}
}

// So may the token of a clinician who logged in through a device: the predecessor's "SEND Entry Clinician".
func TestTOK5_AClinicianMayWhatThePredecessorsMight(t *testing.T) {
	want := []string{"read:send_clinician", "read:send_observation", "read:send_patient", "write:send_observation"}
	if got := slices.Sorted(slices.Values(mustLoad(t, with(nil)).Personas.Clinician)); !slices.Equal(got, want) {
		t.Errorf("shipped %v, want %v", got, want)
	}
	if got := mustLoad(t, with(map[string]string{"Personas__Clinician": "read:x"})).Personas.Clinician; !slices.Equal(got, []string{"read:x"}) {
		t.Errorf("set %v", got)
	}
}
