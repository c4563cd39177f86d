// Replays a capture of the balloon driver (format mm-balloon-1): from the zones before the first target on, every request is made by the
// core's balloon on the core's allocator, and its pages are compared in the order in which the host reads them, and what the core's host drops
// for the captured request. Other code ran between the
// dump and the first request, and between targets: what it took, and what it gave back, is read from the first request of a target.

import * as v from "valibot";
import { Core } from "../core.js";
import { Agreement } from "./agreement.js";
import { checkZones, inZones, type Zone, zonesSchema } from "./buddyfile.js";
import { HostCase, pagesOf } from "./hostcase.js";
import type { CaseInput, CaseResult } from "./result.js";
import { readShape, whole, wrongShape } from "./shape.js";
import { ZoneCase } from "./zonecase.js";

const PFN_MAX = 2 ** 28;
/** VIRTIO_BALLOON_ARRAY_PFNS_MAX. */
const REQUEST_MAX = 256;
/** GFP_HIGHUSER_MOVABLE: what the other code is taken to have asked for. */
const GFP_OTHERS = 0x100cca;
/** The movable pages of a CPU's lists. */
const PCP_MOVABLE = 1;
/** Most pages that other code may have taken in front of a request. */
const STRAYS_MAX = 64;

const pfns = v.pipe(v.array(whole(0, PFN_MAX)), v.minLength(1), v.maxLength(REQUEST_MAX));
const caseSchema = v.object({ before: zonesSchema });
const stepSchema = v.variant("ev", [
  v.object({ ev: v.literal("target"), balloon_pages: whole(0, PFN_MAX) }),
  v.object({ ev: v.literal("inflate"), pfns }),
  v.object({ ev: v.literal("deflate"), pfns }),
]);

/** Replays a case of format mm-balloon-1. */
export function replayBalloon({ name, caseJson, steps }: CaseInput, module: WebAssembly.Module): CaseResult {
  const { before } = readShape(caseSchema, caseJson, "case.json");
  checkZones(before, "case.json", "before");
  const balloon = new Balloon(module, before);
  const host = new HostCase(module, pagesOf(before), "balloon");
  const agreement = new Agreement();
  let target = 0;
  for (const [index, raw] of steps.entries()) {
    const where = `step ${index}`;
    const step = readShape(stepSchema, raw, where);
    if (step.ev !== "target" && !step.pfns.every((pfn) => inZones(before, pfn))) {
      throw wrongShape(where, "pfns", "a page outside all zones");
    }
    agreement.begin(index);
    if (step.ev === "target") {
      agreement.compare("balloon_pages", target, balloon.pages);
      target = step.balloon_pages;
      balloon.unsettle();
    } else if (step.ev === "inflate") {
      agreement.compare("pfns", step.pfns, balloon.inflate(target, step.pfns));
      agreement.compare("discards", step.pfns, host.pages(step.pfns, false));
    } else {
      agreement.compare("pfns", step.pfns, balloon.deflate(target));
      agreement.compare("discards", [], host.pages(step.pfns, true));
    }
  }
  if (steps.length > 0) agreement.compare("balloon_pages", target, balloon.pages);
  return agreement.result(name, "mm-balloon-1");
}

class Balloon {
  private readonly core: Core;
  private readonly zones: ZoneCase;
  private settled = false;

  constructor(module: WebAssembly.Module, before: readonly Zone[]) {
    this.core = new Core(module);
    this.zones = new ZoneCase(this.core, before, () => this.core.call.balloonCaseBegin(0));
  }

  get pages(): number {
    return this.core.call.balloonCasePages() >>> 0;
  }

  /** Other code may have run since the last request. */
  unsettle(): void {
    this.settled = false;
  }

  /** The next request towards `target`; `captured` is what the kernel's was. */
  inflate(target: number, captured: readonly number[]): number[] {
    if (!this.settled) this.settle([...captured].reverse());
    this.settled = true;
    return this.request(this.core.call.balloonCaseFill(0, Math.max(0, target - this.pages)));
  }

  deflate(target: number): number[] {
    const { call } = this.core;
    const pfns = this.request(call.balloonCaseLeak(Math.max(0, this.pages - target)));
    call.balloonCaseRelease(0);
    this.settled = true;
    return pfns;
  }

  private request(pages: number): number[] {
    return [...this.core.u32(this.core.call.balloonCaseRequest(), pages >>> 0)];
  }

  /** Does what other code has done, as far as the pages that the kernel's driver got, in that order, tell. */
  private settle(got: readonly number[]): void {
    const { call } = this.core;
    const free = this.free();
    const known = got.findIndex((pfn) => free.has(pfn));
    if (known < 0) return;
    for (let strays = 0; strays < STRAYS_MAX && this.next(got[known]!) !== got[known]; strays++) {
      call.zoneCaseAlloc(0, 0, GFP_OTHERS);
    }
    // Pages that were in use came back last, so they stand in front: the last one that came back first.
    for (const pfn of got.slice(0, known).reverse()) {
      call.zoneCaseGetPage(pfn);
      call.zoneCaseFreePages(0, pfn, 0);
    }
  }

  /** The page that the next request for one gets, if the zone of `pfn` serves it. */
  private next(pfn: number): number {
    const { call } = this.core;
    const zone = call.zoneCaseOf(pfn);
    const head = call.zoneCasePcpHead(zone, 0, PCP_MOVABLE) >>> 0;
    if (head !== 0xffff_ffff) return head;
    const taken = call.zoneCaseAlloc(0, 0, GFP_OTHERS) >>> 0; // fills the CPU's list
    if (taken !== 0) call.zoneCaseFreePages(0, taken, 0);
    return taken;
  }

  /** Pages that are free, on lists of the zones or of the CPU. */
  private free(): Set<number> {
    const pages = new Set<number>();
    for (const { free_lists, pcp } of this.zones.dump()) {
      const blocks = [...free_lists.entries()].flatMap(([order, types]) =>
        types.flat().map((pfn) => ({ pfn, order })),
      );
      for (const { pfn, order } of blocks) {
        for (let page = pfn; page < pfn + 2 ** order; page++) pages.add(page);
      }
      for (const { lists } of pcp) for (const pfn of lists.slice(0, 3).flat()) pages.add(pfn);
    }
    return pages;
  }
}
