// The keys of a scenario: one place that says which exist, what each means, its unit, its default and what it may hold. Types, checks,
// `--set` and the JSON Schema all follow from it. Left out: defaults that depend on other keys (scenario.ts), rules between keys
// (rules.ts), and the mechanisms that this version does not model, which are listed by name so that they are refused kindly.

import * as v from "valibot";
import { asyncPfSchema } from "./asyncpfschema.js";
import { COST_KEYS, COST_MEANINGS, type CostKey, LATER_COST_KEYS } from "./costkeys.js";
import { eventSchema } from "./eventschema.js";
import { balloonDeviceSchema, balloonSchema, freePagesSchema } from "./giveschema.js";
import { hostPagingKeys } from "./hostpaging.js";
import { ksmSchema } from "./ksmschema.js";
import { aliasSchema, memslotSchema } from "./memslotschema.js";
import { pagerSchema } from "./pagerschema.js";
import { accessedDirty, pageTables, pagingKeys } from "./paging.js";
import { OUTSIDE, OUTSIDE_BATCH, POLICIES } from "./policynames.js";
import { taskSchema } from "./taskschema.js";
import {
  choice,
  count,
  flag,
  list,
  maybe,
  name,
  object,
  powerOfTwo,
  ratio,
  size,
  text,
  time,
  U32_MAX,
} from "./values.js";

/** Swap devices that the core knows the figures of. */
export const SWAP_KINDS = [
  "nvme",
  "sata-ssd",
  "hdd",
  "optane",
  "zram-lz4",
  "zswap-lz4",
  "zswap-zstd1",
  "zswap-zstd3",
  "zswap-lzo",
  "remote",
] as const;

export const COST_PRESETS = ["bare-metal", "nested", "nehalem-hdd-2010"] as const;

const limits = {
  accesses: maybe(count("Accesses over all guests. Absent: no such limit.")),
  time: maybe(time("Virtual time. Absent: no such limit.", { min: 1 })),
};

const duration = object(
  "How long a run lasts. Without limits it lasts until every task that can end has ended.",
  {
    ...limits,
    warmUp: maybe(object("A run before the run, left out of the printed result.", limits)),
  },
);

const bytesPerUs = "a device's bandwidth in bytes/us, which is MB/s";

const swapDevice = object(
  "A swap device: a `kind`, or figures of its own (readNs, writeNs and servers at least), or a kind with some figures replaced.",
  {
    kind: v.optional(choice("A device that pagevisor knows the figures of.", { values: SWAP_KINDS })),
    name: v.optional(
      name('Name in reports and paths. Default: kind (or "device"), "-" and the index in the list.'),
    ),
    size: size("Capacity."),
    priority: v.optional(
      v.pipe(
        v.number(),
        v.integer(),
        v.maxValue(32_767),
        v.metadata({
          description:
            "Higher is used first, equal ones in turn. Absent: as Linux does, -2, -3, … in the order of the list.",
          allowed: "a whole number 0..32767, or absent",
        }),
      ),
    ),
    readNs: v.optional(time("Service time of reading one page, bandwidth not included.", { max: U32_MAX })),
    writeNs: v.optional(time("Service time of writing one page, bandwidth not included.", { max: U32_MAX })),
    servers: v.optional(count("Requests that the device serves at once.", { max: 4096 })),
    readBytesPerUs: v.optional(
      count(`Reading: ${bytesPerUs}. Absent: that of the kind, else unlimited.`, { max: U32_MAX }),
    ),
    writeBytesPerUs: v.optional(
      count(`Writing: ${bytesPerUs}. Absent: that of the kind, else unlimited.`, { max: U32_MAX }),
    ),
    rotational: v.optional(flag("A spinning disk. Absent: that of the kind, else false.")),
    synchronous: v.optional(
      flag("I/O is CPU work of the caller, as with compressed memory. Absent: that of the kind, else false."),
    ),
    readErrors: v.optional(
      ratio(
        "Share of the reads that fail, drawn for each with the scenario's seed. A run that needs such a page ends with status readError. Absent: none.",
      ),
    ),
  },
);

const reclaim = object("How the host reclaims memory.", {
  policy: v.optional(
    choice(
      "Which pages go first. two-list: Linux' active and inactive lists. mglru: its multi-generational lists. The others are idealized: they see every access and evict one page " +
        "at the fault that needs its place, when a VM has reached its memoryMax; kswapd sleeps. belady knows the future: its VMs run one trace each. " +
        "outside: an object of the program that uses the library, which hands it to Machine.create(); a file cannot carry it, and a scenario without it is not run.",
      {
        values: ["two-list", "mglru", ...POLICIES, OUTSIDE],
        aliases: { classic: "two-list", upstream: "two-list" },
      },
    ),
    "two-list",
  ),
  outside: v.optional(
    object("The policy that the program brings along. Filled in by Machine.create().", {
      name: name("What the policy is called."),
      batch: count("Candidates that it is asked about at once.", { max: OUTSIDE_BATCH }),
    }),
  ),
  swappiness: v.optional(count("Linux' vm.swappiness.", { min: 0, max: 200 }), 60),
  watermarkScaleFactor: v.optional(
    count("Linux' vm.watermark_scale_factor: distance of the watermarks in 1/10000 of memory.", {
      max: 3000,
    }),
    10,
  ),
  pageClusterPages: v.optional(
    powerOfTwo(
      "Pages that one swap-in reads at most: 2 to the power of Linux' vm.page-cluster. Default: 8, and 1 under an idealized policy.",
      { min: 1, max: 32 },
    ),
  ),
});

const host = object("The host.", {
  memory: size("Managed memory; KVM's and the host's page tables are taken from it."),
  cpus: v.optional(count("Host CPUs. Default: as many as there are vCPUs.", { max: 256 })),
  numaNodes: v.optional(
    count(
      "NUMA nodes. The first has the CPUs and all memory that is simulated; direct reclaim goes through the others too, which brings the counters that it goes by up to date more often.",
      { max: 64 },
    ),
    1,
  ),
  vendor: v.optional(
    choice(
      "Who made the CPUs: the form of KVM's page tables and of what is traced about exits. intel: EPT. amd: NPT.",
      {
        values: ["intel", "amd"],
      },
    ),
    "intel",
  ),
  quantum: v.optional(
    time("Longest time that a vCPU runs without looking at the rest of the machine.", {
      min: 1,
      max: U32_MAX,
    }),
    "10us",
  ),
  swap: v.optional(list("Swap devices.", "device", swapDevice), []),
  reclaim: v.optional(reclaim, {}),
  ksm: v.optional(ksmSchema),
});

const costs = object(
  "Prices in virtual time: a preset, and single prices that replace those of the preset.",
  {
    preset: v.optional(choice("Where the prices were measured.", { values: COST_PRESETS }), "bare-metal"),
    ...(Object.fromEntries(COST_KEYS.map((key) => [key, cost(key)])) as Record<
      CostKey,
      ReturnType<typeof cost>
    >),
  },
  LATER_COST_KEYS,
);

function cost(key: CostKey) {
  // A timer without a period would fire for ever at one instant.
  return v.optional(time(COST_MEANINGS[key], { min: key === "guestTickNs" ? 1 : 0, max: U32_MAX }));
}

const guest = object("What runs in the VM.", {
  tasks: v.optional(list("Tasks. None: the VM is driven by machine.access().", "task", taskSchema), []),
  timeslice: v.optional(time("Granularity of the guest's scheduler.", { min: 1, max: U32_MAX }), "4ms"),
  scheduler: v.optional(
    choice(
      "How a vCPU's tasks share it. fair: by virtual run time. fifo: each until it sleeps or ends, in the order of becoming ready, without time slices and without a timer tick.",
      { values: ["fair", "fifo"] },
    ),
    "fair",
  ),
  allocator: v.optional(
    choice(
      "How tasks get guest frames. direct: task after task, one page to one gfn. buddy: the guest's own memory management gives one at the first touch and takes it back. Default: buddy where freePages, balloon or a workload needs it.",
      { values: ["direct", "buddy"] },
    ),
  ),
  freePages: v.optional(freePagesSchema),
  balloon: v.optional(balloonSchema),
  accessedDirty: v.optional(accessedDirty),
  pageTables: v.optional(pageTables),
});

const vm = object("A virtual machine.", {
  name: name("Name in reports and paths, different from those of the other VMs."),
  memory: size("Guest memory."),
  vcpus: v.optional(count("Virtual CPUs.", { max: 64 }), 1),
  memoryMax: maybe(
    size(
      "Limit of the VM's memory cgroup: resident guest pages and swap-cache pages, and what `memcg` adds. Absent: no limit.",
    ),
  ),
  memcg: v.optional(
    object("What the VM's memory cgroup is charged beside guest pages.", {
      chargeTables: v.optional(
        flag("Charge the frames of KVM's page tables and of the host's that map the VM, as Linux does."),
        false,
      ),
      chargeKvmTables: v.optional(
        flag(
          "Whether chargeTables concerns KVM's page tables. Those that a vCPU set aside before its process joined the cgroup are not charged.",
        ),
        true,
      ),
      chargeBatch: v.optional(
        count(
          "Pages that a CPU charges at once, keeping the rest for the next ones: usage runs ahead of the pages in use. 64 in Linux.",
          { max: 1024 },
        ),
        1,
      ),
      overheadPages: v.optional(
        count("Pages of the monitor's own that are charged and never reclaimed. They take no host memory.", {
          min: 0,
          max: U32_MAX,
        }),
        0,
      ),
    }),
    {},
  ),
  tlb: v.optional(
    object("The TLB of each vCPU, indexed by gfn modulo the number of sets.", {
      entries: v.optional(powerOfTwo("Entries.", { min: 1, max: 65_536 }), 2048),
      ways: v.optional(powerOfTwo("Entries of a set.", { min: 1, max: 8 }), 1),
    }),
    {},
  ),
  ...pagingKeys,
  ...hostPagingKeys,
  asyncPf: v.optional(asyncPfSchema, {}),
  pager: v.optional(pagerSchema),
  memslots: v.optional(
    list(
      "Where the guest's memory lies, and what backs it; its pages come to `memory`. Default: one slot over all memory.",
      "slot",
      memslotSchema,
      { min: 1 },
    ),
  ),
  aliases: v.optional(
    list(
      "Frames that stand for others, up to 4 stretches; the first that has a frame counts. With mmu legacy.",
      "alias",
      aliasSchema,
    ),
    [],
  ),
  balloonDevice: v.optional(balloonDeviceSchema),
  guest: v.optional(guest, {}),
});

const check = object("What is verified while the simulation runs.", {
  integrity: v.optional(flag("Compare every read with the last write of its page."), false),
  onViolation: v.optional(
    choice("stop: end the run at the first violation. count: go on and count.", {
      values: ["stop", "count"],
    }),
    "stop",
  ),
});

const trace = object("Which tracepoints write records.", {
  events: list(
    "Names of tracepoints; * stands for any characters.",
    "name",
    v.pipe(
      v.string(),
      v.regex(/^[a-z0-9_*]+$/),
      v.metadata({ description: "A tracepoint.", allowed: "lower-case letters, digits, '_' and '*'" }),
    ),
    { min: 1 },
  ),
  capacity: v.optional(count("Records that are kept; the oldest go first.", { max: 2 ** 24 }), 65_536),
});

const varied = v.pipe(
  v.union([v.string(), v.number(), v.boolean(), v.null()]),
  v.metadata({ description: "A value of the path.", allowed: "a text, a number, true, false or null" }),
);

const sweep = object(
  "What `pagevisor sweep` varies when its command line does not say it; every other command ignores it.",
  {
    vary: v.optional(
      v.pipe(
        v.record(v.string(), list("Values, one point each.", "value", varied, { min: 1 })),
        v.metadata({
          description: "Values by dotted path; the last path turns fastest.",
          allowed: "an object of lists",
        }),
      ),
      {},
    ),
    seeds: v.optional(
      count("Runs of each point, with seeds that count up from the scenario's.", { max: 1_000_000 }),
      1,
    ),
  },
);

export const scenarioSchema = object(
  "A scenario of pagevisor: a host, its swap, its virtual machines and the policies under test.",
  {
    $schema: v.optional(text("Where this schema is, for editors.")),
    name: maybe(text("Name of the scenario.")),
    description: maybe(text("What the scenario shows.")),
    seed: v.optional(count("Seed of everything random.", { min: 0, max: U32_MAX }), 1),
    duration: v.optional(duration, {}),
    host,
    costs: v.optional(costs, {}),
    vms: list("Virtual machines.", "VM", vm, { min: 1 }),
    events: v.optional(list("What the monitors of VMs do while the run lasts.", "event", eventSchema), []),
    trace: maybe(trace),
    check: v.optional(check, {}),
    sweep: maybe(sweep),
  },
);

/** A scenario as a user writes it: sizes and times as numbers or with units, everything optional that has a default. */
export type Scenario = v.InferInput<typeof scenarioSchema>;

/** A scenario after the checks of single keys: sizes in bytes, times in ns, all defaults filled in that depend on no other key. */
export type ParsedScenario = v.InferOutput<typeof scenarioSchema>;
