// Package picture owns how a code looks to people who do not type it: a QR code as SVG and as PNG, and the sheet that a ward
// hands out (ACT-11). It refuses to know whose code it is: neither a picture nor a sheet says (Sheet tells why). It keeps
// nothing, and draws the same from the same.
package picture

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"

	qr "github.com/piglig/go-qr"
)

const (
	// quiet is the light margin around a QR code, in modules (ISO/IEC 18004:2015 section 5.3.8).
	quiet = 4
	// pngModule is the side of a module in the PNG, in pixels: about 25 mm of paper at 300 dots an inch.
	pngModule = 8
	// MaxLink is how long the link in front of a code may be, in bytes. With the longest code behind the "#" it makes a QR code
	// of 65 modules, margin and all, of which each has 3 pixels where the whole has 200.
	MaxLink = 100
)

// Code is one code, ready to be drawn. It holds a secret: whoever sees the picture can redeem the code.
type Code struct {
	human, link string
	qr          *qr.QrCode
}

// New makes the picture of a human code, with a link to the app in front of it. The code is the link's fragment: a fragment is
// never sent to a server (RFC 9110 section 4.2.5), so that no server, proxy or preview that follows the link can log the code.
// It fails only if a QR code cannot hold that much, which a link of MaxLink bytes is far from.
func New(link, human string) (Code, error) {
	c := Code{human: human, link: link + "#" + human}
	// A quarter of a code on paper may be lost in a crease or under a thumb. (MakeSegmentsOptimally of the library, v1.1.0, would
	// make smaller pictures, and never returns for a text that is too long.)
	var err error
	if c.qr, err = qr.EncodeText(c.link, qr.Quartile); err != nil {
		return Code{}, fmt.Errorf("drawing a QR code: %w", err)
	}
	return c, nil
}

// Link is what the QR code holds.
func (c Code) Link() string { return c.link }

// Spoken is the code as a screen reader should say it: by the character, with a pause behind each group.
func (c Code) Spoken() string {
	groups := strings.Split(c.human, "-")
	for i, group := range groups {
		groups[i] = strings.Join(strings.Split(group, ""), " ")
	}
	return strings.Join(groups, ", ")
}

// SVG is the QR code as an SVG of its own, which can also stand in a page. Its title and description hold the code as text
// (WCAG 2.2 criterion 1.1.1). It has no script, no style and no reference to anything.
func (c Code) SVG() []byte {
	var b bytes.Buffer
	side := c.qr.Size() + 2*quiet
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="50mm" height="50mm" viewBox="0 0 %d %d" role="img" `+
		`aria-labelledby="code-title code-text" shape-rendering="crispEdges"><title id="code-title">`, side, side)
	text := func(s string) { _ = xml.EscapeText(&b, []byte(s)) } // a buffer takes everything
	text("Activation code " + c.human)
	b.WriteString(`</title><desc id="code-text">`)
	text("A QR code that opens the app with this code. One character after the other: " + c.Spoken())
	fmt.Fprintf(&b, `</desc><rect width="%d" height="%d" fill="#fff"/><path fill="#000" d="`, side, side)
	for y := range c.qr.Size() {
		for x := 0; x < c.qr.Size(); x++ {
			first := x
			for c.qr.Module(x, y) { // false beyond the edge
				x++
			}
			if x > first {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", first+quiet, y+quiet, x-first, x-first)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return b.Bytes()
}

// PNG is the QR code as a PNG. A PNG has no place for a text that screen readers look at: who shows it gives them the code.
func (c Code) PNG() ([]byte, error) {
	image, err := c.qr.ToPNGBytes(qr.NewQrCodeImgConfig(pngModule, quiet))
	if err != nil {
		return nil, fmt.Errorf("drawing a PNG: %w", err)
	}
	return image, nil
}
