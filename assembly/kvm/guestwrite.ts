import { STEP_DONE } from "../memory/status";
import { faultBegin, faultPfn, faultStep } from "../mm/fault";
import { pagePut } from "../mm/free";
import { gfnToIndex, vmMm, vmSpace } from "./vm";

// The host's cached way to a page of guest memory (struct gfn_to_hva_cache): kvm_read_guest_cached(), kvm_write_guest_cached(). The
// access goes through the monitor's own address space, so it may fault there, wait for swap like any access of the host, and
// marks the host's pte; no spte is involved.
//
// cache   0            4       8
//         +------------+-------+
//         | generation | index |      generation 0: not set up
//         +------------+-------+

const GENERATION: usize = 0;
const INDEX: usize = 4;

// One memslot covers the guest for its whole life.
function memslotGeneration(vm: usize): u32 {
  return vm === 0 ? 0 : 1;
}

/** kvm_gfn_to_hva_cache_init() */
export function guestCacheInit(cache: usize, vm: usize, gfn: u32): void {
  store<u32>(cache, memslotGeneration(vm), GENERATION);
  store<u32>(cache, gfnToIndex(vm, gfn), INDEX);
}

/** The monitor begins to read or write the page `gfn` that the cache is for; another generation of memslots sets it up anew. */
export function guestAccessBegin(cache: usize, vm: usize, gfn: u32, actor: usize, write: bool): void {
  if (load<u32>(cache, GENERATION) !== memslotGeneration(vm)) guestCacheInit(cache, vm, gfn);
  faultBegin(actor, vmSpace(vm), load<u32>(cache, INDEX), write);
}

/** Goes on with it; after STEP_DONE the bytes are read or written. Returns STEP_*. */
export function guestAccessStep(vm: usize, actor: usize): i32 {
  const step = faultStep(vmMm(vm), actor);
  if (step === STEP_DONE) pagePut(vmMm(vm), faultPfn(actor), actor);
  return step;
}
