import { alignUp } from "./layout";
import { E_NO_MEMORY, OK } from "./status";

// The arena: all linear memory above the static data, handed out once at boot and never given back. What a pool may yet ask for is
// promised at boot and taken as it is needed, at the top (arenaGrow()).
// Boot lays out first (addresses only, nothing is touched), then grows the memory to the exact size: a scenario that
// does not fit is refused before a byte of it is written, and the size it would need is known.
//
// static data | records of set-up (taken at once) | regions (reserved, then committed) | late regions, growth
//             ^ __heap_base                                                            ^ top
//
// A machine that lives may need more: it marks, reserves, commits, and goes back to the mark when that is refused. What is indexed then moves to a
// larger region, what is pointed to stays where it is.
//
// invariant: top never exceeds the committed size once arenaCommit() has returned OK
// invariant: fresh memory is zero, so a region starts as all zeroes
// invariant: top and what is promised fit the memory together, so growing never fails for want of addresses

const TOP: usize = 0; // u64
const PARTS: usize = 8; // u64 × PART_COUNT
const PROMISED: usize = 8 + 8 * 15; // u64
const ARENA_BYTES: usize = 8 + 8 * 16;
const ARENA: usize = memory.data(8 + 8 * 16, 8);
const MARK: usize = memory.data(8 + 8 * 16, 8);

export const PART_RECORDS: u32 = 0;
export const PART_FRAMES: u32 = 1;
export const PART_PRIMARY_PTES: u32 = 2;
export const PART_SPTES: u32 = 3;
export const PART_TLBS: u32 = 4;
export const PART_SWAP: u32 = 5;
export const PART_WORKLOADS: u32 = 6;
export const PART_STATISTICS: u32 = 7;
export const PART_EVENTS: u32 = 8;
export const PART_TRACE: u32 = 9;
export const PART_INTEGRITY: u32 = 10;
export const PART_POLICIES: u32 = 11;
export const PART_ASYNC_PF: u32 = 12;
export const PART_COUNT: u32 = 13;

const LIMIT: u64 = (<u64>1) << 32;
const WASM_PAGE_SHIFT: u64 = 16;

export function arenaTop(): u64 {
  return load<u64>(ARENA, TOP);
}

/** What the machine may come to take. */
export function arenaNeed(): u64 {
  return arenaTop() + load<u64>(ARENA, PROMISED);
}

/** Bytes of one part, PART_RECORDS … PART_COUNT - 1. */
export function arenaPartBytes(part: u32): u64 {
  assert(part < PART_COUNT);
  return load<u64>(ARENA + ((<usize>part) << 3), PARTS);
}

/** Starts with an empty arena right above the static data. */
export function arenaInit(): void {
  memory.fill(ARENA, 0, ARENA_BYTES);
  store<u64>(ARENA, alignUp(<u64>__heap_base, 4096), TOP);
}

/**
 * Sets `bytes` aside for `part` without touching them.
 * @returns the address; it may be used only after arenaCommit() has returned OK.
 */
export function arenaReserve(part: u32, bytes: u64, alignment: u64 = 8): usize {
  assert(part < PART_COUNT);
  const at = alignUp(load<u64>(ARENA, TOP), alignment);
  const end = at + bytes;
  const counter = ARENA + ((<usize>part) << 3);
  store<u64>(counter, load<u64>(counter, PARTS) + (end - load<u64>(ARENA, TOP)), PARTS);
  store<u64>(ARENA, end, TOP);
  return <usize>at;
}

/** Grows the memory so that everything reserved is there. Fails with E_NO_MEMORY when the need, arenaNeed(), is above 4 GiB. */
export function arenaCommit(): i32 {
  const top = load<u64>(ARENA, TOP);
  if (arenaNeed() > LIMIT) return E_NO_MEMORY;
  const need = alignUp(top, (<u64>1) << WASM_PAGE_SHIFT) >> WASM_PAGE_SHIFT;
  const have = <u64>memory.size();
  if (need <= have) return OK;
  return memory.grow(<i32>(need - have)) < 0 ? E_NO_MEMORY : OK;
}

/** What is reserved from now on can be taken back. */
export function arenaMark(): void {
  memory.copy(MARK, ARENA, ARENA_BYTES);
}

/** Nothing has been reserved since arenaMark(). */
export function arenaBack(): void {
  memory.copy(ARENA, MARK, ARENA_BYTES);
}

/** Reserves and commits at once: for the small records of set-up. 0 when memory is exhausted. */
export function arenaTake(part: u32, bytes: u64): usize {
  const at = arenaReserve(part, bytes, 16);
  return arenaCommit() === OK ? at : 0;
}

/** At boot: `bytes` may be asked of arenaGrow() later. */
export function arenaPromise(bytes: u64): void {
  store<u64>(ARENA, load<u64>(ARENA, PROMISED) + bytes, PROMISED);
}

/**
 * Takes `bytes` of what was promised, a multiple of 8, as zeroes. Memory may grow: views of it from outside are stale then.
 * There are always addresses; an engine that has no memory left ends the machine.
 */
export function arenaGrow(part: u32, bytes: u64): usize {
  assert(bytes <= load<u64>(ARENA, PROMISED) && (bytes & 7) === 0);
  store<u64>(ARENA, load<u64>(ARENA, PROMISED) - bytes, PROMISED);
  const at = arenaReserve(part, bytes);
  if (arenaCommit() !== OK) unreachable();
  memory.fill(at, 0, <usize>bytes); // a state that was put back may have left something here
  return at;
}
