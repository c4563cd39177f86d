// Virtual time of the reference model: what is due when, and the actors that time moves. An actor's work is a generator; where
// it yields, others may come first. Everything that shall happen at one instant happens in the order in which it was announced.

import type { Cpu } from "./cpus.js";

export const STAGES = ["exit", "lock", "reclaim", "alloc", "cpu", "queue", "device", "map", "flush"] as const;
export type Stage = (typeof STAGES)[number];

/**
 * Why a process lets go: "step" when time has passed and it goes on at its clock, "sleep" when it waits off its CPU, "spin" when
 * it waits on it. Whoever ends the wait has been told before.
 */
export type Process<Result = void> = Generator<"step" | "sleep" | "spin", Result, void>;

/** No memory is to be had: the run ends. */
export class OutOfMemory extends Error {
  constructor(readonly overLimit: boolean) {
    super("out of memory");
  }
}

/** Whatever will happen, in (time, announcement) order. */
export class Timeline {
  private readonly due: { time: number; act: () => void }[] = [];

  post(time: number, act: () => void): void {
    let index = this.due.length;
    while (index > 0 && this.due[index - 1]!.time > time) index--;
    this.due.splice(index, 0, { time, act });
  }

  nextTime(): number {
    return this.due[0]?.time ?? Number.POSITIVE_INFINITY;
  }

  pop(): void {
    this.due.shift()!.act();
  }
}

export type ActorState = "guest" | "host" | "spinning" | "asleep" | "runnable";

/** A vCPU or kswapd. */
export class Actor {
  clock = 0;
  state: ActorState = "asleep";
  cpu: Cpu | null = null;
  lastCpu: Cpu | null = null;
  /** Time on a CPU, for fair sharing; booked when it leaves the CPU. */
  vruntime = 0;
  onCpuSince = 0;
  /** mmu_locks held: not preemptible. */
  locks = 0;
  /** Time off the CPU although it wanted to run. */
  blockedNs = 0;
  sleepStage: Stage = "queue";
  process: Process | null = null;
  readonly stages = new Map<Stage, number>();

  constructor(readonly id: number) {}

  /** Works for `ns`. */
  spend(stage: Stage, ns: number): void {
    this.clock += ns;
    this.stages.set(stage, (this.stages.get(stage) ?? 0) + ns);
  }

  /** Waits on its CPU. */
  waitUntil(stage: Stage, time: number): void {
    this.spend(stage, Math.max(0, time - this.clock));
  }

  /** Has waited off its CPU. */
  sleptUntil(stage: Stage, time: number): void {
    this.blockedNs += Math.max(0, time - this.clock);
    this.waitUntil(stage, time);
  }

  /** Goes to sleep; to be followed by `yield "sleep"`. */
  sleep(stage: Stage): void {
    this.state = "asleep";
    this.sleepStage = stage;
  }
}
