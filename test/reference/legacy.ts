// The legacy MMU's direct maps in the plain: the host's pages as a Map, sptes as another, and unmapping by a look at every spte instead of a
// reverse map. Memory is never short here. The walks are those of EPT. Source: kvm.md 2.2, 2.3, 2.6, 2.8.

export interface LegacySlot {
  gfn: number;
  pages: number;
  /** The page of the process that backs its first frame. */
  first: number;
  readOnly: boolean;
  logs: boolean;
  dirty: Set<number>;
}

/** What an access takes, as `machine.access` says it. */
export type LegacyFault = "minor" | "writeProtect" | "mmio" | null;

interface LegacySpte {
  page: number;
  writable: boolean;
  /** The host's page was writable, and the slot was, when the entry was made: KVM may let a write through. */
  mayWrite: boolean;
}

/** Entries that are looked at around one that faulted, aligned. */
const GROUP = 8;

export class LegacyModel {
  readonly sptes = new Map<number, LegacySpte>();
  /** The process' page table: the page of zeroes, or a page of its own. */
  readonly host = new Map<number, "zero" | "present">();
  /** Frames whose entry notes that no slot held them. A slot that comes later makes the note stale, and it stays until the next access. */
  readonly mmio = new Set<number>();
  /** Entries mapped along with others, so that a test can tell that there were any. */
  neighbours = 0;

  constructor(readonly slots: Map<number, LegacySlot>) {}

  slotOf(gfn: number): LegacySlot | undefined {
    return [...this.slots.values()].find((slot) => gfn >= slot.gfn && gfn < slot.gfn + slot.pages);
  }

  access(gfn: number, write: boolean): LegacyFault {
    const slot = this.slotOf(gfn);
    const spte = this.sptes.get(gfn);
    if (spte !== undefined && (spte.writable || !write)) return null;
    if (slot === undefined) {
      this.mmio.add(gfn);
      return "mmio";
    }
    // The exit says that the entry is broken and not what the access was: it is handled as a read, and made again.
    if (this.mmio.delete(gfn) && write) {
      this.access(gfn, false);
      return this.access(gfn, true) === "mmio" ? "mmio" : "minor";
    }
    if (write && slot.readOnly) return "mmio";
    if (spte?.mayWrite === true) {
      spte.writable = true;
      this.log(slot, gfn);
      return "writeProtect";
    }
    const page = slot.first + gfn - slot.gfn;
    this.hostFault(page, write);
    const writable = this.host.get(page) === "present" && !slot.readOnly;
    this.sptes.set(gfn, { page, writable, mayWrite: writable });
    if (writable) this.log(slot, gfn);
    this.mapAlong(gfn);
    return "minor";
  }

  private log(slot: LegacySlot, gfn: number): void {
    if (slot.logs) slot.dirty.add(gfn);
  }

  /** An access of the process' own, or on behalf of the guest: a write that finds the page of zeroes takes it from every spte. */
  hostFault(page: number, write: boolean): void {
    const old = this.host.get(page);
    if (old === "present" || (old === "zero" && !write)) return;
    if (old === "zero") this.unmap(page);
    this.host.set(page, write ? "present" : "zero");
  }

  /** Runs of empty entries in the group take what the host has writable, each up to its first gap; a run that begins with one ends it. */
  private mapAlong(faulted: number): void {
    const base = faulted - (faulted % GROUP);
    for (let gfn = base; gfn < base + GROUP; ) {
      const begin = gfn;
      while (gfn < base + GROUP && !this.sptes.has(gfn)) gfn++;
      if (gfn > begin && !this.mapRun(begin, gfn)) return;
      gfn++;
    }
  }

  private mapRun(begin: number, end: number): boolean {
    const slot = this.slotOf(begin);
    if (slot === undefined || slot !== this.slotOf(end - 1) || slot.readOnly || slot.logs) return false;
    for (let gfn = begin; gfn < end; gfn++) {
      const page = slot.first + gfn - slot.gfn;
      if (this.host.get(page) !== "present") return gfn > begin;
      this.sptes.set(gfn, { page, writable: true, mayWrite: true });
      this.mmio.delete(gfn);
      this.neighbours++;
    }
    return true;
  }

  /** The process gives the page back: it is gone from every slot that shows it. */
  dontneed(page: number): void {
    this.host.delete(page);
    this.unmap(page);
  }

  private unmap(page: number): void {
    for (const [gfn, spte] of this.sptes) if (spte.page === page) this.sptes.delete(gfn);
  }

  /** Switches the dirty log on or off. */
  setLog(slot: LegacySlot, logs: boolean): void {
    if (logs && !slot.logs) {
      slot.dirty.clear();
      for (let gfn = slot.gfn; gfn < slot.gfn + slot.pages; gfn++) this.protect(gfn);
    }
    slot.logs = logs;
  }

  /** The frames written since the last time; they are protected again. */
  takeDirty(slot: LegacySlot): number[] {
    const dirty = [...slot.dirty].sort((a, b) => a - b);
    slot.dirty.clear();
    for (const gfn of dirty) this.protect(gfn);
    return dirty;
  }

  private protect(gfn: number): void {
    const spte = this.sptes.get(gfn);
    if (spte !== undefined) spte.writable = false;
  }

  /** A slot goes, and every mapping of the VM with it. */
  deleteSlot(id: number): void {
    this.slots.delete(id);
    this.sptes.clear();
    this.mmio.clear();
  }
}
