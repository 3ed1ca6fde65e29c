package recipes

import (
	"fmt"
	"strings"
)

// catalogue are the cases of the project's catalogue of attacks, under its ids.
func catalogue() []Case {
	all := []Case{
		one("J001", "v2", 200, v2),
		one("J002", "v1", 200, v1),
		one("J003", "the second key", 200, v2, kid(k2), with(k2, "RS256")),
		one("J004", "claims that nobody knows", 200, v1, claim("xms_new", text(`{"a":[1,2]}`)), claim("rh", "0.A")),
		one("J005", "the scheme in lower case", 200, v2, as("bearer $token")),
		one("J006", "a device's own token", 200, devices).device(),

		one("J007", "none", 401, v2, alg("none"), signed(unsigned)),
		one("J008", "None", 401, v2, alg("None"), signed(unsigned)),
		one("J009", "NONE", 401, v2, alg("NONE"), signed(unsigned)),
		one("J012", "no alg", 401, v2, headerless("alg")),
		one("J013", "empty alg", 401, v2, alg(""), signed(unsigned)),
		one("J014", "alg in a list", 401, v2, header("alg", []string{"RS256"})),
		one("J017", "HS256 under the public key, PEM", 401, v2, alg("HS256"), signed(keyed("HS256", spkiBare))),
		one("J018", "HS256 under the public key, PEM with its last line break", 401, v2, alg("HS256"), signed(keyed("HS256", spkiPEM))),
		one("J019", "HS256 under the public key, DER", 401, v2, alg("HS256"), signed(keyed("HS256", spkiDER))),
		one("J022", "HS256 under the modulus in base64url", 401, v2, alg("HS256"), signed(keyed("HS256", modulusText))),
		one("J023", "HS256 under the certificate", 401, v2, alg("HS256"), signed(keyed("HS256", certificatePEM))),
		one("J024", "HS512 under the public key", 401, v2, alg("HS512"), signed(keyed("HS512", spkiBare))),
		one("J027", "HS512 under a secret of the predecessor", 401, patients, alg("HS512"), signed(keyed("HS512", literal("secret")))).device(),
		one("J028", "RS384", 401, v2, alg("RS384"), with(k1, "RS384")),
		one("J029", "RS512", 401, v2, alg("RS512"), with(k1, "RS512")),
		one("J032", "PS512", 401, v2, alg("PS512"), with(k1, "PS512")),
		one("J033", "a PSS signature under RS256", 401, v2, with(k1, "PS256")),
		one("J034", "a PKCS1 signature under PS256", 401, v2, alg("PS256"), with(k1, "RS256")),
		one("J037", "EdDSA under an RSA key's id", 401, v2, alg("EdDSA"), with(edwards, "EdDSA")),

		one("J038", "one bit of the signature", 401, v2, signed(altered(func(s []byte) []byte { s[9] ^= 1; return s }))),
		one("J039", "a byte of the signature is missing", 401, v2, signed(altered(func(s []byte) []byte { return s[:len(s)-1] }))),
		one("J042", "a signature of zeros", 401, v2, signed(zeros(256))),
		one("J043", "an empty signature", 401, v2, signed(unsigned)),
		one("J044", "no third part", 401, v2, parted(func(h, c, _ string) string { return h + "." + c })),
		one("J047", "the other key's signature", 401, v2, with(k2, "RS256")),
		one("J048", "a published key of 1024 bits", 401, v2, kid(small), with(small, "RS256")).on("weak key"),
		one("J049", "a published key with exponent 1", 401, v2, kid(lowExponent), signed(paddedDigest)).on("exponent 1"),

		one("J052", "jku with the trusted host as a user name", 401, v2, foreignKey(header("jku", microsoft[:len(microsoft)-1]+"@$listening/keys"))),
		one("J053", "x5u", 401, v2, foreignKey(header("x5u", "$listener/c.pem"))),
		one("J054", "x5c", 401, v2, foreignKey(func(d *draft) { d.header.set("x5c", []string{d.f.certificate(attacker)}) })),
		one("J057", "an unknown kid and a good signature", 401, v2, header("kid", "nope")),
		one("J058", "a path as kid", 401, v2, header("kid", "../../../../dev/null"), alg("HS256"), signed(keyed("HS256", literal("\x00")))),
		one("J059", "a query as kid", 401, v2, header("kid", "x' UNION SELECT 'secret';--"), alg("HS256"), signed(keyed("HS256", literal("secret")))),
		one("J062", "a number as kid", 401, v2, header("kid", 1), with(attacker, "RS256")),
		one("J063", "an object as kid", 401, v2, header("kid", text(`{"$ne":""}`)), with(attacker, "RS256")),
		one("J064", "500 kids", 401, v2, random, with(attacker, "RS256")).times(500),
		one("J067", "zip", 401, v2, header("zip", "DEF")),
		one("J068", "a token of Microsoft Graph's", 401, v1, lookalike),
		one("J069", "a nonce in the header", 401, v1, header("nonce", "abc")),

		one("J072", "two parts", 401, v2, parted(func(h, c, _ string) string { return h + "." + c })),
		one("J073", "four parts", 401, v2, changed(func(token string) string { return token + ".AAAA" })),
		one("J074", "five parts, as JWE", 401, v2, jwe),
		one("J077", "30,000 dots", 401, v2, changed(func(string) string { return strings.Repeat(".", 30000) })).or(431),
		one("J078", "flattened JSON", 401, v2, parted(func(h, c, s string) string {
			return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, h, c, s)
		})),
		one("J079", "general JSON", 401, v2, parted(func(h, c, s string) string {
			one := fmt.Sprintf(`{"protected":%q,"signature":%q}`, h, s)
			return fmt.Sprintf(`{"payload":%q,"signatures":[%s,%s]}`, c, one, one)
		})),
		one("J082", "loose bits behind the signature", 401, v2, parted(func(h, c, s string) string { return h + "." + c + "." + loose(s) })),
		one("J083", "a space in the claims", 401, v2, parted(func(h, c, s string) string { return h + "." + c[:8] + " " + c[8:] + "." + s })).or(400),
		one("J084", "escaped dots", 401, v2, changed(func(token string) string { return strings.ReplaceAll(token, ".", "%2E") })),
		one("J087", "claims in a list", 401, v2, claimsAre(`[{"aud":"$audience"}]`)),
		one("J088", "claims are null", 401, v2, claimsAre(`null`)),
		one("J089", "no claims", 401, v2, claimsAre(``)),
		one("J092", "invalid UTF-8", 401, v2, claim("oid", text("\"\xff\xfe\""))),
		one("J093", "100,000 lists", 401, v2, nested(100_000)).or(431, 400),
		one("J094", "aud twice", 401, v2, claimTwice("aud", "api://evil")),
		one("J097", "names in other cases", 401, v2, renamed("aud", "Aud"), renamed("oid", "OID"), renamed("tid", "Tid")),
		one("J098", "alg twice", 401, v2, headerTwice("alg", "none"), signed(unsigned)),
		one("J099", "an escaped name", 401, v2, claimTwice(`\u0061ud`, "api://evil")),

		one("J102", "exp in quotes", 401, v2, dated("exp", func(now int64) any { return fmt.Sprint(now + 3600) })),
		one("J103", "exp null", 401, v2, claim("exp", nil)),
		one("J104", "exp 0", 401, v2, claim("exp", 0)),
		one("J107", "the largest exp", 401, v2, claim("exp", text("9223372036854775807"))),
		one("J108", "exp in milliseconds", 401, v2, dated("exp", func(now int64) any { return (now + 3600) * 1000 })),
		one("J109", "exp true", 401, v2, claim("exp", true)),
		one("J112", "iat tomorrow", 401, v2, date("iat", 86400)),
		one("J113", "expired within the leeway", 200, v2, date("exp", -10)),
		one("J114", "exp NaN", 401, v2, claim("exp", text("NaN"))),

		one("J117", "another tid", 401, v2, claim("tid", otherTenant)),
		one("J118", "no tid", 401, v2, claimless("tid")),
		one("J119", "tid in upper case", 401, v2, claim("tid", "$TENANT")),
		one("J122", "iss in a list", 401, v2, claim("iss", []string{"$iss2"})),
		one("J123", "the beginning of iss", 401, v2, claim("iss", microsoft)),
		one("J124", "the template of iss", 401, v2, claim("iss", microsoft+"{tenantid}/v2.0")),
		one("J127", "iss of v1 without its slash", 401, v1, claim("iss", "https://sts.windows.net/$tenant")),
		one("J128", "iss by http", 401, v2, claim("iss", "http://login.microsoftonline.com/$tenant/v2.0")),
		one("J129", "a host that looks alike", 401, v2, claim("iss", "https://login.microsoftonline.com.evil.example/$tenant/v2.0")),
		one("J132", "personal accounts", 401, v2, claim("iss", microsoft+consumers+"/v2.0"), claim("tid", consumers)),
		one("J133", "v2 with the issuer of v1", 401, v2, claim("iss", "$iss1")),
		one("J134", "v1 with the issuer of v2", 401, v1, claim("iss", "$iss2")),

		one("J137", "another tenant's key", 401, v2, kid(foreign), with(foreign, "RS256")).on("other tenant"),
		one("J138", "the key of personal accounts", 401, v2, kid(foreign), with(foreign, "RS256")).on("consumers' key"),
		one("J139", "the template as the key's issuer", 200, v2).on("template"),
		one("J142", "a key for other operations", 401, v2, kid(foreign), with(foreign, "RS256")).on("operations"),
		one("J143", "a key for another algorithm", 401, v2, kid(foreign), with(foreign, "RS256")).on("other algorithm"),
		one("J144", "two keys under one id", 401, v2, with(attacker, "RS256")).on("one id, two keys"),

		one("J147", "no aud", 401, v2, claimless("aud")),
		one("J148", "another API's aud", 401, v2, claim("aud", "00000000-dead-4000-8000-000000000001")),
		one("J149", "aud of Microsoft Graph", 401, v2, claim("aud", "00000003-0000-0000-c000-000000000000")),
		one("J152", "aud is an empty list", 401, v2, claim("aud", []string{})),
		one("J153", "aud is a list of two", 401, v2, claim("aud", []string{"$audience", "api://other"})),
		one("J154", "aud is a list of one", 401, v2, claim("aud", []string{"$audience"})),
		one("J157", "aud and something behind it", 401, v2, claim("aud", "$audience.evil")),
		one("J158", "aud in upper case", 401, v2, claim("aud", "$AUDIENCE")),
		one("J159", "the URI as aud of v2", 401, v2, claim("aud", "api://$audience")),

		one("J162", "empty oid", 403, v2, claim("oid", ""), claim("sub", "")).or(401),
		one("J163", "oid in a list", 401, v2, claim("oid", []string{"$object"})).or(403),
		one("J164", "a person of another client", 403, v2, person("user_impersonation"), claim("azp", otherClient)),
		one("J167", "the scope in scp", 403, v2, claim("scp", "$scope"), claimless("roles")),
		one("J168", "no roles", 403, v2, claimless("roles")),
		one("J169", "empty roles", 403, v2, claim("roles", []string{})),
		one("J172", "the role in another case", 403, v2, claim("roles", []string{"$SCOPE"})),
		one("J173", "the role between others in one text", 403, v2, claim("roles", []string{"x $scope y"})),
		one("J174", "a global administrator", 403, v2, claim("wids", []string{globalAdmins}), claimless("roles")),
		one("J177", "a public client", 403, v2, person("x"), claim("azpacr", "0")),
		one("J178", "an ID token", 401, v2, claim("nonce", "n1"), claim("idtyp", "user"), claim("oid", "$stranger"), claim("sub", "x"), claimless("roles", "azp")).or(403),
		one("J179", "the role of another route", 403, v2, claim("roles", []string{"$other"})),

		one("J182", "a patient on a device's route", 403, patients).device(),
		one("J183", "a device without scopes", 403, devices, claimless("scope")).device(),
		one("J184", "a device's scopes in a list", 403, devices, claim("scope", []string{"read:send_entry_identifier"})).or(401).device(),
		one("J187", "Entra's claims under our key", 401, v2, kid(ours), alg("ES256"), with(ours, "ES256")),
		one("J188", "a device's token, expired", 401, devices, date("exp", -65)).device(),
		one("J189", "a device that was ended", 403, devices, claim("sid", "ended-ended-ended-ended")).or(401).device(),

		one("J192", "no Authorization", 401, v2, nowhere),
		one("J193", "an empty Bearer", 401, v2, as("Bearer ")),
		one("J194", "Basic", 401, v2, as("Basic $token")),
		one("J197", "two in one field", 401, v2, as("Bearer $token, Bearer x")),
		one("J198", "in the query", 401, v2, nowhere, query("access_token=$token")),
		one("J199", "in a form", 401, v2, nowhere, form("access_token=$token")),
		one("J202", "other paths in fields", 401, v2, nowhere,
			field("X-Original-URL", "/running"), field("X-Rewrite-URL", "/running"), field("X-Forwarded-Prefix", "/running")),
		one("J203", "other spellings of the path", 401, v2, nowhere, paths("/dhos/v1/%64evice", "//dhos/v1/device", "/dhos/v1/device/.", "/dhos/v1/x/../device")).
			or(301, 307, 308, 400, 404),
		one("J204", "without a token, behind the host", 401, v2, nowhere).behind(),

		one("J207", "the keys are gone", 200, v2).warm().on("down"),
		one("J208", "the keys are a page", 200, v2).warm().on("html"),
		one("J209", "the keys are none", 200, v2).warm().on("empty"),
		one("J212", "the keys do not come", 503, v2).on(Hanging).times(200),
		one("J213", "a third key has come", 200, v2, kid(k3), with(k3, "RS256")).warm().on(Rotated),
	}
	return all
}

// foreignKey is a key that the token brings along.
func foreignKey(how change) change {
	return func(d *draft) {
		d.header.set("kid", "att")
		d.sign = by(attacker, "RS256")
		how(d)
	}
}

// person makes a delegated token of somebody who is not registered.
func person(scp string) change {
	return func(d *draft) {
		for name, value := range map[string]string{"idtyp": "user", "scp": scp, "oid": "$stranger", "sub": "x"} {
			d.claims.set(name, value)
		}
	}
}

// jwe looks like an encrypted token with a key of its own (RFC 7516 section 7.1).
func jwe(d *draft) {
	parted(func(_, claims, _ string) string {
		return encode([]byte(`{"alg":"dir","enc":"A256GCM"}`)) + ".." + encode(make([]byte, 12)) + "." + claims + "." + encode(make([]byte, 16))
	})(d)
}
