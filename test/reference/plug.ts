// The plug of a pass of reclaim: writes to slots that follow each other are one request of at most 254 pages. Requests wait until the
// pass ends, or until one more is added to 32 of them or to a large one (128 KiB).

import type { Slot } from "./swaparea.js";
import type { Page } from "./vm.js";

const REQUESTS = 32;
const LARGE = 32;
const REQUEST_PAGES = 254;

export class Plug {
  private requests: Page[][] = [];

  private joins(slot: Slot): boolean {
    const last = this.requests.at(-1);
    if (last === undefined || last.length >= REQUEST_PAGES) return false;
    const before = last.at(-1)!.slot!;
    return before.area === slot.area && before.offset + 1 === slot.offset;
  }

  /** The requests must go before the write to `slot` can be added. */
  fullFor(slot: Slot): boolean {
    const last = this.requests.at(-1);
    if (last === undefined || this.joins(slot)) return false;
    return this.requests.length === REQUESTS || last.length >= LARGE;
  }

  add(page: Page): void {
    if (this.joins(page.slot!)) this.requests.at(-1)!.push(page);
    else this.requests.push([page]);
  }

  /** The pages to be written now, in order. */
  take(): Page[] {
    return this.requests.splice(0).flat();
  }
}
