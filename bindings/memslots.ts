// The memory map of a VM: its slots by guest frame, and where the pages of its memory lie in it. Page 0 of the guest's memory is the
// first frame of the lowest slot; pages go on from slot to slot. Left out: what backs a slot, which is the core's business.

import type { Core } from "./core.js";
import type { MEMSLOT_FLAGS } from "./memslotschema.js";
import type { ParsedScenario } from "./schema.js";

/** A slot of a scenario with its number: its place in the list. */
export interface Memslot {
  id: number;
  gfn: number;
  pages: number;
  hva?: number | undefined;
  flags?: readonly MemslotFlag[] | undefined;
}

/** KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, or a slot whose memory the kernel maps itself, as in 2008. */
export type MemslotFlag = (typeof MEMSLOT_FLAGS)[number];

/** The bits that the core has for flags. */
export function flagBits(core: Core, flags: readonly MemslotFlag[]): number {
  const constants = {
    "log-dirty-pages": "KVM_MEM_LOG_DIRTY_PAGES",
    "read-only": "KVM_MEM_READONLY",
    kernel: "KVM_MEM_KERNEL",
  };
  return flags.reduce((bits, flag) => bits | core.constant(constants[flag]), 0);
}

type MappedVm = Pick<ParsedScenario["vms"][number], "memory" | "memslots">;

const PAGE_BYTES = 4096;

/** The slots of a VM in the order of their gfns. */
export function memslotsOf(vm: MappedVm): Memslot[] {
  const slots: Memslot[] = (vm.memslots ?? [{ gfn: 0, pages: vm.memory / PAGE_BYTES }]).map((slot, id) => ({
    id,
    ...slot,
  }));
  return slots.sort((left, right) => left.gfn - right.gfn);
}

/** The slots that a VM has now, by gfn: those of its scenario until its monitor sets others. */
export function slotsNow({ call }: Core, vm: number): { gfn: number; pages: number }[] {
  return Array.from({ length: call.stepSlots(vm) >>> 0 }, (_, place) => ({
    gfn: call.stepSlotFirst(vm, place) >>> 0,
    pages: call.stepSlotPages(vm, place) >>> 0,
  }));
}

/** The guest frame of page `page` of the guest's memory; the pages from there on to the next hole. */
export function gfnOfPage(slots: readonly Memslot[], page: number): { gfn: number; room: number } {
  let before = 0;
  for (const [place, { gfn, pages }] of slots.entries()) {
    if (page < before + pages) {
      let end = gfn + pages;
      for (const next of slots.slice(place + 1)) {
        if (next.gfn !== end) break;
        end += next.pages;
      }
      const at = gfn + (page - before);
      return { gfn: at, room: end - at };
    }
    before += pages;
  }
  return { gfn: 0, room: 0 };
}

/** Frames of the slot of `slots` that holds `gfn`, from it on; 0 when none does. */
export function roomFrom(slots: readonly Pick<Memslot, "gfn" | "pages">[], gfn: number): number {
  const slot = slots.find((each) => gfn >= each.gfn && gfn < each.gfn + each.pages);
  return slot === undefined ? 0 : slot.gfn + slot.pages - gfn;
}
