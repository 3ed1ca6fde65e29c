package stack

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func (s *Stack) vaultFile() string { return filepath.Join(s.Dir, "vault.json") }

// seedVault writes the two secrets that the app cannot start without, fresh,
// unless the folder has a vault already: codes and credentials of an earlier
// run work only under its pepper.
func seedVault(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := SigningKey()
	if err != nil {
		return err
	}
	var pepper [32]byte
	rand.Read(pepper[:])
	type value struct {
		Value string `json:"value"`
	}
	type seed struct {
		Name     string  `json:"name"`
		Versions []value `json:"versions"`
	}
	body, err := json.Marshal([]seed{
		{"Tokens--SigningKey", []value{{key}}},
		{"Codes--Pepper", []value{{base64.StdEncoding.EncodeToString(pepper[:])}}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, body, 0o600)
}

// SigningKey returns a fresh P-256 key as the vault holds it: PKCS #8, PEM.
func SigningKey() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// SetSecret adds a version to a secret of the vault.
func (s *Stack) SetSecret(ctx context.Context, name, value string) error {
	token, err := s.ResourceToken(ctx, s.vaultResource())
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"value": value})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut,
		s.VaultURL+"/secrets/"+url.PathEscape(name)+"?api-version=7.4", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("secret %s: the vault answers %s", name, resp.Status)
	}
	return nil
}

// FaultVault makes the vault refuse: kind is forbidden, throttled,
// unavailable, hang, or "" to mend it. retryAfter (whole seconds, 0 = 1 s) is
// for throttled. times is how many requests it hits, 0 = until it is changed.
func (s *Stack) FaultVault(ctx context.Context, kind string, retryAfter time.Duration, times int) error {
	form := url.Values{"kind": {kind}}
	if retryAfter > 0 {
		form.Set("retry_after", strconv.Itoa(int(retryAfter.Seconds())))
	}
	if times > 0 {
		form.Set("times", strconv.Itoa(times))
	}
	return postForm(ctx, s.client, s.VaultURL+"/admin/fault", form, nil)
}

// vaultResource is the audience of tokens for the vault (see vault/main.go).
func (s *Stack) vaultResource() string {
	return "https://0.0.1:" + strconv.Itoa(s.ports.vault)
}
