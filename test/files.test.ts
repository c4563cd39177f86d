// At stake: a trace that is damaged, or that does not belong to its VM, must not become a run. Every refusal is checked as the whole
// line that the user sees, for files given as bytes, by a loader and on disk.

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ErrorCode } from "#dist/errors.js";
import { PagevisorError } from "#dist/errors.js";
import { loadTraces, parseTrace } from "#dist/files.js";
import { type ResolvedScenario, resolveScenario } from "#dist/scenario.js";

const FORMAT = "little-endian u32 records, plain or gzip";
const PATH = "vms[0].guest.tasks[0].workload.file";
const WRITE = 0x8000_0000;

function bytesOf(...words: number[]): Uint8Array {
  return new Uint8Array(new Uint32Array(words).buffer);
}

/** A VM of 16 pages that replays `file`, then works on `pages` others. */
function replaying(file: string, pages = 1): ResolvedScenario {
  const tasks = [{ workload: { kind: "trace", file } }, { workload: { kind: "uniform", pages } }];
  return resolveScenario({
    host: { memory: "1MiB" },
    vms: [{ name: "db", memory: "64KiB", guest: { tasks } }],
  });
}

async function refusal(work: Promise<unknown>, code: ErrorCode = "E_FILE"): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.instance(error, PagevisorError);
    assert.is((error as PagevisorError).code, code);
    assert.not.match((error as PagevisorError).message, "\n");
    return (error as PagevisorError).message;
  }
  return assert.unreachable("the trace was accepted") as never;
}

test("a trace is words, pages and a hash, whether compressed or not", async () => {
  const bytes = bytesOf(3, 7 + WRITE, 0);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  for (const file of [bytes, gzipSync(bytes)]) {
    const trace = await parseTrace(file, "t");
    assert.equal([...trace.words], [3, 7 + WRITE, 0]);
    assert.is(trace.pages, 8);
    assert.is(trace.sha256, sha256);
  }
});

test("bytes at an odd offset of a larger buffer are read", async () => {
  const shifted = new Uint8Array([0, ...bytesOf(5, 6)]).subarray(1);
  assert.equal([...(await parseTrace(shifted, "t")).words], [5, 6]);
});

test("the last page number of a record is read", async () => {
  assert.is((await parseTrace(bytesOf(0xffff_ffff), "t")).pages, 2 ** 31);
});

test("a damaged trace is refused", async () => {
  const packed = gzipSync(bytesOf(...Array.from({ length: 5000 }, (_, index) => (index * 7919) % 5003)));
  const corrupt = packed.map((byte, index) => (index > 40 && index < 80 ? byte ^ 0x55 : byte));
  const gzip = `t.u32: truncated or corrupt gzip. Allowed: ${FORMAT}`;
  assert.is(await refusal(parseTrace(new Uint8Array(), "t.u32")), `t.u32: empty. Allowed: ${FORMAT}`);
  assert.is(
    await refusal(parseTrace(gzipSync(new Uint8Array()), "t.u32")),
    `t.u32: empty. Allowed: ${FORMAT}`,
  );
  assert.is(
    await refusal(parseTrace(bytesOf(1, 2).subarray(0, 7), "t.u32")),
    `t.u32: 7 bytes are not a multiple of 4. Allowed: ${FORMAT}`,
  );
  for (const length of [2, 9, 40, packed.length >> 1, packed.length - 8, packed.length - 1]) {
    assert.is(await refusal(parseTrace(packed.subarray(0, length), "t.u32")), gzip, `${length} bytes`);
  }
  assert.is(await refusal(parseTrace(corrupt, "t.u32")), gzip);
});

test("each file is loaded once, from a record or a loader", async () => {
  const tasks = ["a", "b", "a"].map((file) => ({ workload: { kind: "trace", file } }));
  const scenario = resolveScenario({
    host: { memory: "1MiB" },
    vms: [{ name: "db", memory: "64KiB", guest: { tasks } }],
  });
  const files: Record<string, Uint8Array> = { a: bytesOf(1), b: gzipSync(bytesOf(2, 3)) };
  const asked: string[] = [];
  const load = async (name: string) => {
    asked.push(name);
    return files[name]!;
  };
  for (const source of [files, load]) {
    const traces = await loadTraces(scenario, source, undefined);
    assert.equal([...traces.keys()], ["a", "b"]);
    assert.equal([...traces.get("b")!.words], [2, 3]);
  }
  assert.equal(asked, ["a", "b"]);
});

test("a file is read from disk relative to the base directory", async () => {
  const folder = mkdtempSync(join(tmpdir(), "pagevisor-files-"));
  try {
    mkdirSync(join(folder, "traces"));
    writeFileSync(join(folder, "traces/a.u32"), bytesOf(4));
    const traces = await loadTraces(replaying("traces/a.u32"), undefined, folder);
    assert.is(traces.get("traces/a.u32")!.pages, 5);
    const absolute = await loadTraces(replaying(join(folder, "traces/a.u32")), {}, undefined);
    assert.is(absolute.size, 1);
    assert.is(
      await refusal(loadTraces(replaying("b.u32"), { c: bytesOf(1) }, folder)),
      `${PATH}: "b.u32": no such file "${join(folder, "b.u32")}". Allowed: ${FORMAT}`,
    );
    assert.is(
      await refusal(loadTraces(replaying("traces"), undefined, folder)),
      `${PATH}: "traces": "${join(folder, "traces")}" is a directory. Allowed: ${FORMAT}`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a file that the loader does not give is refused", async () => {
  const failing = () => {
    throw new Error("404\nnot found");
  };
  assert.is(
    await refusal(loadTraces(replaying("a"), failing, undefined)),
    `${PATH}: "a": the loader failed: 404 not found. Allowed: ${FORMAT}`,
  );
  const giving = (() => undefined) as unknown as () => Uint8Array;
  assert.is(
    await refusal(loadTraces(replaying("a"), giving, undefined)),
    `${PATH}: "a": the loader returned undefined instead of a Uint8Array. Allowed: ${FORMAT}`,
  );
  assert.is(
    await refusal(loadTraces(replaying("a"), { a: bytesOf() }, undefined)),
    `${PATH}: "a": empty. Allowed: ${FORMAT}`,
  );
});

test("without Node, a file that is not given is refused", async () => {
  const { process } = globalThis;
  const work = async () => {
    Object.assign(globalThis, { process: undefined }); // as in a browser
    return loadTraces(replaying("a"), { b: bytesOf(1) }, undefined);
  };
  const message = await refusal(work().finally(() => Object.assign(globalThis, { process })));
  assert.is(message, `${PATH}: "a": no such file among those given. Allowed: ${FORMAT}`);
});

test("a page number outside the guest is refused", async () => {
  assert.is((await loadTraces(replaying("a"), { a: bytesOf(14) }, undefined)).size, 1);
  assert.is(
    await refusal(loadTraces(replaying("a"), { a: bytesOf(1, 16 + WRITE) }, undefined), "E_SCENARIO"),
    `${PATH}: page 16 of "a" is outside the 16 pages (64KiB) of "db". Allowed: pages 0..15`,
  );
});

test("a trace leaves room for the tasks after it, or they are refused", async () => {
  assert.is(
    await refusal(loadTraces(replaying("a", 4), { a: bytesOf(12) }, undefined), "E_SCENARIO"),
    'vms[0].guest.tasks[1].workload.pages: the 4 pages of "uniform-1" from page 13 on do not fit the 16 pages (64KiB) of "db". ' +
      "Allowed: a whole number 1..3",
  );
});

test.run();
