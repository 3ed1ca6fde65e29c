package store

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// errAnswer: a transaction's answer cannot be read, so that nobody knows whether it was carried out.
var errAnswer = errors.New("the answer to a transaction cannot be read")

// batches reads the answers to transactions. The service says 202 whatever happened and puts the outcome into the
// multipart body; aztables hides a failure's status behind the 202, takes a body that breaks off for a success, and
// panics on an empty one. It is a per-call policy, in front of all that.
type batches struct{}

func (batches) Do(req *policy.Request) (*http.Response, error) {
	resp, err := req.Next()
	if err != nil || resp.StatusCode != http.StatusAccepted || !strings.HasSuffix(req.Raw().URL.Path, "/$batch") {
		return resp, err
	}
	body, err := runtime.Payload(resp)
	if err != nil {
		return nil, err
	}
	if err := outcome(resp.Header.Get("Content-Type"), body); err != nil {
		return nil, err
	}
	return resp, nil
}

// outcome is nil if every operation was carried out, an *Error with the status and code of the one that failed, or
// errAnswer.
// https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions#sample-error-response
func outcome(contentType string, body []byte) error {
	batch, err := parts(contentType, body)
	if err != nil || len(batch) != 1 {
		return errAnswer
	}
	changes, err := parts(batch[0].contentType, batch[0].body)
	if err != nil || len(changes) == 0 {
		return errAnswer
	}
	for _, change := range changes {
		answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(change.body)), nil)
		if err != nil {
			return errAnswer
		}
		defer answer.Body.Close()
		if answer.StatusCode >= 200 && answer.StatusCode < 300 {
			continue
		}
		failed := &Error{Status: answer.StatusCode}
		var said struct {
			Error struct {
				Code string `json:"code"`
			} `json:"odata.error"`
		}
		if text, err := io.ReadAll(answer.Body); err == nil && json.Unmarshal(text, &said) == nil && codeForm.MatchString(said.Error.Code) {
			failed.Code = said.Error.Code
		}
		return failed
	}
	return nil
}

type part struct {
	contentType string
	body        []byte
}

// parts splits a multipart body. One that does not come to its end is an error.
func parts(contentType string, body []byte) ([]part, error) {
	_, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	// The reader's io.EOF alone does not tell the last mark from a part that has only begun.
	boundary := parameters["boundary"]
	if boundary == "" || !bytes.HasSuffix(bytes.TrimRight(body, "\r\n"), []byte("--"+boundary+"--")) {
		return nil, io.ErrUnexpectedEOF
	}
	var all []part
	for r := multipart.NewReader(bytes.NewReader(body), boundary); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(p)
		if err != nil {
			return nil, err
		}
		all = append(all, part{p.Header.Get("Content-Type"), b})
	}
}
