package picture

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

const human = "OXF-7KQ4-9F2M-HX3F-J7WP-7"

// drawn is an SVG as a picture viewer sees it.
type drawn struct {
	XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
	Role    string   `xml:"role,attr"`
	Labels  string   `xml:"aria-labelledby,attr"`
	ViewBox string   `xml:"viewBox,attr"`
	Title   struct {
		ID   string `xml:"id,attr"`
		Text string `xml:",chardata"`
	} `xml:"title"`
	Desc struct {
		ID   string `xml:"id,attr"`
		Text string `xml:",chardata"`
	} `xml:"desc"`
	Rect struct {
		Width  int    `xml:"width,attr"`
		Height int    `xml:"height,attr"`
		Fill   string `xml:"fill,attr"`
	} `xml:"rect"`
	Path struct {
		D    string `xml:"d,attr"`
		Fill string `xml:"fill,attr"`
	} `xml:"path"`
}

func parse(t testing.TB, svg []byte) (d drawn) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	if err := decoder.Decode(&d); err != nil {
		t.Fatalf("%v: %s", err, svg)
	}
	if _, err := decoder.Token(); err != io.EOF {
		t.Fatalf("there is something behind the SVG: %v", err)
	}
	return d
}

// raster draws the SVG's path at a size in pixels, each the colour of its middle.
func (d drawn) raster(t testing.TB, pixels int) image.Image {
	t.Helper()
	var side int
	if _, err := fmt.Sscanf(d.ViewBox, "0 0 %d %d", &side, &side); err != nil || d.Rect.Width != side || d.Rect.Height != side {
		t.Fatalf("the view box is %q, the ground %+v: %v", d.ViewBox, d.Rect, err)
	}
	dark := make([]bool, side*side)
	for run := range strings.SplitSeq(strings.TrimSuffix(d.Path.D, "z"), "z") {
		var x, y, there, back int
		if _, err := fmt.Sscanf(run, "M%d %dh%dv1h-%d", &x, &y, &there, &back); err != nil || there != back {
			t.Fatalf("the path has %q: %v", run, err)
		}
		for i := range there {
			dark[y*side+x+i] = true
		}
	}
	img := image.NewGray(image.Rect(0, 0, pixels, pixels))
	for y := range pixels {
		for x := range pixels {
			if !dark[(2*y+1)*side/(2*pixels)*side+(2*x+1)*side/(2*pixels)] {
				img.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	return img
}

// scaled is a picture at another size, each pixel the mean of those that it covers.
func scaled(from image.Image, pixels int) image.Image {
	img, size := image.NewGray(image.Rect(0, 0, pixels, pixels)), from.Bounds().Dx()
	for y := range pixels {
		for x := range pixels {
			sum, n := 0, 0
			for v := y * size / pixels; v <= ((y+1)*size-1)/pixels; v++ {
				for u := x * size / pixels; u <= ((x+1)*size-1)/pixels; u++ {
					sum += int(color.GrayModel.Convert(from.At(u, v)).(color.Gray).Y)
					n++
				}
			}
			img.SetGray(x, y, color.Gray{Y: uint8(sum / n)})
		}
	}
	return img
}

// read decodes a QR code with a library that did not make it.
func read(t testing.TB, img image.Image) string {
	t.Helper()
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true})
	if err != nil {
		t.Fatalf("cannot be read at %d pixels: %v", img.Bounds().Dx(), err)
	}
	return result.GetText()
}

// printed is 50 mm at 300 dots an inch, as on the sheet; small what a screen may show.
const small, printed = 200, 591

// longest is a link of MaxLink bytes and the longest code that there is.
var longest = "https://" + strings.Repeat("a", MaxLink-8)

const longestCode = "OXF-7KQ4-9F2M-HX3F-J7WP-7KQ4-9F"

func TestACT11_QRHoldsTheAppLink(t *testing.T) {
	for _, link := range []string{"https://app.example/activate", "uk.example.app:/activate", longest} {
		for _, code := range []string{human, longestCode} {
			c, err := New(link, code)
			if err != nil {
				t.Fatal(err)
			}
			want := link + "#" + code
			if c.Link() != want {
				t.Errorf("the link is %q, want %q", c.Link(), want)
			}
			svg := parse(t, c.SVG())
			data, err := c.PNG()
			if err != nil {
				t.Fatal(err)
			}
			bitmap, err := png.Decode(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if side := bitmap.Bounds().Dx(); side < small || side != bitmap.Bounds().Dy() || side%pngModule != 0 {
				t.Errorf("the PNG is %v", bitmap.Bounds())
			}
			for _, pixels := range []int{small, printed} {
				if got := read(t, svg.raster(t, pixels)); got != want {
					t.Errorf("the SVG says %q at %d pixels, want %q", got, pixels, want)
				}
				if got := read(t, scaled(bitmap, pixels)); got != want {
					t.Errorf("the PNG says %q at %d pixels, want %q", got, pixels, want)
				}
			}
			if got := read(t, bitmap); got != want {
				t.Errorf("the PNG says %q, want %q", got, want)
			}
		}
	}
}

// ISO/IEC 18004:2015 section 5.3.8: four modules of light all around, else readers do not find the code.
func TestACT11_QRHasItsMargin(t *testing.T) {
	c, err := New("https://app.example/activate", human)
	if err != nil {
		t.Fatal(err)
	}
	side := c.qr.Size() + 8
	data, err := c.PNG()
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for name, img := range map[string]image.Image{"SVG": parse(t, c.SVG()).raster(t, side), "PNG": scaled(bitmap, side)} {
		for y := range side {
			for x := range side {
				edge := min(x, y, side-1-x, side-1-y)
				light := color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y == 255
				if edge < 4 && !light {
					t.Fatalf("%s: %d, %d is dark", name, x, y)
				}
				if (x == 4 || x == 10) && y >= 4 && y <= 10 && light { // the sides of a finder pattern
					t.Fatalf("%s: %d, %d is light", name, x, y)
				}
			}
		}
	}
}

// What is lost under a stain of a quarter of its side is made up for.
func TestACT11_QRBearsDamage(t *testing.T) {
	c, err := New("https://app.example/activate", human)
	if err != nil {
		t.Fatal(err)
	}
	img := parse(t, c.SVG()).raster(t, printed).(*image.Gray)
	for y := printed * 40 / 100; y < printed*65/100; y++ {
		for x := printed * 40 / 100; x < printed*65/100; x++ {
			img.SetGray(x, y, color.Gray{Y: 255})
		}
	}
	if got := read(t, img); got != c.Link() {
		t.Errorf("says %q", got)
	}
}

func TestACT11_SVGSpeaksTheCode(t *testing.T) {
	c, err := New("https://app.example/activate", human)
	if err != nil {
		t.Fatal(err)
	}
	d := parse(t, c.SVG())
	if d.Role != "img" || d.Labels != d.Title.ID+" "+d.Desc.ID || d.Title.ID == "" || d.Title.ID == d.Desc.ID {
		t.Errorf("it is a %q, named by %q, which are %q and %q", d.Role, d.Labels, d.Title.ID, d.Desc.ID)
	}
	if d.Title.Text != "Activation code "+human {
		t.Errorf("the title is %q", d.Title.Text)
	}
	if spoken := "O X F, 7 K Q 4, 9 F 2 M, H X 3 F, J 7 W P, 7"; !strings.HasSuffix(d.Desc.Text, ": "+spoken) || c.Spoken() != spoken {
		t.Errorf("the description is %q", d.Desc.Text)
	}
	for _, no := range []string{"<script", "href", "url(", "style", "<!", "<?", "http://www.w3.org/1999"} {
		if bytes.Contains(c.SVG(), []byte(no)) {
			t.Errorf("it holds %q", no)
		}
	}
}

func TestACT11_SVGEscapes(t *testing.T) {
	c, err := New("https://app.example/activate", `</title><script>alert("&")</script>`)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(c.SVG(), []byte("<script")) {
		t.Errorf("it holds a script: %s", c.SVG())
	}
	if title := parse(t, c.SVG()).Title.Text; title != `Activation code </title><script>alert("&")</script>` {
		t.Errorf("the title is %q", title)
	}
}

func TestALinkThatNoQRCodeHolds(t *testing.T) {
	if _, err := New("https://"+strings.Repeat("a", 4000), human); err == nil {
		t.Error("drawn all the same")
	}
}
