// Package clinician decides about clinicians: who is known, under which identifier, until when, and who of them may log in through
// which device (DIR-2 to DIR-4, TOK-3, model.md section 1). An identifier belongs to one clinician at a time, whatever races, dies or
// answers nothing; that is what the package is mostly about. It refuses to know how a device proved itself and how a token looks: no
// HTTP, no Azure, no JWT.
package clinician

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"latchkey/handler/internal/subject"
)

// The bounds of what is kept of one clinician.
const (
	// MaxIdentifier is the longest send_entry_identifier, in characters; maxKey in bytes, for the key of its row.
	MaxIdentifier, maxKey = 128, 255
	// MaxNames is how many products, and how many groups, a clinician has at most, and MaxName the characters of one.
	MaxNames, MaxName = 50, 100
)

// Version is the storage's mark of one state of a row (an ETag). Absent means that there is no row yet.
type Version string

// Absent is the version of a row that does not exist.
const Absent Version = ""

// Clinician is what is kept of one.
type Clinician struct {
	Subject subject.ID
	// LoginActive is whether they may log in at all.
	LoginActive bool
	// Identifier is what they log in by (send_entry_identifier), "" for none. It is theirs only if its claim says so too.
	Identifier string
	// Products and Groups are in lower case, in the order in which they were given, each once.
	Products, Groups []string
	// LastDay is the last day of the contract, "" if it has no end.
	LastDay Day

	Created    time.Time
	CreatedBy  string
	Modified   time.Time
	ModifiedBy string

	// N counts the commits, from 1.
	N int64
	// Version is the row's.
	Version Version
}

// groups that may log in (TOK-3). They are compared exactly, after the folding of Fields.
var admitted = []string{"send clinician", "send superclinician"}

// mayEnter reports whether one of the clinician's groups may log in.
func (c Clinician) mayEnter() bool {
	return slices.ContainsFunc(c.Groups, func(group string) bool { return slices.Contains(admitted, group) })
}

// Day is a day of the calendar as 2006-01-02, or "". Days sort as their texts do.
type Day string

const dayForm = "2006-01-02"

// isDay tests for the one spelling of a day.
func isDay(text string) bool {
	t, err := time.Parse(dayForm, text)
	return err == nil && t.Format(dayForm) == text
}

// over reports whether the day has ended at now by the clocks of zone: it lasts until the next day begins there, however long it is
// (DIR-4, as ACT-9). "" never ends.
func (d Day) over(now time.Time, zone *time.Location) bool {
	return d != "" && now.In(zone).Format(dayForm) > string(d)
}

// Fields are what a request says of a clinician; nil leaves a field as it is, or at its zero value. An Identifier or a LastDay of ""
// is none.
type Fields struct {
	LoginActive      *bool
	Identifier       *string
	Products, Groups *[]string
	LastDay          *string
}

// checked is the fields as they are kept, or *Invalid.
func (f Fields) checked() (Fields, error) {
	if f.Identifier != nil && *f.Identifier != "" && !isIdentifier(*f.Identifier) {
		return Fields{}, &Invalid{"send_entry_identifier", "is not 1 to 128 visible characters of at most 255 bytes, without blanks at its ends"}
	}
	if f.LastDay != nil && *f.LastDay != "" && !isDay(*f.LastDay) {
		return Fields{}, &Invalid{"contract_expiry_eod_date", "is not a day such as 2026-11-24"}
	}
	for _, names := range []struct {
		field string
		list  **[]string
	}{{"products", &f.Products}, {"groups", &f.Groups}} {
		if *names.list == nil {
			continue
		}
		folded, err := fold(names.field, **names.list)
		if err != nil {
			return Fields{}, err
		}
		*names.list = &folded
	}
	return f, nil
}

// fold gives names as they are kept: in lower case, each once. What only looks like a letter of ASCII does not become one: U+017F has
// no lower case, and U+212A stands in none of the names that mean anything here.
func fold(field string, names []string) ([]string, error) {
	if len(names) > MaxNames {
		return nil, &Invalid{field, fmt.Sprintf("are more than %d", MaxNames)}
	}
	folded := make([]string, 0, len(names))
	for _, name := range names {
		if name == "" || !isShown(name, MaxName) {
			return nil, &Invalid{field, fmt.Sprintf("have one that is not 1 to %d visible characters, without blanks at its ends", MaxName)}
		}
		if name = strings.ToLower(name); !slices.Contains(folded, name) {
			folded = append(folded, name)
		}
	}
	return folded, nil
}

func isIdentifier(s string) bool { return s != "" && len(s) <= maxKey && isShown(s, MaxIdentifier) }

// isShown keeps out what could not be seen, or would change how what stands around it is read.
func isShown(s string, most int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= most && strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// on is the clinician with these fields.
func (f Fields) on(c Clinician) Clinician {
	if f.LoginActive != nil {
		c.LoginActive = *f.LoginActive
	}
	if f.Identifier != nil {
		c.Identifier = *f.Identifier
	}
	if f.Products != nil {
		c.Products = *f.Products
	}
	if f.Groups != nil {
		c.Groups = *f.Groups
	}
	if f.LastDay != nil {
		c.LastDay = Day(*f.LastDay)
	}
	return c
}

// same reports whether two states of one clinician are alike to whoever changes them.
func same(a, b Clinician) bool {
	return a.LoginActive == b.LoginActive && a.Identifier == b.Identifier && a.LastDay == b.LastDay &&
		slices.Equal(a.Products, b.Products) && slices.Equal(a.Groups, b.Groups)
}

// Invalid is the error for a value that is not kept.
type Invalid struct {
	// Field is the member of the request's body, as the predecessor calls it.
	Field   string
	Problem string
}

func (e *Invalid) Error() string { return e.Field + " " + e.Problem }

// Errors of the operations, beside *Invalid, *activation.Refusal and those of package commit.
var (
	// ErrNotFound: nobody knows this clinician.
	ErrNotFound = errors.New("there is no such clinician")
	// ErrExists: the clinician is known already.
	ErrExists = errors.New("the clinician exists")
	// ErrTaken: the identifier is somebody else's, or is being given to somebody at this moment.
	ErrTaken = errors.New("the identifier is taken")
)
