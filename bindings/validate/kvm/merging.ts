// Commands on page merging: write to the files of /sys/kernel/mm/ksm.

import type { Command } from "./guest.js";

const FOLDER = "/sys/kernel/mm/ksm/";

// write <file> <value>
const write: Command = (guest, [file = "", value]) => {
  const number = Number(value);
  if (file === `${FOLDER}run` && number <= 1) guest.setKsm({ run: number === 1 });
  else if (file === `${FOLDER}pages_to_scan`) guest.setKsm({ pagesToScan: number });
  else if (file === `${FOLDER}sleep_millisecs`) guest.setKsm({ sleep: number * 1e6 });
  else throw new Error(`writing ${value} to ${file} is not known`);
};

/** Does a script with these commands merge pages? */
export function usesMerging(steps: readonly { command: string }[]): boolean {
  return steps.some(({ command }) => command.includes(FOLDER) || /^madvise .*mergeable/.test(command));
}

export const mergingCommands: readonly (readonly [string, Command])[] = [["write", write]];
