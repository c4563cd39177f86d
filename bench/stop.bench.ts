// How long it takes until a run that somebody ends has ended: from the moment at which the signal is due, or Ctrl-C is pressed, to the result and the end of the process.
// Wall time, for that is what is waited for; the promise is 100 ms.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Machine, type Scenario } from "#dist/index.js";
import { figure, type Setting, type SuiteReport, table } from "./report.js";

const MIB = 2 ** 20;
const TRIES = 20;
const PROCESSES = 5;

interface StopResult {
  what: string;
  tries: number;
  medianMs: number;
  mostMs: number;
}

/** An endless run of one guest, all of whose pages fit its limit or not. */
export function endless(bytes: number, limit: number, vcpus: number, integrity: boolean): Scenario {
  const tasks = [
    { count: vcpus, workload: { kind: "uniform" as const, pages: bytes / 4096 / vcpus, writes: 0.5 } },
  ];
  return {
    host: { memory: 2 * bytes + 16 * MIB, swap: [{ kind: "nvme", size: 2 * bytes }] },
    vms: [{ name: "guest", memory: bytes, memoryMax: limit, vcpus, guest: { tasks } }],
    check: { integrity },
  };
}

const ROWS: [what: string, scenario: Scenario][] = [
  ["hits, 16 MiB", endless(16 * MIB, 16 * MIB, 1, false)],
  ["hits, 1 GiB", endless(1024 * MIB, 1024 * MIB, 1, false)],
  ["faults, 1 GiB of which half fits", endless(1024 * MIB, 512 * MIB, 1, false)],
  ["faults, 16 vCPUs, with integrity", endless(256 * MIB, 128 * MIB, 16, true)],
];

/** ms from the instants at which `tries` signals are due to the end of the run that each ends. */
export async function stopMs(
  module: WebAssembly.Module,
  scenario: Scenario,
  tries: number,
): Promise<number[]> {
  const machine = await Machine.create(scenario, { module });
  const late: number[] = [];
  for (let attempt = 0; attempt < tries; attempt++) {
    const interrupt = new AbortController();
    // Not in step with the looks at the event loop.
    const delay = 40 + 7.3 * attempt;
    const due = performance.now() + delay;
    setTimeout(() => interrupt.abort(), delay);
    const { status } = await machine.runAsync({ accesses: 1e15 }, { signal: interrupt.signal });
    if (status !== "interrupted") throw new Error(`the run ended as ${status}`);
    late.push(performance.now() - due);
  }
  machine.dispose();
  return late;
}

interface Pressed {
  /** ms from Ctrl-C to the last byte of output. */
  output: number;
  /** ms from Ctrl-C to the end of the process. */
  end: number;
}

/** Presses Ctrl-C on a Node process once `ready` says so. */
async function press(args: string[], ready: (wrote: boolean) => boolean): Promise<Pressed> {
  const child = spawn(process.execPath, args);
  let written = 0;
  child.stdout.on("data", () => {
    written = performance.now();
  });
  while (!ready(written > 0)) await sleep(10);
  await sleep(200);
  const pressed = performance.now();
  child.kill("SIGINT");
  const [code] = (await once(child, "close")) as [number];
  if (code !== 130) throw new Error(`the process ended with code ${code}`);
  return { output: written - pressed, end: performance.now() - pressed };
}

/** Ctrl-C during `pagevisor run`. */
async function pressRun(): Promise<Pressed> {
  const cli = fileURLToPath(import.meta.resolve("#dist/cli.js"));
  const folder = mkdtempSync(join(tmpdir(), "pagevisor-stop-"));
  const series = join(folder, "series.ndjson");
  const accesses = "vms.cache.guest.tasks.0.workload.accesses=1000000000";
  const args = [cli, "run", "overcommit", "--set", accesses, "--json", "--series", series, "--every", "1s"];
  try {
    // The file is there when the run begins; by then the process listens.
    return await press(args, () => existsSync(series));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Ctrl-C for a process that does nothing but hold as much memory as a run does: what the machine itself takes to end one. */
async function pressIdle(): Promise<Pressed> {
  const idle =
    "const held = Buffer.alloc(80 * 2 ** 20, 1); process.on('SIGINT', () => process.exit(130)); setInterval(() => held[0]++, 1000); console.log('ready')";
  return await press(["-e", idle], (wrote) => wrote);
}

function row(what: string, times: number[]): StopResult {
  const sorted = [...times].sort((a, b) => a - b);
  return { what, tries: times.length, medianMs: sorted[times.length >> 1]!, mostMs: sorted.at(-1)! };
}

export async function stop({ module }: Setting): Promise<SuiteReport> {
  const rows: StopResult[] = [];
  for (const [what, scenario] of ROWS) rows.push(row(what, await stopMs(module, scenario, TRIES)));
  const runs: Pressed[] = [];
  const idle: Pressed[] = [];
  for (let attempt = 0; attempt < PROCESSES; attempt++) {
    runs.push(await pressRun());
    idle.push(await pressIdle());
  }
  const outputs = runs.map(({ output }) => output);
  rows.push(row("Ctrl-C to the last byte of output", outputs));
  rows.push(
    row(
      "Ctrl-C to the end of the process",
      runs.map(({ end }) => end),
    ),
  );
  rows.push(
    row(
      "  the same, a process that only holds memory",
      idle.map(({ end }) => end),
    ),
  );
  const columns = [
    { head: "run", cell: ({ what }: StopResult) => what, align: "left" as const },
    { head: "tries", cell: ({ tries }: StopResult) => String(tries) },
    { head: "median ms", cell: ({ medianMs }: StopResult) => figure(medianMs) },
    { head: "most ms", cell: ({ mostMs }: StopResult) => figure(mostMs) },
  ];
  const notes = [
    "From the instant at which the signal is due to the result, or the output; wall time. 100 ms are promised. What follows is the system's:",
    "it takes the memory of the process back.",
  ];
  return { title: "ending a run early", rows, text: [...table(columns, rows), ...notes] };
}
