// At stake: the generation lists. Whatever is done to a process' pages, each page must lie on one list of a living generation and the
// sizes must agree with the flags: the debug build walks them after each operation. Then the story of a few pages, step by step, and what a
// guest's accesses are worth, which only the secondary MMU has seen.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Core } from "#dist/core.js";
import { Machine } from "#dist/index.js";
import { LruCase } from "#dist/validate/lrucase.js";
import { SwapCase } from "#dist/validate/swapcase.js";
import { parameters } from "../reference/report.js";

type Call = Record<string, (...args: number[]) => number>;

const module = new WebAssembly.Module(readFileSync(new URL("../../../build/debug.wasm", import.meta.url)));
const PAGES = 600;
const LEAST_LIMIT = 120;
const SLOTS = 4096;

/** A process of 600 pages on generation lists, without a limit. */
function processOf(synchronous: boolean, swappiness: number): { swap: SwapCase; call: Call } {
  const core = new Core(module);
  const device = { type: 0, rotational: false, synchronous, usable_pages: SLOTS - 1, slots: SLOTS, prio: 0 };
  const captured = { pages: PAGES, guest: { cpus: 2, page_cluster: 3 }, devices: [device] };
  const swap = new SwapCase(core, captured as unknown as ConstructorParameters<typeof SwapCase>[1], 0);
  const call = core.call as unknown as Call;
  assert.is(call.lrucaseGenerations!(), 0);
  call.lrucaseCgroup!(swappiness);
  call.lrucaseJoin!();
  return { swap, call };
}

const page = fc.nat(PAGES - 1);
const range = fc.tuple(page, page).map(([a, b]) => [Math.min(a, b), Math.max(a, b) + 1] as const);
const operation = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant("touch" as const), range, write: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant("reclaim" as const), pages: fc.integer({ min: 1, max: 200 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant("limit" as const),
      pages: fc.integer({ min: LEAST_LIMIT, max: PAGES }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constantFrom("Pageout" as const, "Cold" as const, "Lazyfree" as const, "Free" as const),
      range,
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("cpu" as const), cpu: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.constant({ op: "settle" as const }) },
);

test("every page lies on one list of a living generation, and the sizes agree, whatever is done", () => {
  const runs = fc.record({
    synchronous: fc.boolean(),
    swappiness: fc.constantFrom(60, 60, 1, 200, 0),
    operations: fc.array(operation, { minLength: 1, maxLength: 40, size: "max" }),
  });
  fc.assert(
    fc.property(runs, ({ synchronous, swappiness, operations }) => {
      const { swap, call } = processOf(synchronous, swappiness);
      for (const each of operations) {
        if (each.op === "touch") {
          for (let at = each.range[0]; at < each.range[1]; at++) swap.touch(at, each.write);
        } else if (each.op === "reclaim") call.lrucaseReclaim!(each.pages);
        // Without swap nothing anonymous can go, and a limit would end the process.
        else if (each.op === "limit") call.lrucaseMax!(swappiness === 0 ? PAGES * 2 : each.pages);
        else if (each.op === "cpu") swap.moveTo(each.cpu);
        else if (each.op === "settle") swap.settle();
        else call[`swapcase${each.op}`]!(...each.range);
        call.lrucaseCheck!();
      }
    }),
    parameters(Number(process.env.PROPERTY_RUNS ?? 60)),
  );
});

/** A process of 300 pages, all written. */
function written(): LruCase {
  const guest = { cpus: 1, page_cluster: 0, swappiness: 60 };
  const one = new LruCase(new Core(module), {
    format: "mm-lru-1",
    lru: "multi-generation",
    pages: 300,
    guest,
    swap_pages: SLOTS - 1,
  });
  one.join();
  for (let at = 0; at < 300; at++) one.touch(at, true);
  one.changes();
  return one;
}

function evicted(one: LruCase): number[] {
  return one
    .changes()
    .filter((change) => change.length === 3)
    .map(([at]) => at!);
}

function down(from: number, to: number): number[] {
  return Array.from({ length: from - to + 1 }, (_, index) => from - index);
}

test("new pages are the youngest; the first reclaim makes two generations and takes a batch from the oldest", () => {
  const one = written();
  assert.equal(one.generations().at(-1), { seq: 3, pages: down(299, 0) });
  one.reclaim(1);
  assert.equal(evicted(one), down(63, 0).reverse());
  assert.equal(one.generations(), [
    { seq: 3, pages: down(299, 64) },
    { seq: 4, pages: [] },
    { seq: 5, pages: [] },
  ]);
});

test("a page in use is kept for the youngest generation, and so are its neighbours in use, at once or from the batch", () => {
  const one = written();
  one.reclaim(1);
  evicted(one);
  for (const at of [70, 75, 130]) one.touch(at, false);
  one.reclaim(1);
  // 70 is found in use, 75 beside it too. 130 is too far from either.
  assert.equal(
    evicted(one),
    down(129, 64)
      .filter((at) => at !== 70 && at !== 75 && at < 128)
      .reverse(),
  );
  assert.equal(one.generations().at(-1)!.pages, [75, 70]);
  one.check();
});

/** A VM of 8 MiB whose task goes to 200 of its pages nine times out of ten. */
function hotcold(
  policy: "mglru" | "fifo",
  writes: number,
  memory: string,
  memoryMax?: string,
): Promise<Machine> {
  const workload = { kind: "hotcold" as const, pages: 2048, hot: 200, hotProbability: 0.9, writes };
  return Machine.create(
    {
      host: {
        memory,
        swap: [{ kind: "zram-lz4", size: "32MiB" }],
        reclaim: { policy, pageClusterPages: 1 },
      },
      vms: [
        {
          name: "a",
          memory: "8MiB",
          ...(memoryMax !== undefined && { memoryMax }),
          guest: { tasks: [{ workload }] },
        },
      ],
      check: { integrity: true },
    },
    { module },
  );
}

test("pages that only the guest's own translations have seen in use are kept", async () => {
  const [kept, first] = await Promise.all(
    (["mglru", "fifo"] as const).map(async (policy) => {
      const machine = await hotcold(policy, 0.3, "64MiB", "2MiB");
      machine.run({ accesses: 20_000 });
      const { vms } = machine.run({ accesses: 30_000 });
      machine.check();
      return vms[0]!.faults.major.count;
    }),
  );
  // One access in ten is cold and mostly misses; first in, first out loses the hot pages again and again on top of that.
  assert.ok(kept! > 500 && kept! < 0.8 * first!, `${kept} major faults, ${first} with fifo`);
});

test("kswapd ages and evicts for the whole host, and a copy of the machine goes on the same way", async () => {
  const machine = await hotcold("mglru", 1, "5MiB");
  machine.run({ accesses: 20_000 });
  machine.check();
  const frames = Array.from({ length: 2048 }, (_, gfn) => machine.inspect({ vm: "a", gfn }).frame);
  const listed = frames.filter((frame) => frame?.list === "generation");
  assert.ok(listed.length > 500, `${listed.length} pages on generation lists`);
  assert.ok(
    listed.every((frame) => frame!.generation! < 4) && listed.some((frame) => frame!.generation! > 0),
  );
  const twin = machine.fork();
  const result = machine.run({ accesses: 20_000 });
  machine.check();
  assert.is(result.status, "done");
  assert.ok(result.host.reclaim.reclaimedKswapd > 100 && result.vms[0]!.faults.major.count > 100);
  assert.is(twin.run({ accesses: 20_000 }).digest, result.digest);
});

test.run();
