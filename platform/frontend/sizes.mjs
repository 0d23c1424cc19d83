// Prints what each built file weighs, gzipped, and what script each kind of page loads; fails the
// build above a budget, and when a built file names another host or holds what the policy forbids.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

// Script that a page loads, bytes, gzipped. Every page loads src/main.ts.
const BUDGETS = { "src/main.ts": 60_000, "src/chart.ts": 60_000, "src/chat.ts": 90_000 };
// Addresses that are names, not places: XML namespaces, and what library texts and licences cite.
const NAMES = /^https?:\/\/(www\.w3\.org|github\.com|htmx\.org|four\.htmx\.org|highlightjs\.org|marked\.js\.org|cure53\.de|mozilla\.org|www\.apache\.org|localhost|127\.0\.0\.1)\b/;

function* filesIn(folder) {
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* filesIn(path);
    else yield path;
  }
}

const weights = new Map();
const faults = [];
for (const path of filesIn("dist")) {
  if (!/\.(js|css)$/.test(path)) continue;
  const bytes = readFileSync(path);
  weights.set(path, gzipSync(bytes, { level: 9 }).length);
  console.log(`${String(weights.get(path)).padStart(8)}  ${path}`);
  for (const [address] of bytes.toString("utf8").matchAll(/https?:\/\/[\w.-]+/g)) {
    if (!NAMES.test(address)) faults.push(`${path} names another host: ${address}`);
  }
  if (/url\(\s*["']?data:/.test(bytes.toString("utf8"))) faults.push(`${path} holds a data: address`);
}

const manifest = JSON.parse(readFileSync("dist/manifest.json", "utf8"));

/** The scripts that an entry pulls in, its own included. */
function scriptsOf(entry, found = new Set()) {
  if (found.has(entry)) return found;
  found.add(entry);
  for (const next of manifest[entry].imports ?? []) scriptsOf(next, found);
  return found;
}

for (const [entry, budget] of Object.entries(BUDGETS)) {
  const scripts = [...scriptsOf("src/main.ts"), ...scriptsOf(entry)];
  const files = new Set(scripts.map((name) => join("dist", manifest[name].file)));
  const total = [...files].reduce((sum, file) => sum + weights.get(file), 0);
  console.log(`${String(total).padStart(8)}  of ${budget}: script of a page with ${entry}`);
  if (total > budget) faults.push(`${entry} is ${total - budget} bytes over its budget`);
}
for (const fault of faults) console.error(`error: ${fault}`);
process.exit(faults.length ? 1 : 0);
