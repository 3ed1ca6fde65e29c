package store

import (
	"encoding/json"
	"fmt"
	"regexp"
	"unicode/utf16"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
)

// verb is what a write does to its row.
type verb int

const (
	insert verb = iota // the row must not exist
	merge              // the row must exist and match
	remove             // the row must exist and match
)

// write is one change of one row. There is no upsert: it would bring a removed row back.
type write struct {
	verb verb
	row  aztables.EDMEntity
	// match is the ETag that the row must have: required but for an insert. aztables takes a missing one for "*", and in a
	// transaction even for an upsert.
	match azcore.ETag
}

// The limits of the service, for one entity and for one entity group transaction
// (https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model and
// performing-entity-group-transactions). Azurite takes more than some of them (engines.md section 1a).
const (
	maxOperations = 100
	maxBatch      = 4 << 20 // bytes
	maxEntity     = 1 << 20 // bytes
	maxColumns    = 252
	maxColumnName = 255   // characters
	maxText       = 32768 // UTF-16 code units
	maxKey        = 512   // characters: 1 KiB
	// perOperation is more than the multipart and HTTP headers of one operation take, without its address.
	perOperation = 1024
)

var (
	keyForm    = regexp.MustCompile(`^[A-Za-z0-9~._-]+$`)
	columnForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// refuse says what is wrong with a write. It never quotes a key or a value.
func refuse(format string, a ...any) error { return fmt.Errorf("store: refused: "+format, a...) }

// check refuses, before the network, what the service would refuse or what must never be asked of it. Every write passes
// here: a single one, and all of a transaction together.
func check(writes ...write) error {
	if len(writes) == 0 || len(writes) > maxOperations {
		return refuse("%d operations, not 1 to %d", len(writes), maxOperations)
	}
	batch := 0
	rows := make(map[string]bool, len(writes))
	for i, w := range writes {
		if err := checkKeys(w.row.PartitionKey, w.row.RowKey); err != nil {
			return err
		}
		switch {
		case w.row.PartitionKey != writes[0].row.PartitionKey:
			return refuse("operation %d is in another partition", i)
		case rows[w.row.RowKey]:
			return refuse("operation %d is on the row of another one", i)
		case w.verb == insert && w.match != "":
			return refuse("operation %d inserts a row and matches one", i)
		case w.verb != insert && w.match == "":
			return refuse("operation %d does not say which version of the row it changes", i)
		case (w.row.RowKey == headKey || w.row.RowKey == queueKey) && (w.verb == remove || w.match == azcore.ETagAny):
			return refuse("operation %d changes a head whatever its version, or removes it", i)
		case len(w.row.Properties) > maxColumns:
			return refuse("operation %d has %d columns, more than %d", i, len(w.row.Properties), maxColumns)
		}
		rows[w.row.RowKey] = true
		size := 4 + 2*(len(w.row.PartitionKey)+len(w.row.RowKey))
		for column, value := range w.row.Properties {
			n, err := checkColumn(column, value)
			if err != nil {
				return err
			}
			size += n
		}
		if size > maxEntity {
			return refuse("operation %d has %d bytes, more than %d", i, size, maxEntity)
		}
		body, err := json.Marshal(w.row)
		if err != nil {
			return refuse("operation %d cannot be encoded", i)
		}
		batch += perOperation + len(w.row.PartitionKey) + len(w.row.RowKey) + len(body)
	}
	if batch > maxBatch {
		return refuse("the transaction has %d bytes, more than %d", batch, maxBatch)
	}
	return nil
}

// checkKeys refuses what no key of ours contains: that is stricter than the service.
func checkKeys(partition, row string) error {
	for _, key := range []string{partition, row} {
		if len(key) > maxKey || !keyForm.MatchString(key) {
			return refuse("a key has %d characters, not 1 to %d of A-Z a-z 0-9 ~ . _ -", len(key), maxKey)
		}
	}
	return nil
}

// checkColumn returns what a column counts for in the size of its entity.
func checkColumn(column string, value any) (size int, err error) {
	if len(column) > maxColumnName || !columnForm.MatchString(column) {
		return 0, refuse("a column's name is not an identifier of at most %d characters", maxColumnName)
	}
	size = 8 + 2*len(column)
	switch v := value.(type) {
	case bool:
		return size + 1, nil
	case aztables.EDMInt64:
		return size + 8, nil
	case string:
		units := len(utf16.Encode([]rune(v)))
		if units > maxText {
			return 0, refuse("the column %q has %d UTF-16 code units, more than %d", column, units, maxText)
		}
		return size + 4 + 2*units, nil
	}
	return 0, refuse("the column %q is a %T", column, value)
}
