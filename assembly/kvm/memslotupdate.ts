import { EEXIST, EINVAL } from "../memory/status";
import {
  KVM_MEM_KERNEL,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
  MEMSLOT_IDS,
  memslotFlags,
  memslotGfn,
  memslotHva,
  memslotPages,
} from "./memslot";
import { memslotById, memslotsOverlap } from "./memslots";
import { vmSlots, vmSpteRefs } from "./vm";

// What a change of the memory map is, and whether it may be: the first half of __kvm_set_memory_region(). slotroom.ts makes room for it, slotcalls.ts makes it.

export const UPDATE_NOTHING: i32 = 0;
export const UPDATE_CREATE: i32 = 1;
export const UPDATE_FLAGS: i32 = 2;
export const UPDATE_MOVE: i32 = 3;
export const UPDATE_DELETE: i32 = 4;

const KNOWN_FLAGS: u32 = KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY | KVM_MEM_KERNEL;
const FIXED_FLAGS: u32 = KVM_MEM_READONLY | KVM_MEM_KERNEL;
const GFN_END: u64 = (<u64>1) << 31;

/**
 * Which change slot number `id` undergoes when it is set to `pages` frames from `gfn` on, backed from `hva` on; 0 pages delete it.
 * Checked in the kernel's order. @returns UPDATE_*, EINVAL or EEXIST
 */
export function memslotUpdateKind(vm: usize, id: u32, gfn: u32, pages: u32, hva: u64, flags: u32): i32 {
  if ((flags & ~KNOWN_FLAGS) !== 0) return EINVAL;
  if ((flags & KVM_MEM_KERNEL) !== 0 && !vmSpteRefs(vm)) return EINVAL; // gone before today's notifier came
  if ((hva & 4095) !== 0) return EINVAL;
  if (id >= MEMSLOT_IDS) return EINVAL;
  if (<u64>gfn + pages > GFN_END) return EINVAL;
  const slots = vmSlots(vm);
  const slot = memslotById(slots, id);
  if (pages === 0) return slot === 0 ? EINVAL : UPDATE_DELETE;

  let kind = UPDATE_CREATE;
  if (slot !== 0) {
    if (hva !== memslotHva(slot) || pages !== memslotPages(slot)) return EINVAL;
    if (((flags ^ memslotFlags(slot)) & FIXED_FLAGS) !== 0) return EINVAL;
    if (gfn !== memslotGfn(slot)) kind = UPDATE_MOVE;
    else if (flags !== memslotFlags(slot)) kind = UPDATE_FLAGS;
    else return UPDATE_NOTHING;
  }
  if (kind === UPDATE_FLAGS) return kind;
  return memslotsOverlap(slots, gfn, pages, slot) ? EEXIST : kind;
}
