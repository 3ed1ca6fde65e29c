package strictjson_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"latchkey/handler/internal/strictjson"
)

var limits = strictjson.Limits{Depth: 8, Values: 20, Text: 1000}

// threats.md H-06.
func TestDIR5_ObjectRefusesWhatTwoReadersReadInTwoWays(t *testing.T) {
	for name, c := range map[string]struct{ text, path string }{
		"nothing":                     {"", "body"},
		"cut off":                     {`{"a":"b`, "body"},
		"a name twice":                {`{"otp":"1","otp":"2"}`, "body.otp"},
		"a name in two cases":         {`{"otp":"1","OTP":"2"}`, "body.OTP"},
		"a name in capitals twice":    {`{"OTP":"1","OTP":"2"}`, "body.OTP"},
		"a name in two other cases":   {`{"Otp":"1","oTP":"2"}`, "body.oTP"},
		"names that fold together":    {`{"kelvin":1,"\u212Aelvin":2}`, "body.\u212Aelvin"},
		"a name escaped":              {`{"otp":"1","\u006ftp":"2"}`, "body.otp"},
		"a name twice, deep":          {`{"a":[{"b":1,"B":1}]}`, "body.a.B"},
		"9 deep":                      {nested(9), "body.a"},
		"100,000 deep":                {strings.Repeat(`{"a":`, 100_000), "body.a.a.a.a.a.a.a.a"},
		"a list of more than 20":      {`{"a":[` + strings.Repeat("1,", 20) + `1]}`, "body.a"},
		"a long name":                 {`{"` + strings.Repeat("n", 129) + `":1}`, "body"},
		"a long text":                 {`{"a":"` + strings.Repeat("n", 1001) + `"}`, "body.a"},
		"not a number":                {`{"a":NaN}`, "body"},
		"a number beyond float64":     {`{"a":1e999}`, "body.a"},
		"a number of 33 digits":       {`{"a":` + strings.Repeat("1", 33) + `}`, "body.a"},
		"an exponent of 3 digits":     {`{"a":1E-100}`, "body.a"},
		"a byte order mark":           {"\ufeff{}", "body"},
		"invalid UTF-8":               {"{\"a\":\"\xff\"}", "body"},
		"half a surrogate pair":       {`{"a":"\ud800"}`, "body.a"},
		"half a pair in a name":       {`{"\ud800":1}`, "body"},
		"something behind":            {`{} {}`, "body"},
		"null":                        {`null`, "body"},
		"a list":                      {`[{}]`, "body"},
		"a string":                    {`"{}"`, "body"},
		"a comma too many":            {`{"a":1,}`, "body"},
		"a list closed as an object":  {`{"a":[}`, "body"},
		"single quotes":               {`{'a':1}`, "body"},
		"a comment":                   {`{/**/}`, "body"},
		"a control character in text": {"{\"a\":\"\n\"}", "body"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := strictjson.Object([]byte(c.text), "body", limits)
			var refused *strictjson.Error
			if !errors.As(err, &refused) {
				t.Fatalf("accepted: %v", err)
			}
			if refused.Path != c.path || refused.Problem == "" {
				t.Errorf("%v, want it at %s", refused, c.path)
			}
		})
	}
}

// What kind of thing is wrong is said as well: a token's refusal has a cause for each.
func TestAUT6_FlawsAreTold(t *testing.T) {
	strict := limits
	strict.Spelt = map[string]bool{"oid": true, "k": true}
	for text, want := range map[string]strictjson.Flaw{
		"": strictjson.Form, "[]": strictjson.Form, "{}x": strictjson.Form, `{"a":1,}`: strictjson.Form, `{"a" 1}`: strictjson.Form,
		"{\"a\":\"\xff\"}": strictjson.Unicode, `{"a":"\udfff"}`: strictjson.Unicode, `{"\ud800":1}`: strictjson.Unicode,
		`{"a":1,"a":2}`: strictjson.Twice, `{"a":1,"A":2}`: strictjson.Twice, `{"OID":1,"oid":2}`: strictjson.Spelling, `{"oid":1,"OID":2}`: strictjson.Twice,
		`{"Oid":1}`: strictjson.Spelling, `{"\u212a":1}`: strictjson.Spelling,
		nested(9): strictjson.Excess, `{"a":1e999}`: strictjson.Excess, `{"a":"` + strings.Repeat("n", 1001) + `"}`: strictjson.Excess,
		// The first flaw is told.
		`{"a":1,"a":2`: strictjson.Twice, `{"a":1 "a":2`: strictjson.Form,
	} {
		_, err := strictjson.Object([]byte(text), "body", strict)
		var refused *strictjson.Error
		if !errors.As(err, &refused) || refused.Flaw != want {
			t.Errorf("%q: %v, flaw %d, want %d", text, err, refused.Flaw, want)
		}
	}
	for _, text := range []string{`{"Other":1}`, `{"a":{"Oid":1}}`, `{"oid":1,"k":2}`} {
		if _, err := strictjson.Object([]byte(text), "body", strict); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func nested(n int) string { return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}` }

func TestListReads(t *testing.T) {
	got, err := strictjson.List([]byte(` [1, {"a":[]}, "x"] `), "it", limits)
	if want := []any{json.Number("1"), map[string]any{"a": []any{}}, "x"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, text := range []string{"{}", "null", `"[]"`, "[", "[1 2]", "[,]", "[1,]", `[{"a":1,"a":2}]`} {
		if got, err := strictjson.List([]byte(text), "it", limits); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestObjectReads(t *testing.T) {
	got, err := strictjson.Object([]byte(` {"a":"\u0000x","b":[1.50,true,null,{"a":{}}],"straße":"💡","n":12345678901234567890} `), "body", limits)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"a": "\x00x", "b": []any{json.Number("1.50"), true, nil, map[string]any{"a": map[string]any{}}},
		"straße": "💡", "n": json.Number("12345678901234567890"),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Whatever strings.EqualFold takes for one name, Fold does.
func TestFoldCoversEveryLetter(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			if a, b := strictjson.Fold("x"+string(r)), strictjson.Fold("x"+string(other)); a != b {
				t.Fatalf("%U and %U fold to %q and %q", r, other, a, b)
			}
		}
	}
}

// What is taken is JSON, and encoding/json reads the same from it. What is refused for its form is no JSON object.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}]}`, `{"a":1,"A":2}`, `{"a":"\ud800"}`, `{"a":1,}`, `[}`, `{}{}`, "\ufeff{}",
		`{"a":-0.5e+10,"b":true,"c":[false,null,"x\"y\\"]}`, "{}\x00", `{"a":01}`, `{"a":1.}`, `{"a":tru}`, `{"\u0061":"\n"}`, `{"a" 1}`, `{"a":[1 2]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := strictjson.Object(data, "body", limits)
		if err != nil {
			var refused *strictjson.Error
			if !errors.As(err, &refused) {
				t.Fatalf("%v is not an *Error", err)
			}
			var object map[string]any
			if refused.Flaw == strictjson.Form && json.Unmarshal(data, &object) == nil && object != nil {
				t.Fatalf("%q is JSON: %v", data, err)
			}
			return
		}
		d := json.NewDecoder(strings.NewReader(string(data)))
		d.UseNumber()
		var theirs map[string]any
		if err := d.Decode(&theirs); err != nil || !reflect.DeepEqual(got, theirs) {
			t.Fatalf("%q: %v, encoding/json has %v (%v)", data, got, theirs, err)
		}
	})
}
