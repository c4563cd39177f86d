import { compoundHead } from "../mm/compound";
import { mmSpace } from "../mm/instance";
import { pageOf, pageRefs } from "../mm/page";
import { PTE_WRITE, ptePfn, ptePresent, ZERO_PFN } from "../mm/pte";
import { spacePte } from "../mm/space";
import { checkLock } from "../sim/lock";
import { dirtyLogged, dirtyMarked } from "./dirtylog";
import { checkGuestFile } from "./guestfile";
import { vmInvalidating } from "./invalidation";
import { legacyNewest } from "./legacypages";
import { memslotReadOnly } from "./memslot";
import { checkMemslots, memslotSearch } from "./memslots";
import { checkMmu } from "./mmu";
import { spEntryGfn, spLevel, spOlder, spTable } from "./shadowpage";
import { SPTE_WRITE, spteDirty, spteHostWritable, spteMayWrite, sptePresent } from "./spte";
import { checkStats } from "./stats";
import { tlbMatches } from "./tlb";
import { TLB_GENERATION, TLB_PFNS, TLB_SET_MASK, TLB_TAGS, TLB_WAYS, vcpuNext } from "./vcpu";
import { vcpuLeaf } from "./vcpuwalk";
import {
  gfnToIndex,
  NOTIFIER_NO_RETRY,
  vmExpected,
  vmFormat,
  vmGfnEnd,
  vmGuestFile,
  vmId,
  vmIsShadow,
  vmMm,
  vmMmuLock,
  vmNotifier,
  vmSlots,
  vmSpteRefs,
  vmStats,
  vmTablePool,
  vmUnalias,
  vmVcpuList,
} from "./vm";
import { LEVEL_4K, leafPfn, TABLE_ENTRIES, walkNext, walkSpte } from "./walk";

// The secondary MMU against the primary one, and the TLBs against the secondary one.
//
// invariant: an spte maps the frame that the host page table maps, unless the gfn lies in an open invalidation
// invariant: W => MMU-writable => host-writable; W only where the host's pte allows writing
// invariant: nothing writes to the page of zeroes: an spte that maps it is neither writable nor dirty
// invariant: only gfns of a memslot are mapped; what is mapped for writing is not in a read-only slot, and its dirty bit is set
// invariant: a translation in a TLB is one that the tables still hold: whoever removes an spte flushes

export function checkVm(vm: usize): void {
  checkLock(vmMmuLock(vm));
  checkMmu(vm);
  checkStats(vmStats(vm));
  checkMemslots(vmSlots(vm));
  if (vmIsShadow(vm)) checkShadowed(vm);
  else
    for (let gfn = walkNext(vm, 0); gfn < vmGfnEnd(vm); gfn = walkNext(vm, gfn + 1))
      checkEntry(vm, gfn, walkSpte(vm, gfn));
  if (vmGuestFile(vm) !== 0) {
    checkGuestFile(vm);
    return;
  }
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) checkTlb(vm, vcpu);
}

// Every leaf of every page of sptes.
function checkShadowed(vm: usize): void {
  for (let sp = legacyNewest(vm); sp !== 0; sp = spOlder(sp)) {
    if (spLevel(sp) !== LEVEL_4K) continue;
    for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
      const spte = load<u64>(spTable(sp) + ((<usize>index) << 3));
      if (sptePresent(spte)) checkEntry(vm, spEntryGfn(vmTablePool(vm), sp, index), spte);
    }
  }
}

function checkEntry(vm: usize, gfn: u32, spte: u64): void {
  if (!sptePresent(spte)) return;
  const space = mmSpace(vmMm(vm), vmId(vm));
  const format = vmFormat(vm);
  const frame = vmUnalias(vm, gfn);
  const slot = memslotSearch(vmSlots(vm), frame);
  assert(slot !== 0);
  if (spte & SPTE_WRITE) assert(!memslotReadOnly(slot) && (!dirtyLogged(slot) || dirtyMarked(slot, frame)));
  if (spte & SPTE_WRITE) assert(spteMayWrite(spte, format));
  if (spteMayWrite(spte, format)) assert((spte & spteHostWritable(format)) !== 0);
  const pte = spacePte(space, gfnToIndex(vm, gfn));
  const pfn = leafPfn(spte, gfn);
  if (vmGuestFile(vm) !== 0) return; // what is zapped, and what stays, is the design's business
  if (vmNotifier(vm) === NOTIFIER_NO_RETRY) return; // nothing keeps the entry in step, or its frame from being freed
  if (pfn === ZERO_PFN) assert((spte & (SPTE_WRITE | spteDirty(format))) === 0);
  else assert(pageRefs(pageOf(vmMm(vm), compoundHead(vmMm(vm), pfn))) > 0);
  if (vmSpteRefs(vm)) return; // what keeps the two in step is the design's business
  if (vmInvalidating(vm) === 0) assert(ptePresent(pte) && ptePfn(pte) === pfn);
  if (ptePresent(pte) && spte & SPTE_WRITE) assert((pte & PTE_WRITE) !== 0);
}

function checkTlb(vm: usize, vcpu: usize): void {
  const entries = (load<u32>(vcpu, TLB_SET_MASK) + 1) * load<u32>(vcpu, TLB_WAYS);
  const generation = load<u32>(vcpu, TLB_GENERATION);
  for (let index: u32 = 0; index < entries; index++) {
    const tag = load<u64>(<usize>load<u32>(vcpu, TLB_TAGS) + ((<usize>index) << 3));
    if (<u32>(tag >> 32) !== generation) continue;
    const gfn = <u32>tag >> 1;
    const leaf = vcpuLeaf(vcpu, gfn);
    assert(leaf !== 0);
    const spte = load<u64>(leaf);
    assert(sptePresent(spte));
    // Frames are kept where contents are checked.
    if (vmExpected(vm) !== 0)
      assert(leafPfn(spte, gfn) === load<u32>(<usize>load<u32>(vcpu, TLB_PFNS) + ((<usize>index) << 2)));
    if (tag & 1) assert((spte & spteDirty(vmFormat(vm))) !== 0 && (spte & SPTE_WRITE) !== 0);
    assert(tlbMatches(tag, tag));
  }
}
