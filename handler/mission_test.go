package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// missionRow is a line of doc/mission.md.
var missionRow = regexp.MustCompile(`(?m)^\| ([A-Z]{3}-\d+) \| (.+) \| (yes|partly|later) \|$`)

// proof is a test that is named after a row.
var proof = regexp.MustCompile(`(?m)^func Test([A-Z]{3})(\d+)_`)

// TestCoverageOfMission holds doc/mission.md to the tests: make coverage-of-mission prints the rows without one.
func TestCoverageOfMission(t *testing.T) {
	text, err := os.ReadFile("doc/mission.md")
	if err != nil {
		t.Fatal(err)
	}
	proved := map[string]int{}
	for _, root := range []string{".", "../infra"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, m := range proof.FindAllStringSubmatch(string(source), -1) {
				proved[m[1]+"-"+m[2]]++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	rows := missionRow.FindAllStringSubmatch(string(text), -1)
	if lines := strings.Count(string(text), "\n| "); len(rows) != lines-2 { // the head of the table and its rule
		t.Errorf("%d of %d lines are rows", len(rows), lines-2)
	}
	known := map[string]bool{}
	for _, row := range rows {
		id, what, built := row[1], row[2], row[3] != "later"
		if known[id] {
			t.Errorf("%s stands there twice", id)
		}
		known[id] = true
		switch {
		case built && proved[id] == 0:
			t.Errorf("%s is built and no test is named after it: %s", id, what)
		case !built && proved[id] > 0:
			t.Errorf("%s is proved by %d tests and not said to be built", id, proved[id])
		case !built:
			t.Logf("%s has no test yet: %s", id, what)
		}
	}
	for id := range proved {
		if !known[id] {
			t.Errorf("tests are named after %s, which is no row", id)
		}
	}
}
