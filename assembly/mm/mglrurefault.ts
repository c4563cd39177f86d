import { MM_REFAULTS, MM_WORKINGSET_RESTORED, mmCountAdd } from "./instance";
import { generationsMin, generationsTiers, pageUses } from "./mglru";
import { TYPE_ANON, tierEvicted, tierOf, tierRefaulted } from "./mglrutiers";
import { PAGE_USED_MAX, PG_WORKINGSET, pageSet, setPageUsed } from "./page";
import { SLOT_SHADOW } from "./swaparea";

// Pages that come back to the generation lists: lru_gen_eviction() and lru_gen_refault(). An evicted page leaves the sequence number of the
// oldest generation and its uses in the place of the swap cache for its slot. When it returns while that generation is still the oldest, its
// tier is charged with it, and the page, used by a fault, counts as used as often as can be: its next eviction is put off once.
//
// shadow   31  30     29                  2   1      0
//          +---+------+--------------------+----------+
//          | 1 | used | oldest generation  | uses - 1 |      used: there were uses to count
//          +---+------+--------------------+----------+

const USED: u32 = 1 << 30;
const SEQ_SHIFT: u32 = 2;
const SEQ_MASK: u32 = (1 << 28) - 1;
const USES_MASK: u32 = 3;

/** The shadow of a page that is evicted. */
export function generationsEviction(gens: usize, page: usize): u32 {
  const uses = pageUses(page);
  tierEvicted(generationsTiers(gens), TYPE_ANON, tierOf(uses));
  const seq = generationsMin(gens, TYPE_ANON) & SEQ_MASK;
  return SLOT_SHADOW | (uses === 0 ? 0 : USED | (uses - 1)) | (seq << SEQ_SHIFT);
}

/** A page comes back in a fault; `shadow` is what its eviction left. */
export function generationsRefault(mm: usize, gens: usize, page: usize, shadow: u32): void {
  if (((shadow >> SEQ_SHIFT) & SEQ_MASK) !== (generationsMin(gens, TYPE_ANON) & SEQ_MASK)) return;
  const uses = (shadow & USES_MASK) + (shadow & USED ? 1 : 0);
  tierRefaulted(generationsTiers(gens), TYPE_ANON, tierOf(uses));
  setPageUsed(page, PAGE_USED_MAX);
  pageSet(page, PG_WORKINGSET);
  mmCountAdd(mm, MM_REFAULTS, 1);
  mmCountAdd(mm, MM_WORKINGSET_RESTORED, 1);
}
