package secret_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"latchkey/handler/internal/secret"
)

const canary = "canary-7Q4F2M"

func TestCFG5_NoWayOfPrintingShowsTheValue(t *testing.T) {
	text := secret.New(canary)
	type exported struct{ Text secret.Text }
	type hidden struct{ text secret.Text }
	var lines strings.Builder
	for _, verb := range strings.Split("vsdqxXtobcUeEfFgGpT", "") {
		for _, flag := range []string{"", "+", "#"} {
			for _, v := range []any{text, &text, exported{text}, &exported{text}, hidden{text}, &hidden{text}, []secret.Text{text}, map[string]secret.Text{"a": text}} {
				fmt.Fprintf(&lines, "%"+flag+verb+"\n", v)
			}
		}
	}
	for _, v := range []any{text, exported{text}, map[string]any{"a": text}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(b)
	}
	slog.New(slog.NewTextHandler(&lines, nil)).Info("a", "text", text, "in", exported{text})
	slog.New(slog.NewJSONHandler(&lines, nil)).Info("a", "text", text, "in", exported{text})
	if hex := fmt.Sprintf("%x", canary); strings.Contains(lines.String(), canary) || strings.Contains(strings.ToLower(lines.String()), hex) {
		t.Errorf("the value was printed:\n%s", lines.String())
	}
	if text.Reveal() != canary || text.IsZero() || !(secret.Text{}).IsZero() || (secret.Text{}).Reveal() != "" {
		t.Error("the value is lost")
	}
}
