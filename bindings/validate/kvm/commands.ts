// The commands of a capture's script, by their first word. A family of commands has a file of its own; one that is not in the list is
// not modelled, and a capture that uses it is skipped.

import { accessCommands } from "./access.js";
import { asyncPfCommands } from "./apf.js";
import { cgroupCommands } from "./cgroup.js";
import type { Command } from "./guest.js";
import { memoryCommands } from "./memory.js";
import { migrationCommands } from "./migration.js";
import { slotCommands } from "./slots.js";

export const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ...accessCommands,
  ...asyncPfCommands,
  ...cgroupCommands,
  ...memoryCommands,
  ...migrationCommands,
  ...slotCommands,
]);
