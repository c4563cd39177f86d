// What stands where a command wants a scenario: a file, or else the name of a preset.

import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { PagevisorError } from "../errors.js";
import { parseJson } from "../json.js";
import type { Scenario } from "../scenario.js";
import { presetPath } from "./presets.js";

export interface Source {
  /** As the user named it. */
  label: string;
  /** What the file holds; whether it is a scenario is checked when the machine is built. */
  scenario: Scenario;
  /** Folder against which the scenario's own file names are resolved. */
  baseDir: string;
}

/**
 * Reads the scenario `name`.
 *
 * @throws PagevisorError `E_FILE` when neither a file nor a preset has that name, or it is not JSON; `E_SCENARIO` when
 * it is JSON but no object
 */
export function readSource(name: string): Source {
  const own = readIfThere(name);
  if (own !== null) return { label: name, scenario: asScenario(own, name), baseDir: dirname(name) };

  const path = presetPath(name);
  if (path !== null) {
    return { label: name, scenario: asScenario(readFileSync(path, "utf8"), path), baseDir: dirname(path) };
  }
  throw new PagevisorError(
    "E_FILE",
    `no scenario file and no preset "${name}"; "pagevisor presets" lists the presets`,
  );
}

function asScenario(text: string, path: string): Scenario {
  const value = parseJson(text, path);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new PagevisorError(
      "E_SCENARIO",
      `${path}: a scenario is a JSON object, { "host": …, "vms": [ … ] }`,
    );
  }
  return value as Scenario;
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new PagevisorError("E_FILE", `cannot read "${path}": ${(error as Error).message}`, {
      cause: error,
    });
  }
}
