import { guestMsrWanted } from "../guest/apfevent";
import {
  CALL_BYTES,
  CALL_COMPACT,
  CALL_DIRTY_LOG,
  CALL_MEMSLOT,
  CALL_OFFLINE,
  callBegan,
  callEnded,
  callFlags,
  callHva,
  callInit,
  callMajor,
  callResult,
  callSlot,
  callStatus,
  HVA_USUAL,
  setCallFlags,
  setCallSlot,
  setCallWatched,
} from "../kvm/call";
import { contentIntend } from "../kvm/integrity";
import { memslotDirtySecond, memslotGfn, memslotPages } from "../kvm/memslot";
import { memslotAt, memslotById, memslotCount } from "../kvm/memslots";
import { stepBegan, stepEmulated, stepFaults, stepKind, stepTell, stepWanted } from "../kvm/step";
import { vcpuApf } from "../kvm/vcpu";
import { vmMm, vmMonitor, vmSlots, vmSpace } from "../kvm/vm";
import { vmEnding } from "../kvm/vmend";
import { vmAt } from "../kvm/vmtable";
import { PFN_NONE } from "../memory/layout";
import { mmSpace, mmZoneAt, mmZones } from "../mm/instance";
import { lruvecOf } from "../mm/lrusize";
import { lruvecLengths } from "../mm/lruvec";
import { memcgUsage } from "../mm/memcg";
import { memcgFlush } from "../mm/memcgstat";
import { PG_SLAB, PG_TABLE, pageIndex, pageOf, pageOwner, pageRefs, pageTest } from "../mm/page";
import { migrationPfn, pteEntry, pteMigration, ptePfn, ptePresent, pteSwapped, ZERO_PFN } from "../mm/pte";
import { spaceMemcg, spacePte } from "../mm/space";
import { swapCacheLookup } from "../mm/swapmap";
import { zoneEndPfn, zoneStartPfn } from "../mm/zone";
import { actorClock, actorStageNs, setActorOnlyCpu } from "../sim/actor";
import { EVENT_ACCESS, EVENT_CALL, eventPost } from "../sim/events";
import { vcpuAt } from "./lookup";
import { host, now, stoppedForGood } from "./state";

// Single steps from outside: one access of a vCPU, one call of a monitor. Each is put among what the machine has to do; the run
// that follows stops with STOP_STEP when it has been made, and then its story can be read here.

// The call that somebody outside waits for: there is one at a time.
const CALL: usize = memory.data(72, 8);
const SUBJECT: usize = memory.data(8, 8);

// A step begins, unless the machine has run out of memory: then it takes none any more, and whoever asks for one hears that at once.
function begin(event: u32, subject: usize): void {
  if (stoppedForGood() || (event === EVENT_ACCESS && !stepTell(subject))) return;
  eventPost(now(), event, <u32>subject);
}

/** Has `vcpu` of VM `vm` access `gfn` at its next boundary, perhaps with the guest's interrupts off. */
export function stepAccess(vm: u32, vcpu: u32, gfn: u32, write: bool, irqsOff: bool, content: u32): void {
  const actor = vcpuAt(vmAt(vm), vcpu);
  store<u32>(SUBJECT, <u32>actor);
  if (stoppedForGood()) return;
  stepWanted(actor, gfn, write, irqsOff);
  if (content !== 0) contentIntend(vmAt(vm), gfn, vcpu, content);
  begin(EVENT_ACCESS, actor);
}

/**
 * Has `vcpu` of VM `vm` write `value` to MSR_KVM_ASYNC_PF_EN, and handle what comes of it. False: its VM has no asynchronous page faults.
 */
export function stepMsr(vm: u32, vcpu: u32, value: f64): bool {
  const actor = vcpuAt(vmAt(vm), vcpu);
  if (vcpuApf(actor) === 0) return false;
  store<u32>(SUBJECT, <u32>actor);
  guestMsrWanted(actor, <u64>value);
  begin(EVENT_ACCESS, actor);
  return true;
}

/**
 * A read of memory.stat of the cgroup of VM `vm`, which brings the counters of all cgroups up to date when enough has changed. Returns the address
 * of the pages on its inactive list, on its active list, and given up, u32 each.
 */
export function stepMemoryStat(vm: u32): usize {
  memcgFlush(vmMm(vmAt(vm)));
  return lruvecLengths(lruvecOf(vmMm(vmAt(vm)), vmSpace(vmAt(vm))));
}

/** Pages charged to the cgroup of VM `vm`. */
export function stepCharged(vm: u32): u32 {
  return memcgUsage(spaceMemcg(vmSpace(vmAt(vm))));
}

/** Has the monitor of VM `vm` make a call of `kind` (CALL_*) on pages start..end-1 of its memory, and write `content`. */
export function stepCall(vm: u32, kind: u32, start: u32, end: u32, content: u32): void {
  assert(CALL_BYTES === 72);
  callInit(CALL, vm, kind, start, end);
  setCallFlags(CALL, content);
  setCallWatched(CALL);
  store<u32>(SUBJECT, <u32>vmMonitor(vmAt(vm)));
  begin(EVENT_CALL, CALL);
}

/**
 * Has the monitor of VM `vm` set memslot `id` to `pages` frames from `gfn` on, backed from `hva` on; 0 pages delete it. `hva` below 0 is the
 * slot's present one, or the process' usual place.
 */
export function stepMemslot(vm: u32, id: u32, gfn: u32, pages: u32, hva: f64, flags: u32): void {
  slotCall(vm, CALL_MEMSLOT, gfn, pages, id, hva < 0 ? HVA_USUAL : <u64>hva, flags);
}

/** Has the monitor of VM `vm` ask for the dirty log of memslot `id`; stepDirtyLog() then has it. */
export function stepDirty(vm: u32, id: u32): void {
  slotCall(vm, CALL_DIRTY_LOG, 0, 0, id, 0, 0);
}

function slotCall(vm: u32, kind: u32, start: u32, end: u32, id: u32, hva: u64, flags: u32): void {
  callInit(CALL, vm, kind, start, end);
  setCallSlot(CALL, id, hva, flags);
  setCallWatched(CALL);
  store<u32>(SUBJECT, <u32>vmMonitor(vmAt(vm)));
  begin(EVENT_CALL, CALL);
}

/** The VM ends, or has ended. */
export function stepVmEnding(vm: u32): bool {
  return vmEnding(vmAt(vm));
}

/** Has the monitor of VM `vm` take host frames start..end-1 offline, within `ns`. */
export function stepOffline(vm: u32, start: u32, end: u32, ns: f64): void {
  slotCall(vm, CALL_OFFLINE, start, end, 0, <u64>ns, 0);
}

/** Has the monitor of VM `vm` compact the host's memory for a block of `order` (ORDER_ALL: all of it), in `mode` (MIGRATE_ASYNC, …). */
export function stepCompact(vm: u32, order: u32, mode: u32): void {
  slotCall(vm, CALL_COMPACT, order, mode, 0, 0, 0);
}

/** COMPACT_*, and frames that the migrate scanner and the free scanner have looked at. */
export function stepCompactResult(): u32 {
  return callSlot(CALL);
}

export function stepCompactScanned(free: bool): u32 {
  return <u32>(callHva(CALL) >> (free ? 32 : 0));
}

/** Pages that the last call could not migrate; passes that an offline has made. */
export function stepCallFailed(): u32 {
  return callFlags(CALL);
}

export function stepCallPasses(): u32 {
  return callSlot(CALL);
}

/** First frame and end of zone `place` of the host, and a multiple of what goes offline; 0 without such a zone. */
export function stepZoneStart(place: u32): u32 {
  return place < mmZones(host()) ? zoneStartPfn(mmZoneAt(host(), place)) : 0;
}

export function stepZoneEnd(place: u32): u32 {
  return place < mmZones(host()) ? zoneEndPfn(mmZoneAt(host(), place)) : 0;
}

/** The VM of whose memory frame `pfn` holds a page; 0xffffffff: of none. */
export function stepFrameVm(pfn: u32): u32 {
  const page = pageOf(host(), pfn);
  if (pageRefs(page) === 0 || pageTest(page, PG_TABLE | PG_SLAB)) return 0xffffffff;
  const owner = pageOwner(page);
  return stepPageFrame(owner, pageIndex(page)) === pfn ? owner : 0xffffffff;
}

/** Which page of its process it is. */
export function stepFramePage(pfn: u32): u32 {
  return pageIndex(pageOf(host(), pfn));
}

/** The frame that holds page `index` of the process of VM `vm`, though only the swap cache knows it; 0 for none of its own. */
export function stepPageFrame(vm: u32, index: u32): u32 {
  const mm = host();
  const pte = spacePte(mmSpace(mm, vm), index);
  if (ptePresent(pte)) return ptePfn(pte) === ZERO_PFN ? PFN_NONE : ptePfn(pte);
  if (pteMigration(pte)) return migrationPfn(pte);
  return pteSwapped(pte) ? swapCacheLookup(mm, pteEntry(pte)) : PFN_NONE;
}

/** Slots that VM `vm` has now. */
export function stepSlots(vm: u32): u32 {
  return memslotCount(vmSlots(vmAt(vm)));
}

/** First frame of the slot at `place` in the order of frames, and its frames. */
export function stepSlotFirst(vm: u32, place: u32): u32 {
  return memslotGfn(memslotAt(vmSlots(vmAt(vm)), place));
}

export function stepSlotPages(vm: u32, place: u32): u32 {
  return memslotPages(memslotAt(vmSlots(vmAt(vm)), place));
}

/** First frame of slot `id`, 0 without such a slot. */
export function stepSlotGfn(vm: u32, id: u32): u32 {
  const slot = memslotById(vmSlots(vmAt(vm)), id);
  return slot === 0 ? 0 : memslotGfn(slot);
}

/** Address of the bits that the last get of slot `id` has handed out; 0 without. */
export function stepDirtyLog(vm: u32, id: u32): usize {
  const slot = memslotById(vmSlots(vmAt(vm)), id);
  return slot === 0 ? 0 : memslotDirtySecond(slot);
}

/** The CPU on which vCPU `vcpu` of VM `vm` runs from now on, 0xffffffff for any; -1 names the monitor. */
export function stepOnlyCpu(vm: u32, vcpu: i32, cpu: u32): void {
  setActorOnlyCpu(vcpu < 0 ? vmMonitor(vmAt(vm)) : vcpuAt(vmAt(vm), <u32>vcpu), cpu);
}

/** ns of `stage` that the last step took: that of an access' fault, when it took one. */
export function stepStageNs(stage: u32): f64 {
  return <f64>actorStageNs(load<u32>(SUBJECT), stage);
}

/** ns from the beginning of the last access to its end. */
export function stepAccessNs(): f64 {
  const actor = <usize>load<u32>(SUBJECT);
  return <f64>(actorClock(actor) - stepBegan(actor));
}

/** Exits with a page fault that the last access took. */
export function stepAccessFaults(): u32 {
  return stepFaults(load<u32>(SUBJECT));
}

/** FAULT_* of the last access. */
export function stepAccessKind(): u32 {
  return stepKind(load<u32>(SUBJECT));
}

/** Who has emulated the last access, EMULATED_*; 0: nobody. */
export function stepAccessEmulated(): u32 {
  return stepEmulated(load<u32>(SUBJECT));
}

/** What the last call returned: 0, or a negative status. */
export function stepCallStatus(): i32 {
  return callStatus(CALL);
}

export function stepCallResult(): u32 {
  return callResult(CALL);
}

/** Faults among stepCallResult() that had to read swap. */
export function stepCallMajor(): u32 {
  return callMajor(CALL);
}

export function stepCallNs(): f64 {
  return <f64>(callEnded(CALL) - callBegan(CALL));
}
