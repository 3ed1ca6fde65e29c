package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"latchkey/handler/internal/server"
)

const checkedIn = "../../../functions"

// The functions that are checked in are those of the route table: run "make functions" when this fails.
func TestFunctionsAreGenerated(t *testing.T) {
	functions, err := server.Functions()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(checkedIn)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(functions) {
		t.Errorf("%d folders, %d routes", len(entries), len(functions))
	}
	for _, f := range functions {
		got, err := os.ReadFile(filepath.Join(checkedIn, f.Name, "function.json"))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, f.JSON) {
			t.Errorf("%s/function.json differs from the route table", f.Name)
		}
	}
}

func TestWriteRemovesWhatNoRouteHas(t *testing.T) {
	folder := t.TempDir()
	old := filepath.Join(folder, "gone")
	if err := os.Mkdir(old, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := write(folder); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the folder of a route that is gone is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "running", "function.json")); err != nil {
		t.Error(err)
	}
}
