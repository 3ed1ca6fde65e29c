package recipes

import (
	"bytes"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
)

// Document is what stands where the issuer's keys should be.
type Document struct {
	Status   int    // 0 = 200
	Type     string // Content-Type; "" = application/json
	Location string // of a redirect
	Body     []byte
	Padding  int64 // bytes of space written behind the body
	Hang     bool  // the answer never comes
}

// Names of documents that are used outside of the table.
const (
	Default = "default" // the tenant's two keys
	Rotated = "rotated" // a third key has come
	Hanging = "hanging"
	// Withdrawn has lost the first key.
	Withdrawn = "withdrawn"
)

type variant func(f *Fixture) Document

// Documents are the names of all.
func Documents() []string {
	var names []string
	for name := range documents() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Document gives the document of this name.
func (f *Fixture) Document(name string) Document {
	d := documents()[name]
	if d == nil {
		panic("no document " + name) // a mistake in the table
	}
	return d(f)
}

func documents() map[string]variant {
	// beside is a document with one more key in it, which must not be used, and must not spoil the others.
	beside := func(name keyName, changes ...func(*object)) variant {
		return func(f *Fixture) Document { return f.set(f.jwk(k1), f.jwk(k2), f.jwk(name, changes...)) }
	}
	raw := func(body string) variant { return func(*Fixture) Document { return Document{Body: []byte(body)} } }
	edit := func(change func(string, *Fixture) string) variant {
		return func(f *Fixture) Document { return Document{Body: []byte(change(string(f.Document(Default).Body), f))} }
	}
	return map[string]variant{
		Default:   func(f *Fixture) Document { return f.set(f.jwk(k1), f.jwk(k2)) },
		Rotated:   func(f *Fixture) Document { return f.set(f.jwk(k1), f.jwk(k2), f.jwk(k3)) },
		Withdrawn: func(f *Fixture) Document { return f.set(f.jwk(k2), f.jwk(k3)) },
		Hanging:   func(*Fixture) Document { return Document{Hang: true} },

		"down":    func(*Fixture) Document { return Document{Status: 503} },
		"missing": func(f *Fixture) Document { d := f.Document(Default); d.Status = 404; return d },
		"partial": func(f *Fixture) Document { d := f.Document(Default); d.Status = 206; return d },
		"html": func(*Fixture) Document {
			return Document{Type: "text/html", Body: []byte("<!doctype html><title>Sign in</title>")}
		},
		"nothing":   raw(""),
		"null":      raw("null"),
		"list":      raw("[]"),
		"object":    raw("{}"),
		"empty":     raw(`{"keys":[]}`),
		"no list":   raw(`{"keys":null}`),
		"a text":    raw(`{"keys":"none"}`),
		"an object": raw(`{"keys":{}}`),
		"error":     raw(`{"error":"server_error"}`),
		"truncated": edit(func(s string, _ *Fixture) string { return s[:len(s)-40] }),
		"two texts": edit(func(s string, _ *Fixture) string { return s + s }),
		"folded":    edit(func(s string, _ *Fixture) string { return strings.Replace(s, `"keys"`, `"Keys"`, 1) }),
		"twice": edit(func(s string, f *Fixture) string {
			return strings.TrimSuffix(s, "}") + `,"keys":[` + f.jwk(attacker).String() + `]}`
		}),
		"bad utf-8": edit(func(s string, _ *Fixture) string { return strings.Replace(s, `{`, "{\"x\":\"\xff\",", 1) }),
		"50 MiB":    func(f *Fixture) Document { d := f.Document(Default); d.Padding = 50 << 20; return d },
		"a million keys": func(f *Fixture) Document {
			return Document{Body: []byte(`{"keys":[` + strings.Repeat(`{"kty":"RSA"},`, 1_000_000) + f.jwk(k1).String() + `]}`)}
		},
		"redirect": func(f *Fixture) Document { return Document{Status: 302, Location: f.Listener + "/keys"} },

		"weak key":         beside(small),
		"exponent 1":       beside(lowExponent),
		"even exponent":    beside(foreign, jsonMember("e", encode([]byte{1, 0, 0})), bare),
		"other tenant":     beside(foreign, jsonMember("issuer", microsoft+otherTenant+"/v2.0")),
		"consumers' key":   beside(foreign, jsonMember("issuer", microsoft+consumers+"/v2.0")),
		"other cloud":      beside(foreign, issuer(func(f *Fixture) string { return "https://login.microsoftonline.us/" + f.Tenant + "/v2.0" })),
		"issuer of a list": beside(foreign, issuer(func(f *Fixture) []string { return []string{f.issuer2()} })),
		"template": func(f *Fixture) Document {
			return f.set(f.jwk(k1, jsonMember("issuer", microsoft+"{tenantid}/v2.0")), f.jwk(k2))
		},
		"key to encrypt":    beside(foreign, jsonMember("use", "enc")),
		"operations":        beside(foreign, jsonMember("key_ops", []string{"encrypt"}), without("use")),
		"other algorithm":   beside(foreign, jsonMember("alg", "RS512")),
		"key without kid":   beside(foreign, without("kid")),
		"key's kid is 1":    beside(foreign, jsonMember("kid", 1)),
		"kty in lower case": beside(foreign, jsonMember("kty", "rsa")),
		"certificate only":  beside(foreign, certificateOnly),
		"one id, two keys":  beside(attacker, sameID),
		"one id, first":     func(f *Fixture) Document { return f.set(f.jwk(attacker, sameID), f.jwk(k1), f.jwk(k2)) },
		"elliptic key":      beside(elliptic256),
		"symmetric key":     beside(symmetric),
		"rubbish beside": func(f *Fixture) Document {
			return f.set(f.jwk(k1), object{whole: new("null")}, object{whole: new("7")}, f.jwk(k2))
		},
		"only the weak": func(f *Fixture) Document { return f.set(f.jwk(small)) },
	}
}

// set is a JWK set (RFC 7517 section 5).
func (f *Fixture) set(keys ...object) Document {
	var b bytes.Buffer
	b.WriteString(`{"keys":[`)
	for i, key := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(f.fill(key.String()))
	}
	b.WriteString(`]}`)
	return Document{Body: b.Bytes()}
}

// secretKey are the bytes of the symmetric key that one document publishes.
const secretKey = "these 32 bytes are no secret!..."

// jwk is one key as the tenant's v2 document has it (RFC 7517 section 4, RFC 7518 section 6).
func (f *Fixture) jwk(name keyName, changes ...func(*object)) object {
	var o object
	o.set("use", "sig")
	o.set("kid", f.keys[name].id)
	switch name {
	case elliptic256:
		point := must(f.keys[name].private.Public().(interface{ Bytes() ([]byte, error) }).Bytes()) // 4, x, y
		o.set("kty", "EC")
		o.set("crv", "P-256")
		o.set("x", encode(point[1:33]))
		o.set("y", encode(point[33:]))
	case symmetric:
		o.set("kty", "oct")
		o.set("k", encode([]byte(secretKey)))
	default:
		o.set("kty", "RSA")
		if name == lowExponent {
			o.set("n", encode(f.rsa(k1).N.Bytes()))
			o.set("e", encode([]byte{1}))
			break
		}
		o.set("x5t", f.keys[name].id)
		o.set("n", encode(f.rsa(name).N.Bytes()))
		o.set("e", encode(big.NewInt(int64(f.rsa(name).E)).Bytes()))
		o.set("x5c", []string{f.certificate(name)})
	}
	o.set("issuer", "$iss2")
	for _, change := range changes {
		change(&o)
	}
	for i := range o.members {
		o.members[i].value = f.fill(o.members[i].value)
	}
	return o
}

func jsonMember(name string, value any) func(*object) { return func(o *object) { o.set(name, value) } }
func without(name string) func(*object)               { return func(o *object) { o.remove(name) } }

// issuer sets the property by which a key says whose tokens it signs, in words that fill knows.
func issuer[T any](of func(*Fixture) T) func(*object) {
	return jsonMember("issuer", of(&Fixture{Names: Names{Tenant: "$tenant"}}))
}

// sameID gives the key the id of the tenant's first.
func sameID(o *object) { o.set("kid", "$kid(k1)") }

// bare leaves the certificate out, which else would give away that the numbers are others.
func bare(o *object) { o.remove("x5c"); o.remove("x5t") }

// certificateOnly leaves out the numbers: who takes the key from x5c reads members that nobody checked.
func certificateOnly(o *object) { o.remove("n"); o.remove("e") }

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
