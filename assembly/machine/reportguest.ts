import { balloonPages } from "../guest/balloon";
import { deviceLink } from "../guest/balloondev";
import { STATS_FIGURES, statsSeen } from "../guest/balloonstats";
import {
  GUEST_COUNTS,
  GUEST_STATS_SENT,
  guestCount,
  guestReportedOrder,
  guestUnreported,
} from "../guest/books";
import { guestBalloon, guestDevice, guestHints, guestMemory, guestMm, guestStats } from "../guest/guest";
import {
  deviceQueue,
  driverQueue,
  negotiated,
  probeFailed,
  QUEUE_NONE,
  QUEUES_MOST,
} from "../guest/negotiation";
import { hintsHeld } from "../guest/pagehints";
import { vmAt } from "../kvm/vmtable";
import { mmFree } from "../mm/instance";
import { MAX_ORDER } from "../mm/zone";
import { put } from "./table";

// What a machine tells of a guest with memory management of its own: a row like those of report.ts.

// Its counters GUEST_*, then these.
export const REPORT_GUEST_FREE: u32 = GUEST_COUNTS;
export const REPORT_GUEST_UNREPORTED: u32 = GUEST_COUNTS + 1;
export const REPORT_GUEST_BALLOON: u32 = GUEST_COUNTS + 2;
/** Blocks of hints that the driver holds. */
export const REPORT_GUEST_HELD: u32 = GUEST_COUNTS + 3;
/** Feature bits that the balloon device and its driver have agreed on; below 0: there is no device, or its driver has given it up. */
export const REPORT_GUEST_FEATURES: u32 = GUEST_COUNTS + 4;
/** First of the queues, by number: what the driver takes it for, and 8 times what the device does; below 0: there is none. */
export const REPORT_GUEST_QUEUES: u32 = GUEST_COUNTS + 5;
/** First of the statistics that the host was sent last, by tag; below 0: none yet. */
export const REPORT_GUEST_STATS: u32 = REPORT_GUEST_QUEUES + QUEUES_MOST;
/** First of the pages reported by order, 0..10. */
export const REPORT_GUEST_ORDERS: u32 = REPORT_GUEST_STATS + STATS_FIGURES;

/** Writes the guest of VM `id`; all 0 when it has no memory management of its own. */
export function reportGuest(id: u32): void {
  const guest = guestMemory(vmAt(id));
  if (guest === 0) {
    for (let field: u32 = 0; field < REPORT_GUEST_ORDERS + MAX_ORDER; field++) put(field, 0);
    return;
  }
  for (let counter: u32 = 0; counter < GUEST_COUNTS; counter++) put(counter, <f64>guestCount(guest, counter));
  put(REPORT_GUEST_FREE, <f64>mmFree(guestMm(guest)));
  put(REPORT_GUEST_UNREPORTED, <f64>guestUnreported(guest));
  put(REPORT_GUEST_BALLOON, guestBalloon(guest) === 0 ? 0 : <f64>balloonPages(guestBalloon(guest)));
  for (let order: u32 = 0; order < MAX_ORDER; order++) {
    put(REPORT_GUEST_ORDERS + order, <f64>guestReportedOrder(guest, order));
  }
  put(REPORT_GUEST_HELD, guestHints(guest) === 0 ? 0 : <f64>hintsHeld(guestHints(guest)));
  for (let tag: u32 = 0; tag < STATS_FIGURES; tag++) {
    const sent = guestStats(guest) !== 0 && guestCount(guest, GUEST_STATS_SENT) !== 0;
    put(REPORT_GUEST_STATS + tag, sent ? <f64>statsSeen(guestStats(guest), tag) : -1);
  }
  reportDevice(guest);
}

function reportDevice(guest: usize): void {
  const link = guestDevice(guest) === 0 ? <usize>0 : deviceLink(guestDevice(guest));
  const works = link !== 0 && !probeFailed(link);
  put(REPORT_GUEST_FEATURES, works ? <f64>negotiated(link) : -1);
  for (let index: u32 = 0; index < QUEUES_MOST; index++) {
    const driver = works ? driverQueue(link, index) : QUEUE_NONE;
    put(
      REPORT_GUEST_QUEUES + index,
      driver === QUEUE_NONE ? -1 : <f64>(driver + 8 * deviceQueue(link, index)),
    );
  }
}
