package recipes

// Case is one thing that is tried.
type Case struct {
	ID    string
	Title string
	// Want are the statuses that are right, the one that is meant first. 401: the token is not accepted. 403: it is, and the
	// caller may not do this. 503: that cannot be told now. What else stands there is what a server may say before it comes to
	// callers at all.
	Want []int
	// Hosted are statuses that a Functions host answers itself, without the app.
	Hosted []int
	// Document is what the issuer serves as its keys. When Before is set, that one is served first, for one good request.
	Document, Before string
	// Route is where it is tried.
	Route Route
	// Behind is tried at the app's own port, past the host.
	Behind bool
	// Times is how often it is sent at once; 0 = once.
	Times int

	base    base
	changes []change
}

// Accepted tells whether a verifier of tokens alone must take it: what the caller may do is another's question.
func (c Case) Accepted() bool { return c.Want[0] == 200 || c.Want[0] == 403 }

// Transported tells whether the case is about the request and not about the token, and what it says about a verifier of tokens
// is nothing.
func (c Case) Transported(f *Fixture) bool {
	d := &draft{f: f}
	c.base(d)
	for _, change := range c.changes {
		change(d)
	}
	return len(d.request) > 0
}

// Cases are all: the catalogue's, and those like them.
func Cases() []Case { return append(catalogue(), alike()...) }

func one(id, title string, status int, base base, changes ...change) Case {
	return Case{ID: id, Title: title, Want: []int{status}, Document: Default, base: base, changes: changes}
}

func (c Case) or(statuses ...int) Case { c.Want = append(c.Want, statuses...); return c }
func (c Case) hosted(status int) Case  { c.Hosted = append(c.Hosted, status); return c }
func (c Case) on(document string) Case { c.Document = document; return c }
func (c Case) warm() Case              { c.Before = Default; return c }
func (c Case) times(n int) Case        { c.Times = n; return c }
func (c Case) behind() Case            { c.Behind = true; return c }
func (c Case) device() Case            { c.Route = Devices; return c }
