import { pageOf } from "../mm/page";
import { entryOffset, PTE_WRITE, pteEntry, ptePfn, ptePresent, pteSwapped, pteZero } from "../mm/pte";
import { spacePolicy, spacePte } from "../mm/space";
import { slotByte, slotCached, swapArea } from "../mm/swaparea";
import { handSteps } from "../policy/handqueue";
import { Policy } from "../policy/policy";
import { POLICY_OUTSIDE, policyNext } from "../policy/registry";
import { memslotHolds, memslotIndex, memslotUnbacked } from "./memslot";
import { memslotSearch } from "./memslots";
import { AHEAD_FROM, AHEAD_TO, DIRECTORY } from "./vcpu";
import { vmGfnEnd, vmIsShadow, vmMm, vmSlots, vmSpace, vmUnalias } from "./vm";
import { walkLeaf } from "./walk";

// A fault waits for memory: the leaf entry of its access, the pte, the slot and what the swap cache has of it lie far apart, and each is
// looked at when the one before it is known; so do those of the page that goes. Those of the accesses, and of the pages, that come next do not depend on
// them: looked at all at once, the processor waits for them together. Nothing is done with what is found, so a run is the same without it.

/** Accesses that are looked at together; the arrays below have room for them. */
const AHEAD: u32 = 32;
/** Pages of a policy that are looked at together; likewise. */
const PLACES: u32 = 32;
/** Tables of a smaller guest (128 MiB) stay in the caches. */
const PAGES_LEAST: u32 = 1 << 15;

// Something must become of what is loaded.
const LOADED: usize = memory.data(8, 8);
// Swap entries and frames that the first look has found; what is behind them is for a second one.
const FOUND: usize = memory.data(4 * 32, 8);
const PFNS: usize = memory.data(4 * 32, 8);
// The gfns of the entries.
const GFNS: usize = memory.data(4 * 32, 8);
// handSteps() at the end of the places that were looked at, and whose they are.
const SEEN_TO: usize = memory.data(4, 4);
const SEEN_VM: usize = memory.data(4, 4);

/** The tables of `vm` are so large that it is worth looking ahead. */
export function aheadHelps(vm: usize): bool {
  return vmGfnEnd(vm) >= PAGES_LEAST && !vmIsShadow(vm);
}

/** The access at `at` of a stream that goes on to `end` has faulted. */
export function accessAhead(vcpu: usize, vm: usize, at: usize, end: usize, base: u32, force: u32): void {
  if (!aheadHelps(vm)) return;
  if (at >= <usize>load<u32>(vcpu, AHEAD_FROM) && at < <usize>load<u32>(vcpu, AHEAD_TO)) return;
  const to = min<usize>(end, at + ((<usize>(AHEAD + 1)) << 2));
  store<u32>(vcpu, <u32>at, AHEAD_FROM);
  store<u32>(vcpu, <u32>to, AHEAD_TO);
  const directory = <usize>load<u32>(vcpu, DIRECTORY);
  const space = vmSpace(vm);
  const policy = spacePolicy(space);
  const states: usize = policy === 0 ? 0 : changetype<Policy>(policy).states;
  const gfnEnd = vmGfnEnd(vm);
  let slot: usize = 0;
  let loaded: u64 = 0;
  let found: u32 = 0;
  let frames: u32 = 0;
  for (let next = at + 4; next < to; next += 4) {
    const gfn = base + (load<u32>(next) & 0x7fffffff);
    if (gfn >= gfnEnd) continue;
    const frame = vmUnalias(vm, gfn);
    if (slot === 0 || !memslotHolds(slot, frame)) slot = memslotSearch(vmSlots(vm), frame);
    if (slot === 0 || memslotUnbacked(slot)) continue;
    const index = memslotIndex(slot, frame);
    if (states !== 0) loaded ^= <u64>load<u8>(states + index);
    const pte = spacePte(space, index);
    const swapped = pteSwapped(pte);
    store<u32>(FOUND + ((<usize>found) << 2), swapped ? pteEntry(pte) : 0);
    store<u32>(GFNS + ((<usize>found) << 2), gfn);
    found += swapped ? 1 : 0;
    // A write to a page that was read from swap looks at its record.
    const reused =
      ptePresent(pte) && !pteZero(pte) && (pte & PTE_WRITE) === 0 && (load<u32>(next) | force) >> 31 !== 0;
    store<u32>(PFNS + ((<usize>frames) << 2), ptePfn(pte));
    frames += reused ? 1 : 0;
  }
  const mm = vmMm(vm);
  store<u64>(LOADED, loaded ^ slotsAhead(mm, directory, found) ^ recordsAhead(mm, PFNS, frames));
}

function recordsAhead(mm: usize, from: usize, frames: u32): u64 {
  let loaded: u64 = 0;
  for (let at = from; at < from + ((<usize>frames) << 2); at += 4)
    loaded ^= load<u32>(pageOf(mm, load<u32>(at)));
  return loaded;
}

// Leaf entries, slots and what the swap cache has of them.
function slotsAhead(mm: usize, directory: usize, found: u32): u64 {
  let loaded: u64 = 0;
  for (let at: usize = 0; at < (<usize>found) << 2; at += 4) {
    const gfn = load<u32>(GFNS + at);
    const table = <usize>load<u32>(directory + ((<usize>(gfn >> 9)) << 2));
    if (table !== 0) loaded ^= load<u64>(table + ((<usize>(gfn & 511)) << 3));
    const entry = load<u32>(FOUND + at);
    const area = swapArea(mm, entry);
    const place = entryOffset(entry);
    loaded ^= <u64>load<u8>(slotByte(area, place)) ^ load<u32>(slotCached(area, place));
  }
  return loaded;
}

/** Pages of `vm` will have to go: the next ones that its policy's hand comes to, or that are chosen, are looked at, if they have not been. */
export function victimsAhead(vm: usize): void {
  if (load<u32>(SEEN_VM) === <u32>vm && <i32>(load<u32>(SEEN_TO) - handSteps()) > 0) return;
  const mm = vmMm(vm);
  const space = vmSpace(vm);
  const policy = changetype<Policy>(spacePolicy(space));
  const pages = policyNext(policy, FOUND, PLACES);
  store<u32>(SEEN_VM, <u32>vm);
  // Of a policy from outside as many as it has chosen: none, until it is asked again.
  store<u32>(SEEN_TO, handSteps() + (policy.kind === POLICY_OUTSIDE ? pages : PLACES));
  let loaded: u64 = 0;
  let found: u32 = 0;
  for (let page: u32 = 0; page < pages; page++) {
    const index = load<u32>(FOUND + ((<usize>page) << 2));
    loaded ^= <u64>load<u8>(policy.states + index);
    const pte = spacePte(space, index);
    store<u32>(FOUND + ((<usize>found) << 2), ptePfn(pte));
    found += ptePresent(pte) && !pteZero(pte) ? 1 : 0;
  }
  store<u64>(LOADED, loaded ^ recordsAhead(mm, FOUND, found));
}
