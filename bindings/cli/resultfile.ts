// Results that were written before: the document of `run --json`, or the rows of `sweep --ndjson`.

import { readFileSync } from "node:fs";
import * as v from "valibot";
import { PagevisorError } from "../errors.js";
import { parseJson } from "../json.js";
import { show } from "../problems.js";
import type { RunResult } from "../result.js";

export interface StoredResult {
  file: string;
  result: RunResult;
  /** What the sweep had set for it; undefined for a run of its own. */
  set: Record<string, unknown> | undefined;
}

const amount = v.number();
const latency = v.looseObject({ mean: amount, p50: amount, p99: amount, p999: amount, max: amount });
const faultKind = v.looseObject({ count: amount, latency, stages: v.record(v.string(), amount) });

/** What of a result is read; the rest may be of a later version. */
const resultSchema = v.looseObject({
  schema: v.literal("pagevisor.result/1"),
  version: v.string(),
  scenario: v.looseObject({ host: v.looseObject({ memory: amount }), vms: v.array(v.looseObject({})) }),
  seed: amount,
  status: v.string(),
  digest: v.string(),
  virtualTimeNs: amount,
  vms: v.array(
    v.looseObject({
      name: v.string(),
      virtualTimeNs: amount,
      throughput: amount,
      vcpuBlockedNs: amount,
      memory: v.looseObject({ residentPages: amount, swappedPages: amount, untouchedPages: amount }),
      stall: v.looseObject({ someNs: amount }),
      faults: v.looseObject({
        minor: faultKind,
        major: faultKind,
        spurious: faultKind,
        writeProtect: faultKind,
      }),
    }),
  ),
  host: v.looseObject({
    memory: v.looseObject({ freePages: amount, minFreePages: amount }),
    reclaim: v.looseObject({ scanned: amount, reclaimedDirect: amount, reclaimedKswapd: amount }),
    swap: v.looseObject({ out: amount, in: amount, slotsUsed: amount }),
  }),
});

/** Reads all results of a file. @throws PagevisorError E_FILE */
export function readResults(file: string): StoredResult[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new PagevisorError("E_FILE", `cannot read "${file}": ${(cause as Error).message}`, { cause });
  }
  // One object a line is what only NDJSON looks like: a document of `run --json` begins with a lone brace.
  if (/^\s*\{\s*\n/.test(text)) {
    return [{ file, result: asResult(parseJson(text, file), file), set: undefined }];
  }
  const found: StoredResult[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const value = parseJson(line, file, index + 1) as Partial<Row> | null;
    const where = `${file}:${index + 1}`;
    if (value?.schema !== "pagevisor.sweep/1") {
      found.push({ file, result: asResult(value, where), set: undefined });
    } else if (value.result !== null) {
      found.push({ file, result: asResult(value.result, where), set: value.point?.set ?? {} });
    }
  }
  if (found.length === 0) throw notOne(file, "it holds no result");
  return found;
}

interface Row {
  schema: string;
  point: { set: Record<string, unknown> };
  result: unknown;
}

function asResult(value: unknown, where: string): RunResult {
  const read = v.safeParse(resultSchema, value);
  if (read.success) return value as RunResult;
  const [issue] = read.issues;
  const path = v.getDotPath(issue) ?? "the document";
  throw notOne(where, `${path} is ${show(issue.input)}, expected ${issue.expected}`);
}

function notOne(where: string, why: string): PagevisorError {
  return new PagevisorError(
    "E_FILE",
    `${where}: no result of pagevisor: ${why}. Allowed: what "run --json" or "sweep --ndjson" prints`,
  );
}
