// The presets: the scenarios of examples/ and examples/headlines/, shipped in the package and run by name.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseJson } from "../json.js";
import { type Column, table, WIDTH, wrap } from "./table.js";
import type { Terminal } from "./terminal.js";

/** The folder of the package's examples; the compiled file stands two folders below the package. */
const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));

export interface Preset {
  name: string;
  description: string;
  /** The scenario file. */
  path: string;
}

/** All presets by name, in alphabetic order. Throws `E_FILE` when one is not JSON. */
export function listPresets(folder: string = EXAMPLES): Preset[] {
  return filesOf(folder)
    .map((path) => ({ name: basename(path, ".json"), description: describe(path), path }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Scenario files of the folder and of its `headlines`: published experiments. */
function filesOf(folder: string): string[] {
  const headlines = join(folder, "headlines");
  return [folder, ...(existsSync(headlines) ? [headlines] : [])].flatMap((each) =>
    readdirSync(each)
      .filter((file) => file.endsWith(".json"))
      .map((file) => join(each, file)),
  );
}

function describe(path: string): string {
  const scenario = parseJson(readFileSync(path, "utf8"), path);
  if (typeof scenario !== "object" || scenario === null || !("description" in scenario)) return "";
  return typeof scenario.description === "string" ? scenario.description : "";
}

/** The file of the preset `name`, or null when there is none. */
export function presetPath(name: string, folder: string = EXAMPLES): string | null {
  return filesOf(folder).find((path) => basename(path, ".json") === name) ?? null;
}

/** `pagevisor presets`. */
export function presets(terminal: Terminal): number {
  const found = listPresets();
  const nameWidth = Math.max(0, ...found.map(({ name }) => name.length)) + 2;
  const columns: Column[] = [
    { head: "Preset", align: "left" },
    { head: "what it shows", align: "left" },
  ];
  const rows = found.flatMap(({ name, description }) =>
    wrap(description, WIDTH - nameWidth).map((line, index) => [index === 0 ? name : "", line]),
  );
  const [head = "", ...lines] = table(columns, rows);
  terminal.out(`${[terminal.colors.bold(head), ...lines].join("\n")}\n`);
  return 0;
}
