// The presets: the scenarios of examples/ and examples/headlines/, shipped in the package and run by name.

import { readdirSync, readFileSync } from "node:fs";
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
  return presetFiles(folder).map((file) => {
    const path = join(folder, file);
    return { name: file.slice(0, -".json".length), description: describe(path), path };
  });
}

/** Scenario files at any depth, by their names from `folder` on; what explore/ holds is none. */
function presetFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(".json") && !file.startsWith("explore/"))
    .sort();
}

function describe(path: string): string {
  const scenario = parseJson(readFileSync(path, "utf8"), path);
  if (typeof scenario !== "object" || scenario === null || !("description" in scenario)) return "";
  return typeof scenario.description === "string" ? scenario.description : "";
}

/** The file of the preset `name`, or null when there is none. */
export function presetPath(name: string, folder: string = EXAMPLES): string | null {
  const file = presetFiles(folder).find(
    (each) => each === `${name}.json` || basename(each, ".json") === name,
  );
  return file === undefined ? null : join(folder, file);
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
