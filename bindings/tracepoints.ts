// The tracepoints by name, and how a record is printed: ftrace's text format, field by field as the kernel prints it. The
// core says what happened; this file only writes it down. Instruction pointers are not simulated and print as 0x0.

import type { Core } from "./core.js";
import { type Args, faultExit, hex, hex16, MMU_FORMATS } from "./mmutrace.js";

/** %#016lx: 16 characters in all. */
const wide = (value: bigint): string => `0x${value.toString(16).padStart(14, "0")}`;
// The kernel hides addresses behind a hash of 32 bits: what it prints tells equal pages from others. So does this.
const page = (pfn: bigint): string =>
  `page=${((pfn * 0x9e3779b1n) & 0xffffffffn).toString(16).padStart(16, "0")} pfn=${hex(pfn)}`;

/** A swap entry as the kernel's swp_entry_t has it: the area's number above 58 bits of offset. */
const swapEntry = (type: bigint, offset: bigint): bigint => (type << 58n) | offset;

const GFP_USER = "GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO";
const GFP_TABLE = "GFP_KERNEL_ACCOUNT|__GFP_ZERO";
const WRITE_FLAGS = "RECLAIM_WB_ANON|RECLAIM_WB_ASYNC";

const MIGRATE_MODES = ["MIGRATE_ASYNC", "MIGRATE_SYNC_LIGHT", "MIGRATE_SYNC"];
/** MR_* of the kernel. */
const MIGRATE_REASONS = ["compaction", "memory_failure", "memory_hotplug", "syscall_or_cpuset"];

/** Names of the zones, by number. */
const ZONES = ["DMA", "DMA32", "Normal", "Movable"];
/** COMPACT_* of the kernel, as they print. */
const COMPACT_STATUS = [
  ...["not_suitable_zone", "skipped", "deferred", "no_suitable_page", "continue"],
  ...["complete", "partial_skipped", "contended", "success"],
];

const low = (pair: bigint): bigint => pair & 0xffffffffn;
const high = (pair: bigint): bigint => pair >> 32n;

const compactZone = (zone: bigint): string => `node=0 zone=${ZONES[Number(zone)]!.padEnd(8)}`;
const compactRun = (ends: bigint, scanners: bigint, sync: bigint): string =>
  `zone_start=${hex(low(ends))} migrate_pfn=${hex(low(scanners))} free_pfn=${hex(high(scanners))} ` +
  `zone_end=${hex(high(ends))}, mode=${sync === 1n ? "sync" : "async"}`;
const compactScan = ([start, end, scanned, taken]: Args): string =>
  `range=(${hex(start)} ~ ${hex(end)}) nr_scanned=${scanned} nr_taken=${taken}`;
const compactVerdict = ([zone, order, result]: Args): string =>
  `${compactZone(zone)} order=${order} ret=${COMPACT_STATUS[Number(result)]}`;
const compactDefer = ([zone, order, failed, tries]: Args): string =>
  `${compactZone(zone)} order=${order} order_failed=${failed} consider=${low(tries)} limit=${1n << high(tries)}`;

/** Every tracepoint, by the name of its constant in the core without TRACE_; the kernel's name is the same in lower case. */
const FORMATS: Record<string, (args: Args) => string> = {
  KVM_ENTRY: ([vcpu]) => `vcpu ${vcpu}, rip 0x0`,
  KVM_EXIT: ([vcpu, error, gpa, format]) =>
    `vcpu ${vcpu} ${faultExit(error, gpa, format)} intr_info 0x00000000 error_code 0x00000000`,
  KVM_PAGE_FAULT: ([vcpu, gpa, error]) =>
    `vcpu ${vcpu} rip 0x0 address ${hex16(gpa)} error_code ${hex(error)}`,
  ...MMU_FORMATS,
  KVM_UNMAP_HVA_RANGE: ([start, end]) => `mmu notifier unmap range: ${wide(start)} -- ${wide(end)}`,
  KVM_AGE_HVA: ([start, end]) => `mmu notifier age hva: ${wide(start)} -- ${wide(end)}`,
  KVM_TRY_ASYNC_GET_PAGE: ([gva, gfn]) => `gva = ${hex(gva)}, gfn = ${hex(gfn)}`,
  KVM_ASYNC_PF_NOT_PRESENT: ([token, gva]) => `token ${hex(token)} gva ${hex(gva)}`,
  KVM_ASYNC_PF_READY: ([token, gva]) => `token ${hex(token)} gva ${hex(gva)}`,
  KVM_ASYNC_PF_COMPLETED: ([gva, address]) => `gva ${hex(gva)} address ${hex(address)}`,
  KVM_ASYNC_PF_REPEATED_FAULT: ([gva, gfn]) => `gva = ${hex(gva)}, gfn = ${hex(gfn)}`,
  KVM_INJ_EXCEPTION: ([, , error]) => `#PF (${hex(error)})`,
  KVM_INJ_VIRQ: ([, vector]) => `IRQ ${hex(vector)}`,
  // A Linux guest has no tracepoints here; these are named for its functions.
  KVM_ASYNC_PF_TASK_WAIT: ([token, task, slept]) =>
    `token ${hex(token)} task ${task} ${slept === 1n ? "sleeps" : "goes on"}`,
  KVM_ASYNC_PF_TASK_WAKE: ([token, tasks]) => `token ${hex(token)} woken ${tasks}`,
  MM_COMPACTION_BEGIN: ([ends, scanners, sync]) => compactRun(ends, scanners, sync),
  MM_COMPACTION_END: ([ends, scanners, sync, result]) =>
    `${compactRun(ends, scanners, sync)} status=${COMPACT_STATUS[Number(result)]}`,
  MM_COMPACTION_ISOLATE_MIGRATEPAGES: compactScan,
  MM_COMPACTION_ISOLATE_FREEPAGES: compactScan,
  MM_COMPACTION_MIGRATEPAGES: ([moved, failed]) => `nr_migrated=${moved} nr_failed=${failed}`,
  MM_COMPACTION_TRY_TO_COMPACT_PAGES: ([order, priority]) =>
    `order=${order} gfp_mask=GFP_HIGHUSER_MOVABLE priority=${priority}`,
  MM_COMPACTION_SUITABLE: compactVerdict,
  MM_COMPACTION_FINISHED: compactVerdict,
  MM_COMPACTION_DEFERRED: compactDefer,
  MM_COMPACTION_DEFER_COMPACTION: compactDefer,
  MM_COMPACTION_DEFER_RESET: compactDefer,
  MM_MIGRATE_PAGES_START: ([mode, reason]) =>
    `mode=${MIGRATE_MODES[Number(mode)]} reason=${MIGRATE_REASONS[Number(reason)]}`,
  MM_MIGRATE_PAGES: ([moved, failed, how]) =>
    `nr_succeeded=${moved} nr_failed=${failed} nr_thp_succeeded=0 nr_thp_failed=0 nr_thp_split=0 ` +
    `mode=${MIGRATE_MODES[Number(how & 0xffn)]} reason=${MIGRATE_REASONS[Number(how >> 8n)]}`,
  SET_MIGRATION_PTE: ([address, pte]) => `addr=${address.toString(16)}, pte=${pte.toString(16)} order=0`,
  REMOVE_MIGRATION_PTE: ([address, pte]) => `addr=${address.toString(16)}, pte=${pte.toString(16)} order=0`,
  MM_PAGE_ALLOC: ([pfn, order, type]) =>
    `${page(pfn)} order=${order} migratetype=${type} gfp_flags=${type === 1n ? GFP_USER : GFP_TABLE}`,
  MM_PAGE_FREE: ([pfn, order]) => `${page(pfn)} order=${order}`,
  MM_VMSCAN_WAKEUP_KSWAPD: () => `nid=0 order=0 gfp_flags=${GFP_USER}`,
  MM_VMSCAN_KSWAPD_WAKE: () => "nid=0 order=0",
  MM_VMSCAN_KSWAPD_SLEEP: () => "nid=0",
  MM_VMSCAN_DIRECT_RECLAIM_BEGIN: () => `order=0 gfp_flags=${GFP_USER}`,
  MM_VMSCAN_DIRECT_RECLAIM_END: ([reclaimed]) => `nr_reclaimed=${reclaimed}`,
  MM_VMSCAN_MEMCG_RECLAIM_BEGIN: () => `order=0 gfp_flags=${GFP_USER}`,
  MM_VMSCAN_MEMCG_RECLAIM_END: ([reclaimed]) => `nr_reclaimed=${reclaimed}`,
  MM_VMSCAN_LRU_ISOLATE: ([requested, scanned, taken, active]) =>
    `isolate_mode=0 classzone=0 order=0 nr_requested=${requested} nr_scanned=${scanned} nr_skipped=0 ` +
    `nr_taken=${taken} lru=${active === 1n ? "active_anon" : "inactive_anon"}`,
  MM_VMSCAN_LRU_SHRINK_INACTIVE: ([scanned, reclaimed, priority, tallies]) =>
    `nid=0 nr_scanned=${scanned} nr_reclaimed=${reclaimed} nr_dirty=0 nr_writeback=${tallies >> 32n} ` +
    `nr_congested=0 nr_immediate=0 nr_activate_anon=${tallies & 0xffffn} nr_activate_file=0 ` +
    `nr_ref_keep=${(tallies >> 16n) & 0xffffn} nr_unmap_fail=0 priority=${priority} flags=${WRITE_FLAGS}`,
  MM_VMSCAN_LRU_SHRINK_ACTIVE: ([taken, deactivated, referenced, priority]) =>
    `nid=0 nr_taken=${taken} nr_active=0 nr_deactivated=${deactivated} nr_referenced=${referenced} ` +
    `priority=${priority} flags=${WRITE_FLAGS}`,
  MM_VMSCAN_WRITE_FOLIO: ([pfn]) => `${page(pfn)} flags=${WRITE_FLAGS}`,
  SWAPCACHE_ADD: ([type, offset]) => `(add_to_swap_cache+0x0/0x340) entry=${hex(swapEntry(type, offset))}`,
  SWAP_READPAGE: ([type, offset, sync]) =>
    `(swap_readpage+0x0/0x590) entry=${hex(swapEntry(type, offset))} sync=${sync}`,
  SWAP_WRITEPAGE: ([type, offset]) => `(swap_writepage+0x0/0xa0) entry=${hex(swapEntry(type, offset))}`,
  FOLIO_REFERENCED: ([count]) => `(shrink_folio_list+0x0/0x0 <- folio_referenced) ret=${count}`,
  KR_FLUSH_YOUNG: ([young]) =>
    `(__mmu_notifier_clear_flush_young+0x54/0x90 <- kvm_mmu_notifier_clear_flush_young) young=${young}`,
  MM_VMSCAN_THROTTLED: ([usec]) =>
    `nid=0 usec_timeout=0 usect_delayed=${usec} reason=VMSCAN_THROTTLE_NOPROGRESS`,
};

/** The kernel's names of all tracepoints. */
export const TRACEPOINTS: readonly string[] = Object.keys(FORMATS).map((name) => name.toLowerCase());

/** Words of 32 events, one bit each, as the core takes them. */
export type TraceMask = [number, number, number, number];

/** One bit for each event that one of the `patterns` names; * stands for any characters. */
export function traceMask(core: Core, patterns: readonly string[]): TraceMask {
  const tests = patterns.map((pattern) => new RegExp(`^${pattern.replaceAll("*", ".*")}$`));
  const mask: TraceMask = [0, 0, 0, 0];
  for (const name of TRACEPOINTS) {
    if (!tests.some((test) => test.test(name))) continue;
    const event = core.constant(`TRACE_${name.toUpperCase()}`);
    mask[event >> 5]! |= 1 << (event & 31);
  }
  return mask;
}

/** How often each event has happened since boot, whether it was recorded or not. */
export function traceCounts(core: Core): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of TRACEPOINTS) {
    counts[name] = Number(core.call.traceCount(core.constant(`TRACE_${name.toUpperCase()}`)));
  }
  return counts;
}

/** A tracepoint that was passed while its event was enabled. */
export interface TraceEvent {
  /** Virtual ns; negative for what happened before time started. */
  timeNs: number;
  /** The kernel's name, as in `kvm_exit`. */
  name: string;
  /** Host CPU. */
  cpu: number;
  /** Number of the thread that passed it, and its name: `kswapd0`, `CPU 1/KVM`. */
  actor: number;
  /** Name of the thread that passed the tracepoint. */
  thread: string;
  /** The fields as ftrace prints them. */
  text: string;
}

/** What a reading of the ring gives. */
export interface TraceEvents {
  /** The records, oldest first. */
  events: TraceEvent[];
  /** Number of records that were overwritten before they could be read. */
  lost: number;
}

/** The records numbered `from` up to the last one written that the ring still has. */
export function traceEvents(
  core: Core,
  from: number,
  epochNs: number,
  actors: readonly string[],
): TraceEvents {
  const { call } = core;
  const written = call.reportTraceWritten();
  const capacity = call.reportTraceCapacity() >>> 0;
  const bytes = call.reportTraceRecordBytes() >>> 0;
  const ring = call.reportTraceRing() >>> 0;
  const workers = core.constant("WORKER_ID_BASE");
  const first = Math.max(from, written - capacity);
  const names = new Map(TRACEPOINTS.map((name) => [core.constant(`TRACE_${name.toUpperCase()}`), name]));
  const events: TraceEvent[] = [];
  const view = new DataView(core.memory.buffer);
  for (let number = first; number < written; number++) {
    const at = ring + (number % capacity) * bytes;
    const name = names.get(view.getUint16(at + 8, true))!;
    const args = [0, 8, 16, 24].map((offset) => view.getBigUint64(at + 16 + offset, true)) as unknown as Args;
    const actor = view.getUint32(at + 12, true);
    events.push({
      timeNs: Number(view.getBigUint64(at, true)) - epochNs,
      name,
      cpu: view.getUint16(at + 10, true),
      actor,
      thread: actors[actor] ?? `kworker/u:${actor - workers}`,
      text: FORMATS[name.toUpperCase()]!(args),
    });
  }
  return { events, lost: first - from };
}

/** ftrace's text of the records numbered `from` up to the last one written; records the ring has lost are counted in a line. */
export function traceText(core: Core, from: number, epochNs: number, actors: readonly string[]): string {
  const { events, lost } = traceEvents(core, from, epochNs, actors);
  const lines: string[] = [];
  if (from === 0 && core.call.reportTraceWritten() > 0) lines.push("# tracer: nop", "#");
  if (lost > 0) lines.push(`# ${lost} records lost: the ring holds ${core.call.reportTraceCapacity() >>> 0}`);
  for (const { timeNs, name, cpu, actor, thread, text } of events) {
    const who = `${thread.padStart(16)}-${String(1000 + actor).padEnd(7)}`;
    lines.push(`${who} [${String(cpu).padStart(3, "0")}] ..... ${seconds(timeNs)}: ${name}: ${text}`);
  }
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

// Virtual seconds with ftrace's six digits; what happened before time started (prefaulting) prints negative.
function seconds(ns: number): string {
  const sign = ns < 0 ? "-" : "";
  const us = Math.floor(Math.abs(ns) / 1000);
  return `${sign}${Math.floor(us / 1e6)}.${String(us % 1e6).padStart(6, "0")}`.padStart(12);
}
