package store

import (
	"encoding/base32"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"
	"time"

	"latchkey/handler/internal/activation"
	"latchkey/handler/internal/audit"
	"latchkey/handler/internal/keyed"
	"latchkey/handler/internal/subject"
)

// The tables.
const (
	subjects   = "subjects"
	codes      = "codes"
	journal    = "journal"
	budgets    = "budgets"
	identities = "identities"
	feed       = "feed"
	lists      = "lists"
	unique     = "unique"
)

// Tables names the tables that must exist. Nothing is created at run time (threats.md F-07): infra/tables.json has the
// same names, and the deployment makes them.
func Tables() []string {
	return []string{subjects, codes, journal, budgets, identities, feed, lists, unique}
}

// The row keys of a subject's partition, or what they begin with.
const (
	headKey          = "head"
	activationPrefix = "act~"
	// activationEnd sorts behind every key of an activation: a colon follows the digits.
	activationEnd    = "act~:"
	credentialPrefix = "cred~"
	heldPrefix       = "held~"
	sessionPrefix    = "sid~"
	tokenPrefix      = "jti~"
	auditPrefix      = "aud~"
)

// The partitions of the lists of devices: that of all, and what those of locations begin with.
const (
	everyDevice    = "all"
	locationPrefix = "loc~"
)

// shards is how many partitions a minute of the journal has: 16 of 2,000 inserts a second.
const shards = 16

var (
	base32hex = base32.HexEncoding.WithPadding(base32.NoPadding)
	// name is what an id may look like inside a key: it cannot reach beyond its place.
	name = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	// letters of the kinds in partition keys.
	letters = map[subject.Kind]string{subject.Patient: "p", subject.Device: "d", subject.Clinician: "c"}
)

var errKey = errors.New("store: a key cannot be made or read")

// partitionOf is the partition of a subject.
func partitionOf(of subject.ID) (string, error) {
	letter, ok := letters[of.Kind]
	if !ok || of.Name == "" {
		return "", errKey
	}
	return letter + "~" + encodeID(of.Name), nil
}

// encodeID is how an id stands in keys. The order stays: that of the bytes.
func encodeID(id string) string { return strings.ToLower(base32hex.EncodeToString([]byte(id))) }

// subjectOf reads a partition key back.
func subjectOf(partition string) (subject.ID, error) {
	letter, encoded, _ := strings.Cut(partition, "~")
	for kind, l := range letters {
		if l == letter {
			id, err := base32hex.DecodeString(strings.ToUpper(encoded))
			if err != nil {
				return subject.ID{}, errKey
			}
			return subject.New(kind, string(id))
		}
	}
	return subject.ID{}, errKey
}

// lastMillisecond is that of the year 9999.
const lastMillisecond = 253402300799999

// inverted makes newer times sort first.
func inverted(t time.Time) string { return fmt.Sprintf("%015d", lastMillisecond-t.UnixMilli()) }

func activationKey(id activation.UUID) string {
	return activationPrefix + inverted(activation.Drawn(id)) + "~" + id.String()
}

func auditKey(record audit.Record) string {
	return auditPrefix + inverted(record.Time) + "~" + record.ID
}

// codeKeys are both keys of an index row. The first characters of the hash spread the rows over 1,024 partitions.
func codeKeys(key keyed.Hash) (partition, row string, err error) {
	if len(key.Sum) < 2 {
		return "", "", errKey
	}
	return key.Sum[:2], key.String(), nil
}

// intentKeys are both keys of a record's intent.
func intentKeys(record audit.Record) (partition, row string) {
	h := fnv.New32a()
	h.Write([]byte(record.ID))
	at := record.Announced.UTC()
	return fmt.Sprintf("%s~%02d", at.Format("200601021504"), h.Sum32()%shards), at.Format("20060102150405.000") + "~" + record.ID
}

// parseHash reads "version~sum".
func parseHash(s string) (keyed.Hash, error) {
	version, sum, ok := strings.Cut(s, "~")
	if !ok || version == "" || sum == "" {
		return keyed.Hash{}, errKey
	}
	return keyed.Hash{Version: version, Sum: sum}, nil
}
