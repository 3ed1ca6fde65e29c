package e2e_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

// seen is every secret that went over the wire in this run, in the forms in which it could turn up where it must not.
type seen struct {
	mu sync.Mutex
	// long are texts of head characters and more, by their first ones, in upper case.
	long map[string]map[string]string
	// short are OTPs: they count only as a word of their own, since six characters turn up by chance.
	short map[string]string
	count map[string]int
}

// head is how many characters of a secret are looked up.
const head = 10

// Kinds of what is noted.
const (
	aCode    = "a code"
	anOTP    = "an OTP"
	aPatient = "a patient id"
)

func newSeen() *seen {
	return &seen{long: map[string]map[string]string{}, short: map[string]string{}, count: map[string]int{}}
}

func (s *seen) note(kind, form string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	form = strings.ToUpper(form)
	if len(form) < head {
		return
	}
	if s.long[form[:head]] == nil {
		s.long[form[:head]] = map[string]string{}
	}
	s.long[form[:head]][form] = kind
	s.count[kind]++
}

// encoded notes base64 (of whole groups, so that what follows does not matter) and hexadecimal digits.
func (s *seen) encoded(kind, secret string) {
	s.note(kind+", in hexadecimal digits", hex.EncodeToString([]byte(secret)))
	groups := []byte(secret[:len(secret)-len(secret)%3])
	s.note(kind+", in base64", base64.StdEncoding.EncodeToString(groups))
	s.note(kind+", in base64url", base64.URLEncoding.EncodeToString(groups))
}

// secret notes a code, an authorisation code or a token.
func (s *seen) secret(text string) {
	if parts := strings.Split(text, "."); len(parts) == 3 {
		s.note("a token's claims", parts[1])
		s.note("a token's signature", parts[2])
		return
	}
	s.note(aCode, text)
	bare := word(text)
	s.note(aCode, bare)
	if len(bare) >= head {
		s.encoded(aCode, bare)
		s.encoded(aCode, text)
	}
}

// word is what is left without what people put between.
func word(text string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, text)
}

func (s *seen) otp(text string) {
	if len(text) != 6 {
		return // not one that was issued
	}
	s.note(anOTP+", in hexadecimal digits", hex.EncodeToString([]byte(text)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.short[strings.ToUpper(text)] = anOTP
	s.count[anOTP]++
}

func (s *seen) patient(id string) { s.note(aPatient, id) }

// members notes what JSON holds under the names of secrets.
func (s *seen) members(body []byte) {
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return
	}
	for name, value := range members {
		text, ok := value.(string)
		if !ok {
			continue
		}
		switch name {
		case "otp":
			s.otp(text)
		case "activation_code", "code", "authorisation_code", "jwt":
			s.secret(text)
		case "patient_id":
			s.patient(text)
		}
	}
}

func (s *seen) request(r request) {
	s.members([]byte(r.body))
	s.secret(r.code)
	s.secret(r.token)
	if code, found := strings.CutPrefix(r.path, redeemPath+"/"); found {
		code, _, _ = strings.Cut(code, "?")
		s.secret(code)
	}
}

func (s *seen) reply(body []byte) { s.members(body) }

// in says what of it stands in text; kinds that begin with one of except may.
func (s *seen) in(text string, except ...string) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	upper := strings.ToUpper(text)
	report := func(kind string) {
		for _, allowed := range except {
			if strings.HasPrefix(kind, allowed) {
				return
			}
		}
		found = append(found, kind)
	}
	for i := 0; i+head <= len(upper); i++ {
		for form, kind := range s.long[upper[i:i+head]] {
			if strings.HasPrefix(upper[i:], form) {
				report(kind)
			}
		}
	}
	for w := range strings.FieldsFuncSeq(upper, func(r rune) bool { return !('A' <= r && r <= 'Z' || '0' <= r && r <= '9') }) {
		if kind := s.short[w]; kind != "" {
			report(kind)
		}
	}
	return found
}

// String says how much was noted.
func (s *seen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.count)
}
