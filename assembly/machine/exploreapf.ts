import { guestSleepers, sleeperIsDummy } from "../guest/apfsleep";
import {
  APF_AREA_TOKEN,
  APF_BYTES,
  APF_DONE_HEAD,
  APF_EXCEPTION,
  APF_EXCEPTION_TOKEN,
  APF_FREE,
  APF_ID,
  APF_ITEMS,
  APF_LATE,
  APF_LATE_TOKEN,
  APF_PEAK,
  APF_QUEUE_HEAD,
  APF_TABLE,
  APF_TABLE_BITS,
  EXCEPTION_NONE,
  TOKEN_ALL,
  WORK_CANCELLED,
  WORK_DONE,
  WORK_DONE_NEXT,
  WORK_FREE,
  WORK_GFN,
  WORK_NEXT,
  WORK_OWNER,
  WORK_PFN,
  WORK_STAGES,
  WORK_STATE,
  WORK_TOKEN,
} from "../kvm/apf";
import { WORKER_BYTES, workerNext, workersFirst, workerVm, workerWork } from "../kvm/apfworker";
import { DAEMON_BYTES, vcpuApf, vcpuNext } from "../kvm/vcpu";
import { vmMm, vmSpace, vmVcpuList } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { PFN_NONE } from "../memory/layout";
import { THROTTLED_AT } from "../mm/context";
import { PG_MAPPING_REPLACED, pageOf, pageTest } from "../mm/page";
import { ZERO_PFN } from "../mm/pte";
import { spaceFileRss } from "../mm/space";
import { ACTOR_BYTES, actorState, actorWaitNext } from "../sim/actor";
import { mix, mixWords } from "./statehash";

// Asynchronous page faults as the explorer sees them: what of them makes two states the same, and what can be wrong with the pages that they
// hold.

// Tokens are told apart by the order in which they are met, not by their numbers: which fault of its vCPU one is does not matter, but for those whose
// numbers come soon, because they wrap around.
const NAMES_MOST: u32 = 64;
const NAMES: usize = memory.data(4 * 64 + 8, 8);
const NAMED: usize = 4 * 64;
const EXACT: usize = 4 * 64 + 4;

const NUMBERS: u32 = 1 << 20;
// More than one exploration can come to.
const SOON: u32 = 256;

/** The numbers of tokens matter: an act will move them on. */
export function exploreTokensExact(): void {
  store<u32>(NAMES, 1, EXACT);
}

function nameOf(token: u32): u32 {
  const named = load<u32>(NAMES, NAMED);
  for (let index: u32 = 0; index < named; index++) {
    if (load<u32>(NAMES + ((<usize>index) << 2)) === token) return index + 1;
  }
  assert(named < NAMES_MOST);
  store<u32>(NAMES + ((<usize>named) << 2), token);
  store<u32>(NAMES, named + 1, NAMED);
  return named + 1;
}

/** A token of `vcpu`, and whether a dummy stands for it. */
export function mixToken(vcpu: usize, token: u32): void {
  const ahead = ((token >> 12) - load<u32>(vcpuApf(vcpu), APF_ID)) & (NUMBERS - 1);
  const special = token === 0 || token === TOKEN_ALL || load<u32>(NAMES, EXACT) !== 0;
  mix(special ? token : nameOf(token));
  mix(min<u32>(ahead, SOON) | (special ? 1 << 16 : 0));
  mix(guestSleepers(vcpu) !== 0 && sleeperIsDummy(vcpu, token) ? 1 : 0);
}

function mixId(id: u32): void {
  const number = id & (NUMBERS - 1);
  mix(load<u32>(NAMES, EXACT) !== 0 ? id : number === 0 ? 0 : min<u32>(NUMBERS - number, SOON));
}

/** The vCPUs' records, works and tables of VM `vm`, and its workers. */
export function mixApf(vm: usize): void {
  store<u32>(NAMES, 0, NAMED);
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    if (apf === 0) continue;
    mixRecord(vcpu, apf);
    for (let work = next(apf, APF_QUEUE_HEAD); work !== 0; work = next(work, WORK_NEXT)) {
      mixWords(work, work + WORK_TOKEN);
      mixToken(vcpu, load<u32>(work, WORK_TOKEN));
      mixWords(work + WORK_TOKEN + 4, work + WORK_STAGES);
    }
    const table = next(apf, APF_TABLE);
    mixWords(table, table + ((<usize>4) << load<u32>(apf, APF_TABLE_BITS)));
  }
  for (let worker = workersFirst(); worker !== 0; worker = workerNext(worker)) {
    if (workerVm(worker) !== vm) continue;
    mix(actorState(worker));
    mix(actorWaitNext(worker));
    mixWords(worker + ACTOR_BYTES, worker + THROTTLED_AT);
    mixWords(worker + THROTTLED_AT + 8, worker + DAEMON_BYTES);
    mixWords(worker + DAEMON_BYTES + 4, worker + WORKER_BYTES);
  }
}

// The record of a vCPU: its words as they are, but for tokens, of which those count that stand for something.
function mixRecord(vcpu: usize, apf: usize): void {
  mixWords(apf, apf + APF_ID);
  mixId(load<u32>(apf, APF_ID));
  mixWords(apf + APF_ID + 4, apf + APF_EXCEPTION_TOKEN);
  if (load<u32>(apf, APF_EXCEPTION) !== EXCEPTION_NONE) mixToken(vcpu, load<u32>(apf, APF_EXCEPTION_TOKEN));
  mixWords(apf + APF_EXCEPTION_TOKEN + 4, apf + APF_LATE_TOKEN);
  if (load<u32>(apf, APF_LATE) !== 0) mixToken(vcpu, load<u32>(apf, APF_LATE_TOKEN));
  mixWords(apf + APF_PEAK + 4, apf + APF_AREA_TOKEN);
  mixToken(vcpu, load<u32>(apf, APF_AREA_TOKEN));
  mixWords(apf + APF_AREA_TOKEN + 4, apf + APF_BYTES);
}

function next(at: usize, field: usize): usize {
  return <usize>load<u32>(at + field);
}

/** A page of VM `vm` was dropped as a file's: the process' counters are wrong. */
export function exploreMiscounted(vm: u32): bool {
  return spaceFileRss(vmSpace(vmAt(vm))) !== 0;
}

/** Plus one, the gfn of a page that a completion holds which is there and not consumed; 0 for none. */
export function exploreHeld(vm: u32): u32 {
  for (let vcpu = vmVcpuList(vmAt(vm)); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    if (apf === 0) continue;
    for (let work = next(apf, APF_QUEUE_HEAD); work !== 0; work = next(work, WORK_NEXT)) {
      const held = load<u32>(work, WORK_STATE) === WORK_DONE && load<u32>(work, WORK_PFN) !== PFN_NONE;
      if (held) return load<u32>(work, WORK_GFN) + 1;
    }
  }
  return 0;
}

/** The mapping of a page that a work of VM `vm` holds is replaced. */
export function exploreReplaced(vm: u32): bool {
  for (let vcpu = vmVcpuList(vmAt(vm)); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    if (apf === 0) continue;
    for (let work = next(apf, APF_QUEUE_HEAD); work !== 0; work = next(work, WORK_NEXT)) {
      const pfn = load<u32>(work, WORK_PFN);
      if (pfn === PFN_NONE || pfn === ZERO_PFN) continue;
      if (pageTest(pageOf(vmMm(vmAt(vm)), pfn), PG_MAPPING_REPLACED)) return true;
    }
  }
  return false;
}

/** Every work of VM `vm` is in one place. */
export const WORKS_SOUND: u32 = 0;
/** One that has been freed is used, or is freed twice. */
export const WORKS_FREED: u32 = 1;
/** Nobody has one that has not been freed. */
export const WORKS_LEAKED: u32 = 2;

/** What is wrong with the works of VM `vm`: WORKS_*. */
export function exploreWorks(vm: u32): u32 {
  for (let vcpu = vmVcpuList(vmAt(vm)); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    const wrong = apf === 0 ? WORKS_SOUND : worksOf(vmAt(vm), apf);
    if (wrong !== WORKS_SOUND) return wrong;
  }
  return WORKS_SOUND;
}

function worksOf(vm: usize, apf: usize): u32 {
  const items = load<u32>(apf, APF_ITEMS);
  let free: u32 = 0;
  for (let work = next(apf, APF_FREE); work !== 0; work = next(work, WORK_NEXT)) {
    if (load<u32>(work, WORK_STATE) !== WORK_FREE || ++free > items) return WORKS_FREED;
  }
  let used: u32 = 0;
  for (let work = next(apf, APF_QUEUE_HEAD); work !== 0; work = next(work, WORK_NEXT)) {
    if (load<u32>(work, WORK_STATE) === WORK_FREE || ++used > items) return WORKS_FREED;
  }
  let done: u32 = 0;
  for (let work = next(apf, APF_DONE_HEAD); work !== 0; work = next(work, WORK_DONE_NEXT)) {
    if (load<u32>(work, WORK_STATE) !== WORK_DONE || ++done > items) return WORKS_FREED;
  }
  for (let worker = workersFirst(); worker !== 0; worker = workerNext(worker)) {
    const work = workerVm(worker) === vm ? workerWork(worker) : 0;
    if (work === 0 || load<u32>(work, WORK_OWNER) !== <u32>apf) continue;
    if (load<u32>(work, WORK_STATE) === WORK_FREE) return WORKS_FREED;
    if (load<u32>(work, WORK_CANCELLED) !== 0) used++;
  }
  return free + used === items ? WORKS_SOUND : WORKS_LEAKED;
}
