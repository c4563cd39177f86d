import { setMemslotsGeneration } from "../kvm/memslots";
import {
  mmioGenerationBits,
  spteIsMmio,
  spteMmio,
  spteMmioAccess,
  spteMmioGeneration,
  spteMmioGfn,
} from "../kvm/mmiospte";
import { vmSlots } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";

// MMIO sptes one by one, without a machine, and for a machine the number of memslot changes that it has seen, so that a test need not make half a million.

const SPTE: usize = memory.data(8, 8);

/** Makes one; returns the address of its two u32, low and high. */
export function mmioCaseSpte(format: u32, generation: u32, gfn: u32, access: u32): usize {
  store<u64>(SPTE, spteMmio(format, generation, gfn, access));
  return SPTE;
}

/** The bits for a generation, in the same place. */
export function mmioCaseBits(generation: u32): usize {
  store<u64>(SPTE, mmioGenerationBits(generation));
  return SPTE;
}

/** Is the last one one of `format`? */
export function mmioCaseIs(format: u32): bool {
  return spteIsMmio(load<u64>(SPTE), format);
}

/** What the last one says. */
export function mmioCaseGfn(): u32 {
  return spteMmioGfn(load<u64>(SPTE));
}

export function mmioCaseGeneration(): u32 {
  return spteMmioGeneration(load<u64>(SPTE));
}

export function mmioCaseAccess(format: u32): u32 {
  return spteMmioAccess(load<u64>(SPTE), format);
}

/** The memslots of VM `vm` are those of generation `generation` from now on. */
export function mmioCaseMemslots(vm: u32, generation: f64): void {
  setMemslotsGeneration(vmSlots(vmAt(vm)), <u64>generation);
}
