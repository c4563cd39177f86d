// Pages whose mapping somebody above has replaced by one with a migrate operation of its own (page->mapping, a_ops->migratepage), and what
// migration tells about them. The upper floor fills the hooks in when the module starts.
//
// While the mapping is replaced, PageAnon() is false: whoever asks takes the page for a file's, of which no process maps anything.

type MovedHook = (mm: usize, old: u32, pfn: u32) => void;
type StayedHook = (mm: usize, pfn: u32) => void;

function unsetMoved(mm: usize, old: u32, pfn: u32): void {
  assert(false);
}

function unsetStayed(mm: usize, pfn: u32): void {
  assert(false);
}

let moved: MovedHook = unsetMoved;
let stayed: StayedHook = unsetStayed;

export function moveRegister(movedHook: MovedHook, stayedHook: StayedHook): void {
  moved = movedHook;
  stayed = stayedHook;
}

/** The page of the replaced mapping is in frame `pfn` now, under its original one: the reference that came with it is to be kept there. */
export function notifyMoved(mm: usize, old: u32, pfn: u32): void {
  moved(mm, old, pfn);
}

/** An attempt to move the page was in vain. */
export function notifyStayed(mm: usize, pfn: u32): void {
  stayed(mm, pfn);
}
