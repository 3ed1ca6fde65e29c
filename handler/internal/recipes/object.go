package recipes

import (
	"encoding/json"
	"strings"
)

// object is a JSON object as a list of members, in the order in which they are written. Names and values are JSON text, which need
// not be good: this is how a member gets there twice.
type object struct {
	members []member
	whole   *string // written instead of the members
}

type member struct{ name, value string }

// text is JSON as it shall stand in the token; other values of changes are marshalled.
type text string

func jsonOf(value any) string {
	if t, ok := value.(text); ok {
		return string(t)
	}
	body, err := json.Marshal(value)
	if err != nil {
		panic(err) // a mistake in the table
	}
	return string(body)
}

func nameOf(name string) string { return `"` + name + `"` } // may hold escapes

func (o *object) set(name string, value any) {
	for i := range o.members {
		if o.members[i].name == nameOf(name) {
			o.members[i].value = jsonOf(value)
			return
		}
	}
	o.append(name, value)
}

func (o *object) append(name string, value any) {
	o.members = append(o.members, member{nameOf(name), jsonOf(value)})
}

func (o *object) prepend(name string, value any) {
	o.members = append([]member{{nameOf(name), jsonOf(value)}}, o.members...)
}

func (o *object) remove(name string) {
	kept := o.members[:0:0]
	for _, m := range o.members {
		if m.name != nameOf(name) {
			kept = append(kept, m)
		}
	}
	o.members = kept
}

func (o *object) rename(from, to string) {
	for i := range o.members {
		if o.members[i].name == nameOf(from) {
			o.members[i].name = nameOf(to)
		}
	}
}

func (o object) String() string {
	if o.whole != nil {
		return *o.whole
	}
	var b strings.Builder
	b.WriteByte('{')
	for i, m := range o.members {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(m.name + ":" + m.value)
	}
	b.WriteByte('}')
	return b.String()
}
