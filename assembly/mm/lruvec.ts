// What is noted about the LRU lists of one cgroup, or of the host as a whole: what reclaiming each type has cost lately, and
// a clock for refaults. A page's eviction and its return are marked with that clock (workingset.ts).
//
// record   0          4          8     12          16         20         24       28
//          +----------+----------+-----+-----------+----------+----------+--------+--------------+
//          | anonCost | fileCost | age | activated | refaults | inactive | active | inactiveFile |
//          +----------+----------+-----+-----------+----------+----------+--------+--------------+
//
// age        nonresident_age: evictions and activations so far
// activated  WORKINGSET_ACTIVATE_ANON: pages that came back soon enough to count as active
// inactive, active, inactiveFile  lengths of the lists when the counters were last brought up to date (memcgstat.ts)
// refaults   activated when the last reclaim ended (snapshot_refaults())

const ANON_COST: usize = 0;
const FILE_COST: usize = 4;
const AGE: usize = 8;
const ACTIVATED: usize = 12;
const REFAULTS: usize = 16;
const INACTIVE: usize = 20;
const ACTIVE: usize = 24;
const INACTIVE_FILE: usize = 28;
export const LRUVEC_BYTES: usize = 32;

/** Cost of reclaiming anonymous pages lately. */
export function lruvecAnonCost(lruvec: usize): u32 {
  return load<u32>(lruvec, ANON_COST);
}

export function lruvecFileCost(lruvec: usize): u32 {
  return load<u32>(lruvec, FILE_COST);
}

export function setLruvecCosts(lruvec: usize, anon: u32, file: u32): void {
  store<u32>(lruvec, anon, ANON_COST);
  store<u32>(lruvec, file, FILE_COST);
}

/** lru_note_cost(): both costs are halved when they outgrow a quarter of the `listed` pages. */
export function lruvecNoteAnonCost(lruvec: usize, pages: u32, listed: u32): void {
  const anon = load<u32>(lruvec, ANON_COST) + pages;
  const file = load<u32>(lruvec, FILE_COST);
  const shift: u32 = anon + file > listed / 4 ? 1 : 0;
  setLruvecCosts(lruvec, anon >> shift, file >> shift);
}

/** lruvec_page_state(): inactive pages when the counters were last brought up to date. */
export function lruvecInactive(lruvec: usize): u32 {
  return load<u32>(lruvec, INACTIVE);
}

export function lruvecActive(lruvec: usize): u32 {
  return load<u32>(lruvec, ACTIVE);
}

export function lruvecInactiveFile(lruvec: usize): u32 {
  return load<u32>(lruvec, INACTIVE_FILE);
}

/** The counters are brought up to date. */
export function lruvecFlush(lruvec: usize, inactive: u32, active: u32, inactiveFile: u32): void {
  store<u32>(lruvec, inactive, INACTIVE);
  store<u32>(lruvec, active, ACTIVE);
  store<u32>(lruvec, inactiveFile, INACTIVE_FILE);
}

/** Address of the three lengths, u32 each: inactive, active, inactiveFile. */
export function lruvecLengths(lruvec: usize): usize {
  return lruvec + INACTIVE;
}

export function lruvecAge(lruvec: usize): u32 {
  return load<u32>(lruvec, AGE);
}

export function setLruvecAge(lruvec: usize, age: u32): void {
  store<u32>(lruvec, age, AGE);
}

export function lruvecActivated(lruvec: usize): u32 {
  return load<u32>(lruvec, ACTIVATED);
}

export function setLruvecActivated(lruvec: usize, pages: u32): void {
  store<u32>(lruvec, pages, ACTIVATED);
}

/** Some page has come back soon since the last reclaim ended. */
export function lruvecRefaulted(lruvec: usize): bool {
  return load<u32>(lruvec, REFAULTS) !== load<u32>(lruvec, ACTIVATED);
}

/** snapshot_refaults(). */
export function lruvecSnapshot(lruvec: usize): void {
  store<u32>(lruvec, load<u32>(lruvec, ACTIVATED), REFAULTS);
}
