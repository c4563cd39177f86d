// Advice about anonymous memory, on a host with one process: what pageout, cold, free and dontneed do to a page in each of its
// states, and that no order of them breaks an invariant. The debug build walks every structure after each operation.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Core } from "#dist/core.js";
import { SwapCase } from "#dist/validate/swapcase.js";
import { parameters } from "../reference/report.js";

type Call = Record<string, (...args: number[]) => number>;

const module = new WebAssembly.Module(readFileSync(new URL("../../../build/debug.wasm", import.meta.url)));

const PRESENT = -1;
const EMPTY = -2;
const PAGES = 90;

/** A process of 90 pages, and one swap area of 512 + 400 slots. */
class Process {
  readonly case: SwapCase;
  readonly call: Call;

  constructor(synchronous = true) {
    const core = new Core(module);
    this.call = core.call as unknown as Call;
    const device = { type: 0, rotational: false, synchronous, usable_pages: 911, slots: 912, prio: 0 };
    const guest = { cpus: 2, page_cluster: 3 };
    const captured = { pages: PAGES, guest, devices: [device] } as unknown as ConstructorParameters<
      typeof SwapCase
    >[1];
    this.case = new SwapCase(core, captured, 0);
  }

  write(from: number, to: number): void {
    for (let page = from; page < to; page++) this.case.touch(page, true);
  }

  /** PRESENT, EMPTY, or a swap entry. */
  at(page: number): number {
    return this.call.swapcasePage!(page);
  }

  count(state: (at: number) => boolean): number {
    return Array.from({ length: PAGES }, (_, page) => this.at(page)).filter(state).length;
  }

  cold(from: number, to: number): void {
    this.call.swapcaseCold!(from, to);
  }

  lazyfree(from: number, to: number): void {
    this.call.swapcaseLazyfree!(from, to);
  }
}

test("free: pages that nobody writes again are dropped by reclaim without a write", () => {
  const process = new Process();
  process.write(0, 60);
  process.lazyfree(0, 60);
  assert.is(
    process.count((at) => at === PRESENT),
    60,
  );
  process.case.pageout(0, 60);
  assert.is(
    process.count((at) => at === EMPTY),
    PAGES,
  );
  assert.is(process.case.counters().swappedOut, 0);
  process.case.check();
});

test("free: a page that is written again survives the next pageout, and is written out by the one after", () => {
  const process = new Process();
  process.write(0, 60);
  process.lazyfree(0, 60);
  process.case.touch(7, true);
  process.case.pageout(0, 60);
  assert.is(process.at(7), PRESENT);
  assert.is(
    process.count((at) => at === PRESENT),
    1,
  );
  assert.is(process.case.counters().swappedOut, 0);
  // Its accessed bit has been looked at, so now it goes.
  process.case.pageout(0, 60);
  assert.ok(process.at(7) >= 0);
  assert.is(process.case.counters().swappedOut, 1);
  process.case.check();
});

test("free: a page that is merely read again is dropped, and reads as zeroes", () => {
  const process = new Process();
  process.write(0, 30);
  process.lazyfree(0, 30);
  process.case.touch(5, false);
  process.case.pageout(0, 30);
  process.case.pageout(0, 30);
  assert.is(process.at(5), EMPTY);
  assert.is(process.case.counters().swappedOut, 0);
});

test("free: a page in swap goes at once, and its slot is given back", () => {
  const process = new Process();
  process.write(0, 30);
  process.case.pageout(0, 30);
  assert.is(
    process.count((at) => at >= 0),
    30,
  );
  process.lazyfree(0, 10);
  assert.is(
    process.count((at) => at >= 0),
    20,
  );
  process.case.check();
});

test("free: a page that a child shares stays until the child has ended", () => {
  const process = new Process();
  process.write(0, 30);
  process.case.fork();
  process.lazyfree(0, 30);
  process.case.pageout(0, 30);
  assert.is(
    process.count((at) => at === PRESENT),
    30,
  );
  process.case.reap();
  process.case.pageout(0, 30);
  assert.is(
    process.count((at) => at === EMPTY),
    PAGES,
  );
  assert.is(process.case.counters().swappedOut, 0);
});

test("cold: pages stay, and go out with the next pageout", () => {
  const process = new Process();
  process.write(0, 30);
  process.cold(0, 30);
  assert.is(
    process.count((at) => at === PRESENT),
    30,
  );
  process.case.pageout(0, 30);
  assert.is(process.case.counters().swappedOut, 30);
});

const OPERATIONS = ["write", "read", "pageout", "cold", "lazyfree", "free", "fork", "reap", "cpu", "settle"];

const operation = fc.record({
  op: fc.constantFrom(...OPERATIONS, "write", "read", "pageout"),
  from: fc.nat(PAGES - 1),
  length: fc.oneof(fc.constant(1), fc.nat(PAGES)),
});

test("no order of faults and advice breaks an invariant, and a page is where it can be", () => {
  const script = fc.array(operation, { minLength: 20, maxLength: 120 });
  fc.assert(
    fc.property(fc.boolean(), script, (synchronous, operations) => {
      const process = new Process(synchronous);
      let children = 0;
      for (const { op, from, length } of operations) {
        const to = Math.min(from + length, PAGES);
        if (op === "write" || op === "read") {
          for (let page = from; page < to; page++) {
            process.case.touch(page, op === "write");
            assert.is(process.at(page), PRESENT);
          }
        } else if (op === "pageout") process.case.pageout(from, to);
        else if (op === "cold") process.cold(from, to);
        else if (op === "lazyfree") {
          process.lazyfree(from, to);
          for (let page = from; page < to; page++) assert.ok(process.at(page) < 0);
        } else if (op === "free") {
          process.case.free(from, to);
          for (let page = from; page < to; page++) assert.is(process.at(page), EMPTY);
        } else if (op === "fork" && children < 3) {
          process.case.fork();
          children++;
        } else if (op === "reap" && children > 0) {
          process.case.reap();
          children--;
        } else if (op === "cpu") process.case.moveTo(from % 2);
        else if (op === "settle") process.case.settle();
        process.case.check();
      }
    }),
    parameters(60),
  );
});

test.run();
