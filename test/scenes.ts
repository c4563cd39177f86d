// Scenarios that several tests run, and how they look at what comes out of them.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import * as assert from "uvu/assert";
import { checksum } from "#dist/checksum.js";
import { coreModule } from "#dist/core.js";
import { type ErrorCode, PagevisorError } from "#dist/errors.js";
import { type CreateOptions, Machine } from "#dist/machine.js";
import type { RunResult, VmResult } from "#dist/result.js";
import type { Scenario } from "#dist/scenario.js";

export const ROOT = join(dirname(fileURLToPath(import.meta.resolve("#dist/index.js"))), "..");
export const EXAMPLES = join(ROOT, "examples");

export type Vm = Scenario["vms"][number];
export type Task = NonNullable<NonNullable<Vm["guest"]>["tasks"]>[number];

/** The core with its assertions, which walk every structure in `Machine.check()`. */
export const debugModule: Promise<WebAssembly.Module> = WebAssembly.compile(
  readFileSync(join(ROOT, "build/debug.wasm")),
);

/** The scenario of `npm start`: 4.6 million accesses. */
export function example(): Scenario {
  return JSON.parse(readFileSync(join(EXAMPLES, "overcommit.json"), "utf8")) as Scenario;
}

/** The first accesses of the example's page trace, as a file of its own. */
function traceStart(accesses: number): Uint8Array {
  const packed = readFileSync(join(EXAMPLES, "traces/sqlite_build_query.u32.gz"));
  return new Uint8Array(gunzipSync(packed).subarray(0, 4 * accesses));
}

/**
 * The example in small: a trace and a zipf workload of `accesses` each, two guests that do not fit their host, one NVMe device.
 */
export function small(accesses: number, changes: Partial<Scenario> = {}): [Scenario, CreateOptions] {
  const scenario: Scenario = {
    host: { memory: "1MiB", cpus: 2, swap: [{ kind: "nvme", size: "8MiB" }] },
    vms: [
      vm("sqlite", [{ workload: { kind: "trace", file: "start.u32", writes: "all" } }]),
      vm("cache", [{ workload: { kind: "zipf", pages: 400, theta: 0.6, writes: 0.6, accesses } }]),
    ],
    ...changes,
  };
  return [scenario, { files: { "start.u32": traceStart(accesses) } }];
}

/** A VM of 2 MiB that runs `tasks`. */
export function vm(name: string, tasks: Task[], others: Partial<Vm> = {}): Vm {
  return { name, memory: "2MiB", guest: { tasks }, ...others };
}

/** A scenario of one VM of 2 MiB called "db" on a host that has room for it. */
export function roomy(tasks: Task[], others: Partial<Scenario> = {}, db: Partial<Vm> = {}): Scenario {
  return { host: { memory: "8MiB" }, vms: [vm("db", tasks, db)], ...others };
}

export function create(scenario: Scenario, options: CreateOptions = {}): Promise<Machine> {
  return Machine.create(scenario, { baseDir: EXAMPLES, ...options });
}

/** A result without what differs between equal runs: wall time. */
export function lasting(result: RunResult): Omit<RunResult, "wall"> {
  const { wall: _, ...others } = result;
  return others;
}

/** Where two values differ, one line a place: short even where the values are whole results. */
export function differences(got: unknown, expected: unknown, path = ""): string[] {
  if (Object.is(got, expected)) return [];
  const both = [got, expected];
  if (both.some((one) => typeof one !== "object" || one === null)) {
    return [`${path}: ${JSON.stringify(got)}, not ${JSON.stringify(expected)}`];
  }
  const [a, b] = both as [Record<string, unknown>, Record<string, unknown>];
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].flatMap((key) => differences(a[key], b[key], `${path}.${key}`));
}

/** Asserts that two results are equal but for their wall time. */
export function assertSame(got: RunResult, expected: RunResult, message?: string): void {
  assert.equal(differences(lasting(got), lasting(expected)), [], message);
}

/** The only VM's part of a result, or that of the one called `name`. */
export function vmOf(result: RunResult, name = result.vms[0]!.name): VmResult {
  return result.vms.find((one) => one.name === name)!;
}

/** The message with which `work` is refused, which is one line and has `code`. */
export async function refusal(work: () => unknown, code: ErrorCode): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof PagevisorError)) throw error;
    assert.is(error.code, code, error.message);
    assert.not.match(error.message, "\n");
    return error.message;
  }
  return assert.unreachable(`nothing was refused with ${code}`) as never;
}

/** The memory of a machine's core and the header before it, out of a snapshot. */
export function memoryOf(snapshot: Uint8Array): { header: Uint8Array; memory: Uint8Array } {
  const length = new DataView(snapshot.buffer, snapshot.byteOffset).getUint32(8, true);
  return { header: snapshot.slice(0, 20 + length), memory: snapshot.slice(20 + length) };
}

/** A snapshot of a header and a memory that a test has changed: length and checksum are made right. */
export function snapshotOf(header: Uint8Array, memory: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(header.length + memory.length);
  bytes.set(header);
  bytes.set(memory, header.length);
  new DataView(bytes.buffer).setUint32(8, header.length - 20, true);
  bytes.set(checksum(header.subarray(20), memory), 12);
  return bytes;
}

export { coreModule };
