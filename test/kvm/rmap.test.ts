// At stake: that the reverse map finds every entry of a page, in the order in which Linux has them: today's lists of fourteen and those of
// four of 2008, whose holes the notifier of that year fell into. Two stories, a plain model over random operations, and the indices.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Core } from "#dist/core.js";
import { parameters } from "../reference/report.js";

const core = new Core(
  new WebAssembly.Module(readFileSync(new URL("../../../build/debug.wasm", import.meta.url))),
);
const { call } = core;

function begin(old: boolean, lists = 1, entries = 200): void {
  assert.is(call.kvmCaseLists(lists, entries, Number(old)), 0);
}

/** The entries of a list as a walk meets them. */
function walk(list = 0): number[] {
  return [...core.u32(call.kvmCaseDump(list), call.kvmCaseCount(list))];
}

function upTo(last: number): number[] {
  return Array.from({ length: last }, (_, index) => index + 1);
}

test("today's list: the newest descriptor leads, and its last entry fills every hole", () => {
  begin(false);
  for (const entry of upTo(16)) assert.is(call.kvmCaseAdd(0, entry), entry - 1);
  assert.equal(walk(), [15, 16, ...upTo(14)]);
  assert.is(call.kvmCaseDescriptors(), 2);
  call.kvmCaseRemove(0, 3);
  assert.equal(walk(), [15, 1, 2, 16, ...upTo(14).slice(3)]);
  call.kvmCaseRemove(0, 15);
  assert.equal(walk(), [1, 2, 16, ...upTo(14).slice(3)]);
  assert.is(call.kvmCaseDescriptors(), 1);
  call.kvmCaseRemove(0, 1);
  assert.equal(walk(), [14, 2, 16, ...upTo(13).slice(3)]);
  for (const entry of walk()) call.kvmCaseRemove(0, entry);
  assert.equal([walk(), call.kvmCaseDescriptors()], [[], 0]);
});

test("the list of 2008 grows at its end, and a hole is filled from its own descriptor", () => {
  begin(true);
  for (const entry of upTo(10)) assert.is(call.kvmCaseAdd(0, entry), entry - 1);
  assert.equal(walk(), upTo(10));
  call.kvmCaseRemove(0, 2);
  assert.equal(walk(), [1, 4, 3, 5, 6, 7, 8, 9, 10]);
  call.kvmCaseAdd(0, 11); // the first descriptor has room again
  assert.equal(walk(), [1, 4, 3, 11, 5, 6, 7, 8, 9, 10]);
});

test("the pool of descriptors grows: a list that needs more than it begins with keeps every entry", () => {
  for (const old of [false, true]) {
    begin(old, 1, 4000);
    for (const entry of upTo(4000)) call.kvmCaseAdd(0, entry);
    assert.equal(
      walk().sort((a, b) => a - b),
      upTo(4000),
    );
    assert.ok(call.kvmCaseDescriptors() > 256, `${call.kvmCaseDescriptors()}`);
    for (const entry of upTo(4000)) call.kvmCaseRemove(0, entry);
    assert.equal([walk(), call.kvmCaseDescriptors()], [[], 0]);
  }
});

test("unmapping by the successor taken before each removal leaves entries behind; starting over leaves none", () => {
  const left = upTo(13).map((entries) => {
    begin(true);
    for (const entry of upTo(entries)) call.kvmCaseAdd(0, entry);
    call.kvmCaseUnmap(0, 0);
    return walk();
  });
  assert.equal(left, [
    [],
    [],
    [3],
    [4],
    [4],
    [4],
    [4, 7],
    [4, 8],
    [4, 8],
    [4, 8],
    [4, 8, 11],
    [4, 8, 12],
    [4, 8, 12],
  ]);
  for (const old of [false, true]) {
    for (const entries of upTo(13)) {
      begin(old);
      for (const entry of upTo(entries)) call.kvmCaseAdd(0, entry);
      assert.equal([call.kvmCaseUnmap(0, 1), call.kvmCaseDescriptors()], [0, 0]);
    }
  }
});

/** Today's list as arrays: descriptors, the newest first. */
class Today {
  private descriptors: number[][] = [];

  add(entry: number): void {
    if ((this.descriptors[0]?.length ?? 14) === 14) this.descriptors.unshift([]);
    this.descriptors[0]!.push(entry);
  }

  remove(entry: number): void {
    const holder = this.descriptors.find((each) => each.includes(entry))!;
    const last = this.descriptors[0]!.at(-1)!;
    holder[holder.indexOf(entry)] = last;
    this.descriptors[0]!.pop();
    if (this.descriptors[0]!.length === 0) this.descriptors.shift();
  }

  walk(): number[] {
    return this.descriptors.flat();
  }
}

/** The list of 2008 as arrays. */
class Of2008 {
  private descriptors: number[][] = [];

  add(entry: number): void {
    // The search for room ends at the first descriptor that has some, or at the last one.
    const room = this.descriptors.find((each) => each.length < 4);
    if (room === undefined) this.descriptors.push([entry]);
    else room.push(entry);
  }

  remove(entry: number): void {
    const holder = this.descriptors.find((each) => each.includes(entry))!;
    const last = holder.at(-1)!;
    holder[holder.indexOf(entry)] = last;
    holder.pop();
    this.descriptors = this.descriptors.filter((each) => each.length > 0);
  }

  walk(): number[] {
    return this.descriptors.flat();
  }
}

const ENTRIES = 40;

test("lists hold what a plain model holds, in its order, whatever is added and removed", () => {
  const operations = fc.array(fc.record({ list: fc.nat(1), entry: fc.integer({ min: 1, max: ENTRIES }) }), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(operations, fc.boolean(), (steps, old) => {
      begin(old, 2, 2 * ENTRIES);
      const plain = [0, 1].map(() => (old ? new Of2008() : new Today()));
      for (const { list, entry } of steps) {
        const name = entry + list * ENTRIES; // an entry maps one page
        if (plain[list]!.walk().includes(name)) {
          call.kvmCaseRemove(list, name);
          plain[list]!.remove(name);
        } else {
          assert.is(call.kvmCaseAdd(list, name), plain[list]!.walk().length);
          plain[list]!.add(name);
        }
        assert.equal(walk(list), plain[list]!.walk());
      }
    }),
    parameters(200),
  );
});

test("indices of a slot's frames at each level, its entries with the first and the last one, and the limit of its shadow pages", () => {
  const indices = (gfn: number, base: number, pages: number, levels: number[]): number[] =>
    levels.map((level) => call.kvmCaseIndex(gfn, base, pages, level));
  assert.equal(indices(0x12345, 0x12300, 0x100, [1, 2]), [69, 0]);
  assert.equal(indices(0x40000, 0x3ff00, 0x400, [2, 3]), [1, 1]);
  assert.equal(
    [2, 3].map((level) => call.kvmCaseEntries(level)),
    [3, 2],
  );
  assert.equal(
    [64, 1024, 4096].map((mib) => call.kvmCaseMmuPages(mib * 256)),
    [327, 5242, 20971],
  );
});

test.run();
