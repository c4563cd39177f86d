import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { exitLeafTables, exitUpperTables } from "../mm/exit";
import { tableFree } from "../mm/free";
import { ksmAdvise } from "../mm/ksm";
import { mmKsm } from "../mm/ksmtree";
import { lruAddDrainAll } from "../mm/lrubatch";
import { memcgDropOverhead } from "../mm/memcg";
import { fileCount } from "../mm/pagecache";
import { pinsDrop } from "../mm/pin";
import {
  spaceFile,
  spaceId,
  spaceMemcg,
  spacePages,
  spaceRss,
  spaceSwapents,
  spaceUserfault,
} from "../mm/space";
import { stocksDrain } from "../mm/stock";
import { swapCpus } from "../mm/swapstate";
import { userfaultServer } from "../mm/userfault";
import { zapRange } from "../mm/zap";
import {
  ACTOR_BLOCKED,
  ACTOR_HALTED,
  actorBlock,
  actorClock,
  actorGoesOn,
  actorSpend,
  actorState,
  STAGE_LOCK,
  STAGE_QUEUE,
  STAGE_RECLAIM,
} from "../sim/actor";
import {
  COST_MADVISE_PER_PAGE_NS,
  COST_NOTIFIER_INVALIDATE_NS,
  COST_RMAP_PER_SPTE_NS,
  cost,
} from "../sim/costs";
import { DIGEST_DISCARD, digestAdd } from "../sim/digest";
import { EVENT_ACCESS, eventPost } from "../sim/events";
import { lockWrite, unlockWrite } from "../sim/lock";
import { waitqueueSleep } from "../sim/waitqueue";
import { RULES_BUSY, vmApfRules } from "./apf";
import { apfClear } from "./apfreset";
import { callResult, callStart, setCallResult, setCallStart } from "./call";
import { flushRemoteTlbs } from "./flush";
import { freePhysMem } from "./guestfile";
import { contentForget } from "./integrity";
import {
  memslotAt,
  memslotCount,
  memslotNotifiers,
  memslotRemove,
  memslotsPublish,
  memslotWaiters,
} from "./memslots";
import { mmuZapAll } from "./mmu";
import { pagerStop } from "./pager";
import { spareCount, takeSpare } from "./spare";
import { TRUNCATE_BEGIN, truncateStep } from "./truncate";
import {
  CALL_PC,
  callGoto,
  PF_PENDING,
  setVcpuMode,
  VCPU_ENDED,
  vcpuApf,
  vcpuMode,
  vcpuNext,
  vcpuVm,
} from "./vcpu";
import { vmGuestFile, vmMm, vmMmuLock, vmSlots, vmSpace, vmVcpuList } from "./vm";
import { threadIdle, threadsWait, vmEndBegin, vmEndDone } from "./vmend";

// The end of a VM: its process is killed. The threads leave, each when it comes by; what has been begun is ended first. Then the process' memory goes (exit_mmap(),
// with the notifier's release), and with its last file descriptor KVM's part (kvm_destroy_vm()).
//
//   BEGIN → LEAVE → ZAP → ZAPPED → UNMAP, one page table a step → SETTLE → done
//
// In the design of 2007 the process maps nothing. kvm_destroy_vm() frees the vCPUs with their tables, truncates the file, and gives up the swap entries of the slots:
//
//   BEGIN → LEAVE → TABLES → TRUNCATE, page by page (truncate.ts) → done
//
// Left out: exits that are cut short by the signal. The monitor stands for the thread that is the last to go, and as a thread of the host's for
// whatever else is asked of it.

const BEGIN: u32 = 1;
const LEAVE: u32 = 2;
const ZAP: u32 = 3;
const ZAPPED: u32 = 4;
const UNMAP: u32 = 5;
const SETTLE: u32 = 6;
const TABLES: u32 = 7;
// truncate.ts counts on from TRUNCATE_BEGIN.

const TABLE_PAGES: u32 = 512;

type IdleHook = (vm: usize) => bool;

function unset(vm: usize): bool {
  assert(false);
  return true;
}

let devicesIdle: IdleHook = unset;

/** `hook` tells whether threads of the floors above, that serve a VM's devices, have nothing to do. */
export function destroyRegister(hook: IdleHook): void {
  devicesIdle = hook;
}

/** Goes on with CALL_DESTROY_VM. Returns STEP_*. */
export function destroyCallStep(monitor: usize, call: usize): i32 {
  const vm = vcpuVm(monitor);
  const mm = vmMm(vm);
  const space = vmSpace(vm);
  while (true) {
    const pc = load<u32>(monitor, CALL_PC);
    if (pc === BEGIN) {
      begin(vm, monitor, call);
      callGoto(monitor, LEAVE);
    } else if (pc === LEAVE) {
      if (!threadsIdle(vm)) {
        threadsWait(vm, monitor);
        return STEP_BLOCKED; // yield: threads leave
      }
      pinsDrop(mm, spaceId(space), monitor);
      if (vmGuestFile(vm) !== 0) {
        callGoto(monitor, TABLES);
        continue;
      }
      if (mmKsm(mm) !== 0) ksmAdvise(mm, space, 0, spacePages(space), false);
      callGoto(monitor, ZAP);
      if (!lockWrite(vmMmuLock(vm), monitor)) return STEP_BLOCKED;
    } else if (pc === ZAP) {
      zap(vm, monitor);
      callGoto(monitor, ZAPPED);
      if (!actorGoesOn(monitor)) return STEP_AGAIN; // yield: mmu_lock is held for writing
    } else if (pc === ZAPPED) {
      unlockWrite(vmMmuLock(vm), monitor);
      callGoto(monitor, UNMAP);
    } else if (pc === UNMAP) {
      if (unmap(vm, monitor, call)) callGoto(monitor, SETTLE);
      if (!actorGoesOn(monitor)) return STEP_AGAIN; // yield: between two page tables
    } else if (pc === SETTLE) {
      // Whoever was about to invalidate a page that is gone finds its slots to the end.
      if (memslotNotifiers(vmSlots(vm)) !== 0) {
        waitqueueSleep(memslotWaiters(vmSlots(vm)), monitor, STAGE_LOCK);
        return STEP_BLOCKED;
      }
      end(vm, monitor);
      return STEP_DONE;
    } else if (pc === TABLES) {
      setCallResult(call, spaceSwapents(space) + fileCount(spaceFile(space)));
      zap(vm, monitor);
      callGoto(monitor, TRUNCATE_BEGIN);
      if (!actorGoesOn(monitor)) return STEP_AGAIN; // yield: the page cache and the entries are still there
    } else {
      const step = truncateStep(vm, monitor, call);
      if (step !== STEP_DONE) return step;
      end(vm, monitor);
      return STEP_DONE;
    }
  }
}

// SIGKILL: who halts is woken to leave.
function begin(vm: usize, monitor: usize, call: usize): void {
  vmEndBegin(vm);
  setCallStart(call, 0);
  const time = actorClock(monitor);
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    if (actorState(vcpu) === ACTOR_HALTED) eventPost(time, EVENT_ACCESS, <u32>vcpu);
  }
  if (spaceUserfault(vmSpace(vm)) !== 0) pagerStop(userfaultServer(spaceUserfault(vmSpace(vm))), time);
}

// Nobody but the monitor acts for the VM any more.
function threadsIdle(vm: usize): bool {
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    if (vcpuMode(vcpu) !== VCPU_ENDED) return false;
  }
  if (vmApfRules(vm) !== 0 && load<u32>(vmApfRules(vm), RULES_BUSY) !== 0) return false;
  const userfault = spaceUserfault(vmSpace(vm));
  if (userfault !== 0 && actorState(userfaultServer(userfault)) !== ACTOR_BLOCKED) return false;
  return devicesIdle(vm);
}

/** The vCPU, about to run its guest, leaves instead: its VM ends (kvm_vcpu_destroy()). The scheduler takes its CPU. */
export function vcpuLeaves(vcpu: usize): void {
  const vm = vcpuVm(vcpu);
  if (vcpuApf(vcpu) !== 0) apfClear(vcpuApf(vcpu));
  while (spareCount(vcpu) !== 0) tableFree(vmMm(vm), takeSpare(vcpu), vcpu);
  store<u32>(vcpu, 0, PF_PENDING); // the access is never made
  setVcpuMode(vcpu, VCPU_ENDED);
  actorBlock(vcpu, STAGE_QUEUE);
  threadIdle(vm, actorClock(vcpu));
}

// kvm_flush_shadow_all(): all entries go, and the tables with them.
function zap(vm: usize, monitor: usize): void {
  const zapped = mmuZapAll(vm, monitor);
  actorSpend(
    monitor,
    STAGE_RECLAIM,
    cost(COST_NOTIFIER_INVALIDATE_NS) + zapped * cost(COST_RMAP_PER_SPTE_NS),
  );
  if (zapped !== 0) flushRemoteTlbs(vm, monitor);
  lruAddDrainAll(vmMm(vm), monitor); // no page stays because a CPU's batch has it; Linux leaves that to time
}

// unmap_vmas(), one page table. True: that was the last.
function unmap(vm: usize, monitor: usize, call: usize): bool {
  const space = vmSpace(vm);
  const start = callStart(call);
  const end = min<u32>(start + TABLE_PAGES, spacePages(space));
  const before = spaceRss(space) + spaceSwapents(space);
  zapRange(vmMm(vm), monitor, space, start, end);
  const pages = before - (spaceRss(space) + spaceSwapents(space));
  if (pages !== 0) digestAdd(DIGEST_DISCARD, actorClock(monitor), spaceId(space), start, end, pages);
  actorSpend(monitor, STAGE_RECLAIM, pages * cost(COST_MADVISE_PER_PAGE_NS));
  setCallResult(call, callResult(call) + pages);
  setCallStart(call, end);
  return end === spacePages(space);
}

// What is left: slots with their entries, the process' page tables, what the cgroup is charged beside pages.
function end(vm: usize, monitor: usize): void {
  const mm = vmMm(vm);
  const space = vmSpace(vm);
  const slots = vmSlots(vm);
  while (memslotCount(slots) !== 0) {
    const slot = memslotAt(slots, 0);
    if (vmGuestFile(vm) !== 0) freePhysMem(vm, slot, monitor);
    memslotRemove(slots, slot);
  }
  memslotsPublish(slots, 1);
  contentForget(vm, 0, spacePages(space));
  exitLeafTables(mm, monitor, space);
  exitUpperTables(mm, monitor, space);
  stocksDrain(mm, swapCpus(mm), space);
  memcgDropOverhead(spaceMemcg(space));
  vmEndDone(vm);
}
