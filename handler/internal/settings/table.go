package settings

import (
	"fmt"
	"strings"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/picture"
	"latchkey/handler/internal/site"
)

// Change says when a new value of a key takes effect.
type Change string

// A live key takes effect with the next snapshot, a restart key when the process starts.
const (
	Live    Change = "live"
	Restart Change = "restart"
)

// Entry describes one key to people: what the README, the local example and the messages are made of.
type Entry struct {
	Key             string   // Section:Key
	Aliases         []string // further names in the environment, the predecessor's (ACT-16) or the platform's
	Default         string   // the value when none is given; empty = none, or one that Doc explains
	Required        bool     // there must be a value
	Secret          bool     // no message, log line or dump may show the value
	Change          Change
	Early           bool   // needed before the vault can be read: LoadBoot takes it from the environment
	EnvironmentOnly bool   // the vault is not asked for it
	Allowed         string // the values that are taken
	Doc             string
}

// Environment is the key's name in the environment, Section__Key (CFG-1).
func (e Entry) Environment() string { return environmentName(e.Key) }

func environmentName(key string) string { return strings.ReplaceAll(key, ":", "__") }

// names lists all that the key is called, its own name first.
func (e Entry) names() []string { return append([]string{e.Key}, e.Aliases...) }

// field is an entry and the rule that reads its value.
type field struct {
	Entry
	rule
}

// Table describes every key, in the order in which people should read them.
func Table() []Entry {
	var entries []Entry
	for _, f := range fields() {
		entries = append(entries, f.Entry)
	}
	return entries
}

// VaultKeys lists the keys that Key Vault is asked for: all but those that must be known before it can be read.
func VaultKeys() []string {
	var keys []string
	for _, f := range fields() {
		if !f.EnvironmentOnly {
			keys = append(keys, f.Key)
		}
	}
	return keys
}

// defaultPatientScopes is what a patient's token may do when Personas:Patient says nothing: the predecessor's persona
// "GDM Patient" (TOK-5).
const defaultPatientScopes = "read:gdm_patient_abbreviated,read:gdm_message,write:gdm_message,read:gdm_bg_reading," +
	"write:gdm_bg_reading,read:gdm_medication,read:gdm_question,read:gdm_answer,write:gdm_answer,read:gdm_trustomer," +
	"read:gdm_telemetry,write:gdm_telemetry,write:gdm_terms_agreement"

// defaultDeviceScopes is what a device's token may do when Personas:Device says nothing: log clinicians in, as the predecessor's
// persona "SEND Entry Device" (TOK-5).
const defaultDeviceScopes = "read:send_entry_identifier"

// defaultClinicianScopes is what a clinician's token may do when Personas:Clinician says nothing: the predecessor's persona
// "SEND Entry Clinician" (TOK-5).
const defaultClinicianScopes = "read:send_clinician,read:send_patient,read:send_observation,write:send_observation"

// maxOTP is the longest OTP that is issued: with the locator and the check it makes 22 characters, the most that one check
// character covers (model.md section 2).
const maxOTP = 11

// fields is the table. Each row is the whole truth about its key.
func fields() []field {
	rows := []field{
		{Entry{Key: "Site:Code", Required: true, Change: Restart,
			Doc: "The site's prefix of every code that people type, such as OXF."},
			siteCode(func(s *Settings) *string { return &s.Site.Code })},
		{Entry{Key: "Site:TimeZone", Aliases: []string{"TIME_ZONE"}, Default: "Europe/London", Change: Live,
			Doc: "Days end by this clock (ACT-9)."},
			timeZone(func(s *Settings) **time.Location { return &s.Site.TimeZone })},
		{Entry{Key: "Site:Name", Change: Live,
			Doc: "What people call the site: it stands on the sheets that are handed out. Left out: the prefix."},
			text(fmt.Sprintf("at most %d printable characters", longestName), siteName, func(s *Settings) *string { return &s.Site.Name })},
		{Entry{Key: "Site:AppLink", Change: Live,
			Doc: "The link that a QR code holds, in front of # and the code (ACT-11): one that opens the app. Left out: the site's address and a slash."},
			text(fmt.Sprintf("an https URL, or one of a scheme of the app's own such as uk.example.app:/activate, of at most %d characters, without query and fragment", picture.MaxLink),
				appLink, func(s *Settings) *string { return &s.Site.AppLink })},
		{Entry{Key: "Sites", Change: Live,
			Doc: "The other sites that a phone app may be sent to (ACT-12), and this one if phones reach it elsewhere than at Tokens:Issuer. No two prefixes may differ in one character or by a swap."},
			otherSites(func(s *Settings) *site.Directory { return &s.Sites })},

		{Entry{Key: "Entra:TenantId", Required: true, Change: Restart,
			Doc: "The tenant whose access tokens are trusted."},
			guid(func(s *Settings) *string { return &s.Entra.TenantID })},
		{Entry{Key: "Entra:Audiences", Required: true, Change: Restart,
			Doc: "What callers' tokens are made out to: the application's client id, its api:// URI, or both."},
			list("audience", audience, func(s *Settings) *[]string { return &s.Entra.Audiences })},
		{Entry{Key: "Entra:KeysUrl", Change: Restart,
			Doc: "Where the issuer publishes its keys. Left out: the tenant's own v2 keys."},
			service(parts{path: true, query: true}, func(s *Settings) *string { return &s.Entra.KeysURL })},
		{Entry{Key: "Identity:Administrators", Change: Live,
			Doc: "Identities that may do everything, as tid/oid (AUT-2). Left out: nobody, beyond those with an app role."},
			identities(func(s *Settings) *[]identity.Key { return &s.Identity.Administrators })},
		{Entry{Key: "Identity:Require", Default: "false", Change: Live,
			Doc: "Whether every caller needs an approved registration, whatever app roles their tokens carry (AUT-2). Administrators need none."},
			flag(func(s *Settings) *bool { return &s.Identity.Require })},
		{Entry{Key: "Identity:DefaultScopes", Change: Live,
			Doc: "Scopes that every approved identity holds beside its own (AUT-3). Left out: none."},
			list("scope", scope, func(s *Settings) *[]string { return &s.Identity.DefaultScopes })},
		{Entry{Key: "Identity:Providers", Change: Restart,
			Doc: "OpenID providers whose access tokens are trusted beside Entra ID's (AUT-1), as a JSON array. roles and scopes are claim paths, such as resource_access.latchkey.roles; algorithms are RS256 when left out, keysUrl what the provider's metadata says."},
			providers(func(s *Settings) *[]Provider { return &s.Identity.Providers })},

		{Entry{Key: "Storage:TablesEndpoint", Required: true, Change: Restart,
			Doc: "The Table service of the storage account."},
			service(parts{path: true}, func(s *Settings) *string { return &s.Storage.TablesEndpoint })},
		{Entry{Key: "KeyVault:Endpoint", Change: Restart, Early: true, EnvironmentOnly: true,
			Doc: "The vault whose secrets win over the environment (CFG-2). Left out: no vault, and everything comes from the environment."},
			service(parts{}, func(s *Settings) *string { return &s.KeyVault.Endpoint })},
		{Entry{Key: "Network:CABundle", Change: Restart, Early: true, EnvironmentOnly: true,
			Doc: "A file of certificate authorities to trust beside the system's, for networks that inspect TLS."},
			bundle()},

		{Entry{Key: "Tokens:Issuer", Required: true, Change: Restart,
			Doc: "Latchkey's own address as its tokens name it (\"iss\"), where verifiers find its metadata."},
			issuer(func(s *Settings) *string { return &s.Tokens.Issuer })},
		{Entry{Key: "Tokens:Audience", Change: Restart,
			Doc: "What Latchkey's own tokens are made out to (\"aud\"). Left out: the issuer."},
			text("one word, such as a URI", audience, func(s *Settings) *string { return &s.Tokens.Audience })},
		{Entry{Key: "Tokens:SigningKey", Required: true, Secret: true, Change: Restart,
			Doc: "The private key that signs Latchkey's tokens (TOK-4)."},
			signingKey()},
		{Entry{Key: "Tokens:PatientLifetimeSeconds", Aliases: []string{"JWT_EXPIRY_IN_SECONDS"}, Default: "900", Change: Live,
			Doc: "How long a patient's token is valid, in seconds."},
			seconds(1, int(activation.MaxLifetime/time.Second), func(s *Settings) *time.Duration { return &s.Tokens.PatientLifetime })},
		{Entry{Key: "Tokens:DeviceLifetimeSeconds", Aliases: []string{"SEND_ENTRY_DEVICE_JWT_EXPIRY_IN_SECONDS"}, Default: "86400", Change: Live,
			Doc: "How long a device's token is valid, in seconds (TOK-2)."},
			seconds(1, int(activation.MaxLifetime/time.Second), func(s *Settings) *time.Duration { return &s.Tokens.DeviceLifetime })},
		{Entry{Key: "Tokens:ClinicianLifetimeSeconds", Default: "900", Change: Live,
			Doc: "How long the token of a clinician who logged in through a device is valid, in seconds (TOK-3)."},
			seconds(1, int(activation.MaxLifetime/time.Second), func(s *Settings) *time.Duration { return &s.Tokens.ClinicianLifetime })},
		{Entry{Key: "Personas:Patient", Default: defaultPatientScopes, Change: Live,
			Doc: "The scopes of a patient's token (TOK-5)."},
			list("scope", scope, func(s *Settings) *[]string { return &s.Personas.Patient })},
		{Entry{Key: "Personas:Device", Default: defaultDeviceScopes, Change: Live,
			Doc: "The scopes of a device's token (TOK-5)."},
			list("scope", scope, func(s *Settings) *[]string { return &s.Personas.Device })},
		{Entry{Key: "Personas:Clinician", Default: defaultClinicianScopes, Change: Live,
			Doc: "The scopes of the token of a clinician who logged in through a device (TOK-5)."},
			list("scope", scope, func(s *Settings) *[]string { return &s.Personas.Clinician })},

		{Entry{Key: "Codes:Pepper", Required: true, Secret: true, Change: Restart,
			Doc: "The key of all stored hashes (ACT-15). Another one makes every code and authorisation code worthless."},
			pepper()},
		{Entry{Key: "Codes:OTPLength", Aliases: []string{"OTP_LENGTH"}, Default: "6", Change: Live,
			Doc: "Characters of an OTP."},
			within(codes.MinOTP, maxOTP, func(s *Settings) *int { return &s.Codes.OTPLength })},
		{Entry{Key: "Codes:DeviceCodeLength", Aliases: []string{"SEND_ENTRY_ACTIVATION_CODE_LENGTH"}, Default: "14", Change: Live,
			Doc: "Characters of a device's code, without prefix and check (ACT-10). The predecessor's 9 digits are too few to be safe here."},
			within(codes.MinDevice, codes.MaxDevice, func(s *Settings) *int { return &s.Codes.DeviceCodeLength })},
		{Entry{Key: "Codes:AuthorisationCodeLength", Aliases: []string{"AUTHORISATION_CODE_LENGTH"}, Default: "32", Change: Live,
			Doc: "Characters of an authorisation code."},
			within(24, 128, func(s *Settings) *int { return &s.Codes.AuthorisationCodeLength })},
		{Entry{Key: "Codes:SaltLength", Aliases: []string{"SALT_LENGTH"}, Default: "32", Change: Live,
			Doc: "Bytes of the salt of an OTP's hash."},
			within(16, 64, func(s *Settings) *int { return &s.Codes.SaltLength })},
		{Entry{Key: "Codes:MaxAttempts", Aliases: []string{"MAX_ACTIVATION_ATTEMPTS"}, Default: "10", Change: Live,
			Doc: "Wrong tries that end an activation."},
			within(1, 10, func(s *Settings) *int { return &s.Codes.MaxAttempts })},
		{Entry{Key: "Codes:ExpiryDays", Aliases: []string{"ACTIVATION_EXPIRY_END_OF_NTH_DAY"}, Default: "5", Change: Live,
			Doc: "An activation expires at the end of this local day after its issue (ACT-9)."},
			within(1, 30, func(s *Settings) *int { return &s.Codes.ExpiryDays })},
		{Entry{Key: "Codes:MaxCredentialsPerPatient", Aliases: []string{"MAX_CREDENTIALS_PER_PATIENT"}, Default: "1", Change: Live,
			Doc: "Devices that one patient may have at a time (ACT-13)."},
			within(1, 20, func(s *Settings) *int { return &s.Codes.MaxCredentialsPerPatient })},

		{Entry{Key: "Abuse:UnknownCapacity", Default: "5000000000", Change: Live,
			Doc: "Codes that nobody issued, of each kind, that may be tried at one go, from everywhere together; then none of the kind is looked up (ABU-1). `latchkey odds` says what this is worth."},
			whole(1e6, 1e12, func(s *Settings) *int64 { return &s.Abuse.UnknownCapacity })},
		{Entry{Key: "Abuse:UnknownPerYear", Default: "5000000000", Change: Live,
			Doc: "How many of them come back in a year, evenly. No year sees more than both together."},
			whole(1e6, 1e12, func(s *Settings) *int64 { return &s.Abuse.UnknownPerYear })},
		{Entry{Key: "Abuse:SourceRefusals", Default: "60", Change: Live,
			Doc: "Refused redeems of one address (IPv6: of one /64) in a window, before further refusals are 429. A hospital may be one address to us; a right code always works."},
			whole(5, 100_000, func(s *Settings) *int64 { return &s.Abuse.SourceRefusals })},
		{Entry{Key: "Abuse:SourceWindowSeconds", Default: "600", Change: Live,
			Doc: "That window, in seconds."},
			seconds(10, 24*60*60, func(s *Settings) *time.Duration { return &s.Abuse.SourceWindow })},

		{Entry{Key: "Abuse:UnknownLogins", Default: "60", Change: Live,
			Doc: "Identifiers that nobody has which one device may try in such a window; then nobody logs in through it until some come back (TOK-3). It bounds how many log in through one device at the same moment, too."},
			whole(5, 100_000, func(s *Settings) *int64 { return &s.Abuse.UnknownLogins })},

		{Entry{Key: "Import:Credentials", Default: "false", Change: Live,
			Doc: "Whether authorisation codes of the predecessor were imported (ACT-15). While on, a wrong one costs a memory-hard hash."},
			flag(func(s *Settings) *bool { return &s.Import.Credentials })},

		{Entry{Key: "Docs:Page", Default: "false", Change: Restart,
			Doc: "Whether /ui/ shows the browsable API page; not meant for production (OPS-2)."},
			flag(func(s *Settings) *bool { return &s.Docs.Page })},
		{Entry{Key: "Log:Level", Aliases: []string{"LOG_LEVEL"}, Default: "info", Change: Restart, Early: true,
			Doc: "The least severe events that are logged."},
			logLevel()},
		{Entry{Key: "Log:Format", Aliases: []string{"LOG_FORMAT"}, Default: string(LogJSON), Change: Restart, Early: true,
			Doc: "How log lines are written."},
			logFormat()},
		{Entry{Key: "HTTP:ListenAddr", Aliases: []string{"LISTEN_ADDR"}, Change: Restart, Early: true, EnvironmentOnly: true,
			Doc: "Where to listen without a Functions host. Never set it under the host."},
			listenAddr()},
		{Entry{Key: "HTTP:HostPort", Aliases: []string{"FUNCTIONS_CUSTOMHANDLER_PORT"}, Change: Restart, Early: true, EnvironmentOnly: true,
			Doc: "The port that the Functions host chose. The host sets it."},
			hostPort()},
	}
	for i := range rows {
		rows[i].Allowed = rows[i].allowed
	}
	return rows
}

// derive fills in what follows from other values.
func derive(s *Settings) {
	if s.Entra.KeysURL == "" {
		s.Entra.KeysURL = "https://login.microsoftonline.com/" + s.Entra.TenantID + "/discovery/v2.0/keys"
	}
	if s.Tokens.Audience == "" {
		s.Tokens.Audience = s.Tokens.Issuer
	}
}

// conflicts reports what only several keys together can get wrong. given holds the keys that have a value of their own.
func conflicts(given map[string]bool) Problems {
	const listen = "HTTP:ListenAddr"
	switch host := given["HTTP:HostPort"]; {
	case given[listen] && host:
		return Problems{{Key: listen, Wrong: "is set under a Functions host, which would wait for its own port in vain"}}
	case !given[listen] && !host:
		return Problems{{Key: listen, Wrong: "is not set, and no Functions host started the handler: there is nowhere to listen"}}
	}
	return nil
}
