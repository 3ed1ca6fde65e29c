package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestOutcome reads answers in the shape in which the service itself is documented and recorded to give them.
func TestOutcome(t *testing.T) {
	const (
		contentType = "multipart/mixed; boundary=batchresponse_6eb367c7-3d19-495d-8b3f-8f203fa6351d"
		changeset   = "changesetresponse_307614a2-8ea3-46a9-9cc3-587df2253945"
		done        = "HTTP/1.1 204 No Content\r\nX-Content-Type-Options: nosniff\r\nDataServiceVersion: 1.0;\r\n" +
			"ETag: W/\"datetime'2026-03-01T09%3A30%3A00.1234567Z'\"\r\n\r\n\r\n"
		failed = "HTTP/1.1 %s\r\nX-Content-Type-Options: nosniff\r\nDataServiceVersion: 3.0;\r\n" +
			"Content-Type: application/json;odata=minimalmetadata;streaming=true;charset=utf-8\r\n\r\n" +
			`{"odata.error":{"code":"%s","message":{"lang":"en-US","value":"1:The specified row\nRequestId:0\nTime:0"}}}` + "\r\n"
	)
	answer := func(operations ...string) []byte {
		var b strings.Builder
		fmt.Fprintf(&b, "--%s\r\nContent-Type: multipart/mixed; boundary=%s\r\n\r\n", contentType[len("multipart/mixed; boundary="):], changeset)
		for _, o := range operations {
			fmt.Fprintf(&b, "--%s\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n%s", changeset, o)
		}
		fmt.Fprintf(&b, "--%s--\r\n--%s--\r\n", changeset, contentType[len("multipart/mixed; boundary="):])
		return []byte(b.String())
	}
	if err := outcome(contentType, answer(done, done, done)); err != nil {
		t.Errorf("three that were done: %v", err)
	}
	for name, c := range map[string]struct {
		operation string
		status    int
		code      string
	}{
		"stale":       {fmt.Sprintf(failed, "412 Precondition Failed", "UpdateConditionNotSatisfied"), 412, "UpdateConditionNotSatisfied"},
		"exists":      {fmt.Sprintf(failed, "409 Conflict", "EntityAlreadyExists"), 409, "EntityAlreadyExists"},
		"missing":     {fmt.Sprintf(failed, "404 Not Found", "ResourceNotFound"), 404, "ResourceNotFound"},
		"no code":     {"HTTP/1.1 400 Bad Request\r\n\r\n<error/>\r\n", 400, ""},
		"a wild code": {fmt.Sprintf(failed, "409 Conflict", "p~84mj2"), 409, ""},
	} {
		for position, body := range map[string][]byte{"alone": answer(c.operation), "last": answer(done, c.operation)} {
			err := outcome(contentType, body)
			var e *Error
			if !errors.As(err, &e) || e.Status != c.status || e.Code != c.code {
				t.Errorf("%s, %s: got %v", name, position, err)
			}
		}
	}
	whole := answer(done, done)
	for n := range len(whole) - len("--\r\n") { // wherever it breaks off, short of its last mark
		if err := outcome(contentType, whole[:n]); !errors.Is(err, errAnswer) {
			t.Fatalf("the first %d bytes of %d: got %v", n, len(whole), err)
		}
	}
}

// FuzzOutcome: whatever comes back, it is read without a panic, and nothing but a whole answer is a success.
func FuzzOutcome(f *testing.F) {
	f.Add("multipart/mixed; boundary=b", "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nHTTP/1.1 204 X\r\n\r\n\r\n--c--\r\n--b--\r\n")
	f.Add("", "{")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		if err := outcome(contentType, []byte(body)); err == nil && !strings.Contains(body, "HTTP/") {
			t.Errorf("a success without a status: %q", body)
		}
	})
}
