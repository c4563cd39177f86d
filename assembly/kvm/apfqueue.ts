import { PFN_NONE } from "../memory/layout";
import { GFP_NO_SLEEP, GFP_NO_WAIT } from "../mm/gfp";
import { checkSlab, SLAB_BYTES, slabGive, slabInit, slabTake } from "../mm/slab";
import { STAGE_COUNT } from "../sim/actor";
import {
  APF_AREA_TOKEN,
  APF_ATTENTION,
  APF_DONE_HEAD,
  APF_DONE_TAIL,
  APF_FREE,
  APF_ITEMS,
  APF_PEAK,
  APF_QUEUE_HEAD,
  APF_QUEUE_TAIL,
  APF_QUEUED,
  apfVcpu,
  TOKEN_ALL,
  WORK_ALL,
  WORK_CANCELLED,
  WORK_CR3,
  WORK_DONE,
  WORK_DONE_NEXT,
  WORK_FREE,
  WORK_GFN,
  WORK_KIND,
  WORK_NEXT,
  WORK_OWNER,
  WORK_PFN,
  WORK_PREVIOUS,
  WORK_QUEUED,
  WORK_READING,
  WORK_STAGES,
  WORK_STATE,
  WORK_TOKEN,
  WORK_TOLD,
  WORK_VA,
} from "./apf";
import { apfPinDrop } from "./apfpin";
import { CR3, PF_VA, vcpuApf, vcpuNext, vcpuVm } from "./vcpu";
import { vmMm, vmVcpuList } from "./vm";

// The lists of a vCPU's asynchronous page faults: `queue` holds every work until its completion is consumed, `done` those whose
// page is there. A cancelled work that still runs is in neither and is given back by its worker.
//
// invariant: queued === length of queue
// invariant: every work of done is in queue; no two works of queue have one token

// async_pf_cache, shared by all VMs. 32: struct kvm_async_pf of 6.1 has 128 bytes (**assumption**: no debugging of slabs).
const PER_FRAME: u32 = 32;
const CACHE: usize = memory.data(<i32>SLAB_BYTES, 8);

/** No works yet. */
export function worksInit(): void {
  slabInit(CACHE, PER_FRAME);
}

/** A fresh work at the end of the queue; 0 when none could be allocated without waiting, or is left (a cancelled one still runs). */
export function workQueue(apf: usize, gfn: u32, token: u32): usize {
  const work = <usize>load<u32>(apf, APF_FREE);
  if (work === 0) return 0;
  const gfp = token === TOKEN_ALL ? GFP_NO_SLEEP : GFP_NO_WAIT;
  if (!slabTake(CACHE, vmMm(vcpuVm(apfVcpu(apf))), apfVcpu(apf), gfp)) return 0;
  store<u32>(apf, load<u32>(work, WORK_NEXT), APF_FREE);
  assert(load<u32>(work, WORK_STATE) === WORK_FREE);
  store<u32>(work, WORK_QUEUED, WORK_STATE);
  store<u32>(work, gfn, WORK_GFN);
  store<u32>(work, load<u32>(apfVcpu(apf), PF_VA), WORK_VA);
  store<u32>(work, load<u32>(apfVcpu(apf), CR3), WORK_CR3);
  store<u32>(work, token, WORK_TOKEN);
  store<u32>(work, 0, WORK_ALL);
  store<u32>(work, 0, WORK_TOLD);
  store<u32>(work, 0, WORK_CANCELLED);
  store<u32>(work, 0, WORK_KIND);
  store<u32>(work, PFN_NONE, WORK_PFN);
  store<u32>(work, PFN_NONE, WORK_READING);
  for (let stage: u32 = 0; stage < STAGE_COUNT; stage++)
    store<u64>(work + ((<usize>stage) << 3), 0, WORK_STAGES);

  const tail = <usize>load<u32>(apf, APF_QUEUE_TAIL);
  store<u32>(work, 0, WORK_NEXT);
  store<u32>(work, <u32>tail, WORK_PREVIOUS);
  if (tail === 0) store<u32>(apf, <u32>work, APF_QUEUE_HEAD);
  else store<u32>(tail, <u32>work, WORK_NEXT);
  store<u32>(apf, <u32>work, APF_QUEUE_TAIL);
  const queued = load<u32>(apf, APF_QUEUED) + 1;
  store<u32>(apf, queued, APF_QUEUED);
  // A broadcast is nothing that somebody waits for.
  if (token !== TOKEN_ALL && queued > load<u32>(apf, APF_PEAK)) store<u32>(apf, queued, APF_PEAK);
  return work;
}

/** Takes the work out of the queue. */
export function workUnqueue(work: usize): void {
  const apf = <usize>load<u32>(work, WORK_OWNER);
  const next = <usize>load<u32>(work, WORK_NEXT);
  const previous = <usize>load<u32>(work, WORK_PREVIOUS);
  if (previous === 0) store<u32>(apf, <u32>next, APF_QUEUE_HEAD);
  else store<u32>(previous, <u32>next, WORK_NEXT);
  if (next === 0) store<u32>(apf, <u32>previous, APF_QUEUE_TAIL);
  else store<u32>(next, <u32>previous, WORK_PREVIOUS);
  assert(load<u32>(apf, APF_QUEUED) > 0);
  store<u32>(apf, load<u32>(apf, APF_QUEUED) - 1, APF_QUEUED);
}

/** Gives the record back, and with it the page that it holds; `actor` is who does so. */
export function workFree(work: usize, actor: usize): void {
  const apf = <usize>load<u32>(work, WORK_OWNER);
  apfPinDrop(work, actor);
  slabGive(CACHE);
  store<u32>(work, WORK_FREE, WORK_STATE);
  store<u32>(work, load<u32>(apf, APF_FREE), WORK_NEXT);
  store<u32>(apf, <u32>work, APF_FREE);
}

/** The work is done: at the end of that list. True when the list was empty. */
export function workDone(work: usize): bool {
  const apf = <usize>load<u32>(work, WORK_OWNER);
  const tail = <usize>load<u32>(apf, APF_DONE_TAIL);
  store<u32>(work, WORK_DONE, WORK_STATE);
  store<u32>(work, 0, WORK_DONE_NEXT);
  if (tail === 0) store<u32>(apf, <u32>work, APF_DONE_HEAD);
  else store<u32>(tail, <u32>work, WORK_DONE_NEXT);
  store<u32>(apf, <u32>work, APF_DONE_TAIL);
  return tail === 0;
}

/** Takes the oldest work that is done, 0 for none. */
export function workNextDone(apf: usize): usize {
  const work = <usize>load<u32>(apf, APF_DONE_HEAD);
  if (work === 0) return 0;
  const next = load<u32>(work, WORK_DONE_NEXT);
  store<u32>(apf, next, APF_DONE_HEAD);
  if (next === 0) store<u32>(apf, 0, APF_DONE_TAIL);
  return work;
}

/** The work of that token in the queue, 0 for none. */
export function workOfToken(apf: usize, token: u32): usize {
  let work = <usize>load<u32>(apf, APF_QUEUE_HEAD);
  while (work !== 0 && load<u32>(work, WORK_TOKEN) !== token) work = <usize>load<u32>(work, WORK_NEXT);
  return work;
}

/** The work at `place` of the queue, 0 when there are fewer. */
export function workAt(apf: usize, place: u32): usize {
  let work = <usize>load<u32>(apf, APF_QUEUE_HEAD);
  for (; work !== 0 && place > 0; place--) work = <usize>load<u32>(work, WORK_NEXT);
  return work;
}

export function apfDoneEmpty(apf: usize): bool {
  return load<u32>(apf, APF_DONE_HEAD) === 0;
}

/** The most that one vCPU of the VM had outstanding. */
export function apfPeak(vm: usize): u32 {
  let peak: u32 = 0;
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    if (vcpuApf(vcpu) !== 0) peak = max<u32>(peak, load<u32>(vcpuApf(vcpu), APF_PEAK));
  }
  return peak;
}

/** A new interval for apfPeak(). */
export function apfResetPeak(vm: usize): void {
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    if (apf !== 0) store<u32>(apf, load<u32>(apf, APF_QUEUED), APF_PEAK);
  }
}

/** Tasks of the vCPU that may sleep: works that the guest was told of, and what it is being told just now. */
export function apfExpected(apf: usize, inHandler: bool): u32 {
  if (load<u32>(apf, APF_AREA_TOKEN) === TOKEN_ALL) return u32.MAX_VALUE;
  let expected: u32 = inHandler || load<u32>(apf, APF_ATTENTION) !== 0 ? 1 : 0;
  for (
    let work = <usize>load<u32>(apf, APF_QUEUE_HEAD);
    work !== 0;
    work = <usize>load<u32>(work, WORK_NEXT)
  ) {
    if (load<u32>(work, WORK_ALL) !== 0) return u32.MAX_VALUE;
    if (load<u32>(work, WORK_TOLD) !== 0) expected++;
  }
  return expected;
}

/** Works in use of one vCPU, cancelled ones that still run among them. */
export function worksInUse(apf: usize): u32 {
  let free: u32 = 0;
  for (let work = <usize>load<u32>(apf, APF_FREE); work !== 0; work = <usize>load<u32>(work, WORK_NEXT))
    free++;
  return load<u32>(apf, APF_ITEMS) - free;
}

/** Asserts that `used` works of all vCPUs are in use. */
export function checkWorks(used: u32): void {
  checkSlab(CACHE, used);
}

export function checkApfQueue(apf: usize): void {
  let queued: u32 = 0;
  for (
    let work = <usize>load<u32>(apf, APF_QUEUE_HEAD);
    work !== 0;
    work = <usize>load<u32>(work, WORK_NEXT)
  ) {
    queued++;
    assert(load<u32>(work, WORK_STATE) !== WORK_FREE && load<u32>(work, WORK_OWNER) === <u32>apf);
    for (
      let other = <usize>load<u32>(work, WORK_NEXT);
      other !== 0;
      other = <usize>load<u32>(other, WORK_NEXT)
    ) {
      assert(load<u32>(other, WORK_TOKEN) !== load<u32>(work, WORK_TOKEN));
    }
  }
  assert(queued === load<u32>(apf, APF_QUEUED));
  for (
    let work = <usize>load<u32>(apf, APF_DONE_HEAD);
    work !== 0;
    work = <usize>load<u32>(work, WORK_DONE_NEXT)
  ) {
    assert(load<u32>(work, WORK_STATE) === WORK_DONE);
  }
  assert(queued <= worksInUse(apf));
}
