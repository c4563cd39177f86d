// mmu_lock: a spinning reader-writer lock, fair: whoever comes while others wait goes behind them, and readers that stand side by
// side at the head of the queue enter together.

import type { Actor, Process } from "./time.js";

export class MmuLock {
  private writer: Actor | null = null;
  private readers = 0;
  private readonly queue: { actor: Actor; write: boolean }[] = [];

  /** @param resume lets an actor that has spun go on at its clock */
  constructor(private readonly resume: (actor: Actor) => void) {}

  *read(actor: Actor): Process {
    if (this.writer !== null || this.queue.length > 0) {
      yield* this.spin(actor, false);
    } else {
      this.enter(actor, false);
    }
  }

  *write(actor: Actor): Process {
    if (this.writer !== null || this.readers > 0) {
      yield* this.spin(actor, true);
    } else {
      this.enter(actor, true);
    }
  }

  private *spin(actor: Actor, write: boolean): Process {
    this.queue.push({ actor, write });
    actor.state = "spinning";
    yield "spin";
  }

  private enter(actor: Actor, write: boolean): void {
    actor.locks++;
    if (write) this.writer = actor;
    else this.readers++;
  }

  /** Drops what the actor holds, at its clock. */
  unlock(actor: Actor): void {
    actor.locks--;
    if (this.writer === actor) this.writer = null;
    else this.readers--;
    while (this.writer === null && this.queue.length > 0) {
      const { actor: first, write } = this.queue[0]!;
      if (write && this.readers > 0) return;
      this.queue.shift();
      this.enter(first, write);
      first.waitUntil("lock", actor.clock);
      this.resume(first);
    }
  }
}
