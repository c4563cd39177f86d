import { E_NO_MEMORY, OK } from "../memory/status";
import { mmArea, mmAreas } from "../mm/instance";
import { swapCreate, swapDevice } from "../mm/swaparea";
import { deviceErrors, deviceInit, devicePreset } from "../sim/device";
import { host, seed } from "./state";

// Set-up of swap areas and their devices, beside config.ts; areas are numbered in the order of the calls.

/** A swap area of `slots` usable slots. `kind` is a DEVICE_*; its figures can then be changed with configSwapDevice(). */
export function configSwap(slots: u32, priority: i32, kind: u32): i32 {
  const area = swapCreate(host(), slots + 1, priority);
  if (area === 0) return E_NO_MEMORY;
  deviceInit(
    swapDevice(area),
    devicePreset(kind, 0),
    devicePreset(kind, 1),
    devicePreset(kind, 2),
    devicePreset(kind, 3),
    devicePreset(kind, 4),
    devicePreset(kind, 5),
  );
  return OK;
}

/** A swap area on a device of the user's own figures: ns, units, bytes/us (0: in the latency), DEVICE_* flags. */
export function configSwapDevice(
  slots: u32,
  priority: i32,
  readNs: u32,
  writeNs: u32,
  servers: u32,
  readBytesPerUs: u32,
  writeBytesPerUs: u32,
  flags: u32,
): i32 {
  const area = swapCreate(host(), slots + 1, priority);
  if (area === 0) return E_NO_MEMORY;
  deviceInit(swapDevice(area), readNs, writeNs, servers, readBytesPerUs, writeBytesPerUs, flags);
  return OK;
}

/** Of the swap area made last: `threshold` of 2^26 reads fail. */
export function configReadErrors(threshold: u32): void {
  const type = mmAreas(host()) - 1;
  deviceErrors(swapDevice(mmArea(host(), type)), threshold, seed(), type);
}
