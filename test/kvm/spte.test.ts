// At stake: the bits. What a walk, a notifier and a trace see is the value of an entry, so every case that KVM makes is compared whole with
// the value that the hardware's and KVM's definitions give.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { Core, coreModule } from "#dist/core.js";

const core = new Core(await coreModule());
const { call } = core;
const [EPT, NPT] = [core.constant("SPTE_EPT"), core.constant("SPTE_NPT")];
const ALL = 7;
const [NO_EXEC, PFN] = [6, 0x1234];

interface Leaf {
  format?: number;
  pfn?: number;
  level?: number;
  access?: number;
  hostWritable?: boolean;
  protect?: boolean;
  prefetch?: boolean;
}

type Turn = "WRITE_PROTECT" | "AGE" | "CLEAR_DIRTY" | "WITHOUT_AD" | "RESTORE_READ" | "RESTORE_WRITE";

/** The leaf after `turns`, as it is printed. */
function leaf(what: Leaf, ...turns: Turn[]): string {
  const { format = EPT, pfn = PFN, level = 1, access = ALL } = what;
  const { hostWritable = true, protect = false, prefetch = false } = what;
  const flags = [hostWritable, protect, prefetch].map(Number);
  const at = call.kvmCaseLeaf(format, pfn, level, access, ...flags) >>> 0;
  for (const turn of turns) call.kvmCaseTurn(format, core.constant(`TURN_${turn}`));
  const [low, high] = core.u32(at, 2);
  return `0x${((BigInt(high!) << 32n) | BigInt(low!)).toString(16)}`;
}

test("EPT leaves are made, protected, cleaned and aged bit by bit", () => {
  assert.is(leaf({}), "0x8600000001234b37");
  assert.is(leaf({}, "WRITE_PROTECT"), "0x8600000001234b35");
  assert.is(leaf({}, "CLEAR_DIRTY"), "0x8600000001234937");
  assert.is(leaf({}, "AGE"), "0x8600000001234a37");
  assert.is(leaf({ protect: true }), "0x8200000001234935");
  assert.is(leaf({ hostWritable: false }), "0x8000000001234935");
  assert.is(leaf({ pfn: 0x1200, level: 2, access: NO_EXEC }), "0x8600000001200bb3");
});

test("an EPT leaf without accessed and dirty bits is tracked by taking its access, and gets it back by what touches it", () => {
  assert.is(leaf({}, "WITHOUT_AD"), "0x8610000001234837");
  assert.is(leaf({}, "WITHOUT_AD", "AGE"), "0x8750000001234830");
  assert.is(leaf({}, "WITHOUT_AD", "AGE", "RESTORE_READ"), "0x8610000001234835");
  assert.is(leaf({}, "WITHOUT_AD", "AGE", "RESTORE_WRITE"), "0x8610000001234837");
});

test("NPT leaves have the bits of an ordinary page table", () => {
  assert.is(leaf({ format: NPT }), "0x1234e67");
  assert.is(leaf({ format: NPT, hostWritable: false }), "0x1234825");
  assert.is(leaf({ format: NPT, prefetch: true }), "0x1234e47");
  // As captured: a 2 MiB leaf, and one protected for the dirty log.
  assert.is(leaf({ format: NPT, pfn: 0xec00, level: 2 }), "0xec00ee7");
  assert.is(leaf({ format: NPT }, "WRITE_PROTECT"), "0x1234e65");
});

test("the retry rule: the range counts by its hull, the sequence for every page", () => {
  const begin = (): number => {
    call.kvmCaseVm();
    const sample = call.kvmCaseSeq();
    call.kvmCaseInvalidateBegin(100, 200);
    return sample;
  };
  const retry = (sample: number, gfn: number): boolean => call.kvmCaseRetry(sample, gfn) !== 0;

  let sample = begin();
  assert.is(retry(sample, 150), true);
  assert.equal(
    [99, 200].map((gfn) => retry(sample, gfn)),
    [false, false],
  );
  call.kvmCaseInvalidateEnd();
  assert.equal(
    [150, 5000].map((gfn) => retry(sample, gfn)),
    [true, true],
  );
  assert.is(retry(call.kvmCaseSeq(), 150), false);

  // Another pair ends meanwhile: the sequence has moved on for everybody.
  call.kvmCaseVm();
  call.kvmCaseInvalidateBegin(500, 501);
  sample = call.kvmCaseSeq();
  call.kvmCaseInvalidateBegin(100, 200);
  call.kvmCaseInvalidateEnd();
  assert.equal(
    [99, 600].map((gfn) => retry(sample, gfn)),
    [true, true],
  );

  sample = begin();
  call.kvmCaseInvalidateBegin(280, 320);
  assert.equal(
    [300, 250, 320, 99].map((gfn) => retry(sample, gfn)),
    [true, true, false, false],
  );
  // One of the two closes; the hull stays until the last one does.
  call.kvmCaseInvalidateEnd();
  sample = call.kvmCaseSeq();
  assert.equal(
    [150, 250].map((gfn) => retry(sample, gfn)),
    [true, true],
  );
  call.kvmCaseInvalidateEnd();
  assert.is(retry(call.kvmCaseSeq(), 150), false);
});

test.run();
