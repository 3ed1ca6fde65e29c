package keyed

import (
	"crypto/subtle"
	"fmt"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// The cost and size of the predecessor's hashes of authorisation codes (ACT-15): 16 MiB, about 70 ms.
const (
	importedLogN = 14
	importedR    = 8
	importedP    = 1
	importedSize = 256 // bytes
)

// Imported writes a hash of the predecessor's as the string that is stored: its salt and its 256 bytes.
func Imported(salt, key []byte) string {
	return fmt.Sprintf("$scrypt$ln=%d,r=%d,p=%d$%s$%s", importedLogN, importedR, importedP, phc.EncodeToString(salt), phc.EncodeToString(key))
}

// MatchImported reports whether code is what the predecessor made stored from. It knows no pepper and compares the code as it was
// sent. ErrHash means that the question cannot be answered: that is no "no".
func MatchImported(stored, code string) (bool, error) {
	fields := strings.Split(stored, "$") // "", scrypt, parameters, salt, key
	if len(fields) != 5 || fields[1] != "scrypt" || fields[2] != fmt.Sprintf("ln=%d,r=%d,p=%d", importedLogN, importedR, importedP) {
		return false, ErrHash
	}
	salt, err := phc.DecodeString(fields[3])
	if err != nil {
		return false, ErrHash
	}
	want, err := phc.DecodeString(fields[4])
	if err != nil || len(want) != importedSize {
		return false, ErrHash
	}
	got, err := scrypt.Key([]byte(code), salt, 1<<importedLogN, importedR, importedP, importedSize)
	if err != nil {
		return false, ErrHash
	}
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}
