import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { actorCpu, actorGoesOn, actorSpend, STAGE_ALLOC, STAGE_LOCK } from "../sim/actor";
import { COST_HUGE_FAULT_NS, COST_MINOR_FAULT_NS, cost } from "../sim/costs";
import { allocated, allocBegin, allocStep, allocTableBegin } from "./alloc";
import {
  FAULT_ENTRY,
  FAULT_KIND,
  FAULT_MODE,
  FAULT_OLD,
  FAULT_PFN,
  FAULT_WRITABLE,
  READAHEAD_OWN,
} from "./context";
import {
  AT_ANON,
  AT_ANON_INSTALL,
  AT_COPY,
  AT_COPY_END,
  AT_COPY_INSTALL,
  AT_COPY_NOTIFY,
  AT_HUGE,
  AT_HUGE_INSTALL,
  AT_MIGRATION,
  AT_RETRY,
  AT_START,
  AT_SWAP,
  AT_TABLE,
  AT_USERFAULT,
  FAULT_MAJOR,
  FAULT_MINOR,
  FAULT_SPURIOUS,
  FAULT_WAIT,
  FAULT_WRITE_PROTECT,
  faultAt,
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
import { pageFree, pagePut, tableFree } from "./free";
import { frameStamp, mmStamped, mmZeroPage, setFrameStamp } from "./instance";
import { lruAddDrain, lruCacheFault } from "./lrubatch";
import { memcgEvents } from "./memcgstat";
import { agingTableUsed } from "./mglruaging";
import { notifyInvalidateEnd, notifyInvalidateStart } from "./notifier";
import {
  PG_ANON_EXCLUSIVE,
  PG_KSM,
  PG_LOCKED,
  PG_LRU,
  PG_SWAPCACHE,
  pageClear,
  pageGet,
  pageMaps,
  pageOf,
  pageRefs,
  pageSet,
  pageTest,
  setPageMaps,
  setPageOwner,
} from "./page";
import { pageWaitLocked } from "./pagelock";
import {
  migrationPfn,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_NONE,
  PTE_WRITE,
  pteEntry,
  pteMigration,
  pteOfPfn,
  ptePfn,
  ptePresent,
  pteZero,
  ZERO_PFN,
} from "./pte";
import {
  setSpacePte,
  setSpaceTable,
  spaceAccount,
  spaceId,
  spacePte,
  spaceTable,
  spaceUserfault,
} from "./space";
import { swapCacheTryFree } from "./swapcache";
import { swapinStep } from "./swapin";
import { thpAlloc, thpInstall, thpSmall, thpWanted } from "./thp";
import { userfaultAsk, userfaultCovers, userfaultServer } from "./userfault";

export {
  FAULT_KINDS,
  FAULT_MAJOR,
  FAULT_MINOR,
  FAULT_NOIO,
  FAULT_NOWAIT,
  FAULT_SPURIOUS,
  FAULT_WAIT,
  FAULT_WRITE_PROTECT,
  faultAtBypass,
  faultBegin,
  faultMode,
} from "./faultstate";

// A fault of the primary MMU on behalf of a vCPU: get_user_pages() for one page, with handle_mm_fault(),
// do_anonymous_page(), do_wp_page() and, in swapin.ts, do_swap_page(). It ends with the frame, held by one reference of the
// caller. A machine of steps: it allocates, reads from swap, waits for locked pages and tells the notifier; after each of
// these the pte is looked at again, and if it has changed the work done is thrown away and the fault starts over.

/** The fault that has just begun must not wait: `mode` is FAULT_NOWAIT or FAULT_NOIO. */
export function faultNowait(actor: usize, mode: u32): void {
  assert(faultAt(actor) === AT_START && mode !== FAULT_WAIT);
  store<u32>(actor, mode, FAULT_MODE);
}

/** True when a fault that must not wait has given up: there is no frame. */
export function faultGaveUp(actor: usize): bool {
  return faultAt(actor) === AT_RETRY;
}

/** A fault that has given up goes on, and waits this time. */
export function faultGoOn(actor: usize): void {
  assert(faultGaveUp(actor));
  store<u32>(actor, FAULT_WAIT, FAULT_MODE);
  faultGoto(actor, AT_START);
}

/** The frame that a fault which has given up has a read under way for, PFN_NONE for none. */
export function faultReading(actor: usize): u32 {
  return load<u32>(actor, READAHEAD_OWN);
}

/** A fault that has just begun goes on with what another one had begun to read, so that the wait is for the device. */
export function faultTakesOver(actor: usize, reading: u32): void {
  store<u32>(actor, reading, READAHEAD_OWN);
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

/** Goes on with a fault. Returns STEP_*. */
export function faultStep(mm: usize, actor: usize): i32 {
  while (true) {
    const pc = faultAt(actor);
    let step = STEP_DONE;
    if (pc === AT_START) {
      if (start(mm, actor)) return STEP_DONE;
    } else if (pc === AT_MIGRATION) {
      step = migrationWait(mm, actor);
    } else if (pc === AT_HUGE) {
      step = hugeClear(actor);
    } else if (pc === AT_HUGE_INSTALL) {
      if (thpInstall(mm, actor, faultSpace(actor), faultIndex(actor), load<u32>(actor, FAULT_OLD))) {
        faultNeeded(actor, FAULT_MINOR);
      }
      faultGoto(actor, AT_START);
    } else if (pc >= AT_SWAP) {
      step = swapinStep(mm, actor);
      if (step === STEP_DONE && faultAt(actor) !== AT_START) return STEP_DONE;
    } else if (pc === AT_ANON_INSTALL) {
      if (anonInstall(mm, actor)) return STEP_DONE;
    } else if (pc === AT_COPY_NOTIFY) {
      step = notifyInvalidateStart(
        actor,
        spaceId(faultSpace(actor)),
        faultIndex(actor),
        faultIndex(actor) + 1,
      );
      if (step === STEP_DONE) faultGoto(actor, AT_COPY_INSTALL);
    } else if (pc === AT_COPY_INSTALL) {
      copyInstall(mm, actor);
    } else if (pc === AT_COPY_END) {
      step = notifyInvalidateEnd(actor, spaceId(faultSpace(actor)), faultIndex(actor), faultIndex(actor) + 1);
      if (step === STEP_DONE) faultGoto(actor, AT_START);
    } else if (pc === AT_USERFAULT) {
      faultGoto(actor, AT_START);
      userfaultAsk(spaceUserfault(faultSpace(actor)), actor);
      step = STEP_BLOCKED;
    } else {
      step = allocStep(mm, actor);
      if (step === STEP_DONE) step = withFrame(mm, actor, pc);
    }
    if (step === STEP_DONE || (step === STEP_AGAIN && actorGoesOn(actor))) continue;
    return step;
  }
}

// Looks at the pte. True: present as wanted, the caller has its frame, or the fault has given up.
function start(mm: usize, actor: usize): bool {
  const space = faultSpace(actor);
  const index = faultIndex(actor);
  if (spaceTable(space, index) === PFN_NONE) {
    allocTableBegin(actor, space, false);
    faultGoto(actor, AT_TABLE);
    return false;
  }
  let pte = spacePte(space, index);
  const write = faultWrite(actor);
  if (pte === PTE_NONE) {
    const userfault = spaceUserfault(space);
    const supplied = userfault !== 0 && userfaultCovers(userfault, index);
    if (supplied && actor !== userfaultServer(userfault)) return missing(actor);
    if (!write && mmZeroPage(mm)) {
      // A read of a page that was never written needs no page of its own.
      thpSmall(space, index);
      actorSpend(actor, STAGE_ALLOC, cost(COST_MINOR_FAULT_NS));
      pte = pteOfPfn(ZERO_PFN, PTE_ACCESSED);
      setSpacePte(space, index, pte);
      memcgEvents(mm, actorCpu(actor), 1); // PGFAULT
      faultNeeded(actor, FAULT_MINOR);
      faultGrab(mm, actor, ZERO_PFN, pte);
      return true;
    }
    if (write && !supplied && hugeBegin(mm, actor)) return false;
    thpSmall(space, index);
    allocBegin(actor, space);
    faultGoto(actor, AT_ANON);
    return false;
  }
  if (!ptePresent(pte)) {
    if (!pteMigration(pte)) store<u32>(actor, pteEntry(pte), FAULT_ENTRY);
    faultGoto(actor, pteMigration(pte) ? AT_MIGRATION : AT_SWAP);
    return false;
  }
  if (write && (pte & PTE_WRITE) === 0) {
    if (!reusable(mm, actor, pte)) {
      if (!pteZero(pte)) pageGet(pageOf(mm, ptePfn(pte)));
      store<u32>(actor, ptePfn(pte), FAULT_OLD);
      allocBegin(actor, space);
      faultGoto(actor, AT_COPY);
      return false;
    }
    pte |= PTE_WRITE;
    memcgEvents(mm, actorCpu(actor), 1); // PGFAULT
    faultNeeded(actor, FAULT_WRITE_PROTECT);
  }
  pte |= PTE_ACCESSED | (write ? PTE_DIRTY : 0);
  setSpacePte(space, index, pte);
  faultGrab(mm, actor, ptePfn(pte), pte);
  return true;
}

// migration_entry_wait(): until the page is unlocked, without a reference to it; as in the kernel, also where it must not wait for a device.
function migrationWait(mm: usize, actor: usize): i32 {
  faultGoto(actor, AT_START);
  const pte = spacePte(faultSpace(actor), faultIndex(actor));
  if (!pteMigration(pte)) return STEP_DONE;
  pageWaitLocked(mm, migrationPfn(pte), actor, STAGE_LOCK);
  return STEP_BLOCKED;
}

// handle_userfault(): the process supplies the page. Who must not wait does not even ask for it. True: given up. A fault that has waited is
// a major one, as the kernel counts one that was tried again (FAULT_FLAG_TRIED).
function missing(actor: usize): bool {
  faultNeeded(actor, FAULT_MAJOR);
  if (faultMode(actor) !== FAULT_WAIT) {
    faultGiveUp(actor);
    return true;
  }
  faultGoto(actor, AT_USERFAULT);
  return false;
}

// do_wp_page(): a page that belongs to this process alone is written in place. It does so for certain when it is marked
// exclusive, and otherwise when, out of the swap cache, the pte holds the only reference.
function reusable(mm: usize, actor: usize, pte: u64): bool {
  if (pteZero(pte)) return false;
  const pfn = ptePfn(pte);
  const page = pageOf(mm, pfn);
  if (pageTest(page, PG_ANON_EXCLUSIVE)) return true;
  if (pageTest(page, PG_KSM)) return false;
  if (pageRefs(page) > 3) return false;
  if (!pageTest(page, PG_LRU)) lruAddDrain(mm, actor);
  if (pageRefs(page) > (pageTest(page, PG_SWAPCACHE) ? 2 : 1) || pageTest(page, PG_LOCKED)) return false;
  swapCacheTryFree(mm, actorCpu(actor), pfn);
  if (pageRefs(page) !== 1) return false;
  pageSet(page, PG_ANON_EXCLUSIVE);
  return true;
}

// An allocation has ended: what the frame is for.
function withFrame(mm: usize, actor: usize, pc: u32): i32 {
  const space = faultSpace(actor);
  const index = faultIndex(actor);
  const pfn = allocated(actor);
  if (pc === AT_TABLE) {
    faultGoto(actor, AT_START);
    if (spaceTable(space, index) === PFN_NONE) {
      setSpaceTable(space, index, pfn);
      agingTableUsed(space, index);
    } else tableFree(mm, pfn, actor); // another vCPU was faster
    return STEP_DONE;
  }
  setPageOwner(pageOf(mm, pfn), spaceId(space), index);
  const old = pc === AT_COPY ? load<u32>(actor, FAULT_OLD) : ZERO_PFN;
  if (mmStamped(mm)) setFrameStamp(mm, pfn, frameStamp(mm, old));
  actorSpend(actor, STAGE_ALLOC, cost(COST_MINOR_FAULT_NS));
  faultGoto(actor, pc === AT_ANON ? AT_ANON_INSTALL : AT_COPY_NOTIFY);
  return STEP_AGAIN; // yield: the page is filled, the pte lock is not yet held
}

// do_huge_pmd_anonymous_page(): 2 MiB at once, when a block is there for them.
function hugeBegin(mm: usize, actor: usize): bool {
  const space = faultSpace(actor);
  if (!thpWanted(space, faultIndex(actor))) return false;
  const pfn = thpAlloc(mm, actor, space);
  if (pfn === PFN_NONE) return false;
  store<u32>(actor, pfn, FAULT_OLD);
  faultGoto(actor, AT_HUGE);
  return true;
}

function hugeClear(actor: usize): i32 {
  actorSpend(actor, STAGE_ALLOC, cost(COST_HUGE_FAULT_NS));
  faultGoto(actor, AT_HUGE_INSTALL);
  return STEP_AGAIN; // yield: the block is zeroed, the entry is not yet set
}

function anonInstall(mm: usize, actor: usize): bool {
  const pfn = allocated(actor);
  const space = faultSpace(actor);
  if (spacePte(space, faultIndex(actor)) !== PTE_NONE) {
    pageFree(mm, pfn, actor);
    faultGoto(actor, AT_START);
    return false;
  }
  const dirty = faultWrite(actor) ? PTE_DIRTY : 0;
  faultGrab(mm, actor, pfn, faultMap(mm, actor, pfn, PTE_WRITE | PTE_ACCESSED | dirty, true));
  lruCacheFault(mm, actor, pfn);
  spaceAccount(space, 1, 0);
  faultNeeded(actor, FAULT_MINOR);
  return true;
}

// wp_page_copy() between the notifier's start and end: the copy takes the old page's place. The fault then starts over and
// finds the pte as wanted.
function copyInstall(mm: usize, actor: usize): void {
  const pfn = allocated(actor);
  const space = faultSpace(actor);
  const index = faultIndex(actor);
  const old = load<u32>(actor, FAULT_OLD);
  const pte = spacePte(space, index);
  faultGoto(actor, AT_COPY_END);
  if (!ptePresent(pte) || ptePfn(pte) !== old || (pte & PTE_WRITE) !== 0) {
    pageFree(mm, pfn, actor);
    pagePut(mm, old, actor);
    return;
  }
  faultMap(mm, actor, pfn, PTE_WRITE | PTE_ACCESSED | PTE_DIRTY, true);
  lruCacheFault(mm, actor, pfn);
  faultNeeded(actor, FAULT_MINOR);
  if (old === ZERO_PFN) {
    spaceAccount(space, 1, 0);
    return;
  }
  const page = pageOf(mm, old);
  setPageMaps(page, pageMaps(page) - 1);
  memcgEvents(mm, actorCpu(actor), 1); // NR_ANON_MAPPED
  if (pageMaps(page) === 0) {
    pageClear(page, PG_ANON_EXCLUSIVE);
    if (!pageTest(page, PG_LOCKED)) swapCacheTryFree(mm, actorCpu(actor), old); // free_swap_cache()
  }
  pagePut(mm, old, actor); // the pte's reference
  pagePut(mm, old, actor); // the fault's
}
