// The prices a scenario may override, by the names that the core exports them under. Their values live in the core's cost table;
// this file says which exist and what each pays for.

/** Costs that this version charges. All in virtual ns. */
export const COST_MEANINGS = {
  vmExitNs: "VM exit and re-entry, nothing done in between.",
  exitUserNs:
    "An exit that the monitor handles: an access to a frame without memory, a write to a read-only slot. The exit is included.",
  hltExitNs: "HLT exit: block, wake and re-entry of a vCPU with nothing to run.",
  memDramNs: "One access to a random line of memory, TLB hit.",
  tlbWalk2dNs: "Two-dimensional page walk after a TLB miss, added to memDramNs.",
  minorFaultNs: "Host allocation of an order-0 anonymous page, zeroing included.",
  eptMapNs:
    "Handling of an EPT violation whose host page is present: walk, notifier check, install the spte.",
  swapInCpuNs: "CPU work of a swap-in around the device: slot lookup, allocation, mapping.",
  swapOutCpuNs: "CPU work of a swap-out around the device: unmap, slot, submission.",
  swapCacheHitNs: "Host fault on a page that is still in the swap cache.",
  tlbFlushAllNs: "Flush of one vCPU's TLB, refills not included.",
  shootdownBaseNs: "Sending a remote TLB flush, independent of the number of targets.",
  shootdownPerCpuNs: "Remote TLB flush, each target.",
  notifierInvalidateNs: "One MMU notifier call: lock and memslot lookup.",
  rmapPerSpteNs: "Walking one rmap entry and clearing its spte.",
  ageRmapPageNs: "Aging one page through rmap and notifier.",
  reclaimScanPageNs: "Reclaim looking at one page: list move and flag tests, aging not included.",
  guestSwitchNs: "Task switch in the guest.",
  guestExceptionNs: "A page fault or interrupt delivered to the guest and returned from, no work done.",
  apfInjectNs:
    "An asynchronous page fault: queue the work, write the reason, inject. The fault has exited already.",
  apfReadyNs: "Telling the guest that a page is there: kick and exit, token, interrupt, acknowledgement.",
  guestTickNs: "Period of the guest's timer interrupt.",
  hostSwitchNs: "Context switch on a host CPU.",
  memHitNs: "Look at a cached line: one probe of a scan of the guest.",
  zero4kNs: "The guest zeroes a page.",
  pcpAllocNs: "The guest takes a page from, or gives it to, its CPU's list.",
  buddyAllocNs: "The guest takes a block from, or gives it to, its free lists.",
  buddySlowNs: "Refill or flush of a CPU's list in the guest.",
  isolatePageNs:
    "A free block is taken off its list: by the guest to report it, by the host's compaction for pages to move to.",
  virtqKickNs: "A kick of a virtqueue until the host's thread runs, exit included.",
  irqInjectIdleNs: "An interrupt of the host until the guest handles it.",
  balloonInflatePageNs: "The host handles one page of an inflation, dropping included.",
  madviseDontneedNs: "The host drops one page: MADV_DONTNEED, the notifier not included.",
  madvisePerPageNs: "Each further page of the same call.",
  reportDelayNs: "Time between a free and the pass of free page reporting that it asks for.",
  ageLinearPteNs: "Aging one entry of the host's page table by walking the table, under mglru.",
  hugeFaultNs: "Host allocation of a 2 MiB anonymous page, zeroing included.",
  ksmScanPageNs: "ksmd looks at one page: checksum, and comparing it in the trees.",
  shadowFaultNs:
    "A fault under shadow paging, the exit included: walk of the guest's tables, notifier check, install the spte.",
  shadowPtWriteNs: "Emulating a write to a protected page table of the guest's, the exit included.",
  scanFrameNs: "Compaction, or an offline, looks at one frame that may be in its way.",
  migratePageNs: "A page moves to another frame: unmapped, copied, mapped again. The notifier not included.",
} as const;

export type CostKey = keyof typeof COST_MEANINGS;

export const COST_KEYS = Object.keys(COST_MEANINGS) as readonly CostKey[];

/** Costs of mechanisms that this version does not model. */
export const LATER_COST_KEYS: readonly string[] = [
  "tlbWalk1dNs",
  "tlbWalk2dHugeNs",
  "accessBitSetNs",
  "hypercallNs",
  "haltPollGrowStartNs",
  "haltPollMaxNs",
  "irqInjectNs",
  "uffdFaultNs",
  "copy4kNs",
  "zero2mNs",
  "copy2mNs",
  "memcmp4kNs",
  "checksum4kNs",
  "tlbFlushPageNs",
  "tlbFlushCeilingPages",
  "balloonInflatePageSgNs",
  "balloonBatchPages",
  "madvise2mNs",
  "zoneLockContendedNs",
  "migrateBatchPageNs",
  "migrate2mNs",
  "thpSplitNs",
  "thpCollapseNs",
  "khugepagedScanPages",
  "khugepagedSleepNs",
  "reclaimBatchPages",
];
