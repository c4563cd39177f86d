// Commands in which the monitor does something to its memory: madvise, hostaccess, fill, and those that only look.

import type { Advice } from "../../stepping.js";
import { type Command, cpuOf } from "./guest.js";

const ADVICE: readonly Advice[] = ["pageout", "cold", "dontneed", "free", "mergeable", "unmergeable"];

// madvise <slot> <start> <count> <advice> [chunk]
const madvise: Command = (guest, [slot, start, count, advice, chunk], step) => {
  const target = guest.slot(slot);
  const first = Number(start);
  const end = first + Number(count);
  const size = chunk === undefined ? end - first : Number(chunk);
  const known = ADVICE.find((each) => each === advice);
  if (known === undefined) throw new Error(`the advice ${advice} is not known`);
  for (let at = first; at < end; at += size) {
    guest.advise(target, known, at, Math.min(size, end - at), cpuOf(step));
  }
};

// hostaccess <slot> <start> <count> r|w [generation], fill <slot> <start> <count>
const hostaccess: Command = (guest, [slot, start, count, mode, generation], step) => {
  const target = guest.slot(slot);
  const [first, pages] = [Number(start), Number(count)];
  if (mode === "r") guest.advise(target, "read", first, pages, cpuOf(step));
  else guest.write(target, first, pages, generation, cpuOf(step));
};

// fill <slot> <start> <count>: every page with the same bytes.
const fill: Command = (guest, [slot, start, count], step) => {
  guest.fill(guest.slot(slot), Number(start), Number(count), cpuOf(step));
};

/** The monitor looks, or waits: nothing that is modelled. */
const nothing: Command = () => {};

export const memoryCommands: readonly (readonly [string, Command])[] = [
  ["madvise", madvise],
  ["hostaccess", hostaccess],
  ["fill", fill],
  ["pagemap", nothing],
];
