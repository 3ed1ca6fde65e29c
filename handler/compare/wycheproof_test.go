package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"latchkey/handler/internal/caller"
)

// wycheproof is the folder of the vectors, from the module cache. No package of the module holds them, so they are asked for by
// its name.
func wycheproof(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", "github.com/c2sp/wycheproof").Output()
	if err != nil {
		t.Fatalf("downloading the vectors: %v %s", err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil || module.Dir == "" {
		t.Fatalf("no folder in %s (%v)", out, err)
	}
	return filepath.Join(module.Dir, "testvectors_v1")
}

// vector is one of Wycheproof's, with the keys document it is for.
type vector struct {
	id       int
	group    string
	comment  string
	document []byte
	jws      string
	valid    bool
}

// vectors reads a file. Those without a JWS, or with one in JSON, are left out and counted: they are no compact tokens.
func vectors(t *testing.T, file string) (all []vector, left int) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(wycheproof(t), file))
	if err != nil {
		t.Fatal(err)
	}
	var published struct {
		NumberOfTests int
		TestGroups    []struct {
			Comment         string
			Public, Private json.RawMessage
			Tests           []struct {
				TcID            int
				Comment, Result string
				JWS             json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(data, &published); err != nil {
		t.Fatal(err)
	}
	for _, g := range published.TestGroups {
		keys := g.Public
		if keys == nil { // of symmetric keys there is no public half
			keys = g.Private
		}
		for _, test := range g.Tests {
			v := vector{id: test.TcID, group: g.Comment, comment: test.Comment, document: documentOf(t, keys), valid: test.Result == "valid"}
			if test.Result != "valid" && test.Result != "invalid" {
				t.Fatalf("%s %d: result %q", file, v.id, test.Result)
			}
			if json.Unmarshal(test.JWS, &v.jws) != nil {
				left++
				continue
			}
			all = append(all, v)
		}
	}
	if len(all)+left != published.NumberOfTests || len(all) == 0 {
		t.Fatalf("%s: %d vectors of %d", file, len(all)+left, published.NumberOfTests)
	}
	return all, left
}

// documentOf is a JWK set: some files have one key where others have a set.
func documentOf(t *testing.T, keys json.RawMessage) []byte {
	t.Helper()
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(keys, &set); err != nil {
		t.Fatal(err)
	}
	if set.Keys != nil {
		return keys
	}
	return fmt.Appendf(nil, `{"keys":[%s]}`, keys)
}

// stricter is a run of vectors of which those that are published as valid are refused here.
type stricter struct {
	from, to int
	reason   string
}

const (
	secrets  = "HS256, HS384 and HS512 are never taken: a secret that verifies also signs (model.md section 5, RFC 8725 section 3.1)"
	hashes   = "of RSA and ECDSA one hash is enough: RS384, RS512, PS384, PS512 and ES512 are not taken"
	empty    = "a token has claims: an empty payload is none"
	alphabet = "a character that is no base64url stands in the token, though the MAC is over that text"
)

// judge runs the vectors of a file. Each must be answered as published: what is valid must be taken, unless it is one of the
// exceptions, which are refused, and each of which is needed.
func judge(t *testing.T, file, name string, want int, exceptions ...stricter) {
	all, left := vectors(t, file)
	listed := 0
	used := make([]bool, len(exceptions))
	for _, v := range all {
		err := caller.VerifyJWS(v.document, caller.Algorithms(), v.jws)
		at := slices.IndexFunc(exceptions, func(e stricter) bool { return v.valid && e.from <= v.id && v.id <= e.to })
		switch {
		case at >= 0 && err == nil:
			t.Errorf("%s %d (%s, %s) is taken: it is no exception any more", name, v.id, v.group, v.comment)
		case at >= 0:
			used[at] = true
			listed++
		case err == nil != v.valid:
			t.Errorf("%s %d (%s, %s): valid is %v, answered %v", name, v.id, v.group, v.comment, v.valid, err)
		}
	}
	for i, e := range exceptions {
		if !used[i] || e.reason == "" {
			t.Errorf("%s: the exception %d to %d is not needed, or has no reason", name, e.from, e.to)
		}
	}
	if len(all) != want {
		t.Errorf("%d vectors of %s, want %d", len(all), name, want)
	}
	if !t.Failed() {
		t.Logf("%d of %d Wycheproof %s vectors answered as published, or stricter (%d, listed); %d are no compact JWS", len(all), len(all), name, listed, left)
	}
}

// Figures of AUT-1 and AUT-4.
func TestAUT1_WycheproofJWS(t *testing.T) {
	judge(t, "json_web_signature_test.json", "JWS", 401,
		stricter{1, 1, secrets},
		stricter{259, 259, empty},
		stricter{264, 271, hashes},
		stricter{272, 272, empty},
		stricter{320, 328, hashes},
		stricter{346, 347, hashes},
		stricter{348, 348, secrets},
		stricter{350, 351, hashes},
		stricter{352, 352, secrets},
		stricter{357, 359, secrets},
		stricter{372, 373, secrets + "; " + alphabet},
		stricter{376, 377, secrets},
	)
}

func TestAUT4_WycheproofJWK(t *testing.T) {
	judge(t, "json_web_key_test.json", "JWK", 26,
		stricter{2, 2, secrets},
		stricter{13, 15, secrets},
	)
}

// The third file has the same of tokens in JSON, and encrypted ones, which nothing here reads.
func TestAUT1_WycheproofCrypto(t *testing.T) {
	judge(t, "json_web_crypto_test.json", "crypto", 48,
		stricter{1, 1, secrets},
		stricter{48, 48, secrets},
	)
}
