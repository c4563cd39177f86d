// A page's state in a few words, for the table of an interleaving.

import type { Core } from "../core.js";
import { inspectGfn } from "../inspect.js";
import type { ResolvedScenario } from "../scenario.js";

export function pageState(core: Core, scenario: ResolvedScenario, vm: string | number, gfn: number): string {
  const { pte, frame, sptes, swap } = inspectGfn(core, scenario, vm, gfn);
  const mapped = sptes.filter(({ spte }) => (BigInt(spte) & 7n) !== 0n).length;
  const file = frame?.flags.includes("file") ? "page cache" : undefined;
  const words = [file ?? `pte ${pte?.state ?? "none"}`, mapped === 1 ? "spte" : `${mapped} sptes`];
  if (frame !== null) words.push(`refs ${frame.refs}`);
  if (frame?.flags.includes("locked")) words.push("locked");
  if (swap !== null) words.push(frame === null ? "swapped out" : "swap cache");
  return words.join(", ");
}
