// Command functions writes functions/: one folder with a function.json for each route of the table. Folders that no route has
// are removed. A test in this folder fails when the two drift apart.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"latchkey/handler/internal/server"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: functions DIRECTORY")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "functions:", err)
		os.Exit(1)
	}
}

func write(directory string) error {
	functions, err := server.Functions()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, f := range functions {
		wanted[f.Name] = true
		folder := filepath.Join(directory, f.Name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, "function.json"), f.JSON, 0o644); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() && !wanted[entry.Name()] {
			if err := os.RemoveAll(filepath.Join(directory, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
