// Reclaim in the reference model: how many pages are looked at (mm.md 4.3), one cgroup's lists (4.2), rounds of rising urgency and
// kswapd (4.5). With anonymous pages only: the file lists count as empty ones.

import { evict, young } from "./evict.js";
import type { Host } from "./host.js";
import { Plug } from "./plug.js";
import type { Actor, Process } from "./time.js";
import type { Page, Vm } from "./vm.js";
import { flushCounters, grow } from "./workingset.js";

const BATCH = 32;
const DEF_PRIORITY = 12;
export const MAX_RECLAIM_RETRIES = 16;

/** One reclaim: who it is for, how far it has come. */
interface Control {
  kswapd: boolean;
  /** The cgroup over its limit, null for the host. */
  memcg: Vm | null;
  target: number;
  priority: number;
  /** Deactivate whatever the ratio says. */
  force: boolean;
  mayDeactivate: boolean;
  fileIsTiny: boolean;
  skippedDeactivate: boolean;
  /** What reclaim has cost when the round began. */
  anonCost: number;
  written: number;
  scanned: number;
  reclaimed: number;
}

function control(kswapd: boolean, memcg: Vm | null, target: number): Control {
  return {
    kswapd,
    memcg,
    target,
    priority: DEF_PRIORITY,
    force: false,
    mayDeactivate: false,
    fileIsTiny: false,
    skippedDeactivate: false,
    anonCost: 0,
    written: 0,
    scanned: 0,
    reclaimed: 0,
  };
}

// Below 1 GiB of pages the ratio is 1; no scenario of the tests has more.
function inactiveIsLow(inactive: number, active: number): boolean {
  return inactive < active;
}

/** Pages to look at on a list of `size` pages. */
function scanCount(host: Host, size: number, { memcg, priority, fileIsTiny, anonCost }: Control): number {
  if (host.swap.free === 0) return 0;
  if (memcg !== null && host.swappiness === 0) return 0;
  const pages = Math.floor(size / 2 ** priority);
  if (priority === 0 && host.swappiness > 0) return pages;
  if (fileIsTiny) return pages;
  const fileCost = 0;
  const total = anonCost + fileCost;
  const anon = total + anonCost;
  const file = total + fileCost;
  const anonShare = Math.floor((host.swappiness * (anon + file + 1)) / (anon + 1));
  const fileShare = Math.floor(((200 - host.swappiness) * (anon + file + 1)) / (file + 1));
  return Math.floor((pages * anonShare) / Math.max(anonShare + fileShare, 1));
}

/** shrink_node(): one pass over the lists of every cgroup concerned. */
function* round(host: Host, actor: Actor, sc: Control): Process {
  const vms = sc.memcg === null ? host.vms : [sc.memcg];
  const inactive = vms.reduce((sum, vm) => sum + vm.inactive.length, 0);
  if (host.stats.flush()) flushCounters(host);
  const lruvec = sc.memcg?.lruvec ?? host.lruvec;
  const refaulted = lruvec.activated !== lruvec.snapshot;
  sc.mayDeactivate = sc.force || refaulted || inactiveIsLow(lruvec.inactive, lruvec.active);
  sc.anonCost = lruvec.anonCost;
  const few =
    host.frames.free <= host.frames.zone.watermarks.of("high") && Math.floor(inactive / 2 ** sc.priority) > 0;
  sc.fileIsTiny = sc.memcg === null && few && !sc.mayDeactivate;
  for (const vm of vms) {
    const freed = yield* shrink(host, actor, vm, sc);
    if (freed > 0) host.kswapdFailures = 0;
    if (sc.kswapd) host.counts.reclaimedKswapd += freed;
    else host.counts.reclaimedDirect += freed;
    sc.reclaimed += freed;
  }
  // Other nodes have nothing on their lists, but the counters are brought up to date before each.
  for (let node = 1; node < host.numaNodes && !sc.kswapd; node++) if (host.stats.flush()) flushCounters(host);
}

/** shrink_lruvec(): in batches of 32, first the inactive list, then the active one's share. */
function* shrink(host: Host, actor: Actor, vm: Vm, sc: Control): Process<number> {
  let inactive = scanCount(host, vm.inactive.length, sc);
  let active = scanCount(host, vm.active.length, sc);
  // Direct reclaim for the host does its whole share at the first priority.
  const wholeShare = !sc.kswapd && sc.memcg === null && sc.priority === DEF_PRIORITY;
  const plug = new Plug();
  let freed = 0;
  while (inactive > 0) {
    const wanted = Math.min(inactive, BATCH);
    inactive -= wanted;
    freed += yield* shrinkInactive(host, actor, vm, sc, wanted, plug);
    const share = Math.min(active, BATCH);
    active -= share;
    let aged = 0;
    if (share > 0 && sc.mayDeactivate) aged = shrinkActive(host, actor, vm, share);
    else if (share > 0) sc.skippedDeactivate = true;
    if (aged > 0) yield "step";
    if (freed >= sc.target && !wholeShare) break;
  }
  yield* writeOut(host, actor, plug);
  if (inactiveIsLow(vm.lruvec.inactive, vm.lruvec.active) && shrinkActive(host, actor, vm, BATCH) > 0)
    yield "step";
  return freed;
}

function* shrinkInactive(
  host: Host,
  actor: Actor,
  vm: Vm,
  sc: Control,
  wanted: number,
  plug: Plug,
): Process<number> {
  host.lru.drain(actor.cpu!.index);
  const taken = vm.inactive.splice(-wanted).reverse();
  for (const page of taken) page.isolated = true;
  sc.scanned += taken.length;
  host.counts.scanned += taken.length;
  for (let each = 0; each < 2; each++) host.stats.changed(host.cpu, taken.length); // NR_INACTIVE_ANON, PGSCAN
  actor.spend("reclaim", taken.length * host.costs.reclaimScanPageNs);
  if (taken.length > 0) yield "step";

  let freed = 0;
  sc.written = 0;
  const kept: Page[] = [];
  for (const page of taken) {
    const outcome = yield* evict(host, actor, page, sc);
    if (outcome === "freed") {
      freed++;
      continue;
    }
    kept.push(page);
    if (outcome !== "write") continue;
    if (plug.fullFor(page.slot!)) {
      yield* writeOut(host, actor, plug);
      yield "step";
    }
    plug.add(page);
  }
  host.stats.changed(host.cpu, freed); // PGPGOUT
  for (const page of kept) {
    page.isolated = false;
    if (host.held(page)) {
      if (page.active) grow(host, vm);
      vm.addToList(page);
      host.stats.events(host.cpu, 1);
    }
    host.freeUnused(page);
  }
  host.stats.changed(host.cpu, freed); // PGSTEAL
  if (taken.length > 0) {
    vm.lruvec.noteCost(sc.written);
    host.lruvec.noteCost(sc.written);
  }
  return freed;
}

/** blk_finish_plug(): a write without a free tag makes the reclaimer wait. */
function* writeOut(host: Host, actor: Actor, plug: Plug): Process {
  for (const page of plug.take()) {
    yield* host.tag(page.slot!.area.device, actor);
    submitWrite(host, page, actor.clock, actor.cpu!.index);
  }
}

// The end of the write: to the tail, to be freed by the next scan, unless somebody wants the page again (mm.md 3.8).
function submitWrite(host: Host, page: Page, now: number, cpu: number): void {
  const { device } = page.slot!.area;
  const served = (time: number): void => {
    const rotate = page.reclaim && page.vm.lists(page) && !page.locked && !page.dirty;
    page.writeback = false;
    page.reclaim = false;
    host.writeback--;
    host.stats.events(cpu, 1); // NR_WRITEBACK
    if (rotate) host.lru.rotate(page, cpu);
    host.complete(device, time);
    for (const actor of host.throttled.splice(0)) host.wake(actor, time);
  };
  device.submit(now, { write: true, served });
}

/** shrink_active_list(): everything is deactivated; the look clears the accessed bits. */
function shrinkActive(host: Host, actor: Actor, vm: Vm, wanted: number): number {
  host.lru.drain(actor.cpu!.index);
  const taken = vm.active.splice(-wanted).reverse();
  for (const page of taken) {
    if (page.mapped) young(host, actor, page);
    page.active = false;
    page.workingset = true;
    vm.addToList(page);
  }
  for (let each = 0; each < 2; each++) host.stats.changed(host.cpu, taken.length); // NR_ACTIVE_ANON, PGREFILL
  host.stats.events(host.cpu, taken.length); // NR_INACTIVE_ANON
  host.stats.changed(host.cpu, taken.length); // PGDEACTIVATE
  actor.spend("reclaim", taken.length * host.costs.reclaimScanPageNs);
  return taken.length;
}

/** Direct reclaim of 32 pages for the host or for a cgroup. Returns the pages freed. */
export function* directReclaim(host: Host, actor: Actor, memcg: Vm | null): Process<number> {
  const sc = control(false, memcg, BATCH);
  for (const force of [false, true]) {
    sc.force = force;
    for (sc.priority = DEF_PRIORITY; sc.priority >= 0; sc.priority--) {
      yield* round(host, actor, sc);
      if (sc.reclaimed >= sc.target) break;
    }
    const lruvec = memcg?.lruvec ?? host.lruvec;
    lruvec.snapshot = lruvec.activated;
    if (sc.reclaimed > 0) return sc.reclaimed;
    host.stats.flushed();
    flushCounters(host);
    if (!sc.skippedDeactivate) break;
  }
  if (host.writeback > 0) yield* throttle(host, actor);
  return 0;
}

// Nothing could be freed, but a write is under way: wait for it.
function* throttle(host: Host, actor: Actor): Process {
  host.throttled.push(actor);
  actor.sleep("reclaim");
  yield "sleep";
}

/** Wakes kswapd if it sleeps and has not given up. */
export function wakeKswapd(host: Host, time: number): void {
  if (!host.kswapdAsleep || host.kswapdFailures >= MAX_RECLAIM_RETRIES) return;
  host.kswapdAsleep = false;
  host.wakeKswapd(time);
}

/** kswapd's life: each time it is woken it reclaims until HIGH is free, or until it fails sixteen times. */
export function* kswapd(host: Host, actor: Actor): Process {
  for (;;) {
    yield* balance(host, actor);
    host.kswapdAsleep = true;
    actor.sleep("reclaim");
    yield "sleep";
  }
}

// balance_pgdat(), run after run. The boost that a run has found is worked off when it ends. A zone that lacks nothing but its boost
// would be reclaimed from without swapping: of anonymous pages that is nothing.
function* balance(host: Host, actor: Actor): Process {
  const { zone } = host.frames;
  zone.reclaimActive = true;
  for (let again = true; again; ) {
    const { boost } = zone.watermarks;
    const reclaimed = yield* balanceOnce(host, actor);
    zone.watermarks.boost -= boost;
    host.lruvec.snapshot = host.lruvec.activated;
    if (host.frames.above("high")) {
      again = false;
    } else if (reclaimed > 0) {
      yield "step";
    } else if (host.writeback > 0) {
      yield* throttle(host, actor);
    } else {
      host.kswapdFailures++;
      again = host.kswapdFailures < MAX_RECLAIM_RETRIES;
      if (again) yield "step";
    }
  }
  zone.reclaimActive = false;
}

// Rounds of rising urgency until HIGH is free. Returns the pages freed.
function* balanceOnce(host: Host, actor: Actor): Process<number> {
  const { frames } = host;
  let reclaimed = 0;
  for (let priority = DEF_PRIORITY; priority >= 1 && !frames.above("high"); ) {
    const target = Math.max(frames.zone.watermarks.of("high"), BATCH);
    const sc = control(true, null, target);
    sc.priority = priority;
    yield* round(host, actor, sc);
    reclaimed += sc.reclaimed;
    if (sc.scanned < target || sc.reclaimed === 0) priority--;
  }
  return reclaimed;
}
