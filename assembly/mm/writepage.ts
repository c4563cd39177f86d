import { WRITEPAGE_PC, WRITEPAGE_RESULT } from "./context";

// a_ops->writepage() of the files whose pages reclaim meets: a step machine of an upper floor, which fills the hook in when the module starts.

type WritepageHook = (actor: usize, pfn: u32) => i32;

/** The page has left the file's hands: it is unlocked. */
export const WRITEPAGE_DONE: u32 = 0;
/** AOP_WRITEPAGE_ACTIVATE: not now; the page is dirty and still locked, and is to go to the active list. */
export const WRITEPAGE_ACTIVATE: u32 = 1;

function unset(actor: usize, pfn: u32): i32 {
  assert(false);
  return 0;
}

let writepage: WritepageHook = unset;

export function writepageRegister(hook: WritepageHook): void {
  writepage = hook;
}

export function callWritepageBegin(actor: usize): void {
  store<u32>(actor, 0, WRITEPAGE_PC);
}

/** Goes on with the write of the locked page `pfn`. Returns STEP_*; after STEP_DONE writepageResult() tells what became of it. */
export function callWritepage(actor: usize, pfn: u32): i32 {
  return writepage(actor, pfn);
}

export function writepageResult(actor: usize): u32 {
  return load<u32>(actor, WRITEPAGE_RESULT);
}
