package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"latchkey/infra/local/stack"
)

// What the documentation for developers of the phone app says is what the app does.

func phoneDoc(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../doc/phone.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// example is a request that the document shows, and the reply it shows to it.
type example struct {
	request   *http.Request
	body      string
	reply     *http.Response
	replyBody string
}

var fence = regexp.MustCompile("(?ms)^```http\n(.*?)\n```$")

func examples(t *testing.T, doc string) (all []example) {
	t.Helper()
	blocks := fence.FindAllStringSubmatch(doc, -1)
	if len(blocks) == 0 || len(blocks)%2 != 0 {
		t.Fatalf("%d blocks are no pairs of request and reply", len(blocks))
	}
	for i := 0; i < len(blocks); i += 2 {
		var e example
		var err error
		var head string
		head, e.body, _ = strings.Cut(blocks[i][1], "\n\n")
		if e.request, err = http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\n\n"))); err != nil {
			t.Fatalf("%v: %s", err, head)
		}
		head, e.replyBody, _ = strings.Cut(blocks[i+1][1], "\n\n")
		if e.reply, err = http.ReadResponse(bufio.NewReader(strings.NewReader(head+"\n\n")), nil); err != nil {
			t.Fatalf("%v: %s", err, head)
		}
		if e.reply.Status != fmt.Sprint(e.reply.StatusCode, " ", http.StatusText(e.reply.StatusCode)) {
			t.Errorf("there is no %s", e.reply.Status)
		}
		all = append(all, e)
	}
	return all
}

// dialogue runs examples. What the document shows stands for what is drawn anew each time: the first reply that has it binds the two,
// and from then on one is always the other.
type dialogue struct {
	host   *host
	client *http.Client
	bound  map[string]string // what is real, by what is shown
}

// drawn are the members that are different each time.
var drawn = []string{"authorisation_code", "jwt", "instance"}

func TestPhoneDoc(t *testing.T) {
	w := owned(t)
	h := w.extra(t, "for phones", stack.HostOptions{Direct: true, Env: []string{
		"Site__Name=Oxford University Hospitals", "Sites=OXF=https://oxford.example,CAM=https://cambridge.example/latchkey",
		"Abuse__SourceRefusals=60", "Abuse__SourceWindowSeconds=600", "Codes__MaxCredentialsPerPatient=1",
	}})
	if err := h.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	patient, team := w.patient(), w.clinic(t)
	// An address of our own: that of the other tests has other limits.
	from := &net.TCPAddr{IP: net.IPv4(127, byte(1+rand.IntN(250)), byte(rand.IntN(256)), byte(1+rand.IntN(250)))}
	d := dialogue{host: h, client: &http.Client{
		Transport:     &http.Transport{DialContext: (&net.Dialer{LocalAddr: from}).DialContext},
		CheckRedirect: client.CheckRedirect,
	}, bound: map[string]string{
		"OXF-7KQ4-9F2M-HX3F-J7WP-7":            h.create(t, team, patient).Code,
		"ab3d9aa3-d5aa-406a-87b2-cd67ad872724": patient,
		"the-token.of-the.team":                team,
		"the-token.of-a.service":               w.token(t, stack.TokenRequest{Roles: []string{"introspect:token"}}),
	}}
	seen := map[int]bool{}
	for i, e := range examples(t, phoneDoc(t)) {
		name := fmt.Sprintf("%02d %s %s %d", i+1, e.request.Method, e.request.URL.Path, e.reply.StatusCode)
		seen[e.reply.StatusCode] = true
		ok := t.Run(name, func(t *testing.T) { d.run(t, e) })
		if !ok {
			t.Fatal("what follows builds on it")
		}
	}
	for _, status := range []int{200, 204, 400, 404, 429} {
		if !seen[status] {
			t.Errorf("no example shows a %d", status)
		}
	}
}

func (d *dialogue) run(t *testing.T, e example) {
	try := func(ctx context.Context, _ int) (reply, error) { return d.try(ctx, e) }
	if e.reply.StatusCode == http.StatusTooManyRequests {
		together(t, 60, try) // only this refusal needs others before it
	}
	got, err := try(t.Context(), 0)
	for range 10 { // what one instance leases comes in blocks, and some of the window may be over
		if e.reply.StatusCode == http.StatusTooManyRequests && err == nil && got.status == http.StatusNotFound {
			got, err = try(t.Context(), 0)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.status != e.reply.StatusCode {
		t.Fatalf("status %d, want %d: %s", got.status, e.reply.StatusCode, got.body)
	}
	for name, want := range e.reply.Header {
		real := got.header.Values(name)
		if name == "Retry-After" || name == "Ratelimit" { // how long is left
			want, real = numbersAside(want), numbersAside(real)
		}
		if !slices.Equal(real, want) {
			t.Errorf("%s: %q, want %q", name, real, want)
		}
	}
	media := e.reply.Header.Get("Content-Type")
	switch {
	case strings.HasSuffix(media, "json"):
		var shown, real any
		if err := errors.Join(json.Unmarshal([]byte(e.replyBody), &shown), json.Unmarshal(got.body, &real)); err != nil {
			t.Fatalf("%v: %s", err, got.body)
		}
		for _, difference := range d.compare("body", shown, real) {
			t.Error(difference)
		}
	case media == "" && len(got.body) > 0, media != "" && strings.Count(string(got.body), ".") != strings.Count(e.replyBody, "."):
		t.Errorf("the body is %q", got.body)
	}
}

// try sends what is shown, with what is real in it.
func (d *dialogue) try(ctx context.Context, e example) (reply, error) {
	var pairs []string
	for shown, real := range d.bound {
		pairs = append(pairs, shown, real)
	}
	real := strings.NewReplacer(pairs...).Replace
	r, err := http.NewRequestWithContext(ctx, e.request.Method, d.host.url+real(e.request.URL.Path), strings.NewReader(real(e.body)))
	if err != nil {
		return reply{}, err
	}
	for name, values := range e.request.Header {
		for _, value := range values {
			r.Header.Add(name, real(value))
		}
	}
	d.host.world.seen.request(request{path: r.URL.Path, body: real(e.body), code: r.Header.Get("X-Authorisation-Code")})
	resp, err := d.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	d.host.world.seen.reply(body)
	return reply{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// compare says where real is not the JSON that is shown, but for what is drawn.
func (d *dialogue) compare(at string, shown, real any) (different []string) {
	switch shown := shown.(type) {
	case map[string]any:
		real, _ := real.(map[string]any)
		names := slices.Sorted(maps.Keys(shown))
		if got := slices.Sorted(maps.Keys(real)); !slices.Equal(got, names) {
			return []string{fmt.Sprintf("%s has %v, want %v", at, got, names)}
		}
		for _, name := range names {
			text, isText := shown[name].(string)
			if _, known := d.bound[text]; isText && !known && slices.Contains(drawn, name) {
				d.bound[text], _ = real[name].(string)
			}
			different = append(different, d.compare(at+"."+name, shown[name], real[name])...)
		}
	case []any:
		real, _ := real.([]any)
		if len(real) != len(shown) {
			return []string{fmt.Sprintf("%s has %d items, want %d", at, len(real), len(shown))}
		}
		for i := range shown {
			different = append(different, d.compare(fmt.Sprint(at, "[", i, "]"), shown[i], real[i])...)
		}
	case string:
		want, known := d.bound[shown]
		if !known {
			want = shown
		}
		if real != want || real == "" {
			return []string{fmt.Sprintf("%s is %q, want %q", at, real, want)}
		}
	default:
		if real != shown {
			return []string{fmt.Sprintf("%s is %v, want %v", at, real, shown)}
		}
	}
	return different
}

var digits = regexp.MustCompile(`\d+`)

func numbersAside(values []string) (without []string) {
	for _, v := range values {
		without = append(without, digits.ReplaceAllString(v, "0"))
	}
	return without
}

// A document that is wrong is found to be.
func TestPhoneDocIsCompared(t *testing.T) {
	for name, c := range map[string]struct{ shown, real string }{
		"another reason":     {`{"reason":"a"}`, `{"reason":"b"}`},
		"a member less":      {`{"reason":"a"}`, `{"reason":"a","more":1}`},
		"another life":       {`{"expires_in":900}`, `{"expires_in":901}`},
		"another one drawn":  {`[{"jwt":"x"},{"jwt":"x"}]`, `[{"jwt":"y"},{"jwt":"z"}]`},
		"nothing drawn":      {`{"jwt":"x"}`, `{"jwt":""}`},
		"another kind":       {`{"jwt":"x"}`, `{"jwt":1}`},
		"an item less":       {`[1]`, `[1,2]`},
		"no object":          {`{"a":{"b":1}}`, `{"a":1}`},
		"the same, the same": {`[{"jwt":"x","a":1},{"jwt":"x","a":1}]`, `[{"jwt":"y","a":1},{"jwt":"y","a":1}]`},
	} {
		var shown, real any
		if err := errors.Join(json.Unmarshal([]byte(c.shown), &shown), json.Unmarshal([]byte(c.real), &real)); err != nil {
			t.Fatal(err)
		}
		d := dialogue{bound: map[string]string{}}
		if found := d.compare(name, shown, real); (len(found) == 0) != (name == "the same, the same") {
			t.Errorf("%s: %q", name, found)
		}
	}
}

// between is the part of a document between <!-- name --> and <!-- /name -->.
func between(t *testing.T, doc, name string) string {
	t.Helper()
	_, rest, begun := strings.Cut(doc, "<!-- "+name+" -->")
	part, _, ended := strings.Cut(rest, "<!-- /"+name+" -->")
	if !begun || !ended {
		t.Fatalf("the document has no part %s", name)
	}
	return part
}

// refusalRow is a row of the table of refusals: status, reason, on.
var (
	refusalRow = regexp.MustCompile("(?m)^\\| (\\d{3}) \\| `([a-z_]+)` \\| ([a-z, ]+) \\|")
	reasonWord = regexp.MustCompile("`([a-z_]+)`")
)

// Every reason of the code is in the document once: in the table, under a status with which the code gives it, or among those that
// phones do not meet. And the table has a row for each error status that the operations of phones are said to have.
func TestPhoneDocNamesEveryRefusal(t *testing.T) {
	doc := phoneDoc(t)
	reasons, statuses := problems(t)
	table := between(t, doc, "refusals")
	rows := refusalRow.FindAllStringSubmatch(table, -1)
	if lines := strings.Count(table, "\n|"); len(rows) != lines-2 {
		t.Errorf("%d of %d lines are rows", len(rows), lines-2)
	}
	declared := declaredStatuses(t)
	operations := map[string]string{"site": "find-site", "redeem": "redeem-activation", "token": "create-patient-jwt"}
	said := map[string]bool{}
	covered := map[string]map[int]bool{"site": {}, "redeem": {}, "token": {}}
	for _, row := range rows {
		status, _ := strconv.Atoi(row[1])
		reason, on := row[2], row[3]
		if said[reason] {
			t.Errorf("%s stands there twice", reason)
		}
		said[reason] = true
		if !slices.Contains(statuses[reason], status) {
			t.Errorf("%s is %d in the document, and %v in the code", reason, status, statuses[reason])
		}
		places := strings.Split(on, ", ")
		if on == "all" {
			places = slices.Collect(maps.Keys(operations))
		}
		for _, place := range places {
			if operations[place] == "" {
				t.Fatalf("%s is on %q, which is nothing", reason, place)
			}
			covered[place][status] = true
			if reason != "no_such_route" && reason != "method_not_allowed" && !slices.Contains(declared[operations[place]], status) {
				t.Errorf("%s has no %d", operations[place], status)
			}
		}
	}
	for place, operation := range operations {
		for _, status := range declared[operation] {
			if status >= 400 && !covered[place][status] {
				t.Errorf("no row says what a %d of %s means", status, place)
			}
		}
	}
	for _, other := range reasonWord.FindAllStringSubmatch(between(t, doc, "others"), -1) {
		if said[other[1]] {
			t.Errorf("%s stands there twice", other[1])
		}
		said[other[1]] = true
	}
	for _, reason := range reasons {
		if !said[reason] {
			t.Errorf("the document does not know %s", reason)
		}
		delete(said, reason)
	}
	for reason := range said {
		t.Errorf("the code does not know %s", reason)
	}
}

// problems reads the reasons from the code, and with which statuses it gives them.
func problems(t *testing.T) (reasons []string, statuses map[string][]int) {
	t.Helper()
	const where = "../internal/server"
	code := map[string]int{}
	for status := 100; status < 600; status++ {
		code["Status"+strings.ReplaceAll(http.StatusText(status), " ", "")] = status
	}
	values, named := map[string]string{}, map[string][]int{}
	sources, err := fs.Glob(os.DirFS(where), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(where, source), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for n := range ast.Preorder(file) {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if kind, ok := n.Type.(*ast.Ident); !ok || kind.Name != "Reason" || len(n.Values) != 1 {
					continue
				}
				text, err := strconv.Unquote(n.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				values[n.Names[0].Name] = text
				reasons = append(reasons, text)
			case *ast.CallExpr:
				called, ok := n.Fun.(*ast.Ident)
				switch {
				case !ok || len(n.Args) == 0:
				case called.Name == "tryAgain":
					if name, ok := n.Args[0].(*ast.Ident); ok {
						named[name.Name] = append(named[name.Name], http.StatusServiceUnavailable)
					}
				case called.Name == "problem":
					status, ok := n.Args[0].(*ast.SelectorExpr)
					name, also := n.Args[1].(*ast.Ident)
					if ok && also {
						named[name.Name] = append(named[name.Name], code[status.Sel.Name])
					}
				}
			}
		}
	}
	if len(reasons) < 20 {
		t.Fatalf("only %d reasons were found", len(reasons))
	}
	statuses = map[string][]int{}
	for name, all := range named {
		statuses[values[name]] = all
	}
	return reasons, statuses
}

type openAPI struct {
	Paths map[string]map[string]struct {
		OperationID string                     `json:"operationId"`
		Responses   map[string]json.RawMessage `json:"responses"`
	}
}

func openAPIOf(t *testing.T) (document openAPI) {
	t.Helper()
	got := given(t).any().send(t, request{method: http.MethodGet, path: "/openapi.json"})
	if err := json.NewDecoder(bytes.NewReader(got.body)).Decode(&document); err != nil {
		t.Fatal(err)
	}
	return document
}

// declaredStatuses are those that the OpenAPI document says of each operation.
func declaredStatuses(t *testing.T) map[string][]int {
	t.Helper()
	all := map[string][]int{}
	for _, operations := range openAPIOf(t).Paths {
		for _, operation := range operations {
			for text := range operation.Responses {
				status, err := strconv.Atoi(text)
				if err != nil {
					t.Fatal(err)
				}
				all[operation.OperationID] = append(all[operation.OperationID], status)
			}
		}
	}
	return all
}

var (
	pathInText = regexp.MustCompile(`/(?:dhos/v1|oauth2|\.well-known)/[A-Za-z0-9/{}_.-]*[A-Za-z0-9}]`)
	variable   = regexp.MustCompile(`\\\{[a-z_]+\\\}`)
)

// Whatever path the document names, in its diagrams too, is there.
func TestPhoneDocNamesNoOtherPath(t *testing.T) {
	var routes []*regexp.Regexp
	for path := range openAPIOf(t).Paths {
		routes = append(routes, regexp.MustCompile("^"+variable.ReplaceAllString(regexp.QuoteMeta(path), `[^/]+`)+"$"))
	}
	named := pathInText.FindAllString(phoneDoc(t), -1)
	if len(named) < 20 {
		t.Errorf("only %d paths were found", len(named))
	}
	for _, path := range named {
		if !slices.ContainsFunc(routes, func(route *regexp.Regexp) bool { return route.MatchString(path) }) {
			t.Errorf("there is no %s", path)
		}
	}
}
