import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { pagePut } from "../mm/free";
import { PG_DIRTY, pageClear, pageGet, pageOf } from "../mm/page";
import { fileLookup, fileRemove, fileSize } from "../mm/pagecache";
import { pageTrylock, pageUnlock, pageWaitLocked } from "../mm/pagelock";
import { spaceFile } from "../mm/space";
import { actorClock, actorGoesOn, actorSpend, STAGE_LOCK, STAGE_RECLAIM } from "../sim/actor";
import { COST_MADVISE_PER_PAGE_NS, cost } from "../sim/costs";
import { callStart, setCallStart } from "./call";
import { noteTruncated } from "./guestfile";
import { legacyRmap } from "./legacypages";
import { rmapFirst, rmapNext } from "./rmap";
import { sptePfn } from "./spte";
import { CALL_PC } from "./vcpu";
import { vmGfnEnd, vmGuestFile, vmMm, vmSpace } from "./vm";
import { vmAt, vmTableCount } from "./vmtable";
import { LEVEL_4K } from "./walk";

// truncate_inode_pages() of the file of a VM of 2007: page by page, each locked (and with that no writepage is at it; only the swap cache is ever under
// writeback), out of the page cache, freed unless somebody holds it. It is the whole file that is truncated: with one inode for all VMs the others' pages too,
// whichever VM has entries for them. There the proposal says that it cannot be, and stops the kernel (kvm_invalidatepage()); here it is counted.
//
//   NEXT → LOCK → the next page, or done

/** As the CALL_PC of the monitor. */
export const TRUNCATE_BEGIN: u32 = 16;
const NEXT: u32 = TRUNCATE_BEGIN;
const LOCK: u32 = TRUNCATE_BEGIN + 1;

/** Goes on; the call's start is the index that is at hand. Returns STEP_*. */
export function truncateStep(vm: usize, monitor: usize, call: usize): i32 {
  const mm = vmMm(vm);
  const file = spaceFile(vmSpace(vm));
  while (true) {
    const index = callStart(call);
    if (index === fileSize(file)) return STEP_DONE;
    const pfn = fileLookup(file, index);
    if (pfn === PFN_NONE) {
      // writepage has taken it away, or there was none.
      store<u32>(monitor, NEXT, CALL_PC);
      setCallStart(call, index + 1);
    } else if (load<u32>(monitor, CALL_PC) === NEXT) {
      store<u32>(monitor, LOCK, CALL_PC);
      if (!actorGoesOn(monitor)) return STEP_AGAIN; // yield: the page has been found, and is not locked
    } else if (!pageTrylock(mm, pfn)) {
      pageWaitLocked(mm, pfn, monitor, STAGE_LOCK);
      return STEP_BLOCKED;
    } else {
      truncate(vm, monitor, index, pfn);
    }
  }
}

// truncate_complete_page()
function truncate(vm: usize, monitor: usize, index: u32, pfn: u32): void {
  const mm = vmMm(vm);
  const page = pageOf(mm, pfn);
  if (mapped(index, pfn)) noteTruncated(vm);
  pageClear(page, PG_DIRTY);
  pageGet(page);
  fileRemove(mm, pfn, monitor);
  actorSpend(monitor, STAGE_RECLAIM, cost(COST_MADVISE_PER_PAGE_NS));
  pageUnlock(mm, pfn, actorClock(monitor));
  pagePut(mm, pfn, monitor);
}

// PG_private: does an entry of any VM's vCPUs name the page?
function mapped(gfn: u32, pfn: u32): bool {
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    const vm = vmAt(id);
    if (vmGuestFile(vm) === 0 || gfn >= vmGfnEnd(vm)) continue;
    const rmap = legacyRmap(vm);
    for (
      let entry = rmapFirst(rmap, gfn, LEVEL_4K);
      entry !== 0;
      entry = rmapNext(rmap, gfn, LEVEL_4K, entry)
    ) {
      if (sptePfn(load<u64>(entry)) === pfn) return true;
    }
  }
  return false;
}
