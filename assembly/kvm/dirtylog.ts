import { arenaBack, arenaCommit, arenaMark, arenaReserve, PART_RECORDS } from "../memory/arena";
import { unitsFor } from "../memory/layout";
import { OK } from "../memory/status";
import {
  KVM_MEM_LOG_DIRTY_PAGES,
  memslotBitmap,
  memslotBitmapBytes,
  memslotDirty,
  memslotDirtySecond,
  memslotFlags,
  memslotGfn,
  memslotPages,
  setMemslotBitmap,
  setMemslotDirty,
} from "./memslot";
import { mmuWriteProtect } from "./mmu";

// The dirty log of a slot (KVM_MEM_LOG_DIRTY_PAGES): one bit a frame, set when a leaf entry becomes writable or KVM writes itself. A later
// write through an entry that is writable already sets nothing, so a bit that is handed out is a frame that is protected again.
// Left out: the dirty ring, PML, KVM_DIRTY_LOG_MANUAL_PROTECT2.
//
// bitmap   u64 words, little endian: frame baseGfn + i is bit i; as large again the snapshot that the last get has handed out
//
// invariant: a frame of a logged slot that is mapped writable has its bit set

/** Bytes of a bitmap for `pages` frames. */
function bitmapBytes(pages: u32): u64 {
  return unitsFor(pages, 64) << 3;
}

/** Reserves the bitmap of a slot and its snapshot. */
export function dirtyLayout(slot: usize): void {
  const bytes = bitmapBytes(memslotPages(slot));
  setMemslotBitmap(slot, arenaReserve(PART_RECORDS, bytes << 1), (<u32>bytes) << 1);
  setMemslotDirty(slot, memslotBitmap(slot), memslotBitmap(slot) + <usize>bytes);
}

/** kvm_alloc_dirty_bitmap(), in a machine that lives: the memory that the record had for another slot serves again. False: memory is exhausted. */
export function dirtyAllocate(slot: usize): bool {
  const bytes = <u32>bitmapBytes(memslotPages(slot));
  if (memslotBitmapBytes(slot) < 2 * bytes) {
    arenaMark();
    const bitmap = arenaReserve(PART_RECORDS, 2 * bytes);
    if (arenaCommit() !== OK) {
      arenaBack();
      return false;
    }
    setMemslotBitmap(slot, bitmap, 2 * bytes);
  }
  memory.fill(memslotBitmap(slot), 0, <usize>(2 * bytes));
  setMemslotDirty(slot, memslotBitmap(slot), memslotBitmap(slot) + <usize>bytes);
  return true;
}

/** kvm_slot_dirty_track_enabled() */
export function dirtyLogged(slot: usize): bool {
  return (memslotFlags(slot) & KVM_MEM_LOG_DIRTY_PAGES) !== 0;
}

/** mark_page_dirty_in_slot() */
export function dirtyMark(slot: usize, gfn: u32): void {
  if (!dirtyLogged(slot)) return;
  const bit = gfn - memslotGfn(slot);
  const word = memslotDirty(slot) + ((<usize>(bit >> 6)) << 3);
  store<u64>(word, load<u64>(word) | ((<u64>1) << (bit & 63)));
}

export function dirtyMarked(slot: usize, gfn: u32): bool {
  const bit = gfn - memslotGfn(slot);
  return (load<u64>(memslotDirty(slot) + ((<usize>(bit >> 6)) << 3)) & ((<u64>1) << (bit & 63))) !== 0;
}

/** Logging begins: nothing is dirty, every entry is write-protected. Returns the entries that were writable. mmu_lock is held for writing. */
export function dirtyBegin(vm: usize, slot: usize, time: u64): u32 {
  memory.fill(memslotDirty(slot), 0, <usize>bitmapBytes(memslotPages(slot)));
  return mmuWriteProtect(vm, memslotGfn(slot), memslotGfn(slot) + memslotPages(slot), time);
}

/**
 * kvm_get_dirty_log_protect(): moves the bits into the snapshot, word by word, and protects their frames: a bit is taken before its frame is
 * protected, and the caller flushes the TLBs before anybody sees the snapshot. mmu_lock is held for writing. Returns the bits.
 */
export function dirtyTake(vm: usize, slot: usize, time: u64): u32 {
  const words = <usize>(bitmapBytes(memslotPages(slot)) >> 3);
  let taken: u32 = 0;
  for (let word: usize = 0; word < words; word++) {
    const bits = load<u64>(memslotDirty(slot) + (word << 3));
    store<u64>(memslotDirty(slot) + (word << 3), 0);
    store<u64>(memslotDirtySecond(slot) + (word << 3), bits);
    for (let left = bits; left !== 0; left &= left - 1) {
      const gfn = memslotGfn(slot) + ((<u32>word) << 6) + <u32>ctz<u64>(left);
      mmuWriteProtect(vm, gfn, gfn + 1, time);
      taken++;
    }
  }
  return taken;
}
