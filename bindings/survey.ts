// A machine as a whole, told in names: the host's memory, or a VM's, by state and in free lists, and where vCPUs, tasks and asynchronous page faults
// stand. Reads what the core has put into its table and changes nothing.

import type { BootedTask } from "./boot.js";
import type { Core } from "./core.js";
import type { ResolvedScenario } from "./scenario.js";
import { vmNamed } from "./stepping.js";
import { type VcpuMode, vcpuModeOf } from "./vcpus.js";

/** What the frames of a memory hold; each frame counts once but for the last two. Numbers of 4 KiB frames. */
export interface InspectedFrames {
  /** All. */
  total: number;
  /** In the buddy allocator's lists. */
  free: number;
  /** Free, in the lists of CPUs. */
  perCpu: number;
  /** Page tables, of KVM and of processes. */
  tables: number;
  /** On an inactive LRU list. */
  inactive: number;
  /** On an active LRU list. */
  active: number;
  /** On generation lists (MGLRU). */
  generations: number;
  /** Taken off the lists by whoever evicts, moves or reports them. */
  isolated: number;
  /** Of the guest's page cache. */
  cache: number;
  /** In the balloon. */
  balloon: number;
  /** Mapped, and in a batch of a CPU on the way to a list. */
  batched: number;
  /** In use otherwise, or not memory that pages are allocated from. */
  other: number;
  /** Of all: known to the swap cache. */
  swapCache: number;
  /** Of all: being written to swap. */
  writeback: number;
}

/** A zone with its free lists. Numbers of 4 KiB frames. */
export interface InspectedZone {
  /** First frame. */
  frame: number;
  /** How many frames it spans. */
  frames: number;
  /** Free pages as an allocation counts them: those in CPUs' lists are not among them. */
  freePages: number;
  /** Watermarks min, low and high, in pages. */
  watermarks: [min: number, low: number, high: number];
  /** Number of free blocks of 2^order pages, orders 0 to 10, by migratetype. */
  freeBlocks: {
    unmovable: number[];
    movable: number[];
    reclaimable: number[];
    highatomic: number[];
    isolate: number[];
  };
  /** Number of pageblocks (512 frames) by migratetype. */
  pageblocks: {
    unmovable: number;
    movable: number;
    reclaimable: number;
    highatomic: number;
    isolate: number;
  };
}

/** An asynchronous page fault that its guest has not yet seen completed. */
export interface InspectedToken {
  /** The token, as hexadecimal number; "all" for the one that wakes everybody. */
  token: string;
  /** The guest frame that is fetched. */
  gfn: number;
  /** `queued`: nobody has been told to fetch it; `waiting`: for a worker; `running`: a worker fetches it; `done`: it is there. */
  state: "queued" | "waiting" | "running" | "done";
  /** The guest has been told that the page is not there; else its vCPU was halted, or is not to know. */
  told: boolean;
  /** Names of the tasks that sleep until it is done. */
  tasks: string[];
}

/** Where a vCPU stands. */
export interface InspectedVcpu {
  /** Its number in the VM. */
  vcpu: number;
  /** What it does: as of {@link VcpuState}. */
  mode: VcpuMode;
  /** Number of the host CPU that it is on; null for none. */
  cpu: number | null;
  /** Its clock, virtual ns since boot. */
  clockNs: number;
  /** Name of the task that is on it; null for none, or one of the guest's kernel. */
  task: string | null;
  /** The guest frame of the page fault that it is in; null for none. */
  gfn: number | null;
  /** Asynchronous page faults that have not been consumed, oldest first. */
  tokens: InspectedToken[];
}

/** Where a task stands. */
export interface InspectedTask {
  /** Its name. */
  name: string;
  /** Number of its vCPU. */
  vcpu: number;
  /** `pending`: not started; `ready`: another one has the vCPU; `waiting`: asleep in the guest. */
  state: "pending" | "ready" | "running" | "waiting" | "ended";
}

/** The host as a whole. */
export interface InspectedHost {
  /** Its frames by state. */
  frames: InspectedFrames;
  /** Its zones, the lowest first. */
  zones: InspectedZone[];
}

/** A VM as a whole. */
export interface InspectedVm {
  /** Its pages in the host: mapped with a frame, in swap, never touched. The three make all. */
  pages: { resident: number; swapped: number; untouched: number };
  /** The guest's own memory; null where the guest has no memory management of its own (`guest.allocator: "direct"`). */
  guest: InspectedHost | null;
  /** Its vCPUs. */
  vcpus: InspectedVcpu[];
  /** Its tasks, in the scenario's order. */
  tasks: InspectedTask[];
}

const STATES = {
  free: "FREE",
  perCpu: "PER_CPU",
  tables: "TABLES",
  inactive: "INACTIVE",
  active: "ACTIVE",
  generations: "GENERATIONS",
  isolated: "ISOLATED",
  cache: "CACHE",
  balloon: "BALLOON",
  batched: "BATCHED",
  other: "OTHER",
} as const;
const TYPES = ["unmovable", "movable", "reclaimable", "highatomic", "isolate"] as const;
const TASK_STATES = ["pending", "ready", "running", "ended", "waiting"] as const;
const HOST = -1;
const FIELDS = 16;
const TOKEN_ALL = 0xffffffff;

/** The host. */
export function inspectHost(core: Core): InspectedHost {
  return { frames: framesOf(core, HOST), zones: zonesOf(core, HOST) };
}

/** The VM called `name`, or with that place in the list. @throws PagevisorError E_STEP */
export function inspectVm(
  core: Core,
  scenario: ResolvedScenario,
  tasks: readonly BootedTask[],
  name: string | number,
): InspectedVm {
  const { index, vm } = vmNamed(scenario, name);
  const own = tasks.filter((task) => task.vm === index);
  core.call.reportVm(index);
  const row = core.f64(core.call.reportTable(), core.constant("REPORT_VM_UNTOUCHED") + 1);
  const [resident, swapped, untouched] = ["RESIDENT", "SWAPPED", "UNTOUCHED"].map(
    (field) => row[core.constant(`REPORT_VM_${field}`)]!,
  );
  return {
    pages: { resident: resident!, swapped: swapped!, untouched: untouched! },
    guest:
      core.call.surveyZones(index) === 0
        ? null
        : { frames: framesOf(core, index), zones: zonesOf(core, index) },
    vcpus: Array.from({ length: vm.vcpus }, (_, vcpu) => vcpuOf(core, index, vcpu, own)),
    tasks: own.map(({ id, name, vcpu }) => ({
      name,
      vcpu,
      state: TASK_STATES[core.call.surveyTaskState(id) >>> 0]!,
    })),
  };
}

function fields(core: Core): Float64Array {
  return core.f64(core.call.surveyTable(), FIELDS);
}

function framesOf(core: Core, vm: number): InspectedFrames {
  core.call.surveyFrames(vm);
  const table = fields(core);
  const count = (state: string): number => table[core.constant(`FRAMES_${state}`)]!;
  const states = Object.fromEntries(Object.entries(STATES).map(([name, state]) => [name, count(state)]));
  return {
    total: table.subarray(0, core.constant("FRAMES_STATES")).reduce((sum, frames) => sum + frames, 0),
    ...(states as Record<keyof typeof STATES, number>),
    swapCache: count("SWAP_CACHE"),
    writeback: count("WRITEBACK"),
  };
}

function zonesOf(core: Core, vm: number): InspectedZone[] {
  const { call } = core;
  const orders = core.constant("ZONE_ORDERS");
  return Array.from({ length: call.surveyZones(vm) >>> 0 }, (_, place) => {
    call.surveyZone(vm, place);
    const table = fields(core);
    const field = (name: string): number => table[core.constant(`ZONE_${name}`)]!;
    const min = core.constant("ZONE_WATERMARK_MIN");
    const blocks = (type: number): number[] =>
      Array.from({ length: orders }, (_, order) => call.surveyFreeBlocks(vm, place, order, type) >>> 0);
    return {
      frame: field("START"),
      frames: field("FRAMES"),
      freePages: field("FREE"),
      watermarks: [table[min]!, table[min + 1]!, table[min + 2]!],
      freeBlocks: Object.fromEntries(
        TYPES.map((type, at) => [type, blocks(at)]),
      ) as unknown as InspectedZone["freeBlocks"],
      pageblocks: Object.fromEntries(
        TYPES.map((type, at) => [type, call.surveyBlocks(vm, place, at) >>> 0]),
      ) as unknown as InspectedZone["pageblocks"],
    };
  });
}

function vcpuOf(core: Core, vm: number, vcpu: number, tasks: readonly BootedTask[]): InspectedVcpu {
  core.call.surveyVcpu(vm, vcpu);
  const table = fields(core);
  const field = (name: string): number => table[core.constant(`SURVEY_VCPU_${name}`)]!;
  const orNull = (value: number): number | null => (value < 0 ? null : value);
  const current = field("TASK");
  const found = {
    vcpu,
    mode: vcpuModeOf(core, vm, vcpu),
    cpu: orNull(field("CPU")),
    clockNs: field("CLOCK"),
    task: tasks.find(({ id }) => id === current)?.name ?? null,
    gfn: orNull(field("GFN")),
  };
  return { ...found, tokens: tokensOf(core, vm, vcpu, tasks) };
}

function tokensOf(core: Core, vm: number, vcpu: number, tasks: readonly BootedTask[]): InspectedToken[] {
  const { call } = core;
  const sleeping = new Map(tasks.map(({ id, name }) => [name, call.surveyTaskToken(id)]));
  const states = new Map(
    (["queued", "waiting", "running", "done"] as const).map((state) => [
      core.constant(`WORK_${state.toUpperCase()}`),
      state,
    ]),
  );
  const found: InspectedToken[] = [];
  while (call.surveyWork(vm, vcpu, found.length) !== 0) {
    const table = fields(core);
    const field = (name: string): number => table[core.constant(`SURVEY_WORK_${name}`)]!;
    const token = field("TOKEN");
    found.push({
      token: token === TOKEN_ALL ? "all" : `0x${token.toString(16)}`,
      gfn: field("GFN"),
      state: states.get(field("STATE"))!,
      told: field("TOLD") !== 0,
      tasks: [...sleeping].filter(([, waited]) => waited === token).map(([name]) => name),
    });
  }
  return found;
}
