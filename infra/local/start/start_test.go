package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// The lines run in a shell as they are, each on the values of the one before.
func TestTheCurlLinesWorkWhenPasted(t *testing.T) {
	for _, tool := range []string{"sh", "curl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /dhos/v1/patient/patient-1/activation", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer e.y.J" {
			t.Errorf("Authorization %q", r.Header.Get("Authorization"))
		}
		w.Write([]byte(`{"uuid":"u","activation_code": "7KQ49F2MCD","otp":"H7R2WX","code":"OXF-7KQ4"}`))
	})
	mux.HandleFunc("POST /dhos/v1/activation", func(w http.ResponseWriter, r *http.Request) {
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if body["activation_code"] != "7KQ49F2MCD" || body["otp"] != "H7R2WX" || len(body) != 2 {
			t.Errorf("redeem body %v", body)
		}
		w.Write([]byte(`{"authorisation_code":"aB-_3","patient_id":"patient-1"}`))
	})
	mux.HandleFunc("POST /dhos/v1/patient/patient-1/jwt", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-authorisation-code") != "aB-_3" {
			t.Errorf("x-authorisation-code %q", r.Header.Get("x-authorisation-code"))
		}
		w.Write([]byte(`{"jwt":"the.j.wt"}`))
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	lines := curlLines(server.URL, "e.y.J")
	shell := exec.Command("sh")
	shell.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(lines) != 3 || !strings.HasSuffix(strings.TrimSpace(string(out)), `{"jwt":"the.j.wt"}`) {
		t.Errorf("%d lines printed %s", len(lines), out)
	}
}

func TestTwoCopiesNeverShareAFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	port, dir, lock, err := claim("")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	otherPort, otherDir, otherLock, err := claim("")
	if err != nil {
		t.Fatal(err)
	}
	defer otherLock.Close()
	if otherPort == port || otherDir == dir {
		t.Errorf("both got port %d and %s", port, dir)
	}
	if _, _, _, err := claim(strconv.Itoa(otherPort)); err == nil {
		t.Error("a port that was asked for is shared")
	}
	for _, bad := range []string{"x", "0", "65536"} {
		if _, _, _, err := claim(bad); err == nil {
			t.Errorf("PORT=%s was taken", bad)
		}
	}
}
