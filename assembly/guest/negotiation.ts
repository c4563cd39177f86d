import { arenaTake, PART_RECORDS } from "../memory/arena";

// What a balloon device and its driver have agreed on: the device offers feature bits, the driver accepts those that it knows and can use
// (virtballoon_validate()), and the bits that both have decide which queues there are. A queue is known by its number alone. Both sides
// count the queues of the negotiated bits in an order of their own, so they agree on a number's meaning only where they agree on bit 5:
// the patch of 2019 took it for its queue of hints, between statistics and free pages; upstream gave it to reporting, behind free pages.
//
//          place     0         1         2          3                4
//          upstream  inflate   deflate   stats (1)  free pages (3)   reporting (5)
//          2019      inflate   deflate   stats (1)  hinting (5)      free pages (3)       (feature bit that it needs)
//
// record   0         4          8               12            16     20            24
//          +---------+----------+---------------+-------------+------+-------------+--------+
//          | offered | features | device layout | driver's    | ring | poison_val  | failed |
//          +---------+----------+---------------+-------------+------+-------------+--------+
//
// Left out: packed rings, features of the transport.

const OFFERED: usize = 0;
const FEATURES: usize = 4;
const DEVICE_LAYOUT: usize = 8;
const DRIVER_LAYOUT: usize = 12;
const RING: usize = 16;
const POISON: usize = 20;
const FAILED: usize = 24;
const NEGOTIATION_BYTES: usize = 32;

export const FEATURE_MUST_TELL_HOST: u32 = 1;
export const FEATURE_STATS: u32 = 2;
export const FEATURE_DEFLATE_ON_OOM: u32 = 4;
export const FEATURE_FREE_PAGE_HINT: u32 = 8;
export const FEATURE_PAGE_POISON: u32 = 16;
/** Bit 5: REPORTING, or HINTING to who is of 2019. */
export const FEATURE_BIT_5: u32 = 32;

export const LAYOUT_UPSTREAM: u32 = 0;
export const LAYOUT_2019: u32 = 1;

export const QUEUE_INFLATE: u32 = 0;
export const QUEUE_DEFLATE: u32 = 1;
export const QUEUE_STATS: u32 = 2;
export const QUEUE_FREE_PAGE: u32 = 3;
export const QUEUE_REPORTING: u32 = 4;
export const QUEUE_HINTING: u32 = 5;
/** No queue has this number, or the queue does not exist. */
export const QUEUE_NONE: u32 = 7;
export const QUEUES_MOST: u32 = 5;

/** Reporting hands over so many blocks at a time, and the driver refuses a ring that has no room for them. */
const REPORTING_RING_LEAST: u32 = 32;
/** PAGE_POISON, four times. */
const POISON_PATTERN: u32 = 0xaaaaaaaa;

/** The device's side: bits that it offers, its meaning of bit 5, descriptors of a ring. 0 when memory is exhausted. */
export function deviceOffers(offered: u32, layout: u32, ring: u32): usize {
  const link = arenaTake(PART_RECORDS, NEGOTIATION_BYTES);
  if (link === 0) return 0;
  store<u32>(link, offered, OFFERED);
  store<u32>(link, layout, DEVICE_LAYOUT);
  store<u32>(link, ring, RING);
  return link;
}

/**
 * The driver's side: bits that it knows, its meaning of bit 5.
 * @param poisons free pages of the guest hold a pattern; `zeroes` they hold zeroes (init_on_free)
 */
export function driverAccepts(link: usize, known: u32, layout: u32, poisons: bool, zeroes: bool): void {
  const offered = load<u32>(link, OFFERED);
  let wanted = known;
  if (!poisons && !zeroes) wanted &= ~FEATURE_PAGE_POISON;
  // A host that cannot be told what free pages hold must not take them away. The patch of 2019 switches the poisoning off instead.
  else if ((offered & FEATURE_PAGE_POISON) === 0 && layout === LAYOUT_UPSTREAM) wanted &= ~FEATURE_BIT_5;
  if (layout === LAYOUT_2019) wanted &= ~FEATURE_PAGE_POISON;
  const features = offered & wanted;
  store<u32>(link, features, FEATURES);
  store<u32>(link, layout, DRIVER_LAYOUT);
  store<u32>(link, (features & FEATURE_PAGE_POISON) !== 0 && !zeroes ? POISON_PATTERN : 0, POISON);
  const short = load<u32>(link, RING) < REPORTING_RING_LEAST;
  store<u32>(link, short && driverHas(link, QUEUE_REPORTING) ? 1 : 0, FAILED);
}

/** Bits that both sides have. */
export function negotiated(link: usize): u32 {
  return load<u32>(link, FEATURES);
}

/** The driver has given the device up (virtballoon_probe()). */
export function probeFailed(link: usize): bool {
  return load<u32>(link, FAILED) !== 0;
}

export function ringDescriptors(link: usize): u32 {
  return load<u32>(link, RING);
}

/** What the host believes free pages to hold; 0 also when nobody has told it. */
export function poisonValue(link: usize): u32 {
  return load<u32>(link, POISON);
}

// The kind at a place of the table above.
function kindAt(layout: u32, place: u32): u32 {
  if (place <= QUEUE_STATS) return place;
  if (layout === LAYOUT_2019) return place === 3 ? QUEUE_HINTING : QUEUE_FREE_PAGE;
  return place === 3 ? QUEUE_FREE_PAGE : QUEUE_REPORTING;
}

function exists(features: u32, kind: u32): bool {
  if (kind === QUEUE_STATS) return (features & FEATURE_STATS) !== 0;
  if (kind === QUEUE_FREE_PAGE) return (features & FEATURE_FREE_PAGE_HINT) !== 0;
  return kind < QUEUE_STATS || (features & FEATURE_BIT_5) !== 0;
}

// The queue of number `index` for who has `layout`: queues without their feature have no number (init_vqs(), find_vqs()).
function queueAt(layout: u32, features: u32, index: u32): u32 {
  for (let place: u32 = 0; place < QUEUES_MOST; place++) {
    const kind = kindAt(layout, place);
    if (!exists(features, kind)) continue;
    if (index === 0) return kind;
    index--;
  }
  return QUEUE_NONE;
}

/** What the driver takes the queue of number `index` for; QUEUE_NONE behind the last. */
export function driverQueue(link: usize, index: u32): u32 {
  return queueAt(load<u32>(link, DRIVER_LAYOUT), negotiated(link), index);
}

/** What the device takes it for. */
export function deviceQueue(link: usize, index: u32): u32 {
  return queueAt(load<u32>(link, DEVICE_LAYOUT), negotiated(link), index);
}

/** Does the driver have a queue of this kind? */
export function driverHas(link: usize, kind: u32): bool {
  for (let index: u32 = 0; index < QUEUES_MOST; index++) {
    if (driverQueue(link, index) === kind) return true;
  }
  return false;
}

/** What the device takes a queue for that the driver uses as `kind`. */
export function servedAs(link: usize, kind: u32): u32 {
  for (let index: u32 = 0; index < QUEUES_MOST; index++) {
    if (driverQueue(link, index) === kind) return deviceQueue(link, index);
  }
  return QUEUE_NONE;
}
