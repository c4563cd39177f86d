// What a guest's memory management tells about pages that become free: free page reporting wants to know that a large block has come
// to the free lists (page_reporting_notify_free()), hinting of 2019 sees every block before it is freed (arch_free_page()). The upper
// floor fills the hooks in when the module starts; an instance that nobody listens to never calls them. And the host's books: a page that
// is written to swap may be free in its guest.

type FreedHook = (listener: usize) => void;
type FreeingHook = (listener: usize, cpu: u32, pfn: u32, order: u32) => void;

type SwapOutHook = (spaceId: u32, index: u32) => void;
type SwapOutHeard = (spaceId: u32) => bool;

function unset(listener: usize): void {
  assert(false);
}

function unsetFreeing(listener: usize, cpu: u32, pfn: u32, order: u32): void {
  assert(false);
}

function unsetSwapOut(spaceId: u32, index: u32): void {
  assert(false);
}

function unsetHeard(spaceId: u32): bool {
  assert(false);
  return true;
}

let swapOut: SwapOutHook = unsetSwapOut;
let swapOutHears: SwapOutHeard = unsetHeard;
let freed: FreedHook = unset;
let freeing: FreeingHook = unsetFreeing;

export function reportingRegister(hook: FreedHook): void {
  freed = hook;
}

export function hintingRegister(hook: FreeingHook): void {
  freeing = hook;
}

/** `hears`: does the hook care for the pages of that space at all? */
export function swapOutRegister(hook: SwapOutHook, hears: SwapOutHeard): void {
  swapOut = hook;
  swapOutHears = hears;
}

/** The host writes page `index` of an address space to swap: was it worth it? */
export function notifySwapOut(spaceId: u32, index: u32): void {
  swapOut(spaceId, index);
}

/** Somebody wants to know which pages of an address space are written. */
export function swapOutHeard(spaceId: u32): bool {
  return swapOutHears(spaceId);
}

/** A block of an order that `listener` waits for has been put on a free list. */
export function notifyFreed(listener: usize): void {
  freed(listener);
}

/** A block is about to be freed: it is still nowhere, neither on a list of the CPU nor of the zone. */
export function notifyFreeing(listener: usize, cpu: u32, pfn: u32, order: u32): void {
  freeing(listener, cpu, pfn, order);
}
