package keyed_test

import (
	"encoding/base64"
	"errors"
	"testing"

	"latchkey/handler/internal/keyed"
)

// Made with Python's hashlib.scrypt(b"imported-code", salt=b"0123456789abcdef0123456789abcdef", n=16384, r=8, p=1, dklen=256), the function
// that the predecessor uses.
const fromPython = "EJ2vVYMVf0IEbPxyRGw7H2tBvcuQ65oUWl2zegaHw8rKg/FGqGQVCjf91hyJG1nwVi8kjNLcjXTftk9ZpH8z3mG6YZra/15crVuaKuhhUBsMkEFdDlBZXy660gc46hAR" +
	"fYSaRrJFz31Fu2m90l1hm+1Gd2ZITmd/FSYYlWI0b04MyQrTDx/BGnSnCJUMG3txWMhdGkxvGhdREj56YuE3OY8yf9AINmtNbVa2LLvMT7DCxlJn9P+w6GYtjionEAnP" +
	"tTNYq2YuPzmLNlHdTfSdVlOsnxy4/sHggFu1nGRcX0mQKatY8bdRXaW+wvmpEee7JRju4claxc70Waer9ho6EQ"

func TestACT15_ThePredecessorsHashesVerify(t *testing.T) {
	key, err := base64.RawStdEncoding.DecodeString(fromPython)
	if err != nil {
		t.Fatal(err)
	}
	stored := keyed.Imported([]byte("0123456789abcdef0123456789abcdef"), key)
	if right, err := keyed.MatchImported(stored, "imported-code"); !right || err != nil {
		t.Errorf("the right code: %v, %v", right, err)
	}
	for _, wrong := range []string{"", "imported-cod", "imported-code ", "Imported-code"} {
		if right, err := keyed.MatchImported(stored, wrong); right || err != nil {
			t.Errorf("%q: %v, %v", wrong, right, err)
		}
	}
	for _, broken := range []string{"", "$scrypt$", "$argon2id$v=19$m=1,t=1,p=1$YQ$YQ", stored[:len(stored)-4], "$scrypt$ln=20,r=8,p=1" + stored[21:]} {
		if _, err := keyed.MatchImported(broken, "imported-code"); !errors.Is(err, keyed.ErrHash) {
			t.Errorf("%.30q: %v", broken, err)
		}
	}
}
