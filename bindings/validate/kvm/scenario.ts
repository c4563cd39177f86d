// The scenario in which a captured experiment is repeated: its memory slots, its swap area, its settings.

import type { Scenario } from "../../scenario.js";
import { asyncPfKeys } from "./apf.js";
import type { KvmScenario } from "./captured.js";
import { VM } from "./guest.js";
import { usesMerging } from "./merging.js";
import type { MonitorActivity } from "./monitor.js";
import { OTHERS, othersPages, ownSlot } from "./own.js";
import type { TraceEvent } from "./tracetext.js";

/** What the quantities are read from (quantities.ts). */
const EVENTS = [
  "kvm_page_fault",
  "kvm_mmu_set_spte",
  "kvm_unmap_hva_range",
  "kvm_age_hva",
  "kr_flush_young",
  "swapcache_add",
  "swap_readpage",
  "set_migration_pte",
  "kvm_try_async_get_page",
  "kvm_async_pf_*",
  "kvm_inj_exception",
  "kvm_inj_virq",
];
const RECORDS = 65_536;
const PAGE_BYTES = 4096;

/** MEMCG_CHARGE_BATCH */
const CHARGE_BATCH = 64;

/** Free clusters are handed out in this many columns: slots 16384 apart come first. */
const COLUMN_SLOTS = 16_384;
/** An area of which no capture shows the end. */
const AREA_SLOTS = 16 * COLUMN_SLOTS;

/**
 * The captures' disk against their CPU: a request of up to 254 pages is written in 0.4 to 3.5 ms, in which reclaim there looks at 5 to 40 pages
 * (80 us each, 1.5 us here).
 */
const CAPTURED_DISK = { writeNs: 11_000, writeBytesPerUs: 1_000_000, servers: 512 };

export function scenarioOf(
  captured: KvmScenario,
  events: ReadonlyMap<number, readonly TraceEvent[]>,
  activity: MonitorActivity,
): Scenario {
  const { environment, memslots, vcpus } = captured;
  const slots = [
    ...memslots.map(({ gpa, pages, hva }) => ({ gfn: Number(gpa) / PAGE_BYTES, pages, hva: Number(hva) })),
    ...ownSlot(activity),
  ];
  const pages = slots.reduce((sum, slot) => sum + slot.pages, 0);
  const merges = usesMerging(captured.steps);
  return {
    host: {
      memory: Math.floor(environment.mem_total_kb / 4) * PAGE_BYTES,
      cpus: environment.cpus,
      // The second has no CPUs, and the guests' memory is not there.
      numaNodes: 2,
      // The captures' processor has SVM and nested paging.
      vendor: "amd",
      swap: swapOf(environment, events),
      ...(merges && { ksm: { run: environment.ksm_run === 1 } }),
      reclaim: {
        policy: environment.lru_gen === "n" ? "two-list" : "mglru",
        swappiness: environment.swappiness,
        pageClusterPages: 1 << environment.page_cluster,
      },
    },
    vms: [
      {
        name: VM,
        memory: pages * PAGE_BYTES,
        vcpus,
        memslots: slots,
        mmu: environment.mmu === "legacy" || environment.mmu === "shadow" ? environment.mmu : "tdp",
        hugePages: memslots.some(({ thp }) => thp),
        // A vCPU sets tables aside 40 at a time (KVM_ARCH_NR_OBJS_PER_MEMORY_CACHE), and those of a capture have run before they join the cgroup.
        memcg: { chargeTables: true, chargeKvmTables: false, chargeBatch: CHARGE_BATCH },
        ...asyncPfKeys(captured),
        ...guestKeys(captured),
      },
      ...(activity.pages > 0 ? [{ name: OTHERS, memory: othersPages(activity) * PAGE_BYTES }] : []),
    ],
    ...(merges && { check: { integrity: true } }),
    trace: { events: EVENTS, capacity: RECORDS },
  };
}

function guestKeys(captured: KvmScenario): Pick<Scenario["vms"][number], "guest"> {
  const { guest } = asyncPfKeys(captured) as Pick<Scenario["vms"][number], "guest">;
  if (captured.environment.mmu !== "shadow") return guest === undefined ? {} : { guest };
  return {
    guest: { ...guest, pageTables: "shared", ...(!captured.guest_ad_preset && { accessedDirty: "clear" }) },
  };
}

function swapOf(
  { swap, swap_rotational: rotational }: KvmScenario["environment"],
  events: ReadonlyMap<number, readonly TraceEvent[]>,
): NonNullable<Scenario["host"]["swap"]> {
  if (swap === "none") return [];
  const size = areaSlots(events) * PAGE_BYTES;
  if (swap === "zram") return [{ kind: "zram-lz4", size }];
  return [{ kind: "nvme", ...CAPTURED_DISK, size, rotational: rotational === 1 }];
}

/**
 * Slots of the area, which a capture does not say: where the first column of clusters ends tells it. Nothing else depends on it as long as
 * the area does not fill up.
 */
function areaSlots(events: ReadonlyMap<number, readonly TraceEvent[]>): number {
  const offsets = [...events.values()].flatMap((step) =>
    step
      .filter(({ name }) => name === "swapcache_add")
      .map(({ fields }) =>
        Number(BigInt(/entry=(0x[0-9a-f]+)/.exec(fields)?.[1] ?? "0") & 0x3ffffffffffffffn),
      ),
  );
  const wrap = offsets.findIndex((offset, place) => place > 0 && offset < COLUMN_SLOTS && offset >= 512);
  if (wrap < 0) return Math.max(AREA_SLOTS, ...offsets.map((offset) => offset + 1));
  const last = Math.max(...offsets.slice(0, wrap));
  return (Math.floor(last / COLUMN_SLOTS) + 1) * COLUMN_SLOTS;
}
