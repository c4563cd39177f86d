// `pagevisor explore`: tries every order of the steps of a tiny machine's actors, and prints what it found.

import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { PagevisorError } from "../errors.js";
import { type Exploration, type ExploreResult, explore } from "../explore/index.js";
import { parseJson } from "../json.js";
import { EXIT } from "./exit.js";
import { type Column, table, WIDTH } from "./table.js";
import type { Terminal } from "./terminal.js";

const FOLDER = fileURLToPath(new URL("../../examples/explore/", import.meta.url));

export interface ExploreFlags {
  depth?: number;
  states?: number;
  merge: boolean;
  replay?: string;
  json?: true;
}

/** Names of the explorations that come with the package. */
export function explorations(): string[] {
  return readdirSync(FOLDER)
    .map((file) => basename(file, ".json"))
    .sort();
}

/** @returns the exit code @throws PagevisorError E_FILE, E_SCENARIO, E_STEP */
export async function exploreCommand(name: string, flags: ExploreFlags, terminal: Terminal): Promise<number> {
  const exploration = readExploration(name);
  const result = await explore(exploration, {
    merge: flags.merge,
    signal: terminal.signal,
    ...(flags.depth !== undefined && { depth: flags.depth }),
    ...(flags.states !== undefined && { states: flags.states }),
    ...(flags.replay !== undefined && { replay: scheduleOf(flags.replay) }),
  });
  terminal.out(
    flags.json ? `${JSON.stringify(result, null, 2)}\n` : pageOf(result, flags.replay !== undefined),
  );
  if (result.violation !== null) return EXIT.violation;
  return terminal.signal.aborted ? EXIT.interrupted : EXIT.done;
}

function readExploration(name: string): Exploration {
  const path = explorations().includes(name) ? join(FOLDER, `${name}.json`) : name;
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const known = explorations().join(", ");
    throw new PagevisorError("E_FILE", `no file "${name}" to explore, and no preset. Presets: ${known}`, {
      cause,
    });
  }
  const value = parseJson(text, path) as Partial<Exploration> | null;
  if (typeof value !== "object" || value === null || !("scenario" in value) || !Array.isArray(value.actors)) {
    throw new PagevisorError(
      "E_SCENARIO",
      `${path}: an exploration is a JSON object, { "scenario": …, "actors": [ … ] }`,
    );
  }
  return value as Exploration;
}

// A schedule as --json prints it, "0,1,1", or the file that --json has written.
function scheduleOf(given: string): number[] {
  if (/^\d+(,\d+)*$/.test(given)) return given.split(",").map(Number);
  try {
    const value = parseJson(readFileSync(given, "utf8"), given) as { schedule?: number[] };
    if (Array.isArray(value.schedule)) return value.schedule;
  } catch (cause) {
    throw new PagevisorError("E_FILE", `--replay: "${given}" is no schedule, as in 0,1,1, and no file`, {
      cause,
    });
  }
  throw new PagevisorError("E_FILE", `--replay: "${given}" holds no schedule`);
}

function pageOf(result: ExploreResult, replayed: boolean): string {
  const { violation, states, depth, complete, interleavings, schedule } = result;
  const extent = `${states} states, depth ${depth}, ${complete ? "complete" : "bounded"}`;
  const lines: string[] = [];
  if (violation === null) lines.push(replayed ? "no violation" : `no violation in ${extent}`);
  else
    lines.push(
      `${violation.kind}${violation.gfn === null ? "" : ` of gfn ${violation.gfn}`}: ${violation.text}`,
    );
  if (violation !== null && !replayed) lines.push(`found in ${extent}`);
  if (interleavings !== null) {
    lines.push(`${interleavings.violating} of ${interleavings.all} interleavings end in a violation`);
  }
  if (result.steps.length > 0) lines.push("", ...stepsTable(result));
  if (violation !== null && !replayed) lines.push("", `replay: --replay ${schedule.join(",")}`);
  return `${lines.join("\n")}\n`;
}

function stepsTable({ steps }: ExploreResult): string[] {
  const columns: Column[] = [
    { head: "Step", align: "left" },
    { head: "actor", align: "left" },
    { head: "holds", align: "left" },
    { head: "page after it", align: "left" },
    { head: "passed", align: "left" },
  ];
  const rows = steps.map(({ actor, locks, page, did }, index) => [
    `${index + 1}`,
    actor,
    locks,
    page,
    did.join(" "),
  ]);
  const others = Math.max(...rows.map((row) => row.slice(0, 4).join("").length)) + 12;
  const room = Math.max(12, WIDTH - others);
  return table(
    columns,
    rows.map((row) => [
      ...row.slice(0, 4),
      row[4]!.length > room ? `${row[4]!.slice(0, room - 1)}…` : row[4]!,
    ]),
  );
}
