// Commands that migrate pages, or keep them from it: migrate, pin, unpin, compact.

import { type CapturedGuest, type Command, cpuOf, type GuestSlot } from "./guest.js";

// The host that is modelled has one NUMA node. A page is on another one when it still has the frame that a migration gave it; with
// every other frame it is on node 0, where whatever the process touches is allocated.
const homes = new WeakMap<CapturedGuest, Map<number, { frame: number; node: number }>>();

function homesOf(guest: CapturedGuest): Map<number, { frame: number; node: number }> {
  const known = homes.get(guest) ?? new Map<number, { frame: number; node: number }>();
  homes.set(guest, known);
  return known;
}

// migrate <slot> <start> <count> <node>: move_pages(). Pages that are there already are no work, and end a row of pages; a row of which
// something could not be moved ends the call.
const migrate: Command = (guest, [slot, start, count, node], step) => {
  const target = guest.slot(slot);
  const first = Number(start);
  const end = first + Number(count);
  const elsewhere = (page: number) => nodeOf(guest, target, page) !== Number(node);
  for (let at = first; at < end; at++) {
    if (!elsewhere(at)) continue;
    let behind = at + 1;
    while (behind < end && elsewhere(behind)) behind++;
    const before = Array.from({ length: behind - at }, (_, index) => frameOf(guest, target, at + index));
    const { failed } = guest.migrate(target, at, behind - at, cpuOf(step));
    for (const [index, frame] of before.entries()) {
      const now = frameOf(guest, target, at + index);
      if (now !== undefined && now !== frame)
        homesOf(guest).set(target.gfn + at + index, { frame: now, node: Number(node) });
    }
    if (failed > 0) return;
    at = behind;
  }
};

function frameOf(guest: CapturedGuest, { gfn }: GuestSlot, page: number): number | undefined {
  return guest.frameOf(gfn + page);
}

function nodeOf(guest: CapturedGuest, slot: GuestSlot, page: number): number {
  const home = homesOf(guest).get(slot.gfn + page);
  return home !== undefined && home.frame === frameOf(guest, slot, page) ? home.node : 0;
}

// pin <slot> <start> <count>, unpin
const pin: Command = (guest, [slot, start, count], step) => {
  guest.pin(guest.slot(slot), Number(start), Number(count), cpuOf(step));
};

export const migrationCommands: readonly (readonly [string, Command])[] = [
  ["migrate", migrate],
  ["pin", pin],
  ["unpin", (guest, _, step) => guest.unpin(cpuOf(step))],
  // What compaction moves depends on all that the host holds, and does not repeat from capture to capture.
  ["compact", () => {}],
];
