// At stake: a curve that is shifted, cut off or labelled wrong. Its points are compared with single runs and with numbers that follow from
// the trace alone; sizes in every unit, and every size and name that is none.

import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { curveCommand } from "#dist/cli/curve.js";
import { coreModule } from "#dist/core.js";
import { parseTrace } from "#dist/files.js";
import { type CurveOptions, curve, PagevisorError, POLICIES } from "#dist/index.js";
import { PolicyRuns } from "#dist/policies.js";
import { recordingTerminal } from "./cli/made.js";

const FILE = new URL("../../test/fixtures/policies/scan_400_6k.u32.gz", import.meta.url);
const BYTES = new Uint8Array(readFileSync(FILE));
const PAGES = 200;
const REFERENCES = 6000;

function traceOf(words: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(words).buffer);
}

async function refusal(options: CurveOptions): Promise<string> {
  try {
    await curve(BYTES, options);
  } catch (error) {
    assert.instance(error, PagevisorError);
    assert.is((error as PagevisorError).code, "E_USAGE");
    return (error as PagevisorError).message;
  }
  return assert.unreachable("nothing was refused") as never;
}

test("without options: all policies over the default sizes, each point as a run of its own", async () => {
  const { status, trace, sizes, curves } = await curve(BYTES);
  assert.is(status, "done");
  assert.equal([trace.references, trace.pages, trace.writes], [REFERENCES, PAGES, REFERENCES / 3]);
  assert.equal(
    sizes.map(({ pages }) => pages),
    [1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100].map((percent) => (percent * PAGES) / 100),
  );
  assert.equal(
    curves.map(({ policy }) => policy),
    POLICIES,
  );
  const runs = new PolicyRuns(
    await coreModule(),
    await parseTrace(BYTES, "x"),
    POLICIES,
    sizes.map(({ pages }) => pages),
  );
  for (const { policy, misses, missRatio } of curves) {
    assert.is(misses.length, sizes.length);
    sizes.forEach(({ pages }, index) => {
      assert.is(misses[index], runs.misses(policy, pages), `${policy}, ${pages}`);
      assert.is(missRatio[index], misses[index]! / REFERENCES);
    });
    assert.is(misses.at(-1), PAGES, "with room for all, only first touches miss");
  }
});

test("sizes come as pages, bytes and shares, ascending and each once; more than there is changes nothing", async () => {
  const { sizes, curves } = await curve(BYTES, {
    policies: ["lru"],
    sizes: [300, "20", "50%", "80KiB", "0.1%", 20, "100%", " 25 % "],
  });
  assert.equal(sizes, [
    { pages: 1, bytes: 4096, percent: 0.5 },
    { pages: 20, bytes: 20 * 4096, percent: 10 },
    { pages: 50, bytes: 50 * 4096, percent: 25 },
    { pages: 100, bytes: 100 * 4096, percent: 50 },
    { pages: 200, bytes: 200 * 4096, percent: 100 },
    { pages: 300, bytes: 300 * 4096, percent: 150 },
  ]);
  const [{ misses }] = curves as [(typeof curves)[0]];
  assert.is(misses[1], 3726);
  assert.is(misses[5], misses[4]);
});

test("a loop misses always or once a page, by the size of memory", async () => {
  const trace = traceOf(Array.from({ length: 70 }, (_, index) => index % 7));
  const { curves } = await curve(trace, { policies: ["fifo", "belady"], sizes: [6, 7] });
  assert.equal(curves[0], { policy: "fifo", misses: [70, 7], missRatio: [1, 0.1] });
  assert.equal(curves[1]!.misses[1], 7);
});

test("page numbers may have gaps, and the write bit is no part of them", async () => {
  const trace = traceOf([5_000_000, 0, 0x8000_0000 + 5_000_000, 17, 0]);
  const { trace: seen, curves } = await curve(trace, { sizes: [3] });
  assert.equal([seen.pages, seen.writes], [3, 1]);
  for (const { misses } of curves) assert.equal(misses, [3]);
});

for (const [size, message] of [
  ["0%", '"0%" is nothing'],
  [0, "0 is nothing"],
  [1.5, "1.5 is not a size"],
  [-1, "-1 is not a size"],
  ["4000B", '"4000B" is not a whole number of 4 KiB pages'],
  ["12 apples", '"12 apples" is not a size'],
  ["", '"" is not a size'],
  [1e12, "1000000000000 is too large"],
] as const) {
  test(`size ${JSON.stringify(size)} is refused`, async () => {
    assert.match(await refusal({ sizes: [10, size] }), `${message}. Allowed sizes: pages as 4096`);
  });
}

test("a policy that is none, and no policy or size at all, is refused", async () => {
  const policies = ["lru", "clokc"] as unknown as CurveOptions["policies"];
  assert.match(
    await refusal({ ...(policies && { policies }) }),
    '"clokc" is not a policy; did you mean "clock"? ',
  );
  assert.match(await refusal({ policies: [] }), "no policy. Allowed: lru, ");
  assert.match(await refusal({ sizes: [] }), "no size. Allowed sizes: ");
});

test("aborted, it returns the policies that are done", async () => {
  const abort = new AbortController();
  const words = Array.from({ length: 3_000_000 }, (_, index) => (index * 7919) % 5000);
  let told = 0;
  const result = await curve(traceOf(words), {
    sizes: ["10%", "50%"],
    signal: abort.signal,
    onProgress: (done, all) => {
      assert.is(all, words.length * POLICIES.length * 2);
      assert.ok(done > told && done < all);
      told = done;
      abort.abort();
    },
  });
  assert.is(result.status, "interrupted");
  assert.ok(told > 0 && result.curves.length < POLICIES.length);
  for (const { misses } of result.curves) assert.is(misses.length, 2);
});

test("the command prints a table, CSV or JSON, and its exit code", async () => {
  const run = async (flags: Parameters<typeof curveCommand>[1]) => {
    const terminal = recordingTerminal();
    assert.is(await curveCommand(FILE.pathname, flags, terminal), 0);
    assert.is(terminal.written.err, "");
    return terminal.written.out;
  };
  const wanted = { policy: ["lru", "2q"], sizes: ["10%", "60"] };
  const text = await run(wanted);
  assert.match(text, "scan_400_6k.u32.gz: 6,000 references, 33.3% of them writes, to 200 pages (800KiB)\n");
  assert.match(
    text,
    /\nmemory +pages +share +lru +2q\n +80KiB +20 +10% +62\.1% +54\.9%\n *240KiB +60 +30% +37\.0% /,
  );
  assert.is(
    await run({ ...wanted, csv: true }),
    "policy,pages,bytes,percent,references,misses,missRatio\n" +
      "lru,20,81920,10,6000,3726,0.621\n" +
      `lru,60,245760,30,6000,2219,${2219 / 6000}\n` +
      "2q,20,81920,10,6000,3294,0.549\n" +
      `2q,60,245760,30,6000,2043,${2043 / 6000}\n`,
  );
  const sizes = ["10%", "60"];
  const expected = await curve(BYTES, { policies: ["lru", "2q"], sizes });
  assert.equal(JSON.parse(await run({ ...wanted, json: true })), expected);

  const terminal = recordingTerminal();
  terminal.interrupt.abort();
  assert.is(await curveCommand(FILE.pathname, { ...wanted, csv: true }, terminal), 130);
  assert.is(terminal.written.out, "policy,pages,bytes,percent,references,misses,missRatio\n");
});

test.run();
