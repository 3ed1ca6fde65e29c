package recipes

import (
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"time"
)

// Route is which kind of route a case is tried on.
type Route int

const (
	// Protected asks for Names.Scope and takes Entra's callers: POST /dhos/v1/patient/{id}/activation.
	Protected Route = iota
	// Devices takes tokens of ours of devices: GET /dhos/v1/clinician/jwt.
	Devices
)

// Field is a header field, as it is written.
type Field struct{ Name, Value string }

// Request is what is sent. Nothing of it is checked or changed on its way out.
type Request struct {
	Token  string   // what it is about, for those who only verify tokens
	Fields []Field  // Authorization and what else the case is about
	Paths  []string // tried one after the other instead of the route's own path
	Query  string
	Body   string
}

// Authorization are the values of the fields of this name.
func (r Request) Authorization() (values []string) {
	for _, f := range r.Fields {
		if strings.EqualFold(f.Name, "Authorization") {
			values = append(values, f.Value)
		}
	}
	return values
}

// Write sends the request as HTTP/1.1 (RFC 9112) with these fields before its own.
func (r Request) Write(w io.Writer, method, target, host string, before ...Field) error {
	var b strings.Builder
	if r.Query != "" {
		target += "?" + r.Query
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, target, host)
	for _, f := range append(before, r.Fields...) {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	if method != "GET" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.Body))
	}
	_, err := io.WriteString(w, b.String()+"\r\n"+r.Body)
	return err
}

// Request makes the case's request anew: dates are counted from now.
func (c Case) Request(f *Fixture, now time.Time) Request {
	d := &draft{f: f, now: now}
	c.base(d)
	for _, change := range c.changes {
		change(d)
	}
	r := Request{Token: d.token()}
	r.Fields = []Field{{"Authorization", "Bearer " + r.Token}}
	for _, change := range d.request {
		change(&r)
	}
	for i := range r.Fields {
		r.Fields[i].Value = strings.ReplaceAll(f.fill(r.Fields[i].Value), "$token", r.Token)
	}
	r.Query, r.Body = strings.ReplaceAll(r.Query, "$token", r.Token), strings.ReplaceAll(r.Body, "$token", r.Token)
	return r
}

func sent(f func(*Request)) change { return func(d *draft) { d.request = append(d.request, f) } }

// as sends these values of Authorization instead.
func as(values ...string) change {
	return sent(func(r *Request) {
		r.Fields = nil
		for _, v := range values {
			r.Fields = append(r.Fields, Field{"Authorization", v})
		}
	})
}

// nowhere sends no Authorization.
func nowhere(d *draft) { as()(d) }

// beside sends one more field.
func field(name, value string) change {
	return sent(func(r *Request) { r.Fields = append(r.Fields, Field{name, value}) })
}

func query(text string) change { return sent(func(r *Request) { r.Query = text }) }

func form(text string) change {
	return sent(func(r *Request) {
		r.Body = text
		r.Fields = append(r.Fields, Field{"Content-Type", "application/x-www-form-urlencoded"})
	})
}

func paths(all ...string) change { return sent(func(r *Request) { r.Paths = all }) }

func randomText() (string, error) {
	var b [8]byte
	_, err := rand.Read(b[:])
	return fmt.Sprintf("%x", b), err
}
