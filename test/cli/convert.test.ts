// At stake: a trace that says something else than the recording. A recorded trace, written as text and converted, must come back bit for bit;
// the filter must agree with a plain model; a bad line must be told by its number.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PageFilter } from "#dist/cli/pagefilter.js";
import { main } from "#dist/cli/program.js";
import { parameters } from "../reference/report.js";
import { EXAMPLES } from "../scenes.js";
import { recordingTerminal } from "./made.js";

const test = suite("convert", { folder: "", input: "", out: "" });
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), "pagevisor-convert-"));
  context.input = join(context.folder, "in");
  context.out = join(context.folder, "out.u32");
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true }));

const WRITE = 0x8000_0000;

async function convert(args: string[]) {
  const terminal = recordingTerminal();
  const exitCode = await main(["convert", ...args], terminal);
  return { exitCode, ...terminal.written };
}

const wordsIn = (bytes: Uint8Array): number[] => [...new Uint32Array(new Uint8Array(bytes).buffer)];

test("lackey: loads, stores and modifies, both pages of an access across, no instructions", async ({
  input,
  out,
}) => {
  const lines = [
    "==7== Lackey",
    "I  00400000,3",
    " L 1ffe00001ff8,8",
    " S 1ffe00001ff9,8",
    " M 3000,4",
    " L fff,1",
    "==7== ",
  ];
  writeFileSync(input, lines.join("\n"));
  const { exitCode, err } = await convert([input, "--from", "lackey", "-o", out, "--pages", `${out}.vpn`]);
  assert.is(exitCode, 0);
  assert.match(err, /5 of 5 references, 4 pages; a guest needs at least 16KiB\n$/);
  assert.equal(wordsIn(readFileSync(out)), [0, WRITE + 0, WRITE + 1, WRITE + 2, 3]);
  const numbers = [...new BigUint64Array(new Uint8Array(readFileSync(`${out}.vpn`)).buffer)];
  assert.equal(numbers, [0x1ffe00001n, 0x1ffe00002n, 3n, 0n]);
});

test("text: addresses or pages, decimal or hexadecimal, r, w or nothing", async ({ input, out }) => {
  writeFileSync(input, "# a comment\n4096\n0x1fff w\r\n\n  8192, R\n0xffffffffffffffff\n");
  await convert([input, "--from", "text", "-o", out]);
  assert.equal(wordsIn(readFileSync(out)), [0, WRITE, 1, 2]);
  writeFileSync(input, "7\n7 w\n0x7\n8");
  await convert([input, "--from", "text", "--unit", "page", "-o", out]);
  assert.equal(wordsIn(readFileSync(out)), [0, WRITE, 0, 1]);
  await convert([input, "--from", "text", "--unit", "page", "--filter", "1", "-o", out]);
  assert.equal(wordsIn(readFileSync(out)), [0, WRITE, 1]);
});

test("a recorded trace comes back bit for bit from its text, gzip in and out", async ({ input, out }) => {
  const trace = gunzipSync(readFileSync(join(EXAMPLES, "traces/sqlite_build_query.u32.gz")));
  const words = wordsIn(trace);
  const text = words.map((word) => `0x${(word % WRITE) + 0x7f000}abc${word >= WRITE ? " w" : ""}\n`).join("");
  writeFileSync(input, gzipSync(text, { level: 1 }));
  const { exitCode } = await convert([input, "--from", "text", "-o", `${out}.gz`]);
  assert.is(exitCode, 0);
  assert.ok(gunzipSync(readFileSync(`${out}.gz`)).equals(trace));
});

test("the filter keeps what a plain list of the pages used last keeps", () => {
  const reference = fc.tuple(fc.nat(9), fc.boolean());
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6 }),
      fc.array(reference, { maxLength: 200 }),
      (size, references) => {
        const filter = new PageFilter(size);
        let recent: { page: number; dirty: boolean }[] = [];
        for (const [page, write] of references) {
          const known = recent.find((one) => one.page === page);
          assert.is(filter.keeps(page, write), known === undefined || (write && !known.dirty));
          const used = { page, dirty: write || known?.dirty === true };
          recent = [used, ...recent.filter((one) => one !== known)].slice(0, size);
        }
      },
    ),
    parameters(100),
  );
});

test("a bad line is refused with its number, and no trace is left", async ({ input, out }) => {
  for (const [from, text, wrong] of [
    ["lackey", " L 10,4\n L zz,4\n", /in:2: " L zz,4": not a line of lackey\. Allowed: /],
    ["text", "1\n2\n\n3 x\n", /in:4: "3 x": not a reference\. Allowed: one address/],
    ["text", "1\n0x11112222333344445\n", /in:2: /],
    ["text", "# nothing\n", /in: no references in it/],
    ["text", "", /in: no references in it/],
  ] as const) {
    writeFileSync(input, text);
    const { exitCode, err } = await convert([input, "--from", from, "-o", out]);
    assert.is(exitCode, 2, err);
    assert.match(err, wrong);
    assert.match(err, /^pagevisor: [^\n]+\n$/);
    assert.not.ok(existsSync(out));
  }
});

test("a file that cannot be read or is cut short is refused; an older output outlives a mistyped name", async (context) => {
  const { folder, input, out } = context;
  writeFileSync(out, "older");
  const missing = await convert([join(folder, "no"), "--from", "text", "-o", out]);
  assert.is(missing.exitCode, 2);
  assert.match(missing.err, /cannot read ".*no": ENOENT/);
  assert.is(readFileSync(out, "utf8"), "older");
  writeFileSync(input, gzipSync("1\n".repeat(100_000)).subarray(0, 100));
  const cut = await convert([input, "--from", "text", "-o", out]);
  assert.equal([cut.exitCode, existsSync(out)], [2, false]);
  assert.match(cut.err, /cannot read ".*in": unexpected end of file/);
  const unit = await convert([input, "--from", "lackey", "--unit", "page", "-o", out]);
  assert.match(unit.err, /--unit page: lackey prints addresses/);
});

test("a line without end does not fill the memory", async ({ input, out }) => {
  writeFileSync(input, "1\n".concat("1".repeat(3 * 2 ** 20)));
  assert.match((await convert([input, "--from", "text", "-o", out])).err, /in:2: no end of the line/);
});

test.run();
