// Which formats of captures are modelled: one line a format.

import { replayBalloon } from "./balloon.js";
import { replayBuddy } from "./buddy.js";
import { KVM_FORMAT } from "./kvm/captured.js";
import { replayKvm } from "./kvm/replay.js";
import { replayLru } from "./lru.js";
import { replayReport } from "./report.js";
import type { Replayer } from "./result.js";
import { replaySwap } from "./swap.js";

/** Replayers by the format that a case.json names. Every other format is skipped. */
export const REPLAYERS: ReadonlyMap<string, Replayer> = new Map<string, Replayer>([
  ["mm-balloon-1", replayBalloon],
  ["mm-buddy-1", replayBuddy],
  ["mm-report-1", replayReport],
  ["mm-swap-1", replaySwap],
  [KVM_FORMAT, replayKvm],
  ["mm-lru-1", replayLru],
]);
