package e2e_test

import (
	"bytes"
	"encoding/base32"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// row is one row of a table as the Table service sends it.
type row map[string]any

func (r row) text(column string) string {
	s, _ := r[column].(string)
	return s
}

// tables are the names of all tables.
func tables(t *testing.T) (names []string) {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(root, "infra", "tables.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &names); err != nil || len(names) == 0 {
		t.Fatalf("%v, %d tables", err, len(names))
	}
	return names
}

// storage sends one request of the Table service's REST API, as the app's identity.
func (w *world) storage(t *testing.T, method, path string, body any) *http.Response {
	t.Helper()
	token, err := w.stack.ResourceToken(t.Context(), "https://storage.azure.com")
	if err != nil {
		t.Fatal(err)
	}
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, w.stack.Tables+"/"+path, payload)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "Accept": "application/json;odata=nometadata", "Content-Type": "application/json",
		"x-ms-version": "2019-02-02", "x-ms-date": time.Now().UTC().Format(http.TimeFormat),
	} {
		req.Header.Set(name, value)
	}
	if method == http.MethodPatch {
		req.Header.Set("If-Match", "*")
	}
	resp, err := w.stack.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// rows dumps a table.
func (w *world) rows(t *testing.T, table string) (all []row) {
	t.Helper()
	next := url.Values{}
	for {
		resp := w.storage(t, http.MethodGet, table+"()?"+next.Encode(), nil)
		var page struct{ Value []row }
		err := json.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("table %s: %s, %v", table, resp.Status, err)
		}
		all = append(all, page.Value...)
		partition, key := resp.Header.Get("x-ms-continuation-NextPartitionKey"), resp.Header.Get("x-ms-continuation-NextRowKey")
		if partition == "" {
			return all
		}
		next = url.Values{"NextPartitionKey": {partition}, "NextRowKey": {key}}
	}
}

// change merges columns into a row.
func (w *world) change(t *testing.T, table string, r row, columns row) {
	t.Helper()
	path := table + "(PartitionKey='" + r.text("PartitionKey") + "',RowKey='" + r.text("RowKey") + "')"
	resp := w.storage(t, http.MethodPatch, path, columns)
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("changing a row of %s: %s", table, resp.Status)
	}
}

// partition are the rows of a patient.
func (w *world) partition(t *testing.T, patient string) map[string]row {
	t.Helper()
	key := "p~" + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(patient)))
	found := map[string]row{}
	for _, r := range w.rows(t, "subjects") {
		if r.text("PartitionKey") == key {
			found[r.text("RowKey")] = r
		}
	}
	return found
}

// attempts is how many wrong OTPs are recorded of an activation. Each is counted in the transaction of its record.
func (w *world) attempts(t *testing.T, patient string, c created) (n int) {
	t.Helper()
	records := 0
	for key, r := range w.partition(t, patient) {
		if strings.HasPrefix(key, "aud~") && r.text("activation") == c.UUID {
			records++
			if r.text("reason") == "wrong_otp" {
				n++
			}
		}
	}
	if records == 0 {
		t.Fatal("there is no record of the activation at all")
	}
	return n
}

// expire moves the expiry of a pending activation into the past, where the clock would have to go otherwise.
func (w *world) expire(t *testing.T, patient string, c created) {
	t.Helper()
	past := row{"expires": "2020-01-01T00:00:00.000Z"}
	changed := 0
	for _, r := range w.rows(t, "codes") {
		if r.text("activation") == c.UUID {
			w.change(t, "codes", r, past)
			changed++
		}
	}
	for key, r := range w.partition(t, patient) {
		if strings.HasPrefix(key, "act~") && strings.HasSuffix(key, c.UUID) {
			w.change(t, "subjects", r, past)
			changed++
		}
	}
	if changed != 2 {
		t.Fatalf("%d rows of the activation were found, want 2", changed)
	}
}
