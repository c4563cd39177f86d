import {
  deviceComplete,
  deviceReadFails,
  requestCpu,
  requestDevice,
  requestPfn,
  requestStart,
  requestWrite,
} from "../sim/device";
import { waitqueueWakeAll } from "../sim/waitqueue";
import { mmThrottled, mmWriteback, setMmWriteback } from "./instance";
import { lruRotate } from "./lrubatch";
import { memcgEvents } from "./memcgstat";
import {
  PG_DIRTY,
  PG_LOCKED,
  PG_LRU,
  PG_RECLAIM,
  PG_UPTODATE,
  PG_WRITEBACK,
  pageClear,
  pageOf,
  pageSet,
  pageTest,
} from "./page";
import { pageServedFrom, pageUnlock, pageWritten } from "./pagelock";

// The end of swap I/O: end_swap_bio_read() and end_swap_bio_write() with folio_rotate_reclaimable().

/** A device has served `request` at `time`. */
export function swapIoEnd(mm: usize, request: usize, time: u64): void {
  const pfn = requestPfn(request);
  if (requestWrite(request)) {
    endWrite(mm, pfn, requestCpu(request), time);
    deviceComplete(request, time);
    waitqueueWakeAll(mmThrottled(mm), time);
    return;
  }
  // The reader's wait is split: until a unit began with its request, and the service itself (charged when it wakes).
  pageServedFrom(mm, pfn, requestStart(request));
  if (!deviceReadFails(requestDevice(request))) pageSet(pageOf(mm, pfn), PG_UPTODATE);
  deviceComplete(request, time);
  pageUnlock(mm, pfn, time);
}

// A page that reclaim wrote out goes to the tail, to be freed by the next scan, unless somebody wants it again.
function endWrite(mm: usize, pfn: u32, cpu: u32, time: u64): void {
  const page = pageOf(mm, pfn);
  assert(pageTest(page, PG_WRITEBACK));
  const rotate =
    pageTest(page, PG_RECLAIM) && pageTest(page, PG_LRU) && !pageTest(page, PG_LOCKED | PG_DIRTY);
  pageClear(page, PG_WRITEBACK | PG_RECLAIM);
  setMmWriteback(mm, mmWriteback(mm) - 1);
  memcgEvents(mm, cpu, 1); // NR_WRITEBACK
  if (rotate) lruRotate(mm, cpu, time, pfn);
  pageWritten(mm, pfn, time);
}
