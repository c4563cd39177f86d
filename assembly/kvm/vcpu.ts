import { arenaReserve, arenaTake, PART_RECORDS, PART_SPTES, PART_TLBS } from "../memory/arena";
import { unitsFor } from "../memory/layout";
import { ACTOR_MM, MM_CONTEXT_END, PSI_GROUP } from "../mm/context";
import { spacePsi } from "../mm/space";
import { ACTOR_VCPU, actorInit } from "../sim/actor";
import { WALK_BYTES } from "./guestwalk";
import { memslotHolds } from "./memslot";
import { memslotSearch, memslotsGeneration } from "./memslots";
import { vmDirectory, vmGfnEnd, vmIsShadow, vmMm, vmSlots, vmSpace } from "./vm";

// A vCPU: an actor with the kvm floor's region of its record. The notifier's locals come first, because every
// actor that reclaims has them.
//
//   +---------+----+-------+------+-----+------+-----+-------+-----------+---------------------+----------------+
//   | notifier| vm | index | next | TLB: tags, pfns, sets, ways, generation | fault: pc, gfn … | spare tables   |
//   +---------+----+-------+------+-----+------+-----+-------+-----------+---------------------+----------------+

export const NOTIFIER_PC: usize = MM_CONTEXT_END;
/** The page that a call about several is at. */
export const NOTIFIER_PAGE: usize = NOTIFIER_PC + 4;
const VM: usize = NOTIFIER_PC + 12;
/** Of a monitor, which belongs to a VM as well: how far it is with its call. */
export const CALL_PC: usize = NOTIFIER_PC + 16;
/** Actors that are not vCPUs end here. */
export const DAEMON_BYTES: usize = NOTIFIER_PC + 20;
/** Of a monitor: pages of the process that it is discarding, the first and the one behind the last. */
export const DISCARD_START: usize = DAEMON_BYTES;
export const DISCARD_END: usize = DAEMON_BYTES + 4;
const INDEX: usize = NOTIFIER_PC + 16;
const NEXT: usize = NOTIFIER_PC + 20;
export const TLB_TAGS: usize = NOTIFIER_PC + 24;
export const TLB_PFNS: usize = NOTIFIER_PC + 28;
export const TLB_SET_MASK: usize = NOTIFIER_PC + 32;
export const TLB_WAYS: usize = NOTIFIER_PC + 36;
export const TLB_GENERATION: usize = NOTIFIER_PC + 40;
const FLUSH_REQUEST: usize = NOTIFIER_PC + 44;
// The page fault in progress: fault.ts.
export const PF_PC: usize = NOTIFIER_PC + 48;
export const PF_GFN: usize = NOTIFIER_PC + 52;
export const PF_WRITE: usize = NOTIFIER_PC + 56;
export const PF_KIND: usize = NOTIFIER_PC + 60;
export const PF_START: usize = NOTIFIER_PC + 64; // u64
export const PF_SEQ: usize = NOTIFIER_PC + 72;
export const PF_PENDING: usize = NOTIFIER_PC + 76;
/** The fault has left a frame that its spte pins and the host does not map. */
export const PF_PINNED: usize = NOTIFIER_PC + 120;
export const PF_PRESENT: usize = NOTIFIER_PC + 80;
// Frames set aside for page tables (mmu_topup_memory_caches()): count, pfns.
export const SPARE_COUNT: usize = NOTIFIER_PC + 84;
export const SPARE_PFNS: usize = NOTIFIER_PC + 240; // u32 × 6
export const BLOCKED_SEEN: usize = NOTIFIER_PC + 104; // u64
/** Times in a row that the page of the fault was found not to be up to date: gfntopage.ts. */
export const PF_UNREAD: usize = NOTIFIER_PC + 88;
const MODE: usize = NOTIFIER_PC + 112;
/** The address space of that access, under shadow paging: frame of its table (guestspace.ts). */
export const STEP_ROOT: usize = NOTIFIER_PC + 116;
// An access beside the guest's own: step.ts.
export const STEP_STATE: usize = NOTIFIER_PC + 124;
export const STEP_WORD: usize = NOTIFIER_PC + 128;
export const STEP_GFN: usize = NOTIFIER_PC + 132;
export const STEP_FAULTS: usize = NOTIFIER_PC + 136;
export const STEP_EMULATED: usize = NOTIFIER_PC + 140;
export const STEP_BEGAN: usize = NOTIFIER_PC + 144; // u64
export const STEP_FLAGS: usize = NOTIFIER_PC + 196;
// The slot of the last lookup and the generation of the slots then (last_used_slot, last_used_slot_gen).
const LAST_SLOT: usize = NOTIFIER_PC + 152;
const LAST_SLOT_GEN: usize = NOTIFIER_PC + 160; // u64
/** The mappings have not all been dropped since the fault asked for its page: fault.ts. */
export const PF_ZAPS: usize = NOTIFIER_PC + 156;
/** The access is emulated when it is repeated: EMULATED_*. */
export const PF_EMULATED: usize = NOTIFIER_PC + 168;
/** The host's page table has to be asked the slow way: get_user_pages_fast() finds no writable page. */
export const PF_SLOW: usize = NOTIFIER_PC + 172;
export const PF_PREFETCH: usize = NOTIFIER_PC + 176; // the page is mapped without an access
const APF: usize = NOTIFIER_PC + 180;
// The access whose fault waits while a page is mapped without an access (fault.ts).
export const PF_ACCESS_GFN: usize = NOTIFIER_PC + 184;
export const PF_ACCESS_WRITE: usize = NOTIFIER_PC + 188;
export const PF_HALT: usize = NOTIFIER_PC + 192;
/** One u32 a leaf table: where the loop of accesses looks for it (walk.ts, roots.ts). */
export const DIRECTORY: usize = NOTIFIER_PC + 200;
// Shadow paging: the page of the access that faults, and how the guest makes it; the CPU's CR3 and what shadows it (roots.ts,
// shadowfault.ts).
export const PF_VA: usize = NOTIFIER_PC + 204;
export const PF_TABLE: usize = NOTIFIER_PC + 208;
export const CR3: usize = NOTIFIER_PC + 212;
export const SHADOW_ROOT: usize = NOTIFIER_PC + 216;
export const DIRECTORY_USED: usize = NOTIFIER_PC + 220;
export const USER_MODE: usize = NOTIFIER_PC + 224;
/** The guest handles a page fault of its own: guestfault.ts. */
export const VCPU_HANDLER: usize = NOTIFIER_PC + 228;
/** Where the stream of accesses has been looked at ahead of its faults: ahead.ts. */
export const AHEAD_FROM: usize = NOTIFIER_PC + 232;
export const AHEAD_TO: usize = NOTIFIER_PC + 236;
export const GUEST_WALK: usize = NOTIFIER_PC + 264; // WALK_BYTES
// Frames without memory (mmiofault.ts): what the walk of the access met, the generation of the memslots in which its frame had no slot; the page of the
// vCPU's last access of that kind and the whole generation then, 0 for none.
export const PF_MMIO: usize = GUEST_WALK + WALK_BYTES;
export const PF_MMIO_GENERATION: usize = PF_MMIO + 4;
export const MMIO_GENERATION: usize = PF_MMIO + 8; // u64
export const MMIO_PAGE: usize = PF_MMIO + 16;
export const KVM_CONTEXT_END: usize = PF_MMIO + 24;

/** Of PF_EMULATED: by the monitor, no memory was there; by KVM itself, a write to a page table of the guest's. */
export const EMULATED_BY_MONITOR: u32 = 1;
export const EMULATED_BY_KVM: u32 = 2;

/** Of PF_MMIO: the walk met an MMIO spte. */
export const MMIO_RESERVED: u32 = 1;
/** The same by EPT, which does not tell what the access was. */
export const MMIO_MISCONFIG: u32 = 2;

/** The monitor's call goes on at `pc` of its steps. */
export function callGoto(monitor: usize, pc: u32): void {
  store<u32>(monitor, pc, CALL_PC);
}

/** In the guest, or taken off its CPU there. */
export const VCPU_IN_GUEST: u32 = 0;
/** In the host, handling a page fault. */
export const VCPU_IN_FAULT: u32 = 1;
/** In the host, the guest has nothing to run. */
export const VCPU_HALTED: u32 = 2;
/** In the host, looking at completions of asynchronous page faults. */
export const VCPU_IN_READY: u32 = 3;
/** In the host, halted without having asked for it: the page of its access is being fetched. */
export const VCPU_APF_HALTED: u32 = 4;
/** Nowhere: its VM has ended. */
export const VCPU_ENDED: u32 = 5;

/**
 * Takes the record of a vCPU.
 * @param bytes size of the record with the regions of the floors above, at least KVM_CONTEXT_END
 * @param entries TLB entries, a power of two; `ways` divides it
 */
export function vcpuCreate(
  vm: usize,
  actorId: u32,
  index: u32,
  bytes: usize,
  entries: u32,
  ways: u32,
): usize {
  assert(bytes >= KVM_CONTEXT_END);
  assert((entries & (entries - 1)) === 0 && entries % ways === 0);
  const vcpu = arenaTake(PART_RECORDS, bytes);
  if (vcpu === 0) return 0;
  actorInit(vcpu, ACTOR_VCPU, actorId);
  store<u32>(vcpu, <u32>vmMm(vm), ACTOR_MM);
  store<u32>(vcpu, <u32>spacePsi(vmSpace(vm)), PSI_GROUP);
  store<u32>(vcpu, <u32>vm, VM);
  store<u32>(vcpu, index, INDEX);
  store<u32>(vcpu, entries / ways - 1, TLB_SET_MASK);
  store<u32>(vcpu, ways, TLB_WAYS);
  store<u32>(vcpu, 1, TLB_GENERATION);
  return vcpu;
}

export function vcpuLayout(vcpu: usize): void {
  const entries = <u64>(load<u32>(vcpu, TLB_SET_MASK) + 1) * load<u32>(vcpu, TLB_WAYS);
  store<u32>(vcpu, <u32>arenaReserve(PART_TLBS, entries << 3, 64), TLB_TAGS);
  store<u32>(vcpu, <u32>arenaReserve(PART_TLBS, entries << 2, 64), TLB_PFNS);
  const vm = vcpuVm(vcpu);
  const own = (<u64>unitsFor(vmGfnEnd(vm), 512)) << 2;
  store<u32>(vcpu, vmIsShadow(vm) ? <u32>arenaReserve(PART_SPTES, own, 64) : <u32>vmDirectory(vm), DIRECTORY);
}

/** The directory of leaf tables has moved: the VM's, or the vCPU's own, which is empty then. */
export function vcpuDirectoryMoved(vcpu: usize, directory: usize): void {
  store<u32>(vcpu, <u32>directory, DIRECTORY);
  store<u32>(vcpu, 0, DIRECTORY_USED);
}

export function vcpuVm(vcpu: usize): usize {
  return <usize>load<u32>(vcpu, VM);
}

/** kvm_vcpu_gfn_to_memslot(): the slot that holds `gfn`, 0 for none; the VM's own last lookup stays as it is. */
export function vcpuMemslot(vcpu: usize, gfn: u32): usize {
  const slots = vmSlots(vcpuVm(vcpu));
  const generation = memslotsGeneration(slots);
  const last = <usize>load<u32>(vcpu, LAST_SLOT);
  if (last !== 0 && load<u64>(vcpu, LAST_SLOT_GEN) === generation && memslotHolds(last, gfn)) return last;
  const slot = memslotSearch(slots, gfn);
  store<u32>(vcpu, <u32>slot, LAST_SLOT);
  store<u64>(vcpu, generation, LAST_SLOT_GEN);
  return slot;
}

/** Of a monitor too, which belongs to a VM as well. */
export function setVcpuVm(actor: usize, vm: usize): void {
  store<u32>(actor, <u32>vm, VM);
}

/** Number of the vCPU within its VM. */
export function vcpuIndex(vcpu: usize): u32 {
  return load<u32>(vcpu, INDEX);
}

/** Next vCPU of the VM, 0 at the end. */
export function vcpuNext(vcpu: usize): usize {
  return <usize>load<u32>(vcpu, NEXT);
}

export function setVcpuNext(vcpu: usize, next: usize): void {
  store<u32>(vcpu, <u32>next, NEXT);
}

/** KVM_REQ_TLB_FLUSH: to be taken at the next entry. */
export function vcpuFlushRequested(vcpu: usize): bool {
  return load<u32>(vcpu, FLUSH_REQUEST) !== 0;
}

export function setVcpuFlushRequest(vcpu: usize, requested: bool): void {
  store<u32>(vcpu, requested ? 1 : 0, FLUSH_REQUEST);
}

/** An access of this vCPU has faulted and has not been repeated yet. */
export function vcpuFaultPending(vcpu: usize): bool {
  return load<u32>(vcpu, PF_PENDING) !== 0;
}

/** Record of its asynchronous page faults (apf.ts), 0 while there is none. */
export function vcpuApf(vcpu: usize): usize {
  return <usize>load<u32>(vcpu, APF);
}

export function setVcpuApf(vcpu: usize, apf: usize): void {
  store<u32>(vcpu, <u32>apf, APF);
}

/** What the vCPU goes on with when it gets a CPU. */
export function vcpuMode(vcpu: usize): u32 {
  return load<u32>(vcpu, MODE);
}

export function setVcpuMode(vcpu: usize, mode: u32): void {
  store<u32>(vcpu, mode, MODE);
}

/** Part of actorBlockedNs() that the VM's counters already contain. */
export function vcpuBlockedSeen(vcpu: usize): u64 {
  return load<u64>(vcpu, BLOCKED_SEEN);
}

export function setVcpuBlockedSeen(vcpu: usize, ns: u64): void {
  store<u64>(vcpu, ns, BLOCKED_SEEN);
}

/** The guest is in user mode. */
export function setVcpuUser(vcpu: usize, user: bool): void {
  store<u32>(vcpu, user ? 1 : 0, USER_MODE);
}
