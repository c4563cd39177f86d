import { arenaCommit, arenaInit, arenaReserve, arenaTake, PART_EVENTS, PART_RECORDS } from "../memory/arena";
import { PFN_BASE } from "../memory/layout";
import { E_NO_MEMORY, OK, STEP_DONE, STEP_OOM } from "../memory/status";
import { adviseCold, adviseFree, pageoutBegin, pageoutStep } from "../mm/advise";
import { checkMm } from "../mm/check";
import { MM_CONTEXT_END } from "../mm/context";
import { exitSpace } from "../mm/exit";
import { faultBegin, faultPfn, faultStep } from "../mm/fault";
import { forkSpace } from "../mm/fork";
import { pagePut } from "../mm/free";
import { ZONE_NORMAL } from "../mm/gfp";
import {
  MM_SWAP_IN,
  MM_SWAP_OUT,
  mmAddZone,
  mmArea,
  mmAreas,
  mmCount,
  mmCreate,
  mmLayout,
  mmSpace,
  mmSpaces,
  mmZoneAt,
  setMmZeroPage,
} from "../mm/instance";
import { lruBatchesCreate } from "../mm/lrubatch";
import { memcgStatsCreate } from "../mm/memcgstat";
import { agingProcessRan, agingTableUsed } from "../mm/mglruaging";
import { notifierRegister } from "../mm/notifier";
import { pcpSetup, zoneReleaseAll } from "../mm/pagealloc";
import { PTE_NONE, pteEntry, ptePresent } from "../mm/pte";
import { setSpaceFirst, spaceCreate, spaceLayout, spacePte } from "../mm/space";
import { stocksCreate } from "../mm/stock";
import { swapStart } from "../mm/swap";
import { swapContinuationLayout, swapCreate, swapDevice, swapLayout } from "../mm/swaparea";
import { setClusterNextCpu } from "../mm/swapcluster";
import { setReadaheadMax, swapCpus, swapStateCreate } from "../mm/swapstate";
import { watermarksSet } from "../mm/watermark";
import { swapIoEnd } from "../mm/writeback";
import { zapRange } from "../mm/zap";
import { zoneCreate, zoneStart } from "../mm/zone";
import {
  ACTOR_BLOCKED,
  ACTOR_HOST,
  ACTOR_KSWAPD,
  actorClock,
  actorInit,
  actorState,
  setActorClock,
  setActorCpu,
  setActorState,
} from "../sim/actor";
import { deviceCapacity, deviceInit } from "../sim/device";
import { digestInit } from "../sim/digest";
import {
  EVENT_IO,
  EVENT_WAKE,
  eventArg,
  eventKind,
  eventNextTime,
  eventPop,
  eventsLayout,
} from "../sim/events";
import { host, setHost, stateInit } from "./state";

// A host with swap and one process, without a hypervisor: what a capture of swap slots is replayed on. The operations are
// those of the capture; each drives the machine of steps that the simulator uses to its end, so only the order of things
// counts here, not their time. An instance that holds such a case holds no machine.
//
// CASE   0         4      8
//        +---------+------+-------+
//        | process | live | actor |     live: children that have not ended; child n has space n
//        +---------+------+-------+

const CASE: usize = memory.data(16, 8);
const PROCESS: usize = 0;
const LIVE: usize = 4;
const ACTOR: usize = 8;

const MANAGED_SPARE: u32 = 4096;
const CHILDREN: u32 = 8;
const UNLIMITED: u32 = 0xffffffff;
// A device without latency: the order of completions is that of the requests.
const SERVERS: u32 = 1;

/** Nothing is mapped at the page. */
export const SWAPCASE_EMPTY: i32 = -2;
/** The page is in memory. */
export const SWAPCASE_PRESENT: i32 = -1;

function silentInvalidate(actor: usize, spaceId: u32, start: u32, end: u32): i32 {
  return STEP_DONE;
}

function silentAge(actor: usize, spaceId: u32, index: u32): bool {
  return false;
}

/** The process as an actor. */
export function swapcaseActor(): usize {
  return <usize>load<u32>(CASE, ACTOR);
}

/** Its address space. */
export function swapcaseProcess(): usize {
  return <usize>load<u32>(CASE, PROCESS);
}

/**
 * Starts a case: a process of `pages` pages on a host of `cpus` CPUs, with memory to spare.
 * @param first position of page 0 within its 2 MiB, 0..511
 * @param window 2^page_cluster, the largest readahead window
 * Fails with E_NO_MEMORY.
 */
export function swapcaseHost(pages: u32, cpus: u32, first: u32, window: u32): i32 {
  arenaInit();
  stateInit();
  digestInit();
  if (arenaCommit() !== OK) return E_NO_MEMORY;
  notifierRegister(silentInvalidate, silentInvalidate, silentAge);
  const managed = 2 * pages + MANAGED_SPARE;
  const mm = mmCreate(PFN_BASE, PFN_BASE + managed);
  const zone = zoneCreate(ZONE_NORMAL, PFN_BASE, managed, managed, cpus);
  const own = arenaTake(PART_RECORDS, MM_CONTEXT_END);
  if (
    mm === 0 ||
    zone === 0 ||
    own === 0 ||
    !swapStateCreate(mm, cpus, 0) ||
    !lruBatchesCreate(mm, cpus) ||
    !stocksCreate(mm, cpus) ||
    !memcgStatsCreate(mm, cpus)
  )
    return E_NO_MEMORY;
  setHost(mm);
  mmAddZone(mm, zone);
  setMmZeroPage(mm, true);
  setReadaheadMax(mm, window);
  actorInit(own, ACTOR_KSWAPD, 0);
  store<u32>(CASE, <u32>own, ACTOR);
  store<u32>(CASE, 0, LIVE);
  for (let child: u32 = 0; child <= CHILDREN; child++) {
    const space = spaceCreate(mm, pages, UNLIMITED);
    if (space === 0) return E_NO_MEMORY;
    setSpaceFirst(space, first);
  }
  store<u32>(CASE, <u32>mmSpace(mm, 0), PROCESS);
  return OK;
}

/** Adds a swap area of `slots` slots, the header included; `flags` are DEVICE_*. Fails with E_NO_MEMORY. */
export function swapcaseArea(slots: u32, priority: i32, flags: u32): i32 {
  const area = swapCreate(host(), slots, priority);
  if (area === 0) return E_NO_MEMORY;
  deviceInit(swapDevice(area), 0, 0, SERVERS, 0, 0, flags);
  return OK;
}

/** swapon of all areas, in the order in which they were added. Fails with E_NO_MEMORY. */
export function swapcaseStart(): i32 {
  const mm = host();
  let events: u32 = 2;
  mmLayout(mm);
  for (let id: u32 = 0; id < mmSpaces(mm); id++) spaceLayout(mmSpace(mm, id));
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    swapLayout(mm, mmArea(mm, type), false);
    swapContinuationLayout(mmArea(mm, type));
    events += deviceCapacity(swapDevice(mmArea(mm, type)));
  }
  eventsLayout(events);
  arenaReserve(PART_EVENTS, 64);
  if (arenaCommit() !== OK) return E_NO_MEMORY;
  const zone = mmZoneAt(mm, 0);
  zoneStart(zone);
  watermarksSet(zone, 0);
  pcpSetup(zone, swapCpus(mm));
  zoneReleaseAll(mm, zone);
  for (let type: u32 = 0; type < mmAreas(mm); type++) swapStart(mm, mmArea(mm, type));
  setActorCpu(swapcaseActor(), 0);
  setActorState(swapcaseActor(), ACTOR_HOST);
  return OK;
}

/** cluster_next_cpu of a CPU: the random start of its scan, which a capture tells. */
export function swapcaseScanStart(type: u32, cpu: u32, slot: u32): void {
  setClusterNextCpu(host(), mmArea(host(), type), cpu, slot);
}

/** The process moves to `cpu`. */
export function swapcaseCpu(cpu: u32): void {
  setActorCpu(swapcaseActor(), cpu);
}

// Takes the next event off the queue and does what the scheduler would do for it.
function event(): void {
  const time = eventNextTime();
  eventPop();
  const subject = <usize>eventArg();
  if (eventKind() === EVENT_IO) {
    swapIoEnd(host(), subject, time);
  } else {
    assert(eventKind() === EVENT_WAKE && subject === swapcaseActor());
    setActorState(subject, ACTOR_HOST);
    setActorClock(subject, max<u64>(actorClock(subject), time));
  }
}

// Between two steps: what is due comes first, and a sleeping process waits until an event wakes it.
export function swapcaseWait(step: i32): void {
  assert(step !== STEP_OOM);
  while (actorState(swapcaseActor()) === ACTOR_BLOCKED || eventNextTime() <= actorClock(swapcaseActor()))
    event();
}

/** Touches page `index`. Where the page table allows that already, the fault does what the hardware would: it marks the entry. */
export function swapcaseTouch(index: u32, write: bool): void {
  agingProcessRan(swapcaseProcess());
  agingTableUsed(swapcaseProcess(), index);
  faultBegin(swapcaseActor(), swapcaseProcess(), index, write);
  while (true) {
    const step = faultStep(host(), swapcaseActor());
    swapcaseWait(step);
    if (step === STEP_DONE) break;
  }
  pagePut(host(), faultPfn(swapcaseActor()), swapcaseActor());
  agingTableUsed(swapcaseProcess(), index);
}

/** madvise(MADV_PAGEOUT) of pages `start`..`end`-1. */
export function swapcasePageout(start: u32, end: u32): void {
  pageoutBegin(host(), swapcaseActor(), swapcaseProcess(), start, end);
  while (true) {
    const step = pageoutStep(host(), swapcaseActor());
    swapcaseWait(step);
    if (step === STEP_DONE) return;
  }
}

/** madvise(MADV_DONTNEED) of pages `start`..`end`-1. */
export function swapcaseFree(start: u32, end: u32): void {
  zapRange(host(), swapcaseActor(), swapcaseProcess(), start, end);
}

/** madvise(MADV_COLD) of pages `start`..`end`-1. */
export function swapcaseCold(start: u32, end: u32): void {
  adviseCold(host(), swapcaseActor(), swapcaseProcess(), start, end);
}

/** madvise(MADV_FREE) of pages `start`..`end`-1. */
export function swapcaseLazyfree(start: u32, end: u32): void {
  adviseFree(host(), swapcaseActor(), swapcaseProcess(), start, end);
}

/** A child appears that holds a copy of the page tables. Fails with E_NO_MEMORY: too many children, or no memory. */
export function swapcaseFork(): i32 {
  const live = load<u32>(CASE, LIVE);
  if (live === CHILDREN) return E_NO_MEMORY;
  store<u32>(CASE, live + 1, LIVE);
  return forkSpace(host(), swapcaseProcess(), mmSpace(host(), live + 1));
}

/** The child that appeared last ends. */
export function swapcaseReap(): void {
  const live = load<u32>(CASE, LIVE);
  if (live === 0) return;
  exitSpace(host(), swapcaseActor(), mmSpace(host(), live));
  store<u32>(CASE, live - 1, LIVE);
}

/** All I/O ends. */
export function swapcaseSettle(): void {
  while (eventNextTime() !== u64.MAX_VALUE) event();
}

/** State of page `index`: SWAPCASE_PRESENT, SWAPCASE_EMPTY, else its swap entry. */
export function swapcasePage(index: u32): i32 {
  const pte = spacePte(swapcaseProcess(), index);
  if (pte === PTE_NONE) return SWAPCASE_EMPTY;
  return ptePresent(pte) ? SWAPCASE_PRESENT : <i32>pteEntry(pte);
}

/** pswpin since the start. */
export function swapcaseIn(): f64 {
  return <f64>mmCount(host(), MM_SWAP_IN);
}

/** pswpout since the start. */
export function swapcaseOut(): f64 {
  return <f64>mmCount(host(), MM_SWAP_OUT);
}

/** Walks every structure and asserts its invariants. Says nothing in a build without assertions. */
export function swapcaseCheck(): void {
  checkMm(host(), 0);
}
