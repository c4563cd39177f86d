import { ALIAS_SLOTS, aliasOf } from "../kvm/alias";
import { dirtyLogged, dirtyMarked } from "../kvm/dirtylog";
import { cachedPage } from "../kvm/guestfile";
import {
  memslotFlags,
  memslotGfn,
  memslotGfnOf,
  memslotHva,
  memslotId,
  memslotIndex,
  memslotPages,
  memslotUnbacked,
} from "../kvm/memslot";
import { gfnToMemslot, memslotByHva, memslotCount, memslotNextInHva } from "../kvm/memslots";
import { mmioCurrent } from "../kvm/mmio";
import { spteIsMmio, spteMmioGeneration } from "../kvm/mmiospte";
import { mmuFirst, mmuMmio, mmuNext } from "../kvm/mmu";
import { SPTE_NONE } from "../kvm/spte";
import { vmAliases, vmExpected, vmFormat, vmGuestFile, vmMm, vmSlots, vmSpace, vmUnalias } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { PFN_NONE } from "../memory/layout";
import { frameStamp, mmSpace, mmStamped } from "../mm/instance";
import { memcgGenerations } from "../mm/memcg";
import { generationAge } from "../mm/mglru";
import {
  LIST_GENERATION,
  PG_SWAPCACHE,
  pageFlags,
  pageGen,
  pageList,
  pageMaps,
  pageOf,
  pageOwner,
  pagePrivate,
  pageRefs,
  pageTest,
} from "../mm/page";
import {
  ENTRY_NONE,
  entryOffset,
  entryType,
  pteEntry,
  ptePfn,
  ptePresent,
  pteSwapped,
  ZERO_PFN,
} from "../mm/pte";
import { spaceHva, spaceMemcg, spacePte } from "../mm/space";
import { slotStamp } from "../mm/swaparea";
import { swapCacheLookup, swapCount } from "../mm/swapmap";

// The whole story of one guest page, for whoever looks into a machine: which slot holds it and what else its memory backs, the entries of
// both MMUs, the frame, the swap slot, the content stamps. Nothing is changed by looking.
//
// The answer lies in a table of u64: INSPECT_*, then for each frame that the page backs INSPECT_FRAME_FIELDS: gfn, spte, and of an MMIO
// spte what it says.

export const INSPECT_SLOT: u32 = 0; // id + 1, 0 for a hole: then nothing else is told but an MMIO spte
export const INSPECT_SLOT_GFN: u32 = 1;
export const INSPECT_SLOT_PAGES: u32 = 2;
export const INSPECT_SLOT_HVA: u32 = 3;
export const INSPECT_SLOT_FLAGS: u32 = 4;
export const INSPECT_HVA: u32 = 5;
export const INSPECT_PTE: u32 = 6;
export const INSPECT_PFN: u32 = 7; // 0 without a frame; 1 the page of zeroes
export const INSPECT_PAGE_FLAGS: u32 = 8;
export const INSPECT_PAGE_REFS: u32 = 9;
export const INSPECT_PAGE_MAPS: u32 = 10;
export const INSPECT_PAGE_LIST: u32 = 11;
export const INSPECT_ENTRY: u32 = 12; // 1 with a swap slot
export const INSPECT_AREA: u32 = 13;
export const INSPECT_OFFSET: u32 = 14;
export const INSPECT_USERS: u32 = 15;
export const INSPECT_EXPECTED: u32 = 16; // the last write's number, and what is found
export const INSPECT_FOUND: u32 = 17;
export const INSPECT_FRAMES: u32 = 18; // entries that follow
export const INSPECT_GENERATION: u32 = 19; // by age, the youngest is 1; 0 off the generation lists
export const INSPECT_DIRTY: u32 = 20; // 1 + whether the dirty log has it; 0 without a log
export const INSPECT_FIELDS: u32 = 21;
export const INSPECT_FRAME_FIELDS: u32 = 3;
/** Of an MMIO spte, beside the generation in it: it is one, and it is of the present generation. */
export const INSPECT_MMIO: u32 = 1 << 30;
export const INSPECT_MMIO_CURRENT: u32 = 1 << 29;
const MOST_FRAMES: u32 = 64;

const TABLE: usize = memory.data(8 * (21 + 3 * 64), 8);

function put(field: u32, value: u64): void {
  store<u64>(TABLE + ((<usize>field) << 3), value);
}

/** Address of the table that inspectPage() fills: INSPECT_FIELDS and INSPECT_FRAME_FIELDS for each entry, u64 each. */
export function inspectTable(): usize {
  return TABLE;
}

/** Fills the table with the story of `gfn` of VM `id`. */
export function inspectPage(id: u32, gfn: u32): void {
  memory.fill(TABLE, 0, (<usize>INSPECT_FIELDS) << 3);
  const vm = vmAt(id);
  const slots = vmSlots(vm);
  const frame = vmUnalias(vm, gfn);
  const slot = gfnToMemslot(slots, frame);
  if (slot === 0) {
    const spte = mmuMmio(vm, gfn);
    if (spte === SPTE_NONE) return;
    entryShown(vm, gfn, spte, 0);
    put(INSPECT_FRAMES, 1);
    return;
  }
  put(INSPECT_SLOT, memslotId(slot) + 1);
  put(INSPECT_SLOT_GFN, memslotGfn(slot));
  put(INSPECT_SLOT_PAGES, memslotPages(slot));
  put(INSPECT_SLOT_HVA, memslotHva(slot));
  put(INSPECT_SLOT_FLAGS, memslotFlags(slot));
  if (dirtyLogged(slot)) put(INSPECT_DIRTY, dirtyMarked(slot, frame) ? 2 : 1);
  if (memslotUnbacked(slot)) return;
  const index = memslotIndex(slot, frame);
  put(INSPECT_HVA, spaceHva(vmSpace(vm), index));
  let frames: u32 = 0;
  for (
    let place = memslotNextInHva(slots, index, index + 1, 0);
    place < memslotCount(slots) && frames < MOST_FRAMES;
    place = memslotNextInHva(slots, index, index + 1, place + 1)
  ) {
    const backed = memslotGfnOf(memslotByHva(slots, place), index);
    frames = shown(vm, backed, frames);
    for (let alias: u32 = 0; alias < ALIAS_SLOTS && frames < MOST_FRAMES; alias++) {
      const other = aliasOf(vmAliases(vm), alias, backed);
      if (other !== backed) frames = shown(vm, other, frames);
    }
  }
  put(INSPECT_FRAMES, frames);
  hostSide(vm, frame, index);
}

function shown(vm: usize, gfn: u32, frames: u32): u32 {
  let entry = mmuFirst(vm, gfn);
  let next = frames;
  while (next < MOST_FRAMES) {
    entryShown(vm, gfn, entry === 0 ? mmuMmio(vm, gfn) : load<u64>(entry), next);
    next++;
    if (entry !== 0) entry = mmuNext(vm, gfn, entry);
    if (entry === 0) break;
  }
  return next;
}

function entryShown(vm: usize, gfn: u32, spte: u64, place: u32): void {
  const at = INSPECT_FIELDS + INSPECT_FRAME_FIELDS * place;
  const mmio = spteIsMmio(spte, vmFormat(vm));
  const current = mmio && mmioCurrent(vm, spte) ? INSPECT_MMIO_CURRENT : 0;
  put(at, gfn);
  put(at + 1, spte);
  put(at + 2, mmio ? INSPECT_MMIO | current | spteMmioGeneration(spte) : 0);
}

// The primary MMU's side: entry, frame, swap slot, contents. `gfn` is no alias.
function hostSide(vm: usize, gfn: u32, index: u32): void {
  const mm = vmMm(vm);
  const pte = spacePte(vmSpace(vm), index);
  put(INSPECT_PTE, pte);
  let pfn = PFN_NONE;
  let entry = ENTRY_NONE;
  if (ptePresent(pte)) pfn = ptePfn(pte);
  else if (pteSwapped(pte)) {
    entry = pteEntry(pte);
    pfn = swapCacheLookup(mm, entry);
  }
  if (vmGuestFile(vm) !== 0 && cachedPage(vm, gfn) !== PFN_NONE) pfn = cachedPage(vm, gfn);
  put(INSPECT_PFN, pfn);
  if (pfn !== PFN_NONE && pfn !== ZERO_PFN) {
    const page = pageOf(mm, pfn);
    put(INSPECT_PAGE_FLAGS, pageFlags(page));
    put(INSPECT_PAGE_REFS, pageRefs(page));
    put(INSPECT_PAGE_MAPS, pageMaps(page));
    put(INSPECT_PAGE_LIST, min<u8>(pageList(page), LIST_GENERATION));
    if (pageGen(page) !== 0) {
      const gens = memcgGenerations(spaceMemcg(mmSpace(mm, pageOwner(page))));
      put(INSPECT_GENERATION, generationAge(gens, page) + 1);
    }
    if (pageTest(page, PG_SWAPCACHE)) entry = pagePrivate(page);
  }
  if (entry !== ENTRY_NONE) {
    put(INSPECT_ENTRY, 1);
    put(INSPECT_AREA, entryType(entry));
    put(INSPECT_OFFSET, entryOffset(entry));
    put(INSPECT_USERS, swapCount(mm, entry));
  }
  if (!mmStamped(mm)) return;
  put(INSPECT_EXPECTED, load<u32>(vmExpected(vm) + ((<usize>index) << 2)));
  put(
    INSPECT_FOUND,
    pfn !== PFN_NONE ? frameStamp(mm, pfn) : entry !== ENTRY_NONE ? slotStamp(mm, entry) : 0,
  );
}
