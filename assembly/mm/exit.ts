import { PFN_NONE } from "../memory/layout";
import { tableFree } from "./free";
import { mmPfnEnd, mmPfnFirst, PG_BUDDY, PG_TABLE, pageOf, pageOwner, pageRefs, pageTest } from "./page";
import { dropSpaceTable, spaceId, spacePages, spaceTable } from "./space";
import { zapRange } from "./zap";

// The end of a process: exit_mmap(). The notifier is the caller's matter.

const TABLE_PAGES: u32 = 512;

/** The process of `space` ends: its pages, entries and leaf tables go. */
export function exitSpace(mm: usize, actor: usize, space: usize): void {
  zapRange(mm, actor, space, 0, spacePages(space));
  exitLeafTables(mm, actor, space);
}

/** free_pgtables(): the leaf tables, of which no entry is in use any more. */
export function exitLeafTables(mm: usize, actor: usize, space: usize): void {
  for (let index: u32 = 0; index < spacePages(space); index += TABLE_PAGES) {
    const table = spaceTable(space, index);
    if (table === PFN_NONE) continue;
    dropSpaceTable(space, index);
    tableFree(mm, table, actor);
  }
}

/** The tables above them, which nothing but their frames' owner tells: whoever has other tables in the name of `space` has freed them. */
export function exitUpperTables(mm: usize, actor: usize, space: usize): void {
  for (let pfn = mmPfnFirst(mm); pfn < mmPfnEnd(mm); pfn++) {
    const page = pageOf(mm, pfn);
    if (pageTest(page, PG_BUDDY) || pageRefs(page) === 0) continue;
    if (pageTest(page, PG_TABLE) && pageOwner(page) === spaceId(space)) tableFree(mm, pfn, actor);
  }
}
