import { GPTE_ACCESSED, GPTE_PRESENT, GPTE_USER, GPTE_WRITE } from "./gpte";
import {
  guestMapIdentity,
  guestSpaceNext,
  guestSpaceNote,
  guestTableAt,
  guestTableTake,
} from "./guesttables";
import { vcpuCr3, vmGuestRoot, vmGuestTables, vmPresetBits } from "./roots";
import { guestLoadCr3 } from "./shadowfault";

// Address spaces of a guest under shadow paging, each a table of level 4 that CR3 names. The first maps all of the guest's memory, each frame at
// its own address, and is the kernel's; tasks share it, or each has one of its own. Its lower part is then the task's, empty at
// first, and its upper part the kernel's: all of the guest's memory, by the same tables below, for kernel mode alone.
//
//   entry   0           8           16         511
//           +-----------+-----------+----------+
//           | the task's| kernel's  | not used |      page number of frame f for the kernel: KERNEL_PAGES | f
//           +-----------+-----------+----------+

/** Entries of a table of level 4 that a task's pages, or the guest's frames, can need. */
const HALF: u32 = 8;
/** The page at which the kernel finds frame 0 in a task's address space. Frames have lower numbers. */
const KERNEL_PAGES: u32 = HALF << 27;
const GFN_END: u32 = 0x80000000;
const TABLE_BITS: u64 = GPTE_PRESENT | GPTE_WRITE | GPTE_USER | GPTE_ACCESSED;

/** Before time starts: a task's address space. Returns the frame for CR3. */
export function guestSpaceCreate(vm: usize): u32 {
  const tables = vmGuestTables(vm);
  const root = guestTableTake(tables);
  guestSpaceNote(tables, root);
  shareKernel(vm, root);
  return root;
}

// A task's space has the kernel's tables in its upper part.
function shareKernel(vm: usize, root: u32): void {
  const tables = vmGuestTables(vm);
  const kernel = guestTableAt(tables, vmGuestRoot(vm));
  const own = guestTableAt(tables, root);
  for (let index: u32 = 0; index < HALF; index++) {
    const gpte = load<u64>(kernel + ((<usize>index) << 3));
    if ((gpte & GPTE_PRESENT) === 0) continue;
    assert((gpte & TABLE_BITS) === TABLE_BITS);
    const at = own + ((<usize>(HALF + index)) << 3);
    if (load<u64>(at) === 0) store<u64>(at, gpte & ~GPTE_USER);
  }
}

/** Frames that the guest may have: with address spaces of tasks, what fits the kernel's part of them. */
export function guestFramesEnd(vm: usize): u32 {
  return guestSpaceNext(vmGuestTables(vm), 0) === 0 ? GFN_END : KERNEL_PAGES;
}

/**
 * The guest's kernel maps a slot that has come, in every address space; guestTablesMove() has given it the tables. It takes no time and tells nobody: an entry that was
 * empty is in no page of sptes.
 */
export function guestMapSlot(vm: usize, gfn: u32, pages: u32): void {
  const tables = vmGuestTables(vm);
  guestMapIdentity(tables, vmGuestRoot(vm), gfn, pages, vmPresetBits(vm), true);
  for (let root = guestSpaceNext(tables, 0); root !== 0; root = guestSpaceNext(tables, root))
    shareKernel(vm, root);
}

/** The page at which the guest's kernel finds frame `gfn` in the address space of `root`. */
export function guestKernelPage(vm: usize, root: u32, gfn: u32): u32 {
  return root === vmGuestRoot(vm) ? gfn : gfn | KERNEL_PAGES;
}

/** What the vCPU runs next runs in the address space of `root`. */
export function guestEnter(vcpu: usize, root: u32): void {
  if (root !== vcpuCr3(vcpu)) guestLoadCr3(vcpu, root);
}
