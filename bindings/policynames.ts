// The idealized policies by the names that scenarios, tables and the command line call them, in the order in which lists show them.

export const POLICIES = ["lru", "fifo", "clock", "sieve", "s3fifo", "arc", "2q", "lfu", "belady"] as const;

export type PolicyName = (typeof POLICIES)[number];
