// What a machine costs before it runs: boot, fork, snapshot, restore. Copies are compared with copying the same bytes into fresh memory,
// which is the least that a copy can cost.

import { Machine, type Scenario } from "#dist/index.js";
import { type Contender, collectGarbage, median, race, speedup } from "./measure.js";
import { figure, ratio, type Setting, type SuiteReport, table } from "./report.js";
import { Rig } from "./rig.js";

const MIB = 2 ** 20;

interface BootResult {
  what: string;
  ms: number;
  stateMiB: number;
  /** Time against copying the state's bytes. */
  timesCopy?: number;
}

export interface BootRow {
  name: string;
  scenario: Scenario;
}

function scenarioOf(bytes: number, kind: "uniform" | "zipf", prefault: boolean): Scenario {
  const pages = bytes / 4096;
  const workload = kind === "zipf" ? { kind, pages, theta: 0.99 } : { kind, pages };
  return {
    host: { memory: 2 * bytes + 16 * MIB, swap: [{ kind: "nvme", size: bytes }] },
    vms: [{ name: "guest", memory: bytes, guest: { tasks: [{ prefault, workload }] } }],
  };
}

export function bootRows(small = 16 * MIB, large = 1024 * MIB): BootRow[] {
  const name = (bytes: number, rest: string): string => `boot, ${bytes / MIB} MiB guest${rest}`;
  return [
    { name: name(small, ""), scenario: scenarioOf(small, "uniform", false) },
    { name: name(large, ""), scenario: scenarioOf(large, "uniform", false) },
    { name: name(large, ", zipf"), scenario: scenarioOf(large, "zipf", false) },
    { name: name(large, ", every page written before"), scenario: scenarioOf(large, "uniform", true) },
  ];
}

/** The machine that is copied. */
export function copyScenario(bytes = 1024 * MIB): Scenario {
  return scenarioOf(bytes, "zipf", true);
}

// The instances of earlier rounds are the garbage collector's; it works while nobody is timed.
function fresh(run: () => unknown): () => void {
  return () => {
    collectGarbage();
    run();
  };
}

function bootResults({ module }: Setting): BootResult[] {
  return bootRows().map(({ name, scenario }) => {
    const [seconds] = race([{ name, run: fresh(() => Rig.boot(module, scenario)) }]);
    const bytes = Rig.boot(module, scenario).core.call.bootBytes();
    return { what: name, ms: median(seconds!) * 1000, stateMiB: bytes / MIB };
  });
}

async function copyResults({ module }: Setting): Promise<BootResult[]> {
  const scenario = copyScenario();
  const machine = await Machine.create(scenario, { module });
  machine.run({ accesses: 1_000_000 });
  const snapshot = machine.snapshot();
  const state = Rig.boot(module, scenario).core.memory;
  const source = new Uint8Array(state.buffer);
  const contenders: Contender[] = [
    // A WebAssembly memory as a fork needs it, filled: what cannot be saved.
    { name: "copy of the bytes", run: fresh(() => copied(source)) },
    { name: "fork", run: fresh(() => machine.fork()) },
    { name: "snapshot", run: fresh(() => machine.snapshot()) },
    // With the module at hand, restore() has done its work when it returns its promise.
    { name: "restore", run: fresh(() => Machine.restore(snapshot, { module })) },
  ];
  const times = race(contenders);
  return contenders.map(({ name }, index) => ({
    what: `${name}, 1024 MiB guest, every page written`,
    ms: median(times[index]!) * 1000,
    stateMiB: source.byteLength / MIB,
    ...(index > 0 && { timesCopy: 1 / speedup(times[index]!, times[0]!) }),
  }));
}

function copied(source: Uint8Array): WebAssembly.Memory {
  const pages = source.byteLength / 65_536;
  const memory = new WebAssembly.Memory({ initial: pages });
  new Uint8Array(memory.buffer).set(source);
  return memory;
}

export async function boot(setting: Setting): Promise<SuiteReport> {
  const rows = [...bootResults(setting), ...(await copyResults(setting))];
  const columns = [
    { head: "what", cell: ({ what }: BootResult) => what, align: "left" as const },
    { head: "CPU ms", cell: ({ ms }: BootResult) => figure(ms) },
    { head: "state MiB", cell: ({ stateMiB }: BootResult) => figure(stateMiB) },
    { head: "of copying", cell: ({ timesCopy }: BootResult) => ratio(timesCopy) },
  ];
  const notes = [
    "Boot: from the scenario to the first access, the module compiled before. of copying: time / time of the copy.",
  ];
  return { title: "boot and copies", rows, text: [...table(columns, rows), ...notes] };
}
