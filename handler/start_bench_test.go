package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// release is the binary that "make stage" builds, the one that ships.
const release = "../dist/latchkey"

// BenchmarkStart measures what a cold start costs: from exec to the first answered request, the peak of resident memory after a
// hundred requests, and the size of the binary.
func BenchmarkStart(b *testing.B) {
	info, err := os.Stat(release)
	if err != nil {
		b.Skip(`run "make stage" first:`, err)
	}
	environment := settingsOfAStart(b)
	var peak int64
	for b.Loop() {
		peak = max(peak, startOnce(b, environment))
	}
	b.ReportMetric(float64(peak)/1024, "MB-peak")
	b.ReportMetric(float64(info.Size())/1e6, "MB-binary")
}

// settingsOfAStart are good settings, so that the start is a whole one. Nothing listens where they point.
func settingsOfAStart(b *testing.B) []string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		b.Fatal(err)
	}
	pepper := make([]byte, 32)
	if _, err := rand.Read(pepper); err != nil {
		b.Fatal(err)
	}
	return []string{
		"Site__Code=OXF", "Entra__TenantId=0f4d2c1b-6a59-4b7e-8c3d-1e2f3a4b5c6d",
		"Entra__Audiences=5b8e7c6d-2f1a-4d3c-9b0e-7a6f5e4d3c2b", "Entra__KeysUrl=https://127.0.0.1:1/keys",
		"Storage__TablesEndpoint=https://127.0.0.1:1/account", "Tokens__Issuer=https://activation.example",
		"Tokens__SigningKey=" + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"Codes__Pepper=" + base64.StdEncoding.EncodeToString(pepper),
	}
}

// startOnce returns the peak of resident memory in KiB, 0 where the system does not tell.
func startOnce(b *testing.B, environment []string) int64 {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		b.Fatal(err)
	}
	command := exec.Command(release)
	command.Env = append([]string{"LISTEN_ADDR=" + address, "LOG_LEVEL=error"}, environment...)
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(200 * time.Microsecond) {
		if get(address) == nil {
			break
		}
		if time.Now().After(deadline) {
			b.Fatal("no answer within 10 s")
		}
	}
	b.StopTimer()
	defer b.StartTimer()
	for range 100 {
		if err := get(address); err != nil {
			b.Fatal(err)
		}
	}
	peak := peakOf(command.Process.Pid)
	if err := command.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	_ = command.Wait() // it was killed: an error is what we want
	return peak
}

func get(address string) error {
	response, err := http.Get("http://" + address + "/running")
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// peakOf reads VmHWM (proc(5)).
func peakOf(pid int) int64 {
	file, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "VmHWM:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib
		}
	}
	return 0
}
