package settings

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/identity"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/secret"
)

// rule reads the value of one key into a snapshot.
type rule struct {
	allowed string // what read takes, for people
	// read gets the value without surrounding white space, never empty. Its error completes the sentence "Section:Key ..."
	// and shows nothing of the value.
	read func(s *Settings, value string, checks Checks) error
}

// Checks are the parts of checking a value that this package leaves to others. All are required.
type Checks struct {
	// ReadFile reads a whole file, as os.ReadFile does.
	ReadFile func(name string) ([]byte, error)
	// SigningKey says whether the token package can sign with this key. Its error must not quote the key.
	SigningKey func(key secret.Text) error
}

// whole takes a whole number of plain digits from low to high.
func whole(low, high int64, into func(*Settings) *int64) rule {
	return rule{fmt.Sprintf("%d to %d", low, high), func(s *Settings, value string, _ Checks) error {
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange):
			return errors.New("is out of range")
		case err != nil, strconv.FormatInt(n, 10) != value:
			return errors.New("is not a whole number")
		case n < low, n > high:
			return errors.New("is out of range")
		}
		*into(s) = n
		return nil
	}}
}

// within is whole for an int.
func within(low, high int, into func(*Settings) *int) rule {
	var n int64
	number := whole(int64(low), int64(high), func(*Settings) *int64 { return &n })
	return rule{number.allowed, func(s *Settings, value string, checks Checks) error {
		if err := number.read(s, value, checks); err != nil {
			return err
		}
		*into(s) = int(n)
		return nil
	}}
}

// seconds takes a whole number of seconds from low to high.
func seconds(low, high int, into func(*Settings) *time.Duration) rule {
	var n int
	number := within(low, high, func(*Settings) *int { return &n })
	return rule{number.allowed, func(s *Settings, value string, checks Checks) error {
		if err := number.read(s, value, checks); err != nil {
			return err
		}
		*into(s) = time.Duration(n) * time.Second
		return nil
	}}
}

// flag takes true or false.
func flag(into func(*Settings) *bool) rule {
	return rule{"true or false", func(s *Settings, value string, _ Checks) error {
		switch strings.ToLower(value) {
		case "true":
			*into(s) = true
		case "false":
			*into(s) = false
		default:
			return errors.New("is neither true nor false")
		}
		return nil
	}}
}

// text takes what check lets pass.
func text(allowed string, check func(string) error, into func(*Settings) *string) rule {
	return rule{allowed, func(s *Settings, value string, _ Checks) error {
		if err := check(value); err != nil {
			return err
		}
		*into(s) = value
		return nil
	}}
}

// split takes a list apart at its commas. White space around an item is nothing; an item that is empty or stands there
// twice is a slip of somebody's hand.
func split(value string) ([]string, error) {
	items := strings.Split(value, ",")
	seen := map[string]bool{}
	for i, item := range items {
		items[i] = strings.TrimSpace(item)
		switch {
		case items[i] == "":
			return nil, errors.New("has an empty item")
		case seen[items[i]]:
			return nil, fmt.Errorf("names item %d twice", i+1)
		}
		seen[items[i]] = true
	}
	return items, nil
}

// list takes items that check lets pass, separated by commas.
func list(item string, check func(string) error, into func(*Settings) *[]string) rule {
	return rule{fmt.Sprintf("one %s or more, separated by commas", item), func(s *Settings, value string, _ Checks) error {
		items, err := split(value)
		if err != nil {
			return err
		}
		for i, one := range items {
			if err := check(one); err != nil {
				return fmt.Errorf("has an item %d that %w", i+1, err)
			}
		}
		*into(s) = items
		return nil
	}}
}

// audience takes a StringOrURI (RFC 7519 section 2) of visible ASCII characters, which is all that Entra issues.
func audience(value string) error {
	if !visible(value) {
		return errors.New("has a character that is not visible ASCII")
	}
	return nil
}

// scope takes a scope-token (RFC 6749 section 3.3).
func scope(value string) error {
	if !visible(value) || strings.ContainsAny(value, `"\`) {
		return errors.New("is not a scope (RFC 6749 section 3.3)")
	}
	return nil
}

// visible reports whether value has only characters from "!" to "~".
func visible(value string) bool {
	return strings.IndexFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

func isGUID(value string) bool {
	ok, err := regexp.MatchString(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`, value)
	return ok && err == nil
}

// guid takes a GUID and keeps it in lower case, as tokens carry it.
func guid(into func(*Settings) *string) rule {
	return rule{"a GUID", func(s *Settings, value string, _ Checks) error {
		if !isGUID(value) {
			return errors.New("is not a GUID")
		}
		*into(s) = strings.ToLower(value)
		return nil
	}}
}

// identities takes pairs of tenant and object, separated by commas.
func identities(into func(*Settings) *[]identity.Key) rule {
	return rule{"pairs tid/oid of GUIDs, separated by commas", func(s *Settings, value string, _ Checks) error {
		items, err := split(strings.ToLower(value))
		if err != nil {
			return err
		}
		var all []identity.Key
		for i, item := range items {
			tenant, object, _ := strings.Cut(item, "/")
			if !isGUID(tenant) || !isGUID(object) {
				return fmt.Errorf("has an item %d that is not tid/oid", i+1)
			}
			all = append(all, identity.Key{Issuer: tenant, Subject: object})
		}
		*into(s) = all
		return nil
	}}
}

// siteCode takes codes.SiteLength characters that are the same after codes.ParseHuman has folded case.
func siteCode(into func(*Settings) *string) rule {
	return rule{fmt.Sprintf("%d characters of A-Z and 0-9", codes.SiteLength), func(s *Settings, value string, _ Checks) error {
		for _, r := range value {
			if (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
				return errors.New("has a character outside A-Z and 0-9")
			}
		}
		if len(value) != codes.SiteLength {
			return errors.New("has the wrong length")
		}
		*into(s) = value
		return nil
	}}
}

// timeZone takes a name of the IANA database. "Local" is whatever the machine thinks, so it is refused.
func timeZone(into func(*Settings) **time.Location) rule {
	return rule{"a name of the IANA time zone database", func(s *Settings, value string, _ Checks) error {
		zone, err := time.LoadLocation(value)
		if err != nil || value == "Local" {
			return errors.New("is not a known time zone")
		}
		*into(s) = zone
		return nil
	}}
}

// parts says what a URL may have beyond https and a host. loopback also lets it be http when the host is this machine,
// where there is no network to listen on (as RFC 8252 section 8.3 reasons).
type parts struct{ path, query, loopback bool }

// isLoopback reports whether host names this machine.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// parseHTTPS takes an absolute https URL without user, fragment and anything that p does not grant.
func parseHTTPS(value string, p parts) (*url.URL, error) {
	u, err := url.Parse(value)
	switch {
	case err != nil, !visible(value):
		return nil, errors.New("is not a URL")
	case u.Scheme != "https" && !(p.loopback && u.Scheme == "http" && isLoopback(u.Hostname())):
		return nil, errors.New("is not an https URL")
	case u.Hostname() == "", u.Opaque != "", strings.HasSuffix(u.Host, ":"):
		return nil, errors.New("is not a URL with a host")
	case u.User != nil:
		return nil, errors.New("has a user in it")
	case strings.Contains(value, "#"):
		return nil, errors.New("has a fragment")
	case strings.Contains(value, "?") && !p.query:
		return nil, errors.New("has a query")
	case strings.Trim(u.Path, "/") != "" && !p.path, strings.Contains(u.Path, "//"):
		return nil, errors.New("has a path that does not belong there")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, errors.New("has a port that is none")
		}
	}
	return u, nil
}

// service takes the address of a service, and drops a trailing slash.
func service(p parts, into func(*Settings) *string) rule {
	return rule{"an https URL", func(s *Settings, value string, _ Checks) error {
		if _, err := parseHTTPS(value, p); err != nil {
			return err
		}
		*into(s) = strings.TrimSuffix(value, "/")
		return nil
	}}
}

// issuer takes an issuer identifier (RFC 8414 section 2). A trailing slash is refused, not dropped: verifiers compare the
// text, and metadata addresses are made by appending to it. A laptop's http address may be one.
func issuer(into func(*Settings) *string) rule {
	return rule{"an https URL without query, fragment and trailing slash (http only for localhost)", func(s *Settings, value string, _ Checks) error {
		if _, err := parseHTTPS(value, parts{path: true, loopback: true}); err != nil {
			return err
		}
		if strings.HasSuffix(value, "/") {
			return errors.New("ends in a slash")
		}
		*into(s) = value
		return nil
	}}
}

// bundle takes the path of a file with one certificate or more.
func bundle() rule {
	return rule{"the path of a PEM file with one certificate or more", func(s *Settings, value string, checks Checks) error {
		rest, err := checks.ReadFile(value)
		if err != nil {
			return errors.New("names a file that cannot be read")
		}
		var certificates []*x509.Certificate
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				continue
			}
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return fmt.Errorf("names a file whose certificate %d is broken", len(certificates)+1)
			}
			certificates = append(certificates, certificate)
		}
		if len(certificates) == 0 {
			return errors.New("names a file without a certificate")
		}
		s.Network = Network{CABundle: value, CACertificates: certificates}
		return nil
	}}
}

// signingKey takes what the token package takes.
func signingKey() rule {
	return rule{"a PEM (PKCS #8) or JWK private key", func(s *Settings, value string, checks Checks) error {
		key := secret.New(value)
		if err := checks.SigningKey(key); err != nil {
			return fmt.Errorf("cannot be used: %w", err)
		}
		s.Tokens.SigningKey = key
		return nil
	}}
}

// pepper takes what the keyed package takes.
func pepper() rule {
	return rule{fmt.Sprintf("standard base64 of %d random bytes or more", keyed.MinPepper), func(s *Settings, value string, _ Checks) error {
		key := secret.New(value)
		if _, err := keyed.NewRing(key); err != nil {
			return fmt.Errorf("cannot be used: %w", err)
		}
		s.Codes.Pepper = key
		return nil
	}}
}

// logLevel takes slog's names and those of the predecessor's language.
func logLevel() rule {
	return rule{"debug, info, warn (or warning) or error (or critical)", func(s *Settings, value string, _ Checks) error {
		switch strings.ToLower(value) {
		case "debug":
			s.Log.Level = slog.LevelDebug
		case "info":
			s.Log.Level = slog.LevelInfo
		case "warn", "warning":
			s.Log.Level = slog.LevelWarn
		case "error", "critical":
			s.Log.Level = slog.LevelError
		default:
			return errors.New("is not a level")
		}
		return nil
	}}
}

func logFormat() rule {
	return rule{"json, plain or colour", func(s *Settings, value string, _ Checks) error {
		switch format := LogFormat(strings.ToLower(value)); format {
		case LogJSON, LogPlain, LogColour:
			s.Log.Format = format
			return nil
		}
		return errors.New("is not a format")
	}}
}

// listenAddr takes what net.Listen takes, with the port as a number.
func listenAddr() rule {
	return rule{"host:port", func(s *Settings, value string, _ Checks) error {
		_, port, err := net.SplitHostPort(value)
		if err != nil {
			return errors.New("is not host:port")
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return errors.New("has a port that is none")
		}
		s.HTTP = HTTP{Addr: value}
		return nil
	}}
}

// hostPort takes the port of the Functions host, which reaches the handler by loopback only (host-contract.md section 1).
func hostPort() rule {
	var port int
	number := within(1, 65535, func(*Settings) *int { return &port })
	return rule{number.allowed, func(s *Settings, value string, checks Checks) error {
		if err := number.read(s, value, checks); err != nil {
			return err
		}
		s.HTTP = HTTP{Addr: net.JoinHostPort("127.0.0.1", value), UnderHost: true}
		return nil
	}}
}
