import { arenaTake, PART_RECORDS } from "../memory/arena";
import { MAX_ZONES, WMARK_HIGH, WMARK_LOW } from "../mm/gfp";
import { mmFree, mmZoneAt, mmZones } from "../mm/instance";
import { listLength } from "../mm/list";
import { watermarkPages } from "../mm/watermark";
import { zoneLowmemReserve, zoneManaged } from "../mm/zone";
import { GUEST_FAULTS, guestCount } from "./books";
import { GUEST_CACHE, guestMm } from "./guest";

// The statistics that a balloon's driver sends when the host asks (update_balloon_stats()): ten figures, u64 each, in the order of their
// tags. The guest has no swap and no huge pages of its own, so these figures are 0. The host keeps what it was sent last.
//
// record   0           80
//          +-----------+-----------+
//          | sent × 10 | seen × 10 |
//          +-----------+-----------+

// Tags: 0 swap-in, 1 swap-out, 2 major faults, 7 caches, 8 and 9 huge pages given and not given.
const MINOR_FAULTS: u32 = 3;
const FREE: u32 = 4;
const TOTAL: u32 = 5;
const AVAILABLE: u32 = 6;
const CACHES: u32 = 7;
export const STATS_FIGURES: u32 = 10;
const SEEN: usize = 8 * <usize>STATS_FIGURES;
const PAGE_BYTES: u64 = 4096;

/** Takes the record; 0 when memory is exhausted. */
export function statsCreate(): usize {
  return arenaTake(PART_RECORDS, 2 * <u64>SEEN);
}

function set(stats: usize, tag: u32, value: u64): void {
  store<u64>(stats + ((<usize>tag) << 3), value);
}

/** The driver fills its buffer. */
export function statsCollect(stats: usize, guest: usize): void {
  const mm = guestMm(guest);
  let managed: u32 = 0;
  let low: u32 = 0;
  let kept: u32 = 0;
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    managed += zoneManaged(zone);
    low += watermarkPages(zone, WMARK_LOW);
    let reserve: u32 = 0;
    for (let highest: u32 = 0; highest < MAX_ZONES; highest++)
      reserve = max<u32>(reserve, zoneLowmemReserve(zone, highest));
    kept += min<u32>(reserve + watermarkPages(zone, WMARK_HIGH), zoneManaged(zone));
  }
  const free = mmFree(mm);
  const cached = listLength(guest + GUEST_CACHE);
  // si_mem_available(): without the reserves, and half of the page cache or the low watermark stays.
  const available = free + cached - min<u32>(cached >> 1, low);
  set(stats, MINOR_FAULTS, guestCount(guest, GUEST_FAULTS));
  set(stats, FREE, free * PAGE_BYTES);
  set(stats, TOTAL, managed * PAGE_BYTES);
  set(stats, AVAILABLE, (available > kept ? available - kept : 0) * PAGE_BYTES);
  set(stats, CACHES, cached * PAGE_BYTES);
}

/** The host reads the buffer. */
export function statsRead(stats: usize): void {
  memory.copy(stats + SEEN, stats, SEEN);
}

/** What the host was told last under `tag`. */
export function statsSeen(stats: usize, tag: u32): u64 {
  return load<u64>(stats + ((<usize>tag) << 3), SEEN);
}
