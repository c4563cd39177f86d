// What a machine keeps of its own doings, in plain TypeScript over typed arrays: the clock and the stages of the fault under way, the statistics of faults, pressure on
// memory, and how often each tracepoint was passed. One vCPU in one cgroup, nobody else: no events, and nothing to be ordered.

import { PlainLatencies } from "./latencies.js";

export const SPURIOUS = 0;
export const WRITE_PROTECT = 1;
export const MINOR = 2;
export const MAJOR = 3;
const KINDS = 4;

// Stages of a fault, as PlainLatencies has them.
export const EXIT = 0;
export const RECLAIM = 2;
export const ALLOC = 3;
export const CPU = 4;
export const MAP = 7;
export const FLUSH = 8;

// Behind them.
export const STAGES = 10;
export const CLOCK = 10;
const STALL_SINCE = 11;
export const STALL_SOME = 12;
export const STALL_FULL = 13;

export const STALL_RECLAIM = 1;
export const STALL_SWAP_IN = 2;

/** Tracepoints that are counted. */
export const EVENTS = [
  ...["kvm_exit", "kvm_page_fault", "kvm_entry", "fast_page_fault"],
  ...[
    "kvm_mmu_get_page",
    "kvm_mmu_spte_requested",
    "kvm_tdp_mmu_spte_changed",
    "kvm_mmu_set_spte",
    "kvm_unmap_hva_range",
  ],
  ...["mm_page_alloc", "mm_page_free", "mm_vmscan_memcg_reclaim_begin", "mm_vmscan_memcg_reclaim_end"],
  ...["mm_vmscan_write_folio", "swapcache_add", "swap_writepage", "swap_readpage"],
];
export const KVM_EXIT = 0;
export const KVM_PAGE_FAULT = 1;
export const KVM_ENTRY = 2;
export const FAST_PAGE_FAULT = 3;
export const MMU_GET_PAGE = 4;
export const SPTE_REQUESTED = 5;
export const SPTE_CHANGED = 6;
export const SET_SPTE = 7;
export const UNMAP_HVA_RANGE = 8;
export const PAGE_ALLOC = 9;
export const PAGE_FREE = 10;
export const RECLAIM_BEGIN = 11;
export const RECLAIM_END = 12;
export const WRITE_FOLIO = 13;
export const SWAPCACHE_ADD = 14;
export const SWAP_WRITEPAGE = 15;
export const SWAP_READPAGE = 16;

/** Prices in ns, by the names of the core's: some may be 0. */
export interface WholeCosts {
  memDramNs: number;
  tlbWalk2dNs: number;
  vmExitNs: number;
  minorFaultNs: number;
  eptMapNs: number;
  tlbFlushAllNs: number;
  notifierInvalidateNs: number;
  rmapPerSpteNs: number;
  reclaimScanPageNs: number;
  swapInCpuNs: number;
  swapOutCpuNs: number;
  guestSwitchNs: number;
  /** Of the swap device. */
  readNs: number;
  writeNs: number;
}

export class PlainAccounts {
  /** Stages of the fault under way, then the clock and pressure, ns. */
  protected readonly times = new Float64Array(14);
  /** The clock when time started. */
  protected epoch = 0;
  protected readonly latencies = new PlainLatencies(KINDS);
  protected readonly events = new Float64Array(EVENTS.length);
  private stalls = 0;
  private stalled = 0;
  private productive = 1;

  constructor(protected readonly costs: WholeCosts) {}

  /** Time and statistics start; the vCPU, which has halted, goes on with another task of the guest's. */
  begin(): void {
    this.events[KVM_ENTRY]!++;
    this.epoch = this.times[CLOCK]!;
    this.times[CLOCK]! += this.costs.guestSwitchNs;
    this.latencies.clear();
    this.times.fill(0, STALL_SOME);
  }

  protected spend(stage: number, ns: number): void {
    this.times[CLOCK]! += ns;
    this.times[stage]! += ns;
  }

  /** psi_memstall_enter() for a reason, and _leave() for 0. The only vCPU is stalled, so none gets work done. */
  protected stall(reasons: number): void {
    const before = this.stalls;
    this.stalls = reasons;
    if ((before === 0) === (reasons === 0)) return;
    const { times } = this;
    const ns = times[CLOCK]! - times[STALL_SINCE]!;
    if (this.stalled !== 0) {
      times[STALL_SOME]! += ns;
      if (this.productive === 0) times[STALL_FULL]! += ns;
    }
    times[STALL_SINCE] = times[CLOCK]!;
    const change = reasons !== 0 ? 1 : -1;
    this.stalled += change;
    this.productive -= change;
  }
}
