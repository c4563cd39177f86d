import { pageOf } from "../mm/page";
import { ENTRY_OFFSET_MASK, PTE_WRITE, pteEntryAny, pteMaps, ptePfn, pteSwapped } from "../mm/pte";
import { spacePolicy, spacePte, spacePteAt } from "../mm/space";
import { areaCache, areaMap, areaSlots, swapArea } from "../mm/swaparea";
import { handSteps } from "../policy/handqueue";
import { Policy } from "../policy/policy";
import {
  POLICY_OUTSIDE,
  policyAhead,
  policyAheadFrom,
  policyBeside,
  policyHitState,
} from "../policy/registry";
import { memslotFirst, memslotGfn, memslotPages, memslotUnbacked } from "./memslot";
import { memslotSearch } from "./memslots";
import { AHEAD_FROM, AHEAD_TO, DIRECTORY } from "./vcpu";
import { vmDirectory, vmGfnEnd, vmIsShadow, vmMm, vmSlots, vmSpace, vmUnalias } from "./vm";

// A fault waits for memory: the leaf entry of its access, the pte, the slot and what the swap cache has of it lie far apart, and each is
// looked at when the one before it is known; so do those of the page that goes. Those of the accesses, and of the pages, that come next do not depend on
// them: looked at all at once, the processor waits for them together. Nothing is done with what is found, so a run is the same without it.
//
//        at                     near                    far
//   ------+----------------------+-----------------------+------------------   the stream, or the places that the policy's hand comes to
//         | all has been seen    | the ptes have         | nothing yet
//
// A look goes STRIDE further: at what the ptes of the next stretch lead to, and at the ptes of the one after it, so it never waits for what it finds.
// The loops have as little in them as can be, and nothing that has to be guessed: the processor sees all of their loads before the first one answers.

/** Accesses, or places, by which a look goes further; the arrays below have room for as many. */
const STRIDE: u32 = 64;
/** A look is due when so many are left. */
const LEFT: u32 = 16;
// Tables of a guest with fewer pages (128 MiB) stay in the caches.
let pagesLeast: u32 = 1 << 15;

const GFN_MASK: u32 = 0x7fffffff;

// Something must become of what is loaded.
const LOADED: usize = memory.data(8, 8);
// What the ptes of a stretch hold: swap entries, with the gfns of their accesses, and frames.
const ENTRIES: usize = memory.data(4 * 64, 8);
const GFNS: usize = memory.data(4 * 64, 8);
const PFNS: usize = memory.data(4 * 64, 8);
// Of the policy: whose it is, handSteps() at the end of the places that have been seen, where those begin whose ptes have not, and the pages between.
const SEEN_VM: usize = memory.data(4, 4);
const SEEN_TO: usize = memory.data(4, 4);
const SEEN_FROM: usize = memory.data(4, 4);
const WAITING: usize = memory.data(4, 4);
const PAGES: usize = memory.data(4 * 64, 8);
// Those of them that go, if nobody hits them before.
const GOING: usize = memory.data(4 * 64, 8);

/** For tests: faults look ahead in guests that have so many pages. */
export function aheadFrom(pages: u32): void {
  pagesLeast = pages;
}

/** The tables of `vm` are so large that it is worth looking ahead. */
export function aheadHelps(vm: usize): bool {
  return vmGfnEnd(vm) >= pagesLeast && !vmIsShadow(vm);
}

/** The access at `at` of a stream that goes on to `end` has faulted. */
export function accessAhead(vcpu: usize, vm: usize, at: usize, end: usize, base: u32, force: u32): void {
  const near = <usize>load<u32>(vcpu, AHEAD_TO);
  if (at >= <usize>load<u32>(vcpu, AHEAD_FROM) && at + (LEFT << 2) < near) return;
  if (aheadHelps(vm)) accessesAhead(vcpu, vm, at, end, base, force);
}

function accessesAhead(vcpu: usize, vm: usize, at: usize, end: usize, base: u32, force: u32): void {
  let near = <usize>load<u32>(vcpu, AHEAD_TO);
  let far = near + (STRIDE << 2);
  if (at < <usize>load<u32>(vcpu, AHEAD_FROM) || at >= far) near = far = at + 4;
  else if (near === end) return;
  near = max<usize>(near, at + 4);
  const to = min<usize>(end, near + (STRIDE << 2));
  store<u32>(vcpu, <u32>at, AHEAD_FROM);
  store<u32>(vcpu, <u32>to, AHEAD_TO);
  const slot = memslotSearch(vmSlots(vm), vmUnalias(vm, base + (load<u32>(at) & GFN_MASK)));
  if (slot === 0 || memslotUnbacked(slot)) return;
  assert(STRIDE <= 64);
  const space = vmSpace(vm);
  const gfnFirst = memslotGfn(slot);
  const pages = memslotPages(slot);
  const ptes = spacePteAt(space, memslotFirst(slot));
  let loaded: u64 = 0;
  if (far < to) {
    loaded = ptesAhead(far, to, base - gfnFirst, pages, ptes);
    far = to;
  }
  let found: usize = 0;
  let reused: usize = 0;
  for (let next = near; next < to; next += 4) {
    const access = load<u32>(next) | force;
    const gfn = base + (access & GFN_MASK);
    if (gfn - gfnFirst >= pages) continue;
    const pte = load<u64>(ptes + ((<usize>(gfn - gfnFirst)) << 3));
    store<u32>(ENTRIES + found, pteEntryAny(pte));
    store<u32>(GFNS + found, gfn);
    found += (<usize>pteSwapped(pte)) << 2;
    // A write to a page that was read from swap looks at its record.
    store<u32>(PFNS + reused, ptePfn(pte));
    reused += (<usize>pteMaps(pte) & <usize>((pte & PTE_WRITE) === 0) & (access >> 31)) << 2;
  }
  const mm = vmMm(vm);
  const record = spacePolicy(space);
  const beside: usize = record === 0 ? 0 : policyBeside(changetype<Policy>(record));
  if (beside !== 0) loaded ^= besideAhead(beside + ((<usize>(memslotFirst(slot) - gfnFirst)) << 2), found);
  loaded ^= slotsAhead(mm, <usize>load<u32>(vcpu, DIRECTORY), found) ^ recordsAhead(mm, reused);
  loaded ^= ptesAhead(far, min<usize>(end, to + (STRIDE << 2)), base - gfnFirst, pages, ptes);
  store<u64>(LOADED, loaded);
}

// The ptes of the pages from..to-1 of a stream.
function ptesAhead(from: usize, to: usize, origin: u32, pages: u32, ptes: usize): u64 {
  let loaded: u64 = 0;
  for (let next = from; next < to; next += 4) {
    const page = origin + (load<u32>(next) & GFN_MASK);
    if (page < pages) loaded ^= load<u64>(ptes + ((<usize>page) << 3));
  }
  return loaded;
}

// Leaf entries, slots and what the swap cache has of them: of the area that the first one is in.
function slotsAhead(mm: usize, directory: usize, found: usize): u64 {
  if (found === 0) return 0;
  const entries = load<u32>(ENTRIES) & ~ENTRY_OFFSET_MASK;
  const area = swapArea(mm, entries);
  const map = areaMap(area);
  const cache = areaCache(area);
  const slots = areaSlots(area);
  let loaded: u64 = 0;
  for (let at: usize = 0; at < found; at += 4) {
    const slot = <usize>(load<u32>(ENTRIES + at) - entries);
    loaded ^= leafAhead(directory, load<u32>(GFNS + at));
    if (slot < slots) loaded ^= <u64>load<u8>(map + slot) ^ load<u32>(cache + (slot << 2));
  }
  return loaded;
}

// What the policy notes of a page that enters.
function besideAhead(beside: usize, found: usize): u64 {
  let loaded: u64 = 0;
  for (let at: usize = 0; at < found; at += 4)
    loaded ^= load<u32>(beside + ((<usize>load<u32>(GFNS + at)) << 2));
  return loaded;
}

function recordsAhead(mm: usize, pfns: usize): u64 {
  let loaded: u64 = 0;
  for (let at: usize = 0; at < pfns; at += 4) loaded ^= load<u32>(pageOf(mm, load<u32>(PFNS + at)));
  return loaded;
}

/** Pages of `vm` will have to go: those of `slot` that its policy's hand comes to next, or that are chosen, are looked at. */
export function victimsAhead(vm: usize, slot: usize): void {
  if (load<u32>(SEEN_VM) === <u32>vm && <i32>(load<u32>(SEEN_TO) - handSteps()) > <i32>LEFT) return;
  placesAhead(vm, slot);
}

function placesAhead(vm: usize, slot: usize): void {
  const space = vmSpace(vm);
  const policy = changetype<Policy>(spacePolicy(space));
  let loaded: u64 = 0;
  if (load<u32>(SEEN_VM) !== <u32>vm || <i32>(load<u32>(SEEN_TO) - handSteps()) < 0) {
    store<u32>(SEEN_VM, <u32>vm);
    store<u32>(SEEN_TO, handSteps());
    store<u32>(SEEN_FROM, policyAheadFrom(policy));
    loaded = pagesAhead(policy, space);
  }
  const waiting = <usize>load<u32>(WAITING);
  const hit = policyHitState(policy.kind);
  let frames: usize = 0;
  for (let at: usize = 0; at < waiting << 2; at += 4) {
    const page = load<u32>(PAGES + at);
    const pte = spacePte(space, page);
    store<u32>(PFNS + frames, ptePfn(pte));
    store<u32>(GOING + frames, page);
    // One that was hit is passed over by a hand.
    frames += (<usize>pteMaps(pte) & <usize>(policy.state(page) !== hit)) << 2;
  }
  // A policy from outside makes a step a page that it has chosen. Who cannot tell makes none, and is not asked again.
  const steps = policy.kind === POLICY_OUTSIDE ? <u32>waiting : STRIDE;
  store<u32>(SEEN_TO, load<u32>(SEEN_TO) + steps);
  loaded ^= leavesAhead(vmDirectory(vm), memslotGfn(slot), memslotFirst(slot), memslotPages(slot), frames);
  loaded ^= recordsAhead(vmMm(vm), frames);
  store<u64>(LOADED, loaded ^ pagesAhead(policy, space));
}

// Leaf entries of the pages that go.
function leavesAhead(directory: usize, gfnFirst: u32, first: u32, pages: u32, going: usize): u64 {
  let loaded: u64 = 0;
  for (let at: usize = 0; at < going; at += 4) {
    const page = load<u32>(GOING + at) - first;
    if (page < pages) loaded ^= leafAhead(directory, gfnFirst + page);
  }
  return loaded;
}

// The leaf entry of `gfn`, or what stands where there is no table.
function leafAhead(directory: usize, gfn: u32): u64 {
  const table = <usize>load<u32>(directory + ((<usize>(gfn >> 9)) << 2));
  return load<u64>(table + ((<usize>(gfn & 511)) << 3));
}

// The ptes and the states of the policy's next pages.
function pagesAhead(policy: Policy, space: usize): u64 {
  const waiting = <usize>policyAhead(policy, SEEN_FROM, PAGES, STRIDE);
  store<u32>(WAITING, <u32>waiting);
  let loaded: u64 = 0;
  for (let at: usize = 0; at < waiting << 2; at += 4) {
    const page = load<u32>(PAGES + at);
    loaded ^= spacePte(space, page) ^ policy.state(page);
  }
  return loaded;
}
