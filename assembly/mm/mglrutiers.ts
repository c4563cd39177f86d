// How many times a page of the generation lists was used tells its tier, and what comes back of each tier tells which tiers
// to protect: the feedback loop of get_type_to_scan(), get_tier_idx() and reset_ctrl_pos(). The first tier is the set point; a tier
// whose pages come back more often than those of the first is not evicted. One record a cgroup.
//
// record   0               32            64             96                    128
//          +---------------+-------------+--------------+---------------------+------------------+
//          | refaulted 2×4 | evicted 2×4 | protected 2×4| average refaulted   | average total    |
//          +---------------+-------------+--------------+---------------------+------------------+
//
// The first three count since the oldest generation became the oldest; a new one halves them into the averages.
// Left out: histories of more than one generation (CONFIG_LRU_GEN_STATS).

/** Types of pages: anonymous ones, and those whose owners have given them up, which the kernel lists as file pages. */
export const TYPE_ANON: u32 = 0;
export const TYPE_FILE: u32 = 1;
export const TYPES: u32 = 2;

/** MAX_NR_TIERS. */
export const TIERS: u32 = 4;
/** MIN_LRU_BATCH: fewer refaults than that say nothing. */
export const MIN_LRU_BATCH: u32 = 64;

const COUNTER_BYTES: usize = 4 * 2 * 4;
const REFAULTED: usize = 0;
const EVICTED: usize = COUNTER_BYTES;
const PROTECTED: usize = 2 * COUNTER_BYTES;
const AVERAGE_REFAULTED: usize = 3 * COUNTER_BYTES;
const AVERAGE_TOTAL: usize = 4 * COUNTER_BYTES;
export const TIERS_BYTES: usize = 5 * COUNTER_BYTES;

function at(tiers: usize, type: u32, tier: u32): usize {
  assert(type < TYPES && tier < TIERS);
  return tiers + ((<usize>(type * TIERS + tier)) << 2);
}

/** The tier of a page with `refs` uses beyond the first: log2 of that plus one, rounded up. */
export function tierOf(refs: u32): u32 {
  assert(refs <= TIERS);
  return refs === 0 ? 0 : 32 - <u32>clz(refs);
}

export function tierRefaulted(tiers: usize, type: u32, tier: u32): void {
  const counter = at(tiers, type, tier);
  store<u32>(counter, load<u32>(counter, REFAULTED) + 1, REFAULTED);
}

export function tierEvicted(tiers: usize, type: u32, tier: u32): void {
  const counter = at(tiers, type, tier);
  store<u32>(counter, load<u32>(counter, EVICTED) + 1, EVICTED);
}

export function tierProtected(tiers: usize, type: u32, tier: u32): void {
  const counter = at(tiers, type, tier);
  store<u32>(counter, load<u32>(counter, PROTECTED) + 1, PROTECTED);
}

/** avg_refaulted and avg_total as a dump has them. */
export function tierAverageRefaulted(tiers: usize, type: u32, tier: u32): u32 {
  return load<u32>(at(tiers, type, tier), AVERAGE_REFAULTED);
}

export function tierAverageTotal(tiers: usize, type: u32, tier: u32): u32 {
  return load<u32>(at(tiers, type, tier), AVERAGE_TOTAL);
}

// Pages of the tier that left or would have left the oldest generation, now.
function current(counter: usize): u32 {
  return load<u32>(counter, EVICTED) + load<u32>(counter, PROTECTED);
}

/** Another generation becomes the oldest of `type`: reset_ctrl_pos(). */
export function tiersCarryOver(tiers: usize, type: u32): void {
  for (let tier: u32 = 0; tier < TIERS; tier++) {
    const counter = at(tiers, type, tier);
    const refaulted = load<u32>(counter, AVERAGE_REFAULTED) + load<u32>(counter, REFAULTED);
    const total = load<u32>(counter, AVERAGE_TOTAL) + current(counter);
    store<u32>(counter, refaulted / 2, AVERAGE_REFAULTED);
    store<u32>(counter, total / 2, AVERAGE_TOTAL);
    store<u32>(counter, 0, REFAULTED);
    store<u32>(counter, 0, EVICTED);
    store<u32>(counter, 0, PROTECTED);
  }
}

// positive_ctrl_err(): the tier at `other` may be evicted; those of its pages that come back are few, or no more, in proportion and
// after the gains, than those of the set point.
function evictable(setPoint: usize, setGain: u32, other: usize, gain: u32): bool {
  const refaulted = load<u32>(other, AVERAGE_REFAULTED) + load<u32>(other, REFAULTED);
  if (refaulted < MIN_LRU_BATCH) return true;
  const setRefaulted = load<u32>(setPoint, AVERAGE_REFAULTED) + load<u32>(setPoint, REFAULTED);
  const setTotal = load<u32>(setPoint, AVERAGE_TOTAL) + current(setPoint);
  const total = load<u32>(other, AVERAGE_TOTAL) + current(other);
  return (
    <u64>refaulted * (<u64>setTotal + MIN_LRU_BATCH) * setGain <= (<u64>setRefaulted + 1) * <u64>total * gain
  );
}

/** The highest tier of `type` that may be evicted. The gain of 1 to 2 leaves room for fluctuations. */
export function tierLimit(tiers: usize, type: u32): u32 {
  return limit(tiers, at(tiers, type, 0), 1, type, 2);
}

function limit(tiers: usize, setPoint: usize, setGain: u32, type: u32, gain: u32): u32 {
  let tier: u32 = 1;
  while (tier < TIERS && evictable(setPoint, setGain, at(tiers, type, tier), gain)) tier++;
  return tier - 1;
}

/** The type of which less comes back, weighted by swappiness. Only when both have an oldest generation of the same age. */
export function tiersType(tiers: usize, swappiness: u32): u32 {
  const file = 200 - swappiness;
  return evictable(at(tiers, TYPE_ANON, 0), swappiness, at(tiers, TYPE_FILE, 0), file)
    ? TYPE_FILE
    : TYPE_ANON;
}

/** The highest tier of `type`, which tiersType() chose, that may be evicted: measured against the other type. */
export function tierLimitAcross(tiers: usize, type: u32, swappiness: u32): u32 {
  const gain = type === TYPE_ANON ? swappiness : 200 - swappiness;
  return limit(tiers, at(tiers, TYPE_FILE - type, 0), 200 - gain, type, gain);
}
