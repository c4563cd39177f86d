// Replays a capture of free page reporting (format mm-report-1), pass by pass: each begins with a dump of the zones, the core's reporting
// runs on them, and every request, what the core's host drops for it, the lists of the reported orders, the marks and whether another pass
// is due are compared.

import * as v from "valibot";
import { Core } from "../core.js";
import { Agreement } from "./agreement.js";
import { checkZones, inZones, ORDERS, TYPES, type Zone, zoneSchema } from "./buddyfile.js";
import { HostCase, pagesOf } from "./hostcase.js";
import type { CaseInput, CaseResult } from "./result.js";
import { readShape, whole, wrongShape } from "./shape.js";
import { ZoneCase } from "./zonecase.js";

const PFN_MAX = 2 ** 28;
const ZONES_MAX = 4;
/** PAGE_REPORTING_CAPACITY. */
const REPORT_MAX = 32;
const pfn = whole(0, PFN_MAX);
const count = whole(0, 0xffff_ffff);

const caseSchema = v.object({ reporting_order: whole(0, ORDERS - 1) });

const zone = v.object({ ...zoneSchema.entries, reported: v.optional(v.array(pfn), []) });

/** What is left of a zone at the end of a pass: the lists of the orders from the reporting order on. */
const zoneAfter = v.object({
  zone: whole(0, ZONES_MAX - 1),
  nr_free_pages: count,
  free_lists: v.array(v.pipe(v.array(v.array(pfn)), v.length(TYPES))),
  reported: v.array(pfn),
});

const stepSchema = v.variant("ev", [
  v.object({
    ev: v.literal("pass_begin"),
    state: v.pipe(v.array(zone), v.minLength(1), v.maxLength(ZONES_MAX)),
  }),
  v.object({
    ev: v.literal("report"),
    pages: v.pipe(v.array(v.tuple([pfn, whole(0, ORDERS - 1)])), v.minLength(1), v.maxLength(REPORT_MAX)),
  }),
  v.object({ ev: v.literal("pass_end"), again: v.boolean(), state: v.array(zoneAfter) }),
  v.object({ ev: v.literal("script") }),
  v.object({ ev: v.literal("script_end") }),
]);

/** Replays a case of format mm-report-1. */
export function replayReport({ name, caseJson, steps }: CaseInput, module: WebAssembly.Module): CaseResult {
  const { reporting_order } = readShape(caseSchema, caseJson, "case.json");
  const agreement = new Agreement();
  let pass: Pass | undefined;
  for (const [index, raw] of steps.entries()) {
    const where = `step ${index}`;
    const step = readShape(stepSchema, raw, where);
    if (step.ev === "script" || step.ev === "script_end") continue;
    agreement.begin(index);
    if (step.ev === "pass_begin") {
      checkZones(step.state, where, "state");
      pass = new Pass(module, step.state, reporting_order, where);
      continue;
    }
    if (pass === undefined) throw wrongShape(where, "ev", `"${step.ev}" before any "pass_begin"`);
    if (step.ev === "report") {
      if (!step.pages.every(([pfn, order]) => inZones(pass!.state, pfn, order)))
        throw wrongShape(where, "pages", "a block outside all zones");
      agreement.compare("pages", step.pages, pass.request());
      agreement.compare("discards", step.pages, pass.host.report(step.pages));
      continue;
    }
    const known = pass.zoneNumbers();
    if (step.state.some(({ zone }) => !known.has(zone)))
      throw wrongShape(where, "state", "a zone that the pass did not begin with");
    // What the model would still report stands where the capture has nothing.
    agreement.compare("pages", null, pass.request());
    agreement.compare("again", step.again, pass.again());
    agreement.compare(
      "state",
      step.state.map(({ zone, nr_free_pages, free_lists, reported }) => ({
        zone,
        nr_free_pages,
        free_lists,
        reported,
      })),
      step.state.map(({ zone }) => pass!.zoneAfter(zone)),
    );
    pass = undefined;
  }
  return agreement.result(name, "mm-report-1");
}

/** One pass on an instance of its own. */
class Pass {
  private readonly core: Core;
  private readonly zones: ZoneCase;
  /** Answers the requests of the capture. */
  readonly host: HostCase;
  private over = false;

  constructor(
    module: WebAssembly.Module,
    readonly state: readonly (Zone & { reported: number[] })[],
    private readonly order: number,
    where: string,
  ) {
    this.core = new Core(module);
    const { call } = this.core;
    this.zones = new ZoneCase(this.core, state, () => call.reportCaseBegin(order));
    for (const [index, { zone, reported }] of state.entries()) {
      const free = new Set(this.lists(zone).flat(2));
      for (const pfn of reported) {
        if (!free.has(pfn)) throw wrongShape(where, `state[${index}].reported`, `${pfn} is no free block`);
        call.reportCaseMark(pfn);
      }
    }
    call.reportCasePass();
    this.host = new HostCase(module, pagesOf(state), "reports");
  }

  /** The blocks of the next request as [pfn, order]; null when the pass is over. */
  request(): [number, number][] | null {
    const { call } = this.core;
    const blocks = this.over ? 0 : call.reportCaseStep(0) >>> 0;
    this.over = blocks === 0;
    if (this.over) return null;
    const words = this.core.u32(call.reportCaseRequest(), 2 * blocks);
    return Array.from({ length: blocks }, (_, place) => [words[2 * place]!, words[2 * place + 1]!]);
  }

  /** Numbers of the zones. */
  zoneNumbers(): Set<number> {
    return new Set(this.state.map(({ zone }) => zone));
  }

  /** Whether another pass is due two seconds after this one. */
  again(): boolean {
    return this.core.call.reportCaseAsked() !== 0;
  }

  zoneAfter(zone: number) {
    const free_lists = this.lists(zone);
    return {
      zone,
      nr_free_pages: this.zones.counters(zone, 0).nr_free,
      free_lists,
      reported: free_lists.flat(2).filter((pfn) => this.core.call.reportCaseMarked(pfn) !== 0),
    };
  }

  /** The free lists of the orders that are reported. */
  private lists(zone: number): number[][][] {
    return Array.from({ length: ORDERS - this.order }, (_, above) =>
      Array.from({ length: TYPES }, (_, type) => this.zones.freeList(zone, this.order + above, type)),
    );
  }
}
