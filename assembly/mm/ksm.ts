import { arenaReserve, arenaTake, PART_PRIMARY_PTES, PART_RECORDS } from "../memory/arena";
import { actorClock, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_AGE_RMAP_PAGE_NS, cost } from "../sim/costs";
import { emit, TRACE_FOLIO_REFERENCED, TRACE_KR_FLUSH_YOUNG } from "../sim/trace";
import { frameStamp, mmSpace, mmSpaces } from "./instance";
import {
  mmKsm,
  nodePfn,
  setMmKsm,
  setNodePfn,
  TREE_NODE_BYTES,
  treeAdd,
  treeFind,
  treeRemove,
  treeReplace,
} from "./ksmtree";
import { notifyClearFlushYoung } from "./notifier";
import {
  mmPfnEnd,
  mmPfnFirst,
  PG_KSM,
  pageClear,
  pageMaps,
  pageOf,
  pageRefs,
  pageSet,
  pageTest,
  pfnOf,
} from "./page";
import { PTE_ACCESSED, PTE_WRITE, ptePfn, ptePresent, pteZero } from "./pte";
import {
  setSpaceKsm,
  setSpaceKsmLater,
  setSpacePte,
  spaceId,
  spaceKsm,
  spaceKsmLater,
  spacePages,
  spacePte,
  spaceRoom,
} from "./space";

// What page merging (KSM) knows: the pages that may be merged, the merged frames, and who maps each of them. The scanner is ksmd.ts.
//
// item, one a page of a process      a node of the unstable tree, then   16     20         24      28      32      36
//                                                                        +------+----------+-------+-------+-------+-----+
//                                                                        | next | checksum | state | index | space | seq |
//                                                                        +------+----------+-------+-------+-------+-----+
// stable node, one a frame           a node of the stable tree, then     16     20      24
//                                                                        +------+-------+------+
//                                                                        | head | count | dup  |
//                                                                        +------+-------+------+
//
// next, head   the items of a merged frame: its reverse map. An item whose page has been written since stays until a scan comes by, or
//              the frame is freed; its pte tells
// dup          frames of equal contents: a frame takes MAX_SHARING items at most, so that a walk of its reverse map has an end; the
//              first one stands in the tree
// seq          the scan in which the item came into the unstable tree

const NEXT: usize = TREE_NODE_BYTES;
const CHECKSUM: usize = 20;
const STATE: usize = 24;
const INDEX: usize = 28;
const SPACE: usize = 32;
const SEQ: usize = 36;
const ITEM_BYTES: usize = 40;

const HEAD: usize = TREE_NODE_BYTES;
const COUNT: usize = 20;
const DUP: usize = 24;
const STABLE_SHIFT: usize = 5;

const ITEM_MERGEABLE: u32 = 1;
const ITEM_UNSTABLE: u32 = 2;
const ITEM_STABLE: u32 = 4;

/** max_page_sharing */
const MAX_SHARING: u32 = 256;

// The record: settings, trees, the scanner's place (ksmd.ts).
export const KSM_RUN: usize = 0;
export const KSM_SCAN_PAGES: usize = 4;
export const KSM_SLEEP_NS: usize = 8; // u64
const STABLE_ROOT: usize = 16;
const UNSTABLE_ROOT: usize = 20;
const SCAN: usize = 24; // number of the scan under way
const NODES: usize = 28; // biased by the first frame
const MERGEABLE: usize = 32; // pages
export const KSM_ACTOR: usize = 36;
export const KSM_ASLEEP: usize = 40;
export const KSM_SPACE: usize = 44;
export const KSM_INDEX: usize = 48;
export const KSM_LEFT: usize = 52;
export const KSM_PC: usize = 56;
export const KSM_ITEM: usize = 60;
export const KSM_OTHER: usize = 64;
export const KSM_FRAME: usize = 68;
export const KSM_HELD: usize = 72;
export const KSM_FITS: usize = 76;
const KSM_BYTES: usize = 80;

/** Page merging for `mm`, off until pages are mergeable; false when memory is exhausted. */
export function ksmCreate(mm: usize): bool {
  const ksm = arenaTake(PART_RECORDS, KSM_BYTES);
  if (ksm === 0) return false;
  setMmKsm(mm, ksm);
  return true;
}

/** Reserves an item for each page of each space, and a node for each frame. */
export function ksmLayout(mm: usize): void {
  const first = mmPfnFirst(mm);
  const bytes = (<u64>(mmPfnEnd(mm) - first)) << STABLE_SHIFT;
  const base = arenaReserve(PART_PRIMARY_PTES, bytes) - ((<usize>first) << STABLE_SHIFT);
  store<u32>(mmKsm(mm), <u32>base, NODES);
  for (let id: u32 = 0; id < mmSpaces(mm); id++) {
    const space = mmSpace(mm, id);
    setSpaceKsm(space, arenaReserve(PART_PRIMARY_PTES, <u64>spacePages(space) * ITEM_BYTES));
  }
}

// Items are pointed to, and stay where they are: those of pages for which a space has got room later lie in stretches of their own.
//
// stretch  0       4       8
//          +-------+-------+-------+
//          | first | items | older |      items: where that of page 0 would be
//          +-------+-------+-------+
const FIRST: usize = 0;
const ITEMS: usize = 4;
const OLDER: usize = 8;
const STRETCH_BYTES: usize = 12;

const GROWN: usize = memory.data(12, 4);

/** Reserves items for the pages up to `room` of a space that lives; after arenaCommit() ksmMove() follows. */
export function ksmGrow(space: usize, room: u32): void {
  const first = spaceRoom(space);
  const items = arenaReserve(PART_PRIMARY_PTES, <u64>(room - first) * ITEM_BYTES);
  store<u32>(GROWN, first, FIRST);
  store<u32>(GROWN, <u32>(items - <usize>first * ITEM_BYTES), ITEMS);
  store<u32>(GROWN, <u32>arenaReserve(PART_RECORDS, STRETCH_BYTES), OLDER);
}

export function ksmMove(space: usize): void {
  const stretch = <usize>load<u32>(GROWN, OLDER);
  memory.copy(stretch, GROWN, STRETCH_BYTES);
  store<u32>(stretch, <u32>spaceKsmLater(space), OLDER);
  setSpaceKsmLater(space, stretch);
}

function itemOf(space: usize, index: u32): usize {
  let stretch = spaceKsmLater(space);
  while (stretch !== 0 && index < load<u32>(stretch, FIRST)) stretch = <usize>load<u32>(stretch, OLDER);
  const items = stretch === 0 ? spaceKsm(space) : <usize>load<u32>(stretch, ITEMS);
  return items + <usize>index * ITEM_BYTES;
}

function test(item: usize, state: u32): bool {
  return (load<u32>(item, STATE) & state) !== 0;
}

function change(item: usize, clear: u32, set: u32): void {
  store<u32>(item, (load<u32>(item, STATE) & ~clear) | set, STATE);
}

export function itemSpace(mm: usize, item: usize): usize {
  return mmSpace(mm, load<u32>(item, SPACE));
}

export function itemIndex(item: usize): u32 {
  return load<u32>(item, INDEX);
}

export function itemPte(mm: usize, item: usize): u64 {
  return spacePte(itemSpace(mm, item), itemIndex(item));
}

/** The item of a page that may be merged, 0 for another page. */
export function itemMergeable(space: usize, index: u32): usize {
  const item = itemOf(space, index);
  return test(item, ITEM_MERGEABLE) ? item : 0;
}

/** Has the page other contents than at the last scan? They are noted. */
export function itemChanged(mm: usize, item: usize, pfn: u32): bool {
  const checksum = ~frameStamp(mm, pfn); // that of zeroes is not the 0 of a page never looked at
  if (load<u32>(item, CHECKSUM) === checksum) return false;
  store<u32>(item, checksum, CHECKSUM);
  return true;
}

/** MADV_MERGEABLE and MADV_UNMERGEABLE for pages `start`..`end`-1; what is merged stays so. */
export function ksmAdvise(mm: usize, space: usize, start: u32, end: u32, mergeable: bool): void {
  const ksm = mmKsm(mm);
  for (let index = start; index < end; index++) {
    const item = itemOf(space, index);
    if (test(item, ITEM_MERGEABLE) === mergeable) continue;
    if (mergeable) {
      store<u32>(item, index, INDEX);
      store<u32>(item, spaceId(space), SPACE);
      store<u32>(item, 0, CHECKSUM);
      change(item, 0, ITEM_MERGEABLE);
    } else {
      leaveUnstable(ksm, item);
      change(item, ITEM_MERGEABLE, 0);
    }
    const pages = load<u32>(ksm, MERGEABLE);
    store<u32>(ksm, mergeable ? pages + 1 : pages - 1, MERGEABLE);
  }
}

/** Pages that may be merged. */
export function ksmMergeable(ksm: usize): u32 {
  return load<u32>(ksm, MERGEABLE);
}

function leaveUnstable(ksm: usize, item: usize): void {
  if (!test(item, ITEM_UNSTABLE)) return;
  if (load<u32>(item, SEQ) === load<u32>(ksm, SCAN)) treeRemove(ksm + UNSTABLE_ROOT, item);
  change(item, ITEM_UNSTABLE, 0);
}

/** A scan begins: the tree of pages that may have been written meanwhile starts anew. */
export function unstableClear(ksm: usize): void {
  store<u32>(ksm, load<u32>(ksm, SCAN) + 1, SCAN);
  store<u32>(ksm, 0, UNSTABLE_ROOT);
}

/** Scans begun. */
export function ksmScans(ksm: usize): u32 {
  return load<u32>(ksm, SCAN);
}

/**
 * Adds a page to the unstable tree. When an equal page is there that is still what it was, that one is taken out and returned instead, else 0.
 */
export function unstableMeet(mm: usize, ksm: usize, item: usize, pfn: u32): usize {
  const twin = treeAdd(mm, ksm + UNSTABLE_ROOT, item, pfn);
  if (twin === 0) {
    store<u32>(item, load<u32>(ksm, SCAN), SEQ);
    change(item, 0, ITEM_UNSTABLE);
    return 0;
  }
  const pte = itemPte(mm, twin);
  if (!ptePresent(pte) || ptePfn(pte) !== nodePfn(twin)) return 0;
  leaveUnstable(ksm, twin);
  return twin;
}

function stableOf(ksm: usize, pfn: u32): usize {
  return <usize>load<u32>(ksm, NODES) + ((<usize>pfn) << STABLE_SHIFT);
}

/** The merged frame that holds what `pfn` holds and has room for another page; PFN 0 for none. */
export function stableFind(mm: usize, ksm: usize, pfn: u32): u32 {
  let node = treeFind(mm, ksm + STABLE_ROOT, frameStamp(mm, pfn));
  while (node !== 0 && load<u32>(node, COUNT) >= MAX_SHARING) node = <usize>load<u32>(node, DUP);
  return node === 0 ? 0 : nodePfn(node);
}

/** The write-protected frame `pfn` becomes a merged one. */
export function stableAdd(mm: usize, ksm: usize, pfn: u32): void {
  const node = stableOf(ksm, pfn);
  store<u32>(node, 0, HEAD);
  store<u32>(node, 0, COUNT);
  store<u32>(node, 0, DUP);
  pageSet(pageOf(mm, pfn), PG_KSM);
  const equal = treeAdd(mm, ksm + STABLE_ROOT, node, pfn);
  if (equal === 0) return;
  setNodePfn(node, pfn);
  store<u32>(node, load<u32>(equal, DUP), DUP);
  store<u32>(equal, <u32>node, DUP);
}

/** The page of `item` maps the merged frame `pfn` from now on. */
export function stableJoin(ksm: usize, item: usize, pfn: u32): void {
  assert(!test(item, ITEM_STABLE | ITEM_UNSTABLE));
  const node = stableOf(ksm, pfn);
  setNodePfn(item, pfn);
  store<u32>(item, load<u32>(node, HEAD), NEXT);
  store<u32>(node, <u32>item, HEAD);
  store<u32>(node, load<u32>(node, COUNT) + 1, COUNT);
  change(item, 0, ITEM_STABLE);
}

/** Takes an item out of the tree that it is in, unless its page maps the merged frame that it stands for: then false. */
export function itemRelease(mm: usize, ksm: usize, item: usize): bool {
  leaveUnstable(ksm, item);
  if (!test(item, ITEM_STABLE)) return true;
  const pte = itemPte(mm, item);
  if (ptePresent(pte) && ptePfn(pte) === nodePfn(item)) return false;
  const node = stableOf(ksm, nodePfn(item));
  let at = node + HEAD;
  while (<usize>load<u32>(at) !== item) at = <usize>load<u32>(at) + NEXT;
  store<u32>(at, load<u32>(item, NEXT));
  store<u32>(node, load<u32>(node, COUNT) - 1, COUNT);
  change(item, ITEM_STABLE, 0);
  return true;
}

/** Releases the item of a page whose merging has been undone. */
export function ksmBroken(mm: usize, space: usize, index: u32): void {
  itemRelease(mm, mmKsm(mm), itemOf(space, index));
}

/** Does the page map a merged frame? */
export function ksmMerged(mm: usize, space: usize, index: u32): bool {
  const pte = spacePte(space, index);
  return ptePresent(pte) && !pteZero(pte) && pageTest(pageOf(mm, ptePfn(pte)), PG_KSM);
}

/** A merged frame is about to be freed. */
export function ksmFreed(mm: usize, pfn: u32): void {
  const ksm = mmKsm(mm);
  const node = stableOf(ksm, pfn);
  const first = treeFind(mm, ksm + STABLE_ROOT, frameStamp(mm, pfn));
  assert(first !== 0);
  if (first === node) {
    const dup = <usize>load<u32>(node, DUP);
    if (dup === 0) treeRemove(ksm + STABLE_ROOT, node);
    else treeReplace(ksm + STABLE_ROOT, node, dup, nodePfn(dup));
  } else {
    let before = first;
    while (<usize>load<u32>(before, DUP) !== node) before = <usize>load<u32>(before, DUP);
    store<u32>(before, load<u32>(node, DUP), DUP);
  }
  for (let item = <usize>load<u32>(node, HEAD); item !== 0; item = <usize>load<u32>(item, NEXT)) {
    change(item, ITEM_STABLE, 0);
  }
  pageClear(pageOf(mm, pfn), PG_KSM);
}

/** folio_referenced() of a merged page: rmap_walk_ksm() over all that map it. */
export function ksmYoung(mm: usize, actor: usize, page: usize): bool {
  const pfn = pfnOf(mm, page);
  let references: u32 = 0;
  for (
    let item = <usize>load<u32>(stableOf(mmKsm(mm), pfn), HEAD);
    item !== 0;
    item = <usize>load<u32>(item, NEXT)
  ) {
    const pte = itemPte(mm, item);
    if (!ptePresent(pte) || ptePfn(pte) !== pfn) continue;
    const space = itemSpace(mm, item);
    setSpacePte(space, itemIndex(item), pte & ~PTE_ACCESSED);
    const secondary = notifyClearFlushYoung(actor, spaceId(space), itemIndex(item));
    emit(TRACE_KR_FLUSH_YOUNG, actorClock(actor), secondary ? 1 : 0, 0, 0, 0);
    actorSpend(actor, STAGE_RECLAIM, cost(COST_AGE_RMAP_PAGE_NS));
    if (secondary || (pte & PTE_ACCESSED) !== 0) references++;
  }
  emit(TRACE_FOLIO_REFERENCED, actorClock(actor), references, 0, 0, 0);
  return references !== 0;
}

/** Merged frames, and pages that map them: pages_shared, and pages_sharing with these. */
export function ksmShared(mm: usize): u32 {
  let frames: u32 = 0;
  for (let pfn = mmPfnFirst(mm); pfn < mmPfnEnd(mm); pfn++) {
    if (pageTest(pageOf(mm, pfn), PG_KSM)) frames++;
  }
  return frames;
}

export function ksmSharing(mm: usize): u32 {
  let pages: u32 = 0;
  for (let pfn = mmPfnFirst(mm); pfn < mmPfnEnd(mm); pfn++) {
    if (pageTest(pageOf(mm, pfn), PG_KSM)) pages += pageMaps(pageOf(mm, pfn));
  }
  return pages;
}

// invariant: a merged frame stands in the stable tree, and is written by nobody
// invariant: its reverse map holds every page that maps it, once
export function checkKsm(mm: usize): void {
  const ksm = mmKsm(mm);
  if (ksm === 0) return;
  for (let pfn = mmPfnFirst(mm); pfn < mmPfnEnd(mm); pfn++) {
    const page = pageOf(mm, pfn);
    if (!pageTest(page, PG_KSM)) continue;
    assert(pageRefs(page) !== 0);
    let node = treeFind(mm, ksm + STABLE_ROOT, frameStamp(mm, pfn));
    while (node !== 0 && nodePfn(node) !== pfn) node = <usize>load<u32>(node, DUP);
    assert(node === stableOf(ksm, pfn));
    let items: u32 = 0;
    let maps: u32 = 0;
    for (let item = <usize>load<u32>(node, HEAD); item !== 0; item = <usize>load<u32>(item, NEXT)) {
      items++;
      assert(test(item, ITEM_STABLE) && nodePfn(item) === pfn);
      const pte = itemPte(mm, item);
      if (!ptePresent(pte) || ptePfn(pte) !== pfn) continue;
      assert((pte & PTE_WRITE) === 0);
      maps++;
    }
    assert(items === load<u32>(node, COUNT) && items <= MAX_SHARING);
    assert(maps === pageMaps(page));
  }
}
