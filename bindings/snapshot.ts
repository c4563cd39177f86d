// A machine as bytes: a header that says what it is, then the memory of the core. The checksum is over everything behind it; it finds
// damage, it does not keep anybody from forging a snapshot.
//
//   0        8             12                20            20 + n
//   +--------+-------------+-----------------+-------------+---------------------+
//   | magic  | n: u32 LE   | checksum, 8 B   | JSON header | memory of the core  |
//   +--------+-------------+-----------------+-------------+---------------------+

import { checksum } from "./checksum.js";
import type { Reading } from "./counters.js";
import { PagevisorError } from "./errors.js";
import { VERSION } from "./version.js";

const MAGIC = "pgvsnap2";
const CHECKSUM = 12;
const HEADER = 20;

/** Puts a snapshot together. */
export function packSnapshot(header: object, memory: Uint8Array): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify({ ...header, memoryBytes: memory.length }));
  const bytes = new Uint8Array(HEADER + json.length + memory.length);
  bytes.set(new TextEncoder().encode(MAGIC));
  new DataView(bytes.buffer).setUint32(8, json.length, true);
  bytes.set(json, HEADER);
  bytes.set(memory, HEADER + json.length);
  bytes.set(checksum(json, memory), CHECKSUM);
  return bytes;
}

/** Takes a snapshot apart; the header is for the caller to check. @throws PagevisorError E_SNAPSHOT */
export function unpackSnapshot(bytes: Uint8Array): { header: Record<string, unknown>; memory: Uint8Array } {
  if (!(bytes instanceof Uint8Array)) throw notOne("they are no Uint8Array");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = new TextDecoder("latin1").decode(bytes.subarray(0, 8));
  if (bytes.length < HEADER || magic !== MAGIC) throw notOne("they do not begin as one");
  const length = view.getUint32(8, true);
  if (HEADER + length > bytes.length) throw notOne("they end within the header");
  const json = bytes.subarray(HEADER, HEADER + length);
  const memory = bytes.subarray(HEADER + length);
  const header = parseHeader(json);
  if (header.version !== VERSION) throw notOne(`they are of version ${String(header.version)}`);
  if (memory.length !== header.memoryBytes) throw notOne("they do not end with the memory");
  if (checksum(json, memory).some((byte, index) => byte !== bytes[CHECKSUM + index])) {
    throw notOne("their checksum is wrong, so something in them has changed");
  }
  return { header, memory };
}

function parseHeader(json: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder().decode(json));
  } catch (cause) {
    throw notOne("the header is damaged", cause);
  }
  if (typeof header !== "object" || header === null) throw notOne("the header is damaged");
  return header as Record<string, unknown>;
}

/** The error for bytes that are no snapshot of this build. */
export function notOne(why: string, cause?: unknown): PagevisorError {
  return new PagevisorError(
    "E_SNAPSHOT",
    `these bytes are not a snapshot of this version of pagevisor: ${why}`,
    {
      cause,
    },
  );
}

/** Counters as JSON can hold them. */
export interface EncodedReading {
  vms: { row: number[]; guest: number[]; faults: Record<string, { histogram: number[] }> }[];
  host: number[];
  devices: number[][];
  tasks: number[][];
}

export function encodeReading(reading: Reading): EncodedReading {
  return {
    vms: reading.vms.map(({ row, guest, faults }) => ({
      row: [...row],
      guest: [...guest],
      faults: Object.fromEntries(
        Object.entries(faults).map(([kind, fault]) => [kind, { ...fault, histogram: [...fault.histogram] }]),
      ),
    })),
    host: [...reading.host],
    devices: reading.devices.map((row) => [...row]),
    tasks: reading.tasks.map((row) => [...row]),
  };
}

export function reviveReading(encoded: EncodedReading): Reading {
  return {
    vms: encoded.vms.map(({ row, guest, faults }) => ({
      row: Float64Array.from(row),
      guest: Float64Array.from(guest),
      faults: Object.fromEntries(
        Object.entries(faults).map(([kind, fault]) => [
          kind,
          { ...fault, histogram: Uint32Array.from(fault.histogram) },
        ]),
      ) as unknown as Reading["vms"][number]["faults"],
    })),
    host: Float64Array.from(encoded.host),
    devices: encoded.devices.map((row) => Float64Array.from(row)),
    tasks: encoded.tasks.map((row) => Float64Array.from(row)),
  };
}
