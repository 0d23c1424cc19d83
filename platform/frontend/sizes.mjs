// Prints what each built file weighs, gzipped, and fails the build above the budget; also fails when
// a built file names another host or would need a style or script that the policy forbids.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const BUDGET = 100_000; // bytes, gzipped, for all scripts and styles together
// Addresses that are names, not places: XML namespaces, and what library texts and licences cite.
const NAMES = /^https?:\/\/(www\.w3\.org|github\.com|htmx\.org|four\.htmx\.org|highlightjs\.org|marked\.js\.org|cure53\.de|mozilla\.org|www\.apache\.org|localhost|127\.0\.0\.1)\b/;

function* filesIn(folder) {
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* filesIn(path);
    else yield path;
  }
}

let total = 0;
const faults = [];
for (const path of filesIn("dist")) {
  if (!/\.(js|css)$/.test(path)) continue;
  const bytes = readFileSync(path);
  const gzipped = gzipSync(bytes, { level: 9 }).length;
  total += gzipped;
  console.log(`${String(gzipped).padStart(8)}  ${path}`);
  for (const [address] of bytes.toString("utf8").matchAll(/https?:\/\/[\w.-]+/g)) {
    if (!NAMES.test(address)) faults.push(`${path} names another host: ${address}`);
  }
  if (/url\(\s*["']?data:/.test(bytes.toString("utf8"))) faults.push(`${path} holds a data: address`);
}
console.log(`${String(total).padStart(8)}  gzipped in all, of ${BUDGET}`);
if (total > BUDGET) faults.push(`the bundle is ${total - BUDGET} bytes over its budget`);
for (const fault of faults) console.error(`error: ${fault}`);
process.exit(faults.length ? 1 : 0);
