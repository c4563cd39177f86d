// Trace input: from the bytes of a file to the words that the core replays, and the check that they fit the guests.
// Runs in Node and in browsers. Left out: reading from disk (nodefiles.ts, loaded only in Node).

import { PagevisorError } from "./errors.js";
import { formatPath, scenarioError, show } from "./problems.js";
import { memoryProblem } from "./rules.js";
import type { ResolvedScenario } from "./scenario.js";

/** Where the files of a scenario come from: bytes by name, or a function that gives them. */
export type FileSource = Record<string, Uint8Array> | ((name: string) => Uint8Array | Promise<Uint8Array>);

/** A trace: one word an access, bit 31 set for a write, bits 0..30 the page. */
export interface Trace {
  /** The accesses in order. */
  words: Uint32Array;
  /** Largest page + 1. */
  pages: number;
  /** SHA-256 of the words' bytes, that is of the file before compression, in hexadecimal. */
  sha256: string;
}

const FORMAT = "little-endian u32 records, plain or gzip";
const PAGE_MASK = 0x7fff_ffff;

/**
 * Reads a trace.
 *
 * @param bytes the file: little-endian u32 records, possibly compressed with gzip
 * @param name what to call the file in an error
 * @throws PagevisorError E_FILE when it is empty, not a whole number of records, or truncated or corrupt gzip
 */
export async function parseTrace(bytes: Uint8Array, name: string): Promise<Trace> {
  const plain = bytes[0] === 0x1f && bytes[1] === 0x8b ? await gunzip(bytes, name) : bytes;
  if (plain.byteLength === 0) throw fileError(name, "empty");
  if (plain.byteLength % 4 !== 0) throw fileError(name, `${plain.byteLength} bytes are not a multiple of 4`);

  const copy = new Uint8Array(plain); // aligned to 4 bytes; slice() of a Node Buffer would not copy
  const words = new Uint32Array(copy.buffer);
  let last = 0;
  for (let index = 0; index < words.length; index++) {
    const page = words[index]! & PAGE_MASK;
    if (page > last) last = page;
  }
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", copy));
  const sha256 = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { words, pages: last + 1, sha256 };
}

async function gunzip(bytes: Uint8Array, name: string): Promise<Uint8Array> {
  try {
    const stream = new Blob([new Uint8Array(bytes)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch (cause) {
    throw fileError(name, "truncated or corrupt gzip", cause);
  }
}

function fileError(name: string, wrong: string, cause?: unknown): PagevisorError {
  return new PagevisorError("E_FILE", `${name}: ${wrong}. Allowed: ${FORMAT}`, { cause });
}

/**
 * Loads every trace that a task of the scenario replays, each once, and checks that its pages are inside the VM's memory.
 *
 * @param files where to look first; in Node a record's missing names are then looked for on disk
 * @param baseDir directory that relative names are relative to; the working directory if undefined
 * @param known traces that have been read before, by name; what is read now is added
 * @returns traces by the name that the scenario calls them
 * @throws PagevisorError E_FILE for a file that is missing, unreadable or no trace; E_SCENARIO for pages outside the VM's memory
 */
export async function loadTraces(
  scenario: ResolvedScenario,
  files: FileSource | undefined,
  baseDir: string | undefined,
  known: Map<string, Trace> = new Map(),
): Promise<Map<string, Trace>> {
  const traces = new Map<string, Trace>();
  for (const { file, name } of traceFiles(scenario)) {
    if (traces.has(file)) continue;
    const trace = known.get(file) ?? (await parseTrace(await readBytes(file, name, files, baseDir), name));
    known.set(file, trace);
    traces.set(file, trace);
  }
  for (const [index, vm] of scenario.vms.entries()) {
    // A trace also pushes up the pages of the tasks after it, so every task is looked at.
    const problem = memoryProblem(vm, index, (file) => traces.get(file)!.pages);
    if (problem !== undefined) throw scenarioError([problem]);
  }
  return traces;
}

/**
 * The bytes of every file that a `trace` workload of the scenario names, unread: to be handed to a thread.
 *
 * @throws PagevisorError E_FILE for a file that is missing or unreadable
 */
export async function readInputs(
  scenario: ResolvedScenario,
  files: FileSource | undefined,
  baseDir: string | undefined,
): Promise<Record<string, Uint8Array>> {
  const inputs: Record<string, Uint8Array> = {};
  for (const { file, name } of traceFiles(scenario)) {
    inputs[file] ??= await readBytes(file, name, files, baseDir);
  }
  return inputs;
}

/** The files that `trace` workloads name, in order, each with what to call it in an error. */
function* traceFiles(scenario: ResolvedScenario): Generator<{ file: string; name: string }> {
  for (const [index, vm] of scenario.vms.entries()) {
    for (const [taskIndex, { workload }] of vm.guest.tasks.entries()) {
      if (workload.kind !== "trace") continue;
      const path = formatPath(["vms", index, "guest", "tasks", taskIndex, "workload", "file"]);
      yield { file: workload.file, name: `${path}: ${show(workload.file)}` };
    }
  }
}

async function readBytes(
  file: string,
  name: string,
  files: FileSource | undefined,
  baseDir: string | undefined,
): Promise<Uint8Array> {
  if (typeof files === "function") {
    const bytes: unknown = await callLoader(files, file, name);
    if (bytes instanceof Uint8Array) return bytes;
    throw fileError(name, `the loader returned ${show(bytes)} instead of a Uint8Array`);
  }
  if (files !== undefined && Object.hasOwn(files, file)) return files[file]!;
  if (!inNode()) throw fileError(name, "no such file among those given");
  const { readNodeFile } = await import("./nodefiles.js");
  return readNodeFile(file, baseDir, (wrong, cause) => fileError(name, wrong, cause));
}

async function callLoader(
  load: (name: string) => Uint8Array | Promise<Uint8Array>,
  file: string,
  name: string,
) {
  try {
    return await load(file);
  } catch (cause) {
    throw fileError(name, `the loader failed: ${messageOf(cause)}`, cause);
  }
}

/** An error's message, on one line. */
function messageOf(cause: unknown): string {
  return String(cause instanceof Error ? cause.message : cause).replace(/\s+/g, " ");
}

/** Whether this is Node, not a browser. */
export function inNode(): boolean {
  return typeof process === "object" && typeof process.versions?.node === "string";
}
