package settings

import (
	"fmt"
	"strings"
)

// Markdown renders the table of keys for the README. The order is the table's, and the text ends in a newline.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| setting | what it is | values | default | takes effect |\n| --- | --- | --- | --- | --- |\n")
	for _, e := range Table() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", e.Key, e.describe(), e.Allowed, e.defaultText(), e.Change)
	}
	return b.String()
}

func (e Entry) describe() string {
	text := e.Doc
	if e.Secret {
		text += " A secret."
	}
	if e.EnvironmentOnly {
		text += " Environment only."
	}
	if len(e.Aliases) > 0 {
		text += " Also `" + strings.Join(e.Aliases, "`, `") + "`."
	}
	return text
}

func (e Entry) defaultText() string {
	switch {
	case e.Required:
		return "**required**"
	case e.Default == "":
		return ""
	}
	return "`" + strings.ReplaceAll(e.Default, ",", "`, `") + "`"
}
