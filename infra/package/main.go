// Command package assembles what the Functions host takes: host.json, the handler's binary and each folder of functions/
// moved up one level, because the host looks for function.json exactly one folder below host.json. With -zip it also writes
// them as an archive whose entries carry the modes that the host needs (0755 for the binary) and no time, so that the same
// input gives the same bytes.
package main

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "the folder of host.json and functions/")
	binary := flag.String("binary", "", "the handler's binary")
	out := flag.String("out", "dist", "the folder to fill; it is emptied first")
	archive := flag.String("zip", "", "an archive to write as well")
	flag.Parse()
	if err := assemble(*root, *binary, *out); err != nil {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
	if *archive == "" {
		return
	}
	if err := pack(*out, *archive); err != nil {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
}

// executable reads from host.json under which name the host will look for the binary.
func executable(hostJSON []byte) (string, error) {
	var host struct {
		CustomHandler struct {
			Description struct {
				DefaultExecutablePath string `json:"defaultExecutablePath"`
			} `json:"description"`
		} `json:"customHandler"`
	}
	if err := json.Unmarshal(hostJSON, &host); err != nil {
		return "", fmt.Errorf("host.json: %w", err)
	}
	name := host.CustomHandler.Description.DefaultExecutablePath
	if name == "" || !filepath.IsLocal(name) {
		return "", errors.New("host.json names no executable within the app")
	}
	return name, nil
}

func assemble(root, binary, out string) error {
	hostJSON, err := os.ReadFile(filepath.Join(root, "host.json"))
	if err != nil {
		return err
	}
	name, err := executable(hostJSON)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.CopyFS(out, os.DirFS(filepath.Join(root, "functions"))); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "host.json"), hostJSON, 0o644); err != nil {
		return err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, name), program, 0o755)
}

func pack(folder, archive string) (err error) {
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := zip.NewWriter(file)
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		header := &zip.FileHeader{Name: filepath.ToSlash(name), Method: zip.Deflate}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		header.SetMode(mode)
		into, err := w.CreateHeader(header)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = into.Write(content)
		return err
	})
	return errors.Join(err, w.Close())
}
