import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE, STEP_READ_ERROR } from "../memory/status";
import {
  actorClock,
  actorCpu,
  actorGoesOn,
  actorSpend,
  STAGE_CPU,
  STAGE_DEVICE,
  STAGE_LOCK,
} from "../sim/actor";
import { COST_SWAP_CACHE_HIT_NS, COST_SWAP_IN_CPU_NS, cost } from "../sim/costs";
import { deviceReadFails, deviceSynchronous, deviceSynchronousNs, deviceWaitTag } from "../sim/device";
import { allocated, allocBegin, allocStep } from "./alloc";
import { FAULT_PFN, READAHEAD_OWN } from "./context";
import {
  AT_BYPASS,
  AT_BYPASS_INSTALL,
  AT_CACHED,
  AT_CACHED_INSTALL,
  AT_READ,
  AT_READAHEAD,
  AT_RETRY,
  AT_START,
  AT_SUBMIT,
  AT_SWAP,
  AT_UNREAD,
  FAULT_MAJOR,
  FAULT_MINOR,
  FAULT_NOIO,
  FAULT_NOWAIT,
  FAULT_WAIT,
  faultAt,
  faultEntry,
  faultEntryStands,
  faultGiveUp,
  faultGoto,
  faultGrab,
  faultIndex,
  faultMap,
  faultMode,
  faultNeeded,
  faultSpace,
  faultWrite,
} from "./faultstate";
import { pageFree, pagePut } from "./free";
import { mmSpace } from "./instance";
import { lruAddDrain, lruCacheFault } from "./lrubatch";
import { memcgEvents } from "./memcgstat";
import {
  PG_LOCKED,
  PG_LRU,
  PG_SWAPCACHE,
  PG_UPTODATE,
  pageGet,
  pageOf,
  pagePrivate,
  pageRefs,
  pageTest,
  setPageOwner,
} from "./page";
import { pageTrylock, pageWaitLocked } from "./pagelock";
import { PTE_ACCESSED, PTE_DIRTY, PTE_SWP_EXCLUSIVE, PTE_WRITE } from "./pte";
import {
  readaheadBegin,
  readaheadHit,
  readaheadOwn,
  readaheadStep,
  readaheadWindow,
  swapNoteRead,
  swapSubmitRead,
  swapTraceRead,
} from "./readahead";
import { spaceAccount, spaceId, spacePte } from "./space";
import { slotOwner, swapArea, swapDevice, swapFull } from "./swaparea";
import { swapCacheAdd, swapCacheTryFree } from "./swapcache";
import { swapCacheLookup, swapCachePrepare, swapCacheShadow, swapCount, swapFree } from "./swapmap";
import { workingsetRefault } from "./workingset";

// The half of a fault that brings a page back from swap: do_swap_page().
//
//   SWAP ─ in the swap cache ──────────────────────────────────→ CACHED → CACHED_INSTALL
//     │                                                             ^
//     ├─ otherwise ──→ READAHEAD (the window) → READ → SUBMIT ──────┘
//     └─ a synchronous device, one user of the slot ─→ BYPASS → BYPASS_INSTALL
//
// A fault that must not wait ends at RETRY instead: in 2010 before anything is read, today where a page is locked because its read
// is under way. A window of the fault's page alone is read synchronously (swap_readpage()), so that it never comes to that. A page that its device could not read
// ends the fault at UNREAD, with an error.

/**
 * Goes on with a fault that is at AT_SWAP or later. STEP_DONE: it has ended with its frame, or is at AT_START or AT_RETRY; STEP_READ_ERROR: it has ended
 * without one.
 * Returns STEP_*.
 */
export function swapinStep(mm: usize, actor: usize): i32 {
  while (true) {
    const pc = faultAt(actor);
    if (pc === AT_START || pc === AT_RETRY) return STEP_DONE;
    if (pc === AT_UNREAD) return STEP_READ_ERROR;
    let step = STEP_DONE;
    if (pc === AT_SWAP) {
      look(mm, actor);
    } else if (pc === AT_READAHEAD) {
      step = readaheadStep(mm, actor);
      if (step === STEP_DONE) readBegin(mm, actor);
    } else if (pc === AT_SUBMIT) {
      step = submit(mm, actor);
    } else if (pc === AT_CACHED) {
      step = cached(mm, actor);
    } else if (pc === AT_CACHED_INSTALL) {
      if (install(mm, actor)) return STEP_DONE;
    } else if (pc === AT_BYPASS_INSTALL) {
      if (bypassInstall(mm, actor)) return STEP_DONE;
    } else {
      step = allocStep(mm, actor);
      if (step === STEP_DONE) step = withFrame(mm, actor, pc);
    }
    if (step === STEP_DONE || (step === STEP_AGAIN && actorGoesOn(actor))) continue;
    return step;
  }
}

function look(mm: usize, actor: usize): void {
  const entry = faultEntry(actor);
  if (!faultEntryStands(actor)) {
    faultGoto(actor, AT_START);
    return;
  }
  if (getCached(mm, actor)) {
    readaheadHit(mm, faultSpace(actor), faultIndex(actor), load<u32>(actor, FAULT_PFN));
    return;
  }
  if (faultMode(actor) === FAULT_NOIO) {
    faultNeeded(actor, FAULT_MAJOR);
    faultGiveUp(actor);
    return;
  }
  // SWP_SYNCHRONOUS_IO with one user of the slot: no need for the swap cache.
  if (deviceSynchronous(swapDevice(swapArea(mm, entry))) && swapCount(mm, entry) === 1) {
    allocBegin(actor, faultSpace(actor));
    faultGoto(actor, AT_BYPASS);
    return;
  }
  faultNeeded(actor, FAULT_MAJOR);
  memcgEvents(mm, actorCpu(actor), 1); // PGMAJFAULT
  readaheadBegin(mm, actor);
  faultGoto(actor, AT_READAHEAD);
}

// Takes the page that the swap cache has for the entry, if it has one, and goes on with it.
function getCached(mm: usize, actor: usize): bool {
  const pfn = swapCacheLookup(mm, faultEntry(actor));
  if (pfn === PFN_NONE) return false;
  pageGet(pageOf(mm, pfn));
  store<u32>(actor, pfn, FAULT_PFN);
  faultGoto(actor, AT_CACHED);
  return true;
}

// read_swap_cache_async(): the window has usually brought the page already.
function readBegin(mm: usize, actor: usize): void {
  if (!faultEntryStands(actor)) {
    faultGoto(actor, AT_START);
  } else if (!getCached(mm, actor)) {
    allocBegin(actor, mmSpace(mm, slotOwner(mm, faultEntry(actor), spaceId(faultSpace(actor)))));
    faultGoto(actor, AT_READ);
  }
}

// An allocation has ended: what the frame is for.
function withFrame(mm: usize, actor: usize, pc: u32): i32 {
  const pfn = allocated(actor);
  const entry = faultEntry(actor);
  const device = swapDevice(swapArea(mm, entry));
  actorSpend(actor, STAGE_CPU, cost(COST_SWAP_IN_CPU_NS));
  if (pc === AT_BYPASS) {
    setPageOwner(pageOf(mm, pfn), spaceId(faultSpace(actor)), faultIndex(actor));
    swapTraceRead(entry, true, actorClock(actor));
    actorSpend(actor, STAGE_CPU, deviceSynchronousNs(device, false));
    faultGoto(actor, AT_BYPASS_INSTALL);
    return STEP_AGAIN; // yield: decompressed into a page that only we know
  }
  // __read_swap_cache_async(): whoever claims the slot's cache first reads; the others wait for its page.
  if (!faultEntryStands(actor) || !swapCachePrepare(mm, entry)) {
    pageFree(mm, pfn, actor);
    faultGoto(actor, AT_START);
    return STEP_DONE;
  }
  const owner = mmSpace(mm, slotOwner(mm, entry, spaceId(faultSpace(actor))));
  setPageOwner(pageOf(mm, pfn), spaceId(owner), faultIndex(actor));
  const shadow = swapCacheShadow(mm, entry);
  swapCacheAdd(mm, actor, pfn, entry);
  const locked = pageTrylock(mm, pfn);
  assert(locked);
  workingsetRefault(mm, actorCpu(actor), pfn, owner, shadow);
  lruCacheFault(mm, actor, pfn);
  store<u32>(actor, pfn, FAULT_PFN);
  faultGoto(actor, AT_SUBMIT);
  return STEP_AGAIN; // yield: the page is locked in the swap cache, its read is about to be submitted
}

function submit(mm: usize, actor: usize): i32 {
  const entry = faultEntry(actor);
  const pfn = load<u32>(actor, FAULT_PFN);
  const device = swapDevice(swapArea(mm, entry));
  if (!swapSubmitRead(mm, actor, pfn, entry, true)) {
    deviceWaitTag(device, actor);
    return STEP_BLOCKED;
  }
  swapNoteRead(mm, actor, pfn, entry, faultIndex(actor));
  faultGoto(actor, AT_CACHED_INSTALL);
  if (deviceSynchronous(device)) return STEP_AGAIN; // yield: the page is there, in the swap cache
  if (faultMode(actor) === FAULT_NOWAIT && readaheadWindow(actor)) {
    store<u32>(actor, pfn, READAHEAD_OWN);
    faultGoto(actor, AT_CACHED);
    return STEP_AGAIN; // yield: the page's read is under way
  }
  pageWaitLocked(mm, pfn, actor, STAGE_DEVICE);
  return STEP_BLOCKED;
}

// The page is in the swap cache; a locked one is being read or evicted.
function cached(mm: usize, actor: usize): i32 {
  const pfn = load<u32>(actor, FAULT_PFN);
  if (pageTest(pageOf(mm, pfn), PG_LOCKED)) {
    if (faultMode(actor) !== FAULT_WAIT) {
      pagePut(mm, pfn, actor);
      faultGiveUp(actor);
      return STEP_DONE;
    }
    pageWaitLocked(mm, pfn, actor, readaheadOwn(actor, pfn) ? STAGE_DEVICE : STAGE_LOCK);
    return STEP_BLOCKED;
  }
  actorSpend(actor, STAGE_CPU, cost(COST_SWAP_CACHE_HIT_NS));
  faultGoto(actor, AT_CACHED_INSTALL);
  return STEP_AGAIN; // yield: we hold a reference, the page may leave the swap cache all the same
}

// The second half of do_swap_page() for a page of the swap cache, under the page-table lock.
function install(mm: usize, actor: usize): bool {
  const entry = faultEntry(actor);
  const pfn = load<u32>(actor, FAULT_PFN);
  const page = pageOf(mm, pfn);
  if (pageTest(page, PG_LOCKED)) {
    faultGoto(actor, AT_CACHED);
    return false;
  }
  const write = faultWrite(actor);
  // A new page may still be in this CPU's batch; the references are to be counted.
  if (write && !pageTest(page, PG_LRU)) lruAddDrain(mm, actor);
  const same = pageTest(page, PG_SWAPCACHE) && pagePrivate(page) === entry;
  if (!same || !faultEntryStands(actor)) {
    // The reader's own page has the reference of its allocation, another's page that of the lookup: either is given up.
    pagePut(mm, pfn, actor);
    faultGoto(actor, AT_START);
    return false;
  }
  if (!pageTest(page, PG_UPTODATE)) {
    pagePut(mm, pfn, actor);
    faultGoto(actor, AT_UNREAD);
    return false;
  }
  const cpu = actorCpu(actor);
  const exclusive = (spacePte(faultSpace(actor), faultIndex(actor)) & PTE_SWP_EXCLUSIVE) !== 0;
  swapFree(mm, cpu, entry);
  // A write makes the slot's copy worthless; a read keeps it, so that a clean page need not be written again.
  if (swapFull(mm) || (write && pageRefs(page) === 2)) swapCacheTryFree(mm, cpu, pfn);
  faultNeeded(actor, FAULT_MINOR);
  // The reference of the lookup becomes the pte's.
  return mapSwapped(mm, actor, pfn, exclusive || pageRefs(page) === 1);
}

function bypassInstall(mm: usize, actor: usize): bool {
  const entry = faultEntry(actor);
  const pfn = allocated(actor);
  if (!faultEntryStands(actor)) {
    pageFree(mm, pfn, actor);
    faultGoto(actor, AT_START);
    return false;
  }
  swapNoteRead(mm, actor, pfn, entry, faultIndex(actor));
  const cpu = actorCpu(actor);
  faultNeeded(actor, FAULT_MAJOR);
  memcgEvents(mm, cpu, 1); // PGMAJFAULT
  if (deviceReadFails(swapDevice(swapArea(mm, entry)))) {
    pageFree(mm, pfn, actor);
    faultGoto(actor, AT_UNREAD);
    return false;
  }
  workingsetRefault(mm, cpu, pfn, faultSpace(actor), swapCacheShadow(mm, entry));
  swapFree(mm, cpu, entry);
  lruCacheFault(mm, actor, pfn);
  return mapSwapped(mm, actor, pfn, true);
}

// Maps the page, for writing at once if it belongs to this process alone. A write to a shared page goes on in do_wp_page():
// the fault starts over. Returns whether the fault has ended.
function mapSwapped(mm: usize, actor: usize, pfn: u32, exclusive: bool): bool {
  const write = faultWrite(actor);
  const pte = faultMap(
    mm,
    actor,
    pfn,
    PTE_ACCESSED | (write && exclusive ? PTE_WRITE | PTE_DIRTY : 0),
    exclusive,
  );
  spaceAccount(faultSpace(actor), 1, -1);
  if (write && !exclusive) {
    faultGoto(actor, AT_START);
    return false;
  }
  faultGrab(mm, actor, pfn, pte);
  return true;
}
