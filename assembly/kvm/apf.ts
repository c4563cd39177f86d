import { arenaReserve, arenaTake, PART_ASYNC_PF, PART_RECORDS } from "../memory/arena";
import { STAGE_COUNT } from "../sim/actor";
import { setVcpuApf, vcpuApf, vcpuNext } from "./vcpu";
import { vmGfnEnd, vmVcpuList, vmVcpus } from "./vm";

// The records of asynchronous page faults: one a VM (its rules and its pool of workers), one a vCPU (struct kvm_vcpu_arch.apf with
// the lists of virt/kvm/async_pf.c and the guest's shared area), one a fault under way (struct kvm_async_pf).
//
//   VM ── vCPU ──→ queue: every work that has not been consumed, oldest first
//    │       └───→ done:  those whose page is there
//    └─ pool: works that wait for a worker, idle workers
//
// Rules are bits, so that a design is a choice among them and no code asks for a design by name.

// the VM
export const RULES_VM: usize = 0;
export const RULES_FLAGS: usize = 4; // those that the guest's next write of the MSR puts into force
export const RULES_LIMIT: usize = 8;
export const RULES_WORKERS: usize = 12; // that may work at once
export const RULES_MADE: usize = 16; // that there are records of
export const RULES_BUSY: usize = 20; // that have a work
export const RULES_IDLE: usize = 24; // first idle worker
export const RULES_WAIT_HEAD: usize = 28; // works that wait for a worker
export const RULES_WAIT_TAIL: usize = 32;
const RULES_BYTES: u64 = 40;

/** Faults are tried asynchronously at all. */
export const APF_ON: u32 = 1;
/** The guest takes part: it has registered its shared area. */
export const APF_GUEST: u32 = 2;
/** All or nothing: a fault that the guest cannot be told of is not tried. Otherwise its vCPU is halted. */
export const APF_TELL_OR_WAIT: u32 = 4;
/** The vCPU starts no read itself: whatever must be read is left to the worker. */
export const APF_NO_IO: u32 = 8;
/** The guest may be told while it runs in kernel mode. */
export const APF_SEND_ALWAYS: u32 = 16;
/** The worker's reference to the page is kept until the completion is consumed. */
export const APF_PIN_HELD: u32 = 32;
/** The mapping of that page is replaced by one under which it can be moved: apfpin.ts. */
export const APF_PIN_MAPPING: u32 = 2048;
/** Tokens skip 0, which means "free" in the shared area. */
export const APF_TOKEN_SKIPS_ZERO: u32 = 64;
/** The work is scheduled before the guest is told, so that it can be done first. */
export const APF_SCHEDULE_FIRST: u32 = 128;
/** "Ready" is a page fault with a reason, one completion a look; otherwise an interrupt and a token in the shared area. */
export const APF_READY_FAULT: u32 = 256;
/** Faults are looked up by gfn: a second one on a page that is on its way halts the vCPU. Otherwise it gets a work of its own. */
export const APF_BY_GFN: u32 = 512;
/** Writing to the shared area marks its page dirty. */
export const APF_MARKS_DIRTY: u32 = 1024;

// a vCPU
export const APF_RULES: usize = 0;
export const APF_VCPU: usize = 4;
export const APF_ID: usize = 8;
export const APF_QUEUED: usize = 12;
export const APF_QUEUE_HEAD: usize = 16;
export const APF_QUEUE_TAIL: usize = 20;
export const APF_DONE_HEAD: usize = 24;
export const APF_DONE_TAIL: usize = 28;
export const APF_FREE: usize = 32;
export const APF_ITEMS: usize = 36; // works that there are records of
export const APF_ENABLED: usize = 40; // MSR_KVM_ASYNC_PF_EN
export const APF_READY_PENDING: usize = 44; // pageready_pending
export const APF_ATTENTION: usize = 48; // ATTENTION_* bits
export const APF_EXCEPTION: usize = 52; // EXCEPTION_*
export const APF_EXCEPTION_TOKEN: usize = 56;
export const APF_CPL: usize = 60;
export const APF_IRQS_OFF: usize = 64;
export const APF_TABLE: usize = 68;
export const APF_TABLE_BITS: usize = 72;
export const APF_PC: usize = 76;
export const APF_WORK: usize = 80; // what APF_PC is at
export const APF_LATE: usize = 84; // the guest is still to be told of
export const APF_LATE_TOKEN: usize = 88;
export const APF_PEAK: usize = 92;
export const APF_SUSPENDED: usize = 96; // faultsave.ts
export const APF_KICKED: usize = 100;
// the guest's shared area (struct kvm_vcpu_pv_apf_data) and the host's cached way to it
export const APF_AREA_GFN: usize = 104;
export const APF_AREA_FLAGS: usize = 108;
export const APF_AREA_TOKEN: usize = 112;
export const APF_FLAGS: usize = 124; // rules that the vCPU goes by
export const APF_LEFT_GUEST: usize = 128; // its guest was running when it was called for
export const APF_TABLE_NEXT: usize = 132; // a larger table that has been reserved
export const APF_TABLE_NEXT_BITS: usize = 136;
export const APF_ITEMS_NEXT: usize = 140; // works that have been reserved
export const APF_CACHE: usize = 144; // guestwrite.ts
export const APF_MSR: usize = 160; // u64: what the guest is to write
export const APF_BYTES: usize = 168;

/** KVM_REQ_APF_READY: completions are to be looked at before the guest goes on. */
export const ATTENTION_READY: u32 = 1;
/** A page fault of asynchronous page faults is to be taken. */
export const ATTENTION_EXCEPTION: u32 = 2;
/** The interrupt "page ready" is to be taken. */
export const ATTENTION_INTERRUPT: u32 = 4;
/** The guest is in a handler of one of these. */
export const ATTENTION_HANDLER: u32 = 8;
/** The guest's tick has interrupted an artificial halt. */
export const ATTENTION_TICK: u32 = 16;
/** The guest is to switch asynchronous page faults on or off, or to another design. */
export const ATTENTION_SWITCH: u32 = 32;
/** The guest is to write MSR_KVM_ASYNC_PF_EN because somebody outside says so. */
export const ATTENTION_MSR: u32 = 64;
/** It has, and whoever said so learns of it when everything that came of it is handled. */
export const ATTENTION_WRITTEN: u32 = 128;

export const EXCEPTION_NONE: u32 = 0;
/** KVM_PV_REASON_PAGE_NOT_PRESENT */
export const EXCEPTION_NOT_PRESENT: u32 = 1;
/** KVM_PV_REASON_PAGE_READY */
export const EXCEPTION_READY: u32 = 2;

export const TOKEN_ALL: u32 = 0xffffffff;

// a fault under way
export const WORK_NEXT: usize = 0;
export const WORK_PREVIOUS: usize = 4;
export const WORK_DONE_NEXT: usize = 8;
export const WORK_STATE: usize = 12;
export const WORK_TOKEN: usize = 16;
export const WORK_GFN: usize = 20;
export const WORK_OWNER: usize = 24;
export const WORK_ALL: usize = 28; // wakeup_all
export const WORK_TOLD: usize = 32; // notpresent_injected
export const WORK_CANCELLED: usize = 36;
export const WORK_PFN: usize = 40; // page held, PFN_NONE for none
export const WORK_READING: usize = 44;
export const WORK_KIND: usize = 48;
export const WORK_INDEX: usize = 52; // the page of the process that is fetched
export const WORK_STAGES: usize = 56; // u64 × STAGE_COUNT: where the worker's time went
// Under shadow paging: the page of the access, and CR3 then.
export const WORK_VA: usize = WORK_STAGES + 8 * <usize>STAGE_COUNT;
export const WORK_CR3: usize = WORK_VA + 4;
const WORK_BYTES: u64 = 64 + 8 * <u64>STAGE_COUNT;

export const WORK_FREE: u32 = 0;
export const WORK_WAITING: u32 = 1;
export const WORK_RUNNING: u32 = 2;
export const WORK_DONE: u32 = 3;
/** In the queue, not yet scheduled. */
export const WORK_QUEUED: u32 = 4;

// The table of gfns has at least this many places.
const TABLE_BITS: u32 = 6;

export function apfRules(apf: usize): usize {
  return <usize>load<u32>(apf, APF_RULES);
}

export function apfRule(apf: usize, rule: u32): bool {
  return (load<u32>(apf, APF_FLAGS) & rule) !== 0;
}

export function apfVcpu(apf: usize): usize {
  return <usize>load<u32>(apf, APF_VCPU);
}

export function apfAttend(apf: usize, bits: u32): void {
  store<u32>(apf, load<u32>(apf, APF_ATTENTION) | bits, APF_ATTENTION);
}

export function apfAttended(apf: usize, bits: u32): void {
  store<u32>(apf, load<u32>(apf, APF_ATTENTION) & ~bits, APF_ATTENTION);
}

/** ATTENTION_* bits of the vCPU: what is to be done before its guest goes on; 0 for a vCPU without asynchronous page faults. */
export function vcpuAttention(vcpu: usize): u32 {
  const apf = vcpuApf(vcpu);
  return apf === 0 ? 0 : load<u32>(apf, APF_ATTENTION);
}

/** The rules of the VM's vCPUs, 0 while none have ever been set. */
export function vmApfRules(vm: usize): usize {
  const apf = vcpuApf(vmVcpuList(vm));
  return apf === 0 ? 0 : apfRules(apf);
}

/** Takes the records of a VM and its vCPUs. False when memory is exhausted. */
export function apfCreate(vm: usize): bool {
  const rules = arenaTake(PART_RECORDS, RULES_BYTES);
  if (rules === 0) return false;
  store<u32>(rules, <u32>vm, RULES_VM);
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = arenaTake(PART_RECORDS, APF_BYTES);
    if (apf === 0) return false;
    store<u32>(apf, <u32>rules, APF_RULES);
    store<u32>(apf, <u32>vcpu, APF_VCPU);
    setVcpuApf(vcpu, apf);
  }
  return true;
}

/** Reserves works for the VM's limit, and places in the tables, as far as there are not enough. Ready after apfStart(). */
export function apfLayout(vm: usize): void {
  const limit = load<u32>(vmApfRules(vm), RULES_LIMIT);
  let bits = TABLE_BITS;
  while ((<u32>1) << bits < limit) bits++;
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    // The areas of all vCPUs lie in the guest's last page, 64 bytes each.
    store<u32>(apf, vmGfnEnd(vm) - 1, APF_AREA_GFN);
    // One more than the limit: the broadcast is queued whatever the limit.
    const missing = limit + 1 - min<u32>(limit + 1, load<u32>(apf, APF_ITEMS));
    if (missing !== 0)
      store<u32>(apf, <u32>arenaReserve(PART_ASYNC_PF, WORK_BYTES * missing), APF_ITEMS_NEXT);
    if (bits <= load<u32>(apf, APF_TABLE_BITS)) continue;
    store<u32>(apf, <u32>arenaReserve(PART_ASYNC_PF, (<u64>4) << bits), APF_TABLE_NEXT);
    store<u32>(apf, bits, APF_TABLE_NEXT_BITS);
  }
}

/** Links the works that apfLayout() has reserved. */
export function apfLink(apf: usize): void {
  const limit = load<u32>(apfRules(apf), RULES_LIMIT);
  let work = <usize>load<u32>(apf, APF_ITEMS_NEXT);
  if (work === 0) return;
  store<u32>(apf, 0, APF_ITEMS_NEXT);
  for (let made = load<u32>(apf, APF_ITEMS); made < limit + 1; made++) {
    store<u32>(work, <u32>apf, WORK_OWNER);
    store<u32>(work, load<u32>(apf, APF_FREE), WORK_NEXT);
    store<u32>(apf, <u32>work, APF_FREE);
    work += <usize>WORK_BYTES;
  }
  store<u32>(apf, limit + 1, APF_ITEMS);
}

/** Workers that the VM's pool may need records of. */
export function apfWorkersWanted(vm: usize): u32 {
  const rules = vmApfRules(vm);
  if (rules === 0 || (load<u32>(rules, RULES_FLAGS) & APF_ON) === 0) return 0;
  return min<u32>(load<u32>(rules, RULES_WORKERS), (load<u32>(rules, RULES_LIMIT) + 1) * vmVcpus(vm));
}
