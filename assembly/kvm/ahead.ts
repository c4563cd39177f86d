import { entryOffset, pteEntry, pteSwapped } from "../mm/pte";
import { spacePte } from "../mm/space";
import { slotByte, slotCached, swapArea } from "../mm/swaparea";
import { memslotIndex, memslotUnbacked } from "./memslot";
import { memslotSearch } from "./memslots";
import { AHEAD_FROM, AHEAD_TO, DIRECTORY } from "./vcpu";
import { vmGfnEnd, vmIsShadow, vmMm, vmSlots, vmSpace, vmUnalias } from "./vm";

// A fault waits for memory: the leaf entry of its access, the pte, the slot and what the swap cache has of it lie far apart, and each is
// looked at when the one before it is known. Those of the accesses that come next do not depend on it: looked at all at once, the processor
// waits for them together. Nothing is done with what is found, so a run is the same without it.

/** Accesses that are looked at together. */
const AHEAD: u32 = 32;
/** Tables of a smaller guest (128 MiB) stay in the caches. */
const PAGES_LEAST: u32 = 1 << 15;

// Something must become of what is loaded.
const LOADED: usize = memory.data(8, 8);

/** The tables of `vm` are so large that it is worth looking ahead. */
export function aheadHelps(vm: usize): bool {
  return vmGfnEnd(vm) >= PAGES_LEAST && !vmIsShadow(vm);
}

/** The access at `at` of a stream that goes on to `end` has faulted. */
export function accessAhead(vcpu: usize, vm: usize, at: usize, end: usize, base: u32): void {
  if (!aheadHelps(vm)) return;
  if (at >= <usize>load<u32>(vcpu, AHEAD_FROM) && at < <usize>load<u32>(vcpu, AHEAD_TO)) return;
  const to = min<usize>(end, at + ((<usize>(AHEAD + 1)) << 2));
  store<u32>(vcpu, <u32>at, AHEAD_FROM);
  store<u32>(vcpu, <u32>to, AHEAD_TO);
  const directory = <usize>load<u32>(vcpu, DIRECTORY);
  const mm = vmMm(vm);
  const space = vmSpace(vm);
  const gfnEnd = vmGfnEnd(vm);
  let loaded: u64 = 0;
  for (let next = at + 4; next < to; next += 4) {
    const gfn = base + (load<u32>(next) & 0x7fffffff);
    if (gfn >= gfnEnd) continue;
    const table = <usize>load<u32>(directory + ((<usize>(gfn >> 9)) << 2));
    if (table !== 0) loaded ^= load<u64>(table + ((<usize>(gfn & 511)) << 3));
    const frame = vmUnalias(vm, gfn);
    const slot = memslotSearch(vmSlots(vm), frame);
    if (slot === 0 || memslotUnbacked(slot)) continue;
    const pte = spacePte(space, memslotIndex(slot, frame));
    if (!pteSwapped(pte)) continue;
    const area = swapArea(mm, pteEntry(pte));
    const place = entryOffset(pteEntry(pte));
    loaded ^= <u64>load<u8>(slotByte(area, place)) ^ load<u32>(slotCached(area, place));
  }
  store<u64>(LOADED, loaded);
}
