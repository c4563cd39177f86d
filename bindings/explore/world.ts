// One machine that the explorer walks through: back to its root, a step of one actor, what can step, what is wrong.

import type { Core } from "../core.js";
import { PagevisorError } from "../errors.js";
import { guard } from "../guard.js";
import { operationDone, operations, startOperation, type Walker } from "./program.js";
import { VIOLATIONS, type ViolationKind } from "./violations.js";

/** Something wrong, and where. */
export interface FoundViolation {
  /** Which kind it is. */
  kind: ViolationKind;
  /** The page; null where it is about none. */
  gfn: number | null;
  /** What is wrong, in words. */
  text: string;
}

/** Where every program stands, and the memory of the core. */
export interface Image {
  bytes: Uint8Array;
  places: number[];
}

export class World {
  /** Of each walker: operations begun. */
  private places: number[];
  /** VMs of whose pages the last step has ended a migration in vain. */
  private readonly failed = new Set<number>();
  /** The assertion in which the last step has ended. */
  private trap: string | null = null;

  constructor(
    readonly core: Core,
    readonly walkers: readonly Walker[],
    readonly look: readonly ViolationKind[] = VIOLATIONS,
    /** What those are called that have no program. */
    private readonly others: ReadonlyMap<number, string> = new Map(),
  ) {
    this.places = walkers.map(() => 0);
    const moved = walkers.some(({ program }) => program.some(([what]) => what === "attempts"));
    if (moved) core.call.exploreTokensExact();
    for (let index = 0; index < walkers.length; index++) this.next(index);
  }

  /** The present state, in the memory of an older image if there is one: memory that is new is dear. */
  image(old?: Image): Image {
    const now = new Uint8Array(this.core.memory.buffer);
    const bytes = old?.bytes ?? new Uint8Array(now.length);
    bytes.set(now);
    return { bytes, places: [...this.places] };
  }

  restore({ bytes, places }: Image): void {
    new Uint8Array(this.core.memory.buffer).set(bytes);
    this.places = [...places];
    this.trap = null;
  }

  /** The names of those that can step now, in the order in which step() numbers them. */
  choices(): string[] {
    const { call } = this.core;
    const count = call.exploreChoices();
    const names: string[] = [];
    for (let choice = 0; choice < count; choice++) names.push(this.nameOf(call.exploreActor(choice) >>> 0));
    return names;
  }

  /** Makes choice number `choice` of the last choices() happen. */
  step(choice: number): void {
    this.failed.clear();
    this.trap = trapIn(() => this.core.call.exploreStep(choice));
    if (this.trap !== null) return;
    this.walkers.forEach((walker, index) => {
      const begun = this.places[index]!;
      if (begun > operations(walker) || !operationDone(this.core, walker, index)) return;
      const migrated = walker.program[begun - 1]?.[0] === "migrate";
      if (migrated && this.core.call.exploreCallFailed(index) > 0) this.failed.add(walker.of);
      this.next(index);
    });
  }

  /** A key that is equal for states which are the same but for time. */
  key(): string {
    const { call } = this.core;
    const low = call.exploreHash(0) >>> 0;
    return `${(call.exploreHash(1) >>> 0).toString(36)}.${low.toString(36)}.${this.places.join(".")}`;
  }

  /** What is wrong with the present state. `settled`: nobody can step. */
  wrong(settled: boolean): FoundViolation | null {
    const { core } = this;
    if (this.trap !== null) return broken(`the step ends in an assertion: ${this.trap}`);
    const content = core.call.exploreContent();
    const wrong = content === 0 ? null : this.content(content);
    if (wrong !== null && this.look.includes(wrong.kind)) return wrong;
    if (this.look.includes("trylockFailed") && core.call.exploreTrylocks() !== 0)
      return {
        kind: "trylockFailed",
        gfn: null,
        text: "writepage met kvm->lock held, and gave the page back",
      };
    for (const vm of new Set(this.walkers.map((walker) => walker.vm))) {
      const gone = core.call.exploreWrongEntry(vm, 0) - 1;
      if (gone >= 0 && this.look.includes("freedFrame"))
        return {
          kind: "freedFrame",
          gfn: gone,
          text: "a translation leads to a frame that the host has freed or given to someone else",
        };
      const pinned = settled ? core.call.exploreWrongEntry(vm, 1) - 1 : -1;
      if (pinned >= 0 && this.look.includes("pinnedForEver"))
        return {
          kind: "pinnedForEver",
          gfn: pinned,
          text: "an spte keeps a frame that the host no longer maps, and nobody will name it again",
        };
    }
    const last = this.held() ?? this.works() ?? (settled ? (this.stuck() ?? this.leftOver()) : null);
    return last !== null && this.look.includes(last.kind) ? last : null;
  }

  /** A structure of the present state that is not as it must be; with a core without assertions none is ever found. */
  broken(): FoundViolation | null {
    if (!this.look.includes("brokenCheck") || this.core.constant("CHECK_ASSERTS") === 0) return null;
    const trap = trapIn(() => this.core.call.checkAll());
    return trap === null ? null : broken(`a structure is not as it must be: ${trap}`);
  }

  /** Locks that walker `index` holds or waits for. */
  locks(index: number): string {
    const { vm, vcpu } = this.walkers[index]!;
    const bits = this.core.call.exploreLocks(vm, vcpu);
    const held = [(bits & 1) !== 0 ? "mmu_lock" : "", (bits & 4) !== 0 ? "kvm->lock" : ""].filter(Boolean);
    return held.length > 0 ? held.join(", ") : (bits & 2) !== 0 ? "(waits)" : "";
  }

  // A migration that has just ended in vain, for a page of which nobody does anything: its fault's completion waits to be consumed; and what a
  // replaced mapping has misled.
  private held(): FoundViolation | null {
    const { call } = this.core;
    for (const of of new Set(this.walkers.map((walker) => walker.of))) {
      if (call.exploreMiscounted(of) !== 0) {
        const text =
          "a page was dropped as a file's while its mapping was replaced: the process' counters are wrong";
        return { kind: "miscountedPage", gfn: null, text };
      }
      const held = call.exploreHeld(of) - 1;
      if (held < 0 || !this.failed.has(of)) continue;
      return call.exploreReplaced(of) !== 0
        ? {
            kind: "misledUnmap",
            gfn: held,
            text: "a pass found nobody who maps the page whose mapping is replaced",
          }
        : {
            kind: "heldPage",
            gfn: held,
            text: "a pass in vain: a completion that waits to be consumed holds the page",
          };
    }
    return null;
  }

  // What of asynchronous page faults is in no place, or in two.
  private works(): FoundViolation | null {
    const { core } = this;
    for (const vm of new Set(this.walkers.map((walker) => walker.vm))) {
      const works = core.call.exploreWorks(vm);
      if (works === core.constant("WORKS_FREED"))
        return { kind: "doubleFree", gfn: null, text: "a work that was freed is used, or freed again" };
      if (works === core.constant("WORKS_LEAKED"))
        return { kind: "leaked", gfn: null, text: "a work is in no list, and nobody is at it" };
    }
    return null;
  }

  private leftOver(): FoundViolation | null {
    const vms = [...new Set(this.walkers.map((walker) => walker.vm))];
    if (vms.every((vm) => this.core.call.exploreDummies(vm) === 0)) return null;
    return { kind: "leaked", gfn: null, text: "a dummy stands for a task that will never come" };
  }

  private stuck(): FoundViolation | null {
    const { call } = this.core;
    const walker = this.walkers.find((each, at) => {
      const left = each.vcpu >= 0 && call.stepVmEnding(each.vm) !== 0;
      return !left && this.places[at]! <= operations(each);
    });
    if (walker === undefined) return null;
    const { name, vm, vcpu, tasks } = walker;
    const asleep = tasks.find(({ id }) => call.exploreTaskSleeps(id) !== 0);
    if (asleep !== undefined) {
      const token = `0x${(call.exploreTaskToken(asleep.id) >>> 0).toString(16)}`;
      const text = `task ${asleep.name} sleeps under token ${token}, and nobody will wake it`;
      return { kind: "lostWakeUp", gfn: null, text };
    }
    return call.exploreSleeps(vm, vcpu) !== 0
      ? { kind: "lostWakeUp", gfn: null, text: `${name} sleeps, and nobody will wake it` }
      : { kind: "deadlock", gfn: null, text: `${name} waits for a lock that nobody will drop` };
  }

  // A read found another content than the last write of its page.
  private content(address: number): FoundViolation {
    const { core } = this;
    const record = core.u32(address, 6);
    const gfn = record[2]!;
    if (record[0] === core.constant("VIOLATION_TOKEN_REUSE"))
      return { kind: "tokenReuse", gfn, text: "a task sleeps already under the token of this fault" };
    return record[0] === core.constant("VIOLATION_LOST_WRITE")
      ? { kind: "lostWrite", gfn, text: "the last write is nowhere" }
      : { kind: "staleRead", gfn, text: "a read went to another place than the last write" };
  }

  // The operation of walker `index` after the one that has ended; one past the last means that it is through.
  private next(index: number): void {
    const place = this.places[index]!;
    this.places[index] = place + 1;
    const walker = this.walkers[index]!;
    if (place < operations(walker)) guard(() => startOperation(this.core, walker, index, place));
  }

  private nameOf(actor: number): string {
    const { call } = this.core;
    if (actor === 0xffffffff) return "device";
    const act = actor - this.core.constant("EXPLORE_ACT_BASE");
    if (act >= 0) return this.walkers[act]!.name;
    const found = this.walkers.find(
      ({ kind, vm, vcpu }) => kind !== "acts" && call.exploreActorOf(vm, vcpu) >>> 0 === actor,
    );
    if (found !== undefined) return found.name;
    const worker = actor - this.core.constant("WORKER_ID_BASE");
    return worker >= 0 ? `worker ${worker}` : (this.others.get(actor) ?? `actor ${actor}`);
  }
}

// What an assertion that fails in `call` says; null when none does. The memory is put back before anything else is done with it.
function trapIn(call: () => void): string | null {
  try {
    guard(call);
    return null;
  } catch (error) {
    if (!(error instanceof PagevisorError) || error.code !== "E_INTERNAL") throw error;
    return error.cause instanceof Error ? error.cause.message : error.message;
  }
}

function broken(text: string): FoundViolation {
  return { kind: "brokenCheck", gfn: null, text };
}
