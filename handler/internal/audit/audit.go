// Package audit says what is recorded of every decision and change (mission.md AUD-1): who, what, on whom, with what
// outcome and why, from where, when, under which trace. A change's record is committed in the change's own storage
// transaction; a decision that changes nothing is one event line. The package owns the words, not the places.
package audit

import (
	"time"

	"latchkey/handler/internal/subject"
)

// Action is what was asked for. The values are stored and exported: never rename one.
type Action string

// The actions that exist.
const (
	CreateActivation  Action = "activation.create"
	ListActivations   Action = "activation.list"
	RedeemActivation  Action = "activation.redeem"
	RevokeActivation  Action = "activation.revoke"
	IssueToken        Action = "token.issue"
	UpgradeCredential Action = "credential.upgrade"
	AskIdentity       Action = "identity.ask"
	RegisterIdentity  Action = "identity.register"
	ApproveIdentity   Action = "identity.approve"
	ChangeIdentity    Action = "identity.change"
	RetireIdentity    Action = "identity.retire"
	ReadIdentity      Action = "identity.read"
	ListIdentities    Action = "identity.list"
	ReadDenial        Action = "denial.read"
)

// The actions that end what was let in.
const (
	// RevokeAuthorisation ends all that buys tokens for a subject, RevokeCredential one of several credentials.
	RevokeAuthorisation Action = "authorisation.revoke"
	RevokeCredential    Action = "credential.revoke"
	LabelCredential     Action = "credential.label"
	ListCredentials     Action = "credential.list"
	// RevokeToken ends one token (RFC 7009), IntrospectToken looks at one (RFC 7662).
	RevokeToken     Action = "token.revoke"
	IntrospectToken Action = "token.introspect"
)

// The others of devices and their codes.
const (
	CreateDevice Action = "device.create"
	ReadDevice   Action = "device.read"
	ListDevices  Action = "device.list"
)

// The two that the predecessor published beside the tokens of devices (AUD-2).
const (
	// ChangeDevice changes what is known of a device, LogIn buys a clinician's token through one.
	ChangeDevice Action = "device.change"
	LogIn        Action = "clinician.login"
)

// What is done to clinicians.
const (
	CreateClinician Action = "clinician.create"
	ChangeClinician Action = "clinician.change"
	// EndContract turns a clinician's login off whose contract is over, YieldIdentifier takes an identifier off a clinician that
	// somebody else was quicker to get.
	EndContract     Action = "clinician.end_contract"
	YieldIdentifier Action = "clinician.yield_identifier"
)

// Outcome is whether it was done.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "allowed"
	Denied  Outcome = "denied"
	// Failed is neither: it could not be done, or nobody knows whether it was. It stands in event lines only.
	Failed Outcome = "failed"
)

// Reason is the true reason of an outcome. It is for the record only: outside, all refusals of a code look alike (ACT-8).
// The values are stored and exported: never rename one.
type Reason string

// The reasons of refusals, and why a pending activation ended.
const (
	ReasonUnknownCode  Reason = "unknown_code"
	ReasonWrongOTP     Reason = "wrong_otp"
	ReasonUsed         Reason = "used"
	ReasonExpired      Reason = "expired"
	ReasonRevoked      Reason = "revoked"
	ReasonReplaced     Reason = "replaced"
	ReasonLocked       Reason = "locked"
	ReasonInactive     Reason = "inactive"
	ReasonNoCredential Reason = "no_credential"
	ReasonNotPending   Reason = "not_pending"
	ReasonNotFound     Reason = "not_found"
	ReasonUnavailable  Reason = "unavailable"
	ReasonBusy         Reason = "busy"
	// ReasonNoBudget: so many unknown codes were tried that none is looked up (ABU-1). It stands in event lines only.
	ReasonNoBudget Reason = "no_budget"
	// ReasonNoScope is that of a caller who is known and may not do this.
	ReasonNoScope    Reason = "insufficient_scope"
	ReasonSuperseded Reason = "superseded"
	// ReasonNotOurs is that of a token that was asked about and is none of ours, or expired; ReasonEnded of one that is, and has
	// been ended.
	ReasonNotOurs Reason = "not_ours"
	ReasonEnded   Reason = "ended"
	// ReasonRepeated is that of an allowed redemption that was told again.
	ReasonRepeated Reason = "repeated"
	// Why a clinician may not log in, beside ReasonNotFound, ReasonInactive, and ReasonEnded for the device's session.
	ReasonContractEnded  Reason = "contract_ended"
	ReasonWrongGroup     Reason = "wrong_group"
	ReasonDeviceInactive Reason = "device_inactive"
)

// Actor is who asked: an Entra identity, one of our subjects, or nobody known.
type Actor struct {
	// Issuer is who vouches for ID: a tenant's GUID, our own issuer URL, or "" for the anonymous caller.
	Issuer string
	// ID is the identity within Issuer: an Entra object id, or kind/id of a subject.
	ID string
}

// Anonymous is the actor of the routes that ask for no token.
var Anonymous = Actor{}

// String gives "issuer/id", the form of created_by fields, or "anonymous".
func (a Actor) String() string {
	if a == Anonymous {
		return "anonymous"
	}
	return a.Issuer + "/" + a.ID
}

// Origin is where a request comes from. Every operation of the domain that can change something takes one.
type Origin struct {
	Actor Actor
	// Source is the client's address as far as it can be trusted, else "".
	Source string
	// Trace is the W3C trace id, 32 hexadecimal digits.
	Trace string
}

// Record is what is kept of one change.
type Record struct {
	// ID is random, of fixed length, drawn when the operation starts; a repeated commit keeps it.
	ID string
	// Time is when the operation started, UTC. Time and ID make the record's key.
	Time time.Time
	// Announced is when its intent was last written to the journal, UTC; Announced and ID make the intent's key.
	// A record counts only with the intent that it names (model.md section 6).
	Announced time.Time

	Action  Action
	Outcome Outcome
	Reason  Reason // "" when allowed
	Origin  Origin
	Subject subject.ID
	// Activation is the activation's uuid, or "".
	Activation string
	// Sessions are the sids of the credentials that the change ended, with blanks between them: the feed can be made of them once
	// more (model.md section 1). An imported credential has none. Token is the jti of the token that it ended.
	Sessions, Token string
	// Identity is the registered identity that was changed, else zero; State, Label and Scopes (with blanks between them) are what
	// it has from then on, and Other is the successor of one that was retired.
	Identity             Actor
	State, Label, Scopes string
	Other                Actor
	// Clinician is who logged in or tried to, "" if Identifier names nobody; Identifier is what was sent to log in. Subject is the
	// device that it was tried through.
	Clinician, Identifier string
	// Changed are the fields that a change of a device set, nil for all other changes.
	Changed *DeviceFields
	// N numbers the commits of a subject, or of an identity, from 1.
	N int64
}
