// Captured cases on disk: finding them below the given paths, and reading one. A case is a directory with a case.json, or a miss
// table (tables.ts).

import { parseJson } from "../json.js";
import { show } from "../problems.js";
import { fileError, node, reading, textOf } from "./disk.js";
import { KVM_FORMAT } from "./kvm/captured.js";
import { isTable } from "./tables.js";

const CASE = "case.json";
/** A captured KVM experiment has its script here, and what came of it in a summary beside. */
const EXPERIMENT = "scenario.json";
const SUMMARY = "summary.json";
/** Beside the experiments: what of them repeats. */
const REPEATABILITY = "repeatability.json";
/** The first one that exists is read; what is gzip is seen by its first bytes. */
const STEPS = ["steps.ndjson", "steps.ndjson.gz"] as const;

/** A case whose case.json has been read. */
export interface CapturedCase {
  directory: string;
  /** The name in case.json; that of the directory if there is none. */
  name: string;
  format: string;
  caseJson: Record<string, unknown>;
  /** A KVM experiment: it has other files than a case of steps. */
  experiment: boolean;
}

/** A case that was found: its directory, or the file of a table. */
export interface FoundCase {
  path: string;
  /** A miss table. */
  table: boolean;
  /** The path without links: the same for two paths to one case. */
  real: string;
}

/**
 * All cases at or below `paths`, each once, in the order of the paths and of the names in them.
 *
 * @throws PagevisorError E_FILE for a path that does not exist, is neither a directory nor a table or holds no case, and for steps
 *   without a case.json
 */
export function findCases(paths: readonly string[]): FoundCase[] {
  const found = new Map<string, FoundCase>();
  for (const path of paths) {
    const cases = casesAt(path);
    if (cases.length === 0) {
      throw fileError(path, `no case found. A case is a directory with a ${CASE}, or a table of misses`);
    }
    for (const each of cases) {
      if (!found.has(each.real)) found.set(each.real, each);
    }
  }
  return [...found.values()];
}

function casesAt(path: string): FoundCase[] {
  if (statOf(path).isDirectory()) return casesIn(path, new Set());
  if (isTable(path)) return [tableAt(path)];
  throw fileError(
    path,
    `not a directory. Allowed: a directory with a ${CASE}, a table of misses, or a directory that holds such ones`,
  );
}

function tableAt(path: string): FoundCase {
  return { path, table: true, real: reading(path, () => node().fs.realpathSync(path)) };
}

/** `visited` holds the real paths of directories that were seen: a link may lead back up. */
function casesIn(directory: string, visited: Set<string>): FoundCase[] {
  const { join } = node().path;
  const real = reading(directory, () => node().fs.realpathSync(directory));
  if (visited.has(real)) return [];
  visited.add(real);

  const names = reading(directory, () => node().fs.readdirSync(directory)).sort();
  if (names.includes(CASE) || (names.includes(EXPERIMENT) && names.includes(SUMMARY))) {
    return [{ path: directory, table: false, real }];
  }
  const steps = STEPS.find((name) => names.includes(name));
  if (steps !== undefined) throw fileError(join(directory, CASE), `missing; ${steps} is there`);
  return names
    .map((name) => join(directory, name))
    .flatMap((path) => {
      if (statOf(path).isDirectory()) return casesIn(path, visited);
      return isTable(path) ? [tableAt(path)] : [];
    });
}

/** Reads the case.json of a case. @throws PagevisorError E_FILE when it is not readable, not JSON, or names no format */
export function readCase(directory: string): CapturedCase {
  const { basename, join, resolve } = node().path;
  const file = join(directory, CASE);
  if (!node().fs.existsSync(file)) return readExperiment(directory, basename(resolve(directory)));
  const caseJson = asObject(parseJson(textOf(file), file), file);
  const { format, name } = caseJson;
  if (typeof format !== "string") {
    const wrong = format === undefined ? "missing" : `${show(format)} is not allowed`;
    throw fileError(file, `format: ${wrong}. Allowed: the name of a capture format, as in "mm-buddy-1"`);
  }
  return {
    directory,
    name: typeof name === "string" ? name : basename(resolve(directory)),
    format,
    caseJson,
    experiment: false,
  };
}

function readExperiment(directory: string, name: string): CapturedCase {
  const { join, resolve } = node().path;
  const object = (file: string) => asObject(parseJson(textOf(file), file), file);
  const beside = join(resolve(directory), "..", REPEATABILITY);
  const caseJson = {
    scenario: object(join(directory, EXPERIMENT)),
    summary: object(join(directory, SUMMARY)),
    ...(node().fs.existsSync(beside) && { repeatability: object(beside) }),
  };
  return { directory, name, format: KVM_FORMAT, caseJson, experiment: true };
}

/** The text of another file of a case, undefined without one. */
export function caseText(directory: string, file: string): string | undefined {
  const path = node().path.join(directory, file);
  return node().fs.existsSync(path) ? textOf(path) : undefined;
}

/** Reads the steps of a case: one JSON object a line. @throws PagevisorError E_FILE with the line of the first mistake */
export function readSteps(directory: string): Record<string, unknown>[] {
  const { fs, path } = node();
  const file = STEPS.map((name) => path.join(directory, name)).find((candidate) => fs.existsSync(candidate));
  if (file === undefined) {
    throw fileError(path.join(directory, STEPS[0]), `missing. A case has ${STEPS.join(" or ")}`);
  }
  const steps: Record<string, unknown>[] = [];
  for (const [index, text] of textOf(file).split("\n").entries()) {
    if (text.trim() === "") continue;
    const line = index + 1;
    steps.push(asObject(parseJson(text, file, line), `${file}:${line}`));
  }
  return steps;
}

function asObject(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw fileError(where, `expected a JSON object, found ${show(value)}`);
  }
  return value as Record<string, unknown>;
}

function statOf(path: string) {
  return reading(path, () => node().fs.statSync(path));
}
