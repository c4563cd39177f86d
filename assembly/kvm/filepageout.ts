import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { mmSpace } from "../mm/instance";
import { lruAddDrain } from "../mm/lrubatch";
import { PG_ACTIVE, PG_LRU, PG_REFERENCED, pageClear, pageOf, pageOwner, pageTest } from "../mm/page";
import { plugFlush } from "../mm/plug";
import { ENTRY_NONE } from "../mm/pte";
import { RECLAIM_ADVICE, shrinkIsolate, shrinkListBegin, shrinkStep } from "../mm/shrink";
import { spaceMemcg } from "../mm/space";
import { swapCacheLookup } from "../mm/swapmap";
import { actorGoesOn } from "../sim/actor";
import { callEnd, callStart } from "./call";
import { cachedPage, physMemEntry } from "./guestfile";
import { memslotGfnOf } from "./memslot";
import { memslotByHva, memslotCount, memslotNextInHva } from "./memslots";
import { CALL_PC, vcpuVm } from "./vcpu";
import { vmMm, vmSlots, vmSpace } from "./vm";

// CALL_PAGEOUT for a VM whose pages stand in a file: the pages of a range, in the page cache or in the swap cache, look unused and are handed to reclaim.
// Nobody could ask for that in 2007; here it makes reclaim meet a given page.

const BEGIN: u32 = 1;
const RUN: u32 = 2;

export function filePageoutStep(monitor: usize, call: usize): i32 {
  const vm = vcpuVm(monitor);
  const mm = vmMm(vm);
  if (load<u32>(monitor, CALL_PC) === BEGIN) {
    lruAddDrain(mm, monitor);
    for (let index = callStart(call); index < callEnd(call); index++) gather(monitor, vm, index);
    shrinkListBegin(monitor, vmSpace(vm), RECLAIM_ADVICE);
    store<u32>(monitor, RUN, CALL_PC);
  }
  while (true) {
    const step = shrinkStep(mm, monitor);
    if (step === STEP_AGAIN && actorGoesOn(monitor)) continue;
    return step === STEP_DONE ? plugFlush(mm, monitor) : step;
  }
}

function gather(monitor: usize, vm: usize, index: u32): void {
  const mm = vmMm(vm);
  const pfn = pageAt(vm, index);
  if (pfn === PFN_NONE || !pageTest(pageOf(mm, pfn), PG_LRU)) return;
  const page = pageOf(mm, pfn);
  shrinkIsolate(mm, monitor, spaceMemcg(mmSpace(mm, pageOwner(page))), pfn);
  pageClear(page, PG_ACTIVE | PG_REFERENCED);
}

function pageAt(vm: usize, index: u32): u32 {
  const entry = physMemEntry(vm, index);
  if (entry !== ENTRY_NONE) return swapCacheLookup(vmMm(vm), entry);
  const slots = vmSlots(vm);
  const place = memslotNextInHva(slots, index, index + 1, 0);
  return place === memslotCount(slots)
    ? PFN_NONE
    : cachedPage(vm, memslotGfnOf(memslotByHva(slots, place), index));
}
