// What a VM is made of in the reference model: pages, the two page tables as Maps, the two lists of its cgroup as arrays (head
// first), the notifier's sequence count, vCPUs with their TLBs, and counters.

import type { ResolvedScenario } from "#dist/scenario.js";
import { MmuLock } from "./lock.js";
import type { Slot } from "./swaparea.js";
import { Actor, STAGES, type Stage } from "./time.js";
import { Window } from "./window.js";
import { Lruvec } from "./workingset.js";

/** Cheapest first; an access is counted by the most expensive thing that it needed. */
export const KINDS = ["spurious", "writeProtect", "minor", "major"] as const;
export type Kind = (typeof KINDS)[number];

/** A frame that holds, or is about to hold, a guest page. */
export class Page {
  /** It has a slot: it is in the swap cache. */
  slot: Slot | null = null;
  mapped = false;
  active = false;
  referenced = false;
  /** Was active before it was deactivated, or before it was evicted. */
  workingset = false;
  dirty = false;
  writeback = false;
  /** Reclaim waits for the end of its write. */
  reclaim = false;
  locked = false;
  /** Read along with another page, and not wanted by anybody since. */
  readahead = false;
  /** On a reclaimer's own list. */
  isolated = false;
  /** Per-CPU batches that hold it. */
  batches = 0;
  /** Faults that hold it. */
  holders = 0;
  /** Actors that sleep until it is unlocked, and how to wake them. */
  readonly waiters: Actor[] = [];

  constructor(
    readonly pfn: number,
    readonly vm: Vm,
    /** Of a page that was read along by its slot only its fault tells. */
    public gfn: number,
  ) {}

  /** It stands for the page of zeroes where that is mapped: nothing is charged, listed or freed. */
  get zero(): boolean {
    return this.pfn === ZERO_PFN;
  }
}

/** The shared page of zeroes, which is none of the host's frames. */
export const ZERO_PFN = 1;

/** A page in the host's page table. */
export interface Present {
  page: Page;
  slot: null;
  writable: boolean;
  accessed: boolean;
  dirty: boolean;
}

/** An entry of the host's page table: a page, or the slot that it has been moved to. */
export type Pte = Present | { page: null; slot: Slot };

export interface Spte {
  page: Page;
  writable: boolean;
  accessed: boolean;
  dirty: boolean;
}

/** Least recently used sets of (gfn, dirty); set = gfn modulo the number of sets, newest first. */
export class Tlb {
  private sets: { gfn: number; dirty: boolean }[][] = [];

  constructor(
    private readonly entries: number,
    private readonly ways: number,
  ) {
    this.flush();
  }

  flush(): void {
    this.sets = Array.from({ length: this.entries / this.ways }, () => []);
  }

  private setOf(gfn: number): { gfn: number; dirty: boolean }[] {
    return this.sets[gfn % this.sets.length]!;
  }

  /** A write needs an entry that knows of the page's dirty bit. */
  hit(gfn: number, write: boolean): boolean {
    const set = this.setOf(gfn);
    const found = set.findIndex((entry) => entry.gfn === gfn && (entry.dirty || !write));
    if (found < 0) return false;
    set.unshift(...set.splice(found, 1));
    return true;
  }

  fill(gfn: number, dirty: boolean): void {
    const set = this.setOf(gfn);
    const same = set.findIndex((entry) => entry.gfn === gfn);
    if (same >= 0) set.splice(same, 1);
    set.unshift({ gfn, dirty });
    if (set.length > this.ways) set.pop();
  }
}

/** An access that has faulted and has not been repeated with success. */
export interface Pending {
  since: number;
  kind: Kind;
}

export class Vcpu extends Actor {
  readonly tlb: Tlb;
  pending: Pending | null = null;
  inFault = false;
  flushRequested = false;
  blockedSeen = 0;
  position = 0;
  /** Frames set aside for page tables. */
  readonly spare: number[] = [];

  constructor(
    id: number,
    readonly vm: Vm,
    readonly stream: Uint32Array,
    readonly thinkNs: number,
    tlb: { entries: number; ways: number },
  ) {
    super(id);
    this.tlb = new Tlb(tlb.entries, tlb.ways);
  }

  needed(kind: Kind): void {
    const pending = this.pending!;
    if (KINDS.indexOf(kind) > KINDS.indexOf(pending.kind)) pending.kind = kind;
  }
}

export class FaultCount {
  count = 0;
  sumNs = 0;
  readonly stages = new Map<Stage, number>(STAGES.map((stage) => [stage, 0]));
}

export class Vm {
  readonly vcpus: Vcpu[] = [];
  readonly mmuLock: MmuLock;
  /** Pages charged: resident ones, those of the swap cache, and what `memcg` adds. */
  usage: number;
  readonly inactive: Page[] = [];
  readonly active: Page[] = [];
  readonly lruvec = new Lruvec();
  readonly ptes = new Map<number, Pte>();
  /** Leaf tables of the host's page table, by gfn / 512. */
  readonly leafTables = new Set<number>();
  readonly sptes = new Map<number, Spte>();
  /** KVM's tables below the root, as "level:index". */
  readonly tdpTables = new Set<string>();
  /** The window of pages read ahead by address. */
  readonly window = new Window(null);
  sequence = 0;
  invalidating = 0;
  private from = 0;
  private to = 0;
  readonly faults = new Map<Kind, FaultCount>(KINDS.map((kind) => [kind, new FaultCount()]));
  readonly counts = {
    accesses: 0,
    blockedNs: 0,
    unmapped: 0,
    aged: 0,
    young: 0,
    flushes: 0,
    retries: 0,
    tlbMisses: 0,
  };

  constructor(
    readonly id: number,
    readonly pages: number,
    readonly max: number,
    readonly memcg: ResolvedScenario["vms"][number]["memcg"],
    resume: (actor: Actor) => void,
  ) {
    this.usage = memcg.overheadPages;
    this.mmuLock = new MmuLock(resume);
  }

  /** Page tables of that kind are charged. */
  charges(table: "process" | "kvm"): boolean {
    return this.memcg.chargeTables && (table === "process" || this.memcg.chargeKvmTables);
  }

  /** Puts a page on the list that it belongs to. */
  addToList(page: Page): void {
    (page.active ? this.active : this.inactive).unshift(page);
  }

  /** The page is on one of the lists. */
  lists(page: Page): boolean {
    return this.inactive.includes(page) || this.active.includes(page);
  }

  removeFromList(page: Page): void {
    for (const list of [this.inactive, this.active]) {
      if (list.includes(page)) list.splice(list.indexOf(page), 1);
    }
  }

  /** The pte of `gfn` maps the page from now on. */
  map(page: Page, gfn: number, write: boolean, writable: boolean): void {
    page.gfn = gfn;
    page.mapped = true;
    this.ptes.set(gfn, { page, slot: null, writable, accessed: true, dirty: write });
  }

  /** The swap slot that the pte of `gfn` holds. */
  swappedTo(gfn: number): Slot | null {
    return this.ptes.get(gfn)?.slot ?? null;
  }

  /** KVM's tables that are missing on the way to `gfn`, nearest to the root first. */
  missingTables(gfn: number): string[] {
    const way = [27, 18, 9].map((shift) => `${shift}:${Math.floor(gfn / 2 ** shift)}`);
    return way.filter((table) => !this.tdpTables.has(table));
  }

  /** invalidate_range_start: overlapping invalidations grow to their hull. */
  openRange(gfn: number): void {
    this.from = this.invalidating === 0 ? gfn : Math.min(this.from, gfn);
    this.to = this.invalidating === 0 ? gfn : Math.max(this.to, gfn);
    this.invalidating++;
  }

  closeRange(): void {
    this.sequence++;
    this.invalidating--;
  }

  /** mmu_invalidate_retry_gfn() */
  mustRetry(sequence: number, gfn: number): boolean {
    if (this.invalidating > 0 && gfn >= this.from && gfn <= this.to) return true;
    return this.sequence !== sequence;
  }
}
