// Commands that change the memory map or ask for its dirty log: dirtylog, delslot.

import { type Command, cpuOf } from "./guest.js";

// dirtylog <slot> on|off|get
const dirtylog: Command = (guest, [slot, what], step) => {
  const target = guest.slot(slot);
  const cpu = cpuOf(step);
  if (what === "get") {
    guest.dirtyLog(target, cpu);
    return;
  }
  if (what !== "on" && what !== "off") throw new Error(`dirtylog ${what} is not known`);
  guest.setMemslot(target, { ...target, flags: what === "on" ? ["log-dirty-pages"] : [] }, cpu);
};

// delslot <slot>
const delslot: Command = (guest, [slot], step) => {
  guest.setMemslot(guest.slot(slot), null, cpuOf(step));
};

export const slotCommands: readonly (readonly [string, Command])[] = [
  ["dirtylog", dirtylog],
  ["delslot", delslot],
];
