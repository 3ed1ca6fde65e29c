#!/bin/sh
# Replays recorded exchanges of the Functions host against devhost, in both
# HTTP modes, and fails if one differs that left-out.txt does not name.
#
#   replay.sh [FOLDER]    FOLDER holds exchanges.jsonl, apps.json and replay.mjs;
#                         default: host-transcripts in a neighbour of the repository
#
# SECTIONS (default a,b,c,d,e,f,g,h,i,j) and FIRST_PORT choose what is replayed where.
# Where there is none, and none is named, nothing is replayed, and that is said.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../../.." && pwd)
folder=${1:-}
if [ -z "$folder" ]; then
	for d in "$repo"/../*/host-transcripts; do
		[ -f "$d/replay.mjs" ] && folder=$d
	done
fi
if [ -z "$folder" ]; then
	echo "devhost: no recorded exchanges here, nothing replayed"
	exit 0
fi
if [ ! -f "$folder/replay.mjs" ]; then
	echo "devhost: there is no replay.mjs in $folder" >&2
	exit 2
fi
sections=${SECTIONS:-a,b,c,d,e,f,g,h,i,j}
build=$repo/.build/replay
out=$build/output.txt
mkdir -p "$build"
(cd "$repo" && go build -o "$build/devhost" ./infra/local/devhost)

# It exits with 1 if anything differs, left out or not: the list below decides.
status=0
node "$folder/replay.mjs" --host "'$build/devhost' --root '{root}' --port {port}" \
	--only "$sections" --port "${FIRST_PORT:-$((20000 + $$ % 10000))}" --quiet >"$out" || status=$?
if [ "$status" -gt 1 ]; then
	cat "$out"
	exit "$status"
fi

exec node --input-type=module - "$folder/exchanges.jsonl" "$here/left-out.txt" "$out" "$sections" <<'EOF'
import { readFileSync } from 'node:fs';
const [exchanges, list, out, sections] = process.argv.slice(2).map((a, i) => (i < 3 ? readFileSync(a, 'utf8') : a));
const all = exchanges.split('\n').filter(Boolean).map(l => JSON.parse(l)).filter(x => sections.split(',').includes(x.section));
const rules = list.split('\n').filter(l => l.trim() && !l.startsWith('#')).map(l => {
  const [, glob, reason] = /^(\S+)\s+(\S.*)$/.exec(l) ?? (console.log(`left-out.txt: no reason in: ${l}`), process.exit(1));
  return { glob, reason, re: new RegExp('^' + glob.split('*').map(s => s.replace(/[^\w-]/g, '\\$&')).join('.*') + '$') };
});
const failed = new Set([...out.matchAll(/^FAIL (\S+) \[/gm)].map(m => m[1]));
if (!/^\d+ passed, \d+ failed/m.test(out)) { console.log(out); process.exit(1); }
const cells = {}, reasons = {}, wrong = [], idle = [], used = new Set();
for (const x of all) {
  const rule = rules.find(r => r.re.test(x.id)), c = cells[`${x.section} ${x.mode}`] ??= { passed: 0, left: 0, differs: 0 };
  if (rule) used.add(rule);
  if (!failed.has(x.id)) { c.passed++; if (rule) idle.push(x.id); }
  else if (rule) { c.left++; reasons[rule.reason] = (reasons[rule.reason] ?? 0) + 1; }
  else { c.differs++; wrong.push(x.id); }
}
for (const [k, c] of Object.entries(cells).sort()) console.log(`${k.padEnd(12)} passed ${String(c.passed).padStart(3)}  left out ${String(c.left).padStart(2)}  differ ${c.differs}`);
const sum = f => Object.values(cells).reduce((n, c) => n + c[f], 0);
console.log(`${'all'.padEnd(12)} passed ${String(sum('passed')).padStart(3)}  left out ${String(sum('left')).padStart(2)}  differ ${sum('differs')}`);
for (const [r, n] of Object.entries(reasons)) console.log(`left out ${n}: ${r}`);
for (const id of idle) console.log(`warning: ${id} is left out but passes`);
for (const r of rules) if (!used.has(r) && sections === 'a,b,c,d,e,f,g,h,i,j') console.log(`warning: ${r.glob} in left-out.txt names no exchange`);
if (wrong.length) {
  console.log('\n' + out.split(/^(?=FAIL )/m).filter(b => wrong.some(id => b.startsWith(`FAIL ${id} `))).join(''));
  process.exit(1);
}
EOF
