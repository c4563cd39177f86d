import { arenaTake, PART_RECORDS } from "../memory/arena";
import { unitsFor } from "../memory/layout";
import { GUEST_TABLES_BYTES } from "./guesttables";
import { setSpRootCount, spEntryGfn, spOfTable, spRootCount, spTable } from "./shadowpage";
import { sptePresent, spteTableAddress } from "./spte";
import { CR3, DIRECTORY, DIRECTORY_USED, SHADOW_ROOT, vcpuNext, vcpuVm } from "./vcpu";
import {
  limitVmTables,
  setVmShadow,
  vmGfnEnd,
  vmShadow,
  vmTablePool,
  vmTables,
  vmVcpuList,
  vmVcpus,
} from "./vm";
import { entryOf, LEVEL_4K } from "./walk";

// Shadow paging: each vCPU walks what shadows the guest's tables below its CR3. A root may serve several vCPUs with the same CR3, or each has
// its own, with everything below it.
//
// record   0      4         8          12     16     20     24
//          +------+---------+----------+------+------+-----+--------------+
//          | root | private | preset   | own  | maps |need | guest tables |      root: the frame of the tables that map all of the guest
//          +------+---------+----------+------+------+-----+--------------+
//
// need     pages of sptes that there can be for all of the guest's tables
// own      frames for tables of tasks beside those of root; maps: entries that may map the same frame, other pages of sptes left aside
//
// A vCPU's directory of leaf tables is a memory of its walks, as a CPU's paging-structure caches are: it is forgotten with the TLB, and
// when a table is linked nowhere any more.
//
// invariant: a root's count is the number of vCPUs that have it loaded

const ROOT: usize = 0;
const PRIVATE: usize = 4;
const PRESET: usize = 8;
const OWN: usize = 12;
const MAPS: usize = 16;
const NEED: usize = 20;
const TABLES: usize = 24;
const SHADOW_BYTES: usize = TABLES + GUEST_TABLES_BYTES;

const LEVELS: u32 = 4;
/** A fault needs no more pages than this: one a level. */
export const FAULT_PAGES: u32 = LEVELS;

/** Takes the record of a VM whose MMU may have `limit` pages of sptes; false when memory is exhausted. */
export function shadowCreate(vm: usize, limit: u32): bool {
  const shadow = arenaTake(PART_RECORDS, SHADOW_BYTES);
  if (shadow === 0) return false;
  store<u32>(shadow, 1, PRESET);
  store<u32>(shadow, 1, MAPS);
  setVmShadow(vm, shadow, limit + FAULT_PAGES);
  return true;
}

/**
 * Before boot.
 * @param ownRoots each vCPU has a set of pages of its own
 * @param preset the guest sets accessed and dirty when it maps
 * @param own frames for tables of tasks
 * @param spaces address spaces that may map the same frame
 */
export function shadowDesign(vm: usize, ownRoots: bool, preset: bool, own: u32, spaces: u32): void {
  const shadow = vmShadow(vm);
  store<u32>(shadow, ownRoots ? 1 : 0, PRIVATE);
  store<u32>(shadow, preset ? 1 : 0, PRESET);
  store<u32>(shadow, own, OWN);
  const sets: u32 = ownRoots ? vmVcpus(vm) : 1;
  store<u32>(shadow, spaces * sets, MAPS);
  // One page of sptes shadows each of the guest's tables; two those of the kernel, which are the kernel's own space and, for kernel mode alone, a part
  // of every other. KVM's limit for the VM is far higher in general.
  const kernel = own === 0 ? vmTables(vm) : 2 * vmTables(vm);
  store<u32>(shadow, sets * (kernel + own), NEED);
  limitVmTables(vm, sets * (kernel + own));
}

/** Pages of sptes that there can be for all of the guest's tables. */
export function vmShadowNeed(vm: usize): u32 {
  return load<u32>(vmShadow(vm), NEED);
}

/** Pages of sptes for `tables` more of the kernel's tables. */
export function shadowNeedFor(vm: usize, tables: u32): u32 {
  const sets: u32 = vmPrivateRoots(vm) ? vmVcpus(vm) : 1;
  return sets * tables * (load<u32>(vmShadow(vm), OWN) === 0 ? 1 : 2);
}

export function shadowNeedMore(vm: usize, pages: u32): void {
  store<u32>(vmShadow(vm), vmShadowNeed(vm) + pages, NEED);
}

/** Frames that hold the guest's page tables. */
export function vmGuestTableFrames(vm: usize): u32 {
  return vmTables(vm) + load<u32>(vmShadow(vm), OWN);
}

/** The contents of the guest's tables: guesttables.ts. */
export function vmGuestTables(vm: usize): usize {
  return vmShadow(vm) + TABLES;
}

/** Frame of the guest's tables that map all of its memory, each frame at its own address. */
export function vmGuestRoot(vm: usize): u32 {
  return load<u32>(vmShadow(vm), ROOT);
}

export function setVmGuestRoot(vm: usize, gfn: u32): void {
  store<u32>(vmShadow(vm), gfn, ROOT);
}

/** Entries that may map the same frame. */
export function vmFrameMaps(vm: usize): u32 {
  return load<u32>(vmShadow(vm), MAPS);
}

/** Each vCPU has pages of sptes of its own. */
export function vmPrivateRoots(vm: usize): bool {
  return load<u32>(vmShadow(vm), PRIVATE) !== 0;
}

/** The guest sets accessed and dirty when it maps. */
export function vmPresetBits(vm: usize): bool {
  return load<u32>(vmShadow(vm), PRESET) !== 0;
}

/** The loaded root, 0 while there is none. */
export function vcpuRoot(vcpu: usize): usize {
  return <usize>load<u32>(vcpu, SHADOW_ROOT);
}

/** Frame of the guest's table at which the vCPU's walks begin. */
export function vcpuCr3(vcpu: usize): u32 {
  return load<u32>(vcpu, CR3);
}

export function setVcpuCr3(vcpu: usize, gfn: u32): void {
  store<u32>(vcpu, gfn, CR3);
}

/** The vCPU walks from `root` on, 0 for none. */
export function setVcpuRoot(vcpu: usize, root: usize): void {
  const old = vcpuRoot(vcpu);
  if (old !== 0) setSpRootCount(old, spRootCount(old) - 1);
  if (root !== 0) setSpRootCount(root, spRootCount(root) + 1);
  store<u32>(vcpu, <u32>root, SHADOW_ROOT);
  forget(vcpu);
}

function forget(vcpu: usize): void {
  if (load<u32>(vcpu, DIRECTORY_USED) === 0) return;
  const bytes = (<usize>unitsFor(vmGfnEnd(vcpuVm(vcpu)), 512)) << 2;
  memory.fill(<usize>load<u32>(vcpu, DIRECTORY), 0, bytes);
  store<u32>(vcpu, 0, DIRECTORY_USED);
}

/** A table is not linked where it was: no vCPU goes by its memory. */
export function rootsForget(vm: usize): void {
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) forget(vcpu);
}

/** `sp` is going to be zapped: vCPUs that walk from it have no root until their next fault (KVM_REQ_MMU_FREE_OBSOLETE_ROOTS). */
export function rootsUnload(vm: usize, sp: usize): void {
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    if (vcpuRoot(vcpu) === sp) setVcpuRoot(vcpu, 0);
  }
}

/** Address of the leaf entry that the vCPU's walk for `page` ends at, 0 when it does not come that far. */
export function shadowLeaf(vcpu: usize, page: u32): usize {
  const root = vcpuRoot(vcpu);
  if (root === 0) return 0;
  let table = spTable(root);
  for (let level = LEVELS; level > LEVEL_4K; level--) {
    const entry = load<u64>(entryOf(table, page, level));
    if (!sptePresent(entry)) return 0;
    table = spteTableAddress(entry);
  }
  return entryOf(table, page, LEVEL_4K);
}

/** The same, and the vCPU's walks remember the table. */
export function shadowLeafNoted(vcpu: usize, page: u32): usize {
  const leaf = shadowLeaf(vcpu, page);
  if (leaf === 0 || page >= vmGfnEnd(vcpuVm(vcpu))) return leaf;
  store<u32>(<usize>load<u32>(vcpu, DIRECTORY) + ((<usize>(page >> 9)) << 2), <u32>(leaf & ~4095));
  store<u32>(vcpu, 1, DIRECTORY_USED);
  return leaf;
}

/** The guest frame that the leaf at `entry` maps. */
export function shadowGfn(vm: usize, entry: usize): u32 {
  const pool = vmTablePool(vm);
  return spEntryGfn(pool, spOfTable(pool, entry), <u32>(entry & 4095) >> 3);
}

/** Each root is counted once for each vCPU that walks from it, and what the vCPUs remember is what they would find. */
export function checkRoots(vm: usize): void {
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const root = vcpuRoot(vcpu);
    let users: u32 = 0;
    for (let other = vmVcpuList(vm); other !== 0; other = vcpuNext(other)) {
      if (vcpuRoot(other) === root) users++;
    }
    if (root !== 0) assert(spRootCount(root) === users);
    if (load<u32>(vcpu, DIRECTORY_USED) === 0) continue;
    for (let page: u32 = 0; page < vmGfnEnd(vm); page += 512) {
      const noted = load<u32>(<usize>load<u32>(vcpu, DIRECTORY) + ((<usize>(page >> 9)) << 2));
      if (noted !== 0) assert(noted === <u32>(shadowLeaf(vcpu, page) & ~4095));
    }
  }
}
