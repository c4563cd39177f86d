import { booksInit } from "./guest/books";
import { hintingInit } from "./guest/hinting";
import { reportingInit } from "./guest/reporting";
import { apfPinInit } from "./kvm/apfpin";
import { notifierInit } from "./kvm/notifier";
import { writepageInit } from "./kvm/writepage";
import { givebackInit } from "./machine/giveback";
import { outsideInit } from "./machine/outside";

// The exports of the core: numbers and addresses only. What a number means is told by the constants exported beside it.

export * from "./machine/apfcase";
export * from "./machine/asyncpf";
export * from "./machine/atoncecase";
export * from "./machine/boot";
export * from "./machine/check";
export * from "./machine/config";
export * from "./machine/configguest";
export * from "./machine/configreclaim";
export * from "./machine/devicecase";
export * from "./machine/explore";
export * from "./machine/exploreapf";
export * from "./machine/exploreguest";
export * from "./machine/explorestate";
export * from "./machine/givecase";
export * from "./machine/guesttables";
export * from "./machine/hostpaging";
export * from "./machine/inspect";
export * from "./machine/kvmcase";
export * from "./machine/live";
export * from "./machine/lrucase";
export * from "./machine/merging";
export * from "./machine/mmiocase";
// Names for the binding: kinds, counters and keys by their constants.
export * from "./machine/names";
export * from "./machine/outside";
export * from "./machine/pager";
export * from "./machine/planned";
export * from "./machine/policycase";
export * from "./machine/report";
export * from "./machine/reportguest";
export * from "./machine/scheduler";
export * from "./machine/slotcase";
export * from "./machine/stepping";
export * from "./machine/survey";
export * from "./machine/swapcase";
export * from "./machine/swapsnap";
export * from "./machine/tasks";
export * from "./machine/walkcase";
export * from "./machine/zonecase";

notifierInit();
writepageInit();
apfPinInit();
givebackInit();
reportingInit();
hintingInit();
booksInit();
outsideInit();
