// Prints what of the package a page or a program loads: bytes, and bytes after gzip. node scripts/sizes.mjs, after the build.
// A program that is bundled is measured as esbuild makes it, everything it imports included.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));

/** What esbuild makes of one line of code that uses the package. */
async function bundled(code) {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: root },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    write: false,
    logLevel: "warning",
  });
  return Buffer.from(outputFiles[0].contents);
}

const file = (path) => readFileSync(`${root}/${path}`);
const rows = [
  ["core.wasm", file("build/core.wasm")],
  ["pagevisor, Machine alone, bundled", await bundled('export { Machine } from "pagevisor";')],
  ["pagevisor, everything, bundled", await bundled('export * from "pagevisor";')],
  ["pagevisor/inline", file("dist/inline.js")],
  ["pagevisor/worker, bundled", await bundled('export { runInWorker } from "pagevisor/worker";')],
  ["pagevisor/worker-thread", file("dist/workerthread.js")],
];

const number = (value) => value.toLocaleString("en-US").padStart(10);
console.log(`${"".padEnd(36)}     bytes      gzip`);
for (const [name, bytes] of rows) {
  console.log(`${name.padEnd(36)}${number(bytes.length)}${number(gzipSync(bytes, { level: 9 }).length)}`);
}
