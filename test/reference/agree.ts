// The comparison of the core with the reference model: both run the same machine, a few accesses at a time, and after each slice
// everything that the model predicts is compared.

import { bootCore } from "#dist/boot.js";
import { Core } from "#dist/core.js";
import type { Trace } from "#dist/files.js";
import type { Case } from "./cases.js";
import { ReferenceMachine } from "./machine.js";
import { STAGES } from "./time.js";
import { KINDS, type Vm } from "./vm.js";

const KIND_CONSTANTS = {
  spurious: "FAULT_SPURIOUS",
  writeProtect: "FAULT_WRITE_PROTECT",
  minor: "FAULT_MINOR",
  major: "FAULT_MAJOR",
} as const;
const VM_COUNTERS = {
  accesses: "VM_ACCESSES",
  blockedNs: "VM_BLOCKED_NS",
  unmapped: "VM_UNMAPPED",
  aged: "VM_AGED",
  young: "VM_YOUNG",
  flushes: "VM_FLUSHES",
  retries: "VM_RETRIES",
  tlbMisses: "VM_TLB_MISSES",
} as const;
const HOST_COUNTERS = {
  scanned: "MM_SCANNED",
  reclaimedDirect: "MM_RECLAIMED_DIRECT",
  reclaimedKswapd: "MM_RECLAIMED_KSWAPD",
  swapOut: "MM_SWAP_OUT",
  swapIn: "MM_SWAP_IN",
  swapAllocFailed: "MM_SWAP_ALLOC_FAILED",
} as const;
const PAGE_FIELDS = [
  ["state", "REPORT_PAGE_STATE"],
  ["pfn", "REPORT_PAGE_PFN"],
  ["area", "REPORT_PAGE_AREA"],
  ["slot", "REPORT_PAGE_SLOT"],
  ["list", "REPORT_PAGE_LIST"],
  ["writable", "REPORT_PAGE_WRITABLE"],
  ["accessed", "REPORT_PAGE_ACCESSED"],
  ["dirty", "REPORT_PAGE_DIRTY"],
  ["mapped", "REPORT_PAGE_MAPPED"],
] as const;
// The core's names of the lists (page.ts).
const LISTS = { none: 0, inactive: 2, active: 3, isolated: 4 } as const;
const EVENTS_A_CALL = 1_000_000;

/** How far a case came. */
export interface Reached {
  accesses: number;
  outOfMemory: boolean;
  /** The reference model at the end. */
  model: ReferenceMachine;
}

/** A core that runs the machine of a case. */
export function boot(module: WebAssembly.Module, { scenario, streams }: Case): Core {
  const core = new Core(module);
  const traces = new Map<string, Trace>();
  for (const [vm, vcpus] of streams.entries()) {
    for (const [vcpu, words] of vcpus.entries()) {
      const pages = words.reduce((most, word) => Math.max(most, (word & 0x7fff_ffff) + 1), 0);
      traces.set(`${vm}.${vcpu}`, { words, pages, sha256: "" });
    }
  }
  bootCore(core, scenario, traces);
  return core;
}

/**
 * Runs the case on both sides, `slice` accesses at a time.
 *
 * @param check called with the core after each slice
 * @throws Error with the first difference: after which access, of what, expected and got
 */
export function agree(
  module: WebAssembly.Module,
  subject: Case,
  slice: number,
  check: (core: Core) => void = () => {},
): Reached {
  const core = boot(module, subject);
  const model = new ReferenceMachine(subject.scenario, subject.streams);
  const comparison = new Comparison(core, model, gfnsOf(subject));
  let made = 0;
  while (made < subject.accesses && model.oom === null) {
    model.run(slice);
    made += slice;
    comparison.stop(runCore(core, slice), made);
    comparison.compare(made);
    check(core);
  }
  return {
    accesses: model.vms.reduce((sum, { counts }) => sum + counts.accesses, 0),
    outOfMemory: model.oom !== null,
    model,
  };
}

/** Runs until `accesses` accesses have been made, or the run ends. Returns the name of the reason. */
function runCore(core: Core, accesses: number): string {
  const none = core.constant("STOP_NONE");
  let stop = none;
  for (let left = accesses; stop === none; left -= core.call.machineMade() >>> 0) {
    stop = core.call.machineRun(left, EVENTS_A_CALL) >>> 0;
  }
  for (const [name, value] of core.constants("STOP_")) if (value === stop) return name;
  return String(stop);
}

function gfnsOf({ streams }: Case): number[][] {
  const gfns = (words: readonly Uint32Array[]): Set<number> =>
    new Set(words.flatMap((stream) => Array.from(stream, (word) => word & 0x7fff_ffff)));
  return streams.map((vcpus) => [...gfns(vcpus)].sort((a, b) => a - b));
}

class Comparison {
  private readonly table: number;
  private readonly index: Map<string, number>;

  constructor(
    private readonly core: Core,
    private readonly model: ReferenceMachine,
    private readonly gfns: readonly number[][],
  ) {
    this.table = core.call.reportTable();
    this.index = new Map([...core.constants("")]);
  }

  private at(constant: string): number {
    return this.index.get(constant)!;
  }

  stop(got: string, made: number): void {
    const { oom } = this.model;
    const expected = oom === null ? "ACCESSES" : "OOM";
    if (got !== expected) throw new Error(`access ${made}: stop: expected ${expected}, got ${got}`);
  }

  compare(made: number): void {
    const { call } = this.core;
    const row = this.core.f64(this.table, 128);
    for (const vm of this.model.vms) {
      for (const gfn of this.gfns[vm.id]!) {
        call.reportPage(vm.id, gfn);
        const expected = pageRow(vm, gfn);
        for (const [position, [field, constant]] of PAGE_FIELDS.entries()) {
          const got = row[this.at(constant)]!;
          if (got === expected[position]) continue;
          // An isolated page is on its reclaimer's list, and on none while it is looked at.
          if (field === "list" && expected[position] === LISTS.isolated && got === LISTS.none) continue;
          this.differ(made, `vm ${vm.id} gfn ${gfn} ${field}`, expected[position]!, got);
        }
      }
      call.reportVm(vm.id);
      this.compareVm(made, vm, row);
    }
    call.reportHost();
    this.compareHost(made, row);
    for (const { type, device, used } of this.model.host.swap.areas) {
      call.reportDevice(type);
      this.same(made, `device ${type} reads`, device.reads, row[this.at("REPORT_DEVICE_READS")]!);
      this.same(made, `device ${type} writes`, device.writes, row[this.at("REPORT_DEVICE_WRITES")]!);
      this.same(made, `device ${type} slots`, used, row[this.at("REPORT_DEVICE_SLOTS_USED")]!);
    }
  }

  private compareVm(made: number, vm: Vm, row: Float64Array): void {
    for (const kind of KINDS) {
      const { count, sumNs, stages } = vm.faults.get(kind)!;
      const first =
        this.at("REPORT_VM_FAULTS") + this.at(KIND_CONSTANTS[kind]) * this.at("REPORT_FAULT_FIELDS");
      this.same(made, `vm ${vm.id} ${kind} faults`, count, row[first]!);
      for (const [index, stage] of STAGES.entries()) {
        this.same(
          made,
          `vm ${vm.id} ${kind} faults, ns of stage ${stage}`,
          stages.get(stage)!,
          row[first + 4 + index]!,
        );
      }
      this.same(made, `vm ${vm.id} ${kind} faults, ns`, sumNs, row[first + 1]!);
    }
    for (const [counter, constant] of Object.entries(VM_COUNTERS) as [keyof typeof VM_COUNTERS, string][]) {
      this.same(made, `vm ${vm.id} ${counter}`, vm.counts[counter], row[this.at(constant)]!);
    }
  }

  private compareHost(made: number, row: Float64Array): void {
    const { host, now, oom } = this.model;
    for (const [counter, constant] of Object.entries(HOST_COUNTERS) as [
      keyof typeof HOST_COUNTERS,
      string,
    ][]) {
      this.same(made, `host ${counter}`, host.counts[counter], row[this.at(constant)]!);
    }
    this.same(made, "free pages", host.frames.free, row[this.at("REPORT_HOST_FREE")]!);
    this.same(made, "virtual time", now, row[this.at("REPORT_HOST_NOW")]!);
    if (oom === null) return;
    this.same(made, "VM out of memory", oom.vm, row[this.at("REPORT_HOST_OOM_VM")]!);
    this.same(
      made,
      "out of memory over the limit",
      Number(oom.overLimit),
      row[this.at("REPORT_HOST_OOM_LIMIT")]!,
    );
  }

  private same(made: number, what: string, expected: number, got: number): void {
    if (got !== expected) this.differ(made, what, expected, got);
  }

  private differ(made: number, what: string, expected: number, got: number): never {
    throw new Error(`after access ${made}: ${what}: expected ${expected}, got ${got}`);
  }
}

function pageRow(vm: Vm, gfn: number): number[] {
  const pte = vm.ptes.get(gfn);
  const mapped = Number(vm.sptes.has(gfn));
  if (pte === undefined) return [0, 0, 0, 0, LISTS.none, 0, 0, 0, mapped];
  const page = pte.page ?? pte.slot.cached;
  const slot = pte.slot ?? page?.slot;
  const list =
    page === null
      ? "none"
      : page.isolated
        ? "isolated"
        : vm.inactive.includes(page)
          ? "inactive"
          : vm.active.includes(page)
            ? "active"
            : "none";
  const bits = pte.page === null ? [0, 0, 0] : [pte.writable, pte.accessed, pte.dirty].map(Number);
  if (page?.zero) return [3, 0, 0, 0, LISTS.none, ...bits, mapped];
  const place = [pte.page === null ? 2 : 1, page?.pfn ?? 0, slot?.area.type ?? 0, slot?.offset ?? 0];
  return [...place, LISTS[list], ...bits, mapped];
}
