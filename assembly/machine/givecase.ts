import {
  balloonCreate,
  balloonFill,
  balloonLeak,
  balloonPages,
  balloonRelease,
  balloonRequest,
  checkBalloon,
} from "../guest/balloon";
import {
  checkReporting,
  REPORTING_REQUESTED,
  reportingAsk,
  reportingBegin,
  reportingCreate,
  reportingRequest,
  reportingState,
  reportingStep,
} from "../guest/reporting";
import { E_NO_MEMORY, OK } from "../memory/status";
import { isReported, setReported } from "../mm/freeblock";

import { zoneCaseMm } from "./zonecase";

// Drivers that give a guest's memory back, on the page allocator of a zone case: free page reporting pass by pass, the balloon request by
// request. Whoever drives them answers for the host.

const REPORTING: usize = 0;
const BALLOON: usize = 4;
const CASE: usize = memory.data(8, 8);

function reporting(): usize {
  return <usize>load<u32>(CASE, REPORTING);
}

function balloon(): usize {
  return <usize>load<u32>(CASE, BALLOON);
}

/** Adds free page reporting of blocks from `minOrder` on; before zoneCaseReady(). */
export function reportCaseBegin(minOrder: u32): i32 {
  store<u32>(CASE, <u32>reportingCreate(zoneCaseMm(), minOrder), REPORTING);
  return reporting() === 0 ? E_NO_MEMORY : OK;
}

/** Marks a free block as reported; for set-up. */
export function reportCaseMark(pfn: u32): void {
  setReported(zoneCaseMm(), pfn);
}

export function reportCaseMarked(pfn: u32): bool {
  return isReported(zoneCaseMm(), pfn);
}

/** Has a free asked for a pass? */
export function reportCaseAsked(): bool {
  return reportingState(reporting()) === REPORTING_REQUESTED;
}

/** Begins a pass, whether it was asked for or not. */
export function reportCasePass(): void {
  reportingAsk(reporting());
  reportingBegin(reporting());
}

/** Blocks of the pass's next request, which reportCaseRequest() holds; 0 at its end. The one before has been answered. */
export function reportCaseStep(cpu: u32): u32 {
  return reportingStep(reporting(), cpu);
}

/** Address of the request: (pfn, order) a block, u32 each. */
export function reportCaseRequest(): usize {
  return reportingRequest(reporting());
}

/** Adds an empty balloon; before zoneCaseReady(). */
export function balloonCaseBegin(keepManaged: bool): i32 {
  store<u32>(CASE, <u32>balloonCreate(zoneCaseMm(), keepManaged), BALLOON);
  return balloon() === 0 ? E_NO_MEMORY : OK;
}

/** Inflates by at most `pages`, one request. Returns its pages; their pfns are at balloonCaseRequest(). */
export function balloonCaseFill(cpu: u32, pages: u32): u32 {
  return balloonFill(balloon(), cpu, pages);
}

/** Deflates by at most `pages`, one request; balloonCaseRelease() frees them. */
export function balloonCaseLeak(pages: u32): u32 {
  return balloonLeak(balloon(), pages);
}

export function balloonCaseRelease(cpu: u32): void {
  balloonRelease(balloon(), cpu);
}

export function balloonCaseRequest(): usize {
  return balloonRequest(balloon());
}

/** Pages in the balloon. */
export function balloonCasePages(): u32 {
  return balloonPages(balloon());
}

/** Asserts the drivers' invariants. */
export function giveCaseCheck(): void {
  if (reporting() !== 0) checkReporting(reporting());
  if (balloon() !== 0) checkBalloon(balloon());
}
