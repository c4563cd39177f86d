import { PFN_NONE } from "../memory/layout";
import { pagePut } from "../mm/free";
import { moveRegister } from "../mm/movehook";
import {
  mmPfnEnd,
  mmPfnFirst,
  PG_HEAD,
  PG_MAPPING_REPLACED,
  PG_SWAPCACHE,
  PG_TAIL,
  pageClear,
  pageGet,
  pageOf,
  pageOwner,
  pageSet,
  pageTest,
} from "../mm/page";
import { ZERO_PFN } from "../mm/pte";
import {
  APF_PIN_HELD,
  APF_PIN_MAPPING,
  APF_QUEUE_HEAD,
  apfRule,
  apfVcpu,
  WORK_CANCELLED,
  WORK_GFN,
  WORK_NEXT,
  WORK_OWNER,
  WORK_PFN,
} from "./apf";
import { VIOLATION_SWAP_ENTRY_OVERWRITTEN, violationNote } from "./integrity";
import {
  VM_APF_CONTEXTS,
  VM_APF_CONTEXTS_FREED,
  VM_APF_HELD_MOVED,
  VM_APF_HELD_STAYED,
  vmCountAdd,
} from "./stats";
import { vcpuApf, vcpuIndex, vcpuNext, vcpuVm } from "./vcpu";
import { vmExpected, vmMm, vmStats, vmVcpuList } from "./vm";
import { vmAt } from "./vmtable";

// What becomes of the reference that a worker gets for the page that it has fetched. Today it is dropped at once (`released`). Up to 2013 the
// work kept it until its completion was consumed (`held`): such a page has one reference more than migration expects.
//
// The patch of 2013 (`mapping-2013`) makes held pages migratable. It replaces the page's mapping by one of its own, whose migrate operation
// leaves the work's reference out of the count and takes one to the new frame:
//
//   worker, page fetched          mapping ← apf_mapping, private ← context (original mapping, work)
//   migration of the page         drops the reference, moves under the original mapping, takes it to the new frame: work ← new frame
//   completion consumed, cleared  mapping ← original, context freed, reference dropped
//
// Nobody else restores the mapping. In between, memory management takes the page for a file's: unmapping it finds no process that maps it
// (mm/evict.ts, mm/migrate.ts), dropping it is counted as a file's page (mm/zap.ts). The operation is therefore reached only by pages that were
// unmapped before, or whose mapping was replaced after migration had locked them.
//
// A context is made for each work whatever the worker gets, and freed where a mapping is restored: the others are lost. The private word of a
// page in the swap cache is its entry, which the context overwrites; here it is noted as a violation, and the entry stays.
// Left out: failing to allocate a context. As posted, the original mapping is handed to migrate_page_move_mapping() as a file's would be; here the
// page moves as the patch says it does.
//
// invariant: a page whose mapping is replaced is held by a work

/** The work keeps, or lets go of, the reference that its worker got to frame `pfn`. */
export function apfPinTake(work: usize, pfn: u32, worker: usize, time: u64): void {
  const apf = <usize>load<u32>(work, WORK_OWNER);
  const vm = vcpuVm(apfVcpu(apf));
  const mm = vmMm(vm);
  if (!apfRule(apf, APF_PIN_HELD) || load<u32>(work, WORK_CANCELLED) !== 0) {
    pagePut(mm, pfn, worker);
    return;
  }
  store<u32>(work, pfn, WORK_PFN);
  if (!apfRule(apf, APF_PIN_MAPPING)) return;
  vmCountAdd(vmStats(vm), VM_APF_CONTEXTS, 1);
  if (pfn === ZERO_PFN) return;
  const page = pageOf(mm, pfn);
  if (pageTest(page, PG_MAPPING_REPLACED | PG_HEAD | PG_TAIL)) return; // not PageAnon()
  if (pageTest(page, PG_SWAPCACHE) && vmExpected(vm) !== 0) {
    const gfn = load<u32>(work, WORK_GFN);
    violationNote(VIOLATION_SWAP_ENTRY_OVERWRITTEN, vm, gfn, vcpuIndex(apfVcpu(apf)), time);
  }
  pageSet(page, PG_MAPPING_REPLACED);
}

/** The work, on its way to be given back, lets go of its page. */
export function apfPinDrop(work: usize, actor: usize): void {
  const pfn = load<u32>(work, WORK_PFN);
  if (pfn === PFN_NONE) return;
  store<u32>(work, PFN_NONE, WORK_PFN);
  const vm = vcpuVm(apfVcpu(<usize>load<u32>(work, WORK_OWNER)));
  const mm = vmMm(vm);
  if (pfn !== ZERO_PFN && pageTest(pageOf(mm, pfn), PG_MAPPING_REPLACED)) {
    pageClear(pageOf(mm, pfn), PG_MAPPING_REPLACED);
    vmCountAdd(vmStats(vm), VM_APF_CONTEXTS_FREED, 1);
  }
  pagePut(mm, pfn, actor);
}

// A work that holds frame `pfn`, 0 for none.
function holder(vm: usize, pfn: u32): usize {
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    if (apf === 0) return 0;
    for (
      let work = <usize>load<u32>(apf, APF_QUEUE_HEAD);
      work !== 0;
      work = <usize>load<u32>(work, WORK_NEXT)
    ) {
      if (load<u32>(work, WORK_PFN) === pfn) return work;
    }
  }
  return 0;
}

function vmOf(mm: usize, pfn: u32): usize {
  return vmAt(pageOwner(pageOf(mm, pfn)));
}

// The end of async_pf_migratepage(): apf->page = new.
function moved(mm: usize, old: u32, pfn: u32): void {
  const vm = vmOf(mm, pfn);
  const work = holder(vm, old);
  assert(work !== 0);
  pageGet(pageOf(mm, pfn));
  store<u32>(work, pfn, WORK_PFN);
  vmCountAdd(vmStats(vm), VM_APF_HELD_MOVED, 1);
}

function stayed(mm: usize, pfn: u32): void {
  const vm = vmOf(mm, pfn);
  if (holder(vm, pfn) !== 0) vmCountAdd(vmStats(vm), VM_APF_HELD_STAYED, 1);
}

/** Fills in the hooks that migration calls. */
export function apfPinInit(): void {
  moveRegister(moved, stayed);
}

/** Asserts that every replaced mapping of host `mm` has a work that will restore it. */
export function checkApfPins(mm: usize): void {
  for (let pfn = mmPfnFirst(mm); pfn < mmPfnEnd(mm); pfn++) {
    if (pageTest(pageOf(mm, pfn), PG_MAPPING_REPLACED)) assert(holder(vmOf(mm, pfn), pfn) !== 0);
  }
}
