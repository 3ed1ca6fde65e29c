// Command handler is the smallest custom handler: it shows a test of the stack
// what environment it was given.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
)

func main() {
	address := os.Getenv("LISTEN_ADDR")
	if port := os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"); port != "" {
		address = "127.0.0.1:" + port
	}
	fmt.Println("handler listens")
	http.HandleFunc("/running", func(w http.ResponseWriter, r *http.Request) {
		settings := map[string]string{}
		for _, entry := range os.Environ() {
			name, value, _ := strings.Cut(entry, "=")
			settings[name] = value
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Host-Seen", r.Host)
		json.NewEncoder(w).Encode(map[string]any{"environment": settings, "pid": os.Getpid()})
	})
	fmt.Println(http.ListenAndServe(address, nil))
	os.Exit(1)
}
