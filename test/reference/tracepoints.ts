// The kernel's printed form of each tracepoint, as patterns written from its own formats: what the core prints must match them, and so must
// what a real kernel has printed (captures).

const GFP = "[A-Z_]+(?:\\|[A-Z_]+)*";
const PAGE = "page=[0-9a-f]{16} pfn=0x(?<pfn>[0-9a-f]+)";
const WIDE = "0x[0-9a-f]{14}"; // %#016lx
const WB = "RECLAIM_WB_ANON\\|RECLAIM_WB_ASYNC";

const COMPACT_RUN =
  "zone_start=0x[0-9a-f]+ migrate_pfn=0x[0-9a-f]+ free_pfn=0x[0-9a-f]+ zone_end=0x[0-9a-f]+, mode=(?:a?sync)";
const COMPACT_SCAN = "range=\\(0x[0-9a-f]+ ~ 0x[0-9a-f]+\\) nr_scanned=\\d+ nr_taken=\\d+";
const COMPACT_ZONE = "node=\\d+ zone=(?:DMA|DMA32|Normal|Movable) + order=-?\\d+";
const COMPACT_VERDICT = `${COMPACT_ZONE} ret=[a-z_]+`;
const COMPACT_DEFER = `${COMPACT_ZONE} order_failed=\\d+ consider=\\d+ limit=\\d+`;

const SHADOW_PAGE =
  "sp gen 0 gfn (?<gfn>[0-9a-f]+) l[1-5] 8-byte q0(?: direct)? wux nxe ad root (?<roots>\\d+) (?:un)?sync";

const PFERR = "(?:[PWUF](?:\\|[WUF])*|P\\|(?:[WU]\\|)*RSVD(?:\\|F)?)?";

/** What the kernel prints behind "event: ", from its TP_printk() of each tracepoint (6.1; KVM's as of 6.8). */
export const FORMATS: Record<string, string> = {
  kvm_entry: "vcpu (?<vcpu>\\d+), rip 0x[0-9a-f]+(?:\\[immediate exit\\])?",
  kvm_exit:
    "vcpu (?<vcpu>\\d+) reason [\\w ]+ rip 0x[0-9a-f]+ info1 0x[0-9a-f]{16} info2 0x[0-9a-f]{16} " +
    "intr_info 0x[0-9a-f]{8} error_code 0x[0-9a-f]{8}",
  kvm_page_fault:
    "vcpu (?<vcpu>\\d+) rip 0x[0-9a-f]+ address 0x(?<gpa>[0-9a-f]{16}) error_code 0x(?<error>[0-9a-f]+)",
  kvm_tdp_mmu_spte_changed:
    "as id 0 gfn (?<gfn>[0-9a-f]+) level (?<level>[1-4]) old_spte (?<old>[0-9a-f]+) new_spte (?<new>[0-9a-f]+)",
  kvm_mmu_spte_requested: "gfn (?<gfn>[0-9a-f]+) pfn (?<pfn>[0-9a-f]+) level (?<level>[12])",
  kvm_mmu_set_spte:
    "gfn (?<gfn>[0-9a-f]+) spte (?<spte>[0-9a-f]+) \\(r[w-]xu?\\) level (?<level>[12]) at (?<at>[0-9a-f]+)",
  kvm_mmu_split_huge_page: "gfn (?<gfn>[0-9a-f]+) spte (?<spte>[0-9a-f]+) level (?<level>[23]) errno -?\\d+",
  kvm_mmu_zap_all_fast: "kvm-mmu-valid-gen (?<generation>[01]) used_pages (?<used>[0-9a-f]+)",
  kvm_mmu_get_page: `${SHADOW_PAGE} (?:new|existing)`,
  kvm_mmu_prepare_zap_page: SHADOW_PAGE,
  kvm_mmu_unsync_page: SHADOW_PAGE,
  kvm_mmu_pagetable_walk: `addr (?<address>[0-9a-f]+) pferr (?<error>[0-9a-f]+) ${PFERR}`,
  kvm_mmu_paging_element: "pte (?<gpte>[0-9a-f]+) level (?<level>[1-4])",
  kvm_mmu_walker_error: `pferr (?<error>[0-9a-f]+) ${PFERR}`,
  kvm_mmu_set_accessed_bit: "gpa (?<gpa>[0-9a-f]+)",
  kvm_mmu_set_dirty_bit: "gpa (?<gpa>[0-9a-f]+)",
  kvm_mmu_sync_page: SHADOW_PAGE,
  mark_mmio_spte:
    "sptep:[0-9a-f]{16} gfn (?<gfn>[0-9a-f]+) access (?<access>[0-7]) gen (?<generation>[0-9a-f]{1,5})",
  handle_mmio_page_fault: "addr:(?<address>[0-9a-f]+) gfn (?<gfn>[0-9a-f]+) access (?<access>[0-7])",
  check_mmio_spte:
    "spte (?<spte>[0-9a-f]+) kvm_gen (?<now>[0-9a-f]{1,5}) spte-gen (?<made>[0-9a-f]{1,5}) valid (?<valid>[01])",
  fast_page_fault:
    "vcpu (?<vcpu>\\d+) gva (?<gpa>[0-9a-f]+) error_code P\\|W(?:\\|U)? sptep [0-9a-f]{16} old 0x[0-9a-f]+ new [0-9a-f]+ " +
    "spurious [01] fixed [01]",
  kvm_unmap_hva_range: `mmu notifier unmap range: (?<start>${WIDE}) -- (?<end>${WIDE})`,
  kvm_age_hva: `mmu notifier age hva: (?<start>${WIDE}) -- (?<end>${WIDE})`,
  kvm_try_async_get_page: "gva = 0x(?<gva>[0-9a-f]+), gfn = 0x(?<gfn>[0-9a-f]+)",
  kvm_async_pf_not_present: "token 0x(?<token>[0-9a-f]+) gva 0x(?<gva>[0-9a-f]+)",
  kvm_async_pf_ready: "token 0x(?<token>[0-9a-f]+) gva 0x(?<gva>[0-9a-f]+)",
  kvm_async_pf_completed: "gva 0x(?<gva>[0-9a-f]+) address 0x(?<address>[0-9a-f]+)",
  kvm_async_pf_repeated_fault: "gva = 0x(?<gva>[0-9a-f]+), gfn = 0x(?<gfn>[0-9a-f]+)",
  kvm_inj_exception: "#PF \\(0x[0-9a-f]+\\)",
  kvm_inj_virq: "IRQ 0x[0-9a-f]{2}(?: \\[reinjected\\])?",
  // The guest's: Linux has no tracepoints there.
  kvm_async_pf_task_wait: "token 0x(?<token>[0-9a-f]+) task \\d+ (?:sleeps|goes on)",
  kvm_async_pf_task_wake: "token 0x(?<token>[0-9a-f]+) woken \\d+",
  mm_compaction_begin: COMPACT_RUN,
  mm_compaction_end: `${COMPACT_RUN} status=[a-z_]+`,
  mm_compaction_isolate_migratepages: COMPACT_SCAN,
  mm_compaction_isolate_freepages: COMPACT_SCAN,
  mm_compaction_migratepages: "nr_migrated=\\d+ nr_failed=\\d+",
  mm_compaction_try_to_compact_pages: `order=\\d+ gfp_mask=${GFP} priority=[012]`,
  mm_compaction_suitable: COMPACT_VERDICT,
  mm_compaction_finished: COMPACT_VERDICT,
  mm_compaction_deferred: COMPACT_DEFER,
  mm_compaction_defer_compaction: COMPACT_DEFER,
  mm_compaction_defer_reset: COMPACT_DEFER,
  mm_migrate_pages_start: "mode=MIGRATE_(?:ASYNC|SYNC_LIGHT|SYNC) reason=[a-z_]+",
  mm_migrate_pages:
    "nr_succeeded=\\d+ nr_failed=\\d+ nr_thp_succeeded=0 nr_thp_failed=0 nr_thp_split=0 mode=MIGRATE_(?:ASYNC|SYNC_LIGHT|SYNC) reason=[a-z_]+",
  set_migration_pte: "addr=[0-9a-f]+, pte=[0-9a-f]+ order=0",
  remove_migration_pte: "addr=[0-9a-f]+, pte=[0-9a-f]+ order=0",
  mm_page_alloc: `${PAGE} order=0 migratetype=(?<type>\\d) gfp_flags=${GFP}`,
  mm_page_free: `${PAGE} order=0`,
  mm_vmscan_wakeup_kswapd: `nid=0 order=0 gfp_flags=${GFP}`,
  mm_vmscan_kswapd_wake: "nid=0 order=0",
  mm_vmscan_kswapd_sleep: "nid=0",
  mm_vmscan_direct_reclaim_begin: `order=0 gfp_flags=${GFP}`,
  mm_vmscan_direct_reclaim_end: "nr_reclaimed=(?<reclaimed>\\d+)",
  mm_vmscan_memcg_reclaim_begin: `order=0 gfp_flags=${GFP}`,
  mm_vmscan_memcg_reclaim_end: "nr_reclaimed=(?<reclaimed>\\d+)",
  mm_vmscan_lru_isolate:
    "isolate_mode=0 classzone=\\d order=0 nr_requested=(?<requested>\\d+) nr_scanned=(?<scanned>\\d+) nr_skipped=0 " +
    "nr_taken=(?<taken>\\d+) lru=(?:in)?active_(?:anon|file)",
  mm_vmscan_lru_shrink_inactive:
    "nid=0 nr_scanned=(?<scanned>\\d+) nr_reclaimed=(?<reclaimed>\\d+) nr_dirty=\\d+ nr_writeback=\\d+ nr_congested=\\d+ " +
    "nr_immediate=\\d+ nr_activate_anon=\\d+ nr_activate_file=0 nr_ref_keep=\\d+ nr_unmap_fail=\\d+ " +
    `priority=(?<priority>\\d+) flags=${WB}`,
  mm_vmscan_lru_shrink_active:
    "nid=0 nr_taken=(?<taken>\\d+) nr_active=\\d+ nr_deactivated=(?<deactivated>\\d+) nr_referenced=(?<referenced>\\d+) " +
    `priority=(?<priority>\\d+) flags=${WB}`,
  mm_vmscan_write_folio: `${PAGE} flags=${WB}`,
  swapcache_add: "\\(add_to_swap_cache\\+0x0/0x340\\) entry=0x[0-9a-f]+",
  swap_readpage: "\\(swap_readpage\\+0x0/0x590\\) entry=0x[0-9a-f]+ sync=[01]",
  swap_writepage: "\\(swap_writepage\\+0x0/0xa0\\) entry=0x[0-9a-f]+",
  folio_referenced:
    "\\(shrink_(?:folio|active)_list\\+0x[0-9a-f]+/0x[0-9a-f]+ <- folio_referenced\\) ret=\\d+",
  kr_flush_young:
    "\\(__mmu_notifier_clear_flush_young\\+0x54/0x90 <- kvm_mmu_notifier_clear_flush_young\\) young=[01]",
  mm_vmscan_throttled: "nid=0 usec_timeout=\\d+ usect_delayed=\\d+ reason=VMSCAN_THROTTLE_[A-Z]+",
};
