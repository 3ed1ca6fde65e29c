package route

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
)

// constraint tells whether a value is accepted.
type constraint func(value string) bool

// parseConstraint knows the default constraints of ASP.NET Core
// (DefaultInlineConstraintResolver) but for datetime.
func parseConstraint(text string) (constraint, error) {
	name, args, hasArgs := strings.Cut(text, "(")
	if hasArgs {
		if !strings.HasSuffix(args, ")") {
			return nil, bad("constraint %q is not closed", text)
		}
		args = strings.TrimSuffix(args, ")")
	}
	switch strings.ToLower(name) {
	case "int":
		return isInteger(32), nil
	case "long":
		return isInteger(64), nil
	case "bool":
		return func(v string) bool {
			v = strings.TrimSpace(v)
			return strings.EqualFold(v, "true") || strings.EqualFold(v, "false")
		}, nil
	case "guid":
		return isGUID(), nil
	case "double", "float", "decimal":
		return func(v string) bool {
			_, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(v), ",", ""), 64)
			return err == nil
		}, nil
	case "alpha":
		return matches(`(?i)^[a-z]*$`), nil
	case "required":
		return func(v string) bool { return v != "" }, nil
	case "regex":
		re, err := regexp.Compile("(?i)" + args)
		if err != nil {
			return nil, bad("regex(%s): %v", args, err)
		}
		return re.MatchString, nil
	case "minlength", "maxlength", "length", "min", "max", "range":
		return bounded(strings.ToLower(name), args)
	}
	return nil, bad("unknown constraint %q", text)
}

func matches(pattern string) constraint { return regexp.MustCompile(pattern).MatchString }

func isInteger(bits int) constraint {
	return func(v string) bool {
		_, err := strconv.ParseInt(strings.TrimSpace(v), 10, bits)
		return err == nil
	}
}

// isGUID accepts the forms N, D, B, P of System.Guid.
func isGUID() constraint {
	const d = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
	return matches(`(?i)^\s*([0-9a-f]{32}|` + d + `|\{` + d + `\}|\(` + d + `\))\s*$`)
}

func bounded(name, args string) (constraint, error) {
	var bounds []int64
	for part := range strings.SplitSeq(args, ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(part), 10, 64)
		if err != nil {
			return nil, bad("%s(%s) needs whole numbers", name, args)
		}
		bounds = append(bounds, n)
	}
	pair := name == "range" || (name == "length" && len(bounds) == 2)
	if len(bounds) > 2 || pair != (len(bounds) == 2) {
		return nil, bad("%s(%s) has the wrong number of arguments", name, args)
	}
	low, high := bounds[0], bounds[len(bounds)-1]
	switch name {
	case "minlength", "min":
		high = math.MaxInt64
	case "maxlength":
		low = 0
	case "max":
		low = math.MinInt64
	}
	within := func(n int64) bool { return low <= n && n <= high }
	if strings.HasSuffix(name, "length") {
		// .NET counts UTF-16 units.
		return func(v string) bool { return within(int64(len(utf16.Encode([]rune(v))))) }, nil
	}
	return func(v string) bool {
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		return err == nil && within(n)
	}, nil
}
