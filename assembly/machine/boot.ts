import { guestStart } from "../guest/sched";
import {
  setTaskRoot,
  taskCompute,
  taskHasSpace,
  taskPrefault,
  taskRoot,
  taskVcpu,
  taskWorkload,
} from "../guest/task";
import { dirtyLayout, dirtyLogged } from "../kvm/dirtylog";
import { guestFileExtend, guestFileLayout } from "../kvm/guestfile";
import { guestSpaceCreate } from "../kvm/guestspace";
import { memslotAt, memslotCount } from "../kvm/memslots";
import { mmuLayout, mmuLoadRoot } from "../kvm/mmu";
import { vcpuLayout, vcpuNext, vcpuVm } from "../kvm/vcpu";
import { vmHuge, vmLayout, vmPlaceSlots, vmSlots, vmSpace, vmStampsLayout, vmVcpuList } from "../kvm/vm";
import { vmAt, vmTableCount } from "../kvm/vmtable";
import {
  arenaCommit,
  arenaNeed,
  arenaPartBytes,
  arenaReserve,
  arenaTop,
  PART_COUNT,
  PART_EVENTS,
} from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { E_HOST_TOO_SMALL, OK } from "../memory/status";
import { allocBootTable } from "../mm/alloc";
import {
  mmArea,
  mmAreas,
  mmIdealized,
  mmLayout,
  mmResetMinFree,
  mmSpace,
  mmSpaces,
  mmStampsLayout,
  mmWatermarkScale,
  mmZoneAt,
  mmZones,
} from "../mm/instance";
import { ksmLayout } from "../mm/ksm";
import { mmKsm } from "../mm/ksmtree";
import { pcpSetup, zoneReleaseAll } from "../mm/pagealloc";
import { psiStart } from "../mm/psi";
import { residencyLayout, residencyStart } from "../mm/residency";
import { spaceHugeLayout, spaceLayout, spacePsi, spaceUpperTables } from "../mm/space";
import { swapStart } from "../mm/swap";
import { swapDevice, swapLayout } from "../mm/swaparea";
import { hostHighUnboosted, watermarksSet } from "../mm/watermark";
import { zoneManaged, zoneStart } from "../mm/zone";
import { deviceCapacity } from "../sim/device";
import { EVENT_WAKE, eventPost, eventsLayout } from "../sim/events";
import { traceEnable, traceLayout } from "../sim/trace";
import { exponentialInit } from "../workload/exponential";
import { tracesLayout, traceWords } from "../workload/trace";
import {
  setWorkloadTable,
  WORKLOAD_TRACE,
  WORKLOAD_ZIPF,
  workloadKind,
  workloadLayout,
  workloadPages,
  workloadSize,
  workloadTable,
  workloadTheta,
} from "../workload/workload";
import { zipfBuild, zipfLayout } from "../workload/zipf";
import { asyncPfBoot, asyncPfEvents, asyncPfLayout } from "./asyncpf";
import { givebackLayout, givebackStart, pagedLayout } from "./giveback";
import { plannedCount } from "./planned";
import {
  actorCount,
  cpuCount,
  finiteLeft,
  host,
  integrity,
  prefaultsLeft,
  setFiniteLeft,
  setPrefaultsLeft,
  setStarted,
  taskAt,
  taskCount,
} from "./state";
import { finiteTasks } from "./tasks";
import { begin } from "./turn";

// Boot: every region gets its place, the memory grows once to the exact size, then the host, the VMs and the guests start.

const NEED: usize = memory.data(8, 8);

/** Bytes of linear memory that the machine takes. */
export function bootBytes(): f64 {
  return <f64>arenaTop();
}

/** Bytes that it may come to take, or would when boot() found that they are not to be had. */
export function bootNeed(): f64 {
  return <f64>arenaNeed();
}

/** Bytes of one part of that, 0..bootParts() - 1. */
export function bootPartBytes(part: u32): f64 {
  return <f64>arenaPartBytes(part);
}

export function bootParts(): u32 {
  return PART_COUNT;
}

/** Least pages that the host must have for its VMs to start; after E_HOST_TOO_SMALL. */
export function bootPagesNeeded(): u32 {
  return load<u32>(NEED);
}

function layout(traceRecords: u32): void {
  const mm = host();
  let events: u32 = 4 * actorCount() + 2 * taskCount() + plannedCount() + 16;
  mmLayout(mm);
  if (integrity()) mmStampsLayout(mm);
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    vmPlaceSlots(vmAt(id));
    guestFileExtend(vmAt(id));
  }
  for (let id: u32 = 0; id < mmSpaces(mm); id++) {
    spaceLayout(mmSpace(mm, id));
    if (vmHuge(vmAt(id))) spaceHugeLayout(mmSpace(mm, id));
  }
  if (mmKsm(mm) !== 0) ksmLayout(mm);
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    swapLayout(mm, mmArea(mm, type), integrity());
    events += deviceCapacity(swapDevice(mmArea(mm, type)));
  }
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    vmLayout(vmAt(id));
    dirtyLogsLayout(vmAt(id));
    mmuLayout(vmAt(id));
    guestFileLayout(vmAt(id));
    if (integrity()) vmStampsLayout(vmAt(id));
    asyncPfLayout(vmAt(id));
    events += asyncPfEvents(vmAt(id));
    givebackLayout(vmAt(id));
    for (let vcpu = vmVcpuList(vmAt(id)); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
      vcpuLayout(vcpu);
      events++;
    }
  }
  tracesLayout();
  for (let index: u32 = 0; index < taskCount(); index++) {
    if (taskCompute(taskAt(index))) continue;
    workloadPlace(index, taskWorkload(taskAt(index)));
    pagedLayout(taskAt(index));
  }
  if (mmIdealized(mm)) policiesLayout();
  eventsLayout(events);
  traceLayout(traceRecords);
  arenaReserve(PART_EVENTS, 64); // the last region's neighbour: nothing may be read beyond it
}

function dirtyLogsLayout(vm: usize): void {
  const slots = vmSlots(vm);
  for (let place: u32 = 0; place < memslotCount(slots); place++) {
    if (dirtyLogged(memslotAt(slots, place))) dirtyLayout(memslotAt(slots, place));
  }
}

// A policy that knows the future knows the trace of its VM's only task.
function policiesLayout(): void {
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    let trace: usize = 0;
    let references: u32 = 0;
    for (let index: u32 = 0; index < taskCount(); index++) {
      const task = taskAt(index);
      if (taskCompute(task) || vcpuVm(taskVcpu(task)) !== vmAt(id)) continue;
      if (workloadKind(taskWorkload(task)) !== WORKLOAD_TRACE) continue;
      trace = workloadTable(taskWorkload(task));
      references = workloadSize(taskWorkload(task));
    }
    residencyLayout(mmSpace(host(), id), trace, references);
  }
}

/** The words of the traces are there: idealized policies may look at them. */
export function bootPolicies(): void {
  for (let id: u32 = 0; id < mmSpaces(host()); id++) residencyStart(mmSpace(host(), id));
}

// A trace's table is its trace; equal zipf distributions share a table.
function workloadPlace(index: u32, workload: usize): void {
  workloadLayout(workload);
  if (workloadKind(workload) === WORKLOAD_TRACE) {
    setWorkloadTable(workload, traceWords(workloadTable(workload)));
  } else if (workloadKind(workload) === WORKLOAD_ZIPF) {
    const twin = zipfTwin(index, workload);
    setWorkloadTable(workload, twin !== 0 ? workloadTable(twin) : zipfLayout(workloadPages(workload)));
  }
}

function zipfTwin(index: u32, workload: usize): usize {
  for (let other: u32 = 0; other < index; other++) {
    if (taskCompute(taskAt(other))) continue;
    const twin = taskWorkload(taskAt(other));
    if (workloadKind(twin) !== WORKLOAD_ZIPF || workloadPages(twin) !== workloadPages(workload)) continue;
    if (workloadTheta(twin) === workloadTheta(workload)) return twin;
  }
  return 0;
}

/** Is the host larger than its watermarks and the page tables that its VMs start with? */
export function bootFits(): bool {
  const mm = host();
  let tables: u32 = 0;
  for (let id: u32 = 0; id < mmSpaces(mm); id++) tables += spaceUpperTables(mmSpace(mm, id)) + 1;
  store<u32>(NEED, hostHighUnboosted(mm) + tables + 1);
  let managed: u32 = 0;
  for (let place: u32 = 0; place < mmZones(mm); place++) managed += zoneManaged(mmZoneAt(mm, place));
  return managed >= load<u32>(NEED);
}

function startMemory(mm: usize): i32 {
  const zone = mmZoneAt(mm, 0);
  zoneStart(zone);
  watermarksSet(zone, mmWatermarkScale(mm));
  pcpSetup(zone, cpuCount());
  zoneReleaseAll(mm, zone);
  if (!bootFits()) return E_HOST_TOO_SMALL;
  for (let id: u32 = 0; id < mmSpaces(mm); id++) {
    for (let table: u32 = spaceUpperTables(mmSpace(mm, id)); table > 0; table--) {
      const pfn = allocBootTable(mm, mmSpace(mm, id), false);
      assert(pfn !== PFN_NONE);
    }
    mmuLoadRoot(vmAt(id), allocBootTable(mm, mmSpace(mm, id), true));
  }
  for (let type: u32 = 0; type < mmAreas(mm); type++) swapStart(mm, mmArea(mm, type));
  mmResetMinFree(mm);
  return OK;
}

// Under shadow paging, each task that has an address space of its own gets it.
function startSpaces(): void {
  for (let index: u32 = 0; index < taskCount(); index++) {
    const task = taskAt(index);
    if (!taskHasSpace(task)) continue;
    const as = taskRoot(task);
    setTaskRoot(task, as === index ? guestSpaceCreate(vcpuVm(taskVcpu(task))) : taskRoot(taskAt(as)));
  }
}

function startTasks(): void {
  exponentialInit();
  for (let index: u32 = 0; index < taskCount(); index++) {
    const task = taskAt(index);
    if (taskCompute(task)) continue;
    const workload = taskWorkload(task);
    if (workloadKind(workload) === WORKLOAD_ZIPF && zipfTwin(index, workload) === 0) {
      zipfBuild(workloadTable(workload), workloadPages(workload), workloadTheta(workload));
    }
  }
  let prefaults: u32 = 0;
  for (let index: u32 = 0; index < taskCount(); index++) {
    const task = taskAt(index);
    if (!taskPrefault(task)) continue;
    prefaults++;
    guestStart(taskVcpu(task), task, 0);
  }
  setFiniteLeft(finiteTasks());
  setPrefaultsLeft(prefaults);
  if (prefaults === 0) begin(0);
}

/**
 * Boots the configured machine. @param records capacity of the trace ring; then which events it records, as for traceEnable()
 * Fails with E_NO_MEMORY (bootBytes() tells the need) or E_HOST_TOO_SMALL (bootPagesNeeded()).
 */
export function boot(records: u32, first: u32, second: u32, third: u32, fourth: u32): i32 {
  layout(records);
  let status = arenaCommit();
  if (status !== OK) return status;
  status = startMemory(host());
  if (status !== OK) return status;
  traceEnable(first, second, third, fourth);
  for (let id: u32 = 0; id < vmTableCount(); id++) givebackStart(vmAt(id));
  startSpaces();
  startTasks();
  for (let id: u32 = 0; id < vmTableCount(); id++) asyncPfBoot(vmAt(id));
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    for (let vcpu = vmVcpuList(vmAt(id)); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
      psiStart(spacePsi(vmSpace(vmAt(id))), 0);
      eventPost(0, EVENT_WAKE, <u32>vcpu);
    }
  }
  setStarted();
  return OK;
}

/** Tasks that will end and have not; with none left only a limit ends a run. */
export function bootFiniteTasks(): u32 {
  return finiteLeft();
}

/** First address above the static data: equal only for one and the same build. */
export function bootHeapBase(): u32 {
  return <u32>__heap_base;
}

/** True while regions are still being written before time starts. */
export function bootPrefaulting(): bool {
  return prefaultsLeft() !== 0;
}
