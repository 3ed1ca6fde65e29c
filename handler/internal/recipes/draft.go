package recipes

import (
	"strings"
	"time"
)

// draft is a token in the making, and the request around it.
type draft struct {
	f              *Fixture
	now            time.Time
	header, claims object
	sign           signing
	after          []func(string) string // changes to the finished text
	request        []func(*Request)      // changes to the request that carries it
}

// change is one thing about a good request that is not as it should be. Texts in it may hold the names that Fixture.fill knows.
type change func(d *draft)

// base begins a draft that nothing is wrong with.
type base func(d *draft)

// v2 and v1 are app-only tokens as Entra ID makes them (Microsoft, "Access token claims reference").
func v2(d *draft) {
	d.header.set("typ", "JWT")
	d.header.set("alg", "RS256")
	d.header.set("kid", "$kid(k1)")
	d.entra("$audience", "$iss2")
	d.claims.set("azp", thisClient)
	d.claims.set("azpacr", "2")
	d.claims.set("ver", "2.0")
	d.sign = by(k1, "RS256")
}

func v1(d *draft) {
	v2(d)
	d.header.set("x5t", "$kid(k1)")
	d.claims.set("aud", "api://$audience")
	d.claims.set("iss", "$iss1")
	d.claims.set("idp", "$iss1")
	d.claims.rename("azp", "appid")
	d.claims.rename("azpacr", "appidacr")
	d.claims.set("ver", "1.0")
}

func (d *draft) entra(audience, issuer string) {
	d.claims.set("aud", audience)
	d.claims.set("iss", issuer)
	d.claims.set("iat", d.at(-5))
	d.claims.set("nbf", d.at(-5))
	d.claims.set("exp", d.at(3600))
	d.claims.set("aio", "E2")
	d.claims.set("idtyp", "app")
	d.claims.set("oid", "$object")
	d.claims.set("roles", []string{"$scope"})
	d.claims.set("sub", "$object")
	d.claims.set("tid", "$tenant")
	d.claims.set("uti", "u1")
}

// patients is a token of ours as it is minted (RFC 9068, model.md section 4), of a patient with a session.
func patients(d *draft) {
	d.header.set("alg", "ES256")
	d.header.set("kid", "$kid(ours)")
	d.header.set("typ", "at+jwt")
	for _, m := range []struct {
		name  string
		value any
	}{
		{"aud", "$ouraudience"}, {"client_id", "latchkey-patient"}, {"exp", d.at(900)}, {"iat", d.at(-5)}, {"iss", "$ourissuer"},
		{"jti", "$jti"}, {"metadata", map[string]string{"patient_id": "$patient"}}, {"nbf", d.at(-5)},
		{"scope", "read:gdm_patient_abbreviated write:gdm_message"}, {"sid", "$session"}, {"sub", "$patient"},
	} {
		d.claims.set(m.name, m.value)
	}
	d.sign = by(ours, "ES256")
}

// devices is the same of a device.
func devices(d *draft) {
	patients(d)
	d.claims.set("client_id", "latchkey-device")
	d.claims.set("jti", "$devicetoken")
	d.claims.set("metadata", map[string]string{"device_id": "$device"})
	d.claims.set("sid", "$devicesession")
	d.claims.set("sub", "$device")
	d.claims.set("scope", "read:send_entry_identifier read:send_device")
}

// at is a NumericDate so many seconds from now.
func (d *draft) at(seconds int64) int64 { return d.now.Unix() + seconds }

// token writes header, claims and signature in the compact form of RFC 7515 section 7.1.
func (d *draft) token() string {
	input := encode([]byte(d.f.fill(d.header.String()))) + "." + encode([]byte(d.f.fill(d.claims.String())))
	token := input + "." + encode(d.sign(d, input))
	for _, change := range d.after {
		token = change(token)
	}
	return token
}

// Changes of header and claims.

func header(name string, value any) change { return func(d *draft) { d.header.set(name, value) } }
func claim(name string, value any) change  { return func(d *draft) { d.claims.set(name, value) } }
func alg(name string) change               { return header("alg", name) }
func kid(name keyName) change              { return header("kid", "$kid("+string(name)+")") }
func headerless(name string) change        { return func(d *draft) { d.header.remove(name) } }

func claimless(names ...string) change {
	return func(d *draft) {
		for _, name := range names {
			d.claims.remove(name)
		}
	}
}

// date sets a claim to so many seconds from now.
func date(name string, seconds int64) change {
	return func(d *draft) { d.claims.set(name, d.at(seconds)) }
}

// dated sets a claim to what is made of now.
func dated(name string, value func(now int64) any) change {
	return func(d *draft) { d.claims.set(name, value(d.now.Unix())) }
}

func headerTwice(name string, value any) change {
	return func(d *draft) { d.header.append(name, value) }
}
func headerBefore(name string, value any) change {
	return func(d *draft) { d.header.prepend(name, value) }
}
func claimTwice(name string, value any) change {
	return func(d *draft) { d.claims.append(name, value) }
}
func claimBefore(name string, value any) change {
	return func(d *draft) { d.claims.prepend(name, value) }
}
func renamed(from, to string) change   { return func(d *draft) { d.claims.rename(from, to) } }
func headerRenamed(a, b string) change { return func(d *draft) { d.header.rename(a, b) } }
func headerIs(json string) change      { return func(d *draft) { d.header.whole = &json } }
func claimsAre(json string) change     { return func(d *draft) { d.claims.whole = &json } }
func headerInside(a, b string) change {
	return func(d *draft) { s := a + d.header.String() + b; d.header.whole = &s }
}
func claimsInside(a, b string) change {
	return func(d *draft) { s := a + d.claims.String() + b; d.claims.whole = &s }
}
func signed(how signing) change          { return func(d *draft) { d.sign = how } }
func with(name keyName, a string) change { return signed(by(name, a)) }

// random sets the kid to one that nobody has had.
func random(d *draft) { d.header.set("kid", must(randomText())) }

// nested is a claim of n lists in each other.
func nested(n int) change {
	return claim("z", text(strings.Repeat("[", n)+strings.Repeat("]", n)))
}

// lookalike is a token as Microsoft Graph's: the signature is over a header with the hash of the nonce in it.
func lookalike(d *draft) {
	d.header.set("nonce", "abc")
	d.sign = func(d *draft, input string) []byte {
		hashed := draft{f: d.f, header: object{members: append([]member(nil), d.header.members...)}}
		_, sum := digestOf("RS256", "abc")
		hashed.header.set("nonce", encode(sum))
		_, claims, _ := strings.Cut(input, ".")
		return by(k1, "RS256")(d, encode([]byte(d.f.fill(hashed.header.String())))+"."+claims)
	}
}

// changed are changes of the finished text.
func changed(f func(token string) string) change {
	return func(d *draft) { d.after = append(d.after, f) }
}

// parted is changed for the three parts.
func parted(f func(header, claims, signature string) string) change {
	return changed(func(token string) string {
		p := strings.SplitN(token, ".", 3)
		return f(p[0], p[1], p[2])
	})
}

// loose sets bits that the last character of a part has and no byte (RFC 4648 section 3.5). Parts without such bits get them
// from padded.
func loose(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(part)%4 == 0 {
		panic("this part has no loose bits: pad its JSON") // a mistake in the table
	}
	last := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + alphabet[last+1:last+2]
}

// padded makes the claims one byte longer than a whole number of groups, so that their last character has loose bits.
func padded(d *draft) {
	d.claims.set("pad", "")
	n := len(d.f.fill(d.claims.String()))
	d.claims.set("pad", strings.Repeat("x", (4-n%3)%3))
}
