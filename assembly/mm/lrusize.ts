import { mmLruvec, mmSpace, mmSpaces } from "./instance";
import { listLength } from "./list";
import { lruvecActive, lruvecInactive } from "./lruvec";
import { lruActive, lruInactive, lruInactiveFile, memcgGenerations, memcgLruvec } from "./memcg";
import { generationsActive, generationsInactive } from "./mglru";
import { spaceMemcg } from "./space";

// Sizes of LRU lists: of one cgroup, or with space 0 of all cgroups together, as the root's lruvec counts them.

/** Address of what is noted about the lists (lruvec.ts). */
export function lruvecOf(mm: usize, space: usize): usize {
  return space !== 0 ? memcgLruvec(spaceMemcg(space)) : mmLruvec(mm);
}

export function inactivePages(mm: usize, space: usize): u32 {
  if (space !== 0) {
    const memcg = spaceMemcg(space);
    const gens = memcgGenerations(memcg);
    return gens !== 0 ? generationsInactive(gens) : listLength(lruInactive(memcg));
  }
  let pages: u32 = 0;
  for (let id: u32 = 0; id < mmSpaces(mm); id++) pages += inactivePages(mm, mmSpace(mm, id));
  return pages;
}

export function activePages(mm: usize, space: usize): u32 {
  if (space !== 0) {
    const memcg = spaceMemcg(space);
    const gens = memcgGenerations(memcg);
    return gens !== 0 ? generationsActive(gens) : listLength(lruActive(memcg));
  }
  let pages: u32 = 0;
  for (let id: u32 = 0; id < mmSpaces(mm); id++) pages += activePages(mm, mmSpace(mm, id));
  return pages;
}

/** Pages on the inactive file list: those that their owners have given up. */
export function givenUpPages(mm: usize, space: usize): u32 {
  if (space !== 0) return listLength(lruInactiveFile(spaceMemcg(space)));
  let pages: u32 = 0;
  for (let id: u32 = 0; id < mmSpaces(mm); id++) pages += givenUpPages(mm, mmSpace(mm, id));
  return pages;
}

/** Pages on all lists, as the counters have it. */
export function listedPages(mm: usize, space: usize): u32 {
  return lruvecInactive(lruvecOf(mm, space)) + lruvecActive(lruvecOf(mm, space));
}
