import { actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_AGE_LINEAR_PTE_NS, cost } from "../sim/costs";
import { MGLRU_WALKED } from "./context";
import { BATCH_PAGES, lruActivate } from "./lrubatch";
import { mappingFirst, mappingOfPage, mappingPages } from "./mapping";
import { generationsFilter, generationsMax, generationsPromote, youngestGen } from "./mglru";
import { filterNote } from "./mglrufilter";
import { PG_REFERENCED, pageGen, pageOf, pageOwner, pageSet } from "./page";
import { PTE_ACCESSED, ptePfn, ptePresent, pteZero } from "./pte";
import { setSpacePte, spaceId, spaceMappings, spacePte } from "./space";

// When eviction finds a page in use by its pte, it looks at the neighbours in the same page table too, since they are likely to be in
// use as well: lru_gen_look_around(). The secondary MMU is not asked.

const WINDOW: u32 = 64;
const TABLE_PAGES: u32 = 512;

/**
 * Looks at up to 64 entries around page `index` of `space`, whose entry is young. Clears their accessed bits; pages in use go to the
 * youngest generation, those on no list are marked as referenced.
 */
export function lookAround(mm: usize, actor: usize, gens: usize, space: usize, index: u32): void {
  const mapping = mappingOfPage(spaceMappings(space), index);
  const table = index / TABLE_PAGES;
  let start = max<u32>(table * TABLE_PAGES, mappingFirst(mapping));
  let end = min<u32>((table + 1) * TABLE_PAGES, mappingFirst(mapping) + mappingPages(mapping));
  if (end - start > WINDOW) {
    if (index - start < WINDOW / 2) end = start + WINDOW;
    else if (end - 1 - index < WINDOW / 2) start = end - WINDOW;
    else {
      start = index - WINDOW / 2;
      end = index + WINDOW / 2;
    }
  }
  actorSpend(actor, STAGE_RECLAIM, (end - start) * cost(COST_AGE_LINEAR_PTE_NS));

  let young: u32 = 0;
  let older: u64 = 0; // bit n: the page at start + n is to be promoted
  for (let at = start; at < end; at++) {
    const pte = spacePte(space, at);
    if (!ptePresent(pte) || pteZero(pte) || (pte & PTE_ACCESSED) === 0) continue;
    const page = pageOf(mm, ptePfn(pte));
    if (pageOwner(page) !== spaceId(space)) continue;
    setSpacePte(space, at, pte & ~PTE_ACCESSED);
    young++;
    if (pageGen(page) === 0) pageSet(page, PG_REFERENCED);
    else if (pageGen(page) !== youngestGen(gens)) older |= (<u64>1) << (at - start);
  }
  filterNote(generationsFilter(gens), generationsMax(gens), table, end - start, young);

  // A few are left to the batch of the CPU; many, or those of a reclaimer that is aging anyway, change their flags.
  const few = load<u32>(actor, MGLRU_WALKED) === 0 && <u32>popcnt(older) < BATCH_PAGES;
  for (; older !== 0; older &= older - 1) {
    const pfn = ptePfn(spacePte(space, start + <u32>ctz(older)));
    if (few) lruActivate(mm, actor, pfn);
    else generationsPromote(gens, pageOf(mm, pfn));
  }
}
