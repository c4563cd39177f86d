// The pager of a VM: what it supplies, from the scenario and from outside. How it does that is the core's business.

import type * as v from "valibot";
import type { Core } from "./core.js";
import { roomFrom, slotsNow } from "./memslots.js";
import type { pagerSchema } from "./pagerschema.js";
import { show } from "./problems.js";
import type { ResolvedScenario, ResolvedVm } from "./scenario.js";
import { livingVm, stepError, wholeNumber } from "./stepping.js";
import { parseTime } from "./units.js";

/** What a pager supplies, and when. */
export interface PagerSetting {
  /** First guest frame. Default: that of the guest's memory. */
  gfn?: number;
  /** Default: all from `gfn` on in its memslot; without `gfn`, all memory. */
  pages?: number;
  /** Default: fifo. */
  order?: "fifo" | "lifo";
  /** ns, or with a unit. Default: 0. */
  quiet?: number | string;
}

type ResolvedPager = v.InferOutput<typeof pagerSchema>;

const PAGE_BYTES = 4096;
const QUIET_MAX = 2 ** 32 - 1;

/** The pager of VM number `index` begins with what the scenario says; after boot. */
export function startPager(core: Core, index: number, vm: ResolvedVm): void {
  if (vm.pager !== undefined) supply(core, index, vm, vm.pager);
}

function supply(
  core: Core,
  index: number,
  vm: ResolvedVm,
  { gfn, pages, order, quiet }: ResolvedPager,
): void {
  const { call } = core;
  let [start, end] = [0, vm.memory / PAGE_BYTES];
  if (gfn !== null || pages !== null) {
    const slots = slotsNow(core, index);
    const first = gfn ?? slots[0]!.gfn;
    start = call.reportPageNumber(index, first) >>> 0;
    end = start + (pages ?? roomFrom(slots, first));
  }
  call.pagerSupply(index, start, end, Number(order === "lifo"), quiet);
}

/** Sets what the pager of a VM supplies from now on; null: nothing, and who waits for it goes on. @throws PagevisorError E_STEP */
export function setPager(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  setting: PagerSetting | null,
): void {
  const { index, vm } = livingVm(core, scenario, name);
  if (vm.pager === undefined)
    throw stepError("vm", `${show(vm.name)} has no pager`, "a VM with the key pager");
  if (setting === null) {
    core.call.pagerEnd(index);
    return;
  }
  const { gfn = null, pages = null, order = "fifo", quiet = 0 } = setting;
  if (order !== "fifo" && order !== "lifo") {
    throw stepError("order", `${show(order)} is not allowed`, '"fifo", "lifo"');
  }
  const time = parseTime(quiet);
  if (!time.ok || time.value > QUIET_MAX) {
    throw stepError("quiet", `${show(quiet)} is not allowed`, `a time of at most ${QUIET_MAX} ns`);
  }
  if (gfn !== null || pages !== null) checkFrames(slotsNow(core, index), gfn, pages);
  core.call.pagerEnd(index);
  supply(core, index, vm, { gfn, pages, order, quiet: time.value });
}

function checkFrames(slots: ReturnType<typeof slotsNow>, gfn: number | null, pages: number | null): void {
  const first = wholeNumber("gfn", gfn ?? slots[0]?.gfn ?? 0, 0, 2 ** 31 - 1);
  const room = roomFrom(slots, first);
  if (room === 0)
    throw stepError("gfn", `${first} is in no memslot`, "a frame of a memslot that is there now");
  if (pages !== null) wholeNumber("pages", pages, 1, room);
}
