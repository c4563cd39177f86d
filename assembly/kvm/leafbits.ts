import { tableBits } from "./shadowpage";
import { SPTE_MMU_PRESENT, SPTE_READ, SPTE_WRITE, spteAccessed, spteDirty, spteUser } from "./spte";
import { vmFormat, vmTablePool } from "./vm";

// Two bits an entry beside the tables, so that the loop of accesses need not look at the entries: those of a guest of 1 GiB take 64 KiB
// and stay in the caches, its entries take 2 MiB. Where an access finds its bit set, it leaves the entry as it is.
//
//   7 6   5 4   3 2   1 0        of a pair, bit 0: present, readable, by the user too, accessed
//   +-----+-----+-----+-----+                  bit 1: that, and writable, dirty
//   | e+3 | e+2 | e+1 | e   |
//   +-----+-----+-----+-----+
//
// invariant: the bits say what the entry says; a leaf entry changes through spteSet() alone

/** The two bits of `spte`. */
export function leafBits(spte: u64, format: u32): u32 {
  const read = SPTE_MMU_PRESENT | SPTE_READ | spteUser(format) | spteAccessed(format);
  const write = read | SPTE_WRITE | spteDirty(format);
  return ((spte & read) === read ? 1 : 0) | ((spte & write) === write ? 2 : 0);
}

/** The two bits beside the entry at `entry`. */
export function leafBitsAt(vm: usize, entry: usize): u32 {
  return (<u32>load<u8>(tableBits(vmTablePool(vm)) + (entry >> 5)) >> ((<u32>(entry >> 3) & 3) << 1)) & 3;
}

/** Writes a leaf entry. */
export function spteSet(vm: usize, entry: usize, spte: u64): void {
  spteSetKnown(vm, entry, spte, leafBits(spte, vmFormat(vm)));
}

/** The same with its two bits. */
export function spteSetKnown(vm: usize, entry: usize, spte: u64, bits: u32): void {
  store<u64>(entry, spte);
  const at = tableBits(vmTablePool(vm)) + (entry >> 5);
  const shift = (<u32>(entry >> 3) & 3) << 1;
  store<u8>(at, (<u32>load<u8>(at) & ~(3 << shift)) | (bits << shift));
}

/** The bits of all entries of a leaf table against the entries. */
export function checkLeafBits(vm: usize, table: usize): void {
  for (let entry = table; entry < table + 4096; entry += 8) {
    assert(leafBitsAt(vm, entry) === leafBits(load<u64>(entry), vmFormat(vm)));
  }
}
