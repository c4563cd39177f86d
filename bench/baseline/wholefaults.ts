// A guest that does not fit its memory in plain TypeScript over typed arrays, as a careful user would write the core's own model for this one case: one VM with one vCPU, TDP, 4 KiB
// pages, a direct-mapped TLB, a cgroup at its limit, a clock that chooses the page to go, one synchronous swap device. Each fault goes
// through the steps of the core's, in their order and at their virtual times: KVM's tables and the process', frames with flags and references, LRU batches and lists,
// the CPU's free frames, slot caches and clusters, use counts and shadows, the notifier and the fault that it makes start over, the flush, stages, histograms, pressure and
// tracepoints' counts. What the core has beside that is left out: other designs, actors, events and locks, records of tracepoints, the digest.
//
// spte  31      4   3   2   1   0        tlb   generation, gfn << 1 | D: two words a set
//       +-------+---+---+---+---+
//       | frame | D | A | W | R |
//       +-------+---+---+---+---+

import type { FaultKind, HostResult, VmResult } from "#dist/index.js";
import {
  CLOCK,
  EVENTS,
  EXIT,
  FAST_PAGE_FAULT,
  FLUSH,
  KVM_ENTRY,
  KVM_EXIT,
  KVM_PAGE_FAULT,
  MAJOR,
  MAP,
  MINOR,
  MMU_GET_PAGE,
  RECLAIM,
  SET_SPTE,
  SPTE_CHANGED,
  SPTE_REQUESTED,
  SPURIOUS,
  STAGES,
  STALL_FULL,
  STALL_SOME,
  UNMAP_HVA_RANGE,
  WRITE_PROTECT,
} from "./whole/accounts.js";
import { REFERENCED, REFS, SHIFT } from "./whole/frames.js";
import {
  ACCESSED,
  DIRTY,
  ENTRY_SHIFT,
  PlainMemory,
  PRESENT,
  RESIDENT,
  type WholeGuest,
  WRITABLE,
} from "./whole/memory.js";

const READ_BITS = PRESENT | ACCESSED;
const WRITE_BITS = READ_BITS | WRITABLE | DIRTY;
const PAGE_MASK = 0x7fff_ffff;

export interface WholeResult {
  accesses: number;
  virtualTimeNs: number;
  tlbMisses: number;
  memory: VmResult["memory"];
  stall: VmResult["stall"];
  faults: VmResult["faults"];
  notifier: Pick<VmResult["notifier"], "unmapped" | "retries">;
  host: Pick<HostResult, "memory" | "swap"> & {
    reclaim: Omit<HostResult["reclaim"], "reclaimedKswapd">;
    device: Pick<HostResult["devices"][number], "reads" | "writes" | "busyNs">;
  };
  workingset: { refaults: number; activated: number; restored: number };
  /** Frames by where they are. */
  frames: { free: number; perCpu: number; tables: number; inactive: number; active: number; batched: number };
  /** Times that each tracepoint was passed since boot. */
  events: Record<string, number>;
}

/** A page as both MMUs have it; frames and slots by their numbers. */
export interface WholePage {
  mapped: boolean;
  frame: number | null;
  refs: number;
  maps: number;
  list: string;
  flags: string[];
  slot: number | null;
}

export class WholeFaults extends PlainMemory {
  tlbMisses = 0;
  private accesses = 0;
  private readonly tlb: Int32Array;
  private generation = 1;
  /** Tables of sptes by gfn >> 9; table 0 maps nothing. */
  private readonly directory: Int32Array;
  private readonly upperTables: Uint8Array;
  private readonly sptes: Int32Array;
  private tables = 0;
  private sequence = 0;
  private invalidating = 0;
  private rangeStart = 0;
  private rangeEnd = 0;
  private flushRequested = false;
  private retries = 0;
  private unmapped = 0;

  constructor(guest: WholeGuest) {
    super(guest);
    const leaves = Math.ceil(guest.pages / 512);
    this.tlb = new Int32Array(2 * guest.tlbEntries);
    this.directory = new Int32Array(leaves);
    this.upperTables = new Uint8Array(Math.ceil(leaves / 512));
    this.sptes = new Int32Array(512 * (leaves + 1));
  }

  override begin(): void {
    super.begin();
    this.accesses = this.tlbMisses = this.retries = this.unmapped = 0;
  }

  /** Executes accesses `from`..`to` - 1 of `stream`. */
  run(stream: Uint32Array, from: number, to: number): void {
    const { tlb, directory, sptes, ptes, states, times } = this;
    const { memDramNs, tlbWalk2dNs } = this.costs;
    const mask = (tlb.length >> 1) - 1;
    let { generation } = this;
    let clock = times[CLOCK]!;
    let misses = 0;
    for (let at = from; at < to; at++) {
      const access = stream[at]!;
      const write = access >>> 31;
      const gfn = access & PAGE_MASK;
      const set = (gfn & mask) << 1;
      if (tlb[set] !== generation || ((tlb[set + 1]! ^ ((gfn << 1) | write)) >>> 0) + write >= 2) {
        let spte = sptes[(directory[gfn >> 9]! << 9) | (gfn & 511)]!;
        const wanted = write === 0 ? READ_BITS : WRITE_BITS;
        if ((spte & wanted) !== wanted) {
          times[CLOCK] = clock;
          this.fault(gfn, write);
          generation = this.generation;
          clock = times[CLOCK]!;
          spte = sptes[(directory[gfn >> 9]! << 9) | (gfn & 511)]!;
        }
        tlb[set] = generation;
        tlb[set + 1] = (gfn << 1) | ((spte & DIRTY) >> 3);
        misses++;
        clock += tlbWalk2dNs;
      }
      clock += memDramNs;
      // The policy sees the access: a page enters with its first one.
      if (states[gfn]! & RESIDENT) states[gfn] = RESIDENT | 1;
      else if (ptes[gfn]! & PRESENT) this.enter(gfn);
    }
    times[CLOCK] = clock;
    this.tlbMisses += misses;
    this.accesses += to - from;
  }

  // From the exit to the entry; the access is repeated afterwards.
  private fault(gfn: number, write: number): void {
    const { frames, ptes, events, times } = this;
    const { vmExitNs, eptMapNs } = this.costs;
    const { records } = frames;
    const before = eptMapNs >> 2; // passes before the lock is taken
    const start = times[CLOCK]!;
    for (let stage = 0; stage < STAGES; stage++) times[stage] = 0;
    this.kind = SPURIOUS;
    events[KVM_EXIT]!++;
    events[KVM_PAGE_FAULT]!++;
    this.spend(EXIT, vmExitNs);
    if (this.directory[gfn >> 9] === 0) this.takeTables(gfn);
    const leaf = (this.directory[gfn >> 9]! << 9) | (gfn & 511);
    const present = this.sptes[leaf]! & PRESENT;
    if (present && write) events[FAST_PAGE_FAULT]!++;

    const { sequence } = this;
    const slow = (ptes[gfn]! & (PRESENT | WRITABLE)) !== (PRESENT | WRITABLE);
    const pte = this.pageOf(gfn, write);
    const frame = pte >> ENTRY_SHIFT;
    if (slow) frames.used(frame);
    else records[frame << SHIFT]! |= REFERENCED;
    this.spend(MAP, before);
    if (this.stale(gfn, sequence)) {
      // is_page_fault_stale(): its own eviction has overtaken it. It exits again and finds the page there.
      frames.used(frame);
      this.retries++;
      events[KVM_EXIT]!++;
      events[KVM_PAGE_FAULT]!++;
      this.spend(EXIT, vmExitNs);
      if (write === 0) frames.used(frame);
      else records[frame << SHIFT]! |= REFERENCED;
      this.spend(MAP, before);
    }

    events[SPTE_REQUESTED]!++;
    this.sptes[leaf] = (frame << ENTRY_SHIFT) | (pte & WRITABLE ? WRITE_BITS : READ_BITS);
    events[SPTE_CHANGED]!++;
    events[SET_SPTE]!++;
    this.spend(MAP, eptMapNs - before);
    const kind = Math.max(this.kind, present ? WRITE_PROTECT : MINOR);
    frames.used(frame);
    records[(frame << SHIFT) + REFS]!--;
    if (this.flushRequested) {
      this.flushRequested = false;
      this.spend(FLUSH, this.costs.tlbFlushAllNs);
    }
    events[KVM_ENTRY]!++;
    this.latencies.record(kind, times[CLOCK]! - start, times);
  }

  // is_page_fault_stale(): the range is being invalidated, or something was since `sequence`.
  private stale(gfn: number, sequence: number): boolean {
    if (this.invalidating !== 0 && gfn >= this.rangeStart && gfn < this.rangeEnd) return true;
    return this.sequence !== sequence;
  }

  protected unmapBegin(gfn: number): void {
    const { events } = this;
    events[UNMAP_HVA_RANGE]!++;
    if (this.invalidating++ === 0) {
      this.rangeStart = gfn;
      this.rangeEnd = gfn + 1;
    }
    const leaf = (this.directory[gfn >> 9]! << 9) | (gfn & 511);
    const zapped = this.sptes[leaf]! & PRESENT;
    if (zapped) {
      this.sptes[leaf] = 0;
      events[SPTE_CHANGED]!++;
    }
    this.spend(RECLAIM, this.costs.notifierInvalidateNs);
    if (zapped) {
      this.unmapped++;
      this.spend(RECLAIM, this.costs.rmapPerSpteNs);
      this.flush();
    }
  }

  protected unmapEnd(): void {
    this.sequence = (this.sequence + 1) | 0;
    this.invalidating--;
    this.spend(RECLAIM, this.costs.notifierInvalidateNs);
  }

  // The vCPU is in the host: it drops its TLB at its next entry.
  private flush(): void {
    this.flushRequested = true;
    this.generation++;
    if (this.generation < 0x7fff_ffff) return;
    this.tlb.fill(0);
    this.generation = 1;
  }

  // KVM's tables on the way to `gfn`, each linked by an entry above it.
  private takeTables(gfn: number): void {
    if (this.tables === 0) this.linkTable();
    if (this.upperTables[gfn >> 18] === 0) this.linkTable();
    this.upperTables[gfn >> 18] = 1;
    this.linkTable();
    this.tables++;
    this.directory[gfn >> 9] = this.tables;
  }

  private linkTable(): void {
    this.takeTable();
    this.events[MMU_GET_PAGE]!++;
    this.events[SPTE_CHANGED]!++;
  }

  result(): WholeResult {
    const { frames, slots } = this;
    const faults = (kind: number): FaultKind => this.latencies.of(kind);
    const untouchedPages = this.ptes.reduce((count, pte) => count + (pte === 0 ? 1 : 0), 0);
    return {
      accesses: this.accesses,
      virtualTimeNs: this.times[CLOCK]! - this.epoch,
      tlbMisses: this.tlbMisses,
      memory: {
        ...{ residentPages: this.resident, peakResidentPages: this.peakResident },
        ...{ swappedPages: this.swapped, untouchedPages },
      },
      stall: { someNs: this.times[STALL_SOME]!, fullNs: this.times[STALL_FULL]! },
      faults: {
        ...{ minor: faults(MINOR), major: faults(MAJOR) },
        ...{ spurious: faults(SPURIOUS), writeProtect: faults(WRITE_PROTECT) },
      },
      notifier: { unmapped: this.unmapped, retries: this.retries },
      host: {
        memory: { freePages: frames.zoneFree, minFreePages: frames.zoneMinFree },
        reclaim: { scanned: this.scanned, reclaimedDirect: this.reclaimed },
        swap: { out: this.swapOuts, in: this.swapIns, slotsUsed: slots.taken, allocFailed: 0 },
        device: { reads: this.reads, writes: this.writes, busyNs: this.busyNs },
      },
      workingset: {
        ...{ refaults: frames.refaults, activated: frames.activatedRefaults, restored: frames.restored },
      },
      frames: { free: frames.zoneFree, ...frames.lengths(), tables: this.tablesTaken },
      events: Object.fromEntries(EVENTS.map((name, event) => [name, this.events[event]!])),
    };
  }

  page(gfn: number): WholePage {
    const pte = this.ptes[gfn]!;
    const mapped = (this.sptes[(this.directory[gfn >> 9]! << 9) | (gfn & 511)]! & PRESENT) !== 0;
    const number = pte >> ENTRY_SHIFT;
    if ((pte & PRESENT) === 0) {
      return { mapped, frame: null, refs: 0, maps: 0, list: "", flags: [], slot: pte === 0 ? null : number };
    }
    return { mapped, frame: number, ...this.frames.told(number), slot: null };
  }
}
