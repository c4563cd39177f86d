// At stake: the choice of every page that an idealized policy evicts. Random references, with pages that go by themselves and a memory
// that shrinks and grows in between, through the core's table of operations and through the rules written down word for word
// (plain.ts): the same victims in the same order, the same pages resident, and the core's own invariants after every step.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Core } from "#dist/core.js";
import { PolicyRuns } from "#dist/policies.js";
import { POLICIES, type PolicyName } from "#dist/policynames.js";
import { parameters } from "../reference/report.js";
import { PLAIN } from "./plain.js";

const NONE = 0xffffffff;
const WRITE = 0x8000_0000;
const RUNS = Number(process.env.PROPERTY_RUNS ?? 60);
const CAPACITY_MAX = 60;

// The debug build, whose assertions are on.
const module = new WebAssembly.Module(readFileSync(new URL("../../../build/debug.wasm", import.meta.url)));

/** Skewed: low numbers come often, so that hits, ghosts and counts of all sizes occur. */
const page = fc.oneof(fc.nat(3), fc.nat(12), fc.nat(40), fc.nat(80));
const step = fc.oneof(
  { weight: 40, arbitrary: page.map((page) => ({ page, write: page % 3 === 0 })) },
  { weight: 1, arbitrary: page.map((forget) => ({ forget })) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: CAPACITY_MAX }).map((capacity) => ({ capacity })) },
);
const steps = fc.array(step, { minLength: 1, maxLength: 400, size: "max" });

function coreWith(policy: PolicyName, capacity: number, trace: readonly number[]): Core {
  const core = new Core(module);
  const { call } = core;
  const pages = Math.max(...trace.map((word) => word % WRITE)) + 1;
  assert.is(call.policyCaseBegin(trace.length, pages, CAPACITY_MAX, 1), 0);
  core.u32(call.policyCaseTrace(), trace.length).set(trace);
  call.policyCaseReady();
  call.policyCaseStart(core.constant(`POLICY_${policy.toUpperCase()}`), capacity);
  return core;
}

for (const policy of POLICIES) {
  test(`${policy} evicts what its rule says, through lapses and changes of memory`, () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: CAPACITY_MAX }), steps, (capacity, script) => {
        const words = script.flatMap((one) =>
          "page" in one ? [one.write ? one.page + WRITE : one.page] : [],
        );
        if (words.length === 0) return;
        const references = words.map((word) => word % WRITE);
        const pages = Math.max(...references) + 1;
        const { call } = coreWith(policy, capacity, words);
        const plain = PLAIN[policy]!(capacity, references);
        let memory = capacity;
        for (const one of script) {
          if ("capacity" in one) {
            memory = one.capacity;
          } else if ("forget" in one) {
            if (one.forget >= pages) continue;
            plain.forget(one.forget);
            call.policyCaseForget(one.forget);
          } else if (plain.resident().includes(one.page)) {
            plain.hit(one.page);
            assert.is(call.policyCaseStep() >>> 0, NONE);
          } else {
            // A limit counts when a page enters.
            plain.capacity = memory;
            call.policyCaseResize(memory);
            while (plain.resident().length >= memory) {
              const victim = plain.evict(one.page);
              assert.is(call.policyCaseStep() >>> 0, victim);
              call.policyCaseCheck();
            }
            plain.enter(one.page);
            assert.is(call.policyCaseStep() >>> 0, NONE);
          }
          call.policyCaseCheck();
        }
        const resident = Array.from({ length: pages }, (_, each) => each).filter(
          (each) => call.policyCaseResident(each) !== 0,
        );
        assert.equal(
          resident,
          [...plain.resident()].sort((a, b) => a - b),
        );
      }),
      parameters(RUNS),
    );
  });

  test(`${policy}: whole runs miss as often as single steps, in every size`, () => {
    fc.assert(
      fc.property(fc.array(page, { minLength: 1, maxLength: 300 }), (references) => {
        const words = Uint32Array.from(references);
        const pages = Math.max(...references) + 1;
        const sizes = [1, 2, 5, 20, 81];
        const runs = new PolicyRuns(module, { words, pages, sha256: "" }, [policy], sizes);
        for (const size of sizes) {
          const plain = PLAIN[policy]!(size, references);
          let misses = 0;
          for (const each of references) {
            if (plain.resident().includes(each)) {
              plain.hit(each);
              continue;
            }
            misses++;
            if (plain.resident().length >= size) plain.evict(each);
            plain.enter(each);
          }
          assert.is(runs.misses(policy, size), misses, `${size} pages`);
        }
      }),
      parameters(Math.ceil(RUNS / 3)),
    );
  });
}

test("a loop longer than memory misses every time under LRU, FIFO and CLOCK, and once a page when it fits", () => {
  const words = Uint32Array.from({ length: 1000 }, (_, index) => index % 50);
  const runs = new PolicyRuns(module, { words, pages: 50, sha256: "" }, ["lru", "fifo", "clock"], [49, 50]);
  for (const policy of ["lru", "fifo", "clock"] as const) {
    assert.is(runs.misses(policy, 49), 1000);
    assert.is(runs.misses(policy, 50), 50);
  }
});

test("Belady is a lower bound of every policy, and larger memory never costs LRU or Belady a miss", () => {
  fc.assert(
    fc.property(fc.array(page, { minLength: 1, maxLength: 400, size: "max" }), (references) => {
      const words = Uint32Array.from(references);
      const pages = Math.max(...references) + 1;
      const sizes = [1, 3, 8, 20, 50];
      const runs = new PolicyRuns(module, { words, pages, sha256: "" }, POLICIES, sizes);
      const best = sizes.map((size) => runs.misses("belady", size));
      const lru = sizes.map((size) => runs.misses("lru", size));
      for (const policy of POLICIES) {
        sizes.forEach((size, index) => {
          assert.ok(runs.misses(policy, size) >= best[index]!, `${policy}, ${size} pages`);
        });
      }
      for (let index = 1; index < sizes.length; index++) {
        assert.ok(best[index]! <= best[index - 1]! && lru[index]! <= lru[index - 1]!);
      }
    }),
    parameters(Math.ceil(RUNS / 3)),
  );
});

test("FIFO shows Belady's anomaly on the paper's string", () => {
  const words = Uint32Array.from([1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]);
  const runs = new PolicyRuns(module, { words, pages: 6, sha256: "" }, ["fifo"], [3, 4]);
  assert.equal([runs.misses("fifo", 3), runs.misses("fifo", 4)], [9, 10]);
});

test.run();
