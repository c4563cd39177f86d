import { PFN_NONE } from "../memory/layout";
import { E_NO_MEMORY, OK } from "../memory/status";
import { allocBootTable } from "./alloc";
import { PG_ANON_EXCLUSIVE, pageClear, pageGet, pageMaps, pageOf, setPageMaps } from "./page";
import {
  PTE_ACCESSED,
  PTE_NONE,
  PTE_SWP_EXCLUSIVE,
  PTE_WRITE,
  pteEntry,
  ptePfn,
  ptePresent,
  pteZero,
} from "./pte";
import { setSpacePte, setSpaceTable, spaceAccount, spacePages, spacePte, spaceTable } from "./space";
import { swapDup } from "./swapmap";

// fork(), as far as page tables go: copy_page_range() for anonymous memory.
// A shared page is write-protected on both sides and belongs to neither alone; a shared slot counts both.
// Left out: pinned pages (copied at once), the notifier (a VM's process does not fork).

/** Gives `child`, which is empty, a copy of the page tables of `parent`. Fails with E_NO_MEMORY; what is copied stays. */
export function forkSpace(mm: usize, parent: usize, child: usize): i32 {
  assert(spacePages(parent) === spacePages(child));
  for (let index: u32 = 0; index < spacePages(parent); index++) {
    const pte = spacePte(parent, index);
    if (pte === PTE_NONE) continue;
    if (spaceTable(child, index) === PFN_NONE) {
      const table = allocBootTable(mm, child, false);
      if (table === PFN_NONE) return E_NO_MEMORY;
      setSpaceTable(child, index, table);
    }
    if (!copyPte(mm, parent, child, index, pte)) return E_NO_MEMORY;
  }
  return OK;
}

// copy_present_pte() and copy_nonpresent_pte(). False when the slot's users cannot be counted any more.
function copyPte(mm: usize, parent: usize, child: usize, index: u32, pte: u64): bool {
  if (!ptePresent(pte)) {
    if (!swapDup(mm, pteEntry(pte))) return false;
    setSpacePte(parent, index, pte & ~PTE_SWP_EXCLUSIVE);
    setSpacePte(child, index, pte & ~PTE_SWP_EXCLUSIVE);
    spaceAccount(child, 0, 1);
    return true;
  }
  setSpacePte(parent, index, pte & ~PTE_WRITE);
  setSpacePte(child, index, pte & ~(PTE_WRITE | PTE_ACCESSED));
  if (pteZero(pte)) return true;
  const page = pageOf(mm, ptePfn(pte));
  pageClear(page, PG_ANON_EXCLUSIVE);
  pageGet(page);
  setPageMaps(page, pageMaps(page) + 1);
  spaceAccount(child, 1, 0);
  return true;
}
