import {
  arenaCommit,
  arenaInit,
  arenaReserve,
  arenaTake,
  PART_RECORDS,
  PART_WORKLOADS,
} from "../memory/arena";
import { E_NO_MEMORY, OK } from "../memory/status";
import { nextUseBuild, nextUseBytes } from "../policy/nextuse";
import { PAGE_NONE, Policy } from "../policy/policy";
import {
  checkPolicy,
  POLICY_2Q,
  POLICY_ARC,
  POLICY_BELADY,
  POLICY_BYTES,
  POLICY_CLOCK,
  POLICY_FIFO,
  POLICY_LFU,
  POLICY_LRU,
  POLICY_S3FIFO,
  POLICY_SIEVE,
  policyEnter,
  policyEvict,
  policyForget,
  policyHit,
  policyLayout,
  policyReset,
  policyRun,
} from "../policy/registry";

export {
  POLICY_2Q,
  POLICY_ARC,
  POLICY_BELADY,
  POLICY_CLOCK,
  POLICY_FIFO,
  POLICY_LFU,
  POLICY_LRU,
  POLICY_OUTSIDE,
  POLICY_S3FIFO,
  POLICY_SIEVE,
} from "../policy/registry";

// A page trace under idealized policies, without a machine: the trace is put into memory once, and any number of runs, each of one
// policy and one size, go over it. They use the same arrays, one after the other.

const PAGE_MASK: u32 = 0x7fffffff;
const KINDS: u32 = 9;
const TRACE: usize = 0;
const REFERENCES: usize = 4;
const PAGES: usize = 8;
const NEXT_USES: usize = 12;
const ARRAYS: usize = 16;
const ROOM: usize = 20;
const POLICY: usize = 24;
const NEXT: usize = 28;
const CASE: usize = memory.data(32, 8);

function policy(): Policy {
  return changetype<Policy>(load<u32>(CASE, POLICY));
}

/**
 * Makes room for a trace of `references` words over pages below `pages`, and for every policy in sizes up to `room`.
 * @param offline policies that know the future too, at the cost of as much memory again as the trace
 * @returns OK, or E_NO_MEMORY: bootBytes() tells the need
 */
export function policyCaseBegin(references: u32, pages: u32, room: u32, offline: bool): i32 {
  arenaInit();
  const record = arenaTake(PART_RECORDS, POLICY_BYTES);
  if (record === 0) return E_NO_MEMORY;
  store<u32>(CASE, references, REFERENCES);
  store<u32>(CASE, pages, PAGES);
  store<u32>(CASE, room, ROOM);
  store<u32>(CASE, <u32>record, POLICY);
  store<u32>(CASE, <u32>arenaReserve(PART_WORKLOADS, (<u64>references) << 2, 64), TRACE);
  store<u32>(CASE, offline ? <u32>arenaReserve(PART_WORKLOADS, nextUseBytes(references), 64) : 0, NEXT_USES);
  let bytes: u64 = 0;
  for (let kind: u32 = 0; kind < KINDS; kind++) {
    describe(kind);
    if (kind !== POLICY_BELADY || offline) bytes = max<u64>(bytes, policyLayout(policy(), 0));
  }
  store<u32>(CASE, <u32>arenaReserve(PART_RECORDS, bytes, 64), ARRAYS);
  return arenaCommit();
}

function describe(kind: u32): void {
  const record = policy();
  record.kind = kind;
  record.pages = load<u32>(CASE, PAGES);
  record.room = load<u32>(CASE, ROOM);
  record.trace = load<u32>(CASE, TRACE);
  record.references = load<u32>(CASE, REFERENCES);
  record.nextUses = load<u32>(CASE, NEXT_USES);
}

/** Address at which the words of the trace belong. */
export function policyCaseTrace(): usize {
  return load<u32>(CASE, TRACE);
}

/** The trace is there: finds out when each page is referenced again, if policies are to know. */
export function policyCaseReady(): void {
  const nextUses = load<u32>(CASE, NEXT_USES);
  if (nextUses === 0) return;
  const references = load<u32>(CASE, REFERENCES);
  nextUseBuild(load<u32>(CASE, TRACE), references, load<u32>(CASE, PAGES), nextUses, load<u32>(CASE, ARRAYS));
}

/** Starts a run of policy `kind` with memory of `capacity` pages, 1..room, at the first reference. */
export function policyCaseStart(kind: u32, capacity: u32): void {
  assert(kind < KINDS);
  describe(kind);
  policyLayout(policy(), load<u32>(CASE, ARRAYS));
  policyReset(policy(), capacity);
  store<u32>(CASE, 0, NEXT);
}

/** Goes on for `count` references. Returns the misses among them. */
export function policyCaseRun(count: u32): u32 {
  const first = load<u32>(CASE, NEXT);
  assert(first + count <= load<u32>(CASE, REFERENCES));
  store<u32>(CASE, first + count, NEXT);
  const from = <usize>load<u32>(CASE, TRACE) + ((<usize>first) << 2);
  return policyRun(policy(), from, from + ((<usize>count) << 2));
}

/**
 * A step of the next reference, through the table of operations: memory without room for its page evicts, one page a step.
 * @returns the page that went; PAGE_NONE when the reference is over
 */
export function policyCaseStep(): u32 {
  const next = load<u32>(CASE, NEXT);
  const page = load<u32>(<usize>load<u32>(CASE, TRACE) + ((<usize>next) << 2)) & PAGE_MASK;
  const resident = policy().resident(page);
  if (!resident && policy().full()) return policyEvict(policy(), page);
  if (resident) policyHit(policy(), page);
  else policyEnter(policy(), page);
  store<u32>(CASE, next + 1, NEXT);
  return PAGE_NONE;
}

/** Memory holds `capacity` pages from now on; a page that is not resident is referenced next. */
export function policyCaseResize(capacity: u32): void {
  assert(capacity > 0 && capacity <= load<u32>(CASE, ROOM));
  policy().capacity = capacity;
}

/** A page goes from memory without the policy's doing. */
export function policyCaseForget(page: u32): void {
  policyForget(policy(), page);
}

export function policyCaseResident(page: u32): bool {
  return policy().resident(page);
}

/** Asserts the invariants of the policy. Returns OK. */
export function policyCaseCheck(): i32 {
  checkPolicy(policy());
  return OK;
}
