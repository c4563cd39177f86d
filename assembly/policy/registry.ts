import { Arc } from "./arc";
import { BELADY_BYTES, Belady } from "./belady";
import { Clock } from "./clock";
import { Fifo } from "./fifo";
import { HAND_HIT, HandQueue } from "./handqueue";
import { Lfu } from "./lfu";
import { Lru } from "./lru";
import { OUTSIDE_BYTES, Outside } from "./outside";
import { Policy } from "./policy";
import { S3fifo } from "./s3fifo";
import { Sieve } from "./sieve";
import { TwoQ } from "./twoq";

// The idealized policies by number, and the table of their operations: one line a policy. Whoever has nothing but a record calls through
// the table; the loop of policyRun() is compiled once for each policy, so that it knows what it calls.
//
// table    0        4       8     12      16      20       24      28    32           a policy
//          +--------+-------+-----+-------+-------+--------+-------+-----+-------+
//          | layout | reset | hit | evict | enter | forget | check | run | adopt |    indexes of functions
//          +--------+-------+-----+-------+-------+--------+-------+-----+-------+

export const POLICY_LRU: u32 = 0;
export const POLICY_FIFO: u32 = 1;
export const POLICY_CLOCK: u32 = 2;
export const POLICY_SIEVE: u32 = 3;
export const POLICY_S3FIFO: u32 = 4;
export const POLICY_ARC: u32 = 5;
export const POLICY_2Q: u32 = 6;
export const POLICY_LFU: u32 = 7;
export const POLICY_BELADY: u32 = 8;
export const POLICY_OUTSIDE: u32 = 9;

type Layout = (policy: usize, at: u64) => u64;
type OnPage = (policy: usize, page: u32) => void;
type Evict = (policy: usize, page: u32) => u32;
type OnAll = (policy: usize) => void;
type Both = (policy: usize, old: usize) => void;
type Run = (policy: usize, from: usize, to: usize) => u32;

const LAYOUT: usize = 0;
const RESET: usize = 4;
const HIT: usize = 8;
const EVICT: usize = 12;
const ENTER: usize = 16;
const FORGET: usize = 20;
const CHECK: usize = 24;
const RUN: usize = 28;
const ADOPT: usize = 32;
const ROW_SHIFT: usize = 6;
const TABLE: usize = memory.data(16 * 64, 8);

/** Bytes of a record: those of the largest. */
export const POLICY_BYTES: usize = BELADY_BYTES > OUTSIDE_BYTES ? BELADY_BYTES : OUTSIDE_BYTES;

// State of a page that was hit, one a policy: policyHitState().
const HIT_STATES: usize = memory.data(16, 8);

const PAGE_MASK: u32 = 0x7fffffff;

register<Lru>(POLICY_LRU);
register<Fifo>(POLICY_FIFO);
register<Clock>(POLICY_CLOCK, HAND_HIT);
register<Sieve>(POLICY_SIEVE, HAND_HIT);
register<S3fifo>(POLICY_S3FIFO);
register<Arc>(POLICY_ARC);
register<TwoQ>(POLICY_2Q);
register<Lfu>(POLICY_LFU);
register<Belady>(POLICY_BELADY);
register<Outside>(POLICY_OUTSIDE);

function register<P extends Policy>(kind: u32, hitState: u8 = 0): void {
  store<u8>(HIT_STATES + kind, hitState);
  assert(offsetof<P>() <= POLICY_BYTES);
  const layout: Layout = (policy: usize, at: u64): u64 => changetype<P>(policy).layout(at);
  const reset: OnAll = (policy: usize): void => changetype<P>(policy).reset();
  const hit: OnPage = (policy: usize, page: u32): void => changetype<P>(policy).hit(page);
  const evict: Evict = (policy: usize, page: u32): u32 => changetype<P>(policy).evict(page);
  const enter: OnPage = (policy: usize, page: u32): void => changetype<P>(policy).enter(page);
  const forget: OnPage = (policy: usize, page: u32): void => changetype<P>(policy).forget(page);
  const check: OnAll = (policy: usize): void => changetype<P>(policy).check();
  const run: Run = (policy: usize, from: usize, to: usize): u32 => refer<P>(changetype<P>(policy), from, to);
  const adopt: Both = (policy: usize, old: usize): void => changetype<P>(policy).adopt(changetype<P>(old));
  const operations = TABLE + ((<usize>kind) << ROW_SHIFT);
  store<i32>(operations, layout.index, LAYOUT);
  store<i32>(operations, reset.index, RESET);
  store<i32>(operations, hit.index, HIT);
  store<i32>(operations, evict.index, EVICT);
  store<i32>(operations, enter.index, ENTER);
  store<i32>(operations, forget.index, FORGET);
  store<i32>(operations, check.index, CHECK);
  store<i32>(operations, run.index, RUN);
  store<i32>(operations, adopt.index, ADOPT);
}

// Refers to the pages of the words from..to-1 of a trace, one after the other. Returns the misses.
function refer<P extends Policy>(policy: P, from: usize, to: usize): u32 {
  let misses: u32 = 0;
  for (let at = from; at < to; at += 4) {
    const page = load<u32>(at) & PAGE_MASK;
    if (policy.resident(page)) {
      policy.hit(page);
      continue;
    }
    misses++;
    if (policy.full()) policy.evict(page);
    policy.enter(page);
  }
  return misses;
}

function operations(policy: Policy): usize {
  return TABLE + ((<usize>policy.kind) << ROW_SHIFT);
}

/** Places the arrays of a policy, whose pages and room are set, from address `at` on. Returns the end. */
export function policyLayout(policy: Policy, at: u64): u64 {
  return call_indirect<u64>(load<i32>(operations(policy), LAYOUT), changetype<usize>(policy), at);
}

// The record as it was.
const OLD: usize = memory.data(256, 8);

/** Bytes that the arrays of a policy take with room for `pages` pages. */
export function policyBytes(policy: Policy, pages: u32): u64 {
  assert(POLICY_BYTES <= 256);
  const record = changetype<usize>(policy);
  memory.copy(OLD, record, POLICY_BYTES);
  policy.pages = pages;
  policy.room = pages;
  const bytes = policyLayout(policy, 0);
  memory.copy(record, OLD, POLICY_BYTES);
  return bytes;
}

/** The arrays of a policy that is at work move to address `at`, where there are policyBytes(), and have room for `pages` pages, more than before. */
export function policyGrow(policy: Policy, pages: u32, at: u64): void {
  assert(pages > policy.pages);
  memory.copy(OLD, changetype<usize>(policy), POLICY_BYTES);
  policy.pages = pages;
  policy.room = pages;
  policyLayout(policy, at);
  call_indirect<void>(load<i32>(operations(policy), ADOPT), changetype<usize>(policy), OLD);
}

/** Empties memory, which from now on holds `capacity` pages, and forgets everything. */
export function policyReset(policy: Policy, capacity: u32): void {
  assert(capacity > 0 && capacity <= policy.room);
  policy.capacity = capacity;
  call_indirect<void>(load<i32>(operations(policy), RESET), changetype<usize>(policy));
}

/** All that a hit does under a policy of `kind` is to set the page's state to this; 0 where it does more. */
export function policyHitState(kind: u32): u8 {
  return load<u8>(HIT_STATES + kind);
}

/** Where a policy notes something of a page that enters, apart from its state: address of a u32 a page, 0 for nowhere. */
export function policyBeside(policy: Policy): usize {
  return policyHitState(policy.kind) === HAND_HIT ? changetype<HandQueue>(policy).pagePlaces : 0;
}

/** Where policyAhead() begins: with the page that the policy looks at next when one must go. */
export function policyAheadFrom(policy: Policy): u32 {
  if (policy.kind === POLICY_OUTSIDE) return changetype<Outside>(policy).nextChosen;
  return policyHitState(policy.kind) === HAND_HIT ? changetype<HandQueue>(policy).hand : 0;
}

/**
 * Writes to `to` up to `most` pages that the policy will look at from the place at address `from` on, and there where it would go on. Returns their
 * number, 0 where it cannot tell.
 */
export function policyAhead(policy: Policy, from: usize, to: usize, most: u32): u32 {
  if (policy.kind === POLICY_OUTSIDE) return changetype<Outside>(policy).ahead(from, to, most);
  return policyHitState(policy.kind) === HAND_HIT ? changetype<HandQueue>(policy).ahead(from, to, most) : 0;
}

/** A reference to a resident page. */
export function policyHit(policy: Policy, page: u32): void {
  call_indirect<void>(load<i32>(operations(policy), HIT), changetype<usize>(policy), page);
}

/**
 * Memory is full and `page` is about to enter: takes a resident page out and returns it. When the capacity has fallen, this is said
 * again until there is room.
 */
export function policyEvict(policy: Policy, page: u32): u32 {
  return call_indirect<u32>(load<i32>(operations(policy), EVICT), changetype<usize>(policy), page);
}

/** A reference to a page that was not resident, and is from now on. */
export function policyEnter(policy: Policy, page: u32): void {
  call_indirect<void>(load<i32>(operations(policy), ENTER), changetype<usize>(policy), page);
}

/** The page is gone for another reason than the policy's choice. */
export function policyForget(policy: Policy, page: u32): void {
  call_indirect<void>(load<i32>(operations(policy), FORGET), changetype<usize>(policy), page);
}

/** Asserts the policy's invariants. */
export function checkPolicy(policy: Policy): void {
  call_indirect<void>(load<i32>(operations(policy), CHECK), changetype<usize>(policy));
}

/** Refers to the pages of the words from..to-1 of a trace; what is missing enters on demand. Returns the misses. */
export function policyRun(policy: Policy, from: usize, to: usize): u32 {
  return call_indirect<u32>(load<i32>(operations(policy), RUN), changetype<usize>(policy), from, to);
}
