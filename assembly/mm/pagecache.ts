import { arenaReserve, arenaTake, PART_FRAMES, PART_RECORDS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { pagePut } from "./free";
import { mmSpace } from "./instance";
import {
  PG_FILE,
  PG_SWAPCACHE,
  pageClear,
  pageGet,
  pageIndex,
  pageOf,
  pageOwner,
  pageRefs,
  pageSet,
  pageTest,
  setPageOwner,
} from "./page";
import { spaceAccount, spaceFile } from "./space";

// The page cache of a file (struct address_space): which frame holds the page at an index. Its pages are on the LRU lists of the process that
// brought them in, and mapped by no process; how they are written is the file's own matter (writepage.ts).
//
// record   0       4      8       12     16
//          +-------+------+-------+------+--------+
//          | pages | size | count | host | shared |
//          +-------+------+-------+------+--------+
//
// pages    frame of each index, PFN_NONE where there is none
// host     i_private of the inode: number of the VM that the file says it belongs to
//
// invariant: PG_FILE is set exactly on the frames that a cache names, whose index is the page's; the cache holds one reference to each

const PAGES: usize = 0;
const SIZE: usize = 4;
const COUNT: usize = 8;
const HOST: usize = 12;
const SHARED: usize = 16;
const FILE_BYTES: usize = 20;

/** Takes the record of a file that is one VM's, or `shared` by several; 0 when memory is exhausted. */
export function fileCreate(shared: bool): usize {
  const file = arenaTake(PART_RECORDS, FILE_BYTES);
  if (file !== 0) store<u32>(file, shared ? 1 : 0, SHARED);
  return file;
}

/** Several VMs have the file. */
export function fileShared(file: usize): bool {
  return load<u32>(file, SHARED) !== 0;
}

/** The file reaches up to page `size`, or further. */
export function fileExtend(file: usize, size: u32): void {
  store<u32>(file, max<u32>(load<u32>(file, SIZE), size), SIZE);
}

/** Reserves the cache, once for each file. */
export function fileLayout(file: usize): void {
  if (load<u32>(file, PAGES) !== 0) return;
  store<u32>(file, <u32>arenaReserve(PART_FRAMES, (<u64>load<u32>(file, SIZE)) << 2), PAGES);
}

export function fileSize(file: usize): u32 {
  return load<u32>(file, SIZE);
}

/** Pages in the cache. */
export function fileCount(file: usize): u32 {
  return load<u32>(file, COUNT);
}

/** i_private. */
export function fileHost(file: usize): u32 {
  return load<u32>(file, HOST);
}

export function setFileHost(file: usize, vm: u32): void {
  store<u32>(file, vm, HOST);
}

function place(file: usize, index: u32): usize {
  assert(index < load<u32>(file, SIZE));
  return <usize>load<u32>(file, PAGES) + ((<usize>index) << 2);
}

/** find_get_page() without the reference: the frame at `index`, PFN_NONE for none. */
export function fileLookup(file: usize, index: u32): u32 {
  return load<u32>(place(file, index));
}

/** add_to_page_cache(): the page of the process `owner` is at `index`. False: another page is there. */
export function fileAdd(mm: usize, file: usize, pfn: u32, owner: u32, index: u32): bool {
  if (fileLookup(file, index) !== PFN_NONE) return false;
  const page = pageOf(mm, pfn);
  assert(!pageTest(page, PG_FILE | PG_SWAPCACHE));
  store<u32>(place(file, index), pfn);
  store<u32>(file, fileCount(file) + 1, COUNT);
  setPageOwner(page, owner, index);
  pageSet(page, PG_FILE);
  pageGet(page);
  spaceAccount(mmSpace(mm, owner), 1, 0);
  return true;
}

/** page->mapping of a page with PG_FILE. */
export function fileOf(mm: usize, page: usize): usize {
  assert(pageTest(page, PG_FILE));
  return spaceFile(mmSpace(mm, pageOwner(page)));
}

/** remove_from_page_cache(): the page is at no index any more; the cache's reference goes, of several. */
export function fileRemove(mm: usize, pfn: u32, actor: usize): void {
  const page = pageOf(mm, pfn);
  const file = fileOf(mm, page);
  assert(fileLookup(file, pageIndex(page)) === pfn);
  store<u32>(place(file, pageIndex(page)), PFN_NONE);
  store<u32>(file, fileCount(file) - 1, COUNT);
  pageClear(page, PG_FILE);
  spaceAccount(mmSpace(mm, pageOwner(page)), -1, 0);
  pagePut(mm, pfn, actor);
}

/** Each frame that the cache names is there for it. Returns how many of them belong to the process `owner`. */
export function checkFile(mm: usize, file: usize, owner: u32): u32 {
  let found: u32 = 0;
  let owned: u32 = 0;
  for (let index: u32 = 0; index < fileSize(file); index++) {
    const pfn = fileLookup(file, index);
    if (pfn === PFN_NONE) continue;
    found++;
    const page = pageOf(mm, pfn);
    assert(pageTest(page, PG_FILE) && !pageTest(page, PG_SWAPCACHE));
    assert(pageIndex(page) === index && pageRefs(page) > 0);
    if (pageOwner(page) === owner) owned++;
  }
  assert(found === fileCount(file));
  return owned;
}
