// What an exploration can find to be wrong.

/** What can be found to be wrong. */
export type ViolationKind =
  | "lostWrite"
  | "staleRead"
  | "freedFrame"
  | "pinnedForEver"
  | "heldPage"
  | "misledUnmap"
  | "miscountedPage"
  | "tokenReuse"
  | "doubleFree"
  | "leaked"
  | "lostWakeUp"
  | "deadlock"
  | "brokenCheck"
  | "trylockFailed";

/** What is looked for unless an exploration says otherwise: all that is wrong. */
export const VIOLATIONS: readonly ViolationKind[] = [
  ...["lostWrite", "staleRead", "freedFrame", "pinnedForEver"],
  ...["heldPage", "misledUnmap", "miscountedPage"],
  ...["tokenReuse", "doubleFree", "leaked"],
  ...["lostWakeUp", "deadlock", "brokenCheck"],
] as ViolationKind[];
