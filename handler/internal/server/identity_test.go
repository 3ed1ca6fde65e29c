package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/caller"
	"latchkey/handler/internal/identity"
)

const registrar = "Authorization: Bearer registrar"

// machine is an identity of the tenant, robot one of the provider.
var (
	machine = identity.Key{Issuer: tenant, Subject: "bbbbbbbb-0000-4000-8000-000000000002"}
	robot   = identity.Key{Issuer: provider, Subject: "robot 7"}
)

// asks brings an identity into the queue, as the admission does.
func (b *bench) asks(t *testing.T, key identity.Key) {
	t.Helper()
	from := audit.Origin{Actor: audit.Actor{Issuer: key.Issuer, ID: key.Subject}}
	if _, err := b.Parts().Identities.Ask(t.Context(), from, key, identity.App); err != nil {
		t.Fatal(err)
	}
}

// wantIdentity reads an identity out of a reply, and checks its headers and its event.
func (b *bench) wantIdentity(t *testing.T, w *httptest.ResponseRecorder, status int, what audit.Action) Identity {
	t.Helper()
	got := read[Identity](t, w, status)
	wantHeaders(t, w.Header())
	if !regexp.MustCompile(`^"[1-9][0-9]*"$`).MatchString(w.Header().Get("ETag")) {
		t.Errorf("the ETag is %q", w.Header().Get("ETag"))
	}
	event := b.event(t)
	if event["action"] != string(what) || event["outcome"] != "allowed" || event["identity"] != got.ID {
		t.Errorf("the event says %v", event)
	}
	return got
}

func (b *bench) actions(issuer string) (all []string) {
	for _, r := range b.store.Identities().Records(issuer) {
		all = append(all, string(r.Action)+" "+r.State)
	}
	return all
}

func text(s string) *string { return &s }

func TestAUT3_APendingIdentityIsApprovedInOneCall(t *testing.T) {
	b := newBench(t)
	b.asks(t, machine)
	path := identityPath + "/" + machine.ID()
	if path != "/dhos/v1/identity/"+tenant+"~"+machine.Subject {
		t.Errorf("the path is %s", path)
	}
	who := tenant + "/" + machine.Subject
	at := "2026-11-24T12:00:00.000Z"
	want := Identity{
		ID: machine.ID(), Issuer: tenant, Subject: machine.Subject, State: "pending", Kind: text("app"), Scopes: []string{},
		Created: at, CreatedBy: who, Modified: at, ModifiedBy: who, LastSeen: text("2026-11-24T12:00:00Z"),
	}
	list := read[[]Identity](t, b.ask(t, "GET "+identityPath+"?state=pending", "", registrar), 200)
	if diff := cmp.Diff([]Identity{want}, list); diff != "" {
		t.Error(diff)
	}
	if event := b.event(t); event["action"] != "identity.list" || event["outcome"] != "allowed" {
		t.Errorf("%v", event)
	}

	approve := func() *httptest.ResponseRecorder {
		return b.ask(t, "POST "+path+"/approve", `{"label":"Ward 7","scopes":["write:x","read:x"]}`, registrar)
	}
	want.State, want.Label, want.Scopes, want.ModifiedBy = "approved", "Ward 7", []string{"read:x", "write:x"}, tenant+"/"+object
	for range 2 { // again changes nothing
		w := approve()
		if diff := cmp.Diff(want, b.wantIdentity(t, w, 200, audit.ApproveIdentity)); diff != "" || w.Header().Get("ETag") != `"2"` {
			t.Error(w.Header().Get("ETag"), diff)
		}
	}
	if diff := cmp.Diff([]string{"identity.ask pending", "identity.approve approved"}, b.actions(tenant)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, b.wantIdentity(t, b.ask(t, "GET "+path, "", registrar), 200, audit.ReadIdentity)); diff != "" {
		t.Error(diff)
	}
	if list = read[[]Identity](t, b.ask(t, "GET "+identityPath+"?state=pending", "", registrar), 200); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestAUT3_AChangeIsOfWhatWasSeen(t *testing.T) {
	b := newBench(t)
	b.asks(t, machine)
	path := "PATCH " + identityPath + "/" + machine.ID()
	got := b.wantIdentity(t, b.ask(t, path, `{"state":"disabled","label":"x"}`, registrar, `If-Match: "1"`), 200, audit.ChangeIdentity)
	if got.State != "disabled" || got.Label != "x" {
		t.Errorf("%+v", got)
	}
	for _, stale := range []string{`"1"`, `"0"`, `"999999999999999999"`} {
		b.wantProblem(t, b.ask(t, path, `{"state":"approved"}`, registrar, "If-Match: "+stale), http.StatusPreconditionFailed, ReasonPrecondition)
	}
	for _, wrong := range []string{`W/"2"`, "2", `"2","3"`, `"x"`, `"-1"`} {
		p := b.wantProblem(t, b.ask(t, path, `{"state":"approved"}`, registrar, "If-Match: "+wrong), 400, ReasonInvalid)
		if p.Errors[0].Field != "header.If-Match" {
			t.Errorf("%s: %+v", wrong, p.Errors)
		}
	}
	p := b.wantProblem(t, b.ask(t, path, `{}`, registrar, `If-Match: "2"`, `If-Match: "3"`), 400, ReasonInvalid)
	if p.Errors[0].Field != "header.if-match" {
		t.Errorf("%+v", p.Errors)
	}
	w := b.ask(t, path, `{"state":"approved","scopes":["a"]}`, registrar, "If-Match: *")
	if got = b.wantIdentity(t, w, 200, audit.ChangeIdentity); got.State != "approved" || got.Label != "x" || !cmp.Equal(got.Scopes, []string{"a"}) {
		t.Errorf("%+v", got)
	}
	for body, field := range map[string]string{`{"scopes":null}`: "body.scopes", `{"label":null}`: "body.label", `{"state":null}`: "body.state", `{"state":"pending"}`: "body.state"} {
		if p := b.wantProblem(t, b.ask(t, path, body, registrar), 400, ReasonInvalid); p.Errors[0].Field != field {
			t.Errorf("%s: %+v", body, p.Errors)
		}
	}
	if got = b.wantIdentity(t, b.ask(t, path, `{"scopes":[],"label":""}`, registrar), 200, audit.ChangeIdentity); got.Label != "" || len(got.Scopes) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestAUT3_RegisteringTakesEveryNameOfAnIssuer(t *testing.T) {
	for issuer, c := range map[string]struct {
		subject string
		want    identity.Key
	}{
		tenant:                  {strings.ToUpper(machine.Subject), machine},
		strings.ToUpper(tenant): {machine.Subject, machine},
		"https://sts.windows.net/" + tenant + "/":               {machine.Subject, machine},
		"https://login.microsoftonline.com/" + tenant + "/v2.0": {machine.Subject, machine},
		provider: {robot.Subject, robot},
	} {
		b := newBench(t)
		body := fmt.Sprintf(`{"issuer":%q,"subject":%q,"label":"by hand","scopes":["b","a","b"]}`, issuer, c.subject)
		w := b.ask(t, "POST "+identityPath, body, registrar)
		got := b.wantIdentity(t, w, http.StatusCreated, audit.RegisterIdentity)
		at, who := "2026-11-24T12:00:00.000Z", tenant+"/"+object
		want := Identity{
			ID: c.want.ID(), Issuer: c.want.Issuer, Subject: c.want.Subject, State: "approved", Label: "by hand", Scopes: []string{"a", "b"},
			Created: at, CreatedBy: who, Modified: at, ModifiedBy: who,
		}
		if diff := cmp.Diff(want, got); diff != "" || w.Header().Get("Location") != "/dhos/v1/identity/"+c.want.ID() {
			t.Error(w.Header().Get("Location"), diff)
		}
		b.wantIdentity(t, b.ask(t, "GET "+w.Header().Get("Location"), "", registrar), 200, audit.ReadIdentity)
		b.wantProblem(t, b.ask(t, "POST "+identityPath, body, registrar), http.StatusConflict, ReasonIdentityExists)
	}
	letters := &Parts{Registers: []string{"abcdefab-2222-4333-8444-555555555555"}}
	if key, err := letters.key("ABCDEFAB-2222-4333-8444-555555555555", machine.Subject); err != nil || key.Issuer != letters.Registers[0] {
		t.Errorf("%v, %v", key, err)
	}
	for name, c := range map[string]struct{ body, field string }{
		"another issuer":   {`{"issuer":"https://evil.example","subject":"x"}`, "body.issuer"},
		"nearly an issuer": {`{"issuer":"` + provider + `/","subject":"x"}`, "body.issuer"},
		"another tenant":   {`{"issuer":"22222222-2222-4333-8444-555555555555","subject":"` + machine.Subject + `"}`, "body.issuer"},
		"v2 of another":    {`{"issuer":"https://login.microsoftonline.com/common/v2.0","subject":"` + machine.Subject + `"}`, "body.issuer"},
		"a name for an id": {`{"issuer":"` + tenant + `","subject":"somebody@example.org"}`, "body.subject"},
		"many bytes":       {`{"issuer":"` + provider + `","subject":"` + strings.Repeat("é", 200) + `"}`, "body.subject"},
		"no subject":       {`{"issuer":"` + tenant + `"}`, "body"},
		"an empty subject": {`{"issuer":"` + tenant + `","subject":""}`, "body.subject"},
		"a bad scope":      {`{"issuer":"` + provider + `","subject":"x","scopes":["a b"]}`, "body.scopes"},
		"a null label":     {`{"issuer":"` + provider + `","subject":"x","label":null}`, "body.label"},
		"null scopes":      {`{"issuer":"` + provider + `","subject":"x","scopes":null}`, "body.scopes"},
		"101 scopes":       {`{"issuer":"` + provider + `","subject":"x","scopes":["a"` + strings.Repeat(`,"a"`, 100) + `]}`, "body.scopes"},
		"a bad label":      {`{"issuer":"` + provider + `","subject":"x","label":"a\nb"}`, "body.label"},
		"a long label":     {`{"issuer":"` + provider + `","subject":"x","label":"` + strings.Repeat("é", 101) + `"}`, "body.label"},
		"a state":          {`{"issuer":"` + provider + `","subject":"x","state":"approved"}`, "body.state"},
	} {
		b := newBench(t)
		p := b.wantProblem(t, b.ask(t, "POST "+identityPath, c.body, registrar), 400, ReasonInvalid)
		if len(p.Errors) == 0 || p.Errors[0].Field != c.field {
			t.Errorf("%s: %+v", name, p.Errors)
		}
		if n := len(b.store.Intents()); n != 0 {
			t.Errorf("%s: %d intents", name, n)
		}
	}
	b := newBench(t)
	hundred := `"a0"`
	for i := range 99 {
		hundred += fmt.Sprintf(`,"a%d"`, i+1)
	}
	w := b.ask(t, "POST "+identityPath, `{"issuer":"`+provider+`","subject":"x","label":"`+strings.Repeat("é", 100)+`","scopes":[`+hundred+`]}`, registrar)
	if got := b.wantIdentity(t, w, 201, audit.RegisterIdentity); len(got.Scopes) != 100 {
		t.Errorf("%d scopes", len(got.Scopes))
	}
}

func TestAUT3_ASuccessorIsApprovedInOneCall(t *testing.T) {
	b := newBench(t)
	b.wantIdentity(t, b.ask(t, "POST "+identityPath, `{"issuer":"`+tenant+`","subject":"`+machine.Subject+`","label":"PACS","scopes":["dicom:access"]}`, registrar), 201, audit.RegisterIdentity)
	b.asks(t, robot)
	approve := "POST " + identityPath + "/" + robot.ID() + "/approve"
	for body, field := range map[string]string{
		`{"replaces":"nonsense"}`:                           "body.replaces",
		`{"replaces":"` + tenant + "~" + uuid7 + `"}`:       "body.replaces",
		`{"replaces":"` + robot.ID() + `"}`:                 "body.replaces",
		`{"replaces":""}`:                                   "body.replaces",
		`{"Replaces":"` + machine.ID() + `"}`:               "body.Replaces",
		`{"replaces":"` + machine.ID() + `","state":"old"}`: "body.state",
	} {
		if p := b.wantProblem(t, b.ask(t, approve, body, registrar), 400, ReasonInvalid); p.Errors[0].Field != field {
			t.Errorf("%s: %+v", body, p.Errors)
		}
	}
	got := b.wantIdentity(t, b.ask(t, approve, `{"replaces":"`+machine.ID()+`"}`, registrar), 200, audit.ApproveIdentity)
	if got.State != "approved" || got.Label != "PACS" || !cmp.Equal(got.Scopes, []string{"dicom:access"}) {
		t.Errorf("%+v", got)
	}
	old := b.wantIdentity(t, b.ask(t, "GET "+identityPath+"/"+machine.ID(), "", registrar), 200, audit.ReadIdentity)
	if old.State != "retired" || old.Successor == nil || *old.Successor != robot.ID() {
		t.Errorf("%+v", old)
	}
	b.wantProblem(t, b.ask(t, "PATCH "+identityPath+"/"+machine.ID(), `{"state":"approved"}`, registrar), 409, ReasonIdentityRetired)
}

// Each refusal has its reason, outside and in the event.
func TestAUT3_RefusalsOfTheRegistry(t *testing.T) {
	self := identity.Key{Issuer: tenant, Subject: object}
	for name, c := range map[string]struct {
		line, body string
		status     int
		reason     Reason
	}{
		"an unknown one":          {"GET " + identityPath + "/" + robot.ID(), "", 404, ReasonIdentityNotFound},
		"no id":                   {"GET " + identityPath + "/nonsense", "", 404, ReasonIdentityNotFound},
		"to approve nobody":       {"POST " + identityPath + "/" + robot.ID() + "/approve", "{}", 404, ReasonIdentityNotFound},
		"to change nobody":        {"PATCH " + identityPath + "/nonsense", "{}", 404, ReasonIdentityNotFound},
		"to approve a way round":  {"PATCH " + identityPath + "/" + machine.ID(), `{"state":"approved"}`, 409, ReasonIdentityState},
		"to approve on new terms": {"POST " + identityPath + "/" + self.ID() + "/approve", `{"scopes":["more"]}`, 409, ReasonIdentityState},
		"to disable oneself":      {"PATCH " + identityPath + "/" + self.ID(), `{"state":"disabled"}`, 409, ReasonIdentitySelf},
		"to strip oneself":        {"PATCH " + identityPath + "/" + self.ID(), `{"scopes":[]}`, 409, ReasonIdentitySelf},
		"to retire oneself":       {"POST " + identityPath + "/" + machine.ID() + "/approve", `{"replaces":"` + self.ID() + `"}`, 409, ReasonIdentitySelf},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.asks(t, machine)
			if _, err := b.Parts().Identities.Register(t.Context(), audit.Origin{}, nil, self, identity.Terms{Scopes: []string{"a"}}); err != nil {
				t.Fatal(err)
			}
			records := len(b.actions(tenant))
			w := b.ask(t, c.line, c.body, registrar)
			events := b.log.String()
			b.wantProblem(t, w, c.status, c.reason)
			if !strings.Contains(events, `"outcome":"denied"`) || !strings.Contains(events, `"why":"`+string(c.reason)+`"`) {
				t.Errorf("the event says %s", events)
			}
			if n := len(b.actions(tenant)); n != records {
				t.Errorf("%d records, not %d", n, records)
			}
		})
	}
}

func TestAUT3_PagesOfIdentities(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		b.asks(t, identity.Key{Issuer: tenant, Subject: fmt.Sprintf("bbbbbbbb-0000-4000-8000-00000000000%d", i)})
		b.asks(t, identity.Key{Issuer: provider, Subject: fmt.Sprint("robot ", i)})
		b.asks(t, identity.Key{Issuer: "https://dropped.example", Subject: fmt.Sprint(i)}) // an issuer that is trusted no more
	}
	var ids []string
	next := identityPath + "?limit=4&state=pending"
	for pages := 1; next != ""; pages++ {
		w := b.ask(t, "GET "+next, "", registrar)
		for _, i := range read[[]Identity](t, w, 200) {
			ids = append(ids, i.ID)
		}
		next = ""
		if link := w.Header().Get("Link"); link != "" {
			m := regexp.MustCompile(`^<(/dhos/v1/identity\?cursor=[0-9a-v~-]+&limit=4&state=pending)>; rel="next"$`).FindStringSubmatch(link)
			if m == nil || pages > 3 {
				t.Fatalf("page %d: the link is %q", pages, link)
			}
			next = m[1]
		}
	}
	seen := map[string]bool{}
	for i, id := range ids {
		if seen[id] = true; i > 0 && ids[i-1] >= id {
			t.Errorf("%s is behind %s", id, ids[i-1])
		}
	}
	if len(seen) != 10 || len(ids) != 10 {
		t.Errorf("%d identities", len(ids))
	}
	for query, want := range map[string]int{"": 10, "?state=all": 10, "?state=approved": 0} {
		if got := read[[]Identity](t, b.ask(t, "GET "+identityPath+query, "", registrar), 200); len(got) != want {
			t.Errorf("%q: %d identities, want %d", query, len(got), want)
		}
	}
	for _, query := range []string{"?state=x", "?cursor=x", "?cursor=" + strings.ToUpper(machine.ID()), "?limit=0", "?limit=101", "?state="} {
		b.log.take(t)
		b.wantProblem(t, b.ask(t, "GET "+identityPath+query, "", registrar), 400, ReasonInvalid)
	}
}

// AUT-2: who is not admitted changes nothing and learns nothing, also where that is known late.
func TestAUT2_TheRegistryIsBehindTheGate(t *testing.T) {
	for _, c := range []struct{ line, body string }{
		{"GET " + identityPath, ""},
		{"GET " + identityPath + "/" + robot.ID(), ""},
		{"POST " + identityPath, `{"issuer":"` + provider + `","subject":"x"}`},
		{"PATCH " + identityPath + "/" + machine.ID(), `{"state":"disabled"}`},
		{"POST " + identityPath + "/" + machine.ID() + "/approve", `{}`},
		{"POST " + identityPath + "/" + robot.ID() + "/approve", `{"replaces":"` + machine.ID() + `"}`},
	} {
		b := newBench(t)
		b.asks(t, machine)
		b.gated = func() error { return &caller.Forbidden{Cause: caller.IdentityDisabled, Scope: "x"} }
		b.wantProblem(t, b.ask(t, c.line, c.body, registrar), 403, ReasonIdentityDisabled)
		b.wantProblem(t, b.ask(t, c.line, c.body, "Authorization: Bearer writer"), 403, ReasonInsufficientScope)
		if got := b.actions(tenant); len(got) != 1 || len(b.actions(provider)) != 0 {
			t.Errorf("%s: %v", c.line, got)
		}
	}
}
