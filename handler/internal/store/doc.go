// Package store keeps subjects, codes and intents in Azure Table Storage. It owns the key formats, the columns and the one
// commit function, and is the only importer of aztables. It decides nothing: what a state means is for package activation.
//
// # Keys
//
// Keys hold no more than A-Z a-z 0-9 ~ . _ - so that none is read as something else on the way (model.md section 1).
//
//	table     PartitionKey                      RowKey
//	subjects  p~ d~ c~ and base32hex(id)        head
//	                                            act~{inverted time}~{uuid}     the time is the uuid's own
//	                                            cred~{v}~{HMAC_v}
//	                                            sid~{sid}
//	                                            jti~{jti}                      comes with RFC 7009; already read by Session
//	                                            aud~{inverted time}~{id}       Record.Time, Record.ID
//	codes     the first 2 characters of HMAC_v  {v}~{HMAC_v}
//	journal   {yyyyMMddHHmm}~{00..15}           {time}~{id}                    Record.Announced, Record.ID
//
// base32hex is lower-case and without padding. An inverted time is the milliseconds that are left until the year 10000,
// 15 digits: newer sorts first. v names the pepper. held~, imported~ and the other tables of model.md come with their issues.
//
// # Columns
//
// Times are text, UTC, to the millisecond, "2006-01-02T15:04:05.000Z": they compare as text. A time that is not is "".
//
//	head      kind     patient, device or clinician
//	          active   boolean
//	          n        Edm.Int64, counts commits
//	          pending  "" or {"act","otp","attempts","expires"}
//	          creds    [{"sid","key"}], oldest first, at most 20; key is {v}~{HMAC_v}
//	          redeems  what may be asked for again: the last 8 of 60 s, [{"act","v","rid","idem","length","at","misses"}]
//	          issues   likewise, of creations: the last 8 of 24 h, [{"act","v","rid","idem","length","at"}]
//	          imported "" or the hash of the predecessor's credential, $scrypt$...
//	          own_...  laid out, not written yet: a device's or clinician's own fields
//	act~      status, ended, created, created_by, modified, modified_by, expires, redeemed
//	cred~     sid, label, used (to the hour)
//	sid~      key (the row key of its cred~ row)
//	aud~      action, outcome, reason, issuer, actor, source, trace, activation, n, at, announced, id
//	codes     subject (its PartitionKey), activation, expires, ended, ended_for
//	journal   subject (its PartitionKey), record (the row key of its aud~ row)
//
// Rows are changed by merging: a column that this version does not know, because a newer instance wrote it, stays as it is.
// That holds for columns only. So a new field is a new column, never a new member of pending or creds.
//
// # Lost replies
//
// Reads, inserts and merges are repeated by azcore, because a repeat does no harm: an insert that finds its own row was
// carried out before. A commit is sent once; what a silence means is decided by package activation.
package store
