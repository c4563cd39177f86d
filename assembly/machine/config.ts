import { guestMemory, guestMemoryInit } from "../guest/guest";
import { setGuestTimeslice } from "../guest/sched";
import {
  setTaskFirstGfn,
  setTaskForce,
  setTaskKernel,
  setTaskLimit,
  setTaskOwn,
  setTaskSpace,
  setTaskStart,
  setTaskThinkNs,
  setTaskWorkLimit,
  setTaskWorkload,
  TASK_COMPUTE,
  TASK_PREFAULT,
  taskCreate,
  VCPU_BYTES,
} from "../guest/task";
import { worksInit } from "../kvm/apfqueue";
import { workersInit } from "../kvm/apfworker";
import { integrityInit } from "../kvm/integrity";
import { mmuCreate } from "../kvm/mmu";
import { monitorCreate } from "../kvm/monitor";
import { shadowDesign } from "../kvm/roots";
import { DAEMON_BYTES, setVcpuNext, vcpuCreate } from "../kvm/vcpu";
import {
  setVmMonitor,
  setVmVcpus,
  vmAddAlias,
  vmAddSlot,
  vmCreate,
  vmDefaultHva,
  vmDesign,
  vmSpace,
  vmVcpuList,
} from "../kvm/vm";
import { vmAt, vmTableAdd, vmTableCount, vmTableInit } from "../kvm/vmtable";
import { arenaCommit, arenaInit, arenaTake, PART_RECORDS } from "../memory/arena";
import { PFN_BASE } from "../memory/layout";
import { E_NO_MEMORY, OK } from "../memory/status";
import { ACTOR_MM } from "../mm/context";
import { ZONE_NORMAL } from "../mm/gfp";
import {
  mmAddZone,
  mmCreate,
  mmGenerations,
  mmIdealized,
  mmPolicy,
  setMmKswapd,
  setMmPolicy,
  setMmSwappiness,
  setMmWatermarkScale,
  setMmZeroPage,
} from "../mm/instance";
import { lruBatchesCreate } from "../mm/lrubatch";
import { memcgSetup, setMemcgGenerations } from "../mm/memcg";
import { memcgStatsCreate } from "../mm/memcgstat";
import { generationsCreate } from "../mm/mglru";
import { residencyCreate } from "../mm/residency";
import { spaceCreate, spaceMemcg } from "../mm/space";
import { stocksCreate } from "../mm/stock";
import { swapStateCreate } from "../mm/swapstate";
import { zoneCreate } from "../mm/zone";
import { ACTOR_KSWAPD, actorInit } from "../sim/actor";
import { costSet, costsPreset } from "../sim/costs";
import { digestInit } from "../sim/digest";
import { rngSeed } from "../sim/rng";
import { pagedCreate } from "../workload/paged";
import { permuteOffset, permuteStride } from "../workload/permute";
import { traceCreate, tracesInit, traceWords } from "../workload/trace";
import {
  PROBABILITY_ONE,
  setWorkloadHot,
  setWorkloadPermutation,
  setWorkloadRng,
  setWorkloadSize,
  setWorkloadTable,
  setWorkloadTheta,
  setWorkloadThinkMean,
  WORKLOAD_HOTCOLD,
  WORKLOAD_SEQUENTIAL,
  WORKLOAD_TRACE,
  WORKLOAD_ZIPF,
  workloadCreate,
} from "../workload/workload";
import { CPU_BYTES, cpusInit } from "./cpus";
import { addActor } from "./giveback";
import { vcpuAt, workloadOf } from "./lookup";
import { plannedInit } from "./planned";
import {
  actorCount,
  addTask,
  host,
  seed,
  setCheck,
  setCpus,
  setHost,
  setQuantum,
  setSeed,
  stateInit,
  taskAt,
  taskCount,
} from "./state";

// Set-up: the binding describes the machine call by call, each call makes one record; boot.ts then lays everything out.
// Every value has been checked at the door. A call returns the number of what it made, or E_NO_MEMORY.

// Streams of random numbers: the permutation of a region draws from its own, so that tasks of one region share hot pages.
const STREAM_PERMUTATION: u32 = 0x80000000;

/** Starts a machine. Times in ns; `swappiness` 0..200; `watermarkScale` in 1/10,000. */
export function configHost(
  seedValue: u32,
  memoryPages: u32,
  cpus: u32,
  quantumNs: u32,
  swappiness: u32,
  watermarkScale: u32,
): i32 {
  arenaInit();
  stateInit();
  plannedInit();
  digestInit();
  integrityInit();
  vmTableInit();
  workersInit();
  worksInit();
  guestMemoryInit();
  tracesInit();
  cpusInit();
  if (arenaCommit() !== OK) return E_NO_MEMORY;
  setSeed(seedValue);
  setQuantum(quantumNs);
  const mm = mmCreate(PFN_BASE, PFN_BASE + memoryPages);
  const zone = zoneCreate(ZONE_NORMAL, PFN_BASE, memoryPages, memoryPages, cpus);
  const records = arenaTake(PART_RECORDS, <u64>cpus * CPU_BYTES);
  const kswapd = arenaTake(PART_RECORDS, DAEMON_BYTES);
  if (mm === 0 || zone === 0 || records === 0 || kswapd === 0) return E_NO_MEMORY;
  if (
    !swapStateCreate(mm, cpus, seedValue) ||
    !lruBatchesCreate(mm, cpus) ||
    !stocksCreate(mm, cpus) ||
    !memcgStatsCreate(mm, cpus)
  )
    return E_NO_MEMORY;
  setHost(mm);
  mmAddZone(mm, zone);
  setMmZeroPage(mm, true);
  setMmSwappiness(mm, swappiness);
  setMmWatermarkScale(mm, watermarkScale);
  setCpus(records, cpus);
  actorInit(kswapd, ACTOR_KSWAPD, actorCount());
  store<u32>(kswapd, <u32>mm, ACTOR_MM);
  setMmKswapd(mm, kswapd);
  addActor(kswapd);
  return OK;
}

/** An idealized policy (POLICY_*) for the limits of all VMs, which are added afterwards, instead of Linux' lists. */
export function configPolicy(kind: u32): void {
  setMmPolicy(host(), kind);
}

/** Contents of pages are checked; a violation stops the run, or is counted. */
export function configCheck(integrity: bool, stop: bool): void {
  setCheck(integrity, stop);
}

export function configCosts(preset: u32): void {
  costsPreset(preset);
}

export function configCost(key: u32, ns: u32): void {
  costSet(key, ns);
}

/** A VM of `pages` pages in up to `slots` memslots, which follow, and its vCPUs; `maxPages` 0xffffffff for no limit. */
export function configVm(
  pages: u32,
  slots: u32,
  vcpus: u32,
  maxPages: u32,
  tlbEntries: u32,
  tlbWays: u32,
  timesliceNs: u32,
): i32 {
  const id = vmTableCount();
  const space = spaceCreate(host(), pages, maxPages);
  const vm: usize = space === 0 ? <usize>0 : vmCreate(id, host(), space, pages, slots);
  if (vm === 0) return E_NO_MEMORY;
  if (mmGenerations(host())) {
    const gens = generationsCreate();
    if (gens === 0) return E_NO_MEMORY;
    setMemcgGenerations(spaceMemcg(space), gens);
  }
  if (mmIdealized(host()) && !residencyCreate(space, mmPolicy(host()))) return E_NO_MEMORY;
  vmTableAdd(vm);
  let last: usize = 0;
  for (let index: u32 = 0; index < vcpus; index++) {
    const vcpu = vcpuCreate(vm, actorCount(), index, VCPU_BYTES, tlbEntries, tlbWays);
    if (vcpu === 0) return E_NO_MEMORY;
    setGuestTimeslice(vcpu, timesliceNs);
    addActor(vcpu);
    if (last !== 0) setVcpuNext(last, vcpu);
    setVmVcpus(vm, vcpus, last === 0 ? vcpu : vmVcpuList(vm));
    last = vcpu;
  }
  const monitor = monitorCreate(vm, actorCount());
  if (monitor === 0) return E_NO_MEMORY;
  setVmMonitor(vm, monitor);
  addActor(monitor);
  return <i32>id;
}

/** What the cgroup of a VM is charged beside guest pages (TABLES_*, pages), and how many pages at once; before boot. */
export function configMemcg(vm: u32, tables: u32, chargeBatch: u32, overheadPages: u32): void {
  memcgSetup(spaceMemcg(vmSpace(vmAt(vm))), chargeBatch, tables, overheadPages);
}

/**
 * How VM `id` is paged, instead of what configVm() gives it: MMU_TDP, SPTE_EPT, 4 levels, NOTIFIER_SEQ_RETRY, 4 KiB pages.
 * @param mmuPages pages of sptes that the legacy MMU may have, 0 for KVM's own choice
 */
export function configPaging(
  id: u32,
  mmu: u32,
  format: u32,
  levels: u32,
  notifier: u32,
  huge: bool,
  mmuPages: u32,
): i32 {
  vmDesign(vmAt(id), format, levels, notifier, huge);
  return mmuCreate(vmAt(id), mmu, mmuPages) ? OK : E_NO_MEMORY;
}

/** VM `id` has shadow paging: see shadowDesign(). */
export function configShadow(id: u32, ownRoots: bool, preset: bool, own: u32, spaces: u32): void {
  shadowDesign(vmAt(id), ownRoots, preset, own, spaces);
}

/** Under shadow paging, the task has page tables of its own, or those of an earlier task `as`. */
export function configSpace(task: u32, as: u32): void {
  setTaskSpace(taskAt(task), as);
}

/** Memslot number `id` of a VM: `pages` frames from `gfn` on; `hva` below 0 for the process' usual place. `flags` are KVM_MEM_*. */
export function configMemslot(vm: u32, id: u32, gfn: u32, pages: u32, hva: f64, flags: u32): void {
  const to = vmAt(vm);
  vmAddSlot(to, id, gfn, pages, hva < 0 ? vmDefaultHva(to, gfn) : <u64>hva, flags);
}

/** Guest frames base .. base + pages - 1 of a VM stand for those from `target` on; up to ALIAS_SLOTS times, before boot. */
export function configAlias(vm: u32, base: u32, pages: u32, target: u32): i32 {
  return vmAddAlias(vmAt(vm), base, pages, target) ? OK : E_NO_MEMORY;
}

function addConfigured(vm: u32, vcpu: u32, flags: u32): usize {
  const task = taskCreate(taskCount(), vcpuAt(vmAt(vm), vcpu), flags);
  if (task !== 0) addTask(task);
  return task;
}

/** The task runs in kernel mode. */
export function configKernelMode(task: u32): void {
  setTaskKernel(taskAt(task));
}

/** A task that computes for `ns` of CPU time, without end when `ns` is infinite. */
export function configCompute(vm: u32, vcpu: u32, ns: f64): i32 {
  const task = addConfigured(vm, vcpu, TASK_COMPUTE);
  if (task === 0) return E_NO_MEMORY;
  if (ns < 9007199254740992) setTaskWorkLimit(task, <u64>ns);
  return <i32>(taskCount() - 1);
}

/**
 * A task that touches `pages` pages from `firstGfn` on.
 * @param kind WORKLOAD_*
 * @param size words of the trace, pages of the hot set
 * @param trace handle of configTrace(), for a trace
 * @param writes probability in 2^-26
 * @param accesses after which it ends, infinity for never
 * @param scatter ranks are spread over the pages by a seeded permutation
 * @param force every access is a write
 */
export function configTask(
  vm: u32,
  vcpu: u32,
  firstGfn: u32,
  pages: u32,
  kind: u32,
  size: u32,
  trace: usize,
  writes: u32,
  accesses: f64,
  scatter: bool,
  force: bool,
): i32 {
  const task = addConfigured(vm, vcpu, 0);
  const number = taskCount() - 1;
  const workload: usize = task === 0 ? <usize>0 : workloadCreate(kind, pages, writes, number);
  if (workload === 0) return E_NO_MEMORY;
  setTaskWorkload(task, workload);
  setTaskFirstGfn(task, firstGfn);
  setTaskForce(task, force ? 1 << 31 : 0);
  setWorkloadSize(workload, size);
  if (kind === WORKLOAD_TRACE) setWorkloadTable(workload, trace); // boot puts the words' address in its place
  setWorkloadRng(workload, rngSeed(seed(), number));
  if (accesses < 9007199254740992) setTaskLimit(task, <u64>accesses);
  if (scatter && (kind === WORKLOAD_ZIPF || kind === WORKLOAD_HOTCOLD)) {
    const state = rngSeed(seed(), STREAM_PERMUTATION | (vm * 0x9e3779b1 + firstGfn));
    setWorkloadPermutation(workload, permuteStride(state, pages), permuteOffset(state, pages));
  }
  return <i32>number;
}

/** A trace of `words` accesses. Returns its handle, 0 when memory is exhausted. */
export function configTrace(words: u32): usize {
  return traceCreate(words);
}

/** Address at which the words of a trace belong; after boot(). */
export function traceAddress(trace: usize): usize {
  return traceWords(trace);
}

/** The CPU time beside each access of a task: constant, or exponential with that mean. */
export function configThink(task: u32, ns: u32, exponential: bool): void {
  if (exponential) setWorkloadThinkMean(workloadOf(task), ns);
  else setTaskThinkNs(taskAt(task), ns);
}

export function configZipf(task: u32, theta: f64): void {
  setWorkloadTheta(workloadOf(task), theta);
}

/** The hot set's probability in 2^-26, and the accesses after which it moves on (0: never). */
export function configHotcold(task: u32, probability: u32, phaseAccesses: f64): void {
  setWorkloadHot(workloadOf(task), probability, <u64>phaseAccesses);
}

/** When a task starts: `ns` after the beginning, or after the end of task `after` (-1: none). */
export function configStart(task: u32, after: i32, ns: f64): void {
  setTaskStart(taskAt(task), after < 0 ? 0 : taskAt(<u32>after), <u64>ns);
}

/** Writes a region once, on `vcpu`, before time and counters start. */
export function configPrefault(vm: u32, vcpu: u32, firstGfn: u32, pages: u32): i32 {
  const task = addConfigured(vm, vcpu, TASK_PREFAULT);
  const workload: usize =
    task === 0 ? <usize>0 : workloadCreate(WORKLOAD_SEQUENTIAL, pages, PROBABILITY_ONE, taskCount() - 1);
  if (workload === 0) return E_NO_MEMORY;
  setTaskWorkload(task, workload);
  setTaskFirstGfn(task, firstGfn);
  setTaskLimit(task, pages);
  const guest = guestMemory(vmAt(vm));
  if (guest !== 0) {
    const paged = pagedCreate(guest, 0, pages, 0, 0);
    if (paged === 0) return E_NO_MEMORY;
    setTaskOwn(task, paged);
  }
  return <i32>(taskCount() - 1);
}
