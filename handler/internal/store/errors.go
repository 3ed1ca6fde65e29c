package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Error is what storage said, or that it said nothing. It carries no URL and no body: both hold the ids of patients.
type Error struct {
	// Doing is the operation and the table.
	Doing string
	// Status is the HTTP status; in a transaction that of the operation that failed. 0: there was no answer.
	Status int
	// Code is the service's error code, or "".
	Code string
	// cause is what went wrong on the way, if there was no answer.
	cause error
}

func (e *Error) Error() string {
	switch {
	case e.Status == 0:
		return fmt.Sprintf("storage: %s: %v", e.Doing, e.cause)
	case e.Code == "":
		return fmt.Sprintf("storage: %s: HTTP %d", e.Doing, e.Status)
	}
	return fmt.Sprintf("storage: %s: HTTP %d %s", e.Doing, e.Status, e.Code)
}

// Unwrap gives the cause: a context's error, or one of the network.
func (e *Error) Unwrap() error { return e.cause }

// is reports whether err is the service's answer with this status and code.
func is(err error, status int, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status && e.Code == code
}

// missing: the row is not there. The service's list of codes has both; a table that is not there has another.
func missing(err error) bool {
	return is(err, http.StatusNotFound, "ResourceNotFound") || is(err, http.StatusNotFound, "EntityNotFound")
}

// exists: the row to insert is there already.
func exists(err error) bool { return is(err, http.StatusConflict, "EntityAlreadyExists") }

// stale: the row is there, with another ETag.
func stale(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusPreconditionFailed
}

var codeForm = regexp.MustCompile(`^[A-Za-z]{1,64}$`)

// short translates an error of the SDK.
func short(doing string, err error) error {
	if err == nil {
		return nil
	}
	var ours *Error
	if errors.As(err, &ours) {
		return &Error{Doing: doing, Status: ours.Status, Code: ours.Code, cause: ours.cause}
	}
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		e := &Error{Doing: doing, Status: answer.StatusCode}
		if codeForm.MatchString(answer.ErrorCode) {
			e.Code = answer.ErrorCode
		}
		return e
	}
	return &Error{Doing: doing, cause: cause(err)}
}

// cause picks what may be said of an error: only kinds whose text cannot quote a URL, a key or an answer.
func cause(err error) error {
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, errAnswer, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, known) {
			return known
		}
	}
	var (
		token       *tokenError
		network     *net.OpError
		certificate *tls.CertificateVerificationError
		number      syscall.Errno
	)
	switch {
	case errors.As(err, &token):
		return errors.New(token.text())
	case errors.As(err, &network):
		return network
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &number):
		return number
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return fmt.Errorf("failed with %T", err)
}

// credential marks the errors of a token credential, so that a failure to get a token can be told from one of storage.
type credential struct{ azcore.TokenCredential }

func (c credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := c.TokenCredential.GetToken(ctx, o)
	if err != nil {
		return token, &tokenError{err}
	}
	return token, nil
}

type tokenError struct{ error }

func (e *tokenError) Unwrap() error { return e.error }

// text is one line of the identity's own words, which know nothing of subjects.
func (e *tokenError) text() string {
	const most = 400
	s := "no token: " + strings.Join(strings.Fields(e.error.Error()), " ")
	return s[:min(len(s), most)]
}
