// Boot of a guest with memory management of its own: its drivers, and the balloon device of the host.

import { type Core, constantName } from "./core.js";
import { FEATURES, HINTING_ENTRIES } from "./giveschema.js";
import type { ResolvedVm } from "./scenario.js";

const PAGE_BYTES = 4096;

/** Configures the guest for tasks with `pages` pages together; negative when there is no room. */
export function configGuest(core: Core, index: number, vm: ResolvedVm, pages: number): number {
  const { call } = core;
  const { freePages, balloon } = vm.guest;
  const { design = "off", pagePoison = false, initOnFree = false } = freePages ?? {};
  const status = call.configGuest(
    index,
    pages,
    core.constant(`FREE_${constantName(design)}`),
    freePages?.minOrder ?? 0,
    freePages?.arrayEntries ?? HINTING_ENTRIES,
  );
  const device = deviceOf(vm);
  if (status < 0 || device === undefined) return status;
  const { offers, ring, statsInterval } = device;
  const bits = offers.reduce((sum, feature) => sum | core.constant(`FEATURE_${bitName(feature)}`), 0);
  const layout = core.constant(offers.includes("hinting-2019") ? "LAYOUT_2019" : "LAYOUT_UPSTREAM");
  const offered = call.configBalloonDevice(index, bits, layout, ring, statsInterval ?? 0);
  if (offered < 0) return offered;
  return call.configBalloonDriver(
    index,
    balloonPages(vm),
    Number(balloon?.deflateOnOom ?? false),
    Number(pagePoison),
    Number(initOnFree),
    statsInterval ?? 0,
  );
}

/** Pages that a VM's balloon shall hold. */
export function balloonPages({ guest }: ResolvedVm): number {
  return (guest.balloon?.target ?? 0) / PAGE_BYTES;
}

/** The VM's balloon device; the one that the guest can use where the scenario does not say. */
function deviceOf({ balloonDevice, guest }: ResolvedVm): ResolvedVm["balloonDevice"] {
  if (balloonDevice !== undefined) return balloonDevice;
  const { freePages: { design } = { design: "off" }, balloon } = guest;
  const bit5 =
    design === "reporting" ? design : design.startsWith("hinting-2019") ? "hinting-2019" : undefined;
  if (bit5 === undefined && balloon === undefined) return undefined;
  return {
    offers: [
      ...(balloon?.deflateOnOom ? (["deflate-on-oom"] as const) : []),
      ...(bit5 === undefined ? [] : [bit5 as "reporting" | "hinting-2019"]),
    ],
    ring: 128,
    statsInterval: null,
  };
}

function bitName(feature: string): string {
  const bit5 = feature === "hinting-2019" || feature === FEATURES[5];
  return bit5 ? "BIT_5" : constantName(feature);
}
