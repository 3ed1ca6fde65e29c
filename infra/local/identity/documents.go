package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// mostDocument is how much of a document a test may send; padding makes it larger.
const mostDocument = 32 << 20

// documents are keys documents as a test wrote them, each under a name of its own: a host whose Entra__KeysUrl is
// /documents/{name} gets them instead of the tenant's, and nobody else is disturbed.
type documents struct {
	mu    sync.Mutex
	named map[string]*document
}

type document struct {
	status      int
	contentType string
	location    string
	body        []byte
	padding     int64 // bytes of space behind the body
	hang        bool  // the answer never comes

	asked, open, most int
}

// put takes PUT /admin/documents/{name}: the body is served as it is from then on, with status, type, location, padding and hang of the
// query. What was counted stays.
func (d *documents) put(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostDocument))
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	query := r.URL.Query()
	fresh := document{
		status: http.StatusOK, contentType: query.Get("type"), location: query.Get("location"), body: body, hang: query.Get("hang") == "true",
	}
	if fresh.contentType == "" {
		fresh.contentType = "application/json; charset=utf-8"
	}
	if text := query.Get("status"); text != "" {
		if fresh.status, err = strconv.Atoi(text); err != nil || fresh.status < 200 || fresh.status > 599 {
			answer(w, http.StatusBadRequest, map[string]string{"error": "status is one of HTTP"})
			return
		}
	}
	if text := query.Get("padding"); text != "" {
		if fresh.padding, err = strconv.ParseInt(text, 10, 64); err != nil || fresh.padding < 0 {
			answer(w, http.StatusBadRequest, map[string]string{"error": "padding is a number of bytes"})
			return
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.named == nil {
		d.named = map[string]*document{}
	}
	if old := d.named[r.PathValue("name")]; old != nil {
		fresh.asked, fresh.open, fresh.most = old.asked, old.open, old.most
		*old = fresh
	} else {
		d.named[r.PathValue("name")] = &fresh
	}
	w.WriteHeader(http.StatusNoContent)
}

// serve answers GET /documents/{name}.
func (d *documents) serve(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	named := d.named[r.PathValue("name")]
	if named == nil {
		d.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	named.asked++
	named.open++
	named.most = max(named.most, named.open)
	now := *named
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		named.open--
	}()

	if now.hang {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", now.contentType)
	if now.location != "" {
		w.Header().Set("Location", now.location)
	}
	w.WriteHeader(now.status)
	_, err := w.Write(now.body)
	spaces := make([]byte, 64<<10)
	for i := range spaces {
		spaces[i] = ' '
	}
	for left := now.padding; left > 0 && err == nil; left -= int64(len(spaces)) {
		_, err = w.Write(spaces[:min(left, int64(len(spaces)))]) // who stops reading has read enough
	}
}

// counts answers GET /admin/documents/{name}: how often it was asked for, and how many requests were open at once.
func (d *documents) counts(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	named := d.named[r.PathValue("name")]
	if named == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(map[string]int{"asked": named.asked, "open": named.open, "most": named.most})
}
