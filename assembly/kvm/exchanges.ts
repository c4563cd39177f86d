import { PFN_NONE } from "../memory/layout";
import { exchangesCount, exchanging } from "../mm/exchange";
import { FAULT_MAJOR, FAULT_WRITE_PROTECT } from "../mm/fault";
import { lruBatchesHold } from "../mm/lrubatch";
import { memcgEventsMany } from "../mm/memcgstat";
import { ACTOR_GUEST, actorCpu, setActorStages, setActorStateAt } from "../sim/actor";
import { COST_EPT_MAP_NS, COST_VM_EXIT_NS, cost } from "../sim/costs";
import { eventSoonest } from "../sim/events";
import {
  countMany,
  TRACE_FAST_PAGE_FAULT,
  TRACE_KVM_ENTRY,
  TRACE_KVM_EXIT,
  TRACE_KVM_MMU_SET_SPTE,
  TRACE_KVM_MMU_SPTE_REQUESTED,
  TRACE_KVM_PAGE_FAULT,
  TRACE_KVM_TDP_MMU_SPTE_CHANGED,
  TRACE_KVM_UNMAP_HVA_RANGE,
  traceRecords,
} from "../sim/trace";
import { vmQuiet } from "./atonce";
import { MAP_BEFORE_LOCK } from "./fault";
import { vmInvalidated } from "./invalidation";
import { leafBits } from "./leafbits";
import { memslotFlags, memslotUnbacked } from "./memslot";
import { spteFor, spteOfFault } from "./spte";
import { faultLatency, faultsRecord, VM_RETRIES, VM_UNMAPPED, vmCountAdd } from "./stats";
import { vmFormat, vmMm, vmSpace, vmStats } from "./vm";
import { LEVEL_4K } from "./walk";

// What faults that exchange pages, and writes to such pages, have in common (exchange.ts): whether the next ones can be of this kind, which is asked once and
// holds until somebody else acts, or until another fault leaves things otherwise; and what every such fault counts, which is counted when they end.
//
// record   0           4      8        12     16       24     32        40    48      56            64        72
//          +-----------+------+--------+------+--------+------+---------+-----+-------+-------------+---------+-----------+
//          | exchanges | zaps | victim | bits | latest | most | reclaim | cpu | flush | lastReclaim | lastCpu | lastFlush |
//          +-----------+------+--------+------+--------+------+---------+-----+-------+-------------+---------+-----------+
//          80         96        104     108
//          +----------+---------+-------+--------+
//          | sptes ×2 | entered | exits | reuses |
//          +----------+---------+-------+--------+
//
// exchanges  and zaps, most and the ns of three stages: in all since exchangesBegin(); last…: of the last one
// victim     gfn of the last page that went
// bits       those of leafbits.ts for the two sptes, two each
// latest     no fault that begins later is certain to end before anything else is due
// most       the longest, in ns
// sptes      of a fault that reads and of one that writes, without a frame
// entered    when the vCPU was back in its guest from the last one
// exits      how often the last fault has exited, whose stages and that time are still to be noted; 0 when nothing is
// reuses     in all since exchangesBegin()

const SINCE: usize = memory.data(112, 8);
const EXCHANGES: usize = 0;
const ZAPS: usize = 4;
const VICTIM: usize = 8;
const BITS: usize = 12;
const LATEST: usize = 16; // u64
const MOST: usize = 24; // u64
const RECLAIM: usize = 32; // u64
const CPU: usize = 40; // u64
const FLUSH: usize = 48; // u64
const LAST_RECLAIM: usize = 56; // u64
const LAST_CPU: usize = 64; // u64
const LAST_FLUSH: usize = 72; // u64
const SPTES: usize = 80; // u64 × 2
const ENTERED: usize = 96; // u64
const EXITS: usize = 104;
const REUSES: usize = 108;

/** May the next faults of `vcpu` exchange pages? `longest` as of atOnceNs(). exchangesEnd() comes before anything but accesses and faults as of exchange.ts. */
export function exchangesBegin(vcpu: usize, vm: usize, longest: u64): bool {
  if (longest === 0 || traceRecords() || !vmQuiet(vm)) return false;
  if (!exchanging(vmMm(vm), actorCpu(vcpu), vmSpace(vm))) return false;
  const format = vmFormat(vm);
  const read = spteOfFault(format, 0, LEVEL_4K, false, false);
  const write = spteOfFault(format, 0, LEVEL_4K, true, false);
  const soonest = eventSoonest();
  memory.fill(SINCE, 0, SPTES);
  store<u32>(SINCE, leafBits(read, format) | (leafBits(write, format) << 2), BITS);
  store<u64>(SINCE, soonest > longest ? soonest - longest : 0, LATEST);
  store<u64>(SINCE, read, SPTES);
  store<u64>(SINCE, write, SPTES + 8);
  assert(load<u32>(SINCE, REUSES) === 0 && load<u32>(SINCE, EXITS) === 0);
  return true;
}

/** Nothing about `slot`, 0 for none, is in the way of an exchange. */
export function exchangeSlot(slot: usize): bool {
  return slot !== 0 && memslotFlags(slot) === 0 && !memslotUnbacked(slot);
}

/** Adds up what has happened since exchangesBegin(). */
export function exchangesEnd(vcpu: usize, vm: usize): void {
  exchangesPause(vcpu);
  reusesEnd(vcpu, vm);
  const exchanges = load<u32>(SINCE, EXCHANGES);
  if (exchanges === 0) return;
  const zaps = load<u32>(SINCE, ZAPS);
  const exitNs = 2 * <u64>cost(COST_VM_EXIT_NS);
  const reclaimNs = load<u64>(SINCE, RECLAIM);
  const cpuNs = load<u64>(SINCE, CPU);
  const flushNs = load<u64>(SINCE, FLUSH);
  const most = load<u64>(SINCE, MOST);
  const stats = vmStats(vm);
  faultsRecord(
    stats,
    FAULT_MAJOR,
    exchanges,
    most,
    exchanges * exitNs,
    reclaimNs,
    cpuNs,
    exchanges * mapNs(2),
    flushNs,
  );
  exchangesCount(vmMm(vm), actorCpu(vcpu), exchanges);
  vmInvalidated(vm, exchanges, load<u32>(SINCE, VICTIM));
  vmCountAdd(stats, VM_RETRIES, exchanges);
  vmCountAdd(stats, VM_UNMAPPED, zaps);
  countMany(TRACE_KVM_UNMAP_HVA_RANGE, exchanges);
  countMany(TRACE_KVM_TDP_MMU_SPTE_CHANGED, zaps);
  countFaults(exchanges, 2);
  store<u64>(SINCE, 0, EXCHANGES);
  store<u64>(SINCE, 0, MOST);
  store<u64>(SINCE, 0, RECLAIM);
  store<u64>(SINCE, 0, CPU);
  store<u64>(SINCE, 0, FLUSH);
}

// The same for faults of pages that were used on.
function reusesEnd(vcpu: usize, vm: usize): void {
  const reuses = load<u32>(SINCE, REUSES);
  if (reuses === 0) return;
  const exitNs = <u64>cost(COST_VM_EXIT_NS);
  const stats = vmStats(vm);
  faultsRecord(
    stats,
    FAULT_WRITE_PROTECT,
    reuses,
    exitNs + mapNs(1),
    reuses * exitNs,
    0,
    0,
    reuses * mapNs(1),
    0,
  );
  memcgEventsMany(vmMm(vm), actorCpu(vcpu), reuses); // PGFAULT
  countMany(TRACE_FAST_PAGE_FAULT, reuses);
  countFaults(reuses, 1);
  store<u32>(SINCE, 0, REUSES);
}

// `faults` that have each exited so often and mapped their page once.
function countFaults(faults: u32, exits: u32): void {
  countMany(TRACE_KVM_EXIT, exits * faults);
  countMany(TRACE_KVM_PAGE_FAULT, exits * faults);
  countMany(TRACE_KVM_TDP_MMU_SPTE_CHANGED, faults);
  countMany(TRACE_KVM_MMU_SPTE_REQUESTED, faults);
  countMany(TRACE_KVM_MMU_SET_SPTE, faults);
  countMany(TRACE_KVM_ENTRY, faults);
}

/** A fault of another kind comes between two exchanges. */
export function exchangesPause(vcpu: usize): void {
  const exits = load<u32>(SINCE, EXITS);
  if (exits === 0) return;
  store<u32>(SINCE, 0, EXITS);
  setActorStateAt(vcpu, ACTOR_GUEST, load<u64>(SINCE, ENTERED));
  setActorStages(
    vcpu,
    <u64>exits * cost(COST_VM_EXIT_NS),
    load<u64>(SINCE, LAST_RECLAIM),
    load<u64>(SINCE, LAST_CPU),
    mapNs(exits),
    load<u64>(SINCE, LAST_FLUSH),
  );
}

/**
 * It has been gone through, and the next faults can exchange pages as before: it allocates nothing, charges nothing, takes no slot and posts no event, so what
 * exchangesBegin() has found still holds; but it may have put the page into a batch.
 */
export function exchangesGoOn(vcpu: usize, vm: usize): bool {
  return lruBatchesHold(vmMm(vm), actorCpu(vcpu)) !== PFN_NONE;
}

/** A fault looks for the page whenever it has exited, and maps it once. */
export function mapNs(exits: u32): u64 {
  return <u64>cost(COST_EPT_MAP_NS) + (exits - 1) * (cost(COST_EPT_MAP_NS) / MAP_BEFORE_LOCK);
}

/** No fault that begins at this time or later is certain to end before anything else is due. */
export function exchangesUntil(): u64 {
  return load<u64>(SINCE, LATEST);
}

/** The spte with which such a fault maps frame `pfn`. */
export function exchangeSpte(write: bool, pfn: u32): u64 {
  return spteFor(load<u64>(SINCE + ((<usize>write) << 3), SPTES), pfn);
}

/** Its two bits (leafbits.ts). */
export function exchangeBits(write: bool): u32 {
  return (load<u32>(SINCE, BITS) >> ((<u32>write) << 1)) & 3;
}

/** An exchange is over at `clock`, `latency` after it began: the page behind `victim` has gone, from an entry that was `zapped` or from none. */
export function exchangeOver(
  vm: usize,
  clock: u64,
  latency: u64,
  victim: u32,
  zapped: bool,
  reclaimNs: u64,
  cpuNs: u64,
  flushNs: u64,
): void {
  faultLatency(vmStats(vm), FAULT_MAJOR, latency);
  store<u64>(SINCE, clock, ENTERED);
  store<u64>(SINCE, max<u64>(load<u64>(SINCE, MOST), latency), MOST);
  spent(RECLAIM, LAST_RECLAIM, reclaimNs);
  spent(CPU, LAST_CPU, cpuNs);
  spent(FLUSH, LAST_FLUSH, flushNs);
  store<u32>(SINCE, load<u32>(SINCE, EXCHANGES) + 1, EXCHANGES);
  store<u32>(SINCE, load<u32>(SINCE, ZAPS) + u32(zapped), ZAPS);
  store<u32>(SINCE, victim, VICTIM);
  store<u32>(SINCE, 2, EXITS);
}

function spent(total: usize, last: usize, ns: u64): void {
  store<u64>(SINCE + total, load<u64>(SINCE + total) + ns);
  store<u64>(SINCE + last, ns);
}

/** A page was used on, by a fault that is over at `clock`, `latency` after it began. */
export function reuseOver(vm: usize, clock: u64, latency: u64): void {
  faultLatency(vmStats(vm), FAULT_WRITE_PROTECT, latency);
  store<u64>(SINCE, clock, ENTERED);
  store<u64>(SINCE, 0, LAST_RECLAIM);
  store<u64>(SINCE, 0, LAST_CPU);
  store<u64>(SINCE, 0, LAST_FLUSH);
  store<u32>(SINCE, load<u32>(SINCE, REUSES) + 1, REUSES);
  store<u32>(SINCE, 1, EXITS);
}
