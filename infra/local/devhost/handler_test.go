package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The test binary plays three parts: the tests, the handler under a host, and
// devhost itself as a process.
func TestMain(m *testing.M) {
	switch os.Getenv("DEVHOST_TEST_AS") {
	case "handler":
		fakeHandler()
	case "devhost":
		// The child of this devhost is a handler again.
		if err := os.Setenv("DEVHOST_TEST_AS", "handler"); err != nil {
			os.Exit(2)
		}
		main()
	default:
		os.Exit(m.Run())
	}
}

// seen is what the fake handler answers: what it saw.
type seen struct {
	Method, Target, Host string
	Length               int64
	Encoding             []string
	Header               http.Header
	Body                 string
	Pid                  int
	Env                  map[string]string
	Args                 []string
	Dir                  string
}

// fakeHandler appends a line to the file TRACE for its start and for each
// request but the probe, and does what the path says.
func fakeHandler() {
	trace := func(line string) {
		f, err := os.OpenFile(os.Getenv("TRACE"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			os.Exit(3)
		}
		defer f.Close()
		fmt.Fprintln(f, line)
	}
	trace("start " + strconv.Itoa(os.Getpid()))
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for s := range signals {
			trace("signal " + s.String())
		}
	}()
	if code, err := strconv.Atoi(os.Getenv("EXIT_AT_START")); err == nil {
		fmt.Fprintln(os.Stderr, "cannot start")
		os.Exit(code)
	}
	if late, err := time.ParseDuration(os.Getenv("LATE")); err == nil {
		time.Sleep(late)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/x/drop", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/x/exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		os.Exit(code)
	})
	mux.HandleFunc("/x/slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(500 * time.Millisecond):
			fmt.Fprint(w, "slow")
		case <-r.Context().Done():
			trace("cancelled")
		}
	})
	mux.HandleFunc("/x/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/x/say", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Println("to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
		fmt.Fprintln(os.Stderr, "a Warning to stderr")
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/x/stream", func(w http.ResponseWriter, _ *http.Request) {
		for range 2 {
			fmt.Fprint(w, "part")
			w.(http.Flusher).Flush()
			time.Sleep(200 * time.Millisecond)
		}
	})
	mux.HandleFunc("/x/raw", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		reply, err := os.ReadFile(r.Header.Get("X-Reply"))
		if err != nil {
			return
		}
		_, _ = conn.Write(reply)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		dir, _ := os.Getwd()
		s := seen{Method: r.Method, Target: r.RequestURI, Host: r.Host, Length: r.ContentLength, Encoding: r.TransferEncoding,
			Header: r.Header, Body: string(body), Pid: os.Getpid(), Env: map[string]string{}, Args: os.Args[1:], Dir: dir}
		for _, name := range []string{"FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT", "FUNCTIONS_HTTPWORKER_ID",
			"FUNCTIONS_CUSTOMHANDLER_WORKER_ID", "FUNCTIONS_APP_ROOT_PATH"} {
			s.Env[name] = os.Getenv(name)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s)
	})
	ln, err := net.Listen("tcp4", "127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"))
	if err != nil {
		os.Exit(4)
	}
	_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "/" || r.Header.Get("X-Azure-Functions-InvocationId") != "" {
			trace(r.Method + " " + r.RequestURI + " " + r.Header.Get("X-Azure-Functions-InvocationId"))
		}
		mux.ServeHTTP(w, r)
	}))
}
