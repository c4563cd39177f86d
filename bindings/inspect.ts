// The story of one guest page, told in names: which slot holds it, how both MMUs map it, the frame, the swap slot, the contents. Reads what the
// core has put into its table and changes nothing.

import type { Core } from "./core.js";
import { flagBits, type MemslotFlag } from "./memslots.js";
import { MEMSLOT_FLAGS } from "./memslotschema.js";
import type { ResolvedScenario } from "./scenario.js";
import { vmNamed, wholeNumber } from "./stepping.js";

/** A leaf entry of the secondary MMU. */
export interface InspectedSpte {
  /** The guest frame that it maps. */
  gfn: number;
  /** The 64 bits as KVM has them, hexadecimal; "0x0" while nothing is mapped. */
  spte: string;
  /**
   * It maps nothing: it notes that no slot held the frame in this generation of the memslots, of which it keeps 19 bits. `current`: the memslots have not
   * changed since, and an access is known by it.
   */
  mmio?: { generation: number; current: boolean };
}

/** A page's whole story. Numbers of frames and slots are the machine's own. */
export interface InspectedPage {
  /** null: no slot holds the frame, an access goes to the monitor; then only `sptes` may have something, an MMIO spte. */
  slot: { id: number; gfn: number; pages: number; hva: string; flags: MemslotFlag[] } | null;
  /** Written since the slot's dirty log was last taken; null without a log. */
  dirty: boolean | null;
  /** Address in the VM's process. */
  hva: string | null;
  /** Entries of every guest frame that the same memory backs. */
  sptes: InspectedSpte[];
  /** The primary MMU's entry. "zero": the shared page of zeroes. "migrating": a fault waits until its page has another frame. */
  pte: { state: "none" | "present" | "zero" | "swapped" | "migrating"; value: string } | null;
  /** The frame that holds it, also while only the swap cache knows it. `generation`: of MGLRU, counted from the youngest, 0. */
  frame: {
    pfn: number;
    refs: number;
    maps: number;
    list: string;
    generation?: number;
    flags: string[];
  } | null;
  /** Its swap slot: the pte's, or the copy that the swap cache keeps. The area's name, the slot's number in it, and the number of its users. */
  swap: { area: string; slot: number; users: number } | null;
  /** With check.integrity: the number of the last write, and the one that is found. */
  stamp: { expected: number; found: number } | null;
}

/** The story of `gfn`. */
export function inspectGfn(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  gfn: number,
): InspectedPage {
  const { index } = vmNamed(scenario, name);
  wholeNumber("gfn", gfn, 0, 2 ** 31 - 1);
  core.call.inspectPage(index, gfn);
  const fields = core.constant("INSPECT_FIELDS");
  const each = core.constant("INSPECT_FRAME_FIELDS");
  const table = core.u64(core.call.inspectTable(), fields + each * 64);
  const of = (field: string): bigint => table[core.constant(`INSPECT_${field}`)]!;
  const count = (field: string): number => Number(of(field));
  const sptes = Array.from({ length: count("FRAMES") }, (_, at) =>
    spteOf(core, table.subarray(fields + each * at, fields + each * (at + 1))),
  );
  if (count("SLOT") === 0) {
    return { slot: null, dirty: null, hva: null, sptes, pte: null, frame: null, swap: null, stamp: null };
  }
  const flags = MEMSLOT_FLAGS.filter((flag) => (count("SLOT_FLAGS") & flagBits(core, [flag])) !== 0);
  const pfn = count("PFN");
  const zero = pfn === core.constant("ZERO_PFN");
  const pte = of("PTE");
  return {
    slot: {
      id: count("SLOT") - 1,
      gfn: count("SLOT_GFN"),
      pages: count("SLOT_PAGES"),
      hva: hex(of("SLOT_HVA")),
      flags,
    },
    dirty: count("DIRTY") === 0 ? null : count("DIRTY") === 2,
    hva: hex(of("HVA")),
    sptes,
    pte: {
      state: stateOf(pte, zero, count("ENTRY") === 0),
      value: hex(pte),
    },
    frame: pfn === 0 || zero ? null : frameOf(core, count),
    swap:
      count("ENTRY") === 0
        ? null
        : { area: scenario.host.swap[count("AREA")]!.name, slot: count("OFFSET"), users: count("USERS") },
    stamp: scenario.check.integrity ? { expected: count("EXPECTED"), found: count("FOUND") } : null,
  };
}

function spteOf(core: Core, [gfn, spte, mmio]: BigUint64Array): InspectedSpte {
  const shown = { gfn: Number(gfn), spte: hex(spte!) };
  const current = core.constant("INSPECT_MMIO_CURRENT");
  const bits = Number(mmio);
  if (bits === 0) return shown;
  return { ...shown, mmio: { generation: bits & (current - 1), current: (bits & current) !== 0 } };
}

function stateOf(pte: bigint, zero: boolean, noSlot: boolean): NonNullable<InspectedPage["pte"]>["state"] {
  if (pte === 0n) return "none";
  if ((pte & 1n) === 1n) return zero ? "zero" : "present";
  return noSlot ? "migrating" : "swapped";
}

function frameOf(core: Core, count: (field: string) => number): InspectedPage["frame"] {
  const bits = count("PAGE_FLAGS");
  const flags = [...core.constants("PG_")]
    .filter(([, bit]) => (bits & bit) !== 0)
    .map(([flag]) => lower(flag));
  const list = [...core.constants("LIST_")].find(([, value]) => value === count("PAGE_LIST"))?.[0] ?? "NONE";
  return {
    pfn: count("PFN"),
    refs: count("PAGE_REFS"),
    maps: count("PAGE_MAPS"),
    list: lower(list),
    ...(count("GENERATION") !== 0 && { generation: count("GENERATION") - 1 }),
    flags: flags.sort(),
  };
}

function lower(constant: string): string {
  return constant.toLowerCase().replaceAll("_", "-");
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
