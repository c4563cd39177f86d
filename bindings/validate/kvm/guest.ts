// The machine that a captured experiment is repeated on, as the commands see it: slots by their numbers, pages within them, and what the
// capture says about the step.

import type { CgroupFile } from "../../cgroup.js";
import type { KsmSetting } from "../../ksm.js";
import type { Machine } from "../../machine.js";
import type { MemslotSetting } from "../../memorymap.js";
import type { MigrateStep } from "../../migration.js";
import type { PagerSetting } from "../../pager.js";
import type { EntryBits } from "../../pagetable.js";
import type { Advice } from "../../stepping.js";
import type { CapturedStep, KvmScenario, StepSummary } from "./captured.js";
import type { TraceEvent } from "./tracetext.js";

const PAGE_BYTES = 4096;

/** Name of the VM. */
export const VM = "vm";

/** What a command does. @throws PagevisorError E_FILE for words that it does not understand */
export type Command = (guest: CapturedGuest, words: readonly string[], step: StepInput) => void;

/** What a step takes from the capture. */
export interface StepInput {
  captured: CapturedStep;
  summary: StepSummary | undefined;
  /** The step's events in the capture: their CPUs are an input. */
  events: readonly TraceEvent[];
}

export interface GuestSlot {
  id: number;
  gfn: number;
  pages: number;
}

/** One experiment while it is repeated. */
export class CapturedGuest {
  /** Faults that had to read swap, the monitor's own ones too. */
  majorFaults = 0;
  /** Pages that migrated, and that did not. */
  moved = 0;
  notMoved = 0;
  private readonly slots: Map<number, GuestSlot>;
  /** The limit of the capture's cgroup, and the bytes that it is charged for and the model's is not. */
  private max: number | "max" = "max";
  private unknown = 0;
  /** What pages hold, where the capture merges equal ones. */
  private readonly contents: Contents | undefined;
  private merging: KsmSetting = {};

  /** The guest's own page tables are shadowed. */
  readonly shadowed: boolean;

  constructor(
    readonly machine: Machine,
    captured: KvmScenario,
  ) {
    this.shadowed = captured.environment.mmu === "shadow";
    this.contents = machine.scenario.host.ksm === undefined ? undefined : new Contents();
    this.slots = new Map(
      captured.memslots.map(({ slot, gpa, pages }) => [slot, { id: slot, gfn: Number(gpa) / 4096, pages }]),
    );
  }

  /** The slot of that number, as the script writes it. */
  slot(word: string | undefined): GuestSlot {
    const slot = this.slots.get(Number(word));
    if (slot === undefined) throw new Error(`there is no slot ${word}`);
    return slot;
  }

  access(
    vcpu: number,
    { gfn }: GuestSlot,
    page: number,
    write: boolean,
    cpu: number,
    interrupts: boolean,
    generation?: string,
  ): number {
    const content = write ? (this.contents?.written(page, generation) ?? 0) : 0;
    const mode = write ? "write" : "read";
    const { exits, fault } = this.machine.access(VM, vcpu, gfn + page, mode, { cpu, interrupts, content });
    if (fault === "major") this.majorFaults += 1;
    return exits;
  }

  /** Writes to the files of /sys/kernel/mm/ksm, which keep what has been written to them. */
  setKsm(setting: KsmSetting): void {
    this.merging = { ...this.merging, ...setting };
    this.machine.setKsm(this.merging);
  }

  /** The monitor writes every page of the range alike. */
  fill(slot: GuestSlot, start: number, pages: number, cpu: number): void {
    this.advise(slot, "write", start, pages, cpu, this.contents?.filled());
  }

  /** The monitor writes to every page of the range what depends on its number and the generation. */
  write(slot: GuestSlot, start: number, pages: number, generation: string | undefined, cpu: number): void {
    if (this.contents === undefined) {
      this.advise(slot, "write", start, pages, cpu);
      return;
    }
    for (let page = start; page < start + pages; page++) {
      this.advise(slot, "write", page, 1, cpu, this.contents.written(page, generation));
    }
  }

  /** The guest writes to every page of a slot, outside of any step. */
  touchAll(id: number): void {
    const slot = this.slots.get(id);
    for (let page = 0; page < (slot?.pages ?? 0); page++) this.access(0, slot!, page, true, 0, false);
    this.machine.traceText();
  }

  /** The guest changes its entries for pages of a slot. */
  editPageTable(
    vcpu: number,
    { gfn }: GuestSlot,
    start: number,
    pages: number,
    bits: EntryBits,
    cpu: number,
  ): void {
    this.machine.editPageTable(VM, vcpu, { gfn: gfn + start, pages }, bits, { cpu });
  }

  /** Sets a slot, or deletes it. @throws Error with what KVM refuses */
  setMemslot({ id }: GuestSlot, setting: MemslotSetting | null, cpu: number): void {
    const { error } = this.machine.setMemslot(VM, id, setting, { cpu });
    if (error !== null) throw new Error(`the model refuses it with ${error}`);
  }

  writeCgroup(file: CgroupFile, bytes: number | "max", cpu: number): number {
    return this.machine.writeCgroup(VM, file, bytes, { cpu }).chargedPages;
  }

  /** Limits the cgroup. */
  limit(bytes: number | "max", cpu: number): void {
    this.max = bytes;
    this.writeCgroup("memory.max", bytes === "max" ? bytes : bytes - this.unknown, cpu);
  }

  /** The cgroup of the capture is charged for more than the model knows of: its limit leaves room for that many pages. */
  leaveRoom(pages: number, cpu: number): void {
    if (this.max === "max") return;
    const charged = this.writeCgroup("memory.max", "max", cpu);
    this.unknown = this.max - (charged + pages) * PAGE_BYTES;
    this.limit(this.max, cpu);
  }

  /** The vCPU's guest writes the register of asynchronous page faults. Touching its area first is no part of the step. */
  enableAsyncPf(vcpu: number, area: number, flags: number, cpu: number): void {
    this.machine.access(VM, vcpu, Math.floor(area / 4096), "write", { cpu, interrupts: false });
    this.machine.traceText();
    this.machine.writeMsr(VM, vcpu, "async-pf-en", area + flags, { cpu });
  }

  /** Runs tasks of the guest until all have ended. */
  runTasks(names: readonly string[], cpu: number): void {
    for (const name of names) this.machine.startTask(VM, name, { cpu });
    if (names.length > 0) this.majorFaults += this.machine.run().vms[0]!.faults.major.count;
  }

  setPager(setting: PagerSetting | null): void {
    this.machine.setPager(VM, setting);
  }

  /** Time passes, in which writes that are under way end. */
  sleep(ms: number): void {
    if (ms > 0) this.machine.run({ time: ms * 1e6 });
  }

  migrate({ gfn }: GuestSlot, start: number, pages: number, cpu: number): MigrateStep {
    const step = this.machine.migrate(VM, { gfn: gfn + start, pages }, { cpu });
    this.moved += step.moved;
    this.notMoved += step.failed;
    return step;
  }

  /** The frame that backs a guest frame, if one does. */
  frameOf(gfn: number): number | undefined {
    return this.machine.inspect({ vm: VM, gfn }).frame?.pfn;
  }

  pin({ gfn }: GuestSlot, start: number, pages: number, cpu: number): void {
    this.machine.pin(VM, { gfn: gfn + start, pages }, { cpu });
  }

  unpin(cpu: number): void {
    this.machine.unpin(VM, { cpu });
  }

  dirtyLog({ id }: GuestSlot, cpu: number): number[] {
    return this.machine.dirtyLog(VM, id, { cpu }).dirty;
  }

  advise({ gfn }: GuestSlot, advice: Advice, start: number, pages: number, cpu: number, content = 0): void {
    this.adviseAt(gfn + start, advice, pages, cpu, content);
  }

  adviseAt(gfn: number, advice: Advice, pages: number, cpu: number, content = 0): void {
    if (pages === 0) return;
    this.majorFaults += this.machine.advise(VM, advice, { gfn, pages }, { cpu, content }).faults.major;
  }
}

/** Numbers for what the script writes: equal contents, equal numbers. */
class Contents {
  private readonly numbers = new Map<string, number>();

  filled(): number {
    return this.number("filled");
  }

  /** A write of page i stores i * 2654435761 + generation. */
  written(page: number, generation = ""): number {
    return this.number(`${page} ${generation}`);
  }

  private number(name: string): number {
    const number = this.numbers.get(name) ?? this.numbers.size + 1;
    this.numbers.set(name, number);
    return number;
  }
}

/** The CPU of a step's first event, which is where its thread was. */
export function cpuOf({ events }: StepInput): number {
  return cpuIn(events);
}

/** The CPU of the monitor's first event among `events`. */
export function cpuIn(events: readonly TraceEvent[]): number {
  return events.find(({ task }) => task === "vmm")?.cpu ?? 0;
}
