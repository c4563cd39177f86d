// A machine as bytes: a header that says what it is, then the memory of the core.
//
//   0        8             12            12 + n
//   +--------+-------------+-------------+---------------------+
//   | magic  | n: u32 LE   | JSON header | memory of the core  |
//   +--------+-------------+-------------+---------------------+

import { PagevisorError } from "./errors.js";

const MAGIC = "pgvsnap1";

/** Puts a snapshot together. */
export function packSnapshot(header: unknown, memory: Uint8Array): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(12 + json.length + memory.length);
  bytes.set(new TextEncoder().encode(MAGIC));
  new DataView(bytes.buffer).setUint32(8, json.length, true);
  bytes.set(json, 12);
  bytes.set(memory, 12 + json.length);
  return bytes;
}

/** Takes a snapshot apart; the header is for the caller to check. @throws PagevisorError E_SNAPSHOT */
export function unpackSnapshot(bytes: Uint8Array): { header: Record<string, unknown>; memory: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = new TextDecoder("latin1").decode(bytes.subarray(0, 8));
  if (bytes.length < 12 || magic !== MAGIC) throw notOne("they do not begin as one");
  const length = view.getUint32(8, true);
  if (12 + length > bytes.length) throw notOne("they end within the header");
  try {
    const header: unknown = JSON.parse(new TextDecoder().decode(bytes.subarray(12, 12 + length)));
    if (typeof header === "object" && header !== null) {
      return { header: header as Record<string, unknown>, memory: bytes.subarray(12 + length) };
    }
  } catch (cause) {
    throw notOne("the header is damaged", cause);
  }
  throw notOne("the header is damaged");
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
