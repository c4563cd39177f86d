// The host's CPUs: one queue of actors that want one. A kernel thread goes before every vCPU and takes the CPU of the vCPU that
// is furthest behind; vCPUs share by virtual run time, with a slice of 3 ms. Going from one actor to another costs hostSwitchNs.

import type { Actor } from "./time.js";

const SLICE_NS = 3_000_000;

export interface Cpu {
  readonly index: number;
  current: Actor | null;
  last: Actor | null;
  /** A kernel thread wants this CPU. */
  wanted: boolean;
  sliceEnd: number;
  freeSince: number;
}

/** What the CPUs need to know of the machine. */
export interface Placement {
  switchNs: number;
  isThread(actor: Actor): boolean;
  /** The actor has got a CPU and goes on at its clock. */
  placed(actor: Actor): void;
}

export class Cpus {
  readonly all: Cpu[];

  constructor(
    count: number,
    private readonly actors: readonly Actor[],
    private readonly placement: Placement,
  ) {
    this.all = Array.from({ length: count }, (_, index) => ({
      index,
      current: null,
      last: null,
      wanted: false,
      sliceEnd: 0,
      freeSince: 0,
    }));
  }

  /** The vCPU in the guest that comes next: least clock, then least number. */
  nextInGuest(): Actor | undefined {
    const running = this.all.flatMap(({ current }) => (current?.state === "guest" ? [current] : []));
    return running.sort((a, b) => a.clock - b.clock || a.id - b.id)[0];
  }

  /** vCPUs that run the guest. */
  get guests(): number {
    return this.all.filter(({ current }) => current?.state === "guest").length;
  }

  /** Somebody waits for a CPU. */
  get wanted(): boolean {
    return this.first() !== undefined;
  }

  /** The actor wants a CPU from `time` on. */
  wake(actor: Actor, time: number): void {
    actor.state = "runnable";
    if (!this.placement.isThread(actor)) actor.vruntime = Math.max(actor.vruntime, this.least(actor));
    const idle = this.idleFor(actor);
    if (idle !== undefined) {
      this.place(actor, idle, time);
    } else if (this.placement.isThread(actor)) {
      const candidates = this.all.filter(
        ({ current, wanted }) => !this.placement.isThread(current!) && !wanted,
      );
      const victim = candidates.sort((a, b) => a.current!.clock - b.current!.clock)[0];
      if (victim !== undefined) victim.wanted = true;
    }
  }

  // A sleeper does not come back with more credit than the least of those who run or want to.
  private least(actor: Actor): number {
    const others = this.actors.filter(
      (other) =>
        other !== actor &&
        !this.placement.isThread(other) &&
        (other.cpu !== null || other.state === "runnable"),
    );
    const running = (other: Actor): number => (other.cpu === null ? 0 : other.clock - other.onCpuSince);
    const least = Math.min(...others.map((other) => other.vruntime + running(other)));
    return Number.isFinite(least) ? least : 0;
  }

  private idleFor(actor: Actor): Cpu | undefined {
    if (actor.lastCpu?.current === null) return actor.lastCpu;
    const idle = this.all.filter(({ current }) => current === null);
    return idle.sort((a, b) => a.freeSince - b.freeSince)[0];
  }

  private place(actor: Actor, cpu: Cpu, time: number): void {
    actor.sleptUntil("queue", Math.max(time, cpu.freeSince));
    if (cpu.last !== null && cpu.last !== actor) actor.spend("queue", this.placement.switchNs);
    cpu.current = actor;
    cpu.last = actor;
    cpu.wanted = false;
    cpu.sliceEnd = actor.clock + SLICE_NS;
    actor.cpu = cpu;
    actor.lastCpu = cpu;
    actor.onCpuSince = actor.clock;
    this.placement.placed(actor);
  }

  private first(): Actor | undefined {
    const waiting = this.actors.filter(({ state }) => state === "runnable");
    const thread = waiting.find((actor) => this.placement.isThread(actor));
    return thread ?? waiting.sort((a, b) => a.vruntime - b.vruntime)[0];
  }

  /** The actor, which sleeps, leaves its CPU to whoever is first. */
  release(actor: Actor): void {
    this.leave(actor, this.first());
  }

  private leave(actor: Actor, next: Actor | undefined): void {
    const cpu = actor.cpu!;
    actor.vruntime += actor.clock - actor.onCpuSince;
    actor.cpu = null;
    cpu.current = null;
    cpu.freeSince = actor.clock;
    if (next !== undefined) this.place(next, cpu, actor.clock);
  }

  shouldYield(actor: Actor): boolean {
    if (actor.locks > 0 || this.placement.isThread(actor)) return false;
    const cpu = actor.cpu!;
    return (cpu.wanted || actor.clock >= cpu.sliceEnd) && this.first() !== undefined;
  }

  preempt(actor: Actor): void {
    const next = this.first();
    actor.state = "runnable";
    this.leave(actor, next);
  }
}
