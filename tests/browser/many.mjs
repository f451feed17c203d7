// A run of many items, made by repeating those of another: node tests/browser/many.mjs FROM TO COUNT
//
// For the report: files of an item are linked where the file system can, records are as a run writes them.

import { cpSync, existsSync, linkSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [from, to, count] = process.argv.slice(2);
if (!from || !to || !(Number(count) > 0)) throw new Error("node tests/browser/many.mjs FROM TO COUNT");
if (existsSync(to)) throw new Error(`${to} is there already`);
const run = JSON.parse(readFileSync(join(from, "run.json"), "utf8"));
const lines = readFileSync(join(from, "items.jsonl"), "utf8").trim().split("\n");
const items = lines.map((line) => JSON.parse(line)).filter((item) => item.status !== "failed");
let index = "";
for (let n = 0; n < Number(count); n += 1) {
  const item = items[n % items.length];
  const id = `${item.id}-${n}`;
  const [old, place] = [join(from, "items", item.id), join(to, "items", id)];
  mkdirSync(place, { recursive: true });
  for (const name of readdirSync(old).filter((name) => name !== "item.json")) {
    try {
      linkSync(join(old, name), join(place, name));
    } catch {
      cpSync(join(old, name), join(place, name), { recursive: true });
    }
  }
  const record = { ...JSON.parse(readFileSync(join(old, "item.json"), "utf8")), id };
  writeFileSync(join(place, "item.json"), JSON.stringify(record));
  index += `${JSON.stringify({ ...item, id })}\n`;
}
writeFileSync(join(to, "items.jsonl"), index);
writeFileSync(join(to, "run.json"), JSON.stringify(run));
console.log(`${to}: ${count} items`);
