import { sleeperToken } from "../guest/apfsleep";
import { guestMemory, guestMm } from "../guest/guest";
import { guestCurrent } from "../guest/sched";
import {
  taskAccesses,
  taskCompute,
  taskId,
  taskLimit,
  taskState,
  taskWork,
  taskWorkLimit,
} from "../guest/task";
import { APF_ENABLED, WORK_GFN, WORK_STATE, WORK_TOKEN, WORK_TOLD } from "../kvm/apf";
import { workAt } from "../kvm/apfqueue";
import { PF_GFN, VCPU_APF_HALTED, VCPU_IN_FAULT, vcpuApf, vcpuMode } from "../kvm/vcpu";
import { vmAt } from "../kvm/vmtable";
import { TIME_NEVER } from "../memory/layout";
import { freeOrder, isFree, isReported } from "../mm/freeblock";
import { mmZone, mmZoneAt, mmZones } from "../mm/instance";
import { listLength } from "../mm/list";
import {
  LIST_ACTIVE,
  LIST_BALLOON,
  LIST_CACHE,
  LIST_GENERATION,
  LIST_INACTIVE,
  LIST_INACTIVE_FILE,
  LIST_ISOLATED,
  LIST_PCP,
  mmPfnEnd,
  mmPfnFirst,
  PG_BUDDY,
  PG_HEAD,
  PG_REPORTED,
  PG_SWAPCACHE,
  PG_TABLE,
  PG_WRITEBACK,
  pageFlags,
  pageList,
  pageMaps,
  pageOf,
  pageOrder,
  pageRefs,
  pageTest,
} from "../mm/page";
import {
  blockType,
  MAX_ORDER,
  PAGEBLOCK_PAGES,
  zoneEndPfn,
  zoneFreeList,
  zoneFreePages,
  zoneIndex,
  zoneStartPfn,
  zoneWatermark,
} from "../mm/zone";
import { actorClock, actorCpu, CPU_NONE } from "../sim/actor";
import { vcpuAt } from "./lookup";
import { host, taskAt } from "./state";

// A machine as a whole, for whoever looks into it: frames by what they hold, the free lists, and where vCPUs, tasks and asynchronous page faults
// stand. Nothing is changed by looking. The story of one page is inspect.ts.
//
// The answer lies in a table of f64, at the places that the constants below name.

const TABLE: usize = memory.data(8 * 16, 8);

function put(field: u32, value: f64): void {
  store<f64>(TABLE + ((<usize>field) << 3), value);
}

/** Address of the table. */
export function surveyTable(): usize {
  return TABLE;
}

/** The memory management that is looked at: the host's for -1, else that of a VM's guest; 0 when the guest has none. */
function lookedAt(vm: i32): usize {
  if (vm < 0) return host();
  const guest = guestMemory(vmAt(vm));
  return guest === 0 ? 0 : guestMm(guest);
}

// Each frame is in one of these.
/** In a free list of the buddy allocator. */
export const FRAMES_FREE: u32 = 0;
/** Free, in the list of a CPU. */
export const FRAMES_PER_CPU: u32 = 1;
/** A page table of KVM or of a process. */
export const FRAMES_TABLES: u32 = 2;
export const FRAMES_INACTIVE: u32 = 3;
export const FRAMES_ACTIVE: u32 = 4;
/** On a generation list of MGLRU. */
export const FRAMES_GENERATIONS: u32 = 5;
/** Taken off the lists by whoever evicts, moves or reports them. */
export const FRAMES_ISOLATED: u32 = 6;
/** Of a guest's page cache. */
export const FRAMES_CACHE: u32 = 7;
export const FRAMES_BALLOON: u32 = 8;
/** Mapped, and on none of these lists: in a batch of a CPU on the way to one. */
export const FRAMES_BATCHED: u32 = 9;
/** In use otherwise, or not memory that pages are allocated from. */
export const FRAMES_OTHER: u32 = 10;
/** The number of these. */
export const FRAMES_STATES: u32 = 11;
// Of all of them:
export const FRAMES_SWAP_CACHE: u32 = 11;
export const FRAMES_WRITEBACK: u32 = 12;

/** Counts the frames of the host (-1), or of a VM's guest, by state. False when the guest has no memory management of its own. */
export function surveyFrames(vm: i32): bool {
  const mm = lookedAt(vm);
  if (mm === 0) return false;
  memory.fill(TABLE, 0, 8 * 16);
  for (let pfn = mmPfnFirst(mm); pfn < mmPfnEnd(mm); ) {
    const page = pageOf(mm, pfn);
    const list = pageList(page);
    const block = list === LIST_PCP || pageTest(page, PG_HEAD);
    const order: u32 = isFree(mm, pfn) ? freeOrder(mm, pfn) : block ? pageOrder(page) : 0;
    const frames: u32 = 1 << order;
    count(stateOf(mm, pfn), frames);
    if (pageTest(page, PG_SWAPCACHE)) count(FRAMES_SWAP_CACHE, frames);
    if (pageTest(page, PG_WRITEBACK)) count(FRAMES_WRITEBACK, frames);
    pfn += frames;
  }
  return true;
}

function count(state: u32, frames: u32): void {
  const at = TABLE + ((<usize>state) << 3);
  store<f64>(at, load<f64>(at) + <f64>frames);
}

function stateOf(mm: usize, pfn: u32): u32 {
  if (isFree(mm, pfn)) return FRAMES_FREE;
  const page = pageOf(mm, pfn);
  const list = pageList(page);
  if (list === LIST_PCP) return FRAMES_PER_CPU;
  if (list === LIST_INACTIVE || list === LIST_INACTIVE_FILE) return FRAMES_INACTIVE;
  if (list === LIST_ACTIVE) return FRAMES_ACTIVE;
  if (list === LIST_ISOLATED) return FRAMES_ISOLATED;
  if (list === LIST_BALLOON) return FRAMES_BALLOON;
  if (list === LIST_CACHE) return FRAMES_CACHE;
  if (list >= LIST_GENERATION) return FRAMES_GENERATIONS;
  if (pageTest(page, PG_TABLE)) return FRAMES_TABLES;
  return pageMaps(page) !== 0 ? FRAMES_BATCHED : FRAMES_OTHER;
}

export const FRAME_STATE: u32 = 0;
/** Of a free block that begins here. */
export const FRAME_ORDER: u32 = 1;
export const FRAME_REFS: u32 = 2;
export const FRAME_MAPS: u32 = 3;
/** PG_* */
export const FRAME_FLAGS: u32 = 4;

/** Writes one frame of the host (-1), or of a VM's guest: FRAMES_*, and what its record says. */
export function surveyFrame(vm: i32, pfn: u32): void {
  const mm = lookedAt(vm);
  const page = pageOf(mm, pfn);
  const free = isFree(mm, pfn);
  const shown = (free ? PG_BUDDY : 0) | (isReported(mm, pfn) ? PG_REPORTED : 0);
  put(FRAME_STATE, stateOf(mm, pfn));
  put(FRAME_ORDER, free ? freeOrder(mm, pfn) : pageOrder(page));
  put(FRAME_REFS, pageRefs(page));
  put(FRAME_MAPS, pageMaps(page));
  put(FRAME_FLAGS, pageFlags(page) | shown);
}

/** Migratetype of the pageblock that frame `pfn` is in. */
export function surveyBlock(vm: i32, pfn: u32): u32 {
  return blockType(mmZone(lookedAt(vm), pfn), pfn);
}

/** Pageblocks of `type` in the zone at `place`. */
export function surveyBlocks(vm: i32, place: u32, type: u32): u32 {
  const zone = mmZoneAt(lookedAt(vm), place);
  let blocks: u32 = 0;
  for (let pfn = zoneStartPfn(zone); pfn < zoneEndPfn(zone); ) {
    if (blockType(zone, pfn) === type) blocks++;
    pfn = (pfn & ~(PAGEBLOCK_PAGES - 1)) + PAGEBLOCK_PAGES;
  }
  return blocks;
}

/** Zones of the host (-1), or of a VM's guest. */
export function surveyZones(vm: i32): u32 {
  const mm = lookedAt(vm);
  return mm === 0 ? 0 : mmZones(mm);
}

export const ZONE_INDEX: u32 = 0;
export const ZONE_START: u32 = 1;
export const ZONE_FRAMES: u32 = 2;
export const ZONE_FREE: u32 = 3;
/** Then low and high. */
export const ZONE_WATERMARK_MIN: u32 = 4;

/** Writes the zone at `place`. */
export function surveyZone(vm: i32, place: u32): void {
  const zone = mmZoneAt(lookedAt(vm), place);
  put(ZONE_INDEX, zoneIndex(zone));
  put(ZONE_START, zoneStartPfn(zone));
  put(ZONE_FRAMES, zoneEndPfn(zone) - zoneStartPfn(zone));
  put(ZONE_FREE, zoneFreePages(zone));
  for (let mark: u32 = 0; mark < 3; mark++) put(ZONE_WATERMARK_MIN + mark, zoneWatermark(zone, mark));
}

/** Orders of blocks that a free list can hold: 0 up to this one. */
export const ZONE_ORDERS: u32 = MAX_ORDER;

/** Blocks in one free list of the zone at `place`. */
export function surveyFreeBlocks(vm: i32, place: u32, order: u32, type: u32): u32 {
  return listLength(zoneFreeList(mmZoneAt(lookedAt(vm), place), order, type));
}

/** Number of the host CPU that it is on, -1 for none. */
export const SURVEY_VCPU_CPU: u32 = 0;
export const SURVEY_VCPU_CLOCK: u32 = 1;
/** Number of the task that is on it, -1 for none. */
export const SURVEY_VCPU_TASK: u32 = 2;
/** Guest frame of the page fault that it is in, -1 for none. */
export const SURVEY_VCPU_GFN: u32 = 3;
/** MSR_KVM_ASYNC_PF_EN, as the guest has written it. */
export const SURVEY_VCPU_ASYNC_PF: u32 = 4;

/** Writes where vCPU `index` of VM `vm` stands. */
export function surveyVcpu(vm: u32, index: u32): void {
  const vcpu = vcpuAt(vmAt(vm), index);
  const task = guestCurrent(vcpu);
  const apf = vcpuApf(vcpu);
  put(SURVEY_VCPU_CPU, actorCpu(vcpu) === CPU_NONE ? -1 : <f64>actorCpu(vcpu));
  put(SURVEY_VCPU_CLOCK, <f64>actorClock(vcpu));
  put(SURVEY_VCPU_TASK, task === 0 ? -1 : <f64>taskId(task));
  const faults = vcpuMode(vcpu) === VCPU_IN_FAULT || vcpuMode(vcpu) === VCPU_APF_HALTED;
  put(SURVEY_VCPU_GFN, faults ? <f64>load<u32>(vcpu, PF_GFN) : -1);
  put(SURVEY_VCPU_ASYNC_PF, apf === 0 ? 0 : <f64>load<u32>(apf, APF_ENABLED));
}

/** TASK_* of task `index`. */
export function surveyTaskState(index: u32): u32 {
  return taskState(taskAt(index));
}

/** The token that task `index` waits for, -1 when it waits for none. */
export function surveyTaskToken(index: u32): f64 {
  return sleeperToken(taskAt(index));
}

/** The share of its work that task `index` has done, 0..1; -1 when it has no end that is known. */
export function surveyTaskShare(index: u32): f64 {
  const task = taskAt(index);
  if (taskCompute(task)) {
    const limit = taskWorkLimit(task);
    return limit === TIME_NEVER ? -1 : <f64>taskWork(task) / <f64>limit;
  }
  const limit = taskLimit(task);
  return limit === u64.MAX_VALUE ? -1 : <f64>taskAccesses(task) / <f64>limit;
}

export const SURVEY_WORK_TOKEN: u32 = 0;
export const SURVEY_WORK_GFN: u32 = 1;
/** WORK_*. */
export const SURVEY_WORK_STATE: u32 = 2;
/** The guest has been told that the page is not there. */
export const SURVEY_WORK_TOLD: u32 = 3;

/** Writes the asynchronous page fault at `place` of those of a vCPU that have not been consumed, oldest first. False: there are no more. */
export function surveyWork(vm: u32, index: u32, place: u32): bool {
  const apf = vcpuApf(vcpuAt(vmAt(vm), index));
  const work: usize = apf === 0 ? 0 : workAt(apf, place);
  if (work === 0) return false;
  put(SURVEY_WORK_TOKEN, load<u32>(work, WORK_TOKEN));
  put(SURVEY_WORK_GFN, load<u32>(work, WORK_GFN));
  put(SURVEY_WORK_STATE, load<u32>(work, WORK_STATE));
  put(SURVEY_WORK_TOLD, load<u32>(work, WORK_TOLD));
  return true;
}
