import { memslotSearch, memslotsGeneration, memslotsNext } from "./memslots";
import { mmioGeneration, spteIsMmio, spteMmioGeneration, spteMmioGfn } from "./mmiospte";
import { MMIO_GENERATION } from "./vcpu";
import { vmFormat, vmGuestFile, vmSlots, vmSpteRefs, vmUnalias } from "./vm";

// When an MMIO spte counts. The first access to a frame that no slot holds leaves one behind; later ones are known by it. It says so for one
// generation of the memslots: any change of them makes all stale, and a stale one is found out by the next access, which is handled as if the
// entry were empty. When the 19 bits of the generation begin again, entries of long ago would count: all are dropped before that.
//
// Of the designs of 2007 and 2008 no document knows such entries: there, each access goes all the way.

/** The VM's MMU keeps MMIO sptes. */
export function vmCachesMmio(vm: usize): bool {
  return !vmSpteRefs(vm) && vmGuestFile(vm) === 0;
}

/** check_mmio_spte(): it was made in the present generation of the memslots. */
export function mmioCurrent(vm: usize, spte: u64): bool {
  return spteMmioGeneration(spte) === mmioGeneration(memslotsGeneration(vmSlots(vm)));
}

/** With the next change of the memslots the generations in MMIO sptes begin again. */
export function mmioWraps(vm: usize): bool {
  return vmCachesMmio(vm) && mmioGeneration(memslotsNext(vmSlots(vm))) === 0;
}

/** What the vCPU remembers of its last access to a frame without memory goes: the guest's addresses may have another meaning. */
export function mmioForget(vcpu: usize): void {
  store<u64>(vcpu, 0, MMIO_GENERATION);
}

/** An entry that is not present is empty, or an MMIO spte of `gfn`; one that counts stands for a frame without a slot. */
export function checkMmio(vm: usize, gfn: u32, spte: u64): void {
  if (spte === 0) return;
  assert(spteIsMmio(spte, vmFormat(vm)) && vmCachesMmio(vm));
  assert(spteMmioGfn(spte) === gfn);
  if (mmioCurrent(vm, spte)) assert(memslotSearch(vmSlots(vm), vmUnalias(vm, gfn)) === 0);
}
