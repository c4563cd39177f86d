// Fault-heavy runs: the working set is twice the memory, so most accesses of the uniform rows fault and every fault makes another page go.

import { Machine, type RunResult, type Scenario } from "#dist/index.js";
import { type Contender, median, race, speedup, spread } from "./measure.js";
import { figure, ratio, type Setting, type SuiteReport, table, verdict, whole } from "./report.js";
import { faultCount } from "./rig.js";

const ACCESSES = 250_000;
const WRITES = 0.3;
const MIB = 2 ** 20;

export interface FaultRow {
  name: string;
  scenario: Scenario;
  /** Pages of the working set. */
  pages: number;
  /** Least M faults per CPU second. */
  floor?: number;
}

interface Shape {
  /** What runs out of memory: the VM's cgroup, or the host, whose kswapd then works too. */
  limit: "memcg" | "host";
  device: "zram-lz4" | "nvme";
  kind: "uniform" | "zipf";
  /** Size of the working set, twice the memory. */
  bytes: number;
  floor?: number;
}

function scenarioOf({ limit, device, kind, bytes }: Shape): Scenario {
  const pages = bytes / 4096;
  const workload =
    kind === "zipf" ? { kind, pages, theta: 0.99, writes: WRITES } : { kind, pages, writes: WRITES };
  // The host's page tables, and its watermarks, come on top of what the guest may keep.
  const memory = limit === "host" ? bytes / 2 + Math.ceil(bytes / 256) + MIB : 2 * bytes + 16 * MIB;
  return {
    host: { memory: Math.ceil(memory / 4096) * 4096, swap: [{ kind: device, size: 2 * bytes }] },
    vms: [
      {
        name: "guest",
        memory: bytes,
        ...(limit === "memcg" && { memoryMax: bytes / 2 }),
        guest: { tasks: [{ prefault: true, workload }] },
      },
    ],
  };
}

/** The rows for working sets of `large` and `small` bytes. The first is the fault-heavy run that has a floor. */
export function faultRows(large = 1024 * MIB, small = 64 * MIB): FaultRow[] {
  const shapes: Shape[] = [
    { limit: "memcg", device: "zram-lz4", kind: "uniform", bytes: large, floor: 1 },
    { limit: "memcg", device: "zram-lz4", kind: "uniform", bytes: small },
    { limit: "memcg", device: "zram-lz4", kind: "zipf", bytes: large },
    { limit: "memcg", device: "nvme", kind: "uniform", bytes: large },
    { limit: "host", device: "zram-lz4", kind: "uniform", bytes: large },
    { limit: "host", device: "nvme", kind: "uniform", bytes: large },
    { limit: "host", device: "nvme", kind: "zipf", bytes: large },
  ];
  return shapes.map((shape) => ({
    name: `${shape.kind}, ${shape.limit} limit, ${shape.device}, ${shape.bytes / MIB} MiB`,
    scenario: scenarioOf(shape),
    pages: shape.bytes / 4096,
    ...(shape.floor !== undefined && { floor: shape.floor }),
  }));
}

/** What the accesses needed, each a number per counted fault. */
export function perFault({ vms, host, accesses }: RunResult): FaultRates {
  const { faults, notifier } = vms[0]!;
  const count = faultCount(faults);
  return {
    faultsPerAccess: count / accesses,
    majorShare: faults.major.count / count,
    scannedPerFault: host.reclaim.scanned / count,
    writtenPerFault: host.swap.out / count,
    kswapdShare: host.reclaim.reclaimedKswapd / (host.reclaim.reclaimedKswapd + host.reclaim.reclaimedDirect),
    retriesPerFault: notifier.retries / count,
  };
}

interface FaultRates {
  faultsPerAccess: number;
  majorShare: number;
  scannedPerFault: number;
  writtenPerFault: number;
  kswapdShare: number;
  retriesPerFault: number;
}

interface FaultResult extends FaultRates {
  run: string;
  faultsPerUs: number;
  /** (largest - smallest) / median of the rounds. */
  spread: number;
  accessesPerUs: number;
  cpuNsPerFault: number;
  speedupOverOther?: number;
  floor?: number;
}

/** A machine that has come to its steady state. */
async function settled(row: FaultRow, module: WebAssembly.Module): Promise<Machine> {
  const machine = await Machine.create(row.scenario, { module });
  machine.run({ accesses: 4 * row.pages });
  return machine;
}

async function measureRow(row: FaultRow, { module, against }: Setting): Promise<FaultResult> {
  const machine = await settled(row, module);
  const contenders: Contender[] = [{ name: "pagevisor", run: () => machine.run({ accesses: ACCESSES }) }];
  if (against !== undefined) {
    const other = await settled(row, against);
    contenders.push({ name: "other build", run: () => other.run({ accesses: ACCESSES }) });
  }
  const [ours, other] = race(contenders);
  const rates = perFault(machine.run({ accesses: 4 * ACCESSES }));
  const seconds = median(ours!);
  const faults = ACCESSES * rates.faultsPerAccess;
  return {
    run: row.name,
    ...rates,
    faultsPerUs: faults / seconds / 1e6,
    spread: spread(ours!),
    accessesPerUs: ACCESSES / seconds / 1e6,
    cpuNsPerFault: (seconds * 1e9) / faults,
    ...(other !== undefined && { speedupOverOther: speedup(ours!, other) }),
    ...(row.floor !== undefined && { floor: row.floor }),
  };
}

export async function faults(setting: Setting): Promise<SuiteReport> {
  const rows: FaultResult[] = [];
  for (const row of faultRows()) rows.push(await measureRow(row, setting));
  const columns = [
    { head: "run", cell: ({ run }: FaultResult) => run, align: "left" as const },
    { head: "M faults/s", cell: ({ faultsPerUs }: FaultResult) => figure(faultsPerUs) },
    { head: "M accesses/s", cell: ({ accessesPerUs }: FaultResult) => figure(accessesPerUs) },
    { head: "CPU ns/fault", cell: ({ cpuNsPerFault }: FaultResult) => whole(cpuNsPerFault) },
    { head: "faults/access", cell: ({ faultsPerAccess }: FaultResult) => figure(faultsPerAccess) },
    { head: "scanned/fault", cell: ({ scannedPerFault }: FaultResult) => figure(scannedPerFault) },
    { head: "written/fault", cell: ({ writtenPerFault }: FaultResult) => figure(writtenPerFault) },
    ...(setting.against === undefined
      ? []
      : [
          {
            head: "over other",
            cell: ({ speedupOverOther }: FaultResult) => ratio(speedupOverOther),
          },
        ]),
    {
      head: "floor",
      cell: ({ faultsPerUs, floor }: FaultResult) => verdict(faultsPerUs, floor),
      align: "left" as const,
    },
  ];
  const notes = [
    "The working set is twice the memory. The first row is the fault-heavy run that the floor is set for.",
  ];
  return {
    title: "faults: memory for half of the working set",
    rows,
    text: [...table(columns, rows), ...notes],
  };
}
