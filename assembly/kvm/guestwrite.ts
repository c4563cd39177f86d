import { STEP_DONE } from "../memory/status";
import { faultBegin, faultPfn, faultStep } from "../mm/fault";
import { pagePut } from "../mm/free";
import { dirtyMark } from "./dirtylog";
import { memslotIndex, memslotUnbacked } from "./memslot";
import { gfnToMemslot, memslotsGeneration } from "./memslots";
import { vmMm, vmSlots, vmSpace, vmUnalias } from "./vm";

// The host's cached way to a page of guest memory (struct gfn_to_hva_cache): kvm_read_guest_cached(), kvm_write_guest_cached(). The
// access goes through the monitor's own address space, so it may fault there, wait for swap like any access of the host, and
// marks the host's pte; no spte is involved. A change of memslots moves their generation on, which sets the cache up anew.
//
// cache, 16 bytes   0            8       12
//                   +------------+-------+-----+
//                   | generation | index | set |      index INDEX_NONE: no memslot holds the gfn (EFAULT)
//                   +------------+-------+-----+

const GENERATION: usize = 0; // u64
const INDEX: usize = 8;
const SET: usize = 12;

const INDEX_NONE: u32 = 0xffffffff;

/** kvm_gfn_to_hva_cache_init() */
export function guestCacheInit(cache: usize, vm: usize, gfn: u32): void {
  const frame = vmUnalias(vm, gfn);
  const slot = gfnToMemslot(vmSlots(vm), frame);
  store<u64>(cache, memslotsGeneration(vmSlots(vm)), GENERATION);
  store<u32>(cache, slot === 0 || memslotUnbacked(slot) ? INDEX_NONE : memslotIndex(slot, frame), INDEX);
  store<u32>(cache, 1, SET);
}

/** The page that the cache, which is for `gfn`, leads to now; INDEX_NONE is told by guestAccessBegin(). */
export function guestCacheIndex(cache: usize, vm: usize, gfn: u32): u32 {
  const stale = load<u64>(cache, GENERATION) !== memslotsGeneration(vmSlots(vm));
  if (stale || load<u32>(cache, SET) === 0) guestCacheInit(cache, vm, gfn);
  return load<u32>(cache, INDEX);
}

/** The monitor begins to read or write `gfn`, the page that the cache is for. False: no memslot holds it (EFAULT). */
export function guestAccessBegin(cache: usize, vm: usize, gfn: u32, actor: usize, write: bool): bool {
  const index = guestCacheIndex(cache, vm, gfn);
  if (index === INDEX_NONE) return false;
  faultBegin(actor, vmSpace(vm), index, write);
  return true;
}

/** Goes on with it; after STEP_DONE the bytes are read or written. Returns STEP_*. */
export function guestAccessStep(vm: usize, actor: usize): i32 {
  const step = faultStep(vmMm(vm), actor);
  if (step === STEP_DONE) pagePut(vmMm(vm), faultPfn(actor), actor);
  return step;
}

/** What has been written stands in `gfn`: its slot's dirty log notes it. */
export function guestAccessDirty(vm: usize, gfn: u32): void {
  const frame = vmUnalias(vm, gfn);
  const slot = gfnToMemslot(vmSlots(vm), frame);
  if (slot !== 0) dirtyMark(slot, frame);
}
