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
//	                                            held~{v}~{HMAC_v}              of an inactive device, in the place of cred~
//	                                            sid~{sid}
//	                                            jti~{jti}                      one token that was ended (RFC 7009)
//	                                            aud~{inverted time}~{id}       Record.Time, Record.ID
//	codes     the first 2 characters of HMAC_v  {v}~{HMAC_v}
//	journal   {yyyyMMddHHmm}~{00..15}           {time}~{id}                    Record.Announced, Record.ID
//	budgets   {kind}~{0000...}                  window                         patient, device: 0000; source: to 4095
//	identities  a tenant's GUID, or             an object id (a GUID), or base32hex(sub)
//	            base32hex(issuer URL)           ~head
//	                                            ~aud~{inverted time}~{id}      Record.Time, Record.ID
//	feed      rev                               {inverted time}~{id}~{sid or jti}  Record.Time, Record.ID
//	lists     all, loc~ and base32hex(location) base32hex(id)                  of a device
//
// base32hex is lower-case and without padding. An inverted time is the milliseconds that are left until the year 10000,
// 15 digits: newer sorts first. v names the pepper. The other tables of model.md come with their issues.
//
// An identity's row key is bare, as model.md has it, so what is not an identity begins with "~", behind all of them: a list is the
// range of row keys below "~" and never reads over records. That is why a record is ~aud~ here and aud~ elsewhere.
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
//	  of a device also
//	          held     as creds: what is put aside while it is inactive
//	          own_description, own_location, own_created, own_created_by, own_modified, own_modified_by
//	          own_changes  Edm.Int64, counts the changes of these and of active; without own_location it was not created
//	act~      status, ended, created, created_by, modified, modified_by, expires, redeemed
//	cred~     sid, label, created ("" before it was kept), used (to the hour)
//	held~     sid (the last that it had, which is dead), at
//	sid~      key (the row key of its cred~ row)
//	jti~      until (its expiry, and the allowance for clocks)
//	aud~      action, outcome, reason, issuer, actor, source, trace, activation, sessions (sids that it ended), token (a jti
//	          likewise), n, at, announced, id
//	codes     subject (its PartitionKey), activation, expires, ended, ended_for
//	journal   subject (its PartitionKey), record (the row key of its aud~ row); of an identity also table, which is identities
//	budgets   tokens (Edm.Int64, the units left), at (when, by the clock of storage)
//	identities  state, kind, label, scopes (with blanks between them), successor ("" or PartitionKey~RowKey), created, created_by,
//	            modified, modified_by, seen (to the hour), n (Edm.Int64, counts commits)
//	  ~head     pending (Edm.Int64, how many of the issuer are)
//	  ~aud~     action, outcome, reason, issuer, actor, source, trace, n, at, announced, id; identity (the row key of its identity);
//	            state, label, scopes (as they are from then on); other (as successor)
//	feed      sid or jti (the other is ""), until
//	lists     written
//
// Rows are changed by merging: a column that this version does not know, because a newer instance wrote it, stays as it is.
// That holds for columns only. So a new field is a new column, never a new member of pending or creds.
//
// # Lost replies
//
// Reads, inserts and merges are repeated by azcore, because a repeat does no harm: an insert that finds its own row was
// carried out before. A commit is sent once; what a silence means is decided by package activation.
package store
