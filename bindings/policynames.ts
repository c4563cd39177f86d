// The idealized policies by the names that scenarios, tables and the command line call them, in the order in which lists show them.

/** Names of the idealized policies, in the order in which lists show them. */
export const POLICIES = ["lru", "fifo", "clock", "sieve", "s3fifo", "arc", "2q", "lfu", "belady"] as const;

/** One of {@link POLICIES}. */
export type PolicyName = (typeof POLICIES)[number];

/** What `host.reclaim.policy` is when the program has brought a policy of its own. */
export const OUTSIDE = "outside" as const;

/** The most candidates that such a policy is asked about at once: a number of pages, the core's OUTSIDE_BATCH_MAX. */
export const OUTSIDE_BATCH = 64;

/** A policy that sees every access and decides alone what goes, in place of Linux' lists. */
export function isIdealized(policy: string): boolean {
  return policy !== "two-list" && policy !== "mglru";
}
