// Replays a capture of the page allocator (format mm-buddy-1): every step is done on the core's allocator, and what it came to, the
// zone's counters and every dump are compared. Blocks are known by the names that the script gave them (slots): a block that the model
// put elsewhere is freed where the model put it.

import { Core } from "../core.js";
import { Agreement } from "./agreement.js";
import { type BuddyStep, caseSchema, checkState, stepSchema, type ZoneDump } from "./buddyfile.js";
import type { CaseInput, CaseResult } from "./result.js";
import { readShape, wrongShape } from "./shape.js";
import { completePcp, PFN_END, ZoneCase, type ZoneCaseCore } from "./zonecase.js";

type BlockStep = Extract<BuddyStep, { slot: number }>;

interface Block {
  pfn: number;
  order: number;
}

/** What a step on a block came to. */
interface Outcome {
  pfn: number | null;
  err: "nomem" | "skipped" | "watermark" | "noentry" | null;
}

/** Replays a case of format mm-buddy-1. */
export function replayBuddy(input: CaseInput, module: WebAssembly.Module): CaseResult {
  return replayOn(new Core(module), input);
}

/** Replays `input` on `core`, a fresh instance. */
export function replayOn(core: ZoneCaseCore, { name, caseJson, steps }: CaseInput): CaseResult {
  const captured = readShape(caseSchema, caseJson, "case.json");
  checkState(captured);
  const { initial, step_zone } = captured;
  const cpus = initial[0]!.pcp.length;
  const stepZone = initial.find((zone) => zone.name === step_zone)!.zone;

  const zones = new ZoneCase(core, initial);
  const script = new Script(zones, stepZone);
  const agreement = new Agreement();
  for (const [index, raw] of steps.entries()) {
    const where = `step ${String(raw.i ?? `at place ${index}`)}`;
    const step = readShape(stepSchema, raw, where);
    if (step.cpu >= cpus) throw wrongShape(where, "cpu", `the case has ${cpus} CPUs`);
    agreement.begin(step.i);
    if (step.op === "dump") {
      agreement.compare("state", step.state.map(completeZone), zones.dump());
      continue;
    }
    if (step.op === "drain") {
      zones.call.zoneCaseDrain(step.cpu);
    } else {
      const { pfn, err } = script.run(step);
      agreement.compare("pfn", step.pfn, pfn);
      agreement.compare("err", step.err, err);
      agreement.compare(
        "zone",
        step.pfn === null ? null : (step.zone ?? step_zone),
        pfn === null ? null : zones.zoneName(pfn),
      );
    }
    const { ff, pcp, diff, nr_free, boost } = step;
    const got = zones.counters(stepZone, step.cpu);
    for (const [field, expected] of Object.entries({ ff, pcp, diff, nr_free, boost })) {
      agreement.compare(field, expected, got[field as keyof typeof got]);
    }
  }
  return agreement.result(name, "mm-buddy-1");
}

/** The script's blocks by slot, and its steps on the core. A slot that is not there is empty. */
class Script {
  private readonly slots = new Map<number, Block>();

  constructor(
    private readonly zones: ZoneCase,
    private readonly stepZone: number,
  ) {}

  run(step: BlockStep): Outcome {
    if (step.op === "alloc") return this.alloc(step);
    if (step.op === "isolate") return this.isolate(step);

    const block = this.slots.get(step.slot);
    if (block === undefined) return { pfn: null, err: "skipped" };
    this.slots.delete(step.slot);
    const { call } = this.zones;
    const { pfn, order } = block;
    if (step.op === "free") call.zoneCaseFreePages(step.cpu, pfn, order);
    else if (step.op === "putback") call.zoneCasePutback(pfn, order);
    else this.split(block, step.first);
    return { pfn, err: null };
  }

  private alloc({ cpu, order, gfp, slot }: Extract<BlockStep, { op: "alloc" }>): Outcome {
    const pfn = this.zones.call.zoneCaseAlloc(cpu, order, gfp) >>> 0;
    if (pfn === 0) {
      this.slots.delete(slot);
      return { pfn: null, err: "nomem" };
    }
    this.slots.set(slot, { pfn, order });
    return { pfn, err: null };
  }

  /** A refused step names the block that it would have taken. */
  private isolate({ order, mt, index, slot }: Extract<BlockStep, { op: "isolate" }>): Outcome {
    this.slots.delete(slot);
    const entry = this.zones.freeListEntry(this.stepZone, order, mt, index);
    const pfn = this.zones.call.zoneCaseIsolate(this.stepZone, order, mt, index) >>> 0;
    if (pfn === PFN_END) return { pfn: null, err: "noentry" };
    if (pfn === 0) return { pfn: entry, err: "watermark" };
    this.slots.set(slot, { pfn, order });
    return { pfn, err: null };
  }

  /** split_page(): nothing of the allocator changes but who may free which page. */
  private split({ pfn, order }: Block, first: number): void {
    this.zones.call.zoneCaseSplit(pfn, order);
    for (let page = 0; page < 2 ** order; page++) this.slots.set(first + page, { pfn: pfn + page, order: 0 });
  }
}

function completeZone(zone: ZoneDump): ZoneDump {
  return { ...zone, pcp: zone.pcp.map(completePcp) };
}
