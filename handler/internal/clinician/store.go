package clinician

import (
	"context"
	"time"

	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/subject"
)

// Store is what the package asks of storage. Each method is one trip (its calls run in parallel), and none retries what it writes.
// commit.ErrConflict says that a write was surely not carried out; after any other error nobody knows.
type Store interface {
	// Open reads the clinician that the record is of, and who has the identifier ("": nobody is asked for), and writes the record's
	// intent.
	Open(ctx context.Context, record audit.Record, identifier string) (Opened, error)
	// Commit carries a change out whole or not at all.
	Commit(ctx context.Context, change Change) error
	// Reopen reads the clinician again, nil if nobody knows them, and whether the record was committed. These are two reads at one
	// time, no snapshot.
	Reopen(ctx context.Context, record audit.Record) (now *Clinician, committed bool, err error)
	// Clinician reads one clinician by one point read, nil if nobody knows them.
	Clinician(ctx context.Context, of subject.ID) (*Clinician, error)
	// Claim reads who has an identifier, nil for nobody.
	Claim(ctx context.Context, identifier string) (*Claim, error)
	// Put writes a claim in place of the one at its Version, and answers the new version.
	Put(ctx context.Context, claim Claim) (Version, error)

	// Enter reads whether the device's token is still good, as activation.Store.Session, and who has the identifier.
	Enter(ctx context.Context, through Through, identifier string) (live bool, claim *Claim, err error)
	// Meet reads a clinician, and whether the device that the record is of is active, and writes the record's intent.
	Meet(ctx context.Context, record audit.Record, of subject.ID) (is *Clinician, active bool, err error)
	// Pass commits the record of a login in the device's partition, if the device's session is still there.
	Pass(ctx context.Context, session string, record audit.Record) error
	// Repass reads whether the session is there, and whether the record was committed.
	Repass(ctx context.Context, session string, record audit.Record) (live, committed bool, err error)
}

// Opened is what an operation begins with.
type Opened struct {
	Clinician *Clinician // nil if nobody knows them
	Claim     *Claim     // nil if nobody has the identifier
}

// Change is what a commit carries out.
type Change struct {
	// Clinician is the next state; its Version is the one that it replaces.
	Clinician Clinician
	// Record is committed in the same transaction.
	Record audit.Record
}

// Claim is one row for each identifier that was ever given: who has it, if the clinician's own row says so too.
type Claim struct {
	Identifier string
	Clinician  subject.ID
	// Try is the id of the record under which the claim was last written: so a try knows its own.
	Try string
	// At is when it was claimed.
	At time.Time
	// Confirmed is whether it was written again after a commit of the clinician that names the identifier.
	Confirmed bool
	Version   Version
}

// Through is the device that a login goes through, with the sid and the jti of its token.
type Through struct {
	Device         subject.ID
	Session, Token string
}
