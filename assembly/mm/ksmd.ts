import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import {
  ACTOR_BLOCKED,
  actorBlock,
  actorClock,
  actorCpu,
  actorGoesOn,
  actorSpend,
  actorState,
  actorWake,
  STAGE_RECLAIM,
} from "../sim/actor";
import { COST_KSM_SCAN_PAGE_NS, cost } from "../sim/costs";
import { ACTOR_MM } from "./context";
import { pagePut } from "./free";
import { frameStamp, mmSpace, mmSpaces } from "./instance";
import {
  itemChanged,
  itemIndex,
  itemMergeable,
  itemPte,
  itemRelease,
  itemSpace,
  KSM_ACTOR,
  KSM_ASLEEP,
  KSM_FITS,
  KSM_FRAME,
  KSM_HELD,
  KSM_INDEX,
  KSM_ITEM,
  KSM_LEFT,
  KSM_OTHER,
  KSM_PC,
  KSM_RUN,
  KSM_SCAN_PAGES,
  KSM_SLEEP_NS,
  KSM_SPACE,
  ksmMergeable,
  stableAdd,
  stableFind,
  stableJoin,
  unstableClear,
  unstableMeet,
} from "./ksm";
import { mmKsm } from "./ksmtree";
import { lruAddDrainAll } from "./lrubatch";
import { memcgEvents } from "./memcgstat";
import { notifyInvalidateEnd, notifyInvalidateStart } from "./notifier";
import {
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_KSM,
  PG_LAZYFREE,
  PG_LOCKED,
  PG_SWAPCACHE,
  pageClear,
  pageGet,
  pageMaps,
  pageOf,
  pageRefs,
  pageSet,
  pageTest,
  setPageMaps,
} from "./page";
import { PTE_ACCESSED, PTE_DIRTY, PTE_WRITE, pteOfPfn, ptePfn, ptePresent, pteZero } from "./pte";
import { setSpacePte, spaceId, spacePages, spacePte } from "./space";
import { thpMapped } from "./thp";

// ksmd: looks at some mergeable pages, naps, and goes on. A page that equals a merged frame joins it. One that has not changed since the
// last scan is compared with the others of this scan: of two that are equal, the one at hand becomes a merged frame and the other joins it.
//
//   joining   PROTECT: the page can be written no more, if nobody else holds it → REPLACE: its pte maps the merged frame instead
//
// Each is a change of a pte between the notifier's start and end. KVM's change_pte, called in between, finds nothing: the start has taken
// the entries away. Left out: pages of a 2 MiB mapping and of the swap cache are passed over, where Linux splits and merges them; NUMA nodes;
// merging with the page of zeroes; a first frame whose twin got away stays merged, alone.

const NAP: u32 = 0;
const NEXT: u32 = 1;
const PROTECT_START: u32 = 2;
const PROTECT: u32 = 3;
const PROTECT_END: u32 = 4;
const REPLACE_START: u32 = 5;
const REPLACE: u32 = 6;
const REPLACE_END: u32 = 7;

function goto(ksm: usize, pc: u32): void {
  store<u32>(ksm, pc, KSM_PC);
}

/** What ksmd shall do: nothing, or `pages` pages between two naps of `sleepNs`. A nap under way is not cut short. */
export function ksmdSet(mm: usize, run: bool, pages: u32, sleepNs: u64, time: u64): void {
  const ksm = mmKsm(mm);
  store<u32>(ksm, run ? 1 : 0, KSM_RUN);
  store<u32>(ksm, pages, KSM_SCAN_PAGES);
  store<u64>(ksm, sleepNs, KSM_SLEEP_NS);
  ksmdWake(mm, time);
}

/** There may be something to do for a ksmd that sleeps until it is woken. */
export function ksmdWake(mm: usize, time: u64): void {
  const ksm = mmKsm(mm);
  if (load<u32>(ksm, KSM_ASLEEP) === 0 || load<u32>(ksm, KSM_RUN) === 0 || ksmMergeable(ksm) === 0) return;
  const actor = <usize>load<u32>(ksm, KSM_ACTOR);
  assert(actorState(actor) === ACTOR_BLOCKED);
  store<u32>(ksm, 0, KSM_ASLEEP);
  actorWake(actor, time);
}

/** ksmd's next step. Returns STEP_AGAIN or STEP_BLOCKED. */
export function ksmdStep(actor: usize): i32 {
  const mm = <usize>load<u32>(actor, ACTOR_MM);
  const ksm = mmKsm(mm);
  while (true) {
    const pc = load<u32>(ksm, KSM_PC);
    if (pc === NAP) {
      if (load<u32>(ksm, KSM_RUN) === 0 || ksmMergeable(ksm) === 0) {
        store<u32>(ksm, 1, KSM_ASLEEP);
        actorBlock(actor, STAGE_RECLAIM);
        return STEP_BLOCKED;
      }
      store<u32>(ksm, load<u32>(ksm, KSM_SCAN_PAGES), KSM_LEFT);
      goto(ksm, NEXT);
    } else if (pc === NEXT) {
      const item = load<u32>(ksm, KSM_LEFT) === 0 ? <usize>0 : nextItem(mm, ksm, actor);
      if (item === 0) {
        goto(ksm, NAP);
        actorBlock(actor, STAGE_RECLAIM);
        actorWake(actor, actorClock(actor) + load<u64>(ksm, KSM_SLEEP_NS));
        return STEP_BLOCKED;
      }
      store<u32>(ksm, load<u32>(ksm, KSM_LEFT) - 1, KSM_LEFT);
      actorSpend(actor, STAGE_RECLAIM, cost(COST_KSM_SCAN_PAGE_NS));
      visit(mm, ksm, item);
      // yield: what the page holds has been compared, nothing is protected yet
      if (!actorGoesOn(actor)) return STEP_AGAIN;
    } else {
      const step = mergeStep(mm, ksm, actor, pc);
      if (step !== STEP_DONE && !(step === STEP_AGAIN && actorGoesOn(actor))) return step;
    }
  }
}

// scan_get_next_rmap_item(): the next mergeable page that is there. 0: the scan has ended.
function nextItem(mm: usize, ksm: usize, actor: usize): usize {
  let id = load<u32>(ksm, KSM_SPACE);
  let index = load<u32>(ksm, KSM_INDEX);
  if (id === 0 && index === 0) {
    lruAddDrainAll(mm, actor); // a batch in front of the lists holds its pages
    unstableClear(ksm);
  }
  for (; id < mmSpaces(mm); id++) {
    const space = mmSpace(mm, id);
    for (; index < spacePages(space); index++) {
      const item = itemMergeable(space, index);
      if (item === 0) continue;
      const pte = spacePte(space, index);
      if (!ptePresent(pte) || pteZero(pte) || thpMapped(space, index)) {
        itemRelease(mm, ksm, item);
        continue;
      }
      store<u32>(ksm, id, KSM_SPACE);
      store<u32>(ksm, index + 1, KSM_INDEX);
      return item;
    }
    index = 0;
  }
  store<u32>(ksm, 0, KSM_SPACE);
  store<u32>(ksm, 0, KSM_INDEX);
  return 0;
}

// cmp_and_merge_page(): what is to be done with one page.
function visit(mm: usize, ksm: usize, item: usize): void {
  if (!itemRelease(mm, ksm, item)) return; // merged, and still so
  const pfn = ptePfn(itemPte(mm, item));
  if (!mergeable(mm, pfn)) return;
  store<u32>(ksm, 0, KSM_OTHER);
  const frame = stableFind(mm, ksm, pfn);
  if (frame !== 0) {
    pageGet(pageOf(mm, frame));
    begin(mm, ksm, item, frame);
    return;
  }
  if (itemChanged(mm, item, pfn)) return;
  const twin = unstableMeet(mm, ksm, item, pfn);
  if (twin === 0) return;
  store<u32>(ksm, <u32>twin, KSM_OTHER);
  begin(mm, ksm, item, PFN_NONE);
}

function mergeable(mm: usize, pfn: u32): bool {
  const page = pageOf(mm, pfn);
  return pageMaps(page) === 1 && !pageTest(page, PG_KSM | PG_SWAPCACHE | PG_LOCKED | PG_LAZYFREE);
}

// The page of `item` is to join `frame`, or, with PFN_NONE, to become a merged frame itself. Both are held until the end.
function begin(mm: usize, ksm: usize, item: usize, frame: u32): void {
  const pfn = ptePfn(itemPte(mm, item));
  pageGet(pageOf(mm, pfn));
  store<u32>(ksm, <u32>item, KSM_ITEM);
  store<u32>(ksm, pfn, KSM_HELD);
  store<u32>(ksm, frame, KSM_FRAME);
  goto(ksm, PROTECT_START);
}

function mergeStep(mm: usize, ksm: usize, actor: usize, pc: u32): i32 {
  const item = <usize>load<u32>(ksm, KSM_ITEM);
  const space = itemSpace(mm, item);
  const index = itemIndex(item);
  if (pc === PROTECT || pc === REPLACE) {
    const fits = pc === PROTECT ? protect(mm, ksm, space, index) : replace(mm, ksm, actor, space, index);
    store<u32>(ksm, fits ? 1 : 0, KSM_FITS);
    goto(ksm, pc + 1);
    return STEP_AGAIN; // yield: the notifier's range is still open
  }
  const start = pc === PROTECT_START || pc === REPLACE_START;
  const step = start
    ? notifyInvalidateStart(actor, spaceId(space), index, index + 1)
    : notifyInvalidateEnd(actor, spaceId(space), index, index + 1);
  if (step !== STEP_DONE) return step;
  if (start) goto(ksm, pc + 1);
  else if (pc === PROTECT_END && load<u32>(ksm, KSM_FITS) !== 0) protectedNow(mm, ksm, actor);
  else end(mm, ksm, actor);
  return STEP_AGAIN; // yield: between two of the notifier's ranges
}

// write_protect_page(): not when somebody holds the page, who might write to it. With no frame to join, the page becomes one here.
function protect(mm: usize, ksm: usize, space: usize, index: u32): bool {
  const pfn = load<u32>(ksm, KSM_HELD);
  const pte = spacePte(space, index);
  const page = pageOf(mm, pfn);
  if (!ptePresent(pte) || ptePfn(pte) !== pfn || thpMapped(space, index)) return false;
  if (!mergeable(mm, pfn) || pageRefs(page) !== 2) return false;
  if (load<u32>(ksm, KSM_FRAME) === PFN_NONE && stableFind(mm, ksm, pfn) !== 0) return false;
  if (pte & PTE_DIRTY) pageSet(page, PG_DIRTY);
  setSpacePte(space, index, pte & ~(PTE_WRITE | PTE_DIRTY));
  pageClear(page, PG_ANON_EXCLUSIVE);
  if (load<u32>(ksm, KSM_FRAME) !== PFN_NONE) return true;
  stableAdd(mm, ksm, pfn);
  stableJoin(ksm, <usize>load<u32>(ksm, KSM_ITEM), pfn);
  return true;
}

// Protected: it joins its frame, or its twin joins it.
function protectedNow(mm: usize, ksm: usize, actor: usize): void {
  if (load<u32>(ksm, KSM_FRAME) !== PFN_NONE) {
    goto(ksm, REPLACE_START);
    return;
  }
  const frame = load<u32>(ksm, KSM_HELD);
  const twin = <usize>load<u32>(ksm, KSM_OTHER);
  const pte = itemPte(mm, twin);
  if (ptePresent(pte) && !pteZero(pte) && mergeable(mm, ptePfn(pte))) begin(mm, ksm, twin, frame);
  else end(mm, ksm, actor);
}

// replace_page(): if both still hold the same, the pte maps the merged frame, and the page loses its one user.
function replace(mm: usize, ksm: usize, actor: usize, space: usize, index: u32): bool {
  const old = load<u32>(ksm, KSM_HELD);
  const frame = load<u32>(ksm, KSM_FRAME);
  const pte = spacePte(space, index);
  if (!ptePresent(pte) || ptePfn(pte) !== old || (pte & PTE_WRITE) !== 0) return false;
  if (pageMaps(pageOf(mm, old)) !== 1 || frameStamp(mm, old) !== frameStamp(mm, frame)) return false;
  const item = <usize>load<u32>(ksm, KSM_ITEM);
  if (!itemRelease(mm, ksm, item)) return false;
  const page = pageOf(mm, frame);
  setSpacePte(space, index, pteOfPfn(frame, PTE_ACCESSED));
  pageGet(page);
  setPageMaps(page, pageMaps(page) + 1);
  stableJoin(ksm, item, frame);
  setPageMaps(pageOf(mm, old), 0);
  memcgEvents(mm, actorCpu(actor), 2); // NR_ANON_MAPPED, of both
  pagePut(mm, old, actor);
  return true;
}

// Drops what is held and goes on with the next page.
function end(mm: usize, ksm: usize, actor: usize): void {
  const frame = load<u32>(ksm, KSM_FRAME);
  pagePut(mm, load<u32>(ksm, KSM_HELD), actor);
  if (frame !== PFN_NONE) pagePut(mm, frame, actor);
  goto(ksm, NEXT);
}
