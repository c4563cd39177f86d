// Captured cases on disk: finding them below the given paths, and reading one. A case is a directory with a case.json.
// Free of `node:` imports, so that a bundle for the browser contains it without harm; there every read is refused.

import { PagevisorError } from "../errors.js";
import { parseJson } from "../json.js";
import { show } from "../problems.js";

const CASE = "case.json";
/** The first one that exists is read; what is gzip is seen by its first bytes. */
const STEPS = ["steps.ndjson", "steps.ndjson.gz"] as const;

/** A case whose case.json has been read. */
export interface CapturedCase {
  directory: string;
  /** The name in case.json; that of the directory if there is none. */
  name: string;
  format: string;
  caseJson: Record<string, unknown>;
}

/**
 * The directories of all cases at or below `paths`, each once, in the order of the paths and of the names in them.
 *
 * @throws PagevisorError E_FILE for a path that does not exist, is no directory or holds no case, and for steps without a case.json
 */
export function findCases(paths: readonly string[]): string[] {
  const found = new Map<string, string>();
  for (const path of paths) {
    if (!statOf(path).isDirectory()) {
      throw fileError(
        path,
        `not a directory. Allowed: a directory with a ${CASE}, or one that holds such directories`,
      );
    }
    const cases = casesIn(path, new Set());
    if (cases.length === 0) throw fileError(path, `no case found. A case is a directory with a ${CASE}`);
    for (const { directory, real } of cases) {
      if (!found.has(real)) found.set(real, directory);
    }
  }
  return [...found.values()];
}

interface FoundCase {
  directory: string;
  /** Without links: the same for two paths to one case. */
  real: string;
}

/** `visited` holds the real paths of directories that were seen: a link may lead back up. */
function casesIn(directory: string, visited: Set<string>): FoundCase[] {
  const { join } = node().path;
  const real = reading(directory, () => node().fs.realpathSync(directory));
  if (visited.has(real)) return [];
  visited.add(real);

  const names = reading(directory, () => node().fs.readdirSync(directory)).sort();
  if (names.includes(CASE)) return [{ directory, real }];
  const steps = STEPS.find((name) => names.includes(name));
  if (steps !== undefined) throw fileError(join(directory, CASE), `missing; ${steps} is there`);
  return names
    .map((name) => join(directory, name))
    .filter((path) => statOf(path).isDirectory())
    .flatMap((path) => casesIn(path, visited));
}

/** Reads the case.json of a case. @throws PagevisorError E_FILE when it is not readable, not JSON, or names no format */
export function readCase(directory: string): CapturedCase {
  const { basename, join, resolve } = node().path;
  const file = join(directory, CASE);
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
  };
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

function textOf(file: string): string {
  const bytes = reading(file, () => node().fs.readFileSync(file));
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.toString("utf8");
  try {
    return node().zlib.gunzipSync(bytes).toString("utf8");
  } catch (cause) {
    throw fileError(file, "truncated or corrupt gzip", cause);
  }
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

/** Calls the file system; its errors become E_FILE with `path`. */
function reading<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof PagevisorError) throw cause;
    throw fileError(path, reason(cause), cause);
  }
}

function reason(cause: unknown): string {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (code === "ENOENT") return "no such file or directory";
  if (code === "EACCES") return "no permission to read";
  return `cannot read (${String(code ?? cause).replace(/\s+/g, " ")})`;
}

function fileError(where: string, wrong: string, cause?: unknown): PagevisorError {
  return new PagevisorError("E_FILE", `${where}: ${wrong}`, { cause });
}

/** Node's modules, asked for at run time. */
function node() {
  const builtin = globalThis.process?.getBuiltinModule;
  if (builtin === undefined) {
    throw new PagevisorError("E_FILE", "validate reads captures from disk, which a browser has not");
  }
  return { fs: builtin("node:fs"), path: builtin("node:path"), zlib: builtin("node:zlib") };
}
