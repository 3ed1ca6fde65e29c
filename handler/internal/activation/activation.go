// Package activation is what Latchkey exists for: an activation that works exactly once lets a subject in, and the
// authorisation code it yields buys tokens from then on. The package decides; it knows no HTTP, no Azure and no JWT.
// What it asks of storage is the Store; its rules are in model.md sections 1 to 3.
package activation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// Status is where an activation stands. The values are stored and sent: never rename one.
type Status string

// The statuses of ACT-3. Expired is never stored: a pending activation becomes so by the clock.
const (
	Pending   Status = "pending"
	Completed Status = "completed"
	Expired   Status = "expired"
	Revoked   Status = "revoked"
)

// Activation is one invitation of a subject.
type Activation struct {
	ID      UUID
	Subject subject.ID
	Status  Status
	// Ended says why a revoked one is: ReasonRevoked, ReasonReplaced or ReasonLocked.
	Ended      audit.Reason
	Created    time.Time
	CreatedBy  string
	Modified   time.Time
	ModifiedBy string
	Expires    time.Time
	// Redeemed is when it was completed, else zero.
	Redeemed time.Time
}

// At returns the activation as it stands at now: a pending one past its expiry is expired.
func (a Activation) At(now time.Time) Activation {
	if a.Status == Pending && !now.Before(a.Expires) {
		a.Status = Expired
	}
	return a
}

// Code is an index row: it leads from the keyed hash of a locator to the activation that it names.
type Code struct {
	Key        keyed.Hash
	Subject    subject.ID
	Activation UUID
	Expires    time.Time
	// Ended is when the row was found to lead nowhere any more, else zero; EndedFor is why.
	Ended    time.Time
	EndedFor audit.Reason
	// Version is the row's ETag.
	Version Version
}

// Version is the storage's mark of one state of a row (an ETag). Absent means that there is no row yet.
type Version string

// Absent is the version of a row that does not exist.
const Absent Version = ""

// Head is the one row of a subject that every change goes through, by compare and swap on its Version.
type Head struct {
	Subject subject.ID
	Version Version
	// Active is false for a subject that may not be let in. A subject without a row is active.
	Active bool
	// N counts the commits.
	N int64
	// Invitation is the pending activation, or nil.
	Invitation *Invitation
	// Credentials are what the subject's authorisation codes stand under, oldest first, at most MaxCredentials.
	Credentials []Credential
	// Held are the credentials of an inactive device: they buy nothing, and come back with it. An active subject has none.
	Held []Credential
	// Imported is the hash of the predecessor's credential of this subject, or "".
	Imported string
	// Device is what a device is, nil for one that was not created, and for other subjects.
	Device *Device
	// Redemptions and Creations are what may be asked for again under its Idempotency-Key, oldest first, at most
	// mostRepeatable each.
	Redemptions []Redemption
	Creations   []Creation
}

// MaxCredentials is the most credentials one head has room for (model.md section 1).
const MaxCredentials = 20

// Invitation is what the head holds of the pending activation.
type Invitation struct {
	Activation UUID
	// OTP is the self-describing hash of the OTP, "" for a device: its code needs none.
	OTP string
	// Attempts counts the wrong OTPs.
	Attempts int
	Expires  time.Time
}

// Repeatable is what the head holds of an operation that was given an Idempotency-Key. The secrets it gave away are derived
// from the pepper of this version, ID and the key; nothing here gives one away (model.md section 3).
type Repeatable struct {
	Activation UUID
	Version    string
	// ID is random.
	ID string
	// Mark is a keyed hash of the key and of what or whom it is for.
	Mark string
	// Length is the secret's, in characters: the setting may change meanwhile.
	Length int
	At     time.Time
}

// Redemption is one that may be asked for again. Misses counts the repeats with the right key and another OTP.
type Redemption struct {
	Repeatable
	Misses int
}

// Creation is one that may be asked for again.
type Creation struct{ Repeatable }

// Credential is one authorisation code of a subject. It is live by existing.
type Credential struct {
	Session string // the sid of every token bought with it
	Key     keyed.Hash
	// What follows is not of the head: Store.Credential and Store.Credentials fill it, and a change that adds the credential does
	// not set it. Label is how people know the phone, Created when the change that added it was decided (zero for an old row), Used
	// when it last bought a token, to the hour, zero for never.
	Label         string
	Created, Used time.Time
}

// Opening is what an operation reads and announces in one trip, before it decides.
type Opening struct {
	// Record says what will be committed; its intent goes to the journal.
	Record audit.Record
	// Code is a row to insert into the index, or nil.
	Code *Code
	// Activation is a row of the subject to read as well, or zero.
	Activation UUID
}

// Opened is what was found.
type Opened struct {
	Head Head
	// Activation is the row asked for, or nil if there is none.
	Activation *Activation
}

// Change is what one commit does to a subject, beside replacing its head.
type Change struct {
	Head Head // the new head; its Version is that of the head it replaces
	// Created is a new activation, or nil.
	Created *Activation
	// Ended changes activations that exist, by merging: what a Step does not name stays.
	Ended []Step
	// Added credentials must not exist, Removed ones must.
	Added, Removed []Credential
	// Suspended credentials must exist, and are put aside; Dropped are those that were put aside before, and must be there. One that
	// comes back is Dropped and Added, under another Session.
	Suspended, Dropped []Credential
	// Labelled are credentials that must exist, with their new Label.
	Labelled []Credential
	// Token is a token that is ended before its time, and must not have been; nil for none.
	Token *Ending
	// Lists are those in which the device must stand before this is committed: Store.Enlist. They are no part of the commit.
	Lists []string
	// Record is committed in the same transaction.
	Record audit.Record
}

// Step takes an activation out of Pending.
type Step struct {
	Activation UUID
	Status     Status
	Why        audit.Reason // as Activation.Ended
	// At and By become Modified and ModifiedBy; At becomes Redeemed too if Status is Completed.
	At time.Time
	By string
}

// ErrCodeTaken is the Store's answer when the index key of a new code belongs to another activation. Nothing but the intent was
// written. Its other errors are those of package commit.
var ErrCodeTaken = errors.New("the code is taken")

// Store is what the domain asks of storage. Each method is one trip (its calls run in parallel), and none retries a commit:
// what to do after an unanswered one is decided here.
type Store interface {
	// Code reads the first row that stands under one of the keys, or nil.
	Code(ctx context.Context, keys []keyed.Hash) (*Code, error)
	// EndCode marks a row as leading nowhere. A row that changed meanwhile is left as it is, without an error.
	EndCode(ctx context.Context, code Code, at time.Time, why audit.Reason) error
	// Open reads the subject's head (a new, active one with version Absent if there is none) and writes the intent.
	Open(ctx context.Context, opening Opening) (Opened, error)
	// Commit carries the change out whole or not at all: commit.ErrConflict if not, nil if so.
	Commit(ctx context.Context, change Change) error
	// Reopen reads the head again, and whether the record was committed. These are two reads at one time, no snapshot: an
	// attempt that lands between them shows as a moved head without its record.
	Reopen(ctx context.Context, record audit.Record) (head Head, committed bool, err error)
	// Activation reads one activation, or nil.
	Activation(ctx context.Context, of subject.ID, id UUID) (*Activation, error)
	// Activations reads up to limit activations of a subject, newest first, beginning behind after (zero: at the newest).
	// Fewer than limit means that there are no more.
	Activations(ctx context.Context, of subject.ID, after UUID, limit int) ([]Activation, error)
	// Credential reads the first credential that stands under one of the keys, or nil. It reads nothing else: an unknown
	// subject, a wrong code and a revoked one are the same missing row.
	Credential(ctx context.Context, of subject.ID, keys []keyed.Hash) (*Credential, error)
	// Credentials reads all credentials of a subject, in no order, and its head.
	Credentials(ctx context.Context, of subject.ID) (Head, []Credential, error)
	// Touch notes when a credential was last used. It never brings a removed one back.
	Touch(ctx context.Context, of subject.ID, key keyed.Hash, at time.Time) error
	// Session reports whether a token of the subject is still good: its credential lives, and it was not ended itself.
	Session(ctx context.Context, of subject.ID, sid, jti string) (live bool, err error)
	// Used commits the record of a token that a credential bought, with the time of its use, if it is still there:
	// commit.ErrConflict if it is not, or the record is. It moves no head, and never brings a removed credential back.
	Used(ctx context.Context, key keyed.Hash, record audit.Record) error
	// Announce writes the intent of such a record.
	Announce(ctx context.Context, record audit.Record) error
	// Reuse reads the first credential that stands under one of the keys, or nil, and whether the record was committed: two reads at
	// one time, as Reopen.
	Reuse(ctx context.Context, record audit.Record, keys []keyed.Hash) (found *Credential, committed bool, err error)
	// Heads reads the heads of subjects, in their order.
	Heads(ctx context.Context, of []subject.ID) ([]Head, error)
	// Enlist puts a device into lists: those of locations, and that of all devices, EveryDevice. One that is in a list already is
	// marked there as written at this time, which keeps the clean-up from it.
	Enlist(ctx context.Context, device subject.ID, lists []string, at time.Time) error
	// Listed reads up to limit devices of each list, in the order of their ids, beginning behind after ("": at the first). Fewer of a
	// list mean that it has no more. A device in a list was there once; its head says whether it is.
	Listed(ctx context.Context, lists []string, after string, limit int) ([][]subject.ID, error)
	// Publish puts endings into the feed, under the record of the change that ends them. Those that are there under it already
	// stay as they are.
	Publish(ctx context.Context, record audit.Record, endings []Ending) error
	// Retract takes endings of a record out of the feed, as far as they are there.
	Retract(ctx context.Context, record audit.Record, endings []Ending) error
}

// Refusal is a decision against the caller. Outside, all refusals of one action look the same; Reason is for the record.
type Refusal struct {
	Action audit.Action
	Reason audit.Reason
}

func (r *Refusal) Error() string { return string(r.Action) + " refused: " + string(r.Reason) }

// Errors of the operations, beside *Refusal and those of package commit.
var (
	// ErrNotFound: there is no such activation of this subject.
	ErrNotFound = errors.New("there is no such activation")
	// ErrNotPending: the activation was completed; there is nothing to revoke any more.
	ErrNotPending = errors.New("the activation is not pending")
	// ErrSuperseded: this Idempotency-Key made an activation that has ended since; its codes cannot be told again.
	ErrSuperseded = errors.New("the activation that was made under this key has ended")
)

// Policy is what an operation takes from the settings: once, at its start.
type Policy struct {
	Keys *keyed.Ring
	// Site is the prefix of human codes.
	Site string
	// OTPLength, CodeLength (of authorisation codes) are in characters, SaltLength in bytes.
	OTPLength, CodeLength, SaltLength int
	// MaxAttempts is how many wrong OTPs an activation bears.
	MaxAttempts int
	// ExpiryDays is the number of the day after issue at whose end an activation expires, in Zone.
	ExpiryDays int
	Zone       *time.Location
	// DeviceCodeLength is of a device's code without prefix and check, in characters.
	DeviceCodeLength int
	// MaxPerPatient is how many credentials a patient may have at once.
	MaxPerPatient int
	// Imported is whether there may be credentials of the predecessor's.
	Imported bool
}

// Expiry is the moment from which an activation issued at now is expired: the local midnight that ends the ExpiryDays-th
// day after issue (ACT-9). It is sent as the second before it.
func (p Policy) Expiry(now time.Time) time.Time {
	y, m, d := now.In(p.Zone).Date()
	// Calendar days, not hours: a day with a change of the clock has 23 or 25.
	next := time.Date(y, m, d+p.ExpiryDays+1, 0, 0, 0, 0, time.UTC)
	midnight := time.Date(next.Year(), next.Month(), next.Day(), 0, 0, 0, 0, p.Zone)
	if midnight.Day() != next.Day() {
		// There is no such time where the clock is put forward at midnight, and Date gives an earlier one: the day begins with
		// the change.
		_, midnight = midnight.ZoneBounds()
	}
	return midnight
}

// next returns the head's next state, ready to be changed without touching the old one.
func (h Head) next() Head {
	h.N++
	h.Credentials = slices.Clone(h.Credentials)
	h.Held = slices.Clone(h.Held)
	h.Redemptions = slices.Clone(h.Redemptions)
	h.Creations = slices.Clone(h.Creations)
	if h.Invitation != nil {
		invitation := *h.Invitation
		h.Invitation = &invitation
	}
	if h.Device != nil {
		device := *h.Device
		h.Device = &device
	}
	return h
}

// UUID is an activation's id: version 7 (RFC 9562 section 5.7), so that its time orders a subject's activations.
type UUID = uuid.UUID

// ParseUUID reads an id in the form in which it was sent, or answers ErrNotFound: what has another form names nothing.
func ParseUUID(s string) (UUID, error) {
	u, err := uuid.Parse(s)
	if err != nil || u.Version() != 7 || u.String() != s {
		return uuid.Nil, ErrNotFound
	}
	return u, nil
}

// newUUID draws a version 7 UUID for now, to the millisecond.
func newUUID(random io.Reader, now time.Time) (UUID, error) {
	u, err := uuid.NewRandomFromReader(random)
	if err != nil {
		return uuid.Nil, fmt.Errorf("drawing an id: %w", err)
	}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(u[:6], ms[2:])
	u[6] = u[6]&0x0f | 0x70
	return u, nil
}

// Drawn is when a version 7 UUID was drawn, to the millisecond, UTC.
func Drawn(u UUID) time.Time {
	var ms [8]byte
	copy(ms[2:], u[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))).UTC()
}
