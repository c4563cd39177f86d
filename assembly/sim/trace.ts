import { arenaReserve, PART_TRACE } from "../memory/arena";

// Tracepoints: each is one emission point that always advances its counter and writes a record only when enabled, so
// counters and records cannot disagree. Records go to a ring that overwrites its oldest, as ftrace's does.
//
// record, 48 bytes   0      8       10    12      16    24    32    40
//                    +------+-------+-----+-------+-----+-----+-----+-----+
//                    | time | event | cpu | actor |  a  |  b  |  c  |  d  |
//                    +------+-------+-----+-------+-----+-----+-----+-----+
//
// Names, fields and their printed forms are bound to the numbers in the bindings, which format text and decide nothing.

export const TRACE_KVM_ENTRY: u32 = 0;
export const TRACE_KVM_EXIT: u32 = 1;
export const TRACE_KVM_PAGE_FAULT: u32 = 2;
export const TRACE_KVM_TDP_MMU_SPTE_CHANGED: u32 = 3;
export const TRACE_KVM_UNMAP_HVA_RANGE: u32 = 4;
export const TRACE_KVM_AGE_HVA: u32 = 5;
export const TRACE_MM_PAGE_ALLOC: u32 = 6;
export const TRACE_MM_PAGE_FREE: u32 = 7;
export const TRACE_MM_VMSCAN_WAKEUP_KSWAPD: u32 = 8;
export const TRACE_MM_VMSCAN_KSWAPD_WAKE: u32 = 9;
export const TRACE_MM_VMSCAN_KSWAPD_SLEEP: u32 = 10;
export const TRACE_MM_VMSCAN_DIRECT_RECLAIM_BEGIN: u32 = 11;
export const TRACE_MM_VMSCAN_DIRECT_RECLAIM_END: u32 = 12;
export const TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN: u32 = 13;
export const TRACE_MM_VMSCAN_MEMCG_RECLAIM_END: u32 = 14;
export const TRACE_MM_VMSCAN_LRU_ISOLATE: u32 = 15;
export const TRACE_MM_VMSCAN_LRU_SHRINK_INACTIVE: u32 = 16;
export const TRACE_MM_VMSCAN_LRU_SHRINK_ACTIVE: u32 = 17;
export const TRACE_MM_VMSCAN_WRITE_FOLIO: u32 = 18;
export const TRACE_MM_VMSCAN_THROTTLED: u32 = 19;
export const TRACE_KVM_MMU_SPTE_REQUESTED: u32 = 20;
export const TRACE_KVM_MMU_SET_SPTE: u32 = 21;
export const TRACE_KVM_MMU_GET_PAGE: u32 = 22;
export const TRACE_KVM_MMU_PREPARE_ZAP_PAGE: u32 = 23;
export const TRACE_FAST_PAGE_FAULT: u32 = 24;
export const TRACE_KVM_MMU_SPLIT_HUGE_PAGE: u32 = 25;
export const TRACE_KVM_MMU_ZAP_ALL_FAST: u32 = 26;
export const TRACE_KVM_MMU_PAGETABLE_WALK: u32 = 27;
export const TRACE_KVM_MMU_PAGING_ELEMENT: u32 = 28;
export const TRACE_KVM_MMU_WALKER_ERROR: u32 = 29;
export const TRACE_KVM_MMU_SET_ACCESSED_BIT: u32 = 30;
export const TRACE_KVM_MMU_SET_DIRTY_BIT: u32 = 31;
export const TRACE_MM_COMPACTION_ISOLATE_MIGRATEPAGES: u32 = 32;
export const TRACE_MM_COMPACTION_ISOLATE_FREEPAGES: u32 = 33;
export const TRACE_MM_COMPACTION_MIGRATEPAGES: u32 = 34;
export const TRACE_MM_COMPACTION_BEGIN: u32 = 35;
export const TRACE_MM_MIGRATE_PAGES_START: u32 = 36;
export const TRACE_MM_MIGRATE_PAGES: u32 = 37;
export const TRACE_SET_MIGRATION_PTE: u32 = 38;
export const TRACE_REMOVE_MIGRATION_PTE: u32 = 39;
// The probes that captures add to the kernel's own tracepoints.
export const TRACE_SWAPCACHE_ADD: u32 = 40;
export const TRACE_SWAP_READPAGE: u32 = 41;
export const TRACE_SWAP_WRITEPAGE: u32 = 42;
export const TRACE_FOLIO_REFERENCED: u32 = 43;
export const TRACE_KR_FLUSH_YOUNG: u32 = 44;
export const TRACE_MM_COMPACTION_END: u32 = 45;
export const TRACE_MM_COMPACTION_TRY_TO_COMPACT_PAGES: u32 = 46;
export const TRACE_MM_COMPACTION_FINISHED: u32 = 47;
export const TRACE_KVM_TRY_ASYNC_GET_PAGE: u32 = 48;
export const TRACE_KVM_ASYNC_PF_NOT_PRESENT: u32 = 49;
export const TRACE_KVM_ASYNC_PF_READY: u32 = 50;
export const TRACE_KVM_ASYNC_PF_COMPLETED: u32 = 51;
export const TRACE_KVM_ASYNC_PF_REPEATED_FAULT: u32 = 52;
export const TRACE_KVM_INJ_EXCEPTION: u32 = 53;
export const TRACE_KVM_INJ_VIRQ: u32 = 54;
// In the guest.
export const TRACE_KVM_ASYNC_PF_TASK_WAIT: u32 = 55;
export const TRACE_KVM_ASYNC_PF_TASK_WAKE: u32 = 56;
export const TRACE_KVM_MMU_UNSYNC_PAGE: u32 = 57;
export const TRACE_KVM_MMU_SYNC_PAGE: u32 = 58;
export const TRACE_MM_COMPACTION_SUITABLE: u32 = 59;
export const TRACE_MM_COMPACTION_DEFERRED: u32 = 60;
export const TRACE_MM_COMPACTION_DEFER_COMPACTION: u32 = 61;
export const TRACE_MM_COMPACTION_DEFER_RESET: u32 = 62;
export const TRACE_MARK_MMIO_SPTE: u32 = 63;
export const TRACE_HANDLE_MMIO_PAGE_FAULT: u32 = 64;
export const TRACE_CHECK_MMIO_SPTE: u32 = 65;
export const TRACE_EVENTS: u32 = 66;
/** Events that there is room for: traceEnable() is told of 32 a word. */
const EVENTS_MAX: u32 = 128;

const RING: usize = 0;
const CAPACITY: usize = 4;
const WRITTEN: usize = 8; // u64
const RECORDED: usize = 16; // some event is
const CPU: usize = 24;
const ACTOR: usize = 28;
const COUNTS: usize = 32; // u64 × EVENTS_MAX
const ENABLED: usize = 32 + 8 * 128; // u8 × EVENTS_MAX: 1 where records of the event are kept
const TRACE: usize = memory.data(32 + 8 * 128 + 128, 8);

const TIME: usize = 0;
const EVENT: usize = 8;
const RECORD_CPU: usize = 10;
const RECORD_ACTOR: usize = 12;
const ARGS: usize = 16;
export const TRACE_RECORD_BYTES: usize = 48;

/** Reserves a ring of `records`; 0 leaves tracing off. */
export function traceLayout(records: u32): void {
  store<u32>(TRACE, <u32>arenaReserve(PART_TRACE, <u64>records * TRACE_RECORD_BYTES), RING);
  store<u32>(TRACE, records, CAPACITY);
}

/** Events whose records are kept: bit n of word m stands for event 32 m + n. */
export function traceEnable(first: u32, second: u32, third: u32, fourth: u32): void {
  assert(TRACE_EVENTS <= EVENTS_MAX);
  const room = load<u32>(TRACE, CAPACITY) !== 0;
  store<u32>(TRACE, u32(room && (first | second | third | fourth) !== 0), RECORDED);
  enableWord(0, room ? first : 0);
  enableWord(32, room ? second : 0);
  enableWord(64, room ? third : 0);
  enableWord(96, room ? fourth : 0);
}

function enableWord(from: u32, bits: u32): void {
  for (let bit: u32 = 0; bit < 32; bit++) store<u8>(TRACE + from + bit, <u8>((bits >> bit) & 1), ENABLED);
}

/** Records of some event are kept. */
export function traceRecords(): bool {
  return load<u32>(TRACE, RECORDED) !== 0;
}

/** Records of `event` are kept. */
export function traceRecorded(event: u32): bool {
  return load<u8>(TRACE + event, ENABLED) !== 0;
}

/** Counts `event`, of which no record is kept. */
export function count(event: u32): void {
  assert(!traceRecorded(event));
  const counter = TRACE + ((<usize>event) << 3);
  store<u64>(counter, load<u64>(counter, COUNTS) + 1, COUNTS);
}

/** The same for `times` events at once, while no record of any event is kept: the order among events would be lost. */
export function countMany(event: u32, times: u32): void {
  assert(!traceRecords());
  const counter = TRACE + ((<usize>event) << 3);
  store<u64>(counter, load<u64>(counter, COUNTS) + times, COUNTS);
}

/** Who acts now, for the records' header. */
export function traceActor(cpu: u32, actor: u32): void {
  store<u32>(TRACE, cpu, CPU);
  store<u32>(TRACE, actor, ACTOR);
}

/** The emission point of every event. */
export function emit(event: u32, time: u64, a: u64, b: u64, c: u64, d: u64): void {
  if (happened(event)) record(event, time, a, b, c, d);
}

/** Counts `event` where its arguments are dear to come by. True: it is to be recorded. */
export function happened(event: u32): bool {
  const counter = TRACE + ((<usize>event) << 3);
  store<u64>(counter, load<u64>(counter, COUNTS) + 1, COUNTS);
  return load<u8>(TRACE + event, ENABLED) !== 0;
}

/** After happened(). */
export function record(event: u32, time: u64, a: u64, b: u64, c: u64, d: u64): void {
  const written = load<u64>(TRACE, WRITTEN);
  store<u64>(TRACE, written + 1, WRITTEN);
  const at =
    <usize>load<u32>(TRACE, RING) +
    <usize>(<u32>(written % <u64>load<u32>(TRACE, CAPACITY))) * TRACE_RECORD_BYTES;
  store<u64>(at, time, TIME);
  store<u16>(at, <u16>event, EVENT);
  store<u16>(at, <u16>load<u32>(TRACE, CPU), RECORD_CPU);
  store<u32>(at, load<u32>(TRACE, ACTOR), RECORD_ACTOR);
  store<u64>(at, a, ARGS);
  store<u64>(at, b, ARGS + 8);
  store<u64>(at, c, ARGS + 16);
  store<u64>(at, d, ARGS + 24);
}

/** How often `event` happened. */
export function traceCount(event: u32): u64 {
  assert(event < TRACE_EVENTS);
  return load<u64>(TRACE + ((<usize>event) << 3), COUNTS);
}

/** Records written since boot; the ring holds the last capacity of them. */
export function traceWritten(): u64 {
  return load<u64>(TRACE, WRITTEN);
}

export function traceRing(): usize {
  return <usize>load<u32>(TRACE, RING);
}

export function traceCapacity(): u32 {
  return load<u32>(TRACE, CAPACITY);
}
