// Changes of a VM's memory map while it lives, and its dirty log: calls that its monitor makes into KVM.

import type { Core } from "./core.js";
import { guard } from "./guard.js";
import { flagBits, type MemslotFlag } from "./memslots.js";
import { MEMSLOT_FLAGS } from "./memslotschema.js";
import type { ResolvedScenario } from "./scenario.js";
import {
  livingVm,
  placeOn,
  runStep,
  type Step,
  type StepOptions,
  stagesOf,
  stepError,
  wholeNumber,
} from "./stepping.js";

/** What a memslot is to be. */
export interface MemslotSetting {
  /** First guest frame. */
  gfn: number;
  /** How many pages, from 1. */
  pages: number;
  /** Where the VM's process maps the memory. Default: where the slot has it now, else the usual place of these frames. */
  hva?: number;
  /** KVM's flags. Default: none. */
  flags?: readonly MemslotFlag[];
}

/** What KVM said: nothing to do, a slot more, other flags, other frames, a slot less. */
export type MemslotChange = "nothing" | "create" | "flags" | "move" | "delete";

/** What came of setting a memslot. */
export interface MemslotStep extends Step {
  /** What KVM took the call for; null when it refused. */
  change: MemslotChange | null;
  /** KVM's error, null when there was none. */
  error: "EINVAL" | "EEXIST" | "ENOMEM" | null;
}

/** What came of taking a dirty log. */
export interface DirtyLogStep extends Step {
  /** Guest frames written since the last time they were asked for, in ascending order. */
  dirty: number[];
  /** EINVAL: the slot is not there or keeps no log. */
  error: "EINVAL" | null;
}

const CHANGES: readonly MemslotChange[] = ["nothing", "create", "flags", "move", "delete"];
const ERRORS = ["EINVAL", "EEXIST", "ENOMEM", "EAGAIN"] as const;

/** Sets a memslot, or deletes it: KVM_SET_USER_MEMORY_REGION. */
export function setMemslot(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  id: number,
  setting: MemslotSetting | null,
  { cpu }: StepOptions,
): MemslotStep {
  const { index } = livingVm(core, scenario, name);
  const { gfn, pages, hva = -1, flags = [] } = setting ?? { gfn: 0, pages: 0 };
  wholeNumber("id", id, 0, core.constant("MEMSLOT_IDS") - 1);
  wholeNumber("slot.gfn", gfn, 0, 2 ** 31 - 1);
  wholeNumber("slot.pages", pages, setting === null ? 0 : 1, 2 ** 31);
  if (hva !== -1) wholeNumber("slot.hva", hva, 0, 2 ** 47);
  for (const flag of flags) {
    if (MEMSLOT_FLAGS.includes(flag)) continue;
    throw stepError("slot.flags", `${JSON.stringify(flag)} is not allowed`, MEMSLOT_FLAGS.join(", "));
  }
  placeOn(core, scenario, index, -1, cpu);
  guard(() => core.call.stepMemslot(index, id, gfn, pages, hva, flagBits(core, flags)));
  const status = runStep(core);
  const error = errorOf(core) as MemslotStep["error"];
  const change = error === null ? CHANGES[core.call.stepCallResult() >>> 0]! : null;
  return { status, change, error, ns: core.call.stepCallNs(), stages: stagesOf(core) };
}

/** Takes the dirty log of a memslot: KVM_GET_DIRTY_LOG. */
export function takeDirtyLog(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  id: number,
  { cpu }: StepOptions,
): DirtyLogStep {
  const { index } = livingVm(core, scenario, name);
  wholeNumber("id", id, 0, core.constant("MEMSLOT_IDS") - 1);
  placeOn(core, scenario, index, -1, cpu);
  guard(() => core.call.stepDirty(index, id));
  const status = runStep(core);
  const error = errorOf(core) as DirtyLogStep["error"];
  const dirty =
    error === null ? bitsAt(core, core.call.stepDirtyLog(index, id), core.call.stepCallResult() >>> 0) : [];
  const first = core.call.stepSlotGfn(index, id) >>> 0;
  return {
    status,
    dirty: dirty.map((bit) => first + bit),
    error,
    ns: core.call.stepCallNs(),
    stages: stagesOf(core),
  };
}

/** The first `count` set bits from `address` on. */
function bitsAt(core: Core, address: number, count: number): number[] {
  const bits: number[] = [];
  const words = core.u32(address, (core.memory.buffer.byteLength - (address >>> 0)) >>> 2);
  for (let word = 0; bits.length < count; word++) {
    for (let bit = 0; bit < 32; bit++) {
      if (((words[word]! >>> bit) & 1) === 1) bits.push(word * 32 + bit);
    }
  }
  return bits;
}

function errorOf(core: Core): (typeof ERRORS)[number] | null {
  const status = core.call.stepCallStatus() | 0;
  return status === 0 ? null : ERRORS.find((name) => (core.constant(name) | 0) === status)!;
}
