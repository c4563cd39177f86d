import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import {
  actorClock,
  actorGoesOn,
  actorSpend,
  STAGE_ALLOC,
  STAGE_CPU,
  STAGE_DEVICE,
  STAGE_LOCK,
} from "../sim/actor";
import { COST_MINOR_FAULT_NS, COST_SWAP_CACHE_HIT_NS, COST_SWAP_IN_CPU_NS, cost } from "../sim/costs";
import { deviceSubmit, deviceSynchronous, deviceSynchronousNs, deviceWaitTag } from "../sim/device";
import { DIGEST_SWAP_IN, digestAdd } from "../sim/digest";
import { allocated, allocBegin, allocStep } from "./alloc";
import {
  FAULT_ENTRY,
  FAULT_INDEX,
  FAULT_KIND,
  FAULT_PC,
  FAULT_PFN,
  FAULT_SPACE,
  FAULT_WRITABLE,
  FAULT_WRITE,
} from "./context";
import { pageFree, pagePut, tableFree } from "./free";
import { MM_SWAP_IN, mmCountAdd, mmStamped, pageOf, setFrameStamp } from "./instance";
import { lruAdd } from "./memcg";
import {
  PG_ANON_EXCLUSIVE,
  PG_LOCKED,
  PG_SWAPCACHE,
  PG_UPTODATE,
  pageClear,
  pageGet,
  pageMaps,
  pagePrivate,
  pageRefs,
  pageSet,
  pageTest,
  setPageMaps,
  setPageOwner,
  setPageRefs,
} from "./page";
import { pageTrylock, pageUnlock, pageWaitLocked } from "./pagelock";
import {
  entryOffset,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_NONE,
  PTE_SWP_EXCLUSIVE,
  PTE_WRITE,
  pteEntry,
  pteOfPfn,
  ptePfn,
  ptePresent,
} from "./pte";
import { setSpacePte, setSpaceTable, spaceAccount, spaceId, spaceMemcg, spacePte, spaceTable } from "./space";
import {
  slotStamp,
  swapArea,
  swapCacheLookup,
  swapCachePrepare,
  swapCount,
  swapDevice,
  swapFree,
  swapFull,
} from "./swap";
import { swapCacheAdd, swapCacheTryFree } from "./swapcache";

// A fault of the primary MMU on behalf of a vCPU: get_user_pages() for one page, with handle_mm_fault(),
// do_anonymous_page(), do_swap_page() and do_wp_page(). It ends with the frame, held by one reference of the caller.
// A machine of steps: it allocates, reads from swap and waits for locked pages; after each of these the pte is looked at
// again, and if it has changed the work done is thrown away and the fault starts over.
// Left out for now: the zero page (a first read allocates, as a first write does), copy-on-write, readahead.

/** What the fault needed, cheapest first; an access is counted by the most expensive thing it needed. */
export const FAULT_SPURIOUS: u32 = 0;
export const FAULT_WRITE_PROTECT: u32 = 1;
export const FAULT_MINOR: u32 = 2;
export const FAULT_MAJOR: u32 = 3;
export const FAULT_KINDS: u32 = 4;

const START: u32 = 0;
const TABLE: u32 = 1;
const ANON: u32 = 2;
const ANON_INSTALL: u32 = 3;
const SWAP: u32 = 4;
const SWAP_BYPASS: u32 = 5;
const SWAP_BYPASS_INSTALL: u32 = 6;
const SWAP_READ: u32 = 7;
const SWAP_SUBMIT: u32 = 8;
const SWAP_CACHED: u32 = 9;
const SWAP_CACHED_INSTALL: u32 = 10;

/** Starts a fault on page `index` of `space`. */
export function faultBegin(actor: usize, space: usize, index: u32, write: bool): void {
  store<u32>(actor, START, FAULT_PC);
  store<u32>(actor, <u32>space, FAULT_SPACE);
  store<u32>(actor, index, FAULT_INDEX);
  store<u32>(actor, write ? 1 : 0, FAULT_WRITE);
  store<u32>(actor, FAULT_SPURIOUS, FAULT_KIND);
  store<u32>(actor, 0, FAULT_WRITABLE);
}

/** The frame; after faultStep() has returned STEP_DONE. The caller drops its reference with pagePut(). */
export function faultPfn(actor: usize): u32 {
  return load<u32>(actor, FAULT_PFN);
}

/** The primary MMU allows writing (map_writable). */
export function faultWritable(actor: usize): bool {
  return load<u32>(actor, FAULT_WRITABLE) !== 0;
}

/** FAULT_SPURIOUS when the entry was there as wanted, else what was done to the pte. */
export function faultKind(actor: usize): u32 {
  return load<u32>(actor, FAULT_KIND);
}

/** True while the fault reads from swap or waits for such a read: a stall in the sense of PSI. */
export function faultReading(actor: usize): bool {
  return load<u32>(actor, FAULT_PC) >= SWAP_BYPASS;
}

function goto(actor: usize, pc: u32): void {
  store<u32>(actor, pc, FAULT_PC);
}

function needed(actor: usize, kind: u32): void {
  if (kind > load<u32>(actor, FAULT_KIND)) store<u32>(actor, kind, FAULT_KIND);
}

/** Goes on with a fault. Returns STEP_*. */
export function faultStep(mm: usize, actor: usize): i32 {
  const space = <usize>load<u32>(actor, FAULT_SPACE);
  const index = load<u32>(actor, FAULT_INDEX);
  while (true) {
    const pc = load<u32>(actor, FAULT_PC);
    let step = STEP_DONE;
    if (pc === START) {
      if (start(mm, actor, space, index)) return STEP_DONE;
    } else if (pc === SWAP) {
      step = swap(mm, actor, space, index);
    } else if (pc === SWAP_SUBMIT) {
      step = swapSubmit(mm, actor);
    } else if (pc === SWAP_CACHED) {
      step = swapCached(mm, actor);
    } else if (pc === SWAP_CACHED_INSTALL) {
      if (swapInstall(mm, actor, space, index)) return STEP_DONE;
    } else if (pc === ANON_INSTALL) {
      if (anonInstall(mm, actor, space, index)) return STEP_DONE;
    } else if (pc === SWAP_BYPASS_INSTALL) {
      if (bypassInstall(mm, actor, space, index)) return STEP_DONE;
    } else {
      step = allocStep(mm, actor);
      if (step === STEP_DONE) step = withFrame(mm, actor, space, index, pc);
    }
    if (step === STEP_DONE || (step === STEP_AGAIN && actorGoesOn(actor))) continue;
    return step;
  }
}

// Looks at the pte. True: present as wanted, the caller has its frame.
function start(mm: usize, actor: usize, space: usize, index: u32): bool {
  if (spaceTable(space, index) === PFN_NONE) {
    allocBegin(actor, 0);
    goto(actor, TABLE);
    return false;
  }
  let pte = spacePte(space, index);
  if (pte === PTE_NONE) {
    allocBegin(actor, space);
    goto(actor, ANON);
    return false;
  }
  if (!ptePresent(pte)) {
    store<u32>(actor, pteEntry(pte), FAULT_ENTRY);
    goto(actor, SWAP);
    return false;
  }
  const write = load<u32>(actor, FAULT_WRITE) !== 0;
  if (write && (pte & PTE_WRITE) === 0) {
    // do_wp_page(): a page that belongs to this process alone is reused in place.
    assert(pageTest(pageOf(mm, ptePfn(pte)), PG_ANON_EXCLUSIVE));
    pte |= PTE_WRITE;
    needed(actor, FAULT_WRITE_PROTECT);
  }
  pte |= PTE_ACCESSED | (write ? PTE_DIRTY : 0);
  setSpacePte(space, index, pte);
  grab(mm, actor, ptePfn(pte), pte);
  return true;
}

// The caller's reference (FOLL_GET), and what the pte allows.
function grab(mm: usize, actor: usize, pfn: u32, pte: u64): void {
  pageGet(pageOf(mm, pfn));
  store<u32>(actor, pfn, FAULT_PFN);
  store<u32>(actor, pte & PTE_WRITE ? 1 : 0, FAULT_WRITABLE);
}

// An allocation has ended: what the frame is for.
function withFrame(mm: usize, actor: usize, space: usize, index: u32, pc: u32): i32 {
  const pfn = allocated(actor);
  if (pc === TABLE) {
    goto(actor, START);
    if (spaceTable(space, index) === PFN_NONE) setSpaceTable(space, index, pfn);
    else tableFree(mm, pfn, actor); // another vCPU was faster
    return STEP_DONE;
  }
  setPageOwner(pageOf(mm, pfn), spaceId(space), index);
  if (pc === ANON) {
    if (mmStamped(mm)) setFrameStamp(mm, pfn, 0);
    actorSpend(actor, STAGE_ALLOC, cost(COST_MINOR_FAULT_NS));
    goto(actor, ANON_INSTALL);
    return STEP_AGAIN; // yield: the page is zeroed, the pte lock is not yet held
  }
  const entry = load<u32>(actor, FAULT_ENTRY);
  const device = swapDevice(swapArea(mm, entry));
  actorSpend(actor, STAGE_CPU, cost(COST_SWAP_IN_CPU_NS));
  if (pc === SWAP_BYPASS) {
    actorSpend(actor, STAGE_CPU, deviceSynchronousNs(device, false));
    goto(actor, SWAP_BYPASS_INSTALL);
    return STEP_AGAIN; // yield: decompressed into a page that only we know
  }
  // __read_swap_cache_async(): whoever claims the slot's cache first reads; the others wait for its page.
  if (!slotIs(space, index, entry) || !swapCachePrepare(mm, entry)) {
    pageFree(mm, pfn, actor);
    goto(actor, START);
    return STEP_DONE;
  }
  swapCacheAdd(mm, pfn, entry);
  const locked = pageTrylock(mm, pfn);
  assert(locked);
  lruAdd(mm, spaceMemcg(space), pfn, false);
  store<u32>(actor, pfn, FAULT_PFN);
  goto(actor, SWAP_SUBMIT);
  return STEP_AGAIN; // yield: the page is locked in the swap cache, its read is about to be submitted
}

// pte_same(): the pte still holds the entry that the fault began with.
function slotIs(space: usize, index: u32, entry: u32): bool {
  const pte = spacePte(space, index);
  return pte !== PTE_NONE && !ptePresent(pte) && pteEntry(pte) === entry;
}

function anonInstall(mm: usize, actor: usize, space: usize, index: u32): bool {
  const pfn = allocated(actor);
  if (spacePte(space, index) !== PTE_NONE) {
    pageFree(mm, pfn, actor);
    goto(actor, START);
    return false;
  }
  const dirty = load<u32>(actor, FAULT_WRITE) !== 0 ? PTE_DIRTY : 0;
  map(mm, actor, space, index, pfn, PTE_WRITE | PTE_ACCESSED | dirty);
  lruAdd(mm, spaceMemcg(space), pfn, false);
  spaceAccount(space, 1, 0);
  needed(actor, FAULT_MINOR);
  return true;
}

// The pte takes over the reference that the frame came with.
function map(mm: usize, actor: usize, space: usize, index: u32, pfn: u32, flags: u64): void {
  const page = pageOf(mm, pfn);
  const pte = pteOfPfn(pfn, flags);
  setSpacePte(space, index, pte);
  setPageMaps(page, pageMaps(page) + 1);
  pageSet(page, PG_UPTODATE | PG_ANON_EXCLUSIVE);
  grab(mm, actor, pfn, pte);
}

function swap(mm: usize, actor: usize, space: usize, index: u32): i32 {
  const entry = load<u32>(actor, FAULT_ENTRY);
  if (!slotIs(space, index, entry)) {
    goto(actor, START);
    return STEP_DONE;
  }
  const cached = swapCacheLookup(mm, entry);
  if (cached !== PFN_NONE) {
    pageGet(pageOf(mm, cached));
    store<u32>(actor, cached, FAULT_PFN);
    goto(actor, SWAP_CACHED);
    return STEP_DONE;
  }
  // SWP_SYNCHRONOUS_IO with one user of the slot: no need for the swap cache.
  const bypass = deviceSynchronous(swapDevice(swapArea(mm, entry))) && swapCount(mm, entry) === 1;
  allocBegin(actor, space);
  goto(actor, bypass ? SWAP_BYPASS : SWAP_READ);
  return STEP_DONE;
}

function swapSubmit(mm: usize, actor: usize): i32 {
  const entry = load<u32>(actor, FAULT_ENTRY);
  const pfn = load<u32>(actor, FAULT_PFN);
  const device = swapDevice(swapArea(mm, entry));
  if (!deviceSubmit(device, false, pfn, entryOffset(entry), actor, actorClock(actor))) {
    deviceWaitTag(device, actor);
    return STEP_BLOCKED;
  }
  noteRead(mm, actor, pfn, entry);
  goto(actor, SWAP_CACHED_INSTALL);
  pageWaitLocked(mm, pfn, actor, STAGE_DEVICE);
  return STEP_BLOCKED;
}

// A page has been read from its slot: contents, counters, history.
function noteRead(mm: usize, actor: usize, pfn: u32, entry: u32): void {
  const space = <usize>load<u32>(actor, FAULT_SPACE);
  if (mmStamped(mm)) setFrameStamp(mm, pfn, slotStamp(mm, entry));
  mmCountAdd(mm, MM_SWAP_IN, 1);
  needed(actor, FAULT_MAJOR);
  digestAdd(DIGEST_SWAP_IN, actorClock(actor), spaceId(space), load<u32>(actor, FAULT_INDEX), pfn, entry);
}

// The page is in the swap cache; a locked one is being read or evicted by somebody else.
function swapCached(mm: usize, actor: usize): i32 {
  const pfn = load<u32>(actor, FAULT_PFN);
  if (pageTest(pageOf(mm, pfn), PG_LOCKED)) {
    pageWaitLocked(mm, pfn, actor, STAGE_LOCK);
    return STEP_BLOCKED;
  }
  actorSpend(actor, STAGE_CPU, cost(COST_SWAP_CACHE_HIT_NS));
  goto(actor, SWAP_CACHED_INSTALL);
  return STEP_AGAIN; // yield: we hold a reference, the page may leave the swap cache all the same
}

// The second half of do_swap_page() for a page of the swap cache, under the page-table lock.
function swapInstall(mm: usize, actor: usize, space: usize, index: u32): bool {
  const entry = load<u32>(actor, FAULT_ENTRY);
  const pfn = load<u32>(actor, FAULT_PFN);
  const page = pageOf(mm, pfn);
  if (pageTest(page, PG_LOCKED)) {
    goto(actor, SWAP_CACHED);
    return false;
  }
  const cached = pageTest(page, PG_SWAPCACHE) && pagePrivate(page) === entry;
  if (!cached || !slotIs(space, index, entry)) {
    // The reader's own page has the reference of its allocation, another's page that of the lookup: either is given up.
    pagePut(mm, pfn, actor);
    goto(actor, START);
    return false;
  }
  const write = load<u32>(actor, FAULT_WRITE) !== 0;
  const exclusive = (spacePte(space, index) & PTE_SWP_EXCLUSIVE) !== 0;
  swapFree(mm, entry);
  // A write makes the slot's copy worthless; a read keeps it, so that a clean page need not be written again.
  if (swapFull(mm) || (write && pageRefs(page) === 2)) swapCacheTryFree(mm, pfn);
  // The reference of the lookup becomes the pte's.
  mapSwapped(mm, actor, space, index, pfn, write, exclusive);
  needed(actor, FAULT_MINOR);
  return true;
}

function bypassInstall(mm: usize, actor: usize, space: usize, index: u32): bool {
  const entry = load<u32>(actor, FAULT_ENTRY);
  const pfn = allocated(actor);
  if (!slotIs(space, index, entry)) {
    pageFree(mm, pfn, actor);
    goto(actor, START);
    return false;
  }
  noteRead(mm, actor, pfn, entry);
  swapFree(mm, entry);
  lruAdd(mm, spaceMemcg(space), pfn, false);
  mapSwapped(mm, actor, space, index, pfn, load<u32>(actor, FAULT_WRITE) !== 0, true);
  return true;
}

function mapSwapped(
  mm: usize,
  actor: usize,
  space: usize,
  index: u32,
  pfn: u32,
  write: bool,
  exclusive: bool,
): void {
  assert(exclusive); // one process maps a page until pages can be shared
  map(mm, actor, space, index, pfn, PTE_ACCESSED | (write ? PTE_WRITE | PTE_DIRTY : 0));
  spaceAccount(space, 1, -1);
}
