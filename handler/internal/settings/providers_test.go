package settings

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"latchkey/handler/internal/caller"
)

func path(t *testing.T, text string) caller.Path {
	t.Helper()
	p, err := caller.ParsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAUT1_ProvidersAreRead(t *testing.T) {
	s := mustLoad(t, with(map[string]string{"Identity__Providers": `[
		{"issuer": "https://idp.example.org/realms/nhs", "audiences": ["latchkey", "api://x"], "algorithms": ["ES256", "PS256"],
		 "roles": "resource_access.latchkey.roles", "scopes": "scope", "keysUrl": "https://idp.example.org/keys?x=1"},
		{"issuer": "https://tenant.auth.example/", "audiences": ["latchkey"], "roles": "/https:~1~1x.example~1roles"}
	]`}))
	want := []Provider{
		{
			Issuer: "https://idp.example.org/realms/nhs", Audiences: []string{"latchkey", "api://x"}, Algorithms: []string{"ES256", "PS256"},
			Roles: path(t, "resource_access.latchkey.roles"), Scopes: path(t, "scope"), KeysURL: "https://idp.example.org/keys?x=1",
		},
		{
			Issuer: "https://tenant.auth.example/", Audiences: []string{"latchkey"}, Algorithms: []string{"RS256"},
			Roles: path(t, "/https:~1~1x.example~1roles"),
		},
	}
	if !reflect.DeepEqual(s.Identity.Providers, want) {
		t.Errorf("got %+v, want %+v", s.Identity.Providers, want)
	}
	if s := mustLoad(t, with(map[string]string{"Identity__Providers": "[]"})); len(s.Identity.Providers) != 0 {
		t.Errorf("%+v", s.Identity.Providers)
	}
}

func TestAUT1_WrongProvidersAreRefused(t *testing.T) {
	good := `"issuer":"https://idp.example.org","audiences":["a"]`
	for value, wrong := range map[string]string{
		"x":                               `is wrong: "it" is not JSON at byte 1`,
		"{}":                              `is wrong: "it" is not a JSON array`,
		"[1]":                             "is wrong: [0] is not an object",
		"[{}]":                            "is wrong: [0].audiences is not a list of one text or more; [0].issuer is missing",
		`[{` + good + `,"Issuer":"x"}]`:   `is wrong: "it.Issuer" stands there twice, or twice but for upper and lower case`,
		`[{` + good + `,"scope":"x"}]`:    `is wrong: [0] has a member "scope" that nobody knows`,
		`[{` + good + `},{` + good + `}]`: "is wrong: [1].issuer stands there twice",
		`[{"issuer":"http://idp.example.org","audiences":["a"]}]`:                                                      "is wrong: [0].issuer is not an https URL",
		`[{"issuer":"https://u@idp.example.org","audiences":["a"]}]`:                                                   "is wrong: [0].issuer has a user in it",
		`[{"issuer":"https://idp.example.org?x","audiences":["a"]}]`:                                                   "is wrong: [0].issuer has a query",
		`[{"issuer":["https://idp.example.org"],"audiences":["a"]}]`:                                                   "is wrong: [0].issuer is not a text",
		`[{"issuer":"https://idp.example.org","audiences":[]}]`:                                                        "is wrong: [0].audiences is not a list of one text or more",
		`[{"issuer":"https://idp.example.org","audiences":"a"}]`:                                                       "is wrong: [0].audiences is not a list of one text or more",
		`[{"issuer":"https://idp.example.org","audiences":["a",""]}]`:                                                  "is wrong: [0].audiences[1] is not a text",
		`[{"issuer":"https://idp.example.org","audiences":["a","a"]}]`:                                                 "is wrong: [0].audiences[1] stands there twice",
		`[{"issuer":"https://idp.example.org","audiences":["a b"]}]`:                                                   "is wrong: [0].audiences[0] has a character that is not visible ASCII",
		`[{` + good + `,"algorithms":[]}]`:                                                                             "is wrong: [0].algorithms is not a list of one text or more",
		`[{` + good + `,"algorithms":["HS256"]}]`:                                                                      "is wrong: [0].algorithms[0] is none of RS256, PS256, ES256, EdDSA",
		`[{` + good + `,"algorithms":["none"]}]`:                                                                       "is wrong: [0].algorithms[0] is none of RS256, PS256, ES256, EdDSA",
		`[{` + good + `,"roles":"a..b"}]`:                                                                              "is wrong: [0].roles has an empty name in it",
		`[{` + good + `,"scopes":1}]`:                                                                                  "is wrong: [0].scopes is not a text",
		`[{` + good + `,"scopes":""}]`:                                                                                 "is wrong: [0].scopes is not a text",
		`[{` + good + `,"keysUrl":"http://idp.example.org"}]`:                                                          "is wrong: [0].keysUrl is not an https URL",
		`[{` + good + `},{"issuer":"ftp://x","audiences":1,"roles":7}]`:                                                "is wrong: [1].audiences is not a list of one text or more; [1].issuer is not an https URL; [1].roles is not a text",
		`[{"issuer":"https://latchkey.example.org/auth","audiences":["a"]}]`:                                           "is wrong: [0].issuer is trusted already, as another's",
		`[{"issuer":"https://login.microsoftonline.com/11111111-1111-2222-3333-444455556666/v2.0","audiences":["a"]}]`: "is wrong: [0].issuer is a tenant of Entra ID: one is trusted, that of Entra:TenantId",
		`[{"issuer":"https://sts.windows.net/11111111-1111-2222-3333-444455556666/","audiences":["a"]}]`:               "is wrong: [0].issuer is a tenant of Entra ID: one is trusted, that of Entra:TenantId",
		`[{"issuer":"https://sts.windows.net/0a1b2c3d-1111-2222-3333-444455556666/","audiences":["a"]}]`:               "is wrong: [0].issuer is trusted already, as another's",
		"[" + strings.Repeat("{},", 20) + "{}]":                                                                        "has more than 20 providers",
		`[{"a\nb":1,"a\nb":2}]`:                                                                                        `is wrong: "it.a\nb" stands there twice, or twice but for upper and lower case`,
	} {
		t.Run(fmt.Sprintf("%.60s", value), func(t *testing.T) {
			p := onlyProblem(t, with(map[string]string{"Identity__Providers": value}))
			if p.Key != "Identity:Providers" || p.Wrong != wrong || strings.Contains(p.String(), "\n") {
				t.Errorf("%s\nwant %q", p, wrong)
			}
		})
	}
}

// What people copy from the documentation works.
func TestTheDocumentedProvidersAreTaken(t *testing.T) {
	doc, err := os.ReadFile("../../doc/callers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(doc), "```json\n")
	example, _, found := strings.Cut(example, "```")
	if !found {
		t.Fatal("there is no example")
	}
	got := mustLoad(t, with(map[string]string{"Identity__Providers": example})).Identity.Providers
	if len(got) != 2 || got[0].KeysURL != "" || got[1].Algorithms[0] != "ES256" || got[1].Roles.String() != "https://hospital.example/roles" {
		t.Errorf("%+v", got)
	}
}
