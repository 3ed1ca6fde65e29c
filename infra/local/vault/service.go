package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// Limits of the service (learn.microsoft.com/azure/key-vault/general/service-limits
// and the REST reference of "Get Secrets").
const (
	maxValueBytes = 25 << 10
	maxPage       = 25
)

// service is the wire side of the vault.
type service struct {
	base  string
	store *store
	gate  *gate
	name  *regexp.Regexp

	mu    sync.Mutex
	fault fault

	reads atomic.Int64
}

// fault is what the vault answers to everything instead of its work.
type fault struct {
	kind       string // "", forbidden, throttled, unavailable or hang
	retryAfter string // seconds, for throttled
	times      int    // how many requests it hits; 0 = until it is changed
}

func newService(port int, store *store, gate *gate) *service {
	return &service{
		base:  "https://127.0.0.1:" + strconv.Itoa(port),
		store: store,
		gate:  gate,
		name:  regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`),
	}
}

// routes are those of api-version 7.x and later that azsecrets uses to read,
// set, update and list, and /admin/ for tests.
func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /secrets", s.guarded(s.list))
	mux.HandleFunc("GET /secrets/{name}", s.guarded(s.get))
	mux.HandleFunc("GET /secrets/{name}/{version...}", s.guarded(s.get)) // azsecrets asks for "name/" when it wants the newest
	mux.HandleFunc("GET /secrets/{name}/versions", s.guarded(s.versions))
	mux.HandleFunc("PUT /secrets/{name}", s.guarded(s.set))
	mux.HandleFunc("PATCH /secrets/{name}/{version...}", s.guarded(s.update))
	mux.HandleFunc("POST /admin/fault", s.setFault)
	mux.HandleFunc("GET /admin/counts", s.counts)
	return mux
}

// refusal is an answer of Key Vault that is not a success.
type refusal struct {
	status       int
	code         string
	message      string
	inner        string
	afterSeconds string
}

func (e refusal) Error() string { return e.code + ": " + e.message }

func (s *service) guarded(next func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.reads.Add(1)
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		body, err := s.answer(r, next)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		if err == nil {
			writeJSON(w, body)
			return
		}
		var no refusal
		if !errors.As(err, &no) {
			no = refusal{status: http.StatusInternalServerError, code: "InternalError", message: err.Error()}
		}
		if no.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", s.gate.challenge())
		}
		if no.afterSeconds != "" {
			w.Header().Set("Retry-After", no.afterSeconds)
		}
		w.WriteHeader(no.status)
		told := map[string]any{"code": no.code, "message": no.message}
		if no.inner != "" {
			told["innererror"] = map[string]string{"code": no.inner}
		}
		writeJSON(w, map[string]any{"error": told})
	}
}

// answer does the steps that every request shares, in Key Vault's order:
// throttling, then the token, then the role, then the request itself.
func (s *service) answer(r *http.Request, next func(*http.Request) (any, error)) (any, error) {
	switch broken := s.takeFault("throttled", "unavailable", "hang"); broken.kind {
	case "throttled":
		return nil, refusal{
			status: http.StatusTooManyRequests, code: "Throttled", afterSeconds: broken.retryAfter,
			message: "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached",
		}
	case "unavailable":
		return nil, refusal{status: http.StatusServiceUnavailable, code: "ServiceUnavailable", message: "The service is unavailable."}
	case "hang":
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	who, err := s.gate.admit(r)
	if errors.Is(err, errKeysUnreachable) {
		return nil, refusal{status: http.StatusServiceUnavailable, code: "ServiceUnavailable", message: err.Error()}
	}
	if err != nil {
		return nil, refusal{status: http.StatusUnauthorized, code: "Unauthorized", message: err.Error()}
	}
	if s.takeFault("forbidden").kind != "" {
		return nil, refusal{
			status: http.StatusForbidden, code: "Forbidden", inner: "ForbiddenByRbac",
			message: fmt.Sprintf("Caller is not authorized to perform action on resource.\r\n"+
				"If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\n"+
				"Caller: appid=%s;oid=%s;iss=%s", who.appid, who.oid, who.iss),
		}
	}
	if r.URL.Query().Get("api-version") == "" {
		return nil, badParameter("api-version must be specified")
	}
	if name := r.PathValue("name"); name != "" && !s.name.MatchString(name) {
		return nil, badParameter("The request URI contains an invalid name: " + name)
	}
	return next(r)
}

func badParameter(message string) error {
	return refusal{status: http.StatusBadRequest, code: "BadParameter", message: message}
}

// view is a secret or a line of a list on the wire.
type view struct {
	Value       string            `json:"value,omitempty"`
	ID          string            `json:"id"`
	ContentType string            `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Attributes  viewAttributes    `json:"attributes"`
}

type viewAttributes struct {
	attributes
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays int    `json:"recoverableDays"`
}

func (s *service) view(name, versionInID string, v version) view {
	id := s.base + "/secrets/" + name
	if versionInID != "" {
		id += "/" + versionInID
	}
	return view{
		ID:          id,
		ContentType: v.ContentType,
		Tags:        v.Tags,
		Attributes:  viewAttributes{v.Attributes, "Recoverable+Purgeable", 90},
	}
}

func (s *service) bundle(sec secret, v version, err error) (any, error) {
	switch {
	case errors.Is(err, errNotFound):
		return nil, refusal{
			status: http.StatusNotFound, code: "SecretNotFound",
			message: "A secret with (name/id) was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command.",
		}
	case errors.Is(err, errDisabled):
		return nil, refusal{
			status: http.StatusForbidden, code: "Forbidden", inner: "SecretDisabled",
			message: "Operation get is not allowed on a disabled secret.",
		}
	case err != nil:
		return nil, err
	}
	out := s.view(sec.Name, v.ID, v)
	out.Value = v.Value
	return out, nil
}

func (s *service) get(r *http.Request) (any, error) {
	return s.bundle(s.store.get(r.PathValue("name"), r.PathValue("version")))
}

// change is the body of PUT and PATCH.
type change struct {
	Value       *string           `json:"value"`
	ContentType *string           `json:"contentType"`
	Tags        map[string]string `json:"tags"`
	Attributes  struct {
		Enabled   *bool  `json:"enabled"`
		NotBefore *int64 `json:"nbf"`
		Expires   *int64 `json:"exp"`
	} `json:"attributes"`
}

func (c change) apply(v *version) {
	if c.ContentType != nil {
		v.ContentType = *c.ContentType
	}
	if c.Tags != nil {
		v.Tags = c.Tags
	}
	if c.Attributes.Enabled != nil {
		v.Attributes.Enabled = c.Attributes.Enabled
	}
	if c.Attributes.NotBefore != nil {
		v.Attributes.NotBefore = c.Attributes.NotBefore
	}
	if c.Attributes.Expires != nil {
		v.Attributes.Expires = c.Attributes.Expires
	}
}

func readChange(r *http.Request) (change, error) {
	var c change
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		return change{}, badParameter("The request body is not valid JSON: " + err.Error())
	}
	return c, nil
}

func (s *service) set(r *http.Request) (any, error) {
	c, err := readChange(r)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Value == nil:
		return nil, badParameter("Property value is required")
	case len(*c.Value) > maxValueBytes:
		return nil, badParameter("The value of the secret exceeds 25 KB")
	}
	v := version{Value: *c.Value}
	c.apply(&v)
	return s.bundle(s.store.set(r.PathValue("name"), v))
}

func (s *service) update(r *http.Request) (any, error) {
	c, err := readChange(r)
	if err != nil {
		return nil, err
	}
	body, err := s.bundle(s.store.update(r.PathValue("name"), r.PathValue("version"), c.apply))
	if v, ok := body.(view); ok {
		v.Value = "" // an update never shows the value
		return v, err
	}
	return body, err
}

func (s *service) list(r *http.Request) (any, error) {
	return s.page(r, s.store.list(), false)
}

func (s *service) versions(r *http.Request) (any, error) {
	return s.page(r, s.store.versions(r.PathValue("name")), true)
}

// page cuts a list: maxresults is at most 25, and nextLink carries where the
// next page begins.
func (s *service) page(r *http.Request, items []item, withVersion bool) (any, error) {
	query := r.URL.Query()
	size := maxPage
	if raw := query.Get("maxresults"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > maxPage {
			return nil, badParameter("maxresults must be between 1 and 25")
		}
		size = n
	}
	from := 0
	if raw := query.Get("$skiptoken"); raw != "" {
		decoded, err := base64.RawURLEncoding.DecodeString(raw)
		if err != nil {
			return nil, badParameter("$skiptoken is not valid")
		}
		if from, err = strconv.Atoi(string(decoded)); err != nil || from < 0 {
			return nil, badParameter("$skiptoken is not valid")
		}
	}
	from = min(from, len(items))
	to := min(from+size, len(items))

	page := struct {
		Value    []view  `json:"value"`
		NextLink *string `json:"nextLink"`
	}{Value: []view{}}
	for _, it := range items[from:to] {
		id := ""
		if withVersion {
			id = it.ID
		}
		page.Value = append(page.Value, s.view(it.name, id, it.version))
	}
	if to < len(items) {
		next := url.Values{
			"api-version": {query.Get("api-version")},
			"maxresults":  {strconv.Itoa(size)},
			"$skiptoken":  {base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(to)))},
		}
		link := s.base + r.URL.Path + "?" + next.Encode()
		page.NextLink = &link
	}
	return page, nil
}

// setFault takes kind (forbidden, throttled, unavailable, hang or nothing),
// retry_after in seconds (default 1) and times (default: until changed).
func (s *service) setFault(w http.ResponseWriter, r *http.Request) {
	f := fault{kind: r.FormValue("kind"), retryAfter: r.FormValue("retry_after")}
	if f.retryAfter == "" {
		f.retryAfter = "1"
	}
	times, err := strconv.Atoi(r.FormValue("times"))
	switch {
	case r.FormValue("times") == "":
	case err != nil || times < 1:
		http.Error(w, "times is a number, 1 or more", http.StatusBadRequest)
		return
	default:
		f.times = times
	}
	switch f.kind {
	case "", "forbidden", "throttled", "unavailable", "hang":
	default:
		http.Error(w, "kind is forbidden, throttled, unavailable, hang or nothing", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.fault = f
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// takeFault returns the fault that hits this request if it is one of kinds,
// and counts it.
func (s *service) takeFault(kinds ...string) fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fault
	if !slices.Contains(kinds, f.kind) {
		return fault{}
	}
	if f.times == 1 {
		s.fault = fault{}
	} else if f.times > 1 {
		s.fault.times--
	}
	return f
}

func (s *service) counts(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	writeJSON(w, map[string]int64{"requests": s.reads.Load()})
}

func writeJSON(w http.ResponseWriter, body any) {
	// The caller may be gone; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(body)
}
