// At stake: the whole model of memory management. A plain model (reference/) predicts, access for access, the kind of every fault
// and its latency by stage, where each page is, which pages are evicted and to which swap slots. Random machines are run on both
// sides and compared after every access; a failing case prints the first difference, and the seed and path that replay it.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Core, coreModule } from "#dist/core.js";
import { agree, type Reached } from "./reference/agree.js";
import { type Case, cases, largeCases } from "./reference/cases.js";
import { parameters } from "./reference/report.js";

const SHORT = 160;

/** What the random machines have met, so that no part of the model is left out by accident. */
const met = {
  accesses: 0,
  minor: 0,
  major: 0,
  writeProtect: 0,
  spurious: 0,
  retries: 0,
  direct: 0,
  kswapd: 0,
  full: 0,
  oom: 0,
  readAheadByAddress: 0,
  readAheadBySlot: 0,
  readAheadWanted: 0,
  clusterSlots: 0,
  runs: 0,
  linearScans: 0,
  randomStretches: 0,
  slotCacheRefills: 0,
  slotCacheFlushes: 0,
  slotCachesGivenUp: 0,
  stolen: 0,
  boosts: 0,
};

const SWAP_MET = [
  "readAheadByAddress",
  "readAheadBySlot",
  "readAheadWanted",
  "clusterSlots",
  "runs",
  "linearScans",
  "randomStretches",
  "slotCacheRefills",
  "slotCacheFlushes",
  "slotCachesGivenUp",
] as const;

function note({ accesses, outOfMemory, model }: Reached): void {
  met.accesses += accesses;
  for (const vm of model.vms) {
    for (const [kind, { count }] of vm.faults) met[kind] += count;
    met.retries += vm.counts.retries;
  }
  met.direct += model.host.counts.reclaimedDirect;
  met.kswapd += model.host.counts.reclaimedKswapd;
  met.full += model.host.counts.swapAllocFailed;
  met.oom += Number(outOfMemory);
  for (const what of SWAP_MET) met[what] += model.host.swap.met[what];
  const { stolen, boosts } = model.host.frames.zone.counts;
  met.stolen += stolen;
  met.boosts += boosts;
}

function compare(module: WebAssembly.Module, runs: number, check?: (core: Core) => void): void {
  const sides = fc.property(cases, fc.integer({ min: 1, max: 3 }), (subject: Case, slice: number) => {
    // Long runs are of large machines, whose comparison takes longer.
    note(agree(module, subject, slice * Math.ceil(subject.accesses / SHORT), check));
  });
  fc.assert(sides, parameters(runs));
}

function runs(): number {
  return Number(process.env.MODEL_RUNS ?? 1000);
}

test("the core agrees with the reference model access for access", async () => {
  compare(await coreModule(), runs());
});

test("so does the debug core, whose structures are all walked after every slice", () => {
  const module = new WebAssembly.Module(readFileSync(new URL("../../build/debug.wasm", import.meta.url)));
  compare(module, 60, ({ call }) => call.checkAll());
});

test("so does the core on larger machines, where memory is taken in batches and pageblocks change their type", async () => {
  const module = await coreModule();
  const sides = fc.property(
    largeCases,
    fc.integer({ min: 100, max: 1000 }),
    (subject: Case, slice: number) => {
      note(agree(module, subject, slice));
    },
  );
  fc.assert(sides, parameters(Math.ceil(runs() / 25)));
});

test("the random machines have met every kind of fault and of reclaim", () => {
  for (const [what, count] of Object.entries(met)) assert.ok(count > 0, `no ${what}`);
});

test.run();
