package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"latchkey/infra/local/certs"
)

// azuriteAccount is the one account that Azurite has by default.
const azuriteAccount = "devstoreaccount1"

// azurite is where Azurite's table service is installed.
type azurite struct {
	node, main, preload string
}

func findAzurite(root string) (azurite, error) {
	local := filepath.Join(root, "infra", "local")
	a := azurite{
		main:    filepath.Join(local, "node_modules/azurite/dist/src/table/main.js"),
		preload: filepath.Join(local, "azurite.cjs"),
	}
	if _, err := os.Stat(a.main); err != nil {
		return azurite{}, ErrNoAzurite
	}
	var err error
	if a.node, err = exec.LookPath("node"); err != nil {
		return azurite{}, ErrNoAzurite
	}
	return a, nil
}

// part runs Azurite over TLS with bearer tokens, as the real service is used,
// and with its data on disk, so that a stopped one comes back with its rows.
func (a azurite) part(s *Stack, tls certs.Files) *Part {
	return &Part{
		name: "storage",
		path: a.node,
		args: []string{
			"--require", a.preload, a.main, "--silent", "--disableTelemetry",
			"--tableHost", "127.0.0.1", "--tablePort", strconv.Itoa(s.ports.storage),
			// Node closes idle connections after 5 s by default; the real
			// service keeps them, and a client's write must not race it.
			"--tableKeepAliveTimeout", "120",
			"--location", filepath.Join(s.Dir, "storage"),
			"--oauth", "basic", "--cert", tls.Cert, "--key", tls.Key,
		},
		env: s.options.Environ,
		// Only SIGINT makes it save: it loses up to 5 s of rows at SIGTERM.
		asks:   syscall.SIGINT,
		orphan: syscall.SIGINT,
		output: s.output.named("storage"),
		ready:  s.answers(s.Tables),
	}
}

// createTables makes the tables of infra/tables.json, as Bicep does in Azure:
// the app itself creates none.
func (s *Stack) createTables(ctx context.Context) error {
	path := filepath.Join(s.options.Root, "infra", "tables.json")
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var names []string
	if err := json.Unmarshal(body, &names); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	token, err := s.ResourceToken(ctx, "https://storage.azure.com")
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.createTable(ctx, token, name); err != nil {
			return err
		}
	}
	return nil
}

// createTable is "Create Table" of the Table service's REST API. A table that
// is there already is fine.
func (s *Stack) createTable(ctx context.Context, token, name string) error {
	body, err := json.Marshal(map[string]string{"TableName": name})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Tables+"/Tables", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json;odata=nometadata")
	req.Header.Set("Prefer", "return-no-content")
	req.Header.Set("x-ms-version", "2019-02-02")
	req.Header.Set("x-ms-date", time.Now().UTC().Format(http.TimeFormat))
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("table %s: %w", name, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent, http.StatusCreated, http.StatusConflict:
		return nil
	}
	reason, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return fmt.Errorf("table %s: storage answers %s: %s", name, resp.Status, reason)
}
