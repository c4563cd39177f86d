// Memory management of a host under one guest that does not fit, in plain TypeScript over typed arrays: first touches, swap-ins past the swap cache, evictions by a clock at the
// limit of a cgroup, which charges page by page. It tells the secondary MMU what it unmaps.
//
// pte  31       4   3   2   1   0        links    next, previous: two words a page, the policy's own node behind them
//      +--------+---+---+---+---+
//      | frame  | D | A | W | P |
//      | slot   |   |   | X | 0 |        X: the page was exclusive
//      +--------+---+---+---+---+

import { PlainSwap } from "../swap.js";
import {
  ALLOC,
  CPU,
  MAJOR,
  MINOR,
  PAGE_ALLOC,
  PAGE_FREE,
  PlainAccounts,
  RECLAIM,
  RECLAIM_BEGIN,
  RECLAIM_END,
  SPURIOUS,
  STALL_RECLAIM,
  STALL_SWAP_IN,
  SWAP_READPAGE,
  SWAP_WRITEPAGE,
  SWAPCACHE_ADD,
  type WholeCosts,
  WRITE_FOLIO,
  WRITE_PROTECT,
} from "./accounts.js";
import { EXCLUSIVE, INDEX, MAPS, MOVABLE, PlainFrames, REFS, SHIFT, UNMOVABLE, UPTODATE } from "./frames.js";
import { PlainRandom } from "./random.js";

export const PRESENT = 1;
export const WRITABLE = 2;
export const ACCESSED = 4;
export const DIRTY = 8;
export const ENTRY_SHIFT = 4;

/** Of a page that the policy has in memory; the lowest bit says that it was used. */
export const RESIDENT = 0x80;
const STREAM_SWAP = 0x4000_0000;

export interface WholeGuest {
  pages: number;
  /** memory.max in pages; 128 and more, for the slot caches would be given up with fewer. */
  limit: number;
  /** Of the host. */
  frames: number;
  /** Slots of its swap device; never more than half of them are in use. */
  slots: number;
  tlbEntries: number;
  seed: number;
  costs: WholeCosts;
}

export abstract class PlainMemory extends PlainAccounts {
  protected readonly ptes: Int32Array;
  protected readonly frames: PlainFrames;
  protected readonly slots: PlainSwap;
  protected readonly states: Uint8Array;
  protected resident = 0;
  protected peakResident = 0;
  protected swapped = 0;
  protected scanned = 0;
  protected reclaimed = 0;
  protected swapOuts = 0;
  protected swapIns = 0;
  protected reads = 0;
  protected writes = 0;
  protected busyNs = 0;
  protected tablesTaken = 0;
  /** What the fault under way needed. */
  protected kind = SPURIOUS;
  /** Tables of the process are there. */
  private readonly processTables: Uint8Array;
  private charged = 0;
  private readonly links: Int32Array;
  private hand: number;
  private used = 0;

  constructor(protected readonly guest: WholeGuest) {
    super(guest.costs);
    const { pages, limit, frames, slots, seed } = guest;
    if (limit < 128) throw new Error("a limit of less than 128 pages");
    this.ptes = new Int32Array(pages);
    this.frames = new PlainFrames(frames);
    const random = new PlainRandom(seed, STREAM_SWAP);
    const start = 1 + random.below(slots);
    this.slots = new PlainSwap(slots + 1, false, start, (below) => random.below(below));
    this.processTables = new Uint8Array(Math.ceil(pages / 512));
    this.states = new Uint8Array(pages);
    this.links = new Int32Array(2 * (pages + 1));
    this.links.fill(pages, 2 * pages);
    this.hand = pages;
    // The upper levels of the process' tables, and KVM's root.
    for (let table = Math.ceil(pages / 2 ** 18) + 3; table > 0; table--) this.takeTable();
    this.frames.zoneMinFree = this.frames.zoneFree;
    this.events.fill(0); // before anything is traced
  }

  /** invalidate_range_start of the notifier for one page. */
  protected abstract unmapBegin(gfn: number): void;
  /** invalidate_range_end */
  protected abstract unmapEnd(): void;

  override begin(): void {
    super.begin();
    this.scanned = this.reclaimed = this.swapOuts = this.swapIns = this.reads = this.writes = this.busyNs = 0;
    this.peakResident = this.resident;
    const { frames } = this;
    frames.refaults = frames.activatedRefaults = frames.restored = 0;
  }

  /** get_user_pages(): the page is there for the access, with a reference of the caller's. Returns its pte. */
  protected pageOf(gfn: number, write: number): number {
    const pte = this.ptes[gfn]!;
    if ((pte & PRESENT) === 0) return pte === 0 ? this.firstTouch(gfn, write) : this.swapIn(gfn, pte, write);
    let now = pte | ACCESSED;
    if (write) {
      // do_wp_page(): it belongs to this process alone.
      if ((pte & WRITABLE) === 0) {
        this.frames.changed(1);
        this.kind = WRITE_PROTECT;
      }
      now |= WRITABLE | DIRTY;
    }
    this.ptes[gfn] = now;
    this.frames.records[((pte >> ENTRY_SHIFT) << SHIFT) + REFS]!++;
    return now;
  }

  private firstTouch(gfn: number, write: number): number {
    if (write === 0)
      throw new Error("a read of a page that was never written: the page of zeroes is left out");
    const { frames, events } = this;
    if (this.processTables[gfn >> 9] === 0) {
      this.takeTable();
      this.processTables[gfn >> 9] = 1;
    }
    const frame = frames.take(MOVABLE);
    events[PAGE_ALLOC]!++;
    if (this.charged === this.guest.limit) {
      this.stall(STALL_RECLAIM);
      this.evict();
      this.stall(0);
    }
    this.charged++;
    this.spend(ALLOC, this.costs.minorFaultNs);
    frames.add(frame);
    frames.changed(3); // PGPGIN, PGFAULT, NR_ANON_MAPPED
    this.resident++;
    if (this.resident > this.peakResident) this.peakResident = this.resident;
    this.kind = MINOR;
    return this.map(gfn, frame, PRESENT | WRITABLE | ACCESSED | DIRTY);
  }

  // do_swap_page() past the swap cache.
  private swapIn(gfn: number, pte: number, write: number): number {
    const { frames, slots, events } = this;
    const { swapInCpuNs, readNs } = this.costs;
    this.stall(STALL_SWAP_IN);
    const frame = frames.take(MOVABLE);
    events[PAGE_ALLOC]!++;
    if (this.charged === this.guest.limit) this.evict();
    this.charged++;
    this.resident++;
    this.swapped--;
    if (this.resident > this.peakResident) this.peakResident = this.resident;
    this.spend(CPU, swapInCpuNs);
    events[SWAP_READPAGE]!++;
    this.reads++;
    this.busyNs += readNs;
    this.spend(CPU, readNs);
    this.swapIns++;

    const slot = pte >> ENTRY_SHIFT;
    frames.refault(frame, slots.shadow(slot), slots.available !== 0);
    const freed = slots.drop(slot);
    if (freed !== 0) frames.changed(freed);
    frames.add(frame);
    frames.changed(4); // PGPGIN, PGMAJFAULT, PGFAULT, NR_ANON_MAPPED
    this.kind = MAJOR;
    const mapped = this.map(gfn, frame, PRESENT | ACCESSED | (write ? WRITABLE | DIRTY : 0));
    this.stall(0);
    return mapped;
  }

  // The pte takes over the frame's first reference, the caller has another.
  private map(gfn: number, frame: number, bits: number): number {
    const { records } = this.frames;
    const at = frame << SHIFT;
    records[at]! |= UPTODATE | EXCLUSIVE;
    records[at + INDEX] = gfn;
    records[at + MAPS] = 1;
    records[at + REFS]!++;
    const pte = (frame << ENTRY_SHIFT) | bits;
    this.ptes[gfn] = pte;
    return pte;
  }

  // The page that the policy chooses goes to swap.
  private evict(): void {
    const { frames, slots, events, ptes } = this;
    const { reclaimScanPageNs, swapOutCpuNs, writeNs } = this.costs;
    events[RECLAIM_BEGIN]!++;
    const frame = this.choose();
    this.spend(RECLAIM, reclaimScanPageNs);
    frames.drain();
    frames.isolate(frame);
    this.scanned++;
    const slot = slots.take();
    events[SWAPCACHE_ADD]!++;

    const gfn = frames.records[(frame << SHIFT) + INDEX]!;
    this.unmapBegin(gfn);
    this.spend(RECLAIM, swapOutCpuNs);
    ptes[gfn] = (slot << ENTRY_SHIFT) | (frames.records[frame << SHIFT]! & EXCLUSIVE ? WRITABLE : 0);
    this.unmapEnd();

    this.swapOuts++;
    events[SWAP_WRITEPAGE]!++;
    events[WRITE_FOLIO]!++;
    this.writes++;
    this.busyNs += writeNs;
    this.spend(RECLAIM, writeNs);
    slots.evicted(slot, frames.shadow(frame));
    frames.free(frame);
    events[PAGE_FREE]!++;
    frames.changed(7); // MEMCG_SWAP, NR_SWAPCACHE, NR_ANON_MAPPED, NR_WRITEBACK twice, NR_SWAPCACHE, PGPGOUT
    this.charged--;
    this.resident--;
    this.swapped++;
    this.reclaimed++;
    events[RECLAIM_END]!++;
  }

  // The clock: the hand clears bits until it finds a page that was not used since it came by. Returns the page's frame.
  private choose(): number {
    const { states, links, ptes } = this;
    const own = this.guest.pages;
    while (this.used > 0) {
      let { hand } = this;
      while (hand === own || states[hand] !== RESIDENT) {
        if (hand !== own) states[hand] = RESIDENT;
        hand = links[2 * hand + 1]!;
      }
      const next = links[2 * hand]!;
      const previous = links[2 * hand + 1]!;
      this.hand = previous;
      states[hand] = 0;
      this.used--;
      links[2 * previous] = next;
      links[2 * next + 1] = previous;
      const pte = ptes[hand]!;
      if (pte & PRESENT) return pte >> ENTRY_SHIFT;
    }
    throw new Error("the policy knows of no page");
  }

  /** A page comes to the policy: right behind the hand, where it is looked at last. */
  protected enter(page: number): void {
    const { links, hand } = this;
    const next = links[2 * hand]!;
    this.states[page] = RESIDENT;
    this.used++;
    links[2 * page] = next;
    links[2 * page + 1] = hand;
    links[2 * hand] = page;
    links[2 * next + 1] = page;
  }

  protected takeTable(): void {
    this.frames.take(UNMOVABLE);
    this.events[PAGE_ALLOC]!++;
    this.tablesTaken++;
  }
}
