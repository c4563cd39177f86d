// The reference model: the same machine as the core's, in Maps, arrays and generators, written from the rules. It predicts, access
// for access, the kind of each fault and its latency by stage, where every page is (frame, list, slot, bits) and so which pages are
// evicted, and the counters of VMs and host.
//
// Scope, exact: 1 to 3 VMs with 1 to 3 vCPUs, each with one looping trace and a fixed think time, over one shared region; any number
// of host CPUs; memory limits, host pressure, kswapd; any set of swap devices; any TLB; any costs. Not predicted: the digest,
// pressure stall times, task times, integrity, page contents. Left out: prefault, several tasks a vCPU, halted vCPUs.

import type { ResolvedScenario } from "#dist/scenario.js";
import { Cpus } from "./cpus.js";
import { type Costs, Host } from "./host.js";
import { kvmFault, translates } from "./kvmfault.js";
import { kswapd } from "./reclaim.js";
import { Swap } from "./swap.js";
import { Actor, OutOfMemory, STAGES, type Stage, Timeline } from "./time.js";
import { type FaultCount, Vcpu, Vm } from "./vm.js";
import { UNMOVABLE } from "./zone.js";

const PAGE_BYTES = 4096;
const WRITE = 0x8000_0000;
const QUANTA_ALONE = 64;

/** What ended a run for good. */
export interface Oom {
  vm: number;
  overLimit: boolean;
}

export class ReferenceMachine {
  readonly vms: Vm[] = [];
  readonly host: Host;
  /** Nothing that is still to come is earlier. */
  now = 0;
  oom: Oom | null = null;
  private readonly actors: Actor[] = [];
  private readonly timeline = new Timeline();
  private readonly cpus: Cpus;
  private readonly costs: Costs;
  private readonly quantumNs: number;
  private readonly life: Generator<void, void, void>;
  private made = 0;

  /** @param streams the accesses of each VM's vCPUs as words of a trace: bit 31 a write, the rest the gfn */
  constructor(scenario: ResolvedScenario, streams: readonly (readonly Uint32Array[])[]) {
    const { host } = scenario;
    this.quantumNs = host.quantum;
    this.costs = scenario.costs as Costs;
    const daemon = new Actor(0);
    this.actors.push(daemon);
    this.cpus = new Cpus(host.cpus, this.actors, {
      switchNs: this.costs.hostSwitchNs,
      isThread: (actor) => actor === daemon,
      placed: (actor) => this.placed(actor),
    });
    const swap = new Swap(host.swap, host.cpus, scenario.seed, this.timeline);
    this.host = new Host(
      host.memory / PAGE_BYTES,
      host.cpus,
      host.reclaim.watermarkScaleFactor,
      host.numaNodes,
      host.reclaim.swappiness,
      host.reclaim.pageClusterPages,
      this.costs,
      swap,
      this.vms,
      (actor, time) => this.wake(actor, time),
      (time) => this.wake(daemon, time),
    );
    daemon.process = kswapd(this.host, daemon);
    for (const [id, each] of scenario.vms.entries()) this.addVm(id, each, streams[id]!);
    // At boot each VM takes KVM's root and the tables of the host's page table above the leaves.
    for (const [id, { memory }] of scenario.vms.entries()) {
      let tables = Math.ceil(memory / PAGE_BYTES / 512);
      for (let level = 0; level < 3; level++) {
        tables = Math.ceil(tables / 512);
        for (let table = 0; table < tables; table++) this.bootTable(this.vms[id]!, "process");
      }
      this.bootTable(this.vms[id]!, "kvm");
    }
    for (const vcpu of this.vms.flatMap(({ vcpus }) => vcpus)) this.wake(vcpu, 0);
    this.life = this.live();
  }

  private bootTable(vm: Vm, table: "process" | "kvm"): void {
    if (vm.charges(table)) vm.usage++;
    const { frames } = this.host;
    const pfn = frames.take(0, UNMOVABLE, "low") ?? frames.take(0, UNMOVABLE, "min");
    if (pfn === null) throw new Error("no room for the page tables of boot");
  }

  private addVm(
    id: number,
    scenario: ResolvedScenario["vms"][number],
    streams: readonly Uint32Array[],
  ): void {
    const max = scenario.memoryMax === null ? Number.POSITIVE_INFINITY : scenario.memoryMax / PAGE_BYTES;
    const { memory, memcg } = scenario;
    const vm = new Vm(id, memory / PAGE_BYTES, max, memcg, (actor) => this.goOn(actor));
    this.vms.push(vm);
    for (const [index, stream] of streams.entries()) {
      const { workload } = scenario.guest.tasks[index]!;
      const thinkNs = workload.kind === "trace" ? (workload.thinkTime as number) : 0;
      const vcpu = new Vcpu(this.actors.length, vm, stream, thinkNs, scenario.tlb);
      vm.vcpus.push(vcpu);
      this.actors.push(vcpu);
    }
  }

  /** Runs until `count` more accesses have been made and the next one is about to be tried, or until memory is exhausted. */
  run(count: number): void {
    const goal = this.made + count;
    while (this.made < goal && this.oom === null) this.life.next();
    if (this.oom === null) this.settle();
  }

  // Where a run stops, everything before the earliest thing to come is over.
  private settle(): void {
    const turnTime = (this.cpus.nextInGuest() as Vcpu | undefined)?.clock ?? Number.POSITIVE_INFINITY;
    const next = Math.min(this.timeline.nextTime(), turnTime);
    if (Number.isFinite(next)) this.now = Math.max(this.now, next);
  }

  // Whatever is due first comes next; at one instant, what is announced comes before turns in the guest. Yields before each try
  // of an access.
  private *live(): Generator<void, void, void> {
    for (;;) {
      const vcpu = this.cpus.nextInGuest() as Vcpu | undefined;
      const eventTime = this.timeline.nextTime();
      const turnTime = vcpu?.clock ?? Number.POSITIVE_INFINITY;
      this.now = Math.max(this.now, Math.min(eventTime, turnTime));
      if (vcpu === undefined || eventTime <= turnTime) {
        this.timeline.pop();
        if (this.oom !== null) return;
      } else if (this.cpus.shouldYield(vcpu)) {
        this.cpus.preempt(vcpu);
      } else {
        yield* this.turn(vcpu, Math.min(eventTime, turnTime + this.turnNs()));
      }
    }
  }

  // A vCPU alone in the guest has nobody to take turns with, unless somebody waits for its CPU.
  private turnNs(): number {
    const alone = this.cpus.guests === 1 && !this.cpus.wanted;
    return alone ? QUANTA_ALONE * this.quantumNs : this.quantumNs;
  }

  // The access that faulted comes first, whatever the time.
  private *turn(vcpu: Vcpu, end: number): Generator<void, void, void> {
    while (vcpu.pending !== null || vcpu.clock < end) {
      yield;
      if (!this.access(vcpu)) return;
    }
  }

  /** Tries the vCPU's next access. False: it has left the guest with a fault. */
  private access(vcpu: Vcpu): boolean {
    const word = vcpu.stream[vcpu.position % vcpu.stream.length]!;
    const write = word >= WRITE;
    const gfn = word % WRITE;
    const { counts, sptes } = vcpu.vm;
    if (vcpu.pending !== null) {
      if (!translates(vcpu, gfn, write)) return this.fault(vcpu, gfn, write);
      this.complete(vcpu);
    }
    if (!vcpu.tlb.hit(gfn, write)) {
      if (!translates(vcpu, gfn, write)) return this.fault(vcpu, gfn, write);
      const spte = sptes.get(gfn)!;
      spte.accessed = true;
      if (write) spte.dirty = true;
      vcpu.tlb.fill(gfn, spte.dirty);
      counts.tlbMisses++;
      vcpu.clock += this.costs.tlbWalk2dNs;
    }
    vcpu.clock += this.costs.memDramNs + vcpu.thinkNs;
    vcpu.position++;
    counts.accesses++;
    this.made++;
    return true;
  }

  private fault(vcpu: Vcpu, gfn: number, write: boolean): false {
    if (vcpu.pending === null) {
      vcpu.stages.clear();
      vcpu.pending = { since: vcpu.clock, kind: "spurious" };
    }
    vcpu.inFault = true;
    vcpu.process = kvmFault(this.host, vcpu, gfn, write, vcpu.vm.sptes.has(gfn));
    vcpu.spend("exit", this.costs.vmExitNs);
    this.goOn(vcpu);
    return false;
  }

  // The access is about to be repeated with success: the fault counts.
  private complete(vcpu: Vcpu): void {
    const { since, kind } = vcpu.pending!;
    const fault: FaultCount = vcpu.vm.faults.get(kind)!;
    fault.count++;
    fault.sumNs += vcpu.clock - since;
    for (const stage of STAGES) addTo(fault.stages, stage, vcpu.stages.get(stage) ?? 0);
    vcpu.pending = null;
  }

  private goOn(actor: Actor): void {
    actor.state = "host";
    this.timeline.post(actor.clock, () => this.step(actor));
  }

  private wake(actor: Actor, time: number): void {
    this.timeline.post(time, () => {
      actor.sleptUntil(actor.sleepStage, time);
      this.cpus.wake(actor, time);
    });
  }

  private placed(actor: Actor): void {
    if (actor instanceof Vcpu && !actor.inFault) this.enterGuest(actor);
    else this.goOn(actor);
  }

  private step(actor: Actor): void {
    if (this.cpus.shouldYield(actor)) {
      this.cpus.preempt(actor);
      return;
    }
    this.host.cpu = actor.cpu!.index;
    try {
      const { value, done } = actor.process!.next();
      if (done) this.enterGuest(actor as Vcpu);
      else if (value === "step") this.goOn(actor);
      else if (value === "sleep") this.cpus.release(actor);
    } catch (error) {
      if (!(error instanceof OutOfMemory)) throw error;
      this.now = Math.max(this.now, actor.clock);
      this.oom = { vm: (actor as Vcpu).vm.id, overLimit: error.overLimit };
    }
  }

  private enterGuest(vcpu: Vcpu): void {
    if (vcpu.flushRequested) vcpu.spend("flush", this.costs.tlbFlushAllNs);
    vcpu.flushRequested = false;
    vcpu.inFault = false;
    vcpu.vm.counts.blockedNs += vcpu.blockedNs - vcpu.blockedSeen;
    vcpu.blockedSeen = vcpu.blockedNs;
    vcpu.state = "guest";
  }
}

function addTo(sums: Map<Stage, number>, stage: Stage, ns: number): void {
  sums.set(stage, sums.get(stage)! + ns);
}
