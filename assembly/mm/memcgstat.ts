import { arenaTake, PART_RECORDS } from "../memory/arena";
import { mmMemcgStats, mmSpace, mmSpaces, setMmMemcgStats } from "./instance";
import { activePages, givenUpPages, inactivePages, lruvecOf } from "./lrusize";
import { lruvecFlush } from "./lruvec";
import { swapCpus } from "./swapstate";

// When the counters of cgroups are brought up to date: mem_cgroup_flush_stats() and memcg_rstat_updated(). Reclaim compares sizes of
// lists as these counters have them (lruvec.ts), and they lag behind: a flush does something only when the CPUs have noted enough
// changes since the last one, of whatever counter of whatever cgroup. Each change is noted where the kernel has it.
// Left out: the flush every two seconds; changes by pages of files, of the kernel's own and by advice; slots that go back when the
// caches are given up.
//
// record   0        4
//          +--------+-----------+
//          | enough | changes[] |   one a CPU: changes since it last added to `enough`
//          +--------+-----------+

/** MEMCG_CHARGE_BATCH: a CPU adds to `enough` when it has noted more changes than that. */
const BATCH: u32 = 64;
const CHANGES: usize = 4;

/** Takes the record of a host of `cpus` CPUs. False when memory is exhausted. */
export function memcgStatsCreate(mm: usize, cpus: u32): bool {
  const stats = arenaTake(PART_RECORDS, CHANGES + ((<u64>cpus) << 2));
  if (stats === 0) return false;
  setMmMemcgStats(mm, stats);
  return true;
}

/** One counter has changed by `pages`, on `cpu`. */
export function memcgChanged(mm: usize, cpu: u32, pages: u32): void {
  const at = mmMemcgStats(mm) + ((<usize>cpu) << 2);
  const changes = load<u32>(at, CHANGES) + pages;
  if (changes <= BATCH) {
    store<u32>(at, changes, CHANGES);
    return;
  }
  store<u32>(at, 0, CHANGES);
  add(mm, changes / BATCH);
}

/** `events` changes by one page each, one after another, at most 64. */
export function memcgEvents(mm: usize, cpu: u32, events: u32): void {
  assert(events <= BATCH);
  const at = mmMemcgStats(mm) + ((<usize>cpu) << 2);
  const changes = load<u32>(at, CHANGES) + events;
  store<u32>(at, changes <= BATCH ? changes : changes - (BATCH + 1), CHANGES);
  if (changes > BATCH) add(mm, 1);
}

/** memcgEvents() again and again: `events` in all. */
export function memcgEventsMany(mm: usize, cpu: u32, events: u32): void {
  const at = mmMemcgStats(mm) + ((<usize>cpu) << 2);
  const changes = load<u32>(at, CHANGES) + events;
  store<u32>(at, changes % (BATCH + 1), CHANGES);
  for (let full = changes / (BATCH + 1); full > 0; full--) add(mm, 1);
}

function add(mm: usize, enough: u32): void {
  const stats = mmMemcgStats(mm);
  if (load<u32>(stats) <= swapCpus(mm)) store<u32>(stats, load<u32>(stats) + enough);
}

/** mem_cgroup_flush_stats(): brings the counters of all cgroups up to date, if enough has changed. */
export function memcgFlush(mm: usize): void {
  if (load<u32>(mmMemcgStats(mm)) > swapCpus(mm)) memcgFlushNow(mm);
}

/** Brings the counters of all cgroups up to date. */
export function memcgFlushNow(mm: usize): void {
  store<u32>(mmMemcgStats(mm), 0);
  flush(mm, 0);
  for (let id: u32 = 0; id < mmSpaces(mm); id++) flush(mm, mmSpace(mm, id));
}

function flush(mm: usize, space: usize): void {
  lruvecFlush(lruvecOf(mm, space), inactivePages(mm, space), activePages(mm, space), givenUpPages(mm, space));
}
