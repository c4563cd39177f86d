import { ACTOR_BYTES } from "../sim/actor";

// The mm floor's region of an actor's record: program counters and locals of the operations that an actor can be in the
// middle of, one group an operation, so that nothing of a step stays on the stack. Each group is read and written only by
// the file named beside it.

// allocate a frame: alloc.ts
export const ALLOC_PC: usize = ACTOR_BYTES;
export const ALLOC_PFN: usize = ACTOR_BYTES + 4;
export const ALLOC_RETRIES: usize = ACTOR_BYTES + 8;
export const ALLOC_MEMCG: usize = ACTOR_BYTES + 12;

// resolve a fault of the primary MMU: fault.ts; or of a VM's file: kvm/gfntopage.ts
export const FAULT_PC: usize = ACTOR_BYTES + 16;
export const FAULT_SPACE: usize = ACTOR_BYTES + 20;
export const FAULT_INDEX: usize = ACTOR_BYTES + 24;
export const FAULT_WRITE: usize = ACTOR_BYTES + 28;
export const FAULT_PFN: usize = ACTOR_BYTES + 32;
export const FAULT_WRITABLE: usize = ACTOR_BYTES + 36;
export const FAULT_KIND: usize = ACTOR_BYTES + 40;
export const FAULT_ENTRY: usize = ACTOR_BYTES + 44;

// evict one page: evict.ts
export const EVICT_PC: usize = ACTOR_BYTES + 48;
export const EVICT_PFN: usize = ACTOR_BYTES + 52;

// shrink the lists of one cgroup: shrink.ts
export const SHRINK_PC: usize = ACTOR_BYTES + 56;
export const SHRINK_SPACE: usize = ACTOR_BYTES + 60;
export const SHRINK_INACTIVE: usize = ACTOR_BYTES + 64;
export const SHRINK_ACTIVE: usize = ACTOR_BYTES + 68;
export const SHRINK_LIST: usize = ACTOR_BYTES + 72; // head, tail, length
export const SHRINK_KEPT: usize = ACTOR_BYTES + 84; // head, tail, length
export const SHRINK_TAKEN: usize = ACTOR_BYTES + 96;
export const SHRINK_FREED: usize = ACTOR_BYTES + 100;
export const SHRINK_BUSY: usize = ACTOR_BYTES + 104;

// reclaim up to a target: reclaim.ts (scan_control)
export const RECLAIM_PC: usize = ACTOR_BYTES + 108;
export const RECLAIM_TARGET: usize = ACTOR_BYTES + 112;
export const RECLAIM_DONE: usize = ACTOR_BYTES + 116;
export const RECLAIM_SCANNED: usize = ACTOR_BYTES + 120;
export const RECLAIM_PRIORITY: usize = ACTOR_BYTES + 124;
export const RECLAIM_MEMCG: usize = ACTOR_BYTES + 128; // space of the cgroup, 0 for the whole host
export const RECLAIM_CURSOR: usize = ACTOR_BYTES + 132;
export const RECLAIM_FLAGS: usize = ACTOR_BYTES + 136;

// kswapd: kswapd.ts
export const KSWAPD_PC: usize = ACTOR_BYTES + 144;
export const KSWAPD_RECLAIMED: usize = ACTOR_BYTES + 148;

/** Which host an actor belongs to. */
export const ACTOR_MM: usize = ACTOR_BYTES + 152;

// what became of the pages of a batch, for its tracepoint: evict.ts
export const TALLY_ACTIVATED: usize = ACTOR_BYTES + 156;
export const TALLY_REFERENCED: usize = ACTOR_BYTES + 160;
export const TALLY_WRITEBACK: usize = ACTOR_BYTES + 164;
// when the wait for writeback began: reclaim.ts
export const THROTTLED_AT: usize = ACTOR_BYTES + 168; // u64

// pressure: psi.ts
export const PSI_GROUP: usize = ACTOR_BYTES + 176;
export const PSI_FLAGS: usize = ACTOR_BYTES + 180;
// pages freed before the present batch: shrink.ts
export const SHRINK_FREED_BEFORE: usize = ACTOR_BYTES + 184;

// the page that a write fault copies: fault.ts
export const FAULT_OLD: usize = ACTOR_BYTES + 188;

// read ahead from swap: readahead.ts
export const READAHEAD_PC: usize = ACTOR_BYTES + 192;
export const READAHEAD_NEXT: usize = ACTOR_BYTES + 196; // page or slot to look at
export const READAHEAD_END: usize = ACTOR_BYTES + 200;
export const READAHEAD_PLUGGED: usize = ACTOR_BYTES + 204; // frames whose reads wait
export const READAHEAD_SUBMITTED: usize = ACTOR_BYTES + 208;
export const READAHEAD_PLUG: usize = ACTOR_BYTES + 212; // u32 × 32: the frames

// advise: pages still to be looked at: advise.ts
export const ADVISE_NEXT: usize = ACTOR_BYTES + 340;
export const ADVISE_END: usize = ACTOR_BYTES + 344;
export const ADVISE_PC: usize = ACTOR_BYTES + 348;
export const ADVISE_SPACE: usize = ACTOR_BYTES + 352;

// writes that wait to be submitted together: plug.ts
export const PLUG_COUNT: usize = ACTOR_BYTES + 356;
export const PLUG_NEXT: usize = ACTOR_BYTES + 360;
export const PLUG_PAGE: usize = ACTOR_BYTES + 364;
export const PLUG_RUNS: usize = ACTOR_BYTES + 368; // (entry, pages) × 32

// the frame that this fault's window reads for the fault itself, PFN_NONE for none: readahead.ts
export const READAHEAD_OWN: usize = ACTOR_BYTES + 624;

// what reclaim has cost when a round began (anon, file), and the writes of the present batch: reclaim.ts, shrink.ts
export const RECLAIM_COSTS: usize = ACTOR_BYTES + 628;
export const SHRINK_WRITTEN: usize = ACTOR_BYTES + 636;

// how far a charge has come, and whether the frame is for a page table: alloc.ts
export const ALLOC_LIMITED: usize = ACTOR_BYTES + 640;
export const ALLOC_TABLE: usize = ACTOR_BYTES + 644;

// evict what a policy has chosen: idealized.ts
export const IDEALIZED_PC: usize = ACTOR_BYTES + 648;
export const IDEALIZED_SPACE: usize = ACTOR_BYTES + 652;
export const IDEALIZED_PFN: usize = ACTOR_BYTES + 656;
export const IDEALIZED_FREED: usize = ACTOR_BYTES + 660;
// the page goes whether it was used or not: evict.ts
export const EVICT_CHOSEN: usize = ACTOR_BYTES + 664;

// whether a fault may wait (FAULT_WAIT, …): faultstate.ts
export const FAULT_MODE: usize = ACTOR_BYTES + 668;

// drop the pages of a range: dontneed.ts
export const DONTNEED_PC: usize = ACTOR_BYTES + 672;
export const DONTNEED_SPACE: usize = ACTOR_BYTES + 676;
export const DONTNEED_START: usize = ACTOR_BYTES + 680;
export const DONTNEED_END: usize = ACTOR_BYTES + 684;
export const DONTNEED_PAGES: usize = ACTOR_BYTES + 688;

// shrink the generations of one cgroup: mglrushrink.ts
export const MGLRU_PC: usize = ACTOR_BYTES + 692;
export const MGLRU_WANTED: usize = ACTOR_BYTES + 696;
export const MGLRU_SCANNED: usize = ACTOR_BYTES + 700;
export const MGLRU_BATCH: usize = ACTOR_BYTES + 704;
export const MGLRU_SEQ: usize = ACTOR_BYTES + 708;
export const MGLRU_SWAPPED: usize = ACTOR_BYTES + 712;
// the reclaimer ages, so that the flags of pages may be changed in bulk: mglrulook.ts too
export const MGLRU_WALKED: usize = ACTOR_BYTES + 716;

// make a new generation: mglruaging.ts
export const AGING_PC: usize = ACTOR_BYTES + 720;
export const AGING_SPACE: usize = ACTOR_BYTES + 724;
export const AGING_SEQ: usize = ACTOR_BYTES + 728;
export const AGING_TABLE: usize = ACTOR_BYTES + 732;

// split a 2 MiB page: thp.ts
export const SPLIT_PC: usize = ACTOR_BYTES + 736;
export const SPLIT_SPACE: usize = ACTOR_BYTES + 740;
export const SPLIT_START: usize = ACTOR_BYTES + 744;

// migrate one page: migrate.ts
export const MIGRATE_PC: usize = ACTOR_BYTES + 752;
export const MIGRATE_OLD: usize = ACTOR_BYTES + 756;
export const MIGRATE_NEW: usize = ACTOR_BYTES + 760;
export const MIGRATE_MODE: usize = ACTOR_BYTES + 764;
export const MIGRATE_FORCE: usize = ACTOR_BYTES + 768;
export const MIGRATE_RESULT: usize = ACTOR_BYTES + 772;
export const MIGRATE_WAS_MAPPED: usize = ACTOR_BYTES + 776;
export const MIGRATE_TARGET: usize = ACTOR_BYTES + 780;

// migrate a list of pages: migratepages.ts
export const MIGRATES_LIST: usize = ACTOR_BYTES + 784; // head, tail, length
export const MIGRATES_FAILED: usize = ACTOR_BYTES + 796; // head, tail, length
export const MIGRATES_PC: usize = ACTOR_BYTES + 808;
export const MIGRATES_NEXT: usize = ACTOR_BYTES + 812;
export const MIGRATES_PASS: usize = ACTOR_BYTES + 816;
export const MIGRATES_RETRY: usize = ACTOR_BYTES + 820;
export const MIGRATES_MOVED: usize = ACTOR_BYTES + 824;
export const MIGRATES_REASON: usize = ACTOR_BYTES + 828;

// take a range of frames offline: offline.ts
export const OFFLINE_PC: usize = ACTOR_BYTES + 832;
export const OFFLINE_START: usize = ACTOR_BYTES + 836;
export const OFFLINE_END: usize = ACTOR_BYTES + 840;
export const OFFLINE_MOVED: usize = ACTOR_BYTES + 844;
export const OFFLINE_PASSES: usize = ACTOR_BYTES + 848;
export const OFFLINE_STATUS: usize = ACTOR_BYTES + 852;
export const OFFLINE_UNTIL: usize = ACTOR_BYTES + 856; // u64
export const OFFLINE_FAILED: usize = ACTOR_BYTES + 864;
export const MIGRATES_LIMIT: usize = ACTOR_BYTES + 868; // migratepages.ts

// write one page of a file: an upper floor's machine (writepage.ts)
export const WRITEPAGE_PC: usize = ACTOR_BYTES + 872;
export const WRITEPAGE_RESULT: usize = ACTOR_BYTES + 876;

// compact the zones (struct compact_control): compact.ts, and the two scanners
export const COMPACT_PC: usize = ACTOR_BYTES + 880;
export const COMPACT_ORDER: usize = ACTOR_BYTES + 884;
export const COMPACT_MODE: usize = ACTOR_BYTES + 888;
export const COMPACT_PLACE: usize = ACTOR_BYTES + 892; // zones still to be looked at
export const COMPACT_ZONE: usize = ACTOR_BYTES + 896;
export const COMPACT_WHOLE: usize = ACTOR_BYTES + 900;
export const COMPACT_REST: usize = ACTOR_BYTES + 904; // the next batch takes the rest of its pageblock
export const COMPACT_MIGRATE_PFN: usize = ACTOR_BYTES + 908;
export const COMPACT_FREE_PFN: usize = ACTOR_BYTES + 912;
export const COMPACT_LAST_MIGRATED: usize = ACTOR_BYTES + 916;
export const COMPACT_TARGETS: usize = ACTOR_BYTES + 920; // head, tail, length
export const COMPACT_WANTED: usize = ACTOR_BYTES + 932; // pages that still need a target
export const COMPACT_MOVED: usize = ACTOR_BYTES + 936;
export const COMPACT_FAILED: usize = ACTOR_BYTES + 940;
export const COMPACT_MIGRATE_SCANNED: usize = ACTOR_BYTES + 944;
export const COMPACT_FREE_SCANNED: usize = ACTOR_BYTES + 948;
export const COMPACT_RESULT: usize = ACTOR_BYTES + 952;
export const COMPACT_FLAGS: usize = ACTOR_BYTES + 960;
// the frames that pages move to come from the free scanner: migrate.ts
export const MIGRATE_COMPACTS: usize = ACTOR_BYTES + 956;

export const MM_CONTEXT_END: usize = ACTOR_BYTES + 968;
