package main

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// app lays out a small app and returns its root and a binary.
func app(t *testing.T, hostJSON string) (root, binary string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range map[string]string{
		"host.json": hostJSON, "functions/a/function.json": "{}", "functions/b/function.json": "{}", "program": "binary",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root, filepath.Join(root, "program")
}

const hostJSON = `{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "latchkey"}}}`

func TestTheHostFindsEverythingOneFolderDeep(t *testing.T) {
	root, binary := app(t, hostJSON)
	out := filepath.Join(t.TempDir(), "dist")
	if err := os.MkdirAll(filepath.Join(out, "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := assemble(root, binary, out); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "app.zip")
	if err := pack(out, archive); err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	modes := map[string]fs.FileMode{}
	for _, f := range z.File {
		modes[f.Name] = f.Mode()
	}
	want := map[string]fs.FileMode{"host.json": 0o644, "latchkey": 0o755, "a/function.json": 0o644, "b/function.json": 0o644}
	if len(modes) != len(want) {
		t.Errorf("the archive holds %v", modes)
	}
	for name, mode := range want {
		if modes[name] != mode {
			t.Errorf("%s has mode %v, want %v", name, modes[name], mode)
		}
	}
}

func TestTheSameAppGivesTheSameBytes(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		root, binary := app(t, hostJSON)
		out, archive := filepath.Join(t.TempDir(), "dist"), filepath.Join(t.TempDir(), "app.zip")
		if err := assemble(root, binary, out); err != nil {
			t.Fatal(err)
		}
		if err := pack(out, archive); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(archive); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two archives of one app differ")
	}
}

func TestAnExecutableOutsideTheAppIsRefused(t *testing.T) {
	for _, host := range []string{`{}`, `{`, `{"customHandler": {"description": {"defaultExecutablePath": "../latchkey"}}}`} {
		root, binary := app(t, host)
		if err := assemble(root, binary, filepath.Join(t.TempDir(), "dist")); err == nil {
			t.Errorf("%s was taken", host)
		}
	}
}
