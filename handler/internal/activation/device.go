package activation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// Device is what is known of a device, beside whether it is active: that is Head.Active.
type Device struct {
	// Description is what people call it. Location is the ward's id, as the hospital names it.
	Description, Location string
	// Changes counts the changes of what is known of it, with Head.Active, from 1: its activation moves Head.N and not this.
	Changes    int64
	Created    time.Time
	CreatedBy  string
	Modified   time.Time
	ModifiedBy string
}

const (
	// EveryDevice is the list of all devices; any other is that of a location.
	EveryDevice = ""
	// MaxDescription is the longest description, in characters.
	MaxDescription = 200
	// MaxLocations is how many locations one list may be asked for.
	MaxLocations = 20
)

// Errors of devices.
var (
	// ErrNoDevice: no such device was created.
	ErrNoDevice = errors.New("there is no such device")
	// ErrDeviceExists: there is a device under this id.
	ErrDeviceExists = errors.New("there is a device under this id")
	// ErrDeviceMoved: the device is not as it was when the caller read it.
	ErrDeviceMoved = errors.New("the device has changed since")
	// ErrDescription and ErrLocation say what form is allowed.
	ErrDescription = errors.New("a description has 1 to 200 characters, all of them visible, and no blank at its ends")
	ErrLocation    = errors.New("a location's id has 1 to 128 characters of A-Z a-z 0-9 . _ -")
)

var location = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// checkDevice tests the form of what is given.
func checkDevice(description, of *string) error {
	switch {
	case description != nil && (*description == "" || !isShown(*description, MaxDescription)):
		return ErrDescription
	case of != nil && !location.MatchString(*of):
		return ErrLocation
	}
	return nil
}

// isShown keeps out what could not be seen, or would change how what stands around it is read.
func isShown(s string, most int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= most && strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// CreateDevice makes a device, active and not activated (DIR-1), under the id given or, if that is "", a fresh UUID. It answers its head;
// ErrDeviceExists, ErrDescription or ErrLocation, or subject.ErrName.
func (s *Service) CreateDevice(ctx context.Context, from audit.Origin, gate commit.Gate, id, description, location string) (Head, error) {
	if err := checkDevice(&description, &location); err != nil {
		return Head{}, err
	}
	if id == "" {
		drawn, err := uuid.NewRandomFromReader(s.random)
		if err != nil {
			return Head{}, fmt.Errorf("drawing an id: %w", err)
		}
		id = drawn.String()
	}
	of, err := subject.New(subject.Device, id)
	if err != nil {
		return Head{}, err
	}
	var made Head
	start := audit.Record{Action: audit.CreateDevice, Subject: of, Changed: &audit.DeviceFields{Description: &description, LocationID: &location}}
	err = s.end(ctx, from, gate, start, func(head Head, record audit.Record) (Change, error) {
		if head.Device != nil {
			return Change{}, ErrDeviceExists
		}
		by := record.Origin.Actor.String()
		made = head.next()
		made.Device = &Device{description, location, 1, record.Time, by, record.Time, by}
		return Change{Lists: []string{location, EveryDevice}}.under(made, record), nil
	})
	if err != nil {
		return Head{}, err
	}
	return made, nil
}

// DevicePatch is what changes of a device: nil leaves it as it is. At is the Changes that it must have, 0 for any.
type DevicePatch struct {
	Description, Location *string
	Active                *bool
	At                    int64
}

// ChangeDevice changes a device and answers its new head (DIR-1); one that changes nothing writes nothing but its intent. Its errors
// are ErrNoDevice, ErrDeviceMoved, ErrDescription and ErrLocation.
//
// Deactivation does all that EndAll does, but that the credential is put aside: from the reply on it buys nothing, and its tokens are
// dead. Activation brings it back under a new sid, and those tokens stay dead (ACT-14, model.md section 1).
func (s *Service) ChangeDevice(ctx context.Context, from audit.Origin, gate commit.Gate, of subject.ID, patch DevicePatch) (Head, error) {
	if err := checkDevice(patch.Description, patch.Location); err != nil {
		return Head{}, err
	}
	fresh, err := s.sessions()
	if err != nil {
		return Head{}, err
	}
	var now Head
	start := audit.Record{
		Action: audit.ChangeDevice, Subject: of,
		Changed: &audit.DeviceFields{Description: patch.Description, LocationID: patch.Location, Active: patch.Active},
	}
	err = s.end(ctx, from, gate, start, func(head Head, record audit.Record) (Change, error) {
		switch {
		case head.Device == nil:
			return Change{}, ErrNoDevice
		case patch.At != 0 && patch.At != head.Device.Changes:
			return Change{}, ErrDeviceMoved
		}
		change, changed := patch.apply(head, fresh, record)
		if !changed {
			now = head
			return Change{}, errEnded
		}
		now = change.Head
		return change, nil
	})
	if err != nil {
		return Head{}, err
	}
	return now, nil
}

// sessions draws the names under which credentials come back: one an operation, so that every attempt has the same.
func (s *Service) sessions() ([]string, error) {
	all := make([]string, MaxCredentials)
	for i := range all {
		var err error
		if all[i], err = codes.ID(s.random); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// apply is the change that a patch makes of a head, and whether it makes one.
func (patch DevicePatch) apply(head Head, fresh []string, record audit.Record) (change Change, changed bool) {
	next := head.next()
	is := next.Device
	if patch.Description != nil && *patch.Description != is.Description {
		is.Description, changed = *patch.Description, true
	}
	if patch.Location != nil && *patch.Location != is.Location {
		is.Location, changed = *patch.Location, true
		change.Lists = []string{is.Location}
	}
	if patch.Active != nil && *patch.Active != head.Active {
		next.Active, changed = *patch.Active, true
		if next.Active {
			change.Dropped = head.Held
			for i, c := range head.Held {
				change.Added = append(change.Added, Credential{Session: fresh[i], Key: c.Key})
			}
			next.Credentials, next.Held = append(next.Credentials, change.Added...), nil
		} else {
			change.Suspended = head.Credentials
			next.Credentials, next.Held = nil, append(next.Held, head.Credentials...)
			record.Sessions = sessionsOf(change.Suspended)
			if next.Invitation != nil {
				record.Activation = next.Invitation.Activation.String()
				change.Ended = []Step{end(next.Invitation.Activation, Revoked, audit.ReasonRevoked, record)}
				next.Invitation = nil
			}
		}
	}
	is.Changes++
	is.Modified, is.ModifiedBy = record.Time, record.Origin.Actor.String()
	return change.under(next, record), changed
}

// Device reads one device, or answers ErrNoDevice.
func (s *Service) Device(ctx context.Context, of subject.ID) (Head, error) {
	heads, err := s.store.Heads(ctx, []subject.ID{of})
	switch {
	case err != nil:
		return Head{}, commit.Unavailable(err)
	case heads[0].Device == nil:
		return Head{}, ErrNoDevice
	}
	return heads[0], nil
}

// Devices gives a page of the devices at some locations, or of all if there are none, in the order of their ids, beginning behind
// after. active says which: nil for all. A page looks at limit devices at most, and takes two trips, whatever there is (model.md
// section 1): it may show fewer, or none, and there are others as long as more is not "".
//
// What a list holds is a hint that is written before the device moves; what the device's head says, read after it, is shown.
func (s *Service) Devices(ctx context.Context, locations []string, active *bool, after string, limit int) (page []Head, more string, err error) {
	lists := []string{EveryDevice}
	if len(locations) > 0 {
		lists = slices.Compact(slices.Sorted(slices.Values(locations)))
		if len(lists) > MaxLocations || slices.ContainsFunc(lists, func(l string) bool { return !location.MatchString(l) }) {
			return nil, "", ErrLocation
		}
	}
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	rows, err := s.store.Listed(ctx, lists, after, limit+1)
	if err != nil {
		return nil, "", commit.Unavailable(err)
	}
	all := slices.Concat(rows...)
	slices.SortFunc(all, func(a, b subject.ID) int { return cmp.Compare(a.Name, b.Name) })
	all = slices.Compact(all) // one that moved is in two lists
	if len(all) > limit {
		all = all[:limit]
		more = all[limit-1].Name
	}
	heads, err := s.store.Heads(ctx, all)
	if err != nil {
		return nil, "", commit.Unavailable(err)
	}
	for _, head := range heads {
		switch {
		case head.Device == nil, active != nil && *active != head.Active:
		case len(locations) > 0 && !slices.Contains(lists, head.Device.Location):
		default:
			page = append(page, head)
		}
	}
	return page, more, nil
}

// AuthoriseDevice lets a device buy a token with its authorisation code (TOK-2). As Authorise it answers one *Refusal for all that
// speaks against it: the credential of an inactive device is not there, as one that never was. Unlike it, the token has its record,
// which is committed with the use of the credential before the answer (model.md section 6).
func (s *Service) AuthoriseDevice(ctx context.Context, from audit.Origin, of subject.ID, code string) (Grant, error) {
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	grant, found, keys, err := s.credited(ctx, from, of, code)
	if err != nil {
		return Grant{}, err
	}
	record, err := s.record(from, audit.IssueToken, of)
	if err != nil {
		return Grant{}, err
	}
	if err := s.store.Announce(ctx, record); err != nil {
		return Grant{}, commit.Unavailable(err)
	}
	session := grant.session
	err = commit.Loop[*Credential, *Credential]{
		Wait:   s.clock.Wait,
		Commit: func(ctx context.Context, with *Credential) error { return s.store.Used(ctx, with.Key, record) },
		Reopen: func(ctx context.Context) (*Credential, bool, error) { return s.store.Reuse(ctx, record, keys) },
	}.Settle(ctx, found, func(found *Credential) (*Credential, error) {
		// One that came back under another sid is another one: the token would be dead.
		if found == nil || found.Session != session {
			return nil, &Refusal{audit.IssueToken, audit.ReasonNoCredential}
		}
		return found, nil
	})
	if err != nil {
		return Grant{}, fmt.Errorf("recording a token: %w", err)
	}
	return grant, nil
}
