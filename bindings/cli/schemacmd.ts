// `pagevisor schema`: the JSON Schema of scenarios, written by the build next to the compiled code.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { PagevisorError } from "../errors.js";
import type { Terminal } from "./terminal.js";

const SCHEMA = fileURLToPath(new URL("../schema.json", import.meta.url));

/** Prints the schema as the build wrote it. Throws `E_FILE` when the build did not. */
export function schema(terminal: Terminal): number {
  try {
    terminal.out(readFileSync(SCHEMA, "utf8"));
  } catch (error) {
    const message = `cannot read "${SCHEMA}": run "npm run build" first`;
    throw new PagevisorError("E_FILE", message, { cause: error });
  }
  return 0;
}
