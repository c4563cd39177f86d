// Commands of asynchronous page faults: apf, tasks, pager, pager_stop. The guest's tasks stand in the scenario from the beginning and
// wait to be started; their pages are traces, and a task of the scenario that is never started keeps each slot's place among the pages.

import type { Scenario } from "../../scenario.js";
import type { CapturedStep, KvmScenario } from "./captured.js";
import { type Command, cpuOf, type StepInput } from "./guest.js";
import { PATTERNS, type Pattern, patternPages } from "./patterns.js";

type Task = NonNullable<NonNullable<Scenario["vms"][number]["guest"]>["tasks"]>[number];

/** A guest task of a step. */
interface CapturedTask {
  name: string;
  vcpu: number;
  slot: number;
  kernel: boolean;
  /** Accesses: page of the slot, bit 31 set for a write. */
  words: number[];
}

const WRITE = 2 ** 31;
/** Where the payload has the shared areas, when the capture does not show it. */
const AREA = 0x28000;
const AREA_BYTES = 64;

// tasks <vcpu> <slot> <n> <cpl> <pattern> <start> <per task> <arg> r|w: task k takes the entries k*per … k*per+per-1 of the list.
function tasksOf({ step, command, pages }: CapturedStep): CapturedTask[] {
  const [word, vcpu, slot, tasks, cpl, pattern = "", start, per, argument, mode] = command.split(/\s+/);
  if (word !== "tasks") return [];
  if (!PATTERNS.includes(pattern as Pattern)) throw new Error(`the pattern ${pattern} is not known`);
  const count = Number(tasks) * Number(per);
  const list = pages ?? patternPages(pattern as Pattern, Number(start), count, Number(argument));
  return Array.from({ length: Number(tasks) }, (_, task) => ({
    name: `step${step}.${task}`,
    vcpu: Number(vcpu),
    slot: Number(slot),
    kernel: cpl === "0",
    words: list
      .slice(task * Number(per), (task + 1) * Number(per))
      .map((page) => (mode === "w" ? page + WRITE : page)),
  }));
}

/** Whether a capture is about asynchronous page faults: only then is its host's first look at a page one that must not wait. */
export function hasAsyncPf({ steps }: KvmScenario): boolean {
  return steps.some(({ command }) => /^(apf|tasks|pager)\b|\birq$/.test(command));
}

/** The keys that the VM of such a capture has beside those of every capture. */
export function asyncPfKeys(captured: KvmScenario): Partial<Scenario["vms"][number]> {
  if (!hasAsyncPf(captured)) return {};
  const region = (slot: number) => `slot${slot}`;
  const places = [...captured.memslots].sort((left, right) => Number(left.gpa) - Number(right.gpa));
  const tasks: Task[] = places.map(({ slot, pages }) => ({
    name: region(slot),
    manual: true,
    region: region(slot),
    workload: { kind: "sequential", pages },
  }));
  for (const { name, vcpu, slot, kernel } of captured.steps.flatMap(tasksOf)) {
    tasks.push({
      name,
      vcpu,
      manual: true,
      region: region(slot),
      mode: kernel ? "kernel" : "user",
      workload: { kind: "trace", file: name },
    });
  }
  const pager = captured.steps.some(({ command }) => command.startsWith("pager "));
  return {
    asyncPf: { design: "halt-only" },
    ...(pager && { pager: {} }),
    guest: { scheduler: "fifo", tasks },
  };
}

/** The traces of those tasks. */
export function asyncPfFiles({ steps }: KvmScenario): Record<string, Uint8Array> {
  const files: Record<string, Uint8Array> = {};
  for (const { name, words } of steps.flatMap(tasksOf)) {
    const bytes = new DataView(new ArrayBuffer(4 * words.length));
    for (const [place, word] of words.entries()) bytes.setUint32(4 * place, word, true);
    files[name] = new Uint8Array(bytes.buffer);
  }
  return files;
}

// apf <vcpu> <flags>: the guest writes the register that switches them on. The payload's own memory was touched before recording began.
const apf: Command = (guest, [vcpu, flags], step) => {
  const area = areaOf(step) ?? AREA + AREA_BYTES * Number(vcpu);
  guest.enableAsyncPf(Number(vcpu), area, Number(flags), cpuOf(step));
};

function areaOf({ events }: StepInput): number | undefined {
  const written = events.find(({ name, fields }) => name === "kvm_msr" && fields.includes("4b564d02 ="));
  const value = /= (0x[0-9a-f]+)/.exec(written?.fields ?? "")?.[1];
  return value === undefined ? undefined : Number(BigInt(value) & ~0x3fn);
}

const tasks: Command = (guest, _, step) => {
  guest.runTasks(
    tasksOf(step.captured).map(({ name }) => name),
    cpuOf(step),
  );
};

// pager <slot> <start> <count> fifo|lifo <ms>
const pager: Command = (guest, [slot, start, count, order, ms]) => {
  if (order !== "fifo" && order !== "lifo") throw new Error(`the order ${order} is not known`);
  const { gfn } = guest.slot(slot);
  guest.setPager({ gfn: gfn + Number(start), pages: Number(count), order, quiet: Number(ms) * 1e6 });
};

const pagerStop: Command = (guest) => guest.setPager(null);

export const asyncPfCommands: readonly (readonly [string, Command])[] = [
  ["apf", apf],
  ["tasks", tasks],
  ["pager", pager],
  ["pager_stop", pagerStop],
];
