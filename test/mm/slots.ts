// Swap slots on their own for the tests of assembly/mm: areas on a fresh core, and beside them a plain model of what they must hold.

import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { Core } from "#dist/core.js";
import type { Call } from "./zones.js";

const TYPE_SHIFT = 27;
const CLUSTER_SLOTS = 512;
const HAS_CACHE = 0x40;
const CONTINUED = 0x80;
const DIGIT = 63;
const SLOTS_AT_A_TIME = 64;
const NONE = -1;

export interface AreaShape {
  /** With the header. */
  slots: number;
  priority: number;
  rotational: boolean;
}

// The debug build, whose assertions are on.
const debug = new WebAssembly.Module(readFileSync(new URL("../../../build/debug.wasm", import.meta.url)));

/** What the model knows of a slot that is in use. */
interface Slot {
  users: number;
  cached: boolean;
  locked: boolean;
}

/** The areas of a core with the model of what was done to them. Entries are numbers: type × 2^27 + slot. */
export class Slots {
  readonly call: Call;
  /** One element a reference: an entry stands here once a user. */
  readonly references: number[] = [];
  /** Slots in use, by entry. */
  readonly used = new Map<number, Slot>();
  readonly total: number;
  private readonly core: Core;

  constructor(
    readonly areas: readonly AreaShape[],
    readonly cpus: number,
    module = debug,
  ) {
    this.core = new Core(module);
    this.call = this.core.call as unknown as Call;
    this.total = areas.reduce((sum, { slots }) => sum + slots - 1, 0);
    const rotating = this.core.constant("DEVICE_ROTATIONAL");
    assert.is(this.call.slotCaseBegin!(cpus, this.total), 0);
    for (const { slots, priority, rotational } of areas) {
      assert.is(this.call.slotCaseArea!(slots, priority, rotational ? rotating : 0), 0);
    }
    assert.is(this.call.slotCaseReady!(cpus), 0);
  }

  private areaOf(entry: number): AreaShape {
    return this.areas[entry >>> TYPE_SHIFT]!;
  }

  /** Evicts a page on `cpu`; undefined when every area is full. */
  take(cpu: number): number | undefined {
    const { call } = this;
    const waiting = call.swapsnapSlots!(cpu) > 0;
    const free = call.swapsnapFree!();
    const entry = call.slotCaseTake!(cpu) >>> 0;
    const dropped = this.dropped(entry, free);
    const fromCache = waiting && call.swapsnapActive!() !== 0;
    // What the search gives back on its way may lie in an area that it has passed by then.
    const exact = !fromCache && dropped === 0;
    if (entry === 0) {
      if (exact) for (const type of this.areas.keys()) this.checkNothingFor(type, cpu);
      return undefined;
    }
    const slot = entry % 2 ** TYPE_SHIFT;
    assert.ok(slot > 0 && slot < this.areaOf(entry).slots, `slot ${slot}`);
    assert.not.ok(this.used.has(entry), `slot ${slot} is given out twice`);
    this.used.set(entry, { users: 1, cached: true, locked: false });
    this.references.push(entry);
    if (exact) this.checkPriority(entry, cpu);
    return entry;
  }

  // While more than half of swap is used, the search for a slot drops pages that only the cache holds. Returns their number.
  private dropped(taken: number, free: number): number {
    let dropped = 0;
    for (const [entry, { users, cached, locked }] of this.used) {
      if (users > 0 || !cached || (entry !== taken && this.call.slotCasePage!(entry) !== 0)) continue;
      assert.ok(!locked && 2 * (free - SLOTS_AT_A_TIME) < this.total, "only then");
      this.used.delete(entry);
      dropped++;
    }
    return dropped;
  }

  // What was not waiting in a slot cache comes from the best area that has any slot.
  private checkPriority(entry: number, cpu: number): void {
    const { priority: given } = this.areaOf(entry);
    for (const [type, { priority }] of this.areas.entries()) {
      if (priority > given) this.checkNothingFor(type, cpu);
    }
  }

  // The area has nothing that `cpu` could find. Where there is no cluster to be had, a scan looks at every slot but the one that it
  // starts from, as Linux' does.
  private checkNothingFor(type: number, cpu: number): void {
    const { slots, rotational } = this.areas[type]!;
    if (this.call.swapsnapUsed!(type) === slots - 1) return;
    const free = [...this.map(type).keys()].filter((slot) => slot > 0 && this.map(type)[slot] === 0);
    const start = rotational ? [] : [this.call.swapsnapCpuScan!(type, cpu)];
    assert.equal(free, start, `slots of area ${type} are passed over`);
  }

  /** One user less of the slot that a reference names; `zap` drops the cached page with the last one. */
  free(cpu: number, pick: number, zap: boolean): void {
    if (this.references.length === 0) return;
    const place = pick % this.references.length;
    const entry = this.references[place]!;
    this.references[place] = this.references.at(-1)!;
    this.references.pop();
    const slot = this.used.get(entry)!;
    slot.users--;
    if (zap) this.call.slotCaseZap!(cpu, entry);
    else this.call.slotCaseFree!(cpu, entry);
    if (slot.users === 0 && (!slot.cached || (zap && !slot.locked))) this.used.delete(entry);
  }

  dup(pick: number, times: number): void {
    if (this.references.length === 0) return;
    const entry = this.references[pick % this.references.length]!;
    for (let time = 0; time < times; time++) {
      assert.ok(this.call.slotCaseDup!(entry));
      this.used.get(entry)!.users++;
      this.references.push(entry);
    }
    assert.is(this.call.slotCaseUsers!(entry), this.used.get(entry)!.users);
  }

  read(cpu: number, pick: number): void {
    if (this.references.length === 0) return;
    const entry = this.references[pick % this.references.length]!;
    const slot = this.used.get(entry)!;
    assert.is(this.call.slotCaseRead!(cpu, entry) !== 0, !slot.cached);
    slot.cached = true;
  }

  drop(cpu: number, pick: number): void {
    const cached = [...this.used].filter(([, slot]) => slot.cached && !slot.locked);
    if (cached.length === 0) return;
    const [entry, slot] = cached[pick % cached.length]!;
    assert.ok(this.call.slotCaseDrop!(cpu, entry));
    slot.cached = false;
    if (slot.users === 0) this.used.delete(entry);
  }

  lock(pick: number): void {
    const cached = [...this.used].filter(([, slot]) => slot.cached);
    if (cached.length === 0) return;
    const [entry, slot] = cached[pick % cached.length]!;
    slot.locked = !slot.locked;
    this.call.slotCaseLock!(entry, Number(slot.locked));
  }

  /** Entries that wait in the slot caches: to be handed out, or to be given back. */
  private held(): Set<number> {
    const held = new Set<number>();
    let count = 0;
    for (let cpu = 0; cpu < this.cpus; cpu++) {
      for (const read of [this.call.swapsnapSlot!, this.call.swapsnapReturned!]) {
        for (let index = 0, entry = read(cpu, 0); entry !== NONE; entry = read(cpu, ++index)) {
          held.add(entry >>> 0);
          count++;
        }
      }
    }
    assert.is(held.size, count, "an entry waits twice");
    return held;
  }

  map(type: number): Uint8Array {
    const address = this.call.slotCaseMap!(type) >>> 0;
    return new Uint8Array(this.core.u32(0, 1).buffer, address, this.areas[type]!.slots);
  }

  /** Every invariant, the core's own and those against the model. */
  check(): void {
    this.call.slotCaseCheck!();
    const held = this.held();
    let inUse = 0;
    for (const [type, { slots }] of this.areas.entries()) {
      const map = this.map(type);
      let nonzero = 0;
      for (let slot = 1; slot < slots; slot++) if (map[slot] !== 0) nonzero++;
      assert.is(nonzero, this.call.swapsnapUsed!(type), `slots used in area ${type}`);
      inUse += nonzero;
    }
    const maps = this.areas.map((_, type) => this.map(type));
    const byte = (entry: number): number => maps[entry >>> TYPE_SHIFT]![entry % 2 ** TYPE_SHIFT]!;
    for (const [entry, { users, cached }] of this.used) {
      const expected = (users % DIGIT) + (users >= DIGIT ? CONTINUED : 0) + (cached ? HAS_CACHE : 0);
      assert.is(byte(entry), expected, `byte of entry ${entry} with ${users} users`);
      assert.not.ok(held.has(entry), `entry ${entry} is in use and in a slot cache`);
    }
    for (const entry of held) assert.is(byte(entry), HAS_CACHE);
    assert.is(inUse, this.used.size + held.size, "slots in use");
    assert.is(this.call.swapsnapFree!(), this.total - inUse, "nr_swap_pages");
  }

  /** The clusters, counted anew from the map. */
  checkClusters(): void {
    for (const [type, { slots, rotational }] of this.areas.entries()) {
      if (rotational) continue;
      const map = this.map(type);
      const clusters = this.call.swapsnapClusters!(type);
      const free = new Set<number>();
      for (let at = this.call.swapsnapFreeCluster!(type, NONE); at !== NONE; ) {
        assert.not.ok(free.has(at), `cluster ${at} is listed twice`);
        free.add(at);
        at = this.call.swapsnapFreeCluster!(type, at);
      }
      for (let cluster = 0; cluster < clusters; cluster++) {
        let count = 0;
        for (let slot = cluster * CLUSTER_SLOTS; slot < (cluster + 1) * CLUSTER_SLOTS; slot++) {
          if (slot >= slots || map[slot] !== 0) count++;
        }
        assert.is(this.call.swapsnapClusterUsed!(type, cluster), count === 0 ? NONE : count);
        assert.is(free.has(cluster), count === 0);
      }
    }
  }
}
