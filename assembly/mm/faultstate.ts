import { PFN_NONE } from "../memory/layout";
import { actorCpu } from "../sim/actor";
import {
  FAULT_ENTRY,
  FAULT_INDEX,
  FAULT_KIND,
  FAULT_MODE,
  FAULT_PC,
  FAULT_PFN,
  FAULT_SPACE,
  FAULT_WRITABLE,
  FAULT_WRITE,
  READAHEAD_OWN,
} from "./context";
import { memcgEvents } from "./memcgstat";
import {
  PG_ANON_EXCLUSIVE,
  PG_UPTODATE,
  pageGet,
  pageMaps,
  pageOf,
  pageOwner,
  pageSet,
  setPageMaps,
  setPageOwner,
} from "./page";
import { PSI_SWAP_IN, psiMemstall } from "./psi";
import { PTE_WRITE, pteEntry, pteOfPfn, pteSwapped, ZERO_PFN } from "./pte";
import { setSpacePte, spaceId, spacePte } from "./space";

// The locals of a fault of the primary MMU and what its two halves share: fault.ts (anonymous pages, copy-on-write) and
// swapin.ts (do_swap_page()). A fault's state is one of the numbers below; those from AT_SWAP on wait for, or read
// from, swap.

/** What the fault needed, cheapest first; an access is counted by the most expensive thing it needed. */
export const FAULT_SPURIOUS: u32 = 0;
export const FAULT_WRITE_PROTECT: u32 = 1;
export const FAULT_MINOR: u32 = 2;
export const FAULT_MAJOR: u32 = 3;
export const FAULT_KINDS: u32 = 4;

export const AT_START: u32 = 0;
export const AT_TABLE: u32 = 1;
export const AT_ANON: u32 = 2;
export const AT_ANON_INSTALL: u32 = 3;
export const AT_COPY: u32 = 4;
export const AT_COPY_NOTIFY: u32 = 5;
export const AT_COPY_INSTALL: u32 = 6;
export const AT_COPY_END: u32 = 7;
export const AT_RETRY: u32 = 8;
export const AT_HUGE: u32 = 9;
export const AT_HUGE_INSTALL: u32 = 10;
export const AT_USERFAULT: u32 = 11;
export const AT_MIGRATION: u32 = 12;
export const AT_SWAP: u32 = 13;
export const AT_BYPASS: u32 = 14;
export const AT_BYPASS_INSTALL: u32 = 15;
export const AT_READAHEAD: u32 = 16;
export const AT_READ: u32 = 17;
export const AT_SUBMIT: u32 = 18;
export const AT_CACHED: u32 = 19;
export const AT_CACHED_INSTALL: u32 = 20;
/** The page could not be read: the fault ends with an error (VM_FAULT_SIGBUS), and the entry stays. */
export const AT_UNREAD: u32 = 21;

/** The fault waits for whatever it needs. */
export const FAULT_WAIT: u32 = 0;
/** FOLL_NOWAIT: it starts the reads that it needs and gives up where it would wait for a locked page (VM_FAULT_RETRY). */
export const FAULT_NOWAIT: u32 = 1;
/** get_user_pages_noio() of 2010: it gives up as soon as the page must come from a device, and starts no read. */
export const FAULT_NOIO: u32 = 2;

/** Starts a fault on page `index` of `space`. */
export function faultBegin(actor: usize, space: usize, index: u32, write: bool): void {
  store<u32>(actor, AT_START, FAULT_PC);
  store<u32>(actor, <u32>space, FAULT_SPACE);
  store<u32>(actor, index, FAULT_INDEX);
  store<u32>(actor, write ? 1 : 0, FAULT_WRITE);
  store<u32>(actor, FAULT_SPURIOUS, FAULT_KIND);
  store<u32>(actor, 0, FAULT_WRITABLE);
  store<u32>(actor, FAULT_WAIT, FAULT_MODE);
  store<u32>(actor, PFN_NONE, READAHEAD_OWN);
}

/** The same, for one that allocates the frame to which it will read `entry` past the swap cache: atonce.ts has come so far. */
export function faultAtBypass(actor: usize, space: usize, index: u32, entry: u32, write: bool): void {
  faultBegin(actor, space, index, write);
  store<u32>(actor, entry, FAULT_ENTRY);
  faultGoto(actor, AT_BYPASS);
}

/** Waiting for a page to come back from swap is a stall, from the choice to read until the pte is looked at again. */
export function faultGoto(actor: usize, pc: u32): void {
  store<u32>(actor, pc, FAULT_PC);
  psiMemstall(actor, PSI_SWAP_IN, pc >= AT_BYPASS);
}

export function faultAt(actor: usize): u32 {
  return load<u32>(actor, FAULT_PC);
}

/** The fault needed `kind`, or something more expensive. */
export function faultNeeded(actor: usize, kind: u32): void {
  if (kind > load<u32>(actor, FAULT_KIND)) store<u32>(actor, kind, FAULT_KIND);
}

/** FAULT_WAIT, FAULT_NOWAIT or FAULT_NOIO. */
export function faultMode(actor: usize): u32 {
  return load<u32>(actor, FAULT_MODE);
}

/** VM_FAULT_RETRY: the fault ends without a frame, because it must not wait. */
export function faultGiveUp(actor: usize): void {
  assert(faultMode(actor) !== FAULT_WAIT);
  faultGoto(actor, AT_RETRY);
}

export function faultSpace(actor: usize): usize {
  return <usize>load<u32>(actor, FAULT_SPACE);
}

export function faultIndex(actor: usize): u32 {
  return load<u32>(actor, FAULT_INDEX);
}

export function faultWrite(actor: usize): bool {
  return load<u32>(actor, FAULT_WRITE) !== 0;
}

export function faultEntry(actor: usize): u32 {
  return load<u32>(actor, FAULT_ENTRY);
}

/** The caller's reference (FOLL_GET), and what the pte allows. The page of zeroes has no record to count in. */
export function faultGrab(mm: usize, actor: usize, pfn: u32, pte: u64): void {
  if (pfn !== ZERO_PFN) pageGet(pageOf(mm, pfn));
  psiMemstall(actor, PSI_SWAP_IN, false);
  store<u32>(actor, pfn, FAULT_PFN);
  store<u32>(actor, pte & PTE_WRITE ? 1 : 0, FAULT_WRITABLE);
}

/** Maps a frame where the fault is; the pte takes over the reference that the frame came with. Returns the pte. */
export function faultMap(mm: usize, actor: usize, pfn: u32, flags: u64, exclusive: bool): u64 {
  const page = pageOf(mm, pfn);
  const pte = pteOfPfn(pfn, flags);
  setSpacePte(faultSpace(actor), faultIndex(actor), pte);
  setPageMaps(page, pageMaps(page) + 1);
  pageSet(page, exclusive ? PG_UPTODATE | PG_ANON_EXCLUSIVE : PG_UPTODATE);
  // page_add_anon_rmap(): a page that was read ahead by its slot learns here which page it is.
  assert(pageOwner(page) === spaceId(faultSpace(actor)));
  setPageOwner(page, pageOwner(page), faultIndex(actor));
  memcgEvents(mm, actorCpu(actor), 2); // PGFAULT, NR_ANON_MAPPED
  return pte;
}

/** pte_same(): the pte still holds the entry that the fault began with. */
export function faultEntryStands(actor: usize): bool {
  const pte = spacePte(faultSpace(actor), faultIndex(actor));
  return pteSwapped(pte) && pteEntry(pte) === faultEntry(actor);
}
