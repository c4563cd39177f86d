// Miss tables on disk: a JSON file beside the page trace whose misses it counts, as `name.json` beside `name.u32.gz`. Finding them, reading
// one, and finding its trace. Free of `node:` imports, as cases.ts.

import * as v from "valibot";
import { PagevisorError } from "../errors.js";
import { parseTrace, type Trace } from "../files.js";
import { parseJson } from "../json.js";
import { fileError, node, reading, textOf } from "./disk.js";
import { readShape, whole, wrongShape } from "./shape.js";

const TRACE_ENDS = [".u32.gz", ".u32"] as const;
const COUNT_MAX = 0xffff_ffff;

const tableSchema = v.object({
  trace: v.optional(v.string()),
  requests: v.optional(whole(1, COUNT_MAX)),
  pages: v.optional(whole(1, COUNT_MAX)),
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits")),
  made_by: v.optional(v.string()),
  misses: v.record(v.string(), v.record(v.string(), whole(0, COUNT_MAX))),
});

/** A table as it was read. `misses` has a count for each policy and each size of memory in pages. */
export type MissTable = v.InferOutput<typeof tableSchema> & {
  file: string;
  /** Name of the file without its end, and so of the trace's file. */
  name: string;
};

/** True for a file that holds a table: by its name when the trace lies beside it, else by what is in it. */
export function isTable(file: string): boolean {
  if (!file.endsWith(".json")) return false;
  if (beside(file) !== undefined) return true;
  try {
    const value: unknown = JSON.parse(textOf(file));
    return typeof value === "object" && value !== null && "misses" in value && "sha256" in value;
  } catch {
    return false;
  }
}

/** Reads a table. @throws PagevisorError E_FILE with the place of the first mistake */
export function readTable(file: string): MissTable {
  const table = readShape(tableSchema, parseJson(textOf(file), file), file);
  for (const [policy, counts] of Object.entries(table.misses)) {
    for (const size of Object.keys(counts)) {
      const wrong = `${JSON.stringify(size)} is no size of memory`;
      if (!/^[1-9]\d{0,8}$/.test(size)) throw wrongShape(file, `misses.${policy}`, wrong, "pages, 1 or more");
    }
  }
  return { ...table, file, name: stemOf(file) };
}

/**
 * The trace of a table, beside it or in the directory `traces`; undefined when it is in neither.
 *
 * @throws PagevisorError E_FILE for a trace that is not readable, or not the one that the table is about
 */
export async function readTableTrace(
  table: MissTable,
  traces: string | undefined,
): Promise<Trace | undefined> {
  const file = beside(table.file) ?? (traces === undefined ? undefined : within(traces, table));
  if (file === undefined) return undefined;
  const trace = await parseTrace(
    reading(file, () => node().fs.readFileSync(file)),
    file,
  );
  if (trace.sha256 !== table.sha256) {
    throw fileError(
      file,
      `not the trace of ${table.file}: its sha256 is ${trace.sha256} instead of ${table.sha256}`,
    );
  }
  const { requests = trace.words.length } = table;
  if (requests !== trace.words.length) {
    throw new PagevisorError(
      "E_FILE",
      `${table.file}: requests: ${requests} is not allowed. Allowed: ${trace.words.length}, as in the trace`,
    );
  }
  return trace;
}

/** @throws PagevisorError E_FILE when there is no such directory, or it cannot be read */
export function requireDirectory(directory: string): void {
  reading(directory, () => node().fs.readdirSync(directory));
}

/** The name of a trace's file, for a message. */
export function traceName({ name }: MissTable): string {
  return `${name}${TRACE_ENDS[0]}`;
}

function stemOf(file: string): string {
  return node().path.basename(file, ".json");
}

function beside(file: string): string | undefined {
  return existing(file.slice(0, -".json".length));
}

function within(traces: string, { name, trace = name }: MissTable): string | undefined {
  const { fs, path } = node();
  if (!reading(traces, () => fs.statSync(traces)).isDirectory()) throw fileError(traces, "not a directory");
  return existing(path.join(traces, name)) ?? existing(path.join(traces, path.basename(trace)));
}

function existing(stem: string): string | undefined {
  return TRACE_ENDS.map((end) => `${stem}${end}`).find((file) => node().fs.existsSync(file));
}
