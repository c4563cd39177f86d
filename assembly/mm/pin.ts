import { pagePut } from "./free";
import { mmPfnEnd, mmPfnFirst, PG_PINNED, pageClear, pageOf, pageOwner, pageSet, pageTest } from "./page";

// References that somebody outside holds for as long as he likes: pages in a pipe, or under a device. Such a page is found by its flag.

/** The reference that the caller got for the page becomes one that is kept until pinsDrop(); a second one is not kept. */
export function pinKeep(mm: usize, pfn: u32, actor: usize): void {
  const page = pageOf(mm, pfn);
  if (pageTest(page, PG_PINNED)) pagePut(mm, pfn, actor);
  else pageSet(page, PG_PINNED);
}

/** Drops the references that are kept of the pages of space `id`. Returns how many there were. */
export function pinsDrop(mm: usize, id: u32, actor: usize): u32 {
  let dropped: u32 = 0;
  for (let pfn = mmPfnFirst(mm); pfn < mmPfnEnd(mm); pfn++) {
    const page = pageOf(mm, pfn);
    if (!pageTest(page, PG_PINNED) || pageOwner(page) !== id) continue;
    pageClear(page, PG_PINNED);
    pagePut(mm, pfn, actor);
    dropped++;
  }
  return dropped;
}

/** References that are kept. */
export function pinsHeld(mm: usize): u32 {
  let held: u32 = 0;
  for (let pfn = mmPfnFirst(mm); pfn < mmPfnEnd(mm); pfn++) {
    if (pageTest(pageOf(mm, pfn), PG_PINNED)) held++;
  }
  return held;
}
