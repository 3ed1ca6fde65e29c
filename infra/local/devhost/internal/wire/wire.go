// Package wire reads and writes HTTP/1.1 messages as they stand on a socket.
//
// It exists because net/http hides what a stand-in host must keep or refuse
// the way Kestrel does: reason phrases, repeated header lines, targets that
// are not valid URLs, and the exact refusals. It knows nothing of functions,
// routes or the handler. It refuses HTTP/2, upgrades and bare line feeds.
package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits of Kestrel (KestrelServerLimits) and of .NET's HttpClient
// (MaxResponseHeadersLength), in bytes and lines.
const (
	maxRequestLine  = 8 << 10
	maxHeaderBytes  = 32 << 10
	maxHeaderLines  = 100
	maxResponseHead = 64 << 10
)

// ErrNoReply: the peer closed the connection before the first byte of a reply.
var ErrNoReply = errors.New("connection closed before any byte of a reply")

// Refusal is a request that the server answers itself and then hangs up.
type Refusal struct{ Status int }

func (r *Refusal) Error() string { return fmt.Sprintf("request refused with status %d", r.Status) }

// Request is a request head, and its body as a stream.
type Request struct {
	Method, Target string
	Minor          int // HTTP/1.Minor
	Header         Header
	Length         int64 // of the body; -1 if no Content-Length was sent
	Chunked        bool
	Body           *Body
}

// HasBody reports whether the request carries, or may carry, body bytes.
func (r *Request) HasBody() bool { return r.Chunked || r.Length > 0 }

// Body is the body of a message. Done is set once it was read to its end.
type Body struct {
	r    io.Reader
	Done bool
}

func (b *Body) Read(p []byte) (int, error) {
	if b.Done {
		return 0, io.EOF
	}
	n, err := b.r.Read(p)
	if err == io.EOF {
		b.Done = true
	}
	return n, err
}

// lengthReader turns an early end of a body of known length into an error.
type lengthReader struct {
	r    io.Reader
	left int64
}

func (l *lengthReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if err == io.EOF && l.left > 0 {
		return n, io.ErrUnexpectedEOF
	}
	if l.left == 0 {
		return n, io.EOF
	}
	return n, err
}

// chunkedReader decodes chunks and drops extensions and trailers.
type chunkedReader struct {
	br     *bufio.Reader
	chunks io.Reader
}

func (c *chunkedReader) Read(p []byte) (int, error) {
	n, err := c.chunks.Read(p)
	if err != io.EOF {
		return n, err
	}
	for {
		line, lerr := readLine(c.br, maxHeaderBytes)
		if lerr != nil {
			return n, io.ErrUnexpectedEOF
		}
		if len(line) == 0 {
			return n, io.EOF
		}
	}
}

func newChunked(br *bufio.Reader) *Body {
	return &Body{r: &chunkedReader{br: br, chunks: httputil.NewChunkedReader(br)}}
}

var errTooLong = errors.New("line too long")

// readLine reads a line of at most max bytes and cuts its CR LF off.
func readLine(br *bufio.Reader, max int) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > max {
			return nil, errTooLong
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			if err == io.EOF && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		break
	}
	if !bytes.HasSuffix(line, []byte("\r\n")) {
		return nil, &Refusal{http.StatusBadRequest}
	}
	return line[:len(line)-2], nil
}

func isToken(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c > '~' || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return true
}

func parseLine(line []byte) (Line, bool) {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || !isToken(string(name)) {
		return Line{}, false
	}
	v := string(bytes.Trim(value, " \t"))
	if strings.ContainsAny(v, "\x00\r\n") {
		return Line{}, false
	}
	return Line{string(name), v}, true
}

// ReadRequest reads a request head. It returns io.EOF if the client hung up
// between two requests, and a *Refusal for what Kestrel refuses: 400, 414 and
// 431, with an empty body and the connection closed.
func ReadRequest(br *bufio.Reader) (*Request, error) {
	line, err := readLine(br, maxRequestLine)
	if errors.Is(err, errTooLong) {
		return nil, &Refusal{http.StatusRequestURITooLong}
	}
	if err != nil {
		return nil, err
	}
	bad := &Refusal{http.StatusBadRequest}
	part := strings.Split(string(line), " ")
	if len(part) != 3 || !isToken(part[0]) || part[1] == "" {
		return nil, bad
	}
	r := &Request{Method: canonicalMethod(part[0]), Target: part[1], Length: -1}
	switch part[2] {
	case "HTTP/1.1":
		r.Minor = 1
	case "HTTP/1.0":
	default:
		return nil, bad
	}
	for i := range len(r.Target) {
		if c := r.Target[i]; c < ' ' || c > '~' {
			return nil, bad
		}
	}
	if err := r.readHeader(br); err != nil {
		return nil, err
	}
	if r.Minor == 1 && len(r.Header.Values("Host")) != 1 {
		return nil, bad
	}
	return r, r.frame(br)
}

func (r *Request) readHeader(br *bufio.Reader) error {
	size := 0
	for {
		line, err := readLine(br, maxHeaderBytes)
		if errors.Is(err, errTooLong) {
			return &Refusal{http.StatusRequestHeaderFieldsTooLarge}
		}
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		size += len(line) + 2
		if size > maxHeaderBytes || len(r.Header) == maxHeaderLines {
			return &Refusal{http.StatusRequestHeaderFieldsTooLarge}
		}
		l, ok := parseLine(line)
		if !ok || !utf8.ValidString(l.Value) {
			return &Refusal{http.StatusBadRequest}
		}
		r.Header = append(r.Header, l)
	}
}

// frame finds out where the body ends.
func (r *Request) frame(br *bufio.Reader) error {
	bad := &Refusal{http.StatusBadRequest}
	if te := r.Header.Tokens("Transfer-Encoding"); len(te) > 0 {
		if te[len(te)-1] != "chunked" || r.Minor == 0 {
			return bad
		}
		r.Header.Del("Content-Length")
		r.Chunked = true
		r.Body = newChunked(br)
		return nil
	}
	switch vs := r.Header.Values("Content-Length"); len(vs) {
	case 0:
		// RFC 9110 section 8.6; Kestrel refuses it for HTTP/1.0 only.
		if r.Minor == 0 && (r.Method == "POST" || r.Method == "PUT") {
			return bad
		}
	case 1:
		n, ok := parseLength(vs[0])
		if !ok {
			return bad
		}
		r.Length = n
	default:
		return bad
	}
	r.Body = &Body{r: &lengthReader{r: br, left: max(r.Length, 0)}, Done: r.Length <= 0}
	return nil
}

func parseLength(s string) (int64, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// canonicalMethod writes the methods that .NET knows in capitals.
func canonicalMethod(m string) string {
	switch u := strings.ToUpper(m); u {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT":
		return u
	}
	return m
}

// Response is a reply head, and its body as a stream.
type Response struct {
	Status int
	Reason string
	Header Header
	Length int64 // of the body; -1 if its end is marked otherwise
	// Bodiless: no body follows, whatever the header says (HEAD, 204, 304).
	Bodiless bool
	// Chunked: the body came in chunks, or lasted until the connection closed.
	Chunked, UntilClose bool
	// Close: the connection cannot be used again.
	Close bool
	Body  *Body
}

// ReadResponse reads a reply to a request of that method; 100 and 103 are
// swallowed. It returns ErrNoReply if the connection ended before the first
// byte, and other errors for heads that are cut, too long or not HTTP.
func ReadResponse(br *bufio.Reader, method string) (*Response, error) {
	if _, err := br.Peek(1); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReply, err)
	}
	for {
		r, err := readResponseHead(br)
		if err != nil {
			return nil, err
		}
		if r.Status < 200 {
			continue
		}
		return r, r.frame(br, method)
	}
}

func readResponseHead(br *bufio.Reader) (*Response, error) {
	line, err := readLine(br, maxResponseHead)
	if err != nil {
		return nil, fmt.Errorf("status line: %w", err)
	}
	proto, rest, _ := strings.Cut(string(line), " ")
	code, reason, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if err != nil || status < 100 || status > 999 || (proto != "HTTP/1.1" && proto != "HTTP/1.0") {
		return nil, fmt.Errorf("not a status line: %.40q", line)
	}
	r := &Response{Status: status, Reason: reason, Close: proto == "HTTP/1.0", Length: -1}
	for left := maxResponseHead - len(line); ; {
		line, err := readLine(br, left)
		if err != nil {
			return nil, fmt.Errorf("reply head: %w", err)
		}
		if len(line) == 0 {
			return r, nil
		}
		left -= len(line) + 2
		l, ok := parseLine(line)
		if !ok {
			return nil, fmt.Errorf("not a header line: %.40q", line)
		}
		r.Header = append(r.Header, l)
	}
}

func (r *Response) frame(br *bufio.Reader, method string) error {
	for _, t := range r.Header.Tokens("Connection") {
		switch t {
		case "close":
			r.Close = true
		case "keep-alive":
			r.Close = false
		}
	}
	if v := r.Header.Get("Content-Length"); v != "" {
		n, ok := parseLength(v)
		if !ok {
			return fmt.Errorf("not a length: %.40q", v)
		}
		r.Length = n
	}
	te := r.Header.Tokens("Transfer-Encoding")
	switch {
	case method == "HEAD" || r.Status == http.StatusNoContent || r.Status == http.StatusNotModified:
		r.Bodiless = true
		r.Body = &Body{Done: true}
	case len(te) > 0 && te[len(te)-1] == "chunked":
		r.Chunked, r.Length = true, -1
		r.Body = newChunked(br)
	case r.Length >= 0:
		r.Body = &Body{r: &lengthReader{r: br, left: r.Length}, Done: r.Length == 0}
	default:
		r.UntilClose, r.Close = true, true
		r.Body = &Body{r: br}
	}
	return nil
}

// WriteHead writes a start line and a header section.
func WriteHead(w *bufio.Writer, start string, h Header) {
	// bufio keeps the first error, and Flush reports it.
	_, _ = w.WriteString(start + "\r\n")
	for _, l := range h {
		_, _ = w.WriteString(l.Name + ": " + l.Value + "\r\n")
	}
	_, _ = w.WriteString("\r\n")
}

// WriteChunk writes one chunk; an empty one ends the body.
func WriteChunk(w *bufio.Writer, p []byte) {
	_, _ = fmt.Fprintf(w, "%x\r\n", len(p))
	_, _ = w.Write(p)
	_, _ = w.WriteString("\r\n")
}

// IsASCII reports whether s holds ASCII only.
func IsASCII(s string) bool {
	for i := range len(s) {
		if s[i] > '~' {
			return false
		}
	}
	return true
}
