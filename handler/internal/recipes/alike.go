package recipes

import (
	"encoding/base64"
	"strings"
)

// alike are cases like the catalogue's: the rules are tried, not the list.
func alike() []Case {
	var all []Case
	for _, group := range [][]Case{algorithms(), signatures(), headers(), texts(), parts(), times(), issuers(), audiences(), principals(), own(), transport(), keySets()} {
		all = append(all, group...)
	}
	return all
}

func algorithms() []Case {
	hs := func(material func(*Fixture) []byte) change { return signed(keyed("HS256", material)) }
	return []Case{
		one("L001", "nOnE", 401, v2, alg("nOnE"), signed(unsigned)),
		one("L002", "none with a signature", 401, v2, alg("none")),
		one("L003", "none with a space behind it", 401, v2, alg("none "), signed(unsigned)),
		one("L004", "alg null", 401, v2, alg(""), header("alg", nil)),
		one("L005", "alg is a number", 401, v2, header("alg", 256)),
		one("L006", "alg is an object", 401, v2, header("alg", map[string]string{"name": "RS256"})),
		one("L007", "rs256", 401, v2, alg("rs256")),
		one("L008", "RS256 with a NUL behind it", 401, v2, alg("RS256\x00")),
		one("L009", "HS256 under PKCS#1 PEM", 401, v2, alg("HS256"), hs(pkcs1PEM)),
		one("L010", "HS256 under the modulus", 401, v2, alg("HS256"), hs(modulus)),
		one("L011", "HS256 under the keys document", 401, v2, alg("HS256"), hs(keyDocument)),
		one("L012", "HS256 under nothing", 401, v2, alg("HS256"), hs(literal(""))),
		one("L013", "HS256 under the tenant's id", 401, v2, alg("HS256"), hs(func(f *Fixture) []byte { return []byte(f.Tenant) })),
		one("L014", "HS256 under RS256's name", 401, v2, hs(spkiPEM)),
		one("L015", "PS256", 401, v2, alg("PS256"), with(k1, "PS256")),
		one("L016", "PS384", 401, v2, alg("PS384"), with(k1, "PS384")),
		one("L017", "RS1", 401, v2, alg("RS1"), with(k1, "RS1")),
		one("L018", "SHA-1 under RS256's name", 401, v2, with(k1, "RS1")),
		one("L019", "SHA-512 under RS256's name", 401, v2, with(k1, "RS512")),
		one("L020", "ES256 under an RSA key's id", 401, v2, alg("ES256"), with(elliptic256, "ES256")),
		one("L021", "an ES256 signature under RS256", 401, v2, with(elliptic256, "ES256")),
		one("L022", "an encryption's alg", 401, v2, alg("RSA-OAEP")),
	}
}

func signatures() []Case {
	change := func(f func([]byte) []byte) change { return signed(altered(f)) }
	return []Case{
		one("L030", "a zero before the signature", 401, v2, change(func(s []byte) []byte { return append([]byte{0}, s...) })),
		one("L031", "a zero behind the signature", 401, v2, change(func(s []byte) []byte { return append(s, 0) })),
		one("L032", "the signature twice", 401, v2, change(func(s []byte) []byte { return append(s, s...) })),
		one("L033", "the last bit of the signature", 401, v2, change(func(s []byte) []byte { s[len(s)-1] ^= 1; return s })),
		one("L034", "the signature plus the modulus", 401, v2, signed(plusModulus)),
		one("L035", "a digest without its name", 401, v2, signed(bareDigest)),
		one("L036", "the padded digest", 401, v2, signed(paddedDigest)),
		one("L037", "a signature of one", 401, v2, signed(func(*draft, string) []byte { return append(make([]byte, 255), 1) })),
		one("L038", "a signature of zeros, one byte", 401, v2, signed(zeros(1))),
		one("L039", "a signature of 8 KiB", 401, v2, signed(zeros(8<<10))),
		one("L040", "another token's signature", 401, v2, signed(ofAnother)),
		one("L041", "other claims under a good signature", 401, v2, parted(func(h, c, s string) string {
			return h + "." + encode([]byte(strings.Replace(decode(c), `"idtyp":"app"`, `"idtyp":"api"`, 1))) + "." + s
		})),
		one("L042", "another header under a good signature", 401, v2, parted(func(h, c, s string) string {
			return encode([]byte(strings.Replace(decode(h), `"typ":"JWT"`, `"typ":"at+jwt"`, 1))) + "." + c + "." + s
		})),
		one("L043", "claims and header have changed places", 401, v2, parted(func(h, c, s string) string { return c + "." + h + "." + s })),
		one("L044", "a stranger's key under a good id", 401, v2, with(attacker, "RS256")),
	}
}

func headers() []Case {
	extension := func(id, name string, value any) Case {
		return one(id, name+" in the header", 401, v2, header(name, value))
	}
	return []Case{
		extension("L050", "crit", []string{"exp"}),
		extension("L051", "crit", []string{}),
		extension("L052", "crit", nil),
		extension("L053", "b64", true),
		extension("L054", "b64", false),
		extension("L055", "jku", "$listener/keys"),
		extension("L056", "jku", "https://login.microsoftonline.com/$tenant/discovery/v2.0/keys"),
		extension("L057", "x5c", []string{}),
		extension("L058", "x5u", "file:///etc/passwd"),
		extension("L059", "cty", "JWT"),
		extension("L060", "enc", "A128GCM"),
		extension("L061", "epk", map[string]string{"kty": "EC"}),
		extension("L062", "p2c", 1_000_000),
		extension("L063", "nonce", nil),
		one("L064", "jwk of an attacker", 401, v2, foreignKey(func(d *draft) { k := d.f.jwk(attacker); d.header.set("jwk", text(k.String())) })),
		one("L065", "jwk of an attacker under a good id", 401, v2, with(attacker, "RS256"),
			func(d *draft) { k := d.f.jwk(attacker); d.header.set("jwk", text(k.String())) }),
		one("L066", "no kid", 401, v2, headerless("kid")),
		one("L067", "empty kid", 401, v2, header("kid", "")),
		one("L068", "kid null", 401, v2, header("kid", nil)),
		one("L069", "kid in a list", 401, v2, header("kid", []string{"$kid(k1)"})),
		one("L070", "kid and something behind it", 401, v2, header("kid", "$kid(k1) ")),
		one("L071", "kid with a NUL behind it", 401, v2, header("kid", "$kid(k1)\x00")),
		one("L072", "kid of 8 KiB", 401, v2, header("kid", strings.Repeat("k", 8<<10)), with(attacker, "RS256")),
		one("L073", "kid with a line break", 401, v2, header("kid", "a\r\nSet-Cookie: x=1"), with(attacker, "RS256")),
		one("L074", "kid is an address", 401, v2, header("kid", "$listener/keys"), with(attacker, "RS256")),
		one("L075", "x5t alone", 401, v1, headerless("kid")),
		one("L076", "typ of a proof", 401, v2, header("typ", "dpop+jwt")),
		one("L077", "typ of a logout token", 401, v2, header("typ", "logout+jwt")),
		one("L078", "typ of an encrypted token", 401, v2, header("typ", "JWE")),
		one("L079", "typ is a number", 401, v2, header("typ", 1)),
		one("L080", "typ at+jwt", 200, v2, header("typ", "at+jwt")),
	}
}

// texts are about JSON that two readers can read in two ways.
func texts() []Case {
	return []Case{
		one("L100", "evil aud first", 401, v2, claimBefore("aud", "api://evil")),
		one("L101", "the same aud twice", 401, v2, claimTwice("aud", "$audience")),
		one("L102", "exp twice", 401, v2, claimTwice("exp", 9999999999)),
		one("L103", "roles twice", 401, v2, claimBefore("roles", []string{})),
		one("L104", "aud and AUD", 401, v2, claimTwice("AUD", "api://evil")),
		one("L105", "oid and OID", 401, v2, claimBefore("OID", "$stranger")),
		one("L106", "an escaped name alone and the plain one", 401, v2, claimBefore(`\u0065x\u0070`, 1)),
		one("L107", "an escape in upper case", 401, v2, claimTwice(`ro\u006Ces`, []string{"$scope"})),
		one("L108", "a long s in iss", 401, v2, claimTwice("i\u017f\u017f", "x")),
		one("L109", "a Kelvin sign in kid", 401, v2, headerTwice("\u212aid", "x")),
		one("L110", "alg and ALG", 401, v2, headerTwice("ALG", "none")),
		one("L111", "none first, RS256 behind", 401, v2, headerBefore("alg", "none")),
		one("L112", "kid twice", 401, v2, headerTwice("kid", "$kid(k2)")),
		one("L113", "alg twice, one escaped", 401, v2, headerTwice(`\u0061lg`, "none")),
		one("L114", "ALG alone", 401, v2, headerRenamed("alg", "ALG")),
		one("L115", "Kid alone", 401, v2, headerRenamed("kid", "Kid")),
		one("L116", "a name twice, deep inside", 401, v2, claim("xms", text(`{"a":{"b":1,"b":2}}`))),
		one("L117", "two objects", 401, v2, claimsInside("", `{"roles":[]}`)),
		one("L118", "a byte order mark", 401, v2, claimsInside("\ufeff", "")),
		one("L119", "a comment", 401, v2, claimsInside("/* */", "")),
		one("L120", "a comma at the end", 401, v2, claim("x", text(`1,`))),
		one("L121", "apostrophes", 401, v2, claim("x", text(`'a'`))),
		one("L122", "a NUL behind the text", 401, v2, claimsInside("", "\x00")),
		one("L123", "a cut text", 401, v2, claimsAre(`{"aud":"$audience"`)),
		one("L124", "half of a surrogate", 401, v2, claim("oid", text(`"$object\ud800"`))),
		one("L125", "an overlong byte", 401, v2, claim("xms", text("\"\xc0\xaf\""))),
		one("L126", "invalid UTF-8 in a name", 401, v2, claimTwice("a\xff", 1)),
		one("L127", "invalid UTF-8 in the header", 401, v2, header("x", text("\"\xff\""))),
		one("L128", "a raw line break in a text", 401, v2, claim("xms", text("\"a\nb\""))),
		one("L129", "an escape that is none", 401, v2, claim("xms", text(`"\x41"`))),
		one("L130", "500 lists", 401, v2, nested(500)),
		one("L131", "500 lists in the header", 401, v2, header("z", text(strings.Repeat("[", 500)+strings.Repeat("]", 500)))),
		one("L132", "4,000 members", 401, v2, claim("z", text("[0"+strings.Repeat(",0", 4000)+"]"))).or(431),
		one("L133", "claims are a text", 401, v2, claimsAre(`"{}"`)),
		one("L134", "claims are true", 401, v2, claimsAre(`true`)),
		one("L135", "no claim at all", 401, v2, claimsAre(`{}`)),
		one("L136", "header is null", 401, v2, headerIs(`null`)),
		one("L137", "header is a list", 401, v2, headerIs(`[{"alg":"RS256","kid":"$kid(k1)"}]`)),
		one("L138", "header is empty", 401, v2, headerIs(``)),
		one("L139", "header is an empty object", 401, v2, headerIs(`{}`)),
		one("L140", "two objects in the header", 401, v2, headerInside("", `{"alg":"none"}`)),
		one("L141", "a number out of all range", 401, v2, claim("xms", text(`1e999`))),
		one("L142", "members named like an object's own", 200, v2, claim("__proto__", text(`{"roles":["$scope"]}`)), claim("constructor", 1)),
		one("L143", "the role inside of another claim", 403, v2, claim("roles", []string{}), claim("xms", text(`{"roles":["$scope"]}`))),
	}
}

func parts() []Case {
	return []Case{
		one("L150", "loose bits behind the claims", 401, v2, padded, parted(func(h, c, s string) string { return h + "." + loose(c) + "." + s })),
		one("L151", "padding behind the signature", 401, v2, parted(func(h, c, s string) string { return h + "." + c + "." + s + "==" })),
		one("L152", "padding behind the claims", 401, v2, padded, parted(func(h, c, s string) string { return h + "." + c + "==." + s })),
		one("L153", "the other base64", 401, v2, parted(func(h, c, s string) string {
			return h + "." + c + "." + strings.NewReplacer("-", "+", "_", "/").Replace(s) + "+"
		})),
		one("L154", "an escaped line break in the signature", 401, v2, parted(func(h, c, s string) string { return h + "." + c + "." + s[:40] + "%0A" + s[40:] })),
		one("L155", "a tab in the signature", 401, v2, parted(func(h, c, s string) string { return h + "." + c + "." + s[:40] + "\t" + s[40:] })).or(400),
		one("L156", "a letter that looks alike", 401, v2, parted(func(h, c, s string) string { return h + "." + c + "." + "\u0410" + s[1:] })).or(400).hosted(500),
		one("L157", "a dot before it", 401, v2, changed(func(t string) string { return "." + t })),
		one("L158", "a dot behind it", 401, v2, changed(func(t string) string { return t + "." })),
		one("L159", "two dots alone", 401, v2, changed(func(string) string { return ".." })),
		one("L160", "no dot", 401, v2, changed(func(t string) string { return strings.ReplaceAll(t, ".", "") })),
		one("L161", "no header", 401, v2, parted(func(_, c, s string) string { return "." + c + "." + s })),
		one("L162", "in quotes", 401, v2, changed(func(t string) string { return `"` + t + `"` })),
		one("L163", "twice, with a comma", 401, v2, changed(func(t string) string { return t + "," + t })),
		one("L164", "a comma behind it", 401, v2, changed(func(t string) string { return t + "," })),
		one("L165", "the middle dot of print", 401, v2, changed(func(t string) string { return strings.ReplaceAll(t, ".", "\u00b7") })).or(400).hosted(500),
		one("L166", "an opaque token", 401, v2, changed(func(string) string { return "EwBwA8l6BAAU" })),
		one("L167", "larger than a token is", 401, v2, claim("pad", strings.Repeat("x", 24<<10))).or(431),
	}
}

func times() []Case {
	exp := func(id, title, value string) Case { return one(id, title, 401, v2, claim("exp", text(value))) }
	return []Case{
		one("L170", "expired", 401, v2, date("exp", -3600), date("iat", -7200), date("nbf", -7200)),
		one("L171", "expired just now", 401, v2, date("exp", -65)),
		one("L172", "no exp", 401, v2, claimless("exp")),
		exp("L173", "exp is -1", "-1"),
		exp("L174", "exp is false", "false"),
		exp("L175", "exp in a list", "[9999999999]"),
		exp("L176", "exp is an object", `{"value":9999999999}`),
		exp("L177", "exp is empty", `""`),
		exp("L178", "exp is 1e300", "1e300"),
		exp("L179", "exp is 1e999", "1e999"),
		exp("L180", "exp is Infinity", "Infinity"),
		exp("L181", "exp has a plus", "+9999999999"),
		exp("L182", "exp has a zero in front", "09999999999"),
		exp("L183", "exp in sixteens", "0x7fffffff"),
		exp("L184", "exp is more than 64 bits", "18446744073709551616"),
		exp("L185", "exp wraps to the future", "-9223372036854775808"),
		exp("L186", "exp as a date", `"2099-01-01T00:00:00Z"`),
		one("L187", "29 hours", 401, v2, date("exp", 29*3600)),
		one("L188", "24 hours", 200, v2, date("exp", 24*3600)),
		one("L189", "nbf in an hour", 401, v2, date("nbf", 3600)),
		one("L190", "nbf within the leeway", 200, v2, date("nbf", 30)),
		one("L191", "nbf in quotes", 401, v2, claim("nbf", "0")),
		one("L192", "no iat", 401, v2, claimless("iat")),
		one("L193", "iat in quotes", 401, v2, claim("iat", "1")),
		one("L194", "iat 0", 401, v2, claim("iat", 0)),
		one("L195", "iat null", 401, v2, claim("iat", nil)),
		one("L196", "iat within the leeway", 200, v2, date("iat", 30)),
		one("L198", "nbf true", 401, v2, claim("nbf", true)),
	}
}

func issuers() []Case {
	iss := func(id, title, value string) Case { return one(id, title, 401, v2, claim("iss", value)) }
	return []Case{
		one("L200", "no iss", 401, v2, claimless("iss")),
		one("L201", "iss null", 401, v2, claim("iss", nil)),
		one("L202", "iss is a number", 401, v2, claim("iss", 1)),
		iss("L203", "empty iss", ""),
		iss("L204", "a slash behind iss", "$iss2/"),
		iss("L205", "iss in upper case", "HTTPS://LOGIN.MICROSOFTONLINE.COM/$tenant/v2.0"),
		iss("L206", "iss with its port", "https://login.microsoftonline.com:443/$tenant/v2.0"),
		iss("L207", "iss with a query", "$iss2?x"),
		iss("L208", "iss with a fragment", "$iss2#x"),
		iss("L209", "iss with a space behind it", "$iss2 "),
		iss("L210", "iss with a NUL behind it", "$iss2\x00"),
		iss("L211", "a user name before the host", "https://login.microsoftonline.com@evil.example/$tenant/v2.0"),
		iss("L212", "steps in the path", microsoft+otherTenant+"/../$tenant/v2.0"),
		iss("L213", "another tenant's", microsoft+otherTenant+"/v2.0"),
		iss("L214", "common", microsoft+"common/v2.0"),
		iss("L215", "another cloud's", "https://login.microsoftonline.us/$tenant/v2.0"),
		iss("L216", "the old name of the host", "https://login.windows.net/$tenant/"),
		iss("L217", "the address that keys come from", "$listener"),
		iss("L218", "ours", "$ourissuer"),
		one("L219", "another tenant, wholly", 401, v2, claim("iss", microsoft+otherTenant+"/v2.0"), claim("tid", otherTenant)),
		one("L220", "another tenant, v1", 401, v1, claim("iss", "https://sts.windows.net/"+otherTenant+"/"), claim("tid", otherTenant)),
		one("L221", "tid in a list", 401, v2, claim("tid", []string{"$tenant"})),
		one("L222", "tid null", 401, v2, claim("tid", nil)),
		one("L223", "tid with a space", 401, v2, claim("tid", "$tenant ")),
		one("L224", "no ver", 401, v2, claimless("ver")),
		one("L225", "ver is a number", 401, v2, claim("ver", text("2.0"))),
		one("L226", "ver 3.0", 401, v2, claim("ver", "3.0")),
		one("L227", "ver of v1 in v2", 401, v2, claim("ver", "1.0")),
		one("L228", "iss twice, one in another case", 401, v2, claimTwice("Iss", microsoft+otherTenant+"/v2.0")),
	}
}

func audiences() []Case {
	aud := func(id, title string, base base, value any) Case {
		return one(id, title, 401, base, claim("aud", value))
	}
	return []Case{
		one("L230", "v1 with the client id", 200, v1, claim("aud", "$audience")),
		aud("L231", "any", v2, "*"),
		aud("L232", "empty", v2, ""),
		aud("L233", "null", v2, nil),
		aud("L234", "a number", v2, 1),
		aud("L235", "an object", v2, map[string]bool{"$audience": true}),
		aud("L236", "a list in a list", v2, [][]string{{"$audience"}}),
		aud("L237", "two in one text", v2, "api://other $audience"),
		aud("L238", "with a comma", v2, "$audience,other"),
		aud("L239", "a space before it", v2, " $audience"),
		aud("L240", "a NUL behind it", v2, "$audience\x00"),
		aud("L241", "in braces", v2, "{$audience}"),
		aud("L242", "a list, v1", v1, []string{"api://$audience"}),
		aud("L243", "a slash behind it, v1", v1, "api://$audience/"),
		aud("L244", "a path behind it, v1", v1, "api://$audience/x"),
		aud("L245", "the scheme in upper case, v1", v1, "API://$audience"),
		aud("L246", "spn, v1", v1, "spn:$audience"),
		aud("L247", "storage", v1, "https://storage.azure.com"),
		aud("L248", "our own tokens'", v2, "$ouraudience"),
		aud("L249", "our issuer", v2, "$ourissuer"),
		aud("L250", "the caller itself", v2, thisClient),
	}
}

func principals() []Case {
	roles := func(id, title string, value any) Case {
		return one(id, title, 403, v2, claim("roles", value)).or(401)
	}
	return []Case{
		one("L260", "no idtyp, and sub is oid", 200, v2, claimless("idtyp")),
		one("L261", "no idtyp, and sub is another", 401, v2, claimless("idtyp"), claim("sub", "x")).or(403),
		one("L262", "idtyp App", 401, v2, claim("idtyp", "App")).or(403),
		one("L263", "idtyp in a list", 401, v2, claim("idtyp", []string{"app"})).or(403),
		one("L264", "idtyp user with roles alone", 401, v2, claim("idtyp", "user")).or(403),
		one("L265", "app and scp", 401, v2, claim("scp", "$scope"), claim("roles", []string{})).or(403),
		one("L266", "no oid", 401, v2, claimless("oid")),
		one("L267", "oid is a number", 401, v2, claim("oid", 1)),
		one("L268", "oid is a name", 401, v2, claim("oid", "admin"), claim("sub", "admin")),
		one("L269", "oid with a space", 401, v2, claim("oid", "$object ")),
		one("L270", "oid with a NUL", 401, v2, claim("oid", "$object\x00")),
		one("L271", "oid and another behind a slash", 401, v2, claim("oid", "$object/$object")),
		one("L272", "no azp", 401, v2, claimless("azp")),
		one("L273", "nobody registered, with the role", 403, v2, claim("oid", "$stranger"), claim("sub", "$stranger")),
		one("L274", "an administrator's name without roles", 403, v2, claimless("roles"), claim("preferred_username", "admin@example.org"),
			claim("upn", "admin@example.org"), claim("email", "admin@example.org"), claim("unique_name", "admin")),
		one("L275", "the role as groups", 403, v2, claimless("roles"), claim("groups", []string{"$scope"})),
		one("L276", "the role as scope", 403, v2, claimless("roles"), claim("scope", "$scope")),
		one("L277", "the role as role", 403, v2, claimless("roles"), claim("role", []string{"$scope"})),
		one("L278", "the role as another provider has it", 403, v2, claimless("roles"),
			claim("realm_access", text(`{"roles":["$scope"]}`)), claim("resource_access", text(`{"latchkey":{"roles":["$scope"]}}`))),
		one("L279", "roles and Roles", 401, v2, claim("roles", []string{}), claimTwice("Roles", []string{"$scope"})),
		roles("L280", "roles is a text", "$scope"),
		roles("L281", "roles is an object", map[string]bool{"$scope": true}),
		roles("L282", "roles is null", nil),
		roles("L283", "roles in a list", [][]string{{"$scope"}}),
		roles("L284", "roles with a number", []any{1, "$scope "}),
		roles("L285", "a space behind the role", []string{"$scope "}),
		roles("L286", "a NUL behind the role", []string{"$scope\x00"}),
		roles("L287", "more than the role", []string{"$scopeX"}),
		roles("L288", "the beginning of the role", []string{"write"}),
		roles("L289", "any role", []string{"*", "write:*", ".*", "%"}),
		roles("L290", "the role with a comma", []string{"$scope,x"}),
		roles("L291", "an empty role", []string{""}),
		one("L292", "the role among others", 200, v2, claim("roles", []string{"a", "$other", "$scope"})),
		one("L293", "a person with the role and scp", 403, v2, person("$scope")),
		one("L294", "a person who is registered, with scp", 403, v2, person("$scope"), claim("oid", "$object")),
	}
}

// own are about tokens of ours, on a route for Entra's callers.
func own() []Case {
	return []Case{
		one("L300", "a patient's token", 403, patients),
		one("L301", "a patient's token with the scope of the route", 403, patients, claim("scope", "$scope")),
		one("L302", "a patient's token with roles", 403, patients, claim("roles", []string{"$scope"})).or(401),
		one("L303", "expired", 401, patients, date("exp", -65)),
		one("L304", "none", 401, patients, alg("none"), signed(unsigned)),
		one("L305", "HS256", 401, patients, alg("HS256"), signed(keyed("HS256", literal("secret")))),
		one("L306", "RS256 under our key's id", 401, patients, alg("RS256"), with(attacker, "RS256")),
		one("L307", "another key of P-256", 401, patients, with(elliptic256, "ES256")),
		one("L308", "a signature of zeros", 401, patients, signed(zeros(64))),
		one("L309", "a signature in ASN.1", 401, patients, signed(asn1(ours))),
		one("L310", "a key of the tenant", 401, patients, kid(k1), alg("RS256"), with(k1, "RS256")),
		one("L311", "typ JWT", 401, patients, header("typ", "JWT")),
		one("L312", "another member in the header", 401, patients, header("x", 1)),
		one("L313", "another session", 401, patients, claim("sid", "AAAAAAAAAAAAAAAAAAAAAA")),
		one("L314", "no session", 401, patients, claimless("sid")),
		one("L315", "no jti", 401, patients, claimless("jti")),
		one("L316", "aud of the API", 401, patients, claim("aud", "$audience")),
		one("L317", "aud is a list", 401, patients, claim("aud", []string{"$ouraudience"})),
		one("L318", "another's name in metadata", 401, patients, claim("metadata", map[string]string{"patient_id": "x"})),
		one("L319", "another patient", 401, patients, claim("sub", "x"), claim("metadata", map[string]string{"patient_id": "x"})),
		one("L320", "of nobody's kind", 401, patients, claim("client_id", "latchkey-admin")),
		one("L321", "a slash behind iss", 401, patients, claim("iss", "$ourissuer/")),
		one("L322", "iss twice", 401, patients, claimTwice("iss", "$iss2")),
		one("L323", "kid of the tenant's", 401, patients, kid(k1)),
		one("L324", "no kid", 401, patients, headerless("kid")),
		one("L325", "with x5c", 401, patients, header("x5c", []string{"AA=="})),
		one("L326", "the tenant's iss under our key", 401, v2, kid(ours), alg("RS256"), with(attacker, "RS256")),
		one("L327", "loose bits", 401, patients, parted(func(h, c, s string) string { return h + "." + c + "." + loose(s) })),
	}
}

func transport() []Case {
	principal := base64Of(`{"auth_typ":"aad","name_typ":"name","role_typ":"roles","claims":[{"typ":"roles","val":"write:gdm_activation"}]}`)
	anonymous := func(id, title string, status int, more ...change) Case {
		return one(id, title, status, v2, append([]change{nowhere}, more...)...)
	}
	field := func(id, name, value string) Case { return anonymous(id, "in "+name, 401, field(name, value)) }
	return []Case{
		one("L330", "BEARER", 200, v2, as("BEARER $token")),
		one("L331", "two fields, good and bad", 401, v2, as("Bearer $token", "Bearer x")).or(400),
		one("L332", "two fields, bad and good", 401, v2, as("Bearer x", "Bearer $token")).or(400),
		one("L333", "two fields, both good", 401, v2, as("Bearer $token", "Bearer $token")).or(400),
		one("L334", "Basic and Bearer", 401, v2, as("Basic eDp4", "Bearer $token")).or(400),
		one("L335", "both good in one field", 401, v2, as("Bearer $token, Bearer $token")),
		one("L336", "Basic and Bearer in one field", 401, v2, as("Basic eDp4, Bearer $token")),
		one("L337", "a tab", 401, v2, as("Bearer\t$token")).or(400),
		one("L338", "no space", 401, v2, as("Bearer$token")),
		one("L339", "a colon", 401, v2, as("Bearer: $token")),
		one("L340", "the scheme twice", 401, v2, as("Bearer Bearer $token")),
		one("L341", "no scheme", 401, v2, as("$token")),
		one("L342", "the scheme alone", 401, v2, as("Bearer")),
		one("L343", "an empty field", 401, v2, as("")),
		one("L344", "JWT", 401, v2, as("JWT $token")),
		one("L345", "DPoP", 401, v2, as("DPoP $token")),
		one("L346", "Bearers", 401, v2, as("Bearers $token")),
		one("L347", "an escaped space", 401, v2, as("Bearer%20$token")),
		one("L348", "a space that does not break", 401, v2, as("Bearer\u00a0$token")).or(400).hosted(500),
		one("L349", "a parameter behind it", 401, v2, as("Bearer $token; x=1")),
		one("L350", "a word behind it", 401, v2, as("Bearer $token x")),
		one("L351", "a named parameter", 401, v2, as(`Bearer token="$token"`)),
		field("L352", "Cookie", "access_token=$token; Authorization=Bearer $token"),
		field("L353", "Proxy-Authorization", "Bearer $token"),
		field("L354", "X-Authorization", "Bearer $token"),
		field("L355", "X-Forwarded-Authorization", "Bearer $token"),
		field("L356", "X-Access-Token", "$token"),
		field("L357", "X-MS-TOKEN-AAD-ACCESS-TOKEN", "$token"),
		field("L358", "X-ZUMO-AUTH", "$token"),
		field("L359", "X-MS-CLIENT-PRINCIPAL", principal),
		anonymous("L360", "a forged principal", 401, func(d *draft) {
			for name, value := range map[string]string{
				"X-MS-CLIENT-PRINCIPAL": principal, "X-MS-CLIENT-PRINCIPAL-ID": "$object", "X-MS-CLIENT-PRINCIPAL-NAME": "admin", "X-MS-CLIENT-PRINCIPAL-IDP": "aad",
			} {
				sent(func(r *Request) { r.Fields = append(r.Fields, Field{name, value}) })(d)
			}
		}),
		one("L361", "a forged principal and a token without roles", 403, v2, claimless("roles"),
			sent(func(r *Request) { r.Fields = append(r.Fields, Field{"X-MS-CLIENT-PRINCIPAL", principal}) })),
		field("L362", "x-functions-key", "master"),
		field("L363", "X-HTTP-Method-Override", "GET"),
		field("L364", "X-Forwarded-User", "admin"),
		field("L365", "X-Original-Method", "OPTIONS"),
		field("L366", "Forwarded", "for=127.0.0.1;host=localhost"),
		field("L367", "Authorization-Info", "Bearer $token"),
		field("L368", "X-ARR-ClientCert", "MIIB"),
		anonymous("L369", "in the query, by another name", 401, query("authorization=Bearer%20$token")),
		anonymous("L370", "a key of functions in the query", 401, query("code=master")),
		anonymous("L371", "in the query as bearer_token", 401, query("bearer_token=$token")),
		one("L372", "in query and field", 400, v2, query("access_token=$token")),
		anonymous("L373", "spellings of a route", 401, paths("/dhos/v1/patient/p/%61ctivation", "/DHOS/v1/patient/p/activation", "//dhos/v1/patient/p/activation",
			"/dhos//v1/patient/p/activation", "/dhos/v1/patient/p/activation/", "/dhos/v1/patient/p/activation;x=1", "/dhos/v1/patient/p/./activation",
			"/dhos/v1/patient/q/../p/activation", "/running/../dhos/v1/patient/p/activation", "/dhos/v1/patient/p/activation%00",
			"/dhos/v1/patient/p/activation%2f", "/dhos\\v1\\patient\\p\\activation", "/dhos/v1/patient/p/activation?x#y", "/api/dhos/v1/patient/p/activation")).
			or(301, 307, 308, 400, 404, 405),
	}
}

func keySets() []Case {
	forbidden := func(id, document string) Case {
		return one(id, "a key in "+document, 401, v2, kid(foreign), with(foreign, "RS256")).on(document)
	}
	cold := func(id, document string) Case { return one(id, "keys: "+document, 503, v2).on(document) }
	warm := func(id, document string) Case {
		return one(id, "keys were good, and are: "+document, 200, v2).warm().on(document)
	}
	return []Case{
		forbidden("L400", "other cloud"),
		forbidden("L401", "issuer of a list"),
		forbidden("L402", "key to encrypt"),
		forbidden("L403", "even exponent"),
		forbidden("L404", "kty in lower case"),
		forbidden("L405", "certificate only"),
		one("L406", "a key without an id, and a token without one", 401, v2, headerless("kid"), with(foreign, "RS256")).on("key without kid"),
		one("L407", "a key with a number for an id", 401, v2, header("kid", "1"), with(foreign, "RS256")).on("key's kid is 1"),
		one("L408", "two keys under one id, the evil one first", 401, v2, with(attacker, "RS256")).on("one id, first"),
		one("L409", "beside two keys under one id", 200, v2, kid(k2), with(k2, "RS256")).on("one id, two keys"),
		one("L410", "ES256 by an elliptic key of the set", 401, v2, kid(elliptic256), alg("ES256"), with(elliptic256, "ES256")).on("elliptic key"),
		one("L411", "RS256 by an elliptic key's id", 401, v2, kid(elliptic256)).on("elliptic key"),
		one("L412", "HS256 by a symmetric key of the set", 401, v2, kid(symmetric), alg("HS256"), signed(keyed("HS256", literal(secretKey)))).on("symmetric key"),
		one("L413", "a good key beside rubbish", 200, v2).on("rubbish beside"),
		one("L414", "a good key beside a weak one", 200, v2).on("weak key"),
		one("L415", "a good key beside another tenant's", 200, v2).on("other tenant"),
		one("L416", "nothing but a weak key", 503, v2, kid(small), with(small, "RS256")).or(401).on("only the weak"),
		cold("L420", "down"), cold("L421", "missing"), cold("L422", "html"), cold("L423", "nothing"), cold("L424", "null"), cold("L425", "list"),
		cold("L426", "object"), cold("L427", "empty"), cold("L428", "no list"), cold("L429", "a text"), cold("L430", "an object"),
		cold("L431", "error"), cold("L432", "truncated"), cold("L433", "50 MiB"), cold("L434", "a million keys"), cold("L435", "redirect"),
		one("L436", "the evil set behind the good one", 503, v2, kid(attacker), with(attacker, "RS256")).or(401).on("twice"),
		cold("L437", "two texts"), cold("L438", "bad utf-8"), cold("L439", "partial"), cold("L440", "folded"),
		warm("L450", "missing"), warm("L451", "object"), warm("L452", "null"), warm("L453", "truncated"), warm("L454", "50 MiB"),
		warm("L455", "redirect"), warm("L456", "no list"), warm("L457", Hanging), warm("L458", "twice"), warm("L459", "only the weak"),
	}
}

func decode(part string) string { return string(must(base64.RawURLEncoding.DecodeString(part))) }
