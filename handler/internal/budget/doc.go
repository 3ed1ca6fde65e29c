// Package budget bounds what strangers may try (ABU-1, model.md section 7). It owns what a bucket is, how instances share one
// in storage, and who is charged for what. It knows no HTTP, no Azure and no code: it is told that a look-up is about to be
// made, that the code was known after all, and that a redeem was refused.
//
// # Three budgets
//
// The total bounds guesses at locators that nobody issued, one bucket a kind of subject. It is the only bound that the odds of
// ABU-2 rest on. A unit is taken before the look-up and comes back when the code turns out to exist: what is left of those that
// hold a real code is bounded by its attempts. Empty means that nobody's code of this kind is looked up, right or wrong.
//
// The source's bounds what one address may be refused. It is charged after a refusal, for every reason alike. Empty changes
// only how a refusal looks: a right redeem never asks for it. So it tells nothing about a code, and nobody is locked out by what
// others do from the same address (ABU-3).
//
// The login's bounds what one device may try of identifiers that nobody has, as the total does for locators: taken before the look-up,
// given back when somebody has it, and empty means that nobody is looked up for that device. There is none of all devices: who guesses
// needs one that was let in, and revoking it ends that.
//
// # When storage does not answer
//
// The total, and that of logins, are closed: what cannot be counted is not looked up. Nothing is lost by that: a redeem asks the same storage for its
// code, and whoever is told to try again keeps code and attempts. The source's is open: a refusal stays the ordinary refusal,
// since the total bounds the guesses anyway. Neither ever hands out more than its bound, and neither makes a right code wrong.
//
// # A hard bound at nearly no trips
//
// A bucket is one row. An instance takes a block of units out of it by compare and swap, and hands them out from memory. A
// unit is handed out only when the swap that took it was answered with yes: of a swap without an answer the units are lost,
// never handed out twice. So all instances together never hand out more than the bucket gave, whatever dies, waits or comes
// late. An instance that dies loses its block, at most one and a half. Refill goes by storage's own clock, so that the
// clocks of instances have no part in it.
//
// Sources share 4,096 rows by a hash of the address, and devices as many of their own: the table does not grow, and no partition is
// hot, whoever comes from wherever. Two on one row share its budget. Whoever holds thousands of networks (an IPv6 /48 is
// 65,536 of /64) can empty all rows: then every refusal looks like 429, and right codes work as before.
package budget
