import { GUEST_KILLED, guestCountAdd } from "../guest/books";
import { setAccessStop } from "../kvm/access";

// The record of a task in a guest with memory management of its own: paged.ts runs it, churn.ts the part that has blocks instead of pages.
//
// record   0       4      8       12       16     20       24       28       32       40       44       48       52
//          +-------+------+-------+--------+------+--------+--------+--------+--------+--------+--------+--------+
//          | guest | kind | phase | cursor | pages| region | zeroing| killed | pause  | blocks | places | count  | live
//          56      60     64      68       72       76      80 .. 123      124
//          | op    | pfn  | order | index  | toFree | share | weights × 11 | rests | waits |
//
// cursor     pages touched in this life of a process; pages that have been freed
// zeroing    gfn + 1 of a frame that is to be zeroed before the task goes on, 0 for none
// blocks     of churn: (pfn << 4 | order), u32 each, `count` of `places`; `live` pages together
// op …       of churn: the block that is being written or read, and how far
// rests      of churn: the next thing is a pause
// waits      it was put to sleep for want of memory, and will get some
// weights    of churn: chances of the orders 0..10, cumulated, in 2^-26
//
// region   0       4
//          +-------+-------+
//          | users | pages |    users: tasks that have not ended
//          +-------+-------+

export const PAGED_GUEST: usize = 0;
export const PAGED_KIND: usize = 4;
export const PAGED_PHASE: usize = 8;
export const PAGED_CURSOR: usize = 12;
export const PAGED_PAGES: usize = 16;
export const PAGED_REGION: usize = 20;
export const PAGED_ZEROING: usize = 24;
export const PAGED_KILLED: usize = 28;
export const PAGED_PAUSE: usize = 32; // u64
export const CHURN_BLOCKS: usize = 40;
export const CHURN_PLACES: usize = 44;
export const CHURN_COUNT: usize = 48;
export const CHURN_LIVE: usize = 52;
export const CHURN_OP: usize = 56;
export const CHURN_PFN: usize = 60;
export const CHURN_ORDER: usize = 64;
export const CHURN_INDEX: usize = 68;
export const CHURN_TO_FREE: usize = 72; // i32
export const CHURN_SHARE: usize = 76;
export const CHURN_WEIGHTS: usize = 80; // u32 × 11
export const CHURN_RESTS: usize = 124;
export const PAGED_WAITING: usize = 128;
export const PAGED_BYTES: usize = 136;

export const REGION_USERS: usize = 0;
export const REGION_PAGES: usize = 4;
export const REGION_BYTES: usize = 8;

/** Touches its pages. */
export const PHASE_RUN: u32 = 0;
/** Frees them. */
export const PHASE_FREE: u32 = 1;
export const PHASE_OVER: u32 = 2;

/** The task's pages are freed from now on. */
export function pagedEndLife(paged: usize): void {
  store<u32>(paged, 0, PAGED_CURSOR);
  store<u32>(paged, PHASE_FREE, PAGED_PHASE);
}

/** The guest has no memory for the task. */
export function pagedKill(paged: usize, guest: usize): void {
  store<u32>(paged, 1, PAGED_KILLED);
  guestCountAdd(guest, GUEST_KILLED, 1);
  pagedEndLife(paged);
}

// In place of an ACCESS_*:
/** churnRun() has freed what it wanted to free and pauses. */
export const CHURN_SLEEPS: u32 = 8;
/** The task sleeps until a balloon has given way: guest/oom.ts. */
export const PAGED_WAITS: u32 = 9;

/** The task has no memory yet. */
export function pagedWait(paged: usize): void {
  store<u32>(paged, 1, PAGED_WAITING);
  setAccessStop(PAGED_WAITS);
}

/** The task goes on. True: it has waited for memory. */
export function pagedResumed(paged: usize): bool {
  const waited = load<u32>(paged, PAGED_WAITING) !== 0;
  store<u32>(paged, 0, PAGED_WAITING);
  return waited;
}
