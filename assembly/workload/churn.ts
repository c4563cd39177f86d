import { pfnToGfn } from "../guest/guest";
import { guestAlloc, guestFree, PFN_LATER } from "../guest/memory";
import { taskAccesses, taskAddAccesses, taskLimit, taskThinkNs, taskWorkload } from "../guest/task";
import { ACCESS_END, accessRun, accessStop, setAccessStop } from "../kvm/access";
import { vcpuIndex } from "../kvm/vcpu";
import { arenaReserve, PART_WORKLOADS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { GFP_USER_PAGE } from "../mm/gfp";
import { MAX_ORDER } from "../mm/zone";
import { rngAdvance, rngBelow, rngBits } from "../sim/rng";
import {
  CHURN_BLOCKS,
  CHURN_COUNT,
  CHURN_INDEX,
  CHURN_LIVE,
  CHURN_OP,
  CHURN_ORDER,
  CHURN_PFN,
  CHURN_PLACES,
  CHURN_RESTS,
  CHURN_SHARE,
  CHURN_SLEEPS,
  CHURN_TO_FREE,
  CHURN_WEIGHTS,
  PAGED_PAGES,
  PAGED_PAUSE,
  pagedEndLife,
  pagedKill,
  pagedResumed,
  pagedWait,
} from "./pagedtask";
import { setWorkloadRng, workloadRng } from "./workload";

// Churn: blocks of random orders are taken until `pages` pages are held, then a share of them, picked at random, is freed, and so on. Every
// page of a block is written when it has been taken and read before it is freed, so that contents that were lost in between are noticed.

const OP_NONE: u32 = 0;
const OP_WRITE: u32 = 1;
const OP_READ: u32 = 2;
/** Takes a block of an order that is drawn already, as soon as there is memory. */
const OP_TAKE: u32 = 3;

const ORDER_BITS: u32 = 4;
const WORDS: u32 = 1024;
const RATIO_ONE: u32 = 1 << 26;

/** `share` of the pages are freed at a time, in 2^-26. */
export function churnSetup(paged: usize, share: u32): void {
  store<u32>(paged, share, CHURN_SHARE);
}

/** The chance of an order and all below it, in 2^-26. */
export function churnWeight(paged: usize, order: u32, cumulated: u32): void {
  store<u32>(paged + ((<usize>order) << 2), cumulated, CHURN_WEIGHTS);
}

export function churnLayout(paged: usize): void {
  const places = load<u32>(paged, PAGED_PAGES);
  store<u32>(paged, places, CHURN_PLACES);
  store<u32>(paged, <u32>arenaReserve(PART_WORKLOADS, (<u64>places) << 2), CHURN_BLOCKS);
}

function place(paged: usize, index: u32): usize {
  return <usize>load<u32>(paged, CHURN_BLOCKS) + ((<usize>index) << 2);
}

function draw(task: usize): u64 {
  const state = rngAdvance(workloadRng(taskWorkload(task)));
  setWorkloadRng(taskWorkload(task), state);
  return rngBits(state);
}

/** Goes on for at most `budget` accesses, by words at `buffer`. Returns the accesses made; accessStop() tells why no more, or is CHURN_SLEEPS. */
export function churnRun(
  vcpu: usize,
  task: usize,
  paged: usize,
  guest: usize,
  buffer: usize,
  until: u64,
  budget: u32,
): u32 {
  const op = load<u32>(paged, CHURN_OP);
  if ((op === OP_NONE || op === OP_TAKE) && !nextBlock(vcpu, task, paged, guest)) return 0;
  const write = load<u32>(paged, CHURN_OP) === OP_WRITE;
  const pages: u32 = 1 << load<u32>(paged, CHURN_ORDER);
  const index = load<u32>(paged, CHURN_INDEX);
  const gfn = pfnToGfn(load<u32>(paged, CHURN_PFN));
  const left = taskLimit(task) - taskAccesses(task);
  const words = <u32>min<u64>(min<u32>(min<u32>(pages - index, budget), WORDS), left);
  for (let word: u32 = 0; word < words; word++) {
    store<u32>(buffer + ((<usize>word) << 2), (gfn + index + word) | (write ? 1 << 31 : 0));
  }
  const done = accessRun(vcpu, buffer, words, 0, 0, taskThinkNs(task), 0, until);
  taskAddAccesses(task, done);
  store<u32>(paged, index + done, CHURN_INDEX);
  if (index + done === pages) blockDone(vcpu, paged, guest, write);
  if (taskAccesses(task) >= taskLimit(task)) {
    pagedEndLife(paged);
  } else if (load<u32>(paged, CHURN_RESTS) !== 0) {
    store<u32>(paged, 0, CHURN_RESTS);
    setAccessStop(CHURN_SLEEPS);
  }
  return done;
}

// Chooses what comes next. False: a round of frees begins, or memory is out, which begins one; or there will be some later.
function nextBlock(vcpu: usize, task: usize, paged: usize, guest: usize): bool {
  setAccessStop(ACCESS_END);
  const count = load<u32>(paged, CHURN_COUNT);
  if (load<i32>(paged, CHURN_TO_FREE) > 0 && count > 0) {
    const at = place(paged, rngBelow(draw(task), count));
    begin(paged, OP_READ, load<u32>(at) >> ORDER_BITS, load<u32>(at) & 15);
    store<u32>(at, load<u32>(place(paged, count - 1)));
    store<u32>(paged, count - 1, CHURN_COUNT);
    return true;
  }
  const order = pagedResumed(paged) ? load<u32>(paged, CHURN_ORDER) : drawOrder(task, paged);
  store<u32>(paged, OP_NONE, CHURN_OP);
  const live = load<u32>(paged, CHURN_LIVE);
  if (live + (1 << order) <= load<u32>(paged, PAGED_PAGES)) {
    const pfn = guestAlloc(guest, vcpu, vcpuIndex(vcpu), order, GFP_USER_PAGE);
    if (pfn === PFN_LATER) {
      begin(paged, OP_TAKE, PFN_NONE, order);
      pagedWait(paged);
      return false;
    }
    if (pfn !== PFN_NONE) {
      store<u32>(paged, live + (1 << order), CHURN_LIVE);
      begin(paged, OP_WRITE, pfn, order);
      return true;
    }
  }
  if (count === 0) {
    pagedKill(paged, guest);
    return false;
  }
  const share = <i32>((<u64>live * load<u32>(paged, CHURN_SHARE)) / RATIO_ONE);
  store<i32>(paged, max<i32>(share, 1), CHURN_TO_FREE);
  return false;
}

function begin(paged: usize, op: u32, pfn: u32, order: u32): void {
  store<u32>(paged, op, CHURN_OP);
  store<u32>(paged, pfn, CHURN_PFN);
  store<u32>(paged, order, CHURN_ORDER);
  store<u32>(paged, 0, CHURN_INDEX);
}

function drawOrder(task: usize, paged: usize): u32 {
  const chance = <u32>draw(task) & (RATIO_ONE - 1);
  let order: u32 = 0;
  while (order < MAX_ORDER - 1 && chance >= load<u32>(paged + ((<usize>order) << 2), CHURN_WEIGHTS)) order++;
  return order;
}

function blockDone(vcpu: usize, paged: usize, guest: usize, written: bool): void {
  const pfn = load<u32>(paged, CHURN_PFN);
  const order = load<u32>(paged, CHURN_ORDER);
  store<u32>(paged, OP_NONE, CHURN_OP);
  if (written) {
    const count = load<u32>(paged, CHURN_COUNT);
    assert(count < load<u32>(paged, CHURN_PLACES));
    store<u32>(place(paged, count), (pfn << ORDER_BITS) | order);
    store<u32>(paged, count + 1, CHURN_COUNT);
    return;
  }
  guestFree(guest, vcpu, vcpuIndex(vcpu), pfn, order);
  store<u32>(paged, load<u32>(paged, CHURN_LIVE) - (1 << order), CHURN_LIVE);
  const toFree = load<i32>(paged, CHURN_TO_FREE) - (1 << order);
  store<i32>(paged, toFree, CHURN_TO_FREE);
  if (toFree <= 0 && load<u64>(paged, PAGED_PAUSE) !== 0) store<u32>(paged, 1, CHURN_RESTS);
}

/** The end: frees one block. True: none is left. */
export function churnFree(vcpu: usize, paged: usize, guest: usize): bool {
  let block: u32 = 0;
  if (load<u32>(paged, CHURN_OP) !== OP_NONE) {
    block = (load<u32>(paged, CHURN_PFN) << ORDER_BITS) | load<u32>(paged, CHURN_ORDER);
    store<u32>(paged, OP_NONE, CHURN_OP);
  } else {
    const count = load<u32>(paged, CHURN_COUNT);
    if (count === 0) return true;
    block = load<u32>(place(paged, count - 1));
    store<u32>(paged, count - 1, CHURN_COUNT);
  }
  guestFree(guest, vcpu, vcpuIndex(vcpu), block >> ORDER_BITS, block & 15);
  store<u32>(paged, load<u32>(paged, CHURN_LIVE) - (1 << (block & 15)), CHURN_LIVE);
  return false;
}
