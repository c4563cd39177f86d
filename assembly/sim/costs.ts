// The cost table: what each piece of work takes in virtual ns. A cost is charged at exactly one place, by the layer that
// does the work. Values and their sources: docs/costs.md. The index constants are the keys: COST_VM_EXIT_NS is `vmExitNs`.

export const COST_VM_EXIT_NS: u32 = 0;
export const COST_HLT_EXIT_NS: u32 = 1;
export const COST_MEM_DRAM_NS: u32 = 2;
export const COST_TLB_WALK2D_NS: u32 = 3;
export const COST_MINOR_FAULT_NS: u32 = 4;
export const COST_EPT_MAP_NS: u32 = 5;
export const COST_SWAP_IN_CPU_NS: u32 = 6;
export const COST_SWAP_OUT_CPU_NS: u32 = 7;
export const COST_SWAP_CACHE_HIT_NS: u32 = 8;
export const COST_TLB_FLUSH_ALL_NS: u32 = 9;
export const COST_SHOOTDOWN_BASE_NS: u32 = 10;
export const COST_SHOOTDOWN_PER_CPU_NS: u32 = 11;
export const COST_NOTIFIER_INVALIDATE_NS: u32 = 12;
export const COST_RMAP_PER_SPTE_NS: u32 = 13;
export const COST_AGE_RMAP_PAGE_NS: u32 = 14;
export const COST_RECLAIM_SCAN_PAGE_NS: u32 = 15;
export const COST_GUEST_SWITCH_NS: u32 = 16;
export const COST_GUEST_TICK_NS: u32 = 17;
export const COST_HOST_SWITCH_NS: u32 = 18;
export const COST_GUEST_EXCEPTION_NS: u32 = 19;
export const COST_MEM_HIT_NS: u32 = 20;
export const COST_ZERO4K_NS: u32 = 21;
export const COST_PCP_ALLOC_NS: u32 = 22;
export const COST_BUDDY_ALLOC_NS: u32 = 23;
export const COST_BUDDY_SLOW_NS: u32 = 24;
export const COST_ISOLATE_PAGE_NS: u32 = 25;
export const COST_VIRTQ_KICK_NS: u32 = 26;
export const COST_IRQ_INJECT_IDLE_NS: u32 = 27;
export const COST_BALLOON_INFLATE_PAGE_NS: u32 = 28;
export const COST_MADVISE_DONTNEED_NS: u32 = 29;
export const COST_MADVISE_PER_PAGE_NS: u32 = 30;
export const COST_REPORT_DELAY_NS: u32 = 31;
export const COST_APF_INJECT_NS: u32 = 32;
export const COST_APF_READY_NS: u32 = 33;
export const COST_AGE_LINEAR_PTE_NS: u32 = 34;
export const COST_HUGE_FAULT_NS: u32 = 35;
export const COST_KSM_SCAN_PAGE_NS: u32 = 36;
export const COST_MIGRATE_PAGE_NS: u32 = 37;
export const COST_SHADOW_FAULT_NS: u32 = 38;
export const COST_SHADOW_PT_WRITE_NS: u32 = 39;
export const COST_SCAN_FRAME_NS: u32 = 40;
export const COST_EXIT_USER_NS: u32 = 41;
export const COST_COUNT: u32 = 42;

export const PRESET_BARE_METAL: u32 = 0;
export const PRESET_NESTED: u32 = 1;
export const PRESET_NEHALEM_HDD_2010: u32 = 2;

const COSTS: usize = memory.data(4 * 42, 8);

/** Price of `key`, virtual ns. */
export function cost(key: u32): u32 {
  assert(key < COST_COUNT);
  return load<u32>(COSTS + ((<usize>key) << 2));
}

export function costSet(key: u32, ns: u32): void {
  assert(key < COST_COUNT);
  store<u32>(COSTS + ((<usize>key) << 2), ns);
}

/** Fills the whole table from a preset: KVM on a current server, KVM inside a VM, the machine of the 2010 benchmark. */
export function costsPreset(preset: u32): void {
  assert(preset <= PRESET_NEHALEM_HDD_2010);
  costSet(COST_VM_EXIT_NS, 500);
  costSet(COST_EXIT_USER_NS, 1600);
  costSet(COST_HLT_EXIT_NS, 5000);
  costSet(COST_MEM_DRAM_NS, 100);
  costSet(COST_TLB_WALK2D_NS, 55);
  costSet(COST_MINOR_FAULT_NS, 1000);
  costSet(COST_EPT_MAP_NS, 700);
  costSet(COST_SWAP_IN_CPU_NS, 900);
  costSet(COST_SWAP_OUT_CPU_NS, 1500);
  costSet(COST_SWAP_CACHE_HIT_NS, 700);
  costSet(COST_TLB_FLUSH_ALL_NS, 200);
  costSet(COST_SHOOTDOWN_BASE_NS, 1000);
  costSet(COST_SHOOTDOWN_PER_CPU_NS, 200);
  costSet(COST_NOTIFIER_INVALIDATE_NS, 250);
  costSet(COST_RMAP_PER_SPTE_NS, 50);
  costSet(COST_AGE_RMAP_PAGE_NS, 250);
  costSet(COST_RECLAIM_SCAN_PAGE_NS, 200);
  costSet(COST_GUEST_SWITCH_NS, 1200);
  costSet(COST_GUEST_TICK_NS, 4000000);
  costSet(COST_HOST_SWITCH_NS, 1500);
  costSet(COST_AGE_LINEAR_PTE_NS, 25);
  costSet(COST_GUEST_EXCEPTION_NS, 150);
  costSet(COST_APF_INJECT_NS, 600);
  costSet(COST_APF_READY_NS, 500 + 600 + 500); // irqInjectIdleNs + 500
  costSet(COST_MEM_HIT_NS, 2);
  costSet(COST_ZERO4K_NS, 340);
  costSet(COST_PCP_ALLOC_NS, 30);
  costSet(COST_BUDDY_ALLOC_NS, 94);
  costSet(COST_BUDDY_SLOW_NS, 600);
  costSet(COST_ISOLATE_PAGE_NS, 150);
  costSet(COST_VIRTQ_KICK_NS, 6000);
  costSet(COST_IRQ_INJECT_IDLE_NS, 1100);
  costSet(COST_BALLOON_INFLATE_PAGE_NS, 2250);
  costSet(COST_MADVISE_DONTNEED_NS, 1150);
  costSet(COST_MADVISE_PER_PAGE_NS, 108);
  costSet(COST_REPORT_DELAY_NS, 2000000000);
  costSet(COST_MIGRATE_PAGE_NS, 13100);
  costSet(COST_SCAN_FRAME_NS, 50);
  costSet(COST_HUGE_FAULT_NS, 260000);
  costSet(COST_KSM_SCAN_PAGE_NS, 1200);
  costSet(COST_SHADOW_FAULT_NS, 500 + 3000);
  costSet(COST_SHADOW_PT_WRITE_NS, 500 + 2000);
  if (preset === PRESET_NESTED) {
    // Measured in a guest of a nested KVM: cpuid p50, cross-CPU wake, random line, refault p50.
    costSet(COST_VM_EXIT_NS, 6800);
    costSet(COST_EXIT_USER_NS, 21000);
    costSet(COST_HLT_EXIT_NS, 44000);
    costSet(COST_MEM_DRAM_NS, 178);
    costSet(COST_MINOR_FAULT_NS, 1220);
    costSet(COST_APF_READY_NS, 6800 + 600 + 500);
    costSet(COST_IRQ_INJECT_IDLE_NS, 6800 + 600);
    costSet(COST_HUGE_FAULT_NS, 420000);
    costSet(COST_SHADOW_FAULT_NS, 6800 + 3000);
    costSet(COST_SHADOW_PT_WRITE_NS, 6800 + 2000);
  } else if (preset === PRESET_NEHALEM_HDD_2010) {
    // 2,000 cycles at 2.93 GHz; guests of that year ticked at 1,000 Hz.
    costSet(COST_VM_EXIT_NS, 680);
    costSet(COST_EXIT_USER_NS, 2180); // as many exits as in the other presets: 3.2
    costSet(COST_IRQ_INJECT_IDLE_NS, 680 + 600);
    costSet(COST_GUEST_TICK_NS, 1000000);
    costSet(COST_SHADOW_FAULT_NS, 680 + 3000);
    costSet(COST_SHADOW_PT_WRITE_NS, 680 + 2000);
    costSet(COST_APF_READY_NS, 680 + 600 + 500);
  }
}
