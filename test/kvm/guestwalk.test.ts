// At stake: that the walk of a guest's page tables decides as the architecture does. Every combination of the bits of an entry on each
// level, of the rights of all levels together, of the CPU's settings and of the kind of access is compared with rules that are written here from
// the architecture's manual, as a list of what is forbidden, and know nothing of the walk.

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
assert.is(call.walkCase(), 0);

const [P, W, U, A, D, PS] = [1, 2, 4, 0x20, 0x40, 0x80];
const NX = 0x8000_0000; // of the upper half
const MAPPED = 0xffffffff;
const PAGE = ((1 << 27) | (2 << 18) | (3 << 9) | 5) >>> 0;
const GFN = 0x12345;

interface Entry {
  low: number;
  high: number;
}

interface Cpu {
  wp: boolean;
  nx: boolean;
  smep: boolean;
  smap: boolean;
}

interface Access {
  write: boolean;
  user: boolean;
  fetch: boolean;
}

const FLAGS = [false, true];
const CPUS: Cpu[] = FLAGS.flatMap((wp) =>
  FLAGS.flatMap((nx) => FLAGS.flatMap((smep) => FLAGS.map((smap) => ({ wp, nx, smep, smap })))),
);
const ACCESSES: Access[] = FLAGS.flatMap((user) => [
  { user, write: false, fetch: false },
  { user, write: true, fetch: false },
  { user, write: false, fetch: true },
]);
const FULL: Entry = { low: P | W | U, high: 0 };

interface Outcome {
  error: number;
  /** The low bits of the entries, level 4 first. */
  after: number[];
}

/**
 * The architecture's answer. `entries` are those of levels 4 to 1, in that order. Entries below a large page, and above a fault, are
 * not looked at.
 */
function architecture(entries: readonly Entry[], cpu: Cpu, access: Access): Outcome {
  const untouched = entries.map(({ low }) => low);
  const code = (bits: number): Outcome => ({
    error:
      bits | (access.write ? 2 : 0) | (access.user ? 4 : 0) | (access.fetch && (cpu.nx || cpu.smep) ? 16 : 0),
    after: untouched,
  });
  const read: Entry[] = [];
  for (const [place, entry] of entries.entries()) {
    if ((entry.low & P) === 0) return code(0);
    const level = 4 - place;
    const large = (entry.low & PS) !== 0 && (level === 3 || level === 2);
    const badFrame = large && frameBits(entry, level) !== 0;
    if ((level === 4 && (entry.low & PS) !== 0) || (entry.high & NX && !cpu.nx) || badFrame)
      return code(1 | 8);
    read.push(entry);
    if (large) break;
  }
  const writable = read.every(({ low }) => (low & W) !== 0);
  const userPage = read.every(({ low }) => (low & U) !== 0);
  const executable = read.every(({ high }) => (high & NX) === 0);
  const forbidden = [
    access.user && !userPage,
    access.write && !writable && (access.user || cpu.wp),
    access.fetch && !executable,
    access.fetch && !access.user && userPage && cpu.smep,
    !access.fetch && !access.user && userPage && cpu.smap,
  ];
  if (forbidden.includes(true)) return code(1);
  const after = untouched.map((low, place) => {
    if (place >= read.length) return low;
    return low | A | (access.write && place === read.length - 1 ? D : 0);
  });
  return { error: MAPPED, after };
}

/** Of the frame that a large leaf names, the bits that must be 0: those of the tables that it stands in place of. */
function frameBits({ low }: Entry, level: number): number {
  const frame = nextFrame(level) * 4096 + (low & 0);
  return frame & ((1 << (12 + 9 * (level - 1))) - 1) & ~0x1fff;
}

/** The tables lie in frames 16 to 19, that of level 4 first. */
function nextFrame(level: number): number {
  return 16 + 4 - (level - 1);
}

function tried(entries: readonly Entry[], cpu: Cpu, access: Access): Outcome {
  for (const [place, { low, high }] of entries.entries()) {
    call.walkCaseSet(PAGE, 4 - place, GFN, low, high);
  }
  const kind = (access.write ? 2 : 0) | (access.user ? 4 : 0) | (access.fetch ? 16 : 0);
  const flags = (cpu.wp ? 1 : 0) | (cpu.nx ? 2 : 0) | (cpu.smep ? 4 : 0) | (cpu.smap ? 8 : 0);
  const error = call.walkCaseAccess(PAGE, kind, flags) >>> 0;
  const after = entries.map((_, place) => core.u32(call.walkCaseEntry(PAGE, 4 - place), 1)[0]! & 0xfff);
  return { error, after };
}

function compare(entries: readonly Entry[]): void {
  for (const cpu of CPUS) {
    for (const access of ACCESSES) {
      const got = tried(entries, cpu, access);
      const expected = architecture(entries, cpu, access);
      if (got.error === expected.error && got.after.every((low, place) => low === expected.after[place])) {
        if (got.error === MAPPED && entries.every(({ low }) => (low & PS) === 0)) {
          assert.is(call.walkCaseGfn() >>> 0, GFN);
        }
        continue;
      }
      assert.equal({ entries, cpu, access, ...got }, { entries, cpu, access, ...expected });
    }
  }
}

/** All combinations of these low bits with and without NX. */
function combinations(bits: readonly number[]): Entry[] {
  const lows = bits.reduce<number[]>((all, bit) => all.flatMap((low) => [low, low | bit]), [0]);
  return lows.flatMap((low) => [0, NX].map((high) => ({ low, high })));
}

for (const level of [4, 3, 2, 1]) {
  test(`every combination of the bits of an entry of level ${level}, with every setting and access`, () => {
    for (const entry of combinations([P, W, U, A, D, PS])) {
      const entries = [4, 3, 2, 1].map((each) => (each === level ? entry : FULL));
      compare(entries);
    }
  });
}

test("the rights of all levels together: an access needs them on each", () => {
  const rights = combinations([W, U]);
  for (const a of rights) {
    for (const b of rights) {
      for (const c of rights) {
        for (const d of rights) {
          compare([a, b, c, d].map(({ low, high }) => ({ low: low | P, high })));
        }
      }
    }
  }
});

test("any four entries", () => {
  const any = fc.constantFrom(...combinations([P, W, U, A, D, PS]));
  fc.assert(
    fc.property(fc.tuple(any, any, any, any), (entries) => {
      compare(entries);
    }),
    parameters(300),
  );
});

test("an entry for a clean page allows no writing, one for a dirty page does", () => {
  const entries = [FULL, FULL, FULL, { low: P | W | U, high: 0 }];
  const cpu: Cpu = { wp: true, nx: true, smep: false, smap: false };
  tried(entries, cpu, { user: true, write: false, fetch: false });
  assert.is(call.walkCaseRights(), 1 | 4);
  tried(entries, cpu, { user: true, write: true, fetch: false });
  assert.is(call.walkCaseRights(), 1 | 2 | 4);
});

test("with CR0.WP off a write of the kernel's to a read-only page is allowed, and the entry is not the user's", () => {
  const entries = [FULL, FULL, FULL, { low: P | U, high: 0 }];
  const cpu: Cpu = { wp: false, nx: true, smep: false, smap: false };
  assert.is(tried(entries, cpu, { user: false, write: true, fetch: false }).error, MAPPED);
  assert.is(call.walkCaseRights(), 1 | 2);
});

test.run();
